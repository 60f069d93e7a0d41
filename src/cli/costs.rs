//! `rollcall costs --partner PA_X --month 2026-02 [--format table|csv|json|html]`

use std::io::Write;

use clap::ValueEnum;

use super::output;
use super::{CliError, Global, OfPartner, Outcome};
use crate::billing::{Bill, Month, Proration};
use crate::domain::{AccountId, PartnerId, PartnerKey, Time};
use crate::service::Service;
use crate::store::Open;
use crate::wire::costs::{BillText, BillWriter};
use crate::wire::html::{escape, put};
use crate::wire::paper;
use crate::wire::report::CsvCells;

#[derive(clap::Args)]
pub struct CostsCommand {
    #[command(flatten)]
    of: OfPartner,
    #[command(flatten)]
    billed: Billed,
    /// How the result is written
    #[arg(long, value_enum, default_value = "table")]
    format: CostsFormat,
    /// With csv: leave cells that a spreadsheet would take for formulas as they are, for scripts
    #[arg(long)]
    raw: bool,
}

/// Which rental: the same for costs and invoices.
#[derive(clap::Args)]
pub struct Billed {
    /// The month in the partner's billing zone; one that has not ended is counted up to today
    #[arg(long, value_name = "YYYY-MM")]
    pub month: Month,
    /// Only the costs of this customer, by id or by name
    #[arg(long, value_name = "ID|NAME", visible_alias = "account")]
    account_auth_id: Option<String>,
    /// full: rental months that begin in the month, whole; days: by the days held
    #[arg(long, value_parser = parse_proration, default_value = "full", value_name = "full|days")]
    pub proration: Proration,
}

impl Billed {
    /// The customer that is asked for, if one is.
    pub fn account(&self, global: &Global, of: &OfPartner) -> Result<Option<AccountId>, CliError> {
        let Some(text) = &self.account_auth_id else { return Ok(None) };
        Ok(Some(global.names(of)?.customer(text)?))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CostsFormat {
    Table,
    Csv,
    Json,
    Html,
}

/// How many lines are written at a time.
const LINES_AT_ONCE: usize = 1_000;

fn parse_proration(text: &str) -> Result<Proration, String> {
    Proration::parse(text).ok_or_else(|| "must be full or days".to_owned())
}

/// A partner's key, its version and its name, as of one moment.
pub fn partner(service: &Service, id: &PartnerId) -> Result<(PartnerKey, u64, std::sync::Arc<str>), CliError> {
    let (key, version, partner) = service.partner_named(id)?;
    Ok((key, version, partner.name))
}

impl CostsCommand {
    pub fn run(self, global: &Global) -> Result<Outcome, CliError> {
        let service = global.service(Open::Existing)?;
        let (key, version, name) = partner(&service, &self.of.partner)?;
        let account = self.billed.account(global, &self.of)?;
        let Billed { month, proration, .. } = self.billed;
        let (calendar, now) = (service.billing_calendar(key)?, Time::now());
        let bill = service.bill(key, version, &calendar, month, proration, now)?;
        let wanted = |place: &usize| account.as_ref().is_none_or(|id| bill.groups[*place].account == *id);
        let groups: Vec<usize> = (0..bill.groups.len()).filter(wanted).collect();
        let format = if global.json { CostsFormat::Json } else { self.format };
        let text = match format {
            CostsFormat::Table => return table(&bill, &groups),
            CostsFormat::Html => return html(&bill, &groups, &name, now),
            CostsFormat::Csv => BillText::Csv(CsvCells::raw(self.raw)),
            // All of it on one page.
            CostsFormat::Json => BillText::Json { page: 1, per_page: groups.len().max(1) as u64 },
        };
        let mut out = output::stdout();
        let mut writer = BillWriter::new(text, groups);
        let mut piece = Vec::new();
        while !writer.done() {
            writer.next(&bill, LINES_AT_ONCE, &mut piece);
            out.write_all(&piece).map_err(output::closed)?;
            piece.clear();
        }
        if format == CostsFormat::Json {
            out.write_all(b"\n").map_err(output::closed)?;
        }
        out.flush().map_err(output::closed)?;
        Ok(Outcome::Done)
    }
}

fn table(bill: &Bill, groups: &[usize]) -> Result<Outcome, CliError> {
    let headings = ["number", "from", "until", "days", "rate", "amount", ""];
    for (at, &place) in groups.iter().enumerate() {
        let group = &bill.groups[place];
        let currency = group.total.currency;
        if at > 0 {
            output::line("")?;
        }
        output::line(&format!("{} {} ({currency})", group.account, group.name))?;
        let lines = bill.lines[group.lines.clone()].iter();
        let row = |line: &crate::billing::BillLine| {
            vec![
                line.number.to_string(),
                line.from.to_string(),
                line.until.to_string(),
                line.days.to_string(),
                line.rate.to_string(),
                line.amount.to_string(),
                paper::expired(line),
            ]
        };
        let mut rows: Vec<Vec<String>> = lines.map(row).collect();
        let total = format!("{} {currency}", group.total);
        rows.push(["total", "", "", "", "", &total, ""].map(str::to_owned).to_vec());
        output::table(&headings, &rows)?;
    }
    if groups.is_empty() {
        output::note(&format!("nobody held a number in {}", bill.month()));
    }
    let zone = &bill.period.zone;
    if bill.draft {
        output::note(&format!("draft: {} has not ended in {zone}; counted up to {}", bill.month(), bill.through));
    } else if !zone.is_utc() {
        output::note(&format!("days are those of {zone}"));
    }
    Ok(Outcome::Done)
}

fn html(bill: &Bill, groups: &[usize], partner: &str, now: Time) -> Result<Outcome, CliError> {
    let mut out = output::stdout();
    let mut text = String::new();
    let name = paper::name("Number costs", bill);
    paper::begin(&mut text, &format!("{name} - {partner}"), paper::Style::Within);
    put(&mut text, format_args!("<h1>{name}</h1>\n<p>{}\n", escape(partner)));
    paper::about(&mut text, bill, bill.period.date(now));
    let totals = Bill::totals(groups.iter().map(|&place| &bill.groups[place]));
    paper::totals(&mut text, &["Total"], &totals.into_iter().map(|sum| vec![sum]).collect::<Vec<_>>());
    for &place in groups {
        let group = &bill.groups[place];
        paper::section_begin(&mut text, &group.name);
        put(&mut text, format_args!("<p class=\"about\">{}\n", escape(group.account.as_str())));
        paper::lines_begin(&mut text);
        for line in &bill.lines[group.lines.clone()] {
            paper::line(&mut text, line);
            if text.len() > 1 << 16 {
                out.write_all(text.as_bytes()).map_err(output::closed)?;
                text.clear();
            }
        }
        paper::lines_end(&mut text, "Total", &group.total);
        paper::section_end(&mut text);
    }
    paper::end(&mut text);
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(output::closed)?;
    Ok(Outcome::Done)
}
