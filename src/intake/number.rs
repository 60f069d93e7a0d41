//! Cells that hold numbers: one, or a block.

use super::export::Bare;
use super::value::{Fault, Raw};
use super::{BLOCK_NUMBERS_MAX, Numbers, Options};
use crate::domain::E164;

const FORM: Fault = Fault::Fixed("must be + and 7 to 15 digits, the first not 0, such as +912271264217");
const NO_PLUS: Fault = Fault::Fixed(
    "has no +; write the whole international number with it, or say what the digits are: --assume-plus if they are international, \
     --default-country if they are national",
);
const NOT_INTERNATIONAL: Fault = Fault::Fixed("must be 7 to 15 digits, the first not 0, to be an international number");
const NOT_NORTH_AMERICAN: Fault =
    Fault::Fixed("must be the ten digits of a North American number, such as 2025550123, or international with its +");
const SCIENTIFIC: Fault = Fault::Fixed(
    "is in scientific notation: the spreadsheet destroyed digits; format the column as text and export it again",
);
const DECIMAL: Fault = Fault::Fixed("is a decimal number; format the column as text and export it again");
const AMBIGUOUS: Fault =
    Fault::Fixed("could be one number or a block; write a block as +912271264200-+912271264299, with both +");

/// What a cell says: nothing, or the first and the last number.
pub(super) fn cell(raw: Raw<'_>, options: &Options, bare: Bare) -> Result<Option<(E164, E164)>, Fault> {
    match raw {
        Raw::Null => Ok(None),
        Raw::Text(text) => {
            // The fast way: most cells are this.
            if let Ok(number) = text.parse() {
                return Ok(Some((number, number)));
            }
            let text = text.trim();
            // Spreadsheets put it before what is to be text.
            let text = text.strip_prefix('\'').unwrap_or(text).trim();
            if text.is_empty() { Ok(None) } else { parse(text, options, bare).map(Some) }
        }
        Raw::Number(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            single(digits, options, bare).map(|number| Some((number, number)))
        }
        Raw::Number(literal) if literal.contains(['e', 'E']) => Err(SCIENTIFIC),
        Raw::Number(literal) if literal.contains('.') => Err(DECIMAL),
        Raw::Number(_) => Err(FORM),
        Raw::Bool(_) | Raw::List(_) | Raw::Object | Raw::Broken => Err(raw.not_text()),
    }
}

/// The block from one number to another, if it can be one.
pub(super) fn block(first: E164, last: E164) -> Result<Numbers, Fault> {
    if first.digits().ilog10() != last.digits().ilog10() {
        return Err(Fault::Text(format!("{first} and {last} have different numbers of digits, so they are no block")));
    }
    if first > last {
        return Err(Fault::Text(format!("the block's first number {first} is after its last, {last}")));
    }
    let numbers = Numbers::Block { first, last };
    if numbers.count() > BLOCK_NUMBERS_MAX {
        let count = numbers.count();
        return Err(Fault::Text(format!("the block has {count} numbers; divide it into blocks of at most 10,000,000")));
    }
    Ok(numbers)
}

/// Whether a column's name is rather a number, so that the header is missing.
pub(super) fn looks_like_one(name: &str) -> bool {
    let name = name.trim_start_matches(['\'', '+']);
    digits(name) >= 7 && name.chars().all(|c| c.is_ascii_digit() || separates(c))
}

fn digits(text: &str) -> usize {
    text.bytes().filter(u8::is_ascii_digit).count()
}

/// Whether people write the character between the digits of a number. (The
/// last two are the spaces that do not break lines.)
fn separates(c: char) -> bool {
    matches!(c, ' ' | '-' | '.' | '(' | ')' | '\u{a0}' | '\u{202f}')
}

fn parse(text: &str, options: &Options, bare: Bare) -> Result<(E164, E164), Fault> {
    if scientific(text) {
        return Err(SCIENTIFIC);
    }
    match split(text)? {
        Some((first, last)) => {
            let first = single(first.trim(), options, bare)?;
            let last = last.trim();
            // The + before a block stands for both ends.
            let last = if text.starts_with('+') && !last.starts_with('+') {
                single(&format!("+{last}"), options, bare)?
            } else {
                single(last, options, bare)?
            };
            Ok((first, last))
        }
        None => single(text, options, bare).map(|number| (number, number)),
    }
}

/// Divides `a-b`, if that is what it is: `-` also stands within numbers.
fn split(text: &str) -> Result<Option<(&str, &str)>, Fault> {
    // An en dash is not written within numbers.
    if let Some(ends) = text.split_once('–') {
        return Ok(Some(ends));
    }
    if let Some(plus) = text.rfind('+').filter(|&plus| plus > 0) {
        let first = text[..plus].trim_end().strip_suffix('-').ok_or(FORM)?;
        return Ok(Some((first, &text[plus..])));
    }
    let places = text.match_indices('-').map(|(at, _)| (&text[..at], &text[at + 1..]));
    let complete = |ends: &(&str, &str)| digits(ends.0) >= 7 && digits(ends.1) >= 7;
    let found: Vec<(&str, &str)> = places.filter(complete).take(9).collect();
    if found.is_empty() {
        return Ok(None);
    }
    if digits(text) <= 15 {
        return Err(AMBIGUOUS);
    }
    let even: Vec<_> = found.iter().filter(|ends| digits(ends.0) == digits(ends.1)).collect();
    match (&even[..], &found[..]) {
        ([ends], _) => Ok(Some(**ends)),
        ([], [ends]) => Ok(Some(*ends)),
        _ => Err(AMBIGUOUS),
    }
}

/// `9.12271E+11` and its like.
fn scientific(text: &str) -> bool {
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else {
        return false;
    };
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let mantissa = mantissa.strip_prefix(['+', '-']).unwrap_or(mantissa);
    let number = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    number(mantissa)
        && number(exponent)
        && mantissa.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b','))
        && exponent.bytes().all(|byte| byte.is_ascii_digit())
}

/// `912271264217.0`: its point is no separator, or the number would get a
/// digit more.
fn decimal(text: &str) -> bool {
    let text = text.strip_prefix('+').unwrap_or(text);
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    text.split_once('.').is_some_and(|(whole, fraction)| {
        whole.len() >= 7 && all_digits(whole) && fraction.len() <= 2 && all_digits(fraction)
    })
}

fn single(text: &str, options: &Options, bare: Bare) -> Result<E164, Fault> {
    if scientific(text) {
        return Err(SCIENTIFIC);
    }
    if decimal(text) {
        return Err(DECIMAL);
    }
    let (plus, rest) = match text.strip_prefix('+') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut compact = String::with_capacity(rest.len().min(64) + 1);
    compact.push('+');
    for c in rest.chars() {
        if c.is_ascii_digit() {
            compact.push(c);
        } else if !separates(c) {
            return Err(FORM);
        }
    }
    if plus {
        return compact.parse().map_err(|_| FORM);
    }
    if compact.len() == 1 {
        return Err(FORM);
    }
    if options.assume_plus {
        return compact.parse().map_err(|_| NOT_INTERNATIONAL);
    }
    let Some(country) = options.default_country else {
        return match bare {
            Bare::Unknown => Err(NO_PLUS),
            Bare::International => compact.parse().map_err(|_| NOT_INTERNATIONAL),
            Bare::NorthAmerican => north_american(&compact[1..]).ok_or(NOT_NORTH_AMERICAN),
        };
    };
    (options.national)(text, country.bytes())
        .and_then(E164::new)
        .ok_or_else(|| Fault::Text(format!("is not a national number of {country}; write it as +912271264217")))
}

/// Ten digits of the North American plan: neither the area nor the exchange
/// begins with 0 or 1.
fn north_american(digits: &str) -> Option<E164> {
    let begins = |at: usize| digits.as_bytes().get(at).is_some_and(|&digit| digit >= b'2');
    if digits.len() != 10 || !begins(0) || !begins(3) {
        return None;
    }
    format!("+1{digits}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn national(text: &str, country: [u8; 2]) -> Option<u64> {
        assert_eq!(&country, b"FR");
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        let digits = digits.strip_prefix('0').unwrap_or(&digits);
        if digits.len() == 9 { format!("33{digits}").parse().ok() } else { None }
    }

    fn show(read: Result<Option<(E164, E164)>, Fault>) -> String {
        match read {
            Ok(None) => "nothing".to_owned(),
            Ok(Some((first, last))) if first == last => first.to_string(),
            Ok(Some((first, last))) => format!("{first} to {last}"),
            Err(fault) => fault.to_string(),
        }
    }

    #[track_caller]
    fn check_with(options: &Options, text: &str, expected: &str) {
        let shown = show(cell(Raw::Text(text), options, Bare::Unknown));
        assert!(shown.starts_with(expected), "input: {text:?}, expected: {expected}, got: {shown}");
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        check_with(&Options::default(), text, expected);
    }

    #[test]
    fn a_number_is_a_plus_and_digits() {
        check("+912271264217", "+912271264217");
        check(" +91 22-7126.4217 ", "+912271264217");
        check("+1 (202) 555-0100", "+12025550100");
        check("+33\u{202f}1\u{a0}05600000", "+33105600000");
        check("'+912271264217", "+912271264217");
        check("", "nothing");
        check("  ", "nothing");
        check("'", "nothing");
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [
            "+",
            "+123456",
            "+1234567890123456",
            "+0123456789",
            "+91x2271264217",
            "+1800FLOWERS",
            "n/a",
            "++912271264217",
        ] {
            check(text, "must be + and 7 to 15 digits");
        }
        for text in ["''+912271264217", "+٩١٢٢٧١٢٦٤٢١٧", "=\"+912271264217\"", "+912271264217;ext=5"] {
            check(text, "must be + and 7 to 15 digits");
        }
    }

    #[test]
    fn what_a_spreadsheet_destroyed_is_refused() {
        for text in ["9.12271E+11", "+9.12271E+11", "9,12271E+11", "9E11", "'9.12271e+11"] {
            check(text, "is in scientific notation");
            check_with(&Options { assume_plus: true, ..Options::default() }, text, "is in scientific notation");
        }
        check("912271264217.0", "is a decimal number");
        check("+912271264217.00", "is a decimal number");
    }

    #[test]
    fn digits_without_plus_are_what_the_caller_says() {
        let plus = Options { assume_plus: true, ..Options::default() };
        let france = Options { default_country: "FR".parse().ok(), national, ..Options::default() };

        check("912271264217", "has no +");
        check("0105600000", "has no +");
        check_with(&plus, "912271264217", "+912271264217");
        check_with(&plus, "91 22 7126 4217", "+912271264217");
        check_with(&plus, "0105600000", "must be 7 to 15 digits, the first not 0");
        check_with(&plus, "+33105600000", "+33105600000");
        check_with(&france, "01 05 60 00 00", "+33105600000");
        check_with(&france, "0105600000-0105699999", "+33105600000 to +33105699999");
        check_with(&france, "+912271264217", "+912271264217");
        check_with(&france, "3631", "is not a national number of FR");
    }

    #[test]
    fn digits_without_plus_are_what_their_export_says() {
        let none = Options::default();
        let check = |text: &str, bare: Bare, expected: &str| {
            let shown = show(cell(Raw::Text(text), &none, bare));
            assert!(shown.starts_with(expected), "input: {text:?}, expected: {expected}, got: {shown}");
        };
        check("17609915566", Bare::International, "+17609915566");
        check("0105600000", Bare::International, "must be 7 to 15 digits");
        check("2025550123", Bare::NorthAmerican, "+12025550123");
        check("(202) 555-0123", Bare::NorthAmerican, "+12025550123");
        check("+442079460123", Bare::NorthAmerican, "+442079460123");
        for text in ["12025550123", "202555012", "1025550123", "2021550123"] {
            check(text, Bare::NorthAmerican, "must be the ten digits");
        }
        // What the caller says goes before.
        let france = Options { default_country: "FR".parse().ok(), national, ..Options::default() };
        assert_eq!(show(cell(Raw::Text("0105600000"), &france, Bare::International)), "+33105600000");
    }

    #[test]
    fn a_block_has_two_complete_ends() {
        check("+912271264200-+912271264299", "+912271264200 to +912271264299");
        check("+912271264200 - 912271264299", "+912271264200 to +912271264299");
        check("+1-202-555-0100 - +1-202-555-0199", "+12025550100 to +12025550199");
        check("+1-202-555-0100-1-202-555-0199", "+12025550100 to +12025550199");
        check("+912271264200–+912271264299", "+912271264200 to +912271264299");
        check("+91-2271264217", "+912271264217");
        check("+1234567-7654321", "could be one number or a block");
        check("+912271264200 +912271264299", "must be + and 7 to 15 digits");
        check("+3310560000-0105609999", "must be + and 7 to 15 digits");
        check("912271264200-912271264299", "has no +");
        check("+912271264200-+9122", "must be + and 7 to 15 digits");
    }

    #[test]
    fn json_numbers_are_digits_without_plus() {
        let plus = Options { assume_plus: true, ..Options::default() };
        for (raw, options, expected) in [
            (Raw::Number("912271264217"), &plus, "+912271264217"),
            (Raw::Number("912271264217"), &Options::default(), "has no +"),
            (Raw::Number("912271264217.0"), &plus, "is a decimal number"),
            (Raw::Number("9.12e11"), &plus, "is in scientific notation"),
            (Raw::Number("-912271264217"), &plus, "must be + and"),
            (Raw::Null, &plus, "nothing"),
            (Raw::Bool(true), &plus, "must be text"),
            (Raw::List("[]"), &plus, "must be text"),
        ] {
            let shown = show(cell(raw, options, Bare::Unknown));
            assert!(shown.starts_with(expected), "expected: {expected}, got: {shown}");
        }
    }

    #[test]
    fn a_block_is_ascending_even_and_not_too_large() {
        let check = |first: u64, last: u64, expected: &str| {
            let ends = [first, last].map(|digits| E164::new(digits).expect("a number"));
            let shown = match block(ends[0], ends[1]) {
                Ok(numbers) => numbers.count().to_string(),
                Err(fault) => fault.to_string(),
            };
            assert!(shown.contains(expected), "{first} to {last}, expected: {expected}, got: {shown}");
        };
        check(912_271_264_217, 912_271_264_217, "1");
        check(910_000_000_000, 910_009_999_999, "10000000");
        check(910_000_000_000, 910_010_000_000, "the block has 10000001 numbers");
        check(912_271_264_217, 912_271_264_216, "after its last");
        check(99_999_999, 100_000_000, "different numbers of digits");
    }
}
