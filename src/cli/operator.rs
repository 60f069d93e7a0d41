//! The actor of a command: the operating system's user of the process, and the user
//! before `sudo`.
//!
//! The real uid is the kernel's word, and so is the login uid, which survives
//! `su` and `sudo`. Anybody can set `SUDO_UID`: it is added, as a
//! claim, only where `sudo` is how people come here, which is for root and for
//! the owner of the database. No other part of the environment counts.
//!
//! The forms are `NAME`, `NAME (login NAME)` and `NAME (sudo claims NAME)`; a
//! NAME has no spaces, and a uid without a name is `uid:1234`.

use std::fs;
use std::os::unix::fs::MetadataExt;

use nix::unistd::{Uid, User};

use crate::domain::Actor;
use crate::store::Location;

/// What the kernel writes where nobody has logged in.
const NO_LOGIN: u32 = u32::MAX;

/// This process as the log names it, on a database that is there by now.
pub fn actor(database: &Location) -> Actor {
    let owner = match database {
        Location::Sqlite(path) => fs::metadata(path).ok().map(|file| file.uid()),
        // Its files, if they are here at all, are the server's.
        Location::Postgres(_) => None,
    };
    let process = Process {
        uid: Uid::current().as_raw(),
        login: fs::read_to_string("/proc/self/loginuid").ok().and_then(|text| text.trim().parse().ok()),
        sudo: std::env::var("SUDO_UID").ok().and_then(|text| text.parse().ok()),
        owner,
    };
    Actor::Command { user: process.named(name) }
}

/// What is known of who runs it, as uids.
#[derive(Clone, Copy)]
struct Process {
    uid: u32,
    login: Option<u32>,
    sudo: Option<u32>,
    /// The database's, if it is a file.
    owner: Option<u32>,
}

impl Process {
    fn named(self, name: impl Fn(u32) -> String) -> String {
        let Process { uid, login, sudo, owner } = self;
        let user = name(uid);
        if let Some(login) = login.filter(|&login| login != uid && login != NO_LOGIN) {
            return format!("{user} (login {})", name(login));
        }
        let may_claim = uid == 0 || owner == Some(uid);
        match sudo.filter(|&sudo| may_claim && sudo != uid) {
            Some(sudo) => format!("{user} (sudo claims {})", name(sudo)),
            None => user,
        }
    }
}

/// The name of a uid, as the machine's directories have it. A name that could
/// be taken for more than one is not used.
fn name(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    let name = user.map(|user| user.name).filter(|name| is_plain(name));
    name.unwrap_or_else(|| format!("uid:{uid}"))
}

fn is_plain(name: &str) -> bool {
    let plain = |char: char| char.is_alphanumeric() || matches!(char, '-' | '_' | '.' | '@' | '$' | '+' | '\\');
    !name.is_empty() && name.len() <= 64 && name.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_runs_a_command() {
        let names = |uid: u32| match uid {
            0 => "root".to_owned(),
            500 => "rollcall".to_owned(),
            1000 => "alice".to_owned(),
            1001 => "bob".to_owned(),
            uid => format!("uid:{uid}"),
        };
        for ((uid, login, sudo, owner), expected) in [
            ((1000, None, None, Some(500)), "alice"),
            ((1234, None, None, None), "uid:1234"),
            // Logged in, and then somebody else.
            ((500, Some(1000), None, Some(500)), "rollcall (login alice)"),
            ((0, Some(1000), Some(1001), Some(500)), "root (login alice)"),
            ((1001, Some(1000), None, Some(500)), "bob (login alice)"),
            ((1000, Some(1000), None, Some(500)), "alice"),
            ((1000, Some(NO_LOGIN), None, Some(500)), "alice"),
            ((0, Some(4242), None, None), "root (login uid:4242)"),
            // Nobody logged in: sudo's word, where sudo is the way.
            ((500, None, Some(1001), Some(500)), "rollcall (sudo claims bob)"),
            ((500, Some(NO_LOGIN), Some(1001), Some(500)), "rollcall (sudo claims bob)"),
            ((0, None, Some(1001), Some(500)), "root (sudo claims bob)"),
            ((0, None, Some(1001), None), "root (sudo claims bob)"),
            ((0, Some(0), Some(1001), None), "root (sudo claims bob)"),
            ((0, None, Some(0), None), "root"),
            // Elsewhere anybody could have set it.
            ((1000, None, Some(1001), Some(500)), "alice"),
            ((500, None, Some(1001), None), "rollcall"),
        ] {
            let process = Process { uid, login, sudo, owner };
            assert_eq!(process.named(names), expected, "uid {uid}, login {login:?}, sudo {sudo:?}, owner {owner:?}");
        }
    }

    #[test]
    fn names_that_could_be_taken_for_more_are_uids() {
        for name in ["root", "alice", "www-data", "corp\\alice", "alice@corp.example", "Åse", "svc$"] {
            assert!(is_plain(name), "{name}");
        }
        for name in ["", "a b", "a (login b)", "a\nb", "a\u{1b}[31m", "a:b", "a\u{202e}b", &"a".repeat(65)] {
            assert!(!is_plain(name), "{name:?}");
        }
        assert_eq!(name(0), "root");
        assert_eq!(name(3_999_999_999), "uid:3999999999");
    }
}
