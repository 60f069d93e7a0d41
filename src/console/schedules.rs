//! Schedules: run times, recipients, and the delivery of the last emails.
//!
//! All users may read; owners may change. The usual rhythms are chosen by day and
//! time, all others are cron's five fields.
//! Deliberately absent: the rules of a schedule (`service::background::schedules`), and
//! sending.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Request, State};
use http::StatusCode;

use super::form::{FormRefusal, Wrongs};
use super::gate::{Form, Needs, Visit, asks_for_new};
use super::page::{Frame, Notice, PageResult, Trouble, done, html_as};
use super::pieces::{self, FactList, MarkupPiece};
use super::sign_in::blocking;
use super::{ConsoleState, ItemPath, StepPath, diff, keys, show};
use crate::checks::Check;
use crate::domain::setting::ReportPolicy;
use crate::domain::{FieldError, Time, entity, span};
use crate::service::background::schedules::{
    EmailDelivery, RECIPIENTS_MAX, Ran, SchedulePatch, ScheduleView, Sending, preview,
};
use crate::service::{ServiceError, WriteOutcome};
use crate::wire::html::Html;

/// When a new schedule runs, if nothing else is said.
const TIME: &str = "09:00";
/// What stands for cron's fields in the list of rhythms.
const CRON: &str = "cron";

/// The rhythms that are chosen by name, with cron's day of the month and day of
/// the week.
const RHYTHMS: [(&str, &str, &str, &str); 10] = [
    ("mon", "Every Monday", "*", "1"),
    ("tue", "Every Tuesday", "*", "2"),
    ("wed", "Every Wednesday", "*", "3"),
    ("thu", "Every Thursday", "*", "4"),
    ("fri", "Every Friday", "*", "5"),
    ("sat", "Every Saturday", "*", "6"),
    ("sun", "Every Sunday", "*", "0"),
    ("workdays", "Monday to Friday", "*", "1-5"),
    ("daily", "Every day", "*", "*"),
    ("monthly", "The first of each month", "1", "*"),
];

struct ScheduleRow {
    id: String,
    name: String,
    words: String,
    cron: String,
    zone: String,
    next: Vec<Html>,
    last: Html,
    recipients: u64,
    on: bool,
}

#[derive(Template)]
#[template(path = "schedules.html")]
struct Schedules {
    frame: Frame,
    part: &'static str,
    rows: Vec<ScheduleRow>,
    mail: bool,
}

struct OptionPick {
    value: &'static str,
    name: String,
    picked: bool,
}

/// The fields of a form, as they were typed or as they are.
#[derive(Default)]
struct ScheduleFields {
    name: String,
    rhythm: String,
    time: String,
    cron: String,
    zone: String,
    recipients: String,
    checks: Vec<String>,
    within: String,
    always: bool,
    alerts: bool,
    wrongs: Wrongs,
    /// The next runs, where they were asked for.
    next: Vec<Html>,
    /// The version that a form goes on with which was sent; else it is the current one.
    version: Option<u64>,
}

impl ScheduleFields {
    fn new(visit: &Visit) -> ScheduleFields {
        let zone = visit.clock.zone.iana_name().unwrap_or("UTC").to_owned();
        let (rhythm, time, within) = ("mon".to_owned(), TIME.to_owned(), "14d".to_owned());
        ScheduleFields {
            rhythm,
            time,
            zone,
            within,
            alerts: true,
            cron: "0 9 * * 1".to_owned(),
            ..ScheduleFields::default()
        }
    }

    fn of(view: &ScheduleView) -> ScheduleFields {
        let schedule = &view.schedule;
        let simple = Simple::read(&schedule.cron);
        let list = |all: &[Arc<str>], glue: &str| all.iter().map(|one| &**one).collect::<Vec<_>>().join(glue);
        ScheduleFields {
            name: schedule.name.to_string(),
            rhythm: simple.map_or(CRON, |simple| RHYTHMS[simple.rhythm].0).to_owned(),
            time: simple.map_or(TIME.to_owned(), |simple| simple.time()),
            cron: schedule.cron.to_string(),
            zone: schedule.zone.to_string(),
            recipients: list(&schedule.recipients, "\n"),
            checks: schedule.checks.iter().map(ToString::to_string).collect(),
            within: within(schedule.within),
            always: schedule.report == ReportPolicy::Always,
            alerts: schedule.alerts,
            ..ScheduleFields::default()
        }
    }

    fn typed(form: &Form) -> ScheduleFields {
        ScheduleFields {
            name: form.get("name").to_owned(),
            rhythm: form.get("rhythm").to_owned(),
            time: form.get("time").to_owned(),
            cron: form.get("cron").to_owned(),
            zone: form.get("zone").to_owned(),
            recipients: form.raw("recipients").to_owned(),
            checks: form.all("checks").map(str::to_owned).collect(),
            within: form.get("within").to_owned(),
            always: form.get("report") == "always",
            alerts: form.has("alerts"),
            version: form.version(),
            ..ScheduleFields::default()
        }
    }

    fn refused(form: &Form, refusal: FormRefusal) -> ScheduleFields {
        ScheduleFields { version: refusal.version(form), wrongs: refusal.wrongs, ..ScheduleFields::typed(form) }
    }

    fn rhythms(&self) -> Vec<OptionPick> {
        let named =
            RHYTHMS.iter().map(|&(value, name, ..)| (value, name)).chain([(CRON, "As cron's fields below say")]);
        named.map(|(value, name)| OptionPick { value, name: name.to_owned(), picked: value == self.rhythm }).collect()
    }

    fn all_checks(&self) -> Vec<OptionPick> {
        let pick = |check: &Check| {
            let value = check.as_str();
            OptionPick { value, name: show::check_name(*check), picked: self.checks.iter().any(|one| one == value) }
        };
        Check::ALL.iter().map(pick).collect()
    }
}

struct Letter {
    at: Html,
    why: &'static str,
    findings: String,
    to: Vec<(String, &'static str, &'static str, String)>,
}

#[derive(Template)]
#[template(path = "schedule.html")]
struct SchedulePage {
    frame: Frame,
    part: &'static str,
    /// `None` where it is being made.
    id: Option<String>,
    name: String,
    facts: FactList,
    on: bool,
    asked: bool,
    letters: Vec<Letter>,
    /// The version that the form changes.
    version: u64,
    fields: ScheduleFields,
    open: bool,
    zones: Html,
    mail: bool,
    recipients_max: usize,
}

/// GET /console/p/{partner}/checks/schedules, and ?new for the form
pub async fn list(State(console): ConsoleState, Path(partner): Path<String>, request: Request) -> PageResult {
    let visit = Visit::enter(&console, &request, &partner)?;
    if asks_for_new(&request) {
        visit.need(Needs::Owner)?;
        let fields = ScheduleFields::new(&visit);
        return render_new(&visit, visit.frame("New schedule", "schedules"), fields);
    }
    let notice = plain(diff::notice(&visit, request.uri().query().unwrap_or_default()));
    let frame = visit.frame("Schedules", "schedules").with(notice);
    let (service, key, now) = (visit.service(), visit.snapshot.key, visit.clock.now);
    let all = blocking(move || service.schedules(key, now)).await??;
    let row = |view: &ScheduleView| ScheduleRow {
        id: view.id.to_string(),
        name: view.schedule.name.to_string(),
        words: in_words(&view.schedule.cron).unwrap_or_default(),
        cron: view.schedule.cron.to_string(),
        zone: view.schedule.zone.to_string(),
        next: view.next_runs.iter().map(local).collect(),
        last: last_of(&visit, view),
        recipients: view.schedule.recipients.len() as u64,
        on: view.schedule.off.is_none(),
    };
    let rows = all.iter().map(row).collect();
    html_as(StatusCode::OK, &Schedules { frame, part: "schedules", rows, mail: console.app.mail })
}

/// POST /console/p/{partner}/checks/schedules
pub async fn create(State(console): ConsoleState, Path(partner): Path<String>, request: Request) -> PageResult {
    let (visit, form) = Visit::post(&console, request, &partner, Needs::Owner).await?;
    let frame = || visit.frame("New schedule", "schedules");
    if form.has("preview") {
        return render_new(&visit, frame(), previewed(&form, visit.clock.now));
    }
    let made = match read(&form) {
        Ok(wanted) => visit.act("schedule.create", move |service, key| service.schedule_create(key, &wanted)).await,
        Err(errors) => Err(ServiceError::Invalid(errors)),
    };
    match made {
        Ok(outcome) => {
            keys::follow(&console).await?;
            done(&format!("{}/checks/schedules", visit.base), version_of(&outcome))
        }
        Err(error) => {
            let refusal = told(error)?;
            let frame = frame().failed(&refusal.text);
            render_new(&visit, frame, ScheduleFields::refused(&form, refusal))
        }
    }
}

/// GET /console/p/{partner}/checks/schedules/{id}
pub async fn page(State(console): ConsoleState, Path((partner, id)): ItemPath, request: Request) -> PageResult {
    let visit = Visit::enter(&console, &request, &partner)?;
    let notice = plain(diff::notice(&visit, request.uri().query().unwrap_or_default()));
    let frame = visit.frame("", "schedules").with(notice);
    render(&visit, &id, frame, None).await
}

/// POST /console/p/{partner}/checks/schedules/{id}/{verb}
pub async fn act(State(console): ConsoleState, Path((partner, id, verb)): StepPath, request: Request) -> PageResult {
    let (visit, form) = Visit::post(&console, request, &partner, Needs::Owner).await?;
    if verb == "edit" && form.has("preview") {
        let fields = previewed(&form, visit.clock.now);
        return render(&visit, &id, visit.frame("", "schedules"), Some(fields)).await;
    }
    let about = id.clone();
    let outcome = match verb.as_str() {
        "edit" => match read(&form) {
            Ok(wanted) => {
                visit.act("schedule.edit", move |service, key| service.schedule_edit(key, &about, &wanted)).await
            }
            Err(errors) => Err(ServiceError::Invalid(errors)),
        },
        "on" | "off" => {
            let wanted = SchedulePatch { off: Some(verb == "off"), ..SchedulePatch::default() };
            visit.act("schedule.edit", move |service, key| service.schedule_edit(key, &about, &wanted)).await
        }
        "run" => visit.act("schedule.run", move |service, key| service.schedule_ask(key, &about)).await,
        "remove" => visit.act("schedule.remove", move |service, key| service.schedule_remove(key, &about)).await,
        _ => return Err(Trouble::NotFound),
    };
    match outcome {
        Ok(outcome) => {
            keys::follow(&console).await?;
            let list = format!("{}/checks/schedules", visit.base);
            let to = if verb == "remove" { list } else { visit.href("checks/schedules", &id) };
            done(&to, version_of(&outcome))
        }
        Err(error) => {
            let refusal = told(error)?;
            let frame = visit.frame("", "schedules").failed(&refusal.text);
            let fields = (verb == "edit").then(|| ScheduleFields::refused(&form, refusal));
            render(&visit, &id, frame, fields).await
        }
    }
}

/// A schedule's change is not undone: it is made again on its own page.
fn plain(notice: Option<Notice>) -> Option<Notice> {
    notice.map(|notice| Notice { undo: None, ..notice })
}

fn version_of(outcome: &WriteOutcome) -> Option<u64> {
    match outcome {
        WriteOutcome::Done { version, .. } => *version,
        WriteOutcome::Again(_) => None,
    }
}

/// What can be mended, in words and by field.
fn told(error: ServiceError) -> Result<FormRefusal, Trouble> {
    match error {
        ServiceError::Invalid(errors) => Ok(FormRefusal::below(errors)),
        ServiceError::Unknown { .. } => Err(Trouble::NotFound),
        other => FormRefusal::from_verb(other),
    }
}

/// What a form asks for. Whether it can be had, the verb says.
fn read(form: &Form) -> Result<SchedulePatch, Vec<FieldError>> {
    let mut errors = Vec::new();
    let mut wrong = |field: &str, message: &str| errors.push(FieldError::missing(field, "INVALID", message));
    let name = entity::name(form.get("name"));
    if name.is_none() {
        wrong("name", "say in at most 200 characters what it is for");
    }
    let cron = cron_of(form);
    if cron.is_none() {
        wrong("time", "is a time of day such as 09:00");
    }
    let seconds = span::SCHEDULED.read(form.get("within")).map_err(|error| wrong("within", &error.to_string())).ok();
    let lines = form.raw("recipients").lines().map(str::trim);
    let recipients: Vec<String> = lines.filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(SchedulePatch {
        name,
        cron,
        zone: Some(form.get("zone").to_owned()),
        recipients: Some(recipients),
        checks: Some(form.all("checks").map(str::to_owned).collect()),
        within: seconds,
        report: ReportPolicy::parse(form.get("report")),
        alerts: Some(form.has("alerts")),
        off: None,
    })
}

/// Cron's fields for what was chosen.
fn cron_of(form: &Form) -> Option<String> {
    let Some(&(_, _, day, weekday)) = RHYTHMS.iter().find(|(value, ..)| *value == form.get("rhythm")) else {
        return Some(form.get("cron").to_owned());
    };
    let (hour, minute) = form.get("time").split_once(':')?;
    let number = |text: &str, end: u8| text.parse::<u8>().ok().filter(|&number| text.len() <= 2 && number < end);
    Some(format!("{} {} {day} * {weekday}", number(minute, 60)?, number(hour, 24)?))
}

/// The form again, with the next runs of what it says.
fn previewed(form: &Form, now: Time) -> ScheduleFields {
    let mut fields = ScheduleFields::typed(form);
    match cron_of(form).map(|cron| preview(&cron, form.get("zone"), now)) {
        Some(Ok((_, runs))) => fields.next = runs.iter().map(local).collect(),
        Some(Err(ServiceError::Invalid(errors))) => fields.wrongs = Wrongs(errors),
        Some(Err(_)) => {}
        None => fields.wrongs.0.push(FieldError::missing("time", "INVALID", "is a time of day such as 09:00")),
    }
    fields
}

/// `Tue 24 Nov 2026 08:30`: a run on the clocks of its zone, with UTC where one
/// points at it.
fn local((at, text): &(Time, String)) -> Html {
    let clocks = text.get(..10).zip(text.get(11..16)).and_then(|(date, clock)| {
        let weekday = date.parse::<jiff::civil::Date>().ok()?.strftime("%a").to_string();
        Some(format!("{weekday} {} {clock}", show::plain_day(date)))
    });
    let (utc, clocks) = (at.to_string(), clocks.unwrap_or_else(|| text.clone()));
    Html::of(&MarkupPiece::LocalTime { utc: &utc, text: &clocks })
}

/// A span as the form takes it.
fn within(seconds: i64) -> String {
    let units = [(86_400, 'd'), (3_600, 'h'), (60, 'm')];
    let fits = units.iter().find(|(unit, _)| seconds % unit == 0);
    fits.map_or_else(|| format!("{seconds}s"), |(unit, letter)| format!("{}{letter}", seconds / unit))
}

/// A rhythm that has a name, and its time of day.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Simple {
    rhythm: usize,
    hour: u8,
    minute: u8,
}

impl Simple {
    fn read(cron: &str) -> Option<Simple> {
        let fields: Vec<&str> = cron.split_ascii_whitespace().collect();
        let [minute, hour, day, "*", weekday] = fields[..] else { return None };
        let weekday = match weekday.to_ascii_uppercase().as_str() {
            "MON" => "1".to_owned(),
            "TUE" => "2".to_owned(),
            "WED" => "3".to_owned(),
            "THU" => "4".to_owned(),
            "FRI" => "5".to_owned(),
            "SAT" => "6".to_owned(),
            "SUN" | "7" => "0".to_owned(),
            "MON-FRI" => "1-5".to_owned(),
            other => other.to_owned(),
        };
        let rhythm = RHYTHMS.iter().position(|(_, _, on, week)| (*on, *week) == (day, weekday.as_str()))?;
        let number = |text: &str, end: u8| text.parse::<u8>().ok().filter(|&number| number < end);
        Some(Simple { rhythm, hour: number(hour, 24)?, minute: number(minute, 60)? })
    }

    fn time(self) -> String {
        format!("{:02}:{:02}", self.hour, self.minute)
    }
}

/// `Every Monday at 09:00`, where it is as simple as that.
fn in_words(cron: &str) -> Option<String> {
    let simple = Simple::read(cron)?;
    Some(format!("{} at {}", RHYTHMS[simple.rhythm].1, simple.time()))
}

/// How the last run ended.
fn last_of(visit: &Visit, view: &ScheduleView) -> Html {
    let Some(Ran { at, findings, news, told, .. }) = view.state.as_ref().and_then(|state| state.last.as_ref()) else {
        return pieces::none();
    };
    let findings = show::count(*findings, "finding", "findings");
    let told = if *told { "alerts sent" } else { "no alerts needed" };
    let aside = format!("{findings}, {} new; {told}", show::thousands(*news));
    pieces::lines([visit.clock.time(*at), Html::of(&MarkupPiece::Small { text: &aside })])
}

fn facts(visit: &Visit, view: &ScheduleView) -> FactList {
    let schedule = &view.schedule;
    let clock = &visit.clock;
    let mut facts = FactList::new();
    let cron = pieces::code(&schedule.cron);
    let runs = match in_words(&schedule.cron) {
        Some(words) => pieces::beside(words, cron),
        None => cron,
    };
    facts.push(("Runs", runs));
    facts.push(("Zone", (&*schedule.zone).into()));
    facts.push(match &schedule.off {
        Some(off) => ("Off", Html::from("since ") + clock.time(off.at)),
        None => ("Next", pieces::lines(view.next_runs.iter().map(local))),
    });
    facts.push(("Last run", last_of(visit, view)));
    let names = schedule.checks.iter().filter_map(|word| Check::parse(word)).map(show::check_name);
    let names: Vec<String> = names.collect();
    facts.push(("Looks for", if names.is_empty() { "everything".into() } else { names.join(", ").into() }));
    facts.push(("Sees ahead", within(schedule.within).into()));
    let report = match schedule.report {
        ReportPolicy::Findings => "if anything is found",
        ReportPolicy::Always => "always, also if nothing is found",
    };
    facts.push(("Reports", report.into()));
    facts.push(("Between reports", if schedule.alerts { "alerts of what is new" } else { "silent" }.into()));
    let to = pieces::lines(schedule.recipients.iter().map(|to| Html::escape(to)));
    facts.push(("Recipients", if to.is_empty() { "none; webhooks get alerts".into() } else { to }));
    facts
}

fn letter(visit: &Visit, delivery: &EmailDelivery) -> Letter {
    let to = delivery.recipients.iter().map(|one| {
        let mark = match one.state {
            Sending::Waiting => "info",
            Sending::Sent => "good",
            Sending::Failed => "critical",
        };
        let mut text = one.error.clone().unwrap_or_default();
        if let (Sending::Waiting, Some(next)) = (one.state, one.next) {
            let next = visit.clock.distance(next);
            text = if text.is_empty() { format!("to be sent {next}") } else { format!("{text}; again {next}") };
        }
        (one.to.to_string(), one.state.as_str(), mark, text)
    });
    Letter {
        at: visit.clock.time(delivery.ran.at),
        why: delivery.ran.why.as_str(),
        findings: show::count(delivery.ran.findings, "finding", "findings"),
        to: to.collect(),
    }
}

/// The time zones that a field suggests.
pub fn zones() -> Html {
    let database = jiff::tz::TimeZoneDatabase::bundled();
    let zones: Vec<_> = database.available().collect();
    Html::of(&MarkupPiece::Zones { zones: zones.iter().map(|zone| zone.as_str()).collect() })
}

fn render_new(visit: &Visit, frame: Frame, fields: ScheduleFields) -> PageResult {
    let wrong = frame.error.is_some() || !fields.wrongs.0.is_empty();
    let page = SchedulePage {
        part: "schedules",
        id: None,
        name: String::new(),
        facts: Vec::new(),
        on: true,
        asked: false,
        letters: Vec::new(),
        version: 0,
        fields,
        open: true,
        zones: zones(),
        mail: visit.console.app.mail,
        recipients_max: RECIPIENTS_MAX,
        frame,
    };
    html_as(if wrong { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK }, &page)
}

async fn render(visit: &Visit, id: &str, mut frame: Frame, fields: Option<ScheduleFields>) -> PageResult {
    let (service, key, now, about) = (visit.service(), visit.snapshot.key, visit.clock.now, id.to_owned());
    let view = blocking(move || service.schedule(key, &about, now)).await??;
    frame.title = view.schedule.name.to_string();
    let owns = visit.role().owns();
    let wrong = frame.error.is_some() || fields.as_ref().is_some_and(|fields| !fields.wrongs.0.is_empty());
    let page = SchedulePage {
        part: "schedules",
        id: Some(id.to_owned()),
        name: view.schedule.name.to_string(),
        facts: facts(visit, &view),
        on: view.schedule.off.is_none(),
        asked: view.state.as_ref().is_some_and(|state| state.asked_by.is_some()),
        letters: view.runs.iter().map(|run| letter(visit, run)).collect(),
        open: fields.is_some(),
        version: fields.as_ref().and_then(|fields| fields.version).unwrap_or_else(|| view.tag()),
        fields: fields.unwrap_or_else(|| ScheduleFields::of(&view)),
        zones: if owns { zones() } else { Html::default() },
        mail: visit.console.app.mail,
        recipients_max: RECIPIENTS_MAX,
        frame,
    };
    html_as(if wrong { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK }, &page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simple_rhythms_have_words() {
        for (cron, words) in [
            ("0 9 * * 1", Some("Every Monday at 09:00")),
            ("30 8 * * MON-FRI", Some("Monday to Friday at 08:30")),
            ("5 0 * * *", Some("Every day at 00:05")),
            ("0 7 1 * *", Some("The first of each month at 07:00")),
            ("0 9 * * SUN", Some("Every Sunday at 09:00")),
            ("0 9 * * 7", Some("Every Sunday at 09:00")),
            ("*/15 * * * *", None),
            ("0 9 * 2 1", None),
            ("0 9 1 * 1", None),
            ("0 9,17 * * 1", None),
            ("@weekly", None),
            ("", None),
        ] {
            assert_eq!(in_words(cron).as_deref(), words, "{cron}");
        }
    }

    #[test]
    fn a_rhythm_that_is_chosen_is_the_one_that_is_shown() {
        for (value, name, day, weekday) in RHYTHMS {
            let simple = Simple::read(&format!("5 17 {day} * {weekday}")).expect(value);
            assert_eq!((RHYTHMS[simple.rhythm].1, simple.time().as_str()), (name, "17:05"));
        }
    }

    #[test]
    fn runs_are_shown_on_the_clocks_of_their_zone() {
        let at: Time = "2026-11-24T07:30:00Z".parse().expect("a time");
        assert_eq!(
            local(&(at, "2026-11-24T08:30:00+01:00".to_owned())).as_str(),
            "<time datetime=\"2026-11-24T07:30:00Z\" title=\"2026-11-24T07:30:00Z\">Tue 24 Nov 2026 08:30</time>"
        );
    }

    #[test]
    fn spans_are_read_as_they_are_written() {
        for text in ["14d", "36h", "90m", "61s"] {
            assert_eq!(span::SCHEDULED.read(text).map(within).as_deref(), Ok(text));
        }
        assert_eq!(span::SCHEDULED.read("48h").map(within).as_deref(), Ok("2d"));
    }
}
