//! What happened, as JSON: the entries of a number's history and the changes
//! of a partner's log.
//!
//! Records have the API's vocabulary and its `monthly_cost`, and are shown as
//! they were when it happened: a quarantine that had ended by then is over.
//! Invariants: an object is one line; of a key nothing is shown that helps to
//! guess its token.

use std::fmt::Display;

use super::Column as C;
use super::{Column, json_text, money_text};
use crate::domain::{
    Account, Actor, Destinations, EntityChange, Key, NumberChange, Partner, Record, Setting, State, Tags, Time, Verb,
    summary,
};

/// What every entry of the log says of itself.
#[derive(Clone, Copy)]
pub struct EntryHead<'a> {
    pub version: u64,
    pub at: Time,
    pub verb: Verb,
    pub actor: &'a Actor,
    pub request_id: Option<&'a str>,
}

/// What one change did to one number, as an entry of its history.
pub fn history_entry(out: &mut Vec<u8>, head: EntryHead<'_>, change: &NumberChange) {
    let mut object = ObjectWriter::begin(out);
    head.put(&mut object);
    object.text("summary", Some(&summary::number(change, head.at)));
    object.images(change, head.at);
    object.end();
}

/// A change as it is listed.
#[derive(Clone, Copy)]
pub struct ListedChange<'a> {
    pub head: EntryHead<'a>,
    /// How many entities it changed, and some of them.
    pub entities_total: u64,
    pub entities: &'a [EntityChange],
    /// The same of numbers.
    pub numbers_total: u64,
    pub numbers: &'a [NumberChange],
}

pub fn change(out: &mut Vec<u8>, change: ListedChange<'_>) {
    let ListedChange { head, entities_total, entities, numbers_total, numbers } = change;
    let mut object = ObjectWriter::begin(out);
    head.put(&mut object);
    object.plain("entities_total", entities_total);
    list(object.key("entities"), entities, entity);
    object.plain("numbers_total", numbers_total);
    list(object.key("numbers"), numbers, |out, change| {
        let mut object = ObjectWriter::begin(out);
        object.text("number", Some(&change.number.to_string()));
        object.text("summary", Some(&summary::number(change, head.at)));
        object.images(change, head.at);
        object.end();
    });
    object.end();
}

impl EntryHead<'_> {
    fn put(self, object: &mut ObjectWriter<'_>) {
        object.plain("version", self.version);
        object.time("at", Some(self.at));
        object.text("verb", Some(self.verb.as_str()));
        object.text("actor", Some(&self.actor.to_string()));
        object.text("request_id", self.request_id);
    }
}

/// A JSON array, each member written by `one`.
fn list<T>(out: &mut Vec<u8>, all: &[T], one: impl Fn(&mut Vec<u8>, &T)) {
    out.push(b'[');
    for (at, member) in all.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        one(out, member);
    }
    out.push(b']');
}

/// What is shown of a number as it was, in this order.
pub const COLUMNS: &[Column] = &[
    C::State,
    C::AccountAuthId,
    C::ApplicationId,
    C::TrunkId,
    C::NumberType,
    C::Country,
    C::Region,
    C::MonthlyCost,
    C::Currency,
    C::AssignedAt,
    C::ExpiresAt,
    C::Since,
    C::QuarantineEndsAt,
    C::ReservedUntil,
    C::ReservedFor,
    C::Tags,
];

fn record(out: &mut Vec<u8>, record: &Record) {
    let ends = |state| record.until.filter(|_| record.state == state);
    let mut object = ObjectWriter::begin(out);
    for &column in COLUMNS {
        let name = column.name();
        match column {
            C::State => object.text(name, Some(record.state.as_str())),
            C::AccountAuthId => object.text(name, record.holder().map(|id| id.as_str())),
            C::ApplicationId => object.text(name, record.application.as_ref().map(|id| id.as_str())),
            C::TrunkId => object.text(name, record.trunk.as_ref().map(|id| id.as_str())),
            C::NumberType => object.text(name, Some(record.number_type.as_str())),
            C::Country => object.text(name, record.country.as_ref().map(|country| country.code())),
            C::Region => object.text(name, record.region.as_deref()),
            C::MonthlyCost => match record.cost {
                Some(cost) => money_text(object.key(name), cost),
                None => object.null(name),
            },
            C::Currency => object.text(name, record.cost.as_ref().map(|cost| cost.currency.code())),
            C::AssignedAt => object.time(name, record.assigned_at),
            C::ExpiresAt => object.time(name, record.expires_at),
            C::Since => object.time(name, Some(record.since)),
            C::QuarantineEndsAt => object.time(name, ends(State::Quarantined)),
            C::ReservedUntil => object.time(name, ends(State::Reserved)),
            C::ReservedFor => {
                let reserved = record.account.as_ref().filter(|_| record.state == State::Reserved);
                object.text(name, reserved.map(|id| id.as_str()));
            }
            C::Tags => tags(object.key(name), &record.tags),
            // Not of a record alone, or of the second dialect's lists.
            C::Number
            | C::AccountName
            | C::ApplicationName
            | C::Status
            | C::Id
            | C::AccountId
            | C::E164
            | C::Capabilities
            | C::SetupFee
            | C::MonthlyFee
            | C::TrunkGroupId
            | C::VoiceEnabled
            | C::PurchasedAt
            | C::CreatedAt
            | C::UpdatedAt
            | C::IsBlocked
            | C::LastBillingDate
            | C::NextBillingDate
            | C::Source => object.null(name),
        }
    }
    object.end();
}

fn tags(out: &mut Vec<u8>, tags: &Tags) {
    let tags: Vec<&str> = tags.iter().collect();
    list(out, &tags, |out, tag| json_text(out, tag));
}

fn entity(out: &mut Vec<u8>, change: &EntityChange) {
    fn edit<T>(
        out: &mut Vec<u8>,
        (kind, id): (&str, &str),
        before: Option<&T>,
        after: &T,
        put: fn(&mut ObjectWriter<'_>, &T),
    ) {
        let mut object = ObjectWriter::begin(out);
        object.text("kind", Some(kind));
        object.text("id", Some(id));
        for (name, image) in [("before", before), ("after", Some(after))] {
            match image {
                Some(image) => {
                    let mut object = ObjectWriter::begin(object.key(name));
                    put(&mut object, image);
                    object.end();
                }
                None => object.null(name),
            }
        }
        object.end();
    }
    match change {
        EntityChange::Partner(both) => {
            edit(out, ("partner", both.after.auth_id.as_str()), both.before.as_ref(), &both.after, partner);
        }
        EntityChange::Account(both) => {
            edit(out, ("account", both.after.auth_id.as_str()), both.before.as_ref(), &both.after, account);
        }
        EntityChange::Application(both) => {
            edit(out, ("application", both.after.id.as_str()), both.before.as_ref(), &both.after, |object, one| {
                route(object, &one.name, one.account.as_ref().map(|id| id.as_str()), one.created_at, one.archived_at);
                all_destinations(object, &one.destinations);
                object.text("answer_url", one.answer_url.as_deref());
            });
        }
        EntityChange::Trunk(both) => {
            edit(out, ("trunk", both.after.id.as_str()), both.before.as_ref(), &both.after, |object, one| {
                route(object, &one.name, one.account.as_ref().map(|id| id.as_str()), one.created_at, one.archived_at);
                all_destinations(object, &one.destinations);
            });
        }
        EntityChange::Acknowledgement(both) => {
            edit(out, ("acknowledgement", &both.after.finding), both.before.as_ref(), &both.after, |object, one| {
                object.text("note", one.note.as_deref());
                object.time("until", one.until);
                object.text("by", Some(&one.by));
            });
        }
        EntityChange::Setting(both) => {
            edit(out, (both.after.choice.kind(), &both.after.id), both.before.as_ref(), &both.after, setting);
        }
        EntityChange::Key(both) => {
            edit(out, ("key", both.after.id.as_str()), both.before.as_ref(), &both.after, key);
        }
    }
}

fn partner(object: &mut ObjectWriter<'_>, partner: &Partner) {
    object.text("name", Some(&partner.name));
    object.time("created_at", Some(partner.created_at));
    object.time("suspended_at", partner.suspended_at);
}

fn account(object: &mut ObjectWriter<'_>, account: &Account) {
    object.text("name", Some(&account.name));
    object.time("created_at", Some(account.created_at));
    object.time("archived_at", account.archived_at);
}

fn all_destinations(object: &mut ObjectWriter<'_>, destinations: &Destinations) {
    let list = serde_json::to_vec(destinations).expect("destinations serialise");
    object.key("destinations").extend_from_slice(&list);
}

/// An application or a trunk.
fn route(
    object: &mut ObjectWriter<'_>,
    name: &str,
    account: Option<&str>,
    created_at: Time,
    archived_at: Option<Time>,
) {
    object.text("name", Some(name));
    object.text("account_auth_id", account);
    object.time("created_at", Some(created_at));
    object.time("archived_at", archived_at);
}

/// A setting has nothing secret, so all of it is shown.
fn setting(object: &mut ObjectWriter<'_>, setting: &Setting) {
    let choice = serde_json::to_value(&setting.choice).expect("a setting serialises");
    for (name, value) in choice.as_object().into_iter().flatten().filter(|(name, _)| *name != "what") {
        object.plain(name, value);
    }
    object.time("created_at", Some(setting.created_at));
    object.time("removed_at", setting.removed_at);
}

/// Named one by one, so that nothing secret that a key may get one day is
/// shown by being there.
fn key(object: &mut ObjectWriter<'_>, key: &Key) {
    object.text("name", Some(&key.name));
    list(object.key("scopes"), &key.scopes, |out, scope| json_text(out, scope.as_str()));
    list(object.key("networks"), &key.networks, |out, network| json_text(out, &network.to_string()));
    object.time("expires_at", key.expires_at);
    object.time("revoked_at", key.revoked_at);
}

/// An object in the making.
struct ObjectWriter<'o> {
    out: &'o mut Vec<u8>,
    separator: u8,
}

impl<'o> ObjectWriter<'o> {
    fn begin(out: &'o mut Vec<u8>) -> ObjectWriter<'o> {
        ObjectWriter { out, separator: b'{' }
    }

    /// Begins a member; its value is to be written next. `name` needs no
    /// escaping.
    fn key(&mut self, name: &str) -> &mut Vec<u8> {
        self.out.push(self.separator);
        self.separator = b',';
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    fn text(&mut self, name: &str, value: Option<&str>) {
        match value {
            Some(value) => json_text(self.key(name), value),
            None => self.null(name),
        }
    }

    fn time(&mut self, name: &str, value: Option<Time>) {
        match value {
            Some(value) => self.text(name, Some(value.text(&mut [0; 20]))),
            None => self.null(name),
        }
    }

    fn null(&mut self, name: &str) {
        self.key(name).extend_from_slice(b"null");
    }

    /// What stands in JSON as it prints.
    fn plain(&mut self, name: &str, value: impl Display) {
        use std::io::Write;
        write!(self.key(name), "{value}").expect("writing to memory");
    }

    /// A number before and after something that happened at a time.
    fn images(&mut self, change: &NumberChange, at: Time) {
        for (name, image) in [("before", &change.before), ("after", &change.after)] {
            match image {
                Some(image) => record(self.key(name), &image.as_of(at)),
                None => self.null(name),
            }
        }
    }

    fn end(self) {
        self.out.push(b'}');
    }
}
