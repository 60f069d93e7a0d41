//! Takes whole spans of changes back at once, by what they did together
//! ([`NetChange`]).
//!
//! The bodies are merged in number order as they are read, so a million numbers take
//! their bytes and no list of records. A number that several spans changed is edited
//! once. Ids are looked up once for each body, and rows are compared by index, so a
//! number costs a few hundred nanoseconds.
//!
//! Invariant: nothing is taken back that does not fit: the spans follow each other by
//! their digests, each number is what the latest span left, and what a later span
//! found is what the earlier one left.
//! Deliberately absent: where net changes come from.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::edits::IndexEdits;
use super::rows::{Profile, Seeker, UnpackedRow, UnpackedRun};
use super::table::{Identified, Index, Table};
use super::{Misfit, Snapshot, row};
use crate::domain::dictionary::Dictionary;
use crate::domain::net_change::{BadNetBody, NetBody, NetImage, NetRun, NetRuns};
use crate::domain::{Country, Dates, E164, Money, NetChange, NumberType, State, Tags};

/// How many edits are made together: they are held in memory, about 150 bytes each.
const EDITS_MAX: usize = 65_536;

impl Snapshot {
    /// The snapshot before some spans of changes, the latest of which comes first and
    /// ends at this version.
    pub fn rewound(mut self, spans: Vec<NetChange>) -> Result<Snapshot, Misfit> {
        let (mut version, mut head) = (self.version, self.head);
        for span in &spans {
            if span.last != version {
                return Err(Misfit::Gap { expected: version, found: span.last });
            }
            if span.head != head {
                return Err(Misfit::Chain { version });
            }
            (version, head) = (span.first.saturating_sub(1), span.previous);
        }
        {
            let mut merge = Merge::new(&self, &spans)?;
            while merge.step(&mut self)? {}
        }
        for span in spans {
            self.restore_entities(span.entities)?;
        }
        (self.version, self.head) = (version, head);
        Ok(self)
    }
}

/// All of an image but its dates, by index of this snapshot; regions and tags by their
/// place in [`NamedValues`], because it may not have them. 0 is none.
#[derive(Clone, Copy, PartialEq, Eq)]
struct IndexedWords {
    state: State,
    number_type: NumberType,
    country: Option<Country>,
    account: Index,
    application: Index,
    trunk: Index,
    region: u32,
    tags: u32,
    cost: Option<Money>,
}

/// The regions and tags of all bodies, and their indices in the snapshot, if it has
/// them.
#[derive(Default)]
struct NamedValues {
    regions: Dictionary<Arc<str>>,
    region_indices: Vec<Option<Index>>,
    tags: Dictionary<Tags>,
    tag_indices: Vec<Option<Index>>,
}

impl NamedValues {
    fn region(&mut self, of: &Snapshot, name: &str) -> u32 {
        let name: Arc<str> = name.into();
        let place = self.regions.place(name.clone(), None);
        if place as usize == self.region_indices.len() {
            self.region_indices.push(of.regions.find(&name));
        }
        place + 1
    }

    fn tag_list(&mut self, of: &Snapshot, tags: &[&str]) -> u32 {
        let tags = Tags::new(tags.iter().copied());
        let place = self.tags.place(tags.clone(), None);
        if place as usize == self.tag_indices.len() {
            self.tag_indices.push(of.tags.find(&tags));
        }
        place + 1
    }

    /// Whether an index is that of a code's value.
    fn is(indices: &[Option<Index>], code: u32, index: Index) -> bool {
        match (code as usize).checked_sub(1) {
            None => index == Index::NONE,
            Some(at) => indices[at] == Some(index),
        }
    }
}

/// What one span did, from the run that is next.
struct Cursor<'b> {
    span: (u64, u64),
    runs: NetRuns<'b>,
    run: NetRun,
    words: Vec<IndexedWords>,
    /// The profile of each, once a row was given it.
    profiles: Vec<Option<Index>>,
}

impl Cursor<'_> {
    /// Goes on behind `end`; whether there is more.
    fn pass(&mut self, end: u64) -> Result<bool, Misfit> {
        if self.run.next() > end {
            (self.run.first, self.run.count) = (end, self.run.next() - end);
            return Ok(true);
        }
        let next = self.runs.next_run().map_err(|_| damaged(self.span))?;
        next.into_iter().for_each(|next| self.run = next);
        Ok(next.is_some())
    }

    fn words(&self, image: NetImage) -> &IndexedWords {
        &self.words[image.words as usize]
    }
}

fn damaged((first, last): (u64, u64)) -> Misfit {
    Misfit::NetChange { first, last }
}

/// The spans, merged by number.
struct Merge<'b> {
    /// The earliest span first.
    cursors: Vec<Cursor<'b>>,
    /// The first number that each cursor has next.
    queue: BinaryHeap<Reverse<(u64, usize)>>,
    values: NamedValues,
    /// Those that have the next numbers.
    taken: Vec<usize>,
    held: Vec<UnpackedRun>,
}

impl<'b> Merge<'b> {
    fn new(of: &Snapshot, spans: &'b [NetChange]) -> Result<Merge<'b>, Misfit> {
        let mut values = NamedValues::default();
        let (mut cursors, mut queue) = (Vec::new(), BinaryHeap::new());
        for span in spans.iter().rev() {
            let at = (span.first, span.last);
            let fault = |_: BadNetBody| damaged(at);
            let body = NetBody::read(&span.body).map_err(fault)?;
            let words = indexed(of, &body, &mut values)?;
            let mut runs = body.runs();
            let Some(run) = runs.next_run().map_err(fault)? else { continue };
            queue.push(Reverse((run.first, cursors.len())));
            cursors.push(Cursor { span: at, runs, run, profiles: vec![None; words.len()], words });
        }
        Ok(Merge { cursors, queue, values, taken: Vec::new(), held: Vec::new() })
    }

    /// Takes back what fits into memory; whether there is more.
    fn step(&mut self, snapshot: &mut Snapshot) -> Result<bool, Misfit> {
        let stored = snapshot.rows.clone();
        let (mut seeker, mut edits) = (stored.seeker(), IndexEdits::default());
        while edits.len() < EDITS_MAX {
            let Some((first, end)) = self.take_next() else { break };
            self.edit(snapshot, &mut seeker, (first, end - 1), &mut edits)?;
            for &at in &self.taken {
                if self.cursors[at].pass(end)? {
                    self.queue.push(Reverse((self.cursors[at].run.first, at)));
                }
            }
        }
        edits.make(snapshot);
        Ok(!self.queue.is_empty())
    }

    /// Takes the cursors that have the next numbers, which all of them changed alike:
    /// the first and the one behind the last.
    fn take_next(&mut self) -> Option<(u64, u64)> {
        self.taken.clear();
        let Reverse((first, at)) = self.queue.pop()?;
        let mut end = self.cursors[at].run.next();
        self.taken.push(at);
        while let Some(&Reverse((next, at))) = self.queue.peek() {
            if next != first {
                return Some((first, end.min(next)));
            }
            self.queue.pop();
            end = end.min(self.cursors[at].run.next());
            self.taken.push(at);
        }
        Some((first, end))
    }

    /// Makes the numbers what they were before the earliest of the spans that are
    /// taken.
    fn edit(
        &mut self,
        snapshot: &mut Snapshot,
        seeker: &mut Seeker<'_>,
        (first, last): (u64, u64),
        edits: &mut IndexEdits,
    ) -> Result<(), Misfit> {
        let number = E164::new(first).ok_or_else(|| damaged(self.cursors[self.taken[0]].span))?;
        let misfit = Misfit::Before { number };
        for pair in self.taken.windows(2) {
            let [earlier, later] = [&self.cursors[pair[0]], &self.cursors[pair[1]]];
            let same = match (earlier.run.after, later.run.before) {
                (Some(left), Some(found)) => left.dates == found.dates && earlier.words(left) == later.words(found),
                (left, found) => left.is_none() && found.is_none(),
            };
            if !same {
                return Err(misfit);
            }
        }
        let (Some(&earliest), Some(&latest)) = (self.taken.first(), self.taken.last()) else { return Ok(()) };
        let latest = &self.cursors[latest];
        let after = latest.run.after.map(|image| (*latest.words(image), image.dates));
        let was = self.held(snapshot, seeker, (first, last), after).ok_or(misfit)?;
        let before = self.cursors[earliest].run.before;
        let is = before.map(|image| row(number, 0, self.profile(snapshot, earliest, image), image.dates));
        edits.add(snapshot, (first, last), was, is);
        Ok(())
    }

    /// The row of numbers that must all be as `image` says; the outer `None` if one of
    /// them is not.
    fn held(
        &mut self,
        snapshot: &Snapshot,
        seeker: &mut Seeker<'_>,
        (first, last): (u64, u64),
        image: Option<(IndexedWords, Dates)>,
    ) -> Option<Option<UnpackedRow>> {
        self.held.clear();
        if first == last {
            self.held.extend(seeker.find(first).map(|(leaf, at)| UnpackedRun { row: leaf.row(at), count: 1 }));
        } else {
            seeker.runs(first, last, &mut self.held);
        }
        let Some((words, dates)) = image else { return self.held.is_empty().then_some(None) };
        let mut next = first;
        for UnpackedRun { row, count } in &self.held {
            if row.number.digits() != next || !self.agrees(snapshot, row, &words, dates) {
                return None;
            }
            next += count;
        }
        (next == last + 1).then(|| self.held.first().map(|run| run.row))
    }

    fn agrees(&self, snapshot: &Snapshot, row: &UnpackedRow, words: &IndexedWords, dates: Dates) -> bool {
        let UnpackedRow { assigned_at, expires_at, since, until, .. } = *row;
        let profile = snapshot.profile(row.profile);
        Dates { assigned_at, expires_at, since, until } == dates
            && (profile.state, profile.number_type, profile.country) == (words.state, words.number_type, words.country)
            && (profile.account, profile.application) == (words.account, words.application)
            && (profile.trunk, profile.cost) == (words.trunk, words.cost)
            && NamedValues::is(&self.values.region_indices, words.region, profile.region)
            && NamedValues::is(&self.values.tag_indices, words.tags, profile.tags)
    }

    /// The profile of an image's words.
    fn profile(&mut self, snapshot: &mut Snapshot, cursor: usize, image: NetImage) -> Index {
        let cursor = &mut self.cursors[cursor];
        let at = image.words as usize;
        if let Some(known) = cursor.profiles[at] {
            return known;
        }
        let words = cursor.words[at];
        let region = words.region.checked_sub(1).and_then(|place| self.values.regions.get(place));
        let tags = words.tags.checked_sub(1).and_then(|place| self.values.tags.get(place));
        let profile = Profile {
            state: words.state,
            number_type: words.number_type,
            country: words.country,
            account: words.account,
            application: words.application,
            trunk: words.trunk,
            region: region.map_or(Index::NONE, |region| snapshot.regions.intern(region).0),
            tags: tags.map_or(Index::NONE, |tags| snapshot.tags.intern(tags).0),
            cost: words.cost,
        };
        let index = snapshot.intern(&profile);
        cursor.profiles[at] = Some(index);
        index
    }
}

/// The words of a body by index of the snapshot.
fn indexed(of: &Snapshot, body: &NetBody<'_>, values: &mut NamedValues) -> Result<Vec<IndexedWords>, Misfit> {
    let accounts = indices(&of.accounts, &body.accounts, "account", body)?;
    let applications = indices(&of.applications, &body.applications, "application", body)?;
    let trunks = indices(&of.trunks, &body.trunks, "trunk", body)?;
    let regions: Vec<u32> = body.regions.iter().map(|name| values.region(of, name)).collect();
    let tags: Vec<u32> = body.tags.iter().map(|tags| values.tag_list(of, tags)).collect();
    let index = |indices: &[Index], code: u32| match (code as usize).checked_sub(1) {
        Some(at) => indices[at],
        None => Index::NONE,
    };
    let place = |places: &[u32], code: u32| (code as usize).checked_sub(1).map_or(0, |at| places[at]);
    let words = body.words.iter().map(|words| IndexedWords {
        state: words.state,
        number_type: words.number_type,
        country: words.country,
        account: index(&accounts, words.account),
        application: index(&applications, words.application),
        trunk: index(&trunks, words.trunk),
        region: place(&regions, words.region),
        tags: place(&tags, words.tags),
        cost: words.cost,
    });
    Ok(words.collect())
}

/// Where a table has these ids. One that it lacks is of some number of the body, and
/// the first one stands for it.
fn indices<T: Identified>(
    table: &Table<T>,
    ids: &[&str],
    what: &'static str,
    body: &NetBody<'_>,
) -> Result<Vec<Index>, Misfit> {
    let find = |id: &&str| {
        table.find(id).ok_or_else(|| {
            let first = body.runs().next_run().ok().flatten().and_then(|run| E164::new(run.first));
            match first {
                Some(number) => Misfit::Dangling { number, what, id: (*id).to_owned() },
                None => Misfit::NotCreated,
            }
        })
    };
    ids.iter().map(find).collect()
}
