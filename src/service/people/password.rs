//! Passwords: what they must be, and their hashes.
//!
//! A hash takes 19 MiB and tens of milliseconds on purpose, so at most two are
//! made at a time and few wait. Who is known waits in a line of their own and
//! goes first: a flood of strangers does not keep anybody out who has signed in
//! from their address before.
//! Deliberately absent: rules of composition. Length is what helps.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use parking_lot::{Condvar, Mutex};

use super::Hashing;
use crate::service::token;

pub const CHARS_MIN: usize = 12;
pub const BYTES_MAX: usize = 1_000;

/// Hashes at a time.
const AT_A_TIME: usize = 2;
/// How many strangers wait for one; further ones are sent away.
const STRANGERS_MAX: usize = 16;
/// How many of the others.
const KNOWN_MAX: usize = 64;

/// The shortest part of an address that a password may not contain. A shorter
/// one is in half of all passwords by chance.
const LOCAL_PART_MIN: usize = 3;

/// The commonest passwords of twelve characters or more, in lower case. What
/// is a row of keys or a word twice is found here and not by rules.
const COMMON: &[&str] = &[
    "000000000000",
    "111111111111",
    "111222333444",
    "112233445566",
    "121212121212",
    "123123123123",
    "123412341234",
    "1234567890-=",
    "123456123456",
    "123456654321",
    "123456789000",
    "123456789012",
    "1234567890123",
    "12345678901234",
    "123456789012345",
    "1234567890123456",
    "12345678901234567890",
    "12345678910",
    "1234567891011",
    "123456789101112",
    "123456789123",
    "123456789123456789",
    "123456789987654321",
    "1234567890qwertyuiop",
    "123456789abc",
    "123456789qwe",
    "1q2w3e4r5t6y",
    "1q2w3e4r5t6y7u",
    "1q2w3e4r5t6y7u8i",
    "1q2w3e4r5t6y7u8i9o0p",
    "1qaz2wsx3edc",
    "1qaz2wsx3edc4rfv",
    "987654321012",
    "999999999999",
    "aaaaaaaaaaaa",
    "abc123456789",
    "abcabcabcabc",
    "abcd12345678",
    "abcdefghijkl",
    "abcdefghijklm",
    "abcdefghijklmnop",
    "abcdefghijklmnopqrstuvwxyz",
    "administrator",
    "adminadminadmin",
    "admin1234567",
    "administrator1",
    "administrator123",
    "asdasdasdasd",
    "asdfasdfasdf",
    "asdfghjkl123",
    "asdfghjklqwertyuiop",
    "changeme1234",
    "changemechangeme",
    "changemenow!",
    "correcthorsebatterystaple",
    "correct horse battery staple",
    "footballfootball",
    "iloveyou1234",
    "iloveyouiloveyou",
    "iloveyousomuch",
    "letmeinletmein",
    "letmeinplease",
    "liverpoolfc1",
    "mypassword123",
    "passpasspass",
    "passw0rd1234",
    "passwordpassword",
    "password1234",
    "password12345",
    "password123456",
    "password12345678",
    "password123!",
    "password1234!",
    "passwort1234",
    "poiuytrewqasdfghjkl",
    "q1w2e3r4t5y6",
    "q1w2e3r4t5y6u7i8o9p0",
    "qazwsxedcrfv",
    "qazwsxedcrfvtgb",
    "qwer1234qwer",
    "qwerasdfzxcv",
    "qwerqwerqwer",
    "qwerty123456",
    "qwerty1234567",
    "qwerty123456789",
    "qwertyqwerty",
    "qwertyuiop[]",
    "qwertyuiop12",
    "qwertyuiop123",
    "qwertyuiop1234567890",
    "qwertyuiopasdfghjkl",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwe123qwe123",
    "rollcallrollcall",
    "rollcall1234",
    "supersecretpassword",
    "testtesttest",
    "trustno1trustno1",
    "unknownunknown",
    "welcome12345",
    "welcomewelcome",
    "welcome123456",
    "zaq12wsxcde3",
    "zxcvbnm123456",
    "zxcvbnmasdfghjkl",
    "zxcvbnmasdfghjklqwertyuiop",
];

/// What is wrong with a password as somebody's new one, as the end of the
/// sentence "the password …".
pub fn weakness(password: &str, email: &str) -> Option<String> {
    if password.chars().count() < CHARS_MIN {
        return Some(format!("must have at least {CHARS_MIN} characters"));
    }
    if password.len() > BYTES_MAX {
        return Some(format!("must have at most {BYTES_MAX} bytes"));
    }
    let lower = password.to_lowercase();
    let local = email.rsplit_once('@').map_or(email, |(local, _)| local);
    if local.chars().count() >= LOCAL_PART_MIN && lower.contains(local) {
        return Some("must not contain your e-mail address".to_owned());
    }
    let mut chars = lower.chars();
    let first = chars.next();
    if COMMON.contains(&lower.trim()) || chars.all(|c| Some(c) == first) {
        return Some("is one of the commonest; choose another".to_owned());
    }
    None
}

/// Too many wait already.
#[derive(Debug)]
pub struct Full;

/// Who wants something hashed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    Known,
    Stranger,
}

#[derive(Default)]
struct Places {
    taken: usize,
    known: usize,
    strangers: usize,
    /// The most that were taken at once.
    peak: usize,
}

pub struct Hasher {
    argon: Argon2<'static>,
    /// A hash of nothing that anybody knows, for who does not exist.
    nobody: String,
    places: Mutex<Places>,
    freed: Condvar,
}

impl Hasher {
    pub fn new(cost: Hashing) -> Hasher {
        let Hashing { memory_kib, passes, lanes } = cost;
        let params = Params::new(memory_kib, passes, lanes, None).unwrap_or(Params::DEFAULT);
        let (m, t, p) = (params.m_cost(), params.t_cost(), params.p_cost());
        // Made by hand: comparing with it costs what comparing costs.
        let nobody = format!("$argon2id$v=19$m={m},t={t},p={p}${}${}", "A".repeat(22), "A".repeat(43));
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        Hasher { argon, nobody, places: Mutex::default(), freed: Condvar::new() }
    }

    /// A password as it is stored.
    pub fn hash(&self, password: &str) -> Result<String, Full> {
        let mut salt = [0; 16];
        token::fill(&mut salt);
        self.placed(Standing::Known, || {
            let hash: PasswordHash = self
                .argon
                .hash_password_with_salt(password.as_bytes(), &salt)
                .expect("the parameters were checked, and any bytes can be hashed");
            hash.to_string()
        })
    }

    /// Whether a password is the one that was hashed. Takes as long where
    /// there is none.
    pub fn verify(&self, password: &str, hash: Option<&str>, standing: Standing) -> Result<bool, Full> {
        let start = &password.as_bytes()[..password.len().min(BYTES_MAX)];
        self.placed(standing, || {
            let right = self.argon.verify_password(start, hash.unwrap_or(&self.nobody)).is_ok();
            right && hash.is_some() && password.len() <= BYTES_MAX
        })
    }

    /// How many hashes there were at once, at the most.
    pub fn peak(&self) -> usize {
        self.places.lock().peak
    }

    fn placed<T>(&self, standing: Standing, work: impl FnOnce() -> T) -> Result<T, Full> {
        let place = self.enter(standing)?;
        let done = work();
        drop(place);
        Ok(done)
    }

    fn enter(&self, standing: Standing) -> Result<Place<'_>, Full> {
        let mut places = self.places.lock();
        match standing {
            Standing::Known => {
                if places.taken >= AT_A_TIME && places.known >= KNOWN_MAX {
                    return Err(Full);
                }
                places.known += 1;
                self.freed.wait_while(&mut places, |places| places.taken >= AT_A_TIME);
                places.known -= 1;
            }
            Standing::Stranger => {
                if (places.taken >= AT_A_TIME || places.known > 0) && places.strangers >= STRANGERS_MAX {
                    return Err(Full);
                }
                places.strangers += 1;
                self.freed.wait_while(&mut places, |places| places.taken >= AT_A_TIME || places.known > 0);
                places.strangers -= 1;
            }
        }
        places.taken += 1;
        places.peak = places.peak.max(places.taken);
        Ok(Place(self))
    }
}

/// One of the places, given back on drop.
struct Place<'a>(&'a Hasher);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.places.lock().taken -= 1;
        // All, since who is woken may have to leave it to somebody else.
        self.0.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const CHEAP: Hashing = Hashing { memory_kib: 8, passes: 1, lanes: 1 };

    #[track_caller]
    fn check_weak(password: &str, expected: Option<&str>) {
        let found = weakness(password, "ana.lima@example.com");
        assert_eq!(found.is_some(), expected.is_some(), "{password:?}: {found:?}");
        if let (Some(found), Some(expected)) = (found, expected) {
            assert!(found.contains(expected), "{password:?}: {found}");
        }
    }

    #[test]
    fn a_password_is_long_and_not_the_first_that_comes_to_mind() {
        check_weak("twelve chars", None);
        check_weak("ünïcödé chars", None);
        check_weak("eleven char", Some("12"));
        check_weak("", Some("12"));
        check_weak("ééééééééééé", Some("12"));
        check_weak("My Ana.Lima is great", Some("e-mail"));
        check_weak("Password1234", Some("commonest"));
        check_weak("zzzzzzzzzzzzzzzzz", Some("commonest"));
        check_weak(&"x1".repeat(500), None);
        check_weak(&"x1y".repeat(334), Some("1000"));
        assert_eq!(weakness("no letter of it matters", "a@b"), None, "a short local part is in anything");
        assert!(COMMON.iter().all(|common| *common == common.to_lowercase()));
    }

    #[test]
    fn a_hash_is_a_standard_string_and_salted() {
        let hasher = Hasher::new(Hashing::default());
        let hash = hasher.hash("a good password").expect("a place");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, hasher.hash("a good password").expect("a place"));
        assert!(hasher.verify("a good password", Some(&hash), Standing::Stranger).expect("a place"));
        assert!(!hasher.verify("a good passwore", Some(&hash), Standing::Stranger).expect("a place"));
        assert!(!hasher.verify("a good password", None, Standing::Stranger).expect("a place"));
        // Whoever raises the cost can still read what was hashed before.
        assert!(Hasher::new(CHEAP).verify("a good password", Some(&hash), Standing::Known).expect("a place"));
    }

    #[test]
    fn comparing_with_nobody_is_a_whole_hash() {
        let hasher = Hasher::new(Hashing::default());
        let parsed = PasswordHash::new(&hasher.nobody).expect("well formed");
        assert_eq!(parsed.hash.expect("a hash").as_bytes().len(), 32);
        let took = |hash: Option<&str>| {
            let started = std::time::Instant::now();
            assert!(!hasher.verify("some password", hash, Standing::Known).expect("a place"));
            started.elapsed()
        };
        let hash = hasher.hash("another one").expect("a place");
        // A busy machine may slow one of them down, but not each time.
        let alike = || {
            let (somebody, nobody) = (took(Some(&hash)), took(None));
            nobody * 3 > somebody && somebody * 3 > nobody
        };
        assert!((0..20).any(|_| alike()));
    }

    #[test]
    fn two_at_a_time_and_few_wait() {
        let hasher = Arc::new(Hasher::new(CHEAP));
        let held: Vec<_> = (0..2).map(|_| hasher.enter(Standing::Stranger).expect("a place")).collect();
        std::thread::scope(|scope| {
            let waiting: Vec<_> = (0..STRANGERS_MAX)
                .map(|_| scope.spawn(|| hasher.verify("x", None, Standing::Stranger).is_ok()))
                .collect();
            while hasher.places.lock().strangers < STRANGERS_MAX {
                std::thread::yield_now();
            }
            assert!(hasher.verify("x", None, Standing::Stranger).is_err(), "one more stranger");
            let known = scope.spawn(|| hasher.verify("x", None, Standing::Known).is_ok());
            while hasher.places.lock().known < 1 {
                std::thread::yield_now();
            }
            assert_eq!(hasher.places.lock().taken, 2);
            drop(held);
            assert!(known.join().expect("ended"), "who is known has a place to wait");
            assert!(waiting.into_iter().all(|one| one.join().expect("ended")));
        });
        assert_eq!(hasher.peak(), 2);
        assert_eq!(hasher.places.lock().taken, 0);
    }
}
