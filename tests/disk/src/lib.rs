//! A disk whose power can be cut, for tests of what must survive that.
//!
//! SQLite's own file system does the work. For the files of a watched
//! directory, every write, truncation, sync, creation and deletion goes
//! through a [`Disk`] first, which knows what a real disk would have kept by
//! now: what was synced. Once the power is gone every call fails, and
//! [`Disk::remains`] says what may be found: of each file what was synced, and
//! of what was not any part, sector by sector, in any order, some torn.
//!
//! What it is strict about: an entry of a directory is kept only once the
//! directory was synced, and after a failed sync the writes it was for are
//! never tried again, as Linux has it. What it believes: that a sector which
//! is not written to does not change, as SQLite does too.
//!
//! Deliberately absent: shared memory and locks, which no disk keeps, and the
//! directory's other files.

mod random;
mod vfs;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

pub use random::Random;

/// What a disk writes whole, or tears.
const SECTOR: u64 = 512;

/// How a disk treats those who trust it.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    /// The power goes at this call, counted from 1.
    pub cut_at: u64,
    pub syncs: Syncs,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Syncs {
    /// What was synced is kept.
    Kept,
    /// They are said to be done, and are not.
    Ignored,
    /// Of a file whose name ends like this, one fails: this one, counted from
    /// 1, of those that had something to keep.
    OneFails { name: &'static str, at: u64 },
}

/// What was done, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    Wrote(OsString),
    Synced(OsString),
    /// By whoever uses the disk; see [`Disk::note`].
    Noted(u64),
}

/// A watched directory.
pub struct Disk {
    directory: PathBuf,
    /// Beside the state, so that reads need not wait for it.
    cut: AtomicBool,
    state: Mutex<State>,
}

struct State {
    plan: Plan,
    random: Random,
    calls: u64,
    /// Syncs that could have been the one to fail.
    syncs: u64,
    failed: bool,
    inodes: Vec<Inode>,
    /// What the directory's names mean to whoever asks.
    entries: BTreeMap<OsString, usize>,
    /// What they would mean after a power cut, or might, if it is another.
    kept: BTreeMap<OsString, usize>,
    trace: Vec<Event>,
}

#[derive(Clone, Default)]
struct Inode {
    /// What the disk has for certain.
    kept: Vec<u8>,
    pending: Vec<Op>,
    /// Failed syncs; everyone who has the file open hears of each once.
    failures: u32,
}

#[derive(Clone)]
enum Op {
    Write { at: u64, data: Vec<u8> },
    Truncate { len: u64 },
}

/// An open file.
struct Handle {
    name: OsString,
    inode: usize,
    /// Whether its next sync is to sync the directory too: SQLite does so for
    /// each log and journal that it may have created.
    directory_too: bool,
    failures_heard: u32,
}

/// The power is gone, or a sync failed.
#[derive(Debug)]
struct Failed;

static WATCHED: Mutex<Vec<Weak<Disk>>> = Mutex::new(Vec::new());

/// A panic elsewhere is told by its own test.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk {
    /// Puts a directory on such a disk, for all connections that this process
    /// opens from now on. What is in it already is kept.
    pub fn watch(directory: &Path, plan: Plan) -> std::io::Result<Arc<Disk>> {
        vfs::install();
        // SQLite names files by their real paths.
        let directory = directory.canonicalize()?;
        let (mut inodes, mut entries) = (Vec::new(), BTreeMap::new());
        for entry in std::fs::read_dir(&directory)? {
            let entry = entry?;
            entries.insert(entry.file_name(), inodes.len());
            inodes.push(Inode { kept: std::fs::read(entry.path())?, ..Inode::default() });
        }
        let kept = entries.clone();
        Ok(Disk::new(directory, plan, inodes, entries, kept))
    }

    /// What a killed process leaves to the next one: everything it wrote, in
    /// another directory, and the same doubt about what the disk has of it.
    /// The power must be cut, so that nothing is written any more.
    pub fn after_a_kill(&self, directory: &Path, plan: Plan) -> std::io::Result<Arc<Disk>> {
        assert!(self.is_cut(), "it is still writing");
        let directory = directory.canonicalize()?;
        let state = lock(&self.state);
        for name in state.entries.keys() {
            std::fs::copy(self.directory.join(name), directory.join(name))?;
        }
        Ok(Disk::new(directory, plan, state.inodes.clone(), state.entries.clone(), state.kept.clone()))
    }

    fn new(
        directory: PathBuf,
        plan: Plan,
        inodes: Vec<Inode>,
        entries: BTreeMap<OsString, usize>,
        kept: BTreeMap<OsString, usize>,
    ) -> Arc<Disk> {
        let random = Random::new(plan.seed);
        let state = State { random, plan, calls: 0, syncs: 0, failed: false, inodes, entries, kept, trace: Vec::new() };
        let disk = Arc::new(Disk { directory, cut: AtomicBool::new(false), state: Mutex::new(state) });
        let mut watched = lock(&WATCHED);
        watched.retain(|disk| disk.strong_count() > 0);
        watched.push(Arc::downgrade(&disk));
        disk
    }

    /// The disk that a file is on, if it is watched.
    fn of(path: &Path) -> Option<Arc<Disk>> {
        let directory = path.parent()?;
        lock(&WATCHED).iter().filter_map(Weak::upgrade).find(|disk| disk.directory == directory)
    }

    pub fn cut_power(&self) {
        let _state = lock(&self.state);
        self.cut.store(true, Ordering::SeqCst);
    }

    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }

    /// Whether the sync that was to fail has failed.
    pub fn has_failed(&self) -> bool {
        lock(&self.state).failed
    }

    /// How many calls there were.
    pub fn calls(&self) -> u64 {
        lock(&self.state).calls
    }

    /// Whether a file had writes that were not synced.
    pub fn has_pending(&self, name: &str) -> bool {
        let state = lock(&self.state);
        state.entries.get(OsStr::new(name)).is_some_and(|inode| !state.inodes[*inode].pending.is_empty())
    }

    /// Puts something of the caller's into the trace.
    pub fn note(&self, what: u64) {
        lock(&self.state).trace.push(Event::Noted(what));
    }

    pub fn trace(&self) -> Vec<Event> {
        lock(&self.state).trace.clone()
    }

    /// What may be found after the power was cut: another answer each time.
    pub fn remains(&self) -> BTreeMap<OsString, Vec<u8>> {
        let mut state = lock(&self.state);
        let State { random, inodes, entries, kept, .. } = &mut *state;
        let names: BTreeSet<&OsString> = entries.keys().chain(kept.keys()).collect();
        let mut remains = BTreeMap::new();
        for name in names {
            let inode = if random.one_in(2) { entries.get(name) } else { kept.get(name) };
            if let Some(inode) = inode {
                remains.insert(name.clone(), inodes[*inode].after_a_cut(random));
            }
        }
        remains
    }

    /// Begins a call that changes something, or refuses it.
    fn change(&self) -> Result<MutexGuard<'_, State>, Failed> {
        let mut state = lock(&self.state);
        if self.is_cut() {
            return Err(Failed);
        }
        state.calls += 1;
        if state.calls >= state.plan.cut_at {
            // This call is the last one. It fails, and whether it did
            // something is for `remains` to say.
            self.cut.store(true, Ordering::SeqCst);
        }
        Ok(state)
    }

    fn outcome(&self) -> Result<(), Failed> {
        if self.is_cut() { Err(Failed) } else { Ok(()) }
    }

    /// A file that was just opened.
    fn opened(&self, path: &Path, directory_too: bool) -> std::io::Result<Handle> {
        let mut state = lock(&self.state);
        let name = path.file_name().unwrap_or_default().to_owned();
        let known = state.entries.get(&name).copied();
        let inode = match known {
            Some(inode) => inode,
            None => {
                // Made just now, or by other means than SQLite's.
                let pending = vec![Op::Write { at: 0, data: std::fs::read(path)? }];
                let inode = state.inodes.len();
                state.inodes.push(Inode { pending, ..Inode::default() });
                state.entries.insert(name.clone(), inode);
                inode
            }
        };
        let failures_heard = state.inodes[inode].failures;
        Ok(Handle { name, inode, directory_too, failures_heard })
    }

    fn write(&self, handle: &Handle, at: u64, data: &[u8]) -> Result<(), Failed> {
        let mut state = self.change()?;
        state.inodes[handle.inode].pending.push(Op::Write { at, data: data.to_vec() });
        state.trace.push(Event::Wrote(handle.name.clone()));
        self.outcome()
    }

    fn truncate(&self, handle: &Handle, len: u64) -> Result<(), Failed> {
        let mut state = self.change()?;
        state.inodes[handle.inode].pending.push(Op::Truncate { len });
        self.outcome()
    }

    fn sync(&self, handle: &mut Handle) -> Result<(), Failed> {
        let mut state = self.change()?;
        self.outcome()?;
        let State { plan, random, syncs, failed, inodes, entries, kept, trace, .. } = &mut *state;
        let inode = &mut inodes[handle.inode];
        match plan.syncs {
            Syncs::Kept => {}
            Syncs::Ignored => return Ok(()),
            Syncs::OneFails { name, at } => {
                if handle.name.to_string_lossy().ends_with(name) && !inode.pending.is_empty() {
                    *syncs += 1;
                    if *syncs == at {
                        *failed = true;
                        inode.failures += 1;
                        inode.kept = inode.after_a_cut(random);
                        inode.pending.clear();
                    }
                }
            }
        }
        if inode.failures > handle.failures_heard {
            handle.failures_heard = inode.failures;
            return Err(Failed);
        }
        for op in std::mem::take(&mut inode.pending) {
            op.apply(&mut inode.kept);
        }
        if std::mem::take(&mut handle.directory_too) {
            kept.clone_from(entries);
        }
        trace.push(Event::Synced(handle.name.clone()));
        Ok(())
    }

    fn deleted(&self, path: &Path, directory_too: bool) -> Result<(), Failed> {
        let mut state = self.change()?;
        state.entries.remove(path.file_name().unwrap_or_default());
        self.outcome()?;
        if directory_too && state.plan.syncs != Syncs::Ignored {
            let State { entries, kept, .. } = &mut *state;
            kept.clone_from(entries);
        }
        Ok(())
    }
}

impl Inode {
    /// What was synced, with some of what was not.
    fn after_a_cut(&self, random: &mut Random) -> Vec<u8> {
        let mut found = self.kept.clone();
        // Of 8; that nothing or everything came through is common too.
        let chance = [0, 1, 4, 7, 8][random.below(5) as usize];
        for op in &self.pending {
            let Op::Write { at, data } = op else {
                if random.below(8) < chance {
                    op.apply(&mut found);
                }
                continue;
            };
            let end = at + data.len() as u64;
            let mut from = *at;
            while from < end {
                let to = end.min((from / SECTOR + 1) * SECTOR);
                let sector = &data[(from - at) as usize..(to - at) as usize];
                if random.below(8) < chance {
                    put(&mut found, from, sector);
                } else if chance > 0 && random.one_in(16) {
                    put(&mut found, from, &sector[..random.below(sector.len() as u64) as usize]);
                }
                from = to;
            }
        }
        if found.len() > self.kept.len() && random.one_in(3) {
            // The data came through, and not that the file has grown.
            found.truncate(self.kept.len() + random.below((found.len() - self.kept.len()) as u64) as usize);
        }
        found
    }
}

impl Op {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Op::Write { at, data } => put(file, *at, data),
            Op::Truncate { len } => file.resize(*len as usize, 0),
        }
    }
}

/// Writes into a file, which reads as zeros where nothing was written.
fn put(file: &mut Vec<u8>, at: u64, data: &[u8]) {
    let (at, end) = (at as usize, at as usize + data.len());
    if file.len() < end {
        file.resize(end, 0);
    }
    file[at..end].copy_from_slice(data);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(seed: u64, syncs: Syncs) -> (tempfile::TempDir, Arc<Disk>) {
        let directory = tempfile::tempdir().expect("a directory");
        let disk = Disk::watch(directory.path(), Plan { seed, cut_at: u64::MAX, syncs }).expect("watched");
        (directory, disk)
    }

    fn connect(directory: &tempfile::TempDir) -> rusqlite::Connection {
        let connection = rusqlite::Connection::open(directory.path().join("x.db")).expect("opens");
        // Without it, not even a commit's end is synced: the journal's deletion.
        connection.pragma_update(None, "journal_mode", "WAL").expect("set");
        connection.execute_batch("CREATE TABLE t (x)").expect("written");
        connection
    }

    /// How many rows are found after a power cut, if it is a database at all.
    fn rows(remains: BTreeMap<OsString, Vec<u8>>) -> rusqlite::Result<i64> {
        let directory = tempfile::tempdir().expect("a directory");
        for (name, content) in remains {
            std::fs::write(directory.path().join(name), content).expect("written");
        }
        let connection = rusqlite::Connection::open(directory.path().join("x.db"))?;
        connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0))
    }

    #[test]
    fn what_was_synced_is_kept_and_what_was_not_may_be_lost() {
        for (syncs, kept) in [(Syncs::Kept, true), (Syncs::Ignored, false)] {
            let (directory, disk) = disk(1, syncs);
            let connection = connect(&directory);
            connection.execute_batch("INSERT INTO t VALUES (1), (2)").expect("written");
            disk.cut_power();
            let found: Vec<_> = (0..20).map(|_| rows(disk.remains())).collect();
            assert_eq!(found.iter().all(|rows| *rows == Ok(2)), kept, "{found:?}");
        }
    }

    #[test]
    fn without_power_every_call_fails() {
        let (directory, disk) = disk(1, Syncs::Kept);
        let connection = connect(&directory);
        disk.cut_power();
        assert!(connection.execute_batch("INSERT INTO t VALUES (1)").is_err());
        assert!(rusqlite::Connection::open(directory.path().join("x.db")).is_err());
    }

    #[test]
    fn a_sync_fails_once() {
        // The log's header and the table have a sync each.
        let (directory, disk) = disk(1, Syncs::OneFails { name: "-wal", at: 3 });
        let connection = connect(&directory);
        assert!(connection.execute_batch("INSERT INTO t VALUES (1)").is_err());
        assert!(disk.has_failed());
        connection.execute_batch("INSERT INTO t VALUES (2)").expect("written");
        disk.cut_power();
        assert_eq!(rows(disk.remains()), Ok(1));
    }

    #[test]
    fn unsynced_sectors_are_kept_torn_or_lost_each_for_itself() {
        let pending = vec![Op::Write { at: 100, data: vec![1; 4_000] }, Op::Truncate { len: 2_000 }];
        let inode = Inode { kept: vec![2; 3_000], pending, failures: 0 };
        let mut random = Random::new(1);
        let mut sizes = BTreeSet::new();
        for _ in 0..500 {
            let found = inode.after_a_cut(&mut random);
            assert!(found[..100].iter().all(|byte| *byte == 2), "what was not written to is as it was");
            sizes.insert(found.len());
            // A sector changes once at most, from what was written to what was there.
            for sector in found.chunks(SECTOR as usize).skip(1) {
                let changes = sector.windows(2).filter(|pair| pair[0] != pair[1]).count();
                assert!(changes <= 2, "{sector:?}");
            }
        }
        assert!(sizes.contains(&2_000) && sizes.contains(&3_000) && sizes.contains(&4_100), "{sizes:?}");
        assert!(sizes.len() > 10, "{sizes:?}");
    }
}
