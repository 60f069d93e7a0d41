//! The last calls that this node refused, for the page of a number.
//!
//! Kept in memory and nowhere else: a node that starts knows none. Invariant: at
//! most [`KEPT`], each of a number that a partner has or that the node could not
//! read; the oldest give way.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::domain::{E164, PartnerKey, Time};
use crate::routing::{Answer, Case};

/// How many refusals a node remembers.
pub const KEPT: usize = 4_096;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct CallRefusal {
    partner: PartnerKey,
    number: E164,
    case: Case,
    at: Time,
}

/// How often a number was refused for one reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RefusalCount {
    pub case: Case,
    pub calls: usize,
    pub last: Time,
}

#[derive(Default)]
pub struct Refusals(Mutex<VecDeque<CallRefusal>>);

impl Refusals {
    /// Records an answer, if it refuses the call to a partner's number.
    pub fn record(&self, answer: &Answer<'_>, at: Time) {
        let Some(row) = answer.row.filter(|_| answer.case() != Case::Routed) else { return };
        let refusal = CallRefusal { partner: row.snapshot().key, number: row.number(), case: answer.case(), at };
        let mut kept = self.0.lock();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(refusal);
    }

    /// The refusals of a partner's number since a moment, by reason; the last
    /// reason first.
    pub fn of(&self, partner: PartnerKey, number: E164, since: Time) -> Vec<RefusalCount> {
        let mut counts: Vec<RefusalCount> = Vec::new();
        let kept = self.0.lock();
        let own = kept.iter().rev().filter(|one| one.partner == partner && one.number == number && one.at >= since);
        for one in own {
            match counts.iter_mut().find(|count| count.case == one.case) {
                Some(count) => count.calls += 1,
                None => counts.push(RefusalCount { case: one.case, calls: 1, last: one.at }),
            }
        }
        counts
    }
}
