//! The change log: newest first, and each change with its numbers and its undo.
//!
//! The log is ordered by version, so a list reads backwards from its end. If few
//! changes match a filter, the page reads a limited number of changes and offers to
//! search older ones: it must not read a log of millions.
//! Invariant: the list ends at the snapshot's version, as everywhere.

use std::ops::ControlFlow;
use std::sync::Arc;

use askama::Template;
use axum::body::Body;
use axum::extract::{Path, State};
use http::header::{self, HeaderMap};
use http::{Request, StatusCode};

use super::form::{first_moment, midnight};
use super::gate::{Needs, Visit, query_value};
use super::jobs::{page_of, told};
use super::number::who;
use super::page::{Answer, Frame, Trouble, done, html, html_as, mendable};
use super::sign_in::blocking;
use super::{Console, show, verbs};
use crate::domain::{Actor, Record, Verb, summary};
use crate::service::past::LoggedChange;
use crate::service::undo::{RefusedUndo, Undone};
use crate::service::{ServiceError, VerbOutcome, WriteOutcome, undo};
use crate::wire::html::escape;

/// How many changes a page has.
const ROWS: usize = 50;
/// How many numbers of a change a page has.
const NUMBERS: u64 = 200;
/// How many changes are looked at for one page.
const LOOKED_AT_MAX: u64 = 2_000;
/// How many are read at a time.
const STEP: u64 = 200;
/// How many entities a line names.
const ENTITIES: usize = 3;

struct Line {
    version: u64,
    summary: String,
    verb: String,
    by: String,
    /// The filter that shows what the same one did.
    by_query: String,
    at: String,
}

struct Choice {
    value: String,
    name: String,
    chosen: bool,
}

#[derive(Template)]
#[template(path = "changes.html")]
struct Changes {
    frame: Frame,
    lines: Vec<Line>,
    verbs: Vec<Choice>,
    actors: Vec<Choice>,
    day: String,
    /// Of which moment a day is, as its label says it.
    midnight: String,
    filtered: bool,
    /// What was looked through, where not all of it is shown.
    looked: String,
    /// The filter as it stands in an address.
    query: String,
    /// Where older ones begin.
    before: Option<u64>,
    first_page: bool,
}

struct NumberRow {
    number: String,
    readable: String,
    said: String,
    before: String,
    after: String,
}

struct RefusedRow {
    number: String,
    readable: String,
    reason: String,
    at: String,
}

#[derive(Template)]
#[template(path = "change.html")]
struct ChangePage {
    frame: Frame,
    version: u64,
    title: String,
    facts: Vec<(&'static str, String)>,
    entities: Vec<String>,
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
struct Wanted {
    verb: Option<Verb>,
    /// Empty for anybody; `user`, `key` or `command` for a kind, else one by name.
    who: String,
    day: String,
    before: Option<u64>,
}

impl Wanted {
    fn of(query: &str, visit: &Visit) -> Wanted {
        let mut wanted = Wanted::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "verb" => wanted.verb = Verb::parse(&value),
                "who" if value == "me" => wanted.who = format!("user:{}", visit.user().id),
                "who" => wanted.who = value.into_owned(),
                "day" => wanted.day = value.into_owned(),
                "before" => wanted.before = value.parse().ok(),
                _ => {}
            }
        }
        wanted
    }

    fn lets_through(&self, listed: &LoggedChange) -> bool {
        let actor = &listed.entry.actor;
        let by = match self.who.as_str() {
            "" => true,
            "user" => matches!(actor, Actor::User { .. }),
            "key" => matches!(actor, Actor::Key { .. }),
            "command" => matches!(actor, Actor::Command { .. }),
            who => actor.to_string() == who,
        };
        by && self.verb.is_none_or(|verb| listed.entry.verb == verb)
    }

    /// The filter as it stands in an address, without its beginning.
    fn query(&self) -> String {
        let parts = [("verb", self.verb.map_or("", Verb::as_str)), ("who", &self.who), ("day", &self.day)];
        let given = parts.iter().filter(|(_, value)| !value.is_empty());
        given.map(|(name, value)| format!("{name}={}&", query_value(value))).collect()
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
            let mut chars = text.chars();
            chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
        }
    }
}

/// Goes back through versions `low + 1 ..= high`, newest first, until `take`
/// breaks or enough is looked at. The version that is next, if any is left.
fn back<E>(
    (low, high): (u64, u64),
    read: impl Fn(u64, u64) -> Result<Vec<LoggedChange>, E>,
    mut take: impl FnMut(LoggedChange) -> ControlFlow<()>,
) -> Result<Option<u64>, E> {
    let mut next = high;
    while next > low && high - next < LOOKED_AT_MAX {
        let after = next.saturating_sub(STEP).max(low);
        let mut listed = read(after, next - after)?;
        // Large entries come in shorter lists: those up to `next` are read first.
        let mut step = next - after;
        while step > 1 && listed.last().is_some_and(|last| last.version < next) {
            step /= 2;
            listed = read(next - step, step)?;
        }
        let after = next - step;
        while let Some(one) = listed.pop() {
            next = one.version - 1;
            if take(one).is_break() {
                return Ok(Some(next).filter(|next| *next > low));
            }
        }
        next = after;
    }
    Ok(Some(next).filter(|next| *next > low))
}

/// GET /console/p/{partner}/changes
pub async fn list(State(console): State<Arc<Console>>, Path(partner): Path<String>, request: Request<Body>) -> Answer {
    let visit = Visit::enter(&console, &request, &partner)?;
    let query = request.uri().query().unwrap_or_default();
    let wanted = Wanted::of(query, &visit);
    let mut frame = visit.frame("Changes", "changes").with(visit.notice(query));
    let day = match wanted.day.as_str() {
        "" => None,
        day => {
            let date: Option<jiff::civil::Date> = day.parse().ok();
            // The last second before a day, and the last of it.
            let before = |date| Some(first_moment(date, &visit.clock)?.plus(-1));
            let span = date.and_then(|date| Some((before(date)?, before(date.tomorrow().ok()?)?)));
            if span.is_none() {
                frame = frame.failed("That is not a day; 2026-11-23 is one. All days are shown.");
            }
            span
        }
    };
    let (replica, snapshot, before) = (console.app.replica.clone(), visit.snapshot.clone(), wanted.before);
    let looked = blocking(move || {
        let version_at = |time| Ok::<_, ServiceError>(replica.store().version_at(snapshot.key, time)?);
        let (low, high) = match day {
            Some((begin, end)) => (version_at(begin)?, version_at(end)?.min(snapshot.version)),
            None => (0, snapshot.version),
        };
        let high = before.map_or(high, |before| high.min(before));
        let mut found = Vec::new();
        let rest = back(
            (low, high),
            |after, limit| replica.changes(&snapshot, after, limit, 0, 1),
            |listed| {
                if wanted.lets_through(&listed) {
                    found.push(listed);
                }
                if found.len() == ROWS { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            },
        )?;
        Ok::<_, ServiceError>((found, rest, high, wanted))
    });
    let (found, rest, high, wanted) = looked.await??;
    let filtered = wanted.verb.is_some() || !wanted.who.is_empty() || !wanted.day.is_empty();
    let looked = match rest {
        Some(rest) if found.len() < ROWS => {
            format!("{} were looked through for these.", show::count(high - rest, "change", "changes"))
        }
        _ => String::new(),
    };
    let choice = |value: &str, name: &str, current: &str| Choice {
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
    html(&Changes {
        lines: found.iter().map(|listed| line(&visit, listed)).collect(),
        verbs: std::iter::once(choice("", "All", current)).chain(all).collect(),
        actors,
        day: wanted.day.clone(),
        midnight: midnight(&visit.clock),
        filtered,
        looked,
        query: wanted.query(),
        before: rest,
        first_page: wanted.before.is_none(),
        frame,
    })
}

fn line(visit: &Visit, listed: &LoggedChange) -> Line {
    let actor = &listed.entry.actor;
    Line {
        version: listed.version,
        summary: summed(visit, listed),
        verb: verb_name(listed.entry.verb),
        by: who(visit, actor),
        by_query: query_value(&actor.to_string()),
        at: visit.clock.time(listed.entry.at),
    }
}

/// What a change did, in a line.
fn summed(visit: &Visit, listed: &LoggedChange) -> String {
    let mut parts = Vec::new();
    if let Some(first) = listed.numbers.first() {
        let said = visit.clock.told(&summary::number(first, listed.entry.at));
        let readable = visit.console.spaces.readable(first.number);
        parts.push(match listed.total {
            0 | 1 => format!("{readable}: {said}"),
            total => format!("{}, the first of them {said}", show::count(total, "number", "numbers")),
        });
    }
    let entities = &listed.entities;
    let shown = if parts.is_empty() || entities.len() <= ENTITIES { ENTITIES } else { 0 };
    parts.extend(entities.iter().take(shown).map(|entity| escape(&summary::entity(entity))));
    if let Some(more @ 1..) = entities.len().checked_sub(shown) {
        let besides = if shown == 0 { "customers, applications and trunks" } else { "more" };
        parts.push(format!("{} {besides}", show::thousands(more as u64)));
    }
    if parts.is_empty() { "nothing that shows".to_owned() } else { parts.join("; ") }
}

/// GET /console/p/{partner}/changes/{version}
pub async fn page(
    State(console): State<Arc<Console>>,
    Path((partner, version)): Path<(String, String)>,
    request: Request<Body>,
) -> Answer {
    let visit = Visit::enter(&console, &request, &partner)?;
    let version: u64 = version.parse().map_err(|_| Trouble::NotFound)?;
    let query = request.uri().query().unwrap_or_default();
    let frame = visit.frame("", "changes").with(visit.notice(query));
    show_change(&visit, version, page_of(query), frame, Left::default(), StatusCode::OK).await
}

/// What an undo left as it is.
#[derive(Default)]
struct Left {
    rows: Vec<RefusedUndo>,
    count: u64,
}

/// POST /console/p/{partner}/changes/{version}/undo
pub async fn undo(
    State(console): State<Arc<Console>>,
    Path((partner, version)): Path<(String, String)>,
    request: Request<Body>,
) -> Answer {
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
) -> Answer {
    let after = version.checked_sub(1).ok_or(Trouble::NotFound)?;
    let (replica, snapshot) = (visit.console.app.replica.clone(), visit.snapshot.clone());
    let skip = (page - 1).saturating_mul(NUMBERS);
    let listed = blocking(move || replica.changes(&snapshot, after, 1, skip, NUMBERS as usize)).await??.pop();
    let listed = listed.filter(|listed| listed.version == version).ok_or(Trouble::NotFound)?;
    let at = listed.entry.at;
    let clock = &visit.clock;
    frame.title = format!("Change {version}");
    let mut facts = vec![
        ("What", escape(&verb_name(listed.entry.verb))),
        ("Who", {
            let query = query_value(&listed.entry.actor.to_string());
            show::link(&format!("{}/changes?who={query}", visit.base), &who(visit, &listed.entry.actor))
        }),
        ("When", format!("{} <small>{}</small>", clock.time(at), clock.distance(at))),
        ("Numbers", show::thousands(listed.total)),
    ];
    match listed.entry.request_id.as_deref() {
        Some(id) if id.starts_with("job_") => {
            facts.push(("Part of", show::link(&visit.href("jobs", id), id)));
        }
        Some(id) if id.starts_with("import_") => {
            facts.push(("Part of", show::link(&visit.href("import", id), id)));
        }
        Some(id) => facts.push(("Request", format!("<code>{}</code>", escape(id)))),
        None => {}
    }
    let rows = listed.numbers.iter().map(|change| NumberRow {
        number: change.number.to_string(),
        readable: visit.console.spaces.readable(change.number),
        said: clock.told(&summary::number(change, at)),
        before: change.before.as_ref().map_or_else(|| show::NONE.to_owned(), |record| words(visit, &record.as_of(at))),
        after: change.after.as_ref().map_or_else(|| show::NONE.to_owned(), |record| words(visit, record)),
    });
    let more_refused = left.count.saturating_sub(left.rows.len() as u64);
    let refused = left.rows.iter().map(|row| RefusedRow {
        number: row.number.to_string(),
        readable: visit.console.spaces.readable(row.number),
        reason: told(visit, &row.reason),
        at: row.at.map_or(String::new(), |at| clock.time(at)),
    });
    let shown = ChangePage {
        version,
        title: format!("Change {}", show::thousands(version)),
        facts,
        more_entities: listed.entities.len().saturating_sub(NUMBERS as usize),
        entities: listed.entities.iter().take(NUMBERS as usize).map(summary::entity).collect(),
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

/// A record, in words.
fn words(visit: &Visit, record: &Record) -> String {
    let clock = &visit.clock;
    let mut words = vec![record.state.to_string()];
    if let Some(account) = &record.account {
        let held = if record.state.held() { "held by" } else { "for" };
        words.push(escape(&format!("{held} {account}")));
    }
    words.extend(record.application.as_ref().map(|id| escape(&format!("to {id}"))));
    words.extend(record.trunk.as_ref().map(|id| escape(&format!("on {id}"))));
    words.extend(record.cost.map(|cost| escape(&show::money(cost))));
    words.extend(record.expires_at.map(|at| format!("expires {}", clock.time(at))));
    words.extend(record.until.map(|at| format!("until {}", clock.time(at))));
    let tags: Vec<&str> = record.tags.iter().collect();
    if !tags.is_empty() {
        words.push(escape(&format!("tagged {}", tags.join(", "))));
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Time;
    use crate::service::past::LogEntry;

    fn listed(version: u64) -> LoggedChange {
        let at = Time::new(1_770_000_000).expect("a time");
        let entry = LogEntry { at, actor: Actor::Server, request_id: None, verb: Verb::Assign, from: None };
        LoggedChange { version, entry, entities: Vec::new(), numbers: Vec::new(), total: 0 }
    }

    /// The versions that a walk back finds, and where it goes on.
    fn walk(low: u64, high: u64, wanted: impl Fn(u64) -> bool) -> (Vec<u64>, Option<u64>) {
        let mut found = Vec::new();
        let rest = back(
            (low, high),
            |after, limit| Ok::<_, ()>((after + 1..=after + limit).map(listed).collect()),
            |one| {
                if wanted(one.version) {
                    found.push(one.version);
                }
                if found.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
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
        assert_eq!(verb_name(Verb::AccountCreate), "Account created");
        assert_eq!(verb_name(Verb::Assign), "Assign");
    }
}
