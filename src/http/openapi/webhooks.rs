//! The description of webhooks.

use serde_json::{Value, json};

use super::manage::{body, idempotency_key, text};
use super::{
    DescribedWrite, ERRORS_OF_CONDITIONAL, ERRORS_OF_LIST, ERRORS_OF_ONE, headers, list_of, object, one_of, parameters,
    path_parameter, untagged,
};
use crate::domain::setting::DeliveryOrder;
use crate::http::query::ListParameters;
use crate::service::background::webhooks::DeliveryState;
use crate::service::background::webhooks::event::kinds;

const ID: &str = "wh_7q2m4x9c1d5k";
const DELIVERY: &str = "dl_0000000000000011";

pub fn operations() -> Vec<Value> {
    let id = || path_parameter("id", "The webhook.", ID);
    let if_match = || {
        json!({
            "name": "If-Match", "in": "header", "required": false, "schema": { "type": "string" },
            "description": "The webhook's `ETag` as you know it; if the webhook has changed since, the answer is 412.",
        })
    };
    let order_of = |operation: &str, summary: &str, about: &str, status: &str, schema: &str, example: Value| {
        write(
            (operation, summary, about),
            vec![id(), idempotency_key()],
            (body(&[]), json!({})),
            (status, schema, example),
        )
    };
    let create = write(
        (
            "webhook_create",
            "Create a webhook",
            "It is told of what happens from now on. The secret is in this answer and in no later one. What is sent, how it is signed and when it is tried again is in docs/webhooks.md.",
        ),
        vec![idempotency_key()],
        (
            body(&[
                ("name", text("What it is for."), true),
                ("url", url(), true),
                ("events", events(), false),
                ("order", order("Without it, `number`."), false),
            ]),
            json!({ "name": "Billing", "url": "https://example.com/hook", "events": ["assign", "release"] }),
        ),
        ("201", "Webhook", made(sample())),
    );
    let edit = write(
        (
            "webhook_edit",
            "Change a webhook, switch it off or on",
            "What is left out stays as it is. Switched on again it is told of what it missed, but of no more than the last 10,000 changes, or as many as the operator has set; `health.missed` says which it was not told of. A new address is tried at once.",
        ),
        vec![id(), if_match(), idempotency_key()],
        (
            body(&[
                ("name", text("The new name."), false),
                ("url", url(), false),
                ("events", events(), false),
                ("order", order("What waits follows the new order at once."), false),
                ("enabled", json!({ "type": "boolean" }), false),
            ]),
            json!({ "name": "Ledger" }),
        ),
        ("200", "Webhook", renamed()),
    );
    let remove = write(
        ("webhook_remove", "Remove a webhook", "With its secret and its deliveries. The log keeps that it was there."),
        vec![id(), if_match(), idempotency_key()],
        (body(&[]), json!({})),
        ("200", "RemovedWebhook", json!({ "id": ID, "name": "Ledger", "removed_at": "2026-02-03T10:00:00Z" })),
    );
    let resend = write(
        (
            "webhook_resend",
            "Queue a delivery's event again",
            "Under the same event id, behind what waits. On one that waits itself, and on a webhook that is off, it is 409.",
        ),
        vec![id(), path_parameter("delivery", "The delivery.", DELIVERY), idempotency_key()],
        (body(&[]), json!({})),
        ("201", "Delivery", resent()),
    );
    let skip = write(
        (
            "webhook_skip",
            "Skip an event that blocks others",
            "It is given up, what it blocked is sent, and it can be sent again later. On one that blocks no other it is 409.",
        ),
        vec![id(), path_parameter("delivery", "The delivery.", DELIVERY), idempotency_key()],
        (body(&[]), json!({})),
        ("200", "Delivery", skipped()),
    );
    let mut of_one = parameters(ListParameters::Paging);
    of_one.insert(0, id());
    let of_failed = of_one.clone();
    vec![
        read(
            ("webhooks", "The partner's webhooks, oldest first", "All of them."),
            Vec::new(),
            object(&[
                ("data", json!({ "type": "array", "items": { "$ref": "#/components/schemas/Webhook" } })),
                ("meta", object(&[("total", json!({ "type": "integer" }))])),
            ]),
            json!({ "data": [sample()], "meta": { "total": 1 } }),
            ERRORS_OF_LIST,
        ),
        create,
        read(
            ("webhook", "One webhook, and how it is", "The webhook."),
            vec![id()],
            one_of("Webhook"),
            json!({ "data": sample() }),
            ERRORS_OF_ONE,
        ),
        edit,
        remove,
        order_of(
            "webhook_rotate",
            "Give a webhook a new secret",
            "It is in this answer and in no later one. For 24 hours every event is signed with the old one as well; the one before that ends at once.",
            "200",
            "Webhook",
            made(rotated()),
        ),
        order_of(
            "webhook_test",
            "Send a test event now",
            "Past whatever waits, also to a webhook that is off. The answer says how it went; a success lets what waits be tried at once. At most two at a time.",
            "201",
            "Delivery",
            tested(),
        ),
        read(
            (
                "webhook_deliveries",
                "A webhook's deliveries, newest first",
                "A page of deliveries. A change becomes one when it is first attempted.",
            ),
            of_one,
            list_of("Delivery"),
            json!({ "data": [delivered()], "meta": { "total": 1, "page": 1, "per_page": 20 } }),
            ERRORS_OF_ONE,
        ),
        resend,
        skip,
        read(
            (
                "webhook_blocking",
                "The events that were refused and block others, oldest first",
                "All of them: one at most in the order `endpoint`.",
            ),
            vec![id()],
            object(&[
                ("data", json!({ "type": "array", "items": { "$ref": "#/components/schemas/BlockingDelivery" } })),
                ("meta", object(&[("total", json!({ "type": "integer" }))])),
            ]),
            json!({ "data": [blocking()], "meta": { "total": 1 } }),
            ERRORS_OF_ONE,
        ),
        read(
            (
                "webhook_failed",
                "The deliveries that were given up or skipped, newest first",
                "A page of deliveries. One leaves the list when it is sent again, and when its time is over.",
            ),
            of_failed,
            list_of("Delivery"),
            json!({ "data": [skipped()], "meta": { "total": 1, "page": 1, "per_page": 20 } }),
            ERRORS_OF_ONE,
        ),
        order_of(
            "webhook_resend_failed",
            "Queue again all that was given up or skipped",
            "Oldest first, each under its own event id, up to 1,000 at a time; `left` says how many are left.",
            "200",
            "ResentDeliveries",
            json!({ "resent": 0, "left": 0 }),
        ),
    ]
}

pub fn schemas() -> Vec<(&'static str, Value)> {
    let time = |about: &str| json!({ "type": ["string", "null"], "format": "date-time", "description": about });
    let when = |about: &str| json!({ "type": "string", "format": "date-time", "description": about });
    let or_null = |about: &str| json!({ "type": ["string", "null"], "description": about });
    let whole = |about: &str| json!({ "type": "integer", "description": about });
    let mut off = object(&[("at", when("Since when.")), ("reason", text("Why."))]);
    off["type"] = json!(["object", "null"]);
    let mut missed = object(&[("after", whole("A version.")), ("through", whole("A version."))]);
    missed["type"] = json!(["object", "null"]);
    missed["description"] = json!("Changes that it was not told of; `/api/v1/partner/changes` has them.");
    let health = object(&[
        ("pending", whole("How many events wait; beyond a thousand changes, with those that it does not want.")),
        ("held", whole("How many of them are held back, because they were refused or must not overtake one that was.")),
        ("failed", whole("How many deliveries that were given up or skipped can be sent again.")),
        ("failing_since", time("Since when every attempt failed.")),
        ("next_attempt_at", time("When the event in front is tried again.")),
        ("last_success_at", time("")),
        ("last_failure_at", time("")),
        ("last_error", or_null("Why the last attempt failed, if it did.")),
        ("missed", missed),
    ]);
    let mut webhook = object(&[
        ("id", text("Its name.")),
        ("name", text("What it is for.")),
        ("url", url()),
        ("events", events()),
        ("order", order("Webhooks of earlier releases have `endpoint`.")),
        ("enabled", json!({ "type": "boolean" })),
        ("off", off),
        ("created_at", when("")),
        ("rotated_at", time("When its secret was last replaced.")),
        ("health", health),
    ]);
    webhook["properties"]["secret"] = json!({
        "type": "string", "description": "Only in the answers to creation and rotation.",
    });
    let attempt = object(&[
        ("at", when("When it ended.")),
        (
            "status",
            json!({ "type": ["integer", "null"], "description": "The answer's status, if there was an answer." }),
        ),
        ("took_ms", whole("From the look-up of the name to the answer.")),
        ("error", or_null("Why it failed.")),
        ("answer", or_null("The first 500 bytes of the answer, as text.")),
    ]);
    let delivery = object(&[
        ("id", text("Deliveries are in the order of their ids.")),
        ("event_id", text("The event's, as in `webhook-id`.")),
        ("type", json!({ "enum": kinds().collect::<Vec<_>>() })),
        ("at", when("When it happened.")),
        ("version", whole("The partner's version that it belongs to.")),
        ("state", json!({ "enum": DeliveryState::ALL.iter().map(|state| state.as_str()).collect::<Vec<_>>() })),
        ("resend_of", or_null("The delivery that this one repeats.")),
        ("created_at", when("")),
        ("attempts", json!({ "type": "array", "items": attempt })),
    ]);
    let removed = object(&[("id", text("")), ("name", text("")), ("removed_at", when(""))]);
    let mut blocking = delivery.clone();
    blocking["properties"]["next_attempt_at"] = time("When it is tried again.");
    if let Some(required) = blocking["required"].as_array_mut() {
        required.push(json!("next_attempt_at"));
    }
    let resent = object(&[("resent", whole("")), ("left", whole(""))]);
    vec![
        ("Webhook", webhook),
        ("RemovedWebhook", removed),
        ("Delivery", delivery),
        ("BlockingDelivery", blocking),
        ("ResentDeliveries", resent),
    ]
}

fn order(about: &str) -> Value {
    let words: Vec<&str> = DeliveryOrder::ALL.iter().map(|order| order.as_str()).collect();
    let about = format!("What an event waits for: earlier ones of the same number, or all earlier ones. {about}");
    json!({ "enum": words, "description": about })
}

fn url() -> Value {
    text("An https address of at most 2,000 characters, without user, password or fragment, and public.")
}

fn events() -> Value {
    json!({
        "type": "array", "items": { "enum": kinds().collect::<Vec<_>>() },
        "description": "The kinds of events that it wants; empty, all of them.",
    })
}

fn sample() -> Value {
    json!({
        "id": ID,
        "name": "Billing",
        "url": "https://example.com/hook",
        "events": ["assign", "release"],
        "order": "number",
        "enabled": true,
        "off": null,
        "created_at": "2026-02-01T10:00:00Z",
        "rotated_at": null,
        "health": {
            "pending": 0,
            "held": 0,
            "failed": 0,
            "failing_since": null,
            "next_attempt_at": null,
            "last_success_at": "2026-02-01T10:05:00Z",
            "last_failure_at": null,
            "last_error": null,
            "missed": null,
        },
    })
}

/// With the secret, this once. No secret stands in the description.
fn made(mut webhook: Value) -> Value {
    webhook["secret"] = json!("whsec_…");
    webhook
}

fn renamed() -> Value {
    let mut webhook = sample();
    webhook["name"] = json!("Ledger");
    webhook
}

fn rotated() -> Value {
    let mut webhook = renamed();
    webhook["rotated_at"] = json!("2026-02-02T10:00:00Z");
    webhook
}

fn delivered() -> Value {
    json!({
        "id": DELIVERY,
        "event_id": "evt_3f0c9a52b1d84e67a0f15c2d9e8b7a64",
        "type": "assign",
        "at": "2026-02-01T10:05:00Z",
        "version": 17,
        "state": "delivered",
        "resend_of": null,
        "created_at": "2026-02-01T10:05:00Z",
        "attempts": [{ "at": "2026-02-01T10:05:00Z", "status": 204, "took_ms": 41, "error": null, "answer": null }],
    })
}

fn tested() -> Value {
    let mut delivery = delivered();
    delivery["id"] = json!(format!("{DELIVERY}-00000000"));
    delivery["type"] = json!("webhook.test");
    delivery
}

fn skipped() -> Value {
    let mut delivery = blocking();
    delivery["state"] = json!("skipped");
    if let Some(fields) = delivery.as_object_mut() {
        fields.remove("next_attempt_at");
    }
    delivery
}

fn blocking() -> Value {
    let mut delivery = delivered();
    delivery["state"] = json!("pending");
    delivery["attempts"][0] = json!({ "at": "2026-02-01T10:05:00Z", "status": 500, "took_ms": 41, "error": "it answered 500", "answer": "no" });
    delivery["next_attempt_at"] = json!("2026-02-01T10:05:05Z");
    delivery
}

fn resent() -> Value {
    let mut delivery = delivered();
    delivery["id"] = json!(format!("{DELIVERY}-00000001"));
    delivery["state"] = json!("pending");
    delivery["resend_of"] = json!(DELIVERY);
    delivery["attempts"] = json!([]);
    delivery
}

fn read(
    (id, summary, about): (&str, &str, &str),
    parameters: Vec<Value>,
    schema: Value,
    example: Value,
    errors: &[&str],
) -> Value {
    let mut ok = untagged(about, schema, example);
    if id == "webhook" {
        ok["headers"] = headers(false);
    }
    super::read("Webhooks", id, summary, parameters, errors, ok)
}

fn write(
    (id, summary, about): (&str, &str, &str),
    parameters: Vec<Value>,
    body: (Value, Value),
    (status, schema, answer): (&str, &str, Value),
) -> Value {
    let ok = json!({
        "description": "Done, and durable.",
        "content": { "application/json": { "schema": one_of(schema), "example": { "data": answer } } },
    });
    let ok = (status, ok);
    DescribedWrite { tag: "Webhooks", id, summary, about, parameters, body, ok, errors: ERRORS_OF_CONDITIONAL }
        .described()
}
