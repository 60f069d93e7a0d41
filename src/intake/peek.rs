//! The beginning of a file as it stands, for people who say what its columns
//! mean: names, the first cells, and what each column would be read as.
//!
//! Columns are what [`super::read`] takes them for. Bears what it refuses, such
//! as a file without a column of numbers, so that there is something to correct.
//! Deliberately absent: whether cells can be read.

use std::io::Read;

use super::columns::{self, ColumnRole};
use super::json::{self, Documents};
use super::source::{Input, SourceText};
use super::{
    COLUMNS_MAX, Field, FileFormat, GuessedFormat, IntakeError, KnownExport, PeekedRow, ReadOptions, csv, detect,
    number, sheet, shortened,
};

/// The beginning of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peeked {
    pub format: FileFormat,
    /// Whose export it is read as.
    pub export: Option<KnownExport>,
    pub columns: Vec<PeekedColumn>,
    pub rows: Vec<PeekedRow>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeekedColumn {
    pub name: String,
    /// What it is read as; nothing if it is not read.
    pub field: Option<Field>,
    /// Whether it is known what it is: then not to read it is a decision.
    pub known: bool,
}

/// Whether a text is numbers one below the other, without a line that names
/// the column.
pub fn bare_numbers(text: &str) -> bool {
    let first = text.trim_start_matches('\u{feff}').lines().map(str::trim).find(|line| !line.is_empty());
    first.is_some_and(|line| !line.contains([',', ';', '\t']) && number::looks_like_one(line))
}

/// Reads the names of the columns and the first rows.
pub fn peek(input: impl Read, options: &ReadOptions, rows_max: usize) -> Result<Peeked, IntakeError> {
    let (format, names, rows) = match Input::open(input, options.encoding)? {
        Input::Text(text) => peek_text(text, options, rows_max)?,
        Input::Workbook(mut book) => {
            let (names, rows) = sheet::peek(&mut book, rows_max)?;
            (FileFormat::Sheet, names, rows)
        }
    };
    let texts: Vec<&str> = names.iter().map(String::as_str).collect();
    let export = KnownExport::of(texts.iter().copied(), &options.mappings).ok().flatten();
    let roles = columns::resolve(&texts, &options.mappings, export).roles;
    let column = |(name, role): (String, ColumnRole)| PeekedColumn {
        name,
        field: role.field(),
        known: role != ColumnRole::Unknown,
    };
    Ok(Peeked { format, export, columns: names.into_iter().zip(roles).map(column).collect(), rows })
}

fn peek_text(
    mut text: SourceText<'_>,
    options: &ReadOptions,
    rows_max: usize,
) -> Result<(FileFormat, Vec<String>, Vec<PeekedRow>), IntakeError> {
    Ok(match detect(&mut text)? {
        GuessedFormat::Csv => csv::peek(&mut text, options, rows_max)?,
        GuessedFormat::Ndjson => {
            let mut records = Vec::new();
            while records.len() < rows_max
                && let Some(len) = text.scan(csv::line_len)?
            {
                let line = text.line();
                let record = text.text(len)?.trim();
                if !record.is_empty() {
                    records.push((line, record.to_owned()));
                }
                text.consume(len);
            }
            let (names, rows) = objects(records);
            (FileFormat::Ndjson, names, rows)
        }
        GuessedFormat::Json => {
            let mut aside = |_: &str, _: &str| {};
            let mut documents = Documents::new(&mut text, &mut aside);
            let mut records = Vec::new();
            while records.len() < rows_max
                && let Some(len) = documents.next_element()?
            {
                records.push((records.len() as u64 + 1, documents.text.text(len)?.to_owned()));
                documents.text.consume(len);
            }
            let (names, rows) = objects(records);
            (FileFormat::Json, names, rows)
        }
    })
}

/// Objects as rows under the keys of all of them, in the order in which they
/// turn up. What is no object is an empty row.
fn objects(records: Vec<(u64, String)>) -> (Vec<String>, Vec<PeekedRow>) {
    let mut names: Vec<String> = Vec::new();
    let mut rows = Vec::new();
    for (line, record) in records {
        let object = json::members(&record).unwrap_or_default();
        let mut cells = vec![String::new(); names.len()];
        for (key, value) in &object {
            let at = names.iter().position(|name| name == key).unwrap_or_else(|| {
                names.push(key.clone());
                names.len() - 1
            });
            if at >= COLUMNS_MAX {
                break;
            }
            cells.resize(cells.len().max(at + 1), String::new());
            cells[at] = match value {
                serde_json::Value::Null => String::new(),
                serde_json::Value::String(text) => shortened(text),
                other => shortened(&other.to_string()),
            };
        }
        rows.push(PeekedRow { line, cells });
    }
    names.truncate(COLUMNS_MAX);
    rows.iter_mut().for_each(|row| row.cells.resize(names.len(), String::new()));
    (names, rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::CELL_CHARS_MAX;

    fn of(text: &str) -> Peeked {
        peek(text.as_bytes(), &ReadOptions::default(), 3).expect("a file")
    }

    fn columns(peeked: &Peeked) -> Vec<(&str, Option<Field>)> {
        peeked.columns.iter().map(|column| (column.name.as_str(), column.field)).collect()
    }

    #[test]
    fn every_format_shows_its_beginning() {
        let expected: &[(&str, Option<Field>)] =
            &[("number", Some(Field::Number)), ("colour", None), ("tags", Some(Field::Tags))];
        let cells = vec!["+912271264217".to_owned(), "red, or so".to_owned(), String::new()];
        for (text, line) in [
            ("number;colour;tags\n\n+912271264217;\"red, or so\";\n1;2;3\n", 3),
            ("{\"number\":\"+912271264217\",\"colour\":\"red, or so\"}\n{\"tags\":[\"a\"]}\n", 1),
            ("[{\"number\":\"+912271264217\",\"colour\":\"red, or so\"},\n{\"tags\":null}]", 1),
        ] {
            let peeked = of(text);
            assert_eq!(columns(&peeked), expected, "{text}");
            assert_eq!(peeked.rows[0], PeekedRow { line, cells: cells.clone() }, "{text}");
            assert_eq!(peeked.rows.len(), 2);
        }
        assert_eq!(of("a,b\n1,2\n1,2\n1,2\n1,2\n").rows.len(), 3);
        assert!(peek(&b""[..], &ReadOptions::default(), 3).is_err());
    }

    #[test]
    fn a_file_without_a_column_of_numbers_is_shown() {
        let peeked = of("Nummer,Customer-ID,Price,Colour\n1,2,3,4\n");
        let expected = [
            ("Nummer", None),
            ("Customer-ID", Some(Field::AccountAuthId)),
            ("Price", Some(Field::MonthlyCost)),
            ("Colour", None),
        ];
        assert_eq!(columns(&peeked), expected);
        assert_eq!(peeked.columns.iter().map(|column| column.known).collect::<Vec<_>>(), [false, true, true, false]);
        let peeked = of(
            "{\"data\":[{\"id\":\"1\",\"type\":\"dids\",\"attributes\":{\"number\":\"912271264217\",\"capacity_limit\":2}}]}",
        );
        assert_eq!(columns(&peeked), [("number", Some(Field::Number)), ("capacity_limit", None)]);
        assert_eq!(peeked.rows[0].cells, ["912271264217", "2"]);
    }

    #[test]
    fn what_cannot_be_split_ends_the_rows() {
        let peeked = of("number,a\n+912271264217,1\n\"open\n");
        assert_eq!(peeked.rows.len(), 1);
        assert_eq!(of(&format!("number\n{}\n", "é".repeat(100))).rows[0].cells[0].chars().count(), CELL_CHARS_MAX + 1);
    }

    #[test]
    fn bare_numbers_are_told_from_a_table() {
        assert!(bare_numbers("\n +91 22 7126 4217\n+912271264218"));
        assert!(bare_numbers("\u{feff}912271264217"));
        for text in ["number\n+912271264217", "+912271264217,MA_1", "", "{\"number\":1}", "hello"] {
            assert!(!bare_numbers(text), "{text}");
        }
    }
}
