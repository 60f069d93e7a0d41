//! The console: where people see and run the inventory.
//!
//! Server-rendered pages over the same verbs and the same snapshots as the API.
//! Everything works without a script; `console/assets/script.js` makes forms
//! and links quicker. Invariants: nothing is changed by GET; every page says
//! whose it is by its address, and another partner's address is answered as one
//! that does not exist; what people call things is text, never markup.
//! Deliberately absent: rules about numbers, SQL, anything from another site.

mod bulk;
mod changes;
mod checks;
mod costs;
mod customers;
mod download;
mod export;
mod form;
mod gate;
mod imports;
mod jobs;
mod keys;
pub mod line;
mod me;
mod number;
mod numbers;
mod overview;
mod page;
mod platform;
mod routes;
mod schedules;
mod settings;
mod show;
mod sign_in;
mod stock;
mod users;
mod verbs;
mod webhooks;

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get, post};
use http::header::{self, HeaderValue};
use http::{Request, Response};
use parking_lot::Mutex;

use crate::domain::user::Role;
use crate::domain::{PartnerKey, Time, UserId};
use crate::http::App;
use gate::Person;
use page::{Answer, Trouble, redirect};

/// Where all pages are.
pub const PREFIX: &str = "/console";

/// What the pages share.
pub struct Console {
    pub app: Arc<App>,
    spaces: show::Spaces,
    /// What is counted over a whole inventory, kept until it changes.
    tallies: Mutex<HashMap<PartnerKey, Arc<overview::Tally>>>,
}

impl Console {
    /// What people call somebody, if they are known.
    fn user_name(&self, id: &UserId) -> Option<String> {
        self.app.people.find(id).ok().flatten().map(|user| user.email.to_string())
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
    let console = Arc::new(Console { app, spaces: show::Spaces::default(), tallies: Mutex::default() });
    Router::new()
        .route("/", get(start))
        .route("/console", get(start))
        .route("/console/", get(start))
        .route("/console/sign-in", form(get(sign_in::form).post(sign_in::sign_in)))
        .route("/console/code", form(get(sign_in::code_form).post(sign_in::code)))
        .route("/console/sign-out", post(sign_in::sign_out))
        .route("/console/set-up/{link}", form(get(sign_in::set_up_form).post(sign_in::set_up)))
        .route("/console/me", get(me::page).post(me::edit))
        .route("/console/me/password", post(me::password))
        .route("/console/me/totp/begin", post(me::totp_begin))
        .route("/console/me/totp", post(me::totp))
        .route("/console/me/totp/remove", post(me::totp_remove))
        .route("/console/me/sessions/end", post(me::sessions_end))
        .route("/console/platform", get(platform::page).post(platform::create))
        .route("/console/administrators", get(users::administrators).post(users::administrator_create))
        .route("/console/administrators/{id}", post(users::administrator_edit))
        .route("/console/platform/{partner}/{verb}", post(platform::suspend))
        .route("/console/p/{partner}", get(overview::page))
        .route("/console/p/{partner}/keys", get(keys::list).post(keys::create))
        .route("/console/p/{partner}/keys/{id}/rotate", post(keys::rotate))
        .route("/console/p/{partner}/keys/{id}/revoke", post(keys::revoke))
        .route("/console/p/{partner}/users", get(users::list).post(users::create))
        .route("/console/p/{partner}/users/{id}", post(users::edit))
        .route("/console/p/{partner}/settings", get(settings::page))
        .route("/console/p/{partner}/settings/quarantine", post(settings::quarantine))
        .route("/console/p/{partner}/settings/billing", post(settings::billing))
        .route("/console/p/{partner}/numbers", form(get(numbers::list).post(stock::add)))
        .route("/console/p/{partner}/numbers/bulk", get(bulk::back).post(bulk::form))
        .route("/console/p/{partner}/numbers/bulk/preview", get(bulk::back).post(bulk::preview))
        .route("/console/p/{partner}/numbers/views/{verb}", post(numbers::views))
        .route("/console/p/{partner}/numbers/export", get(export::csv))
        .route("/console/p/{partner}/numbers/{number}", get(number::page))
        .route("/console/p/{partner}/numbers/{number}/{verb}", post(number::act))
        .route("/console/p/{partner}/customers", form(get(customers::list).post(customers::create)))
        .route("/console/p/{partner}/customers/{id}", get(customers::page))
        .route("/console/p/{partner}/customers/{id}/{verb}", post(customers::act))
        .route("/console/p/{partner}/applications", form(get(routes::applications).post(routes::create)))
        .route("/console/p/{partner}/applications/{id}", get(routes::application))
        .route("/console/p/{partner}/applications/{id}/{verb}", post(routes::act))
        .route("/console/p/{partner}/trunks", form(get(routes::trunks).post(routes::create)))
        .route("/console/p/{partner}/trunks/{id}", get(routes::trunk))
        .route("/console/p/{partner}/trunks/{id}/{verb}", post(routes::act))
        .route("/console/p/{partner}/jobs", get(jobs::list))
        .route("/console/p/{partner}/jobs/{id}", get(jobs::page))
        .route("/console/p/{partner}/jobs/{id}/rows.csv", get(jobs::rows_csv))
        .route("/console/p/{partner}/jobs/{id}/{step}", post(jobs::step))
        .route("/console/p/{partner}/import", get(imports::start).post(imports::give))
        .route("/console/p/{partner}/import/sample.csv", get(imports::sample))
        .route("/console/p/{partner}/import/{id}", get(imports::page))
        .route("/console/p/{partner}/import/{id}/rejects.csv", get(imports::rejects))
        .route("/console/p/{partner}/import/{id}/cautions.csv", get(imports::cautions))
        .route("/console/p/{partner}/import/{id}/{step}", post(imports::step))
        .route("/console/p/{partner}/changes", get(changes::list))
        .route("/console/p/{partner}/changes/{version}", get(changes::page))
        .route("/console/p/{partner}/changes/{version}/undo", post(changes::undo))
        .route("/console/p/{partner}/checks", get(checks::list))
        .route("/console/p/{partner}/checks/{id}/acknowledge", post(checks::acknowledge))
        .route("/console/p/{partner}/checks/schedules", get(schedules::list).post(schedules::create))
        .route("/console/p/{partner}/checks/schedules/{id}", get(schedules::page))
        .route("/console/p/{partner}/checks/schedules/{id}/{verb}", post(schedules::act))
        .route("/console/p/{partner}/checks/webhooks", get(webhooks::list).post(webhooks::create))
        .route("/console/p/{partner}/checks/webhooks/{id}", get(webhooks::page))
        .route("/console/p/{partner}/checks/webhooks/{id}/{verb}", post(webhooks::act))
        .route("/console/p/{partner}/costs", get(costs::page))
        .route("/console/p/{partner}/costs.csv", get(costs::csv))
        .route("/console/p/{partner}/costs/invoice", get(costs::invoice))
        .route(costs::PAPER, get(async || asset(costs::style(), "text/css; charset=utf-8")))
        .route(
            "/console/style.css",
            get(async || asset(include_str!("console/assets/style.css"), "text/css; charset=utf-8")),
        )
        .route(
            "/console/script.js",
            get(async || asset(include_str!("console/assets/script.js"), "text/javascript; charset=utf-8")),
        )
        .route("/console/icon.svg", get(async || asset(include_str!("console/assets/icon.svg"), "image/svg+xml")))
        .route("/console/{*rest}", get(nothing))
        .route_layer(axum::middleware::from_fn_with_state(console.clone(), gate::caught_up))
        .with_state(console)
}

/// A page with a form on it.
fn form(methods: MethodRouter<Arc<Console>>) -> MethodRouter<Arc<Console>> {
    methods
}

async fn nothing() -> Trouble {
    Trouble::NotFound
}

/// GET /: to what somebody sees first.
async fn start(State(console): State<Arc<Console>>, request: Request<Body>) -> Answer {
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
