//! The web console.
//!
//! Server-rendered pages over the same verbs and the same snapshots as the API.
//! Everything works without a script; `console/assets/script.js` makes forms
//! and links faster. Invariants: a GET changes nothing; the address of a page names
//! its partner, and another partner's address is answered like one that does not
//! exist; names are always escaped.
//! Deliberately absent: rules about numbers, SQL, anything from another site.

mod address;
mod bulk;
mod changes;
mod chart;
mod checks;
mod chooser;
mod costs;
mod customers;
mod diff;
mod door;
mod download;
mod export;
mod form;
mod gate;
mod imports;
mod jobs;
mod kept;
mod keys;
pub mod line;
mod me;
mod number;
mod numbers;
mod overview;
mod page;
mod pieces;
mod platform;
mod routes;
mod schedules;
mod search;
mod settings;
mod show;
mod sign_in;
mod stock;
mod trend;
mod typed;
mod unknown;
mod users;
mod verbs;
mod webhooks;

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get, post};
use http::Response;
use http::header::{self, HeaderValue};
use parking_lot::Mutex;

use crate::domain::user::Role;
use crate::domain::{PartnerKey, Time, UserId};
use crate::http::App;
use address::AddressWords;
pub use door::{Guard, Posted};
use gate::Person;
use page::{PageResult, Trouble, redirect};

/// Where all pages are.
pub const PREFIX: &str = "/console";

/// How many people's addresses are kept.
const NAMES_MAX: usize = 10_000;

/// The console as handlers take it, and the ids of a page below a partner's.
type ConsoleState = State<Arc<Console>>;
type ItemPath = Path<(String, String)>;
type StepPath = Path<(String, String, String)>;

/// What the pages share.
pub struct Console {
    pub app: Arc<App>,
    spaces: show::Spaces,
    /// What is counted over a whole inventory, kept until it changes.
    tallies: Mutex<HashMap<PartnerKey, Arc<overview::Tally>>>,
    /// Refused forms, and the answers to forms that were sent.
    pages: kept::Pages,
    answers: kept::Answers,
    strangers: gate::Strangers,
    /// The addresses of people, which never change.
    names: Mutex<HashMap<UserId, String>>,
}

impl Console {
    /// What people call somebody, if they are known.
    fn user_name(&self, id: &UserId) -> Option<String> {
        if let Some(name) = self.names.lock().get(id) {
            return Some(name.clone());
        }
        let name = self.app.people.find(id).ok().flatten()?.email.to_string();
        let mut names = self.names.lock();
        if names.len() >= NAMES_MAX {
            names.clear();
        }
        names.insert(id.clone(), name.clone());
        Some(name)
    }

    /// The counts of a partner as its snapshot has them.
    fn tally(&self, snapshot: &crate::inventory::Snapshot, now: Time) -> Arc<overview::Tally> {
        if let Some(kept) = self.tallies.lock().get(&snapshot.key).filter(|kept| kept.is_of(snapshot, now)) {
            return kept.clone();
        }
        let tally = Arc::new(overview::Tally::of(snapshot, now));
        self.tallies.lock().insert(snapshot.key, tally.clone());
        tally
    }
}

/// The pages, to be merged with [`crate::http::router`]'s routes.
pub fn router(app: Arc<App>) -> Router {
    let console = Arc::new(Console {
        app,
        spaces: show::Spaces::default(),
        tallies: Mutex::default(),
        pages: kept::Pages::default(),
        answers: kept::Answers::default(),
        strangers: gate::Strangers::default(),
        names: Mutex::default(),
    });
    let mut router = Router::new();
    for (path, words, handler) in looks() {
        // Assets have the build in their address, and what is nowhere reads nothing.
        let asset = path.contains('.') && !path.contains('{');
        let handler = if asset { handler } else { handler.route_layer(from_fn(gate::apart)) };
        let read = from_fn_with_state((console.clone(), words), address::read_whole);
        let handler = if asset || path.contains("{*") { handler } else { handler.route_layer(read) };
        router = router.route(path, handler);
    }
    for (posted, handler) in posts() {
        // An upload waits for its client, and a sign-in for a hash, so both choose
        // themselves where they wait.
        let apart = !posted.files && posted.guard != Guard::Anybody;
        let handler = if !apart { handler } else { handler.route_layer(from_fn(gate::apart)) };
        let door = from_fn_with_state((console.clone(), posted), door::form);
        router = router.route(posted.path, handler.route_layer(door));
        if !looks().iter().any(|(path, ..)| *path == posted.path) {
            router = router.route(posted.path, get(door::to_page).with_state(posted));
        }
    }
    router
        .route_layer(from_fn_with_state(console.clone(), gate::caught_up))
        .route_layer(from_fn_with_state(console.clone(), door::pages))
        .route_layer(from_fn_with_state(console.clone(), gate::known))
        .with_state(console)
}

type Handler = MethodRouter<Arc<Console>>;

/// Every address that is looked at, with the words that its page reads.
fn looks() -> Vec<(&'static str, AddressWords, Handler)> {
    use address::words::*;

    vec![
        ("/", &[], get(start)),
        ("/console", &[], get(start)),
        ("/console/", &[], get(start)),
        ("/console/sign-in", &[BACK, FORM], get(sign_in::form)),
        ("/console/code", &[BACK], get(sign_in::code_form)),
        ("/console/set-up/{link}", &[], get(sign_in::set_up_form)),
        ("/console/me", &[], get(me::page)),
        ("/console/platform", &[], get(platform::page)),
        ("/console/administrators", &[BEFORE], get(users::administrators)),
        ("/console/p/{partner}", &[], get(overview::page)),
        ("/console/p/{partner}/keys", &[], get(keys::list)),
        ("/console/p/{partner}/users", &[BEFORE], get(users::list)),
        ("/console/p/{partner}/settings", &[], get(settings::page)),
        ("/console/p/{partner}/numbers", &[Q, PAGE, PER_PAGE, NEW, NUMBER, FILTERS], get(numbers::list)),
        ("/console/p/{partner}/numbers/bulk", &[], get(bulk::back)),
        ("/console/p/{partner}/numbers/bulk/preview", &[], get(bulk::back)),
        ("/console/p/{partner}/numbers/export", &[Q, FOR, FILTERS], get(export::csv)),
        ("/console/p/{partner}/numbers/{number}", &[DO], get(number::page)),
        ("/console/p/{partner}/search", &[Q, KIND, ACCOUNT, PART], get(search::page)),
        ("/console/p/{partner}/customers", &[Q, ARCHIVED, PAGE, NEW, NUMBER], get(customers::list)),
        ("/console/p/{partner}/customers/{id}", &[], get(customers::page)),
        ("/console/p/{partner}/applications", &[Q, ARCHIVED, PAGE, NEW], get(routes::applications)),
        ("/console/p/{partner}/applications/{id}", &[], get(routes::application)),
        ("/console/p/{partner}/trunks", &[Q, ARCHIVED, PAGE, NEW], get(routes::trunks)),
        ("/console/p/{partner}/trunks/{id}", &[], get(routes::trunk)),
        ("/console/p/{partner}/jobs", &[PAGE], get(jobs::list)),
        ("/console/p/{partner}/jobs/{id}", &[RESULT, PAGE], get(jobs::page)),
        ("/console/p/{partner}/jobs/{id}/rows.csv", &[RESULT, RAW], get(jobs::rows_csv)),
        ("/console/p/{partner}/import", &[], get(imports::start)),
        ("/console/p/{partner}/import/sample.csv", &[], get(imports::sample)),
        ("/console/p/{partner}/import/{id}", &[], get(imports::page)),
        ("/console/p/{partner}/import/{id}/rejects.csv", &[RAW], get(imports::rejects)),
        ("/console/p/{partner}/import/{id}/cautions.csv", &[RAW], get(imports::cautions)),
        ("/console/p/{partner}/changes", &[CHANGE, WHO, ACCOUNT, DAY, FROM, TO, BEFORE, JOBS_SEEN], get(changes::list)),
        ("/console/p/{partner}/changes/{version}", &[PAGE], get(changes::page)),
        ("/console/p/{partner}/checks", &[CHECK, ACCOUNT, ACKNOWLEDGED, IDLE_FOR, PAGE, SEEN], get(checks::list)),
        ("/console/p/{partner}/checks/schedules", &[NEW], get(schedules::list)),
        ("/console/p/{partner}/checks/schedules/{id}", &[], get(schedules::page)),
        ("/console/p/{partner}/checks/webhooks", &[], get(webhooks::list)),
        ("/console/p/{partner}/checks/webhooks/{id}", &[PAGE, DELIVERY, RESENT], get(webhooks::page)),
        ("/console/p/{partner}/costs", &[MONTH, ACCOUNT, PRORATION, CURRENCY, PAGE], get(costs::page)),
        ("/console/p/{partner}/costs.csv", &[MONTH, ACCOUNT, PRORATION, CURRENCY, RAW], get(costs::csv)),
        ("/console/p/{partner}/costs/invoice", &[MONTH, ACCOUNT, PRORATION, CURRENCY], get(costs::invoice)),
        ("/console/p/{partner}/costs/trend", &[], get(trend::page)),
        (costs::PAPER, &[], get(async || asset(costs::style(), "text/css; charset=utf-8"))),
        (
            "/console/style.css",
            &[],
            get(async || asset(include_str!("console/assets/style.css"), "text/css; charset=utf-8")),
        ),
        (
            "/console/script.js",
            &[],
            get(async || asset(include_str!("console/assets/script.js"), "text/javascript; charset=utf-8")),
        ),
        ("/console/icon.svg", &[], get(async || asset(include_str!("console/assets/icon.svg"), "image/svg+xml"))),
        ("/console/{*rest}", &[], get(nothing)),
    ]
}

/// A form below a partner's pages: its address, its page, its guard and its handler.
macro_rules! of_partner {
    ($path:literal, $page:literal, $guard:expr, $handler:expr) => {
        (
            Posted::new(concat!("/console/p/{partner}/", $path), concat!("/console/p/{partner}/", $page), $guard),
            $handler,
        )
    };
}

/// Every address that takes a form, with the page that the form is on and with
/// its guard.
fn posts() -> Vec<(Posted, Handler)> {
    let form = Posted::new;
    vec![
        (form("/console/sign-in", "/console/sign-in", Guard::Anybody), post(sign_in::sign_in)),
        (form("/console/code", "/console/code", Guard::Anybody), post(sign_in::code)),
        (form("/console/sign-out", "/console", Guard::Anybody), post(sign_in::sign_out)),
        (form("/console/set-up/{link}", "/console/set-up/{link}", Guard::Anybody), post(sign_in::set_up)),
        (form("/console/me", "/console/me", Guard::Session), post(me::edit)),
        // It asks for the password itself.
        (form("/console/me/password", "/console/me", Guard::Session), post(me::password)),
        (form("/console/me/totp/begin", "/console/me", Guard::Sensitive), post(me::totp_begin)),
        (form("/console/me/totp", "/console/me", Guard::Sensitive), post(me::totp)),
        (form("/console/me/totp/remove", "/console/me", Guard::Sensitive), post(me::totp_remove)),
        (form("/console/me/sessions/end", "/console/me", Guard::Sensitive), post(me::sessions_end)),
        (form("/console/platform", "/console/platform", Guard::Sensitive), post(platform::create)),
        (
            form("/console/administrators", "/console/administrators", Guard::Sensitive),
            post(users::administrator_create),
        ),
        (
            form("/console/administrators/{id}", "/console/administrators", Guard::Sensitive),
            post(users::administrator_edit),
        ),
        (form("/console/platform/{partner}/{verb}", "/console/platform", Guard::Sensitive), post(platform::suspend)),
        of_partner!("keys", "keys", Guard::Sensitive, post(keys::create)),
        of_partner!("keys/{id}/rotate", "keys", Guard::Sensitive, post(keys::rotate)),
        of_partner!("keys/{id}/revoke", "keys", Guard::Sensitive, post(keys::revoke)),
        of_partner!("users", "users", Guard::Sensitive, post(users::create)),
        of_partner!("users/{id}", "users", Guard::Sensitive, post(users::edit)),
        of_partner!("settings/quarantine", "settings", Guard::Session, post(settings::quarantine)),
        of_partner!("settings/billing", "settings", Guard::Session, post(settings::billing)),
        of_partner!("numbers", "numbers?new", Guard::Session, post(stock::add)),
        of_partner!("numbers/bulk", "numbers", Guard::Session, post(bulk::form)),
        of_partner!("numbers/bulk/preview", "numbers", Guard::Session, post(bulk::preview)),
        of_partner!("numbers/views/{verb}", "numbers", Guard::Session, post(numbers::views)),
        of_partner!("numbers/{number}/{verb}", "numbers/{number}", Guard::Session, post(number::act)),
        of_partner!("customers", "customers?new", Guard::Session, post(customers::create)),
        of_partner!("customers/{id}/{verb}", "customers/{id}", Guard::Session, post(customers::act)),
        of_partner!("applications", "applications?new", Guard::Session, post(routes::create)),
        of_partner!("applications/{id}/{verb}", "applications/{id}", Guard::Session, post(routes::act)),
        of_partner!("trunks", "trunks?new", Guard::Session, post(routes::create)),
        of_partner!("trunks/{id}/{verb}", "trunks/{id}", Guard::Session, post(routes::act)),
        of_partner!("jobs/{id}/{step}", "jobs/{id}", Guard::Session, post(jobs::step)),
        (
            Posted {
                files: true,
                ..form("/console/p/{partner}/import", "/console/p/{partner}/import", Guard::Session)
            },
            post(imports::give),
        ),
        of_partner!("import/{id}/{step}", "import/{id}", Guard::Session, post(imports::step)),
        of_partner!("changes/{version}/undo", "changes/{version}", Guard::Session, post(changes::undo)),
        of_partner!("checks/{id}/acknowledge", "checks", Guard::Session, post(checks::acknowledge)),
        of_partner!("checks/schedules", "checks/schedules", Guard::Session, post(schedules::create)),
        of_partner!("checks/schedules/{id}/{verb}", "checks/schedules/{id}", Guard::Session, post(schedules::act)),
        of_partner!("checks/webhooks", "checks/webhooks", Guard::Sensitive, post(webhooks::create)),
        of_partner!(
            "checks/webhooks/{id}/{verb}",
            "checks/webhooks/{id}",
            Guard::SensitiveVerbs(&["edit", "rotate", "remove"]),
            post(webhooks::act)
        ),
    ]
}

/// The addresses of [`looks`] and the forms of [`posts`], for tests.
pub fn addresses() -> (Vec<&'static str>, Vec<Posted>) {
    let looks = looks().into_iter().map(|(path, ..)| path).collect();
    (looks, posts().into_iter().map(|(posted, _)| posted).collect())
}

async fn nothing() -> Trouble {
    Trouble::NotFound
}

/// GET /: to what somebody sees first.
async fn start(State(console): ConsoleState, request: Request) -> PageResult {
    let person = match Person::enter(&console, &request) {
        Ok(person) => person,
        Err(Trouble::SignIn { .. }) => return redirect(&format!("{PREFIX}/sign-in")),
        Err(trouble) => return Err(trouble),
    };
    let own = person.user().partner.and_then(|key| console.app.replica.snapshot(key));
    match (person.role(), own) {
        (Role::Administrator, _) => redirect(&format!("{PREFIX}/platform")),
        (_, Some(snapshot)) => redirect(&format!("{PREFIX}/p/{}", gate::segment(snapshot.partner.auth_id.as_str()))),
        (_, None) => Err(Trouble::NotFound),
    }
}

/// A file of the program's own. Its address changes with the build.
fn asset(text: &'static str, kind: &'static str) -> Response<Body> {
    let mut response = text.into_response();
    page::guard(response.headers_mut());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=86400"));
    response
}
