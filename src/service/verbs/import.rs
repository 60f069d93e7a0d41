//! Bulk provisioning: a file's rows become an inventory, in one transaction.
//!
//! The file is read and validated first, without a lock; then one transaction
//! compares every number with what is stored and writes what differs, as one
//! version. A dry run is the same transaction, not committed, so it reports
//! exactly the changes that the import will make.
//!
//! Invariants: all or nothing; importing a file twice changes nothing the
//! second time; memory is bounded whatever the file's size.
//! Deliberately absent: parsing (`intake`), the rules of ownership (`rules`), and
//! any way around a conflict but `move_held`.

mod place;
mod report;
mod vet;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use self::place::{chosen, settle_cost, settle_place};
use self::report::ImportTally;
use self::vet::{CellDoubt, KnownIds, Vet};
use crate::domain::action::Transfer;
use crate::domain::change::Edit;
use crate::domain::dictionary::Dictionary;
use crate::domain::plan::{self, Judgement};
use crate::domain::{
    Account, AccountId, Application, ApplicationId, Country, E164, EntityChange, Group, NumberRun, PartnerId, Record,
    RunChange, Status, Tags, Time, Trunk, TrunkId, Verb, number,
};
use crate::intake::{self, Caution, Cell, Field, FileItem, Header, IntakeError, RowError, RowFields, RowNumbers};
use crate::inventory::names::NamedKind;
use crate::service::verbs::desk;
use crate::service::verbs::rules::{self, ReferenceFault, Referents, Subject, Violation};
use crate::service::{Service, ServiceError, replica};
use crate::store::{Decision, Done, DraftError, Load, Ownership, SideWrites, StoreError, Transaction, WriteTarget};

pub use self::report::{
    CAUTIONS_MAX, ChangedNumber, CostChange, ERRORS_MAX, EntityNews, FIRST_MAX, FieldChange, ImportReport, Losses,
    Naming, RowFate, differences, losses_told,
};

/// About how much memory the rows of one batch may take, in bytes. A file that
/// needs more is read again, batch by batch, inside the transaction.
const BATCH_BYTES_MAX: usize = 512 << 20;

/// What to do with rows that cannot be imported.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnError {
    /// Then write nothing at all.
    Abort,
    /// Write the rest.
    Skip,
}

#[derive(Clone, Debug)]
pub struct ImportOptions {
    pub intake: intake::ReadOptions,
    /// The monthly cost of numbers whose row has none, in `intake.currency`.
    pub monthly_cost: Option<Arc<str>>,
    pub on_error: OnError,
    /// Whether a held number may go to another account of the partner.
    pub move_held: bool,
    /// Whether an empty cell leaves what is stored, as an absent column does.
    pub keep_empty: bool,
    /// Whether what would be a caution rejects its row, and a column that is
    /// not read the whole file.
    pub strict: bool,
    pub dry_run: bool,
}

impl Default for ImportOptions {
    fn default() -> ImportOptions {
        ImportOptions {
            intake: intake::ReadOptions::default(),
            monthly_cost: None,
            on_error: OnError::Abort,
            move_held: false,
            keep_empty: false,
            strict: false,
            dry_run: false,
        }
    }
}

/// Written by the caller in the transaction of an import.
pub type ImportHook<'a> = &'a (dyn Fn(&mut dyn SideWrites, &ImportReport) -> Result<(), ServiceError> + Sync);

/// How far an import is.
#[derive(Clone, Copy, Debug)]
pub enum ImportProgress {
    /// Bytes of the file read so far.
    Reading { bytes: u64 },
    /// Numbers compared with the store, of all.
    Writing { numbers: u64, total: u64 },
}

/// Who watches an import, and may stop it.
pub struct Watch<'a> {
    pub progress: &'a (dyn Fn(ImportProgress) + Sync),
    pub cancel: &'a AtomicBool,
}

/// A file that can be read from the start more than once.
pub type FileSource<'a> = &'a (dyn Fn() -> io::Result<Box<dyn Read>> + Sync);

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("failed to open the file")]
    Open(#[source] io::Error),
    #[error(transparent)]
    Intake(#[from] IntakeError),
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error("interrupted; nothing was written")]
    Cancelled,
}

impl DraftError for ImportError {
    fn store(self) -> Result<StoreError, ImportError> {
        match self {
            ImportError::Service(ServiceError::Store(error)) => Ok(error),
            refusal => Err(refusal),
        }
    }
}

impl From<StoreError> for ImportError {
    fn from(error: StoreError) -> ImportError {
        ImportError::Service(error.into())
    }
}

impl Service {
    pub fn import(
        &self,
        partner: &PartnerId,
        source: FileSource<'_>,
        options: &ImportOptions,
        watch: &Watch<'_>,
    ) -> Result<ImportReport, ImportError> {
        self.import_noting(partner, source, options, watch, &|_, _| Ok(()))
    }

    /// The same; if it is written, so is what `note` puts, or neither. What
    /// `note` refuses is not written.
    pub fn import_noting(
        &self,
        partner: &PartnerId,
        source: FileSource<'_>,
        options: &ImportOptions,
        watch: &Watch<'_>,
        note: ImportHook<'_>,
    ) -> Result<ImportReport, ImportError> {
        let key = self.partner_key(partner)?;
        // A row of the partner that cannot be understood is the import's
        // business only if the import comes to need it.
        let stored = replica::salvage(&*self.store, Load { only: Some(key), numbers: false })?.snapshots.remove(&key);
        let known = KnownIds::new(stored);
        let mut file = File { source, options, watch, known: &known, columns: Vec::new() };
        let mut tally = ImportTally::default();
        let mut batch = PendingRows::default();
        let mut fits = true;
        file.read(&mut tally, &mut |row| {
            if fits {
                batch.add(row);
                if batch.bytes() > BATCH_BYTES_MAX {
                    fits = false;
                    batch.clear();
                }
            }
            ControlFlow::Continue(())
        })?;
        file.columns = std::mem::take(&mut tally.columns);
        let refused = |tally: &ImportTally| tally.refused || (options.on_error == OnError::Abort && tally.rejected > 0);
        // What will not be committed need not be written to find out.
        let probe = options.dry_run || refused(&tally);
        let entry = self.entry(Verb::Import);
        let at = entry.at;
        let done: Result<Done<ImportReport>, ImportError> =
            self.store.draft(WriteTarget::Partner(key), entry, |transaction| {
                let mut run = ImportRun::new(transaction, &file, at, probe, tally.clone());
                if fits { run.batch(&mut batch) } else { run.file() }?;
                run.last_active()?;
                let tally = std::mem::take(&mut run.tally);
                let written = !probe && !refused(&tally);
                let report = tally.report(&mut run)?;
                let version = (written && run.wrote).then(|| run.transaction.version());
                let report = ImportReport { written, version, ..report };
                if !written {
                    return Ok(Decision::RollBack(report));
                }
                note(run.transaction, &report)?;
                Ok(Decision::Commit(report))
            });
        Ok(done?.value)
    }
}

/// The file being imported, and how.
struct File<'a> {
    source: FileSource<'a>,
    options: &'a ImportOptions,
    watch: &'a Watch<'a>,
    known: &'a KnownIds,
    /// What the file calls its columns; empty for JSON, whose keys are ours.
    columns: Vec<(String, Field)>,
}

impl File<'_> {
    /// Reads the file once; bad rows are counted, good ones handed on.
    fn read(
        &self,
        tally: &mut ImportTally,
        good: &mut dyn FnMut(intake::FileRow) -> ControlFlow<ImportError>,
    ) -> Result<(), ImportError> {
        let input = WatchedReader { inner: (self.source)().map_err(ImportError::Open)?, bytes: 0, watch: self.watch };
        let mut stopped = None;
        let columns = RefCell::new(Vec::new());
        let mut header = |header: &Header| columns.borrow_mut().clone_from(&header.columns);
        let mut vet = Vet::new(self.known, self.options.keep_empty);
        let summary = intake::read(input, &self.options.intake, &mut header, &mut |item| {
            if self.watch.cancel.load(Ordering::Relaxed) {
                stopped = Some(ImportError::Cancelled);
                return ControlFlow::Break(());
            }
            let (FileItem::Bad { line, .. } | FileItem::Row(intake::FileRow { line, .. })) = &item;
            tally.row(*line);
            let row = match item {
                FileItem::Bad { line, numbers, errors } => {
                    tally.reject(line, numbers, errors);
                    return ControlFlow::Continue(());
                }
                FileItem::Row(row) => self.vet(row, &mut vet, tally, &columns.borrow()),
            };
            if let Some(row) = row
                && let ControlFlow::Break(error) = good(row)
            {
                stopped = Some(error);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        self.unread(tally, summary.unknown, summary.unmapped);
        tally.export = summary.export;
        tally.columns = columns.into_inner();
        match stopped {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Judges a row by itself. One that may go on is returned.
    fn vet(
        &self,
        row: intake::FileRow,
        vet: &mut Vet<'_>,
        tally: &mut ImportTally,
        columns: &[(String, Field)],
    ) -> Option<intake::FileRow> {
        let (fields, verdict) = vet.fields(&row.fields);
        let doubt = vet::numbers(row.numbers);
        let row = intake::FileRow { fields, ..row };
        if verdict.refusals.is_empty() && verdict.doubts.is_empty() && doubt.is_none() && row.cautions.is_empty() {
            return Some(row);
        }
        let line = row.line;
        let from_file = row.cautions.iter().filter(|caution| !self.known.has_id(&caution.value)).cloned();
        let cautions = verdict.doubts.iter().cloned().chain(doubt).map(|CellDoubt { field, value, reason }| Caution {
            line,
            column: column_of(columns, field),
            value: shortened(&value),
            reason,
        });
        let cautions = from_file.chain(cautions);
        let mut errors: Vec<RowError> =
            verdict.refusals.iter().map(|refusal| refusal.clone().error(line, columns)).collect();
        if self.options.strict {
            errors.extend(cautions.map(refused_caution));
        } else if errors.is_empty() {
            tally.caution(cautions.collect());
        }
        if errors.is_empty() {
            return Some(row);
        }
        tally.reject(line, row.numbers.count().max(1), errors);
        None
    }

    /// Records the columns that are not read, and the mappings without one.
    fn unread(&self, tally: &mut ImportTally, unknown: Vec<String>, unmapped: Vec<String>) {
        let caution = |column: &String, reason: &str| Caution {
            line: 1,
            column: column.clone(),
            value: String::new(),
            reason: reason.to_owned(),
        };
        let unread = unknown.iter().map(|column| caution(column, "is not read: say what it means, or ignore it"));
        let missing = unmapped.iter().map(|column| caution(column, "is mapped to a field, and no row has it"));
        let cautions: Vec<Caution> = unread.chain(missing).collect();
        match self.options.strict && !cautions.is_empty() {
            true => tally.refuse(cautions.into_iter().map(refused_caution).collect()),
            false => tally.caution_first(cautions),
        }
        tally.unknown = unknown;
    }
}

/// A caution of a file that must have none.
fn refused_caution(caution: Caution) -> RowError {
    let Caution { line, column, value, reason } = caution;
    RowError { line, column, value, message: reason }
}

/// What the file calls a field, or else we do.
fn column_of(columns: &[(String, Field)], field: Field) -> String {
    let theirs = columns.iter().find(|(_, known)| *known == field);
    theirs.map_or_else(|| field.to_string(), |(theirs, _)| theirs.clone())
}

fn shortened(value: &str) -> String {
    const VALUE_CHARS_MAX: usize = 64;
    value.chars().take(VALUE_CHARS_MAX).collect()
}

/// Tells the watcher how much of the file has been read.
struct WatchedReader<'a> {
    inner: Box<dyn Read>,
    bytes: u64,
    watch: &'a Watch<'a>,
}

impl Read for WatchedReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes += read as u64;
        (self.watch.progress)(ImportProgress::Reading { bytes: self.bytes });
        Ok(read)
    }
}

/// Rows waiting to be compared, a few bytes a number: what rows say is kept
/// once for all rows that say the same.
#[derive(Default)]
struct PendingRows {
    said: Dictionary<Arc<RowFields>>,
    /// The place of the fields of the row before.
    last: Option<u32>,
    wanted: Vec<ComparedRow>,
    /// Rows about accounts without numbers.
    accounts: Vec<(u64, u32)>,
}

/// The numbers of one row. Sorts by number, then by line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct ComparedRow {
    first: E164,
    line: u64,
    said: u32,
    last: E164,
}

/// Numbers of which the same rows say something.
struct ComparedRun<'a> {
    run: NumberRun,
    /// By line.
    rows: Cow<'a, [ComparedRow]>,
}

impl ComparedRun<'_> {
    /// What rows, sorted, are about. Rows that have numbers in common are cut there.
    fn all(rows: &[ComparedRow]) -> Vec<ComparedRun<'_>> {
        let mut all = Vec::with_capacity(rows.len());
        let mut rest = rows;
        while let Some(first) = rest.first() {
            let (mut end, mut last) = (1, first.last);
            while let Some(next) = rest.get(end).filter(|next| next.first <= last) {
                last = last.max(next.last);
                end += 1;
            }
            let (common, later) = rest.split_at(end);
            match common {
                [row] => all.extend(row.run().map(|run| ComparedRun { run, rows: common.into() })),
                _ => ComparedRun::cut(common, &mut all),
            }
            rest = later;
        }
        all
    }

    /// Cuts rows that have numbers in common wherever one of them begins or ends.
    fn cut(rows: &[ComparedRow], all: &mut Vec<ComparedRun<'_>>) {
        let mut begins: Vec<u64> = rows.iter().flat_map(|row| [row.first.digits(), row.last.digits() + 1]).collect();
        begins.sort_unstable();
        begins.dedup();
        let (mut coming, mut open) = (rows, Vec::new());
        for bounds in begins.windows(2) {
            let (now, later) = coming.split_at(coming.partition_point(|row| row.first.digits() <= bounds[0]));
            open.extend_from_slice(now);
            open.retain(|row: &ComparedRow| row.last.digits() >= bounds[0]);
            open.sort_unstable_by_key(|row| row.line);
            coming = later;
            let run = NumberRun::between(bounds[0], bounds[1] - 1);
            all.extend(run.map(|run| ComparedRun { run, rows: open.clone().into() }));
        }
    }
}

impl ComparedRow {
    fn run(&self) -> Option<NumberRun> {
        NumberRun::between(self.first.digits(), self.last.digits())
    }

    /// How many rows, sorted, are compared together: about `step` numbers, up to
    /// where no other row has numbers of the same group, so that the changes of a
    /// group are one part of the log.
    fn cut(rows: &[ComparedRow], step: u64) -> usize {
        let (mut numbers, mut last) = (0, None);
        let ends = |row: &ComparedRow| {
            let whole = last.is_none_or(|last| row.first > last && Group::of(row.first) != Group::of(last));
            if whole && numbers >= step {
                return true;
            }
            numbers += row.last.digits() - row.first.digits() + 1;
            last = last.max(Some(row.last));
            false
        };
        rows.iter().position(ends).unwrap_or(rows.len())
    }
}

impl PendingRows {
    fn add(&mut self, row: intake::FileRow) {
        // Neighbours that say the same share one set of fields.
        let said = self.said.place(row.fields, self.last);
        self.last = Some(said);
        match row.numbers {
            RowNumbers::None => self.accounts.push((row.line, said)),
            RowNumbers::Block { first, last } => {
                self.wanted.push(ComparedRow { first, line: row.line, said, last });
            }
        }
    }

    fn bytes(&self) -> usize {
        // A set of fields with its map entry takes about this much.
        const SAID_BYTES: usize = 640;
        self.wanted.len() * size_of::<ComparedRow>() + self.said.values().len() * SAID_BYTES + self.accounts.len() * 16
    }

    fn clear(&mut self) {
        *self = PendingRows::default();
    }
}

/// Why a number of a row is refused: the field, and what is wrong with it.
#[derive(Clone, Debug)]
struct RowRefusal {
    field: Field,
    value: String,
    message: String,
}

fn refuse(field: Field, value: impl ToString, message: impl Into<String>) -> RowRefusal {
    RowRefusal { field, value: value.to_string(), message: message.into() }
}

impl RowRefusal {
    fn error(self, line: u64, columns: &[(String, Field)]) -> RowError {
        let RowRefusal { field, value, message } = self;
        RowError { line, column: column_of(columns, field), value: shortened(&value), message }
    }
}

/// The same text for every holder, so that it reveals nothing of other tenants.
const TAKEN: &str =
    "the number is held already; release it first, or give --move to move it between accounts of this partner";

/// Something the file names, and whether a row has said yet what it is called.
/// The first accepted row that does is believed, so that importing the file
/// again changes nothing.
struct FileEntity<T> {
    /// As it is, or as this import makes it.
    entity: Option<T>,
    named: bool,
}

/// The part of an import that runs inside the transaction.
struct ImportRun<'a, 't> {
    transaction: &'t mut dyn Transaction,
    file: &'a File<'a>,
    at: Time,
    /// Look, but write nothing.
    probe: bool,
    /// Whether anything was put.
    wrote: bool,
    tally: ImportTally,
    accounts: HashMap<AccountId, FileEntity<Account>>,
    applications: HashMap<ApplicationId, FileEntity<Application>>,
    trunks: HashMap<TrunkId, FileEntity<Trunk>>,
    /// By what rows say: what has been done about it once and for all.
    said: Vec<RowFacts>,
    active: HashMap<AccountId, Active>,
    done: u64,
}

/// What becomes of an account's active numbers.
#[derive(Clone, Copy, Default)]
struct Active {
    gained: i64,
    /// The first that goes to another account or into stock, and its line.
    taken: Option<(u64, E164)>,
}

/// What is known of rows that say the same.
#[derive(Clone, Copy, Default)]
struct RowFacts {
    /// A number that was not there has been given it, so that it may be.
    vouched: bool,
    /// What it names is there, under the name that it gives.
    named: bool,
}

impl<'a, 't> ImportRun<'a, 't> {
    fn new(
        transaction: &'t mut dyn Transaction,
        file: &'a File<'a>,
        at: Time,
        probe: bool,
        tally: ImportTally,
    ) -> Self {
        let (accounts, applications, trunks, said, active) = Default::default();
        let wrote = false;
        ImportRun { transaction, file, at, probe, wrote, tally, accounts, applications, trunks, said, active, done: 0 }
    }

    /// Reads the file again, a batch at a time, for files too large to keep.
    fn file(&mut self) -> Result<(), ImportError> {
        let file = self.file;
        let mut batch = PendingRows::default();
        // The bad rows were counted when the file was read the first time.
        let mut again = ImportTally::default();
        file.read(&mut again, &mut |row| {
            batch.add(row);
            if batch.bytes() > BATCH_BYTES_MAX {
                if let Err(error) = self.batch(&mut batch) {
                    return ControlFlow::Break(error);
                }
                batch.clear();
            }
            ControlFlow::Continue(())
        })?;
        self.batch(&mut batch)
    }

    fn batch(&mut self, batch: &mut PendingRows) -> Result<(), ImportError> {
        batch.wanted.sort_unstable();
        self.said = vec![RowFacts::default(); batch.said.values().len()];
        for &(line, said) in &batch.accounts {
            let fields = &batch.said.values()[said as usize];
            if let Cell::Value(account) = &fields.account {
                self.account(account, fields.account_name.value())?;
            } else {
                self.refused(
                    line,
                    1,
                    vec![refuse(Field::AccountAuthId, "", "a row without a number needs an account")],
                );
            }
        }
        let numbers =
            |rows: &[ComparedRow]| -> u64 { rows.iter().map(|row| row.last.digits() - row.first.digits() + 1).sum() };
        let total = self.done + numbers(&batch.wanted);
        let mut wanted: &[ComparedRow] = &batch.wanted;
        while !wanted.is_empty() {
            if self.file.watch.cancel.load(Ordering::Relaxed) {
                return Err(ImportError::Cancelled);
            }
            let (now, later) = wanted.split_at(ComparedRow::cut(wanted, desk::STEP as u64));
            self.step(&ComparedRun::all(now), batch.said.values())?;
            wanted = later;
            self.done += numbers(now);
            (self.file.watch.progress)(ImportProgress::Writing { numbers: self.done, total });
        }
        Ok(())
    }

    /// Compares and writes some numbers, sorted.
    fn step(&mut self, compared: &[ComparedRun<'_>], said: &[Arc<RowFields>]) -> Result<(), ImportError> {
        let runs: Vec<NumberRun> = compared.iter().map(|compared| compared.run).collect();
        let owned = self.transaction.owners(&runs)?;
        let mut owned = owned.iter().peekable();
        let mut changes = Vec::new();
        for ComparedRun { run, rows } in compared {
            let (mut first, last) = (run.first.digits(), run.last().digits());
            while first <= last
                && let Some(here) = owned.peek()
            {
                let until = here.run.last().digits().min(last);
                self.compare((first, until), &here.owner, rows, said, &mut changes)?;
                first = until + 1;
                owned.next_if(|here| here.run.last().digits() < first);
            }
        }
        if !self.probe && !changes.is_empty() {
            self.wrote = true;
            self.transaction.put_runs(&changes)?;
        }
        Ok(())
    }

    /// Compares numbers of one owner that are alike.
    fn compare(
        &mut self,
        (first, last): (u64, u64),
        owner: &Ownership,
        rows: &[ComparedRow],
        said: &[Arc<RowFields>],
        changes: &mut Vec<RunChange>,
    ) -> Result<(), ImportError> {
        let Some(run) = NumberRun::between(first, last) else { return Ok(()) };
        match owner {
            Ownership::Foreign => {
                for row in rows {
                    self.refused(row.line, run.count, vec![refuse(Field::Number, run.first, TAKEN)]);
                }
            }
            Ownership::Ours { record, .. } => self.compare_run(run, Some(record), rows, said, changes)?,
            // What the number itself says is asked when it comes in.
            Ownership::Free => {
                for run in plan::alike(first, last).filter_map(|(first, last)| NumberRun::between(first, last)) {
                    self.compare_run(run, None, rows, said, changes)?;
                }
            }
        }
        Ok(())
    }

    fn compare_run(
        &mut self,
        run: NumberRun,
        before: Option<&Record>,
        rows: &[ComparedRow],
        said: &[Arc<RowFields>],
        changes: &mut Vec<RunChange>,
    ) -> Result<(), ImportError> {
        let after = self.said_of(run, before, rows, said)?;
        if after.as_ref() != before {
            let change = RunChange { first: run.first, count: run.count, before: before.cloned(), after };
            self.tally.cost(&change);
            self.count_active(rows[0].line, &change);
            changes.push(change);
        }
        Ok(())
    }

    /// What rows make of numbers that are alike.
    fn said_of(
        &mut self,
        run: NumberRun,
        before: Option<&Record>,
        rows: &[ComparedRow],
        said: &[Arc<RowFields>],
    ) -> Result<Option<Record>, ImportError> {
        let mut current = before.cloned();
        for row in rows {
            // Taking one after the other would change the number back and
            // forth at every import of the file.
            if row.said != rows[0].said {
                let message = format!("line {} says something else of this number; keep one of them", rows[0].line);
                self.refused(row.line, run.count, vec![refuse(Field::Number, run.first, message)]);
                continue;
            }
            match self.settle(run.first, current.as_ref(), row.said, &said[row.said as usize])? {
                Err(refusals) => self.refused(row.line, run.count, refusals),
                Ok(record) => {
                    self.tally.numbers(row.line, run, current.as_ref(), &record, self.at);
                    current = Some(record);
                }
            }
        }
        Ok(current)
    }

    /// Counts how many active numbers accounts get and lose.
    fn count_active(&mut self, line: u64, change: &RunChange) {
        let active = |record: &Option<Record>| {
            let record = record.as_ref()?;
            let active = number::status(record.state, record.expires_at, self.at) == Status::Active;
            record.holder().filter(|_| active).cloned()
        };
        let (before, after) = (active(&change.before), active(&change.after));
        if before == after {
            return;
        }
        let left = change.before.as_ref().and_then(Record::holder) != change.after.as_ref().and_then(Record::holder);
        if let Some(account) = before {
            let active = self.active.entry(account).or_default();
            active.gained -= change.count as i64;
            active.taken = active.taken.or(left.then_some((line, change.first)));
        }
        if let Some(account) = after {
            self.active.entry(account).or_default().gained += change.count as i64;
        }
    }

    /// Cautions about accounts whose last active number goes elsewhere.
    fn last_active(&mut self) -> Result<(), ImportError> {
        let mut cautions = Vec::new();
        let active: Vec<(AccountId, Active)> = std::mem::take(&mut self.active).into_iter().collect();
        for (account, Active { gained, taken }) in active {
            let Some((line, number)) = taken.filter(|_| gained < 0) else { continue };
            // As stored: with what this import did, if it writes.
            let lost = if self.probe { gained.unsigned_abs() } else { 0 };
            if self.transaction.active_numbers(&account, self.at, lost + 1)? > lost {
                continue;
            }
            let called = Naming::account(self, &account)?;
            let column = column_of(&self.file.columns, Field::AccountAuthId);
            let reason = format!("customer {called} is left without an active number");
            cautions.push(Caution { line, column, value: number.to_string(), reason });
        }
        match self.file.options.strict && !cautions.is_empty() {
            true => self.tally.refuse(cautions.into_iter().map(refused_caution).collect()),
            false => self.tally.caution_late(cautions),
        }
        Ok(())
    }

    fn refused(&mut self, line: u64, numbers: u64, refusals: Vec<RowRefusal>) {
        let errors = refusals.into_iter().map(|refusal| refusal.error(line, &self.file.columns)).collect();
        self.tally.reject(line, numbers, errors);
    }

    /// What a number becomes by a row, given what it is. `said` is the place of
    /// `fields` in the batch.
    fn settle(
        &mut self,
        number: E164,
        current: Option<&Record>,
        said: u32,
        fields: &RowFields,
    ) -> Result<Result<Record, Vec<RowRefusal>>, ImportError> {
        let options = self.file.options;
        let place = match settle_place(current, fields, self.at, options.move_held, number) {
            Ok(place) => place,
            Err(refusal) => return Ok(Err(vec![refusal])),
        };
        let cost = match settle_cost(current, fields, place.state.held(), options) {
            Ok(cost) => cost,
            Err(refusal) => return Ok(Err(vec![refusal])),
        };
        let (from, to) = (current.and_then(Record::holder), place.holder());
        // A move is a transfer: what the file does not say goes along. So does
        // the route of a number that comes from stock.
        let moved = match (current, from, to) {
            (Some(current), Some(from), Some(to)) if from != to => {
                let to = Transfer { account: to.clone(), application: None, trunk: None, confirm_last: true };
                Some(to.moved(current, self.at))
            }
            _ => None,
        };
        let kept = moved.as_ref().or(current.filter(|_| from == to));
        let routed = kept.or(current.filter(|_| to.is_some()));
        // What the number itself says is asked once, when it comes in.
        let (number_type, country, region) = match current {
            Some(current) => (current.number_type, current.country, current.region.clone()),
            None => {
                let plan = plan::lookup(number.digits());
                if !plan.valid
                    && let Judgement::Misspelt(misspelling) = plan::judge(number)
                {
                    return Ok(Err(vec![refuse(Field::Number, number, misspelling.to_string())]));
                }
                (plan.number_type, plan.country.and_then(Country::new), plan.region.map(Arc::from))
            }
        };
        let mut record = Record {
            state: place.state,
            application: chosen(&fields.application, routed.and_then(|routed| routed.application.as_ref())),
            trunk: chosen(&fields.trunk, routed.and_then(|routed| routed.trunk.as_ref())),
            number_type: fields.number_type.value().copied().unwrap_or(number_type),
            country: fields.country.value().copied().or(country),
            region: fields.region.value().cloned().or(region),
            cost,
            assigned_at: match (&fields.assigned_at, to) {
                (_, None) => None,
                (Cell::Value(time), Some(_)) => Some(*time),
                (Cell::Absent | Cell::Empty, Some(_)) => {
                    Some(kept.and_then(|kept| kept.assigned_at).unwrap_or(self.at))
                }
            },
            expires_at: chosen(&fields.expires_at, kept.and_then(|kept| kept.expires_at.as_ref())),
            since: place.since,
            until: place.until,
            tags: match (&fields.tags, current) {
                (Cell::Value(tags), _) => tags.clone(),
                (Cell::Absent, Some(current)) => current.tags.clone(),
                (Cell::Empty, _) | (Cell::Absent, None) => Tags::default(),
            },
            account: place.account,
        };
        // A row for a number that was not there names only what it says itself.
        if current.is_some() || !self.said[said as usize].vouched {
            if let Err(refusals) = self.judge(current, &mut record, fields)? {
                return Ok(Err(refusals));
            }
            self.said[said as usize].vouched |= current.is_none();
        }
        if !self.said[said as usize].named {
            self.name(fields, &record)?;
            self.said[said as usize].named = true;
        }
        Ok(Ok(record))
    }

    /// Whether a number may become so. A route that comes along from stock
    /// stays behind where the account may not have it, as with the verb.
    fn judge(
        &mut self,
        current: Option<&Record>,
        record: &mut Record,
        fields: &RowFields,
    ) -> Result<Result<(), Vec<RowRefusal>>, ImportError> {
        let refers = |it: &Record| (it.holder().cloned(), it.account.clone(), it.application.clone(), it.trunk.clone());
        if current.is_some_and(|current| refers(current) == refers(record)) {
            return Ok(Ok(()));
        }
        if let Some(id) = &record.account {
            self.look_up_account(id)?;
        }
        if let Some(id) = &record.application {
            self.look_up_application(id)?;
        }
        if let Some(id) = &record.trunk {
            self.look_up_trunk(id)?;
        }
        let referents = Referents {
            account: record.account.as_ref().and_then(|id| self.accounts.get(id)?.entity.as_ref()),
            application: record.application.as_ref().and_then(|id| self.applications.get(id)?.entity.as_ref()),
            trunk: record.trunk.as_ref().and_then(|id| self.trunks.get(id)?.entity.as_ref()),
        };
        let violations = rules::judge(current, record, &referents);
        let from_stock = current.is_some_and(|current| current.holder().is_none());
        let mut refusals = Vec::new();
        for violation in violations {
            match violation.subject {
                Subject::Application if from_stock && fields.application == Cell::Absent => record.application = None,
                Subject::Trunk if from_stock && fields.trunk == Cell::Absent => record.trunk = None,
                Subject::Account | Subject::Application | Subject::Trunk => {
                    refusals.push(broken(violation, record, fields));
                }
            }
        }
        Ok(if refusals.is_empty() { Ok(()) } else { Err(refusals) })
    }

    /// Creates what a row names and the partner does not have, and gives names.
    fn name(&mut self, fields: &RowFields, record: &Record) -> Result<(), ImportError> {
        if let Some(account) = &record.account {
            let name = fields.account_name.value().filter(|_| fields.account.value() == Some(account));
            self.account(account, name)?;
        }
        if let Some(id) = &record.application {
            let name = fields.application_name.value().filter(|_| fields.application.value() == Some(id));
            self.application(id, name)?;
        }
        if let Some(id) = &record.trunk {
            self.trunk(id)?;
        }
        Ok(())
    }

    fn look_up_account(&mut self, id: &AccountId) -> Result<(), ImportError> {
        if !self.accounts.contains_key(id) {
            let entity = self.transaction.account(id)?;
            self.accounts.insert(id.clone(), FileEntity { entity, named: false });
        }
        Ok(())
    }

    fn look_up_application(&mut self, id: &ApplicationId) -> Result<(), ImportError> {
        if !self.applications.contains_key(id) {
            let entity = self.transaction.application(id)?;
            self.applications.insert(id.clone(), FileEntity { entity, named: false });
        }
        Ok(())
    }

    fn look_up_trunk(&mut self, id: &TrunkId) -> Result<(), ImportError> {
        if !self.trunks.contains_key(id) {
            let entity = self.transaction.trunk(id)?;
            self.trunks.insert(id.clone(), FileEntity { entity, named: false });
        }
        Ok(())
    }

    /// Makes sure that an account exists, and has the name the file gives it.
    fn account(&mut self, id: &AccountId, name: Option<&Arc<str>>) -> Result<(), ImportError> {
        self.look_up_account(id)?;
        let Some(entry) = self.accounts.get_mut(id) else { return Ok(()) };
        let Some((before, name)) = entry.news(name, |account| &account.name) else { return Ok(()) };
        let after = match &before {
            Some(account) => Account { name: name.unwrap_or_else(|| account.name.clone()), ..account.clone() },
            None => Account {
                auth_id: id.clone(),
                name: name.unwrap_or_else(|| id.as_str().into()),
                created_at: self.at,
                archived_at: None,
            },
        };
        entry.entity = Some(after.clone());
        let was = before.as_ref().map(|before| before.name.to_string());
        self.tally.entity(|| news("account", id.as_str(), &after.name, was));
        self.put(EntityChange::Account(Edit { before, after }))
    }

    /// As [`ImportRun::account`].
    fn application(&mut self, id: &ApplicationId, name: Option<&Arc<str>>) -> Result<(), ImportError> {
        self.look_up_application(id)?;
        let Some(entry) = self.applications.get_mut(id) else { return Ok(()) };
        let Some((before, name)) = entry.news(name, |application| &application.name) else { return Ok(()) };
        let after = match &before {
            Some(application) => {
                Application { name: name.unwrap_or_else(|| application.name.clone()), ..application.clone() }
            }
            None => Application {
                id: id.clone(),
                name: name.unwrap_or_else(|| id.as_str().into()),
                account: None,
                created_at: self.at,
                archived_at: None,
                destinations: Default::default(),
                answer_url: None,
            },
        };
        entry.entity = Some(after.clone());
        let was = before.as_ref().map(|before| before.name.to_string());
        self.tally.entity(|| news("application", id.as_str(), &after.name, was));
        self.put(EntityChange::Application(Edit { before, after }))
    }

    /// As [`ImportRun::account`]; no column names a trunk.
    fn trunk(&mut self, id: &TrunkId) -> Result<(), ImportError> {
        self.look_up_trunk(id)?;
        let Some(entry) = self.trunks.get_mut(id) else { return Ok(()) };
        if entry.entity.is_some() {
            return Ok(());
        }
        let name: Arc<str> = id.as_str().into();
        let (account, archived_at, destinations) = Default::default();
        let trunk = Trunk { id: id.clone(), name, account, created_at: self.at, archived_at, destinations };
        entry.entity = Some(trunk.clone());
        self.tally.entity(|| news("trunk", id.as_str(), id.as_str(), None));
        self.put(EntityChange::Trunk(Edit::created(trunk)))
    }

    fn put(&mut self, change: EntityChange) -> Result<(), ImportError> {
        if !self.probe {
            self.wrote = true;
            self.transaction.put_entity(change)?;
        }
        Ok(())
    }
}

impl<T: Clone> FileEntity<T> {
    /// What there was and the name to give, where that is anything new.
    fn news(&mut self, name: Option<&Arc<str>>, name_of: fn(&T) -> &Arc<str>) -> Option<(Option<T>, Option<Arc<str>>)> {
        let name = name.filter(|_| !self.named);
        self.named |= name.is_some();
        let name = name.filter(|name| self.entity.as_ref().is_none_or(|entity| name_of(entity) != *name));
        (self.entity.is_none() || name.is_some()).then(|| (self.entity.clone(), name.cloned()))
    }
}

fn news(kind: &str, id: &str, name: &str, before: Option<String>) -> EntityNews {
    EntityNews { kind: kind.to_owned(), id: id.to_owned(), name: name.to_owned(), before }
}

/// A broken rule in the words of a file, with what to write instead.
fn broken(violation: Violation, record: &Record, fields: &RowFields) -> RowRefusal {
    let Violation { subject, id, fault } = violation;
    let (field, given) = match subject {
        Subject::Account => (Field::AccountAuthId, true),
        Subject::Application => (Field::ApplicationId, fields.application != Cell::Absent),
        Subject::Trunk => (Field::TrunkId, fields.trunk != Cell::Absent),
    };
    let instead = match given {
        true => "give another".to_owned(),
        false => format!("give another in a column {field}, or an empty cell there to clear it"),
    };
    let message = match (fault, record.holder()) {
        (ReferenceFault::Archived, _) if subject == Subject::Account => {
            "is archived and gets no numbers; bring it back first, or give another".to_owned()
        }
        (ReferenceFault::Archived, _) => format!("is archived; bring it back first, or {instead}"),
        (ReferenceFault::Owned(owner), Some(holder)) => {
            format!("belongs to account {owner}, so account {holder} may not use it; {instead}")
        }
        (ReferenceFault::Owned(owner), None) => {
            format!("belongs to account {owner}, which does not hold the number; {instead}")
        }
        (ReferenceFault::Unknown, _) => "is not one of yours".to_owned(),
    };
    refuse(field, id, message)
}

/// Things are called by their names; by their ids too where others of their
/// kind have the same name.
impl Naming for ImportRun<'_, '_> {
    type Error = ImportError;

    fn account(&mut self, id: &AccountId) -> Result<String, ImportError> {
        self.look_up_account(id)?;
        let name = self.accounts.get(id).and_then(|entry| Some(entry.entity.as_ref()?.name.clone()));
        Ok(self.called(NamedKind::Customer, id.as_str(), name))
    }

    fn application(&mut self, id: &ApplicationId) -> Result<String, ImportError> {
        self.look_up_application(id)?;
        let name = self.applications.get(id).and_then(|entry| Some(entry.entity.as_ref()?.name.clone()));
        Ok(self.called(NamedKind::Application, id.as_str(), name))
    }

    fn trunk(&mut self, id: &TrunkId) -> Result<String, ImportError> {
        self.look_up_trunk(id)?;
        let name = self.trunks.get(id).and_then(|entry| Some(entry.entity.as_ref()?.name.clone()));
        Ok(self.called(NamedKind::Trunk, id.as_str(), name))
    }
}

impl ImportRun<'_, '_> {
    fn called(&self, kind: NamedKind, id: &str, name: Option<Arc<str>>) -> String {
        match name {
            Some(name) if self.file.known.shared(kind, id, &name) => format!("{name} ({id})"),
            Some(name) => name.to_string(),
            None => id.to_owned(),
        }
    }
}
