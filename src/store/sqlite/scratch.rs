//! Folders in which a copy is written before it gets its name.
//!
//! What always holds: a folder goes with the copy that was written in it, or
//! with the next copy into the same folder where that process was killed. A
//! living process holds a lock in its folder. Only files of our own names are
//! removed, in folders of our own names.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

/// The copy while it is written.
pub(super) const PART: &str = "backup.db";
/// The copy once it is whole, while a database is restored.
pub(super) const WHOLE: &str = "whole.db";
const PREFIX: &str = ".rollcall-backup-";
/// What `tempfile` puts behind a prefix.
const RANDOM_CHARS: usize = 6;
const LOCK: &str = "lock";
/// The lock before it is held.
const LOCKING: &str = "locking";
const NAMES: [&str; 7] = [PART, WHOLE, "backup.db-journal", "backup.db-wal", "backup.db-shm", LOCKING, LOCK];
/// How old a folder without a lock is before it counts as left behind: earlier
/// releases made none.
const UNLOCKED: Duration = Duration::from_secs(24 * 3_600);

/// The folder that a file of this name is in.
pub(super) fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A scratch folder, locked until it is dropped.
pub(super) struct Scratch {
    folder: TempDir,
    _lock: File,
}

impl Scratch {
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Makes a scratch folder, and removes those of processes that were killed.
pub(super) fn make(within: &Path) -> io::Result<Scratch> {
    sweep(within);
    let folder = tempfile::Builder::new().prefix(PREFIX).rand_bytes(RANDOM_CHARS).tempdir_in(within)?;
    // It has its name once it is held: another process that finds it knows.
    let lock = OpenOptions::new().create_new(true).write(true).open(folder.path().join(LOCKING))?;
    lock.lock()?;
    fs::rename(folder.path().join(LOCKING), folder.path().join(LOCK))?;
    Ok(Scratch { folder, _lock: lock })
}

fn sweep(within: &Path) {
    let Ok(entries) = fs::read_dir(within) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let random = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let ours =
            random.is_some_and(|text| text.len() == RANDOM_CHARS && text.bytes().all(|b| b.is_ascii_alphanumeric()));
        if ours && entry.file_type().is_ok_and(|kind| kind.is_dir()) && left_behind(&entry.path()) {
            remove(&entry.path());
        }
    }
}

/// Whether the process that made this folder has ended.
fn left_behind(folder: &Path) -> bool {
    match File::open(folder.join(LOCK)) {
        Ok(lock) => lock.try_lock().is_ok(),
        Err(_) => {
            let made = fs::metadata(folder).and_then(|found| found.modified());
            let age = made.ok().and_then(|made| SystemTime::now().duration_since(made).ok());
            age.is_some_and(|age| age > UNLOCKED)
        }
    }
}

/// Removes a folder and our files in it; with anything else in it, it stays.
fn remove(folder: &Path) {
    let paths: Vec<PathBuf> = NAMES.iter().map(|name| folder.join(name)).collect();
    for path in paths {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "cannot remove {}", path.display());
            }
            _ => {}
        }
    }
    if let Err(error) = fs::remove_dir(folder) {
        tracing::warn!(%error, "cannot remove {}, which a killed backup left", folder.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_killed_backup_left_is_removed() {
        let place = tempfile::tempdir().expect("a folder");
        let path = |name: &str| place.path().join(name);
        let put = |folder: &str, files: &[&str]| {
            fs::create_dir(path(folder)).expect("a folder");
            files.iter().for_each(|file| fs::write(path(folder).join(file), "x").expect("written"));
        };
        put(".rollcall-backup-killed", &[PART, LOCK]);
        put(".rollcall-backup-recent", &[PART]);
        put(".rollcall-backup-theirs", &[PART, LOCK, "contract.pdf"]);
        put(".rollcall-backup-of-mine", &[PART, LOCK]);
        fs::write(path(".rollcall-backup-afile1"), "x").expect("written");
        let living = make(place.path()).expect("made");
        let second = make(place.path()).expect("made");
        for (name, stays) in [
            (".rollcall-backup-killed", false),
            (".rollcall-backup-recent", true),
            (".rollcall-backup-theirs/contract.pdf", true),
            (".rollcall-backup-of-mine/backup.db", true),
            (".rollcall-backup-afile1", true),
        ] {
            assert_eq!(path(name).exists(), stays, "{name}");
        }
        let of = living.path().to_owned();
        assert!(of.join(LOCK).exists() && second.path().join(LOCK).exists());
        drop(living);
        assert!(!of.exists());
    }
}
