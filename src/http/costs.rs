//! GET /api/v1/partner/costs: a month's rental, worked out from the log.
//!
//! The only read that is not answered from memory, since it is about the past.
//! So it runs beside the workers, two at a time at the most, and the last bill
//! is kept: walking its pages costs one look at the log. An answer is of one
//! moment, that of the snapshot which the credentials opened.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::State;
use bytes::Bytes;
use http::header::HeaderValue;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::App;
use super::answer::{ListFormat, answer, hex, unchanged};
use super::error::ApiError;
use super::query::CostsQuery;
use crate::billing::{Bill, Calendar, Day, Month, Proration};
use crate::domain::change::Digest;
use crate::domain::{Currency, PartnerKey, Scope, Sum, Time};
use crate::inventory::Snapshot;
use crate::service::{self, ServiceError};
use crate::wire::costs::{BillText, BillWriter};
use crate::wire::report::CsvCells;

/// How many bills are worked out at the same time.
const AT_ONCE: usize = 2;

/// What the endpoint keeps between requests.
pub struct BillCache {
    turns: Arc<Semaphore>,
    last: Mutex<Option<(BillQuery, Arc<Bill>)>>,
    /// The last year, under its last month.
    year: Mutex<Option<(BillQuery, Arc<Vec<MonthRental>>)>>,
}

/// The rental of one month, and how many numbers were charged, by currency.
#[derive(Clone, Debug)]
pub struct MonthRental {
    pub month: Month,
    /// Whether the month goes on.
    pub draft: bool,
    pub charged: BTreeMap<Currency, (Sum, u64)>,
}

/// All that a bill depends on.
#[derive(Clone, Copy, PartialEq, Eq)]
struct BillQuery {
    partner: PartnerKey,
    version: u64,
    head: Digest,
    month: Month,
    proration: Proration,
    through: Day,
    draft: bool,
}

impl Default for BillCache {
    fn default() -> BillCache {
        BillCache { turns: Arc::new(Semaphore::new(AT_ONCE)), last: Mutex::default(), year: Mutex::default() }
    }
}

pub async fn costs(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Response<Body>, ApiError> {
    let (access, query) = app.enter(&request, Scope::Read, |_, query| CostsQuery::parse(query)).await?;
    let now = Time::now();
    let snapshot = access.snapshot;
    let calendar = service::verbs::billing::calendar(&snapshot)?;
    let question = BillQuery::new(&snapshot, &calendar, query.month, query.proration, now)?;
    let format = ListFormat::negotiate(request.headers());
    let tag = entity_tag(&snapshot, format, &question);
    if unchanged(request.headers(), &tag) {
        return Ok(answer(StatusCode::NOT_MODIFIED, Body::empty(), tag, None));
    }
    let bill = bill(&app, question, calendar, now).await.map_err(ApiError::internal)??;
    let wanted = |place: &usize| query.account.as_deref().is_none_or(|id| bill.groups[*place].account.as_str() == id);
    let groups: Vec<usize> = (0..bill.groups.len()).filter(wanted).collect();
    let text = match format {
        ListFormat::Json => BillText::Json { page: query.page, per_page: query.per_page },
        // For scripts.
        ListFormat::Csv => BillText::Csv(CsvCells::Raw),
        ListFormat::Ndjson => BillText::Ndjson,
    };
    Ok(answer(StatusCode::OK, body(bill, groups, text), tag, Some(format)))
}

/// What an inventory cost in a month, worked out in turn with everybody else's;
/// the outer error is what broke inside.
pub async fn month(
    app: &Arc<App>,
    snapshot: &Snapshot,
    month: Month,
    proration: Proration,
    now: Time,
) -> Result<Result<Arc<Bill>, ServiceError>, String> {
    let asked = service::verbs::billing::calendar(snapshot)
        .and_then(|calendar| Ok((BillQuery::new(snapshot, &calendar, month, proration, now)?, calendar)));
    match asked {
        Ok((question, calendar)) => bill(app, question, calendar, now).await,
        Err(error) => Ok(Err(error)),
    }
}

/// The rental of so many months up to the current one, earliest first. It is
/// worked out from one reading of the log, and kept until that grows.
pub async fn year(
    app: &Arc<App>,
    snapshot: &Snapshot,
    months: usize,
    now: Time,
) -> Result<Result<Arc<Vec<MonthRental>>, ServiceError>, String> {
    let calendar = match service::verbs::billing::calendar(snapshot) {
        Ok(calendar) => calendar,
        Err(error) => return Ok(Err(error)),
    };
    let mut all = vec![calendar.month(now)];
    while all.len() < months {
        all.extend(all.last().map(|month| month.previous()));
    }
    all.reverse();
    let question = match BillQuery::new(snapshot, &calendar, calendar.month(now), Proration::default(), now) {
        Ok(question) => question,
        Err(error) => return Ok(Err(error)),
    };
    let kept = move |app: &App| {
        let year = app.costs.year.lock();
        year.as_ref().filter(|(of, year)| *of == question && year.len() == months).map(|(_, year)| year.clone())
    };
    if let Some(year) = kept(app) {
        return Ok(Ok(year));
    }
    let turn = app.costs.turns.clone().acquire_owned().await.map_err(|error| error.to_string())?;
    let app = app.clone();
    let work = move || {
        let _turn = turn;
        if let Some(year) = kept(&app) {
            return Ok(year);
        }
        let BillQuery { partner, version, proration, .. } = question;
        let mut year = Vec::with_capacity(months);
        let mut take = |bill: Bill| year.push(MonthRental::of(&bill));
        app.service.bills(partner, version, &calendar, (&all, proration), now, &mut take)?;
        let year = Arc::new(year);
        *app.costs.year.lock() = Some((question, year.clone()));
        Ok(year)
    };
    super::waiting::work(&super::waiting::LOOKS, work).await.map_err(|error| error.to_string())
}

impl MonthRental {
    fn of(bill: &Bill) -> MonthRental {
        let mut numbers: BTreeMap<Currency, Vec<u64>> = BTreeMap::new();
        for group in &bill.groups {
            let lines = bill.lines[group.lines.clone()].iter().map(|line| line.number.digits());
            numbers.entry(group.total.currency).or_default().extend(lines);
        }
        // A number that moved has a line with each of its customers.
        let mut distinct = |currency: Currency| {
            let mut numbers = numbers.remove(&currency).unwrap_or_default();
            numbers.sort_unstable();
            numbers.dedup();
            numbers.len() as u64
        };
        let totals = Bill::totals(bill.groups.iter()).into_iter();
        let charged = totals.map(|sum| (sum.currency, (sum, distinct(sum.currency)))).collect();
        MonthRental { month: bill.month(), draft: bill.draft, charged }
    }
}

/// Groups of a bill, by their places, as a body.
pub fn body(bill: Arc<Bill>, groups: Vec<usize>, text: BillText) -> Body {
    Body::new(Lines { writer: BillWriter::new(text, groups), bill })
}

impl BillQuery {
    fn new(
        snapshot: &Snapshot,
        calendar: &Calendar,
        month: Month,
        proration: Proration,
        now: Time,
    ) -> Result<BillQuery, ServiceError> {
        let period = calendar.period(month);
        let span = service::verbs::billing::span(&period, now)?;
        let through = period.day(period.place(span.until.plus(-1)));
        let (partner, version, head) = (snapshot.key, snapshot.version, snapshot.head);
        Ok(BillQuery { partner, version, head, month, proration, through, draft: now < period.ends })
    }
}

async fn bill(
    app: &Arc<App>,
    question: BillQuery,
    calendar: Calendar,
    now: Time,
) -> Result<Result<Arc<Bill>, ServiceError>, String> {
    let turn = app.costs.turns.clone().acquire_owned().await.map_err(|error| error.to_string())?;
    let app = app.clone();
    let work = move || {
        // It ends with the work, also where nobody waits for that any more.
        let _turn = turn;
        let kept = app.costs.last.lock().as_ref().filter(|(of, _)| *of == question).map(|(_, bill)| bill.clone());
        if let Some(bill) = kept {
            return Ok(bill);
        }
        let BillQuery { partner, version, month, proration, .. } = question;
        let bill = Arc::new(app.service.bill(partner, version, &calendar, month, proration, now)?);
        *app.costs.last.lock() = Some((question, bill.clone()));
        Ok(bill)
    };
    super::waiting::work(&super::waiting::LOOKS, work).await.map_err(|error| error.to_string())
}

/// The log up to its last change, the last day counted and whether more may
/// come, the format, and the program that wrote it.
fn entity_tag(snapshot: &Snapshot, format: ListFormat, question: &BillQuery) -> HeaderValue {
    let head = u64::from_be_bytes(snapshot.head[..8].try_into().expect("eight bytes"));
    let mut tag = b"\"".to_vec();
    hex(&mut tag, snapshot.version, 1);
    tag.push(b'-');
    hex(&mut tag, head, 16);
    let (through, draft) = (question.through, if question.draft { "-draft" } else { "" });
    tag.extend_from_slice(format!("-{through}{draft}-{}-{}\"", format.letter(), crate::BUILD).as_bytes());
    HeaderValue::from_bytes(&tag).expect("hexadecimal digits, a day and a version")
}

/// A bill as a body, written a chunk at a time as the client reads.
struct Lines {
    writer: BillWriter,
    bill: Arc<Bill>,
}

/// How many lines a chunk has.
const CHUNK_LINES: usize = 256;

impl http_body::Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let lines = self.get_mut();
        if lines.writer.done() {
            return Poll::Ready(None);
        }
        let mut out = Vec::with_capacity(CHUNK_LINES * 160);
        lines.writer.next(&lines.bill, CHUNK_LINES, &mut out);
        Poll::Ready(if out.is_empty() { None } else { Some(Ok(Frame::data(out.into()))) })
    }

    fn is_end_stream(&self) -> bool {
        self.writer.done()
    }
}
