//! Numbers as people write them: one reader for every entrance.
//!
//! Reads one number, or a block of them. Spaces, `-`, `.`, `/`, brackets and
//! characters that nobody sees stand between digits; a `-` or `/` may also stand
//! between the ends of a block, and then the numbering plan says which it is.
//!
//! Always holds: the digits of a number that is read are the text's own, with
//! the calling code before them where the caller says which; what could be both
//! a number and a block is refused, with both readings.
//! Deliberately absent: whether a number may come into stock (see
//! [`plan::judge`]): one that is stored has to be found under its own digits,
//! whatever the plan says of them.

use std::borrow::Cow;

use super::nothing::invisible;
use super::plan::{self, Judgement, National};
use super::{Country, E164};

/// What digits without a `+` are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BareDigits {
    /// Could be anything, so they are refused.
    Unknown,
    /// Whole international numbers.
    International,
    /// Ten digits of the North American plan, whose code is 1.
    NorthAmerican,
    /// Numbers as this country writes its own.
    National(Country),
}

/// What is wrong with a text that should be a number, and what to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadSpelling(Cow<'static, str>);

const fn fixed(text: &'static str) -> BadSpelling {
    BadSpelling(Cow::Borrowed(text))
}

fn told(text: String) -> BadSpelling {
    BadSpelling(Cow::Owned(text))
}

pub const FORM: BadSpelling = fixed("must be + and 7 to 15 digits, the first not 0, such as +912271264217");
pub const SCIENTIFIC: BadSpelling =
    fixed("is in scientific notation: the spreadsheet destroyed digits; format the column as text and export it again");
pub const DECIMAL: BadSpelling = fixed("is a decimal number; format the column as text and export it again");
pub const NO_PLUS: BadSpelling = fixed("has no +; write the whole international number with it");
const NOT_INTERNATIONAL: BadSpelling = fixed("must be 7 to 15 digits, the first not 0, to be an international number");
const NOT_NORTH_AMERICAN: BadSpelling =
    fixed("must be the ten digits of a North American number, such as 2025550123, or international with its +");
const TWO_BLOCKS: BadSpelling = fixed("could be one number or a block; write a block as +912271264200..+912271264299");

/// Reads a number, or the first and the last one of a block.
pub fn read(text: &str, bare: BareDigits) -> Result<(E164, E164), BadSpelling> {
    // The fast way: most texts are this.
    if let Ok(number) = text.parse() {
        return Ok((number, number));
    }
    let text = tidied(text);
    // A bracket may stand before the plus.
    let text = text.strip_prefix('(').filter(|rest| rest.starts_with('+')).unwrap_or(&text);
    if scientific(text) {
        return Err(SCIENTIFIC);
    }
    if let Some((head, tail)) = divided(text) {
        return block(head, tail, bare);
    }
    if let Some(plus) = text.rfind('+').filter(|&plus| plus > 0) {
        let head = text[..plus].trim_end().strip_suffix(['-', '/']).ok_or(FORM)?;
        return block(head, &text[plus..], bare);
    }
    match text.rfind(['-', '/']) {
        Some(at) => number_or_block(text, at, bare),
        None => single(text, bare).map(|number| (number, number)),
    }
}

/// The one number that a text names, in any spelling, for finding it: digits
/// without a `+` are international.
pub fn one(text: &str) -> Result<E164, BadSpelling> {
    let (first, last) = read(text, BareDigits::International)?;
    if first == last { Ok(first) } else { Err(told(format!("is a block, {first} to {last}; name one number"))) }
}

/// The character that is meant by one that looks like it: none for one that
/// nobody sees, `-` for a dash, `+` for a full-width plus.
pub fn plain(c: char) -> Option<char> {
    match c {
        _ if invisible(c) => None,
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' | '\u{ff0d}' => Some('-'),
        '\u{ff0b}' | '\u{fe62}' => Some('+'),
        '\u{ff08}' => Some('('),
        '\u{ff09}' => Some(')'),
        c if c.is_whitespace() && !matches!(c, '\n' | '\r') => Some(' '),
        c => Some(c),
    }
}

/// Whether people write the character between the digits of a number.
pub fn separates(c: char) -> bool {
    matches!(c, ' ' | '-' | '.' | '(' | ')' | '/')
}

/// The text in plain characters. An en dash stays: it always means a block.
fn tidied(text: &str) -> String {
    let text: String = text.chars().filter_map(|c| if c == '–' { Some(c) } else { plain(c) }).collect();
    text.trim().to_owned()
}

fn digits(text: &str) -> usize {
    text.bytes().filter(u8::is_ascii_digit).count()
}

/// The ends of a text that can only be a block.
fn divided(text: &str) -> Option<(&str, &str)> {
    if let Some(ends) = text.split_once('–') {
        return Some(ends);
    }
    if let Some((head, tail)) = text.split_once("..") {
        return Some((head, tail.trim_start_matches('.')));
    }
    let at = text.as_bytes().windows(2).position(|pair| pair.eq_ignore_ascii_case(b"to"))?;
    Some((&text[..at], &text[at + 2..]))
}

/// A text with a `-` or `/` at `at`, its last: the plan says what it is.
fn number_or_block(text: &str, at: usize, bare: BareDigits) -> Result<(E164, E164), BadSpelling> {
    let (head, tail) = (&text[..at], &text[at + 1..]);
    if digits(tail) == 0 {
        return Err(FORM);
    }
    let (first, whole) = (single(head, bare), single(text, bare));
    match (valid(&first), valid(&whole)) {
        (Some(_), None) => block(head, tail, bare),
        (None, Some(number)) => Ok((number, number)),
        (Some(_), Some(number)) => Err(two_readings(number, block(head, tail, bare), "the plan has both")),
        (None, None) => undecided(text, (head, tail), (first, whole), bare),
    }
}

/// A text with a `-` or `/` of which the plan knows neither reading.
fn undecided(
    text: &str,
    (head, tail): (&str, &str),
    (first, whole): (Result<E164, BadSpelling>, Result<E164, BadSpelling>),
    bare: BareDigits,
) -> Result<(E164, E164), BadSpelling> {
    for (reading, rest) in [(&whole, String::new()), (&first, format!("..{}", tail.trim()))] {
        if let Ok(number) = reading
            && let Judgement::Misspelt(misspelling) = plan::judge(*number)
        {
            return Err(told(format!("{}{rest}", misspelling.to_string().trim_end_matches('?')) + "?"));
        }
    }
    // So many digits are no number, so they are a block, if they have a middle.
    if digits(text) > DIGITS_MAX {
        return middle(text, bare);
    }
    match (whole, block(head, tail, bare)) {
        (Ok(number), block) => Err(two_readings(number, block, "the plan has neither")),
        (Err(fault), Err(_)) => Err(fault),
        (Err(_), Ok((first, last))) => Err(told(format!(
            "could be a block, {first} to {last}, but the plan does not have {first}; write it as {first}..{last} if it is one"
        ))),
    }
}

/// The ends of a block that are divided by one of many dashes.
fn middle(text: &str, bare: BareDigits) -> Result<(E164, E164), BadSpelling> {
    let places = text.match_indices('-').map(|(at, _)| (&text[..at], &text[at + 1..]));
    let even = |(head, tail): &(&str, &str)| digits(head) >= 7 && digits(head) == digits(tail);
    let mut found = places.filter(even);
    match (found.next(), found.next()) {
        (Some((head, tail)), None) => block(head, tail, bare).and_then(|(first, last)| match first <= last {
            true => Ok((first, last)),
            false => Err(FORM),
        }),
        (None, _) => Err(FORM),
        (Some(_), Some(_)) => Err(TWO_BLOCKS),
    }
}

fn two_readings(number: E164, block: Result<(E164, E164), BadSpelling>, plan: &str) -> BadSpelling {
    let block = match block {
        Ok((first, last)) => format!("the block {first} to {last}"),
        Err(_) => "a block".to_owned(),
    };
    told(format!(
        "could be the number {number} or {block}, and {plan}; write a number without - and /, a block with .. between its ends"
    ))
}

fn valid(number: &Result<E164, BadSpelling>) -> Option<E164> {
    number.as_ref().ok().copied().filter(|&number| plan::judge(number) == Judgement::Valid)
}

/// The block from one end to the other. A short end stands for as many of the
/// last digits.
fn block(head: &str, tail: &str, bare: BareDigits) -> Result<(E164, E164), BadSpelling> {
    let (head, tail) = (head.trim(), tail.trim());
    let first = single(head, bare)?;
    if tail.starts_with('+') {
        return Ok((first, single(tail, bare)?));
    }
    let count = digits(tail);
    if count == 0 || tail.contains("..") || !tail.chars().all(|c| c.is_ascii_digit() || separates(c)) {
        return Err(FORM);
    }
    if count >= digits(head) {
        // The + before a block stands for both ends.
        let last = if head.starts_with('+') { single(&format!("+{tail}"), bare)? } else { single(tail, bare)? };
        return Ok((first, last));
    }
    let end: String = tail.chars().filter(char::is_ascii_digit).collect();
    let power = u32::try_from(count).ok().and_then(|count| 10_u64.checked_pow(count)).ok_or(FORM)?;
    let end: u64 = end.parse().map_err(|_| FORM)?;
    let last = E164::new(first.digits() / power * power + end).filter(|&last| last > first);
    last.map(|last| (first, last)).ok_or_else(|| {
        told(format!(
            "is a block whose end {tail} is not larger than the last digits of {first}; write both ends in full"
        ))
    })
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

const DIGITS_MAX: usize = 15;

fn single(text: &str, bare: BareDigits) -> Result<E164, BadSpelling> {
    let text = text.trim();
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
    let mut compact = String::with_capacity(DIGITS_MAX + 2);
    compact.push('+');
    for c in rest.chars() {
        if c.is_ascii_digit() {
            // More digits than a number has are as wrong as one too many.
            if compact.len() <= DIGITS_MAX + 1 {
                compact.push(c);
            }
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
    match bare {
        BareDigits::Unknown => Err(NO_PLUS),
        BareDigits::International => compact.parse().map_err(|_| NOT_INTERNATIONAL),
        BareDigits::NorthAmerican => north_american(&compact[1..]).ok_or(NOT_NORTH_AMERICAN),
        BareDigits::National(country) => match plan::national(text, country) {
            National::Is(number) => Ok(number),
            National::Meant(meant) => Err(told(format!("is not how {country} writes a number; did you mean {meant}?"))),
            National::No => Err(told(format!("is not a national number of {country}; write it as +912271264217"))),
        },
    }
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
    use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumber, PhoneNumberFormat, PhoneNumberType, Region};

    use super::*;

    #[track_caller]
    fn check_as(bare: BareDigits, text: &str, expected: &str) {
        let shown = match read(text, bare) {
            Ok((first, last)) if first == last => first.to_string(),
            Ok((first, last)) => format!("{first} to {last}"),
            Err(fault) => fault.to_string(),
        };
        assert!(shown.starts_with(expected), "input: {text:?}, expected: {expected}, got: {shown}");
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        check_as(BareDigits::Unknown, text, expected);
    }

    fn national(country: &str) -> BareDigits {
        BareDigits::National(country.parse().expect("a country"))
    }

    #[test]
    fn a_number_is_a_plus_and_digits() {
        check("+912271264217", "+912271264217");
        check(" +91 22-7126.4217 ", "+912271264217");
        check("+1 (202) 555-0100", "+12025550100");
        check("+33\u{202f}1\u{a0}05600000", "+33105600000");
        check("(+91) 2271264217", "+912271264217");
    }

    #[test]
    fn what_nobody_sees_is_not_there() {
        check("\u{202a}+912245001000\u{202c}", "+912245001000");
        check("\u{200e}+91\u{200b}2245\u{ad}001000\u{feff}", "+912245001000");
        check("+91\u{2011}22\u{2010}45001000", "+912245001000");
        check("\u{ff0b}912245001000", "+912245001000");
        check("+91\u{2003}2245001000", "+912245001000");
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [
            "",
            " ",
            "+",
            "-",
            "+123456",
            "+1234567890123456",
            "+0123456789",
            "+91x2271264217",
            "+1800FLOWERS",
            "n/a",
            "++912271264217",
            "+٩١٢٢٧١٢٦٤٢١٧",
            "+９１2271264217",
            "=\"+912271264217\"",
            "+912271264217;ext=5",
            "+912271264200 +912271264299",
            "+912271264217\n+912271264218",
            "to",
            "..",
            "–",
        ] {
            check(text, "must be + and 7 to 15 digits");
        }
    }

    #[test]
    fn what_a_spreadsheet_destroyed_is_refused() {
        for text in ["9.12271E+11", "+9.12271E+11", "9,12271E+11", "9E11"] {
            check(text, "is in scientific notation");
            check_as(BareDigits::International, text, "is in scientific notation");
        }
        check("912271264217.0", "is a decimal number");
        check("+912271264217.00", "is a decimal number");
    }

    #[test]
    fn digits_without_plus_are_what_the_caller_says() {
        check("912271264217", "has no +");
        check("0105600000", "has no +");
        check("912271264200-912271264299", "has no +");
        check("912271264200..912271264299", "has no +");
        check_as(BareDigits::International, "912271264217", "+912271264217");
        check_as(BareDigits::International, "91 22 7126 4217", "+912271264217");
        check_as(BareDigits::International, "0105600000", "must be 7 to 15 digits, the first not 0");
        check_as(BareDigits::International, "+33105600000", "+33105600000");
        check_as(national("FR"), "01 42 68 53 00", "+33142685300");
        check_as(national("FR"), "0142685300-0142685399", "+33142685300 to +33142685399");
        check_as(national("FR"), "+912271264217", "+912271264217");
        check_as(national("FR"), "3631", "is not a national number of FR");
        check_as(national("GB"), "44 (0)20 7946 0958", "is not how GB writes a number; did you mean +442079460958?");
        check_as(BareDigits::NorthAmerican, "2025550123", "+12025550123");
        check_as(BareDigits::NorthAmerican, "(202) 555-0123", "+12025550123");
        check_as(BareDigits::NorthAmerican, "+442079460123", "+442079460123");
        for text in ["12025550123", "202555012", "1025550123", "2021550123"] {
            check_as(BareDigits::NorthAmerican, text, "must be the ten digits");
        }
    }

    #[test]
    fn the_digits_are_those_of_the_text() {
        // Whether such a number may come into stock is asked elsewhere.
        check("+44 (0)20 7946 0958", "+4402079460958");
        check("+39 06 1234 5678", "+390612345678");
    }

    #[test]
    fn the_plan_tells_blocks_from_numbers() {
        check("+33142687000-99", "+33142687000 to +33142687099");
        check("+33 1 42 68 70 00-09", "+33142687000 to +33142687009");
        check("+33142687000/09", "+33142687000 to +33142687009");
        check("+912271264217-99", "+912271264217 to +912271264299");
        check("+91 22 7126 4217 / 4218", "+912271264217 to +912271264218");
        check("+91-9876543210", "+919876543210");
        check("+91-22-7126-4217", "+912271264217");
        check("+1 (212) 555-0100", "+12125550100");
        check("+49 30/901820", "+4930901820");
        check(
            "+4930555000-9",
            "could be the number +49305550009 or the block +4930555000 to +4930555009, and the plan has both",
        );
        check(
            "+9991234567-89",
            "could be the number +999123456789 or the block +9991234567 to +9991234589, and the plan",
        );
        check("+1234567-7654321", "could be the number +12345677654321 or the block +1234567 to +7654321");
        check("+999-1234567", "could be the number +9991234567 or a block, and the plan has neither");
        check("+44-02079460958", "has a trunk zero; did you mean +442079460958?");
        check("+4402079460900-99", "has a trunk zero; did you mean +442079460900..99?");
        check("+33142687099-00", "is a block whose end 00 is not larger");
        check("+33142687000-", "must be + and");
        check("+33142687000-9x", "must be + and");
        check_as(BareDigits::International, "33142688004-09", "+33142688004 to +33142688009");
        check_as(BareDigits::International, "33 142 688 010-19", "+33142688010 to +33142688019");
        check_as(national("FR"), "0142689008-09", "+33142689008 to +33142689009");
        check_as(national("FR"), "01 42-68 90 08", "+33142689008");
    }

    #[test]
    fn some_signs_always_mean_a_block() {
        check("+912271264217..220", "+912271264217 to +912271264220");
        check("+912271264217...220", "+912271264217 to +912271264220");
        check("+912271264200..+912271264299", "+912271264200 to +912271264299");
        check("+912271264200 to 299", "+912271264200 to +912271264299");
        check("+91-2271264200TO99", "+912271264200 to +912271264299");
        check("+912271264200–99", "+912271264200 to +912271264299");
        check("+912271264200–+912271264299", "+912271264200 to +912271264299");
        check("+9991234500..99", "+9991234500 to +9991234599");
        check("+912271264200..299..399", "must be + and");
        check("+912271264217..217", "is a block whose end 217 is not larger");
        check_as(national("FR"), "0142689008 to 09", "+33142689008 to +33142689009");
    }

    #[test]
    fn a_block_has_two_complete_ends() {
        check("+912271264200-+912271264299", "+912271264200 to +912271264299");
        check("+912271264200 - 912271264299", "+912271264200 to +912271264299");
        check("+1-202-555-0100 - +1-202-555-0199", "+12025550100 to +12025550199");
        check("+1-202-555-0100-1-202-555-0199", "+12025550100 to +12025550199");
        check("+9991234500-+9991234599", "+9991234500 to +9991234599");
        check("+999123450000-999123459999", "+999123450000 to +999123459999");
        check("+912271264200-+9122", "must be + and 7 to 15 digits");
    }

    /// The example numbers of all regions and types, as the library has them.
    fn examples() -> Vec<PhoneNumber> {
        let types = [
            PhoneNumberType::FixedLine,
            PhoneNumberType::Mobile,
            PhoneNumberType::TollFree,
            PhoneNumberType::PremiumRate,
            PhoneNumberType::SharedCost,
            PhoneNumberType::VoIP,
            PhoneNumberType::PersonalNumber,
            PhoneNumberType::Pager,
            PhoneNumberType::UAN,
            PhoneNumberType::VoiceMail,
        ];
        let regions: Vec<Region> = PHONE_NUMBER_UTIL.get_supported_regions().collect();
        let of_regions = regions.iter().flat_map(|&region| {
            types
                .iter()
                .filter_map(move |&kind| PHONE_NUMBER_UTIL.get_example_number_for_type_and_region(region, kind).ok())
        });
        let of_none = PHONE_NUMBER_UTIL
            .get_supported_global_network_calling_codes()
            .filter_map(|code| PHONE_NUMBER_UTIL.get_example_number_for_non_geo_entity(code).ok());
        of_regions.chain(of_none).collect()
    }

    /// A number as people write it, and as they miswrite it.
    fn spellings(number: &PhoneNumber) -> Vec<String> {
        let (code, national) = (number.country_code, number.get_national_significant_number());
        let international = PHONE_NUMBER_UTIL.format(number, PhoneNumberFormat::International).into_owned();
        let groups = international.split_once(' ').map_or(national.as_str(), |(_, groups)| groups).to_owned();
        let mut all = vec![
            format!("+{code}{national}"),
            international.clone(),
            international.replace(' ', "-"),
            international.replace(' ', "."),
            international.replace(' ', "/"),
            international.replace([' ', '-'], "\u{a0}"),
            format!("\u{202a}{}\u{202c}", international.replacen('+', "\u{ff0b}", 1)),
            format!("(+{code}) {groups}"),
        ];
        for prefix in ["0", "1", "8", "06", "01", "02", "9", "15"] {
            all.push(format!("+{code}{prefix}{national}"));
            all.push(format!("+{code} ({prefix}){groups}"));
            all.push(format!("+{code}({prefix}) {}", groups.replace(' ', "-")));
            all.push(format!("+{code}-{prefix}{}", groups.replace([' ', '-'], "/")));
        }
        // A digit that was lost, one that was doubled, and a 9 or a 15 that
        // came between.
        for at in 0..national.len() {
            let (before, after) = national.split_at(at);
            all.push(format!("+{code}{before}{}", &after[1..]));
            all.push(format!("+{code} {before}{}{after}", &after[..1]));
            all.push(format!("+{code} {before} 9{after}"));
            all.push(format!("+{code} {before} 15 {after}"));
        }
        all
    }

    #[test]
    fn what_is_stored_has_the_digits_of_its_text() {
        let (mut tried, mut stored, mut refused, mut wrong) = (0, 0, 0, Vec::new());
        for example in examples() {
            for text in spellings(&example) {
                tried += 1;
                let numbers = read(&text, BareDigits::Unknown);
                let Some((first, last)) = numbers
                    .ok()
                    .filter(|(first, _)| matches!(plan::judge(*first), Judgement::Valid | Judgement::Invalid))
                else {
                    refused += 1;
                    continue;
                };
                stored += 1;
                // The library is asked in its own way what the text is.
                let digits: String = text.chars().filter(char::is_ascii_digit).collect();
                let is_text = first == last && digits == first.digits().to_string();
                let is_block = first < last && digits.starts_with(&first.digits().to_string());
                let other = PHONE_NUMBER_UTIL.parse(&text, None).ok().filter(|number| {
                    let meant = format!("{}{}", number.country_code, number.get_national_significant_number());
                    // Some are too short for E.164: their misspellings are not known by the plan.
                    PHONE_NUMBER_UTIL.is_valid_number(number) && meant != digits && meant.len() >= 7
                });
                if !(is_text && other.is_none() || is_block) {
                    wrong.push(format!("{text} as {first} to {last}"));
                }
            }
        }
        println!("{tried} spellings tried: {stored} stored, {refused} refused, {} stored wrong", wrong.len());
        assert!(tried > 50_000 && stored > 10_000 && refused > 10_000, "{tried} {stored} {refused}");
        assert_eq!(wrong, [] as [&str; 0]);
    }

    #[test]
    fn how_a_country_writes_its_numbers_is_read_as_them() {
        let (mut tried, mut refused, mut wrong) = (0, 0, Vec::new());
        for example in examples() {
            let Some(region) = PHONE_NUMBER_UTIL.get_region_for_number(&example) else { continue };
            let Ok(country) = region.as_region_str().parse::<Country>() else { continue };
            let national = PHONE_NUMBER_UTIL.format(&example, PhoneNumberFormat::National).into_owned();
            let meant = format!("{}{}", example.country_code, example.get_national_significant_number());
            for text in
                [national.clone(), national.replace(' ', ""), format!("{} (0) {national}", example.country_code)]
            {
                tried += 1;
                if let Ok((first, last)) = read(&text, BareDigits::National(country))
                    && first == last
                    && plan::judge(first) == Judgement::Valid
                    && first.digits().to_string() != meant
                    && text.starts_with(&national)
                {
                    wrong.push(format!("{text} of {country} as {first}"));
                }
            }
            refused += u32::from(read(&national, BareDigits::National(country)).is_err());
        }
        println!("{tried} national spellings tried: {refused} refused, {} read wrong", wrong.len());
        assert!(tried > 2_000 && refused * 20 < tried, "{refused} of {tried} refused");
        assert_eq!(wrong, [] as [&str; 0]);
    }

    #[test]
    fn one_number_is_found_in_any_spelling() {
        for text in [
            "912271264217",
            "+91 22 7126 4217",
            "+91-22-7126-4217",
            "(91) 22.7126.4217",
            "\u{202a}+912271264217\u{202c}",
            "\u{ff0b}912271264217",
            "+91 (22) 7126/4217",
        ] {
            assert_eq!(one(text).map(E164::digits), Ok(912_271_264_217), "input: {text:?}");
        }
        for text in ["+33142687000-99", "+912271264217x", "00912271264217", "9.12271264217e11", "", "+4930555000-9"] {
            assert!(one(text).is_err(), "input: {text:?}");
        }
        // A stored trunk zero has its own digits.
        assert_eq!(one("+44 (0)20 7946 0958").map(E164::digits), Ok(4_402_079_460_958));
    }
}
