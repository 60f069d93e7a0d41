//! The answer to a call: one pure function for SIP, HTTP, the console, the command
//! and the checks.
//!
//! [`TABLE`] has the answer of each [`Case`]; the documentation has the same table
//! and a test compares the two. [`judge`] finds the case of a number at a moment,
//! so an expiry takes effect to the second without a job. [`RouteOrder`] sorts
//! destinations.
//!
//! Invariants: an answer depends on the snapshot, the moment, the called number
//! and the Call-ID alone, so a retransmission and another node answer alike;
//! nothing here allocates, but for national numbers (`called`).
//! Deliberately absent: I/O, the clock, SIP and HTTP, and which partner has a
//! number (`service::replica::routing`).

mod called;
mod explain;
pub mod policy;

use std::fmt;
use std::time::Duration;

use crate::domain::destination::fnv;
use crate::domain::number::words;
use crate::domain::{Country, Destination, E164, RouteKind, State, Time};
use crate::inventory::NumberRef;

pub use called::called_number;
pub use explain::{Explained, Moment, RouteStep, day, explain};
pub use policy::Policy;

/// What becomes of a call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Case {
    NotANumber,
    Unknown,
    Unassigned,
    PartnerSuspended,
    Expired,
    Suspended,
    Unrouted,
    NoDestination,
    DestinationsOff,
    Routed,
    RowUnreadable,
    NotReady,
}

words!(Case:
    NotANumber "not_a_number", Unknown "unknown", Unassigned "unassigned", PartnerSuspended "partner_suspended",
    Expired "expired", Suspended "suspended", Unrouted "unrouted", NoDestination "no_destination",
    DestinationsOff "destinations_off", Routed "routed", RowUnreadable "row_unreadable", NotReady "not_ready"
);

/// What a caller gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VerdictLine {
    pub case: Case,
    /// In words for people.
    pub when: &'static str,
    /// The SIP status and its reason phrase.
    pub code: u16,
    pub reason: &'static str,
    /// The cause of ITU-T Q.850, for the header `Reason`.
    pub q850: Option<u8>,
}

const fn line(case: Case, when: &'static str, code: u16, reason: &'static str, q850: Option<u8>) -> VerdictLine {
    VerdictLine { case, when, code, reason, q850 }
}

/// Every case; the first ten in the order in which they are asked for.
pub const TABLE: [VerdictLine; 12] = [
    line(Case::NotANumber, "the user part is no number", 404, "Not Found", Some(28)),
    line(Case::Unknown, "no partner has the number, or it is retired", 404, "Not Found", Some(1)),
    line(Case::Unassigned, "the number is available, reserved or quarantined", 404, "Not Found", Some(1)),
    line(Case::PartnerSuspended, "its partner is suspended", 480, "Temporarily Unavailable", Some(20)),
    line(Case::Expired, "the number is expired", 480, "Temporarily Unavailable", Some(20)),
    line(Case::Suspended, "the number is suspended", 480, "Temporarily Unavailable", Some(20)),
    line(Case::Unrouted, "the number has no application", 404, "Not Found", Some(3)),
    line(Case::NoDestination, "neither its application nor its trunk has a destination", 404, "Not Found", Some(3)),
    line(Case::DestinationsOff, "all destinations are off", 480, "Temporarily Unavailable", Some(20)),
    line(Case::Routed, "otherwise", 302, "Moved Temporarily", None),
    line(Case::RowUnreadable, "the number's row could not be understood", 500, "Server Internal Error", Some(41)),
    line(Case::NotReady, "the index is not loaded, or older than `stale_max_ms`", 503, "Service Unavailable", None),
];

/// What an expired number is answered with where `routing.expired = 410`.
pub const GONE: VerdictLine = line(Case::Expired, "the number is expired", 410, "Gone", Some(22));

/// What the settings say of answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RoutingSettings {
    /// Whether expired numbers are answered with 410 in place of 480.
    pub expired_is_gone: bool,
    /// The country whose national form called numbers may have.
    pub default_country: Option<Country>,
    /// How old the index may be; any age, if it is not set.
    pub stale_max: Option<Duration>,
}

impl RoutingSettings {
    /// What a caller gets in a case.
    pub fn line(&self, case: Case) -> &'static VerdictLine {
        match case {
            Case::Expired if self.expired_is_gone => &GONE,
            case => &TABLE[case as usize],
        }
    }
}

/// The case of a number that a partner has, as of the moment of its row, and the
/// destinations that it is about.
pub fn judge(row: NumberRef<'_>, now: Time) -> (Case, &[Destination]) {
    match row.state() {
        State::Active | State::Suspended => {}
        State::Available | State::Reserved | State::Quarantined => return (Case::Unassigned, &[]),
        State::Retired => return (Case::Unknown, &[]),
    }
    if row.snapshot().partner.suspended_at.is_some() {
        return (Case::PartnerSuspended, &[]);
    }
    if row.expires_at().is_some_and(|end| end <= now) {
        return (Case::Expired, &[]);
    }
    if row.state() == State::Suspended {
        return (Case::Suspended, &[]);
    }
    if row.application().is_none() {
        return (Case::Unrouted, &[]);
    }
    let destinations = destinations(row);
    let case = match destinations {
        [] => Case::NoDestination,
        all if all.iter().all(|one| !one.enabled) => Case::DestinationsOff,
        _ => Case::Routed,
    };
    (case, destinations)
}

/// The destinations of a number: its application's; if that has none, its
/// trunk's.
pub fn destinations(row: NumberRef<'_>) -> &[Destination] {
    let lists = destination_lists(row).map(|(_, list)| list);
    lists.into_iter().find(|list| !list.is_empty()).unwrap_or_default()
}

/// The lists that a number's destinations may be in: the first that is not empty counts.
fn destination_lists(row: NumberRef<'_>) -> [(RouteKind, &[Destination]); 2] {
    let of_application = row.application().map(|one| one.destinations.as_slice()).unwrap_or_default();
    let of_trunk = row.trunk().map(|one| one.destinations.as_slice()).unwrap_or_default();
    [(RouteKind::Application, of_application), (RouteKind::Trunk, of_trunk)]
}

/// Whether a call to a number goes to the destinations of its application or of its
/// trunk, or would if that had one that is on.
pub fn uses(row: NumberRef<'_>, kind: RouteKind, now: Time) -> bool {
    let has_route = match judge(row, now).0 {
        Case::NoDestination | Case::DestinationsOff | Case::Routed => true,
        Case::NotANumber
        | Case::Unknown
        | Case::Unassigned
        | Case::PartnerSuspended
        | Case::Expired
        | Case::Suspended
        | Case::Unrouted
        | Case::RowUnreadable
        | Case::NotReady => false,
    };
    let mut before = destination_lists(row).into_iter().take_while(|(of, _)| *of != kind);
    has_route && before.all(|(_, list)| list.is_empty())
}

/// The most destinations that an answer names.
const ROUTES_MAX: usize = crate::domain::destination::DESTINATIONS_MAX;

/// The enabled destinations of a call, in the order in which they are tried:
/// by priority, and within one priority by weighted rendezvous hashing.
///
/// Each destination draws `-ln(u) / weight`, the lowest first, where `u` in
/// (0, 1] is made of `mix(fnv(Call-ID) ^ mix(fnv(URI)))`: FNV-1a of 64 bits and
/// the finaliser of SplitMix64. So a destination is first for a share of calls
/// that is its share of the weights, and taking one away moves only its calls.
/// Without a Call-ID the order is by weight, descending.
#[derive(Clone, Copy)]
pub struct RouteOrder<'a> {
    of: &'a [Destination],
    number: Option<E164>,
    places: [u8; ROUTES_MAX],
    count: u8,
}

impl<'a> RouteOrder<'a> {
    /// No destination.
    pub const EMPTY: RouteOrder<'static> = RouteOrder { of: &[], number: None, places: [0; ROUTES_MAX], count: 0 };

    pub fn new(of: &'a [Destination], number: E164, call_id: Option<&[u8]>) -> RouteOrder<'a> {
        let mut order = RouteOrder { of, number: Some(number), ..RouteOrder::EMPTY };
        let seed = call_id.filter(|id| !id.is_empty()).map(fnv);
        let mut scores = [(0_u16, 0.0_f64); ROUTES_MAX];
        for (at, one) in of.iter().enumerate().take(ROUTES_MAX).filter(|(_, one)| one.enabled) {
            let weight = f64::from(one.weight.max(1));
            let score = match seed {
                Some(seed) => -unit(mix(seed ^ mix(one.uri.hash()))).ln() / weight,
                None => -weight,
            };
            // An insertion sort of at most eight; equal ones stay as they are.
            let before = |&place: &u8| {
                let (priority, other) = scores[usize::from(place)];
                priority < one.priority || (priority == one.priority && other <= score)
            };
            let count = usize::from(order.count);
            let into = order.places[..count].iter().position(|place| !before(place)).unwrap_or(count);
            scores[at] = (one.priority, score);
            order.places.copy_within(into..count, into + 1);
            order.places[into] = at as u8;
            order.count += 1;
        }
        order
    }

    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = Route<'a>> + use<'_, 'a> {
        let (of, number) = (self.of, self.number);
        self.places[..self.len()].iter().map(move |&at| Route { destination: &of[usize::from(at)], number })
    }
}

/// The finaliser of SplitMix64.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A number in (0, 1].
fn unit(value: u64) -> f64 {
    ((value >> 11) + 1) as f64 / (1_u64 << 53) as f64
}

/// One destination of an answer. Printed, it is the URI that the call goes to: a
/// URI without a user part has got the number.
#[derive(Clone, Copy)]
pub struct Route<'a> {
    pub destination: &'a Destination,
    number: Option<E164>,
}

impl fmt::Display for Route<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.destination.uri.parts();
        match self.number.filter(|_| !self.destination.uri.has_user()) {
            Some(number) => write!(f, "{scheme}{number}@{rest}"),
            None => write!(f, "{scheme}{rest}"),
        }
    }
}

impl Route<'_> {
    /// Writes the same to the end of a buffer.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (scheme, rest) = self.destination.uri.parts();
        out.extend_from_slice(scheme.as_bytes());
        if let Some(number) = self.number.filter(|_| !self.destination.uri.has_user()) {
            out.extend_from_slice(number.ascii(&mut [0; crate::domain::e164::TEXT_MAX]));
            out.push(b'@');
        }
        out.extend_from_slice(rest.as_bytes());
    }
}

impl serde::Serialize for Route<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What a caller gets, and what it was made of.
#[derive(Clone, Copy)]
pub struct Answer<'a> {
    pub line: &'static VerdictLine,
    /// The called number, if it is one.
    pub number: Option<E164>,
    /// The number as its partner has it; none where no partner does.
    pub row: Option<NumberRef<'a>>,
    pub routes: RouteOrder<'a>,
    /// The version of the partner that has the number.
    pub version: Option<u64>,
    /// How long ago the database last answered, in seconds.
    pub age: u64,
}

impl<'a> Answer<'a> {
    /// An answer that no partner's number is behind.
    pub fn without(settings: &RoutingSettings, case: Case, number: Option<E164>, age: Duration) -> Answer<'a> {
        let (row, routes, version) = (None, RouteOrder::EMPTY, None);
        Answer { line: settings.line(case), number, row, routes, version, age: age.as_secs() }
    }

    /// The answer for a number that a partner has.
    pub fn of(
        settings: &RoutingSettings,
        row: NumberRef<'a>,
        call_id: Option<&[u8]>,
        now: Time,
        age: Duration,
    ) -> Answer<'a> {
        let (case, destinations) = judge(row, now);
        let routes = match case {
            Case::Routed => RouteOrder::new(destinations, row.number(), call_id),
            _ => RouteOrder::EMPTY,
        };
        let version = Some(row.snapshot().version);
        Answer {
            line: settings.line(case),
            number: Some(row.number()),
            row: Some(row),
            routes,
            version,
            age: age.as_secs(),
        }
    }

    pub fn case(&self) -> Case {
        self.line.case
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_at_its_place_in_the_table() {
        for (at, line) in TABLE.iter().enumerate() {
            assert_eq!((line.case as usize, line.case), (at, Case::ALL[at]));
        }
        assert_eq!(TABLE.len(), Case::ALL.len());
    }

    #[test]
    fn the_documentation_has_the_same_table() {
        let document = include_str!("../docs/routing.md");
        for line in TABLE.iter().chain([&GONE]) {
            let VerdictLine { case, when, code, reason, q850 } = line;
            let q850 = q850.map_or("–".to_owned(), |cause| cause.to_string());
            let row = format!("| {when} | {code} {reason} | `{case}` | {q850} |");
            assert!(document.contains(&row), "docs/routing.md lacks\n{row}");
        }
    }

    fn destination(text: &str, priority: u16, weight: u16) -> Destination {
        Destination { priority, weight, ..Destination::new(text.parse().expect("a URI")) }
    }

    fn number() -> E164 {
        E164::new(912_271_264_217).expect("a number")
    }

    fn order(of: &[Destination], call_id: Option<&str>) -> Vec<String> {
        let order = RouteOrder::new(of, number(), call_id.map(str::as_bytes));
        order.iter().map(|route| route.to_string()).collect()
    }

    #[test]
    fn priority_comes_before_weight_and_weight_orders_where_there_is_no_call() {
        let all = [
            destination("sip:a.example", 20, 100),
            destination("sip:b.example", 10, 1),
            destination("sip:me@c.example:5080", 10, 5),
            destination("sip:d.example", 10, 5),
        ];
        let expected = [
            "sip:me@c.example:5080",
            "sip:+912271264217@d.example",
            "sip:+912271264217@b.example",
            "sip:+912271264217@a.example",
        ];
        assert_eq!(order(&all, None), expected);
        assert_eq!(order(&all, Some("")), expected);
        for call in 0..1_000 {
            let got = order(&all, Some(&format!("call-{call}")));
            assert_eq!(got.last().map(String::as_str), Some("sip:+912271264217@a.example"));
        }
    }

    #[test]
    fn what_is_off_is_left_out() {
        let mut all = [destination("sip:a.example", 10, 10), destination("sip:b.example", 10, 10)];
        all[0].enabled = false;
        assert_eq!(order(&all, Some("x")), ["sip:+912271264217@b.example"]);
    }

    #[test]
    fn the_order_of_a_call_is_fixed_over_releases() {
        let all = ["a", "b", "c"].map(|name| destination(&format!("sip:{name}.example"), 10, 10));
        let first = |call| order(&all, Some(call))[0].clone();
        let firsts: Vec<String> = ["1@host", "2@host", "3@host", "4@host"].map(first).to_vec();
        assert_eq!(firsts, ["1@host", "2@host", "3@host", "4@host"].map(first));
        let written = RouteOrder::new(&all, number(), Some(b"1@host"));
        let mut bytes = Vec::new();
        written.iter().next().expect("a route").write(&mut bytes);
        assert_eq!(String::from_utf8(bytes).expect("text"), firsts[0]);
    }

    #[test]
    fn shares_of_calls_are_shares_of_weights() {
        const CALLS: usize = 100_000;
        let weights = [1_u16, 2, 3, 4, 10, 20, 30, 30];
        let all: Vec<Destination> =
            (0_u8..).zip(weights).map(|(at, weight)| destination(&format!("sip:10.0.0.{at}"), 10, weight)).collect();
        let mut first = [0_usize; 8];
        for call in 0..CALLS {
            let id = format!("{call:x}@10.1.2.3");
            first[usize::from(RouteOrder::new(&all, number(), Some(id.as_bytes())).places[0])] += 1;
        }
        let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
        for (count, weight) in first.into_iter().zip(weights) {
            let share = count as f64 / CALLS as f64;
            let due = f64::from(weight) / total;
            assert!((share - due).abs() < 0.02, "{share} in place of {due}");
        }
    }

    #[test]
    fn taking_a_destination_away_moves_only_its_calls() {
        let all: Vec<Destination> = (0..5).map(|at| destination(&format!("sip:pbx-{at}.example"), 10, 10)).collect();
        for call in 0..2_000 {
            let id = format!("call-{call}");
            let (whole, less) = (order(&all, Some(&id)), order(&all[1..], Some(&id)));
            let rest: Vec<&String> = whole.iter().filter(|uri| !uri.contains("pbx-0")).collect();
            assert!(rest.into_iter().eq(&less), "{id}");
        }
    }
}
