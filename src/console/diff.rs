//! What a change makes of a number, before → after: in previews, in the change
//! log, in histories and in messages.
//!
//! Customers, applications and trunks are called by name, with their id where
//! several have the name; times are in the reader's zone; amounts have their
//! currency.
//! Invariant: one component shows every change of a number, so a change reads the
//! same before and after it is done.
//! Deliberately absent: which fields differ (`service::verbs::import::report`).

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::convert::Infallible;

use askama::Template;

use super::gate::{Visit, made};
use super::page::Notice;
use super::{pieces, show};
use crate::checks::{self, CheckOptions, Finding};
use crate::domain::summary::{self, Names};
use crate::domain::{AccountId, ApplicationId, EntityChange, Money, NumberChange, Record, Time, TrunkId, Verb};
use crate::inventory::Snapshot;
use crate::inventory::names::NamedKind;
use crate::service::verbs::import::{FieldChange, Naming, differences};
use crate::wire::html::Html;

/// Of how many findings the numbers are known by the findings' ids; of more, the ids are shown.
const NAMED_FINDINGS_MAX: usize = 20_000;

/// What things are called, as of a snapshot.
pub struct Called<'s> {
    snapshot: &'s Snapshot,
    shared: OnceCell<HashSet<(NamedKind, String)>>,
    /// What is found now, by its id.
    findings: OnceCell<HashMap<String, String>>,
}

impl<'s> Called<'s> {
    pub fn of(snapshot: &'s Snapshot) -> Called<'s> {
        Called { snapshot, shared: OnceCell::new(), findings: OnceCell::new() }
    }

    /// Its name, with its id where several have that name.
    pub fn name(&self, what: NamedKind, id: &str) -> String {
        let Some(name) = self.snapshot.name_of(what, id) else { return id.to_owned() };
        let shared = self.shared.get_or_init(|| shared(self.snapshot));
        match shared.contains(&(what, name.to_owned())) {
            true => self.snapshot.shown(what, id),
            false => name.to_owned(),
        }
    }
}

/// The names that several have.
fn shared(snapshot: &Snapshot) -> HashSet<(NamedKind, String)> {
    let (mut seen, mut shared) = (HashSet::new(), HashSet::new());
    for what in NamedKind::ALL {
        for one in snapshot.entities(what) {
            if !seen.insert((what, one.name)) {
                shared.insert((what, one.name.to_owned()));
            }
        }
    }
    shared
}

impl Names for Called<'_> {
    fn customer(&self, id: &AccountId) -> String {
        self.name(NamedKind::Customer, id.as_str())
    }

    fn application(&self, id: &ApplicationId) -> String {
        self.name(NamedKind::Application, id.as_str())
    }

    fn trunk(&self, id: &TrunkId) -> String {
        self.name(NamedKind::Trunk, id.as_str())
    }

    fn money(&self, money: Money) -> String {
        show::money(money)
    }

    fn subject(&self, kind: &str, id: &str, name: &str) -> String {
        let kind = if kind == "account" { "customer" } else { kind };
        if name == id { format!("{kind} {id}") } else { format!("{kind} {name} ({id})") }
    }

    /// `Unrouted, +912271264217`; what is no longer found has its id only.
    fn finding(&self, id: &str) -> String {
        let all = self.findings.get_or_init(|| {
            let options = CheckOptions::default();
            let found = checks::find(self.snapshot, &options, Time::now());
            let about = |finding: Finding| {
                let number = finding.number.map(|number| number.to_string());
                let customer = finding.account.as_ref().map(|id| self.customer(id));
                let check = show::check_name(finding.check);
                let about: Vec<String> = [check].into_iter().chain(number.or(customer)).collect();
                (finding.id(), about.join(", "))
            };
            found.iter(0).take(NAMED_FINDINGS_MAX).map(about).collect()
        });
        all.get(id).cloned().unwrap_or_else(|| id.to_owned())
    }

    fn created(&self, _: &str) -> String {
        "created".to_owned()
    }

    fn note(&self, note: Option<&str>) -> String {
        note.map_or_else(String::new, |note| format!(": {note}"))
    }
}

impl Naming for &Called<'_> {
    type Error = Infallible;

    fn account(&mut self, id: &AccountId) -> Result<String, Infallible> {
        Ok(self.customer(id))
    }

    fn application(&mut self, id: &ApplicationId) -> Result<String, Infallible> {
        Ok(Names::application(*self, id))
    }

    fn trunk(&mut self, id: &TrunkId) -> Result<String, Infallible> {
        Ok(Names::trunk(*self, id))
    }
}

/// What happened to a number, in a few words; an undo is called one.
pub fn said(visit: &Visit, called: &Called<'_>, verb: Verb, change: &NumberChange, at: Time) -> Html {
    let said = visit.clock.told(&summary::number_called(change, at, called));
    if verb == Verb::Undo { Html::from("Undo: ") + said } else { said }
}

/// The same of a customer, an application, a trunk or a setting.
pub fn entity(visit: &Visit, called: &Called<'_>, verb: Verb, change: &EntityChange) -> Html {
    let said = visit.clock.told(&summary::entity_called(change, called));
    if verb == Verb::Undo { Html::from("Undo: ") + said } else { said }
}

/// What two records differ in, as a list; a record that is not there is a number
/// that is not in the inventory.
pub fn records(visit: &Visit, called: &Called<'_>, before: Option<&Record>, after: Option<&Record>, at: Time) -> Html {
    let fields = match (before, after) {
        (Some(before), Some(after)) => {
            let Ok(mut fields) = differences(&before.as_of(at), after, &mut &*called);
            // A state says since when it is, so the time beside it says nothing new.
            if fields.len() > 1 {
                fields.retain(|field| field.field != "since");
            }
            fields
        }
        (Some(before), None) => vec![state(Some(before.as_of(at).state.as_str()), None)],
        (None, Some(after)) => {
            let blank = Record {
                account: None,
                application: None,
                trunk: None,
                cost: None,
                assigned_at: None,
                expires_at: None,
                until: None,
                ..after.clone()
            };
            let Ok(fields) = differences(&blank, after, &mut &*called);
            std::iter::once(state(None, Some(after.state.as_str()))).chain(fields).collect()
        }
        (None, None) => Vec::new(),
    };
    html(visit, &fields)
}

fn state(before: Option<&str>, after: Option<&str>) -> FieldChange {
    let text = |word: Option<&str>| Some(word.unwrap_or("not in the inventory").to_owned());
    FieldChange { field: "state".to_owned(), before: text(before), after: text(after), lost: false }
}

/// Fields before and after, as a list; what a number loses is marked.
pub fn html(visit: &Visit, fields: &[FieldChange]) -> Html {
    if fields.is_empty() {
        return pieces::none();
    }
    let lines = fields.iter().map(|change| {
        let value = |value: &Option<String>| match value {
            None => pieces::nothing(change.nothing()),
            Some(text) => match money(text) {
                Some(money) => show::money(money).into(),
                None => visit.clock.told(text),
            },
        };
        let (before, after) = (value(&change.before), value(&change.after));
        DiffLine { label: change.label(), before, after, lost: change.lost }
    });
    Html::of(&Diff { lines: lines.collect() })
}

/// A field of a number before and after a change.
struct DiffLine<'a> {
    label: &'a str,
    before: Html,
    after: Html,
    lost: bool,
}

#[derive(Template)]
#[template(path = "diff.html")]
struct Diff<'a> {
    lines: Vec<DiffLine<'a>>,
}

/// `1500.00 INR` as an amount.
fn money(text: &str) -> Option<Money> {
    let (amount, currency) = text.split_once(' ')?;
    Money::parse(amount, currency.parse().ok()?).ok()
}

/// What the change that a form made did, for the page after it; only if that
/// change is this partner's and this user's.
pub fn notice(visit: &Visit, query: &str) -> Option<Notice> {
    let version = made(query)?;
    let after = version.checked_sub(1)?;
    let listed = visit.console.app.replica.changes(&visit.snapshot, after, 1, 0, 2).ok()?.pop()?;
    let (called, entry) = (Called::of(&visit.snapshot), &listed.entry);
    let entities = listed.entities.iter().map(|one| entity(visit, &called, entry.verb, one));
    let text = match &listed.numbers[..] {
        [one] => {
            let number = visit.console.spaces.readable(one.number);
            Html::from(format!("{number}: ")) + said(visit, &called, entry.verb, one, entry.at)
        }
        [] => Html::join(entities, "; "),
        _ => {
            let undo = if entry.verb == Verb::Undo { "Undo: " } else { "" };
            format!("{undo}{} changed", show::count(listed.total, "number", "numbers")).into()
        }
    };
    let own = listed.entry.actor.to_string() == format!("user:{}", visit.user().id);
    (own && listed.version == version).then_some(Notice { text, undo: Some(version) })
}
