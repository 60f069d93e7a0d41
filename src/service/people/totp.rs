//! Codes of a second factor: RFC 6238 as every authenticator has it, with
//! SHA-1, six digits and thirty seconds. Pure.

use qrcodegen::{QrCode, QrCodeEcc};
use ring::hmac;
use subtle::ConstantTimeEq;

use super::TotpOffer;
use crate::domain::Time;

pub const SECRET_BYTES: usize = 20;
const STEP_S: i64 = 30;
pub const DIGITS: usize = 6;
/// A clock may be off by one step either way.
const OFF_BY: i64 = 1;

/// RFC 4226 for one counter, with as many digits as asked for.
fn code(secret: &[u8], step: i64, digits: usize) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &(step as u64).to_be_bytes());
    let tag = tag.as_ref();
    let at = usize::from(tag[tag.len() - 1] & 0x0f);
    let bits = tag[at..at + 4].iter().fold(0_u32, |bits, &byte| bits << 8 | u32::from(byte)) & 0x7fff_ffff;
    let modulus = 10_u32.pow(digits as u32);
    format!("{:0digits$}", bits % modulus)
}

/// The code that a secret has at a time.
pub fn code_at(secret: &[u8], now: Time) -> String {
    code(secret, now.seconds().div_euclid(STEP_S), DIGITS)
}

/// The step that a code is of, if it is right now, and later than the last one
/// that was used.
pub fn accept(secret: &[u8], given: &str, after: i64, now: Time) -> Option<i64> {
    let present = now.seconds().div_euclid(STEP_S);
    let mut found = None;
    for step in present - OFF_BY..=present + OFF_BY {
        let right: bool = code(secret, step, DIGITS).as_bytes().ct_eq(given.as_bytes()).into();
        if right && step > after && found.is_none() {
            found = Some(step);
        }
    }
    found
}

/// A code as people type it, without the spaces that apps show.
pub fn typed(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && *c != '-').collect::<String>().to_lowercase()
}

/// Whether what was typed looks like a code rather than a recovery code.
pub fn is_code(typed: &str) -> bool {
    typed.len() == DIGITS && typed.bytes().all(|byte| byte.is_ascii_digit())
}

fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    for chunk in bytes.chunks(5) {
        let bits = chunk.iter().fold(0_u64, |bits, &byte| bits << 8 | u64::from(byte)) << (8 * (5 - chunk.len()));
        for at in 0..(chunk.len() * 8).div_ceil(5) {
            text.push(char::from(ALPHABET[(bits >> (35 - 5 * at)) as usize & 31]));
        }
    }
    text
}

/// Everything that a URI's path and query may hold as it is.
fn percent(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// What an authenticator app scans.
pub fn offer(secret: &[u8], email: &str) -> TotpOffer {
    let secret_base32 = base32(secret);
    let uri = format!(
        "otpauth://totp/Rollcall:{}?secret={secret_base32}&issuer=Rollcall&algorithm=SHA1&digits={DIGITS}&period={STEP_S}",
        percent(email)
    );
    let qr_svg = svg(&uri);
    TotpOffer { secret_base32, uri, qr_svg }
}

/// A picture of modules a unit wide, with the margin that scanners want.
fn svg(text: &str) -> String {
    const MARGIN: i32 = 4;
    let Ok(code) = QrCode::encode_text(text, QrCodeEcc::Medium) else { return String::new() };
    let side = code.size() + 2 * MARGIN;
    let mut path = String::new();
    for y in 0..code.size() {
        for x in (0..code.size()).filter(|&x| code.get_module(x, y)) {
            path.push_str(&format!("M{},{}h1v1h-1z", x + MARGIN, y + MARGIN));
        }
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" width=\"{0}\" height=\"{0}\" \
         role=\"img\" aria-label=\"QR code\" shape-rendering=\"crispEdges\">\
         <rect width=\"{side}\" height=\"{side}\" fill=\"#fff\"/><path d=\"{path}\" fill=\"#000\"/></svg>",
        side * 4
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Appendix B of RFC 6238, SHA-1.
    #[test]
    fn the_codes_of_the_rfc() {
        let secret = b"12345678901234567890";
        for (seconds, expected) in [
            (59, "94287082"),
            (1_111_111_109, "07081804"),
            (1_111_111_111, "14050471"),
            (1_234_567_890, "89005924"),
            (2_000_000_000, "69279037"),
            (20_000_000_000, "65353130"),
        ] {
            assert_eq!(code(secret, seconds / STEP_S, 8), expected, "at {seconds}");
            let six = Time::new(seconds).map(|time| code_at(secret, time));
            assert_eq!(six.as_deref(), Some(&expected[2..]), "at {seconds}");
        }
    }

    #[test]
    fn a_code_is_right_for_three_steps_and_once() {
        let secret = b"12345678901234567890";
        let now = Time::new(1_111_111_111).expect("a time");
        let step = now.seconds() / STEP_S;
        for off in -1..=1 {
            let given = code(secret, step + off, DIGITS);
            assert_eq!(accept(secret, &given, 0, now), Some(step + off));
            assert_eq!(accept(secret, &given, step + off, now), None, "used");
        }
        for off in [-2, 2] {
            assert_eq!(accept(secret, &code(secret, step + off, DIGITS), 0, now), None);
        }
        assert_eq!(accept(secret, "", 0, now), None);
    }

    /// RFC 4648, section 10.
    #[test]
    fn base_32_as_apps_read_it() {
        for (text, expected) in
            [("", ""), ("f", "MY"), ("fo", "MZXQ"), ("foo", "MZXW6"), ("foob", "MZXW6YQ"), ("fooba", "MZXW6YTB")]
        {
            assert_eq!(base32(text.as_bytes()), expected);
        }
        assert_eq!(base32(b"foobar"), "MZXW6YTBOI");
        assert_eq!(base32(&[0xff; SECRET_BYTES]).len(), 32);
    }

    #[test]
    fn an_offer_can_be_scanned() {
        let offer = offer(b"12345678901234567890", "ana+x@example.com");
        assert!(offer.uri.starts_with("otpauth://totp/Rollcall:ana%2Bx%40example.com?secret=GEZDGNBVGY3TQOJQ"));
        assert!(offer.qr_svg.starts_with("<svg ") && offer.qr_svg.ends_with("</svg>"));
        assert!(!offer.qr_svg.contains("style") && !offer.qr_svg.contains("script"));
    }

    #[test]
    fn codes_as_people_type_them() {
        assert_eq!(typed(" 123 456 "), "123456");
        assert!(is_code("123456") && !is_code("12345") && !is_code("12345a"));
        assert_eq!(typed("ABCD-efgh"), "abcdefgh");
    }
}
