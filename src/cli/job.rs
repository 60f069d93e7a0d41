//! `rollcall job create | run | cancel | undo | show | rows | list`
//!
//! The command itself executes the job, with or without a running server; a server
//! that finds the job takes part, and each row is executed once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use clap::{Args, Subcommand};

use super::output::{self, Bar};
use super::{CliError, Global, OfPartner, Outcome, confirm, refusal};
use crate::domain::plan::{self, Judgement, Misspelling};
use crate::domain::shown::shown_to;
use crate::domain::spelling::{self, BareDigits};
use crate::domain::{E164, PartnerKey, Time, Verb, nothing};
use crate::http::body::{BodyFields, Json};
use crate::http::jobs::read;
use crate::http::json;
use crate::inventory::Snapshot;
use crate::inventory::names::NamedKind;
use crate::service::background::jobs::batch::MonthlyCosts;
use crate::service::background::jobs::{self as service_jobs, BatchStep, JobState, LIST_MAX, RowResult};
use crate::service::{self, Replica, Service, VerbOutcome};
use crate::store::Open;

#[derive(Subcommand)]
pub enum JobCommand {
    /// Apply one verb to many numbers, given by a list or a filter
    Create(Create),
    /// Run a previewed job, or resume an interrupted one
    Run {
        #[command(flatten)]
        one: OneJob,
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
        /// Show the job with its preview, and write nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Cancel a job; finished rows stay as they are
    Cancel {
        #[command(flatten)]
        one: OneJob,
        /// Show the job, and write nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Undo a job, except for numbers that were changed since
    Undo {
        #[command(flatten)]
        one: OneJob,
        /// Show what would change, and write nothing
        #[arg(long, visible_alias = "dry-run")]
        preview: bool,
    },
    /// Show the progress of a job
    Show(OneJob),
    /// List a job's rows
    Rows {
        #[command(flatten)]
        one: OneJob,
        /// Only rows with this result, such as failed
        #[arg(long, value_parser = parse_result)]
        result: Option<RowResult>,
    },
    /// List a partner's jobs, newest first
    List {
        #[command(flatten)]
        of: OfPartner,
    },
}

#[derive(Args)]
pub struct OneJob {
    /// The job's id, as `job list` shows it
    #[arg(value_name = "JOB_ID")]
    id: String,
    #[command(flatten)]
    of: OfPartner,
}

#[derive(Args)]
#[command(group = clap::ArgGroup::new("numbers").required(true))]
pub struct Create {
    #[command(flatten)]
    of: OfPartner,
    /// assign, transfer, release, suspend, resume, route, renew, reserve, unreserve, retire, tags or cost
    #[arg(long)]
    verb: String,
    /// The verb's parameters, such as account_auth_id=MA_1 or application_id=null; customers, applications and trunks
    /// by id or by name
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parse_pair)]
    params: Vec<(String, String)>,
    /// Which numbers, by the API's filters, such as assigned=false; several must all fit
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair, group = "numbers", num_args = 1)]
    filter: Vec<(String, String)>,
    /// A file with a number, or a block such as +912271264200..299, on each line
    #[arg(long, value_name = "FILE", group = "numbers")]
    numbers_file: Option<PathBuf>,
    /// All numbers of the partner
    #[arg(long, group = "numbers")]
    all: bool,
    /// Show what would change, and write nothing; `job run` does it
    #[arg(long, visible_alias = "dry-run")]
    preview: bool,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    pair.map(|(name, value)| (name.to_owned(), value.to_owned())).ok_or_else(|| "must be NAME=VALUE".to_owned())
}

fn parse_result(text: &str) -> Result<RowResult, String> {
    let known: Vec<&str> = RowResult::ALL.iter().map(|result| result.as_str()).collect();
    RowResult::parse(text).ok_or_else(|| format!("must be one of {}", known.join(", ")))
}

impl JobCommand {
    pub fn run(self, global: &Global) -> Result<Outcome, CliError> {
        match self {
            JobCommand::Create(create) => create.run(global),
            JobCommand::Run { one, dry_run: true, .. } | JobCommand::Cancel { one, dry_run: true } => {
                let (service, key) = open(global, &one.of, false)?;
                print(global, &service.job(key, &one.id)?, true)?;
                Ok(Outcome::Done)
            }
            JobCommand::Run { one, yes, dry_run: _ } => {
                let (service, key) = open(global, &one.of, true)?;
                let job = service.job(key, &one.id)?;
                if job.state == JobState::Previewed && destructive(job.task.verb()) {
                    confirm(&about(&job), yes)?;
                }
                let job = shown(service.job_run(key, &one.id)?)?;
                work(global, &service, key, &job.id)
            }
            JobCommand::Cancel { one, dry_run: _ } => {
                let (service, key) = open(global, &one.of, false)?;
                let job = shown(service.job_cancel(key, &one.id)?)?;
                print(global, &job, false)?;
                Ok(Outcome::Done)
            }
            JobCommand::Undo { one, preview } => {
                let (service, key) = open(global, &one.of, true)?;
                let job = shown(service.job_undo(key, &one.id, preview)?)?;
                if preview {
                    print(global, &job, true)?;
                    return Ok(Outcome::Done);
                }
                work(global, &service, key, &job.id)
            }
            JobCommand::Show(one) => {
                let (service, key) = open(global, &one.of, false)?;
                print(global, &service.job(key, &one.id)?, false)?;
                Ok(Outcome::Done)
            }
            JobCommand::Rows { one, result } => {
                let (service, key) = open(global, &one.of, false)?;
                rows(global, &service, key, &one.id, result)
            }
            JobCommand::List { of } => {
                let (service, key) = open(global, &of, false)?;
                list(global, &service, key)
            }
        }
    }
}

impl Create {
    fn run(self, global: &Global) -> Result<Outcome, CliError> {
        check_once("param", &self.params, "give one of them")?;
        check_once(
            "filter",
            &self.filter,
            "several values of one filter are divided by commas, as in status=active,suspended",
        )?;
        let names = global.names(&self.of)?;
        let listed = self.numbers_file.as_deref().map(listed).transpose()?;
        let new = BodyFields::parse(self.body(&names, listed.as_deref())?.to_string().as_bytes())
            .and_then(read)
            .map_err(|error| {
                CliError::Usage(match error.fields() {
                    Some(fields) => refusal::fields(&fields, &refusal::typed()),
                    None => error.lines().join("; "),
                })
            })?;
        let (service, key) = open(global, &self.of, true)?;
        check_spelling(&service, &self.of, listed.as_deref().unwrap_or_default())?;
        // What is hard to take back is looked at first.
        let ask = destructive(new.action.verb()) && !self.yes && !self.preview;
        let new = service_jobs::NewJob { preview: self.preview || ask, ..new };
        let job = shown(service.job_create(key, &new)?)?;
        if self.preview {
            print(global, &job, true)?;
            return Ok(Outcome::Done);
        }
        if ask {
            output::note(&describe(&job));
            if let Err(error) = confirm(&about(&job), self.yes) {
                service.job_cancel(key, &job.id)?;
                return Err(error);
            }
            service.job_run(key, &job.id)?;
        }
        work(global, &service, key, &job.id)
    }

    /// What the API would be sent.
    fn body(&self, names: &Snapshot, listed: Option<&[ListedNumber]>) -> Result<Json, CliError> {
        let text = |text: &str| Json::Text(text.to_owned());
        let param = |(name, value): &(String, String)| Ok((name.clone(), param(name, &named(names, name, value)?)));
        let params = self.params.iter().map(param).collect::<Result<_, CliError>>()?;
        let mut body = vec![("verb".to_owned(), text(&self.verb)), ("params".to_owned(), Json::Object(params))];
        if let Some(listed) = listed {
            let numbers = listed.iter().map(|listed| text(&listed.number.to_string()));
            body.push(("numbers".to_owned(), Json::List(numbers.collect())));
        } else {
            let flag = |name: &str| matches!(name, "assigned" | "routed");
            let value = |(name, value): &(String, String)| match value.parse::<bool>() {
                Ok(value) if flag(name) => Ok((name.clone(), Json::Bool(value))),
                _ => Ok((name.clone(), text(&named(names, name, value)?))),
            };
            let filter = self.filter.iter().map(value).collect::<Result<_, CliError>>()?;
            body.push(("filter".to_owned(), Json::Object(filter)));
        }
        Ok(Json::Object(body))
    }
}

/// Refuses a name that is there twice: a job has each parameter and filter once.
fn check_once(option: &str, pairs: &[(String, String)], advice: &str) -> Result<(), CliError> {
    let twice = pairs.iter().enumerate().find(|(at, (name, _))| pairs[..*at].iter().any(|(other, _)| other == name));
    match twice {
        None => Ok(()),
        Some((_, (name, value))) => {
            Err(CliError::Usage(format!("--{option} {name}={value} is there beside another {name}; {advice}")))
        }
    }
}

/// A number of a file, and the line that names it.
struct ListedNumber {
    line: usize,
    text: Arc<str>,
    number: E164,
}

/// How many wrong lines of a file are named.
const LINES_MAX: usize = 100;

/// The numbers of a file with a number or a block on each line. All that is
/// wrong with it is said at once.
fn listed(path: &Path) -> Result<Vec<ListedNumber>, CliError> {
    let failed = |source| CliError::Io { what: format!("cannot read {}", path.display()), source };
    let file = std::fs::read_to_string(path).map_err(failed)?;
    let mut listed: Vec<ListedNumber> = Vec::new();
    let mut lines: HashMap<E164, usize> = HashMap::new();
    let mut problems = Vec::new();
    for (at, line) in file.lines().enumerate() {
        let text = line.trim_matches(|c: char| c.is_whitespace() || nothing::invisible(c));
        if text.is_empty() {
            continue;
        }
        let line = at + 1;
        let (first, last) = match spelling::read(text, BareDigits::International) {
            Ok((first, last)) if last >= first => (first.digits(), last.digits()),
            Ok((first, last)) => {
                problems.push(wrong(line, text, &format!("is no block: {first} is after {last}")));
                continue;
            }
            Err(problem) => {
                problems.push(wrong(line, text, &problem.to_string()));
                continue;
            }
        };
        if last - first >= LIST_MAX as u64 || listed.len() as u64 + (last - first) >= LIST_MAX as u64 {
            problems.push(wrong(
                line,
                text,
                &format!("is more than the {LIST_MAX} numbers that a list can have; take a filter"),
            ));
            break;
        }
        let text: Arc<str> = text.into();
        for number in (first..=last).filter_map(E164::new) {
            match lines.insert(number, line) {
                Some(other) => problems.push(wrong(line, &text, &format!("names {number}, which line {other} has"))),
                None => listed.push(ListedNumber { line, text: text.clone(), number }),
            }
        }
    }
    refused(problems)?;
    Ok(listed)
}

/// Refuses numbers that the plan has only with other digits, unless they are
/// there: what is stored can be worked on.
fn check_spelling(service: &Service, of: &OfPartner, listed: &[ListedNumber]) -> Result<(), CliError> {
    let misspelt: Vec<(&ListedNumber, Misspelling)> = listed
        .iter()
        .filter_map(|listed| match plan::judge(listed.number) {
            Judgement::Misspelt(misspelling) => Some((listed, misspelling)),
            Judgement::Valid | Judgement::Invalid => None,
        })
        .collect();
    if misspelt.is_empty() {
        return Ok(());
    }
    let (snapshot, now) = (service.snapshot(&of.partner, true)?, Time::now());
    let unknown = misspelt.into_iter().filter(|(listed, _)| snapshot.get(listed.number, now).is_none());
    refused(unknown.map(|(listed, misspelling)| wrong(listed.line, &listed.text, &misspelling.to_string())).collect())
}

fn wrong(line: usize, text: &str, reason: &str) -> String {
    format!("line {line}: {} {reason}", shown_to(text, 64))
}

/// Says what is wrong with the lines of a file, each on a line of its own.
fn refused(problems: Vec<String>) -> Result<(), CliError> {
    if problems.is_empty() {
        return Ok(());
    }
    problems.iter().take(LINES_MAX).for_each(|problem| output::note(problem));
    let count = problems.len();
    Err(CliError::Usage(format!("{count} of the file's lines or numbers are refused; correct them, or leave them out")))
}

/// A value, or the id of the customer, application or trunk that it names.
fn named(names: &Snapshot, name: &str, value: &str) -> Result<String, CliError> {
    let what = match name {
        "account_auth_id" => NamedKind::Customer,
        "application_id" => NamedKind::Application,
        "trunk_id" => NamedKind::Trunk,
        _ => return Ok(value.to_owned()),
    };
    if matches!(value, "" | "null") {
        return Ok(value.to_owned());
    }
    Ok(names.find_named(what, value)?)
}

/// A parameter as JSON has it: by its name, since all of them are typed as text.
fn param(name: &str, value: &str) -> Json {
    match (name, value) {
        (_, "null") => Json::Null,
        ("monthly_cost", _) => Json::Number(value.to_owned()),
        // What is no number is refused by what reads it.
        ("months", _) if value.parse::<u32>().is_ok() => Json::Number(value.to_owned()),
        ("confirm_last", "true" | "false") => Json::Bool(value == "true"),
        ("add" | "remove", _) => Json::List(value.split(',').map(|tag| Json::Text(tag.to_owned())).collect()),
        _ => Json::Text(value.to_owned()),
    }
}

/// The verbs over the database. With `index`, as a server has them: a job asks
/// what an index knows.
fn open(global: &Global, of: &OfPartner, index: bool) -> Result<(Service, PartnerKey), CliError> {
    let service = global.service(Open::Existing)?;
    let key = service.partner_key(&of.partner)?;
    Ok(match index {
        true => (service.clone().replica(Arc::new(Replica::load(service.store().clone())?)), key),
        false => (service, key),
    })
}

fn shown(outcome: service::WriteOutcome) -> Result<service_jobs::Job, CliError> {
    match outcome {
        service::WriteOutcome::Done { shown: VerbOutcome::Job { job, .. }, .. } => Ok(*job),
        _ => Err(CliError::Other("the job was not shown".to_owned())),
    }
}

fn destructive(verb: Verb) -> bool {
    matches!(verb, Verb::Release | Verb::Retire)
}

fn about(job: &service_jobs::Job) -> String {
    format!("{} {} numbers", json::job_verb(&job.task), job.total)
}

/// Does a job to its end.
fn work(global: &Global, service: &Service, key: PartnerKey, id: &str) -> Result<Outcome, CliError> {
    let interrupted = output::interrupt()?;
    let bar = Bar::new(Some(service.job(key, id)?.total), "rows");
    loop {
        if interrupted.load(Ordering::Relaxed) {
            bar.finish();
            output::note(&format!("interrupted; `rollcall job run {id}` goes on, `rollcall job cancel {id}` ends it"));
            return Ok(Outcome::Failed);
        }
        let step = service.job_step(key, id, Instant::now())?;
        let job = service.job(key, id)?;
        bar.set("working", job.tally.rows(), Some(job.total));
        if step == BatchStep::Over {
            bar.finish();
            print(global, &job, false)?;
            if job.tally.failed > 0 && !global.json {
                output::note(&format!("`rollcall job rows {id} --result failed` says why rows failed"));
            }
            let good = job.state == JobState::Done && job.tally.failed == 0;
            return Ok(if good { Outcome::Done } else { Outcome::Differs });
        }
    }
}

fn print(global: &Global, job: &service_jobs::Job, dry_run: bool) -> Result<(), CliError> {
    if global.json {
        let mut text = Vec::new();
        json::job(&mut text, job, None);
        return output::outcome(&output::raw(text)?, dry_run);
    }
    output::line(&describe(job))
}

fn describe(job: &service_jobs::Job) -> String {
    let service_jobs::JobTally { changed, unchanged, failed, cost } = &job.tally;
    let verb = json::job_verb(&job.task);
    let mut text = match (&job.preview, job.state) {
        (Some(preview), JobState::Previewed) => format!(
            "job {} ({verb}) will change {} of {} numbers, leave {} as they are, and fail on {}{}",
            job.id,
            preview.changed,
            job.total,
            preview.unchanged,
            preview.failed,
            money(&preview.cost)
        ),
        _ => format!(
            "job {} ({verb}) is {}: of {} numbers, {changed} changed, {unchanged} unchanged, {failed} failed{}",
            job.id,
            job.state,
            job.total,
            money(cost)
        ),
    };
    if let Some(error) = &job.error {
        text.push_str(&format!("; {error}"));
    }
    text
}

/// What a month costs more or less, in each currency.
fn money(costs: &MonthlyCosts) -> String {
    let one = |(&currency, &minor): (&crate::domain::Currency, &i128)| {
        let sum = crate::domain::Sum { minor, currency };
        format!("{}{sum} {currency}", if minor < 0 { "" } else { "+" })
    };
    let all: Vec<String> = costs.iter().map(one).collect();
    if all.is_empty() { String::new() } else { format!("; {} a month", all.join(", ")) }
}

fn rows(
    global: &Global,
    service: &Service,
    key: PartnerKey,
    id: &str,
    result: Option<RowResult>,
) -> Result<Outcome, CliError> {
    const STEP: usize = 1_000;
    let mut skip = 0;
    loop {
        let (rows, _) = service.job_rows(key, id, result, skip, STEP)?;
        let mut text = Vec::new();
        for row in &rows {
            if global.json {
                json::job_row(&mut text, row);
            } else {
                let reason = row.reason.as_deref().unwrap_or_default();
                let line = format!("{:<16}  {:<12}  {reason}", row.number.to_string(), row.result);
                text.extend_from_slice(line.trim_end().as_bytes());
            }
            text.push(b'\n');
        }
        output::print(&text)?;
        skip += rows.len() as u64;
        if rows.len() < STEP {
            return Ok(Outcome::Done);
        }
    }
}

fn list(global: &Global, service: &Service, key: PartnerKey) -> Result<Outcome, CliError> {
    const STEP: usize = 100;
    let mut all = Vec::new();
    loop {
        let (jobs, _) = service.jobs(key, all.len() as u64, STEP)?;
        let last = jobs.len() < STEP;
        all.extend(jobs);
        if last {
            break;
        }
    }
    if global.json {
        let mut text = b"{\"data\":[".to_vec();
        for (at, job) in all.iter().enumerate() {
            if at > 0 {
                text.push(b',');
            }
            json::job(&mut text, job, None);
        }
        text.extend_from_slice(b"]}\n");
        output::print(&text)?;
    } else if all.is_empty() {
        output::note("there are no jobs; create one with `rollcall job create`");
    } else {
        let row = |job: &service_jobs::Job| {
            vec![
                job.id.clone(),
                json::job_verb(&job.task).to_owned(),
                job.state.to_string(),
                job.total.to_string(),
                job.tally.changed.to_string(),
                job.tally.failed.to_string(),
                job.created_at.to_string(),
                job.by.clone(),
            ]
        };
        let rows: Vec<_> = all.iter().map(row).collect();
        output::table(&["JOB", "VERB", "STATE", "ROWS", "CHANGED", "FAILED", "CREATED", "BY"], &rows)?;
    }
    Ok(Outcome::Done)
}
