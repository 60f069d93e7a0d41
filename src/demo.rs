//! The demo's inventory: two partners as they could be, made up from nothing.
//!
//! A partner's numbers come in as files and are changed by jobs, as anyone's: the
//! demo shows what the verbs made of them in a year ([`year`]). Every situation
//! that the specification's Number Management Guide speaks of is in both
//! partners, in the same proportions whatever the number of numbers.
//!
//! Always holds: the inventory depends on the number of numbers and the day
//! alone; it has exactly as many numbers as were asked for, none of them twice,
//! and the specification's own sample rows among them.
//! Deliberately absent: keys, which are shown once and so are their maker's.

mod stream;
mod tables;
#[cfg(test)]
mod tests;
mod year;

use std::ops::RangeInclusive;
use std::sync::atomic::AtomicBool;

use crate::domain::{Actor, PartnerId, Time};
use crate::intake::RowError;
use crate::service::verbs::import::{ImportError, ImportProgress, ImportReport, Watch};
use crate::service::{Service, ServiceError};

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
    /// The files of each partner that had nothing yet; none if the demo was
    /// there already.
    pub imported: Vec<(PartnerId, Vec<ImportReport>)>,
}

/// The actors of the year: the people of the demo, where it has any.
#[derive(Clone, Debug)]
pub struct DemoPeople {
    pub owner: Actor,
    pub manager: Actor,
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

/// Makes the partners that are not there yet, each a year before `now`.
pub fn create_partners(service: &Service, now: Time) -> Result<(), ServiceError> {
    for DemoPartner { auth_id, name } in partners() {
        match service.partner_key(&auth_id) {
            Ok(_) => {}
            Err(ServiceError::NoPartner { .. }) => {
                service.at(arrival(now)).partner_create(auth_id, name.into())?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// When the demo's partners and people came, as of the day of `now`.
pub fn arrival(now: Time) -> Time {
    year::start(now)
}

/// Makes the demo's partners with their accounts and `numbers` numbers, and the
/// year in which they came to be so, as of the day of `now`. A partner that has
/// accounts already stays as it is, so that a further call does nothing. Only
/// the first file of a partner can be cancelled; the next call completes that.
pub fn populate(
    service: &Service,
    people: &dyn Fn(&PartnerId) -> Option<DemoPeople>,
    numbers: u64,
    now: Time,
    progress: &(dyn Fn(ImportProgress) + Sync),
    cancel: &AtomicBool,
) -> Result<DemoReport, DemoError> {
    if !NUMBERS.contains(&numbers) {
        return Err(DemoError::Numbers { numbers });
    }
    create_partners(service, now)?;
    let mut made = DemoReport::default();
    for (profile, numbers) in shares(numbers) {
        let partner = PartnerId::stored(profile.auth_id);
        if !service.snapshot(&partner, false)?.accounts.is_empty() {
            continue;
        }
        let (owner, manager) = (service.actor().clone(), service.actor().clone());
        let people = people(&partner).unwrap_or(DemoPeople { owner, manager });
        let year = year::DemoYear::of(profile, numbers, now);
        let reports = year.play(service, &partner, &people, &Watch { progress, cancel })?;
        made.imported.push((partner, reports));
    }
    Ok(made)
}

/// How many of the numbers each partner has: the first is the larger one.
fn shares(numbers: u64) -> [(&'static PartnerProfile, u64); 2] {
    let first = numbers * 3 / 5;
    [(&FIRST, first), (&SECOND, numbers - first)]
}
