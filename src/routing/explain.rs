//! Explains the answer to calls to one number, step by step.
//!
//! Invariants: the steps are those of [`judge`](super::judge), in its order; the first one that
//! stops the call is the answer of [`super::judge`]; the later ones are shown too, so that
//! all of them can be repaired at once.
//! Deliberately absent: the log. The caller hands over the number's own history,
//! oldest first, and may add who gave an application its destinations.

use serde::Serialize;

use super::{Answer, Case, RoutingSettings, VerdictLine, destinations};
use crate::domain::{Actor, E164, Partner, Record, State, Time};
use crate::inventory::{NumberRef, Snapshot};

/// One change of the number, as the log has it.
#[derive(Clone, PartialEq, Debug)]
pub struct Moment {
    pub at: Time,
    pub by: Actor,
    pub before: Option<Record>,
    pub after: Option<Record>,
}

/// One thing that a call depends on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RouteStep {
    pub step: &'static str,
    pub ok: bool,
    /// Whether this is where calls end.
    pub stops: bool,
    pub text: String,
    /// Since when it is so, and who made it so, as far as the log says.
    pub since: Option<Time>,
    pub by: Option<String>,
    /// What repairs it.
    pub remedy: Option<String>,
}

/// What becomes of a call, and why.
#[derive(Clone, PartialEq, Debug)]
pub struct Explained {
    pub number: E164,
    pub line: &'static VerdictLine,
    /// Where the call goes, in the order for a call without a Call-ID.
    pub routes: Vec<String>,
    pub steps: Vec<RouteStep>,
    pub version: u64,
}

/// What is wrong with a step, and what repairs it.
type Wrong = (String, String);

/// Explains a number of a partner as of a moment; `row` is none where the
/// partner does not have it then, `readable` is false where its row was left
/// out because it could not be understood.
pub fn explain(
    settings: &RoutingSettings,
    snapshot: &Snapshot,
    (number, row, readable): (E164, Option<NumberRef<'_>>, bool),
    past: &[Moment],
    now: Time,
) -> Explained {
    let Some(row) = row else { return without_row(settings, snapshot, number, past, readable) };
    let answer = Answer::of(settings, row, None, now, std::time::Duration::ZERO);
    let mut steps = vec![
        held_by(row, past),
        partner(&snapshot.partner),
        expires(row, past, now),
        status(row, past),
        application(row, past),
        all_destinations(row),
    ];
    if let Some(first) = steps.iter_mut().find(|step| !step.ok) {
        first.stops = true;
    }
    let routes = answer.routes.iter().map(|route| route.to_string()).collect();
    Explained { number, line: answer.line, routes, steps, version: snapshot.version }
}

fn without_row(
    settings: &RoutingSettings,
    snapshot: &Snapshot,
    number: E164,
    past: &[Moment],
    readable: bool,
) -> Explained {
    let last = past.last().filter(|last| last.after.is_none());
    let (case, text, remedy) = match (readable, last) {
        (false, _) => (
            Case::RowUnreadable,
            "the row of this number in the database could not be understood".to_owned(),
            "run rollcall verify; the server's log names the row",
        ),
        (true, Some(_)) => (Case::Unknown, "retired: no customer has it".to_owned(), "bring it into stock again"),
        (true, None) => (Case::Unknown, "not in the inventory".to_owned(), "bring it into stock"),
    };
    let (since, by) = (last.map(|last| last.at), last.map(|last| last.by.to_string()));
    let step = RouteStep { step: "held_by", ok: false, stops: true, text, since, by, remedy: Some(remedy.to_owned()) };
    let line = settings.line(case);
    Explained { number, line, routes: Vec::new(), steps: vec![step], version: snapshot.version }
}

/// The last change after which something about the number is not what it was.
fn changed<T: PartialEq>(past: &[Moment], what: impl Fn(&Record) -> T) -> Option<&Moment> {
    past.iter().rev().find(|moment| moment.before.as_ref().map(&what) != moment.after.as_ref().map(&what))
}

fn step(step: &'static str, ok: Result<String, Wrong>, since: Option<Time>, by: Option<&Moment>) -> RouteStep {
    let by = by.map(|moment| moment.by.to_string());
    match ok {
        Ok(text) => RouteStep { step, ok: true, stops: false, text, since, by, remedy: None },
        Err((text, remedy)) => RouteStep { step, ok: false, stops: false, text, since, by, remedy: Some(remedy) },
    }
}

fn held_by(row: NumberRef<'_>, past: &[Moment]) -> RouteStep {
    let moment = changed(past, |record| record.holder().cloned());
    if let Some(account) = row.account() {
        let since = row.assigned_at();
        let text = format!("{} ({})", account.name, account.auth_id);
        return step("held_by", Ok(text), since, moment);
    }
    let until = row.until().map(|end| format!(" until {}", day(end))).unwrap_or_default();
    let wrong = match row.state() {
        State::Reserved => {
            let whom = row.reserved_for().map(|account| format!(" for {} ({})", account.name, account.auth_id));
            let text = format!("no customer: reserved{}{until}", whom.unwrap_or_default());
            (text, "assign it to that customer".to_owned())
        }
        State::Quarantined => (
            format!("no customer: quarantined{until}"),
            "undo its release, or assign it when the quarantine is over".to_owned(),
        ),
        State::Available | State::Active | State::Suspended | State::Retired => {
            ("no customer: available".to_owned(), "assign it to a customer".to_owned())
        }
    };
    let moment = changed(past, |record| record.state);
    step("held_by", Err(wrong), Some(row.since()), moment)
}

fn partner(partner: &Partner) -> RouteStep {
    let Partner { auth_id, name, suspended_at, .. } = partner;
    let text = format!("{name} ({auth_id})");
    match suspended_at {
        None => step("partner", Ok(text), None, None),
        Some(at) => {
            let remedy = "the operator resumes the partner with rollcall partner resume".to_owned();
            step("partner", Err((format!("{text} is suspended"), remedy)), Some(*at), None)
        }
    }
}

fn expires(row: NumberRef<'_>, past: &[Moment], now: Time) -> RouteStep {
    let moment = changed(past, |record| record.expires_at);
    let at = moment.map(|moment| moment.at);
    let Some(end) = row.expires_at() else { return step("expires", Ok("auto-renews".to_owned()), at, moment) };
    let days = (end.seconds() - now.seconds()).unsigned_abs() / 86_400;
    let days = if days == 1 { "1 day".to_owned() } else { format!("{days} days") };
    match end <= now {
        false => step("expires", Ok(format!("{}, in {days}", day(end))), at, moment),
        true => {
            let wrong = (format!("{}, {days} ago", day(end)), "renew it".to_owned());
            step("expires", Err(wrong), Some(end), moment)
        }
    }
}

fn status(row: NumberRef<'_>, past: &[Moment]) -> RouteStep {
    let moment = changed(past, |record| record.state);
    let state = row.state();
    let verdict = match state {
        State::Suspended => Err((state.to_string(), "resume it".to_owned())),
        State::Active => Ok(state.to_string()),
        State::Available | State::Reserved | State::Quarantined | State::Retired => {
            Err((state.to_string(), "assign it to a customer".to_owned()))
        }
    };
    step("status", verdict, Some(row.since()), moment)
}

fn application(row: NumberRef<'_>, past: &[Moment]) -> RouteStep {
    let moment = changed(past, |record| record.application.clone());
    let verdict = match row.application() {
        None => Err(("none: the number is unrouted".to_owned(), "route it to an application".to_owned())),
        Some(one) => {
            let archived = if one.archived_at.is_some() { ", archived" } else { "" };
            Ok(format!("{} {}{archived}", one.id, one.name))
        }
    };
    step("application", verdict, moment.map(|moment| moment.at), moment)
}

fn all_destinations(row: NumberRef<'_>) -> RouteStep {
    let of_application = row.application().is_some_and(|one| !one.destinations.is_empty());
    let whose = match (of_application, row.application(), row.trunk()) {
        (true, Some(one), _) => format!("application {}", one.id),
        (_, _, Some(trunk)) => format!("trunk {}", trunk.id),
        (_, Some(one), None) => format!("application {}", one.id),
        (_, None, None) => "its application".to_owned(),
    };
    let all = destinations(row);
    let list: Vec<String> = all.iter().map(ToString::to_string).collect();
    let list = list.join(", ");
    let verdict = match all {
        [] => {
            let whose = row.application().map_or(whose, |one| format!("application {}", one.id));
            Err(("none".to_owned(), format!("give {whose} a destination")))
        }
        all if all.iter().all(|one| !one.enabled) => {
            Err((format!("all are off: {list}"), format!("switch on a destination of {whose}")))
        }
        _ if of_application => Ok(list),
        _ => Ok(format!("{list}, of {whose}")),
    };
    step("destinations", verdict, None, None)
}

/// `1 Mar 2027`, and the minute where it is not midnight in UTC.
pub fn day(time: Time) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = time.to_string();
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    let month = part(5, 7).parse::<usize>().ok().and_then(|month| MONTHS.get(month.wrapping_sub(1)));
    let date = format!("{} {} {}", part(8, 10).trim_start_matches('0'), month.unwrap_or(&""), part(0, 4));
    match part(11, 16) {
        "00:00" => date,
        minute => format!("{date} {minute} UTC"),
    }
}
