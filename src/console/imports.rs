//! Import: a file or pasted text in, what it would do, and then the import.
//!
//! A file goes to disk as it arrives, so that its size costs no memory. What
//! is done with it goes on in the background ([`Uploads`]); its page loads
//! itself again until that has ended, with a script or without.
//! Invariant: a form with a file is believed no more than another; where it
//! comes from and who sent it is asked before its body is read.
//! Deliberately absent: reading rows, and what becomes of them.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use askama::Template;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use bytes::Bytes;
use http::{StatusCode, header};
use multer::Multipart;

use super::gate::{Form, Needs, Visit, segment};
use super::number::who;
use super::page::told;
use super::page::{Frame, PageResult, Trouble, html_as, mendable, redirect};
use super::pieces::{self, FactList};
use super::sign_in::blocking;
use super::{Console, ConsoleState, ItemPath, StepPath, diff, download, show};
use crate::domain::{Actor, Currency, E164, Sum};
use crate::http::places::PlaceKind;
use crate::http::waiting;
use crate::intake::{Field, Peeked, PeekedColumn};
use crate::service::ServiceError;
use crate::service::background::uploads::{
    ImportChoices, Incoming, KEPT_SECONDS, KeptRows, Now, Upload, UploadCounts, UploadStage, Uploads,
};
use crate::service::verbs::import::{
    ChangedNumber, CostChange, EntityNews, FIRST_MAX, ImportProgress, RowFate, losses_told,
};
use crate::wire::html::Html;

/// For how long an answer waits for a check, so that a small file shows what
/// was found at once.
const PATIENCE: Duration = Duration::from_millis(700);
/// What is read of a file that is too large, as a multiple of what is allowed:
/// a browser shows an answer only after it has sent everything.
const DRAINED: u64 = 16;
/// The most bytes of a field that is no file.
const FIELD_BYTES_MAX: usize = 10_000;
/// How much of a file is written, or read, at a time.
const PIECE_BYTES: usize = 64 << 10;

/// Zones that are offered for days without one; any other can be written.
const ZONES: &[&str] = &[
    "UTC",
    "Asia/Kolkata",
    "Asia/Dubai",
    "Asia/Singapore",
    "Asia/Tokyo",
    "Australia/Sydney",
    "Europe/Berlin",
    "Europe/London",
    "Europe/Paris",
    "America/New_York",
    "America/Chicago",
    "America/Los_Angeles",
    "America/Sao_Paulo",
    "Africa/Johannesburg",
];

const SAMPLE: &str = "\
number,account_auth_id,account_name,application_id,trunk_id,monthly_cost,currency,expires_at,tags\n\
+912271264217,MA_48149cf4,Example Customer,app_abc123,trunk_xyz,500.00,INR,2027-12-31,support\n\
+912271264218,MA_48149cf4,Example Customer,app_abc123,trunk_xyz,500.00,INR,,\n\
+912271264219,,,,,,,,\n";

struct Recent {
    id: String,
    name: String,
    mark: Html,
    at: Html,
    by: String,
}

#[derive(Template)]
#[template(path = "import.html")]
struct Start {
    frame: Frame,
    size: String,
    choices: ImportChoices,
    zones: &'static [&'static str],
    recent: Vec<Recent>,
}

struct ImportCount {
    name: &'static str,
    count: String,
}

struct Cost {
    currency: String,
    now: String,
    up: String,
    down: String,
    then: String,
}

/// A number that was there, or several of one row that change alike.
struct ChangedRow {
    line: u64,
    number: String,
    href: String,
    more: String,
    changes: Html,
}

struct ColumnRow {
    name: String,
    samples: String,
    /// What it is read as, as the select has it.
    value: &'static str,
    /// Whether the reader said so.
    told: bool,
}

struct FirstRow {
    line: u64,
    class: &'static str,
    fate: String,
    cells: Vec<String>,
}

struct Fault {
    line: String,
    column: String,
    value: String,
    message: Html,
}

struct ImportBar {
    /// In percent, where it is known.
    value: Option<u64>,
    text: String,
}

#[derive(Template)]
#[template(path = "upload.html")]
struct UploadPage {
    frame: Frame,
    id: String,
    name: String,
    mark: Html,
    stands: String,
    trouble: String,
    live: Option<ImportBar>,
    /// Whether it cannot be cancelled here, or has been.
    fixed: bool,
    figures: Vec<ImportCount>,
    costs: Vec<Cost>,
    /// What numbers lose, as sentences.
    losses: Vec<String>,
    cautions: Vec<Fault>,
    cautions_total: String,
    more_cautions: u64,
    /// Whether the rows with a caution can be taken along.
    cautioned: bool,
    /// Which customers, applications and trunks are new or renamed.
    entities: Vec<String>,
    more_entities: u64,
    changed: Vec<ChangedRow>,
    more_changed: u64,
    /// What the button of the import says; empty where there is none.
    run: String,
    /// Why there is none, though something would be imported.
    held_back: String,
    version: Option<u64>,
    /// Whether it can be said anew how it is to be read.
    mendable: bool,
    unit: &'static str,
    read_as: String,
    columns: Vec<ColumnRow>,
    fields: &'static [(&'static str, &'static str)],
    choices: ImportChoices,
    zones: &'static [&'static str],
    currencies: Vec<String>,
    heads: Vec<String>,
    first: Vec<FirstRow>,
    faults: Vec<Fault>,
    more_faults: u64,
    rejects: bool,
    facts: FactList,
}

/// What a column can be, for people.
const FIELDS: &[(&str, &str)] = &[
    ("-", "ignored"),
    (Field::Number.as_str(), "number"),
    (Field::NumberEnd.as_str(), "last number of a block"),
    (Field::AccountAuthId.as_str(), "customer's id"),
    (Field::AccountName.as_str(), "customer's name"),
    (Field::ApplicationId.as_str(), "application's id"),
    (Field::ApplicationName.as_str(), "application's name"),
    (Field::TrunkId.as_str(), "trunk's id"),
    (Field::MonthlyCost.as_str(), "monthly cost"),
    (Field::Currency.as_str(), "currency"),
    (Field::AssignedAt.as_str(), "assigned on"),
    (Field::ExpiresAt.as_str(), "ends on"),
    (Field::Status.as_str(), "status: active or suspended"),
    (Field::Blocked.as_str(), "blocked: yes or no"),
    (Field::State.as_str(), "state"),
    (Field::NumberType.as_str(), "type: local, tollfree or mobile"),
    (Field::Country.as_str(), "country"),
    (Field::Region.as_str(), "region"),
    (Field::Tags.as_str(), "tags"),
    (Field::QuarantineEndsAt.as_str(), "quarantine ends on"),
    (Field::ReservedUntil.as_str(), "reserved until"),
    (Field::ReservedFor.as_str(), "reserved for (customer's id)"),
    (Field::Since.as_str(), "in its state since"),
];

/// GET /console/p/{partner}/import
pub async fn start(State(console): ConsoleState, Path(partner): Path<String>, request: Request) -> PageResult {
    let visit = Visit::enter(&console, &request, &partner)?;
    visit.need(Needs::Manager)?;
    let frame = visit.frame("Import", "import").with(diff::notice(&visit, request.uri().query().unwrap_or_default()));
    show_start(&visit, frame, ImportChoices::default(), StatusCode::OK).await
}

/// GET /console/p/{partner}/import/sample.csv
pub async fn sample(State(console): ConsoleState, Path(partner): Path<String>, request: Request) -> PageResult {
    let place = Visit::enter(&console, &request, &partner)?.place(PlaceKind::Download)?;
    let mut sample = Some(Bytes::from_static(SAMPLE.as_bytes()));
    download::file("sample.csv", "text/csv; charset=utf-8; header=present", place, move || Ok(sample.take()))
}

async fn show_start(visit: &Visit, frame: Frame, choices: ImportChoices, status: StatusCode) -> PageResult {
    let (uploads, service, key) =
        (visit.console.app.uploads.clone(), visit.console.app.service.clone(), visit.snapshot.key);
    let found = blocking(move || {
        let all = uploads.list(&service, key)?;
        Ok::<_, ServiceError>(all.into_iter().map(|one| (uploads.busy(&one.id), one)).collect::<Vec<_>>())
    });
    let recent = found.await??.into_iter().map(|(busy, upload)| Recent {
        mark: mark(upload.stage, busy),
        at: visit.clock.time(upload.created_at),
        by: by(visit, &upload),
        id: upload.id,
        name: upload.name,
    });
    let recent = recent.collect();
    let size = size(visit.console.app.uploads.bytes_max());
    html_as(status, &Start { frame, size, choices, zones: ZONES, recent })
}

/// POST /console/p/{partner}/import
pub async fn give(State(console): ConsoleState, Path(partner): Path<String>, request: Request) -> PageResult {
    let visit = Visit::enter(&console, &request, &partner)?;
    visit.need(Needs::Manager)?;
    // While it comes in it takes disk, so it is counted from its first byte.
    let _place = visit.place(PlaceKind::Upload)?;
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let uploads = console.app.uploads.clone();
    let given = match multer::parse_boundary(kind) {
        Ok(boundary) => receive(&uploads, request.into_body(), boundary).await?,
        Err(_) => {
            let form = Form::read(request).await?;
            paste(&uploads, &form).await?
        }
    };
    let Given { file, fields } = given;
    let choices = said(|name| fields.get(name).map_or("", String::as_str));
    let (incoming, name) = match file {
        Ok(file) => file,
        Err((why, status)) => {
            let frame = visit.frame("Import", "import").failed(why);
            return waiting::page(async move { show_start(&visit, frame, choices, status).await }).await?;
        }
    };
    let auth_id = visit.snapshot.partner.auth_id.clone();
    let (keeper, chosen) = (uploads.clone(), choices.clone());
    let kept = visit
        .act("import.give", move |service, key| keeper.keep(service, (key, &auth_id), incoming, &name, chosen))
        .await;
    match kept {
        Ok(upload) => {
            settle(&uploads, &upload.id).await;
            redirect(&address(&visit, &upload.id))
        }
        Err(error) => {
            let (text, status) = refusal(error)?;
            let page =
                async move { show_start(&visit, visit.frame("Import", "import").failed(text), choices, status).await };
            waiting::page(page).await?
        }
    }
}

/// What a form that was refused says, or trouble where nothing can be mended.
fn refusal(error: ServiceError) -> Result<(String, StatusCode), Trouble> {
    Ok(match error {
        ServiceError::Invalid(errors) => (told(&errors), StatusCode::UNPROCESSABLE_ENTITY),
        other => (mendable(other)?, StatusCode::CONFLICT),
    })
}

/// What a form brought: a file with its name, or why there is none, and what
/// else was said.
struct Given {
    file: Result<(Incoming, String), (String, StatusCode)>,
    fields: HashMap<String, String>,
}

async fn paste(uploads: &Uploads, form: &Form) -> Result<Given, Trouble> {
    let text = form.raw("text").to_owned();
    let named = |name: &&str| ((*name).to_owned(), form.get(name).to_owned());
    let fields = CHOICES.iter().filter(|name| form.has(name)).map(named).collect();
    if text.trim().is_empty() {
        return Ok(Given { file: Err(nothing_given()), fields });
    }
    let uploads = uploads.clone();
    let written = blocking(move || {
        let mut incoming = uploads.receive()?;
        incoming.write_all(text.as_bytes())?;
        Ok::<_, std::io::Error>(incoming)
    });
    Ok(Given { file: Ok((written.await?.map_err(no_place)?, PASTED.to_owned())), fields })
}

const PASTED: &str = "pasted text";

fn nothing_given() -> (String, StatusCode) {
    let why = "There was nothing in the form: choose a file, or paste the rows.";
    (why.to_owned(), StatusCode::UNPROCESSABLE_ENTITY)
}

fn no_place(error: std::io::Error) -> Trouble {
    Trouble::Internal(format!("a file to be imported cannot be kept: {error}"))
}

/// Takes the file, or the pasted text, of a form as it arrives.
async fn receive(uploads: &Uploads, body: Body, boundary: String) -> Result<Given, Trouble> {
    let broken = |error: multer::Error| Trouble::Bad(format!("the file did not arrive: {error}"));
    let bytes_max = uploads.bytes_max();
    let mut multipart = Multipart::new(body.into_data_stream(), boundary);
    let mut found: Option<(Incoming, String)> = None;
    let mut fields = HashMap::new();
    while let Some(mut field) = multipart.next_field().await.map_err(broken)? {
        let name = match field.name() {
            Some("file") => {
                let name = field.file_name().unwrap_or("a file");
                // Some send the whole path.
                name.rsplit(['/', '\\']).next().unwrap_or(name).to_owned()
            }
            Some("text") => PASTED.to_owned(),
            other => {
                let chosen = other.and_then(|name| CHOICES.iter().find(|known| **known == name));
                let mut read = Vec::new();
                while let Some(chunk) = field.chunk().await.map_err(broken)? {
                    read.extend_from_slice(&chunk);
                    if read.len() > FIELD_BYTES_MAX {
                        return Err(Trouble::Bad("the form has a field that is too long".into()));
                    }
                }
                if let Some(name) = chosen {
                    fields.insert((*name).to_owned(), String::from_utf8_lossy(&read).trim().to_owned());
                }
                continue;
            }
        };
        let place = uploads.clone();
        let mut incoming = waiting::work(&waiting::UPLOADS, move || place.receive()).await?.map_err(no_place)?;
        let mut piece = Vec::new();
        let mut read: u64 = 0;
        while let Some(chunk) = field.chunk().await.map_err(broken)? {
            read += chunk.len() as u64;
            if read > bytes_max.saturating_mul(DRAINED) {
                break;
            }
            if read <= bytes_max {
                piece.extend_from_slice(&chunk);
            }
            if piece.len() >= PIECE_BYTES {
                incoming = write(incoming, std::mem::take(&mut piece)).await?;
            }
        }
        let incoming = write(incoming, piece).await?;
        if read > bytes_max {
            let why = format!(
                "The file is larger than {}. Pack it with gzip, split it, or import it on the server: \
                 rollcall import FILE --partner …",
                size(bytes_max)
            );
            return Ok(Given { file: Err((why, StatusCode::PAYLOAD_TOO_LARGE)), fields });
        }
        match (incoming.bytes, &found) {
            // Browsers send a field that was left empty too.
            (0, _) => {}
            (_, None) => found = Some((incoming, name)),
            (_, Some(_)) => {
                let why = "There was a file and pasted text as well; give one of them.";
                return Ok(Given { file: Err((why.to_owned(), StatusCode::UNPROCESSABLE_ENTITY)), fields });
            }
        }
    }
    Ok(Given { file: found.ok_or_else(nothing_given), fields })
}

/// Writes a piece of a file that comes in. Between pieces, no thread waits for
/// the client.
async fn write(mut incoming: Incoming, piece: Vec<u8>) -> Result<Incoming, Trouble> {
    let write = move || {
        incoming.write_all(&piece)?;
        incoming.flush()?;
        Ok(incoming)
    };
    waiting::work(&waiting::UPLOADS, write).await?.map_err(no_place)
}

/// Waits a little for what was begun.
async fn settle(uploads: &Uploads, id: &str) {
    let began = Instant::now();
    while uploads.busy(id) && began.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// GET /console/p/{partner}/import/{id}
pub async fn page(State(console): ConsoleState, Path((partner, id)): ItemPath, request: Request) -> PageResult {
    let visit = Visit::enter(&console, &request, &partner)?;
    visit.need(Needs::Manager)?;
    let frame = visit.frame("", "import").with(diff::notice(&visit, request.uri().query().unwrap_or_default()));
    show_upload(&visit, id, frame, None, StatusCode::OK).await
}

/// GET /console/p/{partner}/import/{id}/rejects.csv: as the file is, so that
/// it can be corrected and given again.
pub async fn rejects(State(console): ConsoleState, Path((partner, id)): ItemPath, request: Request) -> PageResult {
    rows(console, partner, id, request, KeptRows::Rejected).await
}

/// GET /console/p/{partner}/import/{id}/cautions.csv: the same of the rows
/// that have a caution.
pub async fn cautions(State(console): ConsoleState, Path((partner, id)): ItemPath, request: Request) -> PageResult {
    rows(console, partner, id, request, KeptRows::Cautioned).await
}

async fn rows(console: Arc<Console>, partner: String, id: String, request: Request, rows: KeptRows) -> PageResult {
    let visit = Visit::enter(&console, &request, &partner)?;
    visit.need(Needs::Manager)?;
    let (uploads, service, key) =
        (visit.console.app.uploads.clone(), visit.console.app.service.clone(), visit.snapshot.key);
    let found = blocking(move || {
        let (upload, _) = uploads.get(&service, key, &id)?;
        let file = uploads.rows(&upload, rows).map_err(|_| uploads.absent(&upload));
        Ok::<_, ServiceError>((upload, file))
    });
    let (upload, file) = found.await??;
    let mut file = file.map_err(|absent| absent.map_or(Trouble::NotFound, Trouble::Bad))?;
    let stem = upload.name.rsplit_once('.').map_or(upload.name.as_str(), |(stem, _)| stem);
    let which = match rows {
        KeptRows::Rejected => "rejected",
        KeptRows::Cautioned => "cautions",
    };
    let place = visit.place(PlaceKind::Download)?;
    download::file(&format!("{which}-{stem}.csv"), "text/csv; charset=utf-8", place, move || {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        (&mut file).take(PIECE_BYTES as u64).read_to_end(&mut piece)?;
        Ok((!piece.is_empty()).then(|| piece.into()))
    })
}

/// POST /console/p/{partner}/import/{id}/{step}: check, run, cancel or discard.
pub async fn step(State(console): ConsoleState, Path((partner, id, step)): StepPath, request: Request) -> PageResult {
    let (visit, form) = Visit::post(&console, request, &partner, Needs::Manager).await?;
    let uploads = console.app.uploads.clone();
    let (worker, auth_id, upload) = (uploads.clone(), visit.snapshot.partner.auth_id.clone(), id.clone());
    let mut said = None;
    let done = match step.as_str() {
        "check" => {
            let choices = read_choices(&visit, &id, &form).await?;
            said = Some(choices.clone());
            visit
                .act("import.check", move |service, key| worker.check(service, (key, &auth_id), &upload, choices))
                .await
        }
        "run" => visit.act("import.run", move |service, key| worker.run(service, (key, &auth_id), &upload)).await,
        "cancel" => visit.act("import.cancel", move |service, key| worker.cancel(service, key, &upload)).await,
        "discard" => {
            let discarded =
                visit.act("import.discard", move |service, key| worker.discard(service, key, &upload)).await;
            if discarded.is_ok() {
                return redirect(&format!("{}/import", visit.base));
            }
            discarded
        }
        _ => return Err(Trouble::NotFound),
    };
    match done {
        Ok(()) => {
            settle(&uploads, &id).await;
            redirect(&address(&visit, &id))
        }
        Err(error @ ServiceError::Unknown { .. }) => Err(error.into()),
        Err(error) => {
            let (text, status) = refusal(error)?;
            let frame = visit.frame("", "import").failed(text);
            show_upload(&visit, id, frame, said, status).await
        }
    }
}

/// The fields of forms that say how a file is to be read.
const CHOICES: [&str; 10] = [
    "digits",
    "country",
    "encoding",
    "currency",
    "monthly_cost",
    "zone",
    "on_error",
    "move_held",
    "keep_empty",
    "strict",
];

/// What a form says of how a file is to be read, but for its columns.
fn said<'f>(field: impl Fn(&str) -> &'f str) -> ImportChoices {
    ImportChoices {
        mappings: Vec::new(),
        digits: field("digits").to_owned(),
        country: field("country").to_owned(),
        encoding: field("encoding").to_owned(),
        currency: field("currency").to_owned(),
        monthly_cost: field("monthly_cost").to_owned(),
        zone: field("zone").to_owned(),
        skip: field("on_error") == "skip",
        move_held: !field("move_held").is_empty(),
        keep_empty: !field("keep_empty").is_empty(),
        strict: !field("strict").is_empty(),
    }
}

/// What a form says of how an upload is to be read. A column is mapped only if
/// it is to be something else than it would be by itself: a product's column
/// is then still read in the product's words.
async fn read_choices(visit: &Visit, id: &str, form: &Form) -> Result<ImportChoices, Trouble> {
    let mut choices = said(|name| form.get(name));
    let (uploads, service, key) =
        (visit.console.app.uploads.clone(), visit.console.app.service.clone(), visit.snapshot.key);
    let (id, bare) = (id.to_owned(), ImportChoices { encoding: choices.encoding.clone(), ..ImportChoices::default() });
    let itself = blocking(move || {
        let (upload, _) = uploads.get(&service, key, &id)?;
        Ok::<_, ServiceError>(uploads.peek(&Upload { choices: bare, ..upload }, FIRST_MAX).ok())
    });
    let itself = itself.await??;
    for (column, value) in form.all("column").zip(form.all("field")) {
        let own = itself.iter().flat_map(|peeked| &peeked.columns).find(|own| own.name == column);
        let by_itself = own.map_or("", read_as_itself);
        if !value.is_empty() && value != by_itself {
            choices.mappings.push(format!("{column}={value}"));
        }
    }
    Ok(choices)
}

async fn show_upload(
    visit: &Visit,
    id: String,
    mut frame: Frame,
    said: Option<ImportChoices>,
    status: StatusCode,
) -> PageResult {
    let (uploads, service, key) =
        (visit.console.app.uploads.clone(), visit.console.app.service.clone(), visit.snapshot.key);
    let looked = blocking(move || {
        let (upload, now) = uploads.get(&service, key, &id)?;
        let peeked = match now {
            Some(_) => None,
            None => uploads.peek(&upload, FIRST_MAX).ok(),
        };
        let there = KeptRows::ALL.map(|rows| now.is_none() && uploads.rows(&upload, rows).is_ok());
        let absent = uploads.absent(&upload);
        Ok::<_, ServiceError>((upload, now, peeked, there, absent))
    });
    let (upload, now, peeked, [rejects, cautioned], absent) = looked.await??;
    let done = upload.stage == UploadStage::Imported;
    let readable = absent.is_none();
    let found = upload.found.as_ref().filter(|_| now.is_none());
    frame.title = match &now {
        Some(_) => format!("Working · {}", upload.name),
        None => format!("Import of {}", upload.name),
    };
    let mut page = UploadPage {
        mark: mark(upload.stage, now.is_some()),
        stands: stands(&upload, now.is_some()),
        trouble: absent.or(upload.error.clone()).filter(|_| now.is_none() && !done).unwrap_or_default(),
        fixed: now.is_some_and(|now| now.cancelled || now.elsewhere),
        live: now.map(|now| bar(&upload, now)),
        figures: Vec::new(),
        costs: Vec::new(),
        losses: Vec::new(),
        cautions: Vec::new(),
        cautions_total: String::new(),
        more_cautions: 0,
        cautioned: cautioned && found.is_some_and(|found| found.caution_rows > 0),
        entities: Vec::new(),
        more_entities: 0,
        changed: Vec::new(),
        more_changed: 0,
        run: String::new(),
        held_back: String::new(),
        version: None,
        mendable: now.is_none() && !done,
        unit: peeked.as_ref().map_or("line", |peeked| peeked.format.unit()),
        read_as: peeked.as_ref().map_or(String::new(), read_as),
        columns: Vec::new(),
        fields: FIELDS,
        choices: said.unwrap_or_else(|| upload.choices.clone()),
        zones: ZONES,
        currencies: currencies(visit),
        heads: Vec::new(),
        first: Vec::new(),
        faults: Vec::new(),
        more_faults: 0,
        rejects: rejects && found.is_some_and(|found| found.rejected_rows > 0),
        facts: facts(visit, &upload),
        id: upload.id.clone(),
        name: upload.name.clone(),
        frame,
    };
    if let Some(found) = found {
        page.put(visit, &upload, found);
    }
    if !readable {
        page.run.clear();
        page.held_back.clear();
    }
    if let Some(peeked) = peeked.filter(|_| !done) {
        page.peek(&upload, found, &peeked);
    }
    html_as(status, &page)
}

impl UploadPage {
    /// What was found or done.
    fn put(&mut self, visit: &Visit, upload: &Upload, found: &UploadCounts) {
        let done = upload.stage == UploadStage::Imported;
        let figure = |name, count| ImportCount { name, count: show::thousands(count) };
        self.figures = match done {
            true => vec![
                figure("imported", found.imported),
                figure("updated", found.updated),
                figure("unchanged", found.unchanged),
                figure("rejected", found.rejected),
            ],
            false => vec![
                figure("would be imported", found.imported),
                figure("would be updated", found.updated),
                figure("unchanged", found.unchanged),
                figure("rejected", found.rejected),
            ],
        };
        if !done {
            self.costs = costs(visit, &found.money);
            self.offer(upload, found);
        }
        let sentence = |text: String| {
            let mut chars = text.chars();
            chars.next().map_or(String::new(), |first| format!("{}{}.", first.to_uppercase(), chars.as_str()))
        };
        let losses = losses_told(&found.losses, found.losses_route_active, done);
        self.losses = losses.into_iter().map(sentence).collect();
        self.version = found.version.filter(|_| done);
        self.entities = found.entities.iter().map(|entity| entity_told(entity, done)).collect();
        self.more_entities = found.entities_total.saturating_sub(found.entities.len() as u64);
        self.changed = found.changed.iter().map(|changed| changed_row(visit, changed)).collect();
        let shown: u64 = found.changed.iter().map(|changed| changed.numbers).sum();
        self.more_changed = found.updated.saturating_sub(shown);
        let fault = |line: u64, column: &str, value: &str, message: &str| Fault {
            line: line.to_string(),
            column: column.to_owned(),
            value: value.to_owned(),
            message: visit.clock.told(message),
        };
        let errors = found.errors.iter();
        self.faults = errors.map(|error| fault(error.line, &error.column, &error.value, &error.message)).collect();
        let mut lines: Vec<u64> = found.errors.iter().map(|error| error.line).collect();
        lines.dedup();
        self.more_faults = found.rejected_rows.saturating_sub(lines.len() as u64);
        let cautions = found.cautions.iter();
        self.cautions = cautions.map(|one| fault(one.line, &one.column, &one.value, &one.reason)).collect();
        self.cautions_total = show::count(found.cautions_total, "caution", "cautions");
        self.more_cautions = found.cautions_total.saturating_sub(found.cautions.len() as u64);
    }

    /// The button of the import, or why there is none.
    fn offer(&mut self, upload: &Upload, found: &UploadCounts) {
        let news = match (found.imported, found.updated) {
            (0, 0) => return,
            (new, 0) => format!("Import {}", show::count(new, "number", "numbers")),
            (0, old) => format!("Update {}", show::count(old, "number", "numbers")),
            (new, old) => format!("Import {} and update {}", show::thousands(new), show::thousands(old)),
        };
        if upload.stage == UploadStage::Unusable {
            return;
        }
        let rejected = found.rejected;
        match rejected {
            _ if found.refused => {
                self.held_back = "Nothing is imported while columns are not read: say below what they mean, or do not \
                                  read them, or allow cautions."
                    .to_owned();
            }
            0 => self.run = news,
            _ if upload.choices.skip => self.run = format!("{news}, leave out {} rejected", show::thousands(rejected)),
            _ => {
                self.held_back = format!(
                    "Nothing is imported while rows are rejected, and {} rejected. Correct the file and give it \
                     again, or choose below to leave rejected rows out.",
                    show::count(rejected, "number is", "numbers are")
                );
            }
        }
    }

    /// The beginning of the file.
    fn peek(&mut self, upload: &Upload, found: Option<&UploadCounts>, peeked: &Peeked) {
        let mapped = |name: &str| {
            let begin = format!("{name}=");
            upload.choices.mappings.iter().any(|mapping| mapping.starts_with(&begin))
        };
        let columns = peeked.columns.iter().enumerate().filter(|(_, column)| !column.name.is_empty());
        self.columns = columns
            .map(|(at, column)| {
                let mut samples: Vec<&str> = Vec::new();
                for row in &peeked.rows {
                    let cell = row.cells.get(at).map_or("", |cell| cell.trim());
                    if !cell.is_empty() && !samples.contains(&cell) && samples.len() < 3 {
                        samples.push(cell);
                    }
                }
                ColumnRow {
                    name: column.name.clone(),
                    samples: samples.join(" · "),
                    value: read_as_itself(column),
                    told: column.field.is_some() && mapped(&column.name),
                }
            })
            .collect();
        let read: Vec<usize> = (0..peeked.columns.len()).filter(|&at| peeked.columns[at].field.is_some()).collect();
        self.heads = read.iter().map(|&at| peeked.columns[at].name.clone()).collect();
        let fate = |line: &u64| found.and_then(|found| found.first.get(line)).copied();
        self.first = peeked
            .rows
            .iter()
            .map(|row| {
                let (class, fate) = fate(&row.line).map_or(("plain", "not checked".to_owned()), verdict);
                let cell = |&at: &usize| row.cells.get(at).cloned().unwrap_or_default();
                FirstRow { line: row.line, class, fate, cells: read.iter().map(cell).collect() }
            })
            .collect();
    }
}

/// What a column is read as, in the words of the form: empty for one that is
/// not understood, so that to ignore it is a decision.
fn read_as_itself(column: &PeekedColumn) -> &'static str {
    match column.field {
        Some(field) => field.as_str(),
        None if column.known => "-",
        None => "",
    }
}

/// What becomes of a row, in a word where it is of one number.
fn verdict(fate: RowFate) -> (&'static str, String) {
    let RowFate { imported, updated, unchanged, rejected } = fate;
    let class = match fate {
        _ if rejected > 0 => "critical",
        _ if imported + updated > 0 => "good",
        _ => "plain",
    };
    let parts = [(imported, "new"), (updated, "updated"), (unchanged, "unchanged"), (rejected, "rejected")];
    let given: Vec<&(u64, &str)> = parts.iter().filter(|(count, _)| *count > 0).collect();
    let text = match given[..] {
        [] => "customer only".to_owned(),
        [(1, word)] => (*word).to_owned(),
        _ => given
            .iter()
            .map(|(count, word)| format!("{} {word}", show::thousands(*count)))
            .collect::<Vec<_>>()
            .join(", "),
    };
    (class, text)
}

fn mark(stage: UploadStage, busy: bool) -> Html {
    let (class, text) = match (stage, busy) {
        (UploadStage::Checking, true) => ("info", "being checked"),
        (UploadStage::Importing, true) => ("info", "being imported"),
        (UploadStage::Checking | UploadStage::Importing, false) => ("warning", "interrupted"),
        (UploadStage::Checked, _) => ("info", "checked, not imported"),
        (UploadStage::Unusable, _) => ("critical", "cannot be read yet"),
        (UploadStage::Imported, _) => ("good", "imported"),
    };
    pieces::mark(class, text)
}

fn stands(upload: &Upload, busy: bool) -> String {
    let rows = upload.found.as_ref().map(|found| show::count(found.rows, "row", "rows")).unwrap_or_default();
    let text = match (upload.stage, busy) {
        (UploadStage::Checking, true) => "It is compared with the inventory; nothing is written.",
        (UploadStage::Importing, true) => "All of it becomes one change. You can leave this page; it goes on.",
        (UploadStage::Checking, false) => {
            "The server was stopped before the check had ended. Nothing was written; check it again."
        }
        (UploadStage::Importing, false) => {
            "The server was stopped before the import had ended. Nothing of it was written; it can be run again."
        }
        (UploadStage::Checked, _) => {
            return format!("{rows}. Nothing has been written yet; this is what would happen.");
        }
        (UploadStage::Unusable, _) => {
            "Nothing has been written. Say below what its columns mean, or give another file."
        }
        (UploadStage::Imported, _) => return format!("{rows}, imported as one change."),
    };
    text.to_owned()
}

fn bar(upload: &Upload, now: Now) -> ImportBar {
    let elapsed = show::span(now.elapsed.as_secs());
    let percent = |done: u64, all: u64| (done.min(all) * 100).checked_div(all);
    match now.progress {
        _ if now.elsewhere => ImportBar { value: None, text: "Another node is at it.".to_owned() },
        _ if now.cancelled => ImportBar { value: None, text: "It is being stopped.".to_owned() },
        None => ImportBar { value: None, text: format!("Waiting for its turn, for {elapsed}.") },
        Some(ImportProgress::Reading { bytes }) => ImportBar {
            value: percent(bytes, upload.bytes),
            text: format!(
                "Step 1 of 2: reading, {} of {}, for {elapsed}.",
                size(bytes.min(upload.bytes)),
                size(upload.bytes)
            ),
        },
        Some(ImportProgress::Writing { numbers, total }) => {
            let (done, all) = (show::thousands(numbers), show::count(total, "number", "numbers"));
            ImportBar {
                value: percent(numbers, total),
                text: format!("Step 2 of 2: {done} of {all} compared, for {elapsed}."),
            }
        }
    }
}

fn read_as(peeked: &Peeked) -> String {
    match peeked.export {
        Some(export) => format!("Read as {}, an export of {export}.", peeked.format),
        None => format!("Read as {}.", peeked.format),
    }
}

fn by(visit: &Visit, upload: &Upload) -> String {
    Actor::parse(&upload.by).map_or_else(|| upload.by.clone(), |actor| who(visit, &actor))
}

fn facts(visit: &Visit, upload: &Upload) -> FactList {
    let clock = &visit.clock;
    let mut facts = vec![
        ("File", format!("{}, {}", upload.name, size(upload.bytes)).into()),
        ("Given", clock.time(upload.created_at) + " by " + by(visit, upload)),
        ("Kept until", clock.time(upload.created_at.plus(KEPT_SECONDS))),
    ];
    if upload.headed {
        facts.push(("Columns", "none are named, so its lines are taken as numbers".into()));
    }
    facts
}

/// The rental now and after, of the currencies that differ.
fn costs(visit: &Visit, money: &BTreeMap<Currency, CostChange>) -> Vec<Cost> {
    let mut now: BTreeMap<Currency, i128> = BTreeMap::new();
    for (&currency, &(_, minor)) in visit.snapshot.rental().iter().flatten() {
        *now.entry(currency).or_default() += minor;
    }
    let one = |(&currency, moved): (&Currency, &CostChange)| {
        let before = now.get(&currency).copied().unwrap_or_default();
        let amount = |minor| show::sum(Sum { minor, currency });
        Cost {
            currency: currency.code().to_owned(),
            now: amount(before),
            up: show::differences([(&currency, &moved.up)]),
            down: show::differences([(&currency, &-moved.down)]),
            then: amount(before + moved.net()),
        }
    };
    money.iter().filter(|(_, moved)| **moved != CostChange::default()).map(one).collect()
}

fn entity_told(entity: &EntityNews, done: bool) -> String {
    let kind = match entity.kind.as_str() {
        "account" => "customer",
        kind => kind,
    };
    let EntityNews { id, name, before, .. } = entity;
    let called = if name == id { id.clone() } else { format!("{name} ({id})") };
    match (before, done) {
        (None, false) => format!("Creates {kind} {called}"),
        (None, true) => format!("Created {kind} {called}"),
        (Some(before), false) => format!("Renames {kind} {before} ({id}) to {name}"),
        (Some(before), true) => format!("Renamed {kind} {before} ({id}) to {name}"),
    }
}

fn changed_row(visit: &Visit, changed: &ChangedNumber) -> ChangedRow {
    let number = changed.number.parse::<E164>().ok();
    ChangedRow {
        line: changed.line,
        number: number.map_or_else(|| changed.number.clone(), |number| visit.console.spaces.readable(number)),
        href: format!("{}/numbers/{}", visit.base, segment(&changed.number)),
        more: match changed.numbers {
            0 | 1 => String::new(),
            numbers => format!("and {} more", show::thousands(numbers - 1)),
        },
        changes: diff::html(visit, &changed.changes),
    }
}

fn currencies(visit: &Visit) -> Vec<String> {
    let mut currencies: Vec<String> =
        visit.snapshot.rental().iter().flatten().map(|(currency, _)| currency.code().to_owned()).collect();
    currencies.sort_unstable();
    currencies.dedup();
    currencies
}

/// `64 MB`.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_024 => show::count(bytes, "byte", "bytes"),
        1_024..1_048_576 => format!("{} kB", bytes.div_ceil(1_024)),
        _ => format!("{} MB", bytes.div_ceil(1_048_576)),
    }
}

fn address(visit: &Visit, id: &str) -> String {
    format!("{}/import/{}", visit.base, segment(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fate_is_a_word_or_counts() {
        let fate = |imported, updated, unchanged, rejected| verdict(RowFate { imported, updated, unchanged, rejected });
        assert_eq!(fate(1, 0, 0, 0), ("good", "new".to_owned()));
        assert_eq!(fate(0, 0, 1, 0), ("plain", "unchanged".to_owned()));
        assert_eq!(fate(9_999, 0, 0, 1), ("critical", "9,999 new, 1 rejected".to_owned()));
        assert_eq!(fate(0, 0, 0, 0), ("plain", "customer only".to_owned()));
    }

    #[test]
    fn every_field_can_be_chosen() {
        for field in Field::ALL {
            assert!(FIELDS.iter().any(|(value, _)| *value == field.as_str()), "{field}");
        }
        assert_eq!(FIELDS.len(), Field::ALL.len() + 1);
    }

    #[test]
    fn sizes_are_round() {
        let sizes = [0, 1_000, 1_025, 64 << 20].map(size);
        assert_eq!(sizes, ["0 bytes", "1,000 bytes", "2 kB", "64 MB"]);
    }

    #[test]
    fn a_form_brings_a_file_or_text_and_not_too_much() {
        let folder = tempfile::tempdir().expect("a folder");
        let uploads = Uploads::new(folder.path().join("files"), 1_000);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(check_forms(&uploads));
        // The thread that writes a file that was cut off may go on a little;
        // a runtime that is dropped waits for its threads.
        drop(runtime);
        let left = std::fs::read_dir(folder.path().join("files")).expect("a folder").count();
        assert_eq!(left, 0, "what is not kept goes");
    }

    async fn check_forms(uploads: &Uploads) {
        let give = async |parts: &[(&str, &str, &str)]| {
            let part = |(name, file, text): &(&str, &str, &str)| {
                let file = if file.is_empty() { String::new() } else { format!("; filename=\"{file}\"") };
                format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{text}\r\n")
            };
            let body: String = parts.iter().map(part).collect();
            match receive(uploads, Body::from(format!("{body}--b--\r\n")), "b".into()).await {
                Ok(Given { file: Ok((incoming, name)), fields }) => {
                    let zone = fields.get("zone").map_or(String::new(), |zone| format!(" in {zone}"));
                    format!("{name}: {}{zone}", incoming.bytes)
                }
                Ok(Given { file: Err((_, status)), .. }) => status.as_str().to_owned(),
                Err(trouble) => format!("{trouble:?}"),
            }
        };
        assert_eq!(give(&[("file", "C:\\a.csv", "number\n")]).await, "a.csv: 7");
        assert_eq!(give(&[("file", "", ""), ("text", "", "number")]).await, "pasted text: 6");
        assert_eq!(give(&[("file", "a", "1"), ("zone", "", " Asia/Kolkata")]).await, "a: 1 in Asia/Kolkata");
        assert_eq!(give(&[("file", "a", "1"), ("text", "", "2")]).await, "422");
        assert_eq!(give(&[("file", "", ""), ("text", "", "")]).await, "422");
        assert_eq!(give(&[("file", "a", &"1".repeat(1_001))]).await, "413");
        assert!(give(&[("other", "", &"1".repeat(20_000))]).await.contains("too long"));
        let cut =
            receive(uploads, Body::from("--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n1"), "b".into());
        assert!(matches!(cut.await, Err(Trouble::Bad(_))));
    }
}
