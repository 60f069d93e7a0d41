//! The first sheet of a spreadsheet program's own file (`.xlsx`), row by row.
//!
//! A cell is what its program says it is: text, a number, a day. What a program
//! shows of a number is not in the file, but for one thing: a format with an
//! exponent is how digits get lost, so such a number is refused. Refused are also
//! formulas without a result and the cells below a merged one, since both look
//! empty and are not meant so.
//!
//! The archive and its XML are read by `zip` and `quick-xml`; what the elements
//! mean is read here, in one pass. Calamine, the usual reader, reserves as much
//! memory as a file asks for, and a formula without a result is empty to it.
//!
//! Always holds: memory is bounded. An element has at most [`RECORD_BYTES_MAX`]
//! bytes, the table of texts [`STRINGS_BYTES_MAX`], and the sheet is a stream.
//! The archive itself lies in a temporary file.
//! Deliberately absent: other sheets, styles but for number formats, formulas.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::ControlFlow;
use std::rc::Rc;

use jiff::ToSpan;
use jiff::civil::{DateTime, date};
use memchr::memmem;
use quick_xml::escape::{resolve_predefined_entity, unescape};
use quick_xml::events::{BytesRef, BytesStart, Event};
use zip::ZipArchive;
use zip::read::ZipFile;
use zip::result::ZipError;

use super::value::CellFault;
use super::{COLUMNS_MAX, IntakeError, RECORD_BYTES_MAX, SHEET_BYTES_MAX, SHEET_PACKED_BYTES_MAX, SHEET_ROWS_MAX};

/// The most bytes of the texts that cells share.
const STRINGS_BYTES_MAX: u64 = 256 << 20;

/// The most bytes of a part that says how the others are to be read.
const PART_BYTES_MAX: u64 = 16 << 20;

/// The most merged cells in a sheet.
const MERGED_MAX: usize = 10_000;

/// The decimal digits that a spreadsheet keeps of a number.
const DIGITS_KEPT: f64 = 1e15;

const NO_RESULT: CellFault = CellFault::Fixed(
    "is a formula without a result; open the file in a spreadsheet program, save it, and give it again",
);
const MERGED: CellFault = CellFault::Fixed("is part of a merged cell; unmerge it and write the value in each row");
const EXPONENT: CellFault = CellFault::Fixed(
    "is in scientific notation, which hides lost digits; format the column as text and enter the value again",
);
const DIGITS_LOST: CellFault = CellFault::Fixed(
    "is a number of more than 15 digits, of which a spreadsheet loses the rest; format the column as text and enter the value again",
);
const ERROR: CellFault =
    CellFault::Fixed("is an error of the spreadsheet; correct the formula, or leave the cell empty");

/// A row of the sheet. Cells that the file does not have are empty text.
#[derive(Default)]
pub(super) struct SheetRow {
    /// The row's number in the sheet, from 1.
    pub line: u64,
    pub cells: Vec<SheetCell>,
}

#[derive(Default)]
pub(super) struct SheetCell {
    /// What the cell says, as one would write it in CSV.
    pub text: String,
    pub kind: CellKind,
}

#[derive(Clone, Default, PartialEq, Debug)]
pub(super) enum CellKind {
    #[default]
    Text,
    Number,
    Bool(bool),
    /// A day with a time of day. A spreadsheet knows no zones.
    Moment(DateTime),
    /// The cell cannot be used, whatever its column means.
    Refused(CellFault),
}

impl SheetCell {
    pub fn is_blank(&self) -> bool {
        self.text.trim().is_empty() && !matches!(self.kind, CellKind::Refused(_))
    }
}

/// What a number format makes of a number.
#[derive(Clone, Copy, PartialEq, Debug)]
enum NumberFormat {
    Plain,
    Exponent,
    Day,
}

/// The texts that cells share, one after the other.
#[derive(Default)]
struct SharedTexts {
    text: String,
    ends: Vec<u32>,
}

impl SharedTexts {
    fn get(&self, at: usize) -> Option<&str> {
        let end = *self.ends.get(at)? as usize;
        let start = if at == 0 { 0 } else { *self.ends.get(at - 1)? as usize };
        self.text.get(start..end)
    }
}

/// Cells that are merged into their first; rows and columns from 0, inclusive.
#[derive(Clone, Copy, Debug)]
struct Merged {
    first: (u32, u32),
    last: (u32, u32),
}

pub(super) struct Workbook {
    archive: ZipArchive<BufReader<File>>,
    /// Bytes of the archive.
    bytes: u64,
    texts: SharedTexts,
    /// By the number that cells have of their style.
    formats: Vec<NumberFormat>,
    /// The path of the first sheet.
    sheet: String,
    since_1904: bool,
}

impl Workbook {
    /// Opens an archive; it is refused if it is no workbook.
    pub fn open(source: impl Read) -> Result<Workbook, IntakeError> {
        let failed = |source| IntakeError::Read { source };
        let mut file = tempfile::tempfile().map_err(failed)?;
        let bytes = io::copy(&mut source.take(SHEET_PACKED_BYTES_MAX + 1), &mut file).map_err(failed)?;
        if bytes > SHEET_PACKED_BYTES_MAX {
            return Err(IntakeError::SheetLarge);
        }
        let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|_| IntakeError::Foreign {
            kind: "a zip archive or a spreadsheet, and damaged or cut off",
            advice: "fetch or save it again",
        })?;
        let workbook = relation(&mut archive, "_rels/.rels", |_, kind| kind.ends_with("/officeDocument"))?
            .unwrap_or_else(|| "xl/workbook.xml".to_owned());
        let workbook = workbook.trim_start_matches('/').to_owned();
        if archive.index_for_name(&workbook).is_none() || !workbook.ends_with(".xml") || workbook.starts_with("word/") {
            return Err(foreign(&mut archive));
        }
        let folder = workbook.rfind('/').map_or("", |at| &workbook[..=at]).to_owned();
        let (id, since_1904) = first_sheet(&mut archive, &workbook)?;
        let relations = format!("{folder}_rels/{}.rels", &workbook[folder.len()..]);
        let target = relation(&mut archive, &relations, |found, _| found == id)?
            .ok_or_else(|| damaged("its first sheet is nowhere in the file"))?;
        let sheet = match target.strip_prefix('/') {
            Some(path) => path.to_owned(),
            None => format!("{folder}{target}"),
        };
        let texts = shared_texts(&mut archive, &format!("{folder}sharedStrings.xml"))?;
        let formats = number_formats(&mut archive, &format!("{folder}styles.xml"))?;
        Ok(Workbook { archive, bytes, texts, formats, sheet, since_1904 })
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Hands over the rows that have cells, in their order, until `each` breaks.
    pub fn rows(
        &mut self,
        each: &mut dyn FnMut(&SheetRow) -> Result<ControlFlow<()>, IntakeError>,
    ) -> Result<(), IntakeError> {
        let mut covers = Covers { all: merged_cells(&mut self.archive, &self.sheet)?, active: Vec::new() };
        let Workbook { archive, texts, formats, sheet, since_1904, .. } = self;
        let cells = CellReader { texts, formats, since_1904: *since_1904 };
        let mut part =
            part(archive, sheet, SHEET_BYTES_MAX)?.ok_or_else(|| damaged("its first sheet is nowhere in the file"))?;
        let mut row = SheetRow::default();
        let mut place = CellPosition { row: 0, column: 0 };
        let mut bytes = 0;
        loop {
            match part.next()? {
                Event::Start(start) => match start.local_name().as_ref() {
                    "row" => {
                        place = CellPosition { row: place.row + 1, column: 0 };
                        if let Some(number) = attribute(&start, "r")? {
                            place.row = row_number(&number)?;
                        }
                        if place.row <= row.line {
                            return Err(damaged("its rows are not in order"));
                        }
                        if place.row > SHEET_ROWS_MAX {
                            return Err(damaged("it has more rows than a spreadsheet can have"));
                        }
                        row.line = place.row;
                        row.cells.clear();
                        bytes = 0;
                    }
                    "c" if row.line > 0 => {
                        let head = CellHead::of(&start)?;
                        let cell = cells.read(&mut part, &head)?;
                        let column = head.column.unwrap_or(place.column);
                        place.column = column + 1;
                        bytes += cell.text.len();
                        if bytes > RECORD_BYTES_MAX {
                            return Err(IntakeError::RecordLong { line: row.line });
                        }
                        put(&mut row, column, cell)?;
                    }
                    _ => {}
                },
                Event::End(end) => match end.local_name().as_ref() {
                    "row" => {
                        covers.apply(&mut row);
                        if each(&row)?.is_break() {
                            return Ok(());
                        }
                    }
                    "sheetData" => return Ok(()),
                    _ => {}
                },
                Event::Eof => return Err(damaged("its first sheet is cut off")),
                _ => {}
            }
        }
    }
}

struct CellPosition {
    row: u64,
    column: usize,
}

fn put(row: &mut SheetRow, column: usize, cell: SheetCell) -> Result<(), IntakeError> {
    if cell.is_blank() {
        return Ok(());
    }
    if column >= COLUMNS_MAX {
        return Err(IntakeError::ColumnsMany);
    }
    if row.cells.len() <= column {
        row.cells.resize_with(column + 1, SheetCell::default);
    }
    row.cells[column] = cell;
    Ok(())
}

/// What cells mean by the other parts of the workbook.
struct CellReader<'a> {
    texts: &'a SharedTexts,
    formats: &'a [NumberFormat],
    since_1904: bool,
}

/// What a cell's element says of it before its value.
#[derive(Default)]
struct CellHead {
    /// None if it is the one after the cell before.
    column: Option<usize>,
    kind: String,
    style: usize,
}

impl CellHead {
    fn of(start: &BytesStart<'_>) -> Result<CellHead, IntakeError> {
        let mut head = CellHead::default();
        for attribute in start.attributes().with_checks(false) {
            let attribute = attribute.map_err(|_| damaged("its XML is damaged"))?;
            match attribute.key.as_ref() {
                "r" => head.column = Some(reference_of(&attribute.value)?.1 as usize),
                "t" => head.kind.push_str(&attribute.value),
                "s" => head.style = attribute.value.parse().unwrap_or(0),
                _ => {}
            }
        }
        Ok(head)
    }
}

impl CellReader<'_> {
    /// Reads the cell whose element has just begun.
    fn read(&self, part: &mut ArchivePart<'_>, head: &CellHead) -> Result<SheetCell, IntakeError> {
        let (mut value, mut text) = (None, String::new());
        let mut formula = false;
        loop {
            match part.next()? {
                Event::Start(start) => match start.local_name().as_ref() {
                    "f" => formula = true,
                    "v" => value = Some(part.text_until("v")?),
                    "t" => text.push_str(&part.text_until("t")?),
                    "rPh" => drop(part.text_until("rPh")?),
                    _ => {}
                },
                Event::End(end) if end.local_name().as_ref() == "c" => break,
                Event::Eof => return Err(damaged("its first sheet is cut off")),
                _ => {}
            }
            if text.len() > RECORD_BYTES_MAX {
                return Err(IntakeError::SheetLarge);
            }
        }
        let kind = head.kind.as_str();
        let format = self.formats.get(head.style).copied().unwrap_or(NumberFormat::Plain);
        if kind == "inlineStr" {
            return Ok(SheetCell { text: unescaped(text), kind: CellKind::Text });
        }
        let empty = value.as_ref().is_none_or(|value| value.trim().is_empty());
        if formula && empty && kind != "str" {
            return Ok(SheetCell { text: String::new(), kind: CellKind::Refused(NO_RESULT) });
        }
        let value = value.unwrap_or_default();
        Ok(match kind {
            _ if empty => SheetCell::default(),
            "s" => {
                let text = value.trim().parse().ok().and_then(|at| self.texts.get(at));
                let text = text.ok_or_else(|| damaged("a cell has a text that is not in the file"))?;
                SheetCell { text: text.to_owned(), kind: CellKind::Text }
            }
            "str" | "d" => SheetCell { text: unescaped(value), kind: CellKind::Text },
            "b" => {
                let so = matches!(value.trim(), "1" | "true");
                SheetCell { text: if so { "TRUE" } else { "FALSE" }.to_owned(), kind: CellKind::Bool(so) }
            }
            "e" => SheetCell { text: value, kind: CellKind::Refused(ERROR) },
            "" | "n" => number_cell(&value, format, self.since_1904)?,
            _ => return Err(damaged("a cell is of a kind that is not known")),
        })
    }
}

/// A number as its format means it.
fn number_cell(value: &str, format: NumberFormat, since_1904: bool) -> Result<SheetCell, IntakeError> {
    let number: f64 = value.trim().parse().map_err(|_| damaged("a cell has a number that is none"))?;
    if !number.is_finite() {
        return Err(damaged("a cell has a number that is none"));
    }
    if format == NumberFormat::Exponent {
        return Ok(SheetCell { text: format!("{number:E}"), kind: CellKind::Refused(EXPONENT) });
    }
    if format == NumberFormat::Day
        && let Some(moment) = moment(number, since_1904)
    {
        let midnight = moment.time() == jiff::civil::Time::midnight();
        return Ok(match midnight {
            true => SheetCell { text: moment.date().to_string(), kind: CellKind::Text },
            false => SheetCell { text: moment.to_string(), kind: CellKind::Moment(moment) },
        });
    }
    if number.abs() >= DIGITS_KEPT {
        return Ok(SheetCell { text: format!("{number:E}"), kind: CellKind::Refused(DIGITS_LOST) });
    }
    // As many digits as a spreadsheet shows: 0.1 + 0.2 is 0.3 there.
    let rounded = format!("{number:.14e}").parse().unwrap_or(number);
    let text = if rounded == 0.0 { "0".to_owned() } else { rounded.to_string() };
    Ok(SheetCell { text, kind: CellKind::Number })
}

/// The moment of a serial number of days, to the second.
fn moment(serial: f64, since_1904: bool) -> Option<DateTime> {
    const LAST: f64 = 2_958_466.0;
    if !(1.0..LAST).contains(&serial) {
        return None;
    }
    // A spreadsheet believes that there was a 29 February 1900, its day 60.
    let epoch = match since_1904 {
        true => date(1904, 1, 1),
        false if serial < 60.0 => date(1899, 12, 31),
        false => date(1899, 12, 30),
    };
    let seconds = (serial * 86_400.0).round() as i64;
    let day = epoch.checked_add((seconds / 86_400).days()).ok()?;
    day.to_datetime(jiff::civil::Time::midnight()).checked_add((seconds % 86_400).seconds()).ok()
}

/// Which merged cells reach into the current row.
struct Covers {
    /// By their first row, the last of them first.
    all: Vec<Merged>,
    active: Vec<Merged>,
}

impl Covers {
    /// Refuses the cells of a row that are not the first of their merged cell.
    fn apply(&mut self, row: &mut SheetRow) {
        if self.all.is_empty() && self.active.is_empty() {
            return;
        }
        let at = (row.line - 1) as u32;
        while let Some(merged) = self.all.pop_if(|merged| merged.first.0 <= at) {
            self.active.push(merged);
        }
        self.active.retain(|merged| merged.last.0 >= at);
        if row.cells.iter().all(SheetCell::is_blank) {
            return;
        }
        for merged in &self.active {
            for column in merged.first.1..=merged.last.1.min(COLUMNS_MAX as u32 - 1) {
                if (at, column) == merged.first {
                    continue;
                }
                let column = column as usize;
                if row.cells.len() <= column {
                    row.cells.resize_with(column + 1, SheetCell::default);
                }
                if row.cells[column].is_blank() {
                    row.cells[column].kind = CellKind::Refused(MERGED);
                }
            }
        }
    }
}

/// The merged cells of a sheet, which stand after its rows.
fn merged_cells(archive: &mut ZipArchive<BufReader<File>>, path: &str) -> Result<Vec<Merged>, IntakeError> {
    if !mentions(archive, path, b"mergeCell")? {
        return Ok(Vec::new());
    }
    let mut all = Vec::new();
    let Some(mut part) = part(archive, path, SHEET_BYTES_MAX)? else { return Ok(all) };
    loop {
        match part.next()? {
            Event::Start(start) if start.local_name().as_ref() == "mergeCell" => {
                let reference = attribute(&start, "ref")?.unwrap_or_default();
                let (first, last) = reference.split_once(':').unwrap_or((&reference, &reference));
                all.push(Merged { first: reference_of(first)?, last: reference_of(last)? });
                if all.len() > MERGED_MAX {
                    return Err(damaged("it has more than 10,000 merged cells"));
                }
            }
            Event::Eof => break,
            _ => {}
        }
    }
    all.sort_by_key(|merged| std::cmp::Reverse(merged.first.0));
    Ok(all)
}

/// Whether a part has these bytes anywhere.
fn mentions(archive: &mut ZipArchive<BufReader<File>>, path: &str, wanted: &[u8]) -> Result<bool, IntakeError> {
    let Some(file) = file(archive, path)? else { return Ok(false) };
    let mut file = file.take(SHEET_BYTES_MAX);
    let mut window = vec![0; 64 << 10];
    let mut kept = 0;
    loop {
        let read = file.read(&mut window[kept..]).map_err(|_| damaged("its archive is damaged"))?;
        if read == 0 {
            return Ok(false);
        }
        let end = kept + read;
        if memmem::find(&window[..end], wanted).is_some() {
            return Ok(true);
        }
        kept = end.min(wanted.len() - 1);
        window.copy_within(end - kept..end, 0);
    }
}

/// The relationship that `wanted` says, by its id and its kind: where it leads.
fn relation(
    archive: &mut ZipArchive<BufReader<File>>,
    path: &str,
    wanted: impl Fn(&str, &str) -> bool,
) -> Result<Option<String>, IntakeError> {
    let Some(mut part) = part(archive, path, PART_BYTES_MAX)? else { return Ok(None) };
    loop {
        match part.next()? {
            Event::Start(start) if start.local_name().as_ref() == "Relationship" => {
                let id = attribute(&start, "Id")?.unwrap_or_default();
                let kind = attribute(&start, "Type")?.unwrap_or_default();
                if wanted(&id, &kind) {
                    return attribute(&start, "Target");
                }
            }
            Event::Eof => return Ok(None),
            _ => {}
        }
    }
}

/// The relationship of the first sheet, and which day is the workbook's first.
fn first_sheet(archive: &mut ZipArchive<BufReader<File>>, path: &str) -> Result<(String, bool), IntakeError> {
    let mut part = part(archive, path, PART_BYTES_MAX)?.ok_or_else(|| damaged("it has no workbook"))?;
    let mut since_1904 = false;
    loop {
        match part.next()? {
            Event::Start(start) if start.local_name().as_ref() == "workbookPr" => {
                if let Some(date1904) = attribute(&start, "date1904")? {
                    since_1904 = matches!(date1904.as_str(), "1" | "true");
                }
            }
            Event::Start(start) if start.local_name().as_ref() == "sheet" => {
                if attribute(&start, "state")?.is_some_and(|state| state != "visible") {
                    let name = attribute(&start, "name")?.unwrap_or_default();
                    return Err(IntakeError::SheetHidden { name });
                }
                let id = attribute(&start, "id")?.ok_or_else(|| damaged("its first sheet is nowhere in the file"))?;
                return Ok((id, since_1904));
            }
            Event::Eof => return Err(damaged("it has no sheet")),
            _ => {}
        }
    }
}

fn shared_texts(archive: &mut ZipArchive<BufReader<File>>, path: &str) -> Result<SharedTexts, IntakeError> {
    let mut texts = SharedTexts::default();
    let Some(mut part) = part(archive, path, STRINGS_BYTES_MAX)? else { return Ok(texts) };
    let mut text = String::new();
    loop {
        match part.next()? {
            Event::Start(start) => match start.local_name().as_ref() {
                "si" => text.clear(),
                // How a text is pronounced is no part of it.
                "rPh" => drop(part.text_until("rPh")?),
                "t" => text.push_str(&part.text_until("t")?),
                _ => {}
            },
            Event::End(end) if end.local_name().as_ref() == "si" => {
                texts.text.push_str(&unescaped(std::mem::take(&mut text)));
                texts.ends.push(texts.text.len() as u32);
            }
            Event::Eof => return Ok(texts),
            _ => {}
        }
    }
}

fn number_formats(archive: &mut ZipArchive<BufReader<File>>, path: &str) -> Result<Vec<NumberFormat>, IntakeError> {
    let mut formats = Vec::new();
    let Some(mut part) = part(archive, path, PART_BYTES_MAX)? else { return Ok(formats) };
    let mut custom: HashMap<u32, NumberFormat> = HashMap::new();
    let mut within = false;
    loop {
        match part.next()? {
            Event::Start(start) => match start.local_name().as_ref() {
                "numFmt" => {
                    let id = attribute(&start, "numFmtId")?.and_then(|id| id.parse().ok());
                    if let (Some(id), Some(code)) = (id, attribute(&start, "formatCode")?) {
                        custom.insert(id, format_of(&code));
                    }
                }
                "cellXfs" => within = true,
                "xf" if within => {
                    let id: u32 = attribute(&start, "numFmtId")?.and_then(|id| id.parse().ok()).unwrap_or(0);
                    formats.push(custom.get(&id).copied().unwrap_or_else(|| built_in(id)));
                }
                _ => {}
            },
            Event::End(end) if end.local_name().as_ref() == "cellXfs" => within = false,
            Event::Eof => return Ok(formats),
            _ => {}
        }
    }
}

/// The formats that every spreadsheet program has (ECMA-376, 18.8.30).
fn built_in(id: u32) -> NumberFormat {
    match id {
        11 | 48 => NumberFormat::Exponent,
        14..=22 | 27..=36 | 45 | 47 | 50..=58 => NumberFormat::Day,
        _ => NumberFormat::Plain,
    }
}

/// What a format's code makes of positive numbers.
fn format_of(code: &str) -> NumberFormat {
    let mut rest = code.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            ';' => break,
            '"' => drop(rest.by_ref().find(|&c| c == '"')),
            // A literal, a space as wide as a character, or a filling.
            '\\' | '_' | '*' => drop(rest.next()),
            // A colour, a condition, or hours beyond 24, which are no time of day.
            '[' => {
                let within: String = rest.by_ref().take_while(|&c| c != ']').collect();
                if !within.is_empty() && within.chars().all(|c| "hmsHMS".contains(c)) {
                    return NumberFormat::Plain;
                }
            }
            'E' | 'e' if rest.peek().is_some_and(|next| "+-".contains(*next)) => return NumberFormat::Exponent,
            'd' | 'm' | 'y' | 'h' | 's' | 'D' | 'M' | 'Y' | 'H' | 'S' => return NumberFormat::Day,
            _ => {}
        }
    }
    NumberFormat::Plain
}

/// A part of the archive, event by event.
struct ArchivePart<'a> {
    xml: quick_xml::Reader<BufReader<Bounded<ZipFile<'a, BufReader<File>>>>>,
    buffer: Vec<u8>,
    /// What may still be read until the next event is there.
    left: Rc<Cell<u64>>,
}

impl ArchivePart<'_> {
    fn next(&mut self) -> Result<Event<'_>, IntakeError> {
        self.buffer.clear();
        self.left.set(RECORD_BYTES_MAX as u64);
        self.xml.read_event_into(&mut self.buffer).map_err(unreadable)
    }

    /// The text up to the end of the element `name`, which has just begun.
    fn text_until(&mut self, name: &str) -> Result<String, IntakeError> {
        let mut text = String::new();
        loop {
            match self.next()? {
                Event::Text(part) => text.push_str(&part.xml10_content()),
                Event::CData(part) => text.push_str(&part.xml10_content()),
                Event::GeneralRef(reference) => push_reference(&mut text, &reference)?,
                Event::End(end) if end.local_name().as_ref() == name => return Ok(text),
                Event::Eof => return Err(damaged("a part of it is cut off")),
                _ => {}
            }
            if text.len() > RECORD_BYTES_MAX {
                return Err(IntakeError::SheetLarge);
            }
        }
    }
}

fn push_reference(text: &mut String, reference: &BytesRef<'_>) -> Result<(), IntakeError> {
    if let Some(character) = reference.resolve_char_ref().map_err(unreadable)? {
        text.push(character);
        return Ok(());
    }
    let known = resolve_predefined_entity(reference).ok_or_else(|| damaged("it has an entity that is not known"))?;
    text.push_str(known);
    Ok(())
}

fn file<'a>(
    archive: &'a mut ZipArchive<BufReader<File>>,
    path: &str,
) -> Result<Option<ZipFile<'a, BufReader<File>>>, IntakeError> {
    match archive.by_name(path) {
        Ok(file) => Ok(Some(file)),
        Err(ZipError::FileNotFound) => Ok(None),
        Err(_) => Err(damaged("its archive is damaged")),
    }
}

/// A part of the archive, if it is there. It has at most `bytes_max`.
fn part<'a>(
    archive: &'a mut ZipArchive<BufReader<File>>,
    path: &str,
    bytes_max: u64,
) -> Result<Option<ArchivePart<'a>>, IntakeError> {
    let Some(inner) = file(archive, path)? else { return Ok(None) };
    let left = Rc::new(Cell::new(0));
    let bounded = Bounded { inner, left: bytes_max, left_of_event: Rc::clone(&left) };
    let mut xml = quick_xml::Reader::from_reader(BufReader::with_capacity(32 << 10, bounded));
    let config = xml.config_mut();
    config.expand_empty_elements = true;
    config.check_end_names = false;
    Ok(Some(ArchivePart { xml, buffer: Vec::new(), left }))
}

/// A reader that ends in an error where a part or an element is too large.
struct Bounded<R> {
    inner: R,
    left: u64,
    left_of_event: Rc<Cell<u64>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let over = || io::Error::from(io::ErrorKind::FileTooLarge);
        self.left = self.left.checked_sub(read as u64).ok_or_else(over)?;
        if read > 0 && self.left_of_event.get() == 0 {
            return Err(over());
        }
        self.left_of_event.set(self.left_of_event.get().saturating_sub(read as u64));
        Ok(read)
    }
}

/// An attribute of an element, whatever its prefix.
fn attribute(start: &BytesStart<'_>, name: &str) -> Result<Option<String>, IntakeError> {
    for attribute in start.attributes().with_checks(false) {
        let attribute = attribute.map_err(|_| damaged("its XML is damaged"))?;
        if attribute.key.local_name().as_ref() == name {
            let value = unescape(&attribute.value).map_err(|_| damaged("its XML is damaged"))?;
            return Ok(Some(value.into_owned()));
        }
    }
    Ok(None)
}

fn row_number(text: &str) -> Result<u64, IntakeError> {
    let digits = (1..=7).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if digits { text.parse().unwrap_or(0) } else { 0 };
    if number == 0 { Err(damaged("a row has a number that is none")) } else { Ok(number) }
}

/// The row and the column of `BC12`, from 0.
fn reference_of(text: &str) -> Result<(u32, u32), IntakeError> {
    let text = text.trim_start_matches('$');
    let letters = text.bytes().take_while(u8::is_ascii_alphabetic).count();
    if !(1..=3).contains(&letters) {
        return Err(damaged("a cell is at a place that is none"));
    }
    let column = text
        .bytes()
        .take(letters)
        .fold(0, |column, byte| column * 26 + u32::from(byte.to_ascii_uppercase() - b'A') + 1);
    let row = row_number(text[letters..].trim_start_matches('$'))?;
    Ok((row as u32 - 1, column - 1))
}

/// Text without the escapes of characters that XML cannot have: `_x000D_`.
fn unescaped(text: String) -> String {
    if !text.contains("_x") {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find("_x") {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let code = rest.get(2..6).filter(|_| rest.as_bytes().get(6) == Some(&b'_'));
        let code = code.filter(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match code.and_then(|code| u32::from_str_radix(code, 16).ok()).and_then(char::from_u32) {
            Some(character) => {
                out.push(character);
                rest = &rest[7..];
            }
            None => {
                out.push_str("_x");
                rest = &rest[2..];
            }
        }
    }
    out.push_str(rest);
    out
}

fn damaged(problem: &'static str) -> IntakeError {
    IntakeError::Sheet { problem }
}

fn unreadable(error: quick_xml::Error) -> IntakeError {
    match error {
        quick_xml::Error::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => IntakeError::SheetLarge,
        quick_xml::Error::Io(_) => damaged("its archive is damaged"),
        _ => damaged("its XML is damaged"),
    }
}

/// What an archive is that is no workbook.
fn foreign(archive: &mut ZipArchive<BufReader<File>>) -> IntakeError {
    let mut kind = String::new();
    if let Ok(file) = archive.by_name("mimetype") {
        // What cannot be read is no kind that we know.
        let _ = file.take(100).read_to_string(&mut kind);
    }
    let has = |name: &str| archive.index_for_name(name).is_some();
    let (kind, advice) = if kind.contains("opendocument.spreadsheet") {
        ("an OpenDocument spreadsheet (.ods)", "save the sheet as .xlsx or as CSV")
    } else if has("xl/workbook.bin") {
        ("a binary spreadsheet (.xlsb)", "save the sheet as .xlsx or as CSV")
    } else if has("[Content_Types].xml") || kind.contains("opendocument") {
        ("a document without a sheet", "save its table as .xlsx or as CSV")
    } else {
        ("a zip archive", "unpack it first, or pack the file with gzip")
    };
    IntakeError::Foreign { kind, advice }
}
