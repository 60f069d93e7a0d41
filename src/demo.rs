//! The demo's inventory: two partners as they could be, made up from nothing.
//!
//! A partner's numbers are written as a file, a piece at a time, and imported
//! like anyone's: what the demo shows is what an import makes. Every situation
//! that the specification's Number Management Guide speaks of is in both
//! partners, in the same proportions whatever the number of numbers.
//!
//! Always holds: the file depends on the number of numbers and the day alone;
//! it has exactly as many numbers as were asked for, none of them twice, and
//! the specification's own sample rows among them.
//! Deliberately absent: keys, which are shown once and so are their maker's.

mod stream;
mod tables;
#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;
use std::sync::atomic::AtomicBool;

use crate::domain::{Destination, Destinations, PartnerId, Time};
use crate::intake::RowError;
use crate::service::import::{ImportError, ImportOptions, ImportProgress, ImportReport, Watch};
use crate::service::{Service, ServiceError};

use stream::DemoStream;
use tables::{FIRST, PartnerProfile, SECOND};

/// How many numbers the demo can have, both partners together.
pub const NUMBERS: RangeInclusive<u64> = 1_000..=10_000_000;

/// How many it has unless told otherwise.
pub const NUMBERS_DEFAULT: u64 = 25_000;

/// One of the demo's partners.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DemoPartner {
    pub auth_id: PartnerId,
    pub name: &'static str,
}

/// What [`populate`] did.
#[derive(Clone, Debug, Default)]
pub struct DemoReport {
    /// What was imported for each partner that had nothing yet; none if the
    /// demo was there already.
    pub imported: Vec<(PartnerId, ImportReport)>,
}

#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("the demo can have {} to {} numbers, not {numbers}", NUMBERS.start(), NUMBERS.end())]
    Numbers { numbers: u64 },
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error(transparent)]
    Import(#[from] ImportError),
    /// Someone else holds a number of the demo's.
    #[error(
        "the database has no room for the demo's partner {partner}: {rejected} of its numbers were rejected, the first at line {} for its {}: {}",
        first.line, first.column, first.message
    )]
    Rejected { partner: PartnerId, rejected: u64, first: Box<RowError> },
}

/// The demo's partners.
pub fn partners() -> [DemoPartner; 2] {
    [&FIRST, &SECOND].map(|profile| DemoPartner { auth_id: PartnerId::stored(profile.auth_id), name: profile.name })
}

/// Makes the demo's partners with their accounts and `numbers` numbers, as of
/// the day of `now`. A partner that has accounts already stays as it is, so
/// that an interrupted call is completed by the next, and a further one does
/// nothing.
pub fn populate(
    service: &Service,
    numbers: u64,
    now: Time,
    progress: &(dyn Fn(ImportProgress) + Sync),
    cancel: &AtomicBool,
) -> Result<DemoReport, DemoError> {
    if !NUMBERS.contains(&numbers) {
        return Err(DemoError::Numbers { numbers });
    }
    let mut made = DemoReport::default();
    for (profile, numbers) in shares(numbers) {
        let partner = PartnerId::stored(profile.auth_id);
        match service.snapshot(&partner, false) {
            Ok(snapshot) if !snapshot.accounts.is_empty() => continue,
            Ok(_) => {}
            Err(ServiceError::NoPartner { .. }) => {
                service.partner_create(partner.clone(), profile.name.into())?;
            }
            Err(error) => return Err(error.into()),
        }
        let options = ImportOptions::default();
        let source = || Ok(Box::new(DemoStream::new(profile, numbers, now)) as Box<dyn std::io::Read>);
        let report = service.import(&partner, &source, &options, &Watch { progress, cancel })?;
        if let Some(first) = report.errors.first() {
            return Err(DemoError::Rejected { partner, rejected: report.rejected, first: Box::new(first.clone()) });
        }
        give_destinations(service, &partner)?;
        made.imported.push((partner, report));
    }
    Ok(made)
}

/// Gives every application two places where its calls go: the second is tried
/// when the first does not answer.
fn give_destinations(service: &Service, partner: &PartnerId) -> Result<(), DemoError> {
    let snapshot = service.snapshot(partner, false)?;
    let mut all = Vec::new();
    for application in snapshot.applications.iter() {
        let mut destinations = Vec::new();
        for (at, priority) in [(1_u8, 10), (2, 20)] {
            let uri = format!("sip:ivr-{at}.demo.example").parse();
            destinations.extend(uri.map(|uri| Destination { priority, ..Destination::new(uri) }));
        }
        all.extend(Destinations::new(destinations).map(|list| (application.id.clone(), list)));
    }
    service.applications_destinations(snapshot.key, &all)?;
    Ok(())
}

/// How many of the numbers each partner has: the first is the larger one.
fn shares(numbers: u64) -> [(&'static PartnerProfile, u64); 2] {
    let first = numbers * 3 / 5;
    [(&FIRST, first), (&SECOND, numbers - first)]
}
