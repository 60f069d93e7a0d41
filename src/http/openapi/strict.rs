//! What the server takes of each parameter and field, by name, so that a client
//! made from the description sends nothing that is refused for its form.
//!
//! Invariant: a name means one thing in all operations, so one table says what
//! it may be. Deliberately absent: what depends on the inventory (an id that is
//! unknown, a state that does not allow something).

use serde_json::{Map, Value, json};

use crate::checks::Check;
use crate::domain::destination::ANSWER_URL_BYTES_MAX;
use crate::domain::entity::NAME_CHARS_MAX;
use crate::domain::number::TAG_CHARS_MAX;
use crate::domain::span::SECONDS_MAX;
use crate::domain::{Country, Currency, nothing};
use crate::http::query::PER_PAGE_MAX;
use crate::service::background::webhooks::URL_BYTES_MAX;

/// An entity tag, or several with commas between, or `*`.
const IF_MATCH: &str = r#"^(\*|(W/)?"[^"\x00-\x20\x7f-\uffff]*"( *, *(W/)?"[^"\x00-\x20\x7f-\uffff]*")*)$"#;
/// An id: no control characters, no slash, no space at either end.
const ID: &str = r"^[^\s/\x00-\x1f\x7f-\x9f]([^/\x00-\x1f\x7f-\x9f]*[^\s/\x00-\x1f\x7f-\x9f])?$";
/// A name: one line with something on it.
const NAME: &str = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$";

/// A span of time of at most ten years; `least` is the smallest count of seconds, where
/// one unit is allowed.
fn span(nothing: bool, seconds_min: u64) -> String {
    let zero = if nothing { "0+|" } else { "" };
    let unit = |max: u64, letter: char| format!("({zero}0*({})){letter}", up_to(1, max));
    let days = SECONDS_MAX.unsigned_abs() / 86_400;
    let seconds = format!("({zero}0*({}))s", up_to(seconds_min.max(1), days * 86_400));
    format!("^({}|{}|{}|{seconds})$", unit(days, 'd'), unit(days * 24, 'h'), unit(days * 1_440, 'm'))
}

/// The whole numbers from `min` to `max` without leading zeros, as alternatives.
fn up_to(min: u64, max: u64) -> String {
    let (low, high) = (min.to_string(), max.to_string());
    let mut all = Vec::new();
    for digits in low.len()..=high.len() {
        let from = if digits == low.len() { low.clone() } else { format!("1{}", "0".repeat(digits - 1)) };
        let to = if digits == high.len() { high.clone() } else { "9".repeat(digits) };
        between(from.as_bytes(), to.as_bytes(), "", &mut all);
    }
    all.join("|")
}

/// The texts of digits from one to another of the same length.
fn between(from: &[u8], to: &[u8], before: &str, all: &mut Vec<String>) {
    let class = |low: u8, high: u8| match low == high {
        true => char::from(low).to_string(),
        false => format!("[{}-{}]", char::from(low), char::from(high)),
    };
    let (Some((&low, from)), Some((&high, to))) = (from.split_first(), to.split_first()) else {
        all.push(before.to_owned());
        return;
    };
    let rest = match from.len() {
        0 => String::new(),
        1 => "[0-9]".to_owned(),
        count => format!("[0-9]{{{count}}}"),
    };
    let whole = |digits: &[u8], digit: u8| digits.iter().all(|&one| one == digit);
    let (mut first, mut last) = (low, high);
    if low < high && !whole(from, b'0') {
        between(from, &vec![b'9'; from.len()], &format!("{before}{}", char::from(low)), all);
        first += 1;
    }
    if low < high && !whole(to, b'9') {
        last -= 1;
    }
    if low == high && !(whole(from, b'0') && whole(to, b'9')) {
        between(from, to, &format!("{before}{}", char::from(low)), all);
        return;
    }
    if first <= last {
        all.push(format!("{before}{}{rest}", class(first, last)));
    }
    if last < high {
        between(&vec![b'0'; to.len()], to, &format!("{before}{}", char::from(high)), all);
    }
}

/// Cron's five fields. That a range does not run backwards and that a month has
/// such a day is more than a pattern can say.
fn cron() -> String {
    let words = |words: &[&str]| words.iter().map(|word| any_case(word)).collect::<Vec<_>>().join("|");
    let minute = "[0-5]?[0-9]".to_owned();
    let hour = "([01]?[0-9]|2[0-3])".to_owned();
    let day = "(0?[1-9]|[12][0-9]|3[01])".to_owned();
    let months = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let month = format!("(0?[1-9]|1[0-2]|{})", words(&months));
    let weekday = format!("(0?[0-7]|{})", words(&["sun", "mon", "tue", "wed", "thu", "fri", "sat"]));
    let fields = [minute, hour, day, month, weekday].map(|one| {
        let item = format!(r"(\*(/[1-9][0-9]?)?|{one}(-{one}(/[1-9][0-9]?)?)?)");
        format!("{item}(,{item})*")
    });
    format!("^(@(yearly|monthly|weekly|daily|hourly)|{})$", fields.join(" +"))
}

/// A time as the server reads it, without anchors: a day that there is, a time of day,
/// and a zone. The first and the last day that can be written have no offset here,
/// because it depends on the time of day whether that leads out of the calendar.
fn time() -> String {
    let leap = "([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)";
    // 9999-12-31 stands for never and is refused.
    let years = years(9_998);
    let shorter = "(0[469]|11)-(0[1-9]|[12][0-9]|30)";
    let all = "(0[1-9]|[12][0-9]|3[01])";
    let days = format!("(0[13578]|1[02])-{all}|{shorter}|02-(0[1-9]|1[0-9]|2[0-8])");
    let first = format!("0000-(01-(0[2-9]|[12][0-9]|3[01])|(0[3578]|1[02])-{all}|{shorter}|02-(0[1-9]|[12][0-9]))");
    let last = format!("9999-((0[13578]|10)-{all}|{shorter}|02-(0[1-9]|1[0-9]|2[0-8])|12-(0[1-9]|[12][0-9]))");
    let clock = r"[Tt ]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)? ?";
    let utc = "([Zz]|[Uu][Tt][Cc]|[Gg][Mm][Tt])";
    let offset = "[+-]([01][0-9]|2[0-3])(:?[0-5][0-9])?";
    format!(
        "((({years})-({days})|{leap}-02-29|{first}|{last}){clock}({utc}|{offset})|(0000-01-01|9999-12-30){clock}{utc})"
    )
}

/// The years from 1 to another one, of four digits.
fn years(last: u64) -> String {
    up_to(1, last).split('|').map(padded).collect::<Vec<_>>().join("|")
}

/// Digits with zeros before them, four in all.
fn padded(alternative: &str) -> String {
    let (mut count, mut rest) = (0, alternative);
    while let Some(first) = rest.chars().next() {
        let end = if first == '[' { rest.find(']').map_or(1, |end| end + 1) } else { 1 };
        rest = &rest[end..];
        let times = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        count += times.and_then(|(times, _)| times.parse().ok()).unwrap_or(1);
        rest = times.map_or(rest, |(_, after)| after);
    }
    format!("{}{alternative}", "0".repeat(4 - count))
}

/// One number in E.164.
pub const E164: &str = r"^\+[1-9][0-9]{6,14}$";
/// The same, or nothing.
pub const E164_OR_NOT: &str = r"^(\+[1-9][0-9]{6,14})?$";
/// A zone as IANA names them. Which of them there are depends on the machine.
const ZONE: &str = "^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$";
/// A word in any case.
fn any_case(word: &str) -> String {
    let one = |c: char| match c {
        c if c.is_ascii_alphabetic() => format!("[{}{}]", c.to_ascii_uppercase(), c.to_ascii_lowercase()),
        c if c.is_ascii_alphanumeric() || !c.is_ascii() || " -:;=#/<>!".contains(c) => c.to_string(),
        c => format!("\\{c}"),
    };
    word.chars().map(one).collect()
}

/// A host name whose last part begins with one of `last`, or an address.
fn host(last: &str) -> String {
    let end = "([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?";
    let octet = format!("({})", up_to(0, 255));
    let v4 = format!(r"{octet}(\.{octet}){{3}}");
    let group = "[0-9A-Fa-f]{1,4}";
    let mut v6 = vec![format!("({group}:){{7}}{group}"), format!("({group}:){{6}}{v4}"), format!("({group}:){{1,7}}:")];
    v6.push(format!(":((:{group}){{1,7}}|:)"));
    v6.push(format!("::({group}:){{0,5}}{v4}"));
    for before in 1..=6 {
        v6.push(format!("({group}:){{{before}}}(:{group}){{1,{}}}", 7 - before));
    }
    for before in 1..=5 {
        v6.push(format!("({group}:){{{before}}}:({group}:){{0,{}}}{v4}", 5 - before));
    }
    format!(r"(([A-Za-z0-9_]{end}\.)*[{last}]{end}\.?|{v4}|\[({})\])", v6.join("|"))
}

fn port() -> String {
    format!("(:0*({}))?", up_to(1, 65_535))
}

/// What may follow a host: a path and a query.
const PATH: &str = r##"(/[^\x00- #<>?`\x7f-\uffff]*)?(\?[^\x00- "#<>\x7f-\uffff]*)?"##;

/// A webhook's address. Whether an address within it is public is more than a pattern
/// can say.
fn webhook_url() -> String {
    format!("^{}://{}{}{PATH}$", any_case("https"), host("A-Za-z_"), port())
}

/// An application's answer URL, which may name any host and a place on the page.
fn answer_url() -> String {
    let name = r"[A-Za-z0-9._~!$&'()*+,;=-]+";
    format!("^https://({name}|{}){}{PATH}(#[!-~]*)?$", host("A-Za-z_"), port())
}

/// A destination's address. Whether the operator allows its host is more than a pattern
/// can say.
pub fn sip() -> String {
    let escaped = "%([2-6][0-9A-Fa-f]|7[0-9A-Ea-e]|[89A-Fa-f][0-9A-Fa-f])";
    let user = format!("(([A-Za-z0-9_.!~*'()&=+$,;?/-]|{escaped})+@)?");
    let words = ["udp", "tcp", "tls"].map(any_case).join("|");
    let transport = format!(";{}({words})", any_case("transport="));
    let phone = format!(";{}", any_case("user=phone"));
    let parameters = format!("(({transport})?({phone})?|{phone}{transport})");
    format!("^{}{user}{}{}{parameters}$", any_case("sip:"), host("A-Za-z"), port())
}

/// What nothing new is called: words for nothing, dots, and text with characters that
/// nobody sees. Of those beyond U+FFFF a pattern cannot say it everywhere.
fn refused_ids() -> Value {
    let words: Vec<String> = nothing::CERTAIN.iter().map(|word| any_case(word)).collect();
    let mut hidden = String::new();
    for code in 0..=0xffff_u32 {
        if char::from_u32(code).is_some_and(nothing::invisible) {
            hidden.push_str(&format!("\\u{code:04x}"));
        }
    }
    json!({ "pattern": format!(r"^(\.\.?|{})$|[{hidden}]", words.join("|")) })
}

/// What no account, application or trunk is called.
fn refused_names() -> Value {
    let words: Vec<String> = nothing::CERTAIN.iter().map(|word| any_case(word)).collect();
    json!({ "pattern": format!(r"^\s*({})\s*$", words.join("|")) })
}

/// What a field may not be in one operation only.
fn refused(operation: &str, field: &str) -> Option<Value> {
    match (operation, field) {
        ("account_create", "account_auth_id")
        | ("application_create", "application_id")
        | ("trunk_create", "trunk_id") => Some(refused_ids()),
        (
            "account_create" | "account_edit" | "application_create" | "application_edit" | "trunk_create"
            | "trunk_edit",
            "name",
        ) => Some(refused_names()),
        _ => None,
    }
}

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
        "within" | "suspended_for" => json!({ "pattern": span(true, 1) }),
        "idle_for" => json!({ "pattern": "^([1-9]|[1-8][0-9]|90)d$" }),
        // A time, or `never`, or both.
        "called_before" => {
            let time = time();
            json!({ "pattern": format!("^(never|{time}|never,{time}|{time},never)?$") })
        }
        "check" => json!({ "enum": Check::ALL.iter().map(|check| check.as_str()).collect::<Vec<_>>() }),
        "cron" => json!({ "pattern": cron(), "maxLength": 200 }),
        "zone" => json!({ "pattern": ZONE, "maxLength": 60 }),
        "month" => json!({ "pattern": format!("^({})-(0[1-9]|1[0-2])$", years(9_999)) }),
        "routed" | "assigned" | "acknowledged" => json!({ "enum": ["true", "false"] }),
        "country" => some_of(Country::codes()),
        "number_type" => some_of(["local", "tollfree", "mobile"]),
        "status" => some_of(["active", "suspended"]),
        "sort" => json!({ "pattern": "^(-?(number|assigned_at|expires_at|monthly_cost))?$" }),
        "expires_before" | "expires_after" | "assigned_before" | "assigned_after" => {
            json!({ "pattern": format!("^{}$", time()) })
        }
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
        "until" | "expires_at" => json!({ "pattern": format!("^{}$", time()) }),
        "within" => json!({ "pattern": span(false, 60) }),
        "number_end" => json!({ "pattern": E164 }),
        "answer_url" => json!({ "pattern": answer_url(), "maxLength": ANSWER_URL_BYTES_MAX }),
        "url" => json!({ "pattern": webhook_url(), "maxLength": URL_BYTES_MAX }),
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
    let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
    let Some(body) = operation.pointer_mut("/requestBody/content/application~1json/schema") else { return };
    let properties = |schema: &mut Value| match schema.get_mut("properties").map(Value::take) {
        Some(Value::Object(properties)) => properties,
        _ => Map::new(),
    };
    let mut fields = properties(body);
    for (name, schema) in &mut fields {
        restrict(schema, field(name));
        if let Some(refused) = refused(&id, name) {
            schema["not"] = refused;
        }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use regex_lite::Regex;

    use super::*;
    use crate::domain::{SipUri, Time, destination, id, span};
    use crate::outbound::Outbound;

    /// Each text is allowed exactly if the server's own parser takes it.
    #[track_caller]
    fn check(pattern: &str, taken: impl Fn(&str) -> bool, good: &[&str], bad: &[&str]) {
        let pattern = Regex::new(pattern).expect("a pattern");
        for (texts, expected) in [(good, true), (bad, false)] {
            for text in texts {
                assert_eq!(taken(text), expected, "the server: {text:?}");
                assert_eq!(pattern.is_match(text), expected, "the pattern: {text:?}");
            }
        }
    }

    #[test]
    fn times_are_allowed_as_they_are_read() {
        let good = [
            "2026-02-01T10:00:00Z",
            "2027-01-29T00:00:00Z",
            "2027-01-30T00:00:00Z",
            "2027-01-31T23:59:59.123456789Z",
            "2028-02-29T00:00:00+05:30",
            "2000-02-29T00:00:00-0330",
            "2027-12-31t00:00:00+05",
            "2027-04-30 00:00:00 UTC",
            "0001-01-01T00:00:00+23:59",
            "0000-01-01T00:00:00Z",
            "9999-12-30T23:59:59z",
            "9999-12-29T23:59:59-23:59",
            "1999-11-30T00:00:00 GMT",
        ];
        let bad = [
            "2027-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2027-04-31T00:00:00Z",
            "2027-13-01T00:00:00Z",
            "2027-01-00T00:00:00Z",
            "2027-01-01T24:00:00Z",
            "2027-01-01T00:60:00Z",
            "2027-01-01T00:00:60Z",
            "2027-01-01T00:00:00",
            "2027-01-01",
            "2027-01-01T00:00:00.Z",
            "2027-01-01T00:00:00+24:00",
            "9999-12-31T00:00:00Z",
            " 2027-01-01T00:00:00Z",
            "",
        ];
        check(&format!("^{}$", time()), |text| text.parse::<Time>().is_ok(), &good, &bad);
    }

    #[test]
    fn spans_are_allowed_as_they_are_read() {
        let taken = |text: &str| span::CHECKED.read(text).is_ok();
        let good = ["0d", "00s", "1d", "014d", "3650d", "87600h", "5256000m", "315360000s"];
        let bad = ["3651d", "87601h", "5256001m", "315360001s", "d", "1w", "-1d", "1.5h", ""];
        check(&span(true, 1), taken, &good, &bad);
        let taken = |text: &str| span::SCHEDULED.read(text).is_ok();
        check(&span(false, 60), taken, &["60s", "1m", "1h", "3650d"], &["59s", "0d", "0m", "3651d"]);
    }

    #[test]
    fn addresses_are_allowed_as_they_are_read() {
        let good = [
            "sip:ivr-1.demo.example",
            "sip:ivr-1.demo.example:65535",
            "SIP:+4420@Pbx.Example.:05060;transport=TLS;user=phone",
            "sip:a%20b@x.example;user=phone;transport=udp",
            "sip:192.0.2.1:5060",
            "sip:[2001:db8::1]:5080",
            "sip:[::]",
            "sip:[::ffff:192.0.2.1]",
            "sip:[1:2:3:4:5:6:7:8]",
            "sip:[1::8]",
            "sip:a_b.example",
        ];
        let bad = [
            "sips:x.example",
            "sip:",
            "sip:-a.example",
            "sip:a-.example",
            "sip:256.0.0.1",
            "sip:1.2.3",
            "sip:x.example:65536",
            "sip:x.example:0",
            "sip:a:b@x.example",
            "sip:a%0a@x.example",
            "sip:x.example;transport=sctp",
            "sip:x.example;user=phone;user=phone",
            "sip:x.example?a=b",
            "sip:[1:2:3]",
            "sip:[1::2::3]",
        ];
        check(&sip(), |text| text.parse::<SipUri>().is_ok(), &good, &bad);
        let outbound = Outbound::new(Vec::new(), None, Duration::from_secs(1));
        let good = [
            "https://example.com",
            "HTTPS://my-host.example.com:8443/a/b?x=1&y=%20",
            "https://a_b.example./?x=1",
            "https://example.com?x=1",
            "https://8.8.8.8:65535/{a}",
            "https://[2606:4700::1111]/",
        ];
        let bad = [
            "http://example.com/",
            "https://",
            "https://-a.example/",
            "https://example.com:65536/",
            "https://example.com:0/",
            "https://user@example.com/",
            "https://example.com/#part",
            "https://example.com/a b",
            "https://example.com/<a>",
            "https://2130706433/",
            "https://127.1/",
        ];
        check(&webhook_url(), |text| outbound.check(text).is_ok(), &good, &bad);
        let good = ["https://voice-1.example:8443/answer?x=1#top", "https://127.0.0.1/", "https://[::1]/a"];
        let bad = ["HTTPS://voice.example/", "https://voice.example:99999/", "https://a@b.example/", "https://a b/"];
        check(&answer_url(), |text| destination::answer_url(text).is_ok(), &good, &bad);
    }

    #[test]
    fn new_ids_and_names_are_refused_as_they_are_checked() {
        let refused = |schema: &Value| schema["pattern"].as_str().expect("a pattern").to_owned();
        let bad = [".", "..", "NULL", "null", "(None)", "#N/A", "--", "\u{2014}", "MA_1\u{200b}", "\u{feff}MA_1"];
        let good = ["MA_1", "new", "a b", "...", "null-1", "NA", "é"];
        check(&refused(&refused_ids()), |text| id::check_new(text).is_err(), &bad, &good);
        check(&refused(&refused_names()), nothing::certain, &["NULL", "n/a", "-"], &["Null Ltd", "Nile"]);
    }

    #[test]
    fn whole_numbers_are_allowed_up_to_the_last() {
        for (min, max) in [(0, 0), (0, 255), (1, 9), (1, 3_650), (60, 1_000), (7, 98), (99, 101), (1, 9_998)] {
            let pattern = Regex::new(&format!("^({})$", up_to(min, max))).expect("a pattern");
            for number in 0..=max + 120 {
                assert_eq!(
                    pattern.is_match(&number.to_string()),
                    (min..=max).contains(&number),
                    "{number} {min} {max}"
                );
            }
        }
    }

    #[test]
    fn cron_lines_are_allowed_as_people_write_them() {
        let pattern = Regex::new(&cron()).expect("a pattern");
        for text in ["0 9 * * MON", "*/15 8-18/2 1,15 jan-mar mon-fri", "05 09  1 * *", "@daily"] {
            assert!(pattern.is_match(text), "{text}");
            assert!(crate::schedule::Recurrence::parse(text, "UTC").is_ok(), "{text}");
        }
    }
}
