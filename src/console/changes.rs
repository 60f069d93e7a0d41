//! The change log: newest first, and each change with its numbers and its undo.
//!
//! The log is ordered by version, so a list reads backwards from its end. If few
//! changes match a filter, the page reads a limited number of changes, and of their
//! numbers, and offers to search older ones: it must not read a log of millions.
//! A job has written one change for each batch; the list shows them as one.
//! Invariants: the list ends at the snapshot's version, as everywhere; a filter that
//! is not understood shows no changes.

use askama::Template;
use axum::extract::{Path, Request, State};
use http::StatusCode;
use http::header::{self, HeaderMap};
use jiff::civil::Date;
use std::collections::HashMap;
use std::ops::ControlFlow;

use super::diff::Called;
use super::form::first_moment;
use super::gate::{Needs, Visit, query_value};
use super::jobs::{on_a_page, page_of, told};
use super::number::who;
use super::page::{Frame, PageResult, Trouble, done, html_as, mendable};
use super::pieces::FactList;
use super::sign_in::blocking;
use super::{ConsoleState, ItemPath, chooser, diff, pieces, show, unknown, verbs};
use crate::domain::{AccountId, Actor, EntityChange, NumberChange, Time, Verb};
use crate::inventory::Snapshot;
use crate::service::background::jobs::Job;
use crate::service::past::{LogEntry, LoggedChange};
use crate::service::verbs::undo;
use crate::service::verbs::undo::{RefusedUndo, Undone};
use crate::service::{Replica, Service, ServiceError, VerbOutcome, WriteOutcome};
use crate::wire::html::Html;

/// How many changes a page has.
const ROWS: usize = 50;
/// How many numbers of a change a page has: so many stay below 100 kB, whatever was
/// changed of each.
const NUMBERS: u64 = 80;
/// How many changes are looked at for one page.
const LOOKED_AT_MAX: u64 = 2_000;
/// How many are read at a time.
const STEP: u64 = 200;
/// How many entities a line names.
const ENTITIES: usize = 3;
/// How many numbers of changes are looked at for one page of a customer, and how
/// many of them at a time.
const NUMBERS_LOOKED_AT_MAX: u64 = 200_000;
const NUMBERS_STEP: u64 = 5_000;
/// How many jobs of a page are remembered for the next one: their older batches
/// are theirs.
const SEEN_MAX: usize = 5;

struct ChangeLine {
    version: u64,
    summary: Html,
    verb: String,
    /// The page of the job that the changes are of.
    job: Option<String>,
    by: String,
    /// The filter that shows what the same one did.
    by_query: String,
    at: Html,
}

struct ListOption {
    value: String,
    name: String,
    chosen: bool,
}

#[derive(Template)]
#[template(path = "changes.html")]
struct ChangesPage {
    frame: Frame,
    lines: Vec<ChangeLine>,
    verbs: Vec<ListOption>,
    actors: Vec<ListOption>,
    customer: Html,
    from: String,
    to: String,
    /// The zone of the days.
    zone: String,
    /// Spans of days to choose, as the end of an address.
    spans: Vec<(&'static str, String)>,
    filtered: bool,
    /// Whether a filter is not understood.
    refused: bool,
    /// What was looked through, where not all of it is shown.
    looked: String,
    /// The filter as it stands in an address.
    query: String,
    /// What the address of older ones has besides.
    older: String,
    /// Where older ones begin.
    before: Option<u64>,
    first_page: bool,
}

struct NumberRow {
    number: String,
    readable: String,
    said: Html,
    diff: Html,
}

struct RefusedRow {
    number: String,
    readable: String,
    reason: Html,
    at: Html,
}

#[derive(Template)]
#[template(path = "change.html")]
struct ChangePage {
    frame: Frame,
    version: u64,
    title: String,
    facts: FactList,
    entities: Vec<Html>,
    more_entities: usize,
    rows: Vec<NumberRow>,
    total: u64,
    page: u64,
    pages: u64,
    /// Why it cannot be undone; empty where it can.
    no_undo: &'static str,
    refused: Vec<RefusedRow>,
    /// How many more an undo left as they are.
    more_refused: u64,
    older: Option<u64>,
    newer: Option<u64>,
}

/// Which changes are wanted.
#[derive(Default)]
struct WantedChanges {
    verb: Option<Verb>,
    /// Empty for anybody; `user`, `key` or `command` for a kind, else one by name.
    who: String,
    account: Option<AccountId>,
    /// The first and the last day.
    from: String,
    to: String,
    /// The moments just before the first day, and the last of the last.
    after: Option<Time>,
    through: Option<Time>,
    before: Option<u64>,
    /// Jobs that a newer page has shown.
    seen: Vec<String>,
    /// The text that was typed for a customer, and the reason why it names none.
    misnamed: Option<String>,
    problems: Vec<String>,
}

impl WantedChanges {
    fn of(query: &str, visit: &Visit) -> WantedChanges {
        let mut wanted = WantedChanges::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = value.trim();
            match &*name {
                _ if value.is_empty() => {}
                "verb" => match Verb::parse(value) {
                    Some(verb) => wanted.verb = Some(verb),
                    None => {
                        let known = Verb::ALL.iter().map(|verb| verb.as_str());
                        wanted.problems.push(unknown::word("kind of change", value, known));
                    }
                },
                "who" if value == "me" => wanted.who = format!("user:{}", visit.user().id),
                "who" if matches!(value, "user" | "key" | "command") || Actor::parse(value).is_some() => {
                    wanted.who = value.to_owned();
                }
                "who" => {
                    let who = unknown::shown(value);
                    wanted.problems.push(format!("{who} is nobody who makes changes; choose one of the list"));
                }
                "account" => match visit.snapshot.customer(value) {
                    Ok(id) => wanted.account = Some(id),
                    Err(error) => {
                        wanted.misnamed = Some(value.to_owned());
                        wanted.problems.push(error.to_string());
                    }
                },
                "day" => (wanted.from, wanted.to) = (value.to_owned(), value.to_owned()),
                "from" => wanted.from = value.to_owned(),
                "to" => wanted.to = value.to_owned(),
                "before" => wanted.before = value.parse().ok(),
                "seen" if wanted.seen.len() < SEEN_MAX => wanted.seen.push(value.to_owned()),
                _ => {}
            }
        }
        wanted.days(visit);
        wanted
    }

    /// Reads the days.
    fn days(&mut self, visit: &Visit) {
        let first = |date: Date| first_moment(date, &visit.clock).map(|time| time.plus(-1));
        for (text, last) in [(&self.from, false), (&self.to, true)] {
            if text.is_empty() {
                continue;
            }
            let date: Option<Date> = text.parse().ok();
            let time = date.and_then(|date| if last { first(date.tomorrow().ok()?) } else { first(date) });
            match time {
                None => self.problems.push(format!("{text} is not a day; 2026-11-23 is one")),
                time if last => self.through = time,
                time => self.after = time,
            }
        }
        if let (Some(after), Some(through)) = (self.after, self.through)
            && after >= through
        {
            self.problems.push(format!("the first day, {}, is after the last, {}", self.from, self.to));
        }
    }

    fn lets_through(&self, entry: &LogEntry) -> bool {
        let actor = &entry.actor;
        let by = match self.who.as_str() {
            "" => true,
            "user" => matches!(actor, Actor::User { .. }),
            "key" => matches!(actor, Actor::Key { .. }),
            "command" => matches!(actor, Actor::Command { .. }),
            who => actor.to_string() == who,
        };
        by && self.verb.is_none_or(|verb| entry.verb == verb)
    }

    fn filtered(&self) -> bool {
        !self.query().is_empty()
    }

    /// The filter as it stands in an address, without its beginning.
    fn query(&self) -> String {
        self.query_of(&self.from, &self.to)
    }

    fn query_of(&self, from: &str, to: &str) -> String {
        let account = self.account.as_ref().map_or("", |id| id.as_str());
        let verb = self.verb.map_or("", Verb::as_str);
        let parts = [("verb", verb), ("who", &self.who), ("account", account), ("from", from), ("to", to)];
        let given = parts.iter().filter(|(_, value)| !value.is_empty());
        given.map(|(name, value)| format!("{name}={}&", query_value(value))).collect()
    }
}

/// A change that is shown, or the changes of a job.
struct FoundChange {
    listed: LoggedChange,
    job: Option<String>,
    /// How many numbers it is about, and of how many changed ones.
    numbers: u64,
    of: u64,
    /// Whether there may be more of the customer's.
    more: bool,
}

/// Finds a customer's part of changes.
struct CustomerScan<'a> {
    replica: &'a Replica,
    snapshot: &'a Snapshot,
    account: Option<&'a AccountId>,
    left: u64,
}

impl CustomerScan<'_> {
    /// What a change has to do with the customer; any change if none is asked
    /// for. Its numbers are then the first of the customer's.
    fn part(&mut self, mut listed: LoggedChange) -> Result<Option<FoundChange>, ServiceError> {
        let job = listed.entry.request_id.clone().filter(|id| id.starts_with("job_"));
        let of = listed.total;
        let Some(id) = self.account else {
            return Ok(Some(FoundChange { listed, job, numbers: of, of, more: false }));
        };
        listed.entities.retain(|entity| is_of(entity, id));
        let (mut first, mut numbers, mut skip) = (None, 0, 0);
        while skip < of && (first.is_none() || self.left > 0) {
            let (after, step) = (listed.version - 1, NUMBERS_STEP as usize);
            let Some(window) = self.replica.changes(self.snapshot, after, 1, skip, step)?.pop() else { break };
            let read = window.numbers.len() as u64;
            self.left = self.left.saturating_sub(read);
            skip += read.max(1);
            for change in window.numbers.into_iter().filter(|change| number_is_of(change, id)) {
                numbers += 1;
                first.get_or_insert(change);
            }
        }
        let found = first.is_some() || !listed.entities.is_empty();
        listed.numbers = first.into_iter().collect();
        listed.total = numbers;
        Ok(found.then_some(FoundChange { listed, job, numbers, of, more: skip < of }))
    }
}

/// Whether a customer holds, held or has it reserved.
fn number_is_of(change: &NumberChange, id: &AccountId) -> bool {
    [&change.before, &change.after].into_iter().flatten().any(|record| record.account.as_ref() == Some(id))
}

fn is_of(entity: &EntityChange, id: &AccountId) -> bool {
    match entity {
        EntityChange::Account(edit) => edit.after.auth_id == *id,
        EntityChange::Application(edit) => edit.after.account.as_ref() == Some(id),
        EntityChange::Trunk(edit) => edit.after.account.as_ref() == Some(id),
        EntityChange::Partner(_)
        | EntityChange::Key(_)
        | EntityChange::Acknowledgement(_)
        | EntityChange::Setting(_) => false,
    }
}

/// A verb of the log, for people.
fn verb_name(verb: Verb) -> String {
    match verb {
        Verb::Tag => "Tag".to_owned(),
        Verb::Stock => "Into stock".to_owned(),
        Verb::Acknowledge => "Finding acknowledged".to_owned(),
        other => {
            if let Some(shown) = verbs::find(other.as_str()) {
                return shown.title.to_owned();
            }
            let done = |verb| match verb {
                "create" => "created",
                "edit" => "changed",
                "suspend" => "suspended",
                "resume" => "resumed",
                "revoke" => "revoked",
                "remove" => "removed",
                verb => verb,
            };
            let text = match other.as_str().split_once('_') {
                Some((what, verb)) => format!("{what} {}", done(verb)),
                None => other.as_str().to_owned(),
            };
            let text = show::in_console(&text);
            let mut chars = text.chars();
            chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
        }
    }
}

/// Goes back through versions `low + 1 ..= high`, newest first, until `take`
/// breaks or enough is looked at. The version that is next, if any is left.
fn back<E>(
    (low, high): (u64, u64),
    read: impl Fn(u64, u64) -> Result<Vec<(u64, LogEntry)>, E>,
    mut take: impl FnMut(u64, LogEntry) -> Result<ControlFlow<()>, E>,
) -> Result<Option<u64>, E> {
    let mut next = high;
    while next > low && high - next < LOOKED_AT_MAX {
        let after = next.saturating_sub(STEP).max(low);
        for (version, entry) in read(after, next - after)?.into_iter().rev() {
            next = version - 1;
            if take(version, entry)?.is_break() {
                return Ok(Some(next).filter(|next| *next > low));
            }
        }
        next = after;
    }
    Ok(Some(next).filter(|next| *next > low))
}

/// What a page of the list was looked up as.
struct ChangesLookup {
    found: Vec<FoundChange>,
    /// The jobs of `found`, as they are now.
    jobs: HashMap<String, Job>,
    /// Where older ones begin, if there are any.
    rest: Option<u64>,
    high: u64,
}

/// Looks up a page of the list.
fn look(visit: (&Replica, &Service, &Snapshot), wanted: &WantedChanges) -> Result<ChangesLookup, ServiceError> {
    let (replica, service, snapshot) = visit;
    let version_at = |time| Ok::<_, ServiceError>(replica.store().version_at(snapshot.key, time)?);
    let low = wanted.after.map_or(Ok(0), version_at)?;
    let high = wanted.through.map_or(Ok(snapshot.version), version_at)?.min(snapshot.version);
    let high = wanted.before.map_or(high, |before| high.min(before));
    let mut scan = CustomerScan { replica, snapshot, account: wanted.account.as_ref(), left: NUMBERS_LOOKED_AT_MAX };
    let (mut found, mut stopped): (Vec<FoundChange>, _) = (Vec::new(), None);
    let rest = back(
        (low, high),
        |after, limit| replica.entries(snapshot, after, limit),
        |version, entry| {
            if scan.left == 0 {
                stopped = Some(version);
                return Ok(ControlFlow::Break(()));
            }
            if wanted.lets_through(&entry)
                && let Some(listed) = replica.changes(snapshot, version - 1, 1, 0, 1)?.pop()
                && let Some(part) = scan.part(listed)?
            {
                add(&mut found, part, &wanted.seen);
            }
            Ok(if found.len() == ROWS { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        },
    )?;
    let ids = found.iter().filter_map(|one| one.job.clone());
    let jobs = ids.filter_map(|id| service.job(snapshot.key, &id).ok().map(|job| (id, job))).collect();
    Ok(ChangesLookup { found, jobs, rest: stopped.or(rest), high })
}

/// Adds a change to those of its job, or as one of its own.
fn add(found: &mut Vec<FoundChange>, part: FoundChange, seen: &[String]) {
    let Some(job) = part.job.as_ref() else { return found.push(part) };
    if seen.contains(job) {
        return;
    }
    match found.iter_mut().find(|one| one.job.as_ref() == Some(job)) {
        Some(one) => {
            one.numbers += part.numbers;
            one.of += part.of;
            one.more |= part.more;
        }
        None => found.push(part),
    }
}

/// GET /console/p/{partner}/changes
pub async fn list(State(console): ConsoleState, Path(partner): Path<String>, request: Request) -> PageResult {
    let visit = Visit::enter(&console, &request, &partner)?;
    let query = request.uri().query().unwrap_or_default();
    let wanted = WantedChanges::of(query, &visit);
    let mut frame = visit.frame("Changes", "changes").with(diff::notice(&visit, query));
    let refused = !wanted.problems.is_empty();
    let status = if refused { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    if refused {
        frame = frame.failed(wanted.problems.join("; "));
    }
    let (replica, service) = (console.app.replica.clone(), console.app.service.clone());
    let snapshot = visit.snapshot.clone();
    let (looked, wanted) = match refused {
        true => (ChangesLookup { found: Vec::new(), jobs: HashMap::new(), rest: None, high: 0 }, wanted),
        false => {
            let look = move || look((&replica, &service, &snapshot), &wanted).map(|looked| (looked, wanted));
            blocking(look).await??
        }
    };
    let ChangesLookup { found, jobs, rest, high } = looked;
    let looked = match rest {
        Some(rest) if found.len() < ROWS => {
            format!("{} were looked through for these.", show::count(high - rest, "change", "changes"))
        }
        _ => String::new(),
    };
    let choice = |value: &str, name: &str, current: &str| ListOption {
        value: value.to_owned(),
        name: name.to_owned(),
        chosen: value == current,
    };
    let mut actors = vec![choice("", "Anybody", &wanted.who)];
    let own = format!("user:{}", visit.user().id);
    for (value, name) in
        [(own.as_str(), "You"), ("user", "People"), ("key", "API keys"), ("command", "Commands on the server")]
    {
        actors.push(choice(value, name, &wanted.who));
    }
    if !actors.iter().any(|choice| choice.chosen)
        && let Some(actor) = Actor::parse(&wanted.who)
    {
        actors.push(choice(&wanted.who, &who(&visit, &actor), &wanted.who));
    }
    let current = wanted.verb.map_or("", Verb::as_str);
    let all = Verb::ALL.iter().map(|verb| choice(verb.as_str(), &verb_name(*verb), current));
    let day = |back: i64| visit.clock.iso_day(visit.clock.now.plus(-back * 86_400));
    let spans = [("Today", 0), ("Last 7 days", 6), ("Last 30 days", 29)];
    let called = Called::of(&visit.snapshot);
    let seen: Vec<&str> = found.iter().rev().filter_map(|one| one.job.as_deref()).take(SEEN_MAX).collect();
    let seen: String = seen.iter().map(|job| format!("seen={}&", query_value(job))).collect();
    html_as(
        status,
        &ChangesPage {
            lines: found.iter().map(|one| line(&visit, &called, one, &jobs)).collect(),
            verbs: std::iter::once(choice("", "All", current)).chain(all).collect(),
            actors,
            customer: chooser::filter(
                &visit.snapshot,
                "account",
                wanted.account.as_ref().map(|id| id.as_str()),
                wanted.misnamed.as_deref(),
            ),
            spans: spans.map(|(name, back)| (name, wanted.query_of(&day(back), ""))).into(),
            zone: visit.clock.zone.iana_name().unwrap_or("UTC").to_owned(),
            filtered: wanted.filtered(),
            refused,
            looked,
            query: wanted.query(),
            older: seen,
            before: rest,
            first_page: wanted.before.is_none(),
            from: wanted.from,
            to: wanted.to,
            frame,
        },
    )
}

fn line(visit: &Visit, called: &Called<'_>, found: &FoundChange, jobs: &HashMap<String, Job>) -> ChangeLine {
    let listed = &found.listed;
    let actor = &listed.entry.actor;
    let job = found.job.as_ref().and_then(|id| jobs.get(id));
    ChangeLine {
        version: listed.version,
        summary: summed(visit, called, found, job),
        verb: job.map_or_else(|| verb_name(listed.entry.verb), super::jobs::what),
        job: job.map(|job| visit.href("jobs", &job.id)),
        by: who(visit, actor),
        by_query: query_value(&actor.to_string()),
        at: visit.clock.time(listed.entry.at),
    }
}

/// What a change did, in a line.
fn summed(visit: &Visit, called: &Called<'_>, found: &FoundChange, job: Option<&Job>) -> Html {
    let FoundChange { listed, numbers, of, more, .. } = found;
    // A page may end within a job, and the job knows how many it changed.
    let (numbers, of) = match job.filter(|job| numbers == of && job.tally.changed > 0) {
        Some(job) => (job.tally.changed, job.tally.changed),
        None => (*numbers, *of),
    };
    let mut parts = Vec::new();
    if let Some(first) = listed.numbers.first() {
        let said = diff::said(visit, called, listed.entry.verb, first, listed.entry.at);
        let readable = visit.console.spaces.readable(first.number);
        let counted = match (numbers == of, more) {
            (_, true) => format!("at least {} of {}", show::thousands(numbers), show::count(of, "number", "numbers")),
            (true, _) => show::count(numbers, "number", "numbers"),
            (false, _) => format!("{} of {}", show::thousands(numbers), show::count(of, "number", "numbers")),
        };
        parts.push(match of {
            0 | 1 => Html::from(format!("{readable}: ")) + said,
            _ => Html::from(format!("{counted}; the first, {readable}: ")) + said,
        });
    }
    let entities = &listed.entities;
    let shown = if parts.is_empty() || entities.len() <= ENTITIES { ENTITIES } else { 0 };
    let said = |entity: &EntityChange| diff::entity(visit, called, listed.entry.verb, entity);
    parts.extend(entities.iter().take(shown).map(said));
    if let Some(more @ 1..) = entities.len().checked_sub(shown) {
        let besides = if shown == 0 { "customers, applications and trunks" } else { "more" };
        parts.push(format!("{} {besides}", show::thousands(more as u64)).into());
    }
    if parts.is_empty() { "nothing that shows".into() } else { Html::join(parts, "; ") }
}

/// GET /console/p/{partner}/changes/{version}
pub async fn page(State(console): ConsoleState, Path((partner, version)): ItemPath, request: Request) -> PageResult {
    let visit = Visit::enter(&console, &request, &partner)?;
    let version: u64 = version.parse().map_err(|_| Trouble::NotFound)?;
    let query = request.uri().query().unwrap_or_default();
    let frame = visit.frame("", "changes").with(diff::notice(&visit, query));
    show_change(&visit, version, page_of(query), frame, Left::default(), StatusCode::OK).await
}

/// What an undo left as it is.
#[derive(Default)]
struct Left {
    rows: Vec<RefusedUndo>,
    count: u64,
}

/// POST /console/p/{partner}/changes/{version}/undo
pub async fn undo(State(console): ConsoleState, Path((partner, version)): ItemPath, request: Request) -> PageResult {
    let back = referer(request.headers());
    let (visit, _) = Visit::post(&console, request, &partner, Needs::Manager).await?;
    let version: u64 = version.parse().map_err(|_| Trouble::NotFound)?;
    let outcome = visit.act("change.undo", move |service, key| service.undo(key, version)).await;
    match outcome {
        Ok(WriteOutcome::Done { shown: VerbOutcome::Undone(undone), .. })
            if undone.refused > 0 || !undone.stays.is_empty() =>
        {
            let Undone { version: made, undone, refused, rows, stays, .. } = undone;
            let mut said = vec![format!("{} as before", show::count(undone, "number is", "numbers are"))];
            if refused > 0 {
                let left = show::thousands(refused);
                said.push(format!("{left} left as they are, for the reasons in the table"));
            }
            said.extend(stays);
            let frame = visit.frame("", "changes").failed(format!("{}.", said.join("; ")));
            // This node has the new version, and the visit's snapshot has not.
            let visit = Visit { snapshot: visit.newest(), ..visit };
            show_change(&visit, made, 1, frame, Left { rows, count: refused }, StatusCode::OK).await
        }
        Ok(WriteOutcome::Done { shown: VerbOutcome::Undone(undone), .. }) => {
            let to = back.filter(|path| below(path, &visit.base) && !path.ends_with("/undo"));
            let own = format!("{}/changes/{}", visit.base, undone.version);
            done(to.as_deref().unwrap_or(&own), Some(undone.version))
        }
        Ok(WriteOutcome::Done { .. } | WriteOutcome::Again(_)) => {
            done(&format!("{}/changes/{version}", visit.base), None)
        }
        Err(ServiceError::NotUndone { rows, stays, .. }) => {
            let text = match &stays[..] {
                [] => "all that this change did has been changed since. The table says by whom".to_owned(),
                stays => stays.join("; "),
            };
            let frame = visit.frame("", "changes").failed(format!("Nothing was put back: {text}."));
            let count = rows.len() as u64;
            show_change(&visit, version, 1, frame, Left { rows, count }, StatusCode::CONFLICT).await
        }
        Err(error @ ServiceError::Unknown { .. }) => Err(error.into()),
        Err(error) => {
            let frame = visit.frame("", "changes").failed(mendable(error)?);
            show_change(&visit, version, 1, frame, Left::default(), StatusCode::CONFLICT).await
        }
    }
}

/// The path and query of the page that a form stood on, if it was one of ours,
/// without what it said of an earlier change.
fn referer(headers: &HeaderMap) -> Option<String> {
    let (_, rest) = headers.get(header::REFERER)?.to_str().ok()?.split_once("://")?;
    let (host, path) = rest.split_at(rest.find('/')?);
    if headers.get(header::HOST)?.to_str().ok()? != host {
        return None;
    }
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let kept: Vec<&str> = query.split('&').filter(|part| !part.is_empty() && !part.starts_with("done=")).collect();
    Some(if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) })
}

/// Whether a path is one of a partner's pages.
fn below(path: &str, base: &str) -> bool {
    path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
}

async fn show_change(
    visit: &Visit,
    version: u64,
    page: u64,
    mut frame: Frame,
    left: Left,
    status: StatusCode,
) -> PageResult {
    let after = version.checked_sub(1).ok_or(Trouble::NotFound)?;
    let (replica, snapshot) = (visit.console.app.replica.clone(), visit.snapshot.clone());
    let read = move || {
        let read = |skip| replica.changes(&snapshot, after, 1, skip, NUMBERS as usize);
        on_a_page(page, NUMBERS, read, |listed| listed.first().map_or(0, |listed| listed.total))
    };
    let (mut listed, page) = blocking(read).await??;
    let listed = listed.pop().filter(|listed| listed.version == version).ok_or(Trouble::NotFound)?;
    let at = listed.entry.at;
    let clock = &visit.clock;
    frame.title = format!("Change {version}");
    let mut facts: FactList = vec![
        ("What", verb_name(listed.entry.verb).into()),
        ("Who", {
            let query = query_value(&listed.entry.actor.to_string());
            pieces::link(&format!("{}/changes?who={query}", visit.base), &who(visit, &listed.entry.actor))
        }),
        ("When", clock.moment(at)),
        ("Numbers", show::thousands(listed.total).into()),
    ];
    match listed.entry.request_id.as_deref() {
        Some(id) if id.starts_with("job_") => {
            facts.push(("Part of", pieces::link(&visit.href("jobs", id), id)));
        }
        Some(id) if id.starts_with("import_") => {
            facts.push(("Part of", pieces::link(&visit.href("import", id), id)));
        }
        Some(id) => facts.push(("Request", pieces::code(id))),
        None => {}
    }
    let called = Called::of(&visit.snapshot);
    let rows = listed.numbers.iter().map(|change| NumberRow {
        number: change.number.to_string(),
        readable: visit.console.spaces.readable(change.number),
        said: diff::said(visit, &called, listed.entry.verb, change, at),
        diff: diff::records(visit, &called, change.before.as_ref(), change.after.as_ref(), at),
    });
    let more_refused = left.count.saturating_sub(left.rows.len() as u64);
    let refused = left.rows.iter().map(|row| RefusedRow {
        number: row.number.to_string(),
        readable: visit.console.spaces.readable(row.number),
        reason: told(visit, &row.reason),
        at: row.at.map_or_else(Html::default, |at| clock.time(at)),
    });
    let shown = ChangePage {
        version,
        title: format!("Change {}", show::thousands(version)),
        facts,
        more_entities: listed.entities.len().saturating_sub(NUMBERS as usize),
        entities: listed
            .entities
            .iter()
            .take(NUMBERS as usize)
            .map(|one| diff::entity(visit, &called, listed.entry.verb, one))
            .collect(),
        rows: rows.collect(),
        total: listed.total,
        page,
        pages: listed.total.div_ceil(NUMBERS),
        no_undo: if undo::undoable(listed.entry.verb) { "" } else { "A change of this kind cannot be undone." },
        refused: refused.collect(),
        more_refused,
        older: (version > 1).then_some(after),
        newer: (version < visit.snapshot.version).then_some(version + 1),
        frame,
    };
    html_as(status, &shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Time;

    fn entry(version: u64) -> (u64, LogEntry) {
        let at = Time::new(1_770_000_000).expect("a time");
        (version, LogEntry { at, actor: Actor::Server, request_id: None, verb: Verb::Assign, from: None })
    }

    /// The versions that a walk back finds, and where it goes on.
    fn walk(low: u64, high: u64, wanted: impl Fn(u64) -> bool) -> (Vec<u64>, Option<u64>) {
        let mut found = Vec::new();
        let rest = back(
            (low, high),
            |after, limit| Ok::<_, ()>((after + 1..=after + limit).map(entry).collect()),
            |version, _| {
                if wanted(version) {
                    found.push(version);
                }
                Ok(if found.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            },
        );
        (found, rest.expect("no errors"))
    }

    #[test]
    fn a_page_goes_back_from_the_end() {
        assert_eq!(walk(0, 5, |_| true), (vec![5, 4, 3], Some(2)));
        assert_eq!(walk(0, 2, |_| true), (vec![2, 1], None));
        assert_eq!(walk(0, 3, |_| true), (vec![3, 2, 1], None));
        assert_eq!(walk(4, 5, |_| true), (vec![5], None));
        assert_eq!(walk(0, 0, |_| true), (vec![], None));
        assert_eq!(walk(0, 1_000, |version| version % 400 == 0), (vec![800, 400], None));
    }

    #[test]
    fn a_filter_that_finds_little_stops_and_says_where() {
        assert_eq!(walk(0, 10_000, |version| version == 1), (vec![], Some(8_000)));
        assert_eq!(walk(0, 2_000, |version| version == 1), (vec![1], None));
    }

    #[test]
    fn the_way_back_is_a_page_of_ours() {
        let of = |referer: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "numbers.example:8080".parse().expect("a host"));
            headers.insert(header::REFERER, referer.parse().expect("a value"));
            super::referer(&headers).filter(|path| below(path, "/console/p/PA_1"))
        };
        let ours = |rest: &str| of(&format!("https://numbers.example:8080{rest}"));
        assert_eq!(ours("/console/p/PA_1/numbers?q=22&done=7").as_deref(), Some("/console/p/PA_1/numbers?q=22"));
        assert_eq!(ours("/console/p/PA_1?done=7").as_deref(), Some("/console/p/PA_1"));
        for path in ["/console/p/PA_12/numbers", "/console/platform", "/", ""] {
            assert_eq!(ours(path), None, "{path}");
        }
        assert_eq!(of("https://evil.example/console/p/PA_1/numbers"), None);
    }

    #[test]
    fn verbs_are_words() {
        assert_eq!(verb_name(Verb::AccountCreate), "Customer created");
        assert_eq!(verb_name(Verb::Assign), "Assign");
    }
}
