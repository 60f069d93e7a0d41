//! The oracle: rows sorted by number, and a scan. As slow as it is plain.
//!
//! Nothing is served from it; tests and benchmarks hold the index against it.

use std::cmp::Ordering;

use super::table::Index;
use super::{Filter, NumberRef, Order, Pattern, Snapshot, SortKey, Window};
use crate::domain::{Country, E164, Money, NumberType, State, Status, Time, number};

/// One number; what it refers to by index.
#[derive(Clone, Debug)]
struct Row {
    pub number: E164,
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
    pub until: Option<Time>,
}

/// All rows of a snapshot, as plain as can be.
pub struct Flat {
    rows: Vec<Row>,
}

impl Flat {
    pub fn of(snapshot: &Snapshot) -> Flat {
        let unpack = |shown: NumberRef<'_>| {
            let (row, profile) = (shown.row, shown.profile.clone());
            Row {
                number: row.number,
                state: profile.state,
                number_type: profile.number_type,
                country: profile.country,
                account: profile.account,
                application: profile.application,
                trunk: profile.trunk,
                region: profile.region,
                tags: profile.tags,
                cost: profile.cost,
                assigned_at: row.assigned_at,
                expires_at: row.expires_at,
                until: row.until,
            }
        };
        Flat { rows: snapshot.iter(snapshot.partner.created_at).map(unpack).collect() }
    }

    /// One page of what the filter lets through: the total, the rank of its
    /// first row, its numbers. `snapshot` is the one it was made of.
    pub fn select(
        &self,
        snapshot: &Snapshot,
        filter: &Filter,
        order: Order,
        window: Window,
        now: Time,
    ) -> (u64, u64, Vec<E164>) {
        let found = match Wanted::resolve(snapshot, filter, now) {
            Some(wanted) => self.positions(&wanted, order),
            None => Vec::new(),
        };
        let (start, rows) = match window {
            Window::Page { skip, rows } => (usize::try_from(skip).unwrap_or(usize::MAX).min(found.len()), rows),
            Window::After { number, rows } => {
                (found.partition_point(|&at| self.rows[at as usize].number <= number), rows)
            }
        };
        let end = start.saturating_add(rows).min(found.len());
        let page = found[start..end].iter().map(|&at| self.rows[at as usize].number).collect();
        (found.len() as u64, start as u64, page)
    }

    /// The positions of all matching rows, in order.
    fn positions(&self, wanted: &Wanted<'_>, order: Order) -> Vec<u32> {
        let rows = &self.rows;
        let mut found: Vec<u32> = (0..rows.len()).filter(|&at| wanted.matches(&rows[at])).map(|at| at as u32).collect();
        let row = |at: &u32| &rows[*at as usize];
        match order.key {
            // Rows are in this order.
            SortKey::Number if order.descending => found.reverse(),
            SortKey::Number => {}
            // A stable sort of rows in number order: the number breaks ties.
            SortKey::AssignedAt => {
                found.sort_by(|a, b| nulls_last(row(a).assigned_at, row(b).assigned_at, order.descending));
            }
            SortKey::ExpiresAt => {
                found.sort_by(|a, b| nulls_last(row(a).expires_at, row(b).expires_at, order.descending));
            }
            SortKey::MonthlyCost => found.sort_by(|a, b| {
                let cost = |at| row(at).cost.map(Money::printed_order);
                nulls_last(cost(a), cost(b), order.descending)
            }),
        }
        found
    }
}

/// A filter with its names looked up, so that a row is tested with integers.
struct Wanted<'a> {
    filter: &'a Filter,
    now: Time,
    account: Option<Index>,
    application: Option<Index>,
    trunk: Option<Index>,
    regions: Option<Vec<Index>>,
    /// The sets of tags that have the wanted one.
    tagged: Option<Vec<Index>>,
}

impl<'a> Wanted<'a> {
    /// `None` when the filter names something that the partner does not have,
    /// so that nothing can match.
    fn resolve(snapshot: &Snapshot, filter: &'a Filter, now: Time) -> Option<Wanted<'a>> {
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
            regions: filter.region.as_deref().map(|name| snapshot.regions_of(name)),
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
            && self.regions.as_ref().is_none_or(|regions| regions.contains(&row.region))
            && filter.number_type.lets(Some(row.number_type))
            && filter.country.lets(row.country)
            && is(filter.assigned, held)
            && is(filter.routed, row.application != Index::NONE)
            && filter.state.lets(Some(row.state.at(row.until, self.now)))
            && filter.status.is_none_or(|wanted: Status| wanted == number::status(row.state, row.expires_at, self.now))
            && before(filter.expires_before, row.expires_at)
            && after(filter.expires_after, row.expires_at)
            && before(filter.assigned_before, row.assigned_at)
            && after(filter.assigned_after, row.assigned_at)
            && self.tagged.as_ref().is_none_or(|sets| sets.contains(&row.tags))
            && filter.search.is_none_or(|pattern: Pattern| pattern.matches(row.number))
    }
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
