//! Findings with their acknowledgements: open ones, and acknowledged ones.
//!
//! An acknowledgement is a change like any other, so it is in the log and on
//! every node. It covers one occurrence and ends by time: the finding is then open
//! again, and no job has to run.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::checks::{self, Finding, Found};
use crate::domain::change::Edit;
use crate::domain::field::code;
use crate::domain::{Acknowledgement, EntityChange, FieldError, PartnerKey, Sum, Time, Verb};
use crate::inventory::Snapshot;
use crate::service::{Service, ServiceError, VerbOutcome, WriteOutcome};

pub use crate::checks::{Check, CheckOptions};

/// The most characters of a note.
pub const NOTE_CHARS_MAX: usize = 500;

/// A finding, and who has seen it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReportedFinding {
    pub id: String,
    pub finding: Finding,
    /// Only one that holds.
    pub acknowledged: Option<Acknowledgement>,
}

/// What the checks find at `now`. `acknowledged` wants only those that are, or
/// only those that are not.
pub fn findings(
    snapshot: &Snapshot,
    options: &CheckOptions,
    acknowledged: Option<bool>,
    now: Time,
) -> Vec<ReportedFinding> {
    let wanted = |seen: &ReportedFinding| acknowledged.is_none_or(|wanted| seen.acknowledged.is_some() == wanted);
    let found = checks::find(snapshot, options, now);
    found.iter(0).map(|finding| reported(snapshot, finding, now)).filter(wanted).collect()
}

fn reported(snapshot: &Snapshot, finding: Finding, now: Time) -> ReportedFinding {
    let id = finding.id();
    let acknowledged = snapshot.acknowledgements.get(&id).filter(|one| one.holds(now)).cloned();
    ReportedFinding { id, finding, acknowledged }
}

/// A page of [`findings`], and what is true of all of them.
pub struct FindingsPage {
    pub rows: Vec<ReportedFinding>,
    pub total: u64,
    pub counts: BTreeMap<Check, u64>,
    /// What the idle numbers cost a month.
    pub saves: Vec<Sum>,
}

/// The findings without the first `skip`, at most so many.
pub fn page(
    snapshot: &Snapshot,
    options: &CheckOptions,
    acknowledged: Option<bool>,
    now: Time,
    (skip, rows): (u64, usize),
) -> FindingsPage {
    let found = checks::find(snapshot, options, now);
    let each = |skip| found.iter(skip).map(|finding| reported(snapshot, finding, now));
    let set_aside = acknowledged.map_or_else(Vec::new, |_| set_aside(snapshot, &found, now));
    let wanted = |finding: &&Finding| {
        let seen = || reported(snapshot, (*finding).clone(), now);
        acknowledged.is_none_or(|wanted| seen().acknowledged.is_some() == wanted)
    };
    let saves = checks::savings(snapshot, found.idle().iter().filter(wanted), now);
    let (rows, counts) = match acknowledged {
        Some(true) => {
            let counts = checks::counts(set_aside.iter().map(|seen| &seen.finding));
            (set_aside.into_iter().skip(usize::try_from(skip).unwrap_or(usize::MAX)).take(rows).collect(), counts)
        }
        Some(false) if !set_aside.is_empty() => {
            let open = each(0).filter(|seen| seen.acknowledged.is_none());
            let rows = open.skip(usize::try_from(skip).unwrap_or(usize::MAX)).take(rows).collect();
            (rows, without(found.counts(), &set_aside))
        }
        Some(false) | None => (each(skip).take(rows).collect(), found.counts()),
    };
    FindingsPage { rows, total: counts.values().sum(), counts, saves }
}

/// Those that somebody has acknowledged. An acknowledgement is of one finding, if that is
/// still there; only a finding that is made tells its id.
fn set_aside(snapshot: &Snapshot, found: &Found<'_>, now: Time) -> Vec<ReportedFinding> {
    let held = snapshot.acknowledgements.iter().filter(|one| one.holds(now)).count();
    let each = found.iter(0).map(|finding| reported(snapshot, finding, now));
    each.filter(|seen| seen.acknowledged.is_some()).take(held).collect()
}

/// The counts of all but some.
fn without(mut counts: BTreeMap<Check, u64>, some: &[ReportedFinding]) -> BTreeMap<Check, u64> {
    for seen in some {
        counts.entry(seen.finding.check).and_modify(|all| *all -= 1);
    }
    counts
}

/// What a check finds that nobody has acknowledged: how many findings, and the first of them.
pub struct OpenFindings {
    pub check: Check,
    pub total: u64,
    pub first: Vec<Finding>,
}

/// The open findings of each check that has some, with the first `first` of each.
pub fn open_by_check(snapshot: &Snapshot, options: &CheckOptions, now: Time, first: usize) -> Vec<OpenFindings> {
    let found = checks::find(snapshot, options, now);
    let set_aside = set_aside(snapshot, &found, now);
    let open = |finding: &Finding| set_aside.iter().all(|seen| seen.finding != *finding);
    let counts = without(found.counts(), &set_aside);
    let mut before = 0;
    let by_check = found.counts().into_iter().map(|(check, all)| {
        let of_check = found.iter(before).take(all as usize);
        before += all;
        OpenFindings { check, total: counts[&check], first: of_check.filter(open).take(first).collect() }
    });
    by_check.filter(|open| open.total > 0).collect()
}

/// Whether there is a finding with an id.
pub fn is_found(snapshot: &Snapshot, options: &CheckOptions, id: &str, now: Time) -> bool {
    checks::find(snapshot, options, now).iter(0).any(|finding| finding.id() == id)
}

/// How many findings there are, and the first of those that nobody has acknowledged.
pub struct FindingsSummary {
    pub open: BTreeMap<Check, u64>,
    pub acknowledged: BTreeMap<Check, u64>,
    pub first: Vec<ReportedFinding>,
}

/// Counts [`findings`].
pub fn summary(snapshot: &Snapshot, options: &CheckOptions, now: Time, first: usize) -> FindingsSummary {
    let found = checks::find(snapshot, options, now);
    let set_aside = set_aside(snapshot, &found, now);
    let each = found.iter(0).map(|finding| reported(snapshot, finding, now));
    FindingsSummary {
        open: without(found.counts(), &set_aside),
        acknowledged: checks::counts(set_aside.iter().map(|seen| &seen.finding)),
        first: each.filter(|seen| seen.acknowledged.is_none()).take(first).collect(),
    }
}

impl Service {
    /// Notes that somebody has seen a finding, until a time or for good. One
    /// that is not there now may be acknowledged as well: it may just have
    /// been dealt with.
    pub fn acknowledge(
        &self,
        key: PartnerKey,
        finding: &str,
        note: Option<&Arc<str>>,
        until: Option<Time>,
    ) -> Result<WriteOutcome, ServiceError> {
        self.manage(key, Verb::Acknowledge, |transaction| {
            let at = transaction.at();
            if let Some(until) = until.filter(|&until| until < at) {
                let message = format!("must not be before now ({at})");
                let error = FieldError::new("until", code::OUT_OF_RANGE, message, &until.to_string());
                return Err(ServiceError::Invalid(vec![error]));
            }
            let before = transaction.acknowledgement(finding)?;
            let by = self.actor.to_string().into();
            let after = Acknowledgement { finding: finding.into(), note: note.cloned(), until, by, at };
            let same = before.as_ref().is_some_and(|before| (&before.note, before.until) == (&after.note, after.until));
            if same {
                return Ok(VerbOutcome::Acknowledgement(before.unwrap_or(after)));
            }
            transaction.put_entity(EntityChange::Acknowledgement(Edit { before, after: after.clone() }))?;
            Ok(VerbOutcome::Acknowledgement(after))
        })
    }

    /// Ends an acknowledgement: the finding waits for somebody again.
    pub fn acknowledge_end(&self, key: PartnerKey, finding: &str) -> Result<WriteOutcome, ServiceError> {
        self.manage(key, Verb::Acknowledge, |transaction| {
            let at = transaction.at();
            let unknown = || ServiceError::Unknown { what: "acknowledgement", id: finding.to_owned() };
            let before = transaction.acknowledgement(finding)?.ok_or_else(unknown)?;
            if !before.holds(at) {
                return Ok(VerbOutcome::Acknowledgement(before));
            }
            let by = self.actor.to_string().into();
            let after = Acknowledgement { until: Some(at), by, at, ..before.clone() };
            let edit = Edit { before: Some(before), after: after.clone() };
            transaction.put_entity(EntityChange::Acknowledgement(edit))?;
            Ok(VerbOutcome::Acknowledgement(after))
        })
    }
}
