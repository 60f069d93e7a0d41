//! The simplest exact index: rows sorted by number, and a scan.

use std::cmp::Ordering;

use super::table::Index;
use super::{Filter, NumberRef, Order, Pattern, Selection, Snapshot, SortKey, Window};
use crate::domain::{Country, E164, Money, NumberType, State, Status, Time, number};

/// One number; what it refers to by index.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub number: E164,
    pub version: u64,
    pub state: State,
    pub number_type: NumberType,
    pub country: Option<Country>,
    pub account: Index,
    pub application: Index,
    pub trunk: Index,
    pub region: Index,
    pub tags: Index,
    pub cost: Option<Money>,
    pub assigned_at: Option<Time>,
    pub expires_at: Option<Time>,
    pub since: Time,
    pub until: Option<Time>,
}

/// `rows` with `edits` (sorted, each number once) put in, replaced or taken
/// out. `note` hears of each row that leaves (-1) or comes (1).
pub(super) fn merged(rows: &[Row], edits: &[(E164, Option<Row>)], mut note: impl FnMut(&Row, i32)) -> Vec<Row> {
    let mut out = Vec::with_capacity(rows.len() + edits.len());
    let mut from = 0;
    for (number, row) in edits {
        let to = from + rows[from..].partition_point(|row| row.number < *number);
        out.extend_from_slice(&rows[from..to]);
        from = to;
        if let Some(old) = rows.get(from).filter(|old| old.number == *number) {
            note(old, -1);
            from += 1;
        }
        if let Some(row) = row {
            note(row, 1);
            out.push(row.clone());
        }
    }
    out.extend_from_slice(&rows[from..]);
    out
}

/// A filter with its names looked up, so that a row is tested with integers.
pub(super) struct Wanted<'a> {
    filter: &'a Filter,
    now: Time,
    account: Option<Index>,
    application: Option<Index>,
    trunk: Option<Index>,
    region: Option<Index>,
    /// The sets of tags that have the wanted one.
    tagged: Option<Vec<Index>>,
}

impl<'a> Wanted<'a> {
    /// `None` when the filter names something that the partner does not have,
    /// so that nothing can match.
    pub(super) fn resolve(snapshot: &Snapshot, filter: &'a Filter, now: Time) -> Option<Wanted<'a>> {
        fn look_up(name: &Option<Box<str>>, find: impl Fn(&str) -> Option<Index>) -> Option<Option<Index>> {
            match name {
                Some(name) => find(name).map(Some),
                None => Some(None),
            }
        }
        Some(Wanted {
            filter,
            now,
            account: look_up(&filter.account, |id| snapshot.accounts.find(id))?,
            application: look_up(&filter.application, |id| snapshot.applications.find(id))?,
            trunk: look_up(&filter.trunk, |id| snapshot.trunks.find(id))?,
            region: look_up(&filter.region, |name| snapshot.regions.find(&name.into()))?,
            tagged: filter.tag.as_ref().map(|tag| {
                let sets = snapshot.tags.iter().filter(|(_, tags)| tags.contains(tag));
                sets.map(|(index, _)| index).collect()
            }),
        })
    }

    fn matches(&self, row: &Row) -> bool {
        fn is<T: PartialEq>(wanted: Option<T>, have: T) -> bool {
            wanted.is_none_or(|wanted| wanted == have)
        }
        fn before(wanted: Option<Time>, have: Option<Time>) -> bool {
            wanted.is_none_or(|wanted| have.is_some_and(|have| have < wanted))
        }
        fn after(wanted: Option<Time>, have: Option<Time>) -> bool {
            wanted.is_none_or(|wanted| have.is_some_and(|have| have > wanted))
        }
        let filter = self.filter;
        let held = row.state.held();
        self.account.is_none_or(|wanted| held && wanted == row.account)
            && is(self.application, row.application)
            && is(self.trunk, row.trunk)
            && is(self.region, row.region)
            && is(filter.number_type, row.number_type)
            && filter.country.is_none_or(|wanted| row.country == Some(wanted))
            && is(filter.assigned, held)
            && is(filter.routed, row.application != Index::NONE)
            && filter.status.is_none_or(|wanted: Status| wanted == number::status(row.state, row.expires_at, self.now))
            && before(filter.expires_before, row.expires_at)
            && after(filter.expires_after, row.expires_at)
            && before(filter.assigned_before, row.assigned_at)
            && after(filter.assigned_after, row.assigned_at)
            && self.tagged.as_ref().is_none_or(|sets| sets.contains(&row.tags))
            && filter.search.is_none_or(|pattern: Pattern| pattern.matches(row.number))
    }
}

pub(super) fn select<'a>(
    snapshot: &'a Snapshot,
    wanted: &Wanted<'_>,
    order: Order,
    window: Window,
    now: Time,
) -> Selection<'a> {
    let found = positions(snapshot, wanted, order, None);
    let (start, rows) = match window {
        Window::Page { skip, rows } => (usize::try_from(skip).unwrap_or(usize::MAX).min(found.len()), rows),
        Window::After { number, rows } => {
            (found.partition_point(|&at| snapshot.rows[at as usize].number <= number), rows)
        }
    };
    let end = start.saturating_add(rows).min(found.len());
    let number_at = |rank: usize| snapshot.rows[found[rank] as usize].number;
    Selection {
        total: found.len() as u64,
        start: start as u64,
        rows: found[start..end].iter().map(|&at| snapshot.nth(at, now)).collect::<Vec<NumberRef<'a>>>(),
        before: start.checked_sub(rows.saturating_add(1)).map(number_at),
    }
}

/// The positions of all matching rows, in order.
pub(super) fn positions(snapshot: &Snapshot, wanted: &Wanted<'_>, order: Order, after: Option<E164>) -> Vec<u32> {
    let rows = &snapshot.rows;
    let from = match after {
        Some(number) => rows.partition_point(|row| row.number <= number),
        None => 0,
    };
    let mut found: Vec<u32> = (from..rows.len()).filter(|&at| wanted.matches(&rows[at])).map(|at| at as u32).collect();
    let row = |at: &u32| &rows[*at as usize];
    match order.key {
        // Rows are stored in this order.
        SortKey::Number if order.descending => found.reverse(),
        SortKey::Number => {}
        // A stable sort of rows in number order: the number breaks ties.
        SortKey::AssignedAt => {
            found.sort_by(|a, b| nulls_last(row(a).assigned_at, row(b).assigned_at, order.descending))
        }
        SortKey::ExpiresAt => found.sort_by(|a, b| nulls_last(row(a).expires_at, row(b).expires_at, order.descending)),
        SortKey::MonthlyCost => found.sort_by(|a, b| {
            let cost = |at| row(at).cost.map(Money::printed_order);
            nulls_last(cost(a), cost(b), order.descending)
        }),
    }
    found
}

/// What is absent comes last in either direction.
fn nulls_last<T: Ord>(a: Option<T>, b: Option<T>, descending: bool) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) if descending => b.cmp(&a),
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}
