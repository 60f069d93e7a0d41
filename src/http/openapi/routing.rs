//! The description of destinations, and of what becomes of a call.

use serde_json::{Value, json};

use super::{headers, object, one_of, path_parameter, responses};

/// One destination, as it is given and as it is answered.
pub(super) fn destination_schema() -> Value {
    let mut schema = object(&[
        (
            "uri",
            json!({
                "type": "string", "maxLength": 200, "pattern": super::strict::SIP,
                "description": "A `sip:` URI: a host name, an IPv4 address or an IPv6 address in brackets, a port, and the parameters `transport=udp|tcp|tls` and `user=phone`. Without a user part it gets the called number.",
            }),
        ),
        (
            "priority",
            json!({ "type": "integer", "minimum": 0, "maximum": 65535, "default": 10, "description": "Lower ones are tried first." }),
        ),
        (
            "weight",
            json!({ "type": "integer", "minimum": 1, "maximum": 65535, "default": 10, "description": "Its share of calls among those of one priority." }),
        ),
        ("enabled", json!({ "type": "boolean", "default": true })),
    ]);
    schema["required"] = json!(["uri"]);
    schema
}

/// A whole list of them.
pub(super) fn destinations() -> Value {
    json!({ "type": "array", "maxItems": 8, "items": { "$ref": "#/components/schemas/Destination" } })
}

pub(super) fn destinations_sample() -> Value {
    json!([
        { "uri": "sip:ivr-1.example", "priority": 10, "weight": 10, "enabled": true },
        { "uri": "sip:ivr-2.example", "priority": 20, "weight": 10, "enabled": true },
    ])
}

pub(super) fn explain() -> Value {
    let as_of = json!({
        "name": "as_of", "in": "query", "description": "At this moment of the past, in place of now.",
        "schema": { "type": "string", "format": "date-time" },
    });
    let step = |name: &str, text: &str, since: Value| {
        json!({
            "step": name, "ok": true, "stops": false, "text": text, "since": since, "by": null, "remedy": null,
        })
    };
    let mut status = step("status", "suspended", json!("2026-11-20T14:02:11Z"));
    (status["ok"], status["stops"]) = (json!(false), json!(true));
    (status["by"], status["remedy"]) = (json!("key:key_2c6f"), json!("resume it"));
    let example = json!({
        "number": "+912271264217", "code": 480, "reason": "Temporarily Unavailable", "cause": "suspended", "q850": 20,
        "routes": [],
        "steps": [
            step("held_by", "Credresolve (MA_48149cf4)", json!("2026-01-15T10:30:00Z")),
            step("partner", "Acme Telecom (PA_c9ca0c71)", Value::Null),
            step("expires", "auto-renews", Value::Null),
            status,
            step("application", "app_abc123 Main IVR", Value::Null),
            step("destinations", "sip:ivr-1.example (10/10), sip:ivr-2.example (20/10)", Value::Null),
        ],
        "inventory_version": 17, "age": 0, "as_of": null,
    });
    let number = path_parameter("e164", "The number in E.164, its + as it is or as %2B.", "+912271264217");
    json!({
        "operationId": "number_routing",
        "tags": ["The past"],
        "summary": "What becomes of a call to one phone number, and why, step by step",
        "description": "The answer that a proxy gets, with everything that it depends on: also the steps after the one where calls end, who made each so and when, and what repairs it. Also of a number that was retired since.",
        "parameters": [number, as_of],
        "responses": responses(&["401", "403", "404", "422", "429"], json!({
            "description": "The answer and its steps.",
            "headers": headers(false),
            "content": { "application/json": { "schema": one_of("RouteExplanation"), "example": { "data": example } } },
        })),
    })
}

pub(super) fn explanation_schema() -> Value {
    let text = json!({ "type": "string" });
    let text_if = json!({ "type": ["string", "null"] });
    let time_if = json!({ "type": ["string", "null"], "format": "date-time" });
    let whole = json!({ "type": "integer" });
    let causes: Vec<&str> = crate::routing::Case::ALL.iter().map(|case| case.as_str()).collect();
    let step = object(&[
        ("step", json!({ "enum": ["held_by", "partner", "expires", "status", "application", "destinations"] })),
        ("ok", json!({ "type": "boolean" })),
        ("stops", json!({ "type": "boolean", "description": "Whether this is where calls end." })),
        ("text", text.clone()),
        ("since", time_if.clone()),
        ("by", text_if.clone()),
        ("remedy", text_if),
    ]);
    object(&[
        ("number", text.clone()),
        ("code", whole.clone()),
        ("reason", text.clone()),
        ("cause", json!({ "enum": causes })),
        ("q850", json!({ "type": ["integer", "null"] })),
        ("routes", json!({ "type": "array", "items": object(&[("uri", text)]) })),
        ("steps", json!({ "type": "array", "items": step })),
        ("inventory_version", whole.clone()),
        ("age", whole),
        ("as_of", time_if),
    ])
}
