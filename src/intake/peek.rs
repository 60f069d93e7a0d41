//! The beginning of a file as it stands, for people who say what its columns
//! mean: names, the first cells, and what each column would be read as.
//!
//! Bears what [`super::read`] refuses, such as a file without a column of
//! numbers, so that there is something to correct. A guess at a column that
//! is nobody's known name is for showing: a reader is given it as a mapping
//! once somebody has seen it.
//! Deliberately absent: whether cells can be read.

use std::io::Read;

use super::field;
use super::json::Documents;
use super::source::Text;
use super::{COLUMNS_MAX, Export, Field, Format, IntakeError, Options, Shape, csv, detect, number};

/// The most characters that are kept of a cell.
const CELL_CHARS_MAX: usize = 80;

/// The beginning of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peeked {
    pub format: Format,
    /// Whose export it is read as.
    pub export: Option<Export>,
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

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeekedRow {
    /// As [`super::Row::line`].
    pub line: u64,
    /// By column, empty where the row has none.
    pub cells: Vec<String>,
}

/// Whether a text is numbers one below the other, without a line that names
/// the column.
pub fn bare_numbers(text: &str) -> bool {
    let first = text.trim_start_matches('\u{feff}').lines().map(str::trim).find(|line| !line.is_empty());
    first.is_some_and(|line| !line.contains([',', ';', '\t']) && number::looks_like_one(line))
}

/// Reads the names of the columns and the first rows.
pub fn peek(input: impl Read, options: &Options, rows_max: usize) -> Result<Peeked, IntakeError> {
    let mut text = Text::open(input, options.encoding)?;
    let (format, names, rows) = match detect(&mut text)? {
        Shape::Csv => csv::peek(&mut text, options, rows_max)?,
        Shape::Ndjson => {
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
            (Format::Ndjson, names, rows)
        }
        Shape::Json => {
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
            (Format::Json, names, rows)
        }
    };
    let export = Export::of(names.iter().map(String::as_str), &options.mappings).ok().flatten();
    let column = |name: &String| {
        let role = field::role(name, &options.mappings, export);
        PeekedColumn { name: name.clone(), field: role.field(), known: role != field::Role::Unknown }
    };
    Ok(Peeked { format, export, columns: names.iter().map(column).collect(), rows })
}

/// Objects as rows under the keys of all of them, in the order in which they
/// turn up. What is no object is an empty row.
fn objects(records: Vec<(u64, String)>) -> (Vec<String>, Vec<PeekedRow>) {
    let mut names: Vec<String> = Vec::new();
    let mut rows = Vec::new();
    for (line, record) in records {
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&record).unwrap_or_default();
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

pub(super) fn shortened(cell: &str) -> String {
    match cell.char_indices().nth(CELL_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &cell[..end]),
        None => cell.to_owned(),
    }
}

/// How people call what we know under another name.
const SYNONYMS: &[(Field, &[&str])] = &[
    (
        Field::Number,
        &[
            "phone",
            "phone number",
            "phonenumber",
            "telephone",
            "telephone number",
            "tel",
            "did",
            "did number",
            "ddi",
            "msisdn",
            "e164",
            "e 164",
            "tn",
            "numbers",
            "virtual number",
        ],
    ),
    (
        Field::AccountAuthId,
        &[
            "account",
            "account id",
            "auth id",
            "customer id",
            "customer auth id",
            "client id",
            "customer account",
            "sub account",
            "subaccount",
            "tenant",
            "tenant id",
        ],
    ),
    (Field::AccountName, &["account name", "customer name", "client name", "company", "company name"]),
    (Field::ApplicationId, &["application", "app", "app id"]),
    (Field::ApplicationName, &["application name", "app name"]),
    (Field::TrunkId, &["trunk", "trunk group", "trunk group id", "sip trunk"]),
    (
        Field::MonthlyCost,
        &[
            "cost",
            "price",
            "monthly",
            "monthly price",
            "monthly fee",
            "monthly rate",
            "mrc",
            "rental",
            "monthly rental",
        ],
    ),
    (Field::Currency, &["currency code", "ccy"]),
    (Field::AssignedAt, &["assigned", "assigned on", "activated", "activated at", "activation date", "start date"]),
    (
        Field::ExpiresAt,
        &["expires", "expires on", "expiry", "expiry date", "expiration", "expiration date", "end date", "valid until"],
    ),
    (Field::NumberType, &["type", "number type"]),
    (Field::Country, &["country code", "iso country"]),
    (Field::Region, &["city", "area", "location"]),
    (Field::Tags, &["tag", "labels", "label"]),
];

/// What columns that are nothing known might mean, by what people call such
/// things. No field is guessed that another column has.
pub fn guess(peeked: &Peeked) -> Vec<(String, Field)> {
    let mut taken: Vec<Field> = peeked.columns.iter().filter_map(|column| column.field).collect();
    let mut guesses = Vec::new();
    if peeked.export.is_some() {
        return guesses;
    }
    for column in peeked.columns.iter().filter(|column| !column.known) {
        let name: String =
            column.name.chars().map(|c| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { ' ' }).collect();
        let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
        let found = SYNONYMS.iter().find(|(_, names)| names.contains(&name.as_str())).map(|(field, _)| *field);
        if let Some(field) = found.filter(|field| !taken.contains(field)) {
            taken.push(field);
            guesses.push((column.name.clone(), field));
        }
    }
    guesses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Peeked {
        peek(text.as_bytes(), &Options::default(), 3).expect("a file")
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
        assert!(peek(&b""[..], &Options::default(), 3).is_err());
    }

    #[test]
    fn a_file_without_a_column_of_numbers_is_shown_and_guessed_at() {
        let peeked = of("Phone Number,Customer-ID,Price,Colour,DID\n1,2,3,4,5\n");
        assert!(peeked.columns.iter().all(|column| column.field.is_none() && !column.known));
        let guesses = guess(&peeked);
        let names: Vec<(&str, Field)> = guesses.iter().map(|(name, field)| (name.as_str(), *field)).collect();
        assert_eq!(
            names,
            [("Phone Number", Field::Number), ("Customer-ID", Field::AccountAuthId), ("Price", Field::MonthlyCost)]
        );
        // The column that says so itself is the number.
        assert_eq!(guess(&of("number,phone\n1,2\n")), []);
        assert_eq!(guess(&of("number,sub_account,city\n1,2,3\n")), [], "an export is known by its own names");
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
