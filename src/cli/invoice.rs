//! `rollcall invoice --partner PA_X --month 2026-02 --cdrs FILE|--cdr-url URL`
//!
//! Rental from the log, and calls from the platform's records. The calls are read
//! once and added up; errors (a record that cannot be used, a call without a holder,
//! another sum than the platform's own) are reported, and the exit code is then 3.

mod fetch;
mod render;

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use sha2::{Digest as _, Sha256};

use super::costs::{Billed, partner};
use super::import::OnErrorFlag;
use super::output::{self, Bar};
use super::upstream::token;
use super::{CliError, Global, OfPartner, Outcome};
use crate::billing::{Bill, CallTally, Day, Invoice, OtherCall, Stated, Usage};
use crate::domain::entity::hex_digest;
use crate::domain::{AccountId, Call, Time, Zone};
use crate::intake::{self, BadCall, CallsRead, TakeCall};
use crate::service;
use crate::store::Open;
use crate::wire::report::CsvCells;
use fetch::Credentials;

#[derive(clap::Args)]
pub struct Invoices {
    #[command(flatten)]
    of: OfPartner,
    #[command(flatten)]
    billed: Billed,
    /// Call records: the platform's answer (pages one after the other), NDJSON or CSV, also gzipped; - for stdin
    #[arg(long, value_name = "FILE", required_unless_present = "cdr_url", conflicts_with = "cdr_url")]
    cdrs: Option<PathBuf>,
    /// The platform's CDR endpoint, with its filters; all pages are read
    #[arg(long, value_name = "URL", requires = "token_file")]
    cdr_url: Option<String>,
    /// The X-Auth-ID for the CDR endpoint, if it is not the partner's id
    #[arg(long, value_name = "ID", requires = "cdr_url")]
    auth_id: Option<String>,
    /// A file with the X-Auth-Token for the CDR endpoint
    #[arg(long, value_name = "FILE", requires = "cdr_url")]
    token_file: Option<PathBuf>,
    /// The zone of call times without one, such as Asia/Kolkata
    #[arg(long, value_name = "ZONE", value_parser = Zone::find)]
    cdr_zone: Option<Zone>,
    /// What to do when call records cannot be used: create no invoice, or create it without them
    #[arg(long, value_enum, default_value = "abort")]
    on_error: OnErrorFlag,
    /// Only this format; HTML is a file for each customer and needs --out
    #[arg(long, value_enum)]
    format: Option<InvoiceFormat>,
    /// In CSV: leave cells that a spreadsheet would take for formulas as they are, for scripts
    #[arg(long)]
    raw: bool,
    /// Write files into this folder: CSV, JSON, and a page to print for each customer
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum InvoiceFormat {
    Csv,
    Json,
    Html,
}

/// How many records that cannot be used are listed.
const ERRORS_MAX: u64 = 1_000;

/// All that an invoice run found.
struct InvoiceRun {
    partner: String,
    /// Today, in the zone of the month.
    made_on: Day,
    bill: Bill,
    invoices: Vec<Invoice>,
    tally: CallTally,
    read: CallsRead,
    stated: Option<Stated>,
}

impl Invoices {
    pub fn run(self, global: &Global) -> Result<Outcome, CliError> {
        if self.format == Some(InvoiceFormat::Html) && self.out.is_none() {
            return Err(CliError::Usage("a page for each customer needs a folder: give --out DIR".to_owned()));
        }
        let found = self.work_out(global)?;
        match &self.out {
            Some(folder) => self.write(folder, &found)?,
            None => {
                let json = global.json || self.format == Some(InvoiceFormat::Json);
                let mut out = output::stdout();
                let written = match json {
                    true => render::json(&found, &mut out),
                    false => render::csv(&found, CsvCells::raw(self.raw), &mut out),
                };
                written.and_then(|()| out.flush()).map_err(output::closed)?;
            }
        }
        Ok(if found.say() { Outcome::Done } else { Outcome::Differs })
    }

    fn work_out(&self, global: &Global) -> Result<InvoiceRun, CliError> {
        let service = global.service(Open::Existing)?;
        let (key, version, name) = partner(&service, &self.of.partner)?;
        let account = self.billed.account(global, &self.of)?;
        let Billed { month, proration, .. } = &self.billed;
        let (calendar, now) = (service.billing_calendar(key)?, Time::now());
        let period = calendar.period(*month);
        let holdings = service.holdings(key, version, &calendar, service::verbs::billing::span(&period, now)?)?;
        let bill = Bill::of(&calendar, *month, *proration, &holdings, now);
        let mut usage = Usage::new(&holdings, period.whole());
        let read = self.read(&mut |line, call| usage.add(line, call))?;
        if read.rejected > 0 && self.on_error == OnErrorFlag::Abort {
            return Err(CliError::Other(format!(
                "{} of {} call records cannot be used, so there is no invoice; correct them, or leave them out with \
                 --on-error skip",
                read.rejected, read.records
            )));
        }
        let (mut invoices, tally) = usage.finish(&bill, &holdings);
        if let Some(only) = account {
            invoices.retain(|invoice| invoice.account == only);
        }
        let stated = read.stated.zip(read.summed).map(|(last, summed)| Stated::new(last, summed, &tally));
        let made_on = period.date(now);
        Ok(InvoiceRun { partner: name.to_string(), made_on, bill, invoices, tally, read, stated })
    }

    fn read(&self, take: &mut dyn FnMut(u64, &Call) -> Result<(), OtherCall>) -> Result<CallsRead, CliError> {
        let bar = Bar::new(None, "calls");
        let (mut count, mut bad, mut others) = (0, 0, 0);
        let counted: TakeCall<'_> = &mut |line, record: Result<&Call, BadCall>| {
            count += 1;
            if count % 4_096 == 0 {
                bar.set("reading calls", count, None);
            }
            let taken = record.and_then(|call| {
                take(line, call).map_err(|other| {
                    others += 1;
                    BadCall { place: format!("line {line}"), problem: other.to_string() }
                })
            });
            if let Err(error) = taken {
                bad += 1;
                if bad <= ERRORS_MAX {
                    output::note(&error.to_string());
                }
            }
        };
        let zone = self.cdr_zone.as_ref();
        let read = match (&self.cdrs, &self.cdr_url) {
            (Some(file), _) => read_file(file, zone, counted),
            (None, Some(url)) => fetch::calls(url, &self.credentials()?, zone, counted),
            (None, None) => Err(CliError::Usage("give --cdrs FILE or --cdr-url URL".to_owned())),
        };
        bar.finish();
        if bad > ERRORS_MAX {
            output::note(&format!("… and {} more", bad - ERRORS_MAX));
        }
        read.map(|read| CallsRead { rejected: read.rejected + others, ..read })
    }

    fn credentials(&self) -> Result<Credentials, CliError> {
        let Some(path) = &self.token_file else {
            return Err(CliError::Usage("the CDR endpoint needs --token-file FILE".to_owned()));
        };
        let token = token(path)?;
        let auth_id = self.auth_id.clone().unwrap_or_else(|| self.of.partner.to_string());
        Ok(Credentials { auth_id, token })
    }

    fn write(&self, folder: &Path, found: &InvoiceRun) -> Result<(), CliError> {
        let failed = |what: &Path| {
            let what = format!("cannot write {}", what.display());
            move |source| CliError::Io { what, source }
        };
        fs::create_dir_all(folder).map_err(failed(folder))?;
        let month = found.bill.month();
        let wants = |format| self.format.is_none_or(|only| only == format);
        let save = |name: &str, write: &dyn Fn(&mut dyn Write) -> io::Result<()>| {
            let path = folder.join(name);
            let written = File::create(&path).and_then(|file| {
                let mut out = io::BufWriter::with_capacity(1 << 16, file);
                write(&mut out)?;
                out.flush()
            });
            written.map_err(failed(&path))
        };
        if wants(InvoiceFormat::Csv) {
            save(&format!("invoices-{month}.csv"), &|out| render::csv(found, CsvCells::raw(self.raw), out))?;
        }
        if wants(InvoiceFormat::Json) {
            save(&format!("invoices-{month}.json"), &|out| render::json(found, out))?;
        }
        if wants(InvoiceFormat::Html) {
            // An account's invoices are next to each other, one a currency.
            for of_account in found.invoices.chunk_by(|a, b| a.account == b.account) {
                let name = format!("invoice-{month}-{}.html", file_name(&of_account[0].account));
                save(&name, &|out| render::html(found, of_account, out))?;
            }
        }
        Ok(())
    }
}

/// An account's id as a part of a file's name. Ids that differ keep differing:
/// what is not plain is percent-encoded, and a long one ends in its hash.
fn file_name(account: &AccountId) -> String {
    const BYTES_MAX: usize = 100;
    let mut name = String::new();
    for byte in account.as_str().bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => name.push(char::from(byte)),
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    if name.len() > BYTES_MAX {
        let digest: [u8; 32] = Sha256::digest(account.as_str().as_bytes()).into();
        name.truncate(BYTES_MAX - 17);
        name = format!("{name}~{}", &hex_digest::text(&digest)[..16]);
    }
    name
}

fn read_file(path: &Path, zone: Option<&Zone>, take: TakeCall<'_>) -> Result<CallsRead, CliError> {
    let named = |source| CliError::Io { what: format!("cannot read {}", path.display()), source };
    let input: Box<dyn Read> = match path.to_str() {
        Some("-") => Box::new(io::stdin().lock()),
        _ => Box::new(BufReader::with_capacity(1 << 18, File::open(path).map_err(named)?)),
    };
    intake::read_calls(input, zone, take).map_err(|source| CliError::Calls { path: path.to_owned(), source })
}

impl InvoiceRun {
    /// Says on stderr what to look at; whether all is as it should be.
    fn say(&self) -> bool {
        let InvoiceRun { tally, .. } = self;
        let month = self.bill.month();
        output::note(&format!(
            "{} call records: {} repeated, {} outside {}",
            self.read.records, tally.repeated, tally.outside, month
        ));
        if self.bill.draft {
            let zone = &self.bill.period.zone;
            output::note(&format!("draft: {month} has not ended in {zone}; counted up to {}", self.bill.through));
        }
        if self.read.rejected > 0 {
            output::note(&format!("{} call records are on no invoice: they cannot be used", self.read.rejected));
        }
        if self.read.free > 0 {
            output::note(&format!("{} unanswered calls name no currency and cost nothing", self.read.free));
        }
        for (currency, calls) in &tally.unattributed {
            output::note(&format!(
                "{} calls ({} {currency}) are on no invoice: no account held their number when they began",
                calls.calls, calls.cost
            ));
        }
        if tally.uneven > 0 {
            output::note(&format!("{} calls: total_cost is not cost and streaming_cost together", tally.uneven));
        }
        let more = self.read.pagination.is_some_and(|page| page.has_next);
        if more {
            output::note("the last page says that there is a next one; the records are not complete");
        }
        let agrees = match &self.stated {
            None => true,
            Some(Stated { stated, found: None }) => {
                output::note(&format!(
                    "the platform's summary says {stated}; the records are of several currencies, which cannot be added"
                ));
                false
            }
            Some(stated @ Stated { stated: said, found: Some(found) }) => {
                if !stated.agrees() {
                    let by = *found - *said;
                    output::note(&format!(
                        "the records add up to {found}, the platform's summary says {said}: {by} apart"
                    ));
                }
                stated.agrees()
            }
        };
        agrees && !more && self.read.rejected == 0
    }
}
