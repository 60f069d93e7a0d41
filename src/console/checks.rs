//! The findings: by check, with links to the actions that repair them, and with
//! acknowledgements.
//!
//! Findings are computed for each page, because they change with time; every count
//! equals the list behind its link.
//! Invariant: another partner's finding is answered like one that does not exist.
//! Deliberately absent: the checks (`checks`), and the recipients of alerts
//! (`schedules`, `webhooks`).

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Request, State};
use http::StatusCode;

use super::chooser;
use super::form::{self, FormRefusal, Wrongs};
use super::gate::{Form, Needs, Visit, query_value};
use super::line::quoted;
use super::number::who;
use super::page::{Frame, Notice, PageResult, Trouble, html_as, redirect};
use super::sign_in::blocking;
use super::{ConsoleState, ItemPath, keys, pieces, show, unknown};
use crate::checks::{Check, CheckOptions, Finding, counts};
use crate::domain::{AccountId, Actor, FieldError, Sum, Time};
use crate::http::checks::idle_days;
use crate::inventory::Snapshot;
use crate::inventory::called::DAYS_KEPT;
use crate::service::verbs::checks::{
    FindingsPage, FindingsSummary, NOTE_CHARS_MAX, ReportedFinding, is_found, page, summary,
};
use crate::wire::html::Html;

/// How many findings a page has.
const ROWS: usize = 50;
/// For how long after it a page says what was done, in seconds.
const SAID_SECONDS: i64 = 300;

/// Which findings are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ChecksView {
    check: Option<Check>,
    account: Option<AccountId>,
    /// What was typed for a customer, and why it names none.
    misnamed: Option<(String, String)>,
    /// Why another word means nothing.
    unknown: Option<String>,
    acknowledged: bool,
    /// For how many days nobody called an idle number; 0 if nothing was said.
    idle_days: u32,
    page: usize,
    /// What was just acknowledged, or taken back.
    seen: Option<String>,
}

impl ChecksView {
    /// Where a word means nothing, that is said and no findings are shown: an
    /// operator would take an empty list for the answer.
    fn read(query: &str, snapshot: &Snapshot) -> ChecksView {
        let mut asked = ChecksView { page: 1, ..ChecksView::default() };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = value.trim();
            match &*name {
                "check" | "idle_for" if value.is_empty() => {}
                "check" => match Check::parse(value) {
                    Some(check) => asked.check = Some(check),
                    None => {
                        asked.unknown = Some(unknown::word("check", value, Check::ALL.iter().map(|it| it.as_str())))
                    }
                },
                "account" if value.is_empty() => {}
                "account" => match snapshot.customer(value) {
                    Ok(id) => asked.account = Some(id),
                    Err(error) => asked.misnamed = Some((value.to_owned(), error.to_string())),
                },
                "acknowledged" => match value {
                    "true" => asked.acknowledged = true,
                    "" | "false" => {}
                    _ => {
                        asked.unknown =
                            Some(unknown::word("value of acknowledged", value, ["true", "false"].into_iter()))
                    }
                },
                "idle_for" => match idle_days(&format!("{}d", value.trim_end_matches('d'))) {
                    Some(days) => asked.idle_days = days,
                    None => {
                        let shown = unknown::shown(value);
                        asked.unknown = Some(format!("“{shown}” is no number of days from 1 to {DAYS_KEPT}"));
                    }
                },
                "page" => asked.page = value.parse().unwrap_or(1).max(1),
                "seen" => asked.seen = Some(value.to_owned()),
                _ => {}
            }
        }
        asked
    }

    /// Why no findings are shown, if a word means nothing.
    fn why(&self) -> Option<&str> {
        self.misnamed.as_ref().map(|(_, why)| why).or(self.unknown.as_ref()).map(String::as_str)
    }

    /// The same as a query, without its page.
    fn query(&self) -> String {
        let mut parts = Vec::new();
        if let Some(check) = self.check {
            parts.push(format!("check={check}"));
        }
        if let Some(account) = &self.account {
            parts.push(format!("account={}", query_value(account.as_str())));
        } else if let Some((typed, _)) = &self.misnamed {
            parts.push(format!("account={}", query_value(typed)));
        }
        if self.acknowledged {
            parts.push("acknowledged=true".to_owned());
        }
        if self.idle_days > 0 {
            parts.push(format!("idle_for={}", self.idle_days));
        }
        parts.join("&")
    }

    /// What is looked for: `idle` only where it is asked for.
    fn options(&self) -> CheckOptions {
        let asked = self.check == Some(Check::Idle);
        let checks = if asked { Check::ALL.to_vec() } else { Vec::new() };
        let options = CheckOptions { checks, account: self.account.clone(), ..CheckOptions::default() };
        match self.idle_days {
            0 => options,
            idle_days => CheckOptions { idle_days, ..options },
        }
    }
}

/// What a page shows of what was found.
struct FoundPage {
    summary: FindingsSummary,
    rows: Vec<ReportedFinding>,
    /// How many there are on all pages.
    total: u64,
    page: usize,
    pages: usize,
    /// What the idle numbers cost a month.
    saves: Vec<Sum>,
}

impl FoundPage {
    fn nothing() -> FoundPage {
        let summary = FindingsSummary { open: counts([]), acknowledged: counts([]), first: Vec::new() };
        FoundPage { summary, rows: Vec::new(), total: 0, page: 1, pages: 1, saves: Vec::new() }
    }

    fn of(snapshot: &Snapshot, asked: &ChecksView, options: CheckOptions, now: Time) -> FoundPage {
        let summary = summary(snapshot, &options, now, 0);
        let counts = if asked.acknowledged { &summary.acknowledged } else { &summary.open };
        let total: u64 = match asked.check {
            Some(check) => counts.get(&check).copied().unwrap_or_default(),
            None => counts.values().sum(),
        };
        let pages = (total as usize).div_ceil(ROWS).max(1);
        let at = asked.page.min(pages);
        let options = CheckOptions { checks: asked.check.into_iter().collect(), ..options };
        let window = (((at - 1) * ROWS) as u64, ROWS);
        let FindingsPage { rows, saves, .. } = page(snapshot, &options, Some(asked.acknowledged), now, window);
        FoundPage { summary, rows, total, page: at, pages, saves }
    }
}

struct CheckTab {
    name: String,
    count: String,
    severity: &'static str,
    query: String,
    current: bool,
}

/// Something that mends a finding, by its page.
struct Way {
    name: &'static str,
    href: String,
}

/// Who set a finding aside.
struct Aside {
    by: String,
    at: Html,
    until: Html,
    note: String,
}

struct CheckRow {
    id: String,
    /// What it is about, for those who hear the page.
    name: String,
    subject: Html,
    customer: Html,
    since: Html,
    ways: Vec<Way>,
    aside: Option<Aside>,
    open: bool,
}

/// The findings of one check on this page.
struct CheckGroup {
    id: &'static str,
    name: String,
    severity: &'static str,
    count: String,
    meaning: &'static str,
    action: &'static str,
    query: String,
    /// The same numbers as a list, for verbs that are done to many.
    numbers: Option<String>,
    /// What the column of times says.
    when: &'static str,
    rows: Vec<CheckRow>,
}

/// What was typed into a form that was refused.
#[derive(Clone, Default)]
struct TypedNote {
    id: String,
    until: String,
    day: String,
    note: String,
    wrongs: Wrongs,
}

#[derive(Template)]
#[template(path = "checks.html")]
struct Checks {
    frame: Frame,
    part: &'static str,
    tabs: Vec<CheckTab>,
    acknowledged: bool,
    filtered: bool,
    /// Whether a word of the address means nothing, such as a customer's name.
    misnamed: bool,
    account: String,
    /// Of which moment days are, as their labels say it.
    midnight: String,
    account_name: String,
    chooser: Html,
    /// What the idle numbers cost, or why none are shown yet.
    idle: String,
    idle_days: u32,
    asks_idle: bool,
    total: u64,
    found: String,
    groups: Vec<CheckGroup>,
    query: String,
    page: usize,
    pages: usize,
    typed: TypedNote,
    tomorrow: String,
}

impl Checks {
    /// What a finding's form has.
    fn typed_of(&self, row: &CheckRow) -> TypedNote {
        if row.open { self.typed.clone() } else { TypedNote::default() }
    }
}

/// GET /console/p/{partner}/checks
pub async fn list(State(console): ConsoleState, Path(partner): Path<String>, request: Request) -> PageResult {
    let visit = Visit::enter(&console, &request, &partner)?;
    let asked = ChecksView::read(request.uri().query().unwrap_or_default(), &visit.snapshot);
    let frame = visit.frame("Checks", "checks").with(said(&visit, &asked));
    match asked.why() {
        None => render(&visit, frame, &asked, TypedNote::default(), StatusCode::OK).await,
        Some(why) => {
            let frame = frame.failed(why);
            render(&visit, frame, &asked, TypedNote::default(), StatusCode::UNPROCESSABLE_ENTITY).await
        }
    }
}

/// POST /console/p/{partner}/checks/{id}/acknowledge
pub async fn acknowledge(State(console): ConsoleState, Path((partner, id)): ItemPath, request: Request) -> PageResult {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let (visit, form) = Visit::post(&console, request, &partner, Needs::Manager).await?;
    let asked = ChecksView::read(&query, &visit.snapshot);
    let frame = visit.frame("Checks", "checks");
    if !there(&visit, &id, asked.options()).await? {
        let gone = "The finding no longer exists: it may have been resolved meanwhile. Nothing was saved.";
        return render(&visit, frame.failed(gone), &asked, TypedNote::default(), StatusCode::NOT_FOUND).await;
    }
    let back = form.has("back");
    let choice = match back {
        true => Ok((None, None)),
        false => read(&form, &visit),
    };
    let failed = |refusal: FormRefusal| {
        let [until, day, note] = ["until", "day", "note"].map(|name| form.get(name).to_owned());
        let FormRefusal { text, wrongs, .. } = refusal;
        (visit.frame("Checks", "checks").failed(text), TypedNote { id: id.clone(), until, day, note, wrongs })
    };
    let (note, until) = match choice {
        Ok(choice) => choice,
        Err(error) => {
            let (frame, typed) = failed(FormRefusal::of(vec![error]));
            return render(&visit, frame, &asked, typed, StatusCode::UNPROCESSABLE_ENTITY).await;
        }
    };
    let about = id.clone();
    let verb = move |service: &crate::service::Service, key| match back {
        true => service.acknowledge_end(key, &about),
        false => service.acknowledge(key, &about, note.as_ref(), until),
    };
    match visit.act("finding.acknowledge", verb).await {
        Ok(_) => {
            keys::follow(&console).await?;
            let query = asked.query();
            let glue = if query.is_empty() { "" } else { "&" };
            redirect(&format!("{}/checks?{query}{glue}seen={}", visit.base, query_value(&id)))
        }
        Err(error) => {
            let (frame, typed) = failed(FormRefusal::from_verb(error)?);
            render(&visit, frame, &asked, typed, StatusCode::UNPROCESSABLE_ENTITY).await
        }
    }
}

/// Whether this partner has, or had, such a finding.
async fn there(visit: &Visit, id: &str, options: CheckOptions) -> Result<bool, Trouble> {
    if visit.snapshot.acknowledgements.get(id).is_some() {
        return Ok(true);
    }
    let (snapshot, now, id) = (visit.snapshot.clone(), visit.clock.now, id.to_owned());
    let options = CheckOptions { account: None, ..options };
    blocking(move || is_found(&snapshot, &options, &id, now)).await
}

/// A note, and until when a finding is set aside.
type SnoozeChoice = (Option<Arc<str>>, Option<Time>);

fn read(form: &Form, visit: &Visit) -> Result<SnoozeChoice, FieldError> {
    let now = visit.clock.now;
    let wrong = |field: &str, sentence: &str| FieldError::missing(field, form::SENTENCE, sentence);
    let until = match (form.get("until"), form.given("day")) {
        // Who names a day means it, whatever the list above it says.
        (_, Some(day)) => {
            let end = form::moment(day, &visit.clock).map_err(|bad| match bad {
                form::BadDay::NotADay => wrong("day", "The day must be one such as 2027-03-01"),
                form::BadDay::Never => wrong("day", "Choose “for good” to acknowledge without an end"),
            })?;
            if end <= now {
                return Err(wrong("day", "That day has begun already; choose a later one"));
            }
            Some(end)
        }
        ("1d", None) => Some(now.plus(86_400)),
        ("7d", None) => Some(now.plus(7 * 86_400)),
        ("good", None) => None,
        ("day", None) => return Err(wrong("day", "Choose a day such as 2027-03-01")),
        _ => return Err(wrong("until", "Choose for how long: a day, a week, until a day, or for good")),
    };
    let note = form.given("note");
    if note.is_some_and(|note| note.chars().count() > NOTE_CHARS_MAX || note.chars().any(char::is_control)) {
        return Err(wrong("note", &format!("A note is one line of at most {NOTE_CHARS_MAX} characters")));
    }
    Ok((note.map(Into::into), until))
}

/// The reader's own last action on this page.
fn said(visit: &Visit, asked: &ChecksView) -> Option<Notice> {
    let one = visit.snapshot.acknowledgements.get(asked.seen.as_deref()?)?;
    let mine = *one.by == *format!("user:{}", visit.user().id);
    if !mine || visit.clock.now.seconds() - one.at.seconds() > SAID_SECONDS {
        return None;
    }
    let text = match (one.holds(visit.clock.now), one.until) {
        (true, Some(until)) => {
            format!("Acknowledged. It comes back on {}, if it is still so.", visit.clock.plain_time(until))
        }
        (true, None) => "Acknowledged for good; it is under Acknowledged.".to_owned(),
        (false, _) => "It is open again.".to_owned(),
    };
    Some(Notice::plain(&text))
}

async fn render(visit: &Visit, frame: Frame, asked: &ChecksView, typed: TypedNote, status: StatusCode) -> PageResult {
    // As it is now: something may just have been acknowledged.
    let (snapshot, now) = (visit.newest(), visit.clock.now);
    let options = asked.options();
    let (looked, wanted, of) = (snapshot.clone(), options.clone(), asked.clone());
    let found = match asked.why() {
        Some(_) => FoundPage::nothing(),
        None => blocking(move || FoundPage::of(&looked, &of, wanted, now)).await?,
    };
    let FoundPage { summary, rows, total, page, pages, saves } = found;
    let idle = idle_words(&snapshot, saves, asked, &options, now);
    let tabs = tabs(&summary, asked);
    let of_check = if asked.acknowledged { &summary.acknowledged } else { &summary.open };
    let groups = rows.chunk_by(|a, b| a.finding.check == b.finding.check).map(|rows| {
        let check = rows[0].finding.check;
        CheckGroup {
            id: check.as_str(),
            name: show::check_name(check),
            severity: check.severity().as_str(),
            count: show::thousands(of_check.get(&check).copied().unwrap_or_default()),
            meaning: check.meaning(),
            action: check.action(),
            query: ChecksView { check: Some(check), ..asked.clone() }.query(),
            numbers: as_numbers(check, asked.account.as_ref()).filter(|_| !asked.acknowledged),
            when: if check == Check::Expiring { "Expires" } else { "Since" },
            rows: rows.iter().map(|seen| row(visit, seen, &typed)).collect(),
        }
    });
    let account = asked.account.as_ref();
    let known = account.and_then(|id| visit.snapshot.accounts.get(id.as_str()));
    let page = Checks {
        part: "findings",
        tabs,
        acknowledged: asked.acknowledged,
        filtered: asked.check.is_some() || account.is_some(),
        misnamed: asked.why().is_some(),
        account: match &asked.misnamed {
            Some((typed, _)) => typed.clone(),
            None => account.map_or(String::new(), ToString::to_string),
        },
        midnight: form::midnight(&visit.clock),
        account_name: known
            .map_or_else(|| account.map_or(String::new(), ToString::to_string), |one| one.name.to_string()),
        chooser: chooser::filter(
            &visit.snapshot,
            "account",
            account.map(|id| id.as_str()),
            asked.misnamed.as_ref().map(|(typed, _)| &**typed),
        ),
        idle,
        idle_days: options.idle_days,
        asks_idle: asked.check == Some(Check::Idle),
        total,
        found: show::count(total, "finding", "findings"),
        groups: groups.collect(),
        query: asked.query(),
        page,
        pages,
        tomorrow: visit.clock.iso_day(now.plus(86_400)),
        typed,
        frame,
    };
    html_as(status, &page)
}

/// What the idle numbers cost a month, or why none can be found yet.
fn idle_words(snapshot: &Snapshot, saves: Vec<Sum>, asked: &ChecksView, options: &CheckOptions, now: Time) -> String {
    if asked.check != Some(Check::Idle) {
        return String::new();
    }
    let (recording, days) = (snapshot.called.recording(), options.idle_days);
    if !recording.records(now, days) {
        let known = show::count(u64::from(recording.whole_days(now)), "whole day", "whole days");
        return format!("Silent until all nodes have recorded calls for {days} whole days; so far it is {known}.");
    }
    let sums: Vec<String> = saves.into_iter().map(show::sum).collect();
    match sums.is_empty() {
        true => String::new(),
        false => format!("Releasing these numbers would save {} a month.", sums.join(" and ")),
    }
}

/// The open findings by check, and those that somebody has seen.
fn tabs(found: &FindingsSummary, asked: &ChecksView) -> Vec<CheckTab> {
    let all = ChecksView { check: None, acknowledged: false, ..asked.clone() };
    let mut tabs = vec![CheckTab {
        name: "All open".to_owned(),
        count: show::thousands(found.open.values().sum()),
        severity: "",
        query: all.query(),
        current: asked.check.is_none() && !asked.acknowledged,
    }];
    for (&check, &count) in &found.open {
        let current = asked.check == Some(check) && !asked.acknowledged;
        // What is not there needs no tab, unless one looks at it.
        if count > 0 || current {
            let query = ChecksView { check: Some(check), ..all.clone() }.query();
            let count = show::thousands(count);
            tabs.push(CheckTab {
                name: show::check_name(check),
                count,
                severity: check.severity().as_str(),
                query,
                current,
            });
        }
    }
    tabs.push(CheckTab {
        name: "Acknowledged".to_owned(),
        count: show::thousands(found.acknowledged.values().sum()),
        severity: "",
        query: ChecksView { acknowledged: true, ..all }.query(),
        current: asked.acknowledged,
    });
    tabs
}

/// The filter line that finds the same numbers, where there is one.
fn as_numbers(check: Check, account: Option<&AccountId>) -> Option<String> {
    let line = match check {
        Check::Expired => "expired:yes",
        Check::Unrouted => "status:active no:application",
        Check::Expiring => "expires:<14d sort:expires",
        Check::NoActiveNumber
        | Check::NoDestination
        | Check::Vanished
        | Check::ArchivedRoute
        | Check::DoubtfulNumber
        | Check::Suspended
        | Check::Appeared
        | Check::Idle => return None,
    };
    let of = account.map_or("has:account".to_owned(), |id| format!("account:{}", quoted(id.as_str())));
    Some(query_value(&format!("{of} {line}")))
}

fn row(visit: &Visit, seen: &ReportedFinding, typed: &TypedNote) -> CheckRow {
    let ReportedFinding { id, finding, acknowledged } = seen;
    let clock = &visit.clock;
    let customer = finding.account.as_ref().map(|account| {
        let id = account.as_str();
        let known = visit.snapshot.accounts.get(id);
        let name = known.map_or_else(|| id.to_owned(), |one| one.name.to_string());
        (pieces::titled_link(&visit.href("customers", id), id, &name), name)
    });
    let evidence = finding.evidence();
    let evidence = |name: &str| evidence.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str());
    let (mut name, subject) = match finding.number {
        Some(number) => {
            let readable = visit.console.spaces.readable(number);
            let link = pieces::number(&visit.base, number, &readable);
            (readable, link)
        }
        None => Default::default(),
    };
    // More numbers than a mirror's setting can name.
    let many = evidence("numbers").and_then(|count| count.parse().ok());
    let subject = match (finding.check, many) {
        (Check::Vanished | Check::Appeared, Some(count)) => {
            name = show::count(count, "number", "numbers");
            format!("{name}, too many to name").into()
        }
        (Check::Idle, _) => {
            let value = |name| evidence(name).unwrap_or_default();
            let last = match evidence("last_called_at") {
                Some("never") | None => "not called in 90 days".to_owned(),
                Some(day) => format!("last called on {day}"),
            };
            pieces::beside(subject, format!("{last}; {} {} a month", value("monthly_cost"), value("currency")))
        }
        (Check::DoubtfulNumber, _) => {
            pieces::beside(subject, format!("probably {}", evidence("probably_meant").unwrap_or_default()))
        }
        _ => subject,
    };
    let (customer, customer_name) = customer.unwrap_or_else(|| (pieces::none(), String::new()));
    if name.is_empty() {
        name = customer_name;
    }
    let aside = acknowledged.as_ref().map(|one| Aside {
        by: Actor::parse(&one.by).map_or_else(|| one.by.to_string(), |actor| who(visit, &actor)),
        at: clock.time(one.at),
        until: one.until.map_or_else(|| "for good".into(), |until| Html::from("until ") + clock.time(until)),
        note: one.note.as_deref().unwrap_or_default().to_owned(),
    });
    let since = finding.since.map_or_else(pieces::none, |at| clock.moment(at));
    CheckRow {
        name,
        subject,
        customer,
        since,
        ways: if visit.role().manages() { ways(visit, finding) } else { Vec::new() },
        aside,
        open: typed.id == *id,
        id: id.clone(),
    }
}

/// The verbs that mend a finding, where they are done.
fn ways(visit: &Visit, finding: &Finding) -> Vec<Way> {
    let base = &visit.base;
    let verb = |number: crate::domain::E164, name: &'static str, verb: &str| Way {
        name,
        href: format!("{base}/numbers/{number}?do={verb}#do-{verb}"),
    };
    match (finding.check, finding.number, &finding.account) {
        (Check::NoActiveNumber, _, Some(_)) => {
            vec![Way { name: "Assign a number", href: format!("{base}/numbers?q=state%3Aavailable") }]
        }
        (Check::Expired | Check::Expiring, Some(number), _) => {
            vec![verb(number, "Renew", "renew"), verb(number, "Release", "release")]
        }
        (Check::Unrouted | Check::NoDestination | Check::ArchivedRoute, Some(number), _) => {
            vec![verb(number, "Route", "route")]
        }
        (Check::Idle, Some(number), _) => vec![verb(number, "Release", "release")],
        (Check::DoubtfulNumber, Some(number), Some(_)) => vec![verb(number, "Release", "release")],
        (Check::DoubtfulNumber, Some(number), None) => vec![verb(number, "Retire", "retire")],
        (Check::Suspended, Some(number), _) => {
            vec![verb(number, "Resume", "resume"), verb(number, "Release", "release")]
        }
        (Check::Vanished | Check::Appeared, Some(number), _) => {
            vec![Way { name: "See what happened", href: format!("{base}/numbers/{number}#past") }]
        }
        (_, None, _) | (Check::NoActiveNumber, Some(_), None) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_the_same_after_a_form() {
        let customers = [("MA_1", "Umbrella"), ("MA", "Mango"), ("MA 1", "Other"), ("\"&x", "Odd")];
        let snapshot = Snapshot::of_names(&customers, &[]);
        let read = |query: &str| ChecksView::read(query, &snapshot);
        for (query, expected) in [
            ("", ""),
            ("check=expired&page=3", "check=expired"),
            ("check=nonsense&account=Umbrella", "account=MA_1"),
            ("account=MA+1", "account=MA+1"),
            ("account=Nobody", "account=Nobody"),
            ("account=&acknowledged=true", "acknowledged=true"),
            ("account=%22%26x&check=unrouted", "check=unrouted&account=%22%26x"),
        ] {
            let asked = read(query);
            assert_eq!(asked.query(), expected, "{query}");
            assert_eq!(read(&asked.query()).query(), expected, "{query}");
        }
        assert_eq!(read("account=Nobody").account, None);
        assert_eq!(read("account=MA+1").account, Some(AccountId::stored("MA 1")));
        assert_eq!(read("page=0").page, 1);
        assert_eq!(read("page=x").page, 1);
    }
}
