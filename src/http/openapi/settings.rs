//! The description of what a partner chooses for its bills.

use serde_json::{Value, json};

use super::manage::{body, idempotency_key, text};
use super::{DescribedWrite, ERRORS_OF_LIST, headers, object, one_of, read, untagged};
use crate::domain::setting::AfterExpiry;

pub fn operations() -> Vec<Value> {
    let example = |next: Value| {
        let mut now = period("2026-02", ("2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"), "UTC", AfterExpiry::Charge);
        now["next"] = next;
        json!({ "data": now })
    };
    let about = "This month's zone and rule, and those of the next month if they differ.";
    let mut tagged = untagged(about, one_of("BillingSetting"), example(Value::Null));
    tagged["headers"] = headers(false);
    let mut read = read(
        "Phone numbers",
        "billing_setting",
        "In which zone the partner's bills are, and whether expired numbers are charged",
        vec![],
        ERRORS_OF_LIST,
        tagged,
    );
    read["responses"]["304"] = json!({ "description": "Not changed since the given `If-None-Match`." });
    let next = period("2026-03", ("2026-03-01T00:00:00Z", "2026-03-31T18:30:00Z"), "Asia/Kolkata", AfterExpiry::Stop);
    let fields = [("zone", text("The IANA name of the zone."), false), ("after_expiry", after_expiry(), false)];
    let edit = DescribedWrite {
        tag: "Management",
        id: "billing_setting_edit",
        summary: "Choose the zone of the partner's bills, and whether expired numbers are charged",
        about: "It counts from the next month, which begins at the moment at which this one ends, so no hour is billed twice or never, and no bill of this month or an earlier one changes. What is left out stays as it is; a choice that does not count yet is replaced.",
        parameters: vec![idempotency_key()],
        body: (body(&fields), json!({ "zone": "Asia/Kolkata", "after_expiry": "stop" })),
        ok: ("200", untagged(about, one_of("BillingSetting"), example(next))),
        errors: &["400", "401", "403", "409", "422", "429"],
    };
    let edit = edit.described();
    vec![read, edit]
}

pub fn schemas() -> Vec<(&'static str, Value)> {
    let time = |about: &str| json!({ "type": "string", "format": "date-time", "description": about });
    let members = [
        ("month", text("The month.")),
        ("begins_at", time("Its first moment, where the month before ended.")),
        ("ends_at", time("The moment after its last.")),
        ("zone", text("The IANA name of the zone whose days it has.")),
        ("after_expiry", after_expiry()),
    ];
    let mut next = object(&members);
    next["type"] = json!(["object", "null"]);
    next["description"] = json!("The next month, if another choice counts from it.");
    let mut all = members.to_vec();
    all.push(("next", next));
    vec![("BillingSetting", object(&all))]
}

fn after_expiry() -> Value {
    let words: Vec<&str> = AfterExpiry::ALL.iter().map(|word| word.as_str()).collect();
    json!({
        "enum": words,
        "description": "charge: a number that has expired is charged until it is given back, and its lines say so. stop: it is not charged from the day on which it expires.",
    })
}

fn period(month: &str, (begins, ends): (&str, &str), zone: &str, after_expiry: AfterExpiry) -> Value {
    json!({
        "month": month, "begins_at": begins, "ends_at": ends, "zone": zone, "after_expiry": after_expiry.as_str(),
    })
}
