//! The field in which a person names a customer, an application or a trunk.
//!
//! It takes a name, an id or both, `NAME (ID)`, and shows what a form has as both.
//! With the script it suggests while one types, by name, id and count of numbers
//! (`search`); without, it is a plain text field, and a refusal says what may be
//! meant.
//! Invariant: what the field shows of an id, the same field accepts.
//! Deliberately absent: the rules of names (`inventory::names`).

use askama::Template;

use super::form::Wrongs;
use crate::inventory::Snapshot;
use crate::inventory::names::NamedKind;
use crate::wire::html::Html;

/// A field of a form.
#[derive(Template)]
#[template(path = "chooser.html")]
pub struct Chooser<'a> {
    pub what: NamedKind,
    pub label: &'a str,
    pub name: &'a str,
    pub value: &'a str,
    pub required: bool,
    pub wrongs: &'a Wrongs,
}

/// The field for a customer of a line that filters.
#[derive(Template)]
#[template(path = "chooser_filter.html")]
struct CustomerFilter<'a> {
    name: &'a str,
    value: &'a str,
    misnamed: bool,
}

/// The field for a customer of a line that filters, with its label: a known id, or
/// what was typed that names nobody.
pub fn filter(snapshot: &Snapshot, name: &str, id: Option<&str>, misnamed: Option<&str>) -> Html {
    let shown = id.map(|id| snapshot.shown(NamedKind::Customer, id)).unwrap_or_default();
    Html::of(&CustomerFilter { name, value: misnamed.unwrap_or(&shown), misnamed: misnamed.is_some() })
}
