//! The form of a bulk action: the numbers, the parameters of the action, and the
//! way to the job's preview.
//!
//! Invariants: this page only creates a preview; a filter line that is not
//! understood selects no numbers, never all of them.
//! Deliberately absent: running jobs, and their results (`jobs`).

use askama::Template;
use axum::extract::{Path, Request, State};
use http::{HeaderMap, StatusCode};

use super::form::{FormRefusal, Wrongs};
use super::gate::{Form, Needs, Visit, query_value};
use super::line::{FilterLine, Problem};
use super::page::{Frame, PageResult, Trouble, html_as, redirect};
use super::verbs::{self, Choices, VerbFields};
use super::{ConsoleState, numbers, show};
use crate::domain::E164;
use crate::inventory::{Order, Window};
use crate::service::background::jobs::{JobSelection, LIST_MAX, NewJob};
use crate::service::{ServiceError, VerbOutcome, WriteOutcome};
use crate::wire::html::Html;

/// How many of the selected numbers are named.
const NAMED_MAX: usize = 12;

#[derive(Template)]
#[template(path = "bulk.html")]
struct Bulk<'a> {
    frame: Frame,
    verb: &'static verbs::VerbChoice,
    q: &'a str,
    /// The numbers page that the selection was made on.
    back: String,
    all: bool,
    /// How many there were when they were selected, if that has changed.
    before: Option<String>,
    total: u64,
    count: String,
    selected: Vec<E164>,
    named: Vec<String>,
    more: String,
    fields: Html,
    choices: Html,
}

/// Which numbers are selected.
enum Selected {
    List(Vec<E164>),
    /// All that the line lets through.
    Line(Box<FilterLine>),
}

/// GET /console/p/{partner}/numbers/bulk: a page that was left open too long.
pub async fn back(State(console): ConsoleState, Path(partner): Path<String>, request: Request) -> PageResult {
    let visit = Visit::enter(&console, &request, &partner)?;
    redirect(&format!("{}/numbers", visit.base))
}

/// POST /console/p/{partner}/numbers/bulk
pub async fn form(State(console): ConsoleState, Path(partner): Path<String>, request: Request) -> PageResult {
    let headers = request.headers().clone();
    let (visit, form) = Visit::post(&console, request, &partner, Needs::Manager).await?;
    let verb = verbs::find(form.get("verb")).ok_or(Trouble::NotFound)?;
    match selected(&visit, &form) {
        Ok(selected) => page(visit, verb, &form, selected, None),
        Err(error) => nothing(visit, &form, &headers, error).await,
    }
}

/// POST /console/p/{partner}/numbers/bulk/preview
pub async fn preview(State(console): ConsoleState, Path(partner): Path<String>, request: Request) -> PageResult {
    let headers = request.headers().clone();
    let (visit, form) = Visit::post(&console, request, &partner, Needs::Manager).await?;
    // The list's own buttons renew without a form between.
    let name = if form.has("renew_by") { "renew" } else { form.get("verb") };
    let verb = verbs::find(name).ok_or(Trouble::NotFound)?;
    let selected = match selected(&visit, &form) {
        Ok(selected) => selected,
        Err(error) => return nothing(visit, &form, &headers, error).await,
    };
    let (action, params) = match verbs::read_sent(verb.name, &form, &visit.clock, &visit.snapshot) {
        Ok(read) => read,
        Err(errors) => return page(visit, verb, &form, selected, Some(FormRefusal::of(errors))),
    };
    let wanted = match &selected {
        Selected::List(numbers) => JobSelection::List(numbers.clone()),
        // A job says its filter in JSON, and this one is a line.
        Selected::Line(line) => {
            let text = serde_json::json!({ "line": form.get("q") }).to_string();
            JobSelection::Filter(Box::new(line.filter.clone()), text)
        }
    };
    let new = NewJob { action, params, wanted, preview: true };
    let made = visit.act(format!("job.{}", verb.name), move |service, key| service.job_create(key, &new)).await;
    match made {
        Ok(WriteOutcome::Done { shown: VerbOutcome::Job { job, .. }, .. }) => redirect(&visit.href("jobs", &job.id)),
        Ok(_) => redirect(&format!("{}/jobs", visit.base)),
        Err(ServiceError::Invalid(mut errors)) => {
            for error in &mut errors {
                // A job's errors name the place in the API's body.
                error.field = error.field.trim_start_matches("params.").to_owned();
            }
            page(visit, verb, &form, selected, Some(FormRefusal::of(errors)))
        }
        Err(error) => page(visit, verb, &form, selected, Some(FormRefusal::from_verb(error)?)),
    }
}

/// What the form selects, or what there is to do about it.
fn selected(visit: &Visit, form: &Form) -> Result<Selected, String> {
    if form.has("all") {
        let line = FilterLine::read(form.get("q"), &visit.snapshot, &visit.clock);
        let problems: Vec<String> = line.problems.iter().map(Problem::sentence).collect();
        return match problems.is_empty() {
            true => Ok(Selected::Line(Box::new(line))),
            false => {
                Err(format!("A part of the filter is not understood, so it selects nothing: {}", problems.join("; ")))
            }
        };
    }
    let mut numbers = Vec::new();
    for text in form.all("n") {
        numbers.push(text.parse::<E164>().map_err(|_| format!("{text} is not a number, so nothing was done."))?);
    }
    numbers.sort_unstable();
    numbers.dedup();
    match numbers.len() {
        0 => Err("No number is selected. Tick the boxes of some numbers, or the one for all of them, and go on then."
            .to_owned()),
        1..=LIST_MAX => Ok(Selected::List(numbers)),
        _ => Err(format!(
            "At most {} numbers can be selected one by one. Filter for those that you mean, and tick the box for all.",
            show::thousands(LIST_MAX as u64)
        )),
    }
}

/// The numbers page again, with what was missing.
async fn nothing(visit: Visit, form: &Form, headers: &HeaderMap, error: String) -> PageResult {
    let page = form.get("page").parse().unwrap_or(1).max(1);
    let frame = visit.frame("Numbers", "numbers").failed(error);
    let part = numbers::PagePart::of(page, headers);
    let list = numbers::NumberList::of(form.get("q"), part).choosing(form.get("verb"));
    numbers::show(visit, list, frame, StatusCode::UNPROCESSABLE_ENTITY).await
}

fn page(
    visit: Visit,
    verb: &'static verbs::VerbChoice,
    form: &Form,
    selected: Selected,
    refusal: Option<FormRefusal>,
) -> PageResult {
    let readable = |number: &E164| visit.console.spaces.readable(*number);
    let all = matches!(selected, Selected::Line(_));
    let (total, named, list) = match selected {
        Selected::List(list) => (list.len() as u64, list.iter().take(NAMED_MAX).map(readable).collect(), list),
        Selected::Line(line) => {
            let window = Window::Page { skip: 0, rows: NAMED_MAX };
            let found = visit.snapshot.select(&line.filter, Order::default(), window, visit.clock.now);
            let named: Vec<String> = found.rows.iter().map(|row| readable(&row.number())).collect();
            (found.total, named, Vec::new())
        }
    };
    let count = show::count(total, "number", "numbers");
    let before = form.get("all").parse().ok().filter(|&before: &u64| all && before != total);
    let status = if refusal.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let mut frame = visit.frame(&title(verb, &count), "numbers");
    let (error, wrongs) = refusal.map_or((None, Wrongs::default()), |refusal| (Some(refusal.text), refusal.wrongs));
    frame.error = error;
    let fields = Html::of(&VerbFields::typed(verb.name, form, &visit.clock, &wrongs, true));
    let more = total - named.len() as u64;
    html_as(
        status,
        &Bulk {
            frame,
            verb,
            q: form.get("q"),
            back: format!(
                "{}/numbers?q={}&page={}",
                visit.base,
                query_value(form.get("q")),
                query_value(form.get("page"))
            ),
            all,
            before: before.map(show::thousands),
            total,
            count,
            selected: list,
            named,
            more: if more > 0 { show::thousands(more) } else { String::new() },
            fields,
            choices: Html::of(&Choices::of(&visit)),
        },
    )
}

/// `Route 12 numbers`, `Set the cost of 12 numbers`.
fn title(verb: &verbs::VerbChoice, count: &str) -> String {
    let of = if verb.title.contains(' ') { " of" } else { "" };
    format!("{}{of} {count}", verb.title)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_read_as_sentences() {
        let title = |name| title(verbs::find(name).expect("a verb"), "12 numbers");
        assert_eq!(title("route"), "Route 12 numbers");
        assert_eq!(title("cost"), "Set the cost of 12 numbers");
        assert_eq!(title("unreserve"), "End the reservation of 12 numbers");
    }
}
