//! The digest of a partner's rows: two sums modulo 2^61 - 1 and a count, kept
//! with the partner's version and compared with the rows at every load.
//!
//! A number adds, for each thing that its row says, a weight times one, times
//! itself or times its square. What rows say in words is weighed by its
//! SHA-256; times and versions, of which every row may have its own, multiply a
//! fixed weight. So numbers that follow each other and say the same have a
//! closed form ([`Moments::run`]), and the sum does not depend on how they are
//! cut or in which order they come. A write takes what a row said out and adds
//! what it says now. An entity adds the weight of its JSON.
//!
//! It finds what disks and memory do to rows, not forgery: the log's chain of
//! SHA-256 is there for that.

use std::fmt;
use std::sync::OnceLock;

use sha2::{Digest as _, Sha256};

use super::change::{Digest, Edit};
use super::{
    Account, AccountId, Acknowledgement, Application, ApplicationId, Country, Dates, E164, EntityChange, Key, Partner,
    PartnerKey, Record, Setting, Time, Trunk, TrunkId,
};

/// The prime 2^61 - 1.
const P: u64 = (1 << 61) - 1;
/// What multiplies by a third: P leaves 1 when it is divided by 3.
const THIRD: u64 = (2 * P + 1) / 3;
/// The first byte of what is kept: how the rest was made.
const FORMAT: u8 = 1;
/// A format byte, the count, two sums, and the first bytes of the seal.
const BYTES: usize = 1 + 8 + 16 + 8;

fn reduce(value: u128) -> u64 {
    let once = (value & u128::from(P)) + (value >> 61);
    let twice = (once as u64 & P) + (once >> 61) as u64;
    if twice >= P { twice - P } else { twice }
}

fn times(a: u64, b: u64) -> u64 {
    reduce(u128::from(a) * u128::from(b))
}

fn plus(a: u64, b: u64) -> u64 {
    let sum = a + b;
    if sum >= P { sum - P } else { sum }
}

/// What is summed over a set of numbers: ones, the numbers, their squares.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Moments {
    ones: u64,
    numbers: u64,
    squares: u64,
}

impl Moments {
    pub fn of(number: u64) -> Moments {
        let number = reduce(number.into());
        Moments { ones: 1, numbers: number, squares: times(number, number) }
    }

    /// Of `count` numbers from `first` on, without going through them.
    pub fn run(first: u64, count: u64) -> Moments {
        // Both factors of a product may be odd, never both of these.
        let half = |a: u64, b: u64| match a % 2 {
            0 => times(a / 2 % P, b % P),
            _ => times(a % P, b / 2 % P),
        };
        let before = count.saturating_sub(1);
        // 0 + 1 + … and 0 + 1 + 4 + … up to `before`.
        let line = half(before, count);
        let square = times(times(line, plus(times(2, before % P), 1)), THIRD);
        let first = reduce(first.into());
        let ones = count % P;
        Moments {
            ones,
            numbers: plus(times(first, ones), line),
            squares: plus(plus(times(times(first, first), ones), times(times(2, first), line)), square),
        }
    }

    pub fn add(&mut self, more: Moments) {
        self.ones = plus(self.ones, more.ones);
        self.numbers = plus(self.numbers, more.numbers);
        self.squares = plus(self.squares, more.squares);
    }
}

/// How much what a row says counts in each sum: for being there, and for the
/// number (in the first) or its square (in the second).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Weights([u64; 4]);

impl Weights {
    fn of(hash: Sha256) -> Weights {
        let bytes: [u8; 32] = hash.finalize().into();
        let mut weights = [0; 4];
        for (weight, bytes) in weights.iter_mut().zip(bytes.chunks_exact(8)) {
            *weight = reduce(bytes.iter().fold(0, |sum, &byte| sum << 8 | u128::from(byte)));
        }
        Weights(weights)
    }

    /// Of all that a row says but its number, its version and its times.
    pub fn record(record: &Record) -> Weights {
        let mut hash = Sha256::new();
        let mut put = |text: Option<&str>| match text {
            None => hash.update([0]),
            Some(text) => {
                hash.update([1]);
                hash.update((text.len() as u64).to_le_bytes());
                hash.update(text);
            }
        };
        put(Some(record.state.as_str()));
        put(record.account.as_ref().map(AccountId::as_str));
        put(record.application.as_ref().map(ApplicationId::as_str));
        put(record.trunk.as_ref().map(TrunkId::as_str));
        put(Some(record.number_type.as_str()));
        put(record.country.as_ref().map(Country::code));
        put(record.region.as_deref());
        put(record.cost.as_ref().map(|cost| cost.currency.code()));
        record.tags.iter().for_each(|tag| put(Some(tag)));
        hash.update([2]);
        hash.update(record.cost.map_or(0, |cost| cost.minor).to_le_bytes());
        Weights::of(hash)
    }

    fn entity(kind: &str, entity: &impl serde::Serialize) -> Weights {
        let json = serde_json::to_vec(entity).expect("domain types serialise");
        let mut hash = Sha256::new();
        hash.update(kind);
        hash.update([0]);
        hash.update(json);
        Weights::of(hash)
    }

    fn times(self, value: u64) -> Weights {
        Weights(self.0.map(|weight| times(weight, value)))
    }
}

/// What rows say in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DigestTerm {
    Version,
    AssignedAt,
    ExpiresAt,
    Since,
    Until,
}

impl DigestTerm {
    fn weights(self) -> Weights {
        static WEIGHTS: OnceLock<[Weights; 5]> = OnceLock::new();
        let make = |name: &str| Weights::of(Sha256::new().chain_update("figure ").chain_update(name));
        let weights = WEIGHTS.get_or_init(|| ["version", "assigned_at", "expires_at", "since", "until"].map(make));
        weights[self as usize]
    }

    /// Of a time that there may be: no time counts nothing.
    pub fn of_time(time: Option<Time>) -> u64 {
        // From the first second that there is, as 1.
        const BEGINNING: i64 = 62_167_219_201;
        time.map_or(0, |time| time.seconds().saturating_add(BEGINNING) as u64)
    }
}

/// The digest of some rows.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct RowDigest {
    /// How many numbers and entities there are.
    pub count: u64,
    sums: [u64; 2],
}

impl RowDigest {
    fn weigh(&mut self, weights: Weights, of: Moments) {
        let [one, number, one_too, square] = weights.0;
        self.sums[0] = plus(self.sums[0], plus(times(one, of.ones), times(number, of.numbers)));
        self.sums[1] = plus(self.sums[1], plus(times(one_too, of.ones), times(square, of.squares)));
    }

    /// Adds what `count` numbers say in words; `of` are their moments.
    pub fn words(&mut self, weights: Weights, of: Moments, count: u64) {
        self.count = self.count.wrapping_add(count);
        self.weigh(weights, of);
    }

    /// Adds a figure that numbers have alike.
    pub fn figure(&mut self, figure: DigestTerm, value: u64, of: Moments) {
        let value = reduce(value.into());
        if value != 0 {
            self.weigh(figure.weights().times(value), of);
        }
    }

    /// Adds a number.
    pub fn number(&mut self, number: E164, version: u64, weights: Weights, dates: Dates) {
        self.row(Moments::of(number.digits()), 1, version, weights, dates);
    }

    /// Adds neighbours with equal values, from one number to another.
    pub fn numbers(&mut self, (first, last): (E164, E164), version: u64, weights: Weights, dates: Dates) {
        if first == last {
            return self.number(first, version, weights, dates);
        }
        let count = (last.digits() + 1).saturating_sub(first.digits());
        self.row(Moments::run(first.digits(), count), count, version, weights, dates);
    }

    fn row(&mut self, of: Moments, count: u64, version: u64, weights: Weights, dates: Dates) {
        self.words(weights, of, count);
        self.figure(DigestTerm::Version, version, of);
        self.figure(DigestTerm::AssignedAt, DigestTerm::of_time(dates.assigned_at), of);
        self.figure(DigestTerm::ExpiresAt, DigestTerm::of_time(dates.expires_at), of);
        self.figure(DigestTerm::Since, DigestTerm::of_time(Some(dates.since)), of);
        self.figure(DigestTerm::Until, DigestTerm::of_time(dates.until), of);
    }

    pub fn entity<T: Weighed>(&mut self, entity: &T) {
        if entity.kept() {
            self.words(Weights::entity(T::KIND, entity), Moments::of(0), 1);
        }
    }

    pub fn add(&mut self, more: RowDigest) {
        self.count = self.count.wrapping_add(more.count);
        self.sums = [plus(self.sums[0], more.sums[0]), plus(self.sums[1], more.sums[1])];
    }

    pub fn take(&mut self, less: RowDigest) {
        self.count = self.count.wrapping_sub(less.count);
        self.sums = [plus(self.sums[0], P - less.sums[0]), plus(self.sums[1], P - less.sums[1])];
    }

    /// Makes what was an entity what it is.
    pub fn edit(&mut self, change: &EntityChange) {
        fn both<T: Weighed>(digest: &mut RowDigest, Edit { before, after }: &Edit<T>) {
            let mut was = RowDigest::default();
            before.iter().for_each(|before| was.entity(before));
            digest.take(was);
            digest.entity(after);
        }
        match change {
            EntityChange::Partner(edit) => both(self, edit),
            EntityChange::Account(edit) => both(self, edit),
            EntityChange::Application(edit) => both(self, edit),
            EntityChange::Trunk(edit) => both(self, edit),
            EntityChange::Key(edit) => both(self, edit),
            EntityChange::Acknowledgement(edit) => both(self, edit),
            EntityChange::Setting(edit) => both(self, edit),
        }
    }

    /// What is kept of it with a partner's version: sealed, so that a version,
    /// a head or a digest that was changed alone is noticed as well.
    pub fn sealed(&self, key: PartnerKey, version: u64, head: &Digest) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        bytes.extend(self.count.to_le_bytes());
        self.sums.iter().for_each(|sum| bytes.extend(sum.to_le_bytes()));
        let mut seal = Sha256::new();
        seal.update(&bytes);
        seal.update(key.0.to_le_bytes());
        seal.update(version.to_le_bytes());
        seal.update(head);
        bytes.extend(&seal.finalize()[..8]);
        bytes
    }
}

/// The sums in hexadecimal.
impl fmt::Display for RowDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = self.sums;
        write!(f, "{first:016x}{second:016x}")
    }
}

/// The beginning of stored bytes that are no digest of the partner's version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BrokenDigest {
    bytes: [u8; BYTES],
    length: usize,
}

impl BrokenDigest {
    fn of(bytes: &[u8]) -> BrokenDigest {
        let length = bytes.len().min(BYTES);
        let mut start = [0; BYTES];
        start[..length].copy_from_slice(&bytes[..length]);
        BrokenDigest { bytes: start, length }
    }
}

impl fmt::Display for BrokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.bytes[..self.length] {
            [] => f.write_str("nothing"),
            bytes => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}

/// What a partner's row has for a digest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeptDigest {
    /// None, or one of a release that makes them otherwise.
    None,
    /// One that is not of this version of this partner: the first bytes of it.
    Broken(BrokenDigest),
    Sealed(RowDigest),
}

impl KeptDigest {
    pub fn read(bytes: Option<&[u8]>, key: PartnerKey, version: u64, head: &Digest) -> KeptDigest {
        let Some(bytes) = bytes else { return KeptDigest::None };
        match (bytes.first(), bytes.len()) {
            (Some(&FORMAT), BYTES) => {}
            (Some(&FORMAT), _) | (None, _) => return KeptDigest::Broken(BrokenDigest::of(bytes)),
            (Some(_), _) => return KeptDigest::None,
        }
        let int = |at: usize| bytes[at..at + 8].iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        let digest = RowDigest { count: int(1), sums: [int(9), int(17)] };
        match digest.sealed(key, version, head) == bytes {
            true => KeptDigest::Sealed(digest),
            false => KeptDigest::Broken(BrokenDigest::of(bytes)),
        }
    }

    /// What a write keeps after it has changed rows: where there was none
    /// there is none, and what was broken stays so.
    pub fn moved_on(self, by: DigestDelta, key: PartnerKey, version: u64, head: &Digest) -> Option<Vec<u8>> {
        match self {
            KeptDigest::None => None,
            KeptDigest::Broken(_) => Some([&[FORMAT][..], &version.to_le_bytes()].concat()),
            KeptDigest::Sealed(mut digest) => {
                digest.add(by.come);
                digest.take(by.gone);
                Some(digest.sealed(key, version, head))
            }
        }
    }
}

/// What a write does to a digest.
#[derive(Clone, Copy, Default, Debug)]
pub struct DigestDelta {
    pub come: RowDigest,
    pub gone: RowDigest,
}

/// Weighs records of which neighbours mostly say the same: the last one of each
/// kind is remembered.
#[derive(Default)]
pub struct Scale {
    last: Option<(Record, Weights)>,
}

impl Scale {
    pub fn weigh(&mut self, record: &Record) -> Weights {
        if let Some((last, weights)) = &self.last
            && alike(last, record)
        {
            return *weights;
        }
        let weights = Weights::record(record);
        self.last = Some((record.clone(), weights));
        weights
    }
}

/// Whether two records say the same in words.
fn alike(a: &Record, b: &Record) -> bool {
    a.state == b.state
        && a.account == b.account
        && a.application == b.application
        && a.trunk == b.trunk
        && a.number_type == b.number_type
        && a.country == b.country
        && a.region == b.region
        && a.cost == b.cost
        && a.tags == b.tags
}

/// An entity that is in the digest.
pub trait Weighed: serde::Serialize {
    const KIND: &'static str;

    /// Whether it counts: what is deleted some time after it is over does not.
    fn kept(&self) -> bool {
        true
    }
}

impl Weighed for Partner {
    const KIND: &'static str = "partner";
}

impl Weighed for Account {
    const KIND: &'static str = "account";
}

impl Weighed for Application {
    const KIND: &'static str = "application";
}

impl Weighed for Trunk {
    const KIND: &'static str = "trunk";
}

impl Weighed for Key {
    const KIND: &'static str = "key";
}

impl Weighed for Acknowledgement {
    const KIND: &'static str = "acknowledgement";

    fn kept(&self) -> bool {
        self.until.is_none()
    }
}

impl Weighed for Setting {
    const KIND: &'static str = "setting";

    fn kept(&self) -> bool {
        self.removed_at.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{NumberType, State, Tags};

    fn record(region: &str) -> Record {
        Record {
            region: Some(region.into()),
            ..Record::bare(State::Available, NumberType::Local, Time::new(1_700_000_000).expect("a time"))
        }
    }

    fn number(digits: u64) -> E164 {
        E164::new(digits).expect("a number")
    }

    fn of(rows: &[(u64, u64, Record)]) -> RowDigest {
        let mut digest = RowDigest::default();
        let mut scale = Scale::default();
        for (digits, version, record) in rows {
            digest.number(number(*digits), *version, scale.weigh(record), record.dates());
        }
        digest
    }

    #[test]
    fn a_run_is_the_sum_of_its_numbers() {
        for (first, count) in [(0, 0), (7, 1), (5, 2), (911_000_000, 3), (999_999_999_999_000, 999), (12, 10_000)] {
            let mut sum = Moments::default();
            (first..first + count).for_each(|number| sum.add(Moments::of(number)));
            assert_eq!(Moments::run(first, count), sum, "{count} from {first}");
        }
        // Cut anywhere, the pieces sum up to the whole.
        for cut in [0, 1, 7, 499, 500, 999_999] {
            let mut pieces = Moments::run(911_000_000, cut);
            pieces.add(Moments::run(911_000_000 + cut, 1_000_000 - cut));
            assert_eq!(pieces, Moments::run(911_000_000, 1_000_000));
        }
    }

    #[test]
    fn the_order_of_rows_does_not_matter_and_taking_undoes_adding() {
        let rows: Vec<(u64, u64, Record)> =
            (0..100).map(|at| (911_000_000 + at * 3, at % 7, record(&format!("r{}", at % 5)))).collect();
        let mut turned = rows.clone();
        turned.reverse();
        assert_eq!(of(&rows), of(&turned));
        let mut all = of(&rows);
        all.take(of(&rows[40..]));
        assert_eq!(all, of(&rows[..40]));
        all.take(of(&rows[..40]));
        assert_eq!(all, RowDigest::default());
    }

    #[test]
    fn any_single_change_changes_it() {
        let rows = vec![(911_000_001, 4, record("Pune")), (911_000_002, 4, record("Delhi"))];
        let whole = of(&rows);
        let time = |seconds: i64| Time::new(seconds);
        type Spoil = fn(&mut (u64, u64, Record));
        let spoils: [Spoil; 17] = [
            |row| row.0 += 2,
            |row| row.1 ^= 1 << 40,
            |row| row.1 = 0,
            |row| row.2.state = State::Active,
            |row| row.2.account = Some(AccountId::stored("MA_1")),
            |row| row.2.application = Some(ApplicationId::stored("MA_1")),
            |row| row.2.trunk = Some(TrunkId::stored("MA_1")),
            |row| row.2.number_type = NumberType::Mobile,
            |row| row.2.country = "IN".parse().ok(),
            |row| row.2.region = None,
            |row| row.2.region = Some("".into()),
            |row| row.2.cost = Some(crate::domain::Money { minor: 0, currency: "INR".parse().expect("a currency") }),
            |row| row.2.tags = Tags::new(["vip"]),
            |row| row.2.since = Time::new(row.2.since.seconds() ^ 1).expect("a time"),
            |row| row.2.until = Time::new(0),
            |row| row.2.expires_at = Time::new(-62_167_219_200),
            |row| row.2.assigned_at = Time::new(0),
        ];
        let mut seen = vec![whole];
        for spoil in spoils {
            let mut spoiled = rows.clone();
            spoil(&mut spoiled[0]);
            let digest = of(&spoiled);
            assert!(!seen.contains(&digest), "{spoiled:?}");
            seen.push(digest);
        }
        // Two rows that exchange what they say, in words or in times.
        let exchanged = vec![(911_000_001, 4, record("Delhi")), (911_000_002, 4, record("Pune"))];
        assert_ne!(of(&exchanged), whole);
        let mut dated = rows.clone();
        (dated[0].2.until, dated[1].2.until) = (time(5), time(9));
        let mut swapped = rows.clone();
        (swapped[0].2.until, swapped[1].2.until) = (time(9), time(5));
        assert_ne!(of(&dated), of(&swapped));
        assert_ne!(of(&rows[..1]), whole, "a row is gone");
    }

    fn broken(kept: KeptDigest) -> bool {
        matches!(kept, KeptDigest::Broken(_))
    }

    #[test]
    fn a_seal_is_of_one_partner_at_one_version() {
        let digest = of(&[(911_000_001, 4, record("Pune"))]);
        let (key, head) = (PartnerKey(3), [7; 32]);
        let kept = digest.sealed(key, 9, &head);
        let read = |bytes: &[u8], key, version, head: &Digest| KeptDigest::read(Some(bytes), key, version, head);
        assert_eq!(read(&kept, key, 9, &head), KeptDigest::Sealed(digest));
        assert!(broken(read(&kept, PartnerKey(4), 9, &head)));
        assert!(broken(read(&kept, key, 10, &head)));
        assert!(broken(read(&kept, key, 9, &[8; 32])));
        for at in 1..kept.len() {
            let mut spoiled = kept.clone();
            spoiled[at] ^= 64;
            assert!(broken(read(&spoiled, key, 9, &head)), "byte {at}");
        }
        assert!(broken(read(&kept[..20], key, 9, &head)));
        assert_eq!(read(&[9, 1, 2], key, 9, &head), KeptDigest::None, "of another release");
        assert_eq!(KeptDigest::read(None, key, 9, &head), KeptDigest::None);
        // What is broken stays broken when more is written.
        let next = read(&[], key, 9, &head).moved_on(DigestDelta::default(), key, 10, &head).expect("kept");
        assert!(broken(read(&next, key, 10, &head)));
        // Messages name what is kept, whatever it is.
        assert_eq!(digest.to_string().len(), 32);
        for (kept, expected) in [(&[][..], "nothing"), (&[1, 0xab], "01ab")] {
            let KeptDigest::Broken(kept) = read(kept, key, 9, &head) else { panic!("{expected} is a digest") };
            assert_eq!(kept.to_string(), expected);
        }
        assert_eq!(KeptDigest::None.moved_on(DigestDelta::default(), key, 10, &head), None);
    }
}
