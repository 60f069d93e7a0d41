//! Passwords: their rules, and their hashes.
//!
//! A hash takes 19 MiB and tens of milliseconds on purpose, so at most two are
//! computed at a time and few callers wait. Callers from known addresses have a
//! queue of their own and go first: a flood of unknown callers does not lock out a
//! user who has signed in from their address before.
//! Invariant: hashing has two threads, and each keeps its working memory, so a
//! flood of sign-ins costs twice 19 MiB permanently and not more. Memory that is
//! allocated for each hash stays with the allocator, once for each thread that
//! ever hashed.
//! Deliberately absent: rules of composition. Length is what helps.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
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

/// Which queue a caller waits in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QueueKind {
    Known,
    Stranger,
}

/// One hash to be made.
struct HashWork {
    params: Params,
    algorithm: Algorithm,
    version: Version,
    password: Vec<u8>,
    salt: Vec<u8>,
    result: SyncSender<Option<Output>>,
}

#[derive(Default)]
struct Queues {
    known: VecDeque<HashWork>,
    strangers: VecDeque<HashWork>,
    /// How many hashes are being made, and the most that ever were at once.
    busy: usize,
    peak: usize,
    closed: bool,
}

#[derive(Default)]
struct HashQueue {
    queues: Mutex<Queues>,
    news: Condvar,
}

pub struct Hasher {
    params: Params,
    /// A hash that no password has, compared with where there is no user.
    nobody: String,
    shared: Arc<HashQueue>,
}

impl Hasher {
    pub fn new(cost: Hashing) -> Hasher {
        let Hashing { memory_kib, passes, lanes } = cost;
        let params = Params::new(memory_kib, passes, lanes, None).unwrap_or(Params::DEFAULT);
        let (m, t, p) = (params.m_cost(), params.t_cost(), params.p_cost());
        // Made by hand: comparing with it costs what comparing costs.
        let nobody = format!("$argon2id$v=19$m={m},t={t},p={p}${}${}", "A".repeat(22), "A".repeat(43));
        let shared = Arc::new(HashQueue::default());
        for _ in 0..AT_A_TIME {
            let (shared, kept) = (shared.clone(), params.block_count());
            std::thread::spawn(move || shared.work(kept));
        }
        Hasher { params, nobody, shared }
    }

    /// A password as it is stored.
    pub fn hash(&self, password: &str) -> Result<String, Full> {
        let mut bytes = [0; 16];
        token::fill(&mut bytes);
        let salt = Salt::new(&bytes).expect("16 bytes are a salt");
        let (algorithm, version) = (Algorithm::Argon2id, Version::V0x13);
        let hash =
            self.queued(QueueKind::Known, self.params.clone(), (algorithm, version), password.as_bytes(), &salt)?;
        let params = (&self.params).try_into().expect("the parameters were checked");
        let version = Some(version.into());
        Ok(PasswordHash { algorithm: algorithm.ident(), version, params, salt: Some(salt), hash }.to_string())
    }

    /// Whether a password is the one that was hashed. Takes as long where
    /// there is none.
    pub fn verify(&self, password: &str, hash: Option<&str>, standing: QueueKind) -> Result<bool, Full> {
        let start = &password.as_bytes()[..password.len().min(BYTES_MAX)];
        let Some(stored) = Stored::read(hash.unwrap_or(&self.nobody)) else { return Ok(false) };
        let Stored { params, algorithm, version, salt, output } = stored;
        let found = self.queued(standing, params, (algorithm, version), start, &salt)?;
        // `Output` compares in constant time.
        Ok(found == Some(output) && hash.is_some() && password.len() <= BYTES_MAX)
    }

    /// How many hashes there were at once, at the most.
    pub fn peak(&self) -> usize {
        self.shared.queues.lock().peak
    }

    fn queued(
        &self,
        standing: QueueKind,
        params: Params,
        (algorithm, version): (Algorithm, Version),
        password: &[u8],
        salt: &[u8],
    ) -> Result<Option<Output>, Full> {
        let (result, made) = sync_channel(1);
        let work = HashWork { params, algorithm, version, password: password.to_vec(), salt: salt.to_vec(), result };
        {
            let mut queues = self.shared.queues.lock();
            let (queue, max) = match standing {
                QueueKind::Known => (&mut queues.known, KNOWN_MAX),
                QueueKind::Stranger => (&mut queues.strangers, STRANGERS_MAX),
            };
            if queue.len() >= max {
                return Err(Full);
            }
            queue.push_back(work);
        }
        self.shared.news.notify_one();
        // A hashing thread ends with its hasher only.
        Ok(made.recv().unwrap_or_default())
    }
}

impl Drop for Hasher {
    fn drop(&mut self) {
        self.shared.queues.lock().closed = true;
        self.shared.news.notify_all();
    }
}

impl HashQueue {
    /// A hashing thread: takes work until its hasher is dropped, and keeps
    /// `kept` blocks of memory.
    fn work(&self, kept: usize) {
        let mut memory: Vec<Block> = Vec::new();
        while let Some(work) = self.next() {
            let made = work.run(&mut memory);
            // A hash that was made at a higher cost leaves nothing behind.
            if memory.len() > kept {
                memory.truncate(kept);
                memory.shrink_to_fit();
            }
            self.queues.lock().busy -= 1;
            // The caller may have gone.
            let _ = work.result.send(made);
        }
    }

    fn next(&self) -> Option<HashWork> {
        let mut queues = self.queues.lock();
        loop {
            if queues.closed {
                return None;
            }
            let next = queues.known.pop_front().or_else(|| queues.strangers.pop_front());
            if let Some(work) = next {
                queues.busy += 1;
                queues.peak = queues.peak.max(queues.busy);
                return Some(work);
            }
            self.news.wait(&mut queues);
        }
    }
}

impl HashWork {
    fn run(&self, memory: &mut Vec<Block>) -> Option<Output> {
        let blocks = self.params.block_count();
        if memory.len() < blocks {
            memory.resize(blocks, Block::default());
        }
        let length = self.params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN);
        let argon = Argon2::new(self.algorithm, self.version, self.params.clone());
        let mut out = [0; Output::MAX_LENGTH];
        let out = out.get_mut(..length)?;
        argon.hash_password_into_with_memory(&self.password, &self.salt, out, memory).ok()?;
        Output::new(out).ok()
    }
}

/// A stored hash, taken apart.
struct Stored {
    params: Params,
    algorithm: Algorithm,
    version: Version,
    salt: Salt,
    output: Output,
}

impl Stored {
    /// `None` for what is no hash of ours.
    fn read(text: &str) -> Option<Stored> {
        let hash = PasswordHash::new(text).ok()?;
        let version = hash.version.unwrap_or(Version::V0x13.into());
        Some(Stored {
            params: Params::try_from(&hash).ok()?,
            algorithm: Algorithm::try_from(hash.algorithm.as_str()).ok()?,
            version: Version::try_from(version).ok()?,
            salt: hash.salt?,
            output: hash.hash?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(hasher.verify("a good password", Some(&hash), QueueKind::Stranger).expect("a place"));
        assert!(!hasher.verify("a good passwore", Some(&hash), QueueKind::Stranger).expect("a place"));
        assert!(!hasher.verify("a good password", None, QueueKind::Stranger).expect("a place"));
        // After a rise of the cost, older hashes still verify.
        assert!(Hasher::new(CHEAP).verify("a good password", Some(&hash), QueueKind::Known).expect("a place"));
    }

    #[test]
    fn comparing_with_nobody_is_a_whole_hash() {
        let hasher = Hasher::new(Hashing::default());
        let parsed = PasswordHash::new(&hasher.nobody).expect("well formed");
        assert_eq!(parsed.hash.expect("a hash").as_bytes().len(), 32);
        let took = |hash: Option<&str>| {
            let started = std::time::Instant::now();
            assert!(!hasher.verify("some password", hash, QueueKind::Known).expect("a place"));
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
        // Costly, so that the threads are busy while the queues are filled.
        let hasher = Hasher::new(Hashing { memory_kib: 19 * 1_024, passes: 20, lanes: 1 });
        let waits = |known: usize, strangers: usize| {
            let queues = hasher.shared.queues.lock();
            (queues.busy, queues.known.len(), queues.strangers.len()) == (AT_A_TIME, known, strangers)
        };
        std::thread::scope(|scope| {
            let stranger = || scope.spawn(|| hasher.verify("x", None, QueueKind::Stranger).is_ok());
            let mut waiting: Vec<_> = (0..AT_A_TIME).map(|_| stranger()).collect();
            while !waits(0, 0) {
                std::thread::yield_now();
            }
            waiting.extend((0..STRANGERS_MAX).map(|_| stranger()));
            while !waits(0, STRANGERS_MAX) {
                std::thread::yield_now();
            }
            assert!(hasher.verify("x", None, QueueKind::Stranger).is_err(), "one more stranger");
            let known = scope.spawn(|| hasher.verify("x", None, QueueKind::Known).is_ok());
            assert!(known.join().expect("ended"), "a known caller has a place to wait");
            assert!(!hasher.shared.queues.lock().strangers.is_empty(), "and goes first");
            // The rest need not be made.
            hasher.shared.queues.lock().strangers.clear();
            waiting.into_iter().for_each(|one| assert!(one.join().expect("ended")));
        });
        assert_eq!(hasher.peak(), AT_A_TIME);
    }

    #[test]
    fn a_costlier_hash_is_read_and_leaves_no_memory_behind() {
        let costly = Hasher::new(Hashing { memory_kib: 1_024, passes: 1, lanes: 2 });
        let stored = costly.hash("a good password").expect("a place");
        let (shared, mut memory) = (Stored::read(&stored).expect("a hash"), Vec::new());
        let (result, _) = sync_channel(1);
        let Stored { params, algorithm, version, salt, output } = shared;
        let work =
            HashWork { params, algorithm, version, password: b"a good password".to_vec(), salt: salt.to_vec(), result };
        assert!(work.run(&mut memory) == Some(output));
        assert_eq!(memory.len(), 1_024);
        for broken in
            ["", "$argon2id$", "$2b$12$abcdefghijklmnopqrstuv", "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA"]
        {
            assert!(!costly.verify("a good password", Some(broken), QueueKind::Known).expect("a place"), "{broken}");
        }
    }
}
