//! `rollcall number list --partner PA_X [filters]`: numbers on a screen.
//!
//! Deliberately absent: whole inventories as files (`rollcall export`).

use serde_json::value::RawValue;

use super::export::Filters;
use super::{CliError, Global, OfPartner, Outcome, output};
use crate::domain::Time;
use crate::inventory::{NumberRef, Window};
use crate::store::Open;
use crate::wire;
use crate::wire::html::thousands;

#[derive(clap::Args)]
pub struct ListCommand {
    #[command(flatten)]
    of: OfPartner,
    #[command(flatten)]
    filters: Filters,
    /// How many numbers are shown
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Which of the pages of that many
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    page: u32,
}

const HEADINGS: [&str; 8] =
    ["NUMBER", "STATUS", "CUSTOMER", "APPLICATION", "TRUNK", "MONTHLY COST", "CURRENCY", "EXPIRES AT"];

impl ListCommand {
    pub fn run(self, global: &Global) -> Result<Outcome, CliError> {
        let snapshot = global.service(Open::Existing)?.snapshot(&self.of.partner, true)?;
        let filter = self.filters.named(&snapshot)?;
        let skip = u64::from(self.page - 1) * u64::from(self.limit);
        let window = Window::Page { rows: self.limit as usize, skip };
        let found = snapshot.select(&filter, self.filters.order, window, Time::now());
        if global.json {
            let rows = found.rows.iter().map(|&row| raw(row)).collect::<Result<Vec<_>, CliError>>()?;
            let meta = PageMeta { total: found.total, page: self.page, per_page: self.limit };
            output::json(&ListedNumbers { data: rows, meta })?;
            return Ok(Outcome::Done);
        }
        if found.total == 0 {
            output::note("No numbers match");
            return Ok(Outcome::Done);
        }
        let (shown, pages) = (found.rows.len() as u64, found.total.div_ceil(self.limit.into()));
        if shown == 0 {
            output::note(&format!("--page {} is beyond the last page, which is {pages}", self.page));
            return Ok(Outcome::Done);
        }
        output::table(&HEADINGS, &found.rows.iter().map(|&row| cells(row)).collect::<Vec<_>>())?;
        if shown < found.total {
            let next = match u64::from(self.page) < pages {
                true => format!("--page {} shows the next", self.page + 1),
                false => "this is the last page".to_owned(),
            };
            output::note(&format!(
                "{} of {} numbers; {next}, `rollcall export` writes all",
                thousands(shown),
                thousands(found.total),
            ));
        }
        Ok(Outcome::Done)
    }
}

/// Numbers with their exact amounts, which a `serde_json::Value` would not keep.
#[derive(serde::Serialize)]
struct ListedNumbers {
    data: Vec<Box<RawValue>>,
    meta: PageMeta,
}

#[derive(serde::Serialize)]
struct PageMeta {
    total: u64,
    page: u32,
    per_page: u32,
}

/// A number as the management API shows it.
pub fn raw(row: NumberRef<'_>) -> Result<Box<RawValue>, CliError> {
    let mut out = Vec::new();
    wire::record::number(&mut out, row);
    output::raw(out)
}

fn cells(row: NumberRef<'_>) -> Vec<String> {
    let cost = row.cost();
    let or_none = |text: Option<String>| text.unwrap_or_default();
    // The state says more than active or suspended where a number is in stock.
    let status = match row.state().held() {
        true => row.status().to_string(),
        false => row.state().to_string(),
    };
    vec![
        row.number().to_string(),
        status,
        or_none(row.account().map(|account| account.name.to_string())),
        or_none(row.application().map(|application| application.name.to_string())),
        or_none(row.trunk().map(|trunk| trunk.id.to_string())),
        or_none(cost.map(|cost| cost.to_string())),
        or_none(cost.map(|cost| cost.currency.to_string())),
        or_none(row.expires_at().map(|time| time.to_string())),
    ]
}
