//! Lists of numbers as runs of neighbours, and the groups that long lists are cut
//! into.
//!
//! A block of numbers is mostly assigned, routed and released together, so a
//! million numbers are a few runs.
//! Deliberately absent: what is known about the numbers.

use super::E164;

/// Neighbouring numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct NumberRun {
    pub first: E164,
    pub count: u64,
}

impl NumberRun {
    /// The numbers from one to another; none if there are none.
    pub fn between(first: u64, last: u64) -> Option<NumberRun> {
        let count = (last + 1).checked_sub(first).filter(|count| *count > 0)?;
        E164::new(last)?;
        Some(NumberRun { first: E164::new(first)?, count })
    }

    /// Its last number.
    pub fn last(self) -> E164 {
        E164::new(self.first.digits() + self.count - 1).unwrap_or(self.first)
    }

    /// The same by groups of 10,000.
    pub fn by_group(self) -> impl Iterator<Item = NumberRun> {
        let (first, last) = (self.first.digits(), self.last().digits());
        let groups = first / Group::SIZE..=last / Group::SIZE;
        groups.filter_map(move |group| {
            let begin = group * Group::SIZE;
            NumberRun::between(begin.max(first), (begin + Group::SIZE - 1).min(last))
        })
    }

    pub fn numbers(self) -> impl Iterator<Item = E164> {
        (self.first.digits()..self.first.digits().saturating_add(self.count)).filter_map(E164::new)
    }
}

/// The runs of numbers that ascend.
pub fn runs(numbers: impl IntoIterator<Item = E164>) -> Vec<NumberRun> {
    let mut runs: Vec<NumberRun> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some(run) if run.first.digits() + run.count == number.digits() => run.count += 1,
            _ => runs.push(NumberRun { first: number, count: 1 }),
        }
    }
    runs
}

/// The numbers that differ in their last four digits only. The log stores what a
/// change did to a group as one part.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Group(u64);

impl Group {
    /// How many numbers a group has.
    pub const SIZE: u64 = 10_000;

    pub fn of(number: E164) -> Group {
        Group::of_digits(number.digits())
    }

    /// The same of digits that are not checked yet.
    pub fn of_digits(digits: u64) -> Group {
        Group(digits / Group::SIZE)
    }

    /// The digits that its numbers share.
    pub fn prefix(self) -> u64 {
        self.0
    }
}

/// How many of these, sorted by number, are written together: about `step`, up to
/// the end of a group, so that the changes of a group are one part of the log.
pub fn cut<T>(all: &[T], step: usize, number: impl Fn(&T) -> E164) -> usize {
    let group = |one: &T| Group::of(number(one));
    let end = step.min(all.len());
    let Some(last) = end.checked_sub(1).map(|at| group(&all[at])) else { return 0 };
    end + all[end..].partition_point(|one| group(one) == last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(digits: &[u64]) -> Vec<E164> {
        digits.iter().map(|&digits| E164::new(digits).expect("a number")).collect()
    }

    #[test]
    fn neighbours_are_one_run() {
        for (digits, expected) in [
            (&[][..], &[][..]),
            (&[4_930_000_001], &[(4_930_000_001, 1)]),
            (&[4_930_000_001, 4_930_000_002, 4_930_000_009], &[(4_930_000_001, 2), (4_930_000_009, 1)]),
        ] {
            let of = runs(numbers(digits));
            assert_eq!(of.iter().map(|run| (run.first.digits(), run.count)).collect::<Vec<_>>(), expected);
            assert_eq!(of.into_iter().flat_map(NumberRun::numbers).collect::<Vec<_>>(), numbers(digits));
        }
    }

    #[test]
    fn a_run_is_cut_into_groups() {
        let run = NumberRun::between(4_930_009_998, 4_930_020_000).expect("a run");
        let groups: Vec<(u64, u64)> = run.by_group().map(|run| (run.first.digits(), run.count)).collect();
        assert_eq!(groups, [(4_930_009_998, 2), (4_930_010_000, 10_000), (4_930_020_000, 1)]);
        assert_eq!((run.last().digits(), run.count), (4_930_020_000, 10_003));
        assert_eq!(NumberRun::between(4_930_000_001, 4_930_000_000), None);
    }

    #[test]
    fn lists_are_cut_where_a_group_ends() {
        let all = numbers(&[4_930_009_998, 4_930_009_999, 4_930_010_000, 4_930_010_001]);
        for (step, expected) in [(0, 0), (1, 2), (2, 2), (3, 4), (9, 4)] {
            assert_eq!(cut(&all, step, |number| *number), expected, "{step}");
        }
        assert_eq!(cut(&[], 5, |number: &E164| *number), 0);
    }
}
