//! Cells that hold numbers: one, or a block.

use super::value::{CellFault, Raw};
use super::{BLOCK_NUMBERS_MAX, ReadOptions, RowNumbers};
use crate::domain::spelling::{self, BareDigits};
use crate::domain::{E164, nothing};

/// What a cell says: nothing, or the first and the last number. `bare` is what
/// the file's product means by digits without a `+`.
pub(super) fn cell(raw: Raw<'_>, options: &ReadOptions, bare: BareDigits) -> Result<Option<(E164, E164)>, CellFault> {
    match raw {
        Raw::Null => Ok(None),
        Raw::Text(text) => {
            // The fast way: most cells are this.
            if let Ok(number) = text.parse() {
                return Ok(Some((number, number)));
            }
            let text = text.trim_matches(blank);
            // Spreadsheets put it before what is to be text.
            let text = text.strip_prefix('\'').unwrap_or(text).trim_matches(blank);
            if text.is_empty() { Ok(None) } else { read(text, options, bare).map(Some) }
        }
        Raw::Number(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            read(digits, options, bare).map(Some)
        }
        Raw::Number(literal) if literal.contains(['e', 'E']) => Err(CellFault::of(&spelling::SCIENTIFIC)),
        Raw::Number(literal) if literal.contains('.') => Err(CellFault::of(&spelling::DECIMAL)),
        Raw::Number(_) => Err(CellFault::of(&spelling::FORM)),
        Raw::Bool(_) | Raw::List(_) | Raw::Object | Raw::Broken => Err(raw.not_text()),
    }
}

fn blank(c: char) -> bool {
    c.is_whitespace() || nothing::invisible(c)
}

fn read(text: &str, options: &ReadOptions, bare: BareDigits) -> Result<(E164, E164), CellFault> {
    let bare = match options.default_country {
        _ if options.assume_plus => BareDigits::International,
        Some(country) => BareDigits::National(country),
        None => bare,
    };
    spelling::read(text, bare).map_err(|fault| {
        if nothing::certain(text) {
            return CellFault::Fixed(nothing::REFUSED);
        }
        let hint = match fault == spelling::NO_PLUS {
            true => ", or say what the digits are: --assume-plus if they are international, --default-country if they are national",
            false => "",
        };
        CellFault::Text(format!("{fault}{hint}"))
    })
}

/// The block from one number to another, if it can be one.
pub(super) fn block(first: E164, last: E164) -> Result<RowNumbers, CellFault> {
    if first.digits().ilog10() != last.digits().ilog10() {
        return Err(CellFault::Text(format!(
            "{first} and {last} have different numbers of digits, so they are no block"
        )));
    }
    if first > last {
        return Err(CellFault::Text(format!("the block's first number {first} is after its last, {last}")));
    }
    let numbers = RowNumbers::Block { first, last };
    if numbers.count() > BLOCK_NUMBERS_MAX {
        let count = numbers.count();
        return Err(CellFault::Text(format!(
            "the block has {count} numbers; divide it into blocks of at most 10,000,000"
        )));
    }
    Ok(numbers)
}

/// Whether a column's name is rather a number or a block, so that the header is
/// missing.
pub(super) fn looks_like_one(name: &str) -> bool {
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    let between = |c: char| matches!(c, '\'' | '+' | 't' | 'o' | 'T' | 'O') || spelling::separates(c);
    digits >= 7 && name.chars().filter_map(spelling::plain).all(|c| c.is_ascii_digit() || between(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(read: Result<Option<(E164, E164)>, CellFault>) -> String {
        match read {
            Ok(None) => "nothing".to_owned(),
            Ok(Some((first, last))) if first == last => first.to_string(),
            Ok(Some((first, last))) => format!("{first} to {last}"),
            Err(fault) => fault.to_string(),
        }
    }

    #[track_caller]
    fn check_with(options: &ReadOptions, text: &str, expected: &str) {
        let shown = show(cell(Raw::Text(text), options, BareDigits::Unknown));
        assert!(shown.starts_with(expected), "input: {text:?}, expected: {expected}, got: {shown}");
    }

    #[test]
    fn a_cell_is_a_number_a_block_or_nothing() {
        let check = |text: &str, expected: &str| check_with(&ReadOptions::default(), text, expected);
        check("+912271264217", "+912271264217");
        check("'+912271264217", "+912271264217");
        check("\u{feff}'+912271264217\u{200e}", "+912271264217");
        check("+912271264200-99", "+912271264200 to +912271264299");
        check("''+912271264217", "must be + and 7 to 15 digits");
        check("'9.12271e+11", "is in scientific notation");
        for text in ["", "  ", "'", "\u{200b}", "\u{feff} "] {
            check(text, "nothing");
        }
    }

    #[test]
    fn what_the_caller_says_of_digits_goes_before_what_the_product_means() {
        let plus = ReadOptions { assume_plus: true, ..ReadOptions::default() };
        let france = ReadOptions { default_country: "FR".parse().ok(), ..ReadOptions::default() };
        check_with(&plus, "912271264217", "+912271264217");
        check_with(&france, "01 42 68 53 00", "+33142685300");
        assert_eq!(show(cell(Raw::Text("0142685300"), &france, BareDigits::International)), "+33142685300");
        let none = ReadOptions::default();
        assert_eq!(show(cell(Raw::Text("17609915566"), &none, BareDigits::International)), "+17609915566");
    }

    #[test]
    fn json_numbers_are_digits_without_plus() {
        let plus = ReadOptions { assume_plus: true, ..ReadOptions::default() };
        for (raw, options, expected) in [
            (Raw::Number("912271264217"), &plus, "+912271264217"),
            (Raw::Number("912271264217"), &ReadOptions::default(), "has no +"),
            (Raw::Number("912271264217.0"), &plus, "is a decimal number"),
            (Raw::Number("9.12e11"), &plus, "is in scientific notation"),
            (Raw::Number("-912271264217"), &plus, "must be + and"),
            (Raw::Null, &plus, "nothing"),
            (Raw::Bool(true), &plus, "must be text"),
            (Raw::List("[]"), &plus, "must be text"),
        ] {
            let shown = show(cell(raw, options, BareDigits::Unknown));
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
