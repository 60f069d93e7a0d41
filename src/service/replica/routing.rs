//! Answers a call from all partners' snapshots on this node, and explains the
//! answers to calls to one number.
//!
//! Invariants: an answer needs no database; a number that this node left out,
//! because its row could not be understood, is never answered as unknown; a
//! partner whose rows do not agree with their digest is answered as if the node
//! were not ready; an
//! explanation reads one partner's numbers and log and nothing else.
//! Deliberately absent: SIP, HTTP, and rules (`routing`).

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::domain::{Actor, Destinations, E164, EntityChange, PartnerId, Time};
use crate::inventory::{Snapshot, set};
use crate::routing::{self, Answer, Case, Explained, Moment, RoutingSettings, called_number};
use crate::service::past::{self, Past};
use crate::service::replica::{Node, Replica};
use crate::service::{Service, ServiceError};
use crate::store::Store;

/// What a caller asks for.
#[derive(Clone, Copy, Debug)]
pub struct RouteRequest<'a> {
    /// The user part of the Request-URI, as it was sent.
    pub user: &'a [u8],
    pub call_id: Option<&'a [u8]>,
    pub now: Time,
}

impl Replica {
    /// Answers a call and hands the answer to `give`. Allocates nothing.
    pub fn route<T>(
        &self,
        settings: &RoutingSettings,
        asked: RouteRequest<'_>,
        give: impl FnOnce(&Answer<'_>) -> T,
    ) -> T {
        let (_, age) = self.freshness();
        let without = |case, number| Answer::without(settings, case, number, age);
        if settings.stale_max.is_some_and(|max| age > max) {
            return give(&without(Case::NotReady, None));
        }
        let Some(number) = called_number(asked.user, settings.default_country) else {
            return give(&without(Case::NotANumber, None));
        };
        let has = |node: &Arc<Node>| {
            let snapshot = node.current();
            let here = snapshot.get(number, asked.now).is_some();
            here.then_some(snapshot)
        };
        let Some(snapshot) = self.directory().find(set::group_of(number.digits()), has) else {
            let case = match self.left_out(number) {
                true => Case::RowUnreadable,
                // It may be one that a partner's rows do not say any more.
                false if self.any_damaged() => Case::NotReady,
                false => Case::Unknown,
            };
            return give(&without(case, Some(number)));
        };
        if snapshot.damaged {
            return give(&without(Case::NotReady, Some(number)));
        }
        match snapshot.get(number, asked.now) {
            Some(row) => give(&Answer::of(settings, row, asked.call_id, asked.now, age)),
            None => give(&without(Case::Unknown, Some(number))),
        }
    }

    /// Whether calls can be answered.
    pub fn can_route(&self, settings: &RoutingSettings) -> bool {
        settings.stale_max.is_none_or(|max| self.freshness().1 <= max)
    }

    /// Why calls to a number of a partner end as they do at a moment; none if
    /// the partner never had it. `of` is the partner at that moment. Reads the
    /// log, so it blocks.
    pub fn explain_route(
        &self,
        settings: &RoutingSettings,
        of: &Snapshot,
        number: E164,
        now: Time,
    ) -> Result<Option<Explained>, ServiceError> {
        let past = self.history(of, number)?;
        let found = explained(settings, of, number, now, &past, !self.left_out(number));
        with_author(&**self.store(), of, now, found)
    }
}

fn explained(
    settings: &RoutingSettings,
    of: &Snapshot,
    number: E164,
    now: Time,
    past: &[Past],
    readable: bool,
) -> Option<Explained> {
    let row = of.get(number, now);
    if row.is_none() && past.is_empty() {
        return None;
    }
    let moment = |past: &Past| {
        let (before, after) = (past.change.before.clone(), past.change.after.clone());
        Moment { at: past.entry.at, by: past.entry.actor.clone(), before, after }
    };
    let past: Vec<Moment> = past.iter().map(moment).collect();
    Some(routing::explain(settings, of, (number, row, readable), &past, now))
}

/// An explanation whose step of destinations says since when they are so, and
/// who made them so.
fn with_author(
    store: &dyn Store,
    of: &Snapshot,
    now: Time,
    found: Option<Explained>,
) -> Result<Option<Explained>, ServiceError> {
    let Some(mut explained) = found else { return Ok(None) };
    if let Some(step) = explained.steps.iter_mut().find(|step| step.step == "destinations")
        && let Some((at, by)) = listed(store, of, explained.number, now)?
    {
        (step.since, step.by) = (Some(at), Some(by.to_string()));
    }
    Ok(Some(explained))
}

/// When the list of destinations that decides became what it is, and by whom:
/// the application's, or the trunk's where only that has one.
fn listed(store: &dyn Store, of: &Snapshot, number: E164, now: Time) -> Result<Option<(Time, Actor)>, ServiceError> {
    let Some(row) = of.get(number, now) else { return Ok(None) };
    let Some(application) = row.application() else { return Ok(None) };
    let trunk = row.trunk().filter(|one| application.destinations.is_empty() && !one.destinations.is_empty());
    let id = trunk.map_or(application.id.as_str(), |one| one.id.as_str());
    let mut found = None;
    store.mentions(of.key, of.version, &serde_json::Value::from(id).to_string(), &mut |entry, entities| {
        let changed = entities.iter().any(|entity| match (entity, trunk) {
            (EntityChange::Application(edit), None) => {
                edit.after.id.as_str() == id
                    && edit.before.as_ref().is_none_or(|before| before.destinations != edit.after.destinations)
            }
            (EntityChange::Trunk(edit), Some(_)) => {
                edit.after.id.as_str() == id
                    && edit.before.as_ref().is_none_or(|before| before.destinations != edit.after.destinations)
            }
            _ => false,
        });
        if changed {
            found = Some((entry.at, entry.actor));
        }
        changed
    })?;
    Ok(found)
}

impl Service {
    /// The same for a process without an index, now or at a moment of the past.
    pub fn explain_route(
        &self,
        settings: &RoutingSettings,
        partner: &PartnerId,
        number: E164,
        as_of: Option<Time>,
    ) -> Result<(Snapshot, Option<Explained>), ServiceError> {
        let mut of = self.snapshot(partner, true)?;
        if let Some(time) = as_of {
            past::check(time).map_err(|error| ServiceError::Invalid(vec![error]))?;
            let version = self.store().version_at(of.key, time)?;
            if version == 0 {
                return Ok((of, None));
            }
            of = past::back(&**self.store(), Arc::new(of), version, &AtomicBool::new(true))?;
        }
        let mut past = self.store().history(of.key, number)?;
        past.retain(|past| past.version <= of.version);
        let now = as_of.unwrap_or_else(Time::now);
        let found = explained(settings, &of, number, now, &past, true);
        let found = with_author(&**self.store(), &of, now, found)?;
        Ok((of, found))
    }

    /// Refuses destinations that may not be named.
    pub(in crate::service) fn check_destinations(
        &self,
        before: &Destinations,
        after: &Destinations,
    ) -> Result<(), ServiceError> {
        self.destinations.check_all(before, after).map_err(ServiceError::Invalid)
    }
}
