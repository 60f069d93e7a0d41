//! What a group of writes has written and not sent.
//!
//! A write on a few numbers waits for nothing that the database says of its rows and
//! of its log entry. They are kept here, and what the writes of a group did to the same
//! table goes there in one statement, at the latest before the commit. What another
//! partner may refuse, the holders of numbers, is sent at once.
//!
//! Always: rows that are kept have no number in common, and what they might change is
//! read after they were sent.

use std::collections::{BTreeMap, BTreeSet};

use deadpool_postgres::ClientWrapper;
use tokio_postgres::types::ToSql;

use super::edits::{RunEdits, SentRows};
use super::put::{Prepared, Put};
use crate::domain::RunChange;
use crate::store::StoreError;
use crate::store::group::CommitFailure;
use crate::store::log::Encoded;
use crate::store::runs::Span;
use crate::store::sql::SqlValue;
use crate::store::transaction::{EntryRow, counted_numbers};

const PARTS: &str = "INSERT INTO change_part (partner, version, part, subject, body) \
                     SELECT $1, * FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::text[])";
const ENTRIES: &str = "INSERT INTO change (partner, version, at, actor, request_id, verb, entities, previous) \
                       SELECT $1, * FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], \
                       $7::text[], $8::bytea[])";
const HEAD: &str = "UPDATE partner SET version = $2, head = $3, row_digest = $4 WHERE partner = $1";
const LOST: &str = "UPDATE account SET lost_at = greatest(lost_at, t.at) FROM ( \
                    SELECT at, (SELECT ctid FROM account AS a WHERE a.partner = $1 AND a.auth_id = t.auth_id) AS place \
                    FROM unnest($2::text[], $3::bigint[]) AS t (auth_id, at) OFFSET 0) AS t WHERE account.ctid = t.place";

/// Writes of one partner, in an order that is their own.
#[derive(Default)]
pub(super) struct Unsent {
    /// Whose rows and log; `None` while there are only statements of their own, which name
    /// their partner themselves.
    partner: Option<i64>,
    rows: RunEdits,
    /// The numbers whose rows are among them, as runs apart.
    numbers: BTreeMap<i64, i64>,
    /// When accounts lost numbers.
    lost: BTreeMap<String, i64>,
    parts: LogParts,
    entries: LogEntries,
    /// Where the partner's log ends.
    head: Option<LogEnd>,
    /// Statements of their own.
    others: Vec<(String, Vec<SqlValue<'static>>)>,
    /// What else of the partner's they change.
    names: BTreeSet<String>,
}

#[derive(Default)]
struct LogParts {
    versions: Vec<i64>,
    parts: Vec<i64>,
    subjects: Vec<i64>,
    bodies: Vec<String>,
}

#[derive(Default)]
struct LogEntries {
    versions: Vec<i64>,
    at: Vec<i64>,
    actors: Vec<String>,
    request_ids: Vec<Option<String>>,
    verbs: Vec<&'static str>,
    entities: Vec<String>,
    previous: Vec<[u8; 32]>,
}

struct LogEnd {
    version: i64,
    digest: [u8; 32],
    row_digest: Option<Vec<u8>>,
}

impl Unsent {
    pub fn is_empty(&self) -> bool {
        // Rows come with a part of the log, and parts with an entry.
        self.parts.versions.is_empty() && self.entries.versions.is_empty() && self.others.is_empty()
    }

    /// Whether it has so much that it is better sent.
    pub fn is_large(&self) -> bool {
        const LARGE: usize = 200;
        self.numbers.len() > LARGE || self.parts.versions.len() > LARGE
    }

    /// Whether it has rows of these numbers.
    pub fn has_numbers(&self, spans: impl IntoIterator<Item = Span>) -> bool {
        let has = |(first, last)| self.numbers.range(..=last).next_back().is_some_and(|(_, end)| *end >= first);
        !self.numbers.is_empty() && spans.into_iter().any(has)
    }

    pub fn has_name(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Adds rows, of numbers that it has not.
    pub fn add_rows(&mut self, partner: i64, rows: RunEdits, changes: &[RunChange]) {
        self.partner = Some(partner);
        let changed = changes.iter().map(|change| (change.first.digits() as i64, change.next() as i64 - 1));
        changed.chain(rows.touched()).for_each(|span| self.cover(span));
        self.rows.append(rows);
        for record in changes.iter().flat_map(|change| [&change.before, &change.after]).flatten() {
            self.names.extend(record.account.as_ref().map(|account| counted_numbers(account.as_str())));
        }
    }

    fn cover(&mut self, (mut first, mut last): Span) {
        while let Some((&from, &to)) = self.numbers.range(..=last).next_back().filter(|(_, to)| **to >= first) {
            self.numbers.remove(&from);
            (first, last) = (first.min(from), last.max(to));
        }
        self.numbers.insert(first, last);
    }

    pub fn add_loss(&mut self, account: &str, at: i64) {
        match self.lost.get_mut(account) {
            Some(last) => *last = at.max(*last),
            None => drop(self.lost.insert(account.to_owned(), at)),
        }
    }

    /// Adds a part of the log, with its place in the entry.
    pub fn add_part(&mut self, partner: i64, version: i64, (at, part): (i64, Encoded)) {
        self.partner = Some(partner);
        self.parts.versions.push(version);
        self.parts.parts.push(at);
        self.parts.subjects.push(part.subject);
        self.parts.bodies.push(part.body);
    }

    pub fn add_entry(&mut self, entry: EntryRow<'_>) {
        let version = entry.version as i64;
        self.partner = Some(entry.partner.0);
        self.entries.versions.push(version);
        self.entries.at.push(entry.entry.at.seconds());
        self.entries.actors.push(entry.entry.actor.to_string());
        self.entries.request_ids.push(entry.entry.request_id.clone());
        self.entries.verbs.push(entry.entry.verb.as_str());
        self.entries.entities.push(entry.entities.to_owned());
        self.entries.previous.push(*entry.previous);
        self.head = Some(LogEnd { version, digest: *entry.digest, row_digest: entry.row_digest.map(<[u8]>::to_vec) });
    }

    /// Adds a statement that changes what is named.
    pub fn add_statement(&mut self, name: &str, sql: String, values: &[SqlValue<'_>]) {
        self.names.insert(name.to_owned());
        self.others.push((sql, values.iter().map(SqlValue::owned).collect()));
    }

    /// Adds what was written after it, of other numbers.
    pub fn append(&mut self, later: Unsent) {
        if later.is_empty() {
            return;
        }
        let Unsent { partner, rows, numbers, lost, parts, entries, head, others, names } = later;
        self.partner = partner.or(self.partner);
        self.rows.append(rows);
        self.numbers.extend(numbers);
        for (account, at) in lost {
            self.add_loss(&account, at);
        }
        self.parts.versions.extend(parts.versions);
        self.parts.parts.extend(parts.parts);
        self.parts.subjects.extend(parts.subjects);
        self.parts.bodies.extend(parts.bodies);
        self.entries.versions.extend(entries.versions);
        self.entries.at.extend(entries.at);
        self.entries.actors.extend(entries.actors);
        self.entries.request_ids.extend(entries.request_ids);
        self.entries.verbs.extend(entries.verbs);
        self.entries.entities.extend(entries.entities);
        self.entries.previous.extend(entries.previous);
        self.head = head.or(self.head.take());
        self.others.extend(others);
        self.names.extend(names);
    }

    /// Its statements, as they are sent.
    pub fn statements(&self) -> Statements<'_> {
        let (accounts, lost_at) = self.lost.iter().map(|(account, at)| (account.as_str(), *at)).unzip();
        let previous = self.entries.previous.iter().map(|digest| &digest[..]).collect();
        let head = self.head.as_ref().map(|head| (&head.digest[..], head.row_digest.as_deref()));
        Statements { unsent: self, rows: self.rows.sent(), accounts, lost_at, previous, head }
    }
}

/// The values of statements, as the driver takes them.
pub(super) struct Statements<'a> {
    unsent: &'a Unsent,
    rows: SentRows<'a>,
    accounts: Vec<&'a str>,
    lost_at: Vec<i64>,
    previous: Vec<&'a [u8]>,
    head: Option<(&'a [u8], Option<&'a [u8]>)>,
}

impl<'a> Statements<'a> {
    pub async fn prepare(&'a self, client: &ClientWrapper) -> Result<Prepared<'a>, StoreError> {
        let mut puts = Vec::new();
        if let Some(partner) = &self.unsent.partner {
            self.of_partner(partner, &mut puts);
        }
        puts.extend(self.unsent.others.iter().map(|(sql, values)| {
            let params = values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
            Put { sql, params, rows: None }
        }));
        Prepared::of(client, puts).await
    }

    /// What goes into the tables of the rows and of the log.
    fn of_partner(&'a self, partner: &'a i64, puts: &mut Vec<Put<'a>>) {
        let Unsent { rows, parts, entries, head, .. } = self.unsent;
        rows.puts(partner, &self.rows, puts);
        let mut add = |sql: &'a str, rows: Option<usize>, params: Vec<&'a (dyn ToSql + Sync)>| {
            if rows != Some(0) {
                puts.push(Put { sql, params, rows: rows.map(|rows| rows as u64) });
            }
        };
        if !self.accounts.is_empty() {
            add(LOST, None, vec![partner, &self.accounts, &self.lost_at]);
        }
        let LogParts { versions, parts, subjects, bodies } = parts;
        add(PARTS, Some(versions.len()), vec![partner, versions, parts, subjects, bodies]);
        let LogEntries { versions, at, actors, request_ids, verbs, entities, .. } = entries;
        let values: Vec<&'a (dyn ToSql + Sync)> =
            vec![partner, versions, at, actors, request_ids, verbs, entities, &self.previous];
        add(ENTRIES, Some(versions.len()), values);
        if let (Some(head), Some((digest, row_digest))) = (head, &self.head) {
            add(HEAD, Some(1), vec![partner, &head.version, digest, row_digest]);
        }
    }
}

/// What the writes of a group have not sent.
#[derive(Default)]
pub(in crate::store) struct Ahead {
    /// Whether the savepoint that is open is the one of a write that is kept.
    release: bool,
    /// Of the writes that are kept.
    kept: Unsent,
    savepoint: Savepoint,
    /// Of the write that is being made.
    pub(super) own: Unsent,
    /// Why the transaction is lost.
    pub failed: Option<CommitFailure>,
}

/// What is sent together, in this order.
pub(super) struct SentTogether {
    pub release: bool,
    pub kept: Unsent,
    pub savepoint: bool,
    pub own: Unsent,
    /// Whether the transaction is lost until this was sent, and no longer.
    pub doubtful: bool,
}

/// What the savepoint of the write is that is being made.
#[derive(Clone, Copy, Default, PartialEq)]
enum Savepoint {
    /// It has none: it is the first of its transaction.
    #[default]
    None,
    Unsent,
    Sent,
}

impl Ahead {
    /// Begins a write that others precede in the transaction.
    pub fn savepoint(&mut self) {
        self.kept.append(std::mem::take(&mut self.own));
        self.savepoint = Savepoint::Unsent;
    }

    /// Keeps what the write has done.
    pub fn keep(&mut self) {
        self.kept.append(std::mem::take(&mut self.own));
        self.release |= std::mem::take(&mut self.savepoint) == Savepoint::Sent;
    }

    /// Forgets what the write has not sent; whether something was sent.
    pub fn undo(&mut self) -> bool {
        self.own = Unsent::default();
        std::mem::take(&mut self.savepoint) == Savepoint::Sent
    }

    pub(super) fn any_unsent(&self, is: impl Fn(&Unsent) -> bool) -> bool {
        is(&self.kept) || is(&self.own)
    }

    /// Whether the write that is being made has a savepoint that was not sent.
    pub fn savepoint_waits(&self) -> bool {
        self.savepoint == Savepoint::Unsent
    }

    /// Takes what is to be sent now. Until it was, whatever becomes of the sender, the
    /// transaction is lost.
    pub(super) fn take(&mut self) -> Option<SentTogether> {
        let savepoint = self.savepoint_waits();
        if !self.release && !savepoint && self.kept.is_empty() && self.own.is_empty() {
            return None;
        }
        if savepoint {
            self.savepoint = Savepoint::Sent;
        }
        let doubtful = self.failed.is_none() && !self.kept.is_empty();
        if doubtful {
            self.failed = Some(CommitFailure::Busy);
        }
        let (kept, own) = (std::mem::take(&mut self.kept), std::mem::take(&mut self.own));
        Some(SentTogether { release: std::mem::take(&mut self.release), kept, savepoint, own, doubtful })
    }
}
