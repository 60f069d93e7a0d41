//! Cells become rows here, whatever format they came in.
//!
//! Files repeat themselves: a cell that has the text of the row before keeps
//! its parsed value, and rows that say the same share one [`RowFields`]. So a
//! plain row costs little more than its number.

use std::collections::HashMap;
use std::sync::Arc;

use super::columns::{self, ColumnRole, Resolved};
use super::export;
use super::value::{self, CellFault, Raw};
use super::{
    COLUMN_BYTES_MAX, COLUMNS_MAX, Caution, Cell, Field, FileFormat, FileItem, FileRow, Header, IntakeError,
    KnownExport, ReadOptions, ReadSummary, RowError, RowFields, RowNumbers, number,
};
use crate::domain::shown::quoted;
use crate::domain::spelling::BareDigits;
use crate::domain::{E164, State, nothing};

/// How much of a wrong value is repeated back, in characters.
const VALUE_CHARS_MAX: usize = 64;

/// A column that a row is read from.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadColumn {
    column: usize,
    field: Field,
    /// The product in whose words it is.
    words: Option<KnownExport>,
}

struct FileColumn {
    name: String,
    role: ColumnRole,
    /// The last row that had it.
    row: u64,
}

/// What is remembered of a field from row to row.
#[derive(Default)]
struct FieldSlot {
    /// The last row that had it, and its column there.
    row: u64,
    column: usize,
    /// The cell as the file had it, in whose words, and whether it was without
    /// fault, so that the same text again needs no work.
    text: String,
    words: Option<KnownExport>,
    good: bool,
    /// Whether the cell may be a word for nothing.
    doubtful: bool,
    /// Whether the field's value is other than absent.
    present: bool,
}

/// What a cell says: JSON's text without its quotes.
fn said<'a>(raw: Raw<'a>, text: &'a str) -> &'a str {
    match raw {
        Raw::Text(said) => said,
        Raw::Number(_) | Raw::Null | Raw::Bool(_) | Raw::List(_) | Raw::Object | Raw::Broken => text,
    }
}

/// Whether a field's cells are names that people chose.
fn names(field: Field) -> bool {
    matches!(
        field,
        Field::AccountAuthId
            | Field::AccountName
            | Field::ApplicationId
            | Field::ApplicationName
            | Field::TrunkId
            | Field::ReservedFor
            | Field::Region
            | Field::Tags
    )
}

pub(super) struct RowReader<'a> {
    options: &'a ReadOptions,
    /// Whose export it is, once the names of the columns have been seen.
    export: Option<Option<KnownExport>>,
    /// What the columns are that were there from the beginning.
    roles: HashMap<String, ColumnRole>,
    columns: Vec<FileColumn>,
    by_name: HashMap<String, usize>,
    /// By field.
    slots: [FieldSlot; Field::COUNT],
    /// What the current row says, and whether that may differ from `shared`.
    fields: RowFields,
    changed: bool,
    shared: Arc<RowFields>,
    /// The row is about an account without numbers.
    no_number: bool,
    /// Why the cost does not fit its currency; kept while both stay.
    cost_fault: Option<CellFault>,
    /// The current row: which it is, where it is, and its numbers so far.
    row: u64,
    line: u64,
    number: Option<(E164, E164)>,
    number_end: Option<(E164, E164)>,
    errors: Vec<RowError>,
    cautions: Vec<Caution>,
}

impl<'a> RowReader<'a> {
    pub fn new(options: &'a ReadOptions) -> RowReader<'a> {
        RowReader {
            options,
            export: None,
            roles: HashMap::new(),
            columns: Vec::new(),
            by_name: HashMap::new(),
            slots: std::array::from_fn(|_| FieldSlot::default()),
            fields: RowFields::default(),
            changed: false,
            shared: Arc::default(),
            no_number: false,
            cost_fault: None,
            row: 0,
            line: 0,
            number: None,
            number_end: None,
            errors: Vec::new(),
            cautions: Vec::new(),
        }
    }

    pub fn options(&self) -> &'a ReadOptions {
        self.options
    }

    pub fn rows(&self) -> u64 {
        self.row
    }

    /// Whether it is known whose export the file is, or that it is nobody's.
    pub fn recognised(&self) -> bool {
        self.export.is_some()
    }

    /// Finds out whose export the file is and what its columns are, by the names
    /// of all of them.
    pub fn recognise(&mut self, names: &[&str]) -> Result<(), IntakeError> {
        let mappings = &self.options.mappings;
        let export =
            KnownExport::of(names.iter().copied(), mappings).map_err(|exports| IntakeError::ExportTwo { exports })?;
        self.export = Some(export);
        let Resolved { roles, endless } = columns::resolve(names, mappings, export);
        if let Some(at) = endless {
            return Err(IntakeError::BlockEndless { column: names[at].to_owned() });
        }
        self.roles = names.iter().map(|&name| name.to_owned()).zip(roles).collect();
        Ok(())
    }

    /// What a column is, also one that the beginning of the file did not have.
    fn role_of(&self, name: &str) -> ColumnRole {
        if let Some(&role) = self.roles.get(name) {
            return role;
        }
        let held = |field: Field| self.columns.iter().any(|column| column.role.field() == Some(field));
        columns::role_of_late(name, &self.options.mappings, self.export.flatten(), held)
    }

    pub fn column_add(&mut self, name: &str, line: u64) -> Result<usize, IntakeError> {
        if self.columns.len() == COLUMNS_MAX {
            return Err(IntakeError::ColumnsMany);
        }
        if name.len() > COLUMN_BYTES_MAX {
            return Err(IntakeError::ColumnLong { line });
        }
        let role = self.role_of(name);
        self.columns.push(FileColumn { name: name.to_owned(), role, row: 0 });
        Ok(self.columns.len() - 1)
    }

    pub fn role(&self, column: usize) -> ColumnRole {
        self.columns[column].role
    }

    /// How to read the column, if rows are read from it.
    pub fn takes(&self, column: usize) -> Option<ReadColumn> {
        match self.columns[column].role {
            ColumnRole::Field(field) => Some(ReadColumn { column, field, words: None }),
            ColumnRole::Exported(field, export) => Some(ReadColumn { column, field, words: Some(export) }),
            ColumnRole::Ignored | ColumnRole::Unknown => None,
        }
    }

    pub fn header(&self, format: FileFormat) -> Header {
        let taken = |column: &FileColumn| Some((column.name.clone(), column.role.field()?));
        Header { format, columns: self.columns.iter().filter_map(taken).collect(), unknown: self.unknown() }
    }

    fn unknown(&self) -> Vec<String> {
        let unknown =
            self.columns.iter().filter(|column| column.role == ColumnRole::Unknown && !column.name.is_empty());
        unknown.map(|column| column.name.clone()).collect()
    }

    pub fn summary(&self, bytes: u64) -> ReadSummary {
        let names = self.columns.iter().map(|column| column.name.as_str());
        let unmapped =
            columns::unmatched(&self.options.mappings, names).map(|mapping| mapping.column.clone()).collect();
        ReadSummary { rows: self.row, bytes, unknown: self.unknown(), export: self.export.flatten(), unmapped }
    }

    pub fn begin(&mut self, line: u64) {
        self.row += 1;
        self.line = line;
        self.number = None;
        self.number_end = None;
        self.errors.clear();
        self.cautions.clear();
    }

    /// The column of a JSON row's key, if it is to be read. `guess` is where
    /// it is if this row has its keys in the order of the row before.
    pub fn key(&mut self, key: &str, guess: usize) -> Result<(usize, Option<ReadColumn>), IntakeError> {
        let at = match self.columns.get(guess).filter(|column| column.name == key) {
            Some(_) => guess,
            None => match self.by_name.get(key) {
                Some(&at) => at,
                None => {
                    let at = self.column_add(key, self.line)?;
                    self.by_name.insert(key.to_owned(), at);
                    at
                }
            },
        };
        let column = &mut self.columns[at];
        if column.row == self.row {
            let message = CellFault::Fixed("is there twice in the row");
            self.fail(at, "", &message);
            return Ok((at, None));
        }
        column.row = self.row;
        let Some(takes) = self.takes(at) else {
            return Ok((at, None));
        };
        let slot = &self.slots[takes.field as usize];
        if slot.row == self.row {
            let message =
                format!("says {} as {} does; keep one of them", takes.field, quoted(&self.columns[slot.column].name));
            self.fail(at, "", &CellFault::Text(message));
            return Ok((at, None));
        }
        Ok((at, Some(takes)))
    }

    /// Takes a cell; `text` is all that the file says of it.
    pub fn cell(&mut self, takes: ReadColumn, raw: Raw<'_>, text: &str) {
        let slot = &mut self.slots[takes.field as usize];
        slot.row = self.row;
        slot.column = takes.column;
        let outcome = match takes.field {
            Field::Number | Field::NumberEnd => {
                let bare = takes.words.map_or(BareDigits::Unknown, KnownExport::bare);
                let outcome = number::cell(raw, self.options, bare);
                slot.good = outcome.is_ok();
                let place = if takes.field == Field::Number { &mut self.number } else { &mut self.number_end };
                outcome.map(|number| *place = number)
            }
            _ if slot.good && slot.text == text && slot.words == takes.words => {
                if slot.doubtful {
                    self.doubt(takes.column, said(raw, text));
                }
                return;
            }
            field => {
                slot.text.clear();
                slot.text.push_str(text);
                slot.words = takes.words;
                slot.present = true;
                self.changed = true;
                let outcome = match takes.words {
                    Some(export) => self.set_exported(field, raw, export),
                    None => self.set(field, raw),
                };
                let slot = &mut self.slots[field as usize];
                slot.good = outcome.is_ok();
                slot.doubtful = slot.good && names(field) && nothing::perhaps(said(raw, text).trim());
                if slot.doubtful {
                    self.doubt(takes.column, said(raw, text));
                }
                outcome
            }
        };
        if let Err(fault) = outcome {
            self.fail(takes.column, said(raw, text), &fault);
        }
    }

    /// Takes a cell that cannot be used, whatever its column means.
    pub fn refuse(&mut self, takes: ReadColumn, value: &str, fault: &CellFault) {
        let slot = &mut self.slots[takes.field as usize];
        slot.row = self.row;
        slot.column = takes.column;
        slot.good = false;
        self.fail(takes.column, value, fault);
    }

    /// As [`RowReader::set`], in the words of a product.
    fn set_exported(&mut self, field: Field, raw: Raw<'_>, export: KnownExport) -> Result<(), CellFault> {
        let (fields, zone) = (&mut self.fields, &self.options.zone);
        match field {
            Field::AccountAuthId => {
                fields.account =
                    value::cell(raw, |text| value::typed(export::id_of(text, &["Subaccount", "Account"])?))?;
            }
            Field::ApplicationId => {
                fields.application = value::cell(raw, |text| value::typed(export::id_of(text, &["Application"])?))?;
            }
            Field::Status => fields.status = value::cell(raw, |text| export::status(text, export))?,
            Field::MonthlyCost => fields.cost = value::cell(raw, export::amount)?,
            Field::AssignedAt => fields.assigned_at = value::cell(raw, |text| export::time(text, zone))?,
            Field::ExpiresAt => fields.expires_at = value::cell(raw, |text| export::time(text, zone))?,
            Field::State => {
                self.no_number = false;
                let state = value::cell(raw, |text| export::state(text, export))?;
                self.set_state(state);
            }
            Field::Region => fields.region = value::cell(raw, |text| export::region(text, export))?,
            Field::Country => {
                let country = value::cell(raw, |text| Ok(export::country(text)))?;
                fields.country = country.flatten();
            }
            Field::NumberType => {
                let number_type = value::cell(raw, |text| Ok(export::number_type(text)))?;
                fields.number_type = number_type.flatten();
            }
            field => return self.set(field, raw),
        }
        Ok(())
    }

    /// Parses a cell into its field. A fault leaves the field as it was.
    fn set(&mut self, field: Field, raw: Raw<'_>) -> Result<(), CellFault> {
        let (fields, zone) = (&mut self.fields, &self.options.zone);
        match field {
            Field::Number | Field::NumberEnd => {}
            Field::AccountAuthId => fields.account = value::cell(raw, value::typed)?,
            Field::AccountName => fields.account_name = value::cell(raw, value::name)?,
            Field::ApplicationId => fields.application = value::cell(raw, value::typed)?,
            Field::ApplicationName => fields.application_name = value::cell(raw, value::name)?,
            Field::TrunkId => fields.trunk = value::cell(raw, value::typed)?,
            Field::Status => fields.status = value::cell(raw, value::status)?,
            Field::Blocked => fields.blocked = value::flag(raw)?,
            Field::State => {
                self.no_number = false;
                let state = value::cell(raw, value::state)?;
                self.set_state(state);
            }
            Field::MonthlyCost => fields.cost = value::cell(raw, value::amount)?,
            Field::Currency => fields.currency = value::cell(raw, value::typed)?,
            Field::AssignedAt => fields.assigned_at = value::cell(raw, |text| value::past(text, zone))?,
            Field::ExpiresAt => fields.expires_at = value::cell(raw, |text| value::time(text, zone))?,
            Field::NumberType => fields.number_type = value::cell(raw, value::number_type)?,
            Field::Country => fields.country = value::cell(raw, value::typed)?,
            Field::Region => fields.region = value::cell(raw, value::region)?,
            Field::Tags => fields.tags = value::tags(raw)?,
            Field::QuarantineEndsAt => fields.quarantine_ends_at = value::cell(raw, |text| value::past(text, zone))?,
            Field::ReservedUntil => fields.reserved_until = value::cell(raw, |text| value::past(text, zone))?,
            Field::ReservedFor => fields.reserved_for = value::cell(raw, value::typed)?,
            Field::Since => fields.since = value::cell(raw, |text| value::past(text, zone))?,
        }
        Ok(())
    }

    /// Takes a state; none is that of an account without numbers.
    fn set_state(&mut self, state: Cell<Option<State>>) {
        self.no_number = state == Cell::Value(None);
        self.fields.state = match state {
            Cell::Absent | Cell::Value(None) => Cell::Absent,
            Cell::Empty => Cell::Empty,
            Cell::Value(Some(state)) => Cell::Value(state),
        };
    }

    /// Forgets a field that the rows before had and this one has not.
    fn unset(&mut self, field: Field) {
        let fields = &mut self.fields;
        match field {
            Field::Number | Field::NumberEnd => {}
            Field::AccountAuthId => fields.account = Cell::Absent,
            Field::AccountName => fields.account_name = Cell::Absent,
            Field::ApplicationId => fields.application = Cell::Absent,
            Field::ApplicationName => fields.application_name = Cell::Absent,
            Field::TrunkId => fields.trunk = Cell::Absent,
            Field::Status => fields.status = Cell::Absent,
            Field::Blocked => fields.blocked = Cell::Absent,
            Field::State => {
                fields.state = Cell::Absent;
                self.no_number = false;
            }
            Field::MonthlyCost => fields.cost = Cell::Absent,
            Field::Currency => fields.currency = Cell::Absent,
            Field::AssignedAt => fields.assigned_at = Cell::Absent,
            Field::ExpiresAt => fields.expires_at = Cell::Absent,
            Field::NumberType => fields.number_type = Cell::Absent,
            Field::Country => fields.country = Cell::Absent,
            Field::Region => fields.region = Cell::Absent,
            Field::Tags => fields.tags = Cell::Absent,
            Field::QuarantineEndsAt => fields.quarantine_ends_at = Cell::Absent,
            Field::ReservedUntil => fields.reserved_until = Cell::Absent,
            Field::ReservedFor => fields.reserved_for = Cell::Absent,
            Field::Since => fields.since = Cell::Absent,
        }
    }

    /// Says of a name that it may be a word for nothing.
    fn doubt(&mut self, column: usize, value: &str) {
        self.cautions.push(Caution {
            line: self.line,
            column: self.columns[column].name.clone(),
            value: value.to_owned(),
            reason: nothing::DOUBTFUL.to_owned(),
        });
    }

    fn fail(&mut self, column: usize, value: &str, fault: &CellFault) {
        self.fail_named(self.columns[column].name.clone(), value, fault);
    }

    fn fail_named(&mut self, column: String, value: &str, fault: &CellFault) {
        // A row with every key twice needs no thousand messages.
        if self.errors.len() < 2 * Field::COUNT {
            let value = value.chars().take(VALUE_CHARS_MAX).collect();
            self.errors.push(RowError { line: self.line, column, value, message: fault.to_string() });
        }
    }

    /// What the file calls the field, if this row has it, or else we do.
    fn column_of(&self, field: Field) -> String {
        let slot = &self.slots[field as usize];
        if slot.row == self.row { self.columns[slot.column].name.clone() } else { field.to_string() }
    }

    fn fail_field(&mut self, field: Field, value: &str, fault: &CellFault) {
        self.fail_named(self.column_of(field), value, fault);
    }

    /// The current row, once it has all its cells.
    pub fn finish(&mut self) -> FileItem {
        self.forget_missing();
        self.check_cost();
        let numbers = self.numbers();
        match numbers {
            Some(numbers) if self.errors.is_empty() => {
                if self.changed {
                    if *self.shared != self.fields {
                        self.shared = Arc::new(self.fields.clone());
                    }
                    self.changed = false;
                }
                let cautions = std::mem::take(&mut self.cautions);
                FileItem::Row(FileRow { line: self.line, numbers, fields: Arc::clone(&self.shared), cautions })
            }
            Some(RowNumbers::None) | None => self.bad(1),
            Some(numbers) => self.bad(numbers.count()),
        }
    }

    /// The current row, if it cannot be read at all; `value` is what it looks like.
    pub fn abandon(&mut self, value: &str, message: String) -> FileItem {
        self.errors.clear();
        self.fail_named(String::new(), value, &CellFault::Text(message));
        self.bad(1)
    }

    fn bad(&mut self, numbers: u64) -> FileItem {
        FileItem::Bad { line: self.line, numbers, errors: std::mem::take(&mut self.errors) }
    }

    fn forget_missing(&mut self) {
        for &field in Field::ALL {
            let slot = &mut self.slots[field as usize];
            if slot.present && slot.row != self.row {
                slot.present = false;
                slot.good = false;
                self.changed = true;
                self.unset(field);
            }
        }
    }

    /// Whether the row's own cell of this field is wrong.
    fn wrong(&self, field: Field) -> bool {
        let slot = &self.slots[field as usize];
        slot.row == self.row && !slot.good
    }

    fn check_cost(&mut self) {
        if self.wrong(Field::MonthlyCost) || self.wrong(Field::Currency) {
            return;
        }
        if self.changed {
            let currency = self.fields.currency.value().copied().or(self.options.currency);
            self.cost_fault = match (self.fields.cost.value(), currency) {
                (Some(cost), Some(currency)) => value::check_amount(cost, currency).err(),
                _ => None,
            };
        }
        if let Some(fault) = self.cost_fault.clone() {
            let cost = self.fields.cost.value().cloned().unwrap_or_default();
            self.fail_field(Field::MonthlyCost, &cost, &fault);
        }
    }

    /// The row's numbers; none if they are wrong, which is then among the errors.
    fn numbers(&mut self) -> Option<RowNumbers> {
        if self.wrong(Field::Number) || self.wrong(Field::NumberEnd) {
            return None;
        }
        if self.no_number {
            return self.no_numbers();
        }
        let (first, last) = match (self.number, self.number_end) {
            (Some(ends), None) => ends,
            (Some((first, same)), Some((end, last))) if first == same && end == last => (first, last),
            (Some(_), Some(_)) => {
                let fault = "is there although a cell is a block already; write the block in one cell or in two";
                self.fail_field(Field::NumberEnd, "", &CellFault::Fixed(fault));
                return None;
            }
            (None, Some(_)) => {
                let fault = "is missing; the row has only the end of a block";
                self.fail_field(Field::Number, "", &CellFault::Fixed(fault));
                return None;
            }
            (None, None) => {
                if !self.wrong(Field::State) {
                    let fault = "is missing; an account without numbers has the state no_number";
                    self.fail_field(Field::Number, "", &CellFault::Fixed(fault));
                }
                return None;
            }
        };
        match number::block(first, last) {
            Ok(numbers) => Some(numbers),
            Err(fault) => {
                let two = self.number_end.is_some();
                let (field, value) =
                    if two { (Field::NumberEnd, last.to_string()) } else { (Field::Number, format!("{first}-{last}")) };
                self.fail_field(field, &value, &fault);
                None
            }
        }
    }

    /// A row about an account, which has an account and no number.
    fn no_numbers(&mut self) -> Option<RowNumbers> {
        if self.number.or(self.number_end).is_some() {
            self.fail_field(Field::State, "no_number", &CellFault::Fixed("cannot be the state of a row with a number"));
            return None;
        }
        if self.wrong(Field::AccountAuthId) {
            return None;
        }
        if self.fields.account.value().is_none() {
            self.fail_field(
                Field::AccountAuthId,
                "",
                &CellFault::Fixed("is missing; a row without number is about an account"),
            );
            return None;
        }
        Some(RowNumbers::None)
    }
}
