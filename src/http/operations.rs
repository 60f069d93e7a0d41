//! Every operation of the server, in one table: its method, its path, its name
//! in the description, and its handler.
//!
//! The router, the `Allow` header and the description (`openapi.json`, `/docs`)
//! are made from it, so that none of them has a path that another lacks.
//! Deliberately absent: what an operation takes and answers (`openapi`), and the
//! console, which is no API.

use std::sync::Arc;

use axum::routing::{MethodRouter, delete, get, patch, post};
use axum::{Extension, Router};

use super::error::ApiError;
use super::write::ObeysIfMatch;
use super::{
    App, checks, costs, docs, entities, jobs, manage, ops, partner, past, routing, schedules, settings, webhooks,
};

/// One method of a path.
pub(super) struct Operation {
    /// As the description has it: in small letters.
    pub method: &'static str,
    pub path: &'static str,
    /// Its `operationId`; several where `{verb}` in the path stands for one of
    /// them; none where it is not described.
    pub ids: &'static [&'static str],
    /// Has an entry where the operation obeys `If-Match`; all others refuse it.
    if_match: &'static [&'static str],
    route: fn() -> MethodRouter<Arc<App>>,
}

impl Operation {
    /// Whether a write is of one entity whose tag can be compared with `If-Match`.
    pub fn obeys_if_match(&self) -> bool {
        !self.if_match.is_empty()
    }

    fn routed(&self) -> MethodRouter<Arc<App>> {
        let route = (self.route)();
        if self.obeys_if_match() { route.layer(Extension(ObeysIfMatch)) } else { route }
    }
}

/// `METHOD "PATH" [OPERATION_ID…] HANDLER;`, with `where if_match` before the semicolon
/// if the operation obeys that header.
macro_rules! operations {
    ($($method:ident $path:literal [$($id:literal)*] $handler:path $(where $if_match:ident)?;)*) => {
        &[$(Operation {
            method: stringify!($method),
            path: $path,
            ids: &[$($id),*],
            if_match: &[$(stringify!($if_match))?],
            route: || $method($handler),
        }),*]
    };
}

/// The order of the description.
pub(super) const OPERATIONS: &[Operation] = operations! {
    get "/api/v1/partner/accounts/{id}/numbers" ["customer_numbers"] partner::customer;
    get "/api/v1/partner/numbers" ["numbers"] partner::global;
    get "/api/v1/partner/numbers/{e164}" ["number"] partner::number;
    get "/api/v1/partner/numbers/{e164}/history" ["number_history"] past::history;
    get "/api/v1/partner/numbers/{e164}/routing" ["number_routing"] routing::explain;
    get "/api/v1/partner/changes" ["changes"] past::changes;
    get "/api/v1/partner/changes/{version}" ["change"] past::change;
    get "/api/v1/partner/accounts" ["accounts"] entities::accounts;
    get "/api/v1/partner/accounts/{id}" ["account"] entities::account;
    get "/api/v1/partner/applications" ["applications"] entities::applications;
    get "/api/v1/partner/applications/{id}" ["application"] entities::application;
    get "/api/v1/partner/trunks" ["trunks"] entities::trunks;
    get "/api/v1/partner/trunks/{id}" ["trunk"] entities::trunk;
    get "/api/v1/partner/costs" ["costs"] costs::costs;
    get "/livez" ["livez"] ops::livez;
    get "/readyz" ["readyz"] ops::readyz;
    get "/metrics" ["metrics"] ops::metrics;
    get "/digest" [] ops::digest;
    get "/openapi.json" ["openapi"] ops::openapi;
    get "/docs" [] docs::page;
    get "/docs/guide" [] docs::guide::index;
    get "/docs/guide/{page}" [] docs::guide::page;
    get "/docs/images/{name}" [] docs::guide::image;
    get "/docs/style.css" [] docs::style;
    get "/api/v1/partner/checks" ["checks"] checks::list;
    get "/api/v1/partner/checks/summary" ["checks_summary"] checks::summary;
    post "/api/v1/manage/checks/{id}/acknowledge" ["acknowledge"] checks::acknowledge;
    post "/api/v1/manage/numbers" ["stock"] manage::stock;
    post "/api/v1/manage/numbers/{e164}/{verb}" [
        "reserve" "unreserve" "assign" "transfer" "route" "renew" "suspend" "resume" "tags" "cost" "release" "retire"
    ] manage::act where if_match;
    post "/api/v1/manage/accounts" ["account_create"] manage::account_new;
    patch "/api/v1/manage/accounts/{id}" ["account_edit"] manage::account_edit where if_match;
    post "/api/v1/manage/applications" ["application_create"] manage::application_new;
    patch "/api/v1/manage/applications/{id}" ["application_edit"] manage::application_edit where if_match;
    post "/api/v1/manage/trunks" ["trunk_create"] manage::trunk_new;
    patch "/api/v1/manage/trunks/{id}" ["trunk_edit"] manage::trunk_edit where if_match;
    post "/api/v1/manage/changes/{version}/undo" ["undo"] manage::undo;
    get "/api/v1/manage/jobs" ["jobs"] jobs::list;
    post "/api/v1/manage/jobs" ["job_create"] jobs::create;
    get "/api/v1/manage/jobs/{id}" ["job"] jobs::one;
    get "/api/v1/manage/jobs/{id}/rows" ["job_rows"] jobs::rows;
    post "/api/v1/manage/jobs/{id}/run" ["job_run"] jobs::run;
    post "/api/v1/manage/jobs/{id}/cancel" ["job_cancel"] jobs::cancel;
    post "/api/v1/manage/jobs/{id}/undo" ["job_undo"] jobs::undo;
    get "/api/v1/manage/schedules" ["schedules"] schedules::list;
    post "/api/v1/manage/schedules" ["schedule_create"] schedules::create;
    get "/api/v1/manage/schedules/preview" ["schedule_preview"] schedules::next;
    get "/api/v1/manage/schedules/{id}" ["schedule"] schedules::one;
    patch "/api/v1/manage/schedules/{id}" ["schedule_edit"] schedules::edit where if_match;
    delete "/api/v1/manage/schedules/{id}" ["schedule_remove"] schedules::remove where if_match;
    post "/api/v1/manage/schedules/{id}/run" ["schedule_run"] schedules::run;
    get "/api/v1/manage/webhooks" ["webhooks"] webhooks::list;
    post "/api/v1/manage/webhooks" ["webhook_create"] webhooks::create;
    get "/api/v1/manage/webhooks/{id}" ["webhook"] webhooks::one;
    patch "/api/v1/manage/webhooks/{id}" ["webhook_edit"] webhooks::edit where if_match;
    delete "/api/v1/manage/webhooks/{id}" ["webhook_remove"] webhooks::remove where if_match;
    post "/api/v1/manage/webhooks/{id}/rotate" ["webhook_rotate"] webhooks::rotate;
    post "/api/v1/manage/webhooks/{id}/test" ["webhook_test"] webhooks::test;
    get "/api/v1/manage/webhooks/{id}/deliveries" ["webhook_deliveries"] webhooks::deliveries;
    post "/api/v1/manage/webhooks/{id}/deliveries/{delivery}/resend" ["webhook_resend"] webhooks::resend;
    post "/api/v1/manage/webhooks/{id}/deliveries/{delivery}/skip" ["webhook_skip"] webhooks::skip;
    get "/api/v1/manage/webhooks/{id}/blocking" ["webhook_blocking"] webhooks::blocking;
    get "/api/v1/manage/webhooks/{id}/failed" ["webhook_failed"] webhooks::failed;
    post "/api/v1/manage/webhooks/{id}/failed/resend" ["webhook_resend_failed"] webhooks::resend_failed;
    get "/api/v1/partner/settings/billing" ["billing_setting"] settings::billing;
    patch "/api/v1/manage/settings/billing" ["billing_setting_edit"] settings::billing_edit where if_match;
};

/// What is not for the public and has a listener of its own.
const PRIVATE: [&str; 4] = ["/livez", "/readyz", "/metrics", "/digest"];

/// Every route.
pub(super) fn public() -> Router<Arc<App>> {
    routes(|_| true)
}

/// The routes of the private listener.
pub(super) fn private() -> Router<Arc<App>> {
    routes(|operation| PRIVATE.contains(&operation.path))
}

fn routes(wanted: impl Fn(&Operation) -> bool) -> Router<Arc<App>> {
    let mut router = Router::new().fallback(async || ApiError::not_found());
    let mut rest: Vec<&Operation> = OPERATIONS.iter().filter(|operation| wanted(operation)).collect();
    while let Some(first) = rest.first() {
        let path = first.path;
        let (of_path, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(|operation| operation.path == path);
        rest = others;
        let allow: Arc<str> = allow(&of_path).into();
        let methods = of_path.iter().fold(MethodRouter::new(), |all, operation| all.merge(operation.routed()));
        let refused = move || std::future::ready(ApiError::method_not_allowed(&allow));
        router = router.route(path, methods.fallback(refused));
    }
    router
}

/// The header of a path.
fn allow(of_path: &[&Operation]) -> String {
    let order = ["get", "post", "patch", "delete"];
    let methods = order.iter().filter(|method| of_path.iter().any(|operation| operation.method == **method));
    let names = methods.map(|method| if *method == "get" { "GET, HEAD".to_owned() } else { method.to_uppercase() });
    names.collect::<Vec<_>>().join(", ")
}
