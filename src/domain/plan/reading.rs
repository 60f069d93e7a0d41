//! How numbers are read and written: calling codes, prefixes, lengths, formats.
//!
//! The table is `regions.bin`, which `scripts/numbers.py` generates from
//! libphonenumber's metadata, and the steps are that library's: take off the
//! prefix for calls abroad, then the calling code, then the national prefix if
//! what is left can still be a number. A pattern is compiled when it is first
//! needed.
//!
//! Invariant: a number is read and written as the library does it; the tests
//! compare the two. Deliberately absent: letters, extensions, and what a number
//! is (`numbers`).

use std::collections::HashMap;
use std::io::Read;
use std::sync::{LazyLock, OnceLock};

use regex_lite::Regex;

static REGIONS: LazyLock<Regions> =
    LazyLock::new(|| Regions::unpack(include_bytes!("regions.bin")).expect("regions.bin is whole"));

/// How many digits there may be after the calling code.
const NATIONAL_MIN: usize = 2;
const NATIONAL_MAX: usize = 17;
const CALLING_CODE_DIGITS_MAX: usize = 3;

/// A number as it was read: its calling code, and the digits after it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadNumber {
    pub code: u32,
    pub national: String,
}

/// How the count of some digits stands to the lengths of a region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Length {
    Possible,
    /// Within an area only.
    Local,
    TooShort,
    TooLong,
    /// Between two possible lengths.
    Other,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Format {
    National,
    International,
}

struct Regions {
    regions: Vec<Region>,
    /// The main region of each calling code.
    by_code: HashMap<u32, usize>,
    by_letters: HashMap<Box<str>, usize>,
}

struct Region {
    code: u32,
    abroad: DigitRegex,
    prefix: DigitRegex,
    /// What the national prefix and what it captures become; often nothing.
    becomes: Box<str>,
    number: DigitRegex,
    /// A bit for each possible count of digits; the second within an area.
    lengths: u32,
    local_lengths: u32,
    formats: Vec<FormatRule>,
}

struct FormatRule {
    format: Format,
    whole: DigitRegex,
    begins: DigitRegex,
    template: Box<str>,
    /// The same without a national prefix.
    bare: Box<str>,
}

/// A pattern that is met at the start of digits.
struct DigitRegex {
    text: Box<str>,
    start: OnceLock<Option<Regex>>,
    whole: OnceLock<Option<Regex>>,
}

impl DigitRegex {
    fn of(text: &str) -> DigitRegex {
        DigitRegex { text: text.into(), start: OnceLock::new(), whole: OnceLock::new() }
    }

    /// `None` if the pattern is empty.
    fn start(&self) -> Option<&Regex> {
        let compiled = self.start.get_or_init(|| self.compile(&format!("^(?:{})", self.text)));
        compiled.as_ref()
    }

    /// Of all digits.
    fn whole(&self) -> Option<&Regex> {
        let compiled = self.whole.get_or_init(|| self.compile(&format!("^(?:{})$", self.text)));
        compiled.as_ref()
    }

    fn compile(&self, anchored: &str) -> Option<Regex> {
        (!self.text.is_empty()).then(|| Regex::new(anchored).expect("a pattern of the table"))
    }

    fn is(&self, digits: &str) -> bool {
        self.whole().is_some_and(|pattern| pattern.is_match(digits))
    }
}

impl Regions {
    fn unpack(packed: &[u8]) -> std::io::Result<Regions> {
        let cut = || std::io::Error::other("the table is cut off");
        let mut text = String::new();
        flate2::read::ZlibDecoder::new(packed).read_to_string(&mut text)?;
        let mut table = Regions { regions: Vec::new(), by_code: HashMap::new(), by_letters: HashMap::new() };
        for line in text.lines() {
            let cells: Vec<&str> = line.split('\t').collect();
            match cells[..] {
                [letters, code, abroad, prefix, becomes, number, lengths, local_lengths] => {
                    let code = code.parse().map_err(|_| cut())?;
                    let at = table.regions.len();
                    table.by_code.entry(code).or_insert(at);
                    if letters != WORLD {
                        table.by_letters.insert(letters.into(), at);
                    }
                    table.regions.push(Region {
                        code,
                        abroad: DigitRegex::of(abroad),
                        prefix: DigitRegex::of(prefix),
                        becomes: becomes.into(),
                        number: DigitRegex::of(number),
                        lengths: bits(lengths),
                        local_lengths: bits(local_lengths),
                        formats: Vec::new(),
                    });
                }
                [kind, whole, begins, template, bare] => {
                    let format = if kind == "N" { Format::National } else { Format::International };
                    let region = table.regions.last_mut().ok_or_else(cut)?;
                    region.formats.push(FormatRule {
                        format,
                        whole: DigitRegex::of(whole),
                        begins: DigitRegex::of(begins),
                        template: template.into(),
                        bare: bare.into(),
                    });
                }
                _ => return Err(cut()),
            }
        }
        Ok(table)
    }

    fn of_code(&self, code: u32) -> Option<&Region> {
        self.by_code.get(&code).map(|&at| &self.regions[at])
    }

    fn of_letters(&self, letters: &str) -> Option<&Region> {
        self.by_letters.get(letters).map(|&at| &self.regions[at])
    }
}

/// The letters of numbers that belong to no country.
const WORLD: &str = "001";

/// Lengths as bits.
fn bits(lengths: &str) -> u32 {
    lengths.split(',').filter_map(|length| length.parse::<u32>().ok()).fold(0, |bits, length| bits | 1 << length)
}

impl Region {
    fn length(&self, digits: usize) -> Length {
        let bit = 1_u32 << digits.min(31);
        if self.local_lengths & bit != 0 {
            Length::Local
        } else if self.lengths & bit != 0 {
            Length::Possible
        } else if self.lengths & (bit - 1) == 0 {
            Length::TooShort
        } else if self.lengths >> digits.min(31) == 0 {
            Length::TooLong
        } else {
            Length::Other
        }
    }

    /// Digits without a national prefix, or as that becomes; as they are if they
    /// are a number and the others are none.
    fn without_prefix(&self, digits: &str) -> String {
        let stripped = self.prefix.start().and_then(|prefix| prefix.captures(digits)).map(|found| {
            let end = found.get(0).map_or(0, |all| all.end());
            let captured = |at| found.get(at).map(|part| !part.as_str().is_empty());
            let becomes = !self.becomes.is_empty() && captured(1).is_some_and(|first| captured(2).unwrap_or(first));
            let mut stripped = String::new();
            if becomes {
                found.expand(&self.becomes, &mut stripped);
            }
            stripped.push_str(&digits[end..]);
            stripped
        });
        match stripped {
            Some(stripped) if !self.number.is(digits) || self.number.is(&stripped) => stripped,
            Some(_) | None => digits.to_owned(),
        }
    }
}

/// The calling code that digits begin with, and how many digits it has.
pub fn calling_code(digits: &str) -> Option<(u32, usize)> {
    let lengths = 1..=CALLING_CODE_DIGITS_MAX.min(digits.len());
    lengths
        .filter_map(|length| Some((digits[..length].parse().ok()?, length)))
        .find(|(code, _)| !digits.starts_with('0') && REGIONS.by_code.contains_key(code))
}

/// The calling code of a country.
pub fn code_of(letters: &str) -> Option<u32> {
    REGIONS.of_letters(letters).map(|region| region.code)
}

/// How so many digits after a calling code stand to its numbers.
pub fn length(code: u32, digits: usize) -> Option<Length> {
    REGIONS.of_code(code).map(|region| region.length(digits))
}

/// Reads digits that begin with a calling code.
pub fn international(digits: &str) -> Option<ReadNumber> {
    let (code, length) = calling_code(digits).filter(|_| digits.len() > NATIONAL_MIN)?;
    finish(REGIONS.of_code(code)?, digits[length..].to_owned())
}

/// Reads digits as a country dials them.
pub fn national(digits: &str, letters: &str) -> Option<ReadNumber> {
    let home = REGIONS.of_letters(letters)?;
    if let Some(rest) = home.abroad.start().and_then(|abroad| abroad.find(digits)).map(|found| &digits[found.end()..])
        && !rest.starts_with('0')
    {
        return international(rest);
    }
    if let Some(rest) = digits.strip_prefix(&home.code.to_string()) {
        let rest = home.without_prefix(rest);
        let better = !home.number.is(digits) && home.number.is(&rest);
        if better || home.length(digits.len()) == Length::TooLong {
            return finish(REGIONS.of_code(home.code)?, rest);
        }
    }
    finish(home, digits.to_owned())
}

/// The number that digits after the calling code are in a region.
fn finish(region: &Region, digits: String) -> Option<ReadNumber> {
    if digits.len() < NATIONAL_MIN {
        return None;
    }
    let stripped = region.without_prefix(&digits);
    let national = match region.length(stripped.len()) {
        Length::Possible | Length::TooLong => stripped,
        Length::Local | Length::TooShort | Length::Other => digits,
    };
    let fits = (NATIONAL_MIN..=NATIONAL_MAX).contains(&national.len());
    fits.then_some(ReadNumber { code: region.code, national })
}

impl ReadNumber {
    /// The digits as people write them, without the calling code.
    pub fn format(&self, format: Format) -> String {
        let formats = REGIONS.of_code(self.code).map_or(&[][..], |region| &region.formats);
        let own = |rule: &&FormatRule| rule.format == format;
        let kind = if formats.iter().any(|rule| own(&rule)) { format } else { Format::National };
        let begins = |pattern: &DigitRegex| pattern.start().is_none_or(|start| start.is_match(&self.national));
        let fits = |rule: &&FormatRule| rule.format == kind && begins(&rule.begins) && rule.whole.is(&self.national);
        let Some(rule) = formats.iter().find(fits) else { return self.national.clone() };
        let template = if format == Format::National { &rule.template } else { &rule.bare };
        let mut text = String::new();
        if let Some(found) = rule.whole.whole().and_then(|whole| whole.captures(&self.national)) {
            found.expand(template, &mut text);
        }
        text
    }
}
