//! Formatting: times in the reader's zone, numbers as people write them, money with
//! its currency. Elements are [`Html`]; strings are text, which templates escape.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use parking_lot::Mutex;

use super::pieces::{self, MarkupPiece};
use crate::checks::Check;
use crate::domain::Sum;
use crate::domain::{Currency, E164, Group, Money, Time};
use crate::wire::html::Html;

pub use crate::wire::html::thousands;

/// The moment of a page, for a reader in a zone.
pub struct PageClock {
    pub now: Time,
    pub zone: TimeZone,
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl PageClock {
    /// A zone that is not known is UTC.
    pub fn new(now: Time, zone: &str) -> PageClock {
        PageClock { now, zone: TimeZone::get(zone).unwrap_or(TimeZone::UTC) }
    }

    /// The time that a clock on the wall shows, as if it were UTC.
    fn local(&self, time: Time) -> Time {
        let offset = Timestamp::from_second(time.seconds()).map_or(0, |at| self.zone.to_offset(at).seconds());
        time.plus(offset.into())
    }

    /// `23 Nov 2026`, with the exact time in UTC where one points at it.
    pub fn day(&self, time: Time) -> Html {
        self.element(time, false)
    }

    /// `23 Nov 2026 17:30`.
    pub fn time(&self, time: Time) -> Html {
        self.element(time, true)
    }

    /// `23 Nov 2026 17:30`, and how far away that is.
    pub fn moment(&self, time: Time) -> Html {
        pieces::beside(self.time(time), self.distance(time))
    }

    /// `23 Nov 2026`, as text.
    pub fn plain_day(&self, time: Time) -> String {
        plain_day(self.local(time).text(&mut [0; 20]))
    }

    /// `23 Nov 2026 17:30`, as text.
    pub fn plain_time(&self, time: Time) -> String {
        let mut text = [0; 20];
        let text = self.local(time).text(&mut text);
        format!("{} {}", plain_day(text), &text[11..16])
    }

    pub fn time_if(&self, time: Option<Time>) -> Html {
        time.map_or_else(pieces::none, |time| self.time(time))
    }

    /// `2026-11-23`, as date fields have it.
    pub fn iso_day(&self, time: Time) -> String {
        self.local(time).text(&mut [0; 20])[..10].to_owned()
    }

    fn element(&self, time: Time, exact: bool) -> Html {
        let (mut utc, mut local) = ([0; 20], [0; 20]);
        let (utc, local) = (time.text(&mut utc), self.local(time).text(&mut local));
        let (date, clock) = (&utc[..10], &utc[11..19]);
        let minute = if exact { &local[11..16] } else { "" };
        Html::of(&MarkupPiece::Time { utc, date, clock, day: &plain_day(local), minute })
    }

    /// Text with the times in it as the reader's clock has them.
    pub fn told(&self, text: &str) -> Html {
        let mut html = Html::with_capacity(text.len() + 90);
        for piece in pieces_of(text) {
            match piece {
                TextPiece::Text(text) => html += text,
                TextPiece::Time(time) => html += self.time(time),
            }
        }
        html
    }

    /// The same as text.
    pub fn plain_told(&self, text: &str) -> String {
        let piece = |piece| match piece {
            TextPiece::Text(text) => text.to_owned(),
            TextPiece::Time(time) => self.plain_time(time),
        };
        pieces_of(text).into_iter().map(piece).collect()
    }

    /// `in 5 days`, `3 hours ago`.
    pub fn distance(&self, time: Time) -> String {
        let seconds = time.seconds() - self.now.seconds();
        let text = span(seconds.unsigned_abs());
        match seconds {
            -44..=44 => "now".to_owned(),
            45.. => format!("in {text}"),
            _ => format!("{text} ago"),
        }
    }
}

/// A part of a text.
enum TextPiece<'a> {
    Text(&'a str),
    Time(Time),
}

/// A text in pieces, with its times apart.
fn pieces_of(text: &str) -> Vec<TextPiece<'_>> {
    let mut pieces = Vec::new();
    for word in text.split_inclusive(' ') {
        let inner = word.trim_start_matches('(');
        let bare = inner.trim_end_matches([' ', ',', ';', ':', '.', ')']);
        match bare.parse::<Time>() {
            Ok(time) if bare.ends_with('Z') => pieces.extend([
                TextPiece::Text(&word[..word.len() - inner.len()]),
                TextPiece::Time(time),
                TextPiece::Text(&inner[bare.len()..]),
            ]),
            Ok(_) | Err(_) => pieces.push(TextPiece::Text(word)),
        }
    }
    pieces
}

/// Sentences of the API that name what only a body of it has.
const PHRASES: [(&str, &str); 2] = [
    ("confirm_last takes it too", "tick the box for a customer's last number to take it too"),
    ("it with confirm_last=true if", "it with the box for the last number ticked, if"),
];

/// The API's words, and what the console says for them.
const WORDS: [(&str, &str); 13] = [
    ("account", "customer"),
    ("Account", "Customer"),
    ("accounts", "customers"),
    ("account_auth_id", "customer"),
    ("application_id", "application"),
    ("trunk_id", "trunk"),
    ("expires_at", "the expiry"),
    ("assigned_at", "the assignment"),
    ("monthly_cost", "the monthly cost"),
    ("number_type", "the type"),
    ("e-mail", "email"),
    ("E-mail", "Email"),
    ("archived_at", "the archiving"),
];

/// A reason or an error in the words of the console. Everything that the verbs say
/// comes through here, since they say it to the API's clients as well; names that
/// people gave must not, as they may have such a word in them. Ids are in what the verbs
/// say: a word is one only by itself, so that `account:MA` stays.
pub fn in_console(text: &str) -> String {
    const MARKS: [char; 10] = ['(', ')', ',', '.', ';', ':', '"', '\'', '“', '”'];
    let text = PHRASES.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    let mut out = String::with_capacity(text.len());
    for piece in text.split_inclusive(char::is_whitespace) {
        let word = piece.trim_end().trim_matches(MARKS);
        match WORDS.iter().find(|(api, _)| *api == word) {
            Some((_, ours)) => out.push_str(&piece.replacen(word, ours, 1)),
            None => out.push_str(piece),
        }
    }
    out
}

/// A check by its name, for people.
pub fn check_name(check: Check) -> String {
    let text = check.as_str().replace('_', " ");
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

/// What stands where a number has no expiry.
pub const AUTO_RENEWS: &str = "Auto-renews";

/// `23 Nov 2026` of a time's text.
pub fn plain_day(text: &str) -> String {
    let month = text[5..7].parse::<usize>().ok().and_then(|month| MONTHS.get(month.wrapping_sub(1)));
    format!("{} {} {}", text[8..10].trim_start_matches('0'), month.unwrap_or(&"?"), &text[..4])
}

/// A span of time in its largest whole unit.
pub fn span(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..90 => (seconds, "second"),
        90..5_400 => ((seconds + 30) / 60, "minute"),
        5_400..129_600 => ((seconds + 1_800) / 3_600, "hour"),
        129_600..5_184_000 => ((seconds + 43_200) / 86_400, "day"),
        5_184_000..63_072_000 => ((seconds + 1_314_000) / 2_628_000, "month"),
        // Whole years: of 2 years and 8 months, nobody says 3.
        _ => (seconds / 31_536_000, "year"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// `1,234 numbers`.
pub fn count(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(count), if count == 1 { one } else { many })
}

/// `500.00 INR`, with the thousands apart.
pub fn money(money: Money) -> String {
    amount(&money.to_string(), money.currency)
}

/// The same of a sum, which may be more than an amount can be.
pub fn sum(sum: Sum) -> String {
    amount(&sum.to_string(), sum.currency)
}

fn amount(text: &str, currency: Currency) -> String {
    let (sign, text) = text.strip_prefix('-').map_or(("", text), |text| ("−", text));
    let (whole, rest) = text.split_once('.').map_or((text, None), |(whole, rest)| (whole, Some(rest)));
    let whole = whole.parse().map_or_else(|_| whole.to_owned(), thousands);
    let rest = rest.map_or(String::new(), |rest| format!(".{rest}"));
    format!("{sign}{whole}{rest} {}", currency.code())
}

/// `+500.00 INR` or `−500.00 INR`: what a month costs more or less, of each
/// currency; empty if nothing.
pub fn differences<'a>(costs: impl IntoIterator<Item = (&'a Currency, &'a i128)>) -> String {
    let one = |(&currency, &minor): (&Currency, &i128)| {
        format!("{}{}", if minor < 0 { "" } else { "+" }, sum(Sum { minor, currency }))
    };
    costs.into_iter().filter(|(_, minor)| **minor != 0).map(one).collect::<Vec<_>>().join(", ")
}

/// Where the spaces of readable numbers are, by their first digits: numbers of
/// one group of 10,000 are written alike, and asking the numbering plan takes
/// some microseconds.
#[derive(Default)]
pub struct Spaces(Mutex<HashMap<(Group, u8), u16>>);

/// How many groups are remembered; then all are forgotten.
const SPACES_MAX: usize = 100_000;

impl Spaces {
    /// `+91 22 7126 4217`.
    pub fn readable(&self, number: E164) -> String {
        let digits = number.digits().to_string();
        let group = (Group::of(number), digits.len() as u8);
        let known = self.0.lock().get(&group).copied();
        let spaces = known.unwrap_or_else(|| {
            let spaces = spaces_of(number);
            let mut all = self.0.lock();
            if all.len() >= SPACES_MAX {
                all.clear();
            }
            all.insert(group, spaces);
            spaces
        });
        let mut text = String::with_capacity(20);
        text.push('+');
        for (at, digit) in digits.chars().enumerate() {
            if spaces & (1 << at) != 0 {
                text.push(' ');
            }
            text.push(digit);
        }
        text
    }
}

/// Before which digits a space stands, as bits.
fn spaces_of(number: E164) -> u16 {
    let plain = number.to_string();
    let readable = crate::domain::plan::readable(number.digits()).unwrap_or(plain);
    let mut spaces = 0;
    let mut at = 0;
    let mut space = false;
    for c in readable.chars().skip(1) {
        match c {
            '0'..='9' => {
                if space && at > 0 {
                    spaces |= 1 << at;
                }
                (at, space) = (at + 1, false);
            }
            _ => space = true,
        }
    }
    spaces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_people_write_them() {
        let spaces = Spaces::default();
        let readable = |digits: u64| spaces.readable(E164::new(digits).expect("a number"));
        assert_eq!(readable(912_271_264_217), "+91 22 7126 4217");
        assert_eq!(readable(912_271_264_218), "+91 22 7126 4218");
        assert_eq!(readable(33_123_456_789), "+33 1 23 45 67 89");
        // What no plan knows stays together.
        assert_eq!(readable(9_991_234_567).replace(' ', ""), "+9991234567");
    }

    #[test]
    fn times_are_those_of_the_reader() {
        let now: Time = "2026-11-23T12:00:00Z".parse().expect("a time");
        let clock = PageClock::new(now, "Asia/Kolkata");
        let at: Time = "2026-12-31T20:00:05Z".parse().expect("a time");
        assert_eq!(
            clock.time(at).as_str(),
            "<time datetime=\"2026-12-31T20:00:05Z\" title=\"2026-12-31 20:00:05 UTC\">1 Jan 2027 01:30</time>"
        );
        let told = Html::from("<b> since ") + clock.time(at) + ": no";
        assert_eq!(clock.told("<b> since 2026-12-31T20:00:05Z: no"), told);
        assert_eq!(clock.plain_told("not before now (2026-12-31T20:00:05Z)."), "not before now (1 Jan 2027 01:30).");
        assert_eq!(clock.distance("2024-04-17T00:00:00Z".parse().expect("a time")), "2 years ago");
        assert_eq!(clock.distance(at), "in 38 days");
        assert_eq!(clock.distance(now.plus(-7_200)), "2 hours ago");
        assert_eq!(PageClock::new(now, "nowhere").day(now), PageClock::new(now, "UTC").day(now));
    }

    #[test]
    fn what_the_verbs_say_is_in_the_words_of_the_console() {
        for (said, shown) in [
            ("no account holds it", "no customer holds it"),
            ("account_auth_id: belongs to another account", "customer: belongs to another customer"),
            (
                "is the last active number of account MA_account; confirm_last takes it too",
                "is the last active number of customer MA_account; tick the box for a customer's last number to take it \
                 too",
            ),
            ("expires_at must not be before now", "the expiry must not be before now"),
            ("must be an e-mail address", "must be an email address"),
            ("there is already a customer account:MA", "there is already a customer account:MA"),
            ("accountant", "accountant"),
            ("", ""),
        ] {
            assert_eq!(in_console(said), shown);
        }
    }

    #[test]
    fn amounts_have_their_currency() {
        let money_of = |minor, currency: &str| money(Money { minor, currency: currency.parse().expect("one") });
        assert_eq!(money_of(123_456_789, "INR"), "1,234,567.89 INR");
        assert_eq!(money_of(-1_500, "JPY"), "−1,500 JPY");
        let of = |code: &str, minor| (code.parse().expect("a currency"), minor);
        let costs: std::collections::BTreeMap<Currency, i128> = [of("INR", 50_000), of("JPY", -7), of("USD", 0)].into();
        assert_eq!(differences(&costs), "+500.00 INR, −7 JPY");
        assert_eq!((thousands(0), thousands(999), thousands(1_000)), ("0".into(), "999".into(), "1,000".into()));
        assert_eq!(count(1, "number", "numbers"), "1 number");
    }
}
