//! Call records, in the platform's shape or as rows: the answer of its CDR
//! endpoint (one page, or pages one after the other), NDJSON, CSV, gzip of each, and
//! spreadsheets (.xlsx).
//!
//! A record is taken as it is or not at all. One that cannot be used is handed
//! over with its line and the reason, and the file goes on: the caller decides
//! whether there is a bill without it. What breaks the file itself (its columns,
//! its syntax) ends it: an invoice that silently lacks calls is worse than none.
//! Numbers are compared by their digits, with or without `+`.
//!
//! A call that was not answered costs nothing, so it needs no cost and no
//! currency. A start without a zone is read on the clocks of the zone that the
//! caller names, and refused where that is no single moment.
//! Deliberately absent: what a call has to do with a customer.

use std::borrow::Cow;
use std::fmt;
use std::io::Read;
use std::ops::ControlFlow;

use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::csv::{self, line_len};
use super::json::{self, Documents};
use super::sheet;
use super::source::{Input, SourceText};
use super::xlsx::{CellKind, SheetRow, Workbook};
use super::{GuessedFormat, IntakeError, detect};
use crate::domain::shown::quoted;
use crate::domain::{Call, Currency, Decimal, Direction, E164, Time, Zone};

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
/// The place of `billsec` among them.
const BILLSEC: usize = FIELDS.len() - 1;

/// The values of a record, in the order of [`FIELDS`]. One that is there and
/// says nothing is an empty text.
type Values<'a> = [Option<Cow<'a, str>>; FIELDS.len()];

/// What a file says of itself, beside its records.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CallsRead {
    pub records: u64,
    /// Records that cannot be used.
    pub rejected: u64,
    /// Unanswered calls without a currency: nothing is to be charged of them.
    pub free: u64,
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
    #[error("the {what} of page {page} cannot be used: {problem}")]
    Beside { what: &'static str, page: u64, problem: String },
}

/// A record that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct BadCall {
    /// `line 3`, or `record 5 (line 12)` in an answer.
    pub place: String,
    pub problem: String,
}

/// What a reader of records does with each, and with the line that it begins on.
pub type TakeCall<'t> = &'t mut dyn FnMut(u64, Result<&Call, BadCall>);

/// Hands over every record of a file, in its order. A start without a zone is
/// one of `zone`.
pub fn read_calls(input: impl Read, zone: Option<&Zone>, take: TakeCall<'_>) -> Result<CallsRead, CallsError> {
    let mut records = Records { zone, take, read: CallsRead::default() };
    let mut text = match Input::open(input, None)? {
        Input::Text(text) => text,
        Input::Workbook(mut book) => {
            read_sheet(&mut book, &mut records)?;
            return Ok(records.read);
        }
    };
    let shape = detect(&mut text).map_err(|error| match error {
        IntakeError::Empty => CallsError::Empty,
        error => error.into(),
    })?;
    match shape {
        GuessedFormat::Csv => read_csv(&mut text, &mut records)?,
        GuessedFormat::Ndjson => read_lines(&mut text, &mut records)?,
        GuessedFormat::Json => read_pages(&mut text, &mut records)?,
    }
    Ok(records.read)
}

/// Records on their way to the caller.
struct Records<'r> {
    zone: Option<&'r Zone>,
    take: TakeCall<'r>,
    read: CallsRead,
}

impl Records<'_> {
    /// Takes the next record, which is on a line, or at `place` in the words of its
    /// format.
    fn put(&mut self, line: u64, values: Result<Values<'_>, String>, place: impl FnOnce(u64) -> String) {
        self.read.records += 1;
        match values.and_then(|values| call(&values, self.zone)) {
            Ok(Some(call)) => (self.take)(line, Ok(&call)),
            Ok(None) => self.read.free += 1,
            Err(problem) => {
                self.read.rejected += 1;
                (self.take)(line, Err(BadCall { place: place(self.read.records), problem }));
            }
        }
    }
}

fn read_pages(text: &mut SourceText<'_>, records: &mut Records<'_>) -> Result<(), CallsError> {
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
        let line = documents.text.line();
        let record = documents.text.text(len)?;
        let values = match json_values(record) {
            Ok(values) => Ok(values),
            Err(error) if error.classify() == serde_json::error::Category::Data => Err(json::problem(&error)),
            Err(error) => return Err(documents.syntax_at(error.line(), error.column(), json::problem(&error)).into()),
        };
        records.put(line, values, |record| format!("record {record} (line {line})"));
        documents.text.consume(len);
    }
    if let Some((what, problem)) = fault {
        return Err(CallsError::Beside { what, page: beside.pages.max(1), problem });
    }
    let CallsRead { records: count, rejected, free, .. } = records.read;
    records.read = CallsRead { records: count, rejected, free, ..beside };
    Ok(())
}

impl CallsRead {
    fn summary(&mut self, value: &str) -> Result<(), String> {
        #[derive(serde::Deserialize)]
        struct CallsSummary<'a> {
            #[serde(borrow)]
            total_cost: Option<&'a RawValue>,
        }
        let summary: CallsSummary<'_> = serde_json::from_str(value).map_err(|error| json::problem(&error))?;
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
            rejected: self.rejected + next.rejected,
            free: self.free + next.free,
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

fn read_lines(text: &mut SourceText<'_>, records: &mut Records<'_>) -> Result<(), CallsError> {
    while let Some(len) = text.scan(line_len)? {
        let line = text.line();
        let record = text.text(len)?.trim();
        if !record.is_empty() {
            let values = json_values(record).map_err(|error| json::problem(&error));
            records.put(line, values, |_| format!("line {line}"));
        }
        text.consume(len);
    }
    Ok(())
}

fn read_csv(text: &mut SourceText<'_>, records: &mut Records<'_>) -> Result<(), CallsError> {
    let mut spans = Vec::new();
    let mut best: Option<(u8, usize, Vec<Option<usize>>, usize)> = None;
    let said = csv::said_separator(text)?;
    for delimiter in said.map_or(vec![b',', b';', b'\t'], |said| vec![said]) {
        let Some(len) = csv::next(text, delimiter, &mut spans)? else { return Err(CallsError::Empty) };
        let record = text.text(len)?;
        let mut scratch = String::new();
        let mut field = |span: &csv::CellSpan| field_of(csv::unquote(span.of(record), &mut scratch));
        let fields: Vec<Option<usize>> = spans.iter().map(&mut field).collect();
        let known = fields.iter().flatten().count();
        if best.as_ref().is_none_or(|(_, _, _, most)| known > *most) {
            best = Some((delimiter, len, fields, known));
        }
    }
    let Some((delimiter, len, fields, _)) = best else { return Err(CallsError::Empty) };
    check_columns(&fields)?;
    text.consume(len);
    while let Some(len) = csv::next(text, delimiter, &mut spans)? {
        let line = text.line();
        let record = text.text(len)?;
        if !csv::blank(record, delimiter) {
            records.put(line, csv_values(record, &spans, &fields), |_| format!("line {line}"));
        }
        text.consume(len);
    }
    Ok(())
}

/// Which field a column of this name is.
fn field_of(name: &str) -> Option<usize> {
    let name = name.trim().to_ascii_lowercase();
    FIELDS.iter().position(|field| *field == name)
}

fn check_columns(fields: &[Option<usize>]) -> Result<(), CallsError> {
    let has = |name: &str| fields.iter().flatten().any(|&field| FIELDS[field] == name);
    let missing = ["uuid", "start_time", "currency"].into_iter().find(|column| !has(column));
    let costless = (!has("total_cost") && !has("cost")).then_some("total_cost");
    missing.or(costless).map_or(Ok(()), |column| Err(CallsError::Column { column }))
}

/// The rows of a spreadsheet, by the rules of CSV. A time of day there has no
/// zone.
fn read_sheet(book: &mut Workbook, records: &mut Records<'_>) -> Result<(), CallsError> {
    let mut fields: Option<Vec<Option<usize>>> = None;
    let mut refused = Ok(());
    book.rows(&mut |row| {
        if sheet::is_blank(row) {
            return Ok(ControlFlow::Continue(()));
        }
        let Some(fields) = &fields else {
            let named: Vec<Option<usize>> = sheet::names_of(row).iter().map(|name| field_of(name)).collect();
            refused = check_columns(&named);
            fields = Some(named);
            return Ok(if refused.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) });
        };
        records.put(row.line, sheet_values(row, fields), |_| format!("row {}", row.line));
        Ok(ControlFlow::Continue(()))
    })?;
    if fields.is_none() { Err(CallsError::Empty) } else { refused }
}

fn sheet_values(row: &SheetRow, fields: &[Option<usize>]) -> Result<Values<'static>, String> {
    let mut values = Values::default();
    for (cell, field) in row.cells.iter().zip(fields) {
        let Some(field) = *field else { continue };
        values[field] = Some(match &cell.kind {
            CellKind::Moment(moment) => Cow::Owned(moment.to_string()),
            CellKind::Refused(fault) => return Err(format!("its {} {fault}", FIELDS[field])),
            CellKind::Text | CellKind::Number | CellKind::Bool(_) => Cow::Owned(cell.text.clone()),
        });
    }
    Ok(values)
}

fn csv_values<'a>(record: &'a str, spans: &[csv::CellSpan], fields: &[Option<usize>]) -> Result<Values<'a>, String> {
    if spans.len() != fields.len() {
        return Err(format!("it has {} cells where the header has {}", spans.len(), fields.len()));
    }
    let mut values = Values::default();
    for (span, field) in spans.iter().zip(fields) {
        let Some(field) = field else { continue };
        let cell = span.of(record);
        let mut scratch = String::new();
        let value = match cell.contains('"') {
            true => Cow::Owned(csv::unquote(cell, &mut scratch).to_owned()),
            false => Cow::Borrowed(cell),
        };
        values[*field] = Some(value);
    }
    Ok(values)
}

/// The values of a JSON object.
fn json_values(text: &str) -> Result<Values<'_>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let values = (&mut deserializer).deserialize_map(RecordVisitor)?;
    deserializer.end()?;
    Ok(values)
}

struct RecordVisitor;

impl<'de> Visitor<'de> for RecordVisitor {
    type Value = Values<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Values<'de>, M::Error> {
        #[derive(serde::Deserialize)]
        struct RecordKey<'a>(#[serde(borrow)] Cow<'a, str>);
        let mut values = Values::default();
        let mut seen = [false; FIELDS.len()];
        while let Some(RecordKey(key)) = map.next_key()? {
            let Some(field) = FIELDS.iter().position(|field| *field == key) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if std::mem::replace(&mut seen[field], true) {
                return Err(serde::de::Error::custom(format!("it has {key} twice")));
            }
            let value: &RawValue = map.next_value()?;
            values[field] = match value.get() {
                "null" => Some(Cow::Borrowed("")),
                _ => match text_of(value) {
                    Some(text) => Some(text),
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

/// A record as a call; `None` if there is nothing to charge, and no currency.
fn call(values: &Values<'_>, zone: Option<&Zone>) -> Result<Option<Call>, String> {
    let said = values.each_ref().map(|value| value.as_deref().map(str::trim).filter(|text| !text.is_empty()));
    let [uuid, start, direction, from, to, caller, called, cost, streaming, total, currency, billsec] = said;
    let needed =
        |name: &str, value: Option<&'_ str>| value.map(str::to_owned).ok_or_else(|| format!("it has no {name}"));
    let uuid = needed("uuid", uuid)?;
    let start = start_of(&needed("start_time", start)?, zone)?;
    let (cost, streaming) = (decimal("cost", cost)?, decimal("streaming_cost", streaming)?);
    let parts = cost.map(|cost| cost + streaming.unwrap_or_default());
    let total = decimal("total_cost", total)?;
    let told = decimal("billsec", billsec)?;
    let seconds = told.unwrap_or_default().whole();
    let seconds =
        seconds.ok_or_else(|| format!("billsec {} must be whole seconds", quoted(billsec.unwrap_or_default())))?;
    // A record that has no place for how long a call was does not say that it
    // was not answered.
    let answered = seconds > 0 || values[BILLSEC].is_none();
    let cost = match total.or(parts) {
        Some(cost) => cost,
        None if !answered => Decimal::ZERO,
        None if seconds > 0 => return Err(format!("it has no total_cost, and lasted {seconds} s")),
        None => return Err("it has no total_cost".to_owned()),
    };
    let Some(currency) = currency.filter(|text| !says_nothing(text)) else {
        let free = !answered && cost == Decimal::ZERO;
        return if free { Ok(None) } else { Err("it has no currency".to_owned()) };
    };
    Ok(Some(Call {
        id: id(&uuid),
        start,
        direction: direction.map(direction_of).transpose()?,
        from: from.or(caller).and_then(number),
        to: to.or(called).and_then(number),
        seconds,
        cost,
        currency: currency.parse::<Currency>().map_err(|error| format!("currency {currency:?} {error}"))?,
        adds_up: total.is_none() || parts.is_none() || total == parts,
    }))
}

/// Which way a call went. A word that is guessed would put the call on the invoice of
/// another customer.
fn direction_of(text: &str) -> Result<Direction, String> {
    let known = Direction::parse(&text.to_ascii_lowercase());
    known.ok_or_else(|| format!("call_direction {} must be inbound or outbound", quoted(text)))
}

/// A number; nothing where the cell says so in the words of a database.
fn decimal(name: &str, value: Option<&str>) -> Result<Option<Decimal>, String> {
    let value = value.filter(|text| !says_nothing(text));
    value.map(|text| text.parse().map_err(|error| format!("{name} {text:?} {error}"))).transpose()
}

fn says_nothing(text: &str) -> bool {
    ["null", "none", "nil", "nan", "n/a", "#n/a", "undefined", "\\n", "-"].contains(&&*text.to_ascii_lowercase())
}

/// When a call began: a time with its zone, however that is written, or one on
/// the clocks of `zone`.
fn start_of(text: &str, zone: Option<&Zone>) -> Result<Time, String> {
    let wrong = |problem: &str| format!("start_time {text:?} {problem}");
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    const SHAPE: &str = "must be a time, such as 2026-02-01T10:00:00Z or 2026-02-01 15:30:00+05:30";
    let clock = text.get(..19).filter(|clock| matches!(clock.as_bytes()[10], b'T' | b't' | b' '));
    let (Some(clock), Some(rest)) = (clock, text.get(19..)) else { return Err(wrong(SHAPE)) };
    let local = format!("{}T{}", &clock[..10], &clock[11..]);
    // A fraction of a second is dropped.
    let fraction = rest.strip_prefix('.').map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    if let Some(offset) = offset_of(fraction.unwrap_or(rest).trim()) {
        return format!("{local}{offset}").parse().map_err(|_| wrong(SHAPE));
    }
    let whole = fraction.unwrap_or(rest).trim().is_empty() && format!("{local}Z").parse::<Time>().is_ok();
    let local: jiff::civil::DateTime = local.parse().ok().filter(|_| whole).ok_or_else(|| wrong(SHAPE))?;
    let zone = zone.ok_or_else(|| wrong("has no zone; name the zone of such times, as in --cdr-zone Asia/Kolkata"))?;
    zone.exactly(local).map_err(|error| wrong(&format!("{error}; it was read in {zone}")))
}

/// `Z`, ` UTC`, `+05:30`, `+0530` and `+05`, as a time has them.
fn offset_of(text: &str) -> Option<String> {
    if ["z", "utc", "gmt"].contains(&&*text.to_ascii_lowercase()) {
        return Some("Z".to_owned());
    }
    let (sign, rest) = text.strip_prefix(['+', '-']).map(|rest| (&text[..1], rest))?;
    let digits: String = rest.chars().filter(|c| *c != ':').collect();
    let shaped = rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b':') && !rest.ends_with(':');
    match digits.len() {
        2 if shaped => Some(format!("{sign}{digits}:00")),
        4 if shaped => Some(format!("{sign}{}:{}", &digits[..2], &digits[2..])),
        _ => None,
    }
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
        read_in(None, text).map(|(calls, _, read)| (calls, read))
    }

    type Found = (Vec<Call>, Vec<String>, CallsRead);

    fn read_in(zone: Option<&str>, text: &str) -> Result<Found, String> {
        let zone = zone.map(|name| Zone::find(name).expect("a zone"));
        let (mut calls, mut bad) = (Vec::new(), Vec::new());
        let take = &mut |_: u64, record: Result<&Call, BadCall>| match record {
            Ok(call) => calls.push(*call),
            Err(error) => bad.push(error.to_string()),
        };
        let read = read_calls(text.as_bytes(), zone.as_ref(), take).map_err(|error| error.to_string())?;
        Ok((calls, bad, read))
    }

    /// What is said of the row with a part of it replaced; the rows around it
    /// are read all the same.
    #[track_caller]
    fn problem(from: &str, to: &str) -> String {
        assert!(ROW.contains(from), "{from}");
        let (calls, bad, read) = read_in(None, &format!("{ROW}\n{}\n{ROW}\n", ROW.replace(from, to))).expect("lines");
        assert_eq!((calls.len(), read.records, read.rejected), (2, 3, 1), "{to}");
        bad.concat()
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
        let said = format!("sep=|\r\n{}", csv.replace("a, b", "ab").replace(',', "|"));
        for text in [platform.as_str(), &format!("{ROW}\n\n{ROW}\n"), &format!("[{ROW}]"), &csv, &said] {
            let (other, _) = read(text).expect(text);
            assert_eq!(other[0], calls[0], "{text}");
        }
        let call = calls[0];
        assert_eq!((call.id, call.seconds, call.adds_up), (0x5566_7788_1234_5678_90ab_cdef_1234_5678, 61, true));
        assert_eq!(call.ours().map(|number| number.to_string()).as_deref(), Some("+918012345678"));
    }

    #[test]
    fn what_cannot_be_charged_is_said_by_line() {
        for (from, to, expected) in [
            (r#""total_cost":0.3"#, r#""total_cost":3e-19"#, "line 2: total_cost \"3e-19\" has more than 18 decimals"),
            (r#""total_cost":0.3"#, r#""total_cost":true"#, "line 2: total_cost must be text or a number"),
            (r#""currency":"INR""#, r#""currency":null"#, "line 2: it has no currency"),
            (r#""currency":"INR""#, r#""currency":"RUPEE""#, "currency \"RUPEE\" must be a currency"),
            ("2026-03-25T06:59:26.5Z", "2026-03-25 06:59:26", "start_time \"2026-03-25 06:59:26\" has no zone"),
            ("2026-03-25T06:59:26.5Z", "25/03/2026 06:59:26", "start_time \"25/03/2026 06:59:26\" must be a time"),
            (r#""uuid":"55667788-1234-5678-90ab-cdef12345678","#, "", "it has no uuid"),
            (r#""billsec":61"#, r#""billsec":-1"#, "billsec \"-1\" must be whole seconds"),
            (r#""billsec":61"#, r#""billsec":30.5"#, "billsec \"30.5\" must be whole seconds"),
            (r#""mos":4.5"#, r#""cost":1"#, "it has cost twice"),
            (
                r#""cost":0.3,"streaming_cost":0,"total_cost":0.3"#,
                r#""total_cost":null"#,
                "no total_cost, and lasted 61 s",
            ),
            ("}", "", "line 2: "),
        ] {
            let said = problem(from, to);
            assert!(said.contains(expected), "{said}, not {expected}");
        }
        let page = format!("{{\"data\":[\n{ROW},\n{}]}}", ROW.replace("INR", "RUPEE"));
        let (calls, bad, _) = read_in(None, &page).expect("a page");
        assert!(calls.len() == 1 && bad.concat().starts_with("record 2 (line 3): currency"), "{bad:?}");
        let csv = "uuid,start_time,total_cost,currency\nx,2026-03-25T06:59:26Z,1\ny,2026-03-25T06:59:26Z,1,INR\n";
        let (calls, bad, _) = read_in(None, csv).expect("lines");
        assert_eq!((calls.len(), &bad[..]), (1, &["line 2: it has 3 cells where the header has 4".to_owned()][..]));
        assert!(read("").expect_err("nothing").contains("empty"));
        assert!(read("uuid,cost\nx,1\n").expect_err("columns").contains("no column start_time"));
        let cut = format!("{{\"data\":[{ROW}");
        assert!(read(&cut).expect_err("cut off").contains("not closed"));
    }

    #[test]
    fn numbers_are_read_as_programs_print_them() {
        for (from, to, cost, seconds) in [
            (r#""cost":0.3,"streaming_cost":0,"total_cost":0.3"#, r#""total_cost":1e-05"#, "0.00001", 61),
            (r#""total_cost":0.3"#, r#""total_cost":"3E-1""#, "0.3", 61),
            (r#""billsec":61"#, r#""billsec":30.0"#, "0.3", 30),
            (r#""billsec":61"#, r#""billsec":"30.0""#, "0.3", 30),
            (r#""billsec":61"#, r#""billsec":null"#, "0.3", 0),
            (r#""streaming_cost":0"#, r#""streaming_cost":null"#, "0.3", 61),
        ] {
            let (calls, _) = read(&ROW.replace(from, to)).expect("a row");
            assert_eq!((calls[0].cost.to_string().as_str(), calls[0].seconds), (cost, seconds), "{to}");
        }
    }

    #[test]
    fn an_unanswered_call_needs_no_cost() {
        let costs = r#""cost":0.3,"streaming_cost":0,"total_cost":0.3,"currency":"INR","billsec":61"#;
        for (to, found) in [
            (r#""cost":null,"total_cost":null,"currency":"INR","billsec":0"#, "1 0 0"),
            (r#""total_cost":null,"currency":"INR","billsec":null"#, "1 0 0"),
            (r#""currency":"INR","billsec":"0.0""#, "1 0 0"),
            (r#""total_cost":"NaN","currency":"INR","billsec":0"#, "1 0 0"),
            (r#""total_cost":null,"currency":null,"billsec":0"#, "0 1 0"),
            (r#""total_cost":0,"currency":null,"billsec":0"#, "0 1 0"),
            (r#""total_cost":null,"currency":"INR""#, "0 0 1"),
            (r#""total_cost":null,"currency":"INR","billsec":5"#, "0 0 1"),
            (r#""total_cost":1,"currency":null,"billsec":0"#, "0 0 1"),
        ] {
            let (calls, bad, read) = read_in(None, &ROW.replace(costs, to)).expect("a row");
            assert_eq!(format!("{} {} {}", calls.len(), read.free, bad.len()), found, "{to}: {bad:?}");
            assert!(calls.iter().all(|call| call.cost == Decimal::ZERO));
        }
        let csv = "uuid,start_time,total_cost,currency,billsec\n\
                   a,2026-03-25T06:59:26Z,,INR,0\nb,2026-03-25T06:59:26Z,,INR,\nc,2026-03-25T06:59:26Z,\\N,\\N,0\n";
        let (calls, bad, read) = read_in(None, csv).expect("rows");
        assert_eq!((calls.len(), bad.len(), read.free), (2, 0, 1));
    }

    #[test]
    fn a_time_has_a_zone_or_is_given_one() {
        let start = |zone: Option<&str>, text: &str| {
            let row = ROW.replace("2026-03-25T06:59:26.5Z", text);
            let (calls, bad, _) = read_in(zone, &row).expect("a row");
            calls.first().map_or_else(|| bad.concat(), |call| call.start.to_string())
        };
        let (kolkata, berlin) = (Some("Asia/Kolkata"), Some("Europe/Berlin"));
        for (zone, text, expected) in [
            (None, "2026-03-25 06:59:26 UTC", "2026-03-25T06:59:26Z"),
            (None, "2026-03-25 06:59:26+00", "2026-03-25T06:59:26Z"),
            (None, "2026-03-25T12:29:26.123456 +0530", "2026-03-25T06:59:26Z"),
            (None, "2026-03-25 12:29:26+05:30", "2026-03-25T06:59:26Z"),
            (kolkata, "2026-03-25 12:29:26", "2026-03-25T06:59:26Z"),
            (kolkata, "2026-03-25T12:29:26.999", "2026-03-25T06:59:26Z"),
            // What has a zone keeps it.
            (kolkata, "2026-03-25T06:59:26Z", "2026-03-25T06:59:26Z"),
            (berlin, "2026-10-25 01:59:59", "2026-10-24T23:59:59Z"),
            (berlin, "2026-10-25 03:00:00", "2026-10-25T02:00:00Z"),
        ] {
            assert_eq!(start(zone, text), expected, "{text} in {zone:?}");
        }
        for (zone, text, expected) in [
            (berlin, "2026-10-25 02:30:00", "occurs twice"),
            (berlin, "2026-03-29 02:30:00", "does not occur"),
            (kolkata, "2026-02-30 02:30:00", "must be a time"),
            (kolkata, "2026-03-25 24:00:00", "must be a time"),
            (kolkata, "2026-03-25 06:59", "must be a time"),
            (kolkata, "2026-03-25", "must be a time"),
            (kolkata, "2026-03-25 06:59:26 IST", "must be a time"),
            (kolkata, "2026-03-25 06:59:26+5", "must be a time"),
            (kolkata, "2026-03-25 06:59:2é", "must be a time"),
        ] {
            let said = start(zone, text);
            assert!(said.contains(expected) && said.starts_with("line 1: start_time"), "{text}: {said}");
        }
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
