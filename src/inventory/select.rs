//! The query planner: chooses the cheapest structure for a query, and cuts one
//! page out of the result.
//!
//! - No filter: the rows know their ranks.
//! - A search, an account, an application, a tag: sets of numbers, intersected
//!   group by group, counted without being written out. Digits anywhere in
//!   scattered numbers are looked up in the lists of a set, segment by segment.
//! - A number's beginning: ranges of the rows, or of one set, by their ranks.
//! - Anything else: leaf by leaf, by the profiles that a leaf counts; single rows
//!   are read only where a date decides.
//! - Both: the sets first, then the rows of their matches, or the leaves alone
//!   where the sets are larger.
//!
//! All of them return matching numbers in batches (a group, a leaf) with an exact
//! count, and a batch is written out only where the page cuts it. A sort by
//! another key than the number keeps the first rows so far, and skips leaves that
//! have no earlier ones.

use std::ops::Range;
use std::sync::Arc;

use super::filter::stage;
use super::pattern::{DigitPattern, Hit};
use super::rows::{Leaf, LeafDates, NEVER, PackedColumn, Profile, Seeker};
use super::set::{GroupMembers, MADE_AT_ONCE, Segment, Set, SetGroups, SetPart, SolidSearch};
use super::sieve::{ENDINGS, Sieve};
use super::table::Index;
use super::{Filter, Order, Pattern, Selection, Snapshot, SortKey, Window};
use crate::domain::{E164, Money, State, Status, Time};

/// Matching numbers of one group or leaf.
struct MatchBatch<'a> {
    first: u64,
    last: u64,
    count: usize,
    /// Writes them out, ascending: so many at least, if there are.
    list: &'a mut dyn FnMut(usize, &mut Vec<u64>),
}

/// What takes batches.
trait TakeBatches {
    /// `false` ends the walk.
    fn take(&mut self, batch: MatchBatch<'_>) -> bool;

    /// Takes so many numbers that lie from `first` to `last`, if it needs to know no
    /// more of them; else it wants their batches.
    fn count(&mut self, first: u64, last: u64, count: usize) -> bool {
        let _ = (first, last, count);
        false
    }
}

type TakeBatch<'t> = dyn TakeBatches + 't;

/// Wants every batch.
struct EachBatch<F>(F);

impl<F: FnMut(MatchBatch<'_>) -> bool> TakeBatches for EachBatch<F> {
    fn take(&mut self, batch: MatchBatch<'_>) -> bool {
        (self.0)(batch)
    }
}

/// A filter with its names looked up.
struct ResolvedFilter<'a, 'f> {
    snapshot: &'a Snapshot,
    filter: &'f Filter,
    now: Time,
    account: Option<Index>,
    application: Option<Index>,
    trunk: Option<Index>,
    /// One for each name of the wanted place that a number has.
    regions: Option<Vec<Index>>,
    /// The numbers that have the wanted tag.
    tagged: Option<Arc<Set>>,
    /// The numbers that were last called when the filter says.
    called: Option<Arc<Set>>,
    /// The numbers that the filter lists, whether the inventory has them or not.
    listed: Option<Set>,
    digits: Option<DigitPattern>,
}

impl<'a, 'f> ResolvedFilter<'a, 'f> {
    /// `None` when nothing can match.
    fn new(snapshot: &'a Snapshot, filter: &'f Filter, now: Time) -> Option<ResolvedFilter<'a, 'f>> {
        fn look_up(name: &Option<Box<str>>, find: impl Fn(&str) -> Option<Index>) -> Option<Option<Index>> {
            match name {
                Some(name) => find(name).map(Some),
                None => Some(None),
            }
        }
        Some(ResolvedFilter {
            snapshot,
            filter,
            now,
            account: look_up(&filter.account, |id| snapshot.accounts.find(id))?,
            application: look_up(&filter.application, |id| snapshot.applications.find(id))?,
            trunk: look_up(&filter.trunk, |id| snapshot.trunks.find(id))?,
            regions: filter.region.as_deref().map(|name| snapshot.regions_of(name)),
            tagged: match &filter.tag {
                Some(tag) => Some(snapshot.by_tag.get(&**tag)?.numbers()),
                None => None,
            },
            called: filter
                .called
                .map(|asked| filter.called_found.get(|| snapshot.called.matching(&snapshot.all, asked))),
            listed: filter.numbers.as_ref().map(|all| Set::of(all.iter().map(|number| number.digits()))),
            digits: match filter.search {
                None | Some(Pattern::Digits { digits: 0, .. }) => None,
                Some(pattern) => Some(DigitPattern::of(pattern)?),
            },
        })
    }

    /// Whether something is asked that only rows can answer.
    fn asks_rows(&self) -> bool {
        let filter = self.filter;
        self.trunk.is_some()
            || self.regions.is_some()
            || filter.status.is_some()
            || !filter.number_type.is_all()
            || !filter.country.is_all()
            || filter.routed.is_some()
            || filter.assigned.is_some()
            || !filter.state.is_all()
            || self.listed.is_some()
            || self.asks_dates()
    }

    /// Whether one of the filters on dates is set.
    fn asks_dates(&self) -> bool {
        let filter = self.filter;
        filter.expires_before.is_some()
            || filter.expires_after.is_some()
            || filter.assigned_before.is_some()
            || filter.assigned_after.is_some()
    }

    /// What the profile of a row decides. The status of an active number hangs
    /// on whether it has expired.
    fn profile(&self, profile: &Profile) -> Lets {
        fn is<T: PartialEq>(wanted: Option<T>, have: T) -> bool {
            wanted.is_none_or(|wanted| wanted == have)
        }
        let filter = self.filter;
        let held = profile.state.held();
        let fits = self.account.is_none_or(|wanted| held && wanted == profile.account)
            && is(self.application, profile.application)
            && is(self.trunk, profile.trunk)
            && self.regions.as_ref().is_none_or(|regions| regions.contains(&profile.region))
            && filter.number_type.lets(Some(profile.number_type))
            && filter.country.lets(profile.country)
            && is(filter.assigned, held)
            && is(filter.routed, profile.application != Index::NONE)
            && filter.tag.as_ref().is_none_or(|tag| self.has_tag(profile, tag));
        if !fits {
            return NOTHING;
        }
        let by_status = match (filter.status, profile.state == State::Active) {
            (Some(Status::Active), false) => NOTHING,
            (None, _) | (Some(Status::Suspended), false) => ANY,
            (Some(Status::Active), true) => UNEXPIRED,
            (Some(Status::Suspended), true) => EXPIRED,
        };
        let by_state = match filter.state.is_all() {
            true => ANY,
            false => State::ALL
                .iter()
                .filter(|&&wanted| filter.state.contains(wanted))
                .fold(NOTHING, |lets, &wanted| lets | state(wanted, profile.state)),
        };
        by_status & by_state
    }

    fn has_tag(&self, profile: &Profile, tag: &str) -> bool {
        self.snapshot.tags.at(profile.tags).is_some_and(|tags| tags.contains(tag))
    }

    /// What the end of a row's reservation or quarantine decides.
    fn end(&self, until: i64) -> Lets {
        if until != NEVER && until <= self.now.seconds() { ENDED } else { LASTING }
    }

    /// What the expiry of a row decides.
    fn expiry(&self, expires_at: i64) -> Lets {
        if !within(self.filter.expires_after, expires_at, self.filter.expires_before) {
            NOTHING
        } else if expires_at != NEVER && expires_at <= self.now.seconds() {
            EXPIRED
        } else {
            UNEXPIRED
        }
    }

    /// What the time of assignment of a row decides.
    fn assignment(&self, assigned_at: i64) -> Lets {
        let fits = within(self.filter.assigned_after, assigned_at, self.filter.assigned_before);
        if fits { ANY } else { NOTHING }
    }

    /// Whether one row is let through.
    fn row(&self, leaf: &Leaf, row: usize) -> bool {
        let stretch = leaf.stretch(row);
        let profile = self.snapshot.profile(Index::at(leaf.profiles.value(stretch) as usize));
        let dates = self.expiry(leaf.expires_at.value(stretch))
            & self.assignment(leaf.assigned_at.value(stretch))
            & self.end(leaf.until.value(stretch));
        self.profile(profile) & dates != NOTHING
    }

    /// Whether the row of a number is let through.
    fn has_row(&self, seeker: &mut Seeker<'_>, number: u64) -> bool {
        seeker.find(number).is_some_and(|(leaf, row)| self.row(leaf, row))
    }

    /// The sets that what matches must be in.
    fn sets(&self) -> Vec<&Set> {
        let snapshot = self.snapshot;
        let account = self.account.map(|at| snapshot.account_set(at));
        let application = self.application.map(|at| snapshot.application_set(at));
        let listed = self.listed.as_ref();
        let sets = account.into_iter().chain(application).chain(self.tagged.as_deref());
        sets.chain(self.called.as_deref()).chain(listed).collect()
    }

    /// Hands over all that matches, in number order, from above `after`.
    fn walk(&self, after: Option<u64>, take: &mut TakeBatch<'_>) {
        let asks_rows = self.asks_rows();
        if asks_rows && self.leaves_know() {
            self.walk_leaves(after, take);
        } else {
            self.walk_sets(&self.sets(), asks_rows, after, take);
        }
    }

    /// Whether going through the leaves answers sooner than going through the
    /// numbers of a set and looking up the row of each, which costs about as
    /// much as a leaf or two.
    fn leaves_know(&self) -> bool {
        let smallest = self.sets().iter().map(|set| set.len()).min();
        // A profile does not tell what its numbers are, nor when they were called.
        let by_profile = self.digits.is_none() && self.called.is_none() && self.listed.is_none();
        by_profile && smallest.is_none_or(|numbers| numbers > 2 * self.snapshot.rows.leaf_count())
    }

    fn walk_leaves(&self, after: Option<u64>, take: &mut TakeBatch<'_>) {
        let mut sight = Sight::new(self.snapshot);
        for (leaf, dates) in self.snapshot.rows.dated_leaves_after(after) {
            if !self.may_have(dates) {
                continue;
            }
            let count = self.leaf(leaf, &mut sight);
            if count == 0 {
                continue;
            }
            let mut list = |_, out: &mut Vec<u64>| {
                sight.stretches(leaf, None, &mut |stretch| leaf.list(leaf.rows_of(stretch), out));
            };
            let batch = MatchBatch { first: leaf.first(), last: leaf.last(), count, list: &mut list };
            if !take.take(batch) {
                return;
            }
        }
    }

    /// Whether a row with dates such as these can be let through.
    fn may_have(&self, dates: LeafDates) -> bool {
        let filter = self.filter;
        let may = |after: Option<Time>, (first, last): (i64, i64), before: Option<Time>| {
            after.is_none_or(|after| last > after.seconds()) && before.is_none_or(|before| first < before.seconds())
        };
        may(filter.expires_after, dates.expires_at, filter.expires_before)
            && may(filter.assigned_after, dates.assigned_at, filter.assigned_before)
    }

    /// Whether every row is let through.
    fn lets_all(&self) -> bool {
        self.digits.is_none() && !self.asks_rows() && self.sets().is_empty()
    }

    /// How many rows of a leaf match, and by what; looks at as little as
    /// decides. Each column is asked by its few distinct values: stretches are gone
    /// through only where some of them pass and others do not.
    fn leaf(&self, leaf: &Leaf, sight: &mut Sight) -> usize {
        sight.profiles.clear();
        let mut any = NOTHING;
        for &value in leaf.profiles.values() {
            let at = value as usize;
            let ask = || self.profile(self.snapshot.profile(Index::at(at)));
            let lets = *sight.answers[at].get_or_insert_with(ask);
            sight.profiles.push(lets);
            any |= lets;
        }
        sight.by = MatchedBy::Profiles(NOTHING);
        if any == NOTHING {
            return 0;
        }
        let filter = self.filter;
        let judge = |column: &PackedColumn, asked: bool, ask: &dyn Fn(i64) -> Lets, answers: &mut Vec<Lets>| {
            answers.clear();
            if !asked {
                return Some(ANY);
            }
            answers.extend(column.values().iter().map(|&value| ask(value)));
            let first = answers[0];
            answers.iter().all(|&lets| lets == first).then_some(first)
        };
        let asks_expiry = filter.status.is_some() || filter.expires_before.is_some() || filter.expires_after.is_some();
        let asks_assignment = filter.assigned_before.is_some() || filter.assigned_after.is_some();
        let expiry = judge(&leaf.expires_at, asks_expiry, &|at| self.expiry(at), &mut sight.expiries);
        let assignment = judge(&leaf.assigned_at, asks_assignment, &|at| self.assignment(at), &mut sight.assignments);
        let end = judge(&leaf.until, !filter.state.is_all(), &|at| self.end(at), &mut sight.ends);
        if let (Some(expiry), Some(assignment), Some(end)) = (expiry, assignment, end) {
            // The dates of all rows say the same, so profiles decide.
            let dates = expiry & assignment & end;
            sight.by = MatchedBy::Profiles(dates);
            let counts = sight.profiles.iter().zip(&leaf.profile_counts);
            return counts.map(|(&lets, &rows)| if lets & dates != NOTHING { usize::from(rows) } else { 0 }).sum();
        }
        sight.by = MatchedBy::List;
        sight.list.clear();
        let (column, answers) = match (expiry, assignment) {
            (None, _) => (&leaf.expires_at, &sight.expiries),
            (Some(_), None) => (&leaf.assigned_at, &sight.assignments),
            (Some(_), Some(_)) => (&leaf.until, &sight.ends),
        };
        let rest = |stretch: usize, lets: Lets| {
            let expiry = expiry.unwrap_or_else(|| sight.expiries[leaf.expires_at.code(stretch)]);
            let assignment = assignment.unwrap_or_else(|| sight.assignments[leaf.assigned_at.code(stretch)]);
            let end = end.unwrap_or_else(|| sight.ends[leaf.until.code(stretch)]);
            lets & expiry & assignment & end != NOTHING
        };
        let (list, mut rows) = (&mut sight.list, 0);
        let wanted = |code: usize| answers[code] & any != NOTHING;
        column.stretches_where(leaf.stretches(), wanted, &mut sight.codes, &mut |stretch| {
            if rest(stretch, sight.profiles[leaf.profiles.code(stretch)]) {
                list.push(stretch as u16);
                rows += leaf.rows_of(stretch).len();
            }
        });
        rows
    }

    fn walk_sets(&self, sets: &[&Set], asks_rows: bool, after: Option<u64>, take: &mut TakeBatch<'_>) {
        let all = &self.snapshot.all;
        // From the set with the fewest numbers, the others are asked.
        let mut order: Vec<&Set> = if sets.is_empty() { vec![all] } else { sets.to_vec() };
        order.sort_by_key(|set| set.len());
        let mut walk = SetWalk {
            question: self,
            asks_rows,
            others: order[1..].iter().map(|set| set.groups()).collect(),
            seeker: self.snapshot.rows.seeker(),
            own: Sieve::CLOSED,
            numbers: Vec::new(),
            after,
        };
        let anywhere = self.digits.as_ref().and_then(|digits| Some((digits.anywhere()?, digits.digits())));
        let Some((value, digits)) = anywhere else {
            walk.groups(order[0].groups(), take);
            return;
        };
        let plain = walk.others.is_empty() && !asks_rows && after.is_none();
        let solid = self.digits.as_ref().filter(|_| plain).and_then(SolidSearch::of);
        let (mut may_make, mut ranks) = (MADE_AT_ONCE, Vec::new());
        for part in order[0].parts() {
            let goes_on = match &solid {
                Some(search) if part.solid.is_some() => walk.solid(order[0], part, search, take),
                _ if part.serves(digits, &mut may_make) => {
                    part.segments.iter().all(|segment| walk.segment(segment, value, &mut ranks, take))
                }
                _ => walk.groups(order[0].groups_of(part), take),
            };
            if !goes_on {
                return;
            }
        }
    }
}

/// Hands batches of a part on until what is left of it need only be counted.
struct PartRest<'r, 't> {
    left: usize,
    last: u64,
    /// Whether the rest was counted; that ends the walk over the part alone.
    counted: bool,
    take: &'r mut TakeBatch<'t>,
}

impl TakeBatches for PartRest<'_, '_> {
    fn take(&mut self, batch: MatchBatch<'_>) -> bool {
        self.left = self.left.saturating_sub(batch.count);
        let next = batch.last + 1;
        if !self.take.take(batch) {
            return false;
        }
        self.counted = self.take.count(next, self.last, self.left);
        !self.counted
    }
}

/// A walk over the numbers of one set that a question lets through.
struct SetWalk<'w, 'a, 'f> {
    question: &'w ResolvedFilter<'a, 'f>,
    asks_rows: bool,
    /// The other sets that the numbers must be in.
    others: Vec<SetGroups<'w>>,
    seeker: Seeker<'w>,
    /// Scratch space.
    own: Sieve,
    numbers: Vec<u64>,
    after: Option<u64>,
}

impl SetWalk<'_, '_, '_> {
    /// Hands over what matches in a part of the set whose groups are mostly full: by
    /// group as far as the page goes, and the rest as a count.
    fn solid(&mut self, set: &Set, part: &SetPart, search: &SolidSearch<'_>, take: &mut TakeBatch<'_>) -> bool {
        let Some(solid) = &part.solid else { return true };
        let count = solid.count(search);
        if count == 0 || take.count(solid.first, solid.last, count) {
            return true;
        }
        let mut rest = PartRest { left: count, last: solid.last, counted: false, take };
        let goes_on = match search.reads_candidates() {
            true => solid.candidates(search).all(|(group, members)| self.group(group, members, &mut rest)),
            false => self.groups(set.groups_of(part), &mut rest),
        };
        goes_on || rest.counted
    }

    /// Hands over what matches in some groups; `false` where that is the end.
    fn groups(&mut self, mut groups: SetGroups<'_>, take: &mut TakeBatch<'_>) -> bool {
        let digits = self.question.digits.as_ref();
        let next_group = |group| digits.map_or(Some(group), |digits| digits.next_group(group));
        let first = self.after.map_or(0, super::set::group_of);
        let mut next = next_group(first).and_then(|group| groups.seek(group));
        'groups: while let Some((group, members)) = next {
            let hit = match digits {
                Some(digits) => digits.in_group(group, &mut self.own),
                None => Hit::All,
            };
            if matches!(hit, Hit::None) {
                next = match next_group(group + 1) {
                    Some(after) if after > group + 1 => groups.seek(after),
                    Some(_) => groups.next(),
                    None => None,
                };
                continue;
            }
            let mut same: Vec<GroupMembers<'_>> = Vec::new();
            for other in &mut self.others {
                match other.seek(group) {
                    Some((found, members)) if found == group => same.push(members),
                    Some((found, _)) => {
                        // Nothing in between is in all of them. The other's
                        // cursor has passed `found`, so it is wound back.
                        other.back();
                        next = groups.seek(found);
                        continue 'groups;
                    }
                    None => return false,
                }
            }
            if !self.members(group, members, hit, &same, take) {
                return false;
            }
            next = groups.next();
        }
        true
    }

    /// The same for one group.
    fn group(&mut self, group: u64, members: GroupMembers<'_>, take: &mut TakeBatch<'_>) -> bool {
        let hit = self.question.digits.as_ref().map_or(Hit::All, |digits| digits.in_group(group, &mut self.own));
        self.members(group, members, hit, &[], take)
    }

    /// The same for one group of which it is known what matches, and which the other
    /// sets have as well.
    fn members(
        &mut self,
        group: u64,
        members: GroupMembers<'_>,
        hit: Hit,
        same: &[GroupMembers<'_>],
        take: &mut TakeBatch<'_>,
    ) -> bool {
        let base = group * ENDINGS as u64;
        let sieve = match hit {
            Hit::None => return true,
            Hit::Shared => self.question.digits.as_ref().map(|digits| digits.endings()),
            Hit::Own => Some(&self.own),
            Hit::All => None,
        };
        // The common case: one set, counted through a sieve or whole.
        let plain = same.is_empty() && !self.asks_rows;
        let (numbers, seeker) = (&mut self.numbers, &mut self.seeker);
        let count = match (plain, sieve) {
            (true, Some(sieve)) => members.count_in(sieve),
            (true, None) => members.count(),
            (false, _) => {
                numbers.clear();
                members.for_each(|ending| {
                    let number = base + u64::from(ending);
                    let fits = sieve.is_none_or(|sieve| sieve.contains(ending))
                        && same.iter().all(|members| members.contains(ending));
                    if fits && (!self.asks_rows || self.question.has_row(seeker, number)) {
                        numbers.push(number);
                    }
                });
                numbers.len()
            }
        };
        let mut list = |_, out: &mut Vec<u64>| match (plain, sieve) {
            (true, Some(sieve)) => members.for_each_in(sieve, |ending| out.push(base + u64::from(ending))),
            (true, None) => members.for_each(|ending| out.push(base + u64::from(ending))),
            (false, _) => out.extend(&*numbers),
        };
        let batch = MatchBatch { first: base, last: base + ENDINGS as u64 - 1, count, list: &mut list };
        count == 0 || take.take(batch)
    }

    /// The same for a segment of the set, by its lists of digits.
    fn segment(&mut self, segment: &Segment, value: u64, ranks: &mut Vec<u16>, take: &mut TakeBatch<'_>) -> bool {
        let Some(digits) =
            self.question.digits.as_ref().filter(|_| self.after.is_none_or(|after| after < segment.last))
        else {
            return true;
        };
        segment.matches(digits, value, ranks);
        let plain = self.others.is_empty() && !self.asks_rows;
        if !plain {
            let (question, others, seeker) = (self.question, &mut self.others, &mut self.seeker);
            let mut fits = |number: &u64| {
                others.iter_mut().all(|other| other.has(*number))
                    && (!self.asks_rows || question.has_row(seeker, *number))
            };
            self.numbers.clear();
            self.numbers.extend(ranks.iter().map(|&rank| segment.number(rank)).filter(|number| fits(number)));
        }
        let count = if plain { ranks.len() } else { self.numbers.len() };
        let mut list = |_, out: &mut Vec<u64>| match plain {
            true => out.extend(ranks.iter().map(|&rank| segment.number(rank))),
            false => out.extend(&self.numbers),
        };
        count == 0 || take.take(MatchBatch { first: segment.first, last: segment.last, count, list: &mut list })
    }
}

/// Which rows something lets through: those that have expired or have not, and
/// of each those whose reservation or quarantine lasts or has ended. What
/// several columns let through is what all of them do.
type Lets = u8;

/// Which rows in a stored state are in another one as of now.
fn state(wanted: State, have: State) -> Lets {
    match (wanted, have) {
        (State::Available, State::Reserved | State::Quarantined) => ENDED,
        (wanted, have) if wanted != have => NOTHING,
        (State::Reserved | State::Quarantined, _) => LASTING,
        (State::Available | State::Active | State::Suspended | State::Retired, _) => ANY,
    }
}

const NOTHING: Lets = 0;
const ANY: Lets = 0b1111;
const UNEXPIRED: Lets = 0b0011;
const EXPIRED: Lets = 0b1100;
const LASTING: Lets = 0b0101;
const ENDED: Lets = 0b1010;

/// Whether a time lies between two limits, neither included. None lies nowhere.
fn within(after: Option<Time>, have: i64, before: Option<Time>) -> bool {
    after.is_none_or(|after| have != NEVER && have > after.seconds())
        && before.is_none_or(|before| have != NEVER && have < before.seconds())
}

/// What a walk over leaves knows of the leaf it is at.
struct Sight {
    /// What each profile lets through, once it has been asked.
    answers: Vec<Option<Lets>>,
    /// What the distinct values of the leaf's columns let through, in their
    /// order; the dates' are empty where nothing asks for them.
    profiles: Vec<Lets>,
    expiries: Vec<Lets>,
    assignments: Vec<Lets>,
    ends: Vec<Lets>,
    by: MatchedBy,
    list: Vec<u16>,
    codes: Vec<bool>,
}

/// How the matching stretches of a leaf are known.
#[derive(Clone, Copy)]
enum MatchedBy {
    /// Those whose profile lets any of these through.
    Profiles(Lets),
    /// Those in the list.
    List,
}

impl Sight {
    fn new(snapshot: &Snapshot) -> Sight {
        Sight {
            answers: vec![None; snapshot.profiles.places()],
            profiles: Vec::new(),
            expiries: Vec::new(),
            assignments: Vec::new(),
            ends: Vec::new(),
            by: MatchedBy::List,
            list: Vec::new(),
            codes: Vec::new(),
        }
    }

    /// The matching stretches of the leaf, or of them those that a column has
    /// certain values for.
    fn stretches(
        &mut self,
        leaf: &Leaf,
        only: Option<(&PackedColumn, &dyn Fn(i64) -> bool)>,
        take: &mut dyn FnMut(usize),
    ) {
        let profiles = &self.profiles;
        let lets = |code: usize, dates: Lets| profiles[code] & dates != NOTHING;
        match (self.by, only) {
            (MatchedBy::List, _) => self.list.iter().for_each(|&stretch| take(usize::from(stretch))),
            (MatchedBy::Profiles(dates), None) => {
                let wanted = |code| lets(code, dates);
                leaf.profiles.stretches_where(leaf.stretches(), wanted, &mut self.codes, take);
            }
            (MatchedBy::Profiles(dates), Some((column, only))) => {
                let wanted = |code| only(column.values()[code]);
                column.stretches_where(leaf.stretches(), wanted, &mut self.codes, &mut |stretch| {
                    if lets(leaf.profiles.code(stretch), dates) {
                        take(stretch);
                    }
                });
            }
        }
    }
}

pub(super) fn select<'a>(
    snapshot: &'a Snapshot,
    filter: &Filter,
    order: Order,
    window: Window,
    now: Time,
) -> Selection<'a> {
    let Some(question) = ResolvedFilter::new(snapshot, filter, now) else {
        return Selection { total: 0, start: 0, rows: Vec::new(), before: None };
    };
    if !order.by_number() {
        return select_sorted(&question, order, window);
    }
    // What ranks by itself is neither counted nor walked.
    let ranges = match &question.digits {
        Some(digits) => digits.ranges(),
        None => Some(vec![(0, u64::MAX)]),
    };
    let ranked = match (&question.sets()[..], ranges) {
        ([] | [_], Some(ranges)) if !question.asks_rows() => {
            let set = question.sets().first().copied();
            Some(Ranked::new(set.map_or(RankedIn::Rows(snapshot), RankedIn::Set), &ranges))
        }
        _ => None,
    };
    let found = match &ranked {
        Some(ranked) => ranked.cut(window),
        None => cut(&question, window),
    };
    let before = match window {
        Window::After { rows, .. } if found.start > rows as u64 => {
            let skip = found.start - rows as u64 - 1;
            let at = Window::Page { skip, rows: 1 };
            let earlier = match &ranked {
                Some(ranked) => ranked.cut(at),
                None => cut_until(&question, at),
            };
            earlier.numbers.first().copied()
        }
        Window::After { .. } | Window::Page { .. } => None,
    };
    let mut seeker = snapshot.rows.seeker();
    let mut rows = Vec::with_capacity(found.numbers.len());
    rows.extend(found.numbers.iter().filter_map(|&number| seeker.row(number)).map(|row| snapshot.show(row, now)));
    Selection { total: found.total, start: found.start, rows, before: before.and_then(E164::new) }
}

/// A page as numbers.
#[derive(Default)]
struct Cut {
    total: u64,
    start: u64,
    numbers: Vec<u64>,
}

/// What knows the rank of each of its numbers.
#[derive(Clone, Copy)]
enum RankedIn<'a> {
    /// All numbers of a partner.
    Rows(&'a Snapshot),
    Set(&'a Set),
}

impl RankedIn<'_> {
    /// How many of its numbers are at most `number`.
    fn rank(self, number: u64) -> usize {
        match self {
            RankedIn::Rows(snapshot) => snapshot.rows.rank(number),
            RankedIn::Set(set) => set.rank(number),
        }
    }

    fn len(self) -> usize {
        match self {
            RankedIn::Rows(snapshot) => snapshot.rows.len(),
            RankedIn::Set(set) => set.len(),
        }
    }

    fn slice(self, rank: usize, count: usize) -> Vec<u64> {
        match self {
            RankedIn::Rows(snapshot) => snapshot.rows.slice(rank, count),
            RankedIn::Set(set) => set.slice(rank, count),
        }
    }
}

/// What matches, where that is some ranges of numbers.
struct Ranked<'a> {
    of: RankedIn<'a>,
    /// Ranks, from and to; none is empty.
    ranges: Vec<(usize, usize)>,
}

impl<'a> Ranked<'a> {
    /// All numbers in ranges, first and last, that ascend.
    fn new(of: RankedIn<'a>, ranges: &[(u64, u64)]) -> Ranked<'a> {
        let rank = |number| if number == u64::MAX { of.len() } else { of.rank(number) };
        let range = |&(first, last): &(u64, u64)| (first.checked_sub(1).map_or(0, rank), rank(last));
        Ranked { of, ranges: ranges.iter().map(range).filter(|(from, to)| from < to).collect() }
    }

    fn total(&self) -> usize {
        self.ranges.iter().map(|(from, to)| to - from).sum()
    }

    fn cut(&self, window: Window) -> Cut {
        let total = self.total();
        let (start, rows) = match window {
            Window::Page { skip, rows } => (usize::try_from(skip).unwrap_or(usize::MAX).min(total), rows),
            Window::After { number, rows } => {
                let rank = self.of.rank(number.digits());
                (self.ranges.iter().map(|&(from, to)| rank.clamp(from, to) - from).sum(), rows)
            }
        };
        let (mut skip, mut numbers) = (start, Vec::new());
        for &(from, to) in &self.ranges {
            let skipped = skip.min(to - from);
            skip -= skipped;
            let count = (rows - numbers.len()).min(to - from - skipped);
            if count > 0 {
                numbers.extend(self.of.slice(from + skipped, count));
            }
        }
        Cut { total: total as u64, start: start as u64, numbers }
    }
}

/// A page of what matches, and how many match in all.
fn cut(question: &ResolvedFilter<'_, '_>, window: Window) -> Cut {
    let mut cutting = Cutting { cut: Cut::default(), window, until_full: false };
    question.walk(None, &mut cutting);
    let mut cut = cutting.cut;
    if let Window::Page { skip, .. } = window {
        cut.start = skip.min(cut.total);
    }
    cut
}

/// A page of what matches, without caring what comes after it.
fn cut_until(question: &ResolvedFilter<'_, '_>, window: Window) -> Cut {
    let mut cutting = Cutting { cut: Cut::default(), window, until_full: true };
    question.walk(None, &mut cutting);
    cutting.cut
}

/// Cuts a page out of batches.
struct Cutting {
    cut: Cut,
    window: Window,
    /// Whether a full page ends the walk.
    until_full: bool,
}

impl TakeBatches for Cutting {
    fn take(&mut self, batch: MatchBatch<'_>) -> bool {
        self.cut.take(batch, self.window);
        !self.until_full || !self.cut.full(self.window)
    }

    fn count(&mut self, _first: u64, last: u64, count: usize) -> bool {
        let cut = &mut self.cut;
        let below = match self.window {
            Window::Page { skip, .. } => cut.total + count as u64 <= skip,
            Window::After { number, .. } => last <= number.digits(),
        };
        if !below && !cut.full(self.window) {
            return false;
        }
        cut.total += count as u64;
        if below && matches!(self.window, Window::After { .. }) {
            cut.start += count as u64;
        }
        true
    }
}

impl Cut {
    fn full(&self, window: Window) -> bool {
        let (Window::Page { rows, .. } | Window::After { rows, .. }) = window;
        self.numbers.len() >= rows
    }

    fn take(&mut self, batch: MatchBatch<'_>, window: Window) {
        let (from, rows) = match window {
            Window::Page { skip, rows } => (skip.saturating_sub(self.total), rows),
            Window::After { number, rows } => {
                let number = number.digits();
                if batch.last <= number {
                    self.start += batch.count as u64;
                    self.total += batch.count as u64;
                    return;
                }
                if batch.first <= number {
                    let mut list = Vec::with_capacity(batch.count);
                    (batch.list)(usize::MAX, &mut list);
                    let below = list.partition_point(|&have| have <= number);
                    self.start += below as u64;
                    self.total += batch.count as u64;
                    let room = rows - self.numbers.len();
                    self.numbers.extend(list[below..].iter().take(room));
                    return;
                }
                (0, rows)
            }
        };
        self.total += batch.count as u64;
        let room = rows - self.numbers.len();
        if from < batch.count as u64 && room > 0 {
            let mut list = Vec::new();
            (batch.list)((from as usize).saturating_add(room), &mut list);
            self.numbers.extend(list[from as usize..].iter().take(room));
        }
    }
}

/// The next matching numbers above `after`, at most `count`, without a total.
pub(super) fn next(snapshot: &Snapshot, filter: &Filter, after: Option<E164>, count: usize, now: Time) -> Vec<E164> {
    let Some(question) = ResolvedFilter::new(snapshot, filter, now) else { return Vec::new() };
    let after = after.map(E164::digits);
    let mut found: Vec<u64> = Vec::with_capacity(count);
    question.walk(
        after,
        &mut EachBatch(|batch: MatchBatch<'_>| {
            let from = found.len();
            (batch.list)(usize::MAX, &mut found);
            if let Some(after) = after {
                let below = found[from..].partition_point(|&number| number <= after);
                found.drain(from..from + below);
            }
            found.len() < count
        }),
    );
    found.truncate(count);
    found.into_iter().filter_map(E164::new).collect()
}

/// Hands over all that matches as rows of leaves that say the same, in number order.
pub(super) fn stretches<'a>(
    snapshot: &'a Snapshot,
    filter: &Filter,
    now: Time,
    take: &mut dyn FnMut(&'a Leaf, Range<usize>),
) {
    let Some(question) = ResolvedFilter::new(snapshot, filter, now) else { return };
    if !question.leaves_know() {
        let (mut seeker, mut numbers) = (snapshot.rows.seeker(), Vec::new());
        question.walk(
            None,
            &mut EachBatch(|batch: MatchBatch<'_>| {
                numbers.clear();
                (batch.list)(usize::MAX, &mut numbers);
                let rows = numbers.iter().filter_map(|&number| seeker.find(number));
                rows.for_each(|(leaf, row)| take(leaf, row..row + 1));
                true
            }),
        );
        return;
    }
    let mut sight = Sight::new(snapshot);
    for (leaf, dates) in snapshot.rows.dated_leaves() {
        if question.may_have(dates) && question.leaf(leaf, &mut sight) > 0 {
            sight.stretches(leaf, None, &mut |stretch| take(leaf, leaf.rows_of(stretch)));
        }
    }
}

/// All that matches, in any order but the number's.
pub(super) fn sorted(snapshot: &Snapshot, filter: &Filter, order: Order, now: Time) -> Vec<E164> {
    let Some(question) = ResolvedFilter::new(snapshot, filter, now) else { return Vec::new() };
    let (_, keys) = Best::of(&question, order, usize::MAX);
    keys.into_iter().filter_map(|key| E164::new(key.number)).collect()
}

fn select_sorted<'a>(question: &ResolvedFilter<'a, '_>, order: Order, window: Window) -> Selection<'a> {
    let snapshot = question.snapshot;
    let (skip, rows) = match window {
        Window::Page { skip, rows } => (usize::try_from(skip).unwrap_or(usize::MAX), rows),
        Window::After { .. } => (0, 0),
    };
    let (total, keys) = Best::of(question, order, skip.saturating_add(rows));
    let start = skip.min(total);
    let row = |key: &SortPosition| snapshot.rows.get(key.number).map(|row| snapshot.show(row, question.now));
    Selection {
        total: total as u64,
        start: start as u64,
        rows: keys.iter().skip(start).take(rows).filter_map(row).collect(),
        before: None,
    }
}

/// A row's place in an order: what is absent last, the number breaks ties.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct SortPosition {
    worth: Worth,
    /// Negated where the order is the number's, descending.
    tie: i64,
    number: u64,
}

/// What an order looks at: whether it is absent, then the value, negated where
/// the order descends.
type Worth = (bool, i128);

fn worth(value: Option<i128>, order: Order) -> Worth {
    match value {
        Some(value) if order.descending => (false, -value),
        Some(value) => (false, value),
        None => (true, 0),
    }
}

/// An order, with what it takes to say the worth of rows that say the same.
struct SortScale<'a> {
    snapshot: &'a Snapshot,
    order: Order,
    now: i64,
    /// Of customers or of applications, where the order is by their names.
    ranks: Vec<u32>,
}

impl SortScale<'_> {
    fn new<'a>(snapshot: &'a Snapshot, order: Order, now: Time) -> SortScale<'a> {
        let ranks = match order.key {
            SortKey::Customer => snapshot.accounts.ranks(|account| &account.name),
            SortKey::Application => snapshot.applications.ranks(|application| &application.name),
            SortKey::Number | SortKey::AssignedAt | SortKey::ExpiresAt | SortKey::MonthlyCost | SortKey::State => {
                Vec::new()
            }
        };
        SortScale { snapshot, order, now: now.seconds(), ranks }
    }

    /// The worth of a value in the column that the order looks at. A reservation
    /// that has ended counts as one that has not: rows of such a value are
    /// looked at for longer than they need be.
    fn value(&self, value: i64) -> Worth {
        let profile = || self.snapshot.profile(Index::at(value as usize));
        let rank = |at: Index| at.get().map(|at| i128::from(self.ranks[at]));
        let value = match self.order.key {
            // Decided by more than one column.
            SortKey::Number | SortKey::State => Some(i128::from(value)),
            SortKey::AssignedAt | SortKey::ExpiresAt => Some(i128::from(value)).filter(|_| value != NEVER),
            SortKey::MonthlyCost => profile().cost.map(Money::printed_order),
            SortKey::Customer => rank(profile().account),
            SortKey::Application => rank(profile().application),
        };
        worth(value, self.order)
    }

    /// The best position that a row of a leaf can have, if dates decide.
    fn best(&self, leaf: &Leaf, dates: LeafDates) -> Option<SortPosition> {
        let (first, last) = match self.order.key {
            SortKey::AssignedAt => dates.assigned_at,
            SortKey::ExpiresAt => dates.expires_at,
            SortKey::Number | SortKey::MonthlyCost | SortKey::State | SortKey::Customer | SortKey::Application => {
                return None;
            }
        };
        let best = if self.order.descending { last } else { first };
        let value = if first > last { NEVER } else { best };
        Some(SortPosition { worth: self.value(value), tie: 0, number: leaf.first() })
    }

    /// The column that decides, if one does.
    fn column<'l>(&self, leaf: &'l Leaf) -> Option<&'l PackedColumn> {
        match self.order.key {
            SortKey::Number | SortKey::State => None,
            SortKey::AssignedAt => Some(&leaf.assigned_at),
            SortKey::ExpiresAt => Some(&leaf.expires_at),
            SortKey::MonthlyCost | SortKey::Customer | SortKey::Application => Some(&leaf.profiles),
        }
    }

    fn stretch(&self, leaf: &Leaf, stretch: usize) -> Worth {
        let by_column = |column: &PackedColumn| self.value(column.value(stretch));
        match self.order.key {
            SortKey::Number => (false, 0),
            SortKey::State => worth(Some(self.stage(leaf, stretch).into()), self.order),
            SortKey::Customer if self.has_ended(leaf, stretch) => worth(None, self.order),
            SortKey::AssignedAt => by_column(&leaf.assigned_at),
            SortKey::ExpiresAt => by_column(&leaf.expires_at),
            SortKey::MonthlyCost | SortKey::Customer | SortKey::Application => by_column(&leaf.profiles),
        }
    }

    /// Whether a reservation or a quarantine has ended by time.
    fn has_ended(&self, leaf: &Leaf, stretch: usize) -> bool {
        let until = leaf.until.value(stretch);
        until != NEVER && until <= self.now
    }

    fn stage(&self, leaf: &Leaf, stretch: usize) -> u8 {
        let profile = self.snapshot.profile(Index::at(leaf.profiles.value(stretch) as usize));
        let state = match profile.state {
            State::Reserved | State::Quarantined if self.has_ended(leaf, stretch) => State::Available,
            state => state,
        };
        let expires_at = leaf.expires_at.value(stretch);
        stage(state, profile.application != Index::NONE, expires_at != NEVER && expires_at <= self.now)
    }
}

/// The first rows of an order: as many as are wanted, out of all that match.
struct Best<'a> {
    scale: SortScale<'a>,
    wanted: usize,
    keys: Vec<SortPosition>,
    /// Once there are enough: what is not before this need not be looked at.
    limit: Option<SortPosition>,
}

impl<'a> Best<'a> {
    /// How many rows match, and the first `wanted` of them in order.
    fn of(question: &ResolvedFilter<'a, '_>, order: Order, wanted: usize) -> (usize, Vec<SortPosition>) {
        let scale = SortScale::new(question.snapshot, order, question.now);
        let mut best = Best { scale, wanted, keys: Vec::new(), limit: None };
        let total = match question.leaves_know() {
            true if question.lets_all() && best.scan_best_leaves(question) => question.snapshot.rows.len(),
            true => best.scan_leaves(question),
            false => best.scan_walk(question),
        };
        best.keys.sort_unstable();
        best.keys.truncate(wanted);
        (total, best.keys)
    }

    /// From the leaf whose dates come first in the order to the one where no row
    /// can be among the wanted; `false` if dates do not decide.
    fn scan_best_leaves(&mut self, question: &ResolvedFilter<'_, '_>) -> bool {
        let rows = &question.snapshot.rows;
        let leaves = rows.dated_leaves().map(|(leaf, dates)| Some((self.scale.best(leaf, dates)?, leaf)));
        let Some(mut leaves) = leaves.collect::<Option<Vec<(SortPosition, &Leaf)>>>() else { return false };
        leaves.sort_unstable_by_key(|&(best, _)| best);
        for (best, leaf) in leaves {
            if self.limit.is_some_and(|limit| best >= limit) {
                break;
            }
            (0..leaf.stretches()).for_each(|stretch| self.offer(leaf, stretch));
            self.cut();
        }
        true
    }

    /// Leaf by leaf: one that has nothing early enough is only counted.
    fn scan_leaves(&mut self, question: &ResolvedFilter<'_, '_>) -> usize {
        let mut sight = Sight::new(question.snapshot);
        let mut total = 0;
        for leaf in question.snapshot.rows.leaves() {
            let count = question.leaf(leaf, &mut sight);
            total += count;
            if count == 0 {
                continue;
            }
            let Some(SortPosition { worth: limit, .. }) = self.limit else {
                sight.stretches(leaf, None, &mut |stretch| self.offer(leaf, stretch));
                continue;
            };
            // Only those with a value that can still come before the limit.
            let mut early: Vec<usize> = Vec::new();
            {
                let scale = &self.scale;
                let wanted = |value: i64| scale.value(value) <= limit;
                let only = scale.column(leaf).map(|column| (column, &wanted as &dyn Fn(i64) -> bool));
                sight.stretches(leaf, only, &mut |stretch| early.push(stretch));
            }
            early.into_iter().for_each(|stretch| self.offer(leaf, stretch));
        }
        total
    }

    fn scan_walk(&mut self, question: &ResolvedFilter<'_, '_>) -> usize {
        let mut seeker = question.snapshot.rows.seeker();
        let mut numbers = Vec::new();
        let mut total = 0;
        question.walk(
            None,
            &mut EachBatch(|batch: MatchBatch<'_>| {
                total += batch.count;
                numbers.clear();
                (batch.list)(usize::MAX, &mut numbers);
                for &number in &numbers {
                    if let Some((leaf, row)) = seeker.find(number) {
                        self.offer_number(self.scale.stretch(leaf, leaf.stretch(row)), number);
                    }
                }
                true
            }),
        );
        total
    }

    /// Offers the rows of a stretch. They differ by their numbers only, so once one
    /// is too late, so are those that come after it in the order.
    fn offer(&mut self, leaf: &Leaf, stretch: usize) {
        let worth = self.scale.stretch(leaf, stretch);
        if self.limit.is_some_and(|limit| worth > limit.worth) {
            return;
        }
        let rows = leaf.rows_of(stretch);
        let most = rows.len().min(self.wanted.saturating_add(1));
        let mut numbers = Vec::with_capacity(most);
        match self.backwards() {
            true => leaf.list(rows.end - most..rows.end, &mut numbers),
            false => leaf.list(rows.start..rows.start + most, &mut numbers),
        }
        if self.backwards() {
            numbers.reverse();
        }
        for number in numbers {
            if !self.offer_number(worth, number) {
                break;
            }
        }
    }

    /// Whether the order is the number's, descending.
    fn backwards(&self) -> bool {
        self.scale.order == Order { key: SortKey::Number, descending: true }
    }

    /// Whether a number may be on the page, as far as is known.
    fn offer_number(&mut self, worth: Worth, number: u64) -> bool {
        let tie = if self.backwards() { -(number as i64) } else { 0 };
        let key = SortPosition { worth, tie, number };
        if self.limit.is_some_and(|limit| key >= limit) {
            return false;
        }
        self.keys.push(key);
        // Now and then what cannot be on the page is thrown away.
        if self.keys.len() >= self.wanted.saturating_mul(2).saturating_add(64) {
            self.cut();
        }
        true
    }

    /// Throws away what cannot be on the page.
    fn cut(&mut self) {
        if self.wanted > 0 && self.keys.len() > self.wanted {
            let (_, &mut last, _) = self.keys.select_nth_unstable(self.wanted - 1);
            self.keys.truncate(self.wanted);
            self.limit = Some(last);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::domain::change::GENESIS;
    use crate::domain::{Dates, E164, NumberType, Partner, PartnerKey, Record, State, Tags, Time};
    use crate::inventory::{Filter, Loader, Order, Pattern, Snapshot, Window};

    /// Groups that are full but for some numbers, on a few sides of others.
    fn snapshot(numbers: &[u64]) -> Snapshot {
        let now = Time::new(1_770_000_000).expect("a time");
        let partner =
            Partner { auth_id: "PA_1".parse().expect("an id"), name: "P".into(), created_at: now, suspended_at: None };
        let mut loader = Loader::new(Snapshot::empty(PartnerKey(1), 1, GENESIS, partner));
        let record = Record {
            state: State::Available,
            account: None,
            application: None,
            trunk: None,
            number_type: NumberType::Local,
            country: None,
            region: None,
            cost: None,
            assigned_at: None,
            expires_at: None,
            since: now,
            until: None,
            tags: Tags::default(),
        };
        let dates: Dates = record.dates();
        for run in numbers.chunk_by(|a, b| a + 1 == *b) {
            let [first, last] = [run[0], run[run.len() - 1]].map(|digits| E164::new(digits).expect("a number"));
            let image = loader.image(first, &record).expect("fits");
            loader.place((first, last), 1, image, dates).expect("fits");
        }
        loader.finish()
    }

    #[test]
    fn pages_of_full_groups_are_cut_out_of_all_that_matches() {
        let holes = |number: &u64| number % 40_009 != 7;
        let mut numbers: Vec<u64> = (3_314_260_000..3_314_460_000).filter(holes).collect();
        numbers.extend([3_400_000_000, 3_400_007_126]);
        numbers.extend((33_333_330_000..33_333_370_000).filter(holes));
        let snapshot = Arc::new(snapshot(&numbers));
        let now = Time::new(1_770_000_001).expect("a time");
        for search in
            ["3", "14", "333", "7126", "3333", "1426", "33142", "14433", "142687", "3333333", "4287126", "99999"]
        {
            let pattern = Pattern::parse(search).expect("digits");
            let all: Vec<u64> = numbers
                .iter()
                .copied()
                .filter(|&digits| pattern.matches(E164::new(digits).expect("a number")))
                .collect();
            let filter = Filter { search: Some(pattern), ..Filter::default() };
            let ask = |window: Window| {
                let found = snapshot.select(&filter, Order::default(), window, now);
                let rows: Vec<u64> = found.rows.iter().map(|row| row.number().digits()).collect();
                assert_eq!(found.total as usize, all.len(), "search: {search}, {window:?}");
                (found.start as usize, rows, found.before)
            };
            let mut skips = vec![0, 1, 19, all.len() / 3, all.len() / 2, all.len().saturating_sub(5), all.len()];
            skips.push(all.len() + 7);
            for skip in skips {
                let (start, rows, _) = ask(Window::Page { skip: skip as u64, rows: 20 });
                assert_eq!(start, skip.min(all.len()), "search: {search}");
                let expected: Vec<u64> = all.iter().skip(skip).take(20).copied().collect();
                assert_eq!(rows, expected, "search: {search} from {skip}");
            }
            let nothing = ask(Window::Page { skip: 3, rows: 0 });
            assert_eq!(nothing.1, [0; 0]);
            for after in [3_314_259_999, 3_314_300_000, 3_314_377_126, 3_400_000_000, 33_333_340_000, 33_333_369_999] {
                let (start, rows, before) =
                    ask(Window::After { number: E164::new(after).expect("a number"), rows: 20 });
                let below = all.partition_point(|&number| number <= after);
                let expected: Vec<u64> = all[below..].iter().take(20).copied().collect();
                assert_eq!((start, rows), (below, expected), "search: {search} after {after}");
                let back = (below > 20).then(|| all[below - 21]);
                assert_eq!(before.map(E164::digits), back, "search: {search} after {after}");
            }
        }
    }
}
