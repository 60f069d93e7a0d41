//! One number with everything that is known of it, and two of its records
//! compared, in the API's names.

use crate::domain::{Record, State};
use crate::inventory::NumberRef;

/// Every field of a record by its name in the API, as text; `None` where there
/// is no value.
pub fn fields(record: &Record) -> Vec<(&'static str, Option<String>)> {
    fn text<T: ToString>(value: &Option<T>) -> Option<String> {
        value.as_ref().map(T::to_string)
    }
    let ends = |state| text(&record.until.filter(|_| record.state == state));
    let reserved_for = record.account.as_ref().filter(|_| record.state == State::Reserved);
    let tags: Vec<&str> = record.tags.iter().collect();
    vec![
        ("state", Some(record.state.to_string())),
        ("account_auth_id", text(&record.holder())),
        ("application_id", text(&record.application)),
        ("trunk_id", text(&record.trunk)),
        ("number_type", Some(record.number_type.to_string())),
        ("country", text(&record.country)),
        ("region", text(&record.region)),
        ("monthly_cost", text(&record.cost)),
        ("currency", text(&record.cost.map(|cost| cost.currency))),
        ("assigned_at", text(&record.assigned_at)),
        ("expires_at", text(&record.expires_at)),
        ("since", Some(record.since.to_string())),
        ("quarantine_ends_at", ends(State::Quarantined)),
        ("reserved_until", ends(State::Reserved)),
        ("reserved_for", text(&reserved_for)),
        ("tags", Some(tags.join(";"))),
    ]
}

/// What differs between two records: the name, how it was, how it is.
pub fn differences(then: &Record, now: &Record) -> Vec<(&'static str, Option<String>, Option<String>)> {
    let pairs = fields(then).into_iter().zip(fields(now));
    pairs.filter(|(then, now)| then != now).map(|((name, was), (_, is))| (name, was, is)).collect()
}

/// Everything about one number as a JSON object: what the export has of it, and
/// the version that last changed it.
pub fn number(out: &mut Vec<u8>, row: NumberRef<'_>) {
    use std::io::Write;
    super::RowWriter::new(row.snapshot(), super::TextForm::Json, super::EXPORT).row(out, row);
    out.pop();
    write!(out, ",\"version\":{}}}", row.version()).expect("writing to memory");
}
