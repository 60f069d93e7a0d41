//! What a column can mean, and which column of a file means it.

use std::str::FromStr;

use super::{Export, IntakeError};
use crate::domain::number::words;

/// What a column can be read as.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Field {
    Number,
    NumberEnd,
    AccountAuthId,
    AccountName,
    ApplicationId,
    ApplicationName,
    TrunkId,
    Status,
    Blocked,
    State,
    MonthlyCost,
    Currency,
    AssignedAt,
    ExpiresAt,
    NumberType,
    Country,
    Region,
    Tags,
    QuarantineEndsAt,
    ReservedUntil,
    ReservedFor,
    Since,
}

words!(Field:
    Number "number",
    NumberEnd "number_end",
    AccountAuthId "account_auth_id",
    AccountName "account_name",
    ApplicationId "application_id",
    ApplicationName "application_name",
    TrunkId "trunk_id",
    Status "status",
    Blocked "is_blocked",
    State "state",
    MonthlyCost "monthly_cost",
    Currency "currency",
    AssignedAt "assigned_at",
    ExpiresAt "expires_at",
    NumberType "number_type",
    Country "country",
    Region "region",
    Tags "tags",
    QuarantineEndsAt "quarantine_ends_at",
    ReservedUntil "reserved_until",
    ReservedFor "reserved_for",
    Since "since"
);

impl Field {
    /// How many there are; `field as usize` is below.
    pub(super) const COUNT: usize = Field::ALL.len();

    /// The field that a column of this name has without being told.
    fn of_column(folded: &str) -> Option<Field> {
        match folded {
            "start" => Some(Field::Number),
            "end" => Some(Field::NumberEnd),
            name => Field::parse(name),
        }
    }
}

/// `COLUMN=FIELD`, or `COLUMN=-` for a column that is to be ignored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mapping {
    pub column: String,
    /// None ignores the column.
    pub field: Option<Field>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadMapping {
    #[error("{text:?} is not a mapping; write COLUMN=FIELD, or COLUMN=- to ignore the column")]
    Form { text: String },
    #[error("there is no field {field:?}; the fields are {}", Field::ALL.iter().map(|field| field.as_str()).collect::<Vec<_>>().join(", "))]
    Field { field: String },
}

impl FromStr for Mapping {
    type Err = BadMapping;

    /// The last `=` divides, for a column's name may have one itself.
    fn from_str(text: &str) -> Result<Mapping, BadMapping> {
        let (column, field) = text.rsplit_once('=').unwrap_or_default();
        let (column, field) = (column.trim(), field.trim());
        if column.is_empty() || field.is_empty() {
            return Err(BadMapping::Form { text: text.to_owned() });
        }
        let field = match field {
            "-" => None,
            _ => Some(
                Field::parse(&field.to_ascii_lowercase())
                    .ok_or_else(|| BadMapping::Field { field: field.to_owned() })?,
            ),
        };
        Ok(Mapping { column: column.to_owned(), field })
    }
}

/// A column's name as names are compared: without case and spaces around it.
pub(super) fn folded(name: &str) -> String {
    name.trim().to_lowercase()
}

pub(super) fn check_mappings(mappings: &[Mapping]) -> Result<(), IntakeError> {
    for (at, mapping) in mappings.iter().enumerate() {
        let same = |other: &Mapping| folded(&other.column) == folded(&mapping.column);
        if mappings[..at].iter().any(same) {
            return Err(IntakeError::MappingTwice { column: mapping.column.clone() });
        }
    }
    Ok(())
}

/// What a column of the file is to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Field(Field),
    /// The same, in the words of the product whose export it is.
    Exported(Field, Export),
    Ignored,
    Unknown,
}

impl Role {
    /// The field that is read from the column.
    pub fn field(self) -> Option<Field> {
        match self {
            Role::Field(field) | Role::Exported(field, _) => Some(field),
            Role::Ignored | Role::Unknown => None,
        }
    }
}

pub(super) fn role(name: &str, mappings: &[Mapping], export: Option<Export>) -> Role {
    let name = folded(name);
    if let Some(mapping) = mappings.iter().find(|mapping| folded(&mapping.column) == name) {
        return mapping.field.map_or(Role::Ignored, Role::Field);
    }
    let ours = Field::of_column(&name);
    let Some(export) = export else {
        return ours.map_or(Role::Unknown, Role::Field);
    };
    match export.column(&name) {
        Some(None) => Role::Ignored,
        Some(Some(field)) => Role::Exported(field, export),
        None => ours.map_or(Role::Unknown, |field| Role::Exported(field, export)),
    }
}

/// The columns of mappings that are not among these names.
pub(super) fn unmatched<'a>(
    mappings: &'a [Mapping],
    names: impl Iterator<Item = &'a str>,
) -> impl Iterator<Item = &'a Mapping> {
    let names: Vec<String> = names.map(folded).collect();
    mappings.iter().filter(move |mapping| !names.contains(&folded(&mapping.column)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_column_and_field() {
        let mapping = |column: &str, field| Ok(Mapping { column: column.to_owned(), field });
        assert_eq!("Opérateur=account_auth_id".parse(), mapping("Opérateur", Some(Field::AccountAuthId)));
        assert_eq!(" a=b = Number ".parse(), mapping("a=b", Some(Field::Number)));
        assert_eq!("notes=-".parse(), mapping("notes", None));
        for text in ["", "=", "number", "a=", "=number"] {
            assert!(matches!(text.parse::<Mapping>(), Err(BadMapping::Form { .. })), "input: {text:?}");
        }
        let message = "operator=acount".parse::<Mapping>().expect_err("no such field").to_string();
        assert!(
            message.starts_with("there is no field \"acount\"; the fields are number, number_end, account_auth_id")
        );
        assert!(message.ends_with("reserved_for, since"), "{message}");
    }

    #[test]
    fn columns_are_known_by_name_alias_or_mapping() {
        let mappings = ["Operator=account_auth_id", "region=-"].map(|text| text.parse().expect("a mapping"));
        for (name, expected) in [
            ("number", Role::Field(Field::Number)),
            (" Number ", Role::Field(Field::Number)),
            ("START", Role::Field(Field::Number)),
            ("end", Role::Field(Field::NumberEnd)),
            ("operator ", Role::Field(Field::AccountAuthId)),
            ("Region", Role::Ignored),
            ("phone", Role::Unknown),
            ("", Role::Unknown),
        ] {
            assert_eq!(role(name, &mappings, None), expected, "column: {name:?}");
        }
    }

    #[test]
    fn columns_of_an_export_are_known_by_its_names_and_ours() {
        let mappings = ["alias=tags".parse().expect("a mapping")];
        for (name, expected) in [
            ("Number", Role::Exported(Field::Number, Export::Plivo)),
            ("sub_account", Role::Exported(Field::AccountAuthId, Export::Plivo)),
            ("currency", Role::Exported(Field::Currency, Export::Plivo)),
            ("renewal_date", Role::Ignored),
            ("alias", Role::Field(Field::Tags)),
            ("colour", Role::Unknown),
        ] {
            assert_eq!(role(name, &mappings, Some(Export::Plivo)), expected, "column: {name:?}");
        }
    }

    #[test]
    fn fields_index_an_array() {
        for (at, &field) in Field::ALL.iter().enumerate() {
            assert_eq!(field as usize, at);
        }
    }
}
