//! The integrity check: compares the file with itself, the log with the rows, and a
//! running server's index with both.

use std::collections::HashMap;

use crate::domain::entity::hex_digest;
use crate::domain::{PartnerKey, Time};
use crate::inventory::Snapshot;
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
/// compares the result with the rows, number by number.
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
        match replay(store, rows, &mut report, progress)? {
            Some(replayed) => compare(rows, &replayed, &mut report),
            None => continue,
        }
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
    let replayed = replica::replayed(store, rows.key, None, rows.version, &mut || {
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

/// How many numbers of a partner are named.
const NAMED_MAX: usize = 20;

/// Says where two snapshots of a partner differ, the first few places.
fn compare(rows: &Snapshot, replayed: &Snapshot, report: &mut VerifyReport) {
    if rows.digest() == replayed.digest() {
        return;
    }
    let name = &rows.partner.auth_id;
    if rows.head != replayed.head {
        report
            .differences
            .push(format!("the last entry of the log of partner {name} was changed: its digest is another"));
        return;
    }
    let now = Time::now();
    let mut found = 0;
    // A number that both have is compared once.
    for (left, right, first) in [(rows, replayed, true), (replayed, rows, false)] {
        for number in left.iter(now) {
            let same = match right.get(number.number(), now) {
                Some(other) if first => other.record() == number.record() && other.version() == number.version(),
                other => other.is_some(),
            };
            if same {
                continue;
            }
            found += 1;
            if found <= NAMED_MAX {
                report
                    .differences
                    .push(format!("number {} of partner {name} is not in the rows as the log says", number.number()));
            }
        }
    }
    if found > NAMED_MAX {
        let more = found - NAMED_MAX;
        report.differences.push(format!("{more} more numbers of partner {name} are not in the rows as the log says"));
    }
    if found == 0 {
        report.differences.push(format!(
            "the accounts, applications, trunks or keys of partner {name} are not in the rows as the log says"
        ));
    }
}
