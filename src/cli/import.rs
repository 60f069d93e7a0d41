//! `rollcall import FILE|- --partner PA_X …`

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use tempfile::NamedTempFile;

use super::output::{self, Bar};
use super::{CliError, Global, OfPartner, Outcome};
use crate::domain::{Country, Currency, Sum};
use crate::intake::{self, Caution, Mapping};
use crate::service::verbs::import::{
    ChangedNumber, ERRORS_MAX, EntityNews, FieldChange, ImportOptions, ImportProgress, ImportReport, OnError, Watch,
    losses_told,
};
use crate::store::{Location, Open};

#[derive(clap::Args)]
pub struct Import {
    /// The file, or - for stdin: CSV, NDJSON, JSON or .xlsx, also gzipped
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    of: OfPartner,
    /// Read a column as a field (COLUMN=FIELD), or ignore it (COLUMN=-); may be repeated
    #[arg(long, value_name = "COLUMN=FIELD")]
    map: Vec<Mapping>,
    /// Digits without + are national numbers of this country
    #[arg(long, value_name = "CC", conflicts_with = "assume_plus")]
    default_country: Option<Country>,
    /// Digits without + are international numbers
    #[arg(long)]
    assume_plus: bool,
    /// The currency of rows without one
    #[arg(long, value_name = "C")]
    currency: Option<Currency>,
    /// The monthly cost of rows without one
    #[arg(long, value_name = "M")]
    monthly_cost: Option<String>,
    /// The encoding of a file that is not UTF-8, such as windows-1252
    #[arg(long, value_name = "NAME", value_parser = parse_encoding)]
    encoding: Option<&'static encoding_rs::Encoding>,
    /// The zone of days without a time, such as Asia/Kolkata
    #[arg(long, value_name = "ZONE", default_value = "UTC", value_parser = parse_zone)]
    zone: jiff::tz::TimeZone,
    /// What to do when rows are rejected: write nothing, or write the rest
    #[arg(long, value_enum, default_value = "abort")]
    on_error: OnErrorFlag,
    /// Allow held numbers to move between accounts of the partner, with their route, trunk, expiry and price
    #[arg(long = "move")]
    move_held: bool,
    /// Empty cells keep the stored value; without this option they clear it
    #[arg(long)]
    keep_empty: bool,
    /// Reject rows with cautions, and files with unread columns
    #[arg(long)]
    strict: bool,
    /// Report what would change, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Write the rejected rows to this file, to be corrected and imported
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnErrorFlag {
    Abort,
    Skip,
}

fn parse_encoding(name: &str) -> Result<&'static encoding_rs::Encoding, String> {
    encoding_rs::Encoding::for_label_no_replacement(name.as_bytes())
        .ok_or_else(|| "is not an encoding that is known; windows-1252 and utf-16le are examples".to_owned())
}

fn parse_zone(name: &str) -> Result<jiff::tz::TimeZone, String> {
    let zone = crate::domain::user::zone(name).and_then(|name| jiff::tz::TimeZone::get(&name).ok());
    zone.ok_or_else(|| "is not a zone that is known; Asia/Kolkata and UTC are examples".to_owned())
}

impl Import {
    pub fn run(self, global: &Global) -> Result<Outcome, CliError> {
        if let (Some(amount), Some(currency)) = (&self.monthly_cost, self.currency) {
            crate::domain::Money::parse(amount, currency)
                .map_err(|error| CliError::Usage(format!("--monthly-cost {amount} {error}")))?;
        } else if self.monthly_cost.is_some() {
            return Err(CliError::Usage("--monthly-cost needs --currency".to_owned()));
        }
        let service = global.service(Open::Existing)?;
        let input = ImportInput::open(&self.file)?;
        let options = ImportOptions {
            intake: intake::ReadOptions {
                mappings: self.map,
                default_country: self.default_country,
                assume_plus: self.assume_plus,
                currency: self.currency,
                encoding: self.encoding,
                zone: self.zone,
            },
            monthly_cost: self.monthly_cost.as_deref().map(Into::into),
            on_error: match self.on_error {
                OnErrorFlag::Abort => OnError::Abort,
                OnErrorFlag::Skip => OnError::Skip,
            },
            move_held: self.move_held,
            keep_empty: self.keep_empty,
            strict: self.strict,
            dry_run: self.dry_run,
        };
        let reading = Bar::new(Some(input.bytes), "bytes");
        let writing = Bar::new(Some(0), "numbers");
        let progress = |progress: ImportProgress| match progress {
            ImportProgress::Reading { bytes } => reading.set("reading", bytes, None),
            ImportProgress::Writing { numbers, total } => {
                reading.finish();
                writing.set("writing", numbers, Some(total));
            }
        };
        let watch = Watch { progress: &progress, cancel: output::interrupt()? };
        // Before anything is written to the database: a file that cannot be made is said then.
        let rejects = self.rejects.as_deref().map(|path| RejectsFile::begin(path, global)).transpose()?;
        let report = service.import(&self.of.partner, &|| input.reopen(), &options, &watch);
        reading.finish();
        writing.finish();
        let report = report?;

        // What happened to the database is said even where the rows cannot be written.
        let kept = match rejects.filter(|_| !report.rejected_lines.is_empty()) {
            Some(rejects) => rejects.write(&input, &options, &report),
            None => Ok(()),
        };
        if let Some(export) = &report.export {
            output::note(&format!("read as a {export} export: docs/import.md says what its columns mean"));
        }
        if global.json {
            output::outcome(&report, self.dry_run)?;
        } else {
            describe(&report, self.dry_run)?;
        }
        for column in &report.unknown {
            output::note(&format!(
                "column {column:?} was not read: name it with --map '{column}=FIELD', or ignore it with --map '{column}=-'"
            ));
        }
        kept?;
        Ok(if report.rejected > 0 || report.refused { Outcome::Differs } else { Outcome::Done })
    }
}

/// What is imported: a file that can be read again. Stdin becomes one first.
struct ImportInput {
    file: File,
    bytes: u64,
}

impl ImportInput {
    fn open(path: &PathBuf) -> Result<ImportInput, CliError> {
        let failed = |source| CliError::Io { what: format!("cannot read {}", path.display()), source };
        let mut file = if path.as_os_str() == "-" {
            let mut spool = tempfile::tempfile().map_err(failed)?;
            io::copy(&mut io::stdin().lock(), &mut spool).map_err(failed)?;
            spool
        } else {
            File::open(path).map_err(failed)?
        };
        if file.metadata().map_err(failed)?.is_dir() {
            return Err(CliError::Other(format!("{} is a folder", path.display())));
        }
        // A pipe cannot be read twice either.
        if !file.metadata().map_err(failed)?.is_file() {
            let mut spool = tempfile::tempfile().map_err(failed)?;
            io::copy(&mut file, &mut spool).map_err(failed)?;
            file = spool;
        }
        let bytes = file.metadata().map_err(failed)?.len();
        Ok(ImportInput { file, bytes })
    }

    fn reopen(&self) -> io::Result<Box<dyn Read>> {
        let mut file = self.file.try_clone()?;
        file.rewind()?;
        Ok(Box::new(BufReader::with_capacity(256 << 10, file)))
    }
}

/// Where the rejected rows go: into a new file that takes the place of the named one once
/// it is whole, so that the imported file itself may be named.
struct RejectsFile {
    path: PathBuf,
    /// `None` for what is no file, such as a pipe: it is written to.
    new: Option<NamedTempFile>,
}

impl RejectsFile {
    fn begin(path: &Path, global: &Global) -> Result<RejectsFile, CliError> {
        let failed = |source| CliError::Io { what: format!("cannot write {}", path.display()), source };
        // A link stays one.
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        match std::fs::metadata(&path) {
            Ok(found) if found.is_dir() => return Err(CliError::Other(format!("{} is a folder", path.display()))),
            Ok(found) if !found.is_file() => return Ok(RejectsFile { path, new: None }),
            _ => {}
        }
        if let Location::Sqlite(database) = &global.settings()?.database
            && std::fs::canonicalize(database).is_ok_and(|database| database == path)
        {
            let message = format!("--rejects {} is the database; name another file", path.display());
            return Err(CliError::Usage(message));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // As a file that is made in any other way, with what the umask leaves.
        let mode = std::fs::Permissions::from_mode(0o666);
        let new = tempfile::Builder::new().prefix(".rollcall-rejects-").permissions(mode).tempfile_in(folder);
        Ok(RejectsFile { new: Some(new.map_err(failed)?), path })
    }

    fn write(self, input: &ImportInput, options: &ImportOptions, report: &ImportReport) -> Result<(), CliError> {
        let RejectsFile { path, new } = self;
        let failed = |source| CliError::Io { what: format!("cannot write {}", path.display()), source };
        let source = input.reopen().map_err(failed)?;
        let file = match &new {
            Some(new) => new.reopen(),
            None => OpenOptions::new().write(true).open(&path),
        };
        let mut out = io::BufWriter::new(file.map_err(failed)?);
        intake::extract(source, &options.intake, &report.rejected_lines, &mut out)
            .map_err(|error| CliError::Import(error.into()))?;
        out.flush().map_err(failed)?;
        if let Some(new) = new {
            new.persist(&path).map_err(|error| failed(error.error))?;
        }
        output::note(&format!(
            "wrote the rejected rows to {}; correct them there and import that file",
            path.display()
        ));
        Ok(())
    }
}

/// The result on stdout; what is wrong or doubtful with the file on stderr.
fn describe(report: &ImportReport, dry_run: bool) -> Result<(), CliError> {
    for error in &report.errors {
        output::note(&placed(error.line, &error.column, &error.value, &error.message));
    }
    let rejected_rows = report.rejected_lines.len();
    if rejected_rows > ERRORS_MAX {
        output::note(&format!("… and {} more rows", rejected_rows - ERRORS_MAX));
    }
    for caution in &report.cautions {
        let Caution { line, column, value, reason } = caution;
        output::note(&format!("caution: {}", placed(*line, column, value, reason)));
    }
    let more = report.cautions_total - report.cautions.len() as u64;
    if more > 0 {
        output::note(&format!("… and {more} more cautions"));
    }
    let verb = match (dry_run, report.written) {
        (true, _) => "would be",
        (false, true) => "were",
        (false, false) => "would have been",
    };
    output::line(&format!(
        "{} rows: {} numbers {verb} imported, {} updated, {} unchanged, {} rejected",
        report.rows, report.imported, report.updated, report.unchanged, report.rejected
    ))?;
    if report.cautions_total > 0 {
        output::line(&format!("{} cautions; --strict refuses them", report.cautions_total))?;
    }
    for loss in losses_told(&report.losses, report.losses_route_active, report.written) {
        output::line(&loss)?;
    }
    for (&currency, moved) in &report.money {
        let amount = |minor| format!("{} {}", Sum { minor, currency }, currency.code());
        let (up, down) = (amount(moved.up), amount(moved.down));
        output::line(&format!("held numbers cost {up} more and {down} less a month"))?;
    }
    for entity in &report.entities {
        output::line(&told(entity, report.written))?;
    }
    if report.entities_total > report.entities.len() as u64 {
        output::line(&format!("… and {} more", report.entities_total - report.entities.len() as u64))?;
    }
    if !report.written {
        changes(report)?;
    }
    if !report.written && !dry_run {
        output::note(match report.refused {
            true => "nothing was written; say what the columns mean with --map, or leave --strict out",
            false => "nothing was written; correct the rows, or write the rest with --on-error skip",
        });
    }
    Ok(())
}

/// `line 3, number: "+44…" is no number`.
fn placed(line: u64, column: &str, value: &str, message: &str) -> String {
    let place = if column.is_empty() { format!("line {line}") } else { format!("line {line}, {column}") };
    let value = if value.is_empty() { String::new() } else { format!(" {value:?}") };
    format!("{place}:{value} {message}")
}

fn told(entity: &EntityNews, done: bool) -> String {
    let EntityNews { kind, id, name, before } = entity;
    let called = if name == id { id.clone() } else { format!("{id} ({name})") };
    match (before, done) {
        (None, false) => format!("creates {kind} {called}"),
        (None, true) => format!("created {kind} {called}"),
        (Some(before), false) => format!("renames {kind} {id} from {before} to {name}"),
        (Some(before), true) => format!("renamed {kind} {id} from {before} to {name}"),
    }
}

/// Numbers that were there, before and after.
fn changes(report: &ImportReport) -> Result<(), CliError> {
    for ChangedNumber { line, number, numbers, changes } in &report.changed {
        let more = if *numbers > 1 { format!(" and {} more", numbers - 1) } else { String::new() };
        let one = |change: &FieldChange| {
            let value = |value: &Option<String>| value.clone().unwrap_or_else(|| change.nothing().to_owned());
            let lost = if change.lost { " (lost)" } else { "" };
            format!("{} {} -> {}{lost}", change.label(), value(&change.before), value(&change.after))
        };
        let told: Vec<String> = changes.iter().map(one).collect();
        output::line(&format!("line {line}, {number}{more}: {}", told.join("; ")))?;
    }
    let shown: u64 = report.changed.iter().map(|changed| changed.numbers).sum();
    if report.updated > shown {
        output::line(&format!("… and {} more updated numbers", report.updated - shown))?;
    }
    Ok(())
}
