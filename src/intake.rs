//! Reads files of any supported format into typed rows.
//!
//! CSV with `,` `;` or tab, NDJSON, the Partner API's own JSON answer in either
//! dialect or a bare JSON array, gzip of each, and spreadsheets: told apart by
//! their content, read as a stream. The exports of some products are known by their columns
//! ([`KnownExport`]). Text becomes domain types here, and what could mean two things
//! is refused with what to write instead.
//!
//! A CSV that was made for spreadsheets says so by its numbers, `'+91…`; its
//! rows are read without the apostrophes that keep cells from being formulas.
//!
//! Always holds: memory is bounded whatever the file (a record has at most
//! [`RECORD_BYTES_MAX`] bytes, a file at most [`COLUMNS_MAX`] columns), so a
//! hostile file costs time only; a bad row never hides the rows after it.
//! Deliberately absent: the store, and so whether what a row names is there.

mod calls;
mod columns;
mod csv;
mod export;
mod field;
mod json;
mod number;
mod peek;
mod rows;
mod sheet;
mod source;
#[cfg(test)]
mod tests;
mod value;
mod xlsx;

use std::fmt;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::sync::Arc;

use encoding_rs::Encoding;
use jiff::tz::TimeZone;

pub use self::calls::{BadCall, CallsError, CallsRead, Pagination, TakeCall, read_calls};
pub use self::export::KnownExport;
pub use self::field::{BadMapping, Field, Mapping};
pub use self::peek::{Peeked, PeekedColumn, bare_numbers, peek};
use self::rows::RowReader;
use self::source::{Input, SourceText};
use crate::domain::{
    AccountId, ApplicationId, Country, Currency, E164, NumberType, State, Status, Tags, Time, TrunkId,
};

/// The most bytes one record (a CSV record, a JSON row) can have.
pub const RECORD_BYTES_MAX: usize = 1 << 20;

/// The most columns a file can have, over all its rows.
pub const COLUMNS_MAX: usize = 1_000;

/// The most bytes the name of a column can have.
pub const COLUMN_BYTES_MAX: usize = 256;

/// The most numbers one block can stand for.
pub const BLOCK_NUMBERS_MAX: u64 = 10_000_000;

/// The most bytes a spreadsheet can have as it is given, and its first sheet
/// unpacked; and the most rows, which are what spreadsheet programs allow.
pub const SHEET_PACKED_BYTES_MAX: u64 = 64 << 20;
pub const SHEET_BYTES_MAX: u64 = 1 << 30;
pub const SHEET_ROWS_MAX: u64 = 1_048_576;

/// The deepest a JSON row can be nested.
pub const DEPTH_MAX: usize = 64;

/// The most tags of a number that are read: more than a new one can have, because
/// numbers were stored before there was a limit.
pub const TAGS_READ_MAX: usize = 1_000;

/// The most characters of one tag.
pub use crate::domain::number::TAG_CHARS_MAX;

/// What the caller knows of a file that the file does not say.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// Columns whose names are not ours.
    pub mappings: Vec<Mapping>,
    /// Digits without a `+` are national numbers of this country.
    pub default_country: Option<Country>,
    /// Digits without a `+` are international and only lack it.
    pub assume_plus: bool,
    /// What amounts are checked against where the row names no currency.
    pub currency: Option<Currency>,
    /// The encoding of text that is not UTF-8; a byte order mark overrides it.
    pub encoding: Option<&'static Encoding>,
    /// Whose days the days are that have no time.
    pub zone: TimeZone,
}

impl Default for ReadOptions {
    fn default() -> ReadOptions {
        ReadOptions {
            mappings: Vec::new(),
            default_country: None,
            assume_plus: false,
            currency: None,
            encoding: None,
            zone: TimeZone::UTC,
        }
    }
}

/// What a row says of a field.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub enum Cell<T> {
    /// Nothing: the column is not there.
    #[default]
    Absent,
    /// The column is there, and empty or JSON's null.
    Empty,
    Value(T),
}

impl<T> Cell<T> {
    pub fn value(&self) -> Option<&T> {
        match self {
            Cell::Value(value) => Some(value),
            Cell::Absent | Cell::Empty => None,
        }
    }
}

impl<T> Cell<Option<T>> {
    /// Empty, where the value is none.
    fn flatten(self) -> Cell<T> {
        match self {
            Cell::Absent => Cell::Absent,
            Cell::Empty | Cell::Value(None) => Cell::Empty,
            Cell::Value(Some(value)) => Cell::Value(value),
        }
    }
}

/// Which numbers a row is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RowNumbers {
    /// All numbers from `first` to `last`, which have as many digits; a single
    /// number is both.
    Block { first: E164, last: E164 },
    /// None: the row is about an account that has no number.
    None,
}

impl RowNumbers {
    pub fn count(self) -> u64 {
        match self {
            RowNumbers::Block { first, last } => last.digits() - first.digits() + 1,
            RowNumbers::None => 0,
        }
    }
}

/// What a row says of its numbers. Invariant: the cost is a plain amount, and
/// has no more decimals than the currency that the row or the options name.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct RowFields {
    pub account: Cell<AccountId>,
    pub account_name: Cell<Arc<str>>,
    pub application: Cell<ApplicationId>,
    pub application_name: Cell<Arc<str>>,
    pub trunk: Cell<TrunkId>,
    pub status: Cell<Status>,
    /// If true, the number is suspended, whatever the status says.
    pub blocked: Cell<bool>,
    pub state: Cell<State>,
    pub cost: Cell<Arc<str>>,
    pub currency: Cell<Currency>,
    pub assigned_at: Cell<Time>,
    pub expires_at: Cell<Time>,
    pub number_type: Cell<NumberType>,
    pub country: Cell<Country>,
    pub region: Cell<Arc<str>>,
    pub tags: Cell<Tags>,
    pub quarantine_ends_at: Cell<Time>,
    pub reserved_until: Cell<Time>,
    pub reserved_for: Cell<AccountId>,
    pub since: Cell<Time>,
}

/// A row without fault. Consecutive rows that say the same share `fields`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileRow {
    /// Where the row is, in the unit of [`FileFormat::unit`].
    pub line: u64,
    pub numbers: RowNumbers,
    pub fields: Arc<RowFields>,
    /// What was read and may not have been meant. Mostly nothing.
    pub cautions: Vec<Caution>,
}

/// Something that was read, and that somebody should look at before the row is
/// stored. Not an error.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Caution {
    pub line: u64,
    /// The column as the file calls it.
    pub column: String,
    /// The cell, or the beginning of it.
    pub value: String,
    pub reason: String,
}

/// One thing that is wrong with a row.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct RowError {
    pub line: u64,
    /// The column as the file calls it; empty if the whole row is wrong.
    pub column: String,
    /// The cell, or the beginning of it.
    pub value: String,
    pub message: String,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FileItem {
    Row(FileRow),
    Bad {
        line: u64,
        /// How many numbers the row stands for; 1 if that cannot be known.
        numbers: u64,
        /// At least one; several if several cells are wrong.
        errors: Vec<RowError>,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileFormat {
    Csv {
        delimiter: u8,
    },
    Ndjson,
    /// The Partner API's answer or one of its like, several of them one after the
    /// other, or an array.
    Json,
    /// The first sheet of a spreadsheet.
    Sheet,
}

impl FileFormat {
    /// What `line` counts, from 1: lines of the file (the one on which the
    /// record begins), rows of a sheet, or elements of JSON's arrays, whose
    /// answers are often one single line.
    pub fn unit(self) -> &'static str {
        match self {
            FileFormat::Csv { .. } | FileFormat::Ndjson => "line",
            FileFormat::Json => "element",
            FileFormat::Sheet => "row",
        }
    }
}

impl fmt::Display for FileFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FileFormat::Csv { delimiter: b'\t' } => "CSV with tabs",
            FileFormat::Csv { delimiter: b';' } => "CSV with semicolons",
            FileFormat::Csv { .. } => "CSV",
            FileFormat::Ndjson => "NDJSON",
            FileFormat::Json => "JSON",
            FileFormat::Sheet => "XLSX",
        })
    }
}

/// What is known of a file before its first row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    pub format: FileFormat,
    /// The columns in the file's order and what each is read as. Empty for
    /// JSON, whose rows name their own columns.
    pub columns: Vec<(String, Field)>,
    /// Columns that are nothing we know and that no mapping ignores. For JSON
    /// see [`ReadSummary::unknown`].
    pub unknown: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadSummary {
    /// Rows given to the caller, the bad ones too.
    pub rows: u64,
    /// Bytes read from the input, before unpacking.
    pub bytes: u64,
    /// As [`Header::unknown`], and for JSON the unknown keys of all rows.
    pub unknown: Vec<String>,
    /// Whose export it was read as.
    pub export: Option<KnownExport>,
    /// JSON only: columns of mappings that no row had. (In CSV that is an error.)
    pub unmapped: Vec<String>,
}

/// Why a whole file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    #[error("failed to read the file")]
    Read {
        #[source]
        source: io::Error,
    },
    #[error("failed to write the extracted rows")]
    Write {
        #[source]
        source: io::Error,
    },
    #[error("the gzip data is damaged or cut off; fetch or pack the file again")]
    Gzip {
        #[source]
        source: io::Error,
    },
    #[error("the file is {kind}; {advice}")]
    Foreign { kind: &'static str, advice: &'static str },
    #[error("the spreadsheet cannot be read: {problem}; save it again as .xlsx, or its sheet as CSV")]
    Sheet { problem: &'static str },
    #[error(
        "the spreadsheet has more than {} MB, more than {} MB unpacked, or a cell of more than {} MB; leave out what is not needed, or save its sheet as CSV",
        SHEET_PACKED_BYTES_MAX >> 20, SHEET_BYTES_MAX >> 20, RECORD_BYTES_MAX >> 20
    )]
    SheetLarge,
    #[error("the first sheet, {name:?}, is hidden; show it, or put the sheet that is meant before it")]
    SheetHidden { name: String },
    #[error(
        "line {line} is not UTF-8 text; save the file as UTF-8, or name its encoding, such as --encoding windows-1252"
    )]
    NotUtf8 { line: u64 },
    #[error("line {line} is not {encoding} text; name the encoding the file really has")]
    NotEncoded { line: u64, encoding: &'static str },
    #[error("the file is empty; its first line must name the columns, one of them number")]
    Empty,
    #[error("{}", no_number_column(columns, *headless))]
    NoNumberColumn { columns: Vec<String>, headless: bool },
    #[error("the file's lines end in a carriage return alone; save it with ordinary line ends")]
    LineEnds,
    #[error("columns {first:?} and {second:?} both say {field}; {}", not_both(first, second))]
    ColumnTwice { field: Field, first: String, second: String },
    #[error(
        "column {column:?} begins a block, and no column ends it; name the end with --map COLUMN=number_end, or say with --map '{column}=number' that each is one number"
    )]
    BlockEndless { column: String },
    #[error("the file has more than {COLUMNS_MAX} columns; leave out those that are not needed")]
    ColumnsMany,
    #[error("line {line} has a column name of more than {COLUMN_BYTES_MAX} bytes; shorten it")]
    ColumnLong { line: u64 },
    #[error("the columns could be those of a {} export or of a {} one; ignore what tells one of them with --map 'COLUMN=-'", exports[0], exports[1])]
    ExportTwo { exports: [KnownExport; 2] },
    #[error("there is no column {column:?} to map; the file's columns are {}", list(columns))]
    MappingUnmatched { column: String, columns: Vec<String> },
    #[error("column {column:?} is mapped twice; keep one of the mappings")]
    MappingTwice { column: String },
    #[error("digits without + cannot be both national and international; give --default-country or --assume-plus")]
    BothDigits,
    #[error(
        "the row at line {line} is longer than {RECORD_BYTES_MAX} bytes; look there for a quote or bracket that is not closed"
    )]
    RecordLong { line: u64 },
    #[error("a quote opened in the row at line {line} is never closed; close it, or write \"\" for a quote in a cell")]
    QuoteOpen { line: u64 },
    #[error("not JSON at line {line}, column {column}: {problem}")]
    Json { line: u64, column: u64, problem: String },
}

/// How to read one of two columns. `--map` finds columns by their names, as people write
/// them, so it cannot tell those apart that have the same.
fn not_both(first: &str, second: &str) -> String {
    match field::folded(first) == field::folded(second) {
        true => "rename one of them in the file".to_owned(),
        false => format!("ignore one of them with --map '{second}=-'"),
    }
}

fn no_number_column(columns: &[String], headless: bool) -> String {
    if headless {
        return "the first line looks like a row; put a line before it that names the columns, one of them number"
            .to_owned();
    }
    format!("no column is called number; name it with --map COLUMN=number, where the columns are {}", list(columns))
}

/// The first names of a list, quoted.
fn list(names: &[String]) -> String {
    const SHOWN_MAX: usize = 30;
    let mut text = names.iter().take(SHOWN_MAX).map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN_MAX {
        text.push_str(&format!(" and {} more", names.len() - SHOWN_MAX));
    }
    text
}

/// Reads the file from beginning to end, or until `row` breaks.
///
/// `header` is called once, before the first row. An error may come after
/// rows: the caller then drops what it was given.
pub fn read(
    input: impl Read,
    options: &ReadOptions,
    header: &mut dyn FnMut(&Header),
    row: &mut dyn FnMut(FileItem) -> ControlFlow<()>,
) -> Result<ReadSummary, IntakeError> {
    if options.assume_plus && options.default_country.is_some() {
        return Err(IntakeError::BothDigits);
    }
    field::check_mappings(&options.mappings)?;
    let mut rows = RowReader::new(options);
    let mut text = match Input::open(input, options.encoding)? {
        Input::Text(text) => text,
        Input::Workbook(mut book) => {
            sheet::read(&mut book, &mut rows, header, row)?;
            return Ok(rows.summary(book.bytes()));
        }
    };
    match detect(&mut text)? {
        GuessedFormat::Csv => csv::read(&mut text, &mut rows, header, row)?,
        GuessedFormat::Ndjson => json::read_lines(&mut text, &mut rows, header, row)?,
        GuessedFormat::Json => json::read_documents(&mut text, &mut rows, header, row)?,
    }
    Ok(rows.summary(text.bytes()))
}

/// Copies the rows at these places, as [`FileRow::line`] counts them and sorted,
/// into a file that the same options read once it is corrected: CSV with its
/// header, also of a spreadsheet, otherwise NDJSON. Always UTF-8, with a byte order mark if the file
/// was not, so that a named encoding does no harm.
pub fn extract(input: impl Read, options: &ReadOptions, lines: &[u64], out: &mut dyn Write) -> Result<(), IntakeError> {
    let mut out = Extract { wanted: lines.iter().copied().peekable(), out };
    let mut text = match Input::open(input, options.encoding)? {
        Input::Text(text) => text,
        Input::Workbook(mut book) => {
            // The byte order mark is for options that name an encoding.
            out.write("\u{feff}".as_bytes())?;
            sheet::extract(&mut book, &options.zone, &mut out)?;
            return out.out.flush().map_err(|source| IntakeError::Write { source });
        }
    };
    if text.marked() {
        out.write("\u{feff}".as_bytes())?;
    }
    match detect(&mut text)? {
        GuessedFormat::Csv => csv::extract(&mut text, options, &mut out)?,
        GuessedFormat::Ndjson => json::extract_lines(&mut text, &mut out)?,
        GuessedFormat::Json => json::extract_documents(&mut text, &mut out)?,
    }
    out.out.flush().map_err(|source| IntakeError::Write { source })
}

/// Where extracted rows go, and which are still wanted.
struct Extract<'a> {
    wanted: std::iter::Peekable<std::iter::Copied<std::slice::Iter<'a, u64>>>,
    out: &'a mut dyn Write,
}

impl Extract<'_> {
    /// Whether the row at `line` is wanted. Asked in ascending order.
    fn wants(&mut self, line: u64) -> bool {
        while self.wanted.next_if(|&wanted| wanted < line).is_some() {}
        self.wanted.peek() == Some(&line)
    }

    fn done(&mut self) -> bool {
        self.wanted.peek().is_none()
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), IntakeError> {
        self.out.write_all(bytes).map_err(|source| IntakeError::Write { source })
    }

    fn write_line(&mut self, line: &[u8]) -> Result<(), IntakeError> {
        self.write(line)?;
        if line.ends_with(b"\n") { Ok(()) } else { self.write(b"\n") }
    }
}

/// The most characters that are kept of a cell.
const CELL_CHARS_MAX: usize = 80;

/// One of the first rows of a file, as text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeekedRow {
    /// As [`FileRow::line`].
    pub line: u64,
    /// By column, empty where the row has none.
    pub cells: Vec<String>,
}

/// A cell as far as it is shown.
fn shortened(cell: &str) -> String {
    match cell.char_indices().nth(CELL_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &cell[..end]),
        None => cell.to_owned(),
    }
}

/// A format, as far as the first bytes tell.
enum GuessedFormat {
    Csv,
    Ndjson,
    Json,
}

/// How much of a file is looked at to tell its format.
const HEAD_BYTES: usize = 64 << 10;

fn detect(text: &mut SourceText<'_>) -> Result<GuessedFormat, IntakeError> {
    let head = text.head(HEAD_BYTES)?;
    match head.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => Err(IntakeError::Empty),
        Some(b'[') => Ok(GuessedFormat::Json),
        Some(b'{') if json::holds_rows(head) => Ok(GuessedFormat::Json),
        Some(b'{') => Ok(GuessedFormat::Ndjson),
        Some(_) if head.contains(&0) => {
            let advice = "if it is UTF-16 text, name it with --encoding utf-16le";
            Err(IntakeError::Foreign { kind: "not text (it has NUL bytes)", advice })
        }
        Some(_) => Ok(GuessedFormat::Csv),
    }
}
