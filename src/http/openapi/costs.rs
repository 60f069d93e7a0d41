//! The description of a month's bill.

use serde_json::{Value, json};

use super::{headers, object, responses};
use crate::billing::Proration;
use crate::http::query::{CostsQuery, PER_PAGE_DEFAULT, PER_PAGE_MAX};
use crate::wire;

/// A month's rental.
pub(super) fn costs() -> Value {
    let line = json!({
        "number": "+912271264217", "from": "2026-02-01", "until": "2026-02-28", "days": 28, "rate": 500.00, "amount": 500.00,
    });
    let mut line_shown = line.clone();
    line_shown["expired_on"] = Value::Null;
    let of_account = |currency_last: bool| {
        let mut row = json!({ "account_auth_id": "MA_48149cf4", "account_name": "Credresolve" });
        if !currency_last {
            row["currency"] = json!("INR");
            row["total"] = json!(500.00);
            row["lines"] = json!([line_shown]);
        }
        row
    };
    let mut single = of_account(true);
    for (name, value) in line.as_object().into_iter().flatten() {
        single[name] = value.clone();
    }
    single["currency"] = json!("INR");
    single["expired_on"] = Value::Null;
    let parameter = |name: &str| match name {
        "month" => json!({
            "name": name, "in": "query", "required": true,
            "description": "The month in the partner's billing zone. One that has not ended is counted up to today, as a draft; one that has not begun is refused.",
            "schema": { "type": "string", "pattern": "^[0-9]{4}-[0-9]{2}$" }, "example": "2026-02",
        }),
        "account_auth_id" => json!({
            "name": name, "in": "query", "description": "Only this account's.",
            "schema": { "type": "string" }, "example": "MA_48149cf4",
        }),
        "proration" => json!({
            "name": name, "in": "query",
            "description": "full: a rental month is charged whole in the month in which it begins, on the day of the month on which the number was assigned. days: the rate by the days held over those of the month.",
            "schema": { "enum": Proration::ALL.iter().map(|one| one.as_str()).collect::<Vec<_>>(), "default": "full" },
            "example": "days",
        }),
        "page" => json!({
            "name": name, "in": "query", "description": "Page number, from 1.",
            "schema": { "type": "integer", "minimum": 1, "default": 1 },
        }),
        _ => json!({
            "name": name, "in": "query", "description": "Accounts and currencies on a page, each with all of its lines.",
            "schema": { "type": "integer", "minimum": 1, "maximum": PER_PAGE_MAX, "default": PER_PAGE_DEFAULT },
        }),
    };
    let mut responses = responses(
        &["401", "403", "422", "429"],
        json!({
            "description": "What each account pays in each currency, worked out from the log: by account, currency, number and day. As CSV or NDJSON, all lines.",
            "headers": headers(false),
            "content": {
                "application/json": {
                    "schema": { "$ref": "#/components/schemas/Costs" },
                    "example": {
                        "data": [of_account(false)],
                        "meta": {
                            "total": 1, "page": 1, "per_page": 20, "month": "2026-02", "through": "2026-02-28",
                            "proration": "full", "after_expiry": "charge", "zone": "UTC",
                            "begins_at": "2026-02-01T00:00:00Z", "ends_at": "2026-03-01T00:00:00Z", "draft": false,
                            "totals": [{ "currency": "INR", "amount": 500.00 }],
                        },
                    },
                },
                "text/csv": { "schema": { "type": "string" }, "example": format!("{}\r\n", wire::costs::COLUMNS.join(",")) },
                "application/x-ndjson": { "schema": { "type": "string" }, "example": format!("{single}\n") },
            },
        }),
    );
    responses["304"] = json!({ "description": "Not changed since the given `If-None-Match`." });
    json!({
        "operationId": "costs",
        "tags": ["Phone numbers"],
        "summary": "What held numbers cost in a month",
        "description": "Days and months are those of the partner's billing zone, and a day belongs to the account that holds the number at its end. Suspended numbers are charged; expired ones as the partner has chosen (`/api/v1/partner/settings/billing`). Each line is one number with one account at one rate. Lines are rounded half up to the currency's decimals and add up to totals; currencies are never added.",
        "parameters": CostsQuery::NAMES.iter().map(|name| parameter(name)).collect::<Vec<_>>(),
        "responses": responses,
    })
}

pub(super) fn schema() -> Value {
    let text = |about: &str| json!({ "type": "string", "description": about });
    let day = |about: &str| json!({ "type": "string", "format": "date", "description": about });
    let amount = |about: &str| json!({ "type": "number", "description": about });
    let list = |items: Value| json!({ "type": "array", "items": items });
    let line = object(&[
        ("number", text("In E.164.")),
        ("from", day("Its first day in this month.")),
        ("until", day("Its last day in this month.")),
        ("days", json!({ "type": "integer", "description": "How many there are from the first to the last." })),
        ("rate", amount("Rental a month.")),
        ("amount", amount("What is charged, with the currency's own decimals.")),
        (
            "expired_on",
            json!({
                "type": ["string", "null"], "format": "date",
                "description": "The day on which the number expired, if days after that are charged.",
            }),
        ),
    ]);
    let time = |about: &str| json!({ "type": "string", "format": "date-time", "description": about });
    let group = object(&[
        ("account_auth_id", text("The customer.")),
        ("account_name", text("The customer's name at the end of the month.")),
        ("currency", text("ISO 4217.")),
        ("total", amount("The sum of the lines.")),
        ("lines", list(line)),
    ]);
    let meta = object(&[
        ("total", json!({ "type": "integer", "description": "Accounts and currencies on all pages." })),
        ("page", json!({ "type": "integer" })),
        ("per_page", json!({ "type": "integer" })),
        ("month", text("As asked for.")),
        ("through", day("The last day that is counted.")),
        ("proration", json!({ "enum": Proration::ALL.iter().map(|one| one.as_str()).collect::<Vec<_>>() })),
        ("after_expiry", json!({ "enum": ["charge", "stop"], "description": "What became of expired numbers." })),
        ("zone", text("The IANA name of the zone whose days these are.")),
        ("begins_at", time("The first moment of the month, where the month before ended.")),
        ("ends_at", time("The moment after its last.")),
        (
            "draft",
            json!({ "type": "boolean", "description": "Whether the month has not ended, so that the bill may change." }),
        ),
        ("totals", list(object(&[("currency", text("ISO 4217.")), ("amount", amount("On all pages."))]))),
    ]);
    object(&[("data", list(group)), ("meta", meta)])
}
