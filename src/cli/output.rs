//! Printing: results on stdout, everything else on stderr, and no panic when
//! the reader of either has gone.

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::CliError;

/// Writes a result.
pub fn print(bytes: &[u8]) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(closed)
}

pub fn line(text: &str) -> Result<(), CliError> {
    print(format!("{text}\n").as_bytes())
}

pub fn json(value: &impl serde::Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string(value).map_err(|error| CliError::Other(error.to_string()))?;
    line(&text)
}

/// Why a write to stdout failed.
pub fn closed(error: io::Error) -> CliError {
    match error.kind() {
        io::ErrorKind::BrokenPipe => CliError::Closed,
        _ => CliError::Io { what: "failed to write the output".to_owned(), source: error },
    }
}

/// Says something to the person, beside the result.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Asks something, leaving the cursor behind the question.
pub fn prompt(text: &str) {
    let mut err = io::stderr();
    let _ = write!(err, "{text}").and_then(|()| err.flush());
}

/// Says what went wrong, and why, down to the first cause.
pub fn error(error: &dyn Error) {
    note(&format!("error: {}", reasons(error)));
}

/// An error with its causes, on one line.
pub fn reasons(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// Rows under headings, in columns as wide as they need to be.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> Result<(), CliError> {
    let width = |at: usize| {
        let cells = rows.iter().map(|row| row[at].chars().count());
        cells.chain([headings[at].chars().count()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let mut text = String::new();
    let headings = headings.iter().map(|heading| (*heading).to_owned()).collect();
    for row in std::iter::once(&headings).chain(rows) {
        let mut written = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            written.push_str(&format!("{cell:width$}  "));
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
