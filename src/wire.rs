//! The JSON and CSV shapes of the Partner API: which keys a row has, in which
//! order, and how each value is written.
//!
//! A shape is a table of [`Column`]s, so field naming lives here and nowhere
//! else. Rows are written straight into one buffer; `serde` would cost ten
//! times as much on the two list endpoints, and `monthly_cost` needs its
//! currency's decimals as a JSON number.

use crate::domain::{E164, Money, Tags, Time, e164};
use crate::inventory::NumberRef;

/// One field of a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Column {
    Number,
    AccountAuthId,
    AccountName,
    NumberType,
    Country,
    Region,
    Status,
    ApplicationId,
    ApplicationName,
    TrunkId,
    MonthlyCost,
    Currency,
    AssignedAt,
    ExpiresAt,
    Tags,
    State,
    Since,
    QuarantineEndsAt,
    ReservedUntil,
    ReservedFor,
}

use Column as C;

/// A customer's numbers: the specification's sample, key for key.
pub const CUSTOMER: &[Column] = &[
    C::Number,
    C::NumberType,
    C::Country,
    C::Region,
    C::Status,
    C::ApplicationId,
    C::ApplicationName,
    C::TrunkId,
    C::MonthlyCost,
    C::Currency,
    C::AssignedAt,
    C::ExpiresAt,
];

/// What `rollcall export` writes: enough for `rollcall import` to make the
/// same inventory.
pub const EXPORT: &[Column] = &[
    C::Number,
    C::AccountAuthId,
    C::AccountName,
    C::NumberType,
    C::Country,
    C::Region,
    C::Status,
    C::ApplicationId,
    C::ApplicationName,
    C::TrunkId,
    C::MonthlyCost,
    C::Currency,
    C::AssignedAt,
    C::ExpiresAt,
    C::Tags,
    C::State,
    C::Since,
    C::QuarantineEndsAt,
    C::ReservedUntil,
    C::ReservedFor,
];

/// All of a partner's numbers: the account, then what a customer's have.
pub const GLOBAL: &[Column] = EXPORT.split_at(CUSTOMER.len() + 2).0;

/// One number on its own: that, and its tags.
pub const SINGLE: &[Column] = EXPORT.split_at(CUSTOMER.len() + 3).0;

impl Column {
    /// The name in every format.
    pub fn name(self) -> &'static str {
        match self {
            C::Number => "number",
            C::AccountAuthId => "account_auth_id",
            C::AccountName => "account_name",
            C::NumberType => "number_type",
            C::Country => "country",
            C::Region => "region",
            C::Status => "status",
            C::ApplicationId => "application_id",
            C::ApplicationName => "application_name",
            C::TrunkId => "trunk_id",
            C::MonthlyCost => "monthly_cost",
            C::Currency => "currency",
            C::AssignedAt => "assigned_at",
            C::ExpiresAt => "expires_at",
            C::Tags => "tags",
            C::State => "state",
            C::Since => "since",
            C::QuarantineEndsAt => "quarantine_ends_at",
            C::ReservedUntil => "reserved_until",
            C::ReservedFor => "reserved_for",
        }
    }

    fn value(self, row: NumberRef<'_>) -> Value<'_> {
        use crate::domain::State;
        let ends = |wanted| if row.state() == wanted { Value::time(row.until()) } else { Value::Null };
        match self {
            C::Number => Value::Number(row.number()),
            C::AccountAuthId => Value::text(row.account().map(|account| account.auth_id.as_str())),
            C::AccountName => Value::text(row.account().map(|account| &*account.name)),
            C::NumberType => Value::Word(row.number_type().as_str()),
            C::Country => row.country().map_or(Value::Null, |country| Value::Code(country.bytes())),
            C::Region => Value::text(row.region()),
            C::Status => Value::Word(row.status().as_str()),
            C::ApplicationId => Value::text(row.application().map(|application| application.id.as_str())),
            C::ApplicationName => Value::text(row.application().map(|application| &*application.name)),
            C::TrunkId => Value::text(row.trunk().map(|trunk| trunk.id.as_str())),
            C::MonthlyCost => row.cost().map_or(Value::Null, Value::Money),
            C::Currency => row.cost().map_or(Value::Null, Value::Currency),
            C::AssignedAt => Value::time(row.assigned_at()),
            C::ExpiresAt => Value::time(row.expires_at()),
            C::Tags => Value::Tags(row.tags()),
            C::State => Value::Word(row.state().as_str()),
            C::Since => Value::Time(row.since()),
            C::QuarantineEndsAt => ends(State::Quarantined),
            C::ReservedUntil => ends(State::Reserved),
            C::ReservedFor => Value::text(row.reserved_for().map(|account| account.auth_id.as_str())),
        }
    }
}

enum Value<'a> {
    Null,
    Text(&'a str),
    /// Text that needs no escaping anywhere.
    Word(&'static str),
    Code([u8; 2]),
    Number(E164),
    Money(Money),
    /// The currency of an amount.
    Currency(Money),
    Time(Time),
    Tags(Tags),
}

impl<'a> Value<'a> {
    fn text(text: Option<&'a str>) -> Value<'a> {
        text.map_or(Value::Null, Value::Text)
    }

    fn time(time: Option<Time>) -> Value<'a> {
        time.map_or(Value::Null, Value::Time)
    }
}

/// The bytes a row takes at the most in ordinary inventories; for sizing buffers.
pub const ROW_BYTES: usize = 400;

/// One row as a JSON object.
pub fn json_row(out: &mut Vec<u8>, columns: &[Column], row: NumberRef<'_>) {
    let mut separator = b'{';
    for &column in columns {
        out.push(separator);
        separator = b',';
        out.push(b'"');
        out.extend_from_slice(column.name().as_bytes());
        out.extend_from_slice(b"\":");
        match column.value(row) {
            Value::Null => out.extend_from_slice(b"null"),
            Value::Text(text) => json_text(out, text),
            Value::Money(money) => money_text(out, money),
            Value::Tags(tags) => {
                out.push(b'[');
                for (at, tag) in tags.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    json_text(out, tag);
                }
                out.push(b']');
            }
            value @ (Value::Word(_) | Value::Code(_) | Value::Number(_) | Value::Currency(_) | Value::Time(_)) => {
                out.push(b'"');
                plain(out, &value);
                out.push(b'"');
            }
        }
    }
    out.push(b'}');
}

/// The header line of a CSV file.
pub fn csv_header(out: &mut Vec<u8>, columns: &[Column]) {
    for (at, column) in columns.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(column.name().as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// One row as a line of CSV (RFC 4180); what is absent is an empty cell.
pub fn csv_row(out: &mut Vec<u8>, columns: &[Column], row: NumberRef<'_>) {
    for (at, &column) in columns.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        match column.value(row) {
            Value::Null => {}
            Value::Text(text) => csv_text(out, text),
            Value::Money(money) => money_text(out, money),
            Value::Tags(tags) => csv_text(out, &tags.iter().collect::<Vec<_>>().join(";")),
            value @ (Value::Word(_) | Value::Code(_) | Value::Number(_) | Value::Currency(_) | Value::Time(_)) => {
                plain(out, &value);
            }
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// A value whose text needs no escaping.
fn plain(out: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::Word(word) => out.extend_from_slice(word.as_bytes()),
        Value::Code(code) => out.extend_from_slice(code),
        Value::Number(number) => out.extend_from_slice(number.text(&mut [0; e164::TEXT_MAX]).as_bytes()),
        Value::Currency(money) => out.extend_from_slice(money.currency.code().as_bytes()),
        Value::Time(time) => out.extend_from_slice(time.text(&mut [0; 20]).as_bytes()),
        Value::Null | Value::Text(_) | Value::Money(_) | Value::Tags(_) => unreachable!("has its own form"),
    }
}

fn money_text(out: &mut Vec<u8>, money: Money) {
    use std::io::Write;
    write!(out, "{money}").expect("writing to memory");
}

/// A JSON string with its quotes.
pub fn json_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    // Almost all names need no escape, so the whole is copied at once.
    while let Some(at) = rest.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            control => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(control >> 4)]);
                out.push(HEX[usize::from(control & 15)]);
            }
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// A CSV cell, quoted where it must be.
pub fn csv_text(out: &mut Vec<u8>, text: &str) {
    let quoted = text.contains([',', ';', '"', '\r', '\n', '\t']) || text.trim() != text;
    if !quoted {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    for &byte in text.as_bytes() {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// The end of a list answer: `],"meta":{…}}`.
pub fn json_meta(out: &mut Vec<u8>, total: u64, page: u64, per_page: u64) {
    use std::io::Write;
    write!(out, "],\"meta\":{{\"total\":{total},\"page\":{page},\"per_page\":{per_page}}}}}")
        .expect("writing to memory");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_is_json_and_csv(text in any::<String>()) {
            let mut json = Vec::new();
            json_text(&mut json, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&json).expect("valid JSON"), text.clone());

            let mut line = b"x,".to_vec();
            csv_text(&mut line, &text);
            line.extend_from_slice(b"\r\n");
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(&line[..]);
            let record = reader.records().next().expect("a record").expect("valid CSV");
            prop_assert_eq!(record.get(1), Some(&*text));
        }
    }
}
