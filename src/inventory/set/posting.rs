//! Grams and lists: what the two indexes of digits have in common.
//!
//! A gram is four digits in a row. An index posts each entry under the lists that it
//! belongs to, and `sorted` puts the lists one after the other. Deliberately absent:
//! what an entry stands for.

/// How many different grams there are.
pub(super) const GRAMS: usize = 10_000;
pub(super) const GRAM_DIGITS: u32 = 4;

/// The grams inside a group.
pub(super) fn group_grams(group: u64) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(group), |rest| Some(rest / 10))
        .take_while(|&rest| rest >= GRAMS as u64 / 10)
        .map(|rest| (rest % GRAMS as u64) as usize)
}

/// Entries by their lists, of which there are so many, each in the order in which they
/// come, and where each list begins.
pub(super) fn sorted(posted: &[(u16, u16)], lists: usize) -> (Box<[u16]>, Box<[u16]>) {
    let mut begins = vec![0_u16; lists + 1];
    posted.iter().for_each(|&(list, _)| begins[usize::from(list) + 1] += 1);
    (1..=lists).for_each(|list| begins[list] += begins[list - 1]);
    let mut next = begins.clone();
    let mut entries = vec![0; posted.len()];
    for &(list, entry) in posted {
        let at = &mut next[usize::from(list)];
        entries[usize::from(*at)] = entry;
        *at += 1;
    }
    (begins.into(), entries.into())
}
