//! The description of the management API.
//!
//! Its examples are one number's life, in order: a test sends each to a server
//! that has the specification's sample inventory, and compares the answers.

use serde_json::{Map, Value, json};

use super::{DescribedWrite, ERRORS_OF_CONDITIONAL, headers, object, path_parameter, routing, row_schema, sample};
use crate::wire;

/// The number that the examples are about.
const NUMBER: &str = "+912271264400";
const ANSWER_URL: &str = "An https address that is handed on to readers; the server never calls it.";

/// The operations; their table has the order in which the examples work.
pub fn operations() -> Vec<Value> {
    let mut operations = vec![write(
        "stock",
        "Bring a number, or a block of up to 100,000, into stock",
        "All of the block comes in, or nothing. `number_type`, `country` and `region` come from the numbering plan if not given. A block is answered with `number`, `number_end`, `numbers` and `version`.",
        body(&[
            (
                "number",
                text("The number in E.164, in any spelling with its +; or a block, such as +912271264200..299."),
                true,
            ),
            ("number_end", text_or_null("The last number of a block whose first is `number`."), false),
            ("monthly_cost", json!({ "type": "number", "minimum": 0 }), true),
            ("currency", text("ISO 4217."), true),
            ("number_type", json!({ "enum": ["local", "tollfree", "mobile", null] }), false),
            ("country", text_or_null("ISO country code."), false),
            ("region", text_or_null("Geographic region or area."), false),
            ("tags", tags(), false),
        ]),
        json!({ "number": NUMBER, "monthly_cost": 450.00, "currency": "INR", "tags": ["support"] }),
        "201",
    )];
    let time = |about: &str| json!({ "type": "string", "format": "date-time", "description": about });
    let time_or_null = |about: &str| json!({ "type": ["string", "null"], "format": "date-time", "description": about });
    type Fields = Vec<(&'static str, Value, bool)>;
    let verbs: Vec<(&str, &str, &str, Fields, Value)> = vec![
        (
            "reserve",
            "Keep an available number for an account until a set time",
            "Then it is available again, with no job having to run.",
            vec![("account_auth_id", text("The account."), true), ("until", time("The end."), true)],
            json!({ "account_auth_id": "MA_48149cf4", "until": "2098-01-01T00:00:00Z" }),
        ),
        ("unreserve", "Give up a reservation", "The number is available at once.", vec![], json!({})),
        (
            "assign",
            "Give an available number to an account",
            "A number that is reserved for that account may be assigned as well. Without `expires_at` it auto-renews; without `monthly_cost` it costs what it did in stock. Two concurrent assigns give one success and one 409.",
            vec![
                ("account_auth_id", text("The account."), true),
                ("application_id", text_or_null("What it routes to."), false),
                ("trunk_id", text_or_null("What calls arrive on."), false),
                ("expires_at", time_or_null("When it expires."), false),
                ("monthly_cost", json!({ "type": "number", "minimum": 0 }), false),
                ("currency", text("ISO 4217."), false),
            ],
            json!({ "account_auth_id": "MA_48149cf4", "application_id": "app_abc123", "expires_at": "2098-01-01T00:00:00Z" }),
        ),
        (
            "transfer",
            "Move a number to another account",
            "Status, price and expiry stay; `assigned_at` becomes now. What is left out of the route stays, null clears it. A route that the new account may not use is 409. The giver's last active number needs `confirm_last`.",
            vec![
                ("account_auth_id", text("The account that gets it."), true),
                ("application_id", text_or_null("What it routes to from now on."), false),
                ("trunk_id", text_or_null("What calls arrive on from now on."), false),
                ("confirm_last", json!({ "type": "boolean", "default": false }), false),
            ],
            json!({ "account_auth_id": "MA_99ab12c3", "confirm_last": true }),
        ),
        (
            "route",
            "Set or clear where a number routes to and arrives on",
            "What is left out stays as it is; null clears it. An application or trunk of another account is 422.",
            vec![
                ("application_id", text_or_null("The application."), false),
                ("trunk_id", text_or_null("The trunk."), false),
            ],
            json!({ "application_id": "app_abc123", "trunk_id": "trunk_xyz" }),
        ),
        (
            "renew",
            "Move a number's expiry, or make it auto-renew",
            "Either `expires_at` or `months`. A time before now or before it was assigned is 422. `months` extends from the later of the expiry and now, on the calendar of `zone`: 31 January and a month is the last day of February. A number that auto-renews has no expiry to extend and stays as it is.",
            vec![
                ("expires_at", time_or_null("The new expiry; null: it auto-renews."), false),
                (
                    "months",
                    json!({ "type": "integer", "minimum": 1, "maximum": 120, "description": "By how many months; 12 for a year." }),
                    false,
                ),
                ("zone", text("The IANA time zone whose calendar counts the months; by default UTC."), false),
            ],
            json!({ "expires_at": null }),
        ),
        ("suspend", "Pause an assigned number", "Calls to it are refused until it is resumed.", vec![], json!({})),
        ("resume", "Let a suspended number work again", "", vec![], json!({})),
        (
            "tags",
            "Add and remove tags",
            "At most 50 of at most 64 characters, without `;` and `|`.",
            vec![("add", tags(), false), ("remove", tags(), false)],
            json!({ "add": ["vip"], "remove": ["support"] }),
        ),
        (
            "cost",
            "Set what a number costs a month",
            "The amount has at most as many decimals as its currency.",
            vec![
                ("monthly_cost", json!({ "type": "number", "minimum": 0 }), true),
                ("currency", text("ISO 4217."), true),
            ],
            json!({ "monthly_cost": 480.00, "currency": "INR" }),
        ),
        (
            "release",
            "Take a number back from its account",
            "It is then `quarantined` for its country's period, during which the release can be undone, and `available` after it. An account's last active number needs `confirm_last`.",
            vec![("confirm_last", json!({ "type": "boolean", "default": false }), false)],
            json!({ "confirm_last": true }),
        ),
        (
            "retire",
            "Take a number out of the inventory for good",
            "From `available` or `quarantined`. Its history stays; anyone may have the number.",
            vec![],
            json!({}),
        ),
    ];
    for (verb, summary, about, fields, example) in verbs {
        let mut operation = write(verb, summary, about, body(&fields), example, "200");
        operation["parameters"] =
            json!([path_parameter("e164", "The number in E.164.", NUMBER), if_match(), idempotency_key()]);
        operations.push(operation);
    }
    let entity = |kind: &str, id: &str, example_id: &str, owned: bool| {
        let mut fields =
            vec![(id, text("Unique within the partner."), true), ("name", text("Up to 200 characters."), true)];
        let mut example = json!({ id: example_id, "name": "Night desk" });
        if owned {
            fields.push(("account_auth_id", text_or_null("The account it belongs to; null: it serves all."), false));
            example["account_auth_id"] = json!("MA_48149cf4");
        }
        let mut answer = json!({ id: example_id, "name": "Night desk" });
        if owned {
            answer["account_auth_id"] = json!("MA_48149cf4");
            fields.push(("destinations", routing::destinations(), false));
        }
        if kind == "application" {
            fields.push(("answer_url", text_or_null(ANSWER_URL), false));
        }
        for (name, value) in
            [("archived", json!(false)), ("created_at", json!("2026-02-01T10:00:00Z")), ("archived_at", Value::Null)]
        {
            answer[name] = value;
        }
        if owned {
            answer["destinations"] = json!([]);
        }
        if kind == "application" {
            answer["answer_url"] = Value::Null;
        }
        let mut create = write(
            &format!("{kind}_create"),
            &format!("Create an {kind}").replace("an t", "a t"),
            "",
            body(&fields),
            example,
            "201",
        );
        create["responses"]["201"]["content"]["application/json"] =
            json!({ "schema": {}, "example": { "data": answer } });
        let about = match kind {
            "account" => {
                "Archiving an account releases its numbers by the rules of `release`; what was reserved for it is available again."
            }
            _ => {
                "An archived one keeps the numbers that route to it and takes no new ones. `destinations` is the whole list: those that are not in it are taken out."
            }
        };
        let mut fields =
            vec![("name", text("The new name."), false), ("archived", json!({ "type": "boolean" }), false)];
        let mut renamed = json!({ "name": "Day desk" });
        if owned {
            fields.push(("destinations", routing::destinations(), false));
            renamed["destinations"] = routing::destinations_sample();
            answer["destinations"] = routing::destinations_sample();
        }
        if kind == "application" {
            fields.push(("answer_url", text_or_null(ANSWER_URL), false));
        }
        let mut edit = write(
            &format!("{kind}_edit"),
            &format!("Rename, archive or bring back an {kind}").replace("an t", "a t"),
            about,
            body(&fields),
            renamed,
            "200",
        );
        answer["name"] = json!("Day desk");
        edit["responses"]["200"]["content"]["application/json"] =
            json!({ "schema": {}, "example": { "data": answer } });
        edit["parameters"] = json!([path_parameter("id", "Its id.", example_id), idempotency_key()]);
        [create, edit]
    };
    operations.extend(entity("account", "account_auth_id", "MA_5d2f90aa", false));
    operations.extend(entity("application", "application_id", "app_night", true));
    operations.extend(entity("trunk", "trunk_id", "trunk_night", true));
    let mut undo = write(
        "undo",
        "Undo a change",
        "Puts back account, routing, status and expiry as they were, what was done last first; an account, application or trunk that the change created is archived. A number that somebody changed since stays as it is, with the reason; if that goes for all of them it is 409. `stays` says which accounts, applications and trunks stay as they are, and why: one that something later uses is not archived. Nothing undoes what happened to keys and partners.",
        body(&[]),
        json!({}),
        "200",
    );
    undo["parameters"] = json!([path_parameter("version", "The version to undo.", "2"), idempotency_key()]);
    undo["responses"]["200"]["content"]["application/json"] = json!({
        "schema": {},
        "example": { "data": { "undid": 2, "version": 3, "undone": 1, "refused": 0, "rows": [], "stays": [] } },
    });
    operations.push(undo);
    operations
}

/// Everything about a number, as a write leaves it.
pub fn schema() -> Value {
    let mut schema = row_schema(wire::EXPORT);
    schema["properties"]["version"] = json!({ "type": "integer", "description": "The version that last changed it." });
    if let Some(required) = schema["required"].as_array_mut() {
        required.push(json!("version"));
    }
    schema
}

fn write(id: &str, summary: &str, about: &str, body: Value, example: Value, status: &str) -> Value {
    let mut number = sample(wire::EXPORT);
    number["version"] = json!(2);
    let mut head = headers(false);
    head["ETag"]["description"] = json!("The number's own, as at `/api/v1/partner/numbers/{e164}`.");
    let ok = json!({
        "description": "Done, and durable; or so already, and nothing written.",
        "headers": head,
        "content": { "application/json": {
            "schema": object(&[("data", json!({ "$ref": "#/components/schemas/ManagedNumber" }))]),
            "example": { "data": number },
        } },
    });
    let (parameters, body, ok) = (vec![idempotency_key()], (body, example), (status, ok));
    DescribedWrite { tag: "Management", id, summary, about, parameters, body, ok, errors: ERRORS_OF_CONDITIONAL }
        .described()
}

pub(super) fn body(fields: &[(&str, Value, bool)]) -> Value {
    let properties: Map<String, Value> =
        fields.iter().map(|(name, schema, _)| ((*name).to_owned(), schema.clone())).collect();
    let required: Vec<&str> = fields.iter().filter(|(_, _, needed)| *needed).map(|(name, _, _)| *name).collect();
    json!({ "type": "object", "required": required, "properties": properties, "additionalProperties": false })
}

pub(super) fn text(about: &str) -> Value {
    json!({ "type": "string", "description": about })
}

fn text_or_null(about: &str) -> Value {
    json!({ "type": ["string", "null"], "description": about })
}

fn tags() -> Value {
    json!({ "type": "array", "items": { "type": "string" } })
}

fn header(name: &str, about: &str) -> Value {
    json!({ "name": name, "in": "header", "required": false, "description": about, "schema": { "type": "string" } })
}

pub(super) fn idempotency_key() -> Value {
    header(
        "Idempotency-Key",
        "Any text of up to 255 characters. A retry within 24 hours under the same key gets the same answer and does nothing again.",
    )
}

fn if_match() -> Value {
    header("If-Match", "The number's `ETag` as you know it; if it has changed since, the answer is 412 and says how.")
}
