//! Four digits in groups that are full, counted without a look at each group.
//!
//! In a full group every ending is there, so how many numbers have the digits is
//! decided by the group's own digits: all of them if the digits are in the group;
//! else the endings that have them, and those that go on with the group's last one,
//! two or three digits. Most groups end in none of the digits that are looked for, and
//! all count the same. So a chunk keeps its full groups in the order of their last
//! digits read backwards, of which a search looks at three runs, and the grams inside
//! of its groups, of which it looks up one.
//!
//! Made by the first search of a chunk. Deliberately absent: groups that are not
//! full, which are named and counted by their endings.

use super::Endings;
use crate::inventory::pattern::{DigitPattern, Hit};
use crate::inventory::sieve::Sieve;

/// How many of a group's last digits may be part of four that straddle it.
const CLASSES: u64 = 1_000;

/// Which groups of a chunk are full. Groups are named by their place in the chunk.
#[derive(Clone)]
pub struct SolidGroups {
    /// The last three digits of the full ones, read backwards, ascending.
    by_end: Box<[u16]>,
    /// The full ones by the grams inside of them.
    grams: Box<[(u16, u16)]>,
    /// The others.
    rest: Box<[u16]>,
}

impl SolidGroups {
    /// None where most groups are not full.
    pub(super) fn of(groups: &[(u64, Endings)]) -> Option<SolidGroups> {
        let (mut by_end, mut grams, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        for (at, (group, endings)) in groups.iter().enumerate() {
            let place = at as u16;
            if !endings.is_full() {
                rest.push(place);
                continue;
            }
            by_end.push(backwards(*group));
            let inside = super::grams::group_grams(*group).map(|gram| (gram as u16, place));
            grams.extend(inside);
        }
        if by_end.len() < rest.len() {
            return None;
        }
        by_end.sort_unstable();
        grams.sort_unstable();
        grams.dedup();
        Some(SolidGroups { by_end: by_end.into(), grams: grams.into(), rest: rest.into() })
    }

    /// The full groups that end so, read backwards: from one to before another.
    fn ending(&self, from: u16, to: u16) -> &[u16] {
        let begin = self.by_end.partition_point(|end| *end < from);
        let count = self.by_end[begin..].partition_point(|end| *end < to);
        &self.by_end[begin..begin + count]
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<SolidGroups>() + (self.by_end.len() + self.rest.len()) * 2 + self.grams.len() * 4
    }
}

/// The last three digits of a group read backwards.
fn backwards(group: u64) -> u16 {
    (group % 10 * 100 + group / 10 % 10 * 10 + group / 100 % 10) as u16
}

/// A search of four digits anywhere, over many chunks.
pub struct SolidSearch<'d> {
    digits: &'d DigitPattern,
    value: u16,
    /// By the last three digits of a full group that does not have the digits in it:
    /// how many of its numbers match, once that is known.
    classes: Box<[u16]>,
    own: Sieve,
}

impl<'d> SolidSearch<'d> {
    /// None for other searches.
    pub fn of(digits: &'d DigitPattern) -> Option<SolidSearch<'d>> {
        let value = digits.anywhere().filter(|_| digits.digits() == 4)?;
        let classes = vec![0; CLASSES as usize].into();
        Some(SolidSearch { digits, value: value as u16, classes, own: Sieve::CLOSED })
    }

    /// How many numbers of some groups match.
    pub(super) fn count(&mut self, solid: &SolidGroups, groups: &[(u64, Endings)]) -> usize {
        let plain = self.digits.endings().count();
        let mut count = solid.by_end.len() * plain;
        let [first, second, third] = [1_000, 100, 10].map(|power| self.value / power % 10);
        let mut ends = vec![(first * 100, 100)];
        ends.extend((second != first).then_some((second * 100 + first * 10, 10)));
        ends.extend((third != first).then_some((third * 100 + second * 10 + first, 1)));
        for (from, ends) in ends {
            for &end in solid.ending(from, from + ends) {
                count += self.class(backwards(u64::from(end))) - plain;
            }
        }
        // A group that has the digits counts whole, whatever it ends in.
        let value = self.value;
        let inside = solid.grams.partition_point(|(gram, _)| *gram < value);
        for &(_, place) in solid.grams[inside..].iter().take_while(|(gram, _)| *gram == value) {
            count += super::ENDINGS - self.class((groups[usize::from(place)].0 % CLASSES) as u16);
        }
        for &place in &solid.rest {
            let (group, endings) = &groups[usize::from(place)];
            count += match self.digits.in_group(*group, &mut self.own) {
                Hit::None => 0,
                Hit::All => endings.count(),
                Hit::Shared => endings.count_in(self.digits.endings()),
                Hit::Own => endings.count_in(&self.own),
            };
        }
        count
    }

    /// How many numbers of a full group match by its last three digits.
    fn class(&mut self, class: u16) -> usize {
        let known = &mut self.classes[usize::from(class)];
        if *known == 0 {
            let group = CLASSES + u64::from(class);
            *known = match self.digits.straddles(group, &mut self.own) {
                true => self.own.count() as u16,
                false => self.digits.endings().count() as u16,
            };
        }
        usize::from(*known)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ENDINGS, Set};
    use super::*;
    use crate::inventory::Pattern;
    use crate::inventory::set::GroupMembers;

    #[test]
    fn full_groups_are_counted_as_each_of_them_is() {
        let mut numbers: Vec<u64> = (331_420..331_900).flat_map(|group| group * 10_000..(group + 1) * 10_000).collect();
        // Holes, so that some groups are not full; and groups with repeated digits.
        numbers.retain(|number| number % 1_234_567 != 3);
        numbers.extend((3_333_333..3_333_400).flat_map(|group| group * 10_000..group * 10_000 + 10_000));
        let set = Set::of(numbers);
        let mut solid = 0;
        for value in (0..10_000).step_by(7).chain([3_333, 3_314, 1_414, 3_142, 0, 9_999, 3_133]) {
            let search = format!("{value:04}");
            let digits = DigitPattern::of(Pattern::parse(&search).expect("a pattern")).expect("digits");
            let mut by_end = SolidSearch::of(&digits).expect("four digits");
            let mut own = Sieve::CLOSED;
            let mut count = |(group, members): (u64, GroupMembers<'_>)| match digits.in_group(group, &mut own) {
                Hit::None => 0,
                Hit::All => members.count(),
                Hit::Shared => members.count_in(digits.endings()),
                Hit::Own => members.count_in(&own),
            };
            for part in set.parts() {
                for chunk in set.chunks_of(part) {
                    let expected: usize = chunk.groups().map(&mut count).sum();
                    if let Some((found, first, last)) = chunk.search(&mut by_end) {
                        assert_eq!(found, expected, "{search}");
                        assert!(first < last && last % ENDINGS as u64 == 9_999);
                        solid += 1;
                    }
                }
            }
        }
        assert!(solid > 1_400, "{solid}");
    }
}
