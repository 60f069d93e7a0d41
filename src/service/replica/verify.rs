//! The integrity check: compares the file with itself, the log with the rows, and a
//! running server's index with both. Time and memory follow the runs of neighbours
//! with equal values, however many numbers those have.

use std::collections::HashMap;

use crate::domain::entity::hex_digest;
use crate::domain::{E164, PartnerKey, Time};
use crate::inventory::{NumberRef, Snapshot};
use crate::store::{Load, Store, StoreError};

use crate::service::replica::{self, Poison, Salvaged, Setback};

/// What was looked at, and what does not agree.
#[derive(Debug, Default, serde::Serialize)]
pub struct VerifyReport {
    pub partners: u64,
    pub changes: u64,
    pub numbers: u64,
    /// One sentence each; empty when all is well.
    pub differences: Vec<String>,
    /// SHA-256 of each partner's inventory with its version, by partner key.
    #[serde(skip)]
    pub digests: HashMap<PartnerKey, (u64, String)>,
}

/// Checks the file, replays every partner's log from the first entry, and
/// compares the result with the rows, run by run.
pub fn verify(store: &dyn Store, progress: &mut dyn FnMut(u64)) -> Result<VerifyReport, StoreError> {
    let mut report = VerifyReport { differences: store.integrity()?, ..VerifyReport::default() };
    // A server may be writing: the rows are one moment, and the log is
    // replayed to the versions of that moment.
    let Salvaged { snapshots, poison, .. } = replica::salvage(store, Load { only: None, numbers: true })?;
    for poison in poison.into_values() {
        let more = poison.more();
        let Poison { first, damaged, .. } = poison;
        report.differences.extend(damaged.map(|what| what.to_string()));
        report.differences.extend(first.into_iter().map(|what| format!("a row cannot be understood: {what}")));
        if more > 0 {
            report.differences.push(format!("{more} more rows cannot be understood"));
        }
    }
    let mut keys: Vec<&PartnerKey> = snapshots.keys().collect();
    keys.sort();
    for key in keys {
        let rows = &snapshots[key];
        report.partners += 1;
        report.numbers += rows.len() as u64;
        report.digests.insert(*key, (rows.version, hex_digest::text(&rows.digest())));
        if let Some(replayed) = replay(store, rows, &mut report, progress)? {
            compare(rows, &replayed, &mut report);
        }
        check_net_changes(store, rows, &mut report)?;
    }
    Ok(report)
}

/// The version and the digest of every partner's rows as they are now, and as
/// a server has them: without those that cannot be understood.
pub fn digests(store: &dyn Store) -> Result<HashMap<PartnerKey, (u64, String)>, StoreError> {
    let Salvaged { snapshots, .. } = replica::salvage(store, Load { only: None, numbers: true })?;
    let digest = |snapshot: Snapshot| (snapshot.version, hex_digest::text(&snapshot.digest()));
    Ok(snapshots.into_iter().map(|(key, snapshot)| (key, digest(snapshot))).collect())
}

fn replay(
    store: &dyn Store,
    rows: &Snapshot,
    report: &mut VerifyReport,
    progress: &mut dyn FnMut(u64),
) -> Result<Option<Snapshot>, StoreError> {
    let name = &rows.partner.auth_id;
    let changes = &mut report.changes;
    let replayed = replica::replayed(store, rows.key, (None, Vec::new()), rows.version, &mut || {
        *changes += 1;
        progress(*changes);
    });
    let difference = match replayed {
        Ok(Some(replayed)) if replayed.version == rows.version => return Ok(Some(replayed)),
        Ok(replayed) => {
            let ends = replayed.map_or(0, |snapshot| snapshot.version);
            format!("the log of partner {name} ends at version {ends}, its rows at {}", rows.version)
        }
        Err(Setback::Log(misfit)) => format!("the log of partner {name} does not replay: {misfit}"),
        Err(Setback::Store(error)) => return Err(error),
    };
    report.differences.push(difference);
    Ok(None)
}

/// Says which net changes are not as they were written, or do not fit the log, whose
/// chain was checked before.
fn check_net_changes(store: &dyn Store, rows: &Snapshot, report: &mut VerifyReport) -> Result<(), StoreError> {
    for (_, last) in store.net_change_spans(rows.key, 0, rows.version)? {
        match store.net_change(rows.key, last) {
            Ok(_) => {}
            Err(StoreError::Corrupt { what }) => {
                let advice = "inventories of the past read the log instead; delete the row from the table net_change, and \
                              a server makes it again";
                report.differences.push(format!("{what}: {advice}"));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// How many runs of numbers of a partner are named.
const NAMED_MAX: usize = 20;

/// Says where two snapshots of a partner differ, the first few places.
fn compare(rows: &Snapshot, replayed: &Snapshot, report: &mut VerifyReport) {
    let [stored, logged] = [rows, replayed].map(|snapshot| hex_digest::text(&snapshot.digest()));
    if stored == logged {
        return;
    }
    let name = &rows.partner.auth_id;
    let mut add = |difference: String| report.differences.push(difference);
    add(format!("the rows of partner {name} have the digest {stored}, and its log makes {logged}"));
    if rows.head != replayed.head {
        return add(format!("the last entry of the log of partner {name} was changed: its digest is another"));
    }
    let (mut found, mut more) = (0, 0);
    for_each_difference(rows, replayed, |first, last| {
        found += 1;
        match (found <= NAMED_MAX, first == last) {
            (true, true) => add(format!("number {first} of partner {name} is not in the rows as the log says")),
            (true, false) => {
                add(format!("numbers {first} to {last} of partner {name} are not in the rows as the log says"));
            }
            (false, _) => more += last.digits() - first.digits() + 1,
        }
    });
    if more > 0 {
        add(format!("{more} more numbers of partner {name} are not in the rows as the log says"));
    }
    if found == 0 {
        add(format!(
            "the accounts, applications, trunks or keys of partner {name} are not in the rows as the log says"
        ));
    }
}

/// A run of numbers of one side of a comparison, of which the first may be done.
struct Side<'s> {
    first: u64,
    last: u64,
    number: NumberRef<'s>,
}

impl Side<'_> {
    fn agrees(&self, other: &Side<'_>) -> bool {
        self.number.version() == other.number.version() && self.number.record() == other.number.record()
    }
}

/// Calls `found` with the first and the last number of each run of neighbours that
/// two snapshots have differently, or one of them has not.
fn for_each_difference(one: &Snapshot, other: &Snapshot, mut found: impl FnMut(E164, E164)) {
    let now = Time::now();
    let side = |(number, count): (NumberRef<'_>, u64)| {
        let first = number.number().digits();
        (first, first + count - 1)
    };
    let mut runs = [one, other].map(|snapshot| {
        snapshot.runs(now).map(|run| {
            let (first, last) = side(run);
            Side { first, last, number: run.0 }
        })
    });
    let mut next = [runs[0].next(), runs[1].next()];
    let mut differing: Option<(u64, u64)> = None;
    let mut tell = |(first, last): (u64, u64)| {
        if let Some((first, last)) = E164::new(first).zip(E164::new(last)) {
            found(first, last);
        }
    };
    while let Some(first) = next.iter().flatten().map(|side| side.first).min() {
        let covers = |side: &Option<Side<'_>>| side.as_ref().is_some_and(|side| side.first == first);
        // Up to where both sides stay as they are at `first`.
        let end = |side: &Side<'_>| if side.first == first { side.last } else { side.first - 1 };
        let last = next.iter().flatten().map(end).min().unwrap_or(first);
        let same = match &next {
            [Some(left), Some(right)] => left.first == right.first && left.agrees(right),
            _ => false,
        };
        if !same {
            differing = match differing {
                Some((begin, before)) if before + 1 == first => Some((begin, last)),
                before => {
                    before.into_iter().for_each(&mut tell);
                    Some((first, last))
                }
            };
        }
        for (side, runs) in next.iter_mut().zip(&mut runs) {
            if covers(side) {
                match side {
                    Some(side) if side.last > last => side.first = last + 1,
                    _ => *side = runs.next(),
                }
            }
        }
    }
    differing.into_iter().for_each(tell);
}
