//! `rollcall number add | assign | release | …` and `rollcall undo`

use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{CliError, Global, OfPartner, Outcome, confirm, output};
use crate::domain::action::{Action, Assignment, MONTHS_MAX, Price, Transfer};
use crate::domain::spelling::{self, BareDigits};
use crate::domain::time::BadTime;
use crate::domain::{Country, Currency, E164, Money, NumberType, Status, Tags, Time, Zone, label, number, plan};
use crate::inventory::NumberRef;
use crate::service::verbs::numbers::{BLOCK_MAX, Expected, Stock};
use crate::service::{self, ServiceError, VerbOutcome};
use crate::store::Open;
use crate::wire;

#[derive(Subcommand)]
pub enum NumberCommand {
    /// Bring a number, or a block of them, into stock
    Add {
        /// In E.164, such as +912271264217; or a block, such as +912271264200..299
        #[arg(value_name = "NUMBER", value_parser = parse_block)]
        block: (E164, E164),
        #[command(flatten)]
        partner: OfPartner,
        /// Show what would change, and write nothing
        #[arg(long)]
        dry_run: bool,
        /// The last number of the block
        #[arg(long, value_name = "NUMBER", value_parser = super::parse_number)]
        to: Option<E164>,
        #[command(flatten)]
        price: Needed,
        /// The type; by default derived from the numbering plan
        #[arg(long, value_parser = parse_type, value_name = "local|tollfree|mobile")]
        number_type: Option<NumberType>,
        /// Two letters; by default derived from the numbering plan
        #[arg(long)]
        country: Option<Country>,
        /// The place; by default derived from the numbering plan
        #[arg(long, value_parser = parse_region)]
        region: Option<Arc<str>>,
        /// A tag; may be repeated
        #[arg(long = "tag", value_parser = parse_tag)]
        tags: Vec<String>,
    },
    /// List numbers
    List(Box<super::list::ListCommand>),
    /// Show everything about a number
    Show {
        /// In E.164, such as +912271264217
        #[arg(value_parser = super::parse_number)]
        number: E164,
        #[command(flatten)]
        partner: OfPartner,
    },
    /// Explain how a call to a number is answered
    Routing {
        /// In E.164, such as +912271264217
        #[arg(value_parser = super::parse_number)]
        number: E164,
        #[command(flatten)]
        partner: OfPartner,
        /// As of this time in the past
        #[arg(long, value_name = "TIME")]
        as_of: Option<Time>,
    },
    /// Give an available number to an account
    Assign {
        #[command(flatten)]
        of: Of,
        /// The customer, by id or by name
        #[arg(long, value_name = "ID|NAME")]
        account: String,
        /// Where its calls go, by id or by name
        #[arg(long, value_name = "ID|NAME")]
        application: Option<String>,
        /// The trunk that its calls come in on, by id or by name
        #[arg(long, value_name = "ID|NAME")]
        trunk: Option<String>,
        /// When it expires; without this option it auto-renews
        #[arg(long, value_name = "TIME", value_parser = parse_expiry)]
        expires_at: Option<Time>,
        /// The monthly cost; by default the cost in stock
        #[arg(long, value_name = "AMOUNT")]
        monthly_cost: Option<String>,
        /// The currency of --monthly-cost, such as INR
        #[arg(long)]
        currency: Option<Currency>,
    },
    /// Move a number to another account, with its status, price and expiry
    Transfer {
        #[command(flatten)]
        of: Of,
        /// The customer that gets it, by id or by name
        #[arg(long, value_name = "ID|NAME")]
        account: String,
        /// Where its calls go, by id or by name; by default it keeps its application
        #[arg(long, value_name = "ID|NAME")]
        application: Option<String>,
        /// Clear its application
        #[arg(long, conflicts_with = "application")]
        no_application: bool,
        /// The trunk that its calls come in on, by id or by name; by default it keeps its trunk
        #[arg(long, value_name = "ID|NAME")]
        trunk: Option<String>,
        /// Clear its trunk
        #[arg(long, conflicts_with = "trunk")]
        no_trunk: bool,
        /// Also if the previous account then has no active number left
        #[arg(long)]
        confirm_last: bool,
    },
    /// Take a number back from its account; it is then in quarantine
    Release {
        #[command(flatten)]
        of: Of,
        /// Also if its account then has no active number left
        #[arg(long)]
        confirm_last: bool,
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
    },
    /// Pause an assigned number
    Suspend {
        #[command(flatten)]
        of: Of,
    },
    /// Resume a suspended number
    Resume {
        #[command(flatten)]
        of: Of,
    },
    /// Set or clear the application and trunk of a number
    #[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
    Route {
        #[command(flatten)]
        of: Of,
        /// Where its calls go, by id or by name
        #[arg(long, group = "what", value_name = "ID|NAME")]
        application: Option<String>,
        /// Clear its application: calls to it are answered that it is unrouted
        #[arg(long, group = "what", conflicts_with = "application")]
        no_application: bool,
        /// The trunk that its calls come in on, by id or by name
        #[arg(long, group = "what", value_name = "ID|NAME")]
        trunk: Option<String>,
        /// Clear its trunk
        #[arg(long, group = "what", conflicts_with = "trunk")]
        no_trunk: bool,
    },
    /// Extend the expiry of a number, set it, or make it auto-renew
    ///
    /// --months and --years extend from the later of the expiry and now, on the
    /// calendar of --zone: 31 January and a month is the last day of February.
    /// Example: rollcall number renew +912271264217 --years 1
    #[command(group = clap::ArgGroup::new("end").required(true))]
    Renew {
        #[command(flatten)]
        of: Of,
        /// By how many months; a number that auto-renews stays as it is
        #[arg(long, group = "end", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MONTHS_MAX)))]
        months: Option<u32>,
        /// By how many years; a number that auto-renews stays as it is
        #[arg(long, group = "end", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MONTHS_MAX / 12)))]
        years: Option<u32>,
        /// Whose calendar counts the months
        #[arg(long, value_name = "ZONE", default_value = "UTC", value_parser = Zone::find, conflicts_with_all = ["expires_at", "never"])]
        zone: Zone,
        /// The new expiry, such as 2027-03-01T00:00:00Z
        #[arg(long, group = "end", value_name = "TIME", value_parser = parse_renewal)]
        expires_at: Option<Time>,
        /// It auto-renews from now on
        #[arg(long, group = "end", visible_alias = "auto-renew")]
        never: bool,
    },
    /// Keep an available number for an account until a set time
    Reserve {
        #[command(flatten)]
        of: Of,
        /// The customer, by id or by name
        #[arg(long, value_name = "ID|NAME")]
        account: String,
        /// When the reservation ends, such as 2027-03-01T00:00:00Z
        #[arg(long, value_name = "TIME")]
        until: Time,
    },
    /// End a reservation
    Unreserve {
        #[command(flatten)]
        of: Of,
    },
    /// Remove an available number from the inventory permanently
    Retire {
        #[command(flatten)]
        of: Of,
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
    },
    /// Add and remove tags
    #[command(group = clap::ArgGroup::new("tags").required(true).multiple(true))]
    Tag {
        #[command(flatten)]
        of: Of,
        /// A tag to add; may be repeated
        #[arg(long, value_name = "TAG", group = "tags", value_parser = parse_tag)]
        add: Vec<String>,
        /// A tag to remove; may be repeated
        #[arg(long, value_name = "TAG", group = "tags", value_parser = parse_tag)]
        remove: Vec<String>,
    },
    /// Set the monthly cost of a number
    Cost {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        price: Needed,
    },
}

/// The number, and whose it is.
#[derive(Args)]
pub struct Of {
    /// In E.164, such as +912271264217
    #[arg(value_parser = super::parse_number)]
    number: E164,
    #[command(flatten)]
    partner: OfPartner,
    /// Show what would change, and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// An amount that must be given.
#[derive(Args)]
pub struct Needed {
    /// What it costs a month, such as 500.00
    #[arg(long, value_name = "AMOUNT")]
    monthly_cost: String,
    /// The currency, such as INR
    #[arg(long)]
    currency: Currency,
}

impl Needed {
    fn money(&self) -> Result<Money, CliError> {
        let wrong = |error| CliError::Usage(format!("--monthly-cost {} {error}", self.monthly_cost));
        Money::parse(&self.monthly_cost, self.currency).map_err(wrong)
    }
}

/// Numbers that come into stock: what could be national is refused.
fn parse_block(text: &str) -> Result<(E164, E164), String> {
    spelling::read(text, BareDigits::Unknown).map_err(|error| error.to_string())
}

fn parse_tag(text: &str) -> Result<String, String> {
    let max = number::TAG_CHARS_MAX;
    number::tag(text).ok_or_else(|| format!("must be 1 to {max} characters without control characters, ; and |"))
}

fn parse_expiry(text: &str) -> Result<Time, String> {
    text.parse().map_err(|error: BadTime| error.of_expiry("leave the option out"))
}

fn parse_renewal(text: &str) -> Result<Time, String> {
    text.parse().map_err(|error: BadTime| error.of_expiry("give --never instead"))
}

fn parse_region(text: &str) -> Result<Arc<str>, String> {
    let max = label::REGION_CHARS_MAX;
    label::region(text).ok_or_else(|| format!("must be 1 to {max} characters without control characters"))
}

fn parse_type(text: &str) -> Result<NumberType, String> {
    NumberType::parse(text).ok_or_else(|| "must be local, tollfree or mobile".to_owned())
}

impl NumberCommand {
    pub fn run(self, global: &Global) -> Result<Outcome, CliError> {
        let (of, action) = match self {
            NumberCommand::Add {
                block: (first, last),
                partner,
                dry_run,
                to,
                price,
                number_type,
                country,
                region,
                tags,
            } => {
                let last = match to {
                    Some(_) if first != last => {
                        return Err(CliError::Usage(format!("{first} to {last} is a block already; leave out --to")));
                    }
                    to => to.unwrap_or(last),
                };
                if last < first || last.digits() - first.digits() >= BLOCK_MAX {
                    let message =
                        format!("the block must end at most {BLOCK_MAX} numbers after {first}, not at {last}");
                    return Err(CliError::Usage(message));
                }
                let (cost, tags) = (price.money()?, Tags::new(tags));
                let stock = Stock { first, last, cost, number_type, country, region, tags };
                let service = global.service(Open::Existing)?.dry_run(dry_run);
                let key = service.partner_key(&partner.partner)?;
                let outcome = print(global, service.stock(key, &stock)?, dry_run)?;
                if let Some((number, reason)) = plan::caution(first, last) {
                    output::note(&format!("caution: {number} {reason}"));
                }
                return Ok(outcome);
            }
            NumberCommand::List(list) => return list.run(global),
            NumberCommand::Show { number, partner } => return show(global, number, &partner),
            NumberCommand::Routing { number, partner, as_of } => {
                return super::routing::explain(global, number, &partner, as_of);
            }
            NumberCommand::Assign { of, account, application, trunk, expires_at, monthly_cost, currency } => {
                let priced = monthly_cost.is_some() || currency.is_some();
                let cost = priced.then_some(Price { amount: monthly_cost, currency });
                let names = global.names(&of.partner)?;
                let account = names.customer(&account)?;
                let application = application.map(|text| names.application(&text)).transpose()?;
                let trunk = trunk.map(|text| names.trunk(&text)).transpose()?;
                (of, Action::Assign(Assignment { account, application, trunk, expires_at, cost }))
            }
            NumberCommand::Transfer { of, account, application, no_application, trunk, no_trunk, confirm_last } => {
                let names = global.names(&of.partner)?;
                let account = names.customer(&account)?;
                let application = application.map(|text| names.application(&text)).transpose()?;
                let application = application.map(Some).or(no_application.then_some(None));
                let trunk = trunk.map(|text| names.trunk(&text)).transpose()?;
                let trunk = trunk.map(Some).or(no_trunk.then_some(None));
                (of, Action::Transfer(Transfer { account, application, trunk, confirm_last }))
            }
            NumberCommand::Release { of, confirm_last, yes } => {
                confirm(&format!("release {}", of.number), yes || of.dry_run)?;
                (of, Action::Release { confirm_last })
            }
            NumberCommand::Suspend { of } => (of, Action::Suspend),
            NumberCommand::Resume { of } => (of, Action::Resume),
            NumberCommand::Route { of, application, no_application, trunk, no_trunk } => {
                let names = global.names(&of.partner)?;
                let application = application.map(|text| names.application(&text)).transpose()?;
                let trunk = trunk.map(|text| names.trunk(&text)).transpose()?;
                let application = application.map(Some).or(no_application.then_some(None));
                let trunk = trunk.map(Some).or(no_trunk.then_some(None));
                (of, Action::Route { application, trunk })
            }
            NumberCommand::Renew { of, months, years, zone, expires_at, never: _ } => {
                match months.or(years.map(|years| years * 12)) {
                    Some(months) => (of, Action::Extend { months, zone }),
                    None => (of, Action::Renew { expires_at }),
                }
            }
            NumberCommand::Reserve { of, account, until } => {
                let account = global.names(&of.partner)?.customer(&account)?;
                (of, Action::Reserve { account, until })
            }
            NumberCommand::Unreserve { of } => (of, Action::Unreserve),
            NumberCommand::Retire { of, yes } => {
                confirm(&format!("retire {} for good", of.number), yes || of.dry_run)?;
                (of, Action::Retire)
            }
            NumberCommand::Tag { of, add, remove } => {
                (of, Action::Tag { add: Tags::new(add), remove: Tags::new(remove) })
            }
            NumberCommand::Cost { of, price } => {
                let cost = price.money()?;
                (of, Action::Cost(cost))
            }
        };
        let service = global.service(Open::Existing)?.dry_run(of.dry_run);
        let key = service.partner_key(&of.partner.partner)?;
        let outcome = service.act(key, of.number, &action, &Expected::Anything)?;
        print(global, outcome, of.dry_run)
    }
}

/// `rollcall undo VERSION --partner PA_X`
#[derive(Args)]
pub struct Undo {
    /// The version to undo, as `rollcall history` and `rollcall changes` show it
    version: u64,
    #[command(flatten)]
    partner: OfPartner,
    /// Show what would change, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
}

impl Undo {
    pub fn run(self, global: &Global) -> Result<Outcome, CliError> {
        let service = global.service(Open::Existing)?.dry_run(self.dry_run);
        let key = service.partner_key(&self.partner.partner)?;
        // What is not there need not be asked about.
        let head = service.store().version(key)?;
        if self.version == 0 || self.version > head {
            let partner = &self.partner.partner;
            let last = if head == 0 { "it has no changes".to_owned() } else { format!("the last one is {head}") };
            return Err(CliError::Other(format!("change {} of partner {partner} not found: {last}", self.version)));
        }
        confirm(&format!("undo version {}", self.version), self.yes || self.dry_run)?;
        let outcome = service.undo(key, self.version).inspect_err(|error| {
            if let ServiceError::NotUndone { rows, .. } = error {
                rows.iter().for_each(|row| output::note(&format!("{}  {}", row.number, row.reason)));
            }
        })?;
        print(global, outcome, self.dry_run)
    }
}

fn show(global: &Global, number: E164, of: &OfPartner) -> Result<Outcome, CliError> {
    let snapshot = global.service(Open::Existing)?.snapshot(&of.partner, true)?;
    match snapshot.get(number, Time::now()) {
        Some(row) => print_called(global, row)?,
        None => return Err(CliError::Other(format!("partner {} does not have {number}", of.partner))),
    }
    Ok(Outcome::Done)
}

/// Prints a number with the day (UTC) on which it was last called.
fn print_called(global: &Global, row: NumberRef<'_>) -> Result<(), CliError> {
    let last = row.snapshot().called.last(row.number()).map(|day| day.to_string());
    if global.json {
        let mut out = Vec::new();
        wire::record::number(&mut out, row);
        // The object goes on.
        out.truncate(out.trim_ascii_end().len() - 1);
        out.extend_from_slice(format!(",\"last_called_at\":{}}}\n", json!(last)).as_bytes());
        return output::print(&out);
    }
    print_row(global, row, false)?;
    output::line(&format!("  {:<18} {}", "last_called_at", last.as_deref().unwrap_or("not in 90 days")))
}

/// Prints what a verb left.
pub(super) fn print(global: &Global, outcome: service::WriteOutcome, dry_run: bool) -> Result<Outcome, CliError> {
    let service::WriteOutcome::Done { shown, version, .. } = outcome else { return Ok(Outcome::Done) };
    match &shown {
        VerbOutcome::Number(shown) => print_row(global, shown.row(), dry_run)?,
        VerbOutcome::Block { first, last, numbers, version } if global.json => {
            let block = json!({ "number": first, "number_end": last, "numbers": numbers, "version": version });
            output::outcome(&block, dry_run)?;
        }
        VerbOutcome::Block { first, last, numbers, .. } => {
            output::line(&format!("{numbers} numbers came into stock, from {first} to {last}"))?;
        }
        VerbOutcome::Account { account, .. } if global.json => output::outcome(account, dry_run)?,
        VerbOutcome::Account { account, .. } => {
            output::line(&format!("account {} ({}){}", account.auth_id, account.name, archived(account.archived_at)))?;
        }
        VerbOutcome::Application { application, .. } if global.json => output::outcome(application, dry_run)?,
        VerbOutcome::Application { application, .. } => {
            let archived = archived(application.archived_at);
            output::line(&format!("application {} ({}){archived}", application.id, application.name))?;
            application.destinations.iter().try_for_each(|one| output::line(&format!("  {one}")))?;
        }
        VerbOutcome::Trunk { trunk, .. } if global.json => output::outcome(trunk, dry_run)?,
        VerbOutcome::Trunk { trunk, .. } => {
            output::line(&format!("trunk {} ({}){}", trunk.id, trunk.name, archived(trunk.archived_at)))?;
            trunk.destinations.iter().try_for_each(|one| output::line(&format!("  {one}")))?;
        }
        VerbOutcome::Webhook(_) | VerbOutcome::Delivery(_) | VerbOutcome::Resent { .. } => {
            return Err(CliError::Other("a webhook came of a verb on one number".to_owned()));
        }
        VerbOutcome::Job { .. } => return Err(CliError::Other("a job came of a verb on one number".to_owned())),
        VerbOutcome::Acknowledgement(one) => output::outcome(one, dry_run)?,
        VerbOutcome::Schedule { view, .. } => output::outcome(&crate::http::json::schedule(view, false), dry_run)?,
        VerbOutcome::Billing(view) => output::outcome(&crate::http::json::billing(view), dry_run)?,
        VerbOutcome::Undone(undone) => {
            let rows: Vec<_> =
                undone.rows.iter().map(|row| json!({ "number": row.number, "reason": row.reason })).collect();
            if global.json {
                let undone = json!({
                    "undid": undone.of, "version": undone.version, "undone": undone.undone,
                    "refused": undone.refused, "rows": rows, "stays": undone.stays,
                });
                output::outcome(&undone, dry_run)?;
            } else {
                let numbers = if undone.undone == 1 { "number" } else { "numbers" };
                output::line(&format!(
                    "version {} is undone for {} {numbers}; {} were left as they are",
                    undone.of, undone.undone, undone.refused
                ))?;
                for reason in &undone.stays {
                    output::line(reason)?;
                }
                for row in &undone.rows {
                    output::line(&format!("{}  {}", row.number, row.reason))?;
                }
            }
        }
    }
    remark(dry_run, version);
    Ok(Outcome::Done)
}

/// Says that nothing was written, and why.
pub(super) fn remark(dry_run: bool, version: Option<u64>) {
    match (dry_run, version) {
        (true, _) => output::note("this was a dry run; nothing was done"),
        (false, None) => output::note("it was so already; nothing was done"),
        (false, Some(_)) => {}
    }
}

fn archived(at: Option<Time>) -> String {
    at.map(|at| format!(", archived {at}")).unwrap_or_default()
}

fn print_row(global: &Global, row: NumberRef<'_>, dry_run: bool) -> Result<(), CliError> {
    if global.json {
        return output::outcome(&super::list::raw(row)?, dry_run);
    }
    let status = match row.status() {
        Status::Active => String::new(),
        Status::Suspended => format!(" ({} to callers)", row.status()),
    };
    output::line(&format!("{} is {}{status}, since {}", row.number(), row.state(), row.since()))?;
    for (name, value) in wire::record::fields(&row.record()) {
        if let Some(value) = value.filter(|value| !value.is_empty() && !matches!(name, "state" | "since")) {
            output::line(&format!("  {name:<18} {value}"))?;
        }
    }
    output::line(&format!("  {:<18} {}", "version", row.version()))
}
