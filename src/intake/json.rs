//! JSON: rows as lines (NDJSON), and rows in the arrays of documents (the
//! Partner API's answers).
//!
//! A document is taken apart by a scanner that only finds where values end, so
//! that one row at a time is in memory; `serde_json` then judges each row.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::ops::ControlFlow;

use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::csv::line_len;
use super::rows::Rows;
use super::source::Text;
use super::value::Raw;
use super::{DEPTH_MAX, Extract, Format, Header, IntakeError, Item};

/// Under which keys answers have their rows: the Partner API's in its two
/// dialects, Plivo's and Twilio's.
const ROWS: [&str; 4] = ["data", "items", "objects", "incoming_phone_numbers"];

/// Whether a text that begins with `{` is an answer: its outermost object has a
/// key of [`ROWS`] that holds an array. Looks at the beginning only, so it must
/// bear text that is cut off, or no JSON at all.
pub(super) fn holds_rows(head: &[u8]) -> bool {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < head.len() {
        match head[at] {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return false;
                }
            }
            b'"' => {
                let Some(len) = string_len(&head[at..]) else {
                    return false;
                };
                let after: Vec<u8> =
                    head[at + len..].iter().copied().filter(|byte| !byte.is_ascii_whitespace()).take(2).collect();
                let key = &head[at + 1..at + len - 1];
                if depth == 1 && ROWS.iter().any(|name| name.as_bytes() == key) && after == b":[" {
                    return true;
                }
                at += len - 1;
            }
            _ => {}
        }
        at += 1;
    }
    false
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
enum Value {
    Ends(usize),
    TooDeep,
}

/// The length of the value at the start, valid or not. None if it goes on.
fn value_len(bytes: &[u8], last: bool) -> Option<Value> {
    let goes_on = if last { Some(Value::Ends(bytes.len())) } else { None };
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
                    return Some(Value::Ends(at));
                }
                continue;
            }
            b'{' | b'[' => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Some(Value::TooDeep);
                }
            }
            b'}' | b']' if depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    return Some(Value::Ends(at + 1));
                }
            }
            b'}' | b']' | b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => return Some(Value::Ends(at)),
            _ => {}
        }
        at += 1;
    }
    goes_on
}

/// Why a row is no row.
enum Failure {
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
fn row_cells(text: &str, rows: &mut Rows<'_>) -> Result<(), Failure> {
    let mut failure = None;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let object = Object { rows, failure: &mut failure };
    let outcome = (&mut deserializer).deserialize_map(object).and_then(|()| deserializer.end());
    match (failure, outcome) {
        (Some(error), _) => Err(Failure::File(error)),
        (None, Ok(())) => Ok(()),
        (None, Err(error)) => Err(match error.classify() {
            serde_json::error::Category::Data => Failure::NoObject,
            _ => {
                let (line, column) = (error.line(), error.column());
                Failure::Syntax { line, column, problem: problem(&error) }
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

/// The keys of a row, if it is an object.
fn keys_of(text: &str) -> Option<Vec<String>> {
    let row: HashMap<String, IgnoredAny> = serde_json::from_str(text).ok()?;
    Some(row.into_keys().collect())
}

/// Finds out by the first row whose export the file is.
fn recognise(text: &str, rows: &mut Rows<'_>) -> Result<(), IntakeError> {
    match keys_of(text) {
        Some(keys) => rows.recognise(keys.iter().map(String::as_str)),
        None => Ok(()),
    }
}

struct Object<'r, 'a> {
    rows: &'r mut Rows<'a>,
    failure: &'r mut Option<IntakeError>,
}

#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Visitor<'de> for Object<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let mut guess = 0;
        while let Some(Key(key)) = map.next_key()? {
            let value: &RawValue = map.next_value()?;
            let (column, takes) = match self.rows.key(&key, guess) {
                Ok(found) => found,
                Err(error) => {
                    *self.failure = Some(error);
                    return Err(serde::de::Error::custom("the file cannot be used"));
                }
            };
            guess = column + 1;
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
    text: &mut Text<'_>,
    rows: &mut Rows<'_>,
    header: &mut dyn FnMut(&Header),
    row: &mut dyn FnMut(Item) -> ControlFlow<()>,
) -> Result<(), IntakeError> {
    header(&rows.header(Format::Ndjson));
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
            Err(Failure::NoObject) => rows.abandon(record, NO_OBJECT.to_owned()),
            // Probably an object over several lines, and no NDJSON at all.
            Err(Failure::Syntax { column, problem, .. }) if rows.rows() == 1 => {
                let problem = format!("{problem}; each row must be one object on one line");
                return Err(IntakeError::Json { line, column: column as u64, problem });
            }
            Err(Failure::Syntax { column, problem, .. }) => {
                rows.abandon(record, format!("is not JSON at column {column}: {problem}"))
            }
            Err(Failure::File(error)) => return Err(error),
        };
        text.consume(len);
        if row(item).is_break() {
            break;
        }
    }
    Ok(())
}

pub(super) fn read_documents(
    text: &mut Text<'_>,
    rows: &mut Rows<'_>,
    header: &mut dyn FnMut(&Header),
    row: &mut dyn FnMut(Item) -> ControlFlow<()>,
) -> Result<(), IntakeError> {
    header(&rows.header(Format::Json));
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
            Err(Failure::NoObject) => rows.abandon(record, NO_OBJECT.to_owned()),
            Err(Failure::Syntax { line, column, problem }) => return Err(documents.syntax_at(line, column, problem)),
            Err(Failure::File(error)) => return Err(error),
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
    pub text: &'t mut Text<'a>,
    place: Place,
    /// Told the members of an answer that are not its data: key and value.
    aside: &'t mut dyn FnMut(&str, &str),
}

#[derive(Clone, Copy)]
enum Place {
    Between,
    /// In an object. `first`: nothing was read of it; `data`: its data were.
    Object {
        first: bool,
        data: bool,
    },
    /// In an array of rows. `within`: it is an object's `data`.
    Array {
        first: bool,
        within: bool,
    },
}

impl<'t, 'a> Documents<'t, 'a> {
    pub fn new(text: &'t mut Text<'a>, aside: &'t mut dyn FnMut(&str, &str)) -> Documents<'t, 'a> {
        Documents { text, place: Place::Between, aside }
    }

    /// The length of the next element, which is at the start of the text.
    pub fn next_element(&mut self) -> Result<Option<usize>, IntakeError> {
        loop {
            let byte = self.text.skip_space()?;
            match (self.place, byte) {
                (Place::Between, None) => return Ok(None),
                (Place::Between, Some(b'[')) => self.enter(Place::Array { first: true, within: false }),
                (Place::Between, Some(b'{')) => self.enter(Place::Object { first: true, data: false }),
                (Place::Between, Some(_)) => {
                    return Err(self.syntax("expected the end, or another answer or array".to_owned()));
                }

                (Place::Array { within, .. }, Some(b']')) => {
                    self.enter(if within { Place::Object { first: false, data: true } } else { Place::Between });
                }
                (Place::Array { first: true, within }, Some(_)) => {
                    self.place = Place::Array { first: false, within };
                    return self.value().map(Some);
                }
                (Place::Array { first: false, .. }, Some(b',')) => {
                    self.text.consume(1);
                    self.text.skip_space()?;
                    return self.value().map(Some);
                }
                (Place::Array { .. }, Some(_)) => return Err(self.syntax("expected `,` or `]`".to_owned())),
                (Place::Array { .. }, None) => {
                    return Err(self.syntax("the array is not closed; is the file complete?".to_owned()));
                }

                (Place::Object { data: false, .. }, Some(b'}')) => {
                    return Err(self.syntax("the answer has no array \"data\" or \"items\"".to_owned()));
                }
                (Place::Object { data: true, .. }, Some(b'}')) => self.enter(Place::Between),
                (Place::Object { first: true, data }, Some(_)) => self.member(data)?,
                (Place::Object { first: false, data }, Some(b',')) => {
                    self.text.consume(1);
                    self.text.skip_space()?;
                    self.member(data)?;
                }
                (Place::Object { .. }, Some(_)) => return Err(self.syntax("expected `,` or `}`".to_owned())),
                (Place::Object { .. }, None) => {
                    return Err(self.syntax("the object is not closed; is the file complete?".to_owned()));
                }
            }
        }
    }

    /// Moves past the byte that leads to `place`.
    fn enter(&mut self, place: Place) {
        self.text.consume(1);
        self.place = place;
    }

    /// Moves past a member of an answer, or into its data.
    fn member(&mut self, data: bool) -> Result<(), IntakeError> {
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
        let byte = self.text.skip_space()?;
        if ROWS.contains(&key.as_str()) {
            if data {
                return Err(self.syntax(format!("the answer has rows twice, again under {key:?}")));
            }
            if byte != Some(b'[') {
                return Err(self.syntax(format!("{key:?} must be an array of rows")));
            }
            self.enter(Place::Array { first: true, within: true });
            return Ok(());
        }
        let len = self.value()?;
        if let Err(error) = serde_json::from_str::<IgnoredAny>(self.text.text(len)?) {
            return Err(self.syntax_at(error.line(), error.column(), problem(&error)));
        }
        (self.aside)(&key, self.text.text(len)?);
        self.text.consume(len);
        self.place = Place::Object { first: false, data };
        Ok(())
    }

    /// The length of the value at the start of the text.
    fn value(&mut self) -> Result<usize, IntakeError> {
        match self.text.scan(value_len)? {
            Some(Value::Ends(0)) | None => Err(self.syntax("expected a value".to_owned())),
            Some(Value::Ends(len)) => Ok(len),
            Some(Value::TooDeep) => Err(self.syntax(format!("nested deeper than {DEPTH_MAX}"))),
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

pub(super) fn extract_lines(text: &mut Text<'_>, out: &mut Extract<'_>) -> Result<(), IntakeError> {
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

pub(super) fn extract_documents(text: &mut Text<'_>, out: &mut Extract<'_>) -> Result<(), IntakeError> {
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
