//! What a month cost: the log of a partner, folded into a bill.
//!
//! Read from the log and not from the rows, because rows know only what is.
//! The whole log is gone through, in pieces: an entry of today may be the first
//! to tell that an account has had a number since last year. Costs 30 to 50 ns
//! for each number that an entry names in a block, some microseconds for each
//! that it names alone, and memory as [`crate::billing::holdings`] says.
//! Deliberately absent: writing. A bill is worked out, never stored.

use super::{Service, ServiceError};
use crate::billing::{Bill, Holdings, Ledger, Month, Proration, Span};
use crate::domain::field::code;
use crate::domain::{EntityChange, FieldError, PartnerKey, Time};
use crate::store::Replayed;

impl Service {
    /// Who held what within a span, as the log has it up to a version.
    pub fn holdings(&self, key: PartnerKey, through: u64, span: Span) -> Result<Holdings, ServiceError> {
        let mut ledger = Ledger::new(span);
        self.store().replay(key, through, &mut |entry, replayed| {
            match replayed {
                Replayed::Entities(entities) => {
                    for entity in entities {
                        if let EntityChange::Account(edit) = entity {
                            ledger.account(entry.at, &edit.after);
                        }
                    }
                }
                Replayed::Numbers { first, count, after } => ledger.numbers(entry.at, first, count, after),
            }
            Ok(())
        })?;
        Ok(ledger.finish())
    }

    /// A month's rental, as the log has it up to a version.
    pub fn bill(
        &self,
        key: PartnerKey,
        through: u64,
        month: Month,
        proration: Proration,
        now: Time,
    ) -> Result<Bill, ServiceError> {
        let span = span(month, now)?;
        Ok(Bill::of(month, proration, &self.holdings(key, through, span)?))
    }
}

/// What of a month is to be billed; refused if it has not begun.
pub fn span(month: Month, now: Time) -> Result<Span, ServiceError> {
    month.span(now).ok_or_else(|| {
        let error = FieldError::new("month", code::OUT_OF_RANGE, "has not begun yet", &month.to_string());
        ServiceError::Invalid(vec![error])
    })
}
