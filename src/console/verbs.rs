//! The verbs as forms: what each needs, and what it asks for.
//!
//! A form says what the management API's body would, so it is read by the same
//! code; only times are days of the reader's zone, and customers, applications
//! and trunks may be given by name (`inventory::names`).

use askama::Template;
use serde_json::{Map, Value};

use super::chooser::Chooser;
use super::form::{self, Wrongs};
use super::gate::{Form, Visit};
use super::show::PageClock;
use crate::domain::action::{self, Action, Assignment};
use crate::domain::field::code;
use crate::domain::{AccountId, Currency, FieldError, Money, State, Verb, zone};
use crate::http::body::BodyFields;
use crate::http::manage;
use crate::inventory::Snapshot;
use crate::inventory::names::NamedKind;
use crate::wire::html::Html;

/// A verb as people see it.
pub struct VerbChoice {
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
        pub const ALL: &[VerbChoice] =
            &[$(VerbChoice { name: $name, title: $title, about: $about, verb: Verb::$verb, grave: $grave }),+];
    };
}

verbs! {
    "assign" "Assign" Assign false "A customer gets the number, and pays for it from today.";
    "transfer" "Transfer" Transfer false "Another customer gets the number, with its status, its cost and its expiry, and pays for it from today.";
    "route" "Route" Route false "Calls go to this application, and come in on this trunk.";
    "renew" "Renew" Renew false "The number expires later, or auto-renews from now on.";
    "suspend" "Suspend" Suspend false "Calls are refused until it is resumed; rental goes on.";
    "resume" "Resume" Resume false "Calls get through again.";
    "release" "Release" Release true "The customer gives the number back. It is kept from reuse for a while, and can be undone in that time.";
    "reserve" "Reserve" Reserve false "The number is kept for a customer until a day.";
    "unreserve" "End the reservation" Unreserve false "The number is available to all again.";
    "tags" "Tag" Tag false "Words of your own, to find numbers by.";
    "cost" "Set the cost" Cost false "The monthly cost of the number, from today.";
    "retire" "Retire" Retire true "The number leaves the inventory. Its history stays.";
}

pub fn find(name: &str) -> Option<&'static VerbChoice> {
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

/// The fields that name something, and what.
pub const NAMING: [(&str, NamedKind); 3] = [
    ("account_auth_id", NamedKind::Customer),
    ("application_id", NamedKind::Application),
    ("trunk_id", NamedKind::Trunk),
];

/// The id of what a field names by its id or its name.
pub fn named(field: &str, text: &str, what: NamedKind, snapshot: &Snapshot) -> Result<String, FieldError> {
    snapshot.find_named(what, text).map_err(|error| FieldError::new(field, form::SENTENCE, error.to_string(), text))
}

/// The action that a form asks for, or what is wrong with it.
pub fn read(name: &str, form: &Form, clock: &PageClock, snapshot: &Snapshot) -> Result<Action, Vec<FieldError>> {
    read_sent(name, form, clock, snapshot).map(|(action, _)| action)
}

/// The same, and the parameters as the API would have been sent them.
pub fn read_sent(
    name: &str,
    form: &Form,
    clock: &PageClock,
    snapshot: &Snapshot,
) -> Result<(Action, String), Vec<FieldError>> {
    let (body, errors) = said(name, form, clock, snapshot);
    action_of(name, body, errors)
}

/// How a form renews.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Renewal {
    Months(u32),
    Auto,
    Day,
}

impl Renewal {
    fn of(form: &Form) -> Renewal {
        match form.get("renew_by") {
            "auto" => Renewal::Auto,
            months => months.parse().map_or(Renewal::Day, Renewal::Months),
        }
    }
}

/// The monthly cost of a form, as the API's body has it.
pub fn amount(form: &Form) -> Option<Result<Value, FieldError>> {
    let amount = form.given("monthly_cost")?;
    let currency = form.get("currency").to_ascii_uppercase().parse::<Currency>();
    // A JSON number of many digits is rounded, and would no longer be what was typed.
    if let Ok(Err(error)) = currency.map(|currency| Money::parse(amount, currency)) {
        return Some(Err(FieldError::new("monthly_cost", code::INVALID, error.to_string(), amount)));
    }
    let number = serde_json::from_str::<Value>(amount).ok().filter(Value::is_number);
    Some(Ok(number.unwrap_or_else(|| amount.into())))
}

/// What a form says, as the API's body has it, and what of it is wrong.
fn said(name: &str, form: &Form, clock: &PageClock, snapshot: &Snapshot) -> (Map<String, Value>, Vec<FieldError>) {
    let mut body: Map<String, Value> = Map::new();
    let mut errors = Vec::new();
    let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
    for (field, what) in NAMING {
        let cleared = form.has(&format!("clear_{field}"));
        match form.given(field) {
            Some(value) if cleared => {
                errors.push(FieldError::new(field, code::CONFLICT, "cannot be cleared and set; do one of them", value));
            }
            Some(value) => match named(field, value, what, snapshot) {
                Ok(id) => drop(put(field, id.into())),
                Err(error) => errors.push(error),
            },
            // An empty route clears, unless the form says that it leaves what
            // is there; elsewhere, empty is nothing said.
            None if name == "transfer" && cleared => drop(put(field, Value::Null)),
            None if name == "route" && form.has(field) && (cleared || !form.has("leave")) => {
                drop(put(field, Value::Null));
            }
            None => {}
        }
    }
    if let Some(currency) = form.given("currency") {
        put("currency", currency.to_ascii_uppercase().into());
    }
    match amount(form) {
        Some(Ok(amount)) => drop(put("monthly_cost", amount)),
        Some(Err(error)) => errors.push(error),
        None => {}
    }
    let renewal = (name == "renew").then(|| Renewal::of(form));
    for field in ["expires_at", "until"] {
        let renewal = renewal.filter(|_| field == "expires_at");
        match form.given(field) {
            Some(day) if renewal.is_some_and(|renewal| renewal != Renewal::Day) => {
                let message = "is a day, but another renewal is chosen; choose On a day, or clear the day";
                errors.push(FieldError::new(field, code::CONFLICT, message, day));
            }
            Some(day) => match form::moment(day, clock) {
                Ok(time) => drop(put(field, time.to_string().into())),
                Err(bad) => errors.push(FieldError::new(field, code::INVALID, bad.message(), day)),
            },
            None => match renewal {
                Some(Renewal::Months(months)) => {
                    put("months", months.into());
                    put("zone", clock.zone.iana_name().unwrap_or(zone::UTC).into());
                }
                Some(Renewal::Auto) => drop(put(field, Value::Null)),
                Some(Renewal::Day) => {
                    let message = "needs a day; choose Auto-renew for a number without expiry";
                    errors.push(FieldError::missing(field, code::MISSING, message));
                }
                None => {}
            },
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
    (body, errors)
}

/// The action that a body asks for, unless something of it is wrong already.
fn action_of(
    name: &str,
    body: Map<String, Value>,
    mut errors: Vec<FieldError>,
) -> Result<(Action, String), Vec<FieldError>> {
    let text = Value::Object(body).to_string();
    let mut fields = BodyFields::parse(text.as_bytes()).map_err(|_| Vec::new())?;
    let action = manage::action(name, &mut fields).flatten();
    // What is wrong already is not in the body, and is not missing either.
    let known: Vec<String> = errors.iter().map(|error| error.field.clone()).collect();
    errors.extend(fields.complete().into_iter().filter(|error| !known.contains(&error.field)));
    match action {
        Some(action) if errors.is_empty() => Ok((action, text)),
        _ => Err(errors),
    }
}

/// The assignment to a customer who is known, perhaps not yet in the inventory.
pub fn first(
    form: &Form,
    account: &AccountId,
    clock: &PageClock,
    snapshot: &Snapshot,
) -> Result<Assignment, Vec<FieldError>> {
    let (mut body, errors) = said("first", form, clock, snapshot);
    body.insert("account_auth_id".to_owned(), account.as_str().into());
    match action_of("assign", body, errors)? {
        (Action::Assign(to), _) => Ok(to),
        _ => Err(Vec::new()),
    }
}

/// The renewal that forms offer first: it shortens no number's life.
pub const YEAR: &str = "12";

/// The currencies that the forms of a partner suggest.
#[derive(Template)]
#[template(path = "choices.html")]
pub struct Choices {
    currencies: Vec<String>,
}

impl Choices {
    pub fn of(visit: &Visit) -> Choices {
        let mut currencies: Vec<String> =
            visit.snapshot.rental().iter().flatten().map(|(currency, _)| currency.code().to_owned()).collect();
        currencies.sort_unstable();
        currencies.dedup();
        Choices { currencies }
    }
}

/// The fields of a verb, filled in with what was typed or what is.
#[derive(Template, Default)]
#[template(path = "verb.html")]
pub struct VerbFields<'a> {
    /// Or `first`: an assignment to a customer who is known.
    pub verb: &'a str,
    /// Of which moment days are, as their labels say it.
    pub midnight: String,
    pub wrongs: Wrongs,
    pub account: String,
    pub application: String,
    pub trunk: String,
    pub expires: String,
    /// By how many months it is renewed, or `auto` or `day`.
    pub renew_by: String,
    /// When the number expires now.
    pub now: Html,
    pub amount: String,
    pub currency: String,
    pub until: String,
    pub add: String,
    pub remove: String,
    pub clear_application: bool,
    pub clear_trunk: bool,
    /// Whether an account's last active number is about to be taken.
    pub last: bool,
    /// Whether that was said to be meant.
    pub confirmed: bool,
    /// Whether the verb may be about many numbers.
    pub many: bool,
}

impl<'a> VerbFields<'a> {
    /// The field that names something.
    fn chooser(&self, label: &str, name: &str, what: NamedKind, value: &str, required: bool) -> Html {
        Html::of(&Chooser { what, label, name, value, required, wrongs: &self.wrongs })
    }

    fn customer(&self) -> Html {
        self.chooser("Customer", "account_auth_id", NamedKind::Customer, &self.account, true)
    }

    fn route(&self) -> Html {
        let application =
            self.chooser("Application", "application_id", NamedKind::Application, &self.application, false);
        application + "\n" + self.chooser("Trunk", "trunk_id", NamedKind::Trunk, &self.trunk, false)
    }

    /// As they were typed, to be mended.
    pub fn typed(verb: &'a str, form: &Form, clock: &PageClock, wrongs: &Wrongs, many: bool) -> VerbFields<'a> {
        let get = |name| form.get(name).to_owned();
        VerbFields {
            verb,
            midnight: form::midnight(clock),
            wrongs: wrongs.at(clock),
            renew_by: form.given("renew_by").unwrap_or(YEAR).to_owned(),
            now: Html::default(),
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
            confirmed: form.has("confirm_last"),
            many,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ApplicationId, Time, Zone};

    fn said(verb: &str, fields: &[(&str, &str)], zone: &str) -> Result<Action, String> {
        let clock = PageClock::new(Time::now(), zone);
        let form = fields.iter().fold(Form::default(), |form, (name, value)| form.with(name, value));
        let customers =
            [("MA", "Mango GmbH"), ("MA 1", "Other AG"), ("MA_3", "MA"), ("MA_4", "Twin"), ("MA_5", "Twin")];
        let snapshot = Snapshot::of_names(&customers, &[("app_1", "Main IVR"), ("x y", "Support")]);
        read(verb, &form, &clock, &snapshot).map_err(|errors| crate::console::page::told(&errors))
    }

    fn app(text: &str) -> Option<Option<ApplicationId>> {
        Some(Some(text.parse::<ApplicationId>().expect("an id")))
    }

    #[test]
    fn an_empty_route_clears_one_number_and_leaves_many() {
        let route = |fields: &[(&str, &str)]| said("route", fields, "UTC");
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

    #[test]
    fn an_amount_that_is_too_large_is_called_so() {
        for (amount, expected) in [
            ("99999999999999999999", "monthly cost: is too large"),
            ("1e3", "monthly cost: must be a plain decimal amount"),
            ("12.345", "monthly cost: "),
        ] {
            let refused = said("cost", &[("monthly_cost", amount), ("currency", "usd")], "UTC").expect_err("refused");
            assert!(refused.starts_with(expected), "{amount}: {refused}");
        }
        assert!(said("cost", &[("monthly_cost", "12.30"), ("currency", "usd")], "UTC").is_ok());
    }

    #[test]
    fn a_transfer_keeps_the_route_that_it_does_not_name() {
        let transfer = |fields: &[(&str, &str)]| {
            let to = [("account_auth_id", "Mango GmbH"), ("application_id", ""), ("trunk_id", "")];
            match said("transfer", &[fields, &to].concat(), "UTC") {
                Ok(Action::Transfer(to)) => Ok((to.account.to_string(), to.application, to.trunk, to.confirm_last)),
                Ok(other) => panic!("{other:?}"),
                Err(error) => Err(error),
            }
        };
        let mango = || "MA".to_owned();
        assert_eq!(transfer(&[]), Ok((mango(), None, None, false)));
        assert_eq!(transfer(&[("clear_application_id", "1")]), Ok((mango(), Some(None), None, false)));
        assert_eq!(transfer(&[("confirm_last", "1")]), Ok((mango(), None, None, true)));
        let named = said("transfer", &[("account_auth_id", "MA"), ("application_id", "Main IVR")], "UTC");
        assert!(matches!(named, Ok(Action::Transfer(to)) if to.application == app("app_1")));
        let both = [("account_auth_id", "MA"), ("application_id", "app_1"), ("clear_application_id", "1")];
        assert!(said("transfer", &both, "UTC").expect_err("refused").contains("cleared and set"));
    }

    #[test]
    fn ids_are_whole_and_names_are_exact() {
        let assigned = |customer: &str| match said("assign", &[("account_auth_id", customer)], "UTC") {
            Ok(Action::Assign(to)) => Ok(to.account.to_string()),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        };
        assert_eq!(assigned("MA 1").as_deref(), Ok("MA 1"));
        // An id before a name.
        assert_eq!(assigned("MA").as_deref(), Ok("MA"));
        assert_eq!(assigned("Other AG").as_deref(), Ok("MA 1"));
        assert_eq!(assigned("Mango"), Err("Customer Mango not found. Did you mean Mango GmbH (MA)?".to_owned()));
        assert_eq!(
            assigned("Twin"),
            Err("Twin is the name of 2 customers: MA_4, MA_5; choose one by its id".to_owned())
        );
        let route = said("route", &[("application_id", "x y"), ("leave", "1")], "UTC");
        assert_eq!(route, Ok(Action::Route { application: app("x y"), trunk: None }));
        let route = said("route", &[("application_id", "Main IVR"), ("leave", "1")], "UTC");
        assert_eq!(route, Ok(Action::Route { application: app("app_1"), trunk: None }));
    }

    #[test]
    fn a_renewal_says_its_day_or_that_there_is_none() {
        let renew = |fields: &[(&str, &str)]| match said("renew", fields, "Asia/Kolkata") {
            Ok(Action::Renew { expires_at }) => Ok(expires_at.map(|at| at.to_string())),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        };
        assert_eq!(renew(&[("expires_at", "2031-03-01")]), Ok(Some("2031-02-28T18:30:00Z".to_owned())));
        assert_eq!(renew(&[("renew_by", "auto"), ("expires_at", "")]), Ok(None));
        assert!(renew(&[("expires_at", "")]).expect_err("refused").contains("choose Auto-renew"));
        assert!(renew(&[]).expect_err("refused").contains("choose Auto-renew"));
        for other in ["auto", "1", "12"] {
            let both = renew(&[("renew_by", other), ("expires_at", "2031-03-01")]);
            assert!(both.expect_err("refused").contains("choose On a day"), "{other}");
        }
        assert!(renew(&[("expires_at", "9999-12-31")]).expect_err("refused").contains("auto-renews"));
        let zone = Zone::find("Asia/Kolkata").expect("a zone");
        for (chosen, months) in [("1", 1), ("12", 12)] {
            let fields = [("renew_by", chosen), ("expires_at", "")];
            assert_eq!(
                super::tests::said("renew", &fields, "Asia/Kolkata"),
                Ok(Action::Extend { months, zone: zone.clone() })
            );
        }
        for wrong in ["0", "121", "99999"] {
            let refused = super::tests::said("renew", &[("renew_by", wrong)], "UTC").expect_err("refused");
            assert!(refused.contains("from 1 to 120"), "{wrong}: {refused}");
        }
    }
}
