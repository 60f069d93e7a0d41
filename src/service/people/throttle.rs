//! Throttling of sign-in attempts.
//!
//! Guessing must not succeed, and must not lock out the user under attack. So
//! limits by address refuse attempts; limits by account over all addresses only
//! delay unknown addresses a little. An address with an earlier sign-in is known: it
//! has its own budget for that account, which other addresses cannot use up.
//!
//! All counts are in memory: each process has its own, and a restart resets them.
//! Deliberately absent: locking accounts.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};

use parking_lot::Mutex;

use crate::domain::{Time, UserId};
use crate::store::people::SecretDigest;

/// So many at once, and one more each so many seconds.
#[derive(Clone, Copy)]
struct AttemptBudget {
    burst: i64,
    each_s: i64,
}

/// Failed sign-ins from one address, at whatever account.
const ADDRESS: AttemptBudget = AttemptBudget { burst: 30, each_s: 10 };
/// Failed sign-ins from one address at one account.
const PAIR: AttemptBudget = AttemptBudget { burst: 10, each_s: 10 };
/// Failed sign-ins at one account from addresses that are not known to it.
/// Beyond it, those wait.
const PRESSURE: AttemptBudget = AttemptBudget { burst: 30, each_s: 10 };
/// Wrong codes from one address at one account.
const CODES: AttemptBudget = AttemptBudget { burst: 10, each_s: 60 };
/// Wrong codes at one account from addresses that are not known to it. Each
/// comes after the right password, and one in 300,000 is right by chance: 144 a
/// day are one in 2,000 days.
const CODES_PRESSURE: AttemptBudget = AttemptBudget { burst: 10, each_s: 600 };
/// Wrong passwords and codes of somebody who is signed in.
const PROOFS: AttemptBudget = AttemptBudget { burst: 5, each_s: 30 };
/// Notes in the audit trail that an address was throttled.
const TOLD: AttemptBudget = AttemptBudget { burst: 1, each_s: 60 };

/// How long a stranger waits at an account under pressure.
pub const DELAY_S: u64 = 2;
/// How many wait so at one account, and at all.
const DELAYED_EACH: usize = 8;
const DELAYED_MAX: usize = 64;

/// How many keys a limiter remembers before it forgets those whose budget is
/// whole, and before it forgets all: that many addresses are not stopped by
/// counting them.
const KEYS: usize = 10_000;
const KEYS_MAX: usize = 200_000;

/// The generic cell rate algorithm: for each key, when its budget is whole.
struct Limiter<K> {
    budget: AttemptBudget,
    whole_at: Mutex<HashMap<K, i64>>,
}

impl<K: Hash + Eq> Limiter<K> {
    fn new(budget: AttemptBudget) -> Limiter<K> {
        Limiter { budget, whole_at: Mutex::default() }
    }

    /// Takes one, or says in how many seconds there is one again.
    fn take(&self, key: K, now: Time) -> Result<(), u64> {
        let AttemptBudget { burst, each_s } = self.budget;
        let now = now.seconds();
        let mut whole_at = self.whole_at.lock();
        if whole_at.len() >= KEYS && whole_at.len().is_power_of_two() || whole_at.len() >= KEYS_MAX {
            whole_at.retain(|_, at| *at > now);
            if whole_at.len() >= KEYS_MAX {
                whole_at.clear();
            }
        }
        let at = whole_at.entry(key).or_insert(now);
        // A clock that went back must not keep anybody waiting for longer.
        let next = (*at).clamp(now, now + burst * each_s) + each_s;
        let wait = next - now - burst * each_s;
        if wait > 0 {
            return Err(wait as u64);
        }
        *at = next;
        Ok(())
    }

    fn give_back(&self, key: &K) {
        if let Some(at) = self.whole_at.lock().get_mut(key) {
            *at -= self.budget.each_s;
        }
    }

    fn forget_whole(&self, now: Time) {
        self.whole_at.lock().retain(|_, at| *at > now.seconds());
    }
}

pub struct Throttle {
    address: Limiter<IpAddr>,
    pair: Limiter<(IpAddr, SecretDigest)>,
    pressure: Limiter<SecretDigest>,
    codes: Limiter<(IpAddr, UserId)>,
    codes_pressure: Limiter<UserId>,
    proofs: Limiter<UserId>,
    told: Limiter<IpAddr>,
    delayed: Mutex<HashMap<SecretDigest, usize>>,
}

/// An attempt that may be made.
pub struct SignInAttempt {
    address: IpAddr,
    account: SecretDigest,
    known: bool,
    /// It must wait first.
    pub delayed: bool,
}

impl Throttle {
    pub fn new() -> Throttle {
        Throttle {
            address: Limiter::new(ADDRESS),
            pair: Limiter::new(PAIR),
            pressure: Limiter::new(PRESSURE),
            codes: Limiter::new(CODES),
            codes_pressure: Limiter::new(CODES_PRESSURE),
            proofs: Limiter::new(PROOFS),
            told: Limiter::new(TOLD),
            delayed: Mutex::default(),
        }
    }

    /// Lets an attempt at an account begin, or says in how many seconds to come
    /// back. It is taken from the budgets now and given back if it succeeds, so
    /// that many at once are not counted too late.
    pub fn attempt(&self, from: IpAddr, account: SecretDigest, known: bool, now: Time) -> Result<SignInAttempt, u64> {
        let address = owner(from);
        let mut attempt = SignInAttempt { address, account, known, delayed: false };
        self.pair.take((address, account), now)?;
        if known {
            return Ok(attempt);
        }
        if let Err(wait) = self.address.take(address, now) {
            self.pair.give_back(&(address, account));
            return Err(wait);
        }
        attempt.delayed = self.pressure.take(account, now).is_err();
        Ok(attempt)
    }

    /// The attempt was not one to be counted.
    pub fn forgive(&self, attempt: &SignInAttempt) {
        let SignInAttempt { address, account, known, delayed } = attempt;
        self.pair.give_back(&(*address, *account));
        if !known {
            self.address.give_back(address);
            if !delayed {
                self.pressure.give_back(account);
            }
        }
    }

    /// A place to wait at an account under pressure, if there is one.
    pub fn delay(&self, account: SecretDigest) -> Option<Delay<'_>> {
        let mut delayed = self.delayed.lock();
        if delayed.values().sum::<usize>() >= DELAYED_MAX {
            return None;
        }
        let waiting = delayed.entry(account).or_default();
        if *waiting >= DELAYED_EACH {
            return None;
        }
        *waiting += 1;
        Some(Delay { throttle: self, account })
    }

    /// Lets somebody try a code.
    pub fn code(&self, from: IpAddr, user: &UserId, known: bool, now: Time) -> Result<(), u64> {
        let pair = (owner(from), user.clone());
        self.codes.take(pair.clone(), now)?;
        if !known && let Err(wait) = self.codes_pressure.take(user.clone(), now) {
            self.codes.give_back(&pair);
            return Err(wait);
        }
        Ok(())
    }

    pub fn forgive_code(&self, from: IpAddr, user: &UserId, known: bool) {
        self.codes.give_back(&(owner(from), user.clone()));
        if !known {
            self.codes_pressure.give_back(user);
        }
    }

    /// Lets somebody who is signed in prove that they are who they are.
    pub fn proof(&self, user: &UserId, now: Time) -> Result<(), u64> {
        self.proofs.take(user.clone(), now)
    }

    pub fn forgive_proof(&self, user: &UserId) {
        self.proofs.give_back(user);
    }

    /// Whether to note that an address was throttled: once a minute.
    pub fn tell(&self, from: IpAddr, now: Time) -> bool {
        self.told.take(owner(from), now).is_ok()
    }

    /// Lets go of those who have been quiet.
    pub fn forget_quiet(&self, now: Time) {
        self.address.forget_whole(now);
        self.pair.forget_whole(now);
        self.pressure.forget_whole(now);
        self.codes.forget_whole(now);
        self.codes_pressure.forget_whole(now);
        self.proofs.forget_whole(now);
        self.told.forget_whole(now);
    }
}

/// Somebody who waits, until dropped.
pub struct Delay<'a> {
    throttle: &'a Throttle,
    account: SecretDigest,
}

impl Drop for Delay<'_> {
    fn drop(&mut self) {
        let mut delayed = self.throttle.delayed.lock();
        if let Some(waiting) = delayed.get_mut(&self.account) {
            *waiting -= 1;
            if *waiting == 0 {
                delayed.remove(&self.account);
            }
        }
    }
}

/// What one source is taken to own: an IPv4 address, or the /64 of an IPv6 one.
pub fn owner(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(seconds: i64) -> Time {
        Time::new(1_770_000_000 + seconds).expect("a time")
    }

    #[test]
    fn a_budget_is_a_burst_that_refills() {
        let limiter = Limiter::new(AttemptBudget { burst: 3, each_s: 10 });
        for _ in 0..3 {
            limiter.take("a", time(0)).expect("within the burst");
        }
        assert_eq!(limiter.take("a", time(0)), Err(10));
        assert_eq!(limiter.take("a", time(9)), Err(1));
        limiter.take("b", time(0)).expect("another's");
        limiter.take("a", time(10)).expect("refilled by one");
        assert_eq!(limiter.take("a", time(10)), Err(10));
        limiter.give_back(&"a");
        limiter.take("a", time(10)).expect("given back");
        // A clock that goes back by a day keeps nobody waiting for a day.
        assert_eq!(limiter.take("a", time(-86_400)), Err(10));
        limiter.forget_whole(time(1_000));
        assert!(limiter.whole_at.lock().is_empty());
    }

    #[test]
    fn memory_does_not_grow_with_strangers() {
        let limiter = Limiter::new(AttemptBudget { burst: 3, each_s: 10 });
        for key in 0..KEYS_MAX as i64 * 2 {
            let _ = limiter.take(key, time(0));
        }
        assert!(limiter.whole_at.lock().len() <= KEYS_MAX);
    }

    #[test]
    fn an_account_under_pressure_delays_strangers_and_nobody_else() {
        let throttle = Throttle::new();
        let account = [7; 32];
        let stranger = |at: u8| IpAddr::from([192, 0, 2, at]);
        for at in 0..PRESSURE.burst as u8 {
            let attempt = throttle.attempt(stranger(at), account, false, time(0)).expect("let in");
            assert!(!attempt.delayed);
        }
        let attempt = throttle.attempt(stranger(200), account, false, time(0)).expect("let in");
        assert!(attempt.delayed, "delayed and not refused");
        let own = IpAddr::from([198, 51, 100, 1]);
        assert!(!throttle.attempt(own, account, true, time(0)).expect("let in").delayed);
        assert!(!throttle.attempt(stranger(201), [8; 32], false, time(0)).expect("let in").delayed);
        let waiting: Vec<_> = (0..DELAYED_EACH).map(|_| throttle.delay(account).expect("a place")).collect();
        assert!(throttle.delay(account).is_none());
        assert!(throttle.delay([8; 32]).is_some(), "another account's");
        drop(waiting);
        assert!(throttle.delayed.lock().is_empty());
    }

    #[test]
    fn what_one_source_is() {
        let owner = |text: &str| owner(text.parse().expect("an address")).to_string();
        assert_eq!(owner("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(owner("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }
}
