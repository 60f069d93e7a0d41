//! What a partner has chosen for its bills, over HTTP: shown to every key,
//! chosen by keys with the scope `manage`.
//!
//! The command line shows it as this does ([`shown`]).
//! Deliberately absent: from when a choice counts (`billing::calendar`).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use http::Request;
use serde_json::{Value, json};

use super::manage::{self, Answer, Write};
use super::{App, partner, peer};
use crate::billing::Period;
use crate::domain::setting::AfterExpiry;
use crate::domain::{Scope, Time};
use crate::service::Rendered;
use crate::service::billing::{BillingView, Wish, calendar};

/// GET /api/v1/partner/settings/billing
pub(super) async fn billing(State(app): State<Arc<App>>, request: Request<Body>) -> Answer {
    let access = app.enter(request.headers(), peer(request.extensions()), Scope::Read).await?;
    partner::refuse_parameters(request.uri().query().unwrap_or_default())?;
    let view = BillingView::of(&calendar(&access.snapshot)?, Time::now());
    let body = json!({ "data": shown(&view) }).to_string().into_bytes();
    Ok(manage::respond(Rendered { status: 200, etag: None, body }))
}

/// PATCH /api/v1/manage/settings/billing
pub(super) async fn billing_edit(State(app): State<Arc<App>>, request: Request<Body>) -> Answer {
    let Write { key, service, mut fields, .. } = Write::read(&app, request).await?;
    let after_expiry = fields.read_word("after_expiry", AfterExpiry::parse, "must be charge or stop");
    let wish = Wish { zone: fields.text("zone"), after_expiry };
    if wish == Wish::default() {
        fields.needed_one_of("zone", "after_expiry");
    }
    fields.finish()?;
    Write::run(key, service, move |service, key| service.billing_choose(key, &wish)).await
}

/// What counts, and what will.
pub fn shown(view: &BillingView) -> Value {
    let of = |period: &Period| {
        json!({
            "month": period.month.to_string(), "begins_at": period.begins, "ends_at": period.ends,
            "zone": period.zone.name(), "after_expiry": period.after_expiry.as_str(),
        })
    };
    let mut shown = of(&view.current);
    shown["next"] = view.next.as_ref().map_or(Value::Null, of);
    shown
}
