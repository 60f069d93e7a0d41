//! Files that users upload to import: stored, checked, imported, and deleted after
//! a day.
//!
//! The file is in a folder beside the database; its description is a document. A
//! check is a dry run, so it shows the effect of the import. Both run in a thread
//! of their own, so neither a reload nor closing the page ends them.
//!
//! Invariants: an import is one transaction, and the document that marks it as done
//! is part of it; so after a restart it is done completely or not at all, and the
//! document says which. The progress is in memory only, because the transaction
//! owns the database while it runs.
//! Each of several nodes sees all documents, and the files in its own folder; if
//! the folder is shared, any of them can continue with a file. A lease keeps two
//! nodes from working on one file, and the document as read in the transaction
//! decides: a file that was imported or deleted is not imported again.
//! Only files with names of this program are removed from the folder.
//! Deliberately absent: reading files (`intake`), the rules of rows (`import`),
//! the page.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use jiff::tz::TimeZone;
use parking_lot::Mutex;
use tempfile::NamedTempFile;
use tracing::{error, warn};

use crate::domain::{Currency, FieldError, Money, PartnerId, PartnerKey, Time, user};
use crate::intake::{self, Caution, IntakeError, Mapping, Peeked, RowError};
use crate::service::background::lease::{self, Lease};
use crate::service::verbs::import::{
    ChangedNumber, CostChange, EntityNews, ImportError, ImportOptions, ImportProgress, ImportReport, Losses, OnError,
    RowFate, Watch,
};
use crate::service::{Service, ServiceError, token};
use crate::store::{Document, DocumentWalk, SideWrites, StoreError};

/// The kind of the documents.
const KIND: &str = "import";
/// How long a file is kept, in seconds.
pub const KEPT_SECONDS: i64 = 24 * 3_600;
/// How many files of one partner are kept; the oldest goes first.
const KEPT_MAX: usize = 20;
/// How much longer a file may lie that no document knows of.
const STRAY: Duration = Duration::from_secs(48 * 3_600);
/// What a file is called while it comes in, and how many random characters
/// follow.
const RECEIVING: &str = "receiving-";
const RECEIVING_CHARS: usize = 6;
/// How much of a file shows whether it is bare numbers.
const HEAD_BYTES: u64 = 4 << 10;

/// What is to be read how, as people said it.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct ImportChoices {
    /// `COLUMN=FIELD`, or `COLUMN=-`.
    pub mappings: Vec<String>,
    /// What digits without `+` are: empty to refuse them, `plus` if they lack
    /// only that, `national` if they are of `country`.
    pub digits: String,
    pub country: String,
    pub encoding: String,
    pub currency: String,
    pub monthly_cost: String,
    /// The zone of days and times that name none; UTC if it is empty.
    #[serde(default)]
    pub zone: String,
    /// Leave out what is rejected, and write the rest.
    pub skip: bool,
    pub move_held: bool,
    /// Empty cells leave what is stored.
    #[serde(default)]
    pub keep_empty: bool,
    /// What would be a caution is rejected.
    #[serde(default)]
    pub strict: bool,
}

impl ImportChoices {
    /// As the importer takes them, or what is wrong with them.
    pub fn options(&self, dry_run: bool) -> Result<ImportOptions, Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut wrong = |field: &str, message: &str, value: &str| {
            errors.push(FieldError::new(field, "INVALID", message, value));
        };
        let mappings: Vec<Mapping> = self.mappings.iter().filter_map(|text| text.parse().ok()).collect();
        let country = match (self.digits.as_str(), self.country.trim()) {
            ("national", code) => {
                let country = code.to_ascii_uppercase().parse().ok();
                if country.is_none() {
                    wrong("country", "is two letters, such as IN", code);
                }
                country
            }
            _ => None,
        };
        let encoding = match self.encoding.trim() {
            "" => None,
            name => {
                let found = encoding_rs::Encoding::for_label_no_replacement(name.as_bytes());
                if found.is_none() {
                    wrong("encoding", "is not known; windows-1252 and utf-16le are examples", name);
                }
                found
            }
        };
        let zone = match self.zone.trim() {
            "" => TimeZone::UTC,
            name => {
                let found = user::zone(name).and_then(|name| TimeZone::get(&name).ok());
                if found.is_none() {
                    wrong("zone", "is not known; Asia/Kolkata and UTC are examples", name);
                }
                found.unwrap_or(TimeZone::UTC)
            }
        };
        let currency: Option<Currency> = match self.currency.trim() {
            "" => None,
            code => {
                let found = code.to_ascii_uppercase().parse().ok();
                if found.is_none() {
                    wrong("currency", "is three letters, such as INR", code);
                }
                found
            }
        };
        let monthly_cost = match (self.monthly_cost.trim(), currency) {
            ("", _) => None,
            (amount, None) => {
                wrong("monthly_cost", "needs a currency", amount);
                None
            }
            (amount, Some(currency)) => {
                if let Err(error) = Money::parse(amount, currency) {
                    wrong("monthly_cost", &error.to_string(), amount);
                }
                Some(amount.into())
            }
        };
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(ImportOptions {
            intake: intake::ReadOptions {
                mappings,
                default_country: country,
                assume_plus: self.digits == "plus",
                currency,
                encoding,
                zone,
            },
            monthly_cost,
            on_error: if self.skip { OnError::Skip } else { OnError::Abort },
            move_held: self.move_held,
            keep_empty: self.keep_empty,
            strict: self.strict,
            dry_run,
        })
    }
}

/// Where an upload is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UploadStage {
    /// Being checked, or the check was interrupted.
    Checking,
    /// [`Upload::found`] says what an import would do.
    Checked,
    /// It cannot be read as it is; [`Upload::error`] says why.
    Unusable,
    /// Being imported, or that was interrupted and nothing was written.
    Importing,
    Imported,
}

/// What a check found, or an import did.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct UploadCounts {
    pub rows: u64,
    pub imported: u64,
    pub updated: u64,
    pub unchanged: u64,
    pub rejected: u64,
    pub rejected_rows: u64,
    /// The whole file is refused, whatever its rows.
    pub refused: bool,
    /// The first ones, by line.
    pub errors: Vec<RowError>,
    /// The first ones, and how many there are.
    pub cautions: Vec<Caution>,
    pub cautions_total: u64,
    pub caution_rows: u64,
    pub losses: Losses,
    pub losses_route_active: u64,
    pub money: BTreeMap<Currency, CostChange>,
    pub changed: Vec<ChangedNumber>,
    pub entities: Vec<EntityNews>,
    pub entities_total: u64,
    pub first: BTreeMap<u64, RowFate>,
    pub version: Option<u64>,
}

impl UploadCounts {
    fn of(report: &ImportReport, headed: bool) -> UploadCounts {
        let line = |line: u64| line.saturating_sub(u64::from(headed));
        let error =
            |error: &RowError| RowError { line: line(error.line), message: in_words(&error.message), ..error.clone() };
        let caution = |caution: &Caution| Caution { line: line(caution.line), ..caution.clone() };
        let changed = |changed: &ChangedNumber| ChangedNumber { line: line(changed.line), ..changed.clone() };
        UploadCounts {
            rows: report.rows,
            imported: report.imported,
            updated: report.updated,
            unchanged: report.unchanged,
            rejected: report.rejected,
            rejected_rows: report.rejected_lines.len() as u64,
            refused: report.refused,
            errors: report.errors.iter().map(error).collect(),
            cautions: bounded(report.cautions.iter().map(caution)),
            cautions_total: report.cautions_total,
            caution_rows: report.caution_lines.len() as u64,
            losses: report.losses,
            losses_route_active: report.losses_route_active,
            money: report.money.clone(),
            changed: bounded(report.changed.iter().map(changed)),
            entities: report.entities.clone(),
            entities_total: report.entities_total,
            first: report.first.iter().map(|(at, fate)| (line(*at), *fate)).collect(),
            version: report.version,
        }
    }
}

/// As much of a list as a document may keep.
fn bounded<T: serde::Serialize>(all: impl Iterator<Item = T>) -> Vec<T> {
    const LIST_BYTES_MAX: usize = 256 << 10;
    let mut left = LIST_BYTES_MAX;
    let fits = |one: &T| {
        let bytes = serde_json::to_string(one).map_or(LIST_BYTES_MAX, |text| text.len());
        left = left.saturating_sub(bytes);
        left > 0
    };
    all.take_while(fits).collect()
}

/// One file, and what became of it.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Upload {
    pub id: String,
    /// What its owner calls it.
    pub name: String,
    pub bytes: u64,
    pub by: String,
    pub created_at: Time,
    /// The machine that it was given to.
    #[serde(default)]
    pub host: String,
    /// A line that names the column was put before its numbers.
    pub headed: bool,
    pub choices: ImportChoices,
    pub stage: UploadStage,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<UploadCounts>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Upload {
    fn document(&self) -> Document {
        Document::of(&self.id, Some(self.created_at.plus(KEPT_SECONDS)), self)
    }

    fn read(document: &Document) -> Result<Upload, ServiceError> {
        Ok(document.read("import")?)
    }
}

/// Which rows of a file are kept by themselves, to be corrected and given again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeptRows {
    Rejected,
    Cautioned,
}

impl KeptRows {
    pub const ALL: [KeptRows; 2] = [KeptRows::Rejected, KeptRows::Cautioned];

    fn extension(self) -> &'static str {
        match self {
            KeptRows::Rejected => "rejected",
            KeptRows::Cautioned => "cautions",
        }
    }
}

/// Whether a file in the folder has a name that only this program gives.
fn is_ours(name: &str) -> bool {
    if let Some(random) = name.strip_prefix(RECEIVING) {
        return random.len() == RECEIVING_CHARS && random.bytes().all(|byte| byte.is_ascii_alphanumeric());
    }
    let (id, extension) = name.split_once('.').map_or((name, None), |(id, extension)| (id, Some(extension)));
    token::is_import_id(id) && extension.is_none_or(|text| KeptRows::ALL.iter().any(|rows| rows.extension() == text))
}

/// Something that goes on now.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// On another node, so nothing else is known.
    pub elsewhere: bool,
    pub progress: Option<ImportProgress>,
    pub elapsed: Duration,
    pub cancelled: bool,
}

struct LiveUpload {
    progress: Mutex<Option<ImportProgress>>,
    cancel: AtomicBool,
    began: Instant,
}

/// The files of all partners. Cheap to clone.
#[derive(Clone)]
pub struct Uploads {
    inner: Arc<UploadsState>,
}

struct UploadsState {
    folder: PathBuf,
    bytes_max: u64,
    live: Mutex<HashMap<String, Arc<LiveUpload>>>,
    stopped: AtomicBool,
}

/// A file on its way in; it goes if it is not kept.
pub struct Incoming {
    file: NamedTempFile,
    pub bytes: u64,
}

impl Write for Incoming {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Uploads {
    /// `folder` is made once there is something to keep.
    pub fn new(folder: PathBuf, bytes_max: u64) -> Uploads {
        let (live, stopped) = Default::default();
        Uploads { inner: Arc::new(UploadsState { folder, bytes_max, live, stopped }) }
    }

    pub fn bytes_max(&self) -> u64 {
        self.inner.bytes_max
    }

    /// A place for a file that comes in. Only this user can read it.
    pub fn receive(&self) -> io::Result<Incoming> {
        let folder = &self.inner.folder;
        let mut make = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut make, 0o700);
        make.recursive(true).create(folder)?;
        let named = tempfile::Builder::new().prefix(RECEIVING).rand_bytes(RECEIVING_CHARS).tempfile_in(folder)?;
        Ok(Incoming { file: named, bytes: 0 })
    }

    /// Keeps a file that has come in, and begins to check it.
    pub fn keep(
        &self,
        service: &Service,
        (key, partner): (PartnerKey, &PartnerId),
        mut incoming: Incoming,
        name: &str,
        choices: ImportChoices,
    ) -> Result<Upload, ServiceError> {
        choices.options(true).map_err(ServiceError::Invalid)?;
        let mut head = Vec::new();
        incoming.file.rewind().map_err(StoreError::Io)?;
        (&mut incoming.file).take(HEAD_BYTES).read_to_end(&mut head).map_err(StoreError::Io)?;
        let headed = intake::bare_numbers(&String::from_utf8_lossy(&head));
        if headed {
            let mut with = self.receive().map_err(StoreError::Io)?;
            incoming.file.rewind().map_err(StoreError::Io)?;
            with.write_all(b"number\n").map_err(StoreError::Io)?;
            io::copy(&mut incoming.file, &mut with).map_err(StoreError::Io)?;
            incoming = with;
        }
        let now = Time::now();
        let upload = Upload {
            id: token::import_id(now),
            name: name.chars().filter(|c| !c.is_control()).take(200).collect(),
            bytes: incoming.bytes,
            by: service.actor.to_string(),
            created_at: now,
            host: lease::host(),
            headed,
            choices,
            stage: UploadStage::Checking,
            found: None,
            error: None,
        };
        incoming.file.as_file().sync_all().map_err(StoreError::Io)?;
        let path = self.path(&upload.id);
        incoming.file.persist(&path).map_err(|error| StoreError::Io(error.error))?;
        for old in self.list(service, key)?.iter().skip(KEPT_MAX - 1) {
            self.forget_idle(service, key, &old.id)?;
        }
        self.begin(service, key, partner, upload.clone())?;
        Ok(upload)
    }

    /// A partner's uploads, newest first.
    pub fn list(&self, service: &Service, key: PartnerKey) -> Result<Vec<Upload>, ServiceError> {
        service.beside(key, |store| {
            let documents = store.documents(key, KIND, DocumentWalk::Down { before: None }, KEPT_MAX * 2)?;
            Ok(documents.iter().filter_map(|document| Upload::read(document).ok()).collect())
        })
    }

    /// An upload, and what goes on with it now.
    pub fn get(&self, service: &Service, key: PartnerKey, id: &str) -> Result<(Upload, Option<Now>), ServiceError> {
        // In this order: what ends in between has been written down by then.
        let live = self.inner.live.lock().get(id).cloned();
        let document = service
            .beside(key, |store| store.document(key, KIND, id)?.ok_or_else(|| ServiceError::unknown("import", id)))?;
        let now = live.map(|live| Now {
            elsewhere: false,
            progress: *live.progress.lock(),
            elapsed: live.began.elapsed(),
            cancelled: live.cancel.load(Ordering::Relaxed),
        });
        let now = match now {
            None if self.leased(service, id)? => {
                Some(Now { elsewhere: true, progress: None, elapsed: Duration::ZERO, cancelled: false })
            }
            now => now,
        };
        Ok((Upload::read(&document)?, now))
    }

    /// Whether a node is at an upload, perhaps this one.
    fn leased(&self, service: &Service, id: &str) -> Result<bool, ServiceError> {
        Ok(service.node().is_some() && service.store.leaseholder(&lease_of(id))?.is_some())
    }

    /// Why this node cannot read an upload's file, if it cannot.
    pub fn absent(&self, upload: &Upload) -> Option<String> {
        (!self.path(&upload.id).exists()).then(|| {
            let host = &upload.host;
            format!(
                "the file was given to another node, {host}, and this one does not have it; open this page there, or \
                 give the file again (nodes that share the folder console.imports_folder can all go on with a file)"
            )
        })
    }

    /// Whether something goes on with an upload on this node.
    pub fn busy(&self, id: &str) -> bool {
        self.inner.live.lock().contains_key(id)
    }

    /// The beginning of an upload that was found by [`Uploads::get`].
    pub fn peek(&self, upload: &Upload, rows: usize) -> Result<Peeked, ImportError> {
        let encoding = encoding_rs::Encoding::for_label_no_replacement(upload.choices.encoding.trim().as_bytes());
        let mappings = upload.choices.mappings.iter().filter_map(|text| text.parse().ok()).collect();
        let options = intake::ReadOptions { mappings, encoding, ..intake::ReadOptions::default() };
        let file = File::open(self.path(&upload.id)).map_err(ImportError::Open)?;
        let mut peeked = intake::peek(file, &options, rows)?;
        peeked.rows.iter_mut().for_each(|row| row.line = row.line.saturating_sub(upload.headed.into()));
        Ok(peeked)
    }

    /// Some rows of an upload that was found by [`Uploads::get`], as a file
    /// that can be corrected and given again.
    pub fn rows(&self, upload: &Upload, rows: KeptRows) -> io::Result<File> {
        File::open(self.rows_path(&upload.id, rows))
    }

    /// Checks an upload anew.
    pub fn check(
        &self,
        service: &Service,
        (key, partner): (PartnerKey, &PartnerId),
        id: &str,
        choices: ImportChoices,
    ) -> Result<(), ServiceError> {
        choices.options(true).map_err(ServiceError::Invalid)?;
        let upload = self.idle(service, key, id)?;
        self.begin(service, key, partner, Upload { choices, stage: UploadStage::Checking, ..upload })
    }

    /// Imports what was checked, as it was checked.
    pub fn run(
        &self,
        service: &Service,
        (key, partner): (PartnerKey, &PartnerId),
        id: &str,
    ) -> Result<(), ServiceError> {
        let upload = self.idle(service, key, id)?;
        if upload.found.is_none() {
            return Err(ServiceError::Refused("it has not been checked yet; check it first".to_owned()));
        }
        self.begin(service, key, partner, Upload { stage: UploadStage::Importing, error: None, ..upload })
    }

    /// Stops what goes on with an upload; of an import, nothing is then written.
    pub fn cancel(&self, service: &Service, key: PartnerKey, id: &str) -> Result<(), ServiceError> {
        let (upload, now) = self.get(service, key, id)?;
        if now.is_some_and(|now| now.elsewhere) {
            let why = format!("another node is at it, and can cancel it; the file was given to {}", upload.host);
            return Err(ServiceError::Refused(why));
        }
        if let Some(live) = self.inner.live.lock().get(id) {
            live.cancel.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Lets go of an upload. What was imported stays.
    pub fn discard(&self, service: &Service, key: PartnerKey, id: &str) -> Result<(), ServiceError> {
        let (_, now) = self.get(service, key, id)?;
        if now.is_some() {
            return Err(busy());
        }
        self.forget(service, key, id)
    }

    /// Lets go of what is over a day old, and of files nobody knows of. The
    /// file of what another node lets go of is one of those, later.
    pub fn forget_due(&self, service: &Service) {
        const AT_ONCE: usize = 100;
        match service.store.due(KIND, Time::now(), AT_ONCE) {
            Ok(due) => {
                for (key, document) in due {
                    if let Err(error) = self.forget_idle(service, key, &document.id) {
                        warn!(%error, "cannot let go of import {}", document.id);
                    }
                }
            }
            Err(error) => warn!(%error, "cannot look for imports to let go of"),
        }
        let Ok(entries) = fs::read_dir(&self.inner.folder) else { return };
        for entry in entries.flatten() {
            let ours =
                entry.file_name().to_str().is_some_and(is_ours) && entry.file_type().is_ok_and(|kind| kind.is_file());
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            let age =
                modified.ok().filter(|_| ours).and_then(|modified| SystemTime::now().duration_since(modified).ok());
            if age.is_some_and(|age| age > STRAY) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Stops what goes on, at the end of the server; it can be begun again.
    pub fn stop(&self) {
        const PATIENCE: Duration = Duration::from_secs(10);
        self.inner.stopped.store(true, Ordering::SeqCst);
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let live = self.inner.live.lock();
            if live.is_empty() {
                return;
            }
            live.values().for_each(|live| live.cancel.store(true, Ordering::Relaxed));
            drop(live);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn path(&self, id: &str) -> PathBuf {
        self.inner.folder.join(id)
    }

    fn rows_path(&self, id: &str, rows: KeptRows) -> PathBuf {
        self.inner.folder.join(format!("{id}.{}", rows.extension()))
    }

    /// An upload that nothing goes on with and that was not imported yet.
    fn idle(&self, service: &Service, key: PartnerKey, id: &str) -> Result<Upload, ServiceError> {
        let (upload, now) = self.get(service, key, id)?;
        if now.is_some() {
            return Err(busy());
        }
        if upload.stage == UploadStage::Imported {
            return Err(imported());
        }
        self.absent(&upload).map_or(Ok(upload), |why| Err(ServiceError::Refused(why)))
    }

    fn forget_idle(&self, service: &Service, key: PartnerKey, id: &str) -> Result<(), ServiceError> {
        if self.busy(id) || self.leased(service, id)? { Ok(()) } else { self.forget(service, key, id) }
    }

    fn forget(&self, service: &Service, key: PartnerKey, id: &str) -> Result<(), ServiceError> {
        service.write_beside(key, |transaction| Ok(transaction.drop_document(KIND, id)?))?;
        let kept = KeptRows::ALL.map(|rows| self.rows_path(id, rows));
        for path in kept.into_iter().chain([self.path(id)]) {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    warn!(%error, "cannot remove {}", path.display());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Writes down what is begun, and does it.
    fn begin(
        &self,
        service: &Service,
        key: PartnerKey,
        partner: &PartnerId,
        upload: Upload,
    ) -> Result<(), ServiceError> {
        let (progress, cancel) = Default::default();
        let live = Arc::new(LiveUpload { progress, cancel, began: Instant::now() });
        {
            let mut all = self.inner.live.lock();
            if self.inner.stopped.load(Ordering::SeqCst) {
                return Err(ServiceError::Refused("the server is about to stop; try again in a moment".to_owned()));
            }
            if all.contains_key(&upload.id) {
                return Err(busy());
            }
            all.insert(upload.id.clone(), live.clone());
        }
        let mut end = UploadGuard { uploads: self.clone(), id: upload.id.clone(), claim: None };
        if service.node().is_some() {
            end.claim = Some(service.leases.claim(&lease_of(&upload.id))?.ok_or_else(busy)?);
        }
        let document = upload.document();
        service.write_beside(key, |transaction| {
            match transaction.document(KIND, &upload.id)?.as_ref().map(Upload::read).transpose()? {
                Some(Upload { stage: UploadStage::Imported, .. }) => Err(imported()),
                Some(_) | None => Ok(transaction.put_document(KIND, &document)?),
            }
        })?;
        let (uploads, partner) = (self.clone(), partner.clone());
        let service = service.asked(service.actor.clone(), Some(upload.id.clone()), None);
        std::thread::spawn(move || {
            let id = upload.id.clone();
            let work = || uploads.work(&service, key, &partner, upload, &live);
            match catch_unwind(AssertUnwindSafe(work)) {
                Ok(Ok(())) => {}
                // Its document says what was begun; the page offers it again.
                Ok(Err(error)) => error!(%error, "cannot write down how import {id} went"),
                Err(_) => error!("import {id} panicked"),
            }
            drop(end);
        });
        Ok(())
    }

    fn work(
        &self,
        service: &Service,
        key: PartnerKey,
        partner: &PartnerId,
        upload: Upload,
        live: &LiveUpload,
    ) -> Result<(), ServiceError> {
        let checks = upload.stage == UploadStage::Checking;
        let options = match upload.choices.options(checks) {
            Ok(options) => options,
            Err(errors) => {
                let error = Some(crate::service::describe(&errors));
                return self.ended(service, key, &Upload { stage: UploadStage::Unusable, error, ..upload });
            }
        };
        let path = self.path(&upload.id);
        let source = || Ok(Box::new(BufReader::with_capacity(256 << 10, File::open(&path)?)) as Box<dyn Read>);
        let progress = |progress: ImportProgress| *live.progress.lock() = Some(progress);
        let watch = Watch { progress: &progress, cancel: &live.cancel };
        // Made in the transaction, so that it is there if what it tells is.
        let note = |transaction: &mut dyn SideWrites, report: &ImportReport| {
            let found = Some(UploadCounts::of(report, upload.headed));
            put(transaction, &Upload { stage: UploadStage::Imported, found, error: None, ..upload.clone() })
        };
        let report = service.import_noting(partner, &source, &options, &watch, &note);
        if let Ok(report) = &report {
            self.extract(&upload.id, &options, KeptRows::Rejected, &report.rejected_lines);
            self.extract(&upload.id, &options, KeptRows::Cautioned, &report.caution_lines);
        }
        match report {
            Ok(report) if report.written => {
                if let Some(replica) = &service.replica {
                    replica.follow();
                }
                Ok(())
            }
            Ok(report) => {
                // Since the check, what is stored has changed.
                let error = (!checks).then(|| match report.refused {
                    true => "nothing was written, because the file has columns that are not read; see below".to_owned(),
                    false => {
                        format!("nothing was written, because {} numbers are rejected; see below", report.rejected)
                    }
                });
                let found = Some(UploadCounts::of(&report, upload.headed));
                self.ended(service, key, &Upload { stage: UploadStage::Checked, found, error, ..upload })
            }
            Err(error) => {
                let stage = match (&error, &upload.found) {
                    (ImportError::Intake(_), _) | (_, None) => UploadStage::Unusable,
                    (_, Some(_)) => UploadStage::Checked,
                };
                let found = upload.found.clone().filter(|_| stage == UploadStage::Checked);
                self.ended(service, key, &Upload { stage, found, error: Some(fault(&error)), ..upload })
            }
        }
    }

    /// Writes down how it went. What another node did meanwhile stands.
    fn ended(&self, service: &Service, key: PartnerKey, upload: &Upload) -> Result<(), ServiceError> {
        match service.write_beside(key, |transaction| put(transaction, upload)) {
            Ok(_) | Err(ServiceError::Refused(_) | ServiceError::Unknown { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Writes down some of the rows. The import does not hang on it.
    fn extract(&self, id: &str, options: &ImportOptions, rows: KeptRows, lines: &[u64]) {
        let write = || -> io::Result<()> {
            let to = self.rows_path(id, rows);
            if lines.is_empty() {
                return match fs::remove_file(&to) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                    _ => Ok(()),
                };
            }
            let mut out = io::BufWriter::new(self.receive()?);
            let file = BufReader::new(File::open(self.path(id))?);
            intake::extract(file, &options.intake, lines, &mut out).map_err(io::Error::other)?;
            let whole = out.into_inner().map_err(io::IntoInnerError::into_error)?;
            whole.file.persist(&to).map_err(|error| error.error)?;
            Ok(())
        };
        if let Err(error) = write() {
            warn!(%error, "cannot keep the {} rows of import {id}", rows.extension());
        }
    }
}

/// Says that an upload is at rest, however its work ended.
struct UploadGuard {
    uploads: Uploads,
    id: String,
    claim: Option<Lease>,
}

impl Drop for UploadGuard {
    fn drop(&mut self) {
        // First, or it would seem to be another node's.
        self.claim = None;
        self.uploads.inner.live.lock().remove(&self.id);
    }
}

/// Writes down how it goes with an upload that is worked on, unless it was let
/// go of or has been imported.
fn put(transaction: &mut dyn SideWrites, upload: &Upload) -> Result<(), ServiceError> {
    let now = transaction.document(KIND, &upload.id)?.ok_or_else(|| ServiceError::unknown("import", &upload.id))?;
    match Upload::read(&now)?.stage {
        UploadStage::Imported => Err(imported()),
        UploadStage::Checking | UploadStage::Checked | UploadStage::Unusable | UploadStage::Importing => {
            Ok(transaction.put_document(KIND, &upload.document())?)
        }
    }
}

/// The lease on an upload.
fn lease_of(id: &str) -> String {
    format!("import:{id}")
}

fn imported() -> ServiceError {
    ServiceError::Refused("it has been imported already; give the file again to do more".to_owned())
}

fn busy() -> ServiceError {
    ServiceError::Refused("it is being worked on; wait until that has ended, or cancel it".to_owned())
}

/// Why a file cannot be used, for the console, which has no command-line flags.
fn fault(error: &ImportError) -> String {
    match error {
        ImportError::Cancelled => "it was stopped, and nothing was written".to_owned(),
        ImportError::Intake(IntakeError::NoNumberColumn { headless: false, .. }) => {
            "no column is read as the number; choose below which one it is".to_owned()
        }
        ImportError::Intake(IntakeError::ColumnTwice { field, first, second }) => {
            format!(
                "the columns “{first}” and “{second}” are both read as {field}; choose something else for one of them"
            )
        }
        ImportError::Intake(IntakeError::ExportTwo { exports: [one, other] }) => {
            format!("the columns could be those of a {one} export or of a {other} one; choose below what they are")
        }
        error => {
            let mut text = in_words(&error.to_string());
            let mut cause = std::error::Error::source(error);
            while let Some(inner) = cause {
                text.push_str(": ");
                text.push_str(&inner.to_string());
                cause = inner.source();
            }
            text
        }
    }
}

/// A message of the importer without the flags of the command.
fn in_words(message: &str) -> String {
    const WORDS: [(&str, &str); 9] = [
        ("give --move to", "allow held numbers to be moved, to"),
        ("in its row or as --monthly-cost and --currency", "in its row or among the options"),
        ("here or as --currency", "in its row or among the options"),
        (
            "say what the digits are: --assume-plus if they are international, --default-country if they are national",
            "say among the options what the digits are",
        ),
        ("such as --encoding windows-1252", "such as windows-1252, among the options"),
        ("name it with --encoding utf-16le", "name utf-16le as its encoding, among the options"),
        ("ignore one of them with --map", "do not read one of them"),
        ("give --default-country or --assume-plus", "choose one of them"),
        ("name it with --map COLUMN=number, where", "choose it below;"),
    ];
    WORDS.iter().fold(message.to_owned(), |text, (flag, words)| text.replace(flag, words))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Actor;
    use crate::store::{self, Location, Open};

    struct Fixture {
        folder: tempfile::TempDir,
        service: Service,
        uploads: Uploads,
        key: PartnerKey,
        partner: PartnerId,
    }

    impl Fixture {
        fn new() -> Fixture {
            let folder = tempfile::tempdir().expect("a folder");
            let location = Location::Sqlite(folder.path().join("a.db"));
            let service = Service::new(store::open(&location, Open::Create).expect("a store"), Actor::Server);
            let partner: PartnerId = "PA_1".parse().expect("an id");
            service.partner_create(partner.clone(), "One".into()).expect("created");
            let key = service.partner_key(&partner).expect("known");
            let uploads = Uploads::new(folder.path().join("files"), 1 << 20);
            Fixture { folder, service, uploads, key, partner }
        }

        fn give(&self, text: &str) -> String {
            self.give_as(text, ImportChoices::default())
        }

        fn give_as(&self, text: &str, choices: ImportChoices) -> String {
            let mut incoming = self.uploads.receive().expect("a place");
            incoming.write_all(text.as_bytes()).expect("written");
            let upload = self.uploads.keep(&self.service, (self.key, &self.partner), incoming, "a.csv", choices);
            upload.expect("kept").id
        }

        /// An upload once nothing goes on with it.
        fn rest(&self, id: &str) -> Upload {
            for _ in 0..1_000 {
                if !self.uploads.busy(id) {
                    return self.uploads.get(&self.service, self.key, id).expect("there").0;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            panic!("{id} does not end");
        }

        fn check(&self, id: &str, choices: ImportChoices) -> Upload {
            self.uploads.check(&self.service, (self.key, &self.partner), id, choices).expect("begun");
            self.rest(id)
        }

        fn run(&self, id: &str) -> Upload {
            self.uploads.run(&self.service, (self.key, &self.partner), id).expect("begun");
            self.rest(id)
        }

        fn numbers(&self) -> usize {
            self.service.snapshot(&self.partner, true).expect("loaded").len()
        }
    }

    #[test]
    fn only_files_of_our_own_names_go_by_age() {
        let fixture = Fixture::new();
        let id = fixture.give("number\n+912271264217\n");
        fixture.rest(&id);
        let folder = fixture.folder.path().join("files");
        let stray = token::import_id(Time::now());
        let ours =
            [stray.clone(), format!("{stray}.rejected"), format!("{stray}.cautions"), "receiving-a1B2c3".to_owned()];
        let theirs = [
            "contract.pdf".to_owned(),
            "rollcall-backup.db".to_owned(),
            "import_notes.txt".to_owned(),
            "import_2026".to_owned(),
            format!("{stray}.pdf"),
            format!("{stray}.rejected.txt"),
            format!("{stray}x"),
            "receiving-note".to_owned(),
            "receiving-a-list-of-mine".to_owned(),
        ];
        let old = SystemTime::now() - STRAY - Duration::from_secs(1);
        for name in ours.iter().chain(&theirs) {
            let file = File::create(folder.join(name)).expect("made");
            file.set_modified(old).expect("set");
        }
        fs::create_dir(folder.join(token::import_id(Time::now()))).expect("made");
        fixture.uploads.forget_due(&fixture.service);
        assert!(ours.iter().all(|name| !folder.join(name).exists()));
        theirs.iter().for_each(|name| assert!(folder.join(name).exists(), "{name}"));
        assert!(folder.join(&id).exists());
    }

    #[cfg(unix)]
    #[test]
    fn the_mode_of_a_folder_that_is_there_is_left() {
        use std::os::unix::fs::PermissionsExt;
        let place = tempfile::tempdir().expect("a folder");
        let mode = |path: &std::path::Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o775)).expect("set");
        Uploads::new(place.path().join("made"), 1).receive().expect("a place");
        assert_eq!((mode(place.path()), mode(&place.path().join("made"))), (0o775, 0o700));
        Uploads::new(place.path().to_owned(), 1).receive().expect("a place");
        assert_eq!(mode(place.path()), 0o775);
    }

    const FILE: &str = "Phone,Customer id,Price,Currency\n\
        +912271264217,MA_1,500,INR\n\
        +912271264218,MA_1,,\n\
        not one,MA_1,500,INR\n";

    #[test]
    fn a_file_is_checked_corrected_and_imported() {
        let fixture = Fixture::new();
        let id = fixture.give(FILE);
        let upload = fixture.rest(&id);
        assert_eq!(upload.stage, UploadStage::Checked);
        // The reader knows the columns by their names, so nothing has to be chosen.
        assert!(upload.choices.mappings.is_empty());
        let found = upload.found.expect("checked");
        assert_eq!((found.rows, found.imported, found.rejected, found.rejected_rows), (3, 1, 2, 2));
        assert_eq!(found.first[&2], RowFate { imported: 1, ..RowFate::default() });
        assert_eq!(found.first[&4], RowFate { rejected: 1, ..RowFate::default() });
        assert!(!found.errors.iter().any(|error| error.message.contains("--")), "{:?}", found.errors);
        assert_eq!(fixture.numbers(), 0);

        let choices = ImportChoices { currency: "inr".into(), monthly_cost: "10".into(), ..upload.choices };
        let found = fixture.check(&id, choices.clone()).found.expect("checked");
        assert_eq!((found.imported, found.rejected), (2, 1));
        let inr: Currency = "INR".parse().expect("a currency");
        assert_eq!(found.money, BTreeMap::from([(inr, CostChange { up: 51_000, down: 0 })]));

        // As a whole, it is refused, and nothing is written.
        let upload = fixture.run(&id);
        assert_eq!((upload.stage, fixture.numbers()), (UploadStage::Checked, 0));
        assert!(upload.error.is_some_and(|error| error.contains("nothing was written")));

        fixture.check(&id, ImportChoices { skip: true, ..choices });
        let upload = fixture.run(&id);
        assert_eq!((upload.stage, fixture.numbers()), (UploadStage::Imported, 2));
        let version = upload.found.as_ref().and_then(|found| found.version);
        let log = fixture.service.store.log(fixture.key, 1, 10).expect("read");
        assert_eq!(version, Some(log[0].change.version));
        assert_eq!(log[0].change.request_id.as_deref(), Some(id.as_str()));
        let mut rejects = String::new();
        fixture.uploads.rows(&upload, KeptRows::Rejected).expect("kept").read_to_string(&mut rejects).expect("text");
        assert_eq!(rejects, "Phone,Customer id,Price,Currency\nnot one,MA_1,500,INR\n");
        let again = fixture.uploads.run(&fixture.service, (fixture.key, &fixture.partner), &id);
        assert!(matches!(again, Err(ServiceError::Refused(_))));
    }

    #[test]
    fn bare_numbers_need_no_line_that_names_them() {
        let fixture = Fixture::new();
        let id = fixture.give("+912271264217\nnonsense\n");
        let upload = fixture.rest(&id);
        assert!(upload.headed);
        let found = upload.found.clone().expect("checked");
        assert_eq!((found.imported, found.rejected), (1, 1));
        assert_eq!(found.errors[0].line, 2, "as its owner counts them");
        assert_eq!(fixture.uploads.peek(&upload, 5).expect("readable").rows[0].line, 1);
    }

    #[test]
    fn what_cannot_be_read_says_what_to_do_and_can_be_corrected() {
        let fixture = Fixture::new();
        let id = fixture.give("what,who\n+912271264217,x\n");
        let upload = fixture.rest(&id);
        assert_eq!(upload.stage, UploadStage::Unusable);
        assert_eq!(upload.error.as_deref(), Some("no column is read as the number; choose below which one it is"));
        let choices = ImportChoices { mappings: vec!["what=number".into()], ..ImportChoices::default() };
        fixture.uploads.check(&fixture.service, (fixture.key, &fixture.partner), &id, choices).expect("begun");
        let upload = fixture.rest(&id);
        assert_eq!((upload.stage, upload.error), (UploadStage::Checked, None));

        let wrong = ImportChoices {
            currency: "rupees".into(),
            monthly_cost: "1".into(),
            digits: "national".into(),
            ..ImportChoices::default()
        };
        let errors = wrong.options(true).expect_err("refused");
        let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["country", "currency", "monthly_cost"]);
    }

    #[test]
    fn a_restart_leaves_it_done_or_not_at_all() {
        let fixture = Fixture::new();
        let id = fixture.give("number\n+912271264217\n");
        let upload = fixture.rest(&id);
        // As a server that ended in the middle leaves it.
        let left = Upload { stage: UploadStage::Importing, ..upload };
        fixture.uploads.ended(&fixture.service, fixture.key, &left).expect("written");
        let after = Fixture { uploads: Uploads::new(fixture.folder.path().join("files"), 1 << 20), ..fixture };
        let (upload, now) = after.uploads.get(&after.service, after.key, &id).expect("there");
        assert!(now.is_none() && upload.stage == UploadStage::Importing);
        assert_eq!(after.run(&id).stage, UploadStage::Imported);
        assert_eq!(after.numbers(), 1);
    }

    /// Another node on the same database, with a folder of its own or the same.
    fn node(fixture: &Fixture, name: &str, folder: &str) -> (Service, Uploads) {
        let service = Service::new(fixture.service.store.clone(), Actor::Server);
        let leases = lease::Leases::named(service.store.clone(), name, Duration::from_secs(1));
        (service.leases(leases), Uploads::new(fixture.folder.path().join(folder), 1 << 20))
    }

    fn refused(result: Result<(), ServiceError>, part: &str) {
        match result {
            Err(ServiceError::Refused(why)) if why.contains(part) => {}
            other => panic!("not refused for {part}: {other:?}"),
        }
    }

    #[test]
    fn a_node_without_the_file_says_who_has_it() {
        let fixture = Fixture::new();
        let id = fixture.give(FILE);
        let upload = fixture.rest(&id);
        let (service, uploads) = node(&fixture, "other", "elsewhere");
        let of = (fixture.key, &fixture.partner);
        assert!(uploads.absent(&upload).is_some_and(|why| why.contains(&upload.host)));
        refused(uploads.run(&service, of, &id), "was given to another node");
        refused(uploads.check(&service, of, &id, upload.choices.clone()), "was given to another node");
        assert_eq!(fixture.rest(&id).stage, UploadStage::Checked);
        // What is let go of there goes here in time.
        uploads.discard(&service, fixture.key, &id).expect("let go of");
        assert!(fixture.uploads.list(&fixture.service, fixture.key).expect("read").is_empty());
    }

    #[test]
    fn what_another_node_is_at_is_left_alone() {
        let fixture = Fixture::new();
        let id = fixture.give_as(FILE, ImportChoices { skip: true, ..ImportChoices::default() });
        let upload = fixture.rest(&id);
        let (service, uploads) = node(&fixture, "other", "files");
        let (of, store) = ((fixture.key, &fixture.partner), &fixture.service.store);
        assert!(store.lease(&lease_of(&id), "somebody", 60).expect("a lease").held());
        let (_, now) = uploads.get(&service, fixture.key, &id).expect("there");
        assert!(now.is_some_and(|now| now.elsewhere));
        refused(uploads.run(&service, of, &id), "is being worked on");
        refused(uploads.discard(&service, fixture.key, &id), "is being worked on");
        refused(uploads.cancel(&service, fixture.key, &id), "another node is at it");
        uploads.forget_idle(&service, fixture.key, &id).expect("left");
        assert!(uploads.path(&id).exists() && uploads.get(&service, fixture.key, &id).is_ok());

        // One that was stopped for so long that its lease has gone does nothing
        // to what another one has done.
        store.end_lease(&lease_of(&id), "somebody").expect("ended");
        uploads.run(&service, of, &id).expect("begun");
        while uploads.busy(&id) {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!((fixture.rest(&id).stage, fixture.numbers()), (UploadStage::Imported, 1));
        assert_eq!(store.leaseholder(&lease_of(&id)).expect("asked"), None, "given back");
        let version = store.heads(true).expect("heads").expect("asked for")[0].version;
        for stage in [UploadStage::Importing, UploadStage::Checking] {
            let (progress, cancel) = Default::default();
            let late =
                Upload { stage, choices: ImportChoices { skip: true, ..upload.choices.clone() }, ..upload.clone() };
            let live = LiveUpload { progress, cancel, began: Instant::now() };
            fixture.uploads.work(&fixture.service, fixture.key, &fixture.partner, late, &live).expect("nothing");
            assert_eq!(fixture.rest(&id).stage, UploadStage::Imported);
        }
        assert_eq!(store.heads(true).expect("heads").expect("asked for")[0].version, version);
    }

    #[test]
    fn others_files_are_unknown_and_old_ones_go() {
        let fixture = Fixture::new();
        let id = fixture.give("number\n+912271264217\n");
        fixture.rest(&id);
        let other: PartnerId = "PA_2".parse().expect("an id");
        fixture.service.partner_create(other.clone(), "Two".into()).expect("created");
        let key = fixture.service.partner_key(&other).expect("known");
        let unknown = |result: Result<(), ServiceError>| assert!(matches!(result, Err(ServiceError::Unknown { .. })));
        unknown(fixture.uploads.get(&fixture.service, key, &id).map(drop));
        unknown(fixture.uploads.run(&fixture.service, (key, &other), &id));
        unknown(fixture.uploads.discard(&fixture.service, key, &id));
        for _ in 0..KEPT_MAX {
            let id = fixture.give("number\n+912271264217\n");
            fixture.rest(&id);
        }
        assert!(fixture.uploads.list(&fixture.service, fixture.key).expect("read").len() <= KEPT_MAX);
        let kept = fixture.uploads.list(&fixture.service, fixture.key).expect("read");
        fixture.uploads.discard(&fixture.service, fixture.key, &kept[0].id).expect("let go of");
        assert!(!fixture.uploads.path(&kept[0].id).exists());
        unknown(fixture.uploads.get(&fixture.service, fixture.key, &kept[0].id).map(drop));
    }
}
