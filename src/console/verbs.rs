//! The verbs as forms: what each needs, and what it asks for.
//!
//! A form says what the management API's body would, so it is read by the same
//! code; only times are days of the reader's zone.

use askama::Template;
use serde_json::{Map, Value};

use super::gate::{Form, Visit};
use super::show::Clock;
use crate::domain::action::{self, Action, Assignment};
use crate::domain::field::code;
use crate::domain::{FieldError, State, Time, Verb};
use crate::http::body::Fields;
use crate::http::manage;

/// How many customers, applications and trunks are offered by name; of more,
/// the id can be typed.
const OFFERED_MAX: usize = 500;

/// A verb as people see it.
pub struct Shown {
    /// As in the API's paths.
    pub name: &'static str,
    pub title: &'static str,
    pub about: &'static str,
    pub verb: Verb,
    /// Whether it cannot be taken back by the same page.
    pub grave: bool,
}

macro_rules! verbs {
    ($($name:literal $title:literal $verb:ident $grave:literal $about:literal;)+) => {
        pub const ALL: &[Shown] =
            &[$(Shown { name: $name, title: $title, about: $about, verb: Verb::$verb, grave: $grave }),+];
    };
}

verbs! {
    "assign" "Assign" Assign false "A customer gets the number, and pays for it from today.";
    "transfer" "Transfer" Transfer false "Another customer gets the number, with its status, its cost and its expiry, and pays for it from today.";
    "route" "Route" Route false "Calls go to this application, and come in on this trunk.";
    "renew" "Renew" Renew false "The number ends later, or never.";
    "suspend" "Suspend" Suspend false "Calls are refused until it is resumed; rental goes on.";
    "resume" "Resume" Resume false "Calls get through again.";
    "release" "Release" Release true "The customer gives the number back. It is kept from reuse for a while, and can be undone in that time.";
    "reserve" "Reserve" Reserve false "Kept for a customer until a day.";
    "unreserve" "End the reservation" Unreserve false "The number is available to all again.";
    "tags" "Tag" Tag false "Words of your own, to find numbers by.";
    "cost" "Set the cost" Cost false "What the number costs a month, from today.";
    "retire" "Retire" Retire true "The number leaves the inventory. Its history stays.";
}

pub fn find(name: &str) -> Option<&'static Shown> {
    ALL.iter().find(|shown| shown.name == name)
}

/// Why a verb is not offered.
pub fn reason(verb: Verb, state: State) -> Option<&'static str> {
    (!action::offered(verb, state)).then(|| match (verb, state) {
        (Verb::Suspend, State::Suspended) => "it is suspended already",
        (Verb::Resume, State::Active) => "it is not suspended",
        (Verb::Release, State::Quarantined) => "it is released already",
        (Verb::Unreserve, State::Available) => "it is not reserved",
        _ => action::hint(verb, state),
    })
}

/// The action that a form asks for, or what is wrong with it.
pub fn read(name: &str, form: &Form, clock: &Clock) -> Result<Action, Vec<FieldError>> {
    read_sent(name, form, clock).map(|(action, _)| action)
}

/// The same, and the parameters as the API would have been sent them.
pub fn read_sent(name: &str, form: &Form, clock: &Clock) -> Result<(Action, String), Vec<FieldError>> {
    let mut body: Map<String, Value> = Map::new();
    let mut errors = Vec::new();
    let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
    for field in ["account_auth_id", "application_id", "trunk_id", "currency"] {
        let cleared = form.has(&format!("clear_{field}"));
        match form.given(field) {
            Some(value) if cleared => {
                errors.push(FieldError::new(field, code::CONFLICT, "cannot be cleared and set; do one of them", value));
            }
            // A name is offered with its id in front.
            Some(value) => drop(put(field, value.split_whitespace().next().unwrap_or_default().into())),
            // An empty route clears, unless the form says that it leaves what
            // is there; elsewhere, empty is nothing said.
            None if name == "transfer" && cleared => drop(put(field, Value::Null)),
            None if name == "route" && form.has(field) && (cleared || !form.has("leave")) => {
                drop(put(field, Value::Null));
            }
            None => {}
        }
    }
    if let Some(amount) = form.given("monthly_cost") {
        // As a number if it is one, so that its digits are taken as they are.
        let number = serde_json::from_str::<Value>(amount).ok().filter(Value::is_number);
        put("monthly_cost", number.unwrap_or_else(|| amount.into()));
    }
    for field in ["expires_at", "until"] {
        match form.given(field).map(|day| (day, last_second(day, clock))) {
            Some((_, Some(time))) => drop(put(field, time.to_string().into())),
            Some((day, None)) => errors.push(FieldError::new(field, "INVALID", "is a day such as 2027-03-01", day)),
            None if name == "renew" && field == "expires_at" => drop(put(field, Value::Null)),
            None => {}
        }
    }
    for field in ["add", "remove"] {
        if let Some(tags) = form.given(field) {
            put(field, tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()).collect());
        }
    }
    if form.given("confirm_last").is_some() {
        put("confirm_last", true.into());
    }
    let text = Value::Object(body).to_string();
    let mut fields = Fields::parse(text.as_bytes()).map_err(|_| Vec::new())?;
    let action = manage::action(name, &mut fields).flatten();
    errors.extend(fields.complete());
    match action {
        Some(action) if errors.is_empty() => Ok((action, text)),
        _ => Err(errors),
    }
}

/// The assignment that a form asks for.
pub fn assign(form: &Form, clock: &Clock) -> Result<Assignment, Vec<FieldError>> {
    match read("assign", form, clock)? {
        Action::Assign(to) => Ok(to),
        _ => Err(Vec::new()),
    }
}

/// The end of a day in the reader's zone; an exact time is taken as it is.
pub fn last_second(text: &str, clock: &Clock) -> Option<Time> {
    if let Ok(time) = text.parse::<Time>() {
        return Some(time);
    }
    let date: jiff::civil::Date = text.parse().ok()?;
    let next = date.tomorrow().ok()?.to_zoned(clock.zone.clone()).ok()?;
    Time::new(next.timestamp().as_second() - 1)
}

/// A field's errors in one sentence.
pub fn told(errors: &[FieldError]) -> String {
    let name = |error: &FieldError| match error.field.as_str() {
        "account_auth_id" => "customer".to_owned(),
        "application_id" => "application".to_owned(),
        "trunk_id" => "trunk".to_owned(),
        "expires_at" | "until" => "last day".to_owned(),
        field => field.replace('_', " "),
    };
    let said = |message: &str| message.replace("application_id", "application").replace("trunk_id", "trunk");
    let lines: Vec<String> = errors.iter().map(|error| format!("{}: {}", name(error), said(&error.message))).collect();
    if lines.is_empty() { "the form could not be read; load the page again".to_owned() } else { lines.join("; ") }
}

/// Something to choose, by id and name.
pub struct Choice {
    pub id: String,
    pub name: String,
}

/// What the forms of a partner offer to choose from.
#[derive(Template)]
#[template(path = "choices.html")]
pub struct Choices {
    customers: Vec<Choice>,
    applications: Vec<Choice>,
    trunks: Vec<Choice>,
    currencies: Vec<String>,
}

impl Choices {
    pub fn of(visit: &Visit) -> Choices {
        fn offer<'a>(all: impl Iterator<Item = (&'a str, &'a str, bool)>) -> Vec<Choice> {
            let live = all.filter(|(_, _, archived)| !archived).take(OFFERED_MAX);
            live.map(|(id, name, _)| Choice { id: id.to_owned(), name: name.to_owned() }).collect()
        }
        let snapshot = &visit.snapshot;
        let mut currencies: Vec<String> =
            snapshot.rental().iter().flatten().map(|(currency, _)| currency.code().to_owned()).collect();
        currencies.sort_unstable();
        currencies.dedup();
        Choices {
            customers: offer(
                snapshot.accounts.sorted().map(|one| (one.auth_id.as_str(), &*one.name, one.archived_at.is_some())),
            ),
            applications: offer(
                snapshot.applications.sorted().map(|one| (one.id.as_str(), &*one.name, one.archived_at.is_some())),
            ),
            trunks: offer(snapshot.trunks.sorted().map(|one| (one.id.as_str(), &*one.name, one.archived_at.is_some()))),
            currencies,
        }
    }
}

/// The fields of a verb, filled in with what was typed or what is.
#[derive(Template, Default)]
#[template(path = "verb.html")]
pub struct VerbFields<'a> {
    /// Or `first`: an assignment to a customer who is known.
    pub verb: &'a str,
    pub account: String,
    pub application: String,
    pub trunk: String,
    pub expires: String,
    pub amount: String,
    pub currency: String,
    pub until: String,
    pub add: String,
    pub remove: String,
    pub clear_application: bool,
    pub clear_trunk: bool,
    /// Whether an account's last active number is about to be taken.
    pub last: bool,
    /// Whether the verb may be about many numbers.
    pub many: bool,
}

impl<'a> VerbFields<'a> {
    /// As they were typed, to be mended.
    pub fn typed(verb: &'a str, form: &Form, many: bool) -> VerbFields<'a> {
        let get = |name| form.get(name).to_owned();
        VerbFields {
            verb,
            account: get("account_auth_id"),
            application: get("application_id"),
            trunk: get("trunk_id"),
            expires: get("expires_at"),
            amount: get("monthly_cost"),
            currency: get("currency"),
            until: get("until"),
            add: get("add"),
            remove: get("remove"),
            clear_application: form.has("clear_application_id"),
            clear_trunk: form.has("clear_trunk_id"),
            last: false,
            many,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ApplicationId;

    #[test]
    fn an_empty_route_clears_one_number_and_leaves_many() {
        let clock = Clock::new(Time::now(), "UTC");
        let route = |fields: &[(&str, &str)]| {
            let form = fields.iter().fold(Form::default(), |form, (name, value)| form.with(name, value));
            read("route", &form, &clock).map_err(|errors| told(&errors))
        };
        let app = |text: &str| Some(Some(text.parse::<ApplicationId>().expect("an id")));
        let one = route(&[("application_id", "app_1"), ("trunk_id", "")]);
        assert_eq!(one, Ok(Action::Route { application: app("app_1"), trunk: Some(None) }));
        let many = [("application_id", "app_1"), ("trunk_id", ""), ("leave", "1")];
        assert_eq!(route(&many), Ok(Action::Route { application: app("app_1"), trunk: None }));
        let cleared = [&many[..], &[("clear_trunk_id", "1")]].concat();
        assert_eq!(route(&cleared), Ok(Action::Route { application: app("app_1"), trunk: Some(None) }));
        let both = [&many[..], &[("clear_application_id", "1")]].concat();
        assert!(route(&both).expect_err("refused").contains("cleared and set"));
        let nothing = [("application_id", ""), ("trunk_id", ""), ("leave", "1")];
        assert_eq!(route(&nothing), Err("application: or trunk is needed".to_owned()));
    }
}
