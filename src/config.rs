//! Settings: one file that explains them all and holds the defaults, one file
//! of the operator's, and flags on top. Checked once, at start.
//!
//! Invariant: a key that is unknown or of the wrong type is refused with its
//! file and line. Deliberately absent: secrets; settings name the files that have them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;
use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::domain::destination::RefusedHost;
use crate::domain::shown::{of_toml, quoted};
use crate::domain::{Country, network, plan, quarantine};
use crate::mail::{self, MailTls};
use crate::routing;
use crate::store::Location;

/// The defaults, each with its explanation.
pub const DEFAULTS: &str = include_str!("../rollcall.default.toml");

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the settings in {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the settings in {} are not usable:\n{reason}", path.display())]
    Parse { path: PathBuf, reason: String },
    #[error("TLS takes both a certificate (tls_cert) and its key (tls_key)")]
    HalfTls,
    #[error(
        "routing.{face} listens on {listen}, which is not a loopback address; name the networks that may ask in \
         routing.askers, such as [\"10.0.0.0/8\"]"
    )]
    NoAskers { face: &'static str, listen: SocketAddr },
    #[error(
        "{name} = {max} is less than twice follow.interval_ms = {interval}: a node would refuse what it is asked between \
         two polls of the database; set it to {least} or more, or to 0, which refuses nothing"
    )]
    StaleBetweenPolls { name: &'static str, max: u64, interval: u64, least: u64 },
    #[error("the environment variable RUST_LOG cannot be used: {reason}")]
    Environment { reason: String },
}

/// A whole number of `MIN` or more. It is checked as it is read, so that what
/// is wrong is named with its line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AtLeast<const MIN: usize>(usize);

impl<const MIN: usize> From<AtLeast<MIN>> for usize {
    fn from(number: AtLeast<MIN>) -> usize {
        number.0
    }
}

impl<const MIN: usize> From<usize> for AtLeast<MIN> {
    /// The number, or `MIN` where it is less.
    fn from(number: usize) -> AtLeast<MIN> {
        AtLeast(number.max(MIN))
    }
}

impl<'de, const MIN: usize> Deserialize<'de> for AtLeast<MIN> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_i64(AtLeastVisitor)
    }
}

struct AtLeastVisitor<const MIN: usize>;

impl<const MIN: usize> serde::de::Visitor<'_> for AtLeastVisitor<MIN> {
    type Value = AtLeast<MIN>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a whole number, {MIN} or more")
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<AtLeast<MIN>, E> {
        let found = serde::de::Unexpected::Signed(number);
        let fits = usize::try_from(number).ok().filter(|&number| number >= MIN);
        fits.map(AtLeast).ok_or_else(|| E::invalid_value(found, &self))
    }
}

/// Types of numbers, as the reader of a file names them, and what people call them.
const NUMBER_TYPES: [(&str, &str); 6] = [
    ("expected u16", "expected a whole number from 0 to 65535"),
    ("expected u32", "expected a whole number from 0 to 4294967295"),
    ("expected u64", "expected a whole number, 0 or more"),
    ("expected usize", "expected a whole number, 0 or more"),
    ("expected i64", "expected a whole number"),
    ("expected f64", "expected a number"),
];

/// What is wrong with a file of settings, in words for people.
fn explain(error: &toml::de::Error) -> String {
    let text = of_toml(&error.to_string());
    // The words are at the end; the file's own lines stay as they are.
    let (lines, message) = text.rsplit_once('\n').map_or(("", &*text), |(lines, message)| (lines, message));
    let named = NUMBER_TYPES.iter().find_map(|(rust, words)| message.strip_suffix(rust).map(|start| (start, words)));
    match named {
        Some((start, words)) => format!("{lines}\n{start}{words}"),
        None => text,
    }
}

/// Milliseconds, `MIN` or more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(transparent)]
pub struct Millis<const MIN: usize = 0>(AtLeast<MIN>);

impl<const MIN: usize> From<Millis<MIN>> for Duration {
    fn from(millis: Millis<MIN>) -> Duration {
        Duration::from_millis(usize::from(millis.0) as u64)
    }
}

/// An address to listen on; empty is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MaybeAddress(pub Option<SocketAddr>);

impl<'de> Deserialize<'de> for MaybeAddress {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<MaybeAddress, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(MaybeAddress(None));
        }
        let wrong = |_| serde::de::Error::custom(format!("{} must be such as \"127.0.0.1:9090\"", quoted(&text)));
        text.parse().map(|address| MaybeAddress(Some(address))).map_err(wrong)
    }
}

/// Where browsers find the console: `http://` or `https://`, no `/` at its end;
/// or empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConsoleUrl {
    text: String,
    /// Scheme, host and port as a browser sends them in `Origin`.
    origin: String,
}

impl ConsoleUrl {
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The name or the address in it.
    pub fn host(&self) -> Option<String> {
        let uri: http::Uri = self.text.parse().ok()?;
        uri.host().map(str::to_owned)
    }

    /// The address, unless it is empty.
    pub fn set(&self) -> Option<ConsoleUrl> {
        (!self.text.is_empty()).then(|| self.clone())
    }
}

/// The origin of an address: in lower case, without the scheme's own port.
fn origin_of(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return String::new() };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default().to_ascii_lowercase();
    let port = if scheme == "https" { ":443" } else { ":80" };
    format!("{scheme}://{}", host.strip_suffix(port).unwrap_or(&host))
}

impl<'de> Deserialize<'de> for ConsoleUrl {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<ConsoleUrl, D::Error> {
        let text = String::deserialize(deserializer)?;
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let fits = |rest: &str| !rest.is_empty() && !rest.contains(|c: char| c.is_whitespace() || c.is_control());
        if text.is_empty() || rest.is_some_and(fits) {
            let text = text.trim_end_matches('/').to_owned();
            return Ok(ConsoleUrl { origin: origin_of(&text), text });
        }
        Err(serde::de::Error::custom(format!("{text:?} must be such as \"https://numbers.example\"")))
    }
}

/// Where a web page comes from: scheme, host and port, as a browser sends it in
/// `Origin`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin(String);

impl Origin {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Origin, D::Error> {
        let text = String::deserialize(deserializer)?;
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or_default();
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.:[]".contains(c);
        if !rest.is_empty() && rest.chars().all(plain) {
            return Ok(Origin(text));
        }
        let form =
            "an origin as browsers send it, such as \"https://app.example\": scheme, host in lower case, and port";
        Err(serde::de::Error::custom(format!("{text:?} must be {form}")))
    }
}

/// What is logged: a level, and other levels of modules, as in
/// `info,rollcall::store=debug`. Deliberately absent: filters by the fields of spans,
/// which would need an engine of regular expressions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogFilter(String);

impl LogFilter {
    /// Warnings and errors only.
    pub fn quiet() -> LogFilter {
        LogFilter("warn".to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn targets(&self) -> Targets {
        targets(&self.0).unwrap_or_default()
    }
}

/// Reads a filter of the log: parts between commas, each a level, or a module and its
/// level.
pub fn targets(text: &str) -> Result<Targets, String> {
    let level = |word: &str| word.parse::<LevelFilter>().ok().filter(|_| !word.is_empty());
    let names = |module: &str| module.chars().all(|one| one.is_alphanumeric() || matches!(one, '_' | ':' | '-'));
    let mut targets = Targets::new();
    for part in text.split(',').map(str::trim) {
        let read = match part.split_once('=') {
            Some((module, word)) if !module.is_empty() && names(module) => {
                level(word).map(|level| targets.clone().with_target(module, level))
            }
            Some(_) => None,
            None => level(part).map(|level| targets.clone().with_default(level)),
        };
        let form =
            "a level (off, error, warn, info, debug, trace), or a module and its level, as rollcall::store=debug";
        targets = read.ok_or_else(|| format!("{} must be {form}", quoted(part)))?;
    }
    Ok(targets)
}

impl<'de> Deserialize<'de> for LogFilter {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<LogFilter, D::Error> {
        let text = String::deserialize(deserializer)?;
        targets(&text).map_err(serde::de::Error::custom)?;
        Ok(LogFilter(text))
    }
}

/// The settings that a running server takes over on SIGHUP; the others need a
/// restart.
pub const LIVE: [&str; 7] = [
    "http.trusted_proxies",
    "limits.requests_per_second",
    "limits.requests_burst",
    "limits.failed_auth_per_second",
    "limits.failed_auth_burst",
    "log.filter",
    "log.access",
];

/// Declares the settings twice over: as they hold, and as a file may say some
/// of them, so that a file is checked on its own, with its own lines.
macro_rules! settings {
    (Config { [$($key:ident: $type:ty,)*] $($section:ident: $Section:ident / $Partial:ident { $($field:ident: $kind:ty,)* })* }) => {
        #[derive(Clone, Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Config { $(pub $key: $type,)* $(pub $section: $Section,)* }

        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Partial { $($key: Option<$type>,)* $(#[serde(default)] $section: $Partial,)* }

        $(
            #[derive(Clone, Debug, Deserialize)]
            #[serde(deny_unknown_fields)]
            pub struct $Section { $(pub $field: $kind,)* }

            #[derive(Default, Deserialize)]
            #[serde(deny_unknown_fields)]
            struct $Partial { $($field: Option<$kind>,)* }
        )*

        impl Config {
            fn overlay(&mut self, file: Partial) {
                $(if let Some(value) = file.$key { self.$key = value; })*
                $($(if let Some(value) = file.$section.$field { self.$section.$field = value; })*)*
            }

            /// The names of the settings that differ, in the order of the file.
            pub fn differences(&self, other: &Config) -> Vec<&'static str> {
                let mut names = Vec::new();
                $(if self.$key != other.$key { names.push(stringify!($key)); })*
                $($(if self.$section.$field != other.$section.$field {
                    names.push(concat!(stringify!($section), ".", stringify!($field)));
                })*)*
                names
            }
        }
    };
}

settings! {
    Config {
        [database: Location,]
        http: Http / HttpPartial {
            listen: SocketAddr,
            private_listen: MaybeAddress,
            tls_cert: PathBuf,
            tls_key: PathBuf,
            header_timeout_ms: Millis,
            body_timeout_ms: Millis,
            idle_timeout_ms: Millis,
            write_timeout_ms: Millis,
            connections_max: AtLeast<1>,
            connections_per_address_max: usize,
            header_bytes_max: AtLeast<1_024>,
            shutdown_grace_ms: Millis,
            trusted_proxies: Vec<IpNet>,
            cors_origins: Vec<Origin>,
            hsts_seconds: u64,
        }
        limits: Limits / LimitsPartial {
            requests_per_second: u32,
            requests_burst: u32,
            failed_auth_per_second: u32,
            failed_auth_burst: u32,
            streams_per_key: usize,
            streams_per_partner: usize,
            streams_per_address: usize,
            exports_per_session: usize,
            exports_per_partner: usize,
            exports_per_address: usize,
            downloads_per_session: usize,
            downloads_per_partner: usize,
            downloads_per_address: usize,
            uploads_per_session: usize,
            uploads_per_partner: usize,
            uploads_per_address: usize,
            stranger_body_bytes: AtLeast<262_144>,
            known_body_bytes: AtLeast<16_777_216>,
        }
        console: Console / ConsolePartial {
            url: ConsoleUrl,
            session_idle_minutes: AtLeast<1>,
            session_hours: AtLeast<1>,
            import_bytes_max: AtLeast<1_024>,
            imports_folder: PathBuf,
        }
        postgres: Postgres / PostgresPartial {
            password_file: PathBuf,
            writers: AtLeast<1>,
            readers: AtLeast<3>,
        }
        follow: Follow / FollowPartial {
            interval_ms: Millis<1>,
            wait_max_ms: Millis,
            stale_keys_max: u64,
        }
        quarantine: Quarantine / QuarantinePartial {
            days: u32,
            countries: BTreeMap<Country, u32>,
        }
        jobs: Jobs / JobsPartial {
            workers: AtLeast<1>,
            per_partner: AtLeast<1>,
            batch_rows: AtLeast<1>,
        }
        retention: Retention / RetentionPartial {
            jobs_days: u32,
            acknowledgements_days: u32,
            settings_days: u32,
            failed_deliveries_days: u32,
        }
        mail: Mail / MailPartial {
            host: String,
            port: u16,
            tls: MailTls,
            user: String,
            password_file: PathBuf,
            from: String,
            ca_file: PathBuf,
            timeout_ms: Millis<1>,
        }
        webhooks: Webhooks / WebhooksPartial {
            allow_networks: Vec<IpNet>,
            ca_file: PathBuf,
            timeout_ms: Millis<100>,
            at_once: AtLeast<2>,
            per_partner: AtLeast<1>,
            keep: AtLeast<1>,
            keep_days: AtLeast<1>,
            catch_up: u64,
        }
        routing: Routing / RoutingPartial {
            sip: Vec<SocketAddr>,
            http: Vec<SocketAddr>,
            askers: Vec<Network>,
            stale_max_ms: Millis,
            expired: ExpiredCode,
            default_country: DefaultCountry,
            destination_networks: Vec<Network>,
            refused_destinations: Vec<RefusedHost>,
        }
        log: Log / LogPartial {
            filter: LogFilter,
            format: LogFormat,
            access: AccessLog,
        }
        trace: Trace / TracePartial {
            endpoint: CollectorUrl,
            ratio: Ratio,
            calls_ratio: Ratio,
        }
    }
}

/// The address of an OpenTelemetry collector; empty is none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CollectorUrl(String);

impl CollectorUrl {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for CollectorUrl {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<CollectorUrl, D::Error> {
        let text = String::deserialize(deserializer)?;
        let fault = match text.parse::<http::Uri>() {
            _ if text.is_empty() => None,
            _ if !crate::trace::BUILT => Some(
                "must be empty: this program was built without traces; build it with `cargo build --release \
                 --features otlp`",
            ),
            Ok(uri) if matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some() => None,
            _ => Some("must be the collector's full address, such as \"http://127.0.0.1:4318/v1/traces\""),
        };
        fault.map_or(Ok(CollectorUrl(text.clone())), |fault| {
            Err(serde::de::Error::custom(format!("{} {fault}", quoted(&text))))
        })
    }
}

/// A share, from 0 (none) to 1 (all).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Ratio(f64);

impl From<Ratio> for f64 {
    fn from(ratio: Ratio) -> f64 {
        ratio.0
    }
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Ratio, D::Error> {
        match f64::deserialize(deserializer)? {
            ratio if (0.0..=1.0).contains(&ratio) => Ok(Ratio(ratio)),
            other => Err(serde::de::Error::custom(format!("{other} must be from 0 (none) to 1 (all)"))),
        }
    }
}

impl Trace {
    pub fn settings(&self, node: &str) -> crate::trace::TraceSettings {
        crate::trace::TraceSettings {
            endpoint: self.endpoint.as_str().to_owned(),
            ratio: self.ratio.into(),
            calls_ratio: self.calls_ratio.into(),
            node: node.to_owned(),
        }
    }
}

impl Http {
    /// The certificate and its key, if this server speaks TLS.
    pub fn tls(&self) -> Result<Option<(&Path, &Path)>, ConfigError> {
        match (self.tls_cert.as_os_str().is_empty(), self.tls_key.as_os_str().is_empty()) {
            (true, true) => Ok(None),
            (false, false) => Ok(Some((&self.tls_cert, &self.tls_key))),
            (true, false) | (false, true) => Err(ConfigError::HalfTls),
        }
    }
}

impl Console {
    /// Where browsers find a server that listens on `address`.
    pub fn base(&self, mut address: SocketAddr, tls: bool) -> String {
        // Listening everywhere is no place to go to.
        if address.ip().is_unspecified() {
            address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        match self.url.as_str() {
            "" => format!("{}://{address}", if tls { "https" } else { "http" }),
            url => url.to_owned(),
        }
    }
}

impl Routing {
    /// What the settings say of answers.
    pub fn settings(&self) -> routing::RoutingSettings {
        routing::RoutingSettings {
            expired_is_gone: self.expired.0 == 410,
            default_country: self.default_country.0,
            stale_max: Some(Duration::from(self.stale_max_ms)).filter(|max| !max.is_zero()),
        }
    }

    /// The networks that may ask; this machine, if none are named.
    pub fn askers(&self) -> Vec<IpNet> {
        match self.askers.is_empty() {
            true => ["127.0.0.0/8", "::1/128"].iter().filter_map(|text| network::network(text)).collect(),
            false => self.askers.iter().map(|network| network.0).collect(),
        }
    }

    /// Refuses listeners that anybody could ask.
    fn check(&self) -> Result<(), ConfigError> {
        let faces = [("sip", &self.sip), ("http", &self.http)];
        let mut open = faces.into_iter().flat_map(|(face, all)| all.iter().map(move |&listen| (face, listen)));
        match open.find(|(_, listen)| self.askers.is_empty() && !listen.ip().to_canonical().is_loopback()) {
            Some((face, listen)) => Err(ConfigError::NoAskers { face, listen }),
            None => Ok(()),
        }
    }
}

/// A network, or one address as the network of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network(IpNet);

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Network, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || serde::de::Error::custom(format!("{text:?} must be a network such as \"10.0.0.0/8\""));
        network::network(&text).map(Network).ok_or_else(wrong)
    }
}

/// What an expired number is answered with: 480 or 410.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExpiredCode(u16);

impl<'de> Deserialize<'de> for ExpiredCode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<ExpiredCode, D::Error> {
        match i64::deserialize(deserializer)? {
            480 => Ok(ExpiredCode(480)),
            410 => Ok(ExpiredCode(410)),
            other => Err(serde::de::Error::custom(format!("{other} must be 480 or 410"))),
        }
    }
}

/// A country in two letters, or empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DefaultCountry(Option<Country>);

impl<'de> Deserialize<'de> for DefaultCountry {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<DefaultCountry, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(DefaultCountry(None));
        }
        let wrong = || serde::de::Error::custom(format!("{text:?} must be the code of a country, such as \"IN\""));
        let country = text.parse().ok().filter(|&country| plan::has_country(country));
        country.map(|country| DefaultCountry(Some(country))).ok_or_else(wrong)
    }
}

impl Quarantine {
    pub fn policy(&self) -> quarantine::Quarantine {
        quarantine::Quarantine { default_days: self.days, countries: self.countries.clone() }
    }
}

impl Mail {
    /// Where letters go; `None` if there is no mail server.
    pub fn settings(&self) -> Option<mail::MailSettings> {
        let Mail { host, port, tls, user, password_file, from, ca_file, timeout_ms } = self.clone();
        let timeout = timeout_ms.into();
        (!host.is_empty()).then_some(mail::MailSettings {
            host,
            port,
            tls,
            user,
            password_file,
            from,
            ca_file,
            timeout,
        })
    }
}

/// One line for each HTTP request, and in which format.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessLog {
    Off,
    Common,
    Json,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

impl<'de> Deserialize<'de> for Location {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Location, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Default for Config {
    fn default() -> Config {
        toml::from_str(DEFAULTS).expect("the compiled-in defaults are complete and well formed")
    }
}

impl Config {
    /// The folder of the files that people give the console to import. It is
    /// the program's own: within the folder that is set, or where none is set
    /// beside the database file, with which it is then backed up and thrown
    /// away.
    pub fn imports(&self) -> PathBuf {
        if !self.console.imports_folder.as_os_str().is_empty() {
            return self.console.imports_folder.join("rollcall-uploads");
        }
        match &self.database {
            Location::Sqlite(path) => {
                let mut folder = path.clone().into_os_string();
                folder.push("-imports");
                folder.into()
            }
            Location::Postgres(_) => "rollcall-imports".into(),
        }
    }

    /// Which destinations applications and trunks may name.
    pub fn destinations(&self) -> routing::Policy {
        let own = self.routing.sip.iter().chain(&self.routing.http).chain([&self.http.listen]);
        routing::Policy {
            allowed: self.routing.destination_networks.iter().map(|network| network.0).collect(),
            refused: self.routing.refused_destinations.clone(),
            own: own.copied().collect(),
        }
    }

    /// The database, with what the settings say of how it is spoken to.
    pub fn location(&self) -> Location {
        self.complete(self.database.clone())
    }

    /// The same of another.
    pub fn complete(&self, mut location: Location) -> Location {
        if let Location::Postgres(address) = &mut location {
            let Postgres { password_file, writers, readers } = &self.postgres;
            address.password_file = Some(password_file.clone()).filter(|path| !path.as_os_str().is_empty());
            (address.writers, address.readers) = ((*writers).into(), (*readers).into());
        }
        location
    }

    /// Takes over the settings of [`LIVE`].
    pub fn take_live(&mut self, new: &Config) {
        self.http.trusted_proxies.clone_from(&new.http.trusted_proxies);
        self.limits.requests_per_second = new.limits.requests_per_second;
        self.limits.requests_burst = new.limits.requests_burst;
        self.limits.failed_auth_per_second = new.limits.failed_auth_per_second;
        self.limits.failed_auth_burst = new.limits.failed_auth_burst;
        self.log.filter.clone_from(&new.log.filter);
        self.log.access = new.log.access;
    }

    /// The defaults, with what a file says laid over them.
    pub fn load(file: Option<&Path>) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        if let Some(path) = file {
            let text =
                std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
            let said: Partial = toml::from_str(&text)
                .map_err(|error| ConfigError::Parse { path: path.to_owned(), reason: explain(&error) })?;
            config.overlay(said);
        }
        config.routing.check()?;
        config.check_ages()?;
        Ok(config)
    }

    /// Refuses maximum ages that a healthy node exceeds between two polls.
    fn check_ages(&self) -> Result<(), ConfigError> {
        let interval = Duration::from(self.follow.interval_ms).as_millis() as u64;
        // A poll that is late once is no fault.
        let least_ms = interval.saturating_mul(2);
        let stale_max = Duration::from(self.routing.stale_max_ms).as_millis() as u64;
        for (name, max, unit_ms) in
            [("routing.stale_max_ms", stale_max, 1), ("follow.stale_keys_max", self.follow.stale_keys_max, 1_000)]
        {
            let least = least_ms.div_ceil(unit_ms);
            if max > 0 && max < least {
                return Err(ConfigError::StaleBetweenPolls { name, max, interval, least });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_refused(text: &str, expected: &[&str]) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("rollcall.toml");
        std::fs::write(&path, text).expect("written");
        let error = Config::load(Some(&path)).expect_err("refused").to_string();
        for part in expected.iter().chain(&["rollcall.toml"]) {
            assert!(error.contains(part), "{part:?} is not in: {error}");
        }
    }

    #[test]
    fn a_file_changes_what_it_names() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("rollcall.toml");
        std::fs::write(&path, "[limits]\nrequests_per_second = 7\n").expect("written");
        let config = Config::load(Some(&path)).expect("usable");
        assert_eq!(config.limits.requests_per_second, 7);
        assert_eq!(config.limits.requests_burst, Config::default().limits.requests_burst);
    }

    #[test]
    fn the_live_settings_are_those_that_are_taken_over() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("rollcall.toml");
        let text = "[http]\nlisten = \"127.0.0.1:1\"\ntrusted_proxies = [\"10.0.0.0/8\"]\n[limits]\nrequests_per_second = 1\n\
                    requests_burst = 1\nfailed_auth_per_second = 1\nfailed_auth_burst = 1\nstreams_per_key = 1\n[log]\n\
                    filter = \"error\"\nformat = \"json\"\naccess = \"json\"\n";
        std::fs::write(&path, text).expect("written");
        let (mut config, new) = (Config::default(), Config::load(Some(&path)).expect("usable"));
        let restart = ["http.listen", "limits.streams_per_key", "log.format"];
        let differences = config.differences(&new);
        assert_eq!(differences.len(), LIVE.len() + restart.len());
        assert!(LIVE.iter().chain(&restart).all(|name| differences.contains(name)), "{differences:?}");
        config.take_live(&new);
        assert_eq!(config.differences(&new), restart);
        assert_eq!(config.differences(&config.clone()), Vec::<&str>::new());
    }

    #[test]
    fn a_listener_beyond_loopback_needs_askers() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("rollcall.toml");
        let load = |text: &str| {
            std::fs::write(&path, format!("[routing]\n{text}\n")).expect("written");
            Config::load(Some(&path))
        };
        for text in [
            "sip = [\"127.0.0.1:5070\", \"[::1]:5070\"]\nhttp = [\"127.0.0.1:8081\"]",
            "sip = [\"0.0.0.0:5070\"]\naskers = [\"10.0.0.0/8\"]",
        ] {
            load(text).expect("usable");
        }
        for (text, listen) in [
            ("sip = [\"127.0.0.1:5070\", \"0.0.0.0:5070\"]", "routing.sip listens on 0.0.0.0:5070"),
            ("http = [\"10.0.0.1:8081\"]", "routing.http listens on 10.0.0.1:8081"),
            ("sip = [\"[::]:5070\"]", "routing.sip listens on [::]:5070"),
        ] {
            let error = load(text).expect_err("refused").to_string();
            assert!(error.contains(listen) && error.contains("routing.askers"), "{error}");
        }
        let config = load("expired = 410\nstale_max_ms = 500\ndefault_country = \"IN\"").expect("usable");
        let settings = config.routing.settings();
        assert!(settings.expired_is_gone);
        assert_eq!(settings.stale_max, Some(Duration::from_millis(500)));
        assert_eq!(settings.default_country.map(|country| country.code().to_owned()).as_deref(), Some("IN"));
        assert_eq!(Config::default().routing.settings(), routing::RoutingSettings::default());
    }

    #[test]
    fn a_maximum_age_is_longer_than_the_time_between_polls() {
        for (text, expected) in [
            ("[routing]\nstale_max_ms = 1\n", Some(("routing.stale_max_ms = 1 is", "follow.interval_ms = 50"))),
            ("[routing]\nstale_max_ms = 99\n", Some(("= 99 is", "set it to 100 or more, or to 0"))),
            ("[routing]\nstale_max_ms = 100\n", None),
            ("[routing]\nstale_max_ms = 1000\n[follow]\ninterval_ms = 5000\n", Some(("= 1000 is", "to 10000 or more"))),
            ("[follow]\nstale_keys_max = 1\ninterval_ms = 700\n", Some(("stale_keys_max = 1 is", "to 2 or more"))),
            ("[follow]\nstale_keys_max = 10\ninterval_ms = 5000\n", None),
            ("[follow]\ninterval_ms = 5000\n", None),
        ] {
            let directory = tempfile::tempdir().expect("a directory");
            let path = directory.path().join("rollcall.toml");
            std::fs::write(&path, text).expect("written");
            let error = Config::load(Some(&path)).err().map(|error| error.to_string());
            match (&error, expected) {
                (None, None) => {}
                (Some(error), Some((one, other))) if error.contains(one) && error.contains(other) => {}
                _ => panic!("{text}: {error:?}"),
            }
        }
    }

    /// Every setting that is a whole number, by the type that it has: the reader's names of
    /// types are nobody's words.
    #[test]
    fn whole_numbers_are_explained_without_names_of_types() {
        let defaults: toml::Table = toml::from_str(DEFAULTS).expect("well formed");
        let mut checked = 0;
        for (section, settings) in defaults.iter().filter_map(|(name, value)| Some((name, value.as_table()?))) {
            for (name, _) in settings.iter().filter(|(_, value)| value.is_integer()) {
                for value in ["-1", "\"x\""] {
                    let text = format!("[{section}]\n{name} = {value}\n");
                    check_refused(&text, &["line 2", name, value.trim_matches('"')]);
                    let error = toml::from_str::<Partial>(&text).err().map(|error| explain(&error)).expect("refused");
                    let types = ["usize", "i64", "u64", "u32", "u16"];
                    assert!(!types.iter().any(|name| error.contains(name)), "{error}");
                    assert!(error.contains("whole number") || error.contains("480 or 410"), "{error}");
                    checked += 1;
                }
            }
        }
        assert!(checked > 40, "{checked}");
        check_refused("[routing]\nstale_max_ms = -1\n", &["line 2", "stale_max_ms = -1", "a whole number, 0 or more"]);
        check_refused("[http]\nconnections_max = 0\n", &["`0`, expected a whole number, 1 or more"]);
        check_refused("[mail]\nport = 70000\n", &["`70000`, expected a whole number from 0 to 65535"]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        check_refused("# x\n[limits]\nrequests_per_secnd = 7\n", &["line 3", "requests_per_secnd", "unknown"]);
        check_refused("[limits]\nrequests_per_second = \"many\"\n", &["line 2", "requests_per_second", "many"]);
        check_refused("database = \"mysql:x\"\n", &["line 1", "mysql:x", "sqlite:", "postgres://"]);
        check_refused("[http]\nlisten = \"nowhere\"\n", &["line 2", "listen", "nowhere"]);
        check_refused("[console]\nurl = \"numbers.example\"\n", &["line 2", "url", "numbers.example"]);
        check_refused("[console]\nsession_hours = 0\n", &["line 2", "session_hours"]);
        check_refused("[htp]\n", &["line 1", "htp"]);
        check_refused("[http]\nconnections_max = 0\n", &["line 2", "connections_max", "0"]);
        check_refused("[routing]\nexpired = 404\n", &["line 2", "expired", "404", "480 or 410"]);
        check_refused("[routing]\ndefault_country = \"India\"\n", &["line 2", "default_country", "India"]);
        check_refused("[routing]\ndefault_country = \"ZZ\"\n", &["line 2", "default_country", "ZZ"]);
        check_refused("[routing]\naskers = [\"10.0.0.0/33\"]\n", &["line 2", "askers", "10.0.0.0/33"]);
        check_refused("[routing]\nrefused_destinations = [\"a b\"]\n", &["line 2", "refused_destinations", "a b"]);
        check_refused("[routing]\nsip = [\"5070\"]\n", &["line 2", "sip", "5070"]);
    }
}
