//! What the data files name as `$NAME`: limits, the words of types, and what is
//! made from the program's tables.
//!
//! A limit has the name of its constant. A value may have directives itself.

use serde_json::{Map, Value, json};

use super::strict;
use crate::alert::Why;
use crate::billing::Proration;
use crate::checks::{Check, Severity};
use crate::domain::entity::NAME_CHARS_MAX;
use crate::domain::setting::{AfterExpiry, DeliveryOrder, ReportPolicy};
use crate::domain::{State, Verb};
use crate::http::json::INLINE_MAX;
use crate::http::manage::VERBS;
use crate::http::query::{ListParameters, PER_PAGE_DEFAULT, PER_PAGE_MAX};
use crate::inventory::{PARAMETERS, Parameter, SEARCH_CHARS_MAX};
use crate::routing::Case;
use crate::schedule::{UTC, WEEKLY};
use crate::service::background::jobs::{JobState, LIST_MAX, RowResult};
use crate::service::background::schedules::{RECIPIENTS_MAX, Sending};
use crate::service::background::webhooks::DeliveryState;
use crate::service::background::webhooks::event::kinds;
use crate::wire::{self, Column};

/// The rows that answers have, by the names that the data files give them.
pub const SHAPES: &[(&str, &[Column])] = &[
    ("customer", wire::CUSTOMER),
    ("global", wire::GLOBAL),
    ("items", wire::ITEMS),
    ("single", wire::SINGLE),
    ("export", wire::EXPORT),
    ("past", wire::past::COLUMNS),
];

/// The words of a type, in the order of their documentation.
macro_rules! words {
    ($kind:ty) => {
        <$kind>::ALL.iter().map(|one| one.as_str()).collect::<Value>()
    };
}

pub fn values() -> Map<String, Value> {
    let values = [
        // Limits, defaults and patterns.
        ("VERSION", json!(env!("CARGO_PKG_VERSION"))),
        ("U64_MAX", json!(u64::MAX)),
        ("NAME_CHARS_MAX", json!(NAME_CHARS_MAX)),
        ("PER_PAGE_DEFAULT", json!(PER_PAGE_DEFAULT)),
        ("PER_PAGE_MAX", json!(PER_PAGE_MAX)),
        ("INLINE_MAX", json!(INLINE_MAX)),
        ("JOB_NUMBERS_MAX", json!(LIST_MAX)),
        ("RECIPIENTS_MAX", json!(RECIPIENTS_MAX)),
        ("WEEKLY", json!(WEEKLY)),
        ("UTC", json!(UTC)),
        ("E164", json!(strict::E164)),
        ("E164_OR_NOT", json!(strict::E164_OR_NOT)),
        ("SIP", json!(strict::sip())),
        // Words.
        ("states", words!(State)),
        ("verbs", json!(VERBS)),
        ("change_verbs", words!(Verb)),
        ("checks", words!(Check)),
        ("severities", words!(Severity)),
        ("route_cases", words!(Case)),
        ("prorations", words!(Proration)),
        ("after_expiry", words!(AfterExpiry)),
        ("job_states", words!(JobState)),
        ("row_results", words!(RowResult)),
        ("report_policies", words!(ReportPolicy)),
        ("report_reasons", words!(Why)),
        ("letter_states", words!(Sending)),
        ("event_kinds", kinds().collect()),
        ("delivery_orders", words!(DeliveryOrder)),
        ("delivery_states", words!(DeliveryState)),
        // Parameters and filters of lists.
        ("global_parameters", parameters(ListParameters::Global)),
        ("customer_parameters", parameters(ListParameters::Customer)),
        ("entities_parameters", parameters(ListParameters::Entities)),
        ("paging_parameters", parameters(ListParameters::Paging)),
        ("filters", filters()),
        // Parts of examples.
        ("customer_csv", header(wire::CUSTOMER.iter().map(|column| column.name()))),
        ("global_csv", header(wire::GLOBAL.iter().map(|column| column.name()))),
        ("costs_csv", header(wire::costs::COLUMNS.iter().copied())),
        ("unrouted_meaning", json!(Check::Unrouted.meaning())),
        ("unrouted_action", json!(Check::Unrouted.action())),
        ("check_counts", check_counts()),
    ];
    values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The parameters of a list, paging first. Those that are no filters are parts
/// in the data files.
fn parameters(takes: ListParameters) -> Value {
    let filter = |name: &str| PARAMETERS.iter().find(|parameter| parameter.name == name);
    let describe = |name: &str| match filter(name) {
        Some(_) if takes == ListParameters::Entities => json!({ "$use": "entity_search" }),
        Some(filter) => parameter(filter),
        None => json!({ "$use": name }),
    };
    takes.names().map(describe).collect()
}

fn parameter(filter: &Parameter) -> Value {
    let mut schema = json!({ "type": "string" });
    if filter.name == "search" {
        schema["maxLength"] = json!(SEARCH_CHARS_MAX);
    }
    json!({
        "name": filter.name, "in": "query", "description": filter.about, "schema": schema, "example": filter.example,
    })
}

/// The filters that a job may have.
fn filters() -> Value {
    let filters = PARAMETERS.iter().filter(|parameter| parameter.name != "sort");
    let described = |filter: &Parameter| {
        let kind = if matches!(filter.name, "routed" | "assigned") { "boolean" } else { "string" };
        (filter.name.to_owned(), json!({ "type": kind, "description": filter.about }))
    };
    filters.map(described).collect()
}

/// The first line of a file for spreadsheets.
fn header<'a>(names: impl Iterator<Item = &'a str>) -> Value {
    json!(format!("{}\r\n", names.collect::<Vec<_>>().join(",")))
}

/// No findings: each check that runs without being asked for, and 0.
fn check_counts() -> Value {
    let checks = Check::ALL.iter().filter(|check| **check != Check::Idle);
    checks.map(|check| (check.as_str().to_owned(), json!(0))).collect()
}
