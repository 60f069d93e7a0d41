//! What the server takes of each parameter and field, by name, so that a client
//! made from the description sends nothing that is refused for its form.
//!
//! Invariant: a name means one thing in all operations, so one table says what
//! it may be. Deliberately absent: what depends on the inventory (an id that is
//! unknown, a state that does not allow something).

use serde_json::{Map, Value, json};

use crate::domain::entity::NAME_CHARS_MAX;
use crate::domain::number::TAG_CHARS_MAX;
use crate::http::query::PER_PAGE_MAX;

/// An entity tag, or several with commas between, or `*`.
const IF_MATCH: &str = r#"^(\*|(W/)?"[^"\x00-\x20\x7f-\uffff]*"( *, *(W/)?"[^"\x00-\x20\x7f-\uffff]*")*)$"#;
/// An id: no control characters, no slash, no space at either end.
const ID: &str = r"^[^\s/\x00-\x1f\x7f]([^/\x00-\x1f\x7f]*[^\s/\x00-\x1f\x7f])?$";
/// A name: one line with something on it.
const NAME: &str = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$";

/// What a parameter of this name may be, wherever it is sent.
fn parameter(name: &str) -> Option<Value> {
    Some(match name {
        "Idempotency-Key" => json!({ "pattern": "^[!-~]{1,255}$", "minLength": 1, "maxLength": 255 }),
        "If-Match" => json!({ "pattern": IF_MATCH }),
        "Last-Event-ID" | "page" => json!({ "maximum": u64::MAX }),
        "per_page" => json!({ "maximum": PER_PAGE_MAX }),
        "month" => json!({ "pattern": "^[0-9]{3}[1-9]-(0[1-9]|1[0-2])$" }),
        "routed" | "assigned" | "acknowledged" => json!({ "enum": ["true", "false"] }),
        "country" => json!({ "pattern": "^([A-Z]{2}(,[A-Z]{2})*)?$" }),
        _ => return None,
    })
}

/// What a field of a body of this name may be.
fn field(name: &str) -> Option<Value> {
    Some(match name {
        "account_auth_id" | "application_id" | "trunk_id" => {
            json!({ "pattern": ID, "minLength": 1, "maxLength": 128 })
        }
        "name" | "region" => json!({ "pattern": NAME, "minLength": 1, "maxLength": NAME_CHARS_MAX }),
        "note" => json!({ "pattern": NAME, "minLength": 1 }),
        "currency" => json!({ "pattern": "^[A-Z]{3}$" }),
        "country" => json!({ "pattern": "^[A-Z]{2}$" }),
        "tags" | "add" | "remove" => {
            let tag = json!({ "type": "string", "minLength": 1, "maxLength": TAG_CHARS_MAX, "pattern": r"^[^\s;|\x00-\x1f\x7f]([^;|\x00-\x1f\x7f]*[^\s;|\x00-\x1f\x7f])?$" });
            json!({ "items": tag, "maxItems": 50 })
        }
        _ => return None,
    })
}

/// Says of an operation's parameters and fields what they may be.
pub fn operation(operation: &mut Value) {
    for one in operation["parameters"].as_array_mut().into_iter().flatten() {
        let more = one["name"].as_str().and_then(parameter);
        restrict(&mut one["schema"], more);
    }
    let body = &mut operation["requestBody"]["content"]["application/json"]["schema"]["properties"];
    for (name, schema) in body.as_object_mut().into_iter().flatten() {
        restrict(schema, field(name));
    }
}

/// Adds what is not said yet.
fn restrict(schema: &mut Value, more: Option<Value>) {
    let (Some(schema), Some(Value::Object(more))) = (schema.as_object_mut(), more) else { return };
    let own: Map<String, Value> =
        more.into_iter().filter(|(key, _)| !schema.contains_key(key) || key == "pattern" || key == "items").collect();
    schema.extend(own);
}
