//! Bulk provisioning: a file's rows become an inventory, in one transaction.
//!
//! The file is read and validated first, without a lock; then one transaction
//! compares every number with what is stored and writes what differs, as one
//! version. A dry run is the same transaction, not committed, so it reports
//! exactly what would happen.
//!
//! Invariants: all or nothing; importing a file twice changes nothing the
//! second time; memory is bounded whatever the file's size.
//! Deliberately absent: parsing (`intake`), and any way around a conflict but
//! `move_held`.

use std::collections::{BTreeMap, BTreeSet, HashMap, hash_map};
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::domain::change::Edit;
use crate::domain::{
    Account, AccountId, Application, ApplicationId, Currency, E164, EntityChange, Money, NumberChange, PartnerId,
    Record, State, Status, Tags, Time, Trunk, TrunkId, Verb, plan,
};
use crate::intake::{self, Cell, Export, Field, Fields, Header, IntakeError, Item, Numbers, RowError};
use crate::store::{Abort, Holding, StoreError, Target, Transaction};

use super::{Service, ServiceError, desk};

/// How many row errors a report shows.
pub const ERRORS_MAX: usize = 100;
/// Of how many rows at the beginning a report says what becomes of each.
pub const FIRST_MAX: usize = 20;
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
    pub intake: intake::Options,
    /// The monthly cost of numbers whose row has none, in `intake.currency`.
    pub monthly_cost: Option<Arc<str>>,
    pub on_error: OnError,
    /// Whether a held number may go to another account of the partner.
    pub move_held: bool,
    pub dry_run: bool,
}

/// What an import did, or would do. `rows` counts rows of the file, the other
/// figures count numbers.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct ImportReport {
    pub rows: u64,
    pub imported: u64,
    pub updated: u64,
    pub unchanged: u64,
    pub rejected: u64,
    pub warnings: u64,
    /// The first errors, in the order of the file.
    pub errors: Vec<RowError>,
    /// Whether what is reported was written.
    #[serde(skip)]
    pub written: bool,
    /// Columns that were not read because nothing is known by their name.
    #[serde(skip)]
    pub unknown: Vec<String>,
    /// Whose export the file was read as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub export: Option<String>,
    /// Where the rejected rows are, sorted.
    #[serde(skip)]
    pub rejected_lines: Vec<u64>,
    /// What becomes of the numbers of the first rows, by line.
    #[serde(skip)]
    pub first: BTreeMap<u64, RowFate>,
    /// What held numbers cost more a month, or less, in minor units.
    #[serde(skip)]
    pub cost: BTreeMap<Currency, i64>,
    /// The version that it made.
    #[serde(skip)]
    pub version: Option<u64>,
}

/// How many numbers of one row end how.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct RowFate {
    pub imported: u64,
    pub updated: u64,
    pub unchanged: u64,
    pub rejected: u64,
}

/// Kept with an import, in its transaction, by whoever asked for it.
pub type Note<'a> = &'a (dyn Fn(&mut dyn Transaction, &ImportReport) -> Result<(), ServiceError> + Sync);

/// How far an import is.
#[derive(Clone, Copy, Debug)]
pub enum Progress {
    /// Bytes of the file read so far.
    Reading { bytes: u64 },
    /// Numbers compared with the store, of all.
    Writing { numbers: u64, total: u64 },
}

/// Who watches an import, and may stop it.
pub struct Watch<'a> {
    pub progress: &'a (dyn Fn(Progress) + Sync),
    pub cancel: &'a AtomicBool,
}

/// A file that can be read from the start more than once.
pub type Source<'a> = &'a (dyn Fn() -> io::Result<Box<dyn Read>> + Sync);

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

impl From<StoreError> for ImportError {
    fn from(error: StoreError) -> ImportError {
        ImportError::Service(error.into())
    }
}

impl Service {
    pub fn import(
        &self,
        partner: &PartnerId,
        source: Source<'_>,
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
        source: Source<'_>,
        options: &ImportOptions,
        watch: &Watch<'_>,
        note: Note<'_>,
    ) -> Result<ImportReport, ImportError> {
        let key = self.partner_key(partner)?;
        let mut file = File { source, options, watch, columns: Vec::new() };
        let mut tally = Tally::default();
        let mut batch = Batch::default();
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
        let aborts = options.on_error == OnError::Abort;
        // What will not be committed need not be written to find out.
        let probe = options.dry_run || (aborts && tally.rejected > 0);
        let entry = self.entry(Verb::Import);
        let at = entry.at;

        let mut outcome: Option<Result<ImportReport, ImportError>> = None;
        let result = self.store.write(
            Target::Partner(key),
            entry,
            Box::new(|transaction| {
                let mut run = Run::new(transaction, &file, at, probe, tally.clone());
                let done = if fits { run.batch(&mut batch) } else { run.file() };
                let Run { tally, wrote, .. } = run;
                let refused = aborts && tally.rejected > 0;
                let keep = !probe && !refused;
                let version = (keep && wrote).then(|| transaction.version());
                let report = tally.report(keep, version);
                let done = done.and_then(|()| if keep { Ok(note(transaction, &report)?) } else { Ok(()) });
                match done {
                    Ok(()) => {
                        outcome = Some(Ok(report));
                        if keep { Ok(()) } else { Err(Abort::Refused) }
                    }
                    Err(ImportError::Service(ServiceError::Store(error))) => Err(Abort::Store(error)),
                    Err(error) => {
                        outcome = Some(Err(error));
                        Err(Abort::Refused)
                    }
                }
            }),
        );
        if let Err(Abort::Store(error)) = result {
            return Err(error.into());
        }
        outcome.unwrap_or(Err(ImportError::Cancelled))
    }
}

/// The file being imported, and how.
struct File<'a> {
    source: Source<'a>,
    options: &'a ImportOptions,
    watch: &'a Watch<'a>,
    /// What the file calls its columns; empty for JSON, whose keys are ours.
    columns: Vec<(String, Field)>,
}

impl File<'_> {
    /// Reads the file once; bad rows are counted, good ones handed on.
    fn read(
        &self,
        tally: &mut Tally,
        good: &mut dyn FnMut(intake::Row) -> ControlFlow<ImportError>,
    ) -> Result<(), ImportError> {
        let input = Counted { inner: (self.source)().map_err(ImportError::Open)?, bytes: 0, watch: self.watch };
        let mut stopped = None;
        let mut columns = Vec::new();
        let mut header = |header: &Header| columns = header.columns.clone();
        let summary = intake::read(input, &self.options.intake, &mut header, &mut |item| {
            if self.watch.cancel.load(Ordering::Relaxed) {
                stopped = Some(ImportError::Cancelled);
                return ControlFlow::Break(());
            }
            tally.rows += 1;
            if tally.first.len() < FIRST_MAX {
                let (Item::Bad { line, .. } | Item::Row(intake::Row { line, .. })) = &item;
                tally.first.insert(*line, RowFate::default());
            }
            match item {
                Item::Bad { line, numbers, errors } => tally.reject(line, numbers, errors),
                Item::Row(row) => {
                    if let ControlFlow::Break(error) = good(row) {
                        stopped = Some(error);
                        return ControlFlow::Break(());
                    }
                }
            }
            ControlFlow::Continue(())
        })?;
        tally.unknown = summary.unknown;
        tally.export = summary.export;
        tally.columns = columns;
        match stopped {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// Tells the watcher how much of the file has been read.
struct Counted<'a> {
    inner: Box<dyn Read>,
    bytes: u64,
    watch: &'a Watch<'a>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes += read as u64;
        (self.watch.progress)(Progress::Reading { bytes: self.bytes });
        Ok(read)
    }
}

/// The counts so far.
#[derive(Clone, Default)]
struct Tally {
    rows: u64,
    imported: u64,
    updated: u64,
    unchanged: u64,
    rejected: u64,
    warnings: u64,
    /// The first errors by line, then in the order in which they were found.
    errors: BTreeMap<(u64, u64), RowError>,
    found: u64,
    rejected_lines: BTreeSet<u64>,
    first: BTreeMap<u64, RowFate>,
    cost: BTreeMap<Currency, i64>,
    unknown: Vec<String>,
    export: Option<Export>,
    columns: Vec<(String, Field)>,
}

impl Tally {
    fn reject(&mut self, line: u64, numbers: u64, errors: Vec<RowError>) {
        self.rejected += numbers;
        self.fate(line, |fate| fate.rejected += numbers);
        // One error says enough of a block whose numbers all have the same fault.
        if !self.rejected_lines.insert(line) {
            return;
        }
        for error in errors {
            self.found += 1;
            self.errors.insert((line, self.found), error);
        }
        while self.errors.len() > ERRORS_MAX {
            self.errors.pop_last();
        }
    }

    /// Notes what becomes of a row, if it is one of the first.
    fn fate(&mut self, line: u64, note: impl FnOnce(&mut RowFate)) {
        if let Some(fate) = self.first.get_mut(&line) {
            note(fate);
        }
    }

    /// Adds what a number costs more than before.
    fn cost(&mut self, before: Option<&Record>, after: Option<&Record>) {
        for (record, sign) in [(before, -1), (after, 1)] {
            // Only a number that an account holds is paid for.
            if let Some(paid) = record.filter(|record| record.state.held()).and_then(|record| record.cost) {
                let sum = self.cost.entry(paid.currency).or_default();
                *sum = sum.saturating_add(sign * paid.minor);
            }
        }
    }

    fn report(self, written: bool, version: Option<u64>) -> ImportReport {
        ImportReport {
            rows: self.rows,
            imported: self.imported,
            updated: self.updated,
            unchanged: self.unchanged,
            rejected: self.rejected,
            warnings: self.warnings,
            errors: self.errors.into_values().collect(),
            written,
            unknown: self.unknown,
            export: self.export.map(|export| export.to_string()),
            rejected_lines: self.rejected_lines.into_iter().collect(),
            first: self.first,
            cost: self.cost,
            version,
        }
    }
}

/// Rows waiting to be compared, a few bytes a number: what rows say is kept
/// once for all rows that say the same.
#[derive(Default)]
struct Batch {
    said: Vec<Arc<Fields>>,
    places: HashMap<Arc<Fields>, u32>,
    wanted: Vec<Wanted>,
    /// Rows about accounts without numbers.
    accounts: Vec<(u64, u32)>,
}

/// One number of one row. Sorts by number, then by line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Wanted {
    number: E164,
    line: u64,
    said: u32,
}

impl Batch {
    fn add(&mut self, row: intake::Row) {
        let last = self.said.last().filter(|last| Arc::ptr_eq(last, &row.fields));
        let said = match last {
            Some(_) => self.said.len() as u32 - 1,
            None => match self.places.entry(row.fields.clone()) {
                hash_map::Entry::Occupied(place) => *place.get(),
                hash_map::Entry::Vacant(place) => {
                    self.said.push(row.fields);
                    *place.insert(self.said.len() as u32 - 1)
                }
            },
        };
        match row.numbers {
            Numbers::None => self.accounts.push((row.line, said)),
            Numbers::Block { first, last } => {
                let numbers = (first.digits()..=last.digits()).filter_map(E164::new);
                self.wanted.extend(numbers.map(|number| Wanted { number, line: row.line, said }));
            }
        }
    }

    fn bytes(&self) -> usize {
        // A set of fields with its map entry takes about this much.
        const SAID_BYTES: usize = 640;
        self.wanted.len() * size_of::<Wanted>() + self.said.len() * SAID_BYTES + self.accounts.len() * 16
    }

    fn clear(&mut self) {
        *self = Batch::default();
    }
}

/// Why a number of a row is refused: our name of the column, and why.
struct Refusal {
    column: &'static str,
    value: String,
    message: String,
}

fn refuse(column: &'static str, value: impl ToString, message: impl Into<String>) -> Refusal {
    Refusal { column, value: value.to_string(), message: message.into() }
}

/// The same words whoever holds it, so that they tell nothing of other tenants.
const TAKEN: &str =
    "the number is held already; release it first, or give --move to move it between accounts of this partner";

/// Something the file names, and whether a row has said yet what it is called.
/// The first accepted row that does is believed, so that importing the file
/// again changes nothing.
struct Named<T> {
    entity: T,
    named: bool,
}

/// The part of an import that runs inside the transaction.
struct Run<'a, 't> {
    transaction: &'t mut dyn Transaction,
    file: &'a File<'a>,
    at: Time,
    /// Look, but write nothing.
    probe: bool,
    /// Whether anything was put.
    wrote: bool,
    tally: Tally,
    accounts: HashMap<AccountId, Named<Account>>,
    applications: HashMap<ApplicationId, Named<Application>>,
    trunks: HashMap<TrunkId, Option<Trunk>>,
    /// By what rows say: whether a number that was not there has been given
    /// it, so that all it names is known and may be named.
    vouched: Vec<bool>,
    done: u64,
}

impl<'a, 't> Run<'a, 't> {
    fn new(transaction: &'t mut dyn Transaction, file: &'a File<'a>, at: Time, probe: bool, tally: Tally) -> Self {
        let (accounts, applications, trunks, vouched) = Default::default();
        let wrote = false;
        Run { transaction, file, at, probe, wrote, tally, accounts, applications, trunks, vouched, done: 0 }
    }

    /// Reads the file again, a batch at a time, for files too large to keep.
    fn file(&mut self) -> Result<(), ImportError> {
        let file = self.file;
        let mut batch = Batch::default();
        // The bad rows were counted when the file was read the first time.
        let mut again = Tally::default();
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

    fn batch(&mut self, batch: &mut Batch) -> Result<(), ImportError> {
        batch.wanted.sort_unstable();
        self.vouched = vec![false; batch.said.len()];
        for &(line, said) in &batch.accounts {
            let fields = &batch.said[said as usize];
            if let Cell::Value(account) = &fields.account {
                self.account(account, fields.account_name.value())?;
            } else {
                self.refused(line, refuse("account_auth_id", "", "a row without a number needs an account"));
            }
        }
        let total = self.done + batch.wanted.len() as u64;
        let mut wanted: &[Wanted] = &batch.wanted;
        while !wanted.is_empty() {
            if self.file.watch.cancel.load(Ordering::Relaxed) {
                return Err(ImportError::Cancelled);
            }
            let (now, later) = wanted.split_at(desk::step(wanted, |wanted| wanted.number));
            self.step(now, &batch.said)?;
            wanted = later;
            self.done += now.len() as u64;
            (self.file.watch.progress)(Progress::Writing { numbers: self.done, total });
        }
        Ok(())
    }

    /// Compares and writes some numbers, sorted.
    fn step(&mut self, wanted: &[Wanted], said: &[Arc<Fields>]) -> Result<(), ImportError> {
        let numbers: Vec<E164> = wanted.chunk_by(|a, b| a.number == b.number).map(|same| same[0].number).collect();
        let holdings = self.transaction.numbers(&numbers)?;
        let mut changes = Vec::new();
        for (same, holding) in wanted.chunk_by(|a, b| a.number == b.number).zip(holdings) {
            let number = same[0].number;
            let before = match holding {
                Holding::Free => None,
                Holding::Ours { record, .. } => Some(record),
                Holding::Foreign => {
                    for row in same {
                        self.refused(row.line, refuse("number", number, TAKEN));
                    }
                    continue;
                }
            };
            let mut current = before.clone();
            for row in same {
                // Taking one after the other would change the number back and
                // forth at every import of the file.
                if row.said != same[0].said {
                    let message = format!("line {} says something else of this number; keep one of them", same[0].line);
                    self.refused(row.line, refuse("number", number, message));
                    continue;
                }
                match self.settle(number, current.as_ref(), row.said, &said[row.said as usize])? {
                    Err(refusal) => self.refused(row.line, refusal),
                    Ok(record) => {
                        let tally = &mut self.tally;
                        match &current {
                            None => {
                                tally.imported += 1;
                                tally.fate(row.line, |fate| fate.imported += 1);
                            }
                            Some(current) if *current == record => {
                                tally.unchanged += 1;
                                tally.fate(row.line, |fate| fate.unchanged += 1);
                            }
                            Some(_) => {
                                tally.updated += 1;
                                tally.fate(row.line, |fate| fate.updated += 1);
                            }
                        }
                        current = Some(record);
                    }
                }
            }
            if current != before {
                self.tally.cost(before.as_ref(), current.as_ref());
                changes.push(NumberChange { number, before, after: current });
            }
        }
        if !self.probe && !changes.is_empty() {
            self.wrote = true;
            self.transaction.put_numbers(&changes)?;
        }
        Ok(())
    }

    fn refused(&mut self, line: u64, refusal: Refusal) {
        let Refusal { column, value, message } = refusal;
        let theirs = self.file.columns.iter().find(|(_, field)| field.as_str() == column);
        let column = theirs.map_or(column, |(theirs, _)| theirs).to_owned();
        self.tally.reject(line, 1, vec![RowError { line, column, value, message }]);
    }

    /// What a number becomes by a row, given what it is. `said` is the place of
    /// `fields` in the batch.
    fn settle(
        &mut self,
        number: E164,
        current: Option<&Record>,
        said: u32,
        fields: &Fields,
    ) -> Result<Result<Record, Refusal>, ImportError> {
        let place = match settle_place(current, fields, self.at, self.file.options.move_held, number) {
            Ok(place) => place,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let cost = match self.settle_cost(current, fields, place.state.held()) {
            Ok(cost) => cost,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let same_holder = current.is_some_and(|current| current.holder() == place.holder());
        let kept = current.filter(|_| same_holder);
        let application = chosen(&fields.application, kept.and_then(|kept| kept.application.as_ref()));
        let trunk = chosen(&fields.trunk, kept.and_then(|kept| kept.trunk.as_ref()));

        // A row for a number that was not there names only what it says itself.
        if current.is_some() || !self.vouched[said as usize] {
            if let Err(refusal) = self.name(fields, &place, application.as_ref(), trunk.as_ref())? {
                return Ok(Err(refusal));
            }
            self.vouched[said as usize] |= current.is_none();
        }

        let said = plan::lookup(number.digits());
        if !said.valid {
            self.tally.warnings += 1;
        }
        let assigned_at = match (&fields.assigned_at, place.state.held()) {
            (_, false) => None,
            (Cell::Value(time), true) => Some(*time),
            (Cell::Absent | Cell::Empty, true) => Some(kept.and_then(|kept| kept.assigned_at).unwrap_or(self.at)),
        };
        let derived_country = || said.country.and_then(crate::domain::Country::new);
        let derived_region = || said.region.map(Arc::from);
        Ok(Ok(Record {
            state: place.state,
            account: place.account,
            application,
            trunk,
            number_type: match (&fields.number_type, current) {
                (Cell::Value(given), _) => *given,
                (_, Some(current)) => current.number_type,
                (_, None) => said.number_type,
            },
            country: match (&fields.country, current) {
                (Cell::Value(given), _) => Some(*given),
                (_, Some(current)) => current.country,
                (_, None) => derived_country(),
            },
            region: match (&fields.region, current) {
                (Cell::Value(given), _) => Some(given.clone()),
                (_, Some(current)) => current.region.clone(),
                (_, None) => derived_region(),
            },
            cost,
            assigned_at,
            expires_at: chosen(&fields.expires_at, kept.and_then(|kept| kept.expires_at.as_ref())),
            since: place.since,
            until: place.until,
            tags: match (&fields.tags, current) {
                (Cell::Value(tags), _) => tags.clone(),
                (Cell::Absent, Some(current)) => current.tags.clone(),
                (Cell::Empty, _) | (Cell::Absent, None) => Tags::default(),
            },
        }))
    }

    /// Whether a row may name its application and trunk. If so it is good, and
    /// what it names is created.
    fn name(
        &mut self,
        fields: &Fields,
        place: &Place,
        application: Option<&ApplicationId>,
        trunk: Option<&TrunkId>,
    ) -> Result<Result<(), Refusal>, ImportError> {
        if let Some(id) = application {
            let owner = self.look_up_application(id)?.and_then(|application| application.account);
            if owner.is_some() && owner.as_ref() != place.holder() {
                return Ok(Err(refuse("application_id", id, "the application belongs to another account")));
            }
        }
        if let Some(id) = trunk {
            let owner = self.look_up_trunk(id)?.and_then(|trunk| trunk.account);
            if owner.is_some() && owner.as_ref() != place.holder() {
                return Ok(Err(refuse("trunk_id", id, "the trunk belongs to another account")));
            }
        }
        if let Some(account) = &place.account {
            let name = fields.account_name.value().filter(|_| fields.account.value() == Some(account));
            self.account(account, name)?;
        }
        if let Some(id) = application {
            let name = fields.application_name.value().filter(|_| fields.application.value() == Some(id));
            self.application(id, name)?;
        }
        if let Some(id) = trunk {
            self.trunk(id)?;
        }
        Ok(Ok(()))
    }

    fn settle_cost(&self, current: Option<&Record>, fields: &Fields, held: bool) -> Result<Option<Money>, Refusal> {
        let options = self.file.options;
        let stored = current.and_then(|current| current.cost);
        let stored_currency = stored.map(|cost| cost.currency);
        let flag: Option<Currency> = options.intake.currency;
        let currency = match &fields.currency {
            Cell::Value(currency) => Some(*currency),
            Cell::Absent | Cell::Empty => stored_currency.or(flag),
        };
        // The flags are for what neither the row nor the store says.
        let amount = match &fields.cost {
            Cell::Value(amount) => Some(amount),
            Cell::Absent | Cell::Empty => options.monthly_cost.as_ref().filter(|_| stored.is_none()),
        };
        let cost = match (amount, currency) {
            (Some(amount), Some(currency)) => Some(
                Money::parse(amount, currency).map_err(|error| refuse("monthly_cost", amount, error.to_string()))?,
            ),
            (Some(amount), None) => {
                return Err(refuse(
                    "currency",
                    "",
                    format!("the monthly_cost {amount} needs a currency, here or as --currency"),
                ));
            }
            (None, Some(currency))
                if fields.currency.value().is_some() && stored_currency.is_some_and(|stored| stored != currency) =>
            {
                return Err(refuse("currency", currency, "another currency needs its monthly_cost in the same row"));
            }
            (None, _) => stored,
        };
        if held && cost.is_none() {
            let message = "an assigned number needs a monthly_cost and a currency, in its row or as --monthly-cost and --currency";
            return Err(refuse("monthly_cost", "", message));
        }
        Ok(cost)
    }

    /// Makes sure that an account exists, and has the name the file gives it.
    fn account(&mut self, id: &AccountId, name: Option<&Arc<str>>) -> Result<(), ImportError> {
        let before = match self.accounts.get(id) {
            Some(known) if known.named || name.is_none() => return Ok(()),
            Some(known) => Some(known.entity.clone()),
            None => self.transaction.account(id)?,
        };
        let after = match &before {
            Some(account) => Account { name: name.unwrap_or(&account.name).clone(), ..account.clone() },
            None => Account {
                auth_id: id.clone(),
                name: name.cloned().unwrap_or_else(|| id.as_str().into()),
                created_at: self.at,
                archived_at: None,
            },
        };
        if before.as_ref() != Some(&after) && !self.probe {
            self.wrote = true;
            self.transaction.put_entity(EntityChange::Account(Edit { before, after: after.clone() }))?;
        }
        self.accounts.insert(id.clone(), Named { entity: after, named: name.is_some() });
        Ok(())
    }

    fn look_up_application(&mut self, id: &ApplicationId) -> Result<Option<Application>, ImportError> {
        if let Some(known) = self.applications.get(id) {
            return Ok(Some(known.entity.clone()));
        }
        Ok(self.transaction.application(id)?)
    }

    /// As [`Run::account`].
    fn application(&mut self, id: &ApplicationId, name: Option<&Arc<str>>) -> Result<(), ImportError> {
        let before = match self.applications.get(id) {
            Some(known) if known.named || name.is_none() => return Ok(()),
            Some(known) => Some(known.entity.clone()),
            None => self.transaction.application(id)?,
        };
        let after = match &before {
            Some(application) => Application { name: name.unwrap_or(&application.name).clone(), ..application.clone() },
            None => Application {
                id: id.clone(),
                name: name.cloned().unwrap_or_else(|| id.as_str().into()),
                account: None,
                created_at: self.at,
                archived_at: None,
            },
        };
        if before.as_ref() != Some(&after) && !self.probe {
            self.wrote = true;
            self.transaction.put_entity(EntityChange::Application(Edit { before, after: after.clone() }))?;
        }
        self.applications.insert(id.clone(), Named { entity: after, named: name.is_some() });
        Ok(())
    }

    fn look_up_trunk(&mut self, id: &TrunkId) -> Result<Option<Trunk>, ImportError> {
        if let Some(known) = self.trunks.get(id) {
            return Ok(known.clone());
        }
        Ok(self.transaction.trunk(id)?)
    }

    fn trunk(&mut self, id: &TrunkId) -> Result<(), ImportError> {
        if self.trunks.contains_key(id) {
            return Ok(());
        }
        let mut known = self.transaction.trunk(id)?;
        if known.is_none() {
            let name = id.as_str().into();
            let trunk = Trunk { id: id.clone(), name, account: None, created_at: self.at, archived_at: None };
            if !self.probe {
                self.wrote = true;
                self.transaction.put_entity(EntityChange::Trunk(Edit::created(trunk.clone())))?;
            }
            known = Some(trunk);
        }
        self.trunks.insert(id.clone(), known);
        Ok(())
    }
}

/// A field that an absent column keeps and an empty cell clears.
fn chosen<T: Clone>(cell: &Cell<T>, kept: Option<&T>) -> Option<T> {
    match cell {
        Cell::Value(value) => Some(value.clone()),
        Cell::Empty => None,
        Cell::Absent => kept.cloned(),
    }
}

/// Which state a number is in, since and until when, and for whom.
struct Place {
    state: State,
    account: Option<AccountId>,
    since: Time,
    until: Option<Time>,
}

impl Place {
    fn holder(&self) -> Option<&AccountId> {
        if self.state.held() { self.account.as_ref() } else { None }
    }
}

/// Who shall have the number, and in which state.
fn settle_place(
    current: Option<&Record>,
    fields: &Fields,
    at: Time,
    move_held: bool,
    number: E164,
) -> Result<Place, Refusal> {
    let holder = current.and_then(Record::holder);
    let state = fields.state.value().copied();
    let wanted = match (&fields.account, state) {
        (Cell::Value(account), Some(state)) if !state.held() => {
            return Err(refuse(
                "state",
                state,
                format!("a number that account {account} holds is active or suspended"),
            ));
        }
        (Cell::Value(account), _) => Some(account),
        (Cell::Empty, Some(state)) if state.held() => {
            return Err(refuse("account_auth_id", "", format!("a number that is {state} needs an account")));
        }
        (Cell::Absent, Some(state)) if state.held() => {
            Some(holder.ok_or_else(|| refuse("state", state, format!("a number that is {state} needs an account")))?)
        }
        (Cell::Absent, None) => holder,
        (Cell::Empty | Cell::Absent, _) => None,
    };
    if holder.is_some() && holder != wanted && !move_held {
        return Err(refuse("number", number, TAKEN));
    }
    if let (Some(current), Some(wanted), None, false) = (current, wanted, holder, move_held) {
        let until = current.until.map(|until| format!(" until {until}")).unwrap_or_default();
        match current.state.at(current.until, at) {
            State::Quarantined => {
                return Err(refuse(
                    "number",
                    number,
                    format!("the number is in quarantine{until}; give --move to assign it now"),
                ));
            }
            State::Reserved if current.account.as_ref() != Some(wanted) => {
                return Err(refuse(
                    "number",
                    number,
                    format!("the number is reserved for another account{until}; give --move to assign it now"),
                ));
            }
            State::Reserved | State::Available | State::Active | State::Suspended | State::Retired => {}
        }
    }
    let ends = |cell: &Cell<Time>, column: &'static str, state: State| {
        let kept = current.filter(|current| current.state == state).and_then(|current| current.until);
        cell.value()
            .copied()
            .or(kept)
            .ok_or_else(|| refuse(column, "", format!("a number that is {state} needs its end")))
    };
    let (state, account, until) = match (wanted, state) {
        (Some(account), state) => {
            let kept = current.filter(|current| current.holder() == Some(account)).map(|current| current.state);
            let said = match (fields.blocked.value(), fields.status.value()) {
                (Some(true), _) | (_, Some(Status::Suspended)) => Some(State::Suspended),
                (_, Some(Status::Active)) => Some(State::Active),
                (_, None) => None,
            };
            (state.or(said).or(kept).unwrap_or(State::Active), Some(account.clone()), None)
        }
        (None, Some(State::Quarantined)) => (
            State::Quarantined,
            None,
            Some(ends(&fields.quarantine_ends_at, "quarantine_ends_at", State::Quarantined)?),
        ),
        (None, Some(State::Reserved)) => {
            let kept =
                current.filter(|current| current.state == State::Reserved).and_then(|current| current.account.as_ref());
            let account = fields.reserved_for.value().or(kept).cloned();
            let account =
                account.ok_or_else(|| refuse("reserved_for", "", "a number that is reserved needs an account"))?;
            (State::Reserved, Some(account), Some(ends(&fields.reserved_until, "reserved_until", State::Reserved)?))
        }
        (None, Some(State::Available | State::Active | State::Suspended | State::Retired)) => {
            (State::Available, None, None)
        }
        (None, None) => match current.filter(|current| !current.state.held()) {
            Some(current) => (current.state, current.account.clone(), current.until),
            None => (State::Available, None, None),
        },
    };
    let kept =
        current.filter(|current| (current.state, &current.account) == (state, &account)).map(|current| current.since);
    let since = fields.since.value().copied().or(kept).unwrap_or(at);
    Ok(Place { state, account, since, until })
}
