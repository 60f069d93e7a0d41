//! The rows of a job, a few thousand together, as they are stored.
//!
//! Numbers are runs of neighbours, `[FIRST, COUNT]`; what was found out about
//! them is a list of distinct verdicts and runs that point into it,
//! `[COUNT, PLACE]`. So a million rows that end alike take little more than
//! their numbers. Readable on purpose, as the log is.
//!
//! Invariants: numbers ascend; there are as many verdicts as numbers, or none.

use std::collections::BTreeMap;

use crate::domain::dictionary::Dictionary;
use crate::domain::{Currency, E164, runs};
use crate::store::StoreError;

/// What a month costs more, or less, in minor units of each currency.
pub type MonthlyCosts = BTreeMap<Currency, i128>;

/// How a row ended, or would end.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowOutcome {
    Changed,
    Unchanged,
    Failed,
}

/// What was found out about one row.
#[derive(Clone, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub struct RowVerdict {
    pub ending: RowOutcome,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "MonthlyCosts::is_empty")]
    pub cost: MonthlyCosts,
}

/// Verdicts on rows in their order.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Verdicts {
    distinct: Dictionary<RowVerdict>,
    runs: Vec<(u32, u32)>,
}

impl Verdicts {
    pub fn push(&mut self, verdict: RowVerdict) {
        let place = self.distinct.place(verdict, self.runs.last().map(|run| run.1));
        match self.runs.last_mut() {
            Some((count, last)) if *last == place => *count += 1,
            _ => self.runs.push((1, place)),
        }
    }

    /// Each verdict with how many rows in a row have it.
    pub fn runs(&self) -> impl Iterator<Item = (&RowVerdict, u64)> {
        self.runs.iter().map(|&(count, place)| (&self.distinct.values()[place as usize], u64::from(count)))
    }

    fn each(&self) -> impl Iterator<Item = &RowVerdict> {
        self.runs().flat_map(|(verdict, count)| (0..count).map(move |_| verdict))
    }

    fn check(&self, rows: u64) -> Result<(), StoreError> {
        let places = self.runs.iter().all(|&(_, place)| self.distinct.get(place).is_some());
        let counted: u64 = self.runs.iter().map(|&(count, _)| u64::from(count)).sum();
        if places && counted == rows { Ok(()) } else { Err(corrupt("its verdicts do not fit its rows")) }
    }
}

/// One batch of a job.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct JobBatch {
    /// How many numbers there are.
    rows: u32,
    numbers: Vec<(u64, u32)>,
    /// What a preview found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<Verdicts>,
    /// What was done, once it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<Verdicts>,
    /// The version that doing it made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The version that is undone, where the job undoes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
}

impl JobBatch {
    /// A batch of these numbers, which ascend.
    pub fn new(numbers: impl IntoIterator<Item = E164>) -> JobBatch {
        let runs = runs::runs(numbers);
        let rows = runs.iter().map(|run| run.count as u32).sum();
        let numbers = runs.iter().map(|run| (run.first.digits(), run.count as u32)).collect();
        JobBatch { rows, numbers, ..JobBatch::default() }
    }

    pub fn count(&self) -> u64 {
        u64::from(self.rows)
    }

    pub fn numbers(&self) -> Vec<E164> {
        let runs = self.numbers.iter().flat_map(|&(first, count)| first..first + u64::from(count));
        runs.filter_map(E164::new).collect()
    }

    /// The numbers with what was done to them or, failing that, previewed.
    pub fn rows(&self) -> Vec<(E164, Option<&RowVerdict>)> {
        let verdicts = self.done.as_ref().or(self.preview.as_ref());
        let mut verdicts = verdicts.into_iter().flat_map(Verdicts::each);
        self.numbers().into_iter().map(|number| (number, verdicts.next())).collect()
    }

    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("numbers and verdicts serialise")
    }

    pub fn read(text: &str) -> Result<JobBatch, StoreError> {
        let batch: JobBatch = serde_json::from_str(text).map_err(|error| corrupt(&error.to_string()))?;
        // Checked before anything is made of them: a damaged count must not
        // fill the memory.
        let sizes: u64 = batch.numbers.iter().map(|&(_, count)| u64::from(count)).sum();
        let proper = |&(first, count): &(u64, u32)| {
            E164::new(first).is_some() && E164::new(first + u64::from(count.saturating_sub(1))).is_some()
        };
        if sizes != batch.count() || !batch.numbers.iter().all(proper) {
            return Err(corrupt("its numbers are not what it says"));
        }
        for verdicts in batch.preview.iter().chain(&batch.done) {
            verdicts.check(batch.count())?;
        }
        Ok(batch)
    }
}

/// A batch without its numbers, to count it quickly.
#[derive(serde::Deserialize)]
pub struct Brief {
    rows: u32,
    #[serde(default)]
    preview: Option<Verdicts>,
    #[serde(default)]
    done: Option<Verdicts>,
}

impl Brief {
    pub fn read(text: &str) -> Result<Brief, StoreError> {
        let brief: Brief = serde_json::from_str(text).map_err(|error| corrupt(&error.to_string()))?;
        for verdicts in brief.preview.iter().chain(&brief.done) {
            verdicts.check(u64::from(brief.rows))?;
        }
        Ok(brief)
    }

    pub fn is_done(&self) -> bool {
        self.done.is_some()
    }

    /// How many of its rows are wanted, by the verdict that shows: of what was
    /// done or, failing that, previewed.
    pub fn count(&self, wanted: impl Fn(Option<RowOutcome>) -> bool) -> u64 {
        match self.done.as_ref().or(self.preview.as_ref()) {
            Some(verdicts) => {
                verdicts.runs().filter(|(verdict, _)| wanted(Some(verdict.ending))).map(|(_, count)| count).sum()
            }
            None if wanted(None) => u64::from(self.rows),
            None => 0,
        }
    }
}

fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt { what: format!("a batch of a job: {what}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn verdict(kind: u8) -> RowVerdict {
        let cost = |minor| MonthlyCosts::from([("INR".parse().expect("a currency"), minor)]);
        match kind {
            0 => RowVerdict { ending: RowOutcome::Changed, reason: None, cost: cost(-50_000) },
            1 => RowVerdict { ending: RowOutcome::Unchanged, reason: None, cost: MonthlyCosts::new() },
            kind => RowVerdict {
                ending: RowOutcome::Failed,
                reason: Some(format!("reason {kind}")),
                cost: MonthlyCosts::new(),
            },
        }
    }

    #[test]
    fn a_million_rows_that_end_alike_are_small() {
        let numbers = (0..1_000).filter_map(|at| E164::new(912_271_260_000 + at));
        let mut batch = JobBatch::new(numbers);
        let mut verdicts = Verdicts::default();
        (0..1_000).for_each(|_| verdicts.push(verdict(0)));
        batch.done = Some(verdicts);
        let text = batch.text();
        assert!(text.len() < 150, "{text}");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for text in [
            "",
            "{}",
            r#"{"rows":2,"numbers":[[912271260000,1]]}"#,
            r#"{"rows":1,"numbers":[[7,1]]}"#,
            r#"{"rows":4294967295,"numbers":[[999999999999999,4294967295]]}"#,
            r#"{"rows":1,"numbers":[[912271260000,1]],"done":{"distinct":[],"runs":[[1,0]]}}"#,
            r#"{"rows":1,"numbers":[[912271260000,1]],"done":{"distinct":[{"ending":"changed"}],"runs":[[2,0]]}}"#,
        ] {
            assert!(JobBatch::read(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn reading_undoes_writing(
            rows in prop::collection::btree_map(912_271_260_000_u64..912_271_261_000, 0..5_u8, 0..200),
            of in prop::option::of(1..9_u64),
        ) {
            let numbers: Vec<E164> = rows.keys().filter_map(|&digits| E164::new(digits)).collect();
            let mut verdicts = Verdicts::default();
            rows.values().for_each(|&kind| verdicts.push(verdict(kind)));
            let batch = JobBatch { done: Some(verdicts), of, ..JobBatch::new(numbers.iter().copied()) };
            let back = JobBatch::read(&batch.text()).expect("what was written");
            prop_assert_eq!(back.numbers(), numbers);
            prop_assert_eq!(back.of, of);
            let kinds: Vec<RowVerdict> = back.rows().into_iter().filter_map(|(_, verdict)| verdict.cloned()).collect();
            prop_assert_eq!(kinds, rows.values().map(|&kind| verdict(kind)).collect::<Vec<_>>());
            let brief = Brief::read(&batch.text()).expect("what was written");
            let failed = rows.values().filter(|&&kind| kind > 1).count() as u64;
            prop_assert_eq!(brief.count(|ending| ending == Some(RowOutcome::Failed)), failed);
        }
    }
}
