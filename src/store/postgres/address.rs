//! Where a PostgreSQL database is and how it is spoken to, as libpq's
//! connection URIs say it.
//!
//! What libpq knows and the driver does not is read here: all six `sslmode`s,
//! `sslrootcert`, `passfile`. A password is never shown.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode as DriverSslMode, TargetSessionAttrs};

/// Whether the connection is encrypted, and whom it has to be with.
///
/// <https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-SSLMODE-STATEMENTS>
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SslMode {
    Disable,
    /// Plain; TLS if the server refuses that.
    Allow,
    /// TLS; plain if the server does not speak it.
    Prefer,
    /// TLS, with any certificate, unless there is a root certificate.
    Require,
    /// TLS, with a certificate that a root certificate has signed.
    VerifyCa,
    /// The same, and the certificate has the name of the host.
    VerifyFull,
}

impl SslMode {
    const ALL: [(&'static str, SslMode); 6] = [
        ("disable", SslMode::Disable),
        ("allow", SslMode::Allow),
        ("prefer", SslMode::Prefer),
        ("require", SslMode::Require),
        ("verify-ca", SslMode::VerifyCa),
        ("verify-full", SslMode::VerifyFull),
    ];
}

/// Names and addresses of one or more servers, of which one is the primary.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// Without the password.
    shown: String,
    /// One for each server, in the order in which they are tried.
    pub(super) servers: Vec<Config>,
    pub(super) ssl_mode: SslMode,
    /// Certificates of authorities, PEM; `None` are the machine's usual ones.
    pub(super) ssl_root_cert: Option<PathBuf>,
    /// As `.pgpass`: `host:port:database:user:password` lines.
    pub(super) passfile: Option<PathBuf>,
    /// A file with the password and nothing else; comes before a passfile.
    pub password_file: Option<PathBuf>,
    /// How many connections write at a time, and how many read.
    pub writers: usize,
    pub readers: usize,
}

/// How long a server may take to answer a connection.
const CONNECT: Duration = Duration::from_millis(1_000);

impl Address {
    /// The names of the servers; sockets of this machine have none.
    pub fn hosts(&self) -> Vec<String> {
        let hosts = self.servers.iter().flat_map(Config::get_hosts);
        hosts
            .filter_map(|host| match host {
                tokio_postgres::config::Host::Tcp(name) => Some(name.clone()),
                tokio_postgres::config::Host::Unix(_) => None,
            })
            .collect()
    }

    /// The parameters that are read here, taken out of the URI's query.
    fn take(query: &str, name: &str) -> (Option<String>, String) {
        let mut found = None;
        let mut rest = form_urlencoded::Serializer::new(String::new());
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match key == name {
                true => found = Some(value.into_owned()),
                false => {
                    rest.append_pair(&key, &value);
                }
            }
        }
        (found, rest.finish())
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        let (base, query) = text.split_once('?').unwrap_or((text, ""));
        let shown = without_password(base);
        let (mode, query) = Address::take(query, "sslmode");
        let (root, query) = Address::take(&query, "sslrootcert");
        let (passfile, query) = Address::take(&query, "passfile");
        let ssl_mode = match mode {
            None => SslMode::Prefer,
            Some(mode) => {
                let known = SslMode::ALL.iter().find(|(name, _)| *name == mode);
                known.map(|(_, mode)| *mode).ok_or_else(|| {
                    let all = SslMode::ALL.map(|(name, _)| name).join(", ");
                    format!("{mode:?} is not an sslmode; there are {all}")
                })?
            }
        };
        // The driver decodes percent signs, not plus signs.
        let query = query.replace('+', "%20");
        let whole = if query.is_empty() { base.to_owned() } else { format!("{base}?{query}") };
        let mut config = Config::from_str(&whole).map_err(|error| match std::error::Error::source(&error) {
            Some(cause) => format!("{shown} is not a database: {cause}"),
            None => format!("{shown} is not a database: {error}"),
        })?;
        // Whom it is with is ours to decide.
        config.ssl_mode(match ssl_mode {
            SslMode::Disable | SslMode::Allow => DriverSslMode::Disable,
            SslMode::Prefer => DriverSslMode::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => DriverSslMode::Require,
        });
        config.target_session_attrs(TargetSessionAttrs::Any);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        if config.get_application_name().is_none() {
            config.application_name("rollcall");
        }
        // A peer that is gone is noticed within five seconds, whatever waits.
        config
            .keepalives_idle(Duration::from_secs(2))
            .keepalives_interval(Duration::from_secs(1))
            .keepalives_retries(3);
        config.tcp_user_timeout(Duration::from_secs(5));
        if config.get_user().is_none() {
            return Err(format!("{shown} names no user; write postgres://USER@HOST/DATABASE"));
        }
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(format!("{shown} names no host; write postgres://USER@HOST/DATABASE"));
        }
        Ok(Address {
            shown,
            servers: each_server(&config)?,
            ssl_mode,
            ssl_root_cert: root.map(PathBuf::from),
            passfile: passfile.map(PathBuf::from),
            password_file: None,
            writers: 8,
            readers: 5,
        })
    }
}

/// The same for each of the servers alone: which one is the primary is found
/// out by asking each.
fn each_server(config: &Config) -> Result<Vec<Config>, String> {
    if !config.get_hostaddrs().is_empty() {
        return match config.get_hosts().len() {
            0 | 1 => Ok(vec![config.clone()]),
            _ => Err("hostaddr cannot be combined with several hosts".to_owned()),
        };
    }
    let ports = config.get_ports();
    let port = |at: usize| match ports {
        [] => 5432,
        [one] => *one,
        several => several.get(at).copied().unwrap_or(5432),
    };
    if ports.len() > 1 && ports.len() != config.get_hosts().len() {
        return Err("there must be one port, or one for each host".to_owned());
    }
    Ok(config.get_hosts().iter().enumerate().map(|(at, host)| only(config, host, port(at))).collect())
}

fn only(config: &Config, host: &Host, port: u16) -> Config {
    let mut one = Config::new();
    one.ssl_mode(config.get_ssl_mode())
        .channel_binding(config.get_channel_binding())
        .keepalives(config.get_keepalives())
        .keepalives_idle(config.get_keepalives_idle())
        .port(port);
    match host {
        Host::Tcp(name) => one.host(name),
        Host::Unix(path) => one.host_path(path),
    };
    if let Some(user) = config.get_user() {
        one.user(user);
    }
    if let Some(password) = config.get_password() {
        one.password(password);
    }
    if let Some(name) = config.get_dbname() {
        one.dbname(name);
    }
    if let Some(options) = config.get_options() {
        one.options(options);
    }
    if let Some(name) = config.get_application_name() {
        one.application_name(name);
    }
    if let Some(timeout) = config.get_connect_timeout() {
        one.connect_timeout(*timeout);
    }
    if let Some(timeout) = config.get_tcp_user_timeout() {
        one.tcp_user_timeout(*timeout);
    }
    if let Some(interval) = config.get_keepalives_interval() {
        one.keepalives_interval(interval);
    }
    if let Some(retries) = config.get_keepalives_retries() {
        one.keepalives_retries(retries);
    }
    one
}

/// The URI up to its query, without a password between user and host.
fn without_password(base: &str) -> String {
    let Some((scheme, rest)) = base.split_once("://") else { return base.to_owned() };
    // A password with a question mark in it ends the part that is looked at.
    let Some((user, hosts)) = rest.rsplit_once('@') else { return format!("{scheme}://…") };
    let user = user.split_once(':').map_or(user, |(user, _)| user);
    format!("{scheme}://{user}@{hosts}")
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown)
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Address").field(&self.shown).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let address: Address = "postgres://me:s%40crt@h1:5432,h2:5433/db?password=other".parse().expect("an address");
        assert_eq!(address.to_string(), "postgres://me@h1:5432,h2:5433/db");
        assert!(!format!("{address:?}").contains("crt"));
        assert_eq!(address.servers.len(), 2);
        assert_eq!(address.servers[1].get_ports(), [5433]);
        assert_eq!(address.servers[1].get_password(), Some(&b"other"[..]));
    }

    #[test]
    fn the_modes_are_libpqs() {
        let address = |query: &str| format!("postgres://me@h/db{query}").parse::<Address>();
        assert_eq!(address("").expect("an address").ssl_mode, SslMode::Prefer);
        let full = address("?sslmode=verify-full&sslrootcert=%2Fca.pem&connect_timeout=3").expect("an address");
        assert_eq!((full.ssl_mode, full.ssl_root_cert), (SslMode::VerifyFull, Some("/ca.pem".into())));
        assert_eq!(full.servers[0].get_connect_timeout(), Some(&Duration::from_secs(3)));
        assert!(address("?sslmode=maybe").expect_err("no mode").contains("verify-full"));
        assert!(address("?ssl=1").expect_err("unknown").contains("ssl"));
    }

    #[test]
    fn what_is_missing_is_named() {
        assert!("postgres:///db".parse::<Address>().expect_err("no user").contains("USER"));
        let socket: Address = "postgres://me@/db?host=/run/pg&port=5433".parse().expect("an address");
        assert_eq!(socket.servers[0].get_hosts(), [Host::Unix("/run/pg".into())]);
    }
}
