//! How a change is written down: the text of its parts, and the chain of
//! digests that makes a rewritten past visible.
//!
//! A part holds what one change did to the numbers of one group of 10,000:
//! `{"images":[IMAGE,…],"runs":[[FIRST,COUNT,BEFORE,AFTER],…]}`. BEFORE and
//! AFTER point into `images` counting from 1; 0 means that the number was not
//! there. A block of 10,000 that comes into stock is one run.
//!
//! An image is a record, or `{"as":N,…}`: as the Nth image, which is a record, but for
//! the fields that follow, `null` where it has none. Numbers that came from one list
//! differ in little. Releases before 0.2.0 neither write nor read `as`, so nothing
//! writes it where one of them may read.
//!
//! Readable on purpose: the log outlives the program that wrote it.

mod image;

use std::borrow::Cow;

use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use self::image::{LogImage, WrittenImage};
use super::{LogEntry, StoreError};
use crate::domain::change::Digest;
use crate::domain::dictionary::Dictionary;
use crate::domain::{E164, EntityChange, Group, NumberChange, PartnerKey, Record, RunChange};

/// First number, count, and the images before and after.
type LogRun = (u64, u32, u32, u32);

#[derive(serde::Serialize, serde::Deserialize)]
struct EntryPart<I> {
    images: Vec<I>,
    runs: Vec<LogRun>,
}

/// Who may read what is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Readers {
    /// Also releases that know no `as`.
    Any,
    /// Releases that know it.
    OfLikeImages,
}

/// One part ready to be stored.
pub struct Encoded {
    pub subject: i64,
    pub body: String,
}

/// The subject of a part that has one number, or minus its group.
pub fn subjects(number: E164) -> [i64; 2] {
    let digits = number.digits() as i64;
    [digits, -(Group::of(number).prefix() as i64)]
}

/// The group that a part's numbers are of, by its subject.
pub fn group(subject: i64) -> u64 {
    match u64::try_from(subject) {
        Ok(digits) => Group::of_digits(digits).prefix(),
        Err(_) => subject.unsigned_abs(),
    }
}

/// Splits sorted changes into parts.
pub fn encode(changes: &[RunChange], readers: Readers) -> impl Iterator<Item = Encoded> {
    let mut left = changes;
    // Of the first of them, the numbers that are in no part yet.
    let mut next = changes.first().map_or(0, |change| change.first.digits());
    std::iter::from_fn(move || {
        let group = Group::of_digits(next);
        let end = (group.prefix() + 1) * Group::SIZE;
        let mut part = PartWriter::default();
        while let Some(change) = left.first().filter(|change| change.first.digits().max(next) < end) {
            let (from, to) = (change.first.digits().max(next), change.next().min(end));
            part.add(from, to - from, change);
            next = to;
            if to == change.next() {
                left = &left[1..];
                next = left.first().map_or(next, |change| change.first.digits());
            }
        }
        part.encoded(readers)
    })
}

/// A part of an entry in the making.
#[derive(Default)]
struct PartWriter<'a> {
    images: Dictionary<&'a Record>,
    runs: Vec<LogRun>,
}

impl<'a> PartWriter<'a> {
    fn add(&mut self, number: u64, numbers: u64, change: &'a RunChange) {
        let (b, a) = self.runs.last().map_or((0, 0), |&(_, _, b, a)| (b, a));
        let before = self.image(change.before.as_ref(), b);
        let after = self.image(change.after.as_ref(), a);
        match self.runs.last_mut() {
            Some((first, count, b, a)) if *first + u64::from(*count) == number && (*b, *a) == (before, after) => {
                *count += numbers as u32;
            }
            _ => self.runs.push((number, numbers as u32, before, after)),
        }
    }

    /// The place of an image; 0 is none. `near` is that of the run before.
    fn image(&mut self, image: Option<&'a Record>, near: u32) -> u32 {
        image.map_or(0, |image| self.images.place(image, near.checked_sub(1)) + 1)
    }

    fn encoded(self, readers: Readers) -> Option<Encoded> {
        let PartWriter { images, runs } = self;
        let &(first, count, ..) = runs.first()?;
        let [number, minus_group] = subjects(E164::new(first)?);
        let subject = if (runs.len(), count) == (1, 1) { number } else { minus_group };
        let images = match readers {
            Readers::OfLikeImages => WrittenImage::all(images.values()),
            Readers::Any => images.into_values().into_iter().map(WrittenImage::Whole).collect(),
        };
        let body = serde_json::to_string(&EntryPart { images, runs }).expect("records serialise");
        Some(Encoded { subject, body })
    }
}

/// An image as a part was read.
trait ReadImage {
    fn read(&self) -> Result<Cow<'_, LogImage>, StoreError>;
}

impl ReadImage for LogImage {
    fn read(&self) -> Result<Cow<'_, LogImage>, StoreError> {
        Ok(Cow::Borrowed(self))
    }
}

impl ReadImage for &RawValue {
    fn read(&self) -> Result<Cow<'_, LogImage>, StoreError> {
        let read = serde_json::from_str(self.get());
        read.map(Cow::Owned).map_err(|error| corrupt(format!("an image in the log: {error}")))
    }
}

impl<'a, I: ReadImage + serde::Deserialize<'a>> EntryPart<I> {
    fn read(body: &'a str) -> Result<EntryPart<I>, StoreError> {
        let part: EntryPart<I> =
            serde_json::from_str(body).map_err(|error| corrupt(format!("a part of the log: {error}")))?;
        for &(first, count, ..) in &part.runs {
            // A damaged count must not fill the memory, nor a damaged first
            // number overflow.
            let last = first.checked_add(u64::from(count.saturating_sub(1))).and_then(E164::new);
            if u64::from(count) > Group::SIZE || E164::new(first).is_none() || last.is_none() {
                return Err(corrupt(format!("a part of the log has a run of {count} numbers from {first}")));
            }
        }
        Ok(part)
    }

    /// The image at a place; none where the number was not there.
    fn image(&self, at: u32) -> Result<Option<Record>, StoreError> {
        if at == 0 {
            return Ok(None);
        }
        let place = |at: u32| {
            let absent = || corrupt(format!("a part of the log refers to image {at}, which it does not have"));
            self.images.get((at as usize).wrapping_sub(1)).ok_or_else(absent)?.read()
        };
        let image = place(at)?;
        let base = image.like.map(place).transpose()?;
        let record = image.record(base.as_deref());
        record.map(Some).ok_or_else(|| corrupt(format!("image {at} of a part of the log is no record")))
    }
}

/// Reads a part back into changes, in number order.
pub fn decode(body: &str, out: &mut Vec<RunChange>) -> Result<(), StoreError> {
    let part: EntryPart<LogImage> = EntryPart::read(body)?;
    for &(first, count, before, after) in part.runs.iter().filter(|run| run.1 > 0) {
        let (before, after) = (part.image(before)?, part.image(after)?);
        let first = E164::new(first).ok_or_else(|| corrupt(format!("number {first} in the log")))?;
        out.push(RunChange { first, count: u64::from(count), before, after });
    }
    Ok(())
}

/// Reads what a part left of its numbers, run by run: the first, how many, and
/// their image.
pub fn runs(
    body: &str,
    mut take: impl FnMut(E164, u64, Option<&Record>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let part: EntryPart<LogImage> = EntryPart::read(body)?;
    for &(first, count, _, after) in &part.runs {
        let first = E164::new(first).ok_or_else(|| corrupt(format!("number {first} in the log")))?;
        take(first, u64::from(count), part.image(after)?.as_ref())?;
    }
    Ok(())
}

/// Adds `count` numbers from `first` on that all changed alike.
fn push(
    out: &mut Vec<NumberChange>,
    first: u64,
    count: u64,
    before: Option<Record>,
    after: Option<Record>,
) -> Result<(), StoreError> {
    for digits in first..first + count {
        let number = E164::new(digits).ok_or_else(|| corrupt(format!("number {digits} in the log")))?;
        out.push(NumberChange { number, before: before.clone(), after: after.clone() });
    }
    Ok(())
}

/// Makes what was decoded from all parts of a change, in their order, sorted and
/// each number in one change: from its first image to its last.
pub fn merge_runs(runs: &mut Vec<RunChange>) {
    let mut bounds: Vec<(u64, u64)> = runs.iter().map(|run| (run.first.digits(), run.next())).collect();
    bounds.sort_unstable();
    if bounds.windows(2).all(|pair| pair[0].1 <= pair[1].0) {
        runs.sort_unstable_by_key(|run| run.first);
        return;
    }
    let mut numbers = runs.iter().flat_map(RunChange::numbers).collect();
    merge(&mut numbers);
    *runs = RunChange::all(numbers);
}

/// The same of single numbers.
pub fn merge(numbers: &mut Vec<NumberChange>) {
    // Parts of a large change come in batches, each sorted; the sort is stable.
    numbers.sort_by_key(|change: &NumberChange| change.number);
    numbers.dedup_by(|later, first| {
        let same = later.number == first.number;
        if same {
            first.after = later.after.take();
        }
        same
    });
}

/// A part of which only a few numbers are wanted: only their images are read.
pub struct Skimmed<'a>(EntryPart<&'a RawValue>);

impl<'a> Skimmed<'a> {
    pub fn read(body: &'a str) -> Result<Skimmed<'a>, StoreError> {
        Ok(Skimmed(EntryPart::read(body)?))
    }

    /// The group of 10,000 that all its numbers are of.
    pub fn group(&self) -> u64 {
        self.0.runs.first().map_or(0, |run| Group::of_digits(run.0).prefix())
    }

    pub fn count(&self) -> u64 {
        self.0.runs.iter().map(|run| u64::from(run.1)).sum()
    }

    /// Its numbers, in order.
    pub fn digits(&self) -> impl Iterator<Item = u64> {
        self.0.runs.iter().flat_map(|&(first, count, ..)| first..first + u64::from(count))
    }

    pub fn find(&self, number: E164) -> Result<Option<NumberChange>, StoreError> {
        let digits = number.digits();
        let run = self.0.runs.iter().find(|run| (run.0..run.0 + u64::from(run.1)).contains(&digits));
        let Some(&(_, _, before, after)) = run else { return Ok(None) };
        Ok(Some(NumberChange { number, before: self.0.image(before)?, after: self.0.image(after)? }))
    }

    /// Reads the changes from the one at `skip` on, at most `limit`.
    pub fn window(&self, mut skip: u64, limit: usize, out: &mut Vec<NumberChange>) -> Result<(), StoreError> {
        let full = out.len() + limit;
        for &(first, count, before, after) in &self.0.runs {
            let count = u64::from(count);
            let take = count.saturating_sub(skip).min((full - out.len()) as u64);
            if take > 0 {
                push(out, first + skip, take, self.0.image(before)?, self.0.image(after)?)?;
            }
            skip = skip.saturating_sub(count);
            if out.len() == full {
                break;
            }
        }
        Ok(())
    }
}

fn corrupt(what: String) -> StoreError {
    StoreError::Corrupt { what }
}

/// The digest of one change, fed its parts as they are written or read.
pub struct Chain {
    hash: Sha256,
}

impl Chain {
    pub fn new() -> Chain {
        Chain { hash: Sha256::new() }
    }

    pub fn part(&mut self, subject: i64, body: &str) {
        self.hash.update(subject.to_le_bytes());
        self.hash.update((body.len() as u64).to_le_bytes());
        self.hash.update(body.as_bytes());
    }

    pub fn finish(
        mut self,
        key: PartnerKey,
        version: u64,
        entry: &LogEntry,
        entities: &str,
        previous: &Digest,
    ) -> Digest {
        let header = serde_json::json!([
            key.0,
            version,
            entry.at.seconds(),
            entry.actor.to_string(),
            entry.request_id,
            entry.verb.as_str(),
            entities,
        ]);
        self.hash.update(header.to_string().as_bytes());
        self.hash.update(previous);
        self.hash.finalize().into()
    }
}

impl Default for Chain {
    fn default() -> Chain {
        Chain::new()
    }
}

/// The text of a change's entities.
pub fn encode_entities(entities: &[EntityChange]) -> String {
    serde_json::to_string(entities).expect("entities serialise")
}

pub fn decode_entities(text: &str) -> Result<Vec<EntityChange>, StoreError> {
    serde_json::from_str(text)
        .map_err(|error| StoreError::Corrupt { what: format!("the entities of a change: {error}") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{NumberType, State, Tags, Time};
    use proptest::prelude::*;

    fn record(cost: i64, tag: &str) -> Record {
        let currency = "INR".parse().expect("a currency");
        Record {
            region: Some("Mumbai".into()),
            cost: Some(crate::domain::Money { minor: cost, currency }),
            tags: Tags::new([tag]),
            ..Record::bare(State::Available, NumberType::Local, Time::new(1_770_000_000).expect("a time"))
        }
    }

    #[test]
    fn a_block_is_one_run() {
        let image = record(1, "a");
        let changes: Vec<NumberChange> = (912_271_260_000..912_271_270_000)
            .map(|digits| NumberChange {
                number: E164::new(digits).expect("a number"),
                before: None,
                after: Some(image.clone()),
            })
            .collect();
        let parts: Vec<Encoded> = encode(&RunChange::all(changes), Readers::Any).collect();
        assert_eq!(parts.len(), 1);
        assert_eq!(parts[0].subject, -91_227_126);
        assert!(parts[0].body.len() < 400, "{}", parts[0].body);
    }

    /// The text of the part of numbers that came into stock with these images.
    fn written(images: &[Record], readers: Readers) -> String {
        let changes = images.iter().zip(912_271_260_000..).map(|(image, digits)| NumberChange {
            number: E164::new(digits).expect("a number"),
            before: None,
            after: Some(image.clone()),
        });
        encode(&RunChange::all(changes), readers).map(|part| part.body).collect()
    }

    #[test]
    fn images_in_one_state_are_as_the_first() {
        let time = |seconds: i64| Time::new(1_770_000_000 + seconds).expect("a time");
        let first = Record { expires_at: Some(time(1)), ..record(1, "a") };
        let retired = Record { state: State::Quarantined, until: Some(time(9)), ..record(1, "a") };
        let last = Record { expires_at: None, until: Some(time(5)), tags: Tags::default(), ..first.clone() };
        let images = [first.clone(), Record { expires_at: Some(time(2)), ..first }, retired, last];
        let text = written(&images, Readers::OfLikeImages);
        for like in [
            r#",{"as":1,"expires_at":"2026-02-02T02:40:02Z"},{"state":"quarantined","#,
            r#",{"as":1,"expires_at":null,"until":"2026-02-02T02:40:05Z","tags":[]}],"runs":"#,
        ] {
            assert!(text.contains(like), "{text}");
        }
        let whole = written(&images, Readers::Any);
        assert!(!whole.contains("\"as\""), "{whole}");
        for body in [&text, &whole] {
            let mut back = Vec::new();
            decode(body, &mut back).expect("what was encoded");
            assert!(back.iter().map(|run| run.after.as_ref()).eq(images.iter().map(Some)), "{body}");
        }
        // One image is as it always was.
        assert_eq!(written(&images[..1], Readers::OfLikeImages), written(&images[..1], Readers::Any));
    }

    #[test]
    fn images_that_are_no_records_are_damage() {
        let whole = serde_json::to_string(&record(1, "a")).expect("text");
        let cases = [
            (r#"{"as":4}"#, 2, "refers to image 4, which it does not have"),
            (r#"{"as":0}"#, 2, "refers to image 0, which it does not have"),
            (r#"{"as":1}"#, 4, "refers to image 4, which it does not have"),
            (r#"{"as":2}"#, 2, "image 2 of a part of the log is no record"),
            (r#"{"as":3}"#, 2, "image 2 of a part of the log is no record"),
            (r#"{"state":"available"}"#, 2, "image 2 of a part of the log is no record"),
            (r#"{"as":1,"since":null}"#, 2, "null"),
            (r#"{"as":1,"cost":7}"#, 2, "7"),
        ];
        for (image, after, wanted) in cases {
            let runs = format!("[[912271260000,1,0,{after}]]");
            let body = format!(r#"{{"images":[{whole},{image},{{"as":1}}],"runs":{runs}}}"#);
            let error = decode(&body, &mut Vec::new()).expect_err(&body).to_string();
            assert!(error.contains(wanted), "{body}: {error}");
            let skimmed =
                Skimmed::read(&body).and_then(|part| part.find(E164::new(912_271_260_000).expect("a number")));
            assert!(skimmed.expect_err(&body).to_string().contains(wanted), "{body}");
        }
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(
            edits in prop::collection::btree_map(912_271_260_000_u64..912_271_290_000, (0..12_i64, 0..12_i64), 0..200),
            readers in prop::sample::select(vec![Readers::Any, Readers::OfLikeImages]),
            skip in 0..150_usize,
            limit in 0..150_usize,
        ) {
            // Three costs, each in two states, with a date or without.
            let image = |kind: i64| {
                let state = if kind % 2 == 0 { State::Available } else { State::Suspended };
                let expires_at = Time::new(1_780_000_000).filter(|_| kind % 4 > 1);
                (kind > 0).then(|| Record { state, expires_at, ..record(kind / 4, "t") })
            };
            let changes: Vec<NumberChange> = edits
                .into_iter()
                .map(|(digits, (before, after))| NumberChange {
                    number: E164::new(digits).expect("a number"),
                    before: image(before),
                    after: image(after),
                })
                .collect();
            let mut back = Vec::new();
            for part in encode(&RunChange::all(changes.iter().cloned()), readers) {
                let before = back.len();
                let mut runs = Vec::new();
                decode(&part.body, &mut runs).expect("what was encoded");
                back.extend(runs.iter().flat_map(RunChange::numbers));
                let decoded = &back[before..];
                let skimmed = Skimmed::read(&part.body).expect("what was encoded");
                prop_assert_eq!(skimmed.count(), decoded.len() as u64);
                prop_assert_eq!(skimmed.group(), Group::of(decoded[0].number).prefix());
                prop_assert!(skimmed.digits().eq(decoded.iter().map(|change| change.number.digits())));
                let mut shown = Vec::new();
                skimmed.window(skip as u64, limit, &mut shown).expect("what was encoded");
                prop_assert!(shown.iter().eq(decoded.iter().skip(skip).take(limit)));
                for change in decoded.iter().take(5) {
                    let found = skimmed.find(change.number).expect("reads");
                    prop_assert_eq!(found.as_ref(), Some(change));
                }
                let absent = E164::new(decoded[decoded.len() - 1].number.digits() + 1).expect("a number");
                prop_assert_eq!(skimmed.find(absent).expect("reads"), None);
            }
            prop_assert_eq!(back, changes);
        }
    }
}
