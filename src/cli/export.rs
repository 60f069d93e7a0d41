//! `rollcall export --partner PA_X [filters] [--format csv|ndjson]`

use std::io::Write;

use clap::{Arg, ArgMatches, Command, FromArgMatches, ValueEnum};

use super::output;
use super::{CliError, Global, OfPartner, Outcome};
use crate::domain::Time;
use crate::inventory::names::NamedKind;
use crate::inventory::{Filter, Order, PARAMETERS, QueryError, Snapshot};
use crate::store::Open;
use crate::wire;

#[derive(clap::Args)]
pub struct Export {
    #[command(flatten)]
    of: OfPartner,
    #[command(flatten)]
    filters: Filters,
    /// How the result is written
    #[arg(long, value_enum, default_value = "csv")]
    format: ExportFormat,
}

/// How many rows are written at a time.
const ROWS_AT_ONCE: usize = 1_000;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ExportFormat {
    Csv,
    Ndjson,
}

/// The API's filters as flags, under the same names.
pub struct Filters {
    filter: Filter,
    pub order: Order,
    any: bool,
}

impl clap::Args for Filters {
    fn augment_args(command: Command) -> Command {
        let filters = PARAMETERS.iter().map(|parameter| {
            let flag = parameter.name.replace('_', "-");
            let arg = Arg::new(parameter.name).long(flag.clone()).help(parameter.about).value_name(parameter.example);
            let arg = arg.help_heading("Filters").allow_hyphen_values(parameter.name == "sort");
            let arg = if flag == parameter.name { arg } else { arg.alias(parameter.name) };
            match parameter.name {
                "account_auth_id" => arg.visible_alias("account").value_name("ID|NAME"),
                "application_id" => arg.visible_alias("application").value_name("ID|NAME"),
                "trunk_id" => arg.visible_alias("trunk").value_name("ID|NAME"),
                _ => arg,
            }
        });
        command.args(filters)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Filters::augment_args(command)
    }
}

impl FromArgMatches for Filters {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Filters, clap::Error> {
        let mut filters = Filters { filter: Filter::default(), order: Order::default(), any: false };
        filters.update_from_arg_matches(matches)?;
        Ok(filters)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for parameter in PARAMETERS {
            let Some(value) = matches.get_one::<String>(parameter.name) else { continue };
            self.any |= parameter.name != "sort";
            self.filter.set(&mut self.order, parameter.name, value).map_err(|error| {
                let reason = match error {
                    QueryError::Value(error) => error.message,
                    QueryError::Unknown => "is not a filter".to_owned(),
                };
                let flag = parameter.name.replace('_', "-");
                clap::Error::raw(clap::error::ErrorKind::ValueValidation, format!("--{flag} {value:?} {reason}\n"))
            })?;
        }
        Ok(())
    }
}

impl Export {
    pub fn run(self, global: &Global) -> Result<Outcome, CliError> {
        let snapshot = global.service(Open::Existing)?.snapshot(&self.of.partner, true)?;
        let filter = self.filters.named(&snapshot)?;
        let now = Time::now();
        let mut out = output::stdout();
        let mut line = Vec::with_capacity(wire::ROW_BYTES * 2);
        if self.format == ExportFormat::Csv {
            wire::csv_header(&mut line, wire::EXPORT);
        }
        let mut walk = snapshot.walk(filter, self.filters.order, None, now);
        let mut writer = match self.format {
            ExportFormat::Csv => wire::RowWriter::new(&snapshot, wire::TextForm::Csv, wire::EXPORT),
            ExportFormat::Ndjson => wire::RowWriter::new(&snapshot, wire::TextForm::Json, wire::EXPORT),
        };
        while !walk.done() {
            for row in walk.next(&snapshot, ROWS_AT_ONCE) {
                writer.row(&mut line, row);
                if self.format == ExportFormat::Ndjson {
                    line.push(b'\n');
                }
            }
            out.write_all(&line).map_err(output::closed)?;
            line.clear();
        }
        if !self.filters.any {
            accounts_without_numbers(&snapshot, self.format, &mut line, now);
        }
        out.write_all(&line).and_then(|()| out.flush()).map_err(output::closed)?;
        Ok(Outcome::Done)
    }
}

impl Filters {
    /// The filter with the ids of what it names: a command that names a customer, a
    /// region or a tag that is not there is not answered with an empty list.
    pub fn named(&self, snapshot: &Snapshot) -> Result<Filter, CliError> {
        let filter = self.filter.clone();
        let region = filter.region.as_deref().filter(|region| !snapshot.finds_region(region));
        let tag = filter.tag.as_deref().filter(|tag| !snapshot.has_tag(tag));
        if let Some(region) = region {
            return Err(unknown("region", region, snapshot.regions_like(region)));
        }
        if let Some(tag) = tag {
            return Err(unknown("tag", tag, snapshot.tags_like(tag)));
        }
        let find = |what, text: Option<Box<str>>| text.map(|text| snapshot.find_named(what, &text)).transpose();
        Ok(Filter {
            account: find(NamedKind::Customer, filter.account)?.map(Into::into),
            application: find(NamedKind::Application, filter.application)?.map(Into::into),
            trunk: find(NamedKind::Trunk, filter.trunk)?.map(Into::into),
            ..filter
        })
    }
}

/// No number has this region or tag; those that are like it are named.
fn unknown(what: &str, value: &str, near: Vec<String>) -> CliError {
    let near: Vec<String> = near.into_iter().map(|one| format!("{one:?}")).collect();
    let meant = if near.is_empty() { String::new() } else { format!(". Did you mean {}?", near.join(" or ")) };
    CliError::Other(format!("no number has the {what} {value:?}{meant}"))
}

/// Accounts that hold nothing have a row of their own, or they would be lost.
fn accounts_without_numbers(snapshot: &Snapshot, format: ExportFormat, out: &mut Vec<u8>, now: Time) {
    use wire::Column;
    for (account, counts) in snapshot.accounts.iter().zip(snapshot.counts(now)) {
        if counts.active + counts.suspended > 0 {
            continue;
        }
        match format {
            ExportFormat::Csv => {
                for (at, column) in wire::EXPORT.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    match column {
                        Column::AccountAuthId => wire::csv_read_back(out, account.auth_id.as_str()),
                        Column::AccountName => wire::csv_read_back(out, &account.name),
                        Column::State => out.extend_from_slice(b"no_number"),
                        _ => {}
                    }
                }
                out.extend_from_slice(b"\r\n");
            }
            ExportFormat::Ndjson => {
                out.extend_from_slice(b"{\"number\":null,\"account_auth_id\":");
                wire::json_text(out, account.auth_id.as_str());
                out.extend_from_slice(b",\"account_name\":");
                wire::json_text(out, &account.name);
                out.extend_from_slice(b",\"state\":\"no_number\"}\n");
            }
        }
    }
}
