//! What the server takes of each parameter and field, by name, so that a client
//! made from the description sends nothing that is refused for its form.
//!
//! Invariant: a name means one thing in all operations, so one table says what
//! it may be. Deliberately absent: what depends on the inventory (an id that is
//! unknown, a state that does not allow something).

use serde_json::{Map, Value, json};

use crate::checks::Check;
use crate::domain::entity::NAME_CHARS_MAX;
use crate::domain::number::TAG_CHARS_MAX;
use crate::domain::{Country, Currency};
use crate::http::query::PER_PAGE_MAX;

/// An entity tag, or several with commas between, or `*`.
const IF_MATCH: &str = r#"^(\*|(W/)?"[^"\x00-\x20\x7f-\uffff]*"( *, *(W/)?"[^"\x00-\x20\x7f-\uffff]*")*)$"#;
/// An id: no control characters, no slash, no space at either end.
const ID: &str = r"^[^\s/\x00-\x1f\x7f-\x9f]([^/\x00-\x1f\x7f-\x9f]*[^\s/\x00-\x1f\x7f-\x9f])?$";
/// A name: one line with something on it.
const NAME: &str = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$";

/// A span of time of at most ten years.
const SPAN: &str = "^((0|[1-9][0-9]{0,2}|[12][0-9]{3}|3[0-5][0-9]{2}|36[0-4][0-9]|3650)d|(0|[1-9][0-9]{0,3}|[1-7][0-9]{4})h|(0|[1-9][0-9]{0,5})[ms])$";

/// Cron's five fields. That a range does not run backwards and that a month has
/// such a day is more than a pattern can say.
fn cron() -> String {
    let minute = "[1-5]?[0-9]";
    let hour = "(1?[0-9]|2[0-3])";
    let day = "([1-9]|[12][0-9]|3[01])";
    let month = "([1-9]|1[0-2]|JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)";
    let weekday = "([0-7]|SUN|MON|TUE|WED|THU|FRI|SAT)";
    let fields = [minute, hour, day, month, weekday].map(|one| {
        let item = format!(r"(\*(/[1-9])?|{one}(-{one}(/[1-9])?)?)");
        format!("{item}(,{item})*")
    });
    format!("^(@(yearly|monthly|weekly|daily|hourly)|{})$", fields.join(" "))
}

/// A time as the server reads it.
const TIME: &str =
    "^2[0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?Z$";
/// One number in E.164.
pub const E164: &str = r"^\+[1-9][0-9]{6,14}$";
/// The same, or nothing.
pub const E164_OR_NOT: &str = r"^(\+[1-9][0-9]{6,14})?$";
/// A zone as IANA names them. Which of them there are depends on the machine.
const ZONE: &str = "^[A-Z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$";
/// An https address with a host and nothing that is refused in it.
const HTTPS: &str =
    r"^https://[a-z][a-z0-9]{0,30}(\.[a-z][a-z0-9]{0,30}){1,5}(:[1-9][0-9]{0,3})?(/[A-Za-z0-9._~-]{0,60}){0,5}$";
/// A destination's address: a host name or a public IPv4 address.
pub const SIP: &str = r"^sip:([A-Za-z0-9._~-]{1,60}@)?([a-z][a-z0-9]{0,30}(\.[a-z][a-z0-9]{0,30}){1,5}|8\.[1-9]?[0-9]\.[1-9]?[0-9]\.[1-9]?[0-9])(:[1-9][0-9]{0,3})?(;transport=(udp|tcp|tls))?$";

/// Some of these words with commas between, or nothing.
fn some_of<'a>(words: impl IntoIterator<Item = &'a str>) -> Value {
    let word = words.into_iter().collect::<Vec<_>>().join("|");
    json!({ "pattern": format!("^(({word})(,({word}))*)?$") })
}

/// What a parameter of this name may be, wherever it is sent.
fn parameter(name: &str) -> Option<Value> {
    Some(match name {
        "Idempotency-Key" => json!({ "pattern": "^[!-~]{1,255}$", "minLength": 1, "maxLength": 255 }),
        "If-Match" => json!({ "pattern": IF_MATCH }),
        "Last-Event-ID" | "page" => json!({ "maximum": u64::MAX }),
        "per_page" => json!({ "maximum": PER_PAGE_MAX }),
        "within" | "suspended_for" => json!({ "pattern": SPAN }),
        "idle_for" => json!({ "pattern": "^([1-9]|[1-8][0-9]|90)d$" }),
        // A time, or `never`, or both.
        "called_before" => {
            let time = TIME.trim_start_matches('^').trim_end_matches('$');
            json!({ "pattern": format!("^(never|{time}|never,{time}|{time},never)?$") })
        }
        "check" => json!({ "enum": Check::ALL.iter().map(|check| check.as_str()).collect::<Vec<_>>() }),
        "cron" => json!({ "pattern": cron(), "maxLength": 200 }),
        "zone" => json!({ "pattern": ZONE, "maxLength": 60 }),
        "month" => json!({ "pattern": "^[0-9]{3}[1-9]-(0[1-9]|1[0-2])$" }),
        "routed" | "assigned" | "acknowledged" => json!({ "enum": ["true", "false"] }),
        "country" => some_of(Country::codes()),
        "number_type" => some_of(["local", "tollfree", "mobile"]),
        "status" => some_of(["active", "suspended"]),
        "sort" => json!({ "pattern": "^(-?(number|assigned_at|expires_at|monthly_cost))?$" }),
        "expires_before" | "expires_after" | "assigned_before" | "assigned_after" => json!({ "pattern": TIME }),
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
        "currency" => json!({ "enum": Currency::codes() }),
        "monthly_cost" => json!({ "maximum": 1_000_000_000_000_u64 }),
        "country" => json!({ "pattern": format!("^({})$", Country::codes().collect::<Vec<_>>().join("|")) }),
        "cron" => json!({ "pattern": cron(), "maxLength": 200 }),
        "zone" => json!({ "pattern": ZONE, "maxLength": 60 }),
        "until" | "expires_at" => json!({ "pattern": TIME }),
        "within" | "suspended_for" => json!({ "pattern": SPAN }),
        "number_end" => json!({ "pattern": E164 }),
        "answer_url" | "url" => json!({ "pattern": HTTPS, "maxLength": 2_000 }),
        "events" => json!({ "uniqueItems": true }),
        "numbers" => json!({ "items": { "type": "string", "pattern": E164 }, "minItems": 1, "uniqueItems": true }),
        "tags" | "add" | "remove" => {
            let tag = json!({ "type": "string", "minLength": 1, "maxLength": TAG_CHARS_MAX, "pattern": r"^[^\s;|\x00-\x1f\x7f-\x9f]([^;|\x00-\x1f\x7f-\x9f]*[^\s;|\x00-\x1f\x7f-\x9f])?$" });
            json!({ "items": tag, "maxItems": 50 })
        }
        _ => return None,
    })
}

/// Says of an operation's parameters and fields what they may be, and whether it
/// needs a body.
pub fn operation(method: &str, operation: &mut Value) {
    // Not by index, which would make what is not there.
    for one in operation.pointer_mut("/parameters").and_then(Value::as_array_mut).into_iter().flatten() {
        let more = one["name"].as_str().and_then(parameter);
        restrict(&mut one["schema"], more);
    }
    let Some(body) = operation.pointer_mut("/requestBody/content/application~1json/schema") else { return };
    let properties = |schema: &mut Value| match schema.get_mut("properties").map(Value::take) {
        Some(Value::Object(properties)) => properties,
        _ => Map::new(),
    };
    let mut fields = properties(body);
    for (name, schema) in &mut fields {
        restrict(schema, field(name));
    }
    if let Some(filter) = fields.get_mut("filter") {
        let mut of_filter = properties(filter);
        for (name, schema) in of_filter.iter_mut().filter(|(_, schema)| schema["type"] == "string") {
            restrict(schema, parameter(name));
            restrict(schema, Some(json!({ "minLength": 1 })));
        }
        filter["properties"] = of_filter.into();
        body["oneOf"] = json!([{ "required": ["filter"] }, { "required": ["numbers"] }]);
    }
    // A change of nothing is refused.
    let optional = body["required"].as_array().is_none_or(Vec::is_empty);
    let route_or_tags = ["trunk_id", "add"].iter().any(|name| fields.contains_key(*name));
    if optional && !fields.is_empty() && (method == "patch" || route_or_tags) {
        body["minProperties"] = json!(1);
    }
    let has = |name: &str| fields.contains_key(name);
    if has("monthly_cost") && has("currency") {
        body["dependentRequired"] = json!({ "currency": ["monthly_cost"] });
    }
    // A renewal is to a time or by months, and a zone counts months.
    if has("months") && has("expires_at") {
        body["oneOf"] = json!([{ "required": ["expires_at"] }, { "required": ["months"] }]);
        body["dependentRequired"] = json!({ "zone": ["months"] });
    }
    let needed = !optional || body.get("minProperties").is_some() || body.get("oneOf").is_some();
    body["properties"] = fields.into();
    let content = operation["requestBody"]["content"].take();
    operation["requestBody"] = json!({ "required": needed, "content": content });
}

/// Adds what is not said yet.
fn restrict(schema: &mut Value, more: Option<Value>) {
    let (Some(schema), Some(Value::Object(more))) = (schema.as_object_mut(), more) else { return };
    let own: Map<String, Value> =
        more.into_iter().filter(|(key, _)| !schema.contains_key(key) || key == "pattern" || key == "items").collect();
    schema.extend(own);
}
