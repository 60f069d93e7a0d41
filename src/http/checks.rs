//! The checks over HTTP: what is wrong, how much of it, and that somebody has
//! seen it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use http::{HeaderValue, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::error::ApiError;
use super::manage::Write;
use super::partner::{self, Format};
use super::query::{PER_PAGE_DEFAULT, PER_PAGE_MAX, bounded};
use super::{App, peer};
use crate::checks::{Check, Options};
use crate::domain::field::code;
use crate::domain::{AccountId, FieldError, Scope, Time};
use crate::service::checks::{NOTE_CHARS_MAX, Seen, findings};

/// What a list of findings can be asked.
const PARAMETERS: [&str; 7] =
    ["page", "per_page", "check", "account_auth_id", "within", "suspended_for", "acknowledged"];

struct Asked {
    options: Options,
    /// Findings that somebody has acknowledged are not shown unless asked for.
    acknowledged: Option<bool>,
    page: u64,
    per_page: u64,
}

impl Asked {
    fn parse(query: &str, paged: bool) -> Result<Asked, ApiError> {
        let mut asked =
            Asked { options: Options::default(), acknowledged: Some(false), page: 1, per_page: PER_PAGE_DEFAULT };
        let mut errors = Vec::new();
        let mut seen: Vec<String> = Vec::new();
        let known = &PARAMETERS[if paged { 0 } else { 2 }..];
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let mut wrong = |code, message: &str| errors.push(FieldError::new(&name, code, message, &value));
            if seen.iter().any(|seen| *seen == name) {
                wrong(code::REPEATED, "must be given once");
                continue;
            }
            seen.push(name.clone().into_owned());
            match &*name {
                "page" if paged => match bounded(&value, 1, u64::MAX) {
                    Some(page) => asked.page = page,
                    None => wrong(code::OUT_OF_RANGE, "must be 1 or more"),
                },
                "per_page" if paged => match bounded(&value, 1, PER_PAGE_MAX) {
                    Some(per_page) => asked.per_page = per_page,
                    None => wrong(code::OUT_OF_RANGE, &format!("must be between 1 and {PER_PAGE_MAX}")),
                },
                "check" if value.is_empty() => {}
                "check" => match Check::parse(&value) {
                    Some(check) => asked.options.checks = vec![check],
                    None => {
                        let all: Vec<&str> = Check::ALL.iter().map(|check| check.as_str()).collect();
                        wrong(code::INVALID, &format!("must be one of {}", all.join(", ")));
                    }
                },
                "account_auth_id" if value.is_empty() => {}
                // What cannot be an account has no findings.
                "account_auth_id" => asked.options.account = Some(AccountId::stored(&value)),
                "within" | "suspended_for" if value.is_empty() => {}
                "within" | "suspended_for" => match span(&value) {
                    Some(seconds) if name == "within" => asked.options.within = seconds,
                    Some(seconds) => asked.options.suspended_for = seconds,
                    None => wrong(code::INVALID, "must be a span of time such as 14d, 36h or 90m"),
                },
                "acknowledged" => match &*value {
                    "" => {}
                    "true" => asked.acknowledged = Some(true),
                    "false" => asked.acknowledged = Some(false),
                    _ => wrong(code::INVALID, "must be true or false"),
                },
                _ => wrong(code::UNKNOWN, &format!("is not a parameter; known are {}", known.join(", "))),
            }
        }
        if errors.is_empty() { Ok(asked) } else { Err(ApiError::validation(errors)) }
    }
}

/// A span of time in seconds: a whole number and `d`, `h`, `m` or `s`; at most
/// ten years.
pub fn span(text: &str) -> Option<i64> {
    let unit = match text.chars().last()? {
        'd' => 86_400,
        'h' => 3_600,
        'm' => 60,
        's' => 1,
        _ => return None,
    };
    let count = bounded(&text[..text.len() - 1], 0, 3_650 * 86_400)? as i64;
    count.checked_mul(unit).filter(|&seconds| seconds <= 3_650 * 86_400)
}

/// A finding as everybody shows it.
pub fn shown(seen: &Seen) -> Value {
    let Seen { id, finding, acknowledged } = seen;
    let mut evidence: serde_json::Map<String, Value> =
        finding.evidence.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    if let Some(one) = acknowledged {
        let seen = json!({ "by": one.by, "at": one.at, "note": one.note, "until": one.until });
        evidence.insert("acknowledged".to_owned(), seen);
    }
    json!({
        "id": id,
        "check": finding.check.as_str(),
        "severity": finding.check.severity().as_str(),
        "account_auth_id": finding.account,
        "number": finding.number,
        "since": finding.since,
        "meaning": finding.check.meaning(),
        "action": finding.check.action(),
        "evidence": evidence,
    })
}

/// GET /api/v1/partner/checks
pub async fn list(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Response<Body>, ApiError> {
    let access = app.enter(request.headers(), peer(request.extensions()), Scope::Read)?;
    let asked = Asked::parse(request.uri().query().unwrap_or_default(), true)?;
    let all = findings(&access.snapshot, &asked.options, asked.acknowledged, Time::now());
    let total = all.len() as u64;
    let skip = (asked.page - 1).saturating_mul(asked.per_page).min(total) as usize;
    let page: Vec<Value> = all.iter().skip(skip).take(asked.per_page as usize).map(shown).collect();
    let meta = json!({ "total": total, "page": asked.page, "per_page": asked.per_page });
    Ok(answer(&request, json!({ "data": page, "meta": meta })))
}

/// GET /api/v1/partner/checks/summary
pub async fn summary(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Response<Body>, ApiError> {
    let access = app.enter(request.headers(), peer(request.extensions()), Scope::Read)?;
    let asked = Asked::parse(request.uri().query().unwrap_or_default(), false)?;
    let all = findings(&access.snapshot, &asked.options, asked.acknowledged, Time::now());
    let mut counts: BTreeMap<Check, u64> = Check::ALL.iter().map(|&check| (check, 0)).collect();
    all.iter().for_each(|seen| *counts.entry(seen.finding.check).or_default() += 1);
    let data: serde_json::Map<String, Value> =
        counts.into_iter().map(|(check, count)| (check.as_str().to_owned(), json!(count))).collect();
    Ok(answer(&request, json!({ "data": data, "meta": { "total": all.len() } })))
}

/// POST /api/v1/manage/checks/{id}/acknowledge
pub async fn acknowledge(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, axum::extract::rejection::PathRejection>,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let Write { key, service, mut fields, .. } = Write::read(&app, request).await?;
    let note = fields.name_if("note");
    let until = fields.time_if("until");
    if note.as_ref().is_some_and(|note| note.chars().count() > NOTE_CHARS_MAX) {
        fields.error("note", code::TOO_LONG, format!("must be at most {NOTE_CHARS_MAX} characters"), None);
    }
    fields.finish()?;
    let Path(id) = path.map_err(|_| ApiError::not_found())?;
    let known = id.strip_prefix("fi_").is_some_and(|hex| hex.len() == 20 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
    if !known {
        return Err(ApiError::not_found());
    }
    Write::run(key, service, move |service, key| service.acknowledge(key, &id, note.as_ref(), until)).await
}

/// The tag is that of the bytes: what is found depends on the moment.
fn answer(request: &Request<Body>, body: Value) -> Response<Body> {
    let body = body.to_string();
    let tag = format!("\"{:08x}-{:x}-{}\"", crc32fast::hash(body.as_bytes()), body.len(), crate::BUILD);
    let tag = HeaderValue::try_from(tag).expect("hexadecimal digits and a version");
    if partner::unchanged(request.headers(), &tag) {
        return partner::answer(StatusCode::NOT_MODIFIED, Body::empty(), tag, None);
    }
    partner::answer(StatusCode::OK, Body::from(body), tag, Some(Format::Json))
}

#[cfg(test)]
mod tests {
    use super::span;

    #[test]
    fn spans_of_time() {
        assert_eq!(span("14d"), Some(14 * 86_400));
        assert_eq!(span("36h"), Some(129_600));
        assert_eq!(span("0s"), Some(0));
        for text in ["", "14", "d", "-1d", "1.5d", "14 d", "14w", "99999d", "1é", "١d"] {
            assert_eq!(span(text), None, "{text:?}");
        }
    }
}
