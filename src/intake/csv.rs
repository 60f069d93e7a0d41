//! CSV: the dialect by the header, then record by record.
//!
//! The quoting rules are those of the `csv` crate (a property test compares),
//! which itself is not used because it neither bounds a record nor knows the
//! line on which one begins after blank lines.

use std::borrow::Cow;
use std::ops::ControlFlow;

use super::columns;
use super::rows::{ReadColumn, RowReader};
use super::source::SourceText;
use super::value::Raw;
use super::{
    COLUMNS_MAX, Extract, Field, FileFormat, FileItem, Header, IntakeError, KnownExport, PeekedRow, ReadOptions,
    number, shortened,
};
use crate::domain::spreadsheet;

/// Where a cell is in its record, quotes and all.
#[derive(Clone, Copy, Debug)]
pub(super) struct CellSpan {
    start: u32,
    end: u32,
}

impl CellSpan {
    /// The cell, quotes and all.
    pub(super) fn of(self, record: &str) -> &str {
        &record[self.start as usize..self.end as usize]
    }
}

/// What [`split`] found at the start of the text.
enum Split {
    /// A record of this many bytes, its line end included.
    Record(usize),
    /// A quote that is not closed before the end of the file.
    Open,
}

/// Splits the first record of `bytes` into `spans`. None if it goes on past
/// them; that cannot be if they are the `last`.
fn split(bytes: &[u8], last: bool, delimiter: u8, spans: &mut Vec<CellSpan>) -> Option<Split> {
    spans.clear();
    let mut push = |start: usize, end: usize| spans.push(CellSpan { start: start as u32, end: end as u32 });
    let without_return = |start: usize, end: usize| if bytes[start..end].ends_with(b"\r") { end - 1 } else { end };

    let newline = memchr::memchr(b'\n', bytes);
    let line_end = match newline {
        Some(at) => at,
        None if last => bytes.len(),
        None => return None,
    };
    let len = newline.map_or(bytes.len(), |at| at + 1);
    if memchr::memchr(b'"', &bytes[..line_end]).is_none() {
        let line_end = without_return(0, line_end);
        let mut start = 0;
        for at in memchr::memchr_iter(delimiter, &bytes[..line_end]) {
            push(start, at);
            start = at + 1;
        }
        push(start, line_end);
        return Some(Split::Record(len));
    }

    let mut at = 0;
    loop {
        let start = at;
        if bytes.get(at) == Some(&b'"') {
            at += 1;
            loop {
                let Some(quote) = memchr::memchr(b'"', &bytes[at..]) else {
                    return if last { Some(Split::Open) } else { None };
                };
                at += quote + 1;
                match bytes.get(at) {
                    Some(b'"') => at += 1,
                    None if !last => return None,
                    Some(_) | None => break,
                }
            }
        }
        match memchr::memchr2(delimiter, b'\n', &bytes[at..]) {
            Some(found) if bytes[at + found] == delimiter => {
                at += found;
                push(start, at);
                at += 1;
            }
            Some(found) => {
                at += found;
                push(start, without_return(start, at));
                return Some(Split::Record(at + 1));
            }
            None if last => {
                push(start, without_return(start, bytes.len()));
                return Some(Split::Record(bytes.len()));
            }
            None => return None,
        }
    }
}

/// A cell's text without its quotes; `scratch` holds it if it had quotes inside.
pub(super) fn unquote<'a>(cell: &'a str, scratch: &'a mut String) -> &'a str {
    let Some(inner) = cell.strip_prefix('"') else {
        return cell;
    };
    if let Some(plain) = inner.strip_suffix('"')
        && !plain.contains('"')
    {
        return plain;
    }
    scratch.clear();
    let mut rest = inner;
    while let Some((text, after)) = rest.split_once('"') {
        scratch.push_str(text);
        match after.strip_prefix('"') {
            Some(quoted) => {
                scratch.push('"');
                rest = quoted;
            }
            None => {
                rest = after;
                break;
            }
        }
    }
    scratch.push_str(rest);
    scratch
}

/// As [`unquote`], and without the formula in which programs put text so that
/// spreadsheets keep its digits: `="0123"`.
fn cell_of<'a>(cell: &'a str, scratch: &'a mut [String; 2]) -> &'a str {
    let [unquoted, text] = scratch;
    let cell = unquote(cell, unquoted);
    match spreadsheet::quoted(cell) {
        None => cell,
        Some(Cow::Borrowed(text)) => text,
        Some(Cow::Owned(owned)) => {
            *text = owned;
            text
        }
    }
}

/// The next record: its length in bytes. None at the end.
pub(super) fn next(
    text: &mut SourceText<'_>,
    delimiter: u8,
    spans: &mut Vec<CellSpan>,
) -> Result<Option<usize>, IntakeError> {
    match text.scan(|bytes, last| split(bytes, last, delimiter, spans))? {
        Some(Split::Record(len)) => Ok(Some(len)),
        Some(Split::Open) => Err(IntakeError::QuoteOpen { line: text.line() }),
        None => Ok(None),
    }
}

/// The length of the first line with its end. None if it goes on.
pub(super) fn line_len(bytes: &[u8], last: bool) -> Option<usize> {
    memchr::memchr(b'\n', bytes).map(|at| at + 1).or(if last { Some(bytes.len()) } else { None })
}

/// The header: how long it is, what it names, and what divides its cells.
struct CsvHeader {
    delimiter: u8,
    /// Whether a line before the header says so.
    said: bool,
    len: usize,
    names: Vec<String>,
}

/// What divides the cells, if the line says so for spreadsheets: `sep=;`. It may
/// be in quotes, and have the cells of a table without anything in them.
fn separator(line: &str) -> Option<u8> {
    let line = line.trim_matches(['\r', '\n', '"']);
    let (said, rest) = (line.get(..4)?, line.get(4..)?);
    if !said.eq_ignore_ascii_case("sep=") {
        return None;
    }
    let rest = rest.replace("\\t", "\t");
    let delimiter = *rest.as_bytes().first()?;
    let divides = delimiter == b'\t' || delimiter == b' ' || delimiter.is_ascii_punctuation() && delimiter != b'"';
    (divides && rest.bytes().all(|byte| byte == delimiter)).then_some(delimiter)
}

/// Takes the lines before the header off the text: blank ones, and one that says
/// what divides the cells.
pub(super) fn said_separator(text: &mut SourceText<'_>) -> Result<Option<u8>, IntakeError> {
    let mut said = None;
    while let Some(len) = text.scan(line_len)? {
        let line = text.text(len)?;
        if !line.trim().is_empty() {
            if said.is_some() {
                break;
            }
            said = separator(line);
            if said.is_none() {
                break;
            }
        }
        text.consume(len);
    }
    Ok(said)
}

/// Reads the header by the delimiter under which it makes most sense: most
/// columns that we know, then most columns.
fn read_header(
    text: &mut SourceText<'_>,
    options: &ReadOptions,
    spans: &mut Vec<CellSpan>,
) -> Result<CsvHeader, IntakeError> {
    let said = said_separator(text)?;
    let mut best: Option<((usize, usize), CsvHeader)> = None;
    let mut failure = IntakeError::Empty;
    let usual = [b',', b';', b'\t'];
    for delimiter in said.map_or(usual.to_vec(), |said| vec![said]) {
        let len = match next(text, delimiter, spans) {
            Ok(Some(len)) => len,
            Ok(None) => return Err(IntakeError::Empty),
            // Under another delimiter the quote may not be one.
            Err(error @ (IntakeError::QuoteOpen { .. } | IntakeError::RecordLong { .. })) => {
                failure = error;
                continue;
            }
            Err(error) => return Err(error),
        };
        let record = text.text(len)?;
        let mut scratch = <[String; 2]>::default();
        let name = |span: &CellSpan| cell_of(span.of(record), &mut scratch).trim().to_owned();
        let names: Vec<String> = spans.iter().take(COLUMNS_MAX + 1).map(name).collect();
        let known = known(&names, options);
        let rank = (known, names.len());
        if best.as_ref().is_none_or(|(best, _)| rank > *best) {
            best = Some((rank, CsvHeader { delimiter, said: said.is_some(), len, names }));
        }
    }
    best.map(|(_, dialect)| dialect).ok_or(failure)
}

/// How many of these columns would be read.
fn known(names: &[String], options: &ReadOptions) -> usize {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let export = KnownExport::of(names.iter().copied(), &options.mappings).ok().flatten();
    columns::resolve(&names, &options.mappings, export).roles.iter().filter(|role| role.field().is_some()).count()
}

/// Resolves the header's names and refuses what rows could not be read by.
pub(super) fn check_header(line: u64, names: &[String], rows: &mut RowReader<'_>) -> Result<(), IntakeError> {
    rows.recognise(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
    let mut holders: [Option<&str>; Field::COUNT] = [None; Field::COUNT];
    for name in names {
        if name.replace("\r\n", "").contains('\r') {
            return Err(IntakeError::LineEnds);
        }
        let at = rows.column_add(name, line)?;
        if let Some(field) = rows.role(at).field() {
            if let Some(first) = holders[field as usize] {
                return Err(IntakeError::ColumnTwice { field, first: first.to_owned(), second: name.clone() });
            }
            holders[field as usize] = Some(name);
        }
    }
    let options = rows.options();
    if let Some(mapping) = columns::unmatched(&options.mappings, names.iter().map(String::as_str)).next() {
        return Err(IntakeError::MappingUnmatched { column: mapping.column.clone(), columns: names.to_vec() });
    }
    if holders[Field::Number as usize].is_none() {
        let headless = names.iter().any(|name| number::looks_like_one(name));
        return Err(IntakeError::NoNumberColumn { columns: names.to_vec(), headless });
    }
    Ok(())
}

pub(super) fn read(
    text: &mut SourceText<'_>,
    rows: &mut RowReader<'_>,
    header: &mut dyn FnMut(&Header),
    row: &mut dyn FnMut(FileItem) -> ControlFlow<()>,
) -> Result<(), IntakeError> {
    let mut spans = Vec::new();
    let CsvHeader { delimiter, len, names, .. } = read_header(text, rows.options(), &mut spans)?;
    check_header(text.line(), &names, rows)?;
    header(&rows.header(FileFormat::Csv { delimiter }));
    text.consume(len);

    let wanted: Vec<(usize, ReadColumn)> = (0..names.len()).filter_map(|at| Some((at, rows.takes(at)?))).collect();
    let number = (0..names.len()).find(|&at| rows.role(at).field() == Some(Field::Number));
    let separator = match delimiter {
        b'\t' => "a tab",
        b';' => "a semicolon",
        _ => "a comma",
    };
    let mut scratch = <[String; 2]>::default();
    while let Some(len) = next(text, delimiter, &mut spans)? {
        let line = text.line();
        let record = text.text(len)?;
        if blank(record, delimiter) {
            text.consume(len);
            continue;
        }
        rows.begin(line);
        let item = if spans.len() == names.len() {
            // A number with an apostrophe is from a file that was made for
            // spreadsheets, where other cells may have one that is not theirs.
            let protected = number.is_some_and(|at| cell_of(spans[at].of(record), &mut scratch).starts_with("'+"));
            for &(at, takes) in &wanted {
                let cell = cell_of(spans[at].of(record), &mut scratch);
                let cell = if protected { spreadsheet::unprotected(cell) } else { cell };
                rows.cell(takes, Raw::Text(cell), cell);
            }
            rows.finish()
        } else {
            let (have, want) = (spans.len(), names.len());
            let message =
                format!("has {have} cells where the header has {want}; quote a cell that has {separator} in it");
            rows.abandon(record.trim_end(), message)
        };
        text.consume(len);
        if row(item).is_break() {
            break;
        }
    }
    Ok(())
}

/// The header and the first rows, as they stand; rows end where they cannot be
/// told apart.
pub(super) fn peek(
    text: &mut SourceText<'_>,
    options: &ReadOptions,
    rows_max: usize,
) -> Result<(FileFormat, Vec<String>, Vec<PeekedRow>), IntakeError> {
    let mut spans = Vec::new();
    let CsvHeader { delimiter, len, names, .. } = read_header(text, options, &mut spans)?;
    text.consume(len);
    let mut rows = Vec::new();
    let mut scratch = <[String; 2]>::default();
    while rows.len() < rows_max
        && let Ok(Some(len)) = next(text, delimiter, &mut spans)
    {
        let line = text.line();
        let Ok(record) = text.text(len) else { break };
        if !blank(record, delimiter) {
            let cell = |span: &CellSpan| shortened(cell_of(span.of(record), &mut scratch));
            let mut cells: Vec<String> = spans.iter().take(names.len()).map(cell).collect();
            cells.resize(names.len(), String::new());
            rows.push(PeekedRow { line, cells });
        }
        text.consume(len);
    }
    Ok((FileFormat::Csv { delimiter }, names, rows))
}

/// Whether a record says nothing: spreadsheets leave lines of delimiters.
pub(super) fn blank(record: &str, delimiter: u8) -> bool {
    record.bytes().all(|byte| byte == delimiter || b" \t\r\n".contains(&byte))
}

pub(super) fn extract(
    text: &mut SourceText<'_>,
    options: &ReadOptions,
    out: &mut Extract<'_>,
) -> Result<(), IntakeError> {
    let mut spans = Vec::new();
    let CsvHeader { delimiter, said, len, .. } = read_header(text, options, &mut spans)?;
    if said {
        out.write(&[b"sep=", &[delimiter][..], b"\n"].concat())?;
    }
    out.write_line(text.text(len)?.as_bytes())?;
    text.consume(len);
    while !out.done()
        && let Some(len) = next(text, delimiter, &mut spans)?
    {
        if out.wants(text.line()) {
            out.write_line(text.text(len)?.as_bytes())?;
        }
        text.consume(len);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All records of a complete text, blank lines left out.
    fn records(bytes: &[u8], delimiter: u8) -> Option<Vec<Vec<String>>> {
        let mut spans = Vec::new();
        let mut records = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let Some(Split::Record(len)) = split(rest, true, delimiter, &mut spans) else {
                return None;
            };
            let record = std::str::from_utf8(&rest[..len]).expect("generated as text");
            let cell = |span: &CellSpan| unquote(span.of(record), &mut String::new()).to_owned();
            if !record.trim_end_matches(['\r', '\n']).is_empty() {
                records.push(spans.iter().map(cell).collect());
            }
            rest = &rest[len..];
        }
        Some(records)
    }

    #[track_caller]
    fn check(text: &str, expected: &[&[&str]]) {
        assert_eq!(records(text.as_bytes(), b',').expect("closed quotes"), expected, "input: {text:?}");
    }

    #[test]
    fn a_line_may_say_what_divides_cells() {
        for (line, expected) in [
            ("sep=;\r\n", Some(b';')),
            ("SEP=,", Some(b',')),
            ("sep=\t\n", Some(b'\t')),
            ("sep=\\t", Some(b'\t')),
            ("sep=|", Some(b'|')),
            ("\"sep=;\"\n", Some(b';')),
            ("sep=;;;;\n", Some(b';')),
            ("sep=", None),
            ("sep=a", None),
            ("sep=;a", None),
            ("sep;number", None),
            ("se", None),
            ("é=;", None),
        ] {
            assert_eq!(separator(line), expected, "{line:?}");
        }
    }

    #[test]
    fn quotes_hold_delimiters_lines_and_quotes() {
        check("a,b\nc,d", &[&["a", "b"], &["c", "d"]]);
        check("a,b\r\n,\r\n", &[&["a", "b"], &["", ""]]);
        check("\"a,b\",\"c\nd\"\ne,f\n", &[&["a,b", "c\nd"], &["e", "f"]]);
        check("\"a\"\"b\",\"\"\r\n", &[&["a\"b", ""]]);
        check("a\"b,\"c\"d\n", &[&["a\"b", "cd"]]);
        check("\"\"\"\"\"\"", &[&["\"\""]]);
        assert_eq!(records(b"a,\"b\nc,d\n", b','), None);
    }

    proptest! {
        /// The `csv` crate is the oracle. It also ends lines at a lone
        /// carriage return, and accepts a quote that is never closed.
        #[test]
        fn splits_as_the_csv_crate_does(text in "[a,;\"\n é]{0,40}") {
            let Some(ours) = records(text.as_bytes(), b',') else {
                return Ok(());
            };
            let mut reader = ::csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
            let theirs: Vec<Vec<String>> =
                reader.records().map(|record| record.expect("text").iter().map(str::to_owned).collect()).collect();
            prop_assert_eq!(ours, theirs);
        }

        #[test]
        fn a_record_in_pieces_is_found_once_it_is_whole(text in "[a,\"\n\r]{0,30}") {
            let mut whole = Vec::new();
            let mut part = Vec::new();
            if let Some(Split::Record(len)) = split(text.as_bytes(), true, b',', &mut whole) {
                for cut in 0..text.len() {
                    if let Some(Split::Record(found)) = split(&text.as_bytes()[..cut], false, b',', &mut part) {
                        prop_assert_eq!(found, len);
                    }
                }
            }
        }
    }
}
