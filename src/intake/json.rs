//! JSON: rows as lines (NDJSON), and rows in the arrays of documents (the
//! Partner API's answers).
//!
//! A document is taken apart by a scanner that only finds where values end, so
//! that one row at a time is in memory; `serde_json` then judges each row.
//!
//! Rows may be one level down: in an answer, under a key that is usual for rows
//! or in its only array of objects, perhaps within one more object; in a row, in
//! its `attributes` (JSON:API). Deliberately absent: any other nesting.

use std::borrow::Cow;
use std::fmt;
use std::ops::ControlFlow;

use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::columns;
use super::csv::line_len;
use super::field::folded;
use super::rows::RowReader;
use super::source::SourceText;
use super::value::Raw;
use super::{DEPTH_MAX, Extract, FileFormat, FileItem, HEAD_BYTES, Header, IntakeError};
use crate::domain::shown::quoted;

/// Under which keys answers have their rows, whatever these are: the Partner
/// API's in its two dialects, and those of other products.
const ROWS: [&str; 10] = [
    "data",
    "items",
    "objects",
    "incomingphonenumbers",
    "numbers",
    "phonenumbers",
    "telephonenumbers",
    "dids",
    "results",
    "records",
];

/// Under which keys answers have another object, with the rows in it.
const WRAPPERS: [&str; 6] = ["data", "result", "results", "response", "body", "embedded"];

/// Arrays of objects in answers that are never the rows.
const BESIDE: [&str; 5] = ["included", "errors", "links", "meta", "warnings"];

/// Members of a row beside its `attributes` that say nothing of the number, by
/// the conventions of JSON:API.
const ENVELOPE: [&str; 5] = ["id", "type", "links", "meta", "relationships"];

/// What a member of an answer is, by its key and the beginning of its value.
enum Member {
    /// The array of rows. `sure` if the key says so, not only the value.
    Rows {
        sure: bool,
    },
    /// An object that holds the rows.
    Wrapper,
    /// The only row.
    Row,
    Beside,
}

fn member_of(key: &str, value: &[u8], outermost: bool) -> Member {
    let key = folded(key);
    let known = |keys: &[&str]| keys.contains(&key.as_str());
    match value.first() {
        Some(b'[') if known(&ROWS) => Member::Rows { sure: true },
        Some(b'[') if !known(&BESIDE) && first_byte(&value[1..]) == Some(b'{') => Member::Rows { sure: false },
        Some(b'{') if outermost && known(&WRAPPERS) && holds(value, false) => Member::Wrapper,
        Some(b'{') if outermost && key == "data" && is_row(value) => Member::Row,
        _ => Member::Beside,
    }
}

fn first_byte(bytes: &[u8]) -> Option<u8> {
    bytes.iter().copied().find(|byte| !byte.is_ascii_whitespace())
}

/// Whether a text that begins with `{` is an answer with rows, and no row itself.
/// Looks at the beginning only, so it must bear text that is cut off, or no JSON
/// at all.
pub(super) fn holds_rows(head: &[u8]) -> bool {
    holds(head, true)
}

fn holds(head: &[u8], outermost: bool) -> bool {
    let mut found = false;
    for (key, value) in (ObjectMembers { bytes: head, at: 0 }) {
        match member_of(key, value, outermost) {
            Member::Rows { sure: true } if matches!(key, "data" | "items") => return true,
            Member::Rows { .. } | Member::Wrapper | Member::Row => found = true,
            Member::Beside if names_a_number(key, value) => return false,
            Member::Beside => {}
        }
    }
    found
}

/// Whether an object is a row: it has a number, or attributes that may have one.
fn is_row(head: &[u8]) -> bool {
    ObjectMembers { bytes: head, at: 0 }.any(|(key, value)| is_attributes(key, value) || names_a_number(key, value))
}

fn names_a_number(key: &str, value: &[u8]) -> bool {
    let scalar = value.first().is_some_and(|&byte| byte == b'"' || byte.is_ascii_digit());
    scalar && columns::is_number(key)
}

fn is_attributes(key: &str, value: &[u8]) -> bool {
    key == "attributes" && value.first() == Some(&b'{')
}

/// The members of the object at the start, as far as it goes: each key, as it is
/// written, and the text from its value on.
struct ObjectMembers<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for ObjectMembers<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.bytes;
        let skip = |at: usize| {
            at + bytes.get(at..).map_or(0, |rest| rest.iter().take_while(|b| b" \t\r\n".contains(b)).count())
        };
        let opens = if self.at == 0 { b'{' } else { b',' };
        let at = skip(self.at);
        if bytes.get(at) != Some(&opens) {
            return None;
        }
        let at = skip(at + 1);
        if bytes.get(at) != Some(&b'"') {
            return None;
        }
        let len = string_len(&bytes[at..])?;
        let key = std::str::from_utf8(&bytes[at + 1..at + len - 1]).ok()?;
        let at = skip(at + len);
        if bytes.get(at) != Some(&b':') {
            return None;
        }
        let value = bytes.get(skip(at + 1)..)?;
        self.at = match value_len(value, false) {
            Some(ValueEnd::Ends(len)) => bytes.len() - value.len() + len,
            // Cut off, or too deep: there is nothing behind it to be seen.
            Some(ValueEnd::TooDeep) | None => bytes.len(),
        };
        Some((key, value))
    }
}

/// The length of the string at the start, quotes included, if it ends.
fn string_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// What [`value_len`] found.
enum ValueEnd {
    Ends(usize),
    TooDeep,
}

/// The length of the value at the start, valid or not. None if it goes on.
fn value_len(bytes: &[u8], last: bool) -> Option<ValueEnd> {
    let goes_on = if last { Some(ValueEnd::Ends(bytes.len())) } else { None };
    let mut depth = 0;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                let Some(len) = string_len(&bytes[at..]) else {
                    return goes_on;
                };
                at += len;
                if depth == 0 {
                    return Some(ValueEnd::Ends(at));
                }
                continue;
            }
            b'{' | b'[' => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Some(ValueEnd::TooDeep);
                }
            }
            b'}' | b']' if depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    return Some(ValueEnd::Ends(at + 1));
                }
            }
            b'}' | b']' | b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => return Some(ValueEnd::Ends(at)),
            _ => {}
        }
        at += 1;
    }
    goes_on
}

/// Why a row is no row.
enum RowFailure {
    /// Valid JSON, but no object.
    NoObject,
    /// Not JSON, at this line and column of the row.
    Syntax {
        line: usize,
        column: usize,
        problem: String,
    },
    File(IntakeError),
}

/// Reads a row's cells.
fn row_cells(text: &str, rows: &mut RowReader<'_>) -> Result<(), RowFailure> {
    let mut failure = None;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let object = RowVisitor { rows, failure: &mut failure, guess: &mut 0, enveloped: is_enveloped(text) };
    let outcome = (&mut deserializer).deserialize_map(object).and_then(|()| deserializer.end());
    match (failure, outcome) {
        (Some(error), _) => Err(RowFailure::File(error)),
        (None, Ok(())) => Ok(()),
        (None, Err(error)) => Err(match error.classify() {
            serde_json::error::Category::Data => RowFailure::NoObject,
            _ => {
                let (line, column) = (error.line(), error.column());
                RowFailure::Syntax { line, column, problem: problem(&error) }
            }
        }),
    }
}

/// The error's words without its place, which is the row's and not the file's.
pub(super) fn problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

/// The members of a row, those of its `attributes` among them, if it is an object.
pub(super) fn members(text: &str) -> Option<serde_json::Map<String, serde_json::Value>> {
    let mut row: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).ok()?;
    match row.remove("attributes") {
        Some(serde_json::Value::Object(attributes)) => {
            row.retain(|key, _| !ENVELOPE.contains(&key.as_str()));
            row.extend(attributes);
        }
        Some(other) => {
            row.insert("attributes".to_owned(), other);
        }
        None => {}
    }
    Some(row)
}

/// Finds out by the first row whose export the file is, and what its keys are.
fn recognise(text: &str, rows: &mut RowReader<'_>) -> Result<(), IntakeError> {
    match members(text) {
        Some(row) => rows.recognise(&row.keys().map(String::as_str).collect::<Vec<_>>()),
        None => Ok(()),
    }
}

/// Whether a row is in an envelope: it has an object of attributes.
fn is_enveloped(text: &str) -> bool {
    text.contains("\"attributes\"")
        && ObjectMembers { bytes: text.as_bytes(), at: 0 }.any(|(key, value)| is_attributes(key, value))
}

struct RowVisitor<'r, 'a> {
    rows: &'r mut RowReader<'a>,
    failure: &'r mut Option<IntakeError>,
    /// Where the next key's column is, if this row is like the row before.
    guess: &'r mut usize,
    /// Whether the members that matter are in the member `attributes`.
    enveloped: bool,
}

#[derive(serde::Deserialize)]
struct MemberKey<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Visitor<'de> for RowVisitor<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(mut self, mut map: M) -> Result<(), M::Error> {
        while let Some(MemberKey(key)) = map.next_key()? {
            let value: &RawValue = map.next_value()?;
            if self.enveloped && ENVELOPE.contains(&&*key) {
                continue;
            }
            if self.enveloped && is_attributes(&key, value.get().as_bytes()) {
                let RowVisitor { rows, failure, guess, .. } = &mut self;
                let inner = RowVisitor { rows, failure, guess, enveloped: false };
                let mut deserializer = serde_json::Deserializer::from_str(value.get());
                (&mut deserializer).deserialize_map(inner).map_err(serde::de::Error::custom)?;
                continue;
            }
            let (column, takes) = match self.rows.key(&key, *self.guess) {
                Ok(found) => found,
                Err(error) => {
                    *self.failure = Some(error);
                    return Err(serde::de::Error::custom("the file cannot be used"));
                }
            };
            *self.guess = column + 1;
            let Some(takes) = takes else {
                continue;
            };
            let text = value.get();
            let unescaped;
            let raw = match text.as_bytes()[0] {
                b'"' if !text.contains('\\') => Raw::Text(&text[1..text.len() - 1]),
                b'"' => match serde_json::from_str::<String>(text) {
                    Ok(string) => {
                        unescaped = string;
                        Raw::Text(&unescaped)
                    }
                    Err(_) => Raw::Broken,
                },
                b'n' => Raw::Null,
                first @ (b't' | b'f') => Raw::Bool(first == b't'),
                b'[' => Raw::List(text),
                b'{' => Raw::Object,
                _ => Raw::Number(text),
            };
            self.rows.cell(takes, raw, text);
        }
        Ok(())
    }
}

const NO_OBJECT: &str = "must be a JSON object, such as {\"number\": \"+912271264217\"}";

pub(super) fn read_lines(
    text: &mut SourceText<'_>,
    rows: &mut RowReader<'_>,
    header: &mut dyn FnMut(&Header),
    row: &mut dyn FnMut(FileItem) -> ControlFlow<()>,
) -> Result<(), IntakeError> {
    header(&rows.header(FileFormat::Ndjson));
    while let Some(len) = text.scan(line_len)? {
        let line = text.line();
        let record = text.text(len)?.trim();
        if record.is_empty() {
            text.consume(len);
            continue;
        }
        rows.begin(line);
        if !rows.recognised() {
            recognise(record, rows)?;
        }
        let item = match row_cells(record, rows) {
            Ok(()) => rows.finish(),
            Err(RowFailure::NoObject) => rows.abandon(record, NO_OBJECT.to_owned()),
            // Probably an object over several lines, and no NDJSON at all.
            Err(RowFailure::Syntax { column, problem, .. }) if rows.rows() == 1 => {
                let problem = format!("{problem}; each row must be one object on one line");
                return Err(IntakeError::Json { line, column: column as u64, problem });
            }
            Err(RowFailure::Syntax { column, problem, .. }) => {
                rows.abandon(record, format!("is not JSON at column {column}: {problem}"))
            }
            Err(RowFailure::File(error)) => return Err(error),
        };
        text.consume(len);
        if row(item).is_break() {
            break;
        }
    }
    Ok(())
}

pub(super) fn read_documents(
    text: &mut SourceText<'_>,
    rows: &mut RowReader<'_>,
    header: &mut dyn FnMut(&Header),
    row: &mut dyn FnMut(FileItem) -> ControlFlow<()>,
) -> Result<(), IntakeError> {
    header(&rows.header(FileFormat::Json));
    let mut aside = |_: &str, _: &str| {};
    let mut documents = Documents::new(text, &mut aside);
    let mut element = 0;
    while let Some(len) = documents.next_element()? {
        element += 1;
        rows.begin(element);
        let record = documents.text.text(len)?;
        if !rows.recognised() {
            recognise(record, rows)?;
        }
        let item = match row_cells(record, rows) {
            Ok(()) => rows.finish(),
            Err(RowFailure::NoObject) => rows.abandon(record, NO_OBJECT.to_owned()),
            Err(RowFailure::Syntax { line, column, problem }) => return Err(documents.syntax_at(line, column, problem)),
            Err(RowFailure::File(error)) => return Err(error),
        };
        documents.text.consume(len);
        if row(item).is_break() {
            break;
        }
    }
    Ok(())
}

/// Documents one after the other, as a stream of the elements of their arrays.
pub(super) struct Documents<'t, 'a> {
    pub text: &'t mut SourceText<'a>,
    /// What the text is in, the innermost last. Nothing between documents.
    places: Vec<NestingLevel>,
    /// Told the members of an answer that are not its data: key and value.
    aside: &'t mut dyn FnMut(&str, &str),
}

enum NestingLevel {
    /// In an object. `first`: nothing was read of it.
    Object { first: bool, rows: Option<RowsKey> },
    /// In an array of rows.
    Array { first: bool },
}

/// Under which key an object had its rows.
#[derive(Clone)]
struct RowsKey {
    key: String,
    sure: bool,
}

impl<'t, 'a> Documents<'t, 'a> {
    pub fn new(text: &'t mut SourceText<'a>, aside: &'t mut dyn FnMut(&str, &str)) -> Documents<'t, 'a> {
        Documents { text, places: Vec::new(), aside }
    }

    /// The length of the next element, which is at the start of the text.
    pub fn next_element(&mut self) -> Result<Option<usize>, IntakeError> {
        loop {
            let byte = self.text.skip_space()?;
            match (self.places.last_mut(), byte) {
                (None, None) => return Ok(None),
                (None, Some(b'[')) => self.enter(NestingLevel::Array { first: true }),
                (None, Some(b'{')) => self.enter(NestingLevel::Object { first: true, rows: None }),
                (None, Some(_)) => {
                    return Err(self.syntax("expected the end, or another answer or array".to_owned()));
                }

                (Some(NestingLevel::Array { .. }), Some(b']')) => self.leave(),
                (Some(NestingLevel::Array { first: first @ true }), Some(_)) => {
                    *first = false;
                    return self.value().map(Some);
                }
                (Some(NestingLevel::Array { first: false }), Some(b',')) => {
                    self.text.consume(1);
                    self.text.skip_space()?;
                    return self.value().map(Some);
                }
                (Some(NestingLevel::Array { .. }), Some(_)) => {
                    return Err(self.syntax("expected `,` or `]`".to_owned()));
                }
                (Some(NestingLevel::Array { .. }), None) => {
                    return Err(self.syntax("the array is not closed; is the file complete?".to_owned()));
                }

                (Some(NestingLevel::Object { rows: None, .. }), Some(b'}')) => {
                    return Err(
                        self.syntax("the answer has no array of rows, such as \"data\" or \"items\"".to_owned())
                    );
                }
                (Some(NestingLevel::Object { rows: Some(_), .. }), Some(b'}')) => self.leave(),
                (Some(NestingLevel::Object { first: first @ true, .. }), Some(_)) => {
                    *first = false;
                    if let Some(len) = self.member()? {
                        return Ok(Some(len));
                    }
                }
                (Some(NestingLevel::Object { first: false, .. }), Some(b',')) => {
                    self.text.consume(1);
                    self.text.skip_space()?;
                    if let Some(len) = self.member()? {
                        return Ok(Some(len));
                    }
                }
                (Some(NestingLevel::Object { .. }), Some(_)) => {
                    return Err(self.syntax("expected `,` or `}`".to_owned()));
                }
                (Some(NestingLevel::Object { .. }), None) => {
                    return Err(self.syntax("the object is not closed; is the file complete?".to_owned()));
                }
            }
        }
    }

    /// Moves past the byte that opens a place.
    fn enter(&mut self, place: NestingLevel) {
        self.text.consume(1);
        self.places.push(place);
    }

    /// Moves past the byte that closes the innermost place.
    fn leave(&mut self) {
        self.text.consume(1);
        self.places.pop();
    }

    /// Moves past a member of an answer, or into its rows. The length of the row
    /// at the start of the text, if the member is the only one.
    fn member(&mut self) -> Result<Option<usize>, IntakeError> {
        let len = self.value()?;
        let key: Result<String, _> = serde_json::from_str(self.text.text(len)?);
        let Ok(key) = key else {
            return Err(self.syntax("expected a key in quotes".to_owned()));
        };
        self.text.consume(len);
        if self.text.skip_space()? != Some(b':') {
            return Err(self.syntax("expected `:`".to_owned()));
        }
        self.text.consume(1);
        self.text.skip_space()?;
        let outermost = self.places.len() == 1;
        let member = member_of(&key, self.text.head(HEAD_BYTES)?, outermost);
        let sure = match member {
            Member::Beside if key == "data" || key == "items" => {
                return Err(self.syntax(format!("{key:?} must be an array of rows")));
            }
            Member::Beside => return self.beside(&key).map(|()| None),
            Member::Rows { sure } => sure,
            Member::Wrapper | Member::Row => true,
        };
        if let Some(NestingLevel::Object { rows, .. }) = self.places.last_mut() {
            match rows {
                Some(before) if before.sure && !sure => return self.beside(&key).map(|()| None),
                Some(before) => {
                    let problem = match before.key == key {
                        true => format!("the answer has rows twice, again under {}", quoted(&key)),
                        false => {
                            format!(
                                "the answer has rows under {} and under {}; keep one of them",
                                quoted(&before.key),
                                quoted(&key)
                            )
                        }
                    };
                    return Err(self.syntax(problem));
                }
                None => *rows = Some(RowsKey { key, sure }),
            }
        }
        match member {
            Member::Rows { .. } => self.enter(NestingLevel::Array { first: true }),
            Member::Wrapper => self.enter(NestingLevel::Object { first: true, rows: None }),
            Member::Row | Member::Beside => return self.value().map(Some),
        }
        Ok(None)
    }

    /// Moves past the value of a member that has no rows.
    fn beside(&mut self, key: &str) -> Result<(), IntakeError> {
        let len = self.value()?;
        if let Err(error) = serde_json::from_str::<IgnoredAny>(self.text.text(len)?) {
            return Err(self.syntax_at(error.line(), error.column(), problem(&error)));
        }
        (self.aside)(key, self.text.text(len)?);
        self.text.consume(len);
        Ok(())
    }

    /// The length of the value at the start of the text.
    fn value(&mut self) -> Result<usize, IntakeError> {
        match self.text.scan(value_len)? {
            Some(ValueEnd::Ends(0)) | None => Err(self.syntax("expected a value".to_owned())),
            Some(ValueEnd::Ends(len)) => Ok(len),
            Some(ValueEnd::TooDeep) => Err(self.syntax(format!("nested deeper than {DEPTH_MAX}"))),
        }
    }

    /// The text is wrong where it is now.
    fn syntax(&self, problem: String) -> IntakeError {
        IntakeError::Json { line: self.text.line(), column: self.text.column(), problem }
    }

    /// The text is wrong at this line and column of the value it is at.
    pub fn syntax_at(&self, line: usize, column: usize, problem: String) -> IntakeError {
        let first = line <= 1;
        let before = if first { self.text.column().saturating_sub(1) } else { 0 };
        let line = self.text.line() + line.saturating_sub(1) as u64;
        IntakeError::Json { line, column: before + column as u64, problem }
    }
}

pub(super) fn extract_lines(text: &mut SourceText<'_>, out: &mut Extract<'_>) -> Result<(), IntakeError> {
    while !out.done()
        && let Some(len) = text.scan(line_len)?
    {
        if out.wants(text.line()) {
            out.write_line(text.text(len)?.as_bytes())?;
        }
        text.consume(len);
    }
    Ok(())
}

pub(super) fn extract_documents(text: &mut SourceText<'_>, out: &mut Extract<'_>) -> Result<(), IntakeError> {
    let mut aside = |_: &str, _: &str| {};
    let mut documents = Documents::new(text, &mut aside);
    let mut element = 0;
    while !out.done()
        && let Some(len) = documents.next_element()?
    {
        element += 1;
        if out.wants(element) {
            out.write_line(&compact(documents.text.text(len)?.as_bytes()))?;
        }
        documents.text.consume(len);
    }
    Ok(())
}

/// JSON without the white space between its tokens, and so on one line.
fn compact(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len());
    let mut at = 0;
    while at < json.len() {
        let len = match json[at] {
            b'"' => string_len(&json[at..]).unwrap_or(json.len() - at),
            _ => 1,
        };
        if !json[at].is_ascii_whitespace() {
            out.extend_from_slice(&json[at..at + len]);
        }
        at += len;
    }
    out
}
