//! Text from elsewhere, as messages and logs may repeat it.
//!
//! A value that a client, an upstream, a file or an address contains can be
//! megabytes long, can move a terminal's cursor, and can hold a password.
//! Invariants: what is repeated has at most [`CHARS_MAX`] characters and one
//! line, without control characters or ones that nobody sees; the password in a
//! URL is never repeated.

use std::fmt::{self, Write};

/// How many characters of a value are repeated.
pub const CHARS_MAX: usize = 200;

/// A text as it may be repeated, without quotes.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    text: &'a str,
    max: usize,
}

/// A text as it may be repeated.
pub fn shown(text: &str) -> Shown<'_> {
    Shown { text, max: CHARS_MAX }
}

/// At most so many characters of it.
pub fn shown_to(text: &str, max: usize) -> Shown<'_> {
    Shown { text, max }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.text.chars();
        for char in chars.by_ref().take(self.max) {
            f.write_char(if hidden(char) { '\u{fffd}' } else { char })?;
        }
        if chars.next().is_some() { f.write_char('…') } else { Ok(()) }
    }
}

/// A text as it may be repeated, in quotes.
pub struct Quoted<'a>(Shown<'a>);

/// A text in quotes, as it may be repeated.
pub fn quoted(text: &str) -> Quoted<'_> {
    Quoted(shown(text))
}

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Quoted(Shown { text, max }) = self;
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

/// A URL or a connection string as it may be repeated: what stands for a
/// password or a token in it is `***`.
pub fn without_secrets(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // A password may have a slash in it: the last `@` before the query counts.
    let query = rest.find(['?', '#']).unwrap_or(rest.len());
    let (authority, tail) = match rest[..query].rfind('@') {
        Some(at) => (rest[..at].split(':').next().unwrap_or_default(), &rest[at..]),
        None => (&rest[..end], &rest[end..]),
    };
    let secret = tail.starts_with('@') && rest[..query].rfind('@').is_some_and(|at| rest[..at].contains(':'));
    let tail = parameters(tail);
    let text = format!("{scheme}{authority}{}{tail}", if secret { ":***" } else { "" });
    shown(&text).to_string()
}

/// The names of parameters whose values are secrets, or parts of the names.
const SECRET: [&str; 7] = ["password", "passwd", "pwd", "secret", "token", "key", "auth"];

fn parameters(tail: &str) -> String {
    let Some((path, query)) = tail.split_once('?') else { return tail.to_owned() };
    let one = |pair: &str| match pair.split_once('=') {
        Some((name, _)) if SECRET.iter().any(|secret| name.to_ascii_lowercase().contains(secret)) => {
            format!("{name}=***")
        }
        _ => pair.to_owned(),
    };
    format!("{path}?{}", query.split('&').map(one).collect::<Vec<_>>().join("&"))
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
    fn secrets_in_addresses_are_not_repeated() {
        for (url, expected) in [
            ("https://numbers.example/api", "https://numbers.example/api"),
            ("http://user:hunter2@host:8080/x", "http://user:***@host:8080/x"),
            ("http://user@host/x", "http://user@host/x"),
            ("http://user:hun/ter2@host/x", "http://user:***@host/x"),
            ("http://user:hun@ter2@host/x", "http://user:***@host/x"),
            (
                "postgres://rollcall:hunter2@db/rollcall?sslmode=require",
                "postgres://rollcall:***@db/rollcall?sslmode=require",
            ),
            ("postgres://db/rollcall?user=x&password=hunter2", "postgres://db/rollcall?user=x&password=***"),
            ("smtp://user:hunter2@mail.example:587", "smtp://user:***@mail.example:587"),
            ("user:hunter2@host", "user:***@host"),
            (
                "https://h/x?access_token=hunter2&page=1&ApiKey=hunter2",
                "https://h/x?access_token=***&page=1&ApiKey=***",
            ),
            ("https://h/x?mail=a@b:c", "https://h/x?mail=a@b:c"),
            ("", ""),
        ] {
            assert_eq!(without_secrets(url), expected, "{url}");
        }
    }
}
