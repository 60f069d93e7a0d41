//! The writer of the audit trail, and of the last use of sessions.
//!
//! A thread of its own, so that no page waits for an import to release the
//! database. Queued entries are written together. Invariant: an entry is written,
//! or logged as one that could not be written.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::domain::Time;
use crate::store::people::{AuditEntry, SecretDigest};
use crate::store::{Store, StoreError};

/// How many notes wait to be written at most.
const LINE_MAX: usize = 10_000;
/// How many are written together.
const TOGETHER: usize = 500;
/// How long the database may be unable to take them.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a reader waits for what is in line.
const FLUSH: Duration = Duration::from_secs(5);

enum AuditNote {
    Audit(AuditEntry),
    Seen(SecretDigest, Time),
    /// All before it is written.
    Flush(SyncSender<()>),
}

pub struct Scribe {
    store: Arc<dyn Store>,
    running: Mutex<Option<Running>>,
}

struct Running {
    line: SyncSender<AuditNote>,
    thread: JoinHandle<()>,
}

impl Scribe {
    pub fn new(store: Arc<dyn Store>) -> Scribe {
        Scribe { store, running: Mutex::new(None) }
    }

    pub fn audit(&self, entry: AuditEntry) {
        self.note(AuditNote::Audit(entry));
    }

    pub fn seen(&self, session: SecretDigest, at: Time) {
        self.note(AuditNote::Seen(session, at));
    }

    /// Waits until all that was noted is written, or not for ever.
    pub fn flush(&self) {
        if self.running.lock().is_none() {
            return;
        }
        let (done, written) = sync_channel(1);
        self.note(AuditNote::Flush(done));
        let _ = written.recv_timeout(FLUSH);
    }

    fn note(&self, note: AuditNote) {
        let mut running = self.running.lock();
        // Begun when there is something to write: most commands have nothing.
        let Running { line, .. } = running.get_or_insert_with(|| {
            let (line, notes) = sync_channel(LINE_MAX);
            let store = self.store.clone();
            Running { line, thread: std::thread::spawn(move || work(&*store, &notes)) }
        });
        match line.try_send(note) {
            Ok(()) => {}
            Err(TrySendError::Full(note) | TrySendError::Disconnected(note)) => lost(&note, "too many are waiting"),
        }
    }
}

impl Drop for Scribe {
    fn drop(&mut self) {
        if let Some(Running { line, thread }) = self.running.get_mut().take() {
            drop(line);
            let _ = thread.join();
        }
    }
}

fn work(store: &dyn Store, notes: &Receiver<AuditNote>) {
    while let Ok(first) = notes.recv() {
        let batch: Vec<AuditNote> = std::iter::once(first).chain(notes.try_iter().take(TOGETHER - 1)).collect();
        if let Err(error) = write(store, &batch) {
            batch.iter().for_each(|note| lost(note, &error.to_string()));
        }
        for note in batch {
            if let AuditNote::Flush(done) = note {
                let _ = done.try_send(());
            }
        }
    }
}

fn write(store: &dyn Store, batch: &[AuditNote]) -> Result<(), StoreError> {
    if batch.iter().all(|note| matches!(note, AuditNote::Flush(_))) {
        return Ok(());
    }
    let since = Instant::now();
    loop {
        let written = store.draft_people(|people| {
            for note in batch {
                match note {
                    AuditNote::Audit(entry) => people.put_audit(entry)?,
                    AuditNote::Seen(session, at) => people.seen(session, *at)?,
                    AuditNote::Flush(_) => {}
                }
            }
            Ok(())
        });
        match written {
            Ok(()) => return Ok(()),
            Err(StoreError::Busy | StoreError::Full) if since.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(200));
            }
            Err(error) => return Err(error),
        }
    }
}

/// The log has what the trail cannot have.
fn lost(note: &AuditNote, reason: &str) {
    match note {
        AuditNote::Audit(AuditEntry { who, what, about, refused, .. }) => {
            tracing::error!(%who, %what, ?about, ?refused, reason, "an entry of the audit trail was not written");
        }
        AuditNote::Seen(..) | AuditNote::Flush(_) => {}
    }
}
