//! Request bodies: one JSON object, read strictly.
//!
//! Text that is not JSON, has a duplicate key or nests too deep is refused as a
//! whole (400). JSON of the wrong shape is refused by field (422), with all errors
//! at once and their positions: `params.expires_at`, `numbers[3]`. An unknown key
//! is refused, because ignoring it would do something else than the client meant.
//! Invariant: a number's digits reach the domain as they were sent; no float.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use http::header;
use http_body::Body as _;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::bodies::Allowance;
use super::error::ApiError;
use crate::domain::destination::{self, DESTINATIONS_MAX};
use crate::domain::entity::NAME_CHARS_MAX;
use crate::domain::field::code;
use crate::domain::spelling::{self, BareDigits};
use crate::domain::time::BadTime;
use crate::domain::{Currency, Destination, Destinations, E164, FieldError, SipUri, Tags, Time, Zone};

/// The longest body, in bytes: ten thousand numbers, each on a line of its own.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// How deep a body may nest.
const DEPTH_MAX: usize = 8;

/// Reads a body to its end. Nothing at all is an object without keys.
pub async fn read(head: &http::request::Parts, body: axum::body::Body) -> Result<Vec<u8>, ApiError> {
    if let Some(kind) = head.headers.get(header::CONTENT_TYPE).filter(|_| !body.is_end_stream()) {
        let kind = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            return Err(ApiError::unsupported_media_type());
        }
    }
    let bytes = Allowance::read(&head.extensions, body, BODY_BYTES_MAX).await?;
    Ok(if bytes.is_empty() { b"{}".to_vec() } else { bytes })
}

/// Any JSON, with numbers as they were written.
#[derive(Clone, PartialEq, Debug)]
pub enum Json {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    fn parse(raw: &str, depth: usize) -> Result<Json, String> {
        if depth > DEPTH_MAX {
            return Err(format!("it nests deeper than {DEPTH_MAX}"));
        }
        let wrong = |error: serde_json::Error| error.to_string();
        Ok(match raw.trim_start().as_bytes().first() {
            Some(b'{') => {
                let Entries(entries) = serde_json::from_str(raw).map_err(wrong)?;
                let value = |(key, raw): (String, Box<RawValue>)| Ok((key, Json::parse(raw.get(), depth + 1)?));
                Json::Object(entries.into_iter().map(value).collect::<Result<_, String>>()?)
            }
            Some(b'[') => {
                let list: Vec<Box<RawValue>> = serde_json::from_str(raw).map_err(wrong)?;
                Json::List(list.iter().map(|raw| Json::parse(raw.get(), depth + 1)).collect::<Result<_, _>>()?)
            }
            Some(b'"') => Json::Text(serde_json::from_str(raw).map_err(wrong)?),
            Some(b't' | b'f') => Json::Bool(serde_json::from_str(raw).map_err(wrong)?),
            Some(b'n') => serde_json::from_str::<()>(raw).map(|()| Json::Null).map_err(wrong)?,
            _ => Json::Number(serde_json::from_str::<Box<RawValue>>(raw).map_err(wrong)?.get().to_owned()),
        })
    }

    /// What is repeated of a value that is wrong; nothing of lists and objects, whose
    /// errors are named by their places.
    pub fn told(&self) -> Option<String> {
        match self {
            Json::Bool(flag) => Some(flag.to_string()),
            Json::Number(text) | Json::Text(text) => Some(text.clone()),
            Json::Null | Json::List(_) | Json::Object(_) => None,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "true or false",
            Json::Number(_) => "a number",
            Json::Text(_) => "text",
            Json::List(_) => "a list",
            Json::Object(_) => "an object",
        }
    }
}

/// As it was read, but for spaces.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |text: &str| serde_json::to_string(text).map_err(|_| fmt::Error);
        match self {
            Json::Null => f.write_str("null"),
            Json::Bool(flag) => write!(f, "{flag}"),
            Json::Number(digits) => f.write_str(digits),
            Json::Text(value) => f.write_str(&text(value)?),
            Json::List(list) => {
                for (at, value) in list.iter().enumerate() {
                    write!(f, "{}{value}", if at == 0 { "[" } else { "," })?;
                }
                f.write_str(if list.is_empty() { "[]" } else { "]" })
            }
            Json::Object(entries) => {
                for (at, (key, value)) in entries.iter().enumerate() {
                    write!(f, "{}{}:{value}", if at == 0 { "{" } else { "," }, text(key)?)?;
                }
                f.write_str(if entries.is_empty() { "{}" } else { "}" })
            }
        }
    }
}

/// An object's entries in order, each key once.
struct Entries(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Entries, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries: Vec<(String, Box<RawValue>)> = Vec::new();
                let mut seen = std::collections::HashSet::new();
                while let Some((key, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    if !seen.insert(key.clone()) {
                        return Err(serde::de::Error::custom(format_args!("the key {key:?} is there twice")));
                    }
                    entries.push((key, value));
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Each)
    }
}

/// The fields of one object, taken one by one; what is wrong is collected.
///
/// A field that is wrong reads as if it were absent: only [`BodyFields::finish`]
/// says whether what was read may be used.
pub struct BodyFields {
    place: String,
    entries: Vec<(String, Json)>,
    known: Vec<&'static str>,
    errors: Vec<FieldError>,
}

impl BodyFields {
    pub fn parse(body: &[u8]) -> Result<BodyFields, ApiError> {
        let text = std::str::from_utf8(body).map_err(|_| ApiError::bad_request("the body is not UTF-8"))?;
        let bad = |why: String| ApiError::bad_request(&format!("the body is not usable JSON: {why}"));
        match Json::parse(text, 0).map_err(bad)? {
            Json::Object(entries) => Ok(BodyFields::of(String::new(), entries)),
            other => Err(ApiError::validation(vec![FieldError::missing(
                "body",
                code::INVALID,
                format!("must be an object, not {}", other.kind()),
            )])),
        }
    }

    fn of(place: String, entries: Vec<(String, Json)>) -> BodyFields {
        BodyFields { place, entries, known: Vec::new(), errors: Vec::new() }
    }

    fn name(&self, name: &str) -> String {
        if self.place.is_empty() { name.to_owned() } else { format!("{}.{name}", self.place) }
    }

    pub fn error(&mut self, name: &str, code: &'static str, message: impl Into<String>, value: Option<&str>) {
        let name = self.name(name);
        self.errors.push(match value {
            Some(value) => FieldError::new(&name, code, message, value),
            None => FieldError::missing(&name, code, message),
        });
    }

    /// A field's value; `None` if it is not there.
    pub fn take(&mut self, name: &'static str) -> Option<Json> {
        self.known.push(name);
        let at = self.entries.iter().position(|(key, _)| key == name)?;
        Some(self.entries.swap_remove(at).1)
    }

    fn wrong(&mut self, name: &str, wanted: &str, got: &Json) {
        self.error(name, code::INVALID, format!("must be {wanted}, not {}", got.kind()), got.told().as_deref());
    }

    pub fn needed(&mut self, name: &str) {
        let complete = !self.errors.iter().any(|error| error.field == self.name(name));
        if complete {
            self.error(name, code::MISSING, "is needed", None);
        }
    }

    /// Two fields of which one says what the other says otherwise.
    pub fn conflict(&mut self, name: &str, other: &str) {
        self.error(name, code::CONFLICT, format!("cannot stand beside {other}; send one of them"), None);
    }

    pub fn needed_one_of(&mut self, one: &str, other: &str) {
        if self.errors.is_empty() {
            self.error(one, code::MISSING, format!("or {other} is needed"), None);
        }
    }

    /// A field that `read` makes something of; needed or not, never null.
    fn read<T>(
        &mut self,
        name: &'static str,
        wanted: &str,
        read: impl FnOnce(&Json) -> Option<Result<T, String>>,
    ) -> Option<T> {
        let value = self.take(name)?;
        match read(&value) {
            Some(Ok(value)) => Some(value),
            Some(Err(message)) => {
                self.error(name, code::INVALID, message, value.told().as_deref());
                None
            }
            None => {
                self.wrong(name, wanted, &value);
                None
            }
        }
    }

    pub fn text(&mut self, name: &'static str) -> Option<String> {
        self.read(name, "text", |value| match value {
            Json::Text(text) => Some(Ok(text.clone())),
            _ => None,
        })
    }

    /// Text that is read as what it stands for: an id, a time, a word.
    pub fn word<T: FromStr>(&mut self, name: &'static str) -> Option<T>
    where
        T::Err: fmt::Display,
    {
        self.read(name, "text", |value| match value {
            Json::Text(text) => Some(text.parse::<T>().map_err(|error| error.to_string())),
            _ => None,
        })
    }

    /// The same, where null is a value of its own.
    pub fn word_or_null<T: FromStr>(&mut self, name: &'static str) -> Option<Option<T>>
    where
        T::Err: fmt::Display,
    {
        self.read(name, "text or null", |value| match value {
            Json::Null => Some(Ok(None)),
            Json::Text(text) => Some(text.parse::<T>().map(Some).map_err(|error| error.to_string())),
            _ => None,
        })
    }

    /// A value that may be null or absent alike.
    pub fn word_if<T: FromStr>(&mut self, name: &'static str) -> Option<T>
    where
        T::Err: fmt::Display,
    {
        self.word_or_null(name).flatten()
    }

    /// One of a closed set of words; null and absent are alike.
    pub fn read_word<T>(&mut self, name: &'static str, parse: fn(&str) -> Option<T>, message: &str) -> Option<T> {
        self.read(name, "text or null", |value| match value {
            Json::Null => Some(Ok(None)),
            Json::Text(text) => Some(parse(text).map(Some).ok_or_else(|| message.to_owned())),
            _ => None,
        })
        .flatten()
    }

    /// A name that may be null or absent alike.
    pub fn name_if(&mut self, name: &'static str) -> Option<std::sync::Arc<str>> {
        match self.entries.iter().find(|(key, _)| key == name) {
            Some((_, Json::Null)) => self.take(name).and(None),
            _ => self.person_name(name),
        }
    }

    pub fn time_if(&mut self, name: &'static str) -> Option<Time> {
        self.word_if(name)
    }

    /// When a number expires; null is a value of its own.
    pub fn expiry_or_null(&mut self) -> Option<Option<Time>> {
        let expiry = |text: &str| {
            text.parse().map(Some).map_err(|error: BadTime| error.of_expiry("leave it empty (null in JSON)"))
        };
        self.read("expires_at", "text or null", |value| match value {
            Json::Null => Some(Ok(None)),
            Json::Text(text) => Some(expiry(text)),
            _ => None,
        })
    }

    pub fn zone(&mut self, name: &'static str) -> Option<Zone> {
        self.read(name, "text", |value| match value {
            Json::Text(text) => Some(Zone::find(text)),
            _ => None,
        })
    }

    pub fn flag(&mut self, name: &'static str) -> Option<bool> {
        self.read(name, "true or false", |value| match value {
            Json::Bool(flag) => Some(Ok(*flag)),
            _ => None,
        })
    }

    /// An amount of money as it was written; with its currency it is money.
    pub fn amount(&mut self, name: &'static str) -> Option<String> {
        self.read(name, "a number", |value| match value {
            Json::Number(digits) => Some(Ok(digits.clone())),
            _ => None,
        })
    }

    pub fn currency(&mut self) -> Option<Currency> {
        self.word("currency")
    }

    /// A name as people give it: 1 to 200 characters on one line.
    pub fn person_name(&mut self, name: &'static str) -> Option<std::sync::Arc<str>> {
        self.read(name, "text", |value| match value {
            Json::Text(text) => Some(
                crate::domain::entity::name(text)
                    .ok_or_else(|| format!("must be 1 to {NAME_CHARS_MAX} characters without control characters")),
            ),
            _ => None,
        })
    }

    pub fn tags(&mut self, name: &'static str) -> Tags {
        use crate::domain::number::TAG_CHARS_MAX;
        let read = |text: &str| {
            crate::domain::number::tag(text).ok_or_else(|| {
                format!("must have 1 to {TAG_CHARS_MAX} characters, without control characters, ; and |")
            })
        };
        Tags::new(self.items(name, read).unwrap_or_default())
    }

    /// A list of text that `read` makes something of; each that is wrong is named by its
    /// place.
    pub fn items<T>(&mut self, name: &'static str, read: impl Fn(&str) -> Result<T, String>) -> Option<Vec<T>> {
        let list = match self.take(name)? {
            Json::List(list) => list,
            other => {
                self.wrong(name, "a list of text", &other);
                return None;
            }
        };
        let mut items = Vec::with_capacity(list.len());
        for (at, value) in list.iter().enumerate() {
            let place = format!("{name}[{at}]");
            match value {
                Json::Text(text) => match read(text) {
                    Ok(item) => items.push(item),
                    Err(message) => self.error(&place, code::INVALID, message, Some(text)),
                },
                other => self.wrong(&place, "text", other),
            }
        }
        Some(items)
    }

    /// An object within this one.
    pub fn object(&mut self, name: &'static str) -> Option<BodyFields> {
        match self.take(name)? {
            Json::Object(entries) => Some(BodyFields::of(self.name(name), entries)),
            other => {
                self.wrong(name, "an object", &other);
                None
            }
        }
    }

    /// A number or a block of them, in any spelling that tells which.
    pub fn block(&mut self, name: &'static str) -> Option<(E164, E164)> {
        self.read(name, "text such as \"+912271264217\"", |value| match value {
            Json::Text(text) => Some(spelling::read(text, BareDigits::Unknown).map_err(|error| error.to_string())),
            _ => None,
        })
    }

    /// The same, which may be null or absent alike.
    pub fn block_if(&mut self, name: &'static str) -> Option<(E164, E164)> {
        match self.entries.iter().find(|(key, _)| key == name) {
            Some((_, Json::Null)) => self.take(name).and(None),
            _ => self.block(name),
        }
    }

    /// A list of numbers, each there once; what is wrong is named by its place.
    pub fn numbers(&mut self, name: &'static str, max: usize) -> Option<Vec<E164>> {
        let list = match self.take(name)? {
            Json::List(list) => list,
            other => {
                self.wrong(name, "a list of numbers", &other);
                return None;
            }
        };
        if list.is_empty() {
            self.error(name, code::MISSING, "must have a number", None);
            return None;
        }
        if list.len() > max {
            let message = format!("must have at most {max} numbers; take a filter, or several lists");
            self.error(name, code::TOO_LONG, message, None);
            return None;
        }
        let before = self.errors.len();
        let mut places: HashMap<E164, usize> = HashMap::with_capacity(list.len());
        for (at, value) in list.iter().enumerate() {
            let place = format!("{name}[{at}]");
            let Json::Text(text) = value else {
                self.wrong(&place, "text such as \"+912271264217\"", value);
                continue;
            };
            match spelling::one(text) {
                Err(error) => self.error(&place, code::INVALID, error.to_string(), Some(text)),
                Ok(number) => {
                    if let Some(first) = places.insert(number, at) {
                        places.insert(number, first);
                        let message = format!("is there already, as {name}[{first}]");
                        self.error(&place, code::REPEATED, message, Some(text));
                    }
                }
            }
        }
        (self.errors.len() == before).then(|| places.into_keys().collect())
    }

    /// A whole list of destinations; what is wrong is named by its place.
    pub fn destinations(&mut self, name: &'static str) -> Option<Destinations> {
        let list = match self.take(name)? {
            Json::List(list) => list,
            other => {
                self.wrong(name, "a list of objects such as {\"uri\": \"sip:pbx.example\"}", &other);
                return None;
            }
        };
        if list.len() > DESTINATIONS_MAX {
            let message = format!("has {} destinations; at most {DESTINATIONS_MAX} can be given", list.len());
            self.error(name, code::TOO_LONG, message, None);
            return None;
        }
        let before = self.errors.len();
        let mut all: Vec<(usize, Destination)> = Vec::new();
        for (at, value) in list.into_iter().enumerate() {
            let place = format!("{name}[{at}]");
            let Json::Object(entries) = value else {
                self.wrong(&place, "an object such as {\"uri\": \"sip:pbx.example\"}", &value);
                continue;
            };
            let mut one = BodyFields::of(self.name(&place), entries);
            let destination = one.destination();
            match &destination {
                Some(new) => {
                    if let Some((first, _)) = all.iter().find(|(_, known)| known.uri == new.uri) {
                        let message = format!("is there already, as {name}[{first}].uri");
                        one.error("uri", code::REPEATED, message, Some(new.uri.as_str()));
                    }
                }
                None => one.needed("uri"),
            }
            self.adopt(one);
            all.extend(destination.map(|destination| (at, destination)));
        }
        let list = Destinations::new(all.into_iter().map(|(_, destination)| destination).collect()).ok();
        list.filter(|_| self.errors.len() == before)
    }

    fn destination(&mut self) -> Option<Destination> {
        let uri = self.word::<SipUri>("uri");
        let priority = self.whole("priority", 0);
        let weight = self.whole("weight", 1);
        let enabled = self.flag("enabled");
        let default = Destination::new(uri?);
        let (priority, weight) = (priority.unwrap_or(default.priority), weight.unwrap_or(default.weight));
        Some(Destination { priority, weight, enabled: enabled.unwrap_or(default.enabled), ..default })
    }

    /// A whole number from `min` to 65535.
    fn whole(&mut self, name: &'static str, min: u16) -> Option<u16> {
        self.whole_within(name, min, u16::MAX)
    }

    /// A whole number from `min` to `max`.
    pub fn whole_within(&mut self, name: &'static str, min: u16, max: u16) -> Option<u16> {
        let value = self.take(name)?;
        let Json::Number(digits) = &value else {
            self.wrong(name, "a whole number", &value);
            return None;
        };
        // In JSON 10.0 is a whole number, too.
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let number = whole.parse::<u16>().ok().filter(|number| (min..=max).contains(number));
        let number = number.filter(|_| fraction.bytes().all(|digit| digit == b'0'));
        if number.is_none() {
            let message = format!("must be a whole number from {min} to {max}");
            self.error(name, code::OUT_OF_RANGE, message, Some(digits));
        }
        number
    }

    /// The address of an application's web service; null takes it away.
    pub fn answer_url(&mut self, name: &'static str) -> Option<Option<std::sync::Arc<str>>> {
        self.read(name, "text or null", |value| match value {
            Json::Null => Some(Ok(None)),
            Json::Text(text) => Some(destination::answer_url(text).map(Some).map_err(str::to_owned)),
            _ => None,
        })
    }

    pub fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|(key, _)| key == name)
    }

    /// What is there of a field, as it would be sent again; an empty object if
    /// nothing is.
    pub fn sent(&self, name: &str) -> String {
        let entry = self.entries.iter().find(|(key, _)| key == name);
        entry.map_or_else(|| "{}".to_owned(), |(_, value)| value.to_string())
    }

    /// An object within this one, empty if it is not there.
    pub fn object_or_empty(&mut self, name: &'static str) -> BodyFields {
        let place = self.name(name);
        self.object(name).unwrap_or_else(|| BodyFields::of(place, Vec::new()))
    }

    /// The keys that nobody has taken yet, with their values.
    pub fn rest(&mut self) -> Vec<(String, Json)> {
        std::mem::take(&mut self.entries)
    }

    /// Takes what is wrong with an object within this one.
    pub fn adopt(&mut self, inner: BodyFields) {
        self.errors.extend(inner.complete());
    }

    pub fn complete(mut self) -> Vec<FieldError> {
        let known = self.known.join(", ");
        for (at, (key, _)) in std::mem::take(&mut self.entries).into_iter().enumerate() {
            // The list of the known ones is given once.
            let message = match (at, known.is_empty()) {
                (0, true) => "is not known; there is nothing to give here".to_owned(),
                (0, false) => format!("is not known; known are {known}"),
                (_, _) => "is not known".to_owned(),
            };
            self.error(&key, code::UNKNOWN, message, None);
        }
        self.errors
    }

    /// Everything that is wrong, if anything is.
    pub fn finish(self) -> Result<(), ApiError> {
        let errors = self.complete();
        if errors.is_empty() { Ok(()) } else { Err(ApiError::validation(errors)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_wrong_with_destinations_is_named_by_its_place() {
        for (list, field) in [
            (r#"{}"#, "destinations"),
            (r#"null"#, "destinations"),
            (r#"["sip:a.example"]"#, "destinations[0]"),
            (r#"[{"priority": 1}]"#, "destinations[0].uri"),
            (r#"[{"uri": null}]"#, "destinations[0].uri"),
            (r#"[{"uri": "sip:a.example"}, {"uri": "sips:b.example"}]"#, "destinations[1].uri"),
            (r#"[{"uri": "sip:a.example"}, {"uri": "SIP:A.example"}]"#, "destinations[1].uri"),
            (r#"[{"uri": "sip:a.example", "priority": 65536}]"#, "destinations[0].priority"),
            (r#"[{"uri": "sip:a.example", "priority": -1}]"#, "destinations[0].priority"),
            (r#"[{"uri": "sip:a.example", "priority": 1.5}]"#, "destinations[0].priority"),
            (r#"[{"uri": "sip:a.example", "weight": 0}]"#, "destinations[0].weight"),
            (r#"[{"uri": "sip:a.example", "weight": "10"}]"#, "destinations[0].weight"),
            (r#"[{"uri": "sip:a.example", "enabled": 1}]"#, "destinations[0].enabled"),
            (r#"[{"uri": "sip:a.example", "wieght": 1}]"#, "destinations[0].wieght"),
            (r#"[{},{},{},{},{},{},{},{},{}]"#, "destinations"),
        ] {
            let body = format!(r#"{{"destinations": {list}}}"#);
            let mut fields = BodyFields::parse(body.as_bytes()).expect("JSON");
            assert_eq!(fields.destinations("destinations"), None, "{list}");
            let errors = fields.complete();
            assert_eq!(errors.first().map(|error| error.field.as_str()), Some(field), "{list}: {errors:?}");
        }
        let body = br#"{"destinations": [{"uri": "sip:a.example"}, {"uri": "sip:b@b.example:5080", "priority": 0, "weight": 65535, "enabled": false}]}"#;
        let mut fields = BodyFields::parse(body).expect("JSON");
        let read = fields.destinations("destinations").expect("a list");
        assert_eq!(read.to_string(), "sip:a.example (10/10), sip:b@b.example:5080 (0/65535, off)");
        assert_eq!(fields.complete(), []);
    }

    #[track_caller]
    fn check_refused(body: &str, status: u16, part: &str) {
        let error = BodyFields::parse(body.as_bytes()).and_then(|mut fields| {
            fields.word_if::<Time>("expires_at");
            let params = fields.object("params");
            params.into_iter().for_each(|mut params| {
                params.flag("confirm_last");
                fields.adopt(params);
            });
            fields.finish()
        });
        let answer = error.expect_err("refused").into_bytes("req_1");
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        assert_eq!(answer.status(), status, "{body}: {text}");
        assert!(text.contains(part), "{part:?} is not in {text}");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        check_refused("", 400, "JSON");
        check_refused("{", 400, "JSON");
        check_refused(r#"{"a":1} x"#, 400, "trailing");
        check_refused(r#"{"expires_at":null,"expires_at":null}"#, 400, "twice");
        check_refused(r#"{"params":{"a":1,"a":2}}"#, 400, "twice");
        check_refused(&format!("{}1{}", "[".repeat(20), "]".repeat(20)), 400, "deeper");
        check_refused(&"[".repeat(100_000), 400, "JSON");
        check_refused("[]", 422, "must be an object, not a list");
        check_refused(r#"{"expires_at":"soon"}"#, 422, "expires_at");
        check_refused(r#"{"expires_at":7}"#, 422, "must be text or null, not a number");
        check_refused(r#"{"expiry":null}"#, 422, "known are expires_at, params");
        check_refused(r#"{"params":{"confirm_last":1}}"#, 422, "params.confirm_last");
        check_refused(r#"{"params":{"confirm":true}}"#, 422, "params.confirm");
    }

    #[test]
    fn amounts_stay_as_they_were_written() {
        let mut fields = BodyFields::parse(br#"{"monthly_cost": 0.10 }"#).unwrap_or_else(|_| panic!("usable"));
        assert_eq!(fields.amount("monthly_cost").as_deref(), Some("0.10"));
    }

    proptest! {
        #[test]
        fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = BodyFields::parse(&body).map(BodyFields::finish);
        }

        #[test]
        fn no_text_panics(body in r#"[\[\]{}":,0-9a-z\\. -]{0,60}"#) {
            let _ = BodyFields::parse(body.as_bytes()).map(BodyFields::finish);
        }
    }
}
