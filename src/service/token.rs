//! Secrets that open a partner's inventory.
//!
//! `rollcall_`, 32 characters that carry 160 random bits, and 7 that are a
//! CRC-32 of what comes before, so that a secret scanner can tell a token from
//! something that looks like one. Kept nowhere: the store has its SHA-256.

use std::cell::RefCell;
use std::fmt;

use sha2::{Digest, Sha256};

pub const PREFIX: &str = "rollcall_";
const RANDOM_CHARS: usize = 32;
const CHECK_CHARS: usize = 7;

/// Digits and lower-case letters without i, l, o and u, five bits each.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A token in the clear. Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    pub fn generate() -> Token {
        let mut text = format!("{PREFIX}{}", random::<RANDOM_CHARS>());
        text.push_str(&checksum(&text));
        Token(text)
    }

    /// A token that was generated before. Its checksum finds a mistake in it.
    pub fn parse(text: &str) -> Option<Token> {
        let random = text.strip_prefix(PREFIX)?;
        let fits = random.len() == RANDOM_CHARS + CHECK_CHARS && random.bytes().all(|byte| ALPHABET.contains(&byte));
        let (body, check) = text.split_at_checked(text.len().checked_sub(CHECK_CHARS)?)?;
        (fits && check == checksum(body)).then(|| Token(text.to_owned()))
    }

    /// The token's text, to be shown once.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    pub fn sha256(&self) -> [u8; 32] {
        sha256(self.0.as_bytes())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

pub fn sha256(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// A fresh public name for a key.
pub fn key_id() -> String {
    format!("key_{}", random::<12>())
}

/// A fresh name for an account, where nobody gives it one.
pub fn account_id() -> String {
    format!("MA_{}", random::<12>())
}

/// A fresh name for a job.
pub fn job_id() -> String {
    format!("job_{}", random::<12>())
}

/// A fresh name for somebody who signs in.
pub fn user_id() -> String {
    format!("us_{}", random::<12>())
}

/// A fresh secret of 260 random bits, for a session or a link.
pub fn secret() -> String {
    random::<52>()
}

/// A fresh recovery code: 80 random bits, in four groups to be typed.
pub fn recovery_code() -> String {
    let text = random::<16>();
    let groups: Vec<&str> = [0, 4, 8, 12].iter().map(|&at| &text[at..at + 4]).collect();
    groups.join("-")
}

/// A fresh name for a schedule.
pub fn schedule_id() -> String {
    format!("sc_{}", random::<12>())
}

/// A new name for the holder of a lease.
pub fn holder() -> String {
    random::<16>()
}

/// A fresh name for a webhook.
pub fn webhook_id() -> String {
    format!("wh_{}", random::<12>())
}

/// A fresh name for an event that is about no change.
pub fn event_id() -> String {
    format!("evt_{}", random::<26>())
}

/// Random bytes for a secret.
pub fn bytes<const BYTES: usize>() -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    fill(&mut bytes);
    bytes
}

/// A fresh name for a file to be imported. Later ones sort after earlier ones.
pub fn import_id(now: crate::domain::Time) -> String {
    format!("import_{:09x}{}", now.seconds().max(0), random::<IMPORT_RANDOM_CHARS>())
}

const IMPORT_RANDOM_CHARS: usize = 6;

/// Whether [`import_id`] can have given this name.
pub fn is_import_id(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("import_") else { return false };
    let Some((time, random)) = rest.split_at_checked(9) else { return false };
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    time.bytes().all(hex) && random.len() == IMPORT_RANDOM_CHARS && random.bytes().all(|byte| ALPHABET.contains(&byte))
}

/// A fresh name for a request: 48 random bits in hexadecimal.
pub fn request_id() -> String {
    const BYTES: usize = 6;
    /// Asking the system costs about as much for many ids as for one, and
    /// every request needs one.
    const AT_ONCE: usize = 64;
    thread_local! {
        /// Random bytes, of which the first so many are still to be used.
        static POOL: RefCell<([u8; BYTES * AT_ONCE], usize)> = const { RefCell::new(([0; BYTES * AT_ONCE], 0)) };
    }
    let bits = POOL.with_borrow_mut(|(pool, left)| {
        if *left == 0 {
            fill(pool);
            *left = pool.len();
        }
        *left -= BYTES;
        pool[*left..*left + BYTES].iter().fold(0_u64, |bits, &byte| bits << 8 | u64::from(byte))
    });
    format!("req_{bits:012x}")
}

fn random<const CHARS: usize>() -> String {
    let mut bytes = [0; CHARS];
    fill(&mut bytes);
    bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)])).collect()
}

pub(super) fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system gives random bytes");
}

fn checksum(text: &str) -> String {
    let crc = u64::from(crc32fast::hash(text.as_bytes()));
    (0..CHECK_CHARS).rev().map(|at| char::from(ALPHABET[(crc >> (at * 5)) as usize & 31])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_token_has_its_prefix_its_length_and_its_checksum() {
        let token = Token::generate();
        let text = token.reveal();
        assert!(text.starts_with(PREFIX));
        assert_eq!(text.len(), PREFIX.len() + RANDOM_CHARS + CHECK_CHARS);
        let (body, check) = text.split_at(text.len() - CHECK_CHARS);
        assert_eq!(check, checksum(body));
        assert!(!format!("{token:?}").contains(&text[PREFIX.len()..]));
        assert_eq!(Token::parse(text), Some(token.clone()));
        for wrong in ["", "rollcall_", &text[1..], &text[..text.len() - 1], &format!("{text}0"), &text.to_uppercase()] {
            assert_eq!(Token::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn request_ids_differ_within_a_thread_and_across_threads() {
        const EACH: usize = 1_000;
        let make = || (0..EACH).map(|_| request_id()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(make)).collect();
        let ids: HashSet<String> = threads.into_iter().flat_map(|thread| thread.join().expect("ids")).collect();
        assert_eq!(ids.len(), 4 * EACH);
        let well_formed = |id: &String| {
            let digits = id.strip_prefix("req_").unwrap_or_default();
            digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        };
        assert!(ids.iter().all(well_formed));
    }

    #[test]
    fn tokens_differ() {
        let tokens: HashSet<String> = (0..1_000).map(|_| Token::generate().reveal().to_owned()).collect();
        assert_eq!(tokens.len(), 1_000);
    }
}
