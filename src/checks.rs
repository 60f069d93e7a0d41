//! The checks of an inventory: the Number Management Guide of the specification
//! as pure functions from a snapshot to findings.
//!
//! A check queries the index, so its cost depends on its findings and not on the
//! size of the inventory; results that depend on every number are cached with the
//! snapshot. Findings about numbers are found as runs of neighbours that say the same
//! ([`Found`]), and each is made of its number's row when it is read: there may be a
//! million, and a page shows twenty. A finding names its subject; its check explains,
//! once, what it means for callers and what to do.
//!
//! Invariants: one snapshot at one time always has the same findings, in the same
//! order, under the same ids; an id names one occurrence, so a number that is
//! renewed and comes near its expiry again is a new finding; the bounds of a
//! window are exact to the second.
//! Deliberately absent: I/O, the clock, acknowledgements (`service::verbs::checks`).

use std::cell::OnceCell;
use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::domain::entity::hex_digest;
use crate::domain::number::words;
use crate::domain::plan;
use crate::domain::setting::Movement;
use crate::domain::{AccountId, ApplicationId, Currency, E164, NumberRun, Setting, State, Status, Sum, Time};
use crate::inventory::called::{CalledBefore, DAYS_KEPT};
use crate::inventory::{CalledDay, Filter, HeldNumbers, HeldRun, NumberRef, Order, Snapshot};

/// How far ahead expiries are seen if nothing is said: the guide's two weeks.
pub const WITHIN_SECONDS: i64 = 14 * 86_400;
/// How long a number may be suspended before that is a finding.
pub const SUSPENDED_SECONDS: i64 = 30 * 86_400;
/// How long after a look at the original of a mirror its findings stay, unless
/// they are acknowledged: a weekly check sees each of them.
pub const MOVED_SECONDS: i64 = 14 * 86_400;
/// How many rows are taken from a walk at a time.
const STEP: usize = 4_096;

/// One thing to look for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Check {
    NoActiveNumber,
    Expired,
    Unrouted,
    NoDestination,
    /// In a mirrored inventory, against the look before.
    Vanished,
    Expiring,
    ArchivedRoute,
    DoubtfulNumber,
    Suspended,
    /// As `Vanished`.
    Appeared,
    /// Only where it is asked for by name.
    Idle,
}

words!(Check:
    NoActiveNumber "no_active_number", Expired "expired", Unrouted "unrouted", NoDestination "no_destination", Vanished "vanished",
    Expiring "expiring", ArchivedRoute "archived_route", DoubtfulNumber "doubtful_number",
    Suspended "suspended", Appeared "appeared", Idle "idle"
);

/// How bad a finding is for callers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// Calls fail now.
    Critical,
    /// They will, unless somebody acts.
    Warning,
    Info,
}

words!(Severity: Critical "critical", Warning "warning", Info "info");

impl Check {
    pub fn severity(self) -> Severity {
        match self {
            Check::NoActiveNumber | Check::Expired | Check::Unrouted | Check::NoDestination | Check::Vanished => {
                Severity::Critical
            }
            Check::Expiring | Check::ArchivedRoute | Check::DoubtfulNumber => Severity::Warning,
            Check::Suspended | Check::Appeared | Check::Idle => Severity::Info,
        }
    }

    /// What it means for callers.
    pub fn meaning(self) -> &'static str {
        match self {
            Check::NoActiveNumber => "this customer cannot be called at all",
            Check::Expired => "calls to this number are refused, and its rental is still owed",
            Check::Unrouted => "calls to this number hang up at once: they have nowhere to go",
            Check::NoDestination => {
                "calls to this number are refused: neither its application nor its trunk has a destination"
            }
            Check::Vanished => "calls to this number no longer arrive: it has left the inventory upstream",
            Check::Expiring => "from the moment it expires, calls to this number are refused",
            Check::ArchivedRoute => "calls to this number still reach an application or a trunk that is archived",
            Check::DoubtfulNumber => {
                "calls to this number probably never arrive: it looks like another number or a block, stored wrongly"
            }
            Check::Suspended => "calls to this number are refused, and have been for long",
            Check::Idle => "nobody has called this number for long, and it is paid for",
            Check::Appeared => "calls to this number arrive here now: it has come into the inventory upstream",
        }
    }

    /// What to do.
    pub fn action(self) -> &'static str {
        match self {
            Check::NoActiveNumber => "assign the customer a number, or archive the customer",
            Check::Expired => "renew the number, or release it",
            Check::Unrouted => "route the number to an application",
            Check::NoDestination => "give its application a destination, or route the number to another",
            Check::Vanished => "ask upstream why the number went, and tell the customer",
            Check::Expiring => "renew the number, or tell the customer that it ends",
            Check::ArchivedRoute => "route the number to an application and a trunk in use, or bring them back",
            Check::DoubtfulNumber => {
                "compare the number with the order; add the number that was meant, and release and retire this one"
            }
            Check::Suspended => "resume the number, or release it",
            Check::Idle => "ask the customer whether the number is still needed, and release it if not",
            Check::Appeared => "see that it was ordered, and is on the next bill",
        }
    }
}

/// What is looked for, and how far.
#[derive(Clone, Debug)]
pub struct CheckOptions {
    /// Which checks; all but `idle` if empty.
    pub checks: Vec<Check>,
    /// Only what is about this account.
    pub account: Option<AccountId>,
    /// How far ahead `expiring` sees, in seconds; its end is part of it.
    pub within: i64,
    /// How long a number is suspended before `suspended` finds it, in seconds.
    pub suspended_for: i64,
    /// For how many whole days nobody called a number that `idle` finds.
    pub idle_days: u32,
}

impl Default for CheckOptions {
    fn default() -> CheckOptions {
        CheckOptions {
            checks: Vec::new(),
            account: None,
            within: WITHIN_SECONDS,
            suspended_for: SUSPENDED_SECONDS,
            idle_days: DAYS_KEPT,
        }
    }
}

impl CheckOptions {
    /// Whether a check is run: without a choice, all but the one that needs calls.
    pub fn wants(&self, check: Check) -> bool {
        (self.checks.is_empty() && check != Check::Idle) || self.checks.contains(&check)
    }
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    pub check: Check,
    pub account: Option<AccountId>,
    /// `None` where it is about the account, or about more numbers than can be
    /// named.
    pub number: Option<E164>,
    /// Since when it is so, or will be: for `expiring`, when the number ends.
    pub since: Option<Time>,
    evidence: Evidence,
}

/// What shows a finding. What a row says stays as it is until it is read.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Evidence {
    row: Option<(State, Option<Time>, Option<ApplicationId>)>,
    more: Vec<(&'static str, String)>,
}

impl Finding {
    /// Names this occurrence, the same at every look.
    pub fn id(&self) -> String {
        let mut hash = Sha256::new();
        let number = self.number.map(|number| number.to_string());
        let since = self.since.map(|since| since.to_string());
        for part in [
            Some(self.check.as_str()),
            self.account.as_ref().map(AccountId::as_str),
            number.as_deref(),
            since.as_deref(),
        ] {
            let part = part.unwrap_or_default();
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        let digest: [u8; 32] = hash.finalize().into();
        format!("fi_{}", &hex_digest::text(&digest)[..20])
    }

    /// A finding that names and values show.
    pub fn new(
        check: Check,
        account: Option<AccountId>,
        number: Option<E164>,
        since: Option<Time>,
        shown_by: Vec<(&'static str, String)>,
    ) -> Finding {
        Finding { check, account, number, since, evidence: Evidence { row: None, more: shown_by } }
    }

    fn of(check: Check, row: NumberRef<'_>, since: Option<Time>) -> Finding {
        let account = row.account().map(|account| account.auth_id.clone());
        let application = row.application().map(|application| application.id.clone());
        let row_says = (row.state(), row.expires_at(), application);
        let evidence = Evidence { row: Some(row_says), more: Vec::new() };
        Finding { check, account, number: Some(row.number()), since, evidence }
    }

    fn shown_by(mut self, evidence: (&'static str, String)) -> Finding {
        self.evidence.more.push(evidence);
        self
    }

    /// What shows it: names and values.
    pub fn evidence(&self) -> Vec<(&'static str, String)> {
        let mut shown = Vec::new();
        if let Some((state, expires_at, application)) = &self.evidence.row {
            shown.push(("state", state.to_string()));
            shown.extend(expires_at.map(|end| ("expires_at", end.to_string())));
            shown.extend(application.as_ref().map(|id| ("application_id", id.to_string())));
        }
        shown.extend(self.evidence.more.iter().cloned());
        shown
    }
}

/// What the checks find, by check, then account, then number.
pub struct Found<'a> {
    snapshot: &'a Snapshot,
    options: &'a CheckOptions,
    now: Time,
    by_check: Vec<(Check, CheckFound)>,
}

/// What one check finds.
enum CheckFound {
    Numbers(NumbersFound),
    Each(Vec<Finding>),
}

/// The numbers that a check finds.
#[derive(Default)]
struct NumbersFound {
    count: u64,
    /// In the order of numbers. `None` if they are many: they are looked for again when
    /// they are read, and most are only counted.
    runs: Option<Vec<HeldRun>>,
    ordered: OnceCell<Vec<NumberRun>>,
}

/// How many runs are kept for a check.
const RUNS_MAX: usize = 65_536;

impl NumbersFound {
    fn new() -> NumbersFound {
        NumbersFound { runs: Some(Vec::new()), ..NumbersFound::default() }
    }

    fn add(&mut self, numbers: HeldNumbers<'_>) {
        self.count += numbers.count();
        match &mut self.runs {
            Some(runs) if runs.len() < RUNS_MAX => runs.extend(numbers.runs()),
            found => *found = None,
        }
    }
}

impl CheckFound {
    fn len(&self) -> u64 {
        match self {
            CheckFound::Numbers(found) => found.count,
            CheckFound::Each(findings) => findings.len() as u64,
        }
    }
}

impl Found<'_> {
    pub fn len(&self) -> u64 {
        self.by_check.iter().map(|(_, found)| found.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many findings each check has; none is a count as well, but for `idle`,
    /// which is only looked for where it is asked for.
    pub fn counts(&self) -> BTreeMap<Check, u64> {
        let mut counts = no_counts();
        for (check, found) in self.by_check.iter().filter(|(check, found)| *check != Check::Idle || found.len() > 0) {
            counts.insert(*check, found.len());
        }
        counts
    }

    /// The numbers that are paid for and not called.
    pub fn idle(&self) -> &[Finding] {
        let idle = self.by_check.iter().find(|(check, _)| *check == Check::Idle);
        match idle {
            Some((_, CheckFound::Each(findings))) => findings,
            Some((_, CheckFound::Numbers(_))) | None => &[],
        }
    }

    /// The findings without the first `skip`.
    pub fn iter(&self, skip: u64) -> impl Iterator<Item = Finding> {
        let mut skip = skip;
        self.by_check.iter().flat_map(move |(check, found)| {
            let skipped = skip.min(found.len());
            skip -= skipped;
            let (runs, each) = match found {
                found if skipped == found.len() => (&[][..], &[][..]),
                CheckFound::Numbers(found) => {
                    (&found.ordered.get_or_init(|| self.in_order(*check, found))[..], &[][..])
                }
                CheckFound::Each(findings) => (&[][..], &findings[skipped as usize..]),
            };
            let mut before = skipped;
            let runs = runs.iter().filter_map(move |run| {
                let passed = before.min(run.count);
                before -= passed;
                (passed < run.count).then(|| run.first.digits() + passed..=run.last().digits())
            });
            let rows = runs.flatten().filter_map(E164::new).filter_map(|number| self.snapshot.get(number, self.now));
            rows.map(|row| of_row(*check, row)).chain(each.iter().cloned())
        })
    }

    /// The numbers that a check finds, in the order of accounts' ids, then numbers; none
    /// is before all.
    fn in_order(&self, check: Check, found: &NumbersFound) -> Vec<NumberRun> {
        let ranks = self.snapshot.account_ranks();
        if let Some(runs) = &found.runs {
            return by_account(runs, &ranks);
        }
        let mut runs = Vec::new();
        of_rows(self.snapshot, self.options, self.now, check, &mut |numbers| runs.extend(numbers.runs()));
        by_account(&runs, &ranks)
    }
}

/// A finding about a number, made of its row.
fn of_row(check: Check, row: NumberRef<'_>) -> Finding {
    match check {
        Check::Expired | Check::Expiring => Finding::of(check, row, row.expires_at()),
        Check::Suspended => Finding::of(check, row, Some(row.since())),
        Check::NoDestination => no_destination(row),
        Check::ArchivedRoute => archived_route(row),
        Check::DoubtfulNumber => doubtful_number(row),
        Check::Unrouted | Check::NoActiveNumber | Check::Vanished | Check::Appeared | Check::Idle => {
            Finding::of(check, row, row.assigned_at())
        }
    }
}

/// Runs, which ascend, in the order of accounts' ids, then numbers; none is before all.
fn by_account(runs: &[HeldRun], ranks: &[u32]) -> Vec<NumberRun> {
    let place = |run: &HeldRun| run.account.map_or(0, |at| ranks[at as usize] as usize + 1);
    let mut next = vec![0; ranks.len() + 2];
    runs.iter().for_each(|run| next[place(run) + 1] += 1);
    (1..next.len()).for_each(|at| next[at] += next[at - 1]);
    let run = |run: &HeldRun| NumberRun {
        first: E164::new(run.first).expect("a number of the inventory"),
        count: run.count.into(),
    };
    let mut ordered: Vec<NumberRun> = runs.iter().map(run).collect();
    for held in runs {
        let at = &mut next[place(held)];
        ordered[*at] = run(held);
        *at += 1;
    }
    ordered
}

/// Everything that the wanted checks find at `now`.
pub fn find<'a>(snapshot: &'a Snapshot, options: &'a CheckOptions, now: Time) -> Found<'a> {
    let mut by_check = Vec::new();
    let mut wanted: Vec<Check> = Check::ALL.iter().copied().filter(|&check| options.wants(check)).collect();
    let expiry = [Check::Expired, Check::Expiring];
    if let Some(expiring) = filter_of(options, now, Check::Expiring)
        && expiry.iter().all(|check| wanted.contains(check))
    {
        // One walk finds both.
        wanted.retain(|check| !expiry.contains(check));
        let either = Filter { expires_after: None, ..expiring };
        let (mut expired, mut expiring) = (NumbersFound::new(), NumbersFound::new());
        snapshot.held_numbers(&either, now, &mut |numbers| {
            let found = if numbers.has_expired(now) { &mut expired } else { &mut expiring };
            found.add(numbers);
        });
        by_check.extend(expiry.into_iter().zip([expired, expiring].map(CheckFound::Numbers)));
    }
    for check in wanted {
        let mut found = NumbersFound::new();
        let found = if of_rows(snapshot, options, now, check, &mut |numbers| found.add(numbers)) {
            CheckFound::Numbers(found)
        } else {
            let mut findings = of_each(snapshot, options, now, check);
            findings.sort_by_cached_key(|one| (one.account.clone(), one.number, one.since, one.evidence()));
            CheckFound::Each(findings)
        };
        by_check.push((check, found));
    }
    by_check.sort_by_key(|(check, _)| *check);
    Found { snapshot, options, now, by_check }
}

/// What a check that is a question to the index asks for.
fn filter_of(options: &CheckOptions, now: Time, check: Check) -> Option<Filter> {
    let held = Filter {
        account: options.account.as_ref().map(|account| account.as_str().into()),
        assigned: Some(true),
        ..Filter::default()
    };
    let end = now.plus(options.within);
    match check {
        Check::Expired => Some(Filter { expires_before: Some(now.plus(1)), ..held }),
        Check::Unrouted => Some(Filter { status: Some(Status::Active), routed: Some(false), ..held }),
        Check::Expiring => Some(Filter { expires_after: Some(now), expires_before: Some(end.plus(1)), ..held }),
        _ => None,
    }
}

/// Hands over the numbers that a check finds, in order; `false` where its findings are
/// not made of rows.
fn of_rows<'a>(
    snapshot: &'a Snapshot,
    options: &CheckOptions,
    now: Time,
    check: Check,
    take: &mut dyn FnMut(HeldNumbers<'a>),
) -> bool {
    if let Some(filter) = filter_of(options, now, check) {
        snapshot.held_numbers(&filter, now, take);
        return true;
    }
    let wanted = options.account.as_ref().map(|account| snapshot.account_place(account));
    let take = &mut |numbers: HeldNumbers<'a>| {
        if wanted.is_none_or(|wanted| wanted.is_some() && wanted == numbers.account()) {
            take(numbers);
        }
    };
    match check {
        Check::NoDestination => snapshot.without_destination(now, take),
        Check::ArchivedRoute => snapshot.routed_to_archived(take),
        Check::DoubtfulNumber => snapshot.doubtful(take),
        Check::Suspended => snapshot.suspended_since(now.plus(-options.suspended_for), take),
        _ => return false,
    }
    true
}

/// What the other checks find, in no order.
fn of_each(snapshot: &Snapshot, options: &CheckOptions, now: Time, check: Check) -> Vec<Finding> {
    let mut findings = Vec::new();
    match check {
        Check::NoActiveNumber => no_active_number(snapshot, options, now, &mut findings),
        Check::Idle => idle(snapshot, options, now, &mut findings),
        Check::Vanished => moved(snapshot, options, now, (check, Movement::Vanished), &mut findings),
        Check::Appeared => moved(snapshot, options, now, (check, Movement::Appeared), &mut findings),
        _ => {}
    }
    findings
}

/// Everything that the wanted checks find at `now`, in order.
pub fn run(snapshot: &Snapshot, options: &CheckOptions, now: Time) -> Vec<Finding> {
    find(snapshot, options, now).iter(0).collect()
}

fn no_counts() -> BTreeMap<Check, u64> {
    Check::ALL.iter().filter(|&&check| check != Check::Idle).map(|&check| (check, 0)).collect()
}

/// How many findings each check has, as [`Found::counts`] says.
pub fn counts<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> BTreeMap<Check, u64> {
    let mut counts = no_counts();
    for finding in findings {
        *counts.entry(finding.check).or_default() += 1;
    }
    counts
}

fn walk(snapshot: &Snapshot, filter: Filter, now: Time, mut take: impl FnMut(NumberRef<'_>)) {
    let mut walk = snapshot.walk(filter, Order::default(), None, now);
    loop {
        walk.next(snapshot, STEP).into_iter().for_each(&mut take);
        if walk.done() {
            return;
        }
    }
}

/// Calls have an application and nowhere to go.
fn no_destination(row: NumberRef<'_>) -> Finding {
    let mut finding = Finding::of(Check::NoDestination, row, row.assigned_at());
    finding.evidence.more.extend(row.trunk().map(|trunk| ("trunk_id", trunk.id.to_string())));
    finding
}

/// Calls still reach what is archived. Since when: the earlier of the two, if
/// both are.
fn archived_route(row: NumberRef<'_>) -> Finding {
    let application = row.application().and_then(|one| Some(("application", one.archived_at?)));
    let trunk = row.trunk().and_then(|one| Some(("trunk", one.archived_at?)));
    let archived: Vec<(&str, Time)> = application.into_iter().chain(trunk).collect();
    let since = archived.iter().map(|&(_, at)| at).min();
    let names: Vec<&str> = archived.iter().map(|&(name, _)| name).collect();
    let mut finding = Finding::of(Check::ArchivedRoute, row, since);
    finding.evidence.more.extend(row.trunk().map(|trunk| ("trunk_id", trunk.id.to_string())));
    finding.shown_by(("archived", names.join(", ")))
}

/// What is stored is probably not what was meant.
fn doubtful_number(row: NumberRef<'_>) -> Finding {
    let mut finding = Finding::of(Check::DoubtfulNumber, row, row.assigned_at());
    let meant = plan::doubt(row.number()).map(|doubt| ("probably_meant", doubt.to_string()));
    finding.evidence.more.extend(meant);
    finding
}

/// What is paid for, and was called by nobody for so many whole days. Silent
/// until all nodes have recorded calls for as long.
fn idle(snapshot: &Snapshot, options: &CheckOptions, now: Time, findings: &mut Vec<Finding>) {
    if !snapshot.called.recording().records(now, options.idle_days) {
        return;
    }
    let first = CalledDay::of(now).before(options.idle_days).begin();
    let account = options.account.as_ref().map(|account| account.as_str().into());
    let called = Some(CalledBefore { before: Some(first), never: true });
    let filter =
        Filter { account, called, assigned: Some(true), assigned_before: Some(first.plus(1)), ..Filter::default() };
    walk(snapshot, filter, now, |row| {
        let Some(cost) = row.cost().filter(|cost| cost.minor > 0) else { return };
        let last = snapshot.called.last(row.number());
        let since = last.map(|day| day.begin()).max(row.assigned_at());
        let last = last.map_or_else(|| "never".to_owned(), |day| day.to_string());
        let finding = Finding::of(Check::Idle, row, since).shown_by(("last_called_at", last));
        let finding = finding.shown_by(("monthly_cost", cost.to_string()));
        findings.push(finding.shown_by(("currency", cost.currency.code().to_owned())));
    });
}

/// What a month costs of the findings that `idle` made, by currency.
pub fn savings<'a>(snapshot: &Snapshot, findings: impl IntoIterator<Item = &'a Finding>, now: Time) -> Vec<Sum> {
    let mut sums: BTreeMap<Currency, Sum> = BTreeMap::new();
    for number in findings.into_iter().filter(|one| one.check == Check::Idle).filter_map(|one| one.number) {
        let Some(cost) = snapshot.get(number, now).and_then(|row| row.cost()) else { continue };
        let sum = sums.entry(cost.currency).or_insert(Sum { minor: 0, currency: cost.currency });
        sum.minor += i128::from(cost.minor);
    }
    sums.into_values().collect()
}

/// What came into a mirror, or went from it, not long ago and is still so.
fn moved(
    snapshot: &Snapshot,
    options: &CheckOptions,
    now: Time,
    (check, way): (Check, Movement),
    findings: &mut Vec<Finding>,
) {
    let recent = |at: Time| at.plus(MOVED_SECONDS) > now;
    let wanted = |account: Option<&AccountId>| options.account.is_none() || options.account.as_ref() == account;
    let mirrors = snapshot.settings.iter().filter(|setting| setting.removed_at.is_none());
    for mirror in mirrors.filter_map(Setting::mirror) {
        let upstream = || ("upstream", mirror.url.to_string());
        for moved in mirror.moved.iter().filter(|moved| moved.way == way && recent(moved.at)) {
            if !wanted(moved.account.as_ref()) {
                continue;
            }
            let (account, since) = (moved.account.clone(), Some(moved.at));
            for number in moved.runs.iter().flat_map(|run| run.numbers()) {
                let finding = match (way, snapshot.get(number, now)) {
                    (Movement::Vanished, None) => Finding::new(check, account.clone(), Some(number), since, Vec::new()),
                    // As it is now; the id is that of how it came.
                    (Movement::Appeared, Some(row)) => {
                        Finding { account: account.clone(), ..Finding::of(check, row, since) }
                    }
                    (Movement::Vanished, Some(_)) | (Movement::Appeared, None) => continue,
                };
                findings.push(finding.shown_by(upstream()));
            }
        }
        for rest in mirror.unnamed.iter().filter(|rest| rest.way == way && recent(rest.at) && wanted(None)) {
            let evidence = vec![("numbers", rest.count.to_string()), upstream()];
            findings.push(Finding::new(check, None, None, Some(rest.at), evidence));
        }
    }
}

/// Accounts that nobody can call. Since when: the last moment at which one of
/// their numbers could have been, or else when the account came.
fn no_active_number(snapshot: &Snapshot, options: &CheckOptions, now: Time, findings: &mut Vec<Finding>) {
    let counts = snapshot.counts(now);
    for (account, counts) in snapshot.accounts.iter().zip(counts) {
        let wanted = options.account.as_ref().is_none_or(|wanted| *wanted == account.auth_id);
        if !wanted || account.archived_at.is_some() || counts.active > 0 {
            continue;
        }
        // What it lost is no longer in the inventory; what it has is.
        let mut since = account.created_at.max(snapshot.lost_at(&account.auth_id).unwrap_or(account.created_at));
        let filter = Filter { account: Some(account.auth_id.as_str().into()), ..Filter::default() };
        walk(snapshot, filter, now, |row| {
            let expired = row.expires_at().filter(|&end| end <= now);
            let ended = match row.state() {
                State::Suspended => expired.map_or(row.since(), |end| end.min(row.since())),
                _ => expired.unwrap_or(row.since()),
            };
            since = since.max(ended);
        });
        let evidence = vec![("account_name", account.name.to_string()), ("numbers", counts.suspended.to_string())];
        findings.push(Finding::new(Check::NoActiveNumber, Some(account.auth_id.clone()), None, Some(since), evidence));
    }
}
