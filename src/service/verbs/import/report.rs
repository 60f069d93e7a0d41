//! What an import did, or would do: counted, and shown number by number.
//!
//! Errors and cautions name their line, column and value. Of numbers that were
//! there before, the report tells what they lose apart from what they change,
//! with names instead of ids.
//! Invariants: every figure is exact; every list is bounded, and holds the
//! first of its kind in the order of the file; a number costs a constant
//! amount of work.
//! Deliberately absent: how a terminal or a page lays it out.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::domain::{Currency, E164, NumberRun, Record, RunChange, Status, Sum, Time, number};
use crate::intake::{Caution, Field, KnownExport, RowError};
use crate::wire::html::thousands;

/// How many row errors a report shows.
pub const ERRORS_MAX: usize = 100;
/// How many cautions a report shows.
pub const CAUTIONS_MAX: usize = 1_000;
/// Of how many rows at the beginning a report says what becomes of each.
pub const FIRST_MAX: usize = 20;
/// How many of the first changes a report shows before and after.
pub const CHANGED_MAX: usize = 100;
/// How many changes that lose something it shows, beside those.
pub const LOST_MAX: usize = 1_000;
/// How many new and renamed customers, applications and trunks it lists.
pub const ENTITIES_MAX: usize = 100;

/// What an import did, or would do. `rows` counts rows of the file, the other
/// figures count numbers.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ImportReport {
    pub rows: u64,
    pub imported: u64,
    pub updated: u64,
    pub unchanged: u64,
    pub rejected: u64,
    /// As many as `cautions_total`, under the name that it had first.
    pub warnings: u64,
    /// The first errors, in the order of the file.
    pub errors: Vec<RowError>,
    /// The first cautions: columns that are not read, then the order of the
    /// file.
    pub cautions: Vec<Caution>,
    pub cautions_total: u64,
    pub losses: Losses,
    /// How many of `losses.route` were active and not expired.
    pub losses_route_active: u64,
    /// What held numbers cost a month, more and less, by currency.
    #[serde(serialize_with = "as_amounts")]
    pub money: BTreeMap<Currency, CostChange>,
    /// Numbers that were there, before and after: the first ones, and the first
    /// that lose something.
    pub changed: Vec<ChangedNumber>,
    /// Customers, applications and trunks that are created or renamed.
    pub entities: Vec<EntityNews>,
    pub entities_total: u64,
    /// Whether what is reported was written.
    #[serde(skip)]
    pub written: bool,
    /// Whether the whole file is refused, whatever its rows.
    #[serde(skip)]
    pub refused: bool,
    /// Columns that were not read because nothing is known by their name.
    #[serde(skip)]
    pub unknown: Vec<String>,
    /// Whose export the file was read as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub export: Option<String>,
    /// Where the rejected rows are, sorted.
    #[serde(skip)]
    pub rejected_lines: Vec<u64>,
    /// Where the rows with a caution are, sorted.
    #[serde(skip)]
    pub caution_lines: Vec<u64>,
    /// What becomes of the numbers of the first rows, by line.
    #[serde(skip)]
    pub first: BTreeMap<u64, RowFate>,
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

/// How many numbers lose something that they had.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Losses {
    pub route: u64,
    pub trunk: u64,
    pub expiry: u64,
    pub account: u64,
    /// Numbers that lose at least one tag.
    pub tags: u64,
}

impl Losses {
    pub fn any(&self) -> bool {
        *self != Losses::default()
    }

    /// What one number loses, each 0 or 1.
    fn of(before: &Record, after: &Record) -> Losses {
        fn lost<T, U>(before: Option<T>, after: Option<U>) -> u64 {
            u64::from(before.is_some() && after.is_none())
        }
        Losses {
            route: lost(before.application.as_ref(), after.application.as_ref()),
            trunk: lost(before.trunk.as_ref(), after.trunk.as_ref()),
            expiry: lost(before.expires_at, after.expires_at),
            account: lost(before.account.as_ref(), after.account.as_ref()),
            tags: u64::from(before.tags.iter().any(|tag| !after.tags.contains(tag))),
        }
    }

    /// Adds what so many numbers lose, each the same.
    fn add(&mut self, each: Losses, numbers: u64) {
        let Losses { route, trunk, expiry, account, tags } = each;
        self.route += route * numbers;
        self.trunk += trunk * numbers;
        self.expiry += expiry * numbers;
        self.account += account * numbers;
        self.tags += tags * numbers;
    }
}

/// What numbers lose, as sentences: what would happen, or what did.
pub fn losses_told(losses: &Losses, route_active: u64, done: bool) -> Vec<String> {
    let numbers = |count: u64| match count {
        1 => "1 number".to_owned(),
        count => format!("{} numbers", thousands(count)),
    };
    let verb = |now: &'static str, past: &'static str| if done { past } else { now };
    let route = match (losses.route, route_active) {
        (all, 0) => numbers(all),
        (1, 1) => "1 live number".to_owned(),
        (all, live) if all == live => format!("{} live numbers", thousands(all)),
        (all, live) => format!("{}, {} of them live", numbers(all), thousands(live)),
    };
    let sentences = [
        (losses.route, format!("{} routing of {route}", verb("clears", "cleared"))),
        (losses.trunk, format!("{} the trunk of {}", verb("clears", "cleared"), numbers(losses.trunk))),
        (
            losses.expiry,
            format!(
                "{} the expiry of {}, which then auto-renew{}",
                verb("clears", "cleared"),
                numbers(losses.expiry),
                if losses.expiry == 1 { "s" } else { "" }
            ),
        ),
        (losses.account, format!("{} {} from the customer", verb("takes", "took"), numbers(losses.account))),
        (losses.tags, format!("{} tags from {}", verb("removes", "removed"), numbers(losses.tags))),
    ];
    sentences.into_iter().filter(|(count, _)| *count > 0).map(|(_, sentence)| sentence).collect()
}

/// What numbers cost more a month, and less, in minor units.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct CostChange {
    pub up: i128,
    pub down: i128,
}

impl CostChange {
    pub fn net(self) -> i128 {
        self.up - self.down
    }
}

/// Amounts as JSON numbers with the decimals of their currency.
fn as_amounts<S: Serializer>(money: &BTreeMap<Currency, CostChange>, serializer: S) -> Result<S::Ok, S::Error> {
    let amount = |minor, currency| RawValue::from_string(Sum { minor, currency }.to_string());
    let one = |(&currency, moved): (&Currency, &CostChange)| {
        let both = [("up", amount(moved.up, currency)?), ("down", amount(moved.down, currency)?)];
        Ok((currency, BTreeMap::from(both)))
    };
    let all: Result<BTreeMap<_, _>, serde_json::Error> = money.iter().map(one).collect();
    all.map_err(serde::ser::Error::custom)?.serialize(serializer)
}

/// A number that was there, or several of one row that change alike.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct ChangedNumber {
    pub line: u64,
    pub number: String,
    /// How many there are, from this one on.
    pub numbers: u64,
    pub changes: Vec<FieldChange>,
}

/// One thing about a number, before and after, as people call it.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct FieldChange {
    /// The name of the field in files.
    pub field: String,
    pub before: Option<String>,
    pub after: Option<String>,
    /// Whether the number loses it, or a part of it.
    pub lost: bool,
}

impl FieldChange {
    /// What people call the field.
    pub fn label(&self) -> &str {
        match Field::parse(&self.field) {
            Some(Field::State) => "state",
            Some(Field::AccountAuthId) => "customer",
            Some(Field::ApplicationId) => "application",
            Some(Field::TrunkId) => "trunk",
            Some(Field::MonthlyCost) => "monthly cost",
            Some(Field::AssignedAt) => "assigned",
            Some(Field::ExpiresAt) => "expires",
            Some(Field::NumberType) => "type",
            Some(Field::QuarantineEndsAt) => "quarantine ends",
            Some(Field::ReservedUntil) => "reserved until",
            Some(Field::Since) => "in its state since",
            _ => &self.field,
        }
    }

    /// What people call it that there is none.
    pub fn nothing(&self) -> &'static str {
        match Field::parse(&self.field) {
            Some(Field::ApplicationId) => "unrouted",
            Some(Field::ExpiresAt) => "auto-renews",
            _ => "none",
        }
    }
}

/// A customer, an application or a trunk that a file creates or renames.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct EntityNews {
    /// `account`, `application` or `trunk`.
    pub kind: String,
    pub id: String,
    pub name: String,
    /// What it was called; none if it is new.
    pub before: Option<String>,
}

/// Says what things are called.
pub trait Naming {
    type Error;
    fn account(&mut self, id: &crate::domain::AccountId) -> Result<String, Self::Error>;
    fn application(&mut self, id: &crate::domain::ApplicationId) -> Result<String, Self::Error>;
    fn trunk(&mut self, id: &crate::domain::TrunkId) -> Result<String, Self::Error>;
}

/// The counts so far.
#[derive(Clone, Default)]
pub(super) struct ImportTally {
    pub rows: u64,
    pub imported: u64,
    pub updated: u64,
    pub unchanged: u64,
    pub rejected: u64,
    /// The whole file is refused.
    pub refused: bool,
    /// The first errors by line, then in the order in which they were found.
    errors: BTreeMap<(u64, u64), RowError>,
    found: u64,
    cautions: Vec<Caution>,
    cautions_total: u64,
    rejected_lines: BTreeSet<u64>,
    /// Where cautions are, and how many.
    caution_lines: Vec<(u64, u64)>,
    first: BTreeMap<u64, RowFate>,
    losses: Losses,
    losses_route_active: u64,
    money: BTreeMap<Currency, CostChange>,
    changed: KeptChanges,
    lost: KeptChanges,
    entities: Vec<EntityNews>,
    entities_total: u64,
    pub unknown: Vec<String>,
    pub export: Option<KnownExport>,
    pub columns: Vec<(String, Field)>,
}

impl ImportTally {
    /// Counts a row, and remembers it if it is one of the first.
    pub fn row(&mut self, line: u64) {
        self.rows += 1;
        if self.first.len() < FIRST_MAX {
            self.first.insert(line, RowFate::default());
        }
    }

    pub fn reject(&mut self, line: u64, numbers: u64, errors: Vec<RowError>) {
        self.rejected += numbers;
        self.fate(line, |fate| fate.rejected += numbers);
        // One error says enough of a block whose numbers all have the same fault.
        if self.rejected_lines.insert(line) {
            self.errors(errors);
        }
    }

    /// Refuses the file as a whole.
    pub fn refuse(&mut self, errors: Vec<RowError>) {
        self.refused = true;
        self.errors(errors);
    }

    fn errors(&mut self, errors: Vec<RowError>) {
        for error in errors {
            self.found += 1;
            self.errors.insert((error.line, self.found), error);
        }
        while self.errors.len() > ERRORS_MAX {
            self.errors.pop_last();
        }
    }

    /// Records what is doubtful about a row. Rows come in the file's order.
    pub fn caution(&mut self, cautions: Vec<Caution>) {
        for caution in cautions {
            self.cautions_total += 1;
            match self.caution_lines.last_mut() {
                Some((line, count)) if *line == caution.line => *count += 1,
                _ => self.caution_lines.push((caution.line, 1)),
            }
            if self.cautions.len() < CAUTIONS_MAX {
                self.cautions.push(caution);
            }
        }
    }

    /// Records what turned out to be doubtful once all rows were compared.
    pub fn caution_late(&mut self, cautions: Vec<Caution>) {
        for caution in cautions {
            self.cautions_total += 1;
            match self.caution_lines.binary_search_by_key(&caution.line, |(line, _)| *line) {
                Ok(at) => self.caution_lines[at].1 += 1,
                Err(at) => self.caution_lines.insert(at, (caution.line, 1)),
            }
            let at = self.cautions.partition_point(|other| other.line <= caution.line);
            self.cautions.insert(at, caution);
            self.cautions.truncate(CAUTIONS_MAX);
        }
    }

    /// Records what is doubtful about the file, before all that rows have.
    pub fn caution_first(&mut self, cautions: Vec<Caution>) {
        self.cautions_total += cautions.len() as u64;
        self.cautions.splice(0..0, cautions);
        self.cautions.truncate(CAUTIONS_MAX);
    }

    /// Records what becomes of a row, if it is one of the first.
    fn fate(&mut self, line: u64, record: impl FnOnce(&mut RowFate)) {
        if let Some(fate) = self.first.get_mut(&line) {
            record(fate);
        }
    }

    /// Records what a row makes of numbers that were alike.
    pub fn numbers(&mut self, line: u64, run: NumberRun, before: Option<&Record>, after: &Record, at: Time) {
        match before {
            None => {
                self.imported += run.count;
                self.fate(line, |fate| fate.imported += run.count);
            }
            Some(before) if before == after => {
                self.unchanged += run.count;
                self.fate(line, |fate| fate.unchanged += run.count);
            }
            Some(before) => {
                self.updated += run.count;
                self.fate(line, |fate| fate.updated += run.count);
                self.changed(line, run, &before.as_of(at), after, at);
            }
        }
    }

    fn changed(&mut self, line: u64, run: NumberRun, before: &Record, after: &Record, at: Time) {
        let losses = Losses::of(before, after);
        self.changed.put(CHANGED_MAX, line, run, before, after);
        if losses.any() {
            self.lost.put(LOST_MAX, line, run, before, after);
            self.losses.add(losses, run.count);
            let active = number::status(before.state, before.expires_at, at) == Status::Active;
            self.losses_route_active += losses.route * run.count * u64::from(active);
        }
    }

    /// Adds what numbers cost more or less than before. Only a number that an
    /// account holds is paid for.
    pub fn cost(&mut self, change: &RunChange) {
        let paid = |record: &Option<Record>| record.as_ref().filter(|it| it.state.held()).and_then(|it| it.cost);
        let (before, after) = (paid(&change.before), paid(&change.after));
        let mut add = |currency, difference: i128| {
            let difference = difference * i128::from(change.count);
            let moved: &mut CostChange = self.money.entry(currency).or_default();
            match difference {
                0.. => moved.up += difference,
                _ => moved.down -= difference,
            }
        };
        match (before, after) {
            (Some(before), Some(after)) if before.currency == after.currency => {
                if before != after {
                    add(after.currency, i128::from(after.minor) - i128::from(before.minor));
                }
            }
            (before, after) => {
                before.into_iter().for_each(|cost| add(cost.currency, -i128::from(cost.minor)));
                after.into_iter().for_each(|cost| add(cost.currency, cost.minor.into()));
            }
        }
    }

    pub fn entity(&mut self, news: impl FnOnce() -> EntityNews) {
        self.entities_total += 1;
        if self.entities.len() < ENTITIES_MAX {
            self.entities.push(news());
        }
    }

    /// The report, with things called as `naming` does.
    pub fn report<N: Naming>(mut self, naming: &mut N) -> Result<ImportReport, N::Error> {
        self.forget_rejected();
        let mut shown = self.changed.0;
        shown.extend(self.lost.0);
        let changed = shown.into_iter().map(|((line, first), one)| {
            Ok(ChangedNumber {
                line,
                number: first.to_string(),
                numbers: one.count,
                changes: differences(&one.before, &one.after, naming)?,
            })
        });
        Ok(ImportReport {
            rows: self.rows,
            imported: self.imported,
            updated: self.updated,
            unchanged: self.unchanged,
            rejected: self.rejected,
            warnings: self.cautions_total,
            errors: self.errors.into_values().collect(),
            cautions: self.cautions,
            cautions_total: self.cautions_total,
            losses: self.losses,
            losses_route_active: self.losses_route_active,
            money: self.money,
            changed: changed.collect::<Result<_, _>>()?,
            entities: self.entities,
            entities_total: self.entities_total,
            written: false,
            refused: self.refused,
            unknown: self.unknown,
            export: self.export.map(|export| export.to_string()),
            rejected_lines: self.rejected_lines.into_iter().collect(),
            caution_lines: self.caution_lines.into_iter().map(|(line, _)| line).collect(),
            first: self.first,
            version: None,
        })
    }
}

impl ImportTally {
    /// A row that was rejected after all has errors, and needs no caution.
    fn forget_rejected(&mut self) {
        let rejected = &self.rejected_lines;
        if rejected.is_empty() {
            return;
        }
        let total = &mut self.cautions_total;
        self.caution_lines.retain(|(line, count)| {
            let gone = rejected.contains(line);
            *total -= if gone { *count } else { 0 };
            !gone
        });
        let lines = &self.caution_lines;
        let of_row = |caution: &Caution| lines.binary_search_by_key(&caution.line, |(line, _)| *line).is_ok();
        // What is said of the file as a whole has no value.
        self.cautions.retain(|caution| caution.value.is_empty() || of_row(caution));
    }
}

/// The first changes by line and number. Neighbours of one row that change
/// alike are one entry, so that a block takes one.
#[derive(Clone, Default)]
struct KeptChanges(BTreeMap<(u64, E164), KeptChange>);

#[derive(Clone)]
struct KeptChange {
    before: Record,
    after: Record,
    count: u64,
}

impl KeptChanges {
    fn put(&mut self, max: usize, line: u64, run: NumberRun, before: &Record, after: &Record) {
        let key = (line, run.first);
        if let Some((&(its_line, _), last)) = self.0.range_mut(..key).next_back()
            && its_line == line
            && last.before == *before
            && last.after == *after
        {
            last.count += run.count;
            return;
        }
        let full = self.0.len() >= max;
        if full && self.0.last_key_value().is_some_and(|(last, _)| *last < key) {
            return;
        }
        self.0.insert(key, KeptChange { before: before.clone(), after: after.clone(), count: run.count });
        if full {
            self.0.pop_last();
        }
    }
}

/// The differences of a number, field by field, in the words of people.
pub fn differences<N: Naming>(before: &Record, after: &Record, naming: &mut N) -> Result<Vec<FieldChange>, N::Error> {
    let losses = Losses::of(before, after);
    let mut found = Vec::new();
    let mut put = |field: Field, before: Option<String>, after: Option<String>, lost: u64| {
        if before != after {
            found.push(FieldChange { field: field.to_string(), before, after, lost: lost > 0 });
        }
    };
    let text = |word: &str| Some(word.to_owned());
    put(Field::State, text(before.state.as_str()), text(after.state.as_str()), 0);
    let (from, to) = named(before.account.as_ref(), after.account.as_ref(), |id| naming.account(id))?;
    put(Field::AccountAuthId, from, to, losses.account);
    let (from, to) = named(before.application.as_ref(), after.application.as_ref(), |id| naming.application(id))?;
    put(Field::ApplicationId, from, to, losses.route);
    let (from, to) = named(before.trunk.as_ref(), after.trunk.as_ref(), |id| naming.trunk(id))?;
    put(Field::TrunkId, from, to, losses.trunk);
    let amount = |record: &Record| record.cost.map(|cost| format!("{cost} {}", cost.currency.code()));
    put(Field::MonthlyCost, amount(before), amount(after), 0);
    let time = |time: Option<Time>| time.map(|time| time.to_string());
    put(Field::AssignedAt, time(before.assigned_at), time(after.assigned_at), 0);
    put(Field::ExpiresAt, time(before.expires_at), time(after.expires_at), losses.expiry);
    put(Field::NumberType, text(before.number_type.as_str()), text(after.number_type.as_str()), 0);
    let country = |record: &Record| record.country.map(|country| country.to_string());
    put(Field::Country, country(before), country(after), 0);
    let region = |record: &Record| record.region.as_deref().map(str::to_owned);
    put(Field::Region, region(before), region(after), 0);
    let tags = |record: &Record| {
        let tags: Vec<&str> = record.tags.iter().collect();
        (!tags.is_empty()).then(|| tags.join(", "))
    };
    put(Field::Tags, tags(before), tags(after), losses.tags);
    let ends = |record: &Record, state| time(record.until.filter(|_| record.state == state));
    for (field, state) in [
        (Field::QuarantineEndsAt, crate::domain::State::Quarantined),
        (Field::ReservedUntil, crate::domain::State::Reserved),
    ] {
        put(field, ends(before, state), ends(after, state), 0);
    }
    if before.state == after.state {
        put(Field::Since, time(Some(before.since)), time(Some(after.since)), 0);
    }
    Ok(found)
}

/// What two things are called; with their ids where both are called alike.
fn named<I: PartialEq + ToString, E>(
    before: Option<&I>,
    after: Option<&I>,
    mut name: impl FnMut(&I) -> Result<String, E>,
) -> Result<(Option<String>, Option<String>), E> {
    if before == after {
        return Ok((None, None));
    }
    let mut called = |id: Option<&I>| id.map(&mut name).transpose();
    let (mut from, mut to) = (called(before)?, called(after)?);
    if from == to {
        let both = |name: Option<String>, id: Option<&I>| Some(format!("{} ({})", name?, id?.to_string()));
        (from, to) = (both(from, before), both(to, after));
    }
    Ok((from, to))
}
