//! Foreign text in messages and logs.
//!
//! A value from a client, an upstream, a file or an address can be megabytes long,
//! can move a terminal's cursor, and can hold a password.
//! Invariants: the repeated text has at most [`CHARS_MAX`] characters and one line,
//! without control characters or invisible ones; the password in a URL is never
//! repeated.

use std::borrow::Cow;
use std::fmt::{self, Write};

/// How many characters of a value are repeated.
pub const CHARS_MAX: usize = 200;

/// A text as it may be repeated, without quotes.
#[derive(Clone, Copy)]
pub struct SafeText<'a> {
    text: &'a str,
    max: usize,
}

/// A text as it may be repeated.
pub fn shown(text: &str) -> SafeText<'_> {
    SafeText { text, max: CHARS_MAX }
}

/// At most so many characters of it.
pub fn shown_to(text: &str, max: usize) -> SafeText<'_> {
    SafeText { text, max }
}

impl fmt::Display for SafeText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.text.chars();
        for char in chars.by_ref().take(self.max) {
            f.write_char(if hidden(char) { '\u{fffd}' } else { char })?;
        }
        if chars.next().is_some() { f.write_char('…') } else { Ok(()) }
    }
}

/// A text as it may be repeated, in quotes.
pub struct Quoted<'a>(SafeText<'a>);

/// A text in quotes, as it may be repeated.
pub fn quoted(text: &str) -> Quoted<'_> {
    Quoted(shown(text))
}

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Quoted(SafeText { text, max }) = self;
        let mut chars = text.chars();
        f.write_char('"')?;
        for char in chars.by_ref().take(*max) {
            match char {
                '"' | '\\' => write!(f, "\\{char}")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                char if hidden(char) => write!(f, "{}", char.escape_unicode())?,
                char => f.write_char(char)?,
            }
        }
        if chars.next().is_some() {
            f.write_char('…')?;
        }
        f.write_char('"')
    }
}

/// Whether a character has no place in a message: control characters, marks
/// that turn the direction of what follows, and ones without width.
fn hidden(char: char) -> bool {
    char.is_control()
        || matches!(char,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A URL as it may be repeated: without who signs in there, and cut before what
/// could be a token in its query.
pub fn without_secrets(url: &str) -> String {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let scheme = url[..end].find("://").map_or(0, |at| at + 3);
    match url[scheme..end].rfind('@') {
        Some(at) => shown(&format!("{}…{}", &url[..scheme], &url[scheme + at..end])).to_string(),
        None => shown(&url[..end]).to_string(),
    }
}

/// A wrong value as it may be repeated: of an address, what stands before its `@` is
/// left out, whatever else is wrong with it. A SIP URI keeps a user part without a
/// password, which is a number or a name.
pub fn without_credentials(value: &str) -> Cow<'_, str> {
    let Some(at) = value.rfind('@') else { return Cow::Borrowed(value) };
    let start = value[..at].find(':').map_or(0, |colon| colon + 1);
    let start = start + value[start..at].len() - value[start..at].trim_start_matches('/').len();
    let sip = ["sip:", "sips:"].iter().any(|scheme| value[..start].eq_ignore_ascii_case(scheme));
    match start == 0 || sip && !value[start..at].contains(':') {
        true => Cow::Borrowed(value),
        false => Cow::Owned(format!("{}…{}", &value[..start], &value[at..])),
    }
}

/// A text of which no word is longer than [`CHARS_MAX`].
pub fn short_words(text: &str) -> String {
    let one = |word: &str| match word.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…{}", &word[..end], &word[word.trim_end().len()..]),
        None => word.to_owned(),
    };
    text.split_inclusive(char::is_whitespace).map(one).collect()
}

/// The error of a TOML file, which repeats lines of the file: without passwords,
/// and without a line of more than [`CHARS_MAX`] characters.
pub fn of_toml(error: &str) -> String {
    let line = |line: &str| shown(&hide_secrets(without_value(line))).to_string();
    error.trim_end().lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Names of settings whose values are secrets, unless they are paths of files.
const SECRETS: [&str; 3] = ["password", "secret", "token"];

/// A line of a file, cut before the value of a secret.
fn without_value(line: &str) -> &str {
    let name = |char: char| char.is_alphanumeric() || matches!(char, '_' | '-');
    let secret = |end: &usize| {
        let before = line[..*end].trim_end().trim_end_matches(['"', '\'']);
        let start = before.rfind(|char| !name(char)).map_or(0, |at| at + 1);
        let name = before.get(start..).unwrap_or(before).to_lowercase();
        !name.ends_with("_file") && SECRETS.iter().any(|secret| name.contains(secret))
    };
    line.match_indices('=').map(|(at, _)| at).find(secret).map_or(line, |at| &line[..=at])
}

/// A text with every URL in it as [`without_secrets`] has it.
pub fn hide_secrets(text: &str) -> String {
    let edge = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>' | '(' | ')' | ',');
    let one = |word: &str| {
        let (word, end) = word.strip_suffix(edge).map_or((word, ""), |start| (start, &word[start.len()..]));
        if word.contains("://") { without_secrets(word) + end } else { format!("{word}{end}") }
    };
    text.split_inclusive(edge).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_repeated_is_short_and_on_one_line() {
        for (text, bare, in_quotes) in [
            ("", "", "\"\""),
            ("plain", "plain", "\"plain\""),
            ("a\nb\t\u{1b}[2J", "a\u{fffd}b\u{fffd}\u{fffd}[2J", "\"a\\nb\\t\\u{1b}[2J\""),
            ("say \"x\" \\", "say \"x\" \\", "\"say \\\"x\\\" \\\\\""),
            ("\u{202e}evil\u{200b}", "\u{fffd}evil\u{fffd}", "\"\\u{202e}evil\\u{200b}\""),
            ("Zürich 東京", "Zürich 東京", "\"Zürich 東京\""),
        ] {
            assert_eq!(shown(text).to_string(), bare, "{text:?}");
            assert_eq!(quoted(text).to_string(), in_quotes, "{text:?}");
        }
        let long = "x".repeat(5_000_000);
        assert_eq!(shown(&long).to_string(), format!("{}…", "x".repeat(CHARS_MAX)));
        assert_eq!(quoted(&long).to_string(), format!("\"{}…\"", "x".repeat(CHARS_MAX)));
        assert_eq!(shown_to(&long, 3).to_string(), "xxx…");
    }

    #[test]
    fn errors_of_files_repeat_no_secret_and_no_long_line() {
        for (line, expected) in [
            ("2 | password = \"hunter2\"", "2 | password ="),
            ("2 | \"Mail_Password\"='hunter2'", "2 | \"Mail_Password\"="),
            ("2 | mail = { host = \"a\", token = \"hunter2\" }", "2 | mail = { host = \"a\", token ="),
            ("2 | password_file = 3", "2 | password_file = 3"),
            ("2 | é= 3", "2 | é= 3"),
            ("  | ^^^\nunknown field `password`, expected `a`", "  | ^^^\nunknown field `password`, expected `a`"),
            ("2 | database = \"postgres://u:hunter2@db/x\"", "2 | database = \"postgres://…@db/x\""),
        ] {
            assert_eq!(of_toml(line), expected);
        }
        assert_eq!(of_toml(&format!("1 | a = \"{}\"", "x".repeat(5_000_000))).chars().count(), CHARS_MAX + 1);
        let long = format!("a {}\nb", "é".repeat(500));
        assert_eq!(short_words(&long), format!("a {}…\nb", "é".repeat(CHARS_MAX)));
        assert_eq!(short_words("say it\n"), "say it\n");
    }

    #[test]
    fn wrong_values_are_repeated_without_credentials() {
        for (value, expected) in [
            ("https://user:hunter2@x.example", "https://…@x.example"),
            ("HTTPS:/user:hunter2@x.example/a?b=c", "HTTPS:/…@x.example/a?b=c"),
            ("https:user:hunter2@x.example", "https:…@x.example"),
            ("//user:hunter2@x.example", "//user:…@x.example"),
            ("user:hunter2@x.example", "user:…@x.example"),
            ("https://user:hun/ter2@ter2@x.example", "https://…@x.example"),
            ("https://hunter2@x.example", "https://…@x.example"),
            ("sip:alice:hunter2@pbx.example", "sip:…@pbx.example"),
            ("sip:alice@pbx_.example", "sip:alice@pbx_.example"),
            ("desk@example.net", "desk@example.net"),
            ("https://x.example/a", "https://x.example/a"),
            ("", ""),
        ] {
            assert_eq!(without_credentials(value), expected, "{value}");
        }
    }

    #[test]
    fn secrets_in_addresses_are_not_repeated() {
        for (url, expected) in [
            ("https://numbers.example/api", "https://numbers.example/api"),
            ("http://user:hunter2@host:8080/x", "http://…@host:8080/x"),
            ("http://hunter2@host/x", "http://…@host/x"),
            ("http://user:hun/ter2@host/x", "http://…@host/x"),
            ("http://user:hunter2@hunter2@host/x", "http://…@host/x"),
            ("postgres://rollcall:hunter2@db/rollcall?sslmode=require", "postgres://…@db/rollcall"),
            ("postgres://db/rollcall?user=x&password=hunter2", "postgres://db/rollcall"),
            ("smtp://user:hunter2@mail.example:587", "smtp://…@mail.example:587"),
            ("user:hunter2@host", "…@host"),
            ("https://h/x#hunter2", "https://h/x"),
            ("", ""),
        ] {
            assert_eq!(without_secrets(url), expected, "{url}");
            let text = format!("1 | database = \"{url}\"\n  | ^^^ (see {url}, or {url})");
            let hidden = hide_secrets(&text);
            assert!(!hidden.contains("hunter2") || !url.contains("://"), "{hidden}");
            assert!(hidden.starts_with("1 | database = \"") && hidden.contains("\"\n  | ^^^ (see "), "{hidden}");
        }
        assert!(without_secrets(&format!("http://a/{}", "x".repeat(5_000_000))).chars().count() < 300);
    }
}
