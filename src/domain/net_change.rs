//! What the changes of a span of versions did together to each number, in few bytes.
//!
//! A body has the runs of numbers in ascending order, each with its image before the
//! first of the changes and its image after the last. Images are dictionary-encoded
//! twice: texts once each, and all that an image says but its dates as one entry
//! of [`NetWords`]. Dates are differences, since every number may have its own. A
//! number takes about 20 bytes, and reading it allocates nothing.
//!
//! Invariants: runs ascend and do not overlap; reading checks every length, code and
//! time, so damaged bytes are an error and never a panic or a lot of memory.
//! Deliberately absent: the log, which has the same changes one by one and for
//! people. A body is derived from it and can be made again.

use std::hash::{BuildHasherDefault, Hasher};

use super::change::Digest;
use super::dictionary::Dictionary;
use super::{
    AccountId, ApplicationId, Country, Currency, Dates, E164, EntityChange, Money, NumberType, Record, RunChange,
    State, Tags, Time, TrunkId,
};

/// The first byte of a body: how the rest is written.
const FORMAT: u8 = 1;

/// All changes of a partner from one version to another, together.
#[derive(Clone, PartialEq, Debug)]
pub struct NetChange {
    /// The first and the last of the versions.
    pub first: u64,
    pub last: u64,
    /// The time of the first change.
    pub at: Time,
    /// The digest of the change before the first, and that of the last.
    pub previous: Digest,
    pub head: Digest,
    /// Those of each change, in their order.
    pub entities: Vec<EntityChange>,
    /// What they did to numbers: for [`NetBody::read`].
    pub body: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the body of a net change is damaged")]
pub struct BadNetBody;

/// All of an image but its dates. Codes count from 1 and name texts of the body;
/// 0 is none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NetWords {
    pub state: State,
    pub number_type: NumberType,
    pub country: Option<Country>,
    pub account: u32,
    pub application: u32,
    pub trunk: u32,
    pub region: u32,
    pub tags: u32,
    pub cost: Option<Money>,
}

/// A number as it was or is: the place of its words, and its dates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NetImage {
    pub words: u32,
    pub dates: Dates,
}

/// Numbers that ascend by one and changed alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NetRun {
    pub first: u64,
    pub count: u64,
    pub before: Option<NetImage>,
    pub after: Option<NetImage>,
}

impl NetRun {
    /// The digits after its last number.
    pub fn next(&self) -> u64 {
        self.first + self.count
    }
}

/// A body, of which only the dictionaries were read.
#[derive(Clone, Debug)]
pub struct NetBody<'b> {
    pub accounts: Vec<&'b str>,
    pub applications: Vec<&'b str>,
    pub trunks: Vec<&'b str>,
    pub regions: Vec<&'b str>,
    pub tags: Vec<Vec<&'b str>>,
    pub words: Vec<NetWords>,
    base: i64,
    count: u64,
    runs: &'b [u8],
}

// ---- writing

/// A hasher for keys of a few integers, of which there may be millions.
#[derive(Default)]
struct CodeHasher(u64);

impl Hasher for CodeHasher {
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            self.write_u64(chunk.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(23) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(value.into());
    }

    fn write_i64(&mut self, value: i64) {
        self.write_u64(value as u64);
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u64(value as u64);
    }
}

/// The texts of one kind, each once, and the last one used.
struct Texts<'r, T: ?Sized> {
    known: Dictionary<&'r T>,
    last: Option<u32>,
}

impl<T: ?Sized> Default for Texts<'_, T> {
    fn default() -> Self {
        Texts { known: Dictionary::default(), last: None }
    }
}

impl<'r, T: Eq + std::hash::Hash + ?Sized> Texts<'r, T> {
    fn code(&mut self, text: Option<&'r T>) -> u32 {
        let Some(text) = text else { return 0 };
        let place = self.known.place(text, self.last);
        self.last = Some(place);
        place + 1
    }
}

/// Writes a body, run by run.
#[derive(Default)]
struct NetBodyWriter<'r> {
    accounts: Texts<'r, str>,
    applications: Texts<'r, str>,
    trunks: Texts<'r, str>,
    regions: Texts<'r, str>,
    tags: Texts<'r, Tags>,
    words: Dictionary<NetWords, BuildHasherDefault<CodeHasher>>,
    /// The words of the last images before and after.
    near: [Option<u32>; 2],
    /// And their dates.
    before: Option<Dates>,
    after: Option<Dates>,
    base: i64,
    next: u64,
    count: u64,
    runs: Vec<u8>,
}

/// Writes what changes did to numbers; `runs` are sorted, each number once. Times
/// near `at` take the fewest bytes.
pub fn net_body<'r>(at: Time, runs: impl IntoIterator<Item = &'r RunChange>) -> Vec<u8> {
    let mut writer = NetBodyWriter { base: at.seconds(), ..NetBodyWriter::default() };
    runs.into_iter().for_each(|run| writer.add(run));
    writer.finish()
}

impl<'r> NetBodyWriter<'r> {
    fn add(&mut self, run: &'r RunChange) {
        let first = run.first.digits();
        put(&mut self.runs, (first - self.next) << 1 | u64::from(run.count != 1));
        if run.count != 1 {
            put(&mut self.runs, run.count);
        }
        (self.next, self.count) = (run.next(), self.count + 1);
        let [before, after] = [(0, &run.before), (1, &run.after)].map(|(side, image)| self.words(side, image.as_ref()));
        put(&mut self.runs, before);
        if let Some(image) = &run.before {
            put_dates(&mut self.runs, image.dates(), self.before, self.base);
            self.before = Some(image.dates());
        }
        put(&mut self.runs, after);
        if let Some(image) = &run.after {
            let near = run.before.as_ref().map(Record::dates).or(self.after);
            put_dates(&mut self.runs, image.dates(), near, self.base);
            self.after = Some(image.dates());
        }
    }

    /// One more than the place of an image's words; 0 is no image.
    fn words(&mut self, side: usize, image: Option<&'r Record>) -> u64 {
        let Some(image) = image else { return 0 };
        let words = NetWords {
            state: image.state,
            number_type: image.number_type,
            country: image.country,
            account: self.accounts.code(image.account.as_ref().map(AccountId::as_str)),
            application: self.applications.code(image.application.as_ref().map(ApplicationId::as_str)),
            trunk: self.trunks.code(image.trunk.as_ref().map(TrunkId::as_str)),
            region: self.regions.code(image.region.as_deref()),
            tags: self.tags.code(Some(&image.tags).filter(|tags| !tags.is_empty())),
            cost: image.cost,
        };
        let place = self.words.place(words, self.near[side]);
        self.near[side] = Some(place);
        u64::from(place) + 1
    }

    fn finish(self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        put_signed(&mut out, self.base);
        for texts in [&self.accounts, &self.applications, &self.trunks, &self.regions] {
            put(&mut out, texts.known.values().len() as u64);
            texts.known.values().iter().for_each(|text| put_text(&mut out, text));
        }
        put(&mut out, self.tags.known.values().len() as u64);
        for tags in self.tags.known.values() {
            put(&mut out, tags.iter().count() as u64);
            tags.iter().for_each(|tag| put_text(&mut out, tag));
        }
        put(&mut out, self.words.values().len() as u64);
        self.words.values().iter().for_each(|words| put_words(&mut out, words));
        put(&mut out, self.count);
        out.extend(self.runs);
        out
    }
}

/// An integer in groups of seven bits, the lowest first (LEB128).
fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Small values of either sign are small.
fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, (value << 1 ^ value >> 63) as u64);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put(out, text.len() as u64);
    out.extend(text.as_bytes());
}

/// Which of two things words have.
const HAS_COUNTRY: u8 = 1;
const HAS_COST: u8 = 2;

fn put_words(out: &mut Vec<u8>, words: &NetWords) {
    let NetWords { state, number_type, country, account, application, trunk, region, tags, cost } = *words;
    let place = |of: Option<usize>| of.unwrap_or_default() as u8;
    out.push(place(State::ALL.iter().position(|one| *one == state)));
    out.push(place(NumberType::ALL.iter().position(|one| *one == number_type)));
    out.push(u8::from(country.is_some()) * HAS_COUNTRY + u8::from(cost.is_some()) * HAS_COST);
    out.extend(country.into_iter().flat_map(Country::bytes));
    if let Some(Money { minor, currency }) = cost {
        out.extend(currency.code().as_bytes());
        put_signed(out, minor);
    }
    [account, application, trunk, region, tags].iter().for_each(|&code| put(out, code.into()));
}

/// How a time is written: two bits of the byte before the four times.
const NONE: u8 = 0;
/// As the same time of the dates before.
const NEAR: u8 = 1;
/// As the moment since when the number is in its state.
const SINCE: u8 = 2;
/// As a difference from the base.
const OWN: u8 = 3;

fn times(dates: Dates) -> [Option<Time>; 4] {
    let Dates { assigned_at, expires_at, since, until } = dates;
    [Some(since), assigned_at, expires_at, until]
}

fn put_dates(out: &mut Vec<u8>, dates: Dates, near: Option<Dates>, base: i64) {
    let near = near.map_or([None; 4], times);
    let at = out.len();
    out.push(0);
    let mut codes = 0;
    for (place, time) in times(dates).into_iter().enumerate() {
        let code = match time {
            None => NONE,
            time if time == near[place] => NEAR,
            Some(time) if place > 0 && time == dates.since => SINCE,
            Some(time) => {
                put_signed(out, time.seconds() - base);
                OWN
            }
        };
        codes |= code << (2 * place);
    }
    out[at] = codes;
}

// ---- reading

/// Bytes that are still to be read.
#[derive(Clone, Copy, Debug)]
struct ByteReader<'b>(&'b [u8]);

impl<'b> ByteReader<'b> {
    #[inline]
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    #[inline]
    fn int(&mut self) -> Option<u64> {
        let byte = self.byte()?;
        if byte < 0x80 { Some(byte.into()) } else { self.long_int(byte) }
    }

    fn long_int(&mut self, first: u8) -> Option<u64> {
        let mut value = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    #[inline]
    fn signed(&mut self) -> Option<i64> {
        let value = self.int()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn bytes(&mut self, count: u64) -> Option<&'b [u8]> {
        let (bytes, rest) = self.0.split_at_checked(usize::try_from(count).ok()?)?;
        self.0 = rest;
        Some(bytes)
    }

    fn text(&mut self) -> Option<&'b str> {
        let count = self.int()?;
        std::str::from_utf8(self.bytes(count)?).ok()
    }

    /// A list, whose length is before it. A damaged length ends where the bytes do,
    /// since every item takes at least one.
    fn list<T>(&mut self, item: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = usize::try_from(self.int()?).ok().filter(|count| *count <= self.0.len())?;
        (0..count).map(|_| item(self)).collect()
    }

    fn words(&mut self, texts: [usize; 5]) -> Option<NetWords> {
        let state = *State::ALL.get(usize::from(self.byte()?))?;
        let number_type = *NumberType::ALL.get(usize::from(self.byte()?))?;
        let has = self.byte()?;
        let country = match has & HAS_COUNTRY {
            0 => None,
            _ => Some(Country::new(self.bytes(2)?.try_into().ok()?)?),
        };
        let cost = match has & HAS_COST {
            0 => None,
            _ => {
                let currency: Currency = std::str::from_utf8(self.bytes(3)?).ok()?.parse().ok()?;
                Some(Money { minor: self.signed()?, currency })
            }
        };
        let mut code = |texts: usize| u32::try_from(self.int()?).ok().filter(|code| *code as usize <= texts);
        let [accounts, applications, trunks, regions, tags] = texts;
        let (account, application, trunk) = (code(accounts)?, code(applications)?, code(trunks)?);
        let (region, tags) = (code(regions)?, code(tags)?);
        Some(NetWords { state, number_type, country, account, application, trunk, region, tags, cost })
    }

    #[inline]
    fn dates(&mut self, near: Option<Dates>, base: i64) -> Option<Dates> {
        let codes = self.byte()?;
        let since = match codes & 3 {
            NEAR => near?.since,
            OWN => self.time(base)?,
            _ => return None,
        };
        let mut time = |place: u8, near: Option<Option<Time>>| match codes >> (2 * place) & 3 {
            NONE => Some(None),
            NEAR => near?.map(Some),
            SINCE => Some(Some(since)),
            _ => self.time(base).map(Some),
        };
        let assigned_at = time(1, near.map(|near| near.assigned_at))?;
        let expires_at = time(2, near.map(|near| near.expires_at))?;
        let until = time(3, near.map(|near| near.until))?;
        Some(Dates { assigned_at, expires_at, since, until })
    }

    #[inline]
    fn time(&mut self, base: i64) -> Option<Time> {
        Time::new(base.checked_add(self.signed()?)?)
    }
}

impl<'b> NetBody<'b> {
    pub fn read(body: &'b [u8]) -> Result<NetBody<'b>, BadNetBody> {
        NetBody::dictionaries(body).ok_or(BadNetBody)
    }

    fn dictionaries(body: &'b [u8]) -> Option<NetBody<'b>> {
        let mut bytes = ByteReader(body);
        if bytes.byte()? != FORMAT {
            return None;
        }
        let base = bytes.signed()?;
        let texts = ByteReader::text;
        let (accounts, applications) = (bytes.list(texts)?, bytes.list(texts)?);
        let (trunks, regions) = (bytes.list(texts)?, bytes.list(texts)?);
        let tags = bytes.list(|bytes| bytes.list(texts))?;
        let counts = [accounts.len(), applications.len(), trunks.len(), regions.len(), tags.len()];
        let words = bytes.list(|bytes| bytes.words(counts))?;
        let count = bytes.int()?;
        Some(NetBody { accounts, applications, trunks, regions, tags, words, base, count, runs: bytes.0 })
    }

    /// How many runs there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn runs(&self) -> NetRuns<'b> {
        let (bytes, words) = (ByteReader(self.runs), self.words.len() as u64);
        NetRuns { bytes, left: self.count, next: 0, words, base: self.base, before: None, after: None }
    }

    /// The runs as changes with whole images.
    pub fn changes(&self) -> Result<Vec<RunChange>, BadNetBody> {
        let mut changes = Vec::new();
        let mut runs = self.runs();
        while let Some(NetRun { first, count, before, after }) = runs.next_run()? {
            let first = E164::new(first).ok_or(BadNetBody)?;
            let [before, after] = [before, after].map(|image| image.map(|image| self.record(image)));
            changes.push(RunChange { first, count, before, after });
        }
        Ok(changes)
    }

    /// A whole image, for those who want few of them.
    fn record(&self, image: NetImage) -> Record {
        let words = self.words[image.words as usize];
        let text = |texts: &[&'b str], code: u32| Some(texts[(code as usize).checked_sub(1)?]);
        let Dates { assigned_at, expires_at, since, until } = image.dates;
        Record {
            account: text(&self.accounts, words.account).map(AccountId::stored),
            application: text(&self.applications, words.application).map(ApplicationId::stored),
            trunk: text(&self.trunks, words.trunk).map(TrunkId::stored),
            country: words.country,
            region: text(&self.regions, words.region).map(Into::into),
            cost: words.cost,
            assigned_at,
            expires_at,
            until,
            tags: match words.tags {
                0 => Tags::default(),
                code => Tags::new(self.tags[code as usize - 1].iter().copied()),
            },
            ..Record::bare(words.state, words.number_type, since)
        }
    }
}

/// The runs of a body that are still to be read.
#[derive(Clone, Debug)]
pub struct NetRuns<'b> {
    bytes: ByteReader<'b>,
    left: u64,
    next: u64,
    words: u64,
    base: i64,
    before: Option<Dates>,
    after: Option<Dates>,
}

impl NetRuns<'_> {
    /// The next run; `None` after the last.
    pub fn next_run(&mut self) -> Result<Option<NetRun>, BadNetBody> {
        if self.left == 0 {
            return if self.bytes.0.is_empty() { Ok(None) } else { Err(BadNetBody) };
        }
        self.left -= 1;
        self.run().map(Some).ok_or(BadNetBody)
    }

    fn run(&mut self) -> Option<NetRun> {
        let header = self.bytes.int()?;
        let first = self.next.checked_add(header >> 1)?;
        let count = if header & 1 == 0 { 1 } else { self.bytes.int()?.max(1) };
        let next = first.checked_add(count)?;
        E164::new(first).and(E164::new(next - 1))?;
        self.next = next;
        let before = self.image(self.before)?;
        self.before = before.map(|image| image.dates).or(self.before);
        let after = self.image(before.map(|image| image.dates).or(self.after))?;
        self.after = after.map(|image| image.dates).or(self.after);
        Some(NetRun { first, count, before, after })
    }

    /// An image, if there is one; the outer `None` is a fault.
    #[inline]
    fn image(&mut self, near: Option<Dates>) -> Option<Option<NetImage>> {
        let code = self.bytes.int()?;
        if code == 0 {
            return Some(None);
        }
        if code > self.words {
            return None;
        }
        let dates = self.bytes.dates(near, self.base)?;
        Some(Some(NetImage { words: (code - 1) as u32, dates }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time(seconds: i64) -> Time {
        Time::new(seconds).expect("a time")
    }

    fn any_record() -> impl Strategy<Value = Record> {
        let times = prop::array::uniform3(prop_oneof![
            1 => Just(None),
            3 => (1_769_990_000..1_770_000_000_i64).prop_map(Time::new),
            1 => (-62_167_219_200..253_402_300_799_i64).prop_map(Time::new),
        ]);
        let texts = prop::array::uniform4(prop::option::of(0..4_u8));
        let cost = prop::option::of((any::<i64>(), any::<bool>()));
        let since = 1_769_990_000..1_770_000_000_i64;
        (0..State::STORED.len(), 0..3_usize, times, texts, cost, since, any::<bool>()).prop_map(
            |(state, number_type, times, texts, cost, since, same)| {
                let [assigned_at, expires_at, until] = times;
                let [account, application, trunk, region] = texts;
                let currency = |rupees: bool| if rupees { "INR" } else { "EUR" }.parse().expect("a currency");
                let since = time(since);
                Record {
                    account: account.map(|at| AccountId::stored(&format!("MA_{at}"))),
                    application: application.map(|at| ApplicationId::stored(&format!("app_{at}"))),
                    trunk: trunk.map(|at| TrunkId::stored(&format!("trunk_{at}"))),
                    country: region.map(|_| "IN".parse().expect("a country")),
                    region: region.map(|at| format!("Région {at}").into()),
                    cost: cost.map(|(minor, rupees)| Money { minor, currency: currency(rupees) }),
                    assigned_at: if same { Some(since) } else { assigned_at },
                    expires_at,
                    until,
                    tags: Tags::new(account.map(|at| format!("tag {at}")).into_iter().chain(trunk.map(|_| "t".into()))),
                    ..Record::bare(State::STORED[state], NumberType::ALL[number_type], since)
                }
            },
        )
    }

    fn any_runs() -> impl Strategy<Value = Vec<RunChange>> {
        let gap = prop_oneof![4 => 0..3_u64, 2 => 0..100_000_u64, 1 => 0..1_000_000_000_u64];
        let count = prop_oneof![4 => Just(1_u64), 1 => 1..20_000_u64];
        let image = || prop::option::weighted(0.8, any_record());
        prop::collection::vec((gap, count, image(), image()), 0..60).prop_map(|steps| {
            let mut next = 1_000_000;
            let mut runs = Vec::new();
            for (gap, count, before, after) in steps {
                let first = next + gap;
                next = first + count;
                runs.push(RunChange { first: E164::new(first).expect("a number"), count, before, after });
            }
            runs
        })
    }

    proptest! {
        #[test]
        fn reading_undoes_writing(runs in any_runs(), at in 1_769_000_000..1_771_000_000_i64) {
            let body = net_body(time(at), &runs);
            let read = NetBody::read(&body).expect("what was written");
            prop_assert_eq!(read.count(), runs.len() as u64);
            prop_assert_eq!(read.changes().expect("what was written"), runs);
            // Written again it is the same, byte by byte.
            prop_assert_eq!(net_body(time(at), &read.changes().expect("what was written")), body);
        }

        #[test]
        fn damaged_bytes_are_an_error_or_other_runs_and_no_panic(
            runs in any_runs(),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut body = net_body(time(1_770_000_000), &runs);
            for (at, byte) in damage {
                let at = at.index(body.len());
                body[at] = byte;
            }
            for body in [&body[..], &body[..cut.index(body.len())]] {
                let Ok(read) = NetBody::read(body) else { continue };
                if let Ok(changes) = read.changes() {
                    let apart = changes.windows(2).all(|pair| pair[0].next() <= pair[1].first.digits());
                    prop_assert!(apart);
                }
            }
        }
    }

    /// A thousand numbers that were assigned one by one, each with dates of its own.
    #[test]
    fn a_number_takes_about_twenty_bytes() {
        let at = |second: u64| time(1_770_000_000 + second as i64);
        let mut second = 0_u64;
        let assigned = |number: u64| {
            second = (second * 48_271 + 11) % 1_000_003;
            let stock = Record {
                region: Some("Mumbai".into()),
                ..Record::bare(State::Available, NumberType::Local, time(1_700_000_000 + (second * 7) as i64))
            };
            let held = Record {
                state: State::Active,
                account: Some(AccountId::stored(&format!("MA_{}", second % 300))),
                cost: Some(Money { minor: 50_000, currency: "INR".parse().expect("a currency") }),
                assigned_at: Some(at(second)),
                expires_at: Some(at(second + 40_000_000)),
                since: at(second),
                ..stock.clone()
            };
            RunChange {
                first: E164::new(912_271_000_000 + number * 97).expect("a number"),
                count: 1,
                before: Some(stock),
                after: Some(held),
            }
        };
        let runs: Vec<RunChange> = (0..10_000).map(assigned).collect();
        let body = net_body(at(0), &runs);
        let bytes = body.len() as f64 / runs.len() as f64;
        assert!((12.0..22.0).contains(&bytes), "{bytes} bytes a number");
    }
}
