//! The rows of numbers in PostgreSQL: `number_run` has a partner's, with what is
//! known about them, `holder_run` says which partner has a number.
//!
//! Invariants: those of `store::runs`. Rows of `number_run` are written under the
//! lock of their partner, and a trigger keeps those of `holder_run` apart. A
//! write reads the rows that have its numbers once, computes what becomes of them,
//! and changes each kind of row by one statement, whatever the number of rows. A row
//! is found by its key within the statement and changed where it is (`ctid`): a join
//! of the tables is planned from statistics, which say nothing of a partner that has
//! just come, and may then read all of its rows for each that is changed. It
//! merges only numbers that it changes itself: those of other writes have other
//! versions.

use std::collections::{BTreeMap, HashSet};

use futures_util::future::join;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::connect::Link;
use super::core::{Core, found};
use super::edits::{HolderEdits, RowValues, RunEdits};
use super::unsent::Unsent;
use crate::domain::runs::Group;
use crate::domain::{NumberRun, PartnerKey, Record, RunChange};
use crate::store::rows::*;
use crate::store::runs::{COUNTS_INTEGRITY, ChangedRun, NO_END, OVERLAPS, RUN_MAX, Span, possible};
use crate::store::tally::RowTally;
use crate::store::{OwnedRun, Ownership, StoreError};

/// How many runs of numbers are looked up by one statement.
const STEP: usize = 5_000;
/// Up to so many runs, holders and rows are asked for together: one way there and
/// back, and rows in vain where the partner has none of the numbers.
const TOGETHER_MAX: usize = 200;

/// The rows of a partner that have some of the numbers `a` to `b`.
const ROWS: &str = "FROM unnest($2::bigint[], $3::bigint[]) AS t (a, b) JOIN LATERAL ( \
                    (SELECT * FROM number_run WHERE partner = $1 AND first <= a ORDER BY first DESC LIMIT 1) \
                    UNION ALL SELECT * FROM number_run WHERE partner = $1 AND first > a AND first <= b \
                    ) AS r ON last >= a ORDER BY first";
/// Who has which of the numbers `a` to `b`.
const HOLDERS: &str = "SELECT first, last, partner FROM unnest($1::bigint[], $2::bigint[]) AS t (a, b) JOIN LATERAL ( \
                       (SELECT * FROM holder_run WHERE first <= a ORDER BY first DESC LIMIT 1) \
                       UNION ALL SELECT * FROM holder_run WHERE first > a AND first <= b \
                       ) AS h ON last >= a ORDER BY first";

/// A row of the partner, as the write has it at the moment.
#[derive(Clone, Copy)]
struct KnownRow {
    last: i64,
    /// The first number of the row of the table that has its values.
    origin: i64,
}

/// Reads and writes the rows of one transaction.
#[derive(Default)]
pub(super) struct RunRows {
    /// The rows that were read last, or written since, by their first numbers.
    rows: BTreeMap<i64, KnownRow>,
    /// The row that was written last, as long as nothing else changes it.
    written: Option<(i64, i64, Record)>,
    /// The partner's rows of holders among these numbers and beside them.
    held: BTreeMap<i64, i64>,
    /// The numbers whose holders, and those of their neighbours, were read last.
    looked_up: BTreeMap<i64, i64>,
}

impl RunRows {
    /// The ownership of the wanted numbers, which are sorted, in runs of one owner.
    ///
    /// # Errors
    /// `Corrupt` for a number of which the rows do not tell the owner. A load
    /// leaves the same rows out, or its digest differs.
    pub fn owners(
        &mut self,
        core: &Core,
        link: &Link,
        key: PartnerKey,
        wanted: &[NumberRun],
    ) -> Result<Vec<OwnedRun>, StoreError> {
        self.rows.clear();
        self.held.clear();
        self.looked_up.clear();
        let mut out = Vec::with_capacity(wanted.len());
        let own = format!("SELECT first, last, version, {RECORD} {ROWS}");
        for some in wanted.chunks(STEP) {
            let spans: Vec<Span> = some.iter().map(|run| span(*run)).collect();
            let (firsts, lasts): (Vec<i64>, Vec<i64>) = spans.iter().copied().unzip();
            let (before, behind) = match some.len() <= TOGETHER_MAX {
                true => neighbours(&spans),
                false => in_known_groups(core, link, neighbours(&spans))?,
            };
            let waits = |unsent: &Unsent| unsent.has_numbers(spans.iter().copied());
            let (holders, found) = core.run(link.behind_if(waits, async {
                let around: [&(dyn ToSql + Sync); 2] = [&before, &behind];
                let params: [&(dyn ToSql + Sync); 3] = [&key.0, &firsts, &lasts];
                let holders = found(link, HOLDERS, &around);
                let found = found(link, &own, &params);
                if some.len() <= TOGETHER_MAX {
                    let (holders, found) = join(holders, found).await;
                    return Ok((holders?, found?));
                }
                let holders = holders.await?;
                let ours = holders.iter().any(|row| matches!(row.int(2), Ok(partner) if partner == key.0));
                Ok((holders, if ours { found.await? } else { Vec::new() }))
            }))?;
            self.looked_up.extend(spans);
            self.note_held(&holders, key)?;
            let (claims, holdings) = (Claims::read(&found)?, Claims::read(&holders)?);
            self.note_rows(&claims);
            let mut owners =
                RowOwners { key, holders: &holders, rows: &found, seen: LastValues::default(), last: None };
            for &run in some {
                let (mut next, end) = span(run);
                while next <= end {
                    let ((holder, held_until), (row, row_until)) = (holdings.of(next)?, claims.of(next)?);
                    let last = end.min(held_until).min(row_until);
                    let owner = owners.owner(next, holder, row)?;
                    out.extend(NumberRun::between(next as u64, last as u64).map(|run| OwnedRun { run, owner }));
                    next = last + 1;
                }
            }
        }
        Ok(out)
    }

    fn note_rows(&mut self, claims: &Claims) {
        for claim in claims.0.iter().filter(|claim| claim.whole && !claim.shared) {
            self.rows.insert(claim.first, KnownRow { last: claim.last, origin: claim.first });
        }
    }

    /// Reads the rows that have stored numbers of these changes, where that was not
    /// done yet; `tally` learns their versions.
    pub fn read_stored(
        &mut self,
        core: &Core,
        link: &Link,
        key: PartnerKey,
        changes: &[RunChange],
        tally: &mut RowTally,
    ) -> Result<(), StoreError> {
        let unread = tally.unread(changes);
        let mut unknown: Vec<Span> = unread.iter().map(|run| span(*run)).collect();
        let covered = |run: &ChangedRun<'_>| {
            overlapping(&self.rows, (run.first, run.last)).map(|row| run.within(row)).sum::<i64>() == run.count()
        };
        let uncovered = ChangedRun::all(changes).into_iter().filter(|run| run.stored && !covered(run));
        unknown.extend(uncovered.map(|run| (run.first, run.last)));
        if unknown.is_empty() {
            return Ok(());
        }
        let waits = |unsent: &Unsent| unsent.has_numbers(unknown.iter().copied());
        let (firsts, lasts): (Vec<i64>, Vec<i64>) = unknown.iter().copied().unzip();
        let sql = format!("SELECT first, last, version {ROWS}");
        let found = core.run(link.behind_if(waits, found(link, &sql, &[&key.0, &firsts, &lasts])))?;
        let claims = Claims::read(&found)?;
        self.note_rows(&claims);
        for run in unread {
            let (mut next, end) = span(run);
            while next <= end {
                let (row, until) = claims.of(next)?;
                let last = end.min(until);
                if let Some((at, run)) = row.zip(NumberRun::between(next as u64, last as u64)) {
                    tally.learn(run, found[at].int(2)? as u64);
                }
                next = last + 1;
            }
        }
        Ok(())
    }

    /// What becomes of the rows; those that have stored numbers were read. Changes
    /// are sorted, each number's once.
    ///
    /// # Errors
    /// `Corrupt` if the rows do not have the numbers that the changes say.
    pub fn edits(&mut self, changes: &[RunChange], version: i64) -> Result<RunEdits, StoreError> {
        let mut edits = RunEdits::default();
        // The last numbers of the rows from which numbers are taken.
        let mut cut: BTreeMap<i64, i64> = BTreeMap::new();
        let mut grown: BTreeMap<i64, i64> = BTreeMap::new();
        // The row that is written last: its place, its values, and whether it is
        // the last of those that come.
        let before = self.written.take();
        let mut written: Option<(Span, &Record, bool)> =
            before.as_ref().map(|(first, last, record)| ((*first, *last), record, false));
        for run in ChangedRun::all(changes) {
            let stored: Vec<Span> = match run.stored {
                true => overlapping(&self.rows, (run.first, run.last)).collect(),
                false => Vec::new(),
            };
            if run.stored && stored.iter().map(|row| run.within(*row)).sum::<i64>() != run.count() {
                return Err(run.conflict());
            }
            if written.is_some_and(|((first, last), ..)| first <= run.last && run.first <= last) {
                written = None;
            }
            let continued = written.is_some_and(|(row, record, _)| run.continues(row, record));
            if let (Some(record), [row], false) = (run.after, &stored[..], continued)
                && *row == (run.first, run.last)
                && self.rows.get(&run.first).is_some_and(|known| known.origin == run.first)
            {
                edits.replaced.push(RowValues { span: *row, version, record: record.clone() });
                written = Some((*row, record, false));
                continue;
            }
            for row in &stored {
                self.cut(*row, run, &mut cut);
            }
            let Some(record) = run.after else { continue };
            written = match written {
                Some(((first, _), record, pending)) if continued => {
                    match pending {
                        true => edits.come.iter_mut().last().into_iter().for_each(|row| row.span.1 = run.last),
                        false => drop(grown.insert(first, run.last)),
                    }
                    Some(((first, run.last), record, pending))
                }
                _ => {
                    edits.come.push(RowValues { span: (run.first, run.last), version, record: record.clone() });
                    Some(((run.first, run.last), record, true))
                }
            };
        }
        self.written = written.map(|((first, last), record, _)| (first, last, record.clone()));
        self.note(&mut edits, cut, grown);
        Ok(edits)
    }

    /// Takes the numbers of a run out of a row.
    fn cut(&mut self, row: Span, run: ChangedRun<'_>, cut: &mut BTreeMap<i64, i64>) {
        let Some(known) = self.rows.remove(&row.0) else { return };
        let end = cut.entry(known.origin).or_insert(known.last);
        *end = known.last.max(*end);
        let (before, behind) = run.remains(row);
        for (first, last) in before.into_iter().chain(behind) {
            self.rows.insert(first, KnownRow { last, ..known });
        }
    }

    /// Notes the pieces of rows that were cut as rows, and what came.
    fn note(&mut self, edits: &mut RunEdits, cut: BTreeMap<i64, i64>, grown: BTreeMap<i64, i64>) {
        for (origin, end) in cut {
            let mut begins = false;
            for (&first, known) in self.rows.range_mut(origin..=end).filter(|(_, known)| known.origin == origin) {
                match first == origin {
                    true => {
                        begins = true;
                        edits.moved.push(first);
                        edits.moved_lasts.push(known.last);
                    }
                    false => {
                        edits.origins.push(origin);
                        edits.split_firsts.push(first);
                        edits.split_lasts.push(known.last);
                        known.origin = first;
                    }
                }
            }
            if !begins {
                edits.deleted.push(origin);
            }
        }
        for (first, last) in grown {
            edits.moved.push(first);
            edits.moved_lasts.push(last);
            self.rows.insert(first, KnownRow { last, origin: first });
        }
        for (first, last) in edits.come.iter().map(|row| row.span) {
            self.rows.insert(first, KnownRow { last, origin: first });
        }
    }

    /// Remembers the partner's rows of holders.
    fn note_held(&mut self, rows: &[Row], key: PartnerKey) -> Result<(), StoreError> {
        for row in rows {
            if row.int(2)? == key.0 {
                self.held.insert(row.int(0)?, row.int(1)?);
            }
        }
        Ok(())
    }

    /// Whether the holders of these numbers and of their neighbours were read last.
    fn looked_up(&self, (first, last): Span) -> bool {
        self.looked_up.range(..=first).next_back().is_some_and(|(_, end)| *end >= last)
    }

    /// What becomes of the rows of holders, if any number comes or goes.
    pub fn hold(
        &mut self,
        core: &Core,
        link: &Link,
        key: PartnerKey,
        changes: &[RunChange],
    ) -> Result<HolderEdits, StoreError> {
        let mut edits = HolderEdits::default();
        let (come, go) = (spans(changes, (false, true)), spans(changes, (true, false)));
        if come.is_empty() && go.is_empty() {
            return Ok(edits);
        }
        let spans: Vec<Span> = come.iter().chain(&go).copied().collect();
        if !spans.iter().all(|span| self.looked_up(*span)) {
            let (before, behind) = neighbours(&spans);
            // Holders are sent at once.
            let found = core.run(link.behind_if(|_| false, found(link, HOLDERS, &[&before, &behind])))?;
            self.note_held(&found, key)?;
        }
        // With the neighbours, since neighbours of one partner are one row.
        let held: BTreeMap<i64, i64> =
            spans.iter().flat_map(|(first, last)| spanning(&self.held, (first - 1, last + 1))).collect();
        let after = held_after(held.clone(), &come, &go)?;
        edits.released = held.keys().filter(|first| !after.contains_key(first)).copied().collect();
        for first in held.keys() {
            self.held.remove(first);
        }
        self.held.extend(&after);
        let changed = after.iter().filter(|(first, last)| held.get(first) != Some(last));
        let (stay, come): (Vec<Span>, Vec<Span>) =
            changed.map(|(&first, &last)| (first, last)).partition(|(first, _)| held.contains_key(first));
        (edits.held_until, edits.held) = (stay.into_iter().unzip(), come.into_iter().unzip());
        Ok(edits)
    }
}

/// Those of the ranges of which a group was ever held: the others have no holder.
fn in_known_groups(
    core: &Core,
    link: &Link,
    (firsts, lasts): (Vec<i64>, Vec<i64>),
) -> Result<(Vec<i64>, Vec<i64>), StoreError> {
    let groups = |(first, last): (i64, i64)| first / Group::SIZE as i64..=last / Group::SIZE as i64;
    let ranges = || firsts.iter().copied().zip(lasts.iter().copied());
    let mut asked: Vec<i64> = ranges().flat_map(groups).collect();
    asked.dedup();
    let sql = "SELECT number_group FROM holder_group WHERE number_group = ANY ($1::bigint[])";
    let known: Result<HashSet<i64>, StoreError> =
        core.rows(link, sql, &[&asked])?.iter().map(|row| row.int(0)).collect();
    let known = known?;
    Ok(ranges().filter(|range| groups(*range).any(|group| known.contains(&group))).unzip())
}

/// The rows that have some of these numbers, in order.
fn overlapping(rows: &BTreeMap<i64, KnownRow>, (first, last): Span) -> impl Iterator<Item = Span> {
    let before = rows.range(..first).next_back().filter(|(_, known)| known.last >= first);
    before.into_iter().chain(rows.range(first..=last)).map(|(&first, known)| (first, known.last))
}

fn span(run: NumberRun) -> Span {
    (run.first.digits() as i64, run.last().digits() as i64)
}

/// The numbers that were stored before and are stored afterwards as it is wanted,
/// neighbours together.
fn spans(changes: &[RunChange], wanted: (bool, bool)) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for change in changes.iter().filter(|change| (change.before.is_some(), change.after.is_some()) == wanted) {
        let (first, last) = span(change.run());
        match spans.last_mut() {
            Some((_, end)) if *end + 1 == first => *end = last,
            _ => spans.push((first, last)),
        }
    }
    spans
}

/// The numbers before some runs, and those behind them.
fn neighbours(spans: &[Span]) -> (Vec<i64>, Vec<i64>) {
    spans.iter().map(|(first, last)| (first - 1, last + 1)).unzip()
}

/// The rows that have some of these numbers, in order.
fn spanning(rows: &BTreeMap<i64, i64>, (first, last): Span) -> impl Iterator<Item = Span> {
    let before = rows.range(..first).next_back().filter(|(_, end)| **end >= first);
    before.into_iter().chain(rows.range(first..=last)).map(|(&first, &last)| (first, last))
}

/// A partner's rows of holders after numbers came and went: neighbours are one row,
/// of at most [`RUN_MAX`] numbers.
fn held_after(mut held: BTreeMap<i64, i64>, come: &[Span], go: &[Span]) -> Result<BTreeMap<i64, i64>, StoreError> {
    for &numbers in go {
        let run = ChangedRun { first: numbers.0, last: numbers.1, stored: true, after: None };
        let rows: Vec<Span> = spanning(&held, numbers).collect();
        if rows.iter().map(|row| run.within(*row)).sum::<i64>() != run.count() {
            return Err(run.conflict());
        }
        for row in rows {
            held.remove(&row.0);
            let (before, behind) = run.remains(row);
            held.extend(before.into_iter().chain(behind));
        }
    }
    for &(mut first, mut last) in come {
        if let Some((taken, _)) = spanning(&held, (first, last)).next() {
            return Err(corrupt(format!("number {taken} has a holder and no row")));
        }
        let before = spanning(&held, (first - 1, first - 1)).next();
        if let Some((before, _)) = before
            && last - before < RUN_MAX
        {
            held.remove(&before);
            first = before;
        }
        if let Some(&end) = held.get(&(last + 1))
            && end - first < RUN_MAX
        {
            held.remove(&(last + 1));
            last = end;
        }
        held.insert(first, last);
    }
    Ok(held)
}

/// One row of those that have some numbers.
struct Claim {
    first: i64,
    /// With an impossible end, the last number that it might have.
    last: i64,
    whole: bool,
    /// Whether another row has some of its numbers.
    shared: bool,
    /// The last number of all rows up to this one.
    claimed: i64,
    row: usize,
}

/// Rows by the numbers that they have.
struct Claims(Vec<Claim>);

impl Claims {
    /// From the columns `first` and `last` of rows that are sorted; a row may occur
    /// more than once.
    fn read(rows: &[Row]) -> Result<Claims, StoreError> {
        let spans: Result<Vec<Span>, StoreError> = rows.iter().map(|row| Ok((row.int(0)?, row.int(1)?))).collect();
        Ok(Claims::of_spans(spans?))
    }

    fn of_spans(spans: impl IntoIterator<Item = Span>) -> Claims {
        let mut claims: Vec<Claim> = Vec::new();
        // Which of the claims reaches furthest.
        let mut furthest = 0;
        for (row, (first, end)) in spans.into_iter().enumerate() {
            if claims.last().is_some_and(|before| before.first == first) {
                continue;
            }
            let whole = possible(first, end);
            let last = if whole { end } else { first.saturating_add(RUN_MAX - 1) };
            let shared = claims.get(furthest).is_some_and(|before| before.last >= first);
            if shared {
                claims[furthest].shared = true;
            }
            let claimed = claims.get(furthest).map_or(last, |before| before.last.max(last));
            claims.push(Claim { first, last, whole, shared, claimed, row });
            if claimed == last {
                furthest = claims.len() - 1;
            }
        }
        Claims(claims)
    }

    /// The place of the row that has a number, if there is one, and up to which number
    /// the same is true.
    ///
    /// # Errors
    /// `Corrupt` if several rows have it, or if it is behind a row whose end is
    /// impossible.
    fn of(&self, digits: i64) -> Result<(Option<usize>, i64), StoreError> {
        let behind = self.0.partition_point(|claim| claim.first <= digits);
        let free = self.0.get(behind).map_or(i64::MAX, |claim| claim.first - 1);
        let Some(claim) = behind.checked_sub(1).map(|at| &self.0[at]) else { return Ok((None, free)) };
        match (digits <= claim.last, claim.whole, claim.shared) {
            (true, true, false) => Ok((Some(claim.row), claim.last)),
            (true, false, _) => Err(corrupt(format!("number {digits}: {NO_END}"))),
            (true, true, true) => Err(corrupt(format!("number {digits}: {OVERLAPS}"))),
            (false, _, _) if claim.claimed >= digits => Err(corrupt(format!("number {digits}: {OVERLAPS}"))),
            (false, _, _) => Ok((None, free)),
        }
    }
}

/// The owners of numbers, from rows of holders and rows of the partner.
struct RowOwners<'r> {
    key: PartnerKey,
    holders: &'r [Row],
    rows: &'r [Row],
    seen: LastValues,
    /// The row that was read last, and what it says.
    last: Option<(usize, Ownership)>,
}

impl RowOwners<'_> {
    /// The owner of a number that these rows have.
    fn owner(&mut self, digits: i64, holder: Option<usize>, row: Option<usize>) -> Result<Ownership, StoreError> {
        let partner = holder.map(|at| self.holders[at].int(2)).transpose()?;
        match (partner, row) {
            (None, None) => Ok(Ownership::Free),
            (Some(partner), _) if partner != self.key.0 => Ok(Ownership::Foreign),
            (Some(_), None) => Err(corrupt(format!("number {digits} has a holder and no row"))),
            (None, Some(_)) => Err(corrupt(format!("number {digits} has a row and no holder"))),
            (Some(_), Some(at)) => match &self.last {
                Some((before, owner)) if *before == at => Ok(owner.clone()),
                _ => {
                    let row = &self.rows[at];
                    let record = read_record(row, 3, &mut self.seen)?;
                    let owner = Ownership::Ours { version: row.int(2)? as u64, record };
                    self.last = Some((at, owner.clone()));
                    Ok(owner)
                }
            },
        }
    }
}

/// What `verify` counts, and what is wrong if there is any. Both tables are compared
/// as lists of numbers, since content cuts the one and not the other.
pub(super) const INTEGRITY: &[(&str, &str)] = &[
    (
        "numbers belong to no partner",
        "SELECT coalesce(sum(last - first + 1), 0)::bigint FROM number_run LEFT JOIN partner USING (partner) \
         WHERE auth_id IS NULL",
    ),
    (
        "rows of numbers have numbers of other rows",
        "SELECT count(*) FROM (SELECT first <= max(last) OVER (PARTITION BY partner ORDER BY first \
         ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS meets FROM number_run) AS run WHERE meets",
    ),
    (
        "blocks of numbers are not held by the partner that has them, or held by one that has them not",
        "WITH run AS (SELECT partner, min(first) AS first, max(last) AS last FROM ( \
           SELECT *, count(*) FILTER (WHERE gap) OVER (PARTITION BY partner ORDER BY first) AS island FROM ( \
             SELECT partner, first, last, lag(last) OVER (PARTITION BY partner ORDER BY first) \
               IS DISTINCT FROM first - 1 AS gap FROM number_run) AS each) AS islands GROUP BY partner, island), \
         held AS (SELECT partner, min(first) AS first, max(last) AS last FROM ( \
           SELECT *, count(*) FILTER (WHERE gap) OVER (PARTITION BY partner ORDER BY first) AS island FROM ( \
             SELECT partner, first, last, lag(last) OVER (PARTITION BY partner ORDER BY first) \
               IS DISTINCT FROM first - 1 AS gap FROM holder_run) AS each) AS islands GROUP BY partner, island) \
         SELECT count(*) FROM run FULL JOIN held USING (partner, first, last) \
         WHERE run.first IS NULL OR held.first IS NULL",
    ),
    (
        "rows of holders are in groups of numbers that are not in holder_group",
        "SELECT count(*) FROM holder_run WHERE NOT EXISTS (SELECT FROM holder_group WHERE number_group = first / 10000) \
         OR NOT EXISTS (SELECT FROM holder_group WHERE number_group = last / 10000)",
    ),
    COUNTS_INTEGRITY,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holders_are_merged_and_split() {
        /// The rows of holders, what comes, what goes, the rows afterwards.
        type Case = (&'static [Span], &'static [Span], &'static [Span], Option<&'static [Span]>);
        let cases: [Case; 10] = [
            (&[], &[(5, 9)], &[], Some(&[(5, 9)])),
            (&[(0, 4)], &[(5, 9)], &[], Some(&[(0, 9)])),
            (&[(10, 14)], &[(5, 9)], &[], Some(&[(5, 14)])),
            (&[(0, 4), (10, 14)], &[(5, 9)], &[], Some(&[(0, 14)])),
            (&[(0, 3)], &[(5, 9)], &[], Some(&[(0, 3), (5, 9)])),
            (&[(0, 9)], &[], &[(3, 5)], Some(&[(0, 2), (6, 9)])),
            (&[(0, 4), (5, 9)], &[], &[(3, 6)], Some(&[(0, 2), (7, 9)])),
            (&[(0, 9)], &[(10, 10)], &[(0, 0)], Some(&[(1, 10)])),
            (&[(0, 4)], &[(4, 5)], &[], None),
            (&[(0, 4)], &[], &[(4, 5)], None),
        ];
        for (before, come, go, expected) in cases {
            let after = held_after(before.iter().copied().collect(), come, go).ok();
            assert_eq!(after, expected.map(|rows| rows.iter().copied().collect()), "{before:?} {come:?} {go:?}");
        }
    }

    #[test]
    fn a_number_has_one_row_or_none() {
        let (far, end) = (5 + RUN_MAX, i64::MAX);
        for (rows, number, expected) in [
            (&[][..], 5, Some((None, end))),
            (&[(3, 6)][..], 5, Some((Some(0), 6))),
            (&[(3, 6), (3, 6), (8, 8)], 8, Some((Some(2), 8))),
            (&[(3, 6), (8, 8)], 7, Some((None, 7))),
            (&[(3, 6), (8, 8)], 2, Some((None, 2))),
            (&[(3, 6), (5, 8)], 4, None),
            (&[(3, 6), (5, 8)], 7, None),
            (&[(0, 9), (2, 3), (4, 4)], 5, None),
            (&[(0, 9), (2, 3), (4, 4)], 4, None),
            (&[(0, 9), (20, 20)], 20, Some((Some(1), 20))),
            (&[(5, 4)], 5, None),
            (&[(5, far)], 9, None),
            (&[(5, far)], far, Some((None, end))),
        ] {
            let claims = Claims::of_spans(rows.iter().copied());
            assert_eq!(claims.of(number).ok(), expected, "{rows:?} {number}");
        }
    }
}
