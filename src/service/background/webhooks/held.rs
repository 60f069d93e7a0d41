//! Events that a webhook in order by number holds back: those that its receiver
//! refused, and those that must not overtake them.
//!
//! What an event touches is its [`EventScope`]. An event is held back while one
//! before it is held back that touches a number or an entity of its own, so a
//! refused event causes head-of-line blocking for its numbers alone.
//! Invariants: held events are in the order of sending; no event is sent while
//! one before it that it must not overtake is held; a scope that had to be cut
//! covers more than the event touches, never less.
//! Deliberately absent: sending, and what follows from an answer (`deliver`).

use std::collections::BTreeSet;

use super::RETRIES;
use super::ServiceError;
use crate::domain::{EntityChange, NumberChange, Time};
use crate::store::{Document, SideWrites};

/// The kind of the documents, one a webhook that holds events back.
pub(super) const HELD: &str = "webhook_held";
/// How many events of a webhook are held back, and how many of them because
/// they were refused. At either, what is new waits in the log.
pub const HELD_MAX: usize = 1_000;
pub const REFUSED_MAX: usize = 100;
/// How many ranges of numbers, and how many entities, a scope names.
const NAMED_MAX: usize = 16;

/// Some entities.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
enum EntityNames {
    Some(BTreeSet<String>),
    /// Perhaps all there are.
    Any(bool),
}

impl Default for EntityNames {
    fn default() -> EntityNames {
        EntityNames::Some(BTreeSet::new())
    }
}

impl EntityNames {
    fn is_empty(&self) -> bool {
        matches!(self, EntityNames::Some(names) if names.is_empty())
    }

    fn add(&mut self, kind: char, id: &str) {
        if let EntityNames::Some(names) = self {
            names.insert(format!("{kind}:{id}"));
            if names.len() > NAMED_MAX {
                *self = EntityNames::Any(true);
            }
        }
    }

    fn meets(&self, other: &EntityNames) -> bool {
        match (self, other) {
            (EntityNames::Some(a), EntityNames::Some(b)) => !a.is_disjoint(b),
            (EntityNames::Any(_), other) | (other, EntityNames::Any(_)) => !other.is_empty(),
        }
    }
}

/// What an event touches.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct EventScope {
    /// First and last, in order and apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    numbers: Vec<(u64, u64)>,
    /// Entities that it changes.
    #[serde(default, skip_serializing_if = "EntityNames::is_empty")]
    changes: EntityNames,
    /// Accounts, applications and trunks that its numbers had or have.
    #[serde(default, skip_serializing_if = "EntityNames::is_empty")]
    of: EntityNames,
}

impl EventScope {
    /// Of a change with all of its numbers.
    pub fn of(entities: &[EntityChange], numbers: &[NumberChange]) -> EventScope {
        let mut scope = EventScope::of_entities(entities);
        for NumberChange { number, before, after } in numbers {
            let digits = number.digits();
            match scope.numbers.last_mut() {
                Some((_, last)) if *last + 1 == digits => *last = digits,
                Some(_) | None => scope.numbers.push((digits, digits)),
            }
            for record in before.iter().chain(after) {
                record.account.iter().for_each(|id| scope.of.add('a', id.as_str()));
                record.application.iter().for_each(|id| scope.of.add('p', id.as_str()));
                record.trunk.iter().for_each(|id| scope.of.add('t', id.as_str()));
            }
        }
        scope.cut();
        scope
    }

    /// Of a change with too many numbers to go through: all between two.
    pub fn between(entities: &[EntityChange], first: u64, last: u64) -> EventScope {
        EventScope { numbers: vec![(first, last)], of: EntityNames::Any(true), ..EventScope::of_entities(entities) }
    }

    fn of_entities(entities: &[EntityChange]) -> EventScope {
        let mut scope = EventScope::default();
        for entity in entities {
            match entity {
                EntityChange::Account(edit) => scope.changes.add('a', edit.after.auth_id.as_str()),
                EntityChange::Application(edit) => scope.changes.add('p', edit.after.id.as_str()),
                EntityChange::Trunk(edit) => scope.changes.add('t', edit.after.id.as_str()),
                EntityChange::Partner(_)
                | EntityChange::Key(_)
                | EntityChange::Acknowledgement(_)
                | EntityChange::Setting(_) => scope.changes.add('o', ""),
            }
        }
        scope
    }

    /// Joins the nearest ranges until there are few enough.
    fn cut(&mut self) {
        while self.numbers.len() > NAMED_MAX {
            let gaps = self.numbers.windows(2).map(|two| two[1].0 - two[0].1);
            let Some((at, _)) = gaps.enumerate().min_by_key(|(_, gap)| *gap) else { return };
            self.numbers[at].1 = self.numbers[at + 1].1;
            self.numbers.remove(at + 1);
        }
    }

    /// Whether the later of two events must not overtake the earlier one.
    pub fn meets(&self, other: &EventScope) -> bool {
        let overlap = |a: &(u64, u64)| other.numbers.iter().any(|b| a.0 <= b.1 && b.0 <= a.1);
        self.numbers.iter().any(overlap)
            || (!self.changes.is_empty() && !other.changes.is_empty())
            || self.changes.meets(&other.of)
            || self.of.meets(&other.changes)
    }
}

/// An event that was refused, and is tried again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct Tried {
    /// How many of its retries there were.
    pub step: usize,
    pub due: Time,
    /// When it was first refused.
    pub since: Time,
}

#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct HeldEvent {
    /// The id of its delivery.
    pub place: String,
    pub scope: EventScope,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried: Option<Tried>,
}

/// The events that a webhook holds back.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub(super) struct HeldEvents(Vec<HeldEvent>);

impl HeldEvents {
    pub fn read(document: &Document) -> Result<HeldEvents, ServiceError> {
        Ok(document.read("the held events of webhook")?)
    }

    pub fn in_transaction(transaction: &mut dyn SideWrites, id: &str) -> Result<HeldEvents, ServiceError> {
        let document = transaction.document(HELD, id)?;
        document.map_or_else(|| Ok(HeldEvents::default()), |document| HeldEvents::read(&document))
    }

    pub fn put(&self, transaction: &mut dyn SideWrites, id: &str) -> Result<(), ServiceError> {
        if self.0.is_empty() {
            return Ok(transaction.drop_document(HELD, id)?);
        }
        Ok(transaction.put_document(HELD, &Document::of(id, None, self))?)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn get(&self, place: &str) -> Option<&HeldEvent> {
        self.0.iter().find(|held| held.place == place)
    }

    /// Whether nothing more can be held back.
    pub fn full(&self) -> bool {
        self.0.len() >= HELD_MAX || self.refused().count() >= REFUSED_MAX
    }

    /// Whether an event that comes after all of these must wait for one.
    pub fn blocks(&self, scope: &EventScope) -> bool {
        self.0.iter().any(|held| held.scope.meets(scope))
    }

    /// In its place, which is the last one but for what is newer.
    pub fn hold(&mut self, event: HeldEvent) {
        let at = self.0.partition_point(|held| held.place < event.place);
        self.0.insert(at, event);
    }

    pub fn release(&mut self, place: &str) {
        self.0.retain(|held| held.place != place);
    }

    /// The event was refused again.
    pub fn retry(&mut self, place: &str, tried: Tried) {
        if let Some(held) = self.0.iter_mut().find(|held| held.place == place) {
            held.tried = Some(tried);
        }
    }

    /// The events that were refused, and block what is behind them.
    pub fn refused(&self) -> impl Iterator<Item = (&HeldEvent, Tried)> {
        self.0.iter().filter_map(|held| Some((held, held.tried?)))
    }

    /// The events that wait for no other, each with the time from which it may
    /// be sent: `None` is at once.
    fn free(&self) -> impl Iterator<Item = (&HeldEvent, Option<Time>)> {
        let waits = |at: usize| self.0[..at].iter().any(|earlier| earlier.scope.meets(&self.0[at].scope));
        // A refused event did not wait, so it still does not.
        let free = move |at: usize| self.0[at].tried.is_some() || !waits(at);
        (0..self.0.len()).filter(move |&at| free(at)).map(|at| (&self.0[at], self.0[at].tried.map(|tried| tried.due)))
    }

    /// The event to be sent at `now`: one that was never sent, or the one that
    /// was to be sent again the longest ago.
    pub fn ready(&self, now: Time) -> Option<&HeldEvent> {
        let due = self.free().filter(|(_, due)| due.is_none_or(|due| due <= now));
        due.min_by_key(|(_, due)| *due).map(|(held, _)| held)
    }

    /// When the next one is to be sent, if there is one.
    pub fn due(&self, now: Time) -> Option<Time> {
        self.free().map(|(_, due)| due.unwrap_or(now)).min()
    }

    /// All refused events are tried at once, and by the whole table again.
    pub fn kick(&mut self, now: Time) {
        self.0.iter_mut().filter_map(|held| held.tried.as_mut()).for_each(|tried| (tried.due, tried.step) = (now, 0));
    }

    /// The receiver took an event, as it did last at `before`: those that were
    /// refused since, and wait longer than the first time, are tried at once.
    pub fn back(&mut self, before: Option<Time>, now: Time) {
        let outage = |tried: &&mut Tried| tried.step > 1 && before.is_none_or(|before| before < tried.since);
        self.0.iter_mut().filter_map(|held| held.tried.as_mut()).filter(outage).for_each(|tried| tried.due = now);
    }
}

impl Tried {
    /// After another refusal at `now`; `None` if the event is given up. It is
    /// not while the receiver takes nothing else: then it is not the event.
    pub fn again(before: Option<Tried>, last_success: Option<Time>, now: Time, end: Time) -> Option<Tried> {
        let (step, since) = before.map_or((0, now), |tried| (tried.step, tried.since));
        let taken = last_success.is_some_and(|success| success > since);
        let wait = match RETRIES.get(step) {
            Some(wait) => *wait,
            None if taken => return None,
            None => RETRIES[RETRIES.len() - 1],
        };
        Some(Tried { step: (step + 1).min(RETRIES.len()), due: now.plus(wait).min(end), since })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::E164;

    const NOW: i64 = 2_000_000_000;

    fn time(seconds: i64) -> Time {
        Time::new(NOW + seconds).expect("a time")
    }

    fn numbers(all: &[u64]) -> EventScope {
        let change =
            |&digits: &u64| NumberChange { number: E164::new(digits).expect("a number"), before: None, after: None };
        EventScope::of(&[], &all.iter().map(change).collect::<Vec<_>>())
    }

    fn named(changes: &[&str], of: &[&str]) -> EventScope {
        let names = |list: &[&str]| {
            let mut names = EntityNames::default();
            list.iter().for_each(|id| names.add('a', id));
            names
        };
        EventScope { numbers: Vec::new(), changes: names(changes), of: names(of) }
    }

    #[test]
    fn events_wait_for_those_that_touch_the_same() {
        const A: u64 = 4_930_000_001;
        for (one, other, expected) in [
            (numbers(&[A]), numbers(&[A]), true),
            (numbers(&[A]), numbers(&[A + 1]), false),
            (numbers(&[A, A + 1, A + 2]), numbers(&[A + 1]), true),
            (numbers(&[A, A + 2]), numbers(&[A + 1]), false),
            (numbers(&[]), numbers(&[A]), false),
            (EventScope::between(&[], A, A + 100), numbers(&[A + 50]), true),
            (EventScope::between(&[], A, A + 100), numbers(&[A + 101]), false),
            // Entities wait for each other, and for numbers of theirs.
            (named(&["X"], &[]), named(&["Y"], &[]), true),
            (named(&["X"], &[]), named(&[], &["X"]), true),
            (named(&["X"], &[]), named(&[], &["Y"]), false),
            (named(&[], &["X"]), named(&[], &["X"]), false),
            (EventScope::between(&[], A, A), named(&["X"], &[]), true),
            (EventScope::default(), named(&["X"], &["Y"]), false),
        ] {
            assert_eq!(one.meets(&other), expected, "{one:?} {other:?}");
            assert_eq!(other.meets(&one), expected, "{other:?} {one:?}");
        }
    }

    #[test]
    fn a_scope_that_is_cut_covers_all_that_it_covered() {
        let all: Vec<u64> = (0..200).map(|at| 4_930_000_000 + at * at).collect();
        let scope = numbers(&all);
        assert!(scope.numbers.len() <= NAMED_MAX);
        assert!(all.iter().all(|&number| scope.meets(&numbers(&[number]))));
        assert!(
            !scope.meets(&numbers(&[4_930_000_000 - 1])) && !scope.meets(&numbers(&[4_930_000_000 + 199 * 199 + 1]))
        );
        let many: Vec<String> = (0..100).map(|at| at.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(named(&[], &many).meets(&named(&["another"], &[])));
    }

    #[test]
    fn the_next_event_is_one_that_overtakes_nothing() {
        let event = |place: &str, numbers_of: &[u64], tried: Option<i64>| HeldEvent {
            place: place.to_owned(),
            scope: numbers(numbers_of),
            tried: tried.map(|due| Tried { step: 1, due: time(due), since: time(0) }),
        };
        const A: u64 = 4_930_000_001;
        let mut held = HeldEvents::default();
        held.hold(event("dl_1", &[A], Some(5)));
        held.hold(event("dl_3", &[A, A + 1], None));
        held.hold(event("dl_4", &[A + 1], None));
        held.hold(event("dl_2", &[A + 7], Some(300)));
        let order: Vec<&str> = held.0.iter().map(|held| &*held.place).collect();
        assert_eq!(order, ["dl_1", "dl_2", "dl_3", "dl_4"]);
        let ready = |held: &HeldEvents, at: i64| held.ready(time(at)).map(|held| held.place.clone());
        assert_eq!(ready(&held, 4), None);
        assert_eq!(held.due(time(4)), Some(time(5)));
        assert_eq!(ready(&held, 5).as_deref(), Some("dl_1"));
        held.release("dl_1");
        assert_eq!(ready(&held, 5).as_deref(), Some("dl_3"));
        held.release("dl_3");
        assert_eq!(ready(&held, 5).as_deref(), Some("dl_4"));
        held.release("dl_4");
        assert_eq!((ready(&held, 5), held.due(time(5))), (None, Some(time(300))));
        // Once the receiver is back, what it refused all the while is tried.
        held.retry("dl_2", Tried { step: 2, due: time(300), since: time(0) });
        held.back(Some(time(1)), time(9));
        assert_eq!(held.due(time(9)), Some(time(300)), "it took others meanwhile");
        held.back(Some(time(-1)), time(9));
        assert_eq!(ready(&held, 9).as_deref(), Some("dl_2"));
        let body = serde_json::to_string(&held).expect("it serialises");
        assert_eq!(serde_json::from_str::<HeldEvents>(&body).expect("it is read"), held);
    }

    #[test]
    fn an_event_is_given_up_only_while_others_are_taken() {
        let end = time(1_000_000);
        let first = Tried::again(None, None, time(0), end).expect("a retry");
        assert_eq!((first.step, first.due, first.since), (1, time(RETRIES[0]), time(0)));
        let last = Tried { step: RETRIES.len(), ..first };
        assert_eq!(Tried::again(Some(last), Some(time(1)), time(9), end), None);
        let outage = Tried::again(Some(last), Some(time(-1)), time(9), end).expect("another retry");
        assert_eq!((outage.step, outage.due), (RETRIES.len(), time(9 + RETRIES[RETRIES.len() - 1])));
    }
}
