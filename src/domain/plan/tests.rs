//! What the numbering plan says, against the published table and the library.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;

use rlibphonenumber::{NumberLengthType, PHONE_NUMBER_UTIL, PhoneNumber, PhoneNumberFormat, PhoneNumberType, Region};

use super::*;
use NumberType::{Local, Mobile, Tollfree};

/// `country` is "" where there is none.
#[track_caller]
fn check(number: u64, number_type: NumberType, country: &str, region: Option<&str>, valid: bool) {
    let plan = lookup(number);
    let letters = plan.country.unwrap_or_default();
    let found = if plan.country.is_some() { std::str::from_utf8(&letters).unwrap() } else { "" };
    assert_eq!(
        (plan.number_type, found, plan.region, plan.valid),
        (number_type, country, region, valid),
        "number: {number}"
    );
}

#[track_caller]
fn check_national(text: &str, country: &str, expected: Option<u64>) {
    let found = country.parse().map_or(National::No, |country| national(text, country));
    let found = match found {
        National::Is(number) => Some(number.digits()),
        National::Meant(_) | National::No => None,
    };
    assert_eq!(found, expected, "text: {text:?}");
}

#[test]
fn ordinary_numbers() {
    check(912271264217, Local, "IN", Some("Mumbai"), true);
    check(919845012345, Mobile, "IN", None, true);
    check(33142685300, Local, "FR", Some("Paris"), true);
    check(33612345678, Mobile, "FR", None, true);
    check(33801234567, Tollfree, "FR", None, true);
    check(442079460000, Local, "GB", Some("London"), true);
    check(447400123456, Mobile, "GB", None, true);
    check(12125550123, Local, "US", Some("New York, NY"), true);
    check(14165550123, Local, "CA", Some("Ontario"), true);
    check(18005551234, Tollfree, "US", None, true);
    check(81312345678, Local, "JP", Some("Tokyo"), true);
    check(818012345678, Mobile, "JP", None, true);
    check(96522345678, Local, "KW", None, true);
    check(96550012345, Mobile, "KW", None, true);
}

#[test]
fn a_zero_at_the_start_of_an_italian_number_stays() {
    check(390236618300, Local, "IT", Some("Milan"), true);
    check(39236618300, Local, "", None, false);
    check(393123456789, Mobile, "IT", None, true);
}

#[test]
fn numbers_of_no_country() {
    check(80012345678, Tollfree, "", None, true);
    check(883510012345, Local, "", None, true);
    check(9991234567, Local, "", None, false);
}

#[test]
fn countries_that_share_a_calling_code() {
    check(18765230123, Local, "JM", None, true);
    check(12423456789, Local, "BS", Some("Exuma"), true);
    check(17871234567, Local, "PR", None, false);
    check(441481256789, Local, "GG", Some("Guernsey"), true);
    check(441534456789, Local, "JE", Some("Jersey"), true);
    check(441624756789, Local, "IM", Some("Isle of Man"), true);
    check(590590201234, Local, "GP", None, true);
    check(596596301234, Local, "MQ", None, true);
    check(594594101234, Local, "GF", None, true);
    check(262262161234, Local, "RE", None, true);
    check(262269601234, Local, "YT", None, true);
    check(77172123456, Local, "KZ", Some("Astana"), true);
    check(74951234567, Local, "RU", Some("Moscow"), true);
}

#[test]
fn a_number_that_no_sharing_country_has_is_of_none() {
    check(11234567890, Local, "", None, false);
    check(19995550123, Local, "", None, false);
}

#[test]
fn an_invalid_number_of_an_unshared_calling_code_has_a_country() {
    check(3312345, Local, "FR", None, false);
    check(911234567, Local, "IN", None, false);
}

#[test]
fn indian_service_numbers() {
    check(911800123456, Tollfree, "IN", None, true);
    check(9118001234567, Tollfree, "IN", None, true);
    check(911600123456, Local, "IN", None, true);
    check(911601123456, Local, "IN", None, true);
}

#[test]
fn national_formats() {
    check_national("022 7126 4217", "IN", Some(912271264217));
    check_national("91 98765 43210", "IN", Some(919876543210));
    check_national("020 7946 0000", "GB", Some(442079460000));
    check_national("(020) 7946\u{2013}0000", "GB", Some(442079460000));
    check_national("01481 256789", "GG", Some(441481256789));
    check_national("(212) 555-0123", "US", Some(12125550123));
    check_national("1.212.555.0123", "US", Some(12125550123));
    check_national("01 42 68 53 00", "FR", Some(33142685300));
    check_national("01\u{202f}42\u{202f}68\u{202f}53\u{202f}00", "FR", Some(33142685300));
    check_national("0590 20 12 34", "GP", Some(590590201234));
    check_national("030/123456", "DE", Some(4930123456));
    check_national("02 3661 8300", "IT", Some(390236618300));
    check_national("011 15-2345-6789", "AR", Some(5491123456789));
    check_national("2234 5678", "KW", Some(96522345678));
}

#[test]
fn texts_that_are_not_national_numbers() {
    check_national("", "GB", None);
    check_national("   ", "GB", None);
    check_national("+44 20 7946 0000", "GB", None);
    check_national("\u{ff0b}44 20 7946 0000", "GB", None);
    check_national("011 44 20 7946 0000", "US", None);
    check_national("1-800-FLOWERS", "US", None);
    check_national("020 7946 0000 x12", "GB", None);
    check_national("4.42079E+11", "GB", None);
    check_national("555-0123", "US", None);
    check_national("123", "GB", None);
    check_national("020 7946 0000 0000 0000", "GB", None);
    check_national("020 7946 0000", "ZZ", None);
    check_national("44 (0)20 7946 0000", "GB", None);
    check_national("0020 7946 0000", "GB", None);
}

#[track_caller]
fn check_judgement(number: u64, expected: &str) {
    let judged = match judge(E164::new(number).unwrap()) {
        Judgement::Valid => "valid".to_owned(),
        Judgement::Misspelt(misspelling) => misspelling.to_string(),
        Judgement::Invalid => "invalid".to_owned(),
    };
    assert_eq!(judged, expected, "number: {number}");
}

#[test]
fn digits_are_judged_as_they_stand() {
    check_judgement(442079460958, "valid");
    check_judgement(390612345678, "valid");
    check_judgement(541123456789, "valid");
    check_judgement(5491123456789, "valid");
    check_judgement(9991234567, "invalid");
    check_judgement(4402079460958, "has a trunk zero; did you mean +442079460958?");
    check_judgement(9102271264217, "has a trunk zero; did you mean +912271264217?");
    check_judgement(49030901820, "has a trunk zero; did you mean +4930901820?");
    check_judgement(330142687614, "has a trunk zero; did you mean +33142687614?");
    // Spain has no trunk zero, and people write one.
    check_judgement(340911234567, "has a trunk zero; did you mean +34911234567?");
    check_judgement(784951234567, "has a trunk prefix; did you mean +74951234567?");
    check_judgement(112125550123, "has a trunk prefix; did you mean +12125550123?");
    check_judgement(360612345678, "has a trunk prefix; did you mean +3612345678?");
    check_judgement(5215512345678, "has a missing or needless mobile digit; did you mean +525512345678?");
    check_judgement(54111523456789, "has a missing or needless mobile digit; did you mean +5491123456789?");
    check_judgement(549111523456789, "has a missing or needless mobile digit; did you mean +5491123456789?");
    check_judgement(551181234567, "has a missing or needless mobile digit; did you mean +5511981234567?");
}

#[test]
fn glued_blocks_are_found() {
    let check = |number: u64, expected: Option<(u64, u64)>| {
        let found = glued_block(E164::new(number).unwrap());
        assert_eq!(found.map(|(first, last)| (first.digits(), last.digits())), expected, "number: {number}");
    };
    check(91227126420099, Some((912271264200, 912271264299)));
    check(3314268700099, Some((33142687000, 33142687099)));
    check(9991234567, None);
    check(91227126429900, None);
}

/// Repeatable: no clock and no seed from outside.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// `prefix` and random digits, to a random length of 7 to 15 digits in all.
    fn number_after(&mut self, prefix: u64) -> u64 {
        let prefix_digits = u64::from(prefix.checked_ilog10().map_or(0, |log| log + 1));
        let digits = 7.max(prefix_digits) + self.below(16 - 7.max(prefix_digits));
        let power = 10u64.pow((digits - prefix_digits) as u32);
        let number = prefix * power + self.below(power);
        // Only without a prefix can the first digit be a zero.
        number.max(10u64.pow(digits as u32 - 1))
    }
}

/// What the library says of a number. Its answer may be about other digits.
fn ask_library(number: u64) -> NumberMetadata {
    // From text, because that is what finds the calling code and keeps the zeros
    // at the start of an Italian number.
    let Ok(parsed) = PHONE_NUMBER_UTIL.parse(format!("+{number}"), None) else {
        return NumberMetadata { number_type: Local, country: None, geographic: false, valid: false };
    };
    let digits = format!("{}{}", parsed.country_code, parsed.get_national_significant_number());
    let own = digits == number.to_string();
    let number_type = match PHONE_NUMBER_UTIL.get_number_type(&parsed) {
        PhoneNumberType::TollFree => Tollfree,
        PhoneNumberType::Mobile | PhoneNumberType::Pager | PhoneNumberType::PersonalNumber => Mobile,
        PhoneNumberType::FixedLine
        | PhoneNumberType::FixedLineOrMobile
        | PhoneNumberType::PremiumRate
        | PhoneNumberType::SharedCost
        | PhoneNumberType::VoIP
        | PhoneNumberType::UAN
        | PhoneNumberType::VoiceMail
        | PhoneNumberType::Unknown => Local,
    };
    // "001" stands for the world.
    let region = PHONE_NUMBER_UTIL.get_region_for_number(&parsed);
    NumberMetadata {
        number_type,
        country: region.and_then(|region| region.as_region_str().as_bytes().try_into().ok()),
        geographic: own && PHONE_NUMBER_UTIL.is_number_geographical(&parsed),
        valid: own && PHONE_NUMBER_UTIL.is_valid_number(&parsed),
    }
}

#[track_caller]
fn check_against_library(number: u64) {
    if !(10u64.pow(6)..10u64.pow(15)).contains(&number) {
        return;
    }
    let expected = ask_library(number);
    let found = numbers::find(&NumberDigits::new(number));
    assert_eq!(found.unwrap_or_else(|| super::read(number)), expected, "number: {number}");
    let digits = number.to_string();
    let parsed = PHONE_NUMBER_UTIL.parse(format!("+{number}"), None).ok();
    check_reading(reading::international(&digits), parsed, &digits);
}

/// Whether a number is read, measured and written as the library does it.
#[track_caller]
fn check_reading(read: Option<ReadNumber>, parsed: Option<PhoneNumber>, of: &str) {
    // The library loses one of a dozen zeros.
    if read.as_ref().is_some_and(|read| read.national.starts_with("00000000000")) {
        return;
    }
    let expected = parsed.as_ref().map(|parsed| {
        let national = parsed.get_national_significant_number().to_string();
        ReadNumber { code: parsed.country_code as u32, national }
    });
    assert_eq!(read, expected, "digits: {of}");
    let (Some(read), Some(parsed)) = (read, parsed) else { return };
    let possible = PHONE_NUMBER_UTIL.is_possible_number_with_reason(&parsed) == Ok(NumberLengthType::IsPossible);
    let length = reading::length(read.code, read.national.len());
    assert_eq!(length == Some(Length::Possible), possible, "digits: {of}");
    let national = PHONE_NUMBER_UTIL.format(&parsed, PhoneNumberFormat::National);
    assert_eq!(read.format(Format::National), national, "digits: {of}");
    let written = format!("+{} {}", read.code, read.format(Format::International));
    assert_eq!(written, PHONE_NUMBER_UTIL.format(&parsed, PhoneNumberFormat::International), "digits: {of}");
}

/// Digits as they are dialled in every country: its own numbers with and without
/// what goes before them, those of others, and any digits.
#[test]
fn what_a_country_dials_is_read_as_the_library_reads_it() {
    let mut random = Random(0xA076_1D64_78BD_642F);
    let regions: Vec<Region> = PHONE_NUMBER_UTIL.get_supported_regions().collect();
    let mut tried = 0;
    for &region in &regions {
        let letters = region.as_region_str().to_string();
        let letters = letters.as_str();
        let abroad = regions[random.below(regions.len() as u64) as usize];
        let types = [PhoneNumberType::FixedLine, PhoneNumberType::Mobile, PhoneNumberType::TollFree];
        for (kind, other) in types.into_iter().flat_map(|kind| [(kind, region), (kind, abroad)]) {
            let Ok(example) = PHONE_NUMBER_UTIL.get_example_number_for_type_and_region(other, kind) else { continue };
            let (code, number) = (example.country_code, example.get_national_significant_number().to_string());
            let cut = &number[..number.len() - 1 - random.below(3) as usize];
            let longer = format!("{number}{}", random.below(1_000));
            for number in [&number, cut, &longer] {
                for before in ["", "0", "1", "8", "00", "011", "9", "15", "06", "0015"] {
                    for digits in [format!("{before}{number}"), format!("{before}{code}{number}")] {
                        let parsed = PHONE_NUMBER_UTIL.parse(&digits, Some(region)).ok();
                        check_reading(reading::national(&digits, letters), parsed, &format!("{digits} in {letters}"));
                        tried += 1;
                    }
                }
            }
        }
        for _ in 0..100 {
            let digits = random.number_after(0).to_string();
            let parsed = PHONE_NUMBER_UTIL.parse(&digits, Some(region)).ok();
            check_reading(reading::national(&digits, letters), parsed, &format!("{digits} in {letters}"));
        }
        assert_eq!(
            reading::code_of(letters).map(|code| code as i32),
            PHONE_NUMBER_UTIL.get_country_code_for_region(region)
        );
    }
    assert!(tried > 20_000, "only {tried} tried");
}

#[test]
fn the_table_answers_as_the_library_does() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    for _ in 0..40_000 {
        let number = random.number_after(0);
        check_against_library(number);
    }
    // Most random numbers are invalid. Examples of every type, with a few digits
    // changed, stay near the borders between patterns.
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
    let by_region = regions.iter().flat_map(|&region| {
        types
            .iter()
            .filter_map(move |&kind| PHONE_NUMBER_UTIL.get_example_number_for_type_and_region(region, kind).ok())
    });
    let of_no_region = PHONE_NUMBER_UTIL
        .get_supported_global_network_calling_codes()
        .filter_map(|code| PHONE_NUMBER_UTIL.get_example_number_for_non_geo_entity(code).ok());
    let mut examples = 0;
    for example in by_region.chain(of_no_region) {
        let national = example.get_national_significant_number();
        let number: u64 = format!("{}{national}", example.country_code).parse().unwrap();
        examples += 1;
        check_against_library(number);
        for _ in 0..20 {
            let places = national.len() as u64;
            let keep = 10u64.pow(random.below(places) as u32);
            check_against_library(number / keep * keep + random.below(keep));
            let power = 10u64.pow(random.below(places) as u32);
            let digit = number / power % 10;
            check_against_library(number - digit * power + random.below(10) * power);
        }
    }
    assert!(examples > 1_000, "only {examples} examples");
}

#[test]
fn only_numbers_of_a_place_have_one() {
    // In English, where a larger area has an English name.
    check(3589123456, Local, "FI", Some("Helsinki"), true);
    check(35891234567, Local, "FI", Some("Helsinki"), true);
    // Mobile numbers of places, in the few countries that have them.
    check(5491123456789, Mobile, "AR", Some("Buenos Aires"), true);
    check(5493514123456, Mobile, "AR", Some("Córdoba, Córdoba"), true);
    check(8613902112345, Mobile, "CN", Some("Tianjin"), true);
    check(5511912345678, Mobile, "BR", Some("São Paulo"), true);
    // Nationwide: shared cost, toll-free, premium, personal, UAN, mobile.
    for (number, number_type, country) in [
        (9118601234567, Local, "IN"),
        (911860123456, Local, "IN"),
        (9118001234567, Tollfree, "IN"),
        (911600123456, Local, "IN"),
        (443301234567, Local, "GB"),
        (448451234567, Local, "GB"),
        (447012345678, Mobile, "GB"),
        (498001234567, Tollfree, "DE"),
        (4932123456789, Local, "DE"),
        (33801234567, Tollfree, "FR"),
        (33891123456, Local, "FR"),
        (18005551234, Tollfree, "US"),
        (919845012345, Mobile, "IN"),
    ] {
        assert_eq!(lookup(number).region, None, "number: {number}");
        assert_eq!(lookup(number).number_type, number_type, "number: {number}");
        assert_eq!(lookup(number).country, country.as_bytes().try_into().ok(), "number: {number}");
    }
}

#[test]
fn places_by_the_longest_prefix() {
    check(12015550123, Local, "US", Some("New Jersey"), true);
    assert_eq!(place(12012001234), Some("Jersey City, NJ"));
    // Seven digits end before the longer prefixes begin to differ.
    assert_eq!(place(1201200), Some("Jersey City, NJ"));
    assert_eq!(place(9991234567), None);
}

/// The published table, or None where this machine does not have it.
fn published_places() -> Option<HashMap<u64, String>> {
    let folder = std::env::var_os("ROLLCALL_DATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    let file = folder.join("regions_all.tsv.xz");
    if !file.exists() {
        println!("skipped: {} is absent", file.display());
        return None;
    }
    let Ok(output) = Command::new("xz").arg("-dc").arg(&file).output() else {
        println!("skipped: the program xz is absent");
        return None;
    };
    assert!(output.status.success(), "xz failed on {}", file.display());
    let text = String::from_utf8(output.stdout).expect("the table is UTF-8");
    let rows = text.lines().map(|line| {
        let (prefix, name) = line.split_once('\t').expect("two columns");
        (prefix.parse().expect("a prefix is digits"), name.to_owned())
    });
    Some(rows.collect())
}

fn place_by_shortening(number: u64, published: &HashMap<u64, String>) -> Option<&str> {
    let shortened = std::iter::successors(Some(number), |number| Some(number / 10));
    shortened.take_while(|number| *number != 0).find_map(|number| published.get(&number)).map(String::as_str)
}

#[test]
fn the_places_are_the_published_ones() {
    let Some(published) = published_places() else { return };
    let ours: HashMap<u64, &str> = places::all().into_iter().collect();
    for (&prefix, &name) in &ours {
        assert_eq!(published.get(&prefix).map(String::as_str), Some(name), "prefix: {prefix}");
        assert_eq!(places::place(&NumberDigits::new(prefix)), Some(name), "prefix: {prefix}");
    }
    // Local names within an area that has an English one are left out.
    let areas = |prefix| std::iter::successors(Some(prefix), |area| Some(area / 10)).skip(1);
    let left_out: Vec<u64> = published.into_keys().filter(|prefix| !ours.contains_key(prefix)).collect();
    assert!(left_out.contains(&35891) && left_out.len() < 20, "{left_out:?}");
    for prefix in left_out {
        assert!(areas(prefix).take_while(|&area| area > 0).any(|area| ours.contains_key(&area)), "prefix: {prefix}");
    }
}

#[test]
fn places_agree_with_a_search_by_shortening() {
    let Some(mut published) = published_places() else { return };
    let ours: HashMap<u64, &str> = places::all().into_iter().collect();
    published.retain(|prefix, _| ours.contains_key(prefix));
    let place = |number| places::place(&NumberDigits::new(number));
    let mut random = Random(0xD1B5_4A32_D192_ED03);
    let mut prefixes: Vec<u64> = published.keys().copied().collect();
    prefixes.sort_unstable();
    for _ in 0..50_000 {
        let number = random.number_after(0);
        assert_eq!(place(number), place_by_shortening(number, &published), "number: {number}");
        let prefix = prefixes[random.below(prefixes.len() as u64) as usize];
        let number = random.number_after(prefix);
        assert_eq!(place(number), place_by_shortening(number, &published), "number: {number}");
    }
}

#[test]
fn ranges_of_the_plan_have_one_answer() {
    let mut random = Random(0x9E6C_63D0_876A_9A62);
    let mut long = 0;
    for code in [1, 7, 33, 39, 44, 49, 52, 54, 549, 55, 590, 91, 9116, 971, 33700, 331426, 912271, 5511] {
        for _ in 0..400 {
            let number = random.number_after(code);
            let Some(e164) = E164::new(number) else { continue };
            let last = alike_until(number);
            assert!(last >= number && last - number < 1_000_000, "{number} to {last}");
            long += u64::from(last - number >= 1_000);
            for other in [number + 1, last, number + random.below(last - number + 1)] {
                if other <= last {
                    let of = E164::new(other).expect("as long as the other");
                    assert_eq!((lookup(other), judge(of)), (lookup(number), judge(e164)), "{number} and {other}");
                }
            }
        }
    }
    assert!(long > 2_000, "{long} long ranges");
}
