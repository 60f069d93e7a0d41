//! The oracle: rows sorted by number, and a plain, slow scan.
//!
//! Nothing is served from it; tests and benchmarks compare the index with it.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use super::called::CalledNumbers;
use super::filter::stage;
use super::{Filter, NumberRef, Order, Pattern, Snapshot, SortKey, Window};
use crate::domain::{E164, Money, Record, Status, Time, number, plan};

/// All rows of a snapshot, as the log says them: none of the indices that the
/// rows are found by.
pub struct Flat {
    rows: Vec<(E164, Record)>,
    called: Arc<CalledNumbers>,
    /// The names of customers and applications, in lower case, by id.
    customers: HashMap<String, String>,
    applications: HashMap<String, String>,
}

impl Flat {
    pub fn of(snapshot: &Snapshot) -> Flat {
        let row = |shown: NumberRef<'_>| (shown.number(), shown.record());
        let customers = snapshot.accounts.iter().map(|one| (one.auth_id.to_string(), one.name.to_lowercase()));
        let applications = snapshot.applications.iter().map(|one| (one.id.to_string(), one.name.to_lowercase()));
        Flat {
            rows: snapshot.iter(snapshot.partner.created_at).map(row).collect(),
            called: snapshot.called.clone(),
            customers: customers.collect(),
            applications: applications.collect(),
        }
    }

    /// One page of what the filter lets through: the total, the rank of its
    /// first row, its numbers.
    pub fn select(&self, filter: &Filter, order: Order, window: Window, now: Time) -> (u64, u64, Vec<E164>) {
        let found = self.positions(filter, order, now);
        let (start, rows) = match window {
            Window::Page { skip, rows } => (usize::try_from(skip).unwrap_or(usize::MAX).min(found.len()), rows),
            Window::After { number, rows } => (found.partition_point(|&at| self.rows[at as usize].0 <= number), rows),
        };
        let end = start.saturating_add(rows).min(found.len());
        let page = found[start..end].iter().map(|&at| self.rows[at as usize].0).collect();
        (found.len() as u64, start as u64, page)
    }

    /// The positions of all matching rows, in order.
    fn positions(&self, filter: &Filter, order: Order, now: Time) -> Vec<u32> {
        let rows = &self.rows;
        let called = |number| filter.called.is_none_or(|asked| asked.lets(self.called.last(number)));
        let matching =
            (0..rows.len()).filter(|&at| called(rows[at].0) && matches(filter, rows[at].0, &rows[at].1, now));
        let mut found: Vec<u32> = matching.map(|at| at as u32).collect();
        let row = |at: &u32| &rows[*at as usize].1;
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
            SortKey::State => found.sort_by(|a, b| {
                let stage = |at| {
                    let record = row(at).as_of(now);
                    let expired = record.expires_at.is_some_and(|end| end <= now);
                    Some(stage(record.state, record.application.is_some(), expired))
                };
                nulls_last(stage(a), stage(b), order.descending)
            }),
            SortKey::Customer => found.sort_by(|a, b| {
                let name = |at| {
                    let id = row(at).as_of(now).account?.to_string();
                    Some((self.customers.get(&id).cloned(), id))
                };
                nulls_last(name(a), name(b), order.descending)
            }),
            SortKey::Application => found.sort_by(|a, b| {
                let name = |at| {
                    let id = row(at).application.as_ref()?.to_string();
                    Some((self.applications.get(&id).cloned(), id))
                };
                nulls_last(name(a), name(b), order.descending)
            }),
        }
        found
    }
}

/// Whether a filter lets a number through, one condition after another.
fn matches(filter: &Filter, e164: E164, record: &Record, now: Time) -> bool {
    fn is(wanted: &Option<Box<str>>, have: Option<&str>) -> bool {
        wanted.as_deref().is_none_or(|wanted| have == Some(wanted))
    }
    fn before(wanted: Option<Time>, have: Option<Time>) -> bool {
        wanted.is_none_or(|wanted| have.is_some_and(|have| have < wanted))
    }
    fn after(wanted: Option<Time>, have: Option<Time>) -> bool {
        wanted.is_none_or(|wanted| have.is_some_and(|have| have > wanted))
    }
    let held = record.state.held();
    let in_region =
        |name: &str| record.region.as_deref().is_some_and(|have| plan::names_of(name).any(|one| one == have));
    is(&filter.account, record.account.as_ref().filter(|_| held).map(|id| id.as_str()))
        && is(&filter.application, record.application.as_ref().map(|id| id.as_str()))
        && is(&filter.trunk, record.trunk.as_ref().map(|id| id.as_str()))
        && filter.region.as_deref().is_none_or(in_region)
        && filter.number_type.lets(Some(record.number_type))
        && filter.country.lets(record.country)
        && filter.assigned.is_none_or(|wanted| wanted == held)
        && filter.routed.is_none_or(|wanted| wanted == record.application.is_some())
        && filter.state.lets(Some(record.state.at(record.until, now)))
        && filter.status.is_none_or(|wanted: Status| wanted == number::status(record.state, record.expires_at, now))
        && before(filter.expires_before, record.expires_at)
        && after(filter.expires_after, record.expires_at)
        && before(filter.assigned_before, record.assigned_at)
        && after(filter.assigned_after, record.assigned_at)
        && filter.tag.as_deref().is_none_or(|wanted| record.tags.iter().any(|have| have == wanted))
        && filter.search.is_none_or(|pattern: Pattern| pattern.matches(e164))
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
