//! On which day each number was last called, of one partner.
//!
//! A call leaves its number in one of a few small maps; now and then these are
//! emptied into sets, one for each day, and the sets into documents. All
//! snapshots of a partner share one `CalledNumbers`, for a call is no change.
//!
//! Invariants: a number is in the set of one day at most, the last on which it
//! was called; nothing is kept for a number that nobody calls; days end at
//! 00:00 UTC.
//! Deliberately absent: documents (`service::replica::called`), the clock.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::set::{Set, SetEdit};
use crate::domain::field::code;
use crate::domain::time::BadTime;
use crate::domain::{E164, FieldError, Time};

const DAY_SECONDS: i64 = 86_400;
/// How many days are remembered.
pub const DAYS_KEPT: u32 = 90;
/// For how many days a node that fell silent may still be answering calls.
const SILENT_DAYS_MAX: u32 = 7;
/// Calls of different numbers seldom meet in one map.
const MAPS: usize = 16;

/// A day, counted from 1 January 1970 in UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CalledDay(pub u32);

impl CalledDay {
    pub fn of(time: Time) -> CalledDay {
        CalledDay(u32::try_from(time.seconds().div_euclid(DAY_SECONDS)).unwrap_or_default())
    }

    /// Its first moment.
    pub fn begin(self) -> Time {
        Time::new(i64::from(self.0) * DAY_SECONDS).unwrap_or_else(|| Time::new(0).expect("the epoch"))
    }

    /// The day that many days before.
    pub fn before(self, days: u32) -> CalledDay {
        CalledDay(self.0.saturating_sub(days))
    }
}

/// `2026-11-29`
impl fmt::Display for CalledDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.begin().to_string().get(..10).unwrap_or_default())
    }
}

/// A node that records calls.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Recorder {
    /// When it last stored what it had recorded.
    pub stored: Time,
    /// Whether it ended in order, with everything stored.
    pub ended: bool,
}

/// Since when calls are recorded without a gap, and by which nodes.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Recording {
    pub since: Option<Time>,
    pub nodes: BTreeMap<String, Recorder>,
}

impl Recording {
    /// A node has stored its calls. A node that comes back after more than a
    /// day may have answered calls that it could not store, unless it had ended
    /// in order; and where no node stored anything for a day, nothing is known
    /// of that day. Both begin the recording anew.
    pub fn stored(&mut self, node: &str, now: Time, ended: bool) {
        let late = |recorder: &Recorder| recorder.stored.plus(DAY_SECONDS) < now;
        let gap = self.nodes.get(node).is_some_and(|own| late(own) && !own.ended);
        if gap || self.nodes.values().all(late) || self.since.is_none() {
            self.since = Some(now);
        }
        self.nodes.insert(node.to_owned(), Recorder { stored: now, ended });
        let forgotten = now.plus(-DAY_SECONDS * i64::from(SILENT_DAYS_MAX));
        self.nodes.retain(|_, recorder| recorder.stored >= forgotten);
    }

    /// Whether all nodes have recorded so many whole days before today.
    pub fn records(&self, now: Time, days: u32) -> bool {
        days > 0 && self.whole_days(now) >= days
    }

    /// How many whole days before today all nodes have recorded.
    pub fn whole_days(&self, now: Time) -> u32 {
        let Some(since) = self.since else { return 0 };
        let late = |recorder: &Recorder| recorder.stored.plus(DAY_SECONDS) < now;
        let lost = |recorder: &Recorder| late(recorder) && !recorder.ended;
        if self.nodes.values().all(late) || self.nodes.values().any(lost) {
            return 0;
        }
        let first = CalledDay::of(since.plus(DAY_SECONDS - 1));
        CalledDay::of(now).0.saturating_sub(first.0)
    }
}

#[derive(Default)]
struct Days {
    by_day: BTreeMap<CalledDay, Set>,
    /// What is in no document yet.
    unsaved: BTreeMap<CalledDay, Set>,
    recording: Recording,
    /// Counts what changed, for readers that remember an answer.
    revision: u64,
}

/// The called numbers of one partner.
pub struct CalledNumbers {
    /// The calls since the last look.
    fresh: [Mutex<HashMap<u64, CalledDay>>; MAPS],
    hasher: RandomState,
    days: RwLock<Days>,
    /// The tag of a revision.
    tag: Mutex<Option<(u64, u32)>>,
}

impl Default for CalledNumbers {
    fn default() -> CalledNumbers {
        CalledNumbers {
            fresh: Default::default(),
            hasher: RandomState::new(),
            days: RwLock::default(),
            tag: Mutex::default(),
        }
    }
}

impl CalledNumbers {
    fn map(&self, number: u64) -> &Mutex<HashMap<u64, CalledDay>> {
        &self.fresh[self.hasher.hash_one(number) as usize % MAPS]
    }

    /// Records a call. Takes memory only for a number that was not called since
    /// the last look.
    pub fn record(&self, number: E164, now: Time) {
        let number = number.digits();
        self.map(number).lock().insert(number, CalledDay::of(now));
    }

    /// The day on which a number was last called.
    pub fn last(&self, number: E164) -> Option<CalledDay> {
        let number = number.digits();
        let fresh = self.map(number).lock().get(&number).copied();
        fresh.or_else(|| {
            let days = self.days.read();
            days.by_day.iter().rev().find(|(_, set)| set.contains(number)).map(|(day, _)| *day)
        })
    }

    /// Moves the latest calls into the sets of their days.
    fn look(&self) {
        let mut days = self.days.write();
        let mut calls: BTreeMap<CalledDay, Vec<u64>> = BTreeMap::new();
        for map in &self.fresh {
            let taken = std::mem::take(&mut *map.lock());
            taken.into_iter().for_each(|(number, day)| calls.entry(day).or_default().push(number));
        }
        for (day, mut numbers) in calls {
            numbers.sort_unstable();
            let added = days.add(day, numbers);
            let unsaved = days.unsaved.entry(day).or_default();
            *unsaved = with(unsaved, &added);
        }
        days.unsaved.retain(|_, set| !set.is_empty());
    }

    /// What is in no document yet, by day.
    pub fn unsaved(&self) -> BTreeMap<CalledDay, Set> {
        self.look();
        self.days.read().unsaved.clone()
    }

    /// These numbers are in the document of their day.
    pub fn saved(&self, day: CalledDay, set: &Set) {
        let mut days = self.days.write();
        if let Some(unsaved) = days.unsaved.get_mut(&day) {
            let here = numbers(set).filter(|&number| unsaved.contains(number));
            *unsaved = unsaved.edited(&here.map(|number| SetEdit::of(number, false)).collect::<Vec<_>>());
        }
        days.unsaved.retain(|_, set| !set.is_empty());
    }

    /// Takes in what a document says of a day.
    pub fn merge(&self, day: CalledDay, numbers: Vec<u64>) {
        self.days.write().add(day, numbers);
    }

    pub fn set_recording(&self, recording: Recording) {
        let mut days = self.days.write();
        if days.recording != recording {
            days.recording = recording;
            days.revision += 1;
        }
    }

    pub fn recording(&self) -> Recording {
        self.days.read().recording.clone()
    }

    /// Forgets the days before one.
    pub fn forget_before(&self, first: CalledDay) {
        let mut days = self.days.write();
        days.unsaved.retain(|day, _| *day >= first);
        let known = days.by_day.len();
        days.by_day.retain(|day, _| *day >= first);
        days.revision += u64::from(days.by_day.len() != known);
    }

    /// How many numbers were called at all.
    pub fn len(&self) -> usize {
        self.days.read().by_day.values().map(Set::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Differs whenever what is known of calls does, on any node.
    pub fn tag(&self) -> u32 {
        self.look();
        let days = self.days.read();
        let mut kept = self.tag.lock();
        if let Some((_, tag)) = kept.filter(|(revision, _)| *revision == days.revision) {
            return tag;
        }
        let mut hash = crc32fast::Hasher::new();
        for (day, set) in &days.by_day {
            hash.update(&day.0.to_le_bytes());
            numbers(set).for_each(|number| hash.update(&number.to_le_bytes()));
        }
        let tag = hash.finalize();
        *kept = Some((days.revision, tag));
        tag
    }

    /// Those of `all` that a filter asks for.
    pub(super) fn matching(&self, all: &Set, asked: CalledBefore) -> Set {
        self.look();
        let days = self.days.read();
        let before = |day: &CalledDay| asked.before.is_some_and(|time| day.begin() < time);
        let mut edits: Vec<SetEdit> = Vec::new();
        let here = |set: &Set, present: bool, edits: &mut Vec<SetEdit>| {
            edits
                .extend(numbers(set).filter(|&number| all.contains(number)).map(|number| SetEdit::of(number, present)));
        };
        if asked.never {
            let later = days.by_day.iter().filter(|(day, _)| !before(day));
            later.for_each(|(_, set)| here(set, false, &mut edits));
            edits.sort_unstable_by_key(|edit| edit.first);
            return all.edited(&edits);
        }
        let earlier = days.by_day.iter().filter(|(day, _)| before(day));
        earlier.for_each(|(_, set)| here(set, true, &mut edits));
        edits.sort_unstable_by_key(|edit| edit.first);
        Set::default().edited(&edits)
    }
}

impl Days {
    /// Adds numbers, ascending, to a day. Returns those that were not called
    /// on it or later before.
    fn add(&mut self, day: CalledDay, mut added: Vec<u64>) -> Vec<u64> {
        added.dedup();
        added.retain(|&number| !self.by_day.range(day..).any(|(_, set)| set.contains(number)));
        if added.is_empty() {
            return added;
        }
        for (_, set) in self.by_day.range_mut(..day) {
            let here = added.iter().filter(|&&number| set.contains(number));
            let edits: Vec<SetEdit> = here.map(|&number| SetEdit::of(number, false)).collect();
            if !edits.is_empty() {
                *set = set.edited(&edits);
            }
        }
        let set = self.by_day.entry(day).or_default();
        *set = with(set, &added);
        self.by_day.retain(|_, set| !set.is_empty());
        self.revision += 1;
        added
    }
}

/// A set with numbers that ascend.
fn with(set: &Set, added: &[u64]) -> Set {
    let edits: Vec<SetEdit> = added.iter().map(|&number| SetEdit::of(number, true)).collect();
    set.edited(&edits)
}

/// The numbers of a set, ascending.
fn numbers(set: &Set) -> impl Iterator<Item = u64> + '_ {
    set.groups().flat_map(|(group, members)| {
        let mut found = Vec::with_capacity(members.count());
        members.for_each(|ending| found.push(group * super::sieve::ENDINGS as u64 + u64::from(ending)));
        found
    })
}

/// A set as text: for each run of neighbours the distance from the end of the
/// run before, and `+` with how many more there are.
pub fn written(set: &Set) -> String {
    use fmt::Write;
    let mut text = String::new();
    let mut write = |from: u64, to: u64, end: u64| {
        let comma = if text.is_empty() { "" } else { "," };
        // A `String` takes whatever is written to it.
        let _ = match to - from {
            0 => write!(text, "{comma}{}", from - end),
            more => write!(text, "{comma}{}+{more}", from - end),
        };
    };
    let mut run: Option<(u64, u64)> = None;
    let mut end = 0;
    for number in numbers(set) {
        match run {
            Some((from, to)) if number == to + 1 => run = Some((from, number)),
            Some((from, to)) => {
                write(from, to, end);
                end = to;
                run = Some((number, number));
            }
            None => run = Some((number, number)),
        }
    }
    if let Some((from, to)) = run {
        write(from, to, end);
    }
    text
}

/// Reads what [`written`] wrote; `None` if it is something else.
pub fn read(text: &str) -> Option<Vec<u64>> {
    let mut numbers = Vec::new();
    let mut end = 0_u64;
    for run in text.split(',').filter(|run| !run.is_empty()) {
        let (distance, more) = run.split_once('+').unwrap_or((run, "0"));
        let from = end.checked_add(distance.parse().ok()?)?;
        let to = from.checked_add(more.parse().ok().filter(|&more: &u64| more < 100_000_000)?)?;
        let ascends = numbers.last().is_none_or(|&last| last < from);
        if !ascends || E164::new(from).is_none() || E164::new(to).is_none() {
            return None;
        }
        numbers.extend(from..=to);
        end = to;
    }
    Some(numbers)
}

/// Which numbers `called_before` lets through.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CalledBefore {
    /// Last called on a day that began earlier.
    pub before: Option<Time>,
    /// Not called in the days that are remembered.
    pub never: bool,
}

impl CalledBefore {
    /// Reads a time, `never`, or both divided by a comma.
    pub fn parse(name: &str, text: &str) -> Result<CalledBefore, FieldError> {
        let mut asked = CalledBefore::default();
        for word in text.split(',') {
            let repeated = match word {
                "never" => std::mem::replace(&mut asked.never, true),
                time => {
                    let time = Time::upper_bound(time).map_err(|error| {
                        let message = match error {
                            BadTime::Never => error.to_string(),
                            error => format!("{error}, or never, or both divided by a comma"),
                        };
                        FieldError::new(name, code::INVALID, message, text)
                    })?;
                    asked.before.replace(time).is_some()
                }
            };
            if repeated {
                return Err(FieldError::new(name, code::REPEATED, "has a time, and never, at most once each", text));
            }
        }
        Ok(asked)
    }

    pub(super) fn lets(self, last: Option<CalledDay>) -> bool {
        match last {
            Some(day) => self.before.is_some_and(|time| day.begin() < time),
            None => self.never,
        }
    }
}

/// The answer to a filter, found once for all pages of a walk.
#[derive(Clone, Default)]
pub struct FoundOnce(std::sync::OnceLock<Arc<Set>>);

impl fmt::Debug for FoundOnce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FoundOnce")
    }
}

/// What a filter has found makes it no other filter.
impl PartialEq for FoundOnce {
    fn eq(&self, _: &FoundOnce) -> bool {
        true
    }
}

impl FoundOnce {
    pub(super) fn get(&self, find: impl FnOnce() -> Set) -> Arc<Set> {
        self.0.get_or_init(|| Arc::new(find())).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(digits: u64) -> E164 {
        E164::new(digits).expect("a number")
    }

    fn at(text: &str) -> Time {
        text.parse().expect("a time")
    }

    #[test]
    fn a_number_is_in_the_set_of_its_last_day() {
        let called = CalledNumbers::default();
        let (first, second) = (912_271_264_217, 912_271_264_218);
        called.record(number(first), at("2026-11-28T23:59:59Z"));
        called.record(number(second), at("2026-11-28T10:00:00Z"));
        assert_eq!(called.unsaved().len(), 1);
        called.record(number(first), at("2026-11-29T00:00:00Z"));
        assert_eq!(called.last(number(first)).map(|day| day.to_string()).as_deref(), Some("2026-11-29"));
        let unsaved = called.unsaved();
        assert_eq!(unsaved.values().map(Set::len).sum::<usize>(), 3, "each day has its own document");
        assert_eq!(called.len(), 2);
        // What another node tells of an earlier day changes nothing.
        called.merge(CalledDay::of(at("2026-11-27T00:00:00Z")), vec![first, second, second + 1]);
        assert_eq!(called.len(), 3);
        assert_eq!(called.last(number(second)).map(|day| day.to_string()).as_deref(), Some("2026-11-28"));
        for (day, set) in &unsaved {
            called.saved(*day, set);
        }
        assert!(called.unsaved().is_empty());

        let all = Set::of([first, second, second + 1, second + 2]);
        let found = |text: &str| {
            let set = called.matching(&all, CalledBefore::parse("called_before", text).expect("usable"));
            numbers(&set).collect::<Vec<u64>>()
        };
        assert_eq!(found("2026-11-29T00:00:00Z"), [second, second + 1]);
        assert_eq!(found("2026-11-28T00:00:01Z"), [second, second + 1]);
        assert_eq!(found("2026-11-28T00:00:00Z"), [second + 1]);
        assert_eq!(found("never"), [second + 2]);
        assert_eq!(found("2026-11-28T00:00:00Z,never"), [second + 1, second + 2]);
        called.forget_before(CalledDay::of(at("2026-11-28T00:00:00Z")));
        assert_eq!(found("never"), [second + 1, second + 2]);
    }

    #[test]
    fn what_called_before_can_be() {
        let day = CalledDay::of(at("2026-11-28T12:00:00Z"));
        for (text, lets) in [("2026-11-28T00:00:00Z", false), ("2026-11-28T00:00:00.5Z", true)] {
            let asked = CalledBefore::parse("called_before", text).expect("usable");
            assert_eq!(asked.lets(Some(day)), lets, "{text}");
        }
        for text in ["soon", "2026-11-28", "never,never", "2026-11-28T00:00:00Z,2026-11-29T00:00:00Z", "never,", ","] {
            assert!(CalledBefore::parse("called_before", text).is_err(), "{text}");
        }
    }

    #[test]
    fn sets_are_written_and_read() {
        for list in [&[][..], &[10_000_000], &[10_000_000, 10_000_001, 10_000_002, 10_000_009, 999_999_999_999_999]] {
            let text = written(&Set::of(list.iter().copied()));
            assert_eq!(read(&text).as_deref(), Some(list), "{text}");
        }
        assert_eq!(written(&Set::of([10_000_000, 10_000_001, 10_000_005])), "10000000+1,4");
        for text in ["x", "1", "10000000,0", "10000000+99999999999", "-5", "999999999999999,1"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn days_count_once_every_node_has_recorded_them() {
        let mut recording = Recording::default();
        let day = |day: i64| at("2026-06-01T12:00:00Z").plus(day * 86_400);
        recording.stored("a", day(0), false);
        assert_eq!(recording.whole_days(day(0)), 0);
        for past in 1..=10 {
            recording.stored("a", day(past), false);
        }
        assert_eq!(recording.whole_days(day(10)), 9, "the first day was not whole");
        // A second node comes: it answered nothing before.
        recording.stored("b", day(10), false);
        recording.stored("a", day(11), false);
        assert_eq!(recording.whole_days(day(11)), 10);
        // The second falls silent without having ended: it may answer calls.
        recording.stored("a", day(12), false);
        assert_eq!(recording.whole_days(day(12)), 0);
        recording.stored("b", day(12), true);
        assert_eq!(recording.whole_days(day(12)), 0, "what it recorded between may be lost");
        for past in 13..=15 {
            recording.stored("a", day(past), false);
        }
        assert_eq!(recording.whole_days(day(15)), 2, "the second ended in order");
        // Nobody records for two days.
        assert_eq!(recording.whole_days(day(17)), 0);
        recording.stored("a", day(17), false);
        assert_eq!(recording.whole_days(day(17)), 0);
    }
}
