//! Printing: results on stdout, everything else on stderr, and no panic when
//! the reader of either has gone.
//!
//! Invariant: a terminal obeys nothing that came from outside. Names, ids and
//! values may have been stored before control characters were refused, or come
//! from a file or another server, so all text is written with its control
//! characters as escapes (`\u001b`, as JSON has them); in what is one line or
//! one cell of a table, line ends too.

use std::borrow::Cow;
use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::value::RawValue;

use super::CliError;
use crate::domain::shown::{hide_secrets, short_words};

/// Writes a result, which may have many lines.
pub fn print(bytes: &[u8]) -> Result<(), CliError> {
    let mut out = Plain::new(io::stdout().lock());
    out.write_all(bytes).and_then(|()| out.flush()).map_err(closed)
}

/// For results that are written piece by piece.
pub fn stdout() -> impl Write {
    io::BufWriter::with_capacity(1 << 16, Plain::new(io::stdout().lock()))
}

/// Writes text of our own that has codes for the terminal.
pub fn styled(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(closed)
}

/// Writes one line.
pub fn line(text: &str) -> Result<(), CliError> {
    print(format!("{}\n", plain(text)).as_bytes())
}

/// Prints JSON on one line.
pub fn json(value: &impl serde::Serialize) -> Result<(), CliError> {
    outcome(value, false)
}

/// Prints the outcome of a command as a JSON object on one line. That of a dry run
/// says so, because its fields are those of the real run.
pub fn outcome(value: &impl serde::Serialize, dry_run: bool) -> Result<(), CliError> {
    line(&json_text(value, dry_run)?)
}

/// JSON that is written already, with its exact amounts.
pub fn raw(text: Vec<u8>) -> Result<Box<RawValue>, CliError> {
    let text = String::from_utf8(text).map_err(|error| CliError::Other(error.to_string()))?;
    RawValue::from_string(text).map_err(|error| CliError::Other(error.to_string()))
}

fn json_text(value: &impl serde::Serialize, dry_run: bool) -> Result<String, CliError> {
    let mut text = Vec::new();
    let mut out = serde_json::Serializer::with_formatter(&mut text, Exact);
    value.serialize(&mut out).map_err(|error| CliError::Other(error.to_string()))?;
    let mut text = String::from_utf8(text).map_err(|error| CliError::Other(error.to_string()))?;
    if dry_run && text.ends_with('}') {
        text.pop();
        text.push_str(if text == "{" { "\"dry_run\":true}" } else { ",\"dry_run\":true}" });
    }
    Ok(text)
}

/// Compact JSON in which no number is a float. An amount of money that went through
/// a `serde_json::Value` is one, and may be another amount: it is refused.
struct Exact;

impl serde_json::ser::Formatter for Exact {
    fn write_f64<W: ?Sized + Write>(&mut self, _: &mut W, value: f64) -> io::Result<()> {
        Err(io::Error::other(format!("the result has {value}, which may not be exact; this is a fault of Rollcall")))
    }

    fn write_f32<W: ?Sized + Write>(&mut self, out: &mut W, value: f32) -> io::Result<()> {
        self.write_f64(out, value.into())
    }
}

/// Text as one line that a terminal only shows.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.chars().any(odd) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        match char {
            '\n' => plain.push_str("\\n"),
            '\r' => plain.push_str("\\r"),
            '\t' => plain.push_str("\\t"),
            char if odd(char) => plain.push_str(&format!("\\u{:04x}", u32::from(char))),
            char => plain.push(char),
        }
    }
    Cow::Owned(plain)
}

/// What moves a terminal's cursor or turns text round.
fn odd(char: char) -> bool {
    char.is_control() || matches!(char, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Passes text on with its control characters as escapes, all but line ends and
/// tabs.
struct Plain<W> {
    out: W,
    /// Whether the last byte began a character that may be a control character.
    begun: bool,
}

/// The first byte, in UTF-8, of control characters beyond ASCII.
const HIGH: u8 = 0xc2;

impl<W: Write> Plain<W> {
    fn new(out: W) -> Plain<W> {
        Plain { out, begun: false }
    }
}

impl<W: Write> Write for Plain<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let low = |byte: u8| (byte < 0x20 && !matches!(byte, b'\n' | b'\r' | b'\t')) || byte == 0x7f;
        if !self.begun && !bytes.iter().any(|&byte| low(byte) || byte == HIGH) {
            self.out.write_all(bytes)?;
            return Ok(bytes.len());
        }
        for &byte in bytes {
            match (self.begun, byte) {
                (true, 0x80..=0x9f) => write!(self.out, "\\u{byte:04x}")?,
                (true, byte) => self.out.write_all(&[HIGH, byte])?,
                (false, HIGH) => {}
                (false, byte) if low(byte) => write!(self.out, "\\u{byte:04x}")?,
                (false, byte) => self.out.write_all(&[byte])?,
            }
            self.begun = !self.begun && byte == HIGH;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Where the log goes: each event is one line, whatever is in it.
pub struct LogLines {
    /// Whether the line has a terminal's codes for colours, as the logger makes
    /// them; it escapes those in values.
    pub colours: bool,
}

impl Write for LogLines {
    /// The logger writes each event with one call.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let body = text.trim_end_matches('\n');
        let line = match self.colours {
            true => body.split('\x1b').map(plain).collect::<Vec<_>>().join("\x1b"),
            false => plain(body).into_owned(),
        };
        super::log::line(format!("{line}\n").into_bytes());
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Hands a line of the access log to the log. It has no control characters.
pub fn access_line(line: Vec<u8>) {
    super::log::line(line);
}

/// Why a write to stdout failed.
pub fn closed(error: io::Error) -> CliError {
    match error.kind() {
        io::ErrorKind::BrokenPipe => CliError::Closed,
        _ => CliError::Io { what: "failed to write the output".to_owned(), source: error },
    }
}

/// Says something to the person, beside the result, on one line.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{}", plain(text));
}

/// The same on as many lines as the text has.
pub fn notes(text: &str) {
    text.lines().for_each(note);
}

/// Asks something, leaving the cursor behind the question.
pub fn prompt(text: &str) {
    let mut err = io::stderr();
    let _ = write!(err, "{}", plain(text)).and_then(|()| err.flush());
}

/// How much of an error is said: causes repeat each other.
pub const ERROR_CHARS_MAX: usize = 4_000;

/// Says what went wrong, and why, down to the first cause.
pub fn error(error: &dyn Error) {
    note(&format!("error: {}", safe(&reasons(error))));
}

/// Says what was refused, in words for the command line.
pub fn refusal(text: &str) {
    note(&format!("error: {}", safe(text)));
}

/// An error as it may be repeated: bounded, and without the passwords of URLs.
pub fn safe(text: &str) -> String {
    let text = short_words(&hide_secrets(text));
    shown_end(&text, ERROR_CHARS_MAX)
}

fn shown_end(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// An error with its causes, on one line.
pub use crate::http::causes as reasons;

/// Rows under headings, in columns as wide as they need to be.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> Result<(), CliError> {
    let rows: Vec<Vec<Cow<'_, str>>> = rows.iter().map(|row| row.iter().map(|cell| plain(cell)).collect()).collect();
    let width = |at: usize| {
        let cells = rows.iter().map(|row| row[at].chars().count());
        cells.chain([headings[at].chars().count()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    // Amounts and counts are compared digit by digit.
    let figure = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b','));
    let right: Vec<bool> = (0..headings.len())
        .map(|at| rows.iter().all(|row| figure(&row[at])) && rows.iter().any(|row| !row[at].is_empty()))
        .collect();
    let mut text = String::new();
    let headings = headings.iter().map(|&heading| heading.into()).collect();
    for row in std::iter::once(&headings).chain(&rows) {
        let mut written = String::new();
        for ((cell, width), right) in row.iter().zip(&widths).zip(&right) {
            written.push_str(&if *right { format!("{cell:>width$}  ") } else { format!("{cell:width$}  ") });
        }
        text.push_str(written.trim_end());
        text.push('\n');
    }
    print(text.as_bytes())
}

/// A progress bar that shows itself after a second, and only to a terminal.
pub struct Bar {
    bar: ProgressBar,
    since: std::time::Instant,
}

impl Bar {
    /// `unit` is what is counted: "numbers", or "bytes" for sizes.
    pub fn new(total: Option<u64>, unit: &'static str) -> Bar {
        let bar = match total {
            Some(total) => ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden()),
            None => ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()),
        };
        let template = match (total.is_some(), unit) {
            (true, "bytes") => "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta} left",
            (true, _) => "{msg} {wide_bar} {human_pos}/{human_len} {per_sec} {eta} left",
            (false, "bytes") => "{msg} {spinner} {bytes} {bytes_per_sec}",
            (false, _) => "{msg} {spinner} {human_pos} {per_sec}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Bar { bar, since: std::time::Instant::now() }
    }

    pub fn set(&self, message: &'static str, position: u64, total: Option<u64>) {
        if self.bar.is_hidden() {
            if self.since.elapsed() < Duration::from_secs(1) || !io::stderr().is_terminal() {
                return;
            }
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        if let Some(total) = total {
            self.bar.set_length(total);
        }
        self.bar.set_message(message);
        self.bar.set_position(position);
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// A flag that Ctrl-C sets, so that what is running can stop cleanly. A second
/// Ctrl-C ends the program at once.
pub fn interrupt() -> Result<&'static std::sync::atomic::AtomicBool, CliError> {
    use std::sync::atomic::{AtomicBool, Ordering};
    static INTERRUPTED: AtomicBool = AtomicBool::new(false);
    ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    })
    .map_err(|error| CliError::Other(format!("cannot listen for Ctrl-C: {error}")))?;
    Ok(&INTERRUPTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_obeys_nothing_from_outside() {
        for (text, line) in [
            ("Acme GmbH", "Acme GmbH"),
            ("Zürich 東京 \u{a0}", "Zürich 東京 \u{a0}"),
            ("a\nb\x1b[31m", "a\\nb\\u001b[31m"),
            ("a\rb\tc\x07\x7f", "a\\rb\\tc\\u0007\\u007f"),
            ("\u{9b}2J \u{85}", "\\u009b2J \\u0085"),
            ("\u{202e}txt.exe", "\\u202etxt.exe"),
        ] {
            assert_eq!(plain(text), line, "{text:?}");
        }
    }

    #[test]
    fn no_amount_is_printed_as_a_float_and_a_dry_run_says_so() {
        for (amount, printed) in [("500.00", "500.00"), ("9007199254740993.01", "9007199254740993.01"), ("5", "5")] {
            let raw = RawValue::from_string(amount.to_owned()).expect("JSON");
            let row = std::collections::BTreeMap::from([("cost", &raw)]);
            assert_eq!(json_text(&row, false).expect("exact"), format!("{{\"cost\":{printed}}}"));
            assert_eq!(json_text(&row, true).expect("exact"), format!("{{\"cost\":{printed},\"dry_run\":true}}"));
            let lossy = json_text(&serde_json::json!({ "rows": [raw] }), false);
            assert_eq!(lossy.is_err(), amount.contains('.'), "{amount}: {lossy:?}");
        }
        assert_eq!(json_text(&serde_json::json!({}), true).expect("exact"), "{\"dry_run\":true}");
    }

    #[test]
    fn a_stream_is_escaped_wherever_it_is_cut() {
        let text = "id,name\r\n1,\"a\x1b[2J\u{9b}é\u{a0}\tb\"\r\n";
        let expected = "id,name\r\n1,\"a\\u001b[2J\\u009bé\u{a0}\tb\"\r\n";
        for cut in 0..=text.len() {
            let mut out = Vec::new();
            let mut plain = Plain::new(&mut out);
            for piece in [&text.as_bytes()[..cut], &text.as_bytes()[cut..]] {
                plain.write_all(piece).expect("written");
            }
            assert_eq!(String::from_utf8_lossy(&out), expected, "cut at {cut}");
        }
    }
}
