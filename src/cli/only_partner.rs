//! The partner of a command that names none, where there is one only.
//!
//! What always holds: a partner is never guessed among several, and a command
//! line that is wrong in another way gives the usual error.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Error, FromArgMatches, Parser};

use super::{Cli, CliError, Global};
use crate::domain::PartnerId;
use crate::service::ServiceError;
use crate::store::{Open, StoreError};

/// Reads the command line again, with the only partner of its database.
pub fn parse(error: Error) -> Result<Cli, Error> {
    let misses = |value: &ContextValue| match value {
        ContextValue::Strings(missing) => missing.len() == 1 && missing[0].contains("--partner <PA_X>"),
        _ => false,
    };
    let lacks_it =
        error.kind() == ErrorKind::MissingRequiredArgument && error.get(ContextKind::InvalidArg).is_some_and(misses);
    match lacks_it.then(only).flatten() {
        Some(partner) => {
            let named = ["--partner".into(), partner.into()];
            Cli::try_parse_from(std::env::args_os().chain(named))
        }
        None => Err(error),
    }
}

/// The partner of a command that may be about something else: the one that the
/// environment names, or the only one.
pub fn of(global: &Global) -> Result<PartnerId, CliError> {
    let missing = || CliError::Usage("give --partner PA_X or --url URL".to_owned());
    match std::env::var("ROLLCALL_PARTNER") {
        Ok(text) => text.parse().map_err(|_| CliError::Usage(format!("ROLLCALL_PARTNER={text:?} is no partner id"))),
        Err(_) => match global.service(Open::Existing) {
            Ok(service) => match &service.partners()?[..] {
                [(_, _, one)] => Ok(one.auth_id.clone()),
                _ => Err(missing()),
            },
            // Without a database of one's own it can only be another server.
            Err(CliError::Service(ServiceError::Store(StoreError::Missing { .. }))) => Err(missing()),
            Err(error) => Err(error),
        },
    }
}

/// The id of the only partner, if there is one and no more.
fn only() -> Option<String> {
    let known = Cli::command().ignore_errors(true).try_get_matches().ok()?;
    let global = Global::from_arg_matches(&known).ok()?;
    let partners = global.service(Open::Existing).ok()?.partners().ok()?;
    match &partners[..] {
        [(_, _, one)] => Some(one.auth_id.to_string()),
        _ => None,
    }
}
