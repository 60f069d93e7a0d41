//! The checks over HTTP: findings, their counts, and acknowledgements.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Path, State};
use http::{HeaderValue, Request, Response, StatusCode};
use parking_lot::Mutex;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::App;
use super::answer::{self, ListFormat};
use super::error::ApiError;
use super::query::{PER_PAGE_DEFAULT, bounded, page_of, parameters, per_page_of, unknown};
use super::write::Write;
use crate::alert;
use crate::checks::{self, Check, CheckOptions};
use crate::domain::field::code;
use crate::domain::{AccountId, FieldError, Scope, Sum, Time, span};
use crate::inventory::Snapshot;
use crate::inventory::called::DAYS_KEPT;
use crate::service::replica::Replica;
use crate::service::verbs::checks::{FindingsPage, NOTE_CHARS_MAX, ReportedFinding, page};

/// What a list of findings can be asked.
const PARAMETERS: [&str; 8] =
    ["page", "per_page", "check", "account_auth_id", "within", "suspended_for", "idle_for", "acknowledged"];

struct ChecksQuery {
    options: CheckOptions,
    /// Findings that somebody has acknowledged are not shown unless asked for.
    acknowledged: Option<bool>,
    page: u64,
    per_page: u64,
}

impl ChecksQuery {
    fn parse(query: &str, paged: bool) -> Result<ChecksQuery, ApiError> {
        let mut asked = ChecksQuery {
            options: CheckOptions::default(),
            acknowledged: Some(false),
            page: 1,
            per_page: PER_PAGE_DEFAULT,
        };
        let known = &PARAMETERS[if paged { 0 } else { 2 }..];
        let errors = parameters(query, |name, value| {
            let wrong = |code, message: &str| FieldError::new(name, code, message, &value);
            match name {
                "page" if paged => asked.page = page_of(&value)?,
                "per_page" if paged => asked.per_page = per_page_of(&value)?,
                name if value.is_empty() && known.contains(&name) => {}
                "check" => {
                    let all = || Check::ALL.iter().map(|check| check.as_str()).collect::<Vec<_>>().join(", ");
                    let found = Check::parse(&value);
                    let found = found.ok_or_else(|| wrong(code::INVALID, &format!("must be one of {}", all())))?;
                    asked.options.checks = vec![found];
                }
                // What cannot be an account has no findings.
                "account_auth_id" => asked.options.account = Some(AccountId::stored(&value)),
                "within" | "suspended_for" => {
                    let seconds = span::CHECKED.read(&value);
                    let seconds = seconds.map_err(|error| wrong(error.code(), &error.to_string()))?;
                    match name {
                        "within" => asked.options.within = seconds,
                        _ => asked.options.suspended_for = seconds,
                    }
                }
                "idle_for" => {
                    asked.options.idle_days = idle_days(&value).ok_or_else(|| wrong(code::INVALID, IDLE_SPAN))?;
                }
                "acknowledged" => {
                    let flag = value.parse().map_err(|_| wrong(code::INVALID, "must be true or false"))?;
                    asked.acknowledged = Some(flag);
                }
                _ => return Err(unknown(name, &value, known)),
            }
            Ok(())
        });
        if errors.is_empty() { Ok(asked) } else { Err(ApiError::validation(errors)) }
    }
}

/// What `idle_for` can be.
pub const IDLE_SPAN: &str = "must be a number of days between 1d and 90d, such as 30d";

/// A span of whole days for which calls are remembered.
pub fn idle_days(text: &str) -> Option<u32> {
    let days = bounded(text.strip_suffix('d')?, 1, u64::from(DAYS_KEPT))?;
    u32::try_from(days).ok()
}

/// Amounts by currency as JSON numbers with the currency's decimals: `{"INR": 500.00}`.
pub struct Sums(Vec<Sum>);

impl Serialize for Sums {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for sum in &self.0 {
            // A float would lose decimals.
            let exact = RawValue::from_string(sum.to_string()).map_err(serde::ser::Error::custom)?;
            map.serialize_entry(sum.currency.code(), &exact)?;
        }
        map.end()
    }
}

/// What the idle numbers cost a month, by currency.
pub fn saves(snapshot: &Snapshot, found: &[ReportedFinding]) -> Sums {
    Sums(checks::savings(snapshot, found.iter().map(|seen| &seen.finding), Time::now()))
}

/// What is said beside findings.
#[derive(Serialize)]
struct FindingsMeta {
    total: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_page: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    saves_monthly: Option<Sums>,
}

/// A finding as everybody shows it, and who has seen it.
pub fn shown(seen: &ReportedFinding) -> Value {
    let mut shown = alert::finding(&seen.id, &seen.finding);
    if let Some(one) = &seen.acknowledged {
        shown["evidence"]["acknowledged"] = json!({ "by": one.by, "at": one.at, "note": one.note, "until": one.until });
    }
    shown
}

/// How many findings each check has, over all partners. Kept for a while:
/// anybody may ask, and it costs what it finds.
#[derive(Default)]
pub struct CachedCounts(Mutex<Option<(Instant, BTreeMap<Check, u64>)>>);

/// How long such counts are kept.
const COUNTED_FOR: Duration = Duration::from_secs(10);

impl CachedCounts {
    pub fn of(&self, replica: &Replica) -> BTreeMap<Check, u64> {
        // Who comes meanwhile waits, rather than counts as well.
        let mut kept = self.0.lock();
        if let Some((at, counts)) = &*kept
            && at.elapsed() < COUNTED_FOR
        {
            return counts.clone();
        }
        let now = Time::now();
        let mut counts: BTreeMap<Check, u64> = BTreeMap::new();
        for node in replica.nodes() {
            for (check, count) in checks::find(&node.snapshot(), &CheckOptions::default(), now).counts() {
                *counts.entry(check).or_default() += count;
            }
        }
        *kept = Some((Instant::now(), counts.clone()));
        counts
    }
}

/// Runs the checks away from the threads that serve others: findings that somebody
/// acknowledged are compared one by one.
async fn find(snapshot: Arc<Snapshot>, asked: ChecksQuery, rows: u64) -> Result<FindingsPage, ApiError> {
    let skip = (asked.page - 1).saturating_mul(asked.per_page);
    let look = move || page(&snapshot, &asked.options, asked.acknowledged, Time::now(), (skip, rows as usize));
    Ok(super::waiting::work(&super::waiting::LOOKS, look).await?)
}

/// GET /api/v1/partner/checks
pub async fn list(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Response<Body>, ApiError> {
    let (access, asked) = app.enter(&request, Scope::Read, |_, query| ChecksQuery::parse(query, true)).await?;
    let (page, per_page, idle) = (asked.page, asked.per_page, asked.options.checks.contains(&Check::Idle));
    let found = find(access.snapshot.clone(), asked, per_page).await?;
    let data: Value = found.rows.iter().map(shown).collect();
    let saves_monthly = idle.then_some(Sums(found.saves));
    let meta = FindingsMeta { total: found.total, page: Some(page), per_page: Some(per_page), saves_monthly };
    answer(&request, &data, &meta)
}

/// GET /api/v1/partner/checks/summary
pub async fn summary(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Response<Body>, ApiError> {
    let (access, asked) = app.enter(&request, Scope::Read, |_, query| ChecksQuery::parse(query, false)).await?;
    let idle = asked.options.checks.contains(&Check::Idle);
    let found = find(access.snapshot.clone(), asked, 0).await?;
    let data: Value = found.counts.iter().map(|(check, count)| (check.as_str().to_owned(), json!(count))).collect();
    let saves_monthly = idle.then_some(Sums(found.saves));
    answer(&request, &data, &FindingsMeta { total: found.total, page: None, per_page: None, saves_monthly })
}

/// POST /api/v1/manage/checks/{id}/acknowledge
pub async fn acknowledge(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, axum::extract::rejection::PathRejection>,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let Write { key, service, mut fields } = Write::read(&app, request).await?;
    let note = fields.name_if("note");
    let until = fields.time_if("until");
    if note.as_ref().is_some_and(|note| note.chars().count() > NOTE_CHARS_MAX) {
        fields.error("note", code::TOO_LONG, format!("must be at most {NOTE_CHARS_MAX} characters"), None);
    }
    fields.finish()?;
    let Path(id) = path.map_err(|_| ApiError::not_found())?;
    let known = id
        .strip_prefix("fi_")
        .is_some_and(|hex| hex.len() == 20 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
    if !known {
        return Err(ApiError::not_found());
    }
    Write::run(key, service, move |service, key| service.acknowledge(key, &id, note.as_ref(), until)).await
}

/// The tag is that of the bytes: what is found depends on the moment.
fn answer(request: &Request<Body>, data: &Value, meta: &FindingsMeta) -> Result<Response<Body>, ApiError> {
    #[derive(Serialize)]
    struct Answer<'a> {
        data: &'a Value,
        meta: &'a FindingsMeta,
    }
    let body = serde_json::to_string(&Answer { data, meta }).map_err(|error| ApiError::internal(error.to_string()))?;
    let tag = format!("\"{:08x}-{:x}-{}\"", crc32fast::hash(body.as_bytes()), body.len(), crate::BUILD);
    let tag = HeaderValue::try_from(tag).expect("hexadecimal digits and a version");
    if answer::unchanged(request.headers(), &tag) {
        return Ok(answer::answer(StatusCode::NOT_MODIFIED, Body::empty(), tag, None));
    }
    Ok(answer::answer(StatusCode::OK, Body::from(body), tag, Some(ListFormat::Json)))
}
