//! The database as a file: which one it is however it is named, whose it is,
//! and which server has it.
//!
//! What always holds: a file is known by its device and inode, so links, hard
//! links and bind mounts of it are the same file. A descriptor that is opened
//! here on a database stays open until the process ends: closing any
//! descriptor of a file gives up the locks that the engine holds on it.
//! Deliberately absent: what is in the file.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User, geteuid};
use parking_lot::Mutex;

use crate::store::StoreError;

/// Which file it is, whatever it is called.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub fn of(path: &Path) -> io::Result<FileId> {
        fs::metadata(path).map(|found| FileId::in_metadata(&found))
    }

    fn in_metadata(found: &Metadata) -> FileId {
        FileId { device: found.dev(), inode: found.ino() }
    }

    /// Why this file can no longer be written under its path, if so: what is
    /// written to a file without a name is lost with the process.
    pub fn moved_from(self, path: &Path) -> Option<String> {
        match FileId::of(path) {
            Ok(found) if found == self => None,
            Ok(_) => Some(format!("another file has taken the place of {}", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Some(format!("the file is no longer at {}", path.display()))
            }
            // A folder that cannot be looked into for a moment says nothing.
            Err(_) => None,
        }
    }
}

/// The name of the file itself, if `path` is a symbolic link to it: the engine
/// follows those, and keeps its other files beside that name.
pub(super) fn resolved(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// The file that the engine keeps beside the database, by its suffix.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = resolved(path).into_os_string();
    name.push(suffix);
    name.into()
}

/// Refuses to write a database of another user: the files that the engine makes
/// beside it would be this user's, and the owner could not open them.
pub(super) fn owned(path: &Path, found: &Metadata) -> Result<(), StoreError> {
    let owner = Uid::from_raw(found.uid());
    if owner == geteuid() {
        return Ok(());
    }
    Err(StoreError::Owner { path: path.to_owned(), owner: user(owner), user: user(geteuid()) })
}

/// A user by name, or by number where there is no name.
fn user(id: Uid) -> String {
    User::from_uid(id).ok().flatten().map_or_else(|| format!("#{id}"), |user| user.name)
}

/// Whether a server has this file under another of its names. The engine finds
/// the write-ahead log by name, and a server always has one: where it is not
/// beside this name, reading would miss the newest writes, and writing would
/// damage the file.
pub(super) fn served_by_another_name(path: &Path) -> bool {
    let logged = || beside(path, "-wal").exists();
    // Without the right to open the file there is nothing to protect it from.
    !logged() && matches!(ServeLock::taken(path), Ok(true)) && !logged()
}

/// How many pages were in a write-ahead log that is gone and not yet in the
/// database, if the index of the log, which the engine keeps in the `-shm`, says
/// so. After a regular end neither file is there.
pub(super) fn lost_pages(path: &Path) -> Option<u32> {
    // Two copies of a header of 48 bytes, then how much was moved.
    const LAST_PAGE: usize = 16;
    const MOVED: usize = 96;
    if beside(path, "-wal").exists() {
        return None;
    }
    let index = fs::read(beside(path, "-shm")).ok()?;
    let int = |at: usize| index.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    let lost = int(LAST_PAGE)?.checked_sub(int(MOVED)?)?;
    // It may have been there for the moment before.
    (lost > 0 && !beside(path, "-wal").exists()).then_some(lost)
}

/// The files that this process has locked or had locked.
static LOCKED: Mutex<BTreeMap<FileId, Locked>> = Mutex::new(BTreeMap::new());

struct Locked {
    file: File,
    held: bool,
}

/// The place of the one server of a file, until dropped.
pub(super) struct ServeLock(FileId);

impl ServeLock {
    /// `None` if another process, or this one, has it. The lock is one of
    /// `flock`, which is apart from the engine's own.
    pub fn take(path: &Path) -> io::Result<Option<ServeLock>> {
        let id = FileId::of(path)?;
        let mut all = LOCKED.lock();
        let locked = opened(&mut all, id, path)?;
        if locked.held || !got(locked.file.try_lock())? {
            return Ok(None);
        }
        locked.held = true;
        Ok(Some(ServeLock(id)))
    }

    /// Whether a server has it. Asked with a shared lock, so that commands that
    /// ask at the same time do not take each other for servers.
    pub fn taken(path: &Path) -> io::Result<bool> {
        let id = FileId::of(path)?;
        let mut all = LOCKED.lock();
        let locked = opened(&mut all, id, path)?;
        if locked.held {
            return Ok(true);
        }
        let free = got(locked.file.try_lock_shared())?;
        if free {
            locked.file.unlock()?;
        }
        Ok(!free)
    }
}

/// The file, which stays open from the first time on: closing it would drop the
/// engine's own locks.
fn opened<'a>(all: &'a mut BTreeMap<FileId, Locked>, id: FileId, path: &Path) -> io::Result<&'a mut Locked> {
    Ok(match all.entry(id) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(unknown) => {
            let file = OpenOptions::new().read(true).write(true).open(path)?;
            unknown.insert(Locked { file, held: false })
        }
    })
}

fn got(tried: Result<(), TryLockError>) -> io::Result<bool> {
    match tried {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

impl Drop for ServeLock {
    fn drop(&mut self) {
        if let Some(locked) = LOCKED.lock().get_mut(&self.0) {
            locked.held = false;
            if let Err(error) = locked.file.unlock() {
                tracing::warn!(%error, "cannot give back the lock of the database");
            }
        }
    }
}
