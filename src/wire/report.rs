//! Tables that people open in a spreadsheet: costs, invoices, findings, rows of
//! a job.
//!
//! Invariants: all of them are made here; a cell that a spreadsheet would take
//! for a formula has an apostrophe before it, unless [`CsvCells::Raw`] was asked
//! for. A number in E.164 calculates nothing and is left as it is.
//! Deliberately absent: lists of the inventory, which are imported again
//! (`wire`), and lines of a file that somebody gave to import.

use std::fmt::Display;
use std::io::Write;

use super::{csv_protected, csv_text};

/// How texts stand in the cells of a report.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CsvCells {
    /// For people: no cell is a formula.
    #[default]
    Protected,
    /// For scripts: as they are.
    Raw,
}

impl CsvCells {
    pub fn raw(raw: bool) -> CsvCells {
        if raw { CsvCells::Raw } else { CsvCells::Protected }
    }

    /// The header line.
    pub fn header(self, out: &mut Vec<u8>, columns: &[&str]) {
        let mut line = self.line(out);
        columns.iter().for_each(|column| line.plain(column));
        line.end();
    }

    /// Begins a line.
    pub fn line(self, out: &mut Vec<u8>) -> CsvLine<'_> {
        CsvLine { out, cells: self, begun: false }
    }
}

/// A line being written.
pub struct CsvLine<'o> {
    out: &'o mut Vec<u8>,
    cells: CsvCells,
    begun: bool,
}

impl CsvLine<'_> {
    fn next(&mut self) {
        if std::mem::replace(&mut self.begun, true) {
            self.out.push(b',');
        }
    }

    /// A text that somebody may have chosen.
    pub fn text(&mut self, text: &str) {
        self.next();
        let digits = text.strip_prefix('+').unwrap_or_default();
        let number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        match self.cells {
            CsvCells::Protected if !number => csv_protected(self.out, text),
            CsvCells::Protected | CsvCells::Raw => csv_text(self.out, text),
        }
    }

    /// What is no text of anybody's: a number, a day, an amount, one of our words.
    pub fn plain(&mut self, value: impl Display) {
        self.next();
        write!(self.out, "{value}").expect("writing to memory");
    }

    /// The same, or an empty cell.
    pub fn maybe(&mut self, value: Option<impl Display>) {
        match value {
            Some(value) => self.plain(value),
            None => self.plain(""),
        }
    }

    pub fn end(self) {
        self.out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_no_formulas_unless_they_are_asked_for() {
        for (text, expected) in [
            ("Credresolve", "Credresolve"),
            ("+912271264217", "+912271264217"),
            ("=HYPERLINK(\"http://evil\",\"x\")", "\"'=HYPERLINK(\"\"http://evil\"\",\"\"x\"\")\""),
            ("+1+cmd|' /C calc'!A0", "'+1+cmd|' /C calc'!A0"),
            ("-2", "'-2"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "\"'\t=1\""),
            ("+", "'+"),
            ("'=1", "''=1"),
        ] {
            let of = |cells: CsvCells| {
                let mut out = Vec::new();
                let mut line = cells.line(&mut out);
                line.text(text);
                line.maybe(Some(-5));
                line.maybe(None::<u8>);
                line.end();
                String::from_utf8(out).expect("text")
            };
            assert_eq!(of(CsvCells::Protected), format!("{expected},-5,\r\n"));
            let mut raw = Vec::new();
            csv_text(&mut raw, text);
            assert_eq!(of(CsvCells::Raw), format!("{},-5,\r\n", String::from_utf8(raw).expect("text")));
        }
    }
}
