//! Mirrors another server's inventory into a partner.
//!
//! A [`Listing`] is a complete listing of that server; an incomplete one is never
//! passed on. It is compared with the partner's index, and then, for the numbers
//! that seem to differ, with the data in the transaction; all differences become
//! one change. If another writer came in between, the comparison is repeated.
//!
//! Invariants: a listing is applied completely or not at all; one without a
//! difference writes nothing to the log; applying it twice changes nothing the
//! second time. A shrinking upstream is treated as a failure until an operator
//! confirms it.
//! Upstream wins over changes that were made here. Fields that the Partner API does
//! not return keep their value: the time of a suspension, reservations,
//! quarantines, and in the dialect `items` expiries, names and types of numbers.
//! Deliberately absent: HTTP, the clock of repeated looks (`cli`).

mod look;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::json;

use crate::checks::MOVED_SECONDS;
use crate::domain::change::Edit;
use crate::domain::plan::{self, Judgement};
use crate::domain::runs::{cut, runs};
use crate::domain::setting::{MovedNumbers, Movement, Unnamed};
use crate::domain::{
    Account, AccountId, ApplicationId, Choice, E164, EntityChange, Mirror, Money, NumberChange, PartnerId, Record,
    Setting, Time, TrunkId, Verb, id,
};
use crate::inventory::Snapshot;
use crate::service::verbs::desk;
use crate::service::verbs::import::{ImportProgress, Watch};
use crate::service::verbs::rules::EntityCache;
use crate::service::{Service, ServiceError};
use crate::store::{Decision, Document, Ownership, Transaction, WriteTarget};
use look::UpstreamRefusal;

pub use look::{Listing, ListingBuilder};

/// The setting that says what a partner mirrors, and the document, of the same
/// kind, that says when it was last looked at.
pub const MIRROR: &str = "mirror";
/// How many runs of numbers that came or went a setting names.
pub const RUNS_MAX: usize = 1_000;
/// How many refused numbers, and how many refused entities, a report names.
pub const REFUSED_MAX: usize = 100;
/// How often a comparison is done again because another writer was faster. The
/// last one is kept all the same; what it missed has its turn at the next look.
const ATTEMPTS: u32 = 5;

/// Where the original is, and how far it is believed.
#[derive(Clone, Debug)]
pub struct MirrorOptions {
    pub url: Arc<str>,
    pub auth_id: Arc<str>,
    /// Whether the partner may have mirrored another inventory before.
    pub switch: bool,
    /// How many percent of the mirror's numbers may go at one look.
    pub max_drop: u64,
    /// Whether any number of them may.
    pub allow_drop: bool,
    /// The monthly cost of assigned numbers whose cost upstream does not tell.
    pub cost: Option<Money>,
}

/// What a look changed, or would change.
#[derive(Clone, Debug, serde::Serialize)]
pub struct SyncReport {
    pub at: Time,
    /// Whether it is the first one at this original.
    pub first: bool,
    /// How many numbers upstream has.
    pub numbers: u64,
    pub came: u64,
    pub went: u64,
    pub changed: u64,
    /// Numbers of upstream's that cannot be taken.
    pub refused: u64,
    /// Accounts, applications and trunks that were made or changed.
    pub entities: u64,
    /// Whether accounts without numbers are known.
    pub lists_accounts: bool,
    /// The first refused ones.
    pub errors: Vec<RefusedNumber>,
    /// Accounts, applications and trunks of upstream's that cannot be taken.
    pub refused_entities: u64,
    /// The first of these.
    pub entity_errors: Vec<RefusedEntity>,
    /// The version that it made; none if nothing differs.
    pub version: Option<u64>,
}

#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct RefusedNumber {
    pub number: E164,
    pub reason: String,
}

/// An account, application or trunk that cannot be taken.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct RefusedEntity {
    /// `account`, `application` or `trunk`.
    pub kind: &'static str,
    pub id: Arc<str>,
    pub reason: String,
}

impl SyncReport {
    pub fn differs(&self) -> bool {
        self.came + self.went + self.changed + self.entities > 0
    }
}

#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    #[error(
        "partner {partner} mirrors {auth_id} at {url}; give --switch to mirror another inventory from now on, which \
         replaces what it has"
    )]
    Elsewhere { partner: PartnerId, auth_id: Arc<str>, url: Arc<str> },
    #[error(
        "{gone} of the mirror's {have} numbers are not upstream any more, which is more than --max-drop {max_drop}%; \
         nothing was changed. If they are really gone, say so with --allow-drop"
    )]
    Drop { gone: u64, have: u64, max_drop: u64 },
    #[error(
        "upstream says that it has no {what} at all, and the mirror has {have}; nothing was changed. If they are \
         really gone, say so with --allow-drop"
    )]
    Empty { what: &'static str, have: u64 },
    #[error("interrupted; nothing was written")]
    Cancelled,
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// What a partner mirrors, if anything.
pub fn mirror_of(snapshot: &Snapshot) -> Option<&Mirror> {
    snapshot.settings.get(MIRROR).and_then(live)
}

fn live(setting: &Setting) -> Option<&Mirror> {
    setting.mirror().filter(|_| setting.removed_at.is_none())
}

impl MirrorOptions {
    fn is_place_of(&self, mirror: &Mirror) -> bool {
        (&mirror.url, &mirror.auth_id) == (&self.url, &self.auth_id)
    }

    fn check_place(&self, snapshot: &Snapshot) -> Result<(), MirrorError> {
        match mirror_of(snapshot).filter(|mirror| !self.switch && !self.is_place_of(mirror)) {
            None => Ok(()),
            Some(mirror) => Err(MirrorError::Elsewhere {
                partner: snapshot.partner.auth_id.clone(),
                auth_id: mirror.auth_id.clone(),
                url: mirror.url.clone(),
            }),
        }
    }

    /// Takes an upstream that has lost much for broken.
    fn check_drop(&self, look: &Listing, snapshot: &Snapshot, gone: u64) -> Result<(), MirrorError> {
        if self.allow_drop {
            return Ok(());
        }
        let have = snapshot.len() as u64;
        if look.is_empty() && have > 0 {
            return Err(MirrorError::Empty { what: "numbers", have });
        }
        if u128::from(gone) * 100 > u128::from(have) * u128::from(self.max_drop) {
            return Err(MirrorError::Drop { gone, have, max_drop: self.max_drop });
        }
        let accounts = snapshot.accounts.iter().filter(|account| account.archived_at.is_none()).count() as u64;
        if look.listed == Some(0) && accounts > 0 {
            return Err(MirrorError::Empty { what: "accounts", have: accounts });
        }
        Ok(())
    }
}

impl Service {
    /// Refuses what cannot be mirrored into, before upstream is asked.
    pub fn mirror_check(&self, partner: &PartnerId, options: &MirrorOptions) -> Result<(), MirrorError> {
        options.check_place(&self.snapshot(partner, false)?)
    }

    /// Makes a partner as upstream is.
    pub fn mirror(
        &self,
        partner: &PartnerId,
        look: &Listing,
        options: &MirrorOptions,
        watch: &Watch<'_>,
    ) -> Result<SyncReport, MirrorError> {
        for attempt in 1.. {
            let snapshot = self.snapshot(partner, true)?;
            options.check_place(&snapshot)?;
            let differences = Differences::of(look, &snapshot, options, Time::now());
            options.check_drop(look, &snapshot, differences.gone)?;
            let insist = attempt >= ATTEMPTS;
            let done = self.decide(WriteTarget::Partner(snapshot.key), self.entry(Verb::Sync), |transaction| {
                if !insist && transaction.version() != snapshot.version + 1 {
                    return Err(ServiceError::Behind);
                }
                let report = Writing::new(transaction, look, options, watch).all(&differences)?;
                Ok(if self.dry_run { Decision::RollBack(report) } else { Decision::Commit(report) })
            });
            match done {
                Ok(done) => return Ok(SyncReport { version: done.version, ..done.value }),
                Err(ServiceError::Behind) if !insist => {
                    tracing::debug!(attempt, "another writer was faster; comparing again");
                }
                Err(ServiceError::Abandoned) => return Err(MirrorError::Cancelled),
                Err(error) => return Err(error.into()),
            }
        }
        unreachable!("the last attempt returns")
    }
}

/// What seems to differ, by the index.
struct Differences {
    accounts: Vec<AccountId>,
    applications: Vec<ApplicationId>,
    trunks: Vec<TrunkId>,
    /// In order, with the place of upstream's row.
    numbers: Vec<(E164, Option<u32>)>,
    /// How many of these upstream does not have.
    gone: u64,
}

impl Differences {
    fn of(look: &Listing, snapshot: &Snapshot, options: &MirrorOptions, at: Time) -> Differences {
        let (mut numbers, mut gone) = (Vec::new(), 0);
        let mut rows = (0..).zip(&look.rows).peekable();
        for have in snapshot.iter(at) {
            while let Some((place, row)) = rows.next_if(|(_, row)| row.number < have.number()) {
                numbers.push((row.number, Some(place)));
            }
            match rows.next_if(|(_, row)| row.number == have.number()) {
                Some((place, row)) => {
                    let current = have.record().as_of(at);
                    if look.settle(row, Some(&current), options.cost, at) != Ok(current) {
                        numbers.push((row.number, Some(place)));
                    }
                }
                None => {
                    numbers.push((have.number(), None));
                    gone += 1;
                }
            }
        }
        numbers.extend(rows.map(|(place, row)| (row.number, Some(place))));

        let named = look.accounts.iter().filter(|(id, told)| {
            let before = snapshot.accounts.get(id.as_str());
            before != Some(&told.settle(id, before, at))
        });
        let mut accounts: Vec<AccountId> = named.map(|(id, _)| id.clone()).collect();
        // Who has no numbers is known to be gone only if there is a list.
        if look.lists_accounts() {
            let gone =
                |account: &&Account| account.archived_at.is_none() && !look.accounts.contains_key(&account.auth_id);
            accounts.extend(snapshot.accounts.iter().filter(gone).map(|account| account.auth_id.clone()));
        }
        let applications = look.applications.iter().filter(|(id, told)| {
            let before = snapshot.applications.get(id.as_str());
            before != Some(&told.application(id, before, at))
        });
        let trunks = look.trunks.iter().filter(|(id, told)| {
            let before = snapshot.trunks.get(id.as_str());
            before != Some(&told.trunk(id, before, at))
        });
        Differences {
            accounts,
            applications: applications.map(|(id, _)| id.clone()).collect(),
            trunks: trunks.map(|(id, _)| id.clone()).collect(),
            numbers,
            gone,
        }
    }
}

/// The part of a look that runs inside the transaction.
struct Writing<'a, 't> {
    transaction: &'t mut dyn Transaction,
    look: &'a Listing,
    options: &'a MirrorOptions,
    watch: &'a Watch<'a>,
    at: Time,
    entities: EntityCache,
    report: SyncReport,
    /// What looks at this original said before, if there were any.
    mirror: Option<Mirror>,
    /// What came and what went, with who holds or held it.
    came: Vec<(E164, Option<AccountId>)>,
    went: Vec<(E164, Option<AccountId>)>,
}

impl<'a, 't> Writing<'a, 't> {
    fn new(
        transaction: &'t mut dyn Transaction,
        look: &'a Listing,
        options: &'a MirrorOptions,
        watch: &'a Watch<'a>,
    ) -> Writing<'a, 't> {
        let at = transaction.at();
        let report = SyncReport {
            at,
            first: false,
            numbers: look.len() as u64,
            came: 0,
            went: 0,
            changed: 0,
            refused: 0,
            entities: 0,
            lists_accounts: look.lists_accounts(),
            errors: Vec::new(),
            refused_entities: 0,
            entity_errors: Vec::new(),
            version: None,
        };
        let (entities, came, went) = Default::default();
        Writing { transaction, look, options, watch, at, entities, report, mirror: None, came, went }
    }

    fn all(mut self, differences: &Differences) -> Result<SyncReport, ServiceError> {
        let before = self.transaction.setting(MIRROR)?;
        self.mirror = before.as_ref().and_then(live).filter(|mirror| self.options.is_place_of(mirror)).cloned();
        self.report.first = self.mirror.is_none();
        self.entities(differences)?;
        let mut left = &differences.numbers[..];
        while !left.is_empty() {
            self.go_on()?;
            let (now, later) = left.split_at(cut(left, desk::STEP, |(number, _)| *number));
            self.numbers(now)?;
            left = later;
            let total = differences.numbers.len() as u64;
            (self.watch.progress)(ImportProgress::Writing { numbers: total - left.len() as u64, total });
        }
        self.gone(differences)?;
        self.setting()?;
        let said = json!({ "looked_at": self.at, "numbers": self.report.numbers, "refused": self.report.refused });
        let document = Document { id: MIRROR.to_owned(), due: None, body: said.to_string() };
        self.transaction.put_document(MIRROR, &document)?;
        // The last chance: from here on it is written.
        self.go_on()?;
        Ok(self.report)
    }

    fn go_on(&self) -> Result<(), ServiceError> {
        if self.watch.cancel.load(Ordering::Relaxed) { Err(ServiceError::Abandoned) } else { Ok(()) }
    }

    fn entities(&mut self, differences: &Differences) -> Result<(), ServiceError> {
        let at = self.at;
        for id in &differences.accounts {
            let before = self.transaction.account(id)?;
            if self.refuses("account", before.is_none(), id.as_str()) {
                continue;
            }
            let Some(told) = self.look.accounts.get(id) else { continue };
            let after = told.settle(id, before.as_ref(), at);
            if before.as_ref() != Some(&after) {
                self.put(EntityChange::Account(Edit { before, after }))?;
            }
        }
        for id in &differences.applications {
            let before = self.transaction.application(id)?;
            let Some(told) = self.look.applications.get(id) else { continue };
            if self.refuses("application", before.is_none(), id.as_str()) {
                continue;
            }
            let after = told.application(id, before.as_ref(), at);
            if before.as_ref() != Some(&after) {
                self.put(EntityChange::Application(Edit { before, after }))?;
            }
        }
        for id in &differences.trunks {
            let before = self.transaction.trunk(id)?;
            let Some(told) = self.look.trunks.get(id) else { continue };
            if self.refuses("trunk", before.is_none(), id.as_str()) {
                continue;
            }
            let after = told.trunk(id, before.as_ref(), at);
            if before.as_ref() != Some(&after) {
                self.put(EntityChange::Trunk(Edit { before, after }))?;
            }
        }
        Ok(())
    }

    /// Archives accounts that upstream has no longer. One whose numbers could
    /// not be taken from it keeps them, so it stays.
    fn gone(&mut self, differences: &Differences) -> Result<(), ServiceError> {
        for id in differences.accounts.iter().filter(|id| !self.look.accounts.contains_key(*id)) {
            let Some(before) = self.transaction.account(id)? else { continue };
            if before.archived_at.is_none() && !self.transaction.has_numbers(id, self.at)? {
                let after = Account { archived_at: Some(self.at), ..before.clone() };
                self.put(EntityChange::Account(Edit { before: Some(before), after }))?;
            }
        }
        Ok(())
    }

    /// Whether what is new cannot have this id. It is reported, and so is each
    /// number that names it.
    fn refuses(&mut self, kind: &'static str, new: bool, id: &str) -> bool {
        let Some(reason) = id::check_new(id).err().filter(|_| new) else { return false };
        self.report.refused_entities += 1;
        if self.report.entity_errors.len() < REFUSED_MAX {
            let reason = reason.to_string();
            self.report.entity_errors.push(RefusedEntity { kind, id: id.into(), reason });
        }
        true
    }

    fn put(&mut self, change: EntityChange) -> Result<(), ServiceError> {
        self.report.entities += 1;
        Ok(self.transaction.put_entity(change)?)
    }

    /// Compares and writes some numbers, sorted.
    fn numbers(&mut self, wanted: &[(E164, Option<u32>)]) -> Result<(), ServiceError> {
        let numbers: Vec<E164> = wanted.iter().map(|(number, _)| *number).collect();
        let holdings = self.transaction.numbers(&numbers)?;
        let mut changes = Vec::new();
        for (&(number, place), holding) in wanted.iter().zip(holdings) {
            let row = place.map(|place| &self.look.rows[place as usize]);
            let before = match holding {
                Ownership::Free => None,
                Ownership::Ours { record, .. } => Some(record),
                Ownership::Foreign => {
                    if row.is_some() {
                        self.refuse(number, UpstreamRefusal::Taken.reason());
                    }
                    continue;
                }
            };
            let Some(row) = row else {
                if let Some(before) = before {
                    self.report.went += 1;
                    self.note(Movement::Vanished, number, &before);
                    changes.push(NumberChange { number, before: Some(before), after: None });
                }
                continue;
            };
            if before.is_none()
                && let Judgement::Misspelt(misspelling) = plan::judge(number)
            {
                self.refuse(number, misspelling.to_string());
                continue;
            }
            let current = before.as_ref().map(|before| before.as_of(self.at));
            let after = match self.look.settle(row, current.as_ref(), self.options.cost, self.at) {
                Ok(after) => after,
                Err(refusal) => {
                    self.refuse(number, refusal.reason());
                    continue;
                }
            };
            // Upstream's accounts and routes are in use, as `entities` wrote
            // them, unless another writer archived one since the comparison.
            let broken = self.entities.judge(self.transaction, current.as_ref(), &after)?;
            if !broken.is_empty() {
                let reasons: Vec<String> = broken.iter().map(ToString::to_string).collect();
                self.refuse(number, reasons.join("; "));
                continue;
            }
            if let Some(reason) = self.bad_id(&after)? {
                self.refuse(number, reason);
                continue;
            }
            match &current {
                None => {
                    self.report.came += 1;
                    self.note(Movement::Appeared, number, &after);
                }
                Some(current) if *current == after => continue,
                Some(_) => self.report.changed += 1,
            }
            changes.push(NumberChange { number, before, after: Some(after) });
        }
        if !changes.is_empty() {
            self.transaction.put_numbers(&changes)?;
        }
        Ok(())
    }

    /// What is wrong with an id that a number names and that [`Writing::entities`]
    /// therefore did not create.
    fn bad_id(&mut self, record: &Record) -> Result<Option<String>, ServiceError> {
        let known = &mut self.entities;
        for id in record.account.iter().filter(|id| id::check_new(id.as_str()).is_err()) {
            if known.account(self.transaction, id)?.is_none() {
                return Ok(reason("account", id.as_str()));
            }
        }
        for id in record.application.iter().filter(|id| id::check_new(id.as_str()).is_err()) {
            if known.application(self.transaction, id)?.is_none() {
                return Ok(reason("application", id.as_str()));
            }
        }
        for id in record.trunk.iter().filter(|id| id::check_new(id.as_str()).is_err()) {
            if known.trunk(self.transaction, id)?.is_none() {
                return Ok(reason("trunk", id.as_str()));
            }
        }
        Ok(None)
    }

    fn note(&mut self, way: Movement, number: E164, record: &Record) {
        // Against no look before, nothing has moved.
        if self.mirror.is_some() {
            let moved = if way == Movement::Vanished { &mut self.went } else { &mut self.came };
            moved.push((number, record.holder().cloned()));
        }
    }

    fn refuse(&mut self, number: E164, reason: impl Into<String>) {
        self.report.refused += 1;
        if self.report.errors.len() < REFUSED_MAX {
            self.report.errors.push(RefusedNumber { number, reason: reason.into() });
        }
    }

    /// Notes what came and went, and at the first look what is mirrored.
    fn setting(&mut self) -> Result<(), ServiceError> {
        if self.mirror.is_some() && !self.report.differs() {
            return Ok(());
        }
        let before = self.transaction.setting(MIRROR)?;
        let moved = self.mirror.as_ref().map(|mirror| moved(mirror, &self.came, &self.went, self.at));
        let (moved, unnamed) = moved.unwrap_or_default();
        let (url, auth_id) = (self.options.url.clone(), self.options.auth_id.clone());
        let after = Setting {
            id: MIRROR.into(),
            created_at: before.as_ref().map_or(self.at, |before| before.created_at),
            removed_at: None,
            choice: Choice::Mirror(Mirror { url, auth_id, looked_at: self.at, moved, unnamed }),
        };
        Ok(self.transaction.put_entity(EntityChange::Setting(Edit { before, after }))?)
    }
}

fn reason(what: &str, id: &str) -> Option<String> {
    id::check_new(id).err().map(|error| format!("{what} {id:?} {error}"))
}

type Holders = [(E164, Option<AccountId>)];

/// What a mirror has to say of numbers that moved: what this look found, and
/// what earlier ones did as far as it is still so and recent. What is too much
/// is counted: first what came, and of that what is oldest.
fn moved(mirror: &Mirror, came: &Holders, went: &Holders, at: Time) -> (Vec<MovedNumbers>, Vec<Unnamed>) {
    let recent = |then: Time| then.plus(MOVED_SECONDS) > at;
    let mut all = Vec::new();
    for (way, found, undone) in [(Movement::Vanished, went, came), (Movement::Appeared, came, went)] {
        let mut by_account: BTreeMap<Option<&AccountId>, Vec<E164>> = BTreeMap::new();
        for (number, account) in found {
            by_account.entry(account.as_ref()).or_default().push(*number);
        }
        let now = by_account.into_iter().map(|(account, numbers)| (at, account.cloned(), numbers));
        all.extend(now.map(|(at, account, numbers)| MovedNumbers { way, at, account, runs: runs(numbers) }));
        let undone: HashSet<E164> = undone.iter().map(|(number, _)| *number).collect();
        for old in mirror.moved.iter().filter(|old| old.way == way && recent(old.at)) {
            let left = old.runs.iter().flat_map(|run| run.numbers()).filter(|number| !undone.contains(number));
            all.push(MovedNumbers { runs: runs(left), ..old.clone() });
        }
    }
    all.sort_by(|a, b| a.way.cmp(&b.way).then(b.at.cmp(&a.at)));
    let mut unnamed: Vec<Unnamed> = mirror.unnamed.iter().filter(|rest| recent(rest.at)).copied().collect();
    let mut room = RUNS_MAX;
    for moved in &mut all {
        let rest = moved.runs.split_off(room.min(moved.runs.len()));
        room -= moved.runs.len();
        let count: u64 = rest.iter().map(|run| run.count).sum();
        if count == 0 {
            continue;
        }
        match unnamed.iter_mut().find(|known| known.way == moved.way) {
            Some(known) => *known = Unnamed { at: known.at.max(moved.at), count: known.count + count, ..*known },
            None => unnamed.push(Unnamed { way: moved.way, at: moved.at, count }),
        }
    }
    all.retain(|moved| !moved.runs.is_empty());
    (all, unnamed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::NumberRun;

    fn number(digits: u64) -> E164 {
        E164::new(digits).expect("a number")
    }

    fn time(seconds: i64) -> Time {
        Time::new(1_770_000_000 + seconds).expect("a time")
    }

    fn mirror(moved: Vec<MovedNumbers>, unnamed: Vec<Unnamed>) -> Mirror {
        Mirror { url: "http://a".into(), auth_id: "PA_1".into(), looked_at: time(0), moved, unnamed }
    }

    #[test]
    fn neighbours_are_one_run_and_what_came_back_is_no_longer_gone() {
        let account: AccountId = "MA_1".parse().expect("an id");
        let of = |digits: &[u64]| -> Vec<_> { digits.iter().map(|&at| (number(at), Some(account.clone()))).collect() };
        let went = of(&[4_930_000_001, 4_930_000_002, 4_930_000_003, 4_930_000_009]);
        let (first, unnamed) = moved(&mirror(Vec::new(), Vec::new()), &[], &went, time(0));
        let expected = [
            NumberRun { first: number(4_930_000_001), count: 3 },
            NumberRun { first: number(4_930_000_009), count: 1 },
        ];
        assert_eq!((first.len(), &first[0].runs[..], unnamed.len()), (1, &expected[..], 0));

        let came = of(&[4_930_000_002]);
        let (second, _) = moved(&mirror(first.clone(), Vec::new()), &came, &[], time(60));
        let shown: Vec<_> = second.iter().map(|moved| (moved.way, moved.at, moved.runs.len())).collect();
        assert_eq!(shown, [(Movement::Vanished, time(0), 3), (Movement::Appeared, time(60), 1)]);

        let (later, _) = moved(&mirror(first, Vec::new()), &[], &[], time(MOVED_SECONDS));
        assert_eq!(later, []);
    }

    #[test]
    fn what_is_too_much_is_counted_and_what_went_is_named_first() {
        let far: Vec<_> = (0..RUNS_MAX as u64 + 200).map(|at| (number(4_930_000_000 + at * 2), None)).collect();
        let (went, came) = far.split_at(900);
        let (named, unnamed) = moved(&mirror(Vec::new(), Vec::new()), came, went, time(0));
        let shown: Vec<_> = named.iter().map(|moved| (moved.way, moved.runs.len())).collect();
        assert_eq!(shown, [(Movement::Vanished, 900), (Movement::Appeared, 100)]);
        assert_eq!(unnamed, [Unnamed { way: Movement::Appeared, at: time(0), count: 200 }]);
        // The next look adds to it, and pushes the older ones out.
        let more: Vec<_> = (0..200).map(|at| (number(4_940_000_000 + at * 2), None)).collect();
        let (named, unnamed) = moved(&mirror(named, unnamed), &[], &more, time(60));
        assert_eq!(named.iter().map(|moved| moved.runs.len()).sum::<usize>(), RUNS_MAX);
        assert!(named.iter().all(|moved| moved.way == Movement::Vanished));
        let counts: Vec<_> = unnamed.iter().map(|rest| (rest.way, rest.at, rest.count)).collect();
        assert_eq!(counts, [(Movement::Appeared, time(0), 300), (Movement::Vanished, time(0), 100)]);
    }
}
