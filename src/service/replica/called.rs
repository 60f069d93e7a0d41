//! The days on which numbers were last called, kept beside the log.
//!
//! A partner has one document for each day, with the numbers that any node was
//! asked about on it, and one that says since when all nodes record. Nodes store
//! what they recorded once a minute and when they end, in transactions of their
//! own, so a call never waits for the database; a node that is killed loses a
//! minute of it at the most.
//!
//! Invariants: a document grows by union within a transaction, so nodes lose
//! nothing of each other; days before the last [`DAYS_KEPT`] are deleted; what
//! cannot be stored now is stored later.
//! Deliberately absent: the log, and the number's row.

use tracing::warn;

use super::Replica;
use crate::domain::{PartnerKey, Time};
use crate::inventory::called::{CalledDay, CalledNumbers, DAYS_KEPT, Recording, read, written};
use crate::inventory::set::SetEdit;
use crate::store::{Decision, Document, DocumentWalk, SideWrites, Store, StoreError};

const KIND: &str = "called";
/// Sorts behind all days.
const RECORDING: &str = "recording";
/// How often a node says that it still records, in seconds.
const SAY_EVERY: i64 = 6 * 3_600;

/// Takes in what documents say of a partner's calls: the latest days first, and
/// no more of them than there are numbers whose day is not known.
pub(super) fn load(
    store: &dyn Store,
    key: PartnerKey,
    called: &CalledNumbers,
    numbers: usize,
) -> Result<(), StoreError> {
    if let Some(document) = store.document(key, KIND, RECORDING)? {
        called.set_recording(recording_of(&document));
    }
    let mut before = RECORDING.to_owned();
    while let Some(document) = store.documents(key, KIND, DocumentWalk::Down { before: Some(&before) }, 1)?.pop() {
        let first = CalledDay::of(Time::now()).before(DAYS_KEPT);
        match day_of(&document.id) {
            Some(day) if day < first => break,
            Some(day) => called.merge(day, numbers_of(key, &document)),
            None => {}
        }
        if called.len() >= numbers {
            break;
        }
        before = document.id;
    }
    Ok(())
}

fn day_of(id: &str) -> Option<CalledDay> {
    format!("{id}T00:00:00Z").parse().ok().map(CalledDay::of)
}

/// What a document says; nothing if it cannot be understood, for a day of calls
/// is no reason to stop.
fn numbers_of(key: PartnerKey, document: &Document) -> Vec<u64> {
    read(&document.body).unwrap_or_else(|| {
        warn!(partner.key = %key, day = document.id, "the numbers that were called on {} cannot be understood", document.id);
        Vec::new()
    })
}

fn recording_of(document: &Document) -> Recording {
    serde_json::from_str(&document.body).unwrap_or_default()
}

impl Replica {
    /// Stores the calls that this node recorded, takes in those of others, and
    /// deletes the days that are over. `recorder` is the node's name if it
    /// answers calls, and whether it ends now.
    pub fn keep_called(&self, recorder: Option<(&str, bool)>, now: Time) -> Result<(), StoreError> {
        let mut failed = Ok(());
        for node in self.nodes() {
            let called = node.snapshot().called.clone();
            // Another partner's calls may be stored where one's cannot.
            if let Err(error) = keep(&**self.store(), node.key, &called, recorder, now) {
                failed = Err(error);
            }
        }
        failed
    }
}

fn keep(
    store: &dyn Store,
    key: PartnerKey,
    called: &CalledNumbers,
    recorder: Option<(&str, bool)>,
    now: Time,
) -> Result<(), StoreError> {
    let today = CalledDay::of(now);
    for (day, set) in called.unsaved() {
        let mut all = Vec::new();
        write(store, key, now, |transaction| {
            let known = transaction.document(KIND, &day.to_string())?;
            let known = known.map_or(Vec::new(), |document| numbers_of(key, &document));
            let news = known.iter().filter(|number| !set.contains(**number));
            let union = set.edited(&news.map(|&number| SetEdit::of(number, true)).collect::<Vec<_>>());
            if union.len() > known.len() {
                let document = Document { id: day.to_string(), due: None, body: written(&union) };
                transaction.put_document(KIND, &document)?;
            }
            all = known;
            Ok(())
        })?;
        called.saved(day, &set);
        called.merge(day, all);
    }
    if store.shared() {
        for day in [today.before(1), today] {
            if let Some(document) = store.document(key, KIND, &day.to_string())? {
                called.merge(day, numbers_of(key, &document));
            }
        }
        if let Some(document) = store.document(key, KIND, RECORDING)? {
            called.set_recording(recording_of(&document));
        }
    }
    if let Some((node, ended)) = recorder {
        record(store, key, called, (node, ended), now)?;
    }
    forget(store, key, called, today, now)
}

/// Says that a node records, where that was last said long ago.
fn record(
    store: &dyn Store,
    key: PartnerKey,
    called: &CalledNumbers,
    (node, ended): (&str, bool),
    now: Time,
) -> Result<(), StoreError> {
    let said = called.recording().nodes.get(node).cloned();
    let due = said.is_none_or(|said| said.ended != ended || said.stored.plus(SAY_EVERY) <= now);
    if !due {
        return Ok(());
    }
    let mut after = Recording::default();
    write(store, key, now, |transaction| {
        let before = transaction.document(KIND, RECORDING)?;
        after = before.map_or_else(Recording::default, |document| recording_of(&document));
        after.stored(node, now, ended);
        let body = serde_json::to_string(&after).map_err(|error| StoreError::Corrupt { what: error.to_string() })?;
        transaction.put_document(KIND, &Document { id: RECORDING.to_owned(), due: None, body })
    })?;
    called.set_recording(after);
    Ok(())
}

/// Deletes the documents of days that are over.
fn forget(
    store: &dyn Store,
    key: PartnerKey,
    called: &CalledNumbers,
    today: CalledDay,
    now: Time,
) -> Result<(), StoreError> {
    let first = today.before(DAYS_KEPT);
    called.forget_before(first);
    loop {
        let oldest = store.documents(key, KIND, DocumentWalk::Up { after: None }, 1)?.pop();
        let over = oldest.filter(|document| day_of(&document.id).is_some_and(|day| day < first));
        let Some(over) = over else { return Ok(()) };
        write(store, key, now, |transaction| transaction.drop_document(KIND, &over.id))?;
    }
}

/// Writes documents of a partner.
fn write(
    store: &dyn Store,
    key: PartnerKey,
    at: Time,
    mut draft: impl FnMut(&mut dyn SideWrites) -> Result<(), StoreError> + Send,
) -> Result<(), StoreError> {
    store.draft_beside(key, at, |transaction| draft(transaction).map(Decision::Commit))
}
