//! Where SQLite is tapped: its default file system, with six functions in
//! front of its own.
//!
//! A file stays what SQLite's unix file system made of it; only its table of
//! methods is replaced, by a copy with some of them patched. So locks, shared
//! memory and all else go on as in production. This file is the only one with
//! `unsafe`, and it decides nothing: every call is told to the [`Disk`].

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Once};

use rusqlite::ffi;

use crate::{Disk, Handle};

/// The file system that was SQLite's default.
static REAL: AtomicPtr<ffi::sqlite3_vfs> = AtomicPtr::new(null_mut());

/// What a watched file's `pMethods` points to.
#[repr(C)]
struct Tapped {
    /// First, because SQLite reads it there.
    methods: ffi::sqlite3_io_methods,
    real: *const ffi::sqlite3_io_methods,
    disk: Arc<Disk>,
    handle: Handle,
}

/// Makes the tapped file system SQLite's default, once.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: null asks for the default; what is registered lives for ever.
        let real = unsafe { ffi::sqlite3_vfs_find(null()) };
        assert!(!real.is_null(), "SQLite has no file system");
        REAL.store(real, Ordering::SeqCst);
        // SAFETY: it was just found, and its fields are never written again
        // but for `pNext`, which is set here before anybody may read it.
        let tapped = unsafe { *real };
        let tapped = ffi::sqlite3_vfs {
            pNext: null_mut(),
            zName: c"weak-disk".as_ptr(),
            xOpen: Some(open),
            xDelete: Some(delete),
            ..tapped
        };
        // SAFETY: the table is leaked, so it outlives every use.
        let registered = unsafe { ffi::sqlite3_vfs_register(Box::leak(Box::new(tapped)), 1) };
        assert_eq!(registered, ffi::SQLITE_OK, "the file system is not taken");
    });
}

fn real() -> *mut ffi::sqlite3_vfs {
    REAL.load(Ordering::SeqCst)
}

/// A path as SQLite hands it over.
///
/// # Safety
/// `name` must be null or a C string that lives for `'a`.
unsafe fn path_of<'a>(name: *const c_char) -> Option<&'a Path> {
    if name.is_null() {
        return None;
    }
    // SAFETY: the caller says so.
    let name = unsafe { CStr::from_ptr(name) };
    Some(Path::new(OsStr::from_bytes(name.to_bytes())))
}

/// # Safety
/// Called by SQLite as `sqlite3_vfs.xOpen`, by its rules.
unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    flags_out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite passes null or a path that outlives the file.
    let path = unsafe { path_of(name) };
    let disk = path.and_then(Disk::of);
    if disk.as_ref().is_some_and(|disk| disk.is_cut()) {
        // SAFETY: `file` has room for a file; null says that there is nothing
        // to close.
        unsafe { (*file).pMethods = null() };
        return ffi::SQLITE_CANTOPEN;
    }
    // SAFETY: the real table's function, with the real table and with what
    // SQLite passed; both tables say the same of how large a file is.
    let opened = unsafe { (*real()).xOpen.map(|open| open(real(), name, file, flags, flags_out)) };
    let (Some(ffi::SQLITE_OK), Some(path), Some(disk)) = (opened, path, disk) else {
        return opened.unwrap_or(ffi::SQLITE_ERROR);
    };
    let journal = ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL;
    let made = flags & ffi::SQLITE_OPEN_CREATE != 0 && flags & journal != 0;
    let Ok(handle) = disk.opened(path, made) else { return ffi::SQLITE_CANTOPEN };
    // SAFETY: the real function has opened the file, so its methods are there,
    // in a table that is never written and never freed.
    let (real, table) = unsafe { ((*file).pMethods, *(*file).pMethods) };
    let methods = ffi::sqlite3_io_methods {
        xClose: Some(close),
        xRead: Some(read),
        xWrite: Some(write),
        xTruncate: Some(truncate),
        xSync: Some(sync),
        ..table
    };
    let tapped = Box::into_raw(Box::new(Tapped { methods, real, disk, handle }));
    // SAFETY: the file is open and SQLite uses it from here on; `close` takes
    // the box back.
    unsafe { (*file).pMethods = tapped.cast() };
    ffi::SQLITE_OK
}

/// # Safety
/// Called by SQLite as `sqlite3_vfs.xDelete`, by its rules.
unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    // SAFETY: SQLite passes a path that lives for this call.
    if let Some(path) = unsafe { path_of(name) }
        && let Some(disk) = Disk::of(path)
        && disk.deleted(path, sync != 0).is_err()
    {
        return ffi::SQLITE_IOERR_DELETE;
    }
    // SAFETY: the real table's function, with the real table and with what
    // SQLite passed.
    unsafe { (*real()).xDelete.map_or(ffi::SQLITE_ERROR, |delete| delete(real(), name, sync)) }
}

/// What belongs to a watched file, and its real methods.
///
/// # Safety
/// `file` must be one that `open` tapped and `close` has not closed, and no
/// other call on it may be under way. SQLite's rules for a file say both.
unsafe fn tapped<'a>(file: *mut ffi::sqlite3_file) -> (&'a mut Tapped, &'a ffi::sqlite3_io_methods) {
    // SAFETY: the caller says that `open` put a `Tapped` there, and that there
    // is no other reference to it now.
    let tapped = unsafe { &mut *(*file).pMethods.cast_mut().cast::<Tapped>() };
    // SAFETY: SQLite's own tables are never written and never freed.
    let real = unsafe { &*tapped.real };
    (tapped, real)
}

/// # Safety
/// Called by SQLite as `sqlite3_io_methods.xClose`, by its rules.
unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: by those rules this is the last call on a file that `open` made
    // a box for, so nobody else has it.
    let tapped = unsafe { Box::from_raw((*file).pMethods.cast_mut().cast::<Tapped>()) };
    // SAFETY: the file gets back the table that it was opened with, and that
    // table's function is called on it.
    unsafe {
        (*file).pMethods = tapped.real;
        (*tapped.real).xClose.map_or(ffi::SQLITE_ERROR, |close| close(file))
    }
}

/// # Safety
/// Called by SQLite as `sqlite3_io_methods.xRead`, by its rules.
unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, data: *mut c_void, len: c_int, at: i64) -> c_int {
    // SAFETY: SQLite calls this only as a method of such a file.
    let (tapped, real) = unsafe { tapped(file) };
    if tapped.disk.is_cut() {
        return ffi::SQLITE_IOERR_READ;
    }
    // SAFETY: the file's own function, with what SQLite passed.
    unsafe { real.xRead.map_or(ffi::SQLITE_ERROR, |read| read(file, data, len, at)) }
}

/// # Safety
/// Called by SQLite as `sqlite3_io_methods.xWrite`, by its rules.
unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, data: *const c_void, len: c_int, at: i64) -> c_int {
    // SAFETY: SQLite calls this only as a method of such a file.
    let (tapped, real) = unsafe { tapped(file) };
    // SAFETY: by the rules of `xWrite` there are `len` bytes at `data`.
    let bytes = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), len as usize) };
    if tapped.disk.write(&tapped.handle, at as u64, bytes).is_err() {
        return ffi::SQLITE_IOERR_WRITE;
    }
    // SAFETY: the file's own function, with what SQLite passed.
    unsafe { real.xWrite.map_or(ffi::SQLITE_ERROR, |write| write(file, data, len, at)) }
}

/// # Safety
/// Called by SQLite as `sqlite3_io_methods.xTruncate`, by its rules.
unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, len: i64) -> c_int {
    // SAFETY: SQLite calls this only as a method of such a file.
    let (tapped, real) = unsafe { tapped(file) };
    if tapped.disk.truncate(&tapped.handle, len as u64).is_err() {
        return ffi::SQLITE_IOERR_TRUNCATE;
    }
    // SAFETY: the file's own function, with what SQLite passed.
    unsafe { real.xTruncate.map_or(ffi::SQLITE_ERROR, |truncate| truncate(file, len)) }
}

/// The disk that holds the files for the test has nothing to keep, so it is
/// not asked to sync.
///
/// # Safety
/// Called by SQLite as `sqlite3_io_methods.xSync`, by its rules.
unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: SQLite calls this only as a method of such a file.
    let (tapped, _) = unsafe { tapped(file) };
    match tapped.disk.sync(&mut tapped.handle) {
        Ok(()) => ffi::SQLITE_OK,
        Err(_) => ffi::SQLITE_IOERR_FSYNC,
    }
}
