//! A summary of a change in a few words for people: "assigned to MA_1; routed to
//! app_1".
//!
//! It names the differences, not the verb, so an import or an undo reads like the
//! verbs with the same effect. Deliberately absent: stable wording; programs
//! compare `before` and `after`.

use std::sync::Arc;

use super::setting::{AfterExpiry, DeliveryOrder, Off, ReportPolicy, Schedule};
use super::{
    AccountId, Application, ApplicationId, Choice, Country, Destination, Destinations, EntityChange, Money,
    NumberChange, Record, Setting, State, Time, Trunk, TrunkId,
};

/// What things are called in a summary.
pub trait Names {
    fn customer(&self, id: &AccountId) -> String;
    fn application(&self, id: &ApplicationId) -> String;
    fn trunk(&self, id: &TrunkId) -> String;
    fn money(&self, money: Money) -> String;
    /// Something that is not a number, at the beginning of a sentence.
    fn subject(&self, kind: &str, id: &str, name: &str) -> String;
    /// That it came to be under a name.
    fn created(&self, name: &str) -> String;
    /// What a finding is about.
    fn finding(&self, id: &str) -> String {
        id.to_owned()
    }
    /// What was noted beside it, at the end of a sentence.
    fn note(&self, _: Option<&str>) -> String {
        String::new()
    }
}

/// By their ids.
struct Ids;

impl Names for Ids {
    fn customer(&self, id: &AccountId) -> String {
        id.to_string()
    }

    fn application(&self, id: &ApplicationId) -> String {
        id.to_string()
    }

    fn trunk(&self, id: &TrunkId) -> String {
        id.to_string()
    }

    fn money(&self, money: Money) -> String {
        format!("{money} {}", money.currency.code())
    }

    fn subject(&self, kind: &str, id: &str, _: &str) -> String {
        format!("{kind} {id}")
    }

    fn created(&self, name: &str) -> String {
        format!("created ({name})")
    }
}

/// What happened to a number at a time.
pub fn number(change: &NumberChange, at: Time) -> String {
    number_called(change, at, &Ids)
}

/// The same, with things called as `names` does.
pub fn number_called(change: &NumberChange, at: Time, names: &dyn Names) -> String {
    // What had ended by itself was `available` when this happened.
    let [before, after] = [&change.before, &change.after].map(|record| record.as_ref().map(|record| record.as_of(at)));
    let mut said = Vec::new();
    match (&before, &after) {
        (None, None) => {}
        (Some(_), None) => said.push("retired".to_owned()),
        (None, Some(after)) => {
            said.push("came into stock".to_owned());
            let blank = Record {
                state: State::Available,
                account: None,
                application: None,
                trunk: None,
                expires_at: None,
                until: None,
                ..after.clone()
            };
            differences(&blank, after, names, &mut said);
        }
        (Some(before), Some(after)) => differences(before, after, names, &mut said),
    }
    if said.is_empty() {
        return "nothing that shows".to_owned();
    }
    said.join("; ")
}

/// What happened to an account, an application, a trunk, a key or the partner.
pub fn entity(change: &EntityChange) -> String {
    entity_called(change, &Ids)
}

/// The same, with things called as `names` does.
pub fn entity_called(change: &EntityChange, names: &dyn Names) -> String {
    #[allow(clippy::too_many_arguments)]
    fn said<T>(
        names: &dyn Names,
        (kind, id): (&str, &str),
        (before, after): (Option<&T>, &T),
        name: fn(&T) -> &str,
        ended: fn(&T) -> bool,
        (end, begin): (&str, &str),
        more: impl Fn(&T, &T) -> Vec<String>,
    ) -> String {
        let subject = names.subject(kind, id, name(after));
        let Some(before) = before else { return format!("{subject} {}", names.created(name(after))) };
        let mut said = Vec::new();
        if name(before) != name(after) {
            said.push(format!("renamed from {} to {}", name(before), name(after)));
        }
        match (ended(before), ended(after)) {
            (false, true) => said.push(end.to_owned()),
            (true, false) => said.push(begin.to_owned()),
            (false, false) | (true, true) => {}
        }
        said.extend(more(before, after));
        if said.is_empty() {
            said.push("changed".to_owned());
        }
        format!("{subject} {}", said.join(", "))
    }
    const ARCHIVED: (&str, &str) = ("archived", "brought back");
    match change {
        EntityChange::Partner(edit) => {
            let (id, both) = (edit.after.auth_id.as_str(), (edit.before.as_ref(), &edit.after));
            said(
                names,
                ("partner", id),
                both,
                |one| &one.name,
                |one| one.suspended_at.is_some(),
                ("suspended", "resumed"),
                |_, _| Vec::new(),
            )
        }
        EntityChange::Account(edit) => {
            let (id, both) = (edit.after.auth_id.as_str(), (edit.before.as_ref(), &edit.after));
            said(
                names,
                ("account", id),
                both,
                |one| &one.name,
                |one| one.archived_at.is_some(),
                ARCHIVED,
                |_, _| Vec::new(),
            )
        }
        EntityChange::Application(edit) => {
            let (id, both) = (edit.after.id.as_str(), (edit.before.as_ref(), &edit.after));
            let more = |before: &Application, after: &Application| {
                let mut said = destinations(&before.destinations, &after.destinations);
                if before.answer_url != after.answer_url {
                    said.push(match &after.answer_url {
                        Some(url) => format!("answered by {url}"),
                        None => "no longer has an answer URL".to_owned(),
                    });
                }
                said
            };
            said(names, ("application", id), both, |one| &one.name, |one| one.archived_at.is_some(), ARCHIVED, more)
        }
        EntityChange::Trunk(edit) => {
            let (id, both) = (edit.after.id.as_str(), (edit.before.as_ref(), &edit.after));
            let more = |before: &Trunk, after: &Trunk| destinations(&before.destinations, &after.destinations);
            said(names, ("trunk", id), both, |one| &one.name, |one| one.archived_at.is_some(), ARCHIVED, more)
        }
        EntityChange::Acknowledgement(edit) => {
            let one = &edit.after;
            let finding = names.finding(&one.finding);
            let until = one.until.map_or_else(String::new, |until| format!(" until {until}"));
            match one.holds(one.at) {
                true => format!("finding {finding} acknowledged{until}{}", names.note(one.note.as_deref())),
                false => format!("finding {finding} is open again"),
            }
        }
        EntityChange::Setting(edit) => {
            let (kind, id) = (edit.after.choice.kind(), &*edit.after.id);
            // What a partner has one of at most is called by its kind.
            let name: &str = match &edit.after.choice {
                Choice::Webhook(webhook) => &webhook.name,
                Choice::Schedule(schedule) => &schedule.name,
                Choice::Mirror(_) | Choice::Quarantine(_) | Choice::Billing(_) => id,
            };
            let what = if id == kind { kind.to_owned() } else { names.subject(kind, id, name) };
            let before = edit.before.as_ref().filter(|before| before.removed_at.is_none());
            match (before, edit.after.removed_at) {
                (None, _) => match values(&edit.after.choice) {
                    values if id == kind && !values.is_empty() => format!("{what} set: {}", values.join(", ")),
                    _ => format!("{what} created"),
                },
                (Some(before), None) => format!("{what} {}", turned(before, &edit.after)),
                (Some(_), Some(_)) => format!("{what} removed"),
            }
        }
        EntityChange::Key(edit) => {
            let (id, both) = (edit.after.id.as_str(), (edit.before.as_ref(), &edit.after));
            said(
                names,
                ("key", id),
                both,
                |one| &one.name,
                |one| one.revoked_at.is_some(),
                ("revoked", "restored"),
                |_, _| Vec::new(),
            )
        }
    }
}

/// What a change did to destinations.
fn destinations(before: &Destinations, after: &Destinations) -> Vec<String> {
    let mut said = Vec::new();
    let of = |all: &Destinations, one: &Destination| all.iter().find(|other| other.uri == one.uri).cloned();
    said.extend(
        before.iter().filter(|one| of(after, one).is_none()).map(|one| format!("destination {} removed", one.uri)),
    );
    for one in after.iter() {
        match of(before, one) {
            None => said.push(format!("destination {one} added")),
            Some(was) if was == *one => {}
            Some(was) if Destination { enabled: one.enabled, ..was.clone() } == *one => {
                let switched = if one.enabled { "on" } else { "off" };
                said.push(format!("destination {} switched {switched}", one.uri));
            }
            Some(was) => said.push(format!("destination {was} is now {one}")),
        }
    }
    if said.is_empty() && before != after {
        said.push("destinations put in another order".to_owned());
    }
    said
}

/// What a change of a setting was: each field that differs. An address of a webhook may
/// have a secret in it, so it is not said.
fn turned(before: &Setting, after: &Setting) -> String {
    let mut said = Vec::new();
    let mut field = |before: String, after: String, says: &dyn Fn(&str) -> String| {
        if before != after {
            said.push(format!("{} instead of {before}", says(&after)));
        }
    };
    let mut told = Vec::new();
    match (&before.choice, &after.choice) {
        (Choice::Webhook(before), Choice::Webhook(after)) => {
            field(before.name.to_string(), after.name.to_string(), &|name| format!("called {name}"));
            field(list(&before.events, "everything"), list(&after.events, "everything"), &|all| format!("sends {all}"));
            let order = |order: DeliveryOrder| match order {
                DeliveryOrder::Number => "for each number".to_owned(),
                DeliveryOrder::Endpoint => "of all events".to_owned(),
            };
            field(order(before.order), order(after.order), &|order| format!("keeps the order {order}"));
            told.extend((before.url != after.url).then(|| "has another address".to_owned()));
            told.extend((before.rotations != after.rotations).then(|| "got a new secret".to_owned()));
            told.extend(switched(before.off.as_ref(), after.off.as_ref(), true));
        }
        (Choice::Schedule(before), Choice::Schedule(after)) => {
            let days = |seconds: i64| match seconds % 86_400 {
                0 => format!("{}d", seconds / 86_400),
                _ => format!("{}m", seconds / 60),
            };
            field(before.name.to_string(), after.name.to_string(), &|name| format!("called {name}"));
            let runs = |one: &Schedule| format!("{} {}", one.cron, one.zone);
            field(runs(before), runs(after), &|runs| format!("runs at {runs}"));
            field(list(&before.recipients, "nobody"), list(&after.recipients, "nobody"), &|to| format!("sent to {to}"));
            field(list(&before.checks, "everything"), list(&after.checks, "everything"), &|all| {
                format!("checks {all}")
            });
            field(days(before.within), days(after.within), &|span| format!("sees {span} ahead"));
            let report = |one: &Schedule| match one.report {
                ReportPolicy::Findings => "if anything is found".to_owned(),
                ReportPolicy::Always => "always".to_owned(),
            };
            field(report(before), report(after), &|when| format!("reports {when}"));
            let alerts = |one: &Schedule| if one.alerts { "sends alerts" } else { "sends no alerts" };
            told.extend((before.alerts != after.alerts).then(|| format!("{} between reports", alerts(after))));
            told.extend(switched(before.off.as_ref(), after.off.as_ref(), false));
        }
        (before, after) => field(values(before).join(", "), values(after).join(", "), &str::to_owned),
    }
    said.extend(told);
    if said.is_empty() { "changed".to_owned() } else { said.join(", ") }
}

/// Whether something went on or off. A server switches a webhook off for a reason.
fn switched(before: Option<&Off>, after: Option<&Off>, why: bool) -> Option<String> {
    match (before, after) {
        (None, Some(off)) if why => Some(format!("switched off: {}", off.reason)),
        (None, Some(_)) => Some("switched off".to_owned()),
        (Some(_), None) => Some("switched on".to_owned()),
        (_, _) => None,
    }
}

fn list(all: &[Arc<str>], none: &str) -> String {
    if all.is_empty() { none.to_owned() } else { all.join(", ") }
}

/// What was chosen, of a setting that a partner has one of.
fn values(choice: &Choice) -> Vec<String> {
    match choice {
        Choice::Quarantine(chosen) => {
            let country = |(country, days): (&Country, &u32)| format!("{} {days} days", country.code());
            std::iter::once(format!("{} days", chosen.default_days))
                .chain(chosen.countries.iter().map(country))
                .collect()
        }
        Choice::Billing(billing) => {
            let last = billing.choices.last();
            let zone = last.map_or("UTC", |last| &last.zone);
            let rule = match last.map_or(AfterExpiry::Charge, |last| last.after_expiry) {
                AfterExpiry::Charge => "charged",
                AfterExpiry::Stop => "not charged",
            };
            vec![format!("days of {zone}"), format!("expired numbers {rule}")]
        }
        Choice::Webhook(_) | Choice::Schedule(_) | Choice::Mirror(_) => Vec::new(),
    }
}

fn differences(before: &Record, after: &Record, names: &dyn Names, said: &mut Vec<String>) {
    place(before, after, names, said);
    // What a release takes away with the account goes without saying.
    let released = before.holder().is_some() && after.holder().is_none();
    if !(released && after.application.is_none()) {
        let of = |id: Option<&ApplicationId>| id.map(|id| names.application(id));
        let same = before.application == after.application;
        let both = (of(before.application.as_ref()), of(after.application.as_ref()));
        moved(same, both, ("routed to", "routed from", "no longer routed to"), said);
    }
    if !(released && after.trunk.is_none()) {
        let of = |id: Option<&TrunkId>| id.map(|id| names.trunk(id));
        let same = before.trunk == after.trunk;
        let both = (of(before.trunk.as_ref()), of(after.trunk.as_ref()));
        moved(same, both, ("on trunk", "moved from trunk", "no longer on trunk"), said);
    }
    if before.expires_at != after.expires_at && !(released && after.expires_at.is_none()) {
        said.push(match (before.expires_at, after.expires_at) {
            (Some(from), Some(to)) => format!("expires {to} instead of {from}"),
            (None, Some(to)) => format!("expires {to}"),
            (_, None) => "no longer expires".to_owned(),
        });
    }
    if before.cost != after.cost {
        let amount = |cost: Money| names.money(cost);
        said.push(match (before.cost.map(amount), after.cost.map(amount)) {
            (Some(from), Some(to)) => format!("costs {to} instead of {from}"),
            (None, Some(to)) => format!("costs {to}"),
            (_, None) => "no longer has a cost".to_owned(),
        });
    }
    let only = |of: &Record, not: &Record| -> Vec<String> {
        of.tags.iter().filter(|tag| !not.tags.contains(tag)).map(str::to_owned).collect()
    };
    for (tags, word) in [(only(after, before), "tagged"), (only(before, after), "no longer tagged")] {
        if !tags.is_empty() {
            said.push(format!("{word} {}", tags.join(", ")));
        }
    }
    if before.number_type != after.number_type {
        said.push(format!("{} instead of {}", after.number_type, before.number_type));
    }
    let country = (text_of(before.country), text_of(after.country));
    let region = (text_of(before.region.as_ref()), text_of(after.region.as_ref()));
    for ((from, to), what) in [(country, "country"), (region, "region")] {
        if from != to {
            let word = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
            said.push(format!("{what} {} instead of {}", word(to), word(from)));
        }
    }
    // An assignment brings its time with it.
    let held = before.holder() == after.holder() && after.holder().is_some();
    if let (true, Some(to)) = (held && before.assigned_at != after.assigned_at, after.assigned_at) {
        said.push(format!("assignment dated {to}"));
    }
}

fn text_of<T: ToString>(value: Option<T>) -> Option<String> {
    value.map(|value| value.to_string())
}

/// Whose it is and in which state.
fn place(before: &Record, after: &Record, names: &dyn Names, said: &mut Vec<String>) {
    use State::{Active, Available, Quarantined, Reserved, Retired, Suspended};
    let until = after.until.map(|end| format!(" until {end}")).unwrap_or_default();
    let account = after.account.as_ref().map(|id| names.customer(id)).unwrap_or_default();
    match (before.holder(), after.holder()) {
        (None, Some(to)) => said.push(format!("assigned to {}", names.customer(to))),
        (Some(from), Some(to)) if from != to => {
            said.push(format!("moved from {} to {}", names.customer(from), names.customer(to)));
        }
        (Some(_), None) => said.push("released".to_owned()),
        (None, None) | (Some(_), Some(_)) => {}
    }
    let same = before.state == after.state && before.until == after.until && before.account == after.account;
    match (before.state, after.state) {
        (_, Quarantined | Reserved) if same => {}
        (_, Quarantined) => said.push(format!("in quarantine{until}")),
        (_, Reserved) => said.push(format!("reserved for {account}{until}")),
        (Reserved, Available) => said.push("no longer reserved".to_owned()),
        (Quarantined | Active | Suspended | Retired, Available) => said.push("available".to_owned()),
        (Available, Available) => {}
        (Suspended, Active) => said.push("resumed".to_owned()),
        (Suspended, Suspended) | (_, Active) => {}
        (_, Suspended) => said.push("suspended".to_owned()),
        (_, Retired) => said.push("retired".to_owned()),
    }
}

/// Something to go to, or to leave.
fn moved(same: bool, both: (Option<String>, Option<String>), words: (&str, &str, &str), said: &mut Vec<String>) {
    let (come, between, gone) = words;
    match both {
        _ if same => {}
        (None, Some(to)) => said.push(format!("{come} {to}")),
        (Some(from), Some(to)) => said.push(format!("{between} {from} to {to}")),
        (Some(from), None) => said.push(format!("{gone} {from}")),
        (None, None) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::change::Edit;
    use crate::domain::quarantine::Quarantine;
    use crate::domain::setting::{Billing, BillingChoice, Webhook};
    use crate::domain::{Account, Money, NumberType, Tags};

    fn stock() -> Record {
        Record {
            cost: Some(Money { minor: 50_000, currency: "INR".parse().expect("a currency") }),
            ..Record::bare(State::Available, NumberType::Local, time(0))
        }
    }

    fn held(account: &str) -> Record {
        Record { state: State::Active, account: account.parse().ok(), assigned_at: Some(time(0)), ..stock() }
    }

    fn time(seconds: i64) -> Time {
        Time::new(1_770_000_000 + seconds).expect("a time")
    }

    #[track_caller]
    fn check(before: Option<Record>, after: Option<Record>, expected: &str) {
        let change = NumberChange { number: "+912271264217".parse().expect("a number"), before, after };
        assert_eq!(number(&change, time(100)), expected);
    }

    #[test]
    fn a_life() {
        let routed = |id: &str| Record { application: id.parse().ok(), ..held("MA_1") };
        let ends = |state, account: Option<&str>| Record {
            state,
            account: account.and_then(|id| id.parse().ok()),
            until: Some(time(200)),
            ..stock()
        };
        let quarantined = ends(State::Quarantined, None);
        let reserved = ends(State::Reserved, Some("MA_2"));
        check(None, Some(stock()), "came into stock");
        check(None, Some(routed("app_1")), "came into stock; assigned to MA_1; routed to app_1");
        check(Some(stock()), Some(held("MA_1")), "assigned to MA_1");
        check(Some(held("MA_1")), Some(routed("app_1")), "routed to app_1");
        check(Some(routed("app_1")), Some(routed("app_2")), "routed from app_1 to app_2");
        check(Some(routed("app_2")), Some(held("MA_1")), "no longer routed to app_2");
        check(Some(held("MA_1")), Some(held("MA_2")), "moved from MA_1 to MA_2");
        check(
            Some(routed("app_1")),
            Some(quarantined.clone()),
            &format!("released; in quarantine until {}", time(200)),
        );
        check(Some(routed("app_1")), Some(stock()), "released; available");
        check(Some(stock()), Some(reserved.clone()), &format!("reserved for MA_2 until {}", time(200)));
        check(Some(reserved.clone()), Some(stock()), "no longer reserved");
        check(Some(reserved), Some(held("MA_2")), "assigned to MA_2");
        check(Some(quarantined.clone()), None, "retired");
        check(Some(quarantined.clone()), Some(routed("app_1")), "assigned to MA_1; routed to app_1");
        let paused = Record { state: State::Suspended, ..held("MA_1") };
        check(Some(held("MA_1")), Some(paused.clone()), "suspended");
        check(Some(paused), Some(held("MA_1")), "resumed");
        // Its quarantine had ended, so there was none to end.
        let over = Record { until: Some(time(50)), ..quarantined };
        check(Some(over), Some(Record { tags: Tags::new(["vip"]), ..stock() }), "tagged vip");
    }

    #[test]
    fn what_a_number_has() {
        let trunk = |id: &str| Record { trunk: id.parse().ok(), ..held("MA_1") };
        check(Some(held("MA_1")), Some(trunk("trunk_1")), "on trunk trunk_1");
        check(Some(trunk("trunk_1")), Some(trunk("trunk_2")), "moved from trunk trunk_1 to trunk_2");
        let expiring = |seconds| Record { expires_at: Some(time(seconds)), ..held("MA_1") };
        check(Some(held("MA_1")), Some(expiring(300)), &format!("expires {}", time(300)));
        check(Some(expiring(300)), Some(expiring(400)), &format!("expires {} instead of {}", time(400), time(300)));
        check(Some(expiring(300)), Some(held("MA_1")), "no longer expires");
        let cheap =
            Record { cost: Some(Money { minor: 700, currency: "JPY".parse().expect("a currency") }), ..stock() };
        check(Some(stock()), Some(cheap), "costs 700 JPY instead of 500.00 INR");
        let tagged = |tags: &[&'static str]| Record { tags: Tags::new(tags.iter().copied()), ..stock() };
        check(Some(tagged(&["a", "b"])), Some(tagged(&["b", "c", "d"])), "tagged c, d; no longer tagged a");
        let moved = Record { region: Some("Pune".into()), number_type: NumberType::Mobile, ..stock() };
        check(Some(stock()), Some(moved), "mobile instead of local; region Pune instead of none");
        check(Some(stock()), Some(Record { since: time(5), ..stock() }), "nothing that shows");
    }

    #[test]
    fn settings_say_what_differs_and_no_secrets() {
        let setting = |choice: Choice| Setting { id: "x".into(), created_at: time(0), removed_at: None, choice };
        let check = |before: Option<Choice>, after: Choice, expected: &str| {
            let edit = Edit { before: before.map(setting), after: setting(after) };
            assert_eq!(entity(&EntityChange::Setting(edit)), expected);
        };
        let quarantine = |default_days, countries: &[(&str, u32)]| {
            let country = |(code, days): &(&str, u32)| (code.parse().expect("a country"), *days);
            Choice::Quarantine(Quarantine { default_days, countries: countries.iter().map(country).collect() })
        };
        check(
            Some(quarantine(30, &[])),
            quarantine(90, &[("IN", 180)]),
            "quarantine x 90 days, IN 180 days instead of 30 days",
        );
        let webhook = |url: &str, events: &[&str], rotations| {
            let events = events.iter().map(|event| (*event).into()).collect();
            let (name, order) = ("W".into(), DeliveryOrder::Number);
            Choice::Webhook(Webhook { name, url: url.into(), events, order, off: None, rotated_at: None, rotations })
        };
        check(
            Some(webhook("https://a/?key=hunter2", &[], 0)),
            webhook("https://b/?key=hunter3", &["assign"], 1),
            "webhook x sends assign instead of everything, has another address, got a new secret",
        );
        let schedule = |cron: &str, to: &[&str], off: bool| {
            Choice::Schedule(Schedule {
                name: "S".into(),
                cron: cron.into(),
                zone: "UTC".into(),
                recipients: to.iter().map(|one| (*one).into()).collect(),
                checks: Vec::new(),
                within: 86_400,
                report: ReportPolicy::Findings,
                alerts: true,
                off: off.then(|| Off { at: time(0), reason: "asked".into() }),
            })
        };
        check(
            Some(schedule("0 9 * * 1", &["a@b.example"], false)),
            schedule("0 8 * * 1", &[], true),
            "schedule x runs at 0 8 * * 1 UTC instead of 0 9 * * 1 UTC, sent to nobody instead of a@b.example, \
             switched off",
        );
        let billing = |zone: &str| {
            let choice = BillingChoice { chosen_at: time(0), zone: zone.into(), after_expiry: AfterExpiry::Stop };
            Choice::Billing(Billing { choices: vec![choice] })
        };
        check(
            Some(billing("Asia/Kolkata")),
            billing("Europe/Paris"),
            "billing x days of Europe/Paris, expired numbers not charged instead of days of Asia/Kolkata, expired \
             numbers not charged",
        );
    }

    #[test]
    fn entities() {
        let account = |name: &str, archived: bool| Account {
            auth_id: "MA_1".parse().expect("an id"),
            name: name.into(),
            created_at: time(0),
            archived_at: archived.then(|| time(1)),
        };
        let check = |before: Option<Account>, after: Account, expected: &str| {
            assert_eq!(entity(&EntityChange::Account(Edit { before, after })), expected);
        };
        check(None, account("Acme", false), "account MA_1 created (Acme)");
        check(
            Some(account("Acme", false)),
            account("Acme Inc", true),
            "account MA_1 renamed from Acme to Acme Inc, archived",
        );
        check(Some(account("Acme", true)), account("Acme", false), "account MA_1 brought back");
    }
}
