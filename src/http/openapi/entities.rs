//! The description of the lists beside numbers.

use serde_json::{Value, json};

use super::{ListParameters, headers, list_of, object, one_of, parameters, path_parameter, responses};

/// A list that has the search and the paging of its kind.
fn list(id: &str, summary: &str, content: Value) -> Value {
    json!({
        "operationId": id,
        "tags": ["Phone numbers"],
        "summary": summary,
        "parameters": parameters(ListParameters::Entities),
        "responses": responses(&["401", "403", "422", "429"], json!({
            "description": "A page, in the order of the ids.",
            "headers": headers(false),
            "content": { "application/json": content },
        })),
    })
}

/// One entity on its own.
fn one(id: &str, summary: &str, schema: &str, example: Value) -> Value {
    let example_id = example.as_object().and_then(|row| row.values().next()).and_then(Value::as_str);
    json!({
        "operationId": id,
        "tags": ["Phone numbers"],
        "summary": summary,
        "parameters": [path_parameter("id", "Its id.", example_id.unwrap_or_default())],
        "responses": responses(&["401", "403", "404", "422", "429"], json!({
            "description": "With its counts of numbers.",
            "headers": headers(false),
            "content": { "application/json": { "schema": one_of(schema), "example": { "data": example } } },
        })),
    })
}

fn page_of(schema: &str, row: Value) -> Value {
    json!({
        "schema": list_of(schema),
        "example": { "data": [row], "meta": { "total": 1, "page": 1, "per_page": 20 } },
    })
}

/// The lists, and one of each.
pub(super) fn operations() -> Vec<Value> {
    vec![accounts(), account(), applications(), application(), trunks(), trunk()]
}

fn accounts() -> Value {
    let mut content = page_of("Account", account_sample());
    content["schema"] = json!({ "oneOf": [content["schema"], account_items()] });
    let mut operation = list("accounts", "The partner's customer accounts, each with its counts of numbers", content);
    operation["description"] =
        json!("A key that was made with `--dialect items` is answered with `accounts`, `total`, `page` and `size`.");
    operation
}

fn account() -> Value {
    one("account", "One customer account", "Account", account_sample())
}

fn applications() -> Value {
    let summary = "The partner's applications, each with its counts of numbers";
    list("applications", summary, page_of("Application", application_sample()))
}

fn application() -> Value {
    one("application", "One application", "Application", application_sample())
}

fn trunks() -> Value {
    list("trunks", "The partner's trunks, each with its counts of numbers", page_of("Trunk", trunk_sample()))
}

fn trunk() -> Value {
    one("trunk", "One trunk", "Trunk", trunk_sample())
}

fn sample(mut row: Value) -> Value {
    row["created_at"] = json!("2026-01-05T08:00:00Z");
    row["numbers"] = json!({ "total": 3, "active": 2, "suspended": 1 });
    row
}

fn account_sample() -> Value {
    sample(json!({ "account_auth_id": "MA_48149cf4", "account_name": "Credresolve" }))
}

fn application_sample() -> Value {
    sample(json!({
        "application_id": "app_abc123", "application_name": "Main IVR", "account_auth_id": null,
        "destinations": [], "answer_url": null,
    }))
}

fn trunk_sample() -> Value {
    sample(json!({
        "trunk_id": "trunk_xyz", "trunk_name": "trunk_xyz", "account_auth_id": null, "destinations": [],
    }))
}

/// A schema whose own keys stand before those that all kinds of entity have.
fn schema(own: &[(&str, Value)]) -> Value {
    let counts = ["total", "active", "suspended"].map(|name| (name, json!({ "type": "integer" })));
    let mut keys = own.to_vec();
    keys.push(("created_at", json!({ "type": "string", "format": "date-time" })));
    keys.push(("numbers", object(&counts)));
    let mut schema = object(&keys);
    schema["properties"]["archived_at"] =
        json!({ "type": "string", "format": "date-time", "description": "Only of one that is archived." });
    schema
}

fn owner() -> (&'static str, Value) {
    let about = "The account that it belongs to; null if it serves all of the partner's accounts.";
    ("account_auth_id", json!({ "type": ["string", "null"], "description": about }))
}

pub(super) fn account_schema() -> Value {
    let text = json!({ "type": "string" });
    schema(&[("account_auth_id", text.clone()), ("account_name", text)])
}

pub(super) fn application_schema() -> Value {
    let text = json!({ "type": "string" });
    let about = "An https address that is handed on; the server never calls it.";
    let answer_url = json!({ "type": ["string", "null"], "description": about });
    schema(&[
        ("application_id", text.clone()),
        ("application_name", text),
        owner(),
        ("destinations", super::routing::destinations()),
        ("answer_url", answer_url),
    ])
}

pub(super) fn trunk_schema() -> Value {
    let text = json!({ "type": "string" });
    let destinations = ("destinations", super::routing::destinations());
    schema(&[("trunk_id", text.clone()), ("trunk_name", text), owner(), destinations])
}

pub(super) fn account_item_schema() -> Value {
    let text = json!({ "type": "string" });
    object(&[
        ("name", text.clone()),
        ("id", text.clone()),
        ("auth_id", text.clone()),
        ("is_active", json!({ "type": "boolean", "description": "False once the account is archived." })),
        ("created_at", json!({ "type": "string", "format": "date-time" })),
        ("partner_id", text),
    ])
}

/// The list of accounts in the dialect `items`.
fn account_items() -> Value {
    let count = json!({ "type": "integer" });
    object(&[
        ("accounts", json!({ "type": "array", "items": { "$ref": "#/components/schemas/AccountItem" } })),
        ("total", count.clone()),
        ("page", count.clone()),
        ("size", count),
    ])
}
