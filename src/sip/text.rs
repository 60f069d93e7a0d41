//! Pieces of header values: white space, quoted strings, parameters.
//!
//! A value may be folded over several lines, so CR and LF are white space here.

/// Linear white space, with what is left of a folded line.
pub fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

pub fn trim(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_space(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_space(*last)
    {
        text = rest;
    }
    text
}

/// RFC 3261's `token`.
pub fn is_token(text: &[u8]) -> bool {
    let allowed = |&byte: &u8| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte);
    !text.is_empty() && text.iter().all(allowed)
}

/// Splits at the first `separator` outside quoted strings and angle brackets.
/// `None` if a quoted string or a bracket does not end.
pub fn split(text: &[u8], separator: u8) -> Option<(&[u8], Option<&[u8]>)> {
    let (mut quoted, mut bracketed, mut at) = (false, false, 0);
    while at < text.len() {
        let byte = text[at];
        match byte {
            b'\\' if quoted => at += 1,
            b'"' if !bracketed => quoted = !quoted,
            b'<' if !quoted => bracketed = true,
            b'>' if !quoted => bracketed = false,
            _ if byte == separator && !quoted && !bracketed => return Some((&text[..at], Some(&text[at + 1..]))),
            _ => {}
        }
        at += 1;
    }
    (!quoted && !bracketed).then_some((text, None))
}

/// A parameter's name and value, without the white space around them.
pub fn parameter(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|&byte| byte == b'=') {
        Some(at) => (trim(&text[..at]), Some(trim(&text[at + 1..]))),
        None => (trim(text), None),
    }
}

/// A decimal number of at most ten digits.
pub fn number(text: &[u8]) -> Option<u64> {
    let digits = (1..=10).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    digits.then(|| text.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0')))
}

/// Copies a value on one line: folds become a space, as do control characters,
/// so that nothing in it can begin a line.
pub fn put(out: &mut Vec<u8>, value: &[u8]) {
    let value = trim(value);
    if !value.iter().any(u8::is_ascii_control) {
        return out.extend_from_slice(value);
    }
    let mut rest = value;
    while let Some(&first) = rest.first() {
        if first == b'\r' || first == b'\n' {
            while out.last() == Some(&b' ') {
                out.pop();
            }
            out.push(b' ');
            rest = trim(rest);
        } else {
            out.push(if first.is_ascii_control() { b' ' } else { first });
            rest = &rest[1..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_in_strings_and_brackets_separate_nothing() {
        let check = |text: &str, expected: Option<(&str, Option<&str>)>| {
            let found = split(text.as_bytes(), b',');
            let expected = expected.map(|(head, rest)| (head.as_bytes(), rest.map(str::as_bytes)));
            assert_eq!(found, expected, "{text}");
        };
        check("a,b,c", Some(("a", Some("b,c"))));
        check("a", Some(("a", None)));
        check("", Some(("", None)));
        check("\"a,\\\",b\",c", Some(("\"a,\\\",b\"", Some("c"))));
        check("<sip:a,b>,c", Some(("<sip:a,b>", Some("c"))));
        check("\"a", None);
        check("<a", None);
        check("\"a\\", None);
    }

    #[test]
    fn a_copied_value_is_one_line() {
        let check = |text: &str, expected: &str| {
            let mut out = Vec::new();
            put(&mut out, text.as_bytes());
            assert_eq!(String::from_utf8(out).expect("text"), expected, "{text:?}");
        };
        check("  a b ", "a b");
        check("a \r\n\t b\n c", "a b c");
        check("a\rX-Evil: 1", "a X-Evil: 1");
        check("a\0b\x7f", "a b ");
        check("é, ü", "é, ü");
    }

    #[test]
    fn numbers_are_short() {
        for (text, expected) in [
            ("0", Some(0)),
            ("4294967296", Some(4_294_967_296)),
            ("12345678901", None),
            ("", None),
            ("-1", None),
            ("1 ", None),
        ] {
            assert_eq!(number(text.as_bytes()), expected, "{text}");
        }
    }
}
