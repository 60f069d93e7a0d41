//! Call records, in the platform's shape or as rows: the answer of its CDR
//! endpoint (one page, or pages one after the other), NDJSON, CSV, gzip of each.
//!
//! A record is taken as it is or not at all, and one that cannot be read ends
//! the file: an invoice that silently lacks calls is worse than none. Numbers
//! are compared by their digits, with or without `+`.
//! Deliberately absent: what a call has to do with a customer.

use std::borrow::Cow;
use std::fmt;
use std::io::Read;

use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::csv::{self, line_len};
use super::json::{self, Documents};
use super::source::Text;
use super::{IntakeError, Shape, detect};
use crate::domain::{Call, Currency, Decimal, Direction, E164, Time};

/// What is read of a record, by its name in the platform's answer.
const FIELDS: [&str; 12] = [
    "uuid",
    "start_time",
    "call_direction",
    "from_number",
    "to_number",
    "caller_id_number",
    "destination_number",
    "cost",
    "streaming_cost",
    "total_cost",
    "currency",
    "billsec",
];

/// The values of a record, in the order of [`FIELDS`].
type Values<'a> = [Option<Cow<'a, str>>; FIELDS.len()];

/// What a file says of itself, beside its records.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CallsRead {
    pub records: u64,
    /// Answers of the platform, one after the other.
    pub pages: u64,
    /// What the pages' summaries add up to, and the last of them.
    pub summed: Option<Decimal>,
    pub stated: Option<Decimal>,
    /// The last page's place, as it says itself.
    pub pagination: Option<Pagination>,
}

/// A page's place among the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Deserialize)]
pub struct Pagination {
    pub page: u64,
    pub has_next: bool,
}

/// Why call records cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CallsError {
    #[error(transparent)]
    File(#[from] IntakeError),
    #[error("there are no call records in the file; it is empty")]
    Empty,
    #[error("the file has no column {column}; its first line must name uuid, start_time, currency and total_cost")]
    Column { column: &'static str },
    #[error("the call record at {unit} {at} cannot be used: {problem}")]
    Record { unit: &'static str, at: u64, problem: String },
    #[error("the {what} of page {page} cannot be used: {problem}")]
    Beside { what: &'static str, page: u64, problem: String },
}

/// Hands over every record of a file, in its order.
pub fn read_calls(input: impl Read, take: &mut dyn FnMut(&Call)) -> Result<CallsRead, CallsError> {
    let mut text = Text::open(input, None)?;
    let shape = detect(&mut text).map_err(|error| match error {
        IntakeError::Empty => CallsError::Empty,
        error => error.into(),
    })?;
    match shape {
        Shape::Csv => read_csv(&mut text, take),
        Shape::Ndjson => read_lines(&mut text, take),
        Shape::Json => read_pages(&mut text, take),
    }
}

fn read_pages(text: &mut Text<'_>, take: &mut dyn FnMut(&Call)) -> Result<CallsRead, CallsError> {
    let mut read = CallsRead::default();
    let mut fault = None;
    let mut beside = CallsRead::default();
    let mut aside = |key: &str, value: &str| {
        let result = match key {
            "summary" => beside.summary(value).map_err(|problem| ("summary", problem)),
            "pagination" => beside.pagination(value).map_err(|problem| ("pagination", problem)),
            _ => Ok(()),
        };
        if let Err((what, problem)) = result {
            fault.get_or_insert((what, problem));
        }
    };
    let mut documents = Documents::new(text, &mut aside);
    while let Some(len) = documents.next_element()? {
        read.records += 1;
        let record = documents.text.text(len)?;
        match json_values(record) {
            Ok(values) => take(&call(&values).map_err(|problem| bad("record", read.records, problem))?),
            Err(error) if error.classify() == serde_json::error::Category::Data => {
                return Err(bad("record", read.records, json::problem(&error)));
            }
            Err(error) => return Err(documents.syntax_at(error.line(), error.column(), json::problem(&error)).into()),
        }
        documents.text.consume(len);
    }
    if let Some((what, problem)) = fault {
        return Err(CallsError::Beside { what, page: beside.pages.max(1), problem });
    }
    Ok(CallsRead { records: read.records, ..beside })
}

impl CallsRead {
    fn summary(&mut self, value: &str) -> Result<(), String> {
        #[derive(serde::Deserialize)]
        struct Summary<'a> {
            #[serde(borrow)]
            total_cost: Option<&'a RawValue>,
        }
        let summary: Summary<'_> = serde_json::from_str(value).map_err(|error| json::problem(&error))?;
        let Some(total) = summary.total_cost else { return Ok(()) };
        let total = text_of(total).ok_or("total_cost must be a number")?;
        let total: Decimal = total.parse().map_err(|error| format!("total_cost {total:?} {error}"))?;
        self.summed = Some(self.summed.unwrap_or_default() + total);
        self.stated = Some(total);
        Ok(())
    }

    fn pagination(&mut self, value: &str) -> Result<(), String> {
        self.pages += 1;
        self.pagination = Some(serde_json::from_str(value).map_err(|error| json::problem(&error))?);
        Ok(())
    }

    /// Adds what the next page said.
    pub fn then(self, next: CallsRead) -> CallsRead {
        CallsRead {
            records: self.records + next.records,
            pages: self.pages + next.pages,
            summed: match (self.summed, next.summed) {
                (Some(one), Some(other)) => Some(one + other),
                (one, other) => one.or(other),
            },
            stated: next.stated.or(self.stated),
            pagination: next.pagination.or(self.pagination),
        }
    }
}

fn read_lines(text: &mut Text<'_>, take: &mut dyn FnMut(&Call)) -> Result<CallsRead, CallsError> {
    let mut read = CallsRead::default();
    while let Some(len) = text.scan(line_len)? {
        let record = text.text(len)?.trim();
        if !record.is_empty() {
            read.records += 1;
            let values = json_values(record).map_err(|error| json::problem(&error));
            let values = values.map_err(|problem| bad("line", text.line(), problem))?;
            take(&call(&values).map_err(|problem| bad("line", text.line(), problem))?);
        }
        text.consume(len);
    }
    Ok(read)
}

fn read_csv(text: &mut Text<'_>, take: &mut dyn FnMut(&Call)) -> Result<CallsRead, CallsError> {
    let mut spans = Vec::new();
    let mut best: Option<(u8, usize, Vec<Option<usize>>, usize)> = None;
    for delimiter in [b',', b';', b'\t'] {
        let Some(len) = csv::next(text, delimiter, &mut spans)? else { return Err(CallsError::Empty) };
        let record = text.text(len)?;
        let mut scratch = String::new();
        let mut field = |span: &csv::Span| {
            let name = csv::unquote(span.of(record), &mut scratch).trim().to_ascii_lowercase();
            FIELDS.iter().position(|field| *field == name)
        };
        let fields: Vec<Option<usize>> = spans.iter().map(&mut field).collect();
        let known = fields.iter().flatten().count();
        if best.as_ref().is_none_or(|(_, _, _, most)| known > *most) {
            best = Some((delimiter, len, fields, known));
        }
    }
    let Some((delimiter, len, fields, _)) = best else { return Err(CallsError::Empty) };
    let has = |name: &str| fields.iter().flatten().any(|&field| FIELDS[field] == name);
    for column in ["uuid", "start_time", "currency"] {
        if !has(column) {
            return Err(CallsError::Column { column });
        }
    }
    if !has("total_cost") && !has("cost") {
        return Err(CallsError::Column { column: "total_cost" });
    }
    text.consume(len);
    let mut read = CallsRead::default();
    while let Some(len) = csv::next(text, delimiter, &mut spans)? {
        let line = text.line();
        let record = text.text(len)?;
        if csv::blank(record, delimiter) {
            text.consume(len);
            continue;
        }
        read.records += 1;
        if spans.len() != fields.len() {
            let problem = format!("it has {} cells where the header has {}", spans.len(), fields.len());
            return Err(bad("line", line, problem));
        }
        let mut values = Values::default();
        for (span, field) in spans.iter().zip(&fields) {
            let Some(field) = field else { continue };
            let cell = span.of(record);
            let mut scratch = String::new();
            let value = match cell.contains('"') {
                true => Cow::Owned(csv::unquote(cell, &mut scratch).to_owned()),
                false => Cow::Borrowed(cell),
            };
            values[*field] = Some(value).filter(|value| !value.trim().is_empty());
        }
        let call = call(&values).map_err(|problem| bad("line", line, problem))?;
        take(&call);
        text.consume(len);
    }
    Ok(read)
}

fn bad(unit: &'static str, at: u64, problem: String) -> CallsError {
    CallsError::Record { unit, at, problem }
}

/// The values of a JSON object.
fn json_values(text: &str) -> Result<Values<'_>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let values = (&mut deserializer).deserialize_map(Object)?;
    deserializer.end()?;
    Ok(values)
}

struct Object;

impl<'de> Visitor<'de> for Object {
    type Value = Values<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Values<'de>, M::Error> {
        #[derive(serde::Deserialize)]
        struct Key<'a>(#[serde(borrow)] Cow<'a, str>);
        let mut values = Values::default();
        let mut seen = [false; FIELDS.len()];
        while let Some(Key(key)) = map.next_key()? {
            let Some(field) = FIELDS.iter().position(|field| *field == key) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if std::mem::replace(&mut seen[field], true) {
                return Err(serde::de::Error::custom(format!("it has {key} twice")));
            }
            let value: &RawValue = map.next_value()?;
            values[field] = match value.get() {
                "null" => None,
                _ => match text_of(value) {
                    Some(text) => Some(text).filter(|text| !text.is_empty()),
                    None => return Err(serde::de::Error::custom(format!("{key} must be text or a number"))),
                },
            };
        }
        Ok(values)
    }
}

/// A JSON string or number as text.
fn text_of(value: &RawValue) -> Option<Cow<'_, str>> {
    let text = value.get();
    match text.as_bytes().first()? {
        b'"' if !text.contains('\\') => Some(Cow::Borrowed(&text[1..text.len() - 1])),
        b'"' => serde_json::from_str::<String>(text).ok().map(Cow::Owned),
        b'-' | b'0'..=b'9' => Some(Cow::Borrowed(text)),
        _ => None,
    }
}

fn call(values: &Values<'_>) -> Result<Call, String> {
    let [uuid, start, direction, from, to, caller, called, cost, streaming, total, currency, billsec] =
        values.each_ref().map(|value| value.as_deref().map(str::trim));
    let needed =
        |name: &str, value: Option<&'_ str>| value.map(str::to_owned).ok_or_else(|| format!("it has no {name}"));
    let amount = |name: &str, value: Option<&str>| -> Result<Option<Decimal>, String> {
        value.map(|text| text.parse().map_err(|error| format!("{name} {text:?} {error}"))).transpose()
    };
    let start = needed("start_time", start)?;
    let currency = needed("currency", currency)?;
    let (cost, streaming) = (amount("cost", cost)?, amount("streaming_cost", streaming)?);
    let parts = cost.map(|cost| cost + streaming.unwrap_or_default());
    let total = amount("total_cost", total)?;
    let seconds = match billsec {
        None => 0,
        Some(text) => text.parse().map_err(|_| format!("billsec {text:?} must be whole seconds"))?,
    };
    Ok(Call {
        id: id(&needed("uuid", uuid)?),
        start: start.parse::<Time>().map_err(|error| format!("start_time {start:?} {error}"))?,
        direction: direction.and_then(|word| Direction::parse(&word.to_ascii_lowercase())),
        from: from.or(caller).and_then(number),
        to: to.or(called).and_then(number),
        seconds,
        cost: total.or(parts).ok_or("it has no total_cost")?,
        currency: currency.parse::<Currency>().map_err(|error| format!("currency {currency:?} {error}"))?,
        adds_up: total.is_none() || parts.is_none() || total == parts,
    })
}

/// A number of ours, if it can be one. What else calls come from (national
/// digits, SIP addresses, nothing) is held by no account.
fn number(text: &str) -> Option<E164> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let plain = (7..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| plain && !digits.starts_with('0')).and_then(E164::new)
}

/// A UUID is its 128 bits; what else names a call is hashed into as many.
fn id(text: &str) -> u128 {
    let mut value: u128 = 0;
    let mut digits = 0;
    for byte in text.bytes() {
        match char::from(byte).to_digit(16) {
            Some(digit) if digits < 32 => {
                value = value << 4 | u128::from(digit);
                digits += 1;
            }
            None if byte == b'-' => {}
            _ => {
                digits = 0;
                break;
            }
        }
    }
    if digits == 32 {
        return value;
    }
    let hash: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    u128::from_be_bytes(hash[..16].try_into().expect("sixteen bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = r#"{"uuid":"55667788-1234-5678-90ab-cdef12345678","start_time":"2026-03-25T06:59:26.5Z","call_direction":"inbound","from_number":"9876543210","to_number":"+918012345678","cost":0.3,"streaming_cost":0,"total_cost":0.3,"currency":"INR","billsec":61,"mos":4.5}"#;

    fn read(text: &str) -> Result<(Vec<Call>, CallsRead), String> {
        let mut calls = Vec::new();
        let read = read_calls(text.as_bytes(), &mut |call| calls.push(*call));
        read.map(|read| (calls, read)).map_err(|error| error.to_string())
    }

    #[test]
    fn every_form_says_the_same() {
        let csv = "billsec,uuid,start_time,call_direction,from_number,to_number,cost,total_cost,currency,note\r\n\
                   61,55667788123456789 0AB,,,,,,,,\r\n";
        let csv = csv.replace(
            "61,55667788123456789 0AB,,,,,,,,",
            "61,556677881234567890ABCDEF12345678,2026-03-25T06:59:26Z,inbound,9876543210,918012345678,0.30,0.3,INR,\"a, b\"",
        );
        let page = format!(
            "{{\"data\":[{ROW}],\"pagination\":{{\"page\":1,\"total\":1,\"has_next\":false}},\"summary\":{{\"total_cost\":0.3}}}}"
        );
        let platform = page.replace("from_number", "caller_id_number").replace("to_number", "destination_number");
        let (calls, stated) = read(&page).expect("a page");
        assert_eq!((stated.stated.map(|total| total.to_string()).as_deref(), stated.pages), (Some("0.3"), 1));
        for text in [platform.as_str(), &format!("{ROW}\n\n{ROW}\n"), &format!("[{ROW}]"), &csv] {
            let (other, _) = read(text).expect(text);
            assert_eq!(other[0], calls[0], "{text}");
        }
        let call = calls[0];
        assert_eq!((call.id, call.seconds, call.adds_up), (0x5566_7788_1234_5678_90ab_cdef_1234_5678, 61, true));
        assert_eq!(call.ours().map(|number| number.to_string()).as_deref(), Some("+918012345678"));
    }

    #[test]
    fn what_cannot_be_charged_ends_the_file() {
        let with = |from: &str, to: &str| read(&format!("{ROW}\n{}\n", ROW.replace(from, to))).expect_err(to);
        for (from, to, expected) in [
            (
                r#""total_cost":0.3"#,
                r#""total_cost":3e-1"#,
                "line 2 cannot be used: total_cost \"3e-1\" has an exponent",
            ),
            (r#""total_cost":0.3"#, r#""total_cost":true"#, "total_cost must be text or a number"),
            (r#""currency":"INR""#, r#""currency":null"#, "it has no currency"),
            (r#""currency":"INR""#, r#""currency":"RUPEE""#, "currency \"RUPEE\" must be a currency"),
            ("2026-03-25T06:59:26.5Z", "2026-03-25 06:59:26", "start_time \"2026-03-25 06:59:26\" must be a time"),
            (r#""uuid":"55667788-1234-5678-90ab-cdef12345678","#, "", "it has no uuid"),
            (r#""billsec":61"#, r#""billsec":-1"#, "billsec \"-1\" must be whole seconds"),
            (r#""mos":4.5"#, r#""cost":1"#, "it has cost twice"),
        ] {
            let error = with(from, to);
            assert!(error.contains(expected), "{error}, not {expected}");
        }
        assert!(read("").expect_err("nothing").contains("empty"));
        assert!(read("uuid,cost\nx,1\n").expect_err("columns").contains("no column start_time"));
        let cut = format!("{{\"data\":[{ROW}");
        assert!(read(&cut).expect_err("cut off").contains("not closed"));
    }

    #[test]
    fn parts_that_do_not_add_up_are_noted() {
        let row = ROW.replace(r#""streaming_cost":0"#, r#""streaming_cost":0.1"#);
        assert!(!read(&row).expect("a row").0[0].adds_up);
        let parts = row.replace(r#""total_cost":0.3,"#, "");
        assert_eq!(read(&parts).expect("a row").0[0].cost.to_string(), "0.4");
    }

    #[test]
    fn a_call_is_named_by_its_uuid_or_by_any_text() {
        assert_eq!(id("00000000-0000-0000-0000-0000000000Ff"), 255);
        assert_ne!(id("call-1"), id("call-2"));
        assert_ne!(id("5566778812345678"), id("55667788123456"));
    }
}
