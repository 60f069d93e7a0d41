//! The fields of a row, and the mappings of columns to them that people give.
//! Deliberately absent: what a column means that no mapping names (`columns`).

use std::str::FromStr;

use super::IntakeError;
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

/// A column's name as names are compared: its letters and digits, in lower
/// case, so that `Phone Number`, `phone_number` and `phoneNumber` are one. A name
/// without letters or digits is compared as it is.
pub(super) fn folded(name: &str) -> String {
    let folded: String = name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    if folded.is_empty() { name.trim().to_lowercase() } else { folded }
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
