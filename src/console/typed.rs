//! Numbers as people type and paste them: digits, national forms, lists.
//!
//! Digits are searched for as they are; where no number has them, as the national
//! form of the countries whose numbers the inventory has (`022 7126` is `+91 22
//! 7126`). Several whole numbers are a list.
//! Invariant: what is read depends on the text and the inventory alone.
//! Deliberately absent: one number of a form (`domain::spelling`).

use crate::domain::{E164, Time, spelling};
use crate::inventory::{Filter, Order, Pattern, SEARCH_CHARS_MAX, Snapshot, Window};

/// The fewest digits of a whole number without a plus.
const WHOLE_DIGITS_MIN: usize = 10;
/// The most: 15 of E.164, behind the longest prefix for calls abroad.
const WHOLE_DIGITS_MAX: usize = 18;

/// Whether a text has nothing but digits, and what people write between them and
/// between numbers.
pub fn is_digits(text: &str) -> bool {
    text.chars().any(|c| c.is_ascii_digit() || c == '+') && text.chars().all(|c| divides(c) || of_number(c))
}

fn of_number(c: char) -> bool {
    spelling::plain(c).is_none_or(|c| c.is_ascii_digit() || matches!(c, '+' | ' ' | '-' | '.' | '(' | ')' | '/'))
}

/// Whether the character stands between two numbers, and in none.
pub fn divides(c: char) -> bool {
    matches!(c, ',' | ';' | '\n' | '\r' | '\t')
}

/// How digits are searched for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DigitSearch {
    pub text: String,
    /// What the same digits are as a national form, where both are in numbers or
    /// several countries have such numbers.
    pub others: Vec<String>,
    /// Whether `others` are alternatives of equal right.
    pub ambiguous: bool,
}

/// How the inventory has these digits.
pub fn search(text: &str, snapshot: &Snapshot, now: Time) -> DigitSearch {
    let plain: String = text.chars().filter_map(spelling::plain).collect();
    let direct = DigitSearch { text: text.to_owned(), others: Vec::new(), ambiguous: false };
    let found = count(text, snapshot, now);
    if !plain.contains('0') {
        return direct;
    }
    let mut others: Vec<String> = readings(&plain, snapshot);
    others.retain(|other| count(other, snapshot, now) > 0);
    match (found, others.len()) {
        (_, 0) => direct,
        (0, 1) => DigitSearch { text: others.remove(0), ..direct },
        (0, _) => DigitSearch { others, ambiguous: true, ..direct },
        (_, _) => DigitSearch { others, ..direct },
    }
}

/// How many numbers have the digits.
pub fn count(text: &str, snapshot: &Snapshot, now: Time) -> u64 {
    let Some(search) = pattern(text) else { return 0 };
    let filter = Filter { search: Some(search), ..Filter::default() };
    snapshot.select(&filter, Order::default(), Window::Page { skip: 0, rows: 0 }, now).total
}

/// The pattern of digits; none if there are no digits, or something else too.
pub fn pattern(text: &str) -> Option<Pattern> {
    let short = text.chars().count() <= SEARCH_CHARS_MAX;
    Pattern::parse(text).filter(|pattern| short && matches!(pattern, Pattern::Digits { digits: 1.., .. }))
}

/// Other readings of a text: behind the prefix for calls abroad, without the
/// trunk zero, and as the national form of each calling code of the inventory.
fn readings(plain: &str, snapshot: &Snapshot) -> Vec<String> {
    if plain.contains("(0)") && plain.trim_start().starts_with(['+', '0']) {
        let dropped = plain.replacen("(0)", " ", 1);
        return vec![dropped.trim_start().strip_prefix("00").map_or(dropped.clone(), |rest| format!("+{rest}"))];
    }
    let digits: String = plain.chars().filter(char::is_ascii_digit).collect();
    if plain.contains('+') {
        return Vec::new();
    }
    let mut readings: Vec<String> = Vec::new();
    if let Some(abroad) = digits.strip_prefix("00").filter(|rest| !rest.is_empty()) {
        readings.push(format!("+{abroad}"));
        return readings;
    }
    for code in snapshot.calling_codes() {
        let own = digits.strip_prefix(trunk_prefix(code)).filter(|rest| !rest.is_empty());
        readings.extend(own.map(|rest| format!("+{code}{rest}")));
    }
    readings
}

/// The trunk prefix of the countries of a calling code.
fn trunk_prefix(code: u16) -> &'static str {
    match code {
        7 | 375 => "8",
        36 => "06",
        _ => "0",
    }
}

/// What a list of pasted numbers names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pasted {
    /// Ascending, each once, whether the inventory has it or not.
    pub numbers: Vec<E164>,
    /// National forms of which the inventory has no number, so that nothing tells the
    /// country.
    pub missing: Vec<String>,
    /// National forms of several numbers of the inventory.
    pub ambiguous: Vec<(String, Vec<E164>)>,
    /// The parts that are no numbers.
    pub unread: Vec<String>,
}

/// The whole numbers of a text, if it lists several: divided by commas,
/// semicolons, lines or plus signs, or by spaces where every word is whole.
pub fn pasted(text: &str, snapshot: &Snapshot, now: Time) -> Option<Pasted> {
    let pieces = match hard(text) {
        pieces if pieces.len() > 1 => pieces,
        _ => {
            let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            let whole = |word: &String| spelling::one(word).is_ok() && has_whole_length(word);
            if words.len() < 2 || !words.iter().all(whole) {
                return None;
            }
            words
        }
    };
    let mut pasted = Pasted::default();
    for piece in pieces {
        match whole(&piece, snapshot, now) {
            Ok(number) => pasted.numbers.push(number),
            Err(held) if !held.is_empty() => pasted.ambiguous.push((piece, held)),
            Err(_) if has_whole_length(&piece) => pasted.missing.push(piece),
            Err(_) => pasted.unread.push(piece),
        }
    }
    pasted.numbers.sort_unstable();
    pasted.numbers.dedup();
    Some(pasted)
}

/// Whether a text has as many digits as a whole number.
fn has_whole_length(text: &str) -> bool {
    (WHOLE_DIGITS_MIN..=WHOLE_DIGITS_MAX).contains(&text.chars().filter(char::is_ascii_digit).count())
}

/// The text in pieces, at what stands in no number and before each plus.
fn hard(text: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for c in text.chars() {
        let plus = spelling::plain(c) == Some('+');
        if divides(c) || plus {
            pieces.push(String::new());
        }
        if let (false, Some(last)) = (divides(c), pieces.last_mut()) {
            last.push(c);
        }
    }
    pieces
        .iter()
        .map(|piece| piece.trim_matches([' ', '(', '-', '/']).to_owned())
        .filter(|piece| !piece.is_empty())
        .collect()
}

/// A whole number, international or as one country of the inventory writes it; else the
/// numbers of the inventory that it may be.
fn whole(piece: &str, snapshot: &Snapshot, now: Time) -> Result<E164, Vec<E164>> {
    let international = spelling::one(piece).ok();
    if let Some(number) = international.filter(|number| snapshot.get(*number, now).is_some()) {
        return Ok(number);
    }
    let plain: String = piece.chars().filter_map(spelling::plain).collect();
    let read = |text: String| {
        let number: E164 = text.chars().filter(|c| *c == '+' || c.is_ascii_digit()).collect::<String>().parse().ok()?;
        snapshot.get(number, now).map(|_| number)
    };
    let held: Vec<E164> = readings(&plain, snapshot).into_iter().filter_map(read).collect();
    match held[..] {
        [one] => Ok(one),
        _ => international.ok_or(held),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_divided_where_no_number_is() {
        for (text, pieces) in [
            ("+912271264217, +912271264218", &["+912271264217", "+912271264218"][..]),
            ("+91 22 7126 4217;022 7126 4218,", &["+91 22 7126 4217", "022 7126 4218"]),
            ("+912271264217+912271264218", &["+912271264217", "+912271264218"]),
            ("\u{ff0b}912271264217 (+912271264218)", &["\u{ff0b}912271264217", "+912271264218"]),
            ("022 7126", &["022 7126"]),
            (",;", &[]),
        ] {
            let found = hard(text);
            // A bracket before a plus belongs to the number behind it, and is dropped with it.
            let found: Vec<&str> = found.iter().map(|piece| piece.trim_end_matches(')')).collect();
            assert_eq!(found, pieces, "{text}");
        }
    }

    #[test]
    fn digits_are_told_from_words() {
        for text in ["22", "+91", "(022) 7126-4217", "+91, 22", "22\u{2011}71"] {
            assert!(is_digits(text), "{text}");
        }
        for text in ["", "Globex", "MA_1", "22 Main", "-", "1e3", "9%2"] {
            assert!(!is_digits(text), "{text}");
        }
    }
}
