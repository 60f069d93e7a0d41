//! Rows of a spreadsheet, read by the same rules as those of CSV.

use std::ops::ControlFlow;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::csv::check_header;
use super::rows::{ReadColumn, RowReader};
use super::value::Raw;
use super::xlsx::{CellKind, SheetCell, SheetRow, Workbook};
use super::{Extract, Field, FileFormat, FileItem, Header, IntakeError, PeekedRow, shortened};
use crate::domain::{Time, spreadsheet};

/// The columns' names, by the first row that has any.
pub(super) fn names_of(row: &SheetRow) -> Vec<String> {
    let mut names: Vec<String> = row.cells.iter().map(|cell| cell.text.trim().to_owned()).collect();
    while names.pop_if(|name| name.is_empty()).is_some() {}
    names
}

pub(super) fn is_blank(row: &SheetRow) -> bool {
    row.cells.iter().all(SheetCell::is_blank)
}

/// The letters by which spreadsheets call a column.
fn letters(mut column: usize) -> String {
    let mut letters = Vec::new();
    loop {
        letters.push(b'A' + (column % 26) as u8);
        if column < 26 {
            break;
        }
        column = column / 26 - 1;
    }
    letters.iter().rev().map(|&letter| char::from(letter)).collect()
}

/// How the rows below the header are read.
struct SheetLayout {
    names: usize,
    wanted: Vec<(usize, ReadColumn)>,
    number: Option<usize>,
}

pub(super) fn read(
    book: &mut Workbook,
    rows: &mut RowReader<'_>,
    header: &mut dyn FnMut(&Header),
    row: &mut dyn FnMut(FileItem) -> ControlFlow<()>,
) -> Result<(), IntakeError> {
    let mut columns = None;
    book.rows(&mut |sheet_row| {
        if is_blank(sheet_row) {
            return Ok(ControlFlow::Continue(()));
        }
        let Some(columns) = &columns else {
            let names = names_of(sheet_row);
            check_header(sheet_row.line, &names, rows)?;
            header(&rows.header(FileFormat::Sheet));
            columns = Some(SheetLayout {
                names: names.len(),
                wanted: (0..names.len()).filter_map(|at| Some((at, rows.takes(at)?))).collect(),
                number: (0..names.len()).find(|&at| rows.role(at).field() == Some(Field::Number)),
            });
            return Ok(ControlFlow::Continue(()));
        };
        Ok(row(item(sheet_row, columns, rows)))
    })?;
    if columns.is_none() { Err(IntakeError::Empty) } else { Ok(()) }
}

fn item(sheet_row: &SheetRow, columns: &SheetLayout, rows: &mut RowReader<'_>) -> FileItem {
    rows.begin(sheet_row.line);
    let beyond = sheet_row.cells.iter().enumerate().skip(columns.names).find(|(_, cell)| !cell.text.trim().is_empty());
    if let Some((at, cell)) = beyond {
        let message = format!("has a cell in column {}, to which the header gives no name", letters(at));
        return rows.abandon(&cell.text, message);
    }
    let empty = SheetCell::default();
    let cell_at = |at: usize| sheet_row.cells.get(at).unwrap_or(&empty);
    // As in CSV: a number with an apostrophe is from a file of ours that was
    // made for spreadsheets.
    let protected = columns.number.is_some_and(|at| cell_at(at).text.starts_with("'+"));
    for &(at, takes) in &columns.wanted {
        let SheetCell { text, kind } = cell_at(at);
        match kind {
            CellKind::Text => {
                let text = if protected { spreadsheet::unprotected(text) } else { text };
                rows.cell(takes, Raw::Text(text), text);
            }
            CellKind::Number => rows.cell(takes, Raw::Number(text), text),
            CellKind::Bool(so) => rows.cell(takes, Raw::Bool(*so), text),
            CellKind::Moment(moment) => {
                let text = time_of(*moment, &rows.options().zone);
                rows.cell(takes, Raw::Text(&text), &text);
            }
            CellKind::Refused(fault) => rows.refuse(takes, text, fault),
        }
    }
    rows.finish()
}

/// A day and a time of a spreadsheet, which knows no zones, as text with one.
/// Where a clock shows a time twice or never, text without one, to be refused.
fn time_of(moment: DateTime, zone: &TimeZone) -> String {
    let zoned = zone.to_ambiguous_zoned(moment).unambiguous();
    let time = zoned.ok().and_then(|zoned| Time::new(zoned.timestamp().as_second()));
    time.map_or_else(|| moment.to_string(), |time| time.to_string())
}

/// The header and the first rows, as they stand.
pub(super) fn peek(book: &mut Workbook, rows_max: usize) -> Result<(Vec<String>, Vec<PeekedRow>), IntakeError> {
    let mut names: Option<Vec<String>> = None;
    let mut rows = Vec::new();
    book.rows(&mut |row| {
        if is_blank(row) {
            return Ok(ControlFlow::Continue(()));
        }
        match &names {
            None => names = Some(names_of(row)),
            Some(names) => {
                let mut cells: Vec<String> =
                    row.cells.iter().take(names.len()).map(|cell| shortened(&cell.text)).collect();
                cells.resize(names.len(), String::new());
                rows.push(PeekedRow { line: row.line, cells });
            }
        }
        Ok(if rows.len() < rows_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok((names.ok_or(IntakeError::Empty)?, rows))
}

/// Writes the header and the rows that are wanted as CSV. A cell that looks empty
/// and was refused is `#N/A`, so that it is refused again.
pub(super) fn extract(book: &mut Workbook, zone: &TimeZone, out: &mut Extract<'_>) -> Result<(), IntakeError> {
    let mut columns = None;
    book.rows(&mut |row| {
        if is_blank(row) {
            return Ok(ControlFlow::Continue(()));
        }
        let header = columns.is_none();
        let count = *columns.get_or_insert_with(|| names_of(row).len());
        if header || out.wants(row.line) {
            let text = |cell: &SheetCell| match &cell.kind {
                CellKind::Refused(_) if cell.text.is_empty() => "#N/A".to_owned(),
                CellKind::Moment(moment) => time_of(*moment, zone),
                _ => cell.text.clone(),
            };
            let mut cells: Vec<String> = row.cells.iter().map(text).collect();
            cells.resize(cells.len().max(count), String::new());
            out.write_line(line_of(&cells).as_bytes())?;
        }
        Ok(if out.done() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })
}

/// A record of CSV.
fn line_of(cells: &[String]) -> String {
    let quoted = |cell: &String| match cell.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.clone(),
    };
    cells.iter().map(quoted).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_letters() {
        for (column, expected) in [(0, "A"), (25, "Z"), (26, "AA"), (51, "AZ"), (52, "BA"), (701, "ZZ"), (702, "AAA")] {
            assert_eq!(letters(column), expected);
        }
    }
}
