//! Jobs: preview, progress, results and undo of bulk work.
//!
//! A running job's page loads itself again until it has ended, with a script
//! or without.
//! Deliberately absent: creating jobs from selected numbers (`bulk`), and their
//! execution (`service::background::jobs`).

use askama::Template;
use axum::extract::{Path, Request, State};
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io;

use super::diff::Called;
use super::gate::{Needs, Visit};
use super::number::who;
use super::page::{Frame, PageResult, Trouble, html, html_as, mendable, redirect};
use super::pieces::FactList;
use super::sign_in::blocking;
use super::{ConsoleState, ItemPath, StepPath, diff, download, pieces, show, verbs};
use crate::domain::action::{Assignment, Transfer};
use crate::domain::{AccountId, Action, Actor, ApplicationId, E164, NumberChange, PartnerKey, TrunkId};
use crate::http::json::job_verb as verb_name;
use crate::http::places::PlaceKind;
use crate::inventory::names::NamedKind;
use crate::service::background::jobs::{Job, JobRow, JobState, JobTally, RowResult, Task};
use crate::service::verbs::import::differences;
use crate::service::{Service, ServiceError, VerbOutcome, WriteOutcome};
use crate::wire;
use crate::wire::html::Html;
use crate::wire::report::CsvCells;

/// How many jobs, and how many rows of one, a page has.
const ROWS: u64 = 50;
/// How many rows of a preview are counted by customer, and how many customers
/// are shown.
const COUNTED_MAX: usize = 20_000;
const CUSTOMERS_MAX: usize = 20;
/// How many rows are read at a time for a download.
const DOWNLOAD_ROWS: usize = 10_000;

struct ListedJob {
    id: String,
    what: String,
    mark: Html,
    by: String,
    at: Html,
}

#[derive(Template)]
#[template(path = "jobs.html")]
struct Jobs {
    frame: Frame,
    jobs: Vec<ListedJob>,
    total: u64,
    page: u64,
    pages: u64,
}

/// How many rows ended in a way, and the address that shows them.
struct ResultTab {
    name: &'static str,
    count: String,
    result: &'static str,
    current: bool,
}

struct JobTableRow {
    number: String,
    readable: String,
    result: &'static str,
    class: &'static str,
    /// The customer whose number it is before the change.
    customer: Html,
    reason: Html,
    diff: Html,
    cost: String,
    version: Option<u64>,
}

/// What a preview does to the numbers of a customer.
struct OfCustomer {
    name: String,
    href: Option<String>,
    count: String,
    losses: String,
}

struct Progress {
    done: u64,
    total: u64,
    text: String,
}

#[derive(Template)]
#[template(path = "job.html")]
struct JobPage {
    frame: Frame,
    id: String,
    what: String,
    mark: Html,
    /// What it is at, in a sentence.
    stands: String,
    facts: FactList,
    progress: Option<Progress>,
    /// Whether the page should be looked at again.
    live: bool,
    tabs: Vec<ResultTab>,
    result: &'static str,
    rows: Vec<JobTableRow>,
    /// Whether it is a preview, to be run or discarded.
    waits: bool,
    /// Of a preview, the customers with the most numbers first.
    customers: Vec<OfCustomer>,
    /// What of the preview they are not about.
    uncounted: String,
    page: u64,
    pages: u64,
    /// What Run would do; nothing where it cannot be run.
    run: Option<String>,
    cancel: bool,
    undo: bool,
    failed: u64,
}

/// GET /console/p/{partner}/jobs
pub async fn list(State(console): ConsoleState, Path(partner): Path<String>, request: Request) -> PageResult {
    let visit = Visit::enter(&console, &request, &partner)?;
    let query = request.uri().query().unwrap_or_default();
    let page = page_of(query);
    let (service, key) = (console.app.service.clone(), visit.snapshot.key);
    let (jobs, total, page) = blocking(move || {
        on_a_page(page, ROWS, |skip| service.jobs(key, skip, ROWS as usize), |(_, total)| *total)
            .map(|((jobs, total), page)| (jobs, total, page))
    })
    .await??;
    let listed = jobs.iter().map(|job| ListedJob {
        id: job.id.clone(),
        what: what(job),
        mark: mark(job),
        by: by(&visit, job),
        at: visit.clock.time(job.created_at),
    });
    html(&Jobs {
        frame: visit.frame("Jobs", "jobs").with(diff::notice(&visit, query)),
        jobs: listed.collect(),
        total,
        page,
        pages: total.div_ceil(ROWS),
    })
}

/// GET /console/p/{partner}/jobs/{id}
pub async fn page(State(console): ConsoleState, Path((partner, id)): ItemPath, request: Request) -> PageResult {
    let visit = Visit::enter(&console, &request, &partner)?;
    let query = request.uri().query().unwrap_or_default();
    let notice = diff::notice(&visit, query);
    let frame = visit.frame("", "jobs").with(notice);
    show_job(&visit, id, query, frame, StatusCode::OK).await
}

/// POST /console/p/{partner}/jobs/{id}/{step}: run, cancel or undo.
pub async fn step(State(console): ConsoleState, Path((partner, id, step)): StepPath, request: Request) -> PageResult {
    let (visit, _) = Visit::post(&console, request, &partner, Needs::Manager).await?;
    let job = id.clone();
    let outcome = match step.as_str() {
        "run" => visit.act("job.run", move |service, key| service.job_run(key, &job)).await,
        "cancel" => visit.act("job.cancel", move |service, key| service.job_cancel(key, &job)).await,
        // It says first what it would put back.
        "undo" => visit.act("job.undo", move |service, key| service.job_undo(key, &job, true)).await,
        _ => return Err(Trouble::NotFound),
    };
    match outcome {
        Ok(WriteOutcome::Done { shown: VerbOutcome::Job { job, .. }, .. }) => redirect(&address(&visit, &job.id)),
        Ok(WriteOutcome::Done { .. } | WriteOutcome::Again(_)) => redirect(&address(&visit, &id)),
        Err(error @ ServiceError::Unknown { .. }) => Err(error.into()),
        Err(ServiceError::Job { hint, .. }) => {
            let frame = visit.frame("", "jobs").failed(format!("That cannot be done: {hint}."));
            show_job(&visit, id, "", frame, StatusCode::CONFLICT).await
        }
        Err(error) => {
            let frame = visit.frame("", "jobs").failed(mendable(error)?);
            show_job(&visit, id, "", frame, StatusCode::CONFLICT).await
        }
    }
}

/// GET /console/p/{partner}/jobs/{id}/rows.csv
pub async fn rows_csv(State(console): ConsoleState, Path((partner, id)): ItemPath, request: Request) -> PageResult {
    let visit = Visit::enter(&console, &request, &partner)?;
    let query = request.uri().query().unwrap_or_default();
    let (wanted, cells) = (result_of(query), download::cells(query));
    let (service, key) = (console.app.service.clone(), visit.snapshot.key);
    let (found, job) = (service.clone(), id.clone());
    // Before the answer begins, or nobody could say that it is not there.
    blocking(move || found.job(key, &job)).await??;
    let suffix = wanted.map_or(String::new(), |result| format!("-{result}"));
    let place = visit.place(PlaceKind::Download)?;
    let mut skip = None;
    download::file(&format!("{id}{suffix}.csv"), "text/csv; charset=utf-8; header=present", place, move || {
        let Some(at) = skip else {
            skip = Some(0);
            let mut head = Vec::new();
            cells.header(&mut head, &["number", "result", "reason", "version"]);
            return Ok(Some(head.into()));
        };
        let read =
            rows_from(&service, key, &id, (wanted, cells), at).map_err(|error| io::Error::other(error.to_string()))?;
        skip = read.as_ref().map(|(_, next)| *next).or(skip);
        Ok(read.map(|(rows, _)| rows))
    })
}

/// The next wanted rows of a job as CSV, and where those after them begin. Rows
/// are found by their place among all, since that of a wanted one is not known.
fn rows_from(
    service: &Service,
    key: PartnerKey,
    id: &str,
    (wanted, cells): (Option<RowResult>, CsvCells),
    mut skip: u64,
) -> Result<Option<(Bytes, u64)>, ServiceError> {
    let mut out = Vec::new();
    while out.is_empty() {
        let (rows, _) = service.job_rows(key, id, None, skip, DOWNLOAD_ROWS)?;
        if rows.is_empty() {
            return Ok(None);
        }
        skip += rows.len() as u64;
        for row in rows.iter().filter(|row| wanted.is_none_or(|wanted| row.result == wanted)) {
            csv_row(&mut out, row, cells);
        }
    }
    Ok(Some((out.into(), skip)))
}

fn csv_row(out: &mut Vec<u8>, row: &JobRow, cells: CsvCells) {
    let mut line = cells.line(out);
    line.plain(row.number);
    line.plain(row.result);
    line.text(row.reason.as_deref().unwrap_or_default());
    line.maybe(row.version);
    line.end();
}

fn address(visit: &Visit, id: &str) -> String {
    visit.href("jobs", id)
}

/// Reads a page of a list, and the last one for whatever is beyond it; with its place.
pub fn on_a_page<T, E>(
    page: u64,
    rows: u64,
    read: impl Fn(u64) -> Result<T, E>,
    total: impl Fn(&T) -> u64,
) -> Result<(T, u64), E> {
    let found = read((page - 1).saturating_mul(rows))?;
    let last = total(&found).div_ceil(rows).max(1);
    if page <= last { Ok((found, page)) } else { Ok((read((last - 1) * rows)?, last)) }
}

/// Which page a query asks for, from 1.
pub fn page_of(query: &str) -> u64 {
    wire::parameter(query, "page").and_then(|page| page.parse().ok()).unwrap_or(1).max(1)
}

fn result_of(query: &str) -> Option<RowResult> {
    wire::parameter(query, "result").and_then(|result| RowResult::parse(&result))
}

async fn show_job(visit: &Visit, id: String, query: &str, frame: Frame, status: StatusCode) -> PageResult {
    let (wanted, page) = (result_of(query), page_of(query));
    let mut frame = frame;
    let (service, key) = (visit.console.app.service.clone(), visit.snapshot.key);
    let looked = blocking(move || {
        let job = service.job(key, &id)?;
        let read = |skip| service.job_rows(key, &id, wanted, skip, ROWS as usize);
        let ((rows, total), page) = on_a_page(page, ROWS, read, |(_, total)| *total)?;
        let trouble = service.job_trouble(key, &id);
        let changes = service.job_changes(key, &job, &rows)?;
        let all = match job.state {
            JobState::Previewed => {
                let (all, _) = service.job_rows(key, &id, Some(RowResult::WouldChange), 0, COUNTED_MAX)?;
                service.job_changes(key, &job, &all)?
            }
            _ => Vec::new(),
        };
        Ok::<_, ServiceError>((job, rows, (page, total), trouble, changes, all))
    });
    let (job, rows, (page, total), trouble, changes, all) = looked.await??;
    let called = Called::of(&visit.snapshot);
    let each: HashMap<E164, &NumberChange> = changes.iter().map(|change| (change.number, change)).collect();
    let live = job.state.open();
    let done = job.tally.rows();
    let what = what(&job);
    frame.title = match job.state {
        JobState::Running => format!("{} % · {what}", (done * 100).checked_div(job.total).unwrap_or(100)),
        _ => what.clone(),
    };
    let previewed = job.state == JobState::Previewed;
    let changes = job.preview.as_ref().filter(|_| previewed).map(|tally| tally.changed);
    let shown = JobPage {
        mark: mark(&job),
        stands: stands(visit, &job, trouble.as_deref()),
        facts: facts(visit, &job),
        progress: live.then(|| Progress { done, total: job.total, text: progress(&job) }),
        live,
        tabs: tabs(&job, wanted),
        result: wanted.map_or("", RowResult::as_str),
        rows: rows.iter().map(|row| shown_row(visit, &called, row, each.get(&row.number).copied())).collect(),
        waits: previewed,
        uncounted: uncounted(&job),
        customers: by_customer(visit, &called, &all),
        page,
        pages: total.div_ceil(ROWS),
        run: changes.filter(|changed| *changed > 0).map(|changed| {
            let title = verbs::find(verb_name(&job.task)).map_or("Undo", |verb| verb.title);
            format!("{title}: change {}", show::count(changed, "number", "numbers"))
        }),
        cancel: previewed || live,
        undo: matches!(job.state, JobState::Done | JobState::Cancelled | JobState::Failed) && job.tally.changed > 0,
        failed: if previewed { 0 } else { job.tally.failed },
        id: job.id,
        what,
        frame,
    };
    html_as(status, &shown)
}

/// `Assign 1,234 numbers`.
pub fn what(job: &Job) -> String {
    let numbers = show::count(job.total, "number", "numbers");
    match &job.task {
        Task::Undo(_) => format!("Undo for {numbers}"),
        Task::Act(_) => {
            let title = verbs::find(verb_name(&job.task)).map_or("Change", |verb| verb.title);
            let joint = if matches!(verb_name(&job.task), "cost" | "unreserve") { " of" } else { "" };
            format!("{title}{joint} {numbers}")
        }
    }
}

fn mark(job: &Job) -> Html {
    let (class, text) = match job.state {
        JobState::Previewed => ("info", "ready to run"),
        JobState::Queued => ("plain", "queued"),
        JobState::Running => ("info", "running"),
        JobState::Done if job.tally.failed > 0 => {
            let failed = show::thousands(job.tally.failed);
            return pieces::mark("warning", &format!("done, {failed} failed"));
        }
        JobState::Done => ("good", "done"),
        JobState::Cancelled => ("warning", "cancelled"),
        JobState::Failed => ("critical", "stopped by a fault"),
    };
    pieces::mark(class, text)
}

fn by(visit: &Visit, job: &Job) -> String {
    Actor::parse(&job.by).map_or_else(|| job.by.clone(), |actor| who(visit, &actor))
}

/// What a job is at, and what can be done about it.
fn stands(visit: &Visit, job: &Job, trouble: Option<&str>) -> String {
    let JobTally { changed, unchanged, failed, .. } = &job.tally;
    let (changed, unchanged, failed) =
        (show::thousands(*changed), show::thousands(*unchanged), show::thousands(*failed));
    let so_far = format!("{changed} changed, {unchanged} unchanged, {failed} failed");
    match (job.state, &job.preview, trouble) {
        (JobState::Previewed, Some(preview), _) if preview.changed == 0 => {
            "Nothing will change; the reasons are below.".to_owned()
        }
        (JobState::Previewed, _, _) => {
            "Nothing has changed yet. Below is what will change; each number is checked again when the job runs."
                .to_owned()
        }
        (JobState::Queued, _, None) => "It begins as soon as it is its turn.".to_owned(),
        (JobState::Queued | JobState::Running, _, Some(trouble)) => {
            format!("It waits for the database, and goes on by itself: {trouble}.")
        }
        (JobState::Running, _, None) => format!("So far {so_far}. You can leave this page; it goes on."),
        (JobState::Done, _, _) => format!("{so_far}."),
        (JobState::Cancelled, _, _) if job.tally.rows() == 0 => {
            "It was cancelled before anything was changed.".to_owned()
        }
        (JobState::Cancelled, _, _) => {
            let when = job.ended_at.map_or(String::new(), |at| format!(" {}", visit.clock.distance(at)));
            format!("It was cancelled{when}. What was done until then stays done: {so_far}.")
        }
        (JobState::Failed, _, _) => {
            let why = job.error.as_deref().unwrap_or("the log of the server says why");
            format!("It could not go on: {why}. What was done until then stays done: {so_far}.")
        }
    }
}

fn progress(job: &Job) -> String {
    let done = job.tally.rows();
    let mut text = format!("{} of {}", show::thousands(done), show::count(job.total, "number", "numbers"));
    if let Some(rate) = job.rate() {
        let _ = write!(text, ", {} a second", show::thousands(rate.round() as u64));
    }
    if let Some(seconds) = job.seconds_left() {
        let _ = write!(text, ", about {} left", show::span(seconds));
    }
    text
}

fn tabs(job: &Job, wanted: Option<RowResult>) -> Vec<ResultTab> {
    let tab = |name, result: Option<RowResult>, count| ResultTab {
        name,
        count: show::thousands(count),
        result: result.map_or("", RowResult::as_str),
        current: wanted == result,
    };
    let all = tab("All", None, job.total);
    match (&job.preview, job.state) {
        (Some(preview), JobState::Previewed) => vec![
            all,
            tab("Will change", Some(RowResult::WouldChange), preview.changed),
            tab("Unchanged", Some(RowResult::Unchanged), preview.unchanged),
            tab("Will fail", Some(RowResult::WouldFail), preview.failed),
        ],
        _ => {
            let JobTally { changed, unchanged, failed, .. } = job.tally;
            let pending = job.total.saturating_sub(job.tally.rows());
            let mut tabs = vec![
                all,
                tab("Changed", Some(RowResult::Changed), changed),
                tab("Unchanged", Some(RowResult::Unchanged), unchanged),
                tab("Failed", Some(RowResult::Failed), failed),
            ];
            if pending > 0 {
                tabs.push(tab("Not done", Some(RowResult::Pending), pending));
            }
            tabs
        }
    }
}

/// The note where a preview is too large to be counted by customer.
fn uncounted(job: &Job) -> String {
    let changed = job.preview.as_ref().map_or(0, |preview| preview.changed);
    let counted = show::thousands(COUNTED_MAX as u64);
    let more = changed > COUNTED_MAX as u64;
    if more {
        format!("Counted over the first {counted} of {} numbers.", show::thousands(changed))
    } else {
        String::new()
    }
}

/// The customers of the numbers that would change, and what they would lose.
fn by_customer(visit: &Visit, called: &Called<'_>, changes: &[NumberChange]) -> Vec<OfCustomer> {
    let mut customers: BTreeMap<Option<AccountId>, (u64, BTreeMap<String, u64>)> = BTreeMap::new();
    for change in changes {
        let account = change.before.as_ref().and_then(|record| record.account.clone());
        let (count, losses) = customers.entry(account).or_default();
        *count += 1;
        if let (Some(before), Some(after)) = (&change.before, &change.after) {
            let Ok(fields) = differences(before, after, &mut &*called);
            for field in fields.iter().filter(|field| field.lost) {
                *losses.entry(field.label().to_owned()).or_default() += 1;
            }
        }
    }
    let mut customers: Vec<_> = customers.into_iter().collect();
    customers.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
    let more = customers.len().saturating_sub(CUSTOMERS_MAX);
    let mut rows: Vec<OfCustomer> = customers
        .into_iter()
        .take(CUSTOMERS_MAX)
        .map(|(account, (count, losses))| OfCustomer {
            name: account
                .as_ref()
                .map_or_else(|| "No customer".to_owned(), |id| called.name(NamedKind::Customer, id.as_str())),
            href: account.as_ref().map(|id| visit.href("customers", id.as_str())),
            count: show::thousands(count),
            losses: losses
                .iter()
                .map(|(label, count)| format!("{label} of {}", show::count(*count, "number", "numbers")))
                .collect::<Vec<_>>()
                .join(", "),
        })
        .collect();
    if more > 0 {
        let name = format!("and {} more", show::count(more as u64, "customer", "customers"));
        rows.push(OfCustomer { name, href: None, count: String::new(), losses: String::new() });
    }
    rows
}

/// A link to the customer of a number: before a change that is shown, else now.
fn customer(visit: &Visit, called: &Called<'_>, number: E164, change: Option<&NumberChange>) -> Html {
    let now = || visit.snapshot.get(number, visit.clock.now).map(|row| row.record());
    let record = change.map_or_else(now, |change| change.before.clone());
    record.and_then(|record| record.account).map_or_else(pieces::none, |id| {
        pieces::link(&visit.href("customers", id.as_str()), &called.name(NamedKind::Customer, id.as_str()))
    })
}

fn shown_row(visit: &Visit, called: &Called<'_>, row: &JobRow, change: Option<&NumberChange>) -> JobTableRow {
    let (class, result) = match row.result {
        RowResult::Changed => ("good", "changed"),
        RowResult::WouldChange => ("info", "will change"),
        RowResult::Unchanged => ("plain", "unchanged"),
        RowResult::Failed => ("critical", "failed"),
        RowResult::WouldFail => ("critical", "will fail"),
        RowResult::Pending => ("plain", "not done"),
    };
    JobTableRow {
        number: row.number.to_string(),
        readable: visit.console.spaces.readable(row.number),
        result,
        class,
        reason: row.reason.as_deref().map_or_else(Html::default, |reason| told(visit, reason)),
        customer: customer(visit, called, row.number, change),
        diff: change.map_or_else(Html::default, |change| {
            diff::records(visit, called, change.before.as_ref(), change.after.as_ref(), visit.clock.now)
        }),
        cost: show::differences(&row.cost),
        version: row.version,
    }
}

/// A reason with its times and people as this reader knows them.
pub fn told(visit: &Visit, reason: &str) -> Html {
    let mut text = String::new();
    for word in show::in_console(reason).split_inclusive(' ') {
        let bare = word.trim_end_matches([' ', ',', ';', '.']);
        match Actor::parse(bare) {
            Some(actor) => {
                text.push_str(&who(visit, &actor));
                text.push_str(&word[bare.len()..]);
            }
            None => text.push_str(word),
        }
    }
    visit.clock.told(&text)
}

/// What is known of a job.
fn facts(visit: &Visit, job: &Job) -> FactList {
    let clock = &visit.clock;
    let mut facts = FactList::new();
    let (named, tally) = match &job.preview {
        Some(preview) if job.state == JobState::Previewed => ("Monthly cost will change by", preview),
        _ => ("Monthly cost changed by", &job.tally),
    };
    let costs = show::differences(&tally.cost);
    facts.push((named, if costs.is_empty() { "no change".into() } else { costs.into() }));
    match &job.task {
        Task::Act(action) => parameters(visit, action, &mut facts),
        Task::Undo(of) => {
            let link = pieces::link(&address(visit, of), of);
            let said = Html::from("the changes of ") + link + ", except numbers that were changed since";
            facts.push(("Undoes", said));
        }
    }
    if let Some(filter) = &job.filter {
        facts.push(("About", filtered(filter) + ", as they were when it was made"));
    }
    facts.push(("Created", clock.time(job.created_at) + " by " + by(visit, job)));
    if let Some(at) = job.started_at {
        facts.push(("Started", clock.time(at)));
    }
    if let Some(at) = job.ended_at {
        facts.push(("Ended", clock.time(at)));
    }
    facts.push(("Id", pieces::code(&job.id)));
    facts
}

/// What a verb was given, in words.
fn parameters(visit: &Visit, action: &Action, facts: &mut FactList) {
    let (clock, snapshot) = (&visit.clock, &visit.snapshot);
    let entity = |kind: &str, id: &str, name: Option<&str>| {
        pieces::beside(pieces::link(&visit.href(kind, id), name.unwrap_or(id)), id)
    };
    let account = |id: &str| entity("customers", id, snapshot.accounts.get(id).map(|one| &*one.name));
    let application = |id: &ApplicationId| {
        entity("applications", id.as_str(), snapshot.applications.get(id.as_str()).map(|one| &*one.name))
    };
    let trunk = |id: &TrunkId| entity("trunks", id.as_str(), snapshot.trunks.get(id.as_str()).map(|one| &*one.name));
    match action {
        Action::Assign(Assignment { account: id, application: app, trunk: on, expires_at, cost }) => {
            facts.push(("Customer", account(id.as_str())));
            facts.extend(app.as_ref().map(|id| ("Application", application(id))));
            facts.extend(on.as_ref().map(|id| ("Trunk", trunk(id))));
            facts.push(("Expires", expires_at.map_or_else(|| show::AUTO_RENEWS.into(), |at| clock.time(at))));
            if let Some(price) = cost {
                let amount = price.amount.as_deref().unwrap_or("what it costs now");
                let currency = price.currency.map_or(String::new(), |currency| format!(" {}", currency.code()));
                facts.push(("Monthly cost", format!("{amount}{currency}").into()));
            }
        }
        Action::Transfer(Transfer { account: id, application: app, trunk: on, confirm_last }) => {
            facts.push(("To customer", account(id.as_str())));
            let none = || Html::from("none from then on");
            let kept = || Html::from("as it is");
            let app = app.as_ref().map_or_else(kept, |id| id.as_ref().map_or_else(none, application));
            let on = on.as_ref().map_or_else(kept, |id| id.as_ref().map_or_else(none, trunk));
            facts.extend([("Application", app), ("Trunk", on)]);
            let last = if *confirm_last { "is transferred too" } else { "is left with its customer" };
            facts.push(("A customer's last active number", last.into()));
        }
        Action::Release { confirm_last } => {
            let last = if *confirm_last { "is released too" } else { "is left with its customer" };
            facts.push(("A customer's last active number", last.into()));
        }
        Action::Route { application: app, trunk: on } => {
            let none = || Html::from("none from then on");
            facts.extend(app.as_ref().map(|id| ("Application", id.as_ref().map_or_else(none, application))));
            facts.extend(on.as_ref().map(|id| ("Trunk", id.as_ref().map_or_else(none, trunk))));
        }
        Action::Renew { expires_at } => {
            facts.push(("Expires", expires_at.map_or_else(|| show::AUTO_RENEWS.into(), |at| clock.time(at))));
        }
        Action::Extend { months, .. } => {
            let (count, unit) = if months % 12 == 0 { (months / 12, "year") } else { (*months, "month") };
            let by = show::count(count.into(), unit, &format!("{unit}s"));
            facts.push(("Expires", format!("{by} after the later of each number's expiry and now").into()));
        }
        Action::Reserve { account: id, until } => {
            facts.push(("Customer", account(id.as_str())));
            facts.push(("Until", clock.time(*until)));
        }
        Action::Tag { add, remove } => {
            for (name, tags) in [("Tags to add", add), ("Tags to take away", remove)] {
                let tags: Vec<&str> = tags.iter().collect();
                if !tags.is_empty() {
                    facts.push((name, tags.join(", ").into()));
                }
            }
        }
        Action::Cost(money) => facts.push(("Monthly cost", show::money(*money).into())),
        Action::Suspend | Action::Resume | Action::Unreserve | Action::Retire => {}
    }
}

/// A filter as it was sent, in words.
fn filtered(filter: &str) -> Html {
    let said: Map<String, Value> = serde_json::from_str(filter).unwrap_or_default();
    if said.is_empty() {
        return "all numbers".into();
    }
    // As the numbers page has it.
    if let Some(line) = said.get("line").and_then(Value::as_str) {
        return match line {
            "" => "all numbers".into(),
            line => Html::from("what the filter ") + pieces::code(line) + " finds",
        };
    }
    let one = |(name, value): (&String, &Value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        pieces::code(&format!("{name}: {value}"))
    };
    Html::from("numbers with ") + Html::join(said.iter().map(one), " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_which_rows() {
        assert_eq!((page_of(""), page_of("page=3"), page_of("page=0"), page_of("page=x")), (1, 3, 1, 1));
        assert_eq!(result_of("page=2&result=would_fail"), Some(RowResult::WouldFail));
        assert_eq!(result_of("result=nonsense"), None);
    }

    #[test]
    fn filters_are_words_and_never_markup() {
        for (filter, expected) in [
            ("{}", "all numbers"),
            (r#"{"line":"tag:<b>"}"#, "what the filter <code>tag:&#60;b&#62;</code> finds"),
            (
                r#"{"tag":"<b>","routed":false}"#,
                "numbers with <code>tag: &#60;b&#62;</code> <code>routed: false</code>",
            ),
        ] {
            assert_eq!(filtered(filter).as_str(), expected, "{filter}");
        }
    }

    #[test]
    fn a_row_is_a_line_of_csv() {
        let row = JobRow {
            number: "+912271264217".parse().expect("a number"),
            result: RowResult::Failed,
            reason: Some("is held, \"by somebody\"".to_owned()),
            cost: Default::default(),
            version: None,
        };
        let mut line = Vec::new();
        csv_row(&mut line, &row, CsvCells::Protected);
        let line = String::from_utf8(line).expect("text");
        assert_eq!(line, "+912271264217,failed,\"is held, \"\"by somebody\"\"\",\r\n");
    }
}
