//! The declarative file of `rollcall apply`, as it stands in TOML.
//!
//! Invariant: an unknown key, a wrong type and a repeated name are refused with
//! their place; the file has no secret, it names the files that have them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de};

use crate::cli::CliError;
use crate::domain::setting::{DeliveryOrder, ReportPolicy};
use crate::domain::shown::of_toml;
use crate::domain::{
    AccountId, ApplicationId, Destination, Destinations, Dialect, PartnerId, Role, Scope, SipUri, Time, TrunkId,
    network,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyFile {
    #[serde(default, rename = "partner")]
    pub partners: Vec<PartnerEntry>,
    /// Administrators of the platform.
    #[serde(default, rename = "administrator")]
    pub administrators: Vec<UserEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartnerEntry {
    #[serde(deserialize_with = "parsed")]
    pub auth_id: PartnerId,
    /// Needed for a new one.
    #[serde(default, deserialize_with = "maybe_name")]
    pub name: Option<Arc<str>>,
    pub suspended: Option<bool>,
    #[serde(default, rename = "account")]
    pub accounts: Vec<AccountEntry>,
    #[serde(default, rename = "application")]
    pub applications: Vec<RouteEntry<ApplicationId>>,
    #[serde(default, rename = "trunk")]
    pub trunks: Vec<RouteEntry<TrunkId>>,
    #[serde(default, rename = "key")]
    pub keys: Vec<KeyEntry>,
    #[serde(default, rename = "webhook")]
    pub webhooks: Vec<WebhookEntry>,
    #[serde(default, rename = "schedule")]
    pub schedules: Vec<ScheduleEntry>,
    #[serde(default, rename = "user")]
    pub users: Vec<UserEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountEntry {
    #[serde(deserialize_with = "parsed")]
    pub id: AccountId,
    /// Needed for a new one.
    #[serde(default, deserialize_with = "maybe_name")]
    pub name: Option<Arc<str>>,
}

/// An application or a trunk.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, bound = "I: std::str::FromStr, I::Err: std::fmt::Display")]
pub struct RouteEntry<I> {
    #[serde(deserialize_with = "parsed")]
    pub id: I,
    /// Needed for a new one.
    #[serde(default, deserialize_with = "maybe_name")]
    pub name: Option<Arc<str>>,
    #[serde(default, deserialize_with = "maybe_parsed")]
    pub account: Option<AccountId>,
    pub archived: Option<bool>,
    #[serde(default, deserialize_with = "destinations")]
    pub destinations: Option<Destinations>,
    /// Of applications only; empty removes it.
    pub answer_url: Option<Arc<str>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyEntry {
    #[serde(deserialize_with = "name")]
    pub name: Arc<str>,
    #[serde(default, deserialize_with = "scopes")]
    pub scopes: Option<Vec<Scope>>,
    #[serde(default, deserialize_with = "maybe_parsed")]
    pub expires_at: Option<Time>,
    #[serde(default, deserialize_with = "networks")]
    pub networks: Option<Vec<IpNet>>,
    #[serde(default, deserialize_with = "dialect")]
    pub dialect: Option<Dialect>,
    /// The file with the token: read if it is there, else created.
    pub token_file: Option<PathBuf>,
    /// Revoke the key with this name.
    #[serde(default)]
    pub absent: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookEntry {
    #[serde(deserialize_with = "name")]
    pub name: Arc<str>,
    pub url: Option<Arc<str>>,
    pub events: Option<Vec<Arc<str>>>,
    #[serde(default, deserialize_with = "order")]
    pub order: Option<DeliveryOrder>,
    pub enabled: Option<bool>,
    /// The file that gets the secret when the webhook is created.
    pub secret_file: Option<PathBuf>,
    #[serde(default)]
    pub absent: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleEntry {
    #[serde(deserialize_with = "name")]
    pub name: Arc<str>,
    pub cron: Option<String>,
    pub zone: Option<String>,
    pub recipients: Option<Vec<String>>,
    pub checks: Option<Vec<String>>,
    pub within_days: Option<u32>,
    #[serde(default, deserialize_with = "report")]
    pub report: Option<ReportPolicy>,
    pub alerts: Option<bool>,
    pub enabled: Option<bool>,
    #[serde(default)]
    pub absent: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserEntry {
    #[serde(deserialize_with = "email")]
    pub email: Arc<str>,
    #[serde(default, deserialize_with = "maybe_name")]
    pub name: Option<Arc<str>>,
    #[serde(default, deserialize_with = "role")]
    pub role: Option<Role>,
    pub zone: Option<String>,
    pub disabled: Option<bool>,
    /// The file that gets the link with which a new user sets a password.
    pub link_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Destined {
    #[serde(deserialize_with = "parsed")]
    uri: SipUri,
    priority: Option<u16>,
    weight: Option<u16>,
    enabled: Option<bool>,
}

impl ApplyFile {
    pub fn read(path: &Path) -> Result<ApplyFile, CliError> {
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|source| CliError::Io { what: format!("cannot read {shown}"), source })?;
        let file: ApplyFile = toml::from_str(&text).map_err(|error| {
            let reason = of_toml(&error.to_string()).trim_end().to_owned();
            CliError::ApplyFile { path: path.to_owned(), reason }
        })?;
        match file.repeated() {
            Some(repeated) => Err(CliError::Usage(format!("the file {shown} names {repeated} twice"))),
            None => Ok(file),
        }
    }

    /// The first thing that is named twice.
    fn repeated(&self) -> Option<String> {
        let mut seen = HashSet::new();
        let mut names: Vec<String> = Vec::new();
        names.extend(self.administrators.iter().map(|user| format!("user {}", user.email)));
        for partner in &self.partners {
            let id = &partner.auth_id;
            names.push(format!("partner {id}"));
            names.extend(partner.users.iter().map(|user| format!("user {}", user.email)));
            let mut of = |kind: &str, name: &str| names.push(format!("{kind} {name:?} of partner {id}"));
            partner.accounts.iter().for_each(|one| of("account", one.id.as_str()));
            partner.applications.iter().for_each(|one| of("application", one.id.as_str()));
            partner.trunks.iter().for_each(|one| of("trunk", one.id.as_str()));
            partner.keys.iter().for_each(|one| of("key", &one.name));
            partner.webhooks.iter().for_each(|one| of("webhook", &one.name));
            partner.schedules.iter().for_each(|one| of("schedule", &one.name));
        }
        names.into_iter().find(|name| !seen.insert(name.clone()))
    }
}

fn parsed<'de, D: Deserializer<'de>, T: std::str::FromStr>(deserializer: D) -> Result<T, D::Error>
where
    T::Err: std::fmt::Display,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|error| de::Error::custom(format!("{text:?}: {error}")))
}

fn maybe_parsed<'de, D: Deserializer<'de>, T: std::str::FromStr>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T::Err: std::fmt::Display,
{
    parsed(deserializer).map(Some)
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    let text = String::deserialize(deserializer)?;
    crate::cli::parse_name(&text).map_err(|wrong| de::Error::custom(format!("{text:?}: the name {wrong}")))
}

fn maybe_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Arc<str>>, D::Error> {
    name(deserializer).map(Some)
}

fn email<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wrong = || de::Error::custom(format!("{text:?} must be an email address"));
    crate::domain::user::email(&text).ok_or_else(wrong)
}

/// One of a few words.
fn word<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    parse: impl FnOnce(&str) -> Option<T>,
    words: &str,
) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wrong = || de::Error::custom(format!("{text:?} must be {words}"));
    parse(&text).map(Some).ok_or_else(wrong)
}

fn role<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Role>, D::Error> {
    let parse = |text: &str| Role::parse(text).filter(|role| *role != Role::Administrator);
    word(deserializer, parse, "owner, manager or viewer")
}

fn dialect<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Dialect>, D::Error> {
    word(deserializer, Dialect::parse, "data or items")
}

fn report<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ReportPolicy>, D::Error> {
    word(deserializer, ReportPolicy::parse, "findings or always")
}

fn order<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DeliveryOrder>, D::Error> {
    word(deserializer, DeliveryOrder::parse, "number or endpoint")
}

fn scopes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Scope>>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let one =
        |text: &String| Scope::parse(text).ok_or_else(|| de::Error::custom(format!("{text:?} must be read or manage")));
    let mut scopes: Vec<Scope> = texts.iter().map(one).collect::<Result<_, D::Error>>()?;
    scopes.sort();
    scopes.dedup();
    match scopes.is_empty() {
        true => Err(de::Error::custom("a key needs a scope: read or manage")),
        false => Ok(Some(scopes)),
    }
}

fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<IpNet>>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let one = |text: &String| {
        let wrong = || de::Error::custom(format!("{text:?} must be a network such as \"192.0.2.0/24\""));
        network::network(text).ok_or_else(wrong)
    };
    texts.iter().map(one).collect::<Result<_, D::Error>>().map(Some)
}

fn destinations<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Destinations>, D::Error> {
    let one = |Destined { uri, priority, weight, enabled }: Destined| {
        let plain = Destination::new(uri);
        let (priority, weight) = (priority.unwrap_or(plain.priority), weight.unwrap_or(plain.weight));
        Destination { priority, weight, enabled: enabled.unwrap_or(true), ..plain }
    };
    let all = Vec::<Destined>::deserialize(deserializer)?.into_iter().map(one).collect();
    Destinations::new(all).map(Some).map_err(|error| de::Error::custom(format!("the list {error}")))
}
