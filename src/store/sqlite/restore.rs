//! A backup in the place of the database.
//!
//! What always holds: the path has the replaced database, none, or the whole
//! backup; a server refuses a path that has none. What was there is kept under
//! another name with the files that belong to it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::file::{ServeLock, beside, owned, resolved};
use super::{SqliteStore, no_folder, scratch};
use crate::domain::Time;
use crate::store::{Open, Store, StoreError};

/// What became of the database that was there.
pub struct Restored {
    /// Its name now, if there was one.
    pub kept: Option<PathBuf>,
}

/// The endings of the files that belong to a database; its own comes first, so
/// that the path has no database before it loses its write-ahead log.
const PARTS: [&str; 3] = ["", "-wal", "-shm"];

/// Puts a copy of `backup`, which has been checked, in the place of the
/// database at `path`. `None` while a server has that.
pub fn restore(backup: &SqliteStore, path: &Path) -> Result<Option<Restored>, StoreError> {
    let path = &resolved(path);
    let _lock = match fs::metadata(path) {
        Ok(found) => {
            owned(path, &found)?;
            match ServeLock::take(path).map_err(StoreError::Io)? {
                Some(lock) => Some(lock),
                None => return Ok(None),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(StoreError::Io(error)),
    };
    let folder = scratch::folder_of(path);
    let place = scratch::make(folder).map_err(|error| no_folder(path, error))?;
    let copy = place.path().join(scratch::WHOLE);
    backup.backup(&copy)?;
    let kept = put_aside(path).map_err(StoreError::Io)?;
    fs::rename(&copy, path).map_err(StoreError::Io)?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(StoreError::Io)?;
    Ok(Some(Restored { kept }))
}

/// A copy of a backup that an earlier release made, brought to this program's
/// schema. The copy is beside `near`, and goes when the second value is dropped.
pub fn brought_up(backup: &Path, near: &Path) -> Result<(SqliteStore, impl Sized + use<>), StoreError> {
    let place = scratch::make(scratch::folder_of(near)).map_err(|error| no_folder(near, error))?;
    let copy = place.path().join(scratch::PART);
    super::create_private(&copy).map_err(StoreError::Io)?;
    let name = copy.to_str().ok_or_else(|| super::corrupt(format!("the path {} is not UTF-8", copy.display())))?;
    super::connect_bare(backup, super::admit(backup, Open::Read)?)?.execute("VACUUM INTO ?1", [name])?;
    Ok((SqliteStore::open(&copy, Open::Existing)?, place))
}

/// Renames what is at `path` and beside it; the name without an ending.
fn put_aside(path: &Path) -> io::Result<Option<PathBuf>> {
    let there = |name: &Path| PARTS.iter().any(|part| beside(name, part).exists());
    if !there(path) {
        return Ok(None);
    }
    let moment: String = Time::now().to_string().chars().filter(char::is_ascii_alphanumeric).collect();
    let mut aside = beside(path, &format!(".replaced-{moment}"));
    let mut copy = 1;
    while there(&aside) {
        copy += 1;
        aside = beside(path, &format!(".replaced-{moment}-{copy}"));
    }
    for part in PARTS {
        match fs::rename(beside(path, part), beside(&aside, part)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(Some(aside))
}
