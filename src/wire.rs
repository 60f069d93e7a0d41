//! The JSON and CSV shapes of the Partner API: which keys a row has, in which
//! order, and how each value is written.
//!
//! A shape is a table of [`Column`]s, so field naming lives here and nowhere
//! else. Rows are written straight into one buffer; `serde` would cost ten
//! times as much on the two list endpoints, and `monthly_cost` needs its
//! currency's decimals as a JSON number.
//!
//! Most of a row is said by thousands of others, so a [`RowWriter`] renders it
//! once for each [`RenderKind`] and then copies. The text is kept beside the snapshot
//! whose names it shows and goes with it, and in a snapshot no name changes: it
//! cannot be stale. Of a row that follows another of its kind only what differs is
//! written, in place.
//!
//! # The second dialect
//!
//! A list has one of two shapes, and never a mixture: the specification's, or
//! [`ITEMS`], which the platform's SDKs read. What they expect and Rollcall does
//! not keep is said as follows:
//!
//! - `id` is the number, as `e164` is: it is what names a number everywhere.
//! - `account_id` is the account that holds it, null if none does;
//!   `trunk_group_id` is `trunk_id`, `monthly_fee` is `monthly_cost`.
//! - `capabilities` and `voice_enabled` say voice and nothing else: Rollcall
//!   keeps numbers that calls are routed by, and does not know of messages or fax.
//! - `setup_fee` is 0 in the number's currency: none is kept, and none charged.
//! - `status` is `active` or `suspended`; `is_blocked` says the latter again.
//! - `purchased_at` is `assigned_at`. `created_at` and `updated_at` are the
//!   earlier and the later of `assigned_at` and the moment it came into its
//!   state: the first and the last that is kept of it. A new price or route
//!   moves neither; the entity tag tells whether anything changed.
//! - `last_billing_date` and `next_billing_date` are null: Rollcall does not bill.
//!   An expiry is not a billing date, and this shape has no place for it.
//! - `source` is `rollcall`.

use std::ops::Range;
use std::sync::OnceLock;

pub mod costs;
pub mod html;
pub mod paper;
pub mod past;
pub mod record;
pub mod report;

use crate::domain::{Dialect, E164, Money, Status, Tags, Time, e164, spreadsheet, time};
use crate::inventory::{NumberRef, RenderKind, Snapshot};

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
    // Those of the second dialect alone.
    Id,
    AccountId,
    E164,
    Capabilities,
    SetupFee,
    MonthlyFee,
    TrunkGroupId,
    VoiceEnabled,
    PurchasedAt,
    CreatedAt,
    UpdatedAt,
    IsBlocked,
    LastBillingDate,
    NextBillingDate,
    Source,
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

/// A number in the second dialect, on both lists.
pub const ITEMS: &[Column] = &[
    C::Id,
    C::AccountId,
    C::E164,
    C::Country,
    C::Region,
    C::Capabilities,
    C::Status,
    C::SetupFee,
    C::MonthlyFee,
    C::Currency,
    C::ApplicationId,
    C::TrunkGroupId,
    C::VoiceEnabled,
    C::Tags,
    C::PurchasedAt,
    C::CreatedAt,
    C::UpdatedAt,
    C::IsBlocked,
    C::LastBillingDate,
    C::NextBillingDate,
    C::Source,
];

/// The shape of a list of numbers: of one account's, or of all of a partner's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    pub dialect: Dialect,
    pub columns: &'static [Column],
}

impl Shape {
    pub fn customer(dialect: Dialect) -> Shape {
        Shape { dialect, columns: if dialect == Dialect::Items { ITEMS } else { CUSTOMER } }
    }

    pub fn global(dialect: Dialect) -> Shape {
        Shape { dialect, columns: if dialect == Dialect::Items { ITEMS } else { GLOBAL } }
    }

    /// As [`ROW_BYTES`].
    pub fn row_bytes(self) -> usize {
        match self.dialect {
            Dialect::Data => ROW_BYTES,
            Dialect::Items => ROW_BYTES * 3 / 2,
        }
    }

    /// What stands before the first row of a page.
    pub fn begin(self, out: &mut Vec<u8>) {
        out.extend_from_slice(match self.dialect {
            Dialect::Data => b"{\"data\":[",
            Dialect::Items => b"{\"items\":[",
        });
    }

    /// What stands behind the last row of a page. `owner` is whose numbers they
    /// are: an account's, or the partner's.
    pub fn end(self, out: &mut Vec<u8>, total: u64, page: u64, per_page: u64, owner: &str) {
        match self.dialect {
            Dialect::Data => json_meta(out, total, page, per_page),
            Dialect::Items => {
                for (name, value) in [("],\"page\":", page), (",\"per_page\":", per_page), (",\"total\":", total)] {
                    out.extend_from_slice(name.as_bytes());
                    whole(out, value);
                }
                out.extend_from_slice(b",\"account_auth_id\":");
                json_text(out, owner);
                out.push(b'}');
            }
        }
    }
}

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
            C::Id => "id",
            C::AccountId => "account_id",
            C::E164 => "e164",
            C::Capabilities => "capabilities",
            C::SetupFee => "setup_fee",
            C::MonthlyFee => "monthly_fee",
            C::TrunkGroupId => "trunk_group_id",
            C::VoiceEnabled => "voice_enabled",
            C::PurchasedAt => "purchased_at",
            C::CreatedAt => "created_at",
            C::UpdatedAt => "updated_at",
            C::IsBlocked => "is_blocked",
            C::LastBillingDate => "last_billing_date",
            C::NextBillingDate => "next_billing_date",
            C::Source => "source",
        }
    }

    /// Whether all rows of a [`RenderKind`] have the same value.
    fn shared(self) -> bool {
        match self {
            C::AccountAuthId
            | C::AccountName
            | C::NumberType
            | C::Country
            | C::Region
            | C::Status
            | C::ApplicationId
            | C::ApplicationName
            | C::TrunkId
            | C::MonthlyCost
            | C::Currency
            | C::Tags
            | C::AccountId
            | C::Capabilities
            | C::SetupFee
            | C::MonthlyFee
            | C::TrunkGroupId
            | C::VoiceEnabled
            | C::IsBlocked
            | C::LastBillingDate
            | C::NextBillingDate
            | C::Source => true,
            C::Number
            | C::Id
            | C::E164
            | C::PurchasedAt
            | C::CreatedAt
            | C::UpdatedAt
            | C::AssignedAt
            | C::ExpiresAt
            | C::State
            | C::Since
            | C::QuarantineEndsAt
            | C::ReservedUntil
            | C::ReservedFor => false,
        }
    }

    fn value(self, row: NumberRef<'_>) -> CellValue<'_> {
        use crate::domain::State;
        let ends = |wanted| if row.state() == wanted { CellValue::time(row.until()) } else { CellValue::Null };
        match self {
            C::Number | C::Id | C::E164 => CellValue::Number(row.number()),
            C::AccountAuthId | C::AccountId => CellValue::text(row.account().map(|account| account.auth_id.as_str())),
            C::AccountName => CellValue::text(row.account().map(|account| &*account.name)),
            C::NumberType => CellValue::Word(row.number_type().as_str()),
            C::Country => row.country().map_or(CellValue::Null, |country| CellValue::Code(country.bytes())),
            C::Region => CellValue::text(row.region()),
            C::Status => CellValue::Word(row.status().as_str()),
            C::ApplicationId => CellValue::text(row.application().map(|application| application.id.as_str())),
            C::ApplicationName => CellValue::text(row.application().map(|application| &*application.name)),
            C::TrunkId | C::TrunkGroupId => CellValue::text(row.trunk().map(|trunk| trunk.id.as_str())),
            C::MonthlyCost | C::MonthlyFee => row.cost().map_or(CellValue::Null, CellValue::Money),
            C::SetupFee => row.cost().map_or(CellValue::Null, |cost| CellValue::Money(Money { minor: 0, ..cost })),
            C::Currency => row.cost().map_or(CellValue::Null, CellValue::Currency),
            C::AssignedAt | C::PurchasedAt => CellValue::time(row.assigned_at()),
            C::CreatedAt => CellValue::Time(row.assigned_at().map_or(row.since(), |at| at.min(row.since()))),
            C::UpdatedAt => CellValue::Time(row.assigned_at().map_or(row.since(), |at| at.max(row.since()))),
            C::ExpiresAt => CellValue::time(row.expires_at()),
            C::Tags => CellValue::Tags(row.tags()),
            C::State => CellValue::Word(row.state().as_str()),
            C::Since => CellValue::Time(row.since()),
            C::QuarantineEndsAt => ends(State::Quarantined),
            C::ReservedUntil => ends(State::Reserved),
            C::ReservedFor => CellValue::text(row.reserved_for().map(|account| account.auth_id.as_str())),
            C::Capabilities => CellValue::Capabilities,
            C::VoiceEnabled => CellValue::Flag(true),
            C::IsBlocked => CellValue::Flag(row.status() == Status::Suspended),
            C::LastBillingDate | C::NextBillingDate => CellValue::Null,
            C::Source => CellValue::Word("rollcall"),
        }
    }
}

#[derive(PartialEq)]
enum CellValue<'a> {
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
    Flag(bool),
    /// What a number can carry: voice, and nothing else that is known of.
    Capabilities,
}

impl<'a> CellValue<'a> {
    fn text(text: Option<&'a str>) -> CellValue<'a> {
        text.map_or(CellValue::Null, CellValue::Text)
    }

    fn time(time: Option<Time>) -> CellValue<'a> {
        time.map_or(CellValue::Null, CellValue::Time)
    }
}

/// The bytes a row takes at the most in ordinary inventories; for sizing
/// buffers. A row of the second dialect takes half as much again.
pub const ROW_BYTES: usize = 400;

/// How rows are put into text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TextForm {
    /// A JSON object.
    Json,
    /// A line of CSV (RFC 4180); what is absent is an empty cell.
    Csv,
    /// The same for spreadsheets, which take cells for formulas: those have an
    /// apostrophe before them. Numbers begin with `+`, so every row's has one,
    /// and by that an import knows to take away the others.
    Spreadsheet,
}

impl TextForm {
    /// What stands before a value.
    fn lead(self, out: &mut Vec<u8>, first: bool, column: Column) {
        match self {
            TextForm::Json => {
                out.extend_from_slice(if first { b"{\"" } else { b",\"" });
                out.extend_from_slice(column.name().as_bytes());
                out.extend_from_slice(b"\":");
            }
            TextForm::Csv | TextForm::Spreadsheet if first => {}
            TextForm::Csv | TextForm::Spreadsheet => out.push(b','),
        }
    }

    fn end(self) -> &'static [u8] {
        match self {
            TextForm::Json => b"}",
            TextForm::Csv | TextForm::Spreadsheet => b"\r\n",
        }
    }

    fn value(self, out: &mut Vec<u8>, value: &CellValue<'_>) {
        match (self, value) {
            (TextForm::Json, CellValue::Null) => out.extend_from_slice(b"null"),
            (TextForm::Csv | TextForm::Spreadsheet, CellValue::Null) => {}
            (TextForm::Json, CellValue::Text(text)) => json_text(out, text),
            (TextForm::Csv, CellValue::Text(text)) => csv_read_back(out, text),
            (TextForm::Spreadsheet, CellValue::Text(text)) => csv_protected(out, text),
            (_, CellValue::Money(money)) => money_text(out, *money),
            (TextForm::Json, CellValue::Tags(tags)) => {
                out.push(b'[');
                for (at, tag) in tags.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    json_text(out, tag);
                }
                out.push(b']');
            }
            (TextForm::Csv, CellValue::Tags(tags)) => csv_read_back(out, &tags.iter().collect::<Vec<_>>().join(";")),
            (TextForm::Spreadsheet, CellValue::Tags(tags)) => {
                csv_protected(out, &tags.iter().collect::<Vec<_>>().join(";"))
            }
            (_, CellValue::Flag(flag)) => out.extend_from_slice(if *flag { b"true" } else { b"false" }),
            (TextForm::Json, CellValue::Capabilities) => {
                out.extend_from_slice(br#"{"voice":true,"sms":false,"mms":false,"fax":false}"#);
            }
            (TextForm::Csv | TextForm::Spreadsheet, CellValue::Capabilities) => out.extend_from_slice(b"voice"),
            (_, CellValue::Word(word)) => self.plain(out, word.as_bytes()),
            (_, CellValue::Code(code)) => self.plain(out, code),
            (_, CellValue::Number(number)) => self.plain(out, number.ascii(&mut [0; e164::TEXT_MAX])),
            (_, CellValue::Currency(money)) => self.plain(out, money.currency.code().as_bytes()),
            (_, CellValue::Time(time)) => self.plain(out, time.ascii(&mut [0; time::TEXT_BYTES])),
        }
    }

    /// A value whose text needs no escaping.
    fn plain(self, out: &mut Vec<u8>, text: &[u8]) {
        match self {
            TextForm::Json => {
                out.push(b'"');
                out.extend_from_slice(text);
                out.push(b'"');
            }
            TextForm::Spreadsheet if text.starts_with(b"+") => {
                out.push(b'\'');
                out.extend_from_slice(text);
            }
            TextForm::Csv | TextForm::Spreadsheet => out.extend_from_slice(text),
        }
    }
}

/// Writes the rows of one snapshot in one shape.
pub struct RowWriter<'a> {
    snapshot: &'a Snapshot,
    form: TextForm,
    columns: &'static [Column],
    /// The kind of the last row.
    kind: Option<RenderKind>,
    /// Its text.
    text: Vec<u8>,
    /// Where what is the row's own stands in it.
    gaps: Vec<RowGap<'a>>,
    /// For a value that takes another's place.
    scratch: Vec<u8>,
}

/// A value that is a row's own, and the part of the row's text that says it.
struct RowGap<'a> {
    column: Column,
    value: CellValue<'a>,
    at: Range<usize>,
}

/// What rows of a kind say, but for the values that are a row's own.
struct RowText {
    key: TextKey,
    bytes: Box<[u8]>,
    /// Where those stand, and which they are.
    gaps: Box<[(usize, Column)]>,
}

enum FoundText<'a> {
    Kept(&'a RowText),
    Own(RowText),
}

impl<'a> RowWriter<'a> {
    pub fn new(snapshot: &'a Snapshot, form: TextForm, columns: &'static [Column]) -> RowWriter<'a> {
        RowWriter { snapshot, form, columns, kind: None, text: Vec::new(), gaps: Vec::new(), scratch: Vec::new() }
    }

    /// Writes a row of the writer's snapshot.
    pub fn row(&mut self, out: &mut Vec<u8>, row: NumberRef<'a>) {
        assert!(row.is_of(self.snapshot), "a row is written from its own snapshot");
        let kind = row.kind();
        if self.kind != Some(kind) || !self.amend(row) {
            self.compose(row, kind);
        }
        out.extend_from_slice(&self.text);
    }

    /// Makes the last row's text that of a row of its kind, of which little more than
    /// the number differs most often; false where a value takes more or less room.
    fn amend(&mut self, row: NumberRef<'a>) -> bool {
        for gap in &mut self.gaps {
            let value = gap.column.value(row);
            if gap.value == value {
                continue;
            }
            self.scratch.clear();
            self.form.value(&mut self.scratch, &value);
            if self.scratch.len() != gap.at.len() {
                return false;
            }
            self.text[gap.at.clone()].copy_from_slice(&self.scratch);
            gap.value = value;
        }
        true
    }

    /// The text of a row out of that of its kind. Rows of all kinds have the same gaps,
    /// and what stands in one is copied where the last row said it too.
    fn compose(&mut self, row: NumberRef<'a>, kind: RenderKind) {
        let found = self.find(row, kind);
        let of_kind = match &found {
            FoundText::Kept(text) => text,
            FoundText::Own(text) => text,
        };
        std::mem::swap(&mut self.text, &mut self.scratch);
        let (text, before) = (&mut self.text, &self.scratch);
        text.clear();
        text.reserve(ROW_BYTES);
        let mut from = 0;
        for (place, &(to, column)) in of_kind.gaps.iter().enumerate() {
            text.extend_from_slice(&of_kind.bytes[from..to]);
            from = to;
            let (begin, value) = (text.len(), column.value(row));
            match self.gaps.get(place) {
                Some(gap) if gap.value == value => text.extend_from_slice(&before[gap.at.clone()]),
                _ => self.form.value(text, &value),
            }
            let gap = RowGap { column, value, at: begin..text.len() };
            match self.gaps.get_mut(place) {
                Some(last) => *last = gap,
                None => self.gaps.push(gap),
            }
        }
        text.extend_from_slice(&of_kind.bytes[from..]);
        self.kind = Some(kind);
    }

    /// The text of a kind: what is kept of it, or rendered where its place is
    /// another's.
    fn find(&self, row: NumberRef<'a>, kind: RenderKind) -> FoundText<'a> {
        let key = TextKey { form: self.form, columns: self.columns, kind };
        let kept = self.snapshot.beside.get_or_make::<KeptTexts>();
        let text = kept.places[key.place()].get_or_init(|| Box::new(self.render(key, row)));
        if text.key == key { FoundText::Kept(text) } else { FoundText::Own(self.render(key, row)) }
    }

    fn render(&self, key: TextKey, row: NumberRef<'a>) -> RowText {
        let mut bytes = Vec::with_capacity(ROW_BYTES);
        let mut gaps = Vec::new();
        for (at, &column) in self.columns.iter().enumerate() {
            self.form.lead(&mut bytes, at == 0, column);
            if column.shared() {
                self.form.value(&mut bytes, &column.value(row));
            } else {
                gaps.push((bytes.len(), column));
            }
        }
        bytes.extend_from_slice(self.form.end());
        RowText { key, bytes: bytes.into(), gaps: gaps.into() }
    }
}

/// The texts that are kept beside a snapshot, each in the one place it can
/// have. The first to come stays, so what is kept has a bound, however many
/// kinds there are and however many rows a stream reads.
struct KeptTexts {
    places: Box<[OnceLock<Box<RowText>>]>,
}

/// How many there are, of some 400 bytes each when taken. Each new snapshot
/// begins with all of them empty, which must cost next to nothing.
const PLACES: usize = 2_048;

impl Default for KeptTexts {
    fn default() -> KeptTexts {
        KeptTexts { places: (0..PLACES).map(|_| OnceLock::new()).collect() }
    }
}

#[derive(Clone, Copy)]
struct TextKey {
    form: TextForm,
    columns: &'static [Column],
    kind: RenderKind,
}

impl TextKey {
    fn place(self) -> usize {
        (self.kind.ordinal() + self.columns.len() * 997 + self.form as usize * 499) % PLACES
    }
}

impl PartialEq for TextKey {
    fn eq(&self, other: &TextKey) -> bool {
        // The same table, not one that says the same: that takes no time.
        let same_columns = std::ptr::eq(self.columns, other.columns);
        self.kind == other.kind && self.form == other.form && same_columns
    }
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

/// A CSV cell that an import reads as this text, also where the text looks like
/// a formula that says another.
pub fn csv_read_back(out: &mut Vec<u8>, text: &str) {
    match spreadsheet::quoted(text) {
        Some(_) => csv_text(out, &spreadsheet::as_quoted(text)),
        None => csv_text(out, text),
    }
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

fn csv_protected(out: &mut Vec<u8>, text: &str) {
    match spreadsheet::is_formula(text) {
        true => csv_text(out, &format!("'{text}")),
        false => csv_text(out, text),
    }
}

/// The end of a list answer: `],"meta":{…}}`.
pub fn json_meta(out: &mut Vec<u8>, total: u64, page: u64, per_page: u64) {
    for (name, value) in [("],\"meta\":{\"total\":", total), (",\"page\":", page), (",\"per_page\":", per_page)] {
        out.extend_from_slice(name.as_bytes());
        whole(out, value);
    }
    out.extend_from_slice(b"}}");
}

/// The first value of a parameter in a query string.
pub fn parameter(query: &str, name: &str) -> Option<String> {
    form_urlencoded::parse(query.as_bytes()).find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
}

/// A whole number in decimal digits.
pub fn whole(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
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
