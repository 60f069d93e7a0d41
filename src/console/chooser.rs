//! The field in which a person names a customer, an application or a trunk.
//!
//! It takes a name, an id or both, `NAME (ID)`, and shows what a form has as both.
//! With the script it suggests while one types, by name, id and count of numbers
//! (`search`); without, it is a plain text field, and a refusal says what may be
//! meant.
//! Invariant: what the field shows of an id, the same field accepts.
//! Deliberately absent: the rules of names (`inventory::names`).

use super::form::Wrongs;
use crate::inventory::Snapshot;
use crate::inventory::names::NamedKind;
use crate::wire::html::escape;

/// The longest text: a name and an id.
const CHARS_MAX: usize = 340;

/// A field of a form.
pub struct Chooser<'a> {
    pub what: NamedKind,
    pub label: &'a str,
    pub name: &'a str,
    pub value: &'a str,
    pub required: bool,
    pub wrongs: &'a Wrongs,
}

impl Chooser<'_> {
    pub fn render(&self) -> String {
        let Chooser { label, name, wrongs, .. } = self;
        let input = self.input("name or id", &wrongs.mark(name));
        format!("<label>{} {input}</label>{}", escape(label), wrongs.note(name))
    }

    fn input(&self, placeholder: &str, more: &str) -> String {
        format!(
            "<input name=\"{}\" data-choose=\"{}\"{} maxlength=\"{CHARS_MAX}\" autocomplete=\"off\" \
             spellcheck=\"false\" value=\"{}\" placeholder=\"{placeholder}\"{more}>",
            self.name,
            self.what.one(),
            if self.required { " required" } else { "" },
            escape(self.value),
        )
    }
}

/// The field for a customer of a line that filters, with its label: a known id, or
/// what was typed that names nobody.
pub fn filter(snapshot: &Snapshot, name: &str, id: Option<&str>, misnamed: Option<&str>) -> String {
    let wrongs = Wrongs::default();
    let shown = id.map(|id| snapshot.shown(NamedKind::Customer, id)).unwrap_or_default();
    let value = misnamed.unwrap_or(&shown);
    let chooser =
        Chooser { what: NamedKind::Customer, label: "Customer", name, value, required: false, wrongs: &wrongs };
    let mark = if misnamed.is_some() { " aria-invalid=\"true\" aria-describedby=\"error\"" } else { "" };
    let input = chooser.input("all of them", &format!(" id=\"{name}\"{mark}"));
    format!("<span class=\"together\"><label for=\"{name}\">Customer</label> {input}</span>")
}
