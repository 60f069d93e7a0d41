//! Connections to the primary, of whichever servers were named.
//!
//! Always: a connection is with a server that is not a standby, commits of it
//! are at least on that server's disk when they return, and a transaction that
//! we forget ends by itself. The password is read anew for each connection, so
//! it can be changed under way.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use deadpool_postgres::ClientWrapper;
use futures_util::future::join5;
use parking_lot::Mutex;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres::config::{Host, SslMode as DriverSslMode};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{AsyncMessage, Config, Connection, NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::address::{Address, SslMode};
use super::trouble::{reason, trouble, uncommitted};
use super::unsent::{Ahead, SentTogether, Unsent};
use crate::store::{Incarnation, StoreError};

/// What every connection is set to, whatever the server's defaults are.
///
/// A node that was cut off holds its partners' locks until the server notices,
/// by its keepalives within some ten seconds; one that hangs, until its idle
/// transaction is ended, which is before its leases run out.
/// Look-ups of lists of numbers are estimated far too high, and would be compiled
/// (`jit`) for longer than they run.
/// `synchronous_commit = off` would acknowledge what a
/// crash forgets, while stricter choices than `on` stay. The advisory lock is
/// [`RELEASE_MARK`].
const SETTINGS: &str = "\
    SET idle_in_transaction_session_timeout = '20s';
    SET lock_timeout = '30s';
    SET statement_timeout = 0;
    SET client_min_messages = warning;
    SET tcp_keepalives_idle = 5;
    SET tcp_keepalives_interval = 2;
    SET tcp_keepalives_count = 3;
    SET tcp_user_timeout = '10s';
    SET jit = off;
    SELECT pg_try_advisory_lock_shared(x'526f6c6c6d61726b'::bigint);
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';";

/// For how long a connection uses the plans of its prepared statements. One that was
/// made for a small table would read all rows of a partner for each number, however
/// many an import has added, until the server counts them.
const PLANS_KEPT: Duration = Duration::from_secs(5);

/// "Roll", "mark": each session of this release has this advisory lock, so
/// `rollcall migrate-schema` can tell it from one of an earlier release.
pub(super) const RELEASE_MARK: i64 = 0x526f_6c6c_6d61_726b;

/// One connection.
pub(in crate::store) struct Link {
    pub client: ClientWrapper,
    /// Whether the server has warned of something.
    warned: Arc<AtomicBool>,
    /// Which server, and after how many takeovers.
    pub incarnation: Incarnation,
    /// It may be in the middle of something and must not be used again.
    pub torn: bool,
    /// Since when its plans are used.
    planned: Instant,
    /// What is sent before its next statement.
    pub ahead: Mutex<Ahead>,
}

impl Link {
    /// Sends what waits, and right behind it what `statement` sends.
    pub async fn behind<T>(&self, statement: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let taken = self.ahead.lock().take();
        let Some(SentTogether { release, kept, savepoint, own, doubtful }) = taken else { return statement.await };
        let (kept_values, own_values) = (kept.statements(), own.statements());
        let kept_statements = self.of_all(kept_values.prepare(&self.client).await)?;
        let own_statements = self.of_all(own_values.prepare(&self.client).await)?;
        // They are sent in the order in which they are first polled.
        let (released, kept, begun, own, done) = join5(
            self.only_if(release, "RELEASE draft"),
            kept_statements.send(&self.client),
            self.only_if(savepoint, "SAVEPOINT draft"),
            own_statements.send(&self.client),
            statement,
        )
        .await;
        self.of_all(released.and(kept).and(begun.map(|()| 0)))?;
        if doubtful {
            self.ahead.lock().failed = None;
        }
        own?;
        done
    }

    /// The same, if what was not sent is what `waits` says; or else `statement` alone,
    /// which reads what the rest does not change.
    pub(super) async fn behind_if<T>(
        &self,
        waits: impl Fn(&Unsent) -> bool,
        statement: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        if self.ahead.lock().any_unsent(waits) {
            return self.behind(statement).await;
        }
        let done = statement.await;
        // Without a savepoint, an error of the database ends the whole transaction.
        let unsent = self.ahead.lock().savepoint_waits();
        match done {
            Err(StoreError::Corrupt { .. }) => done,
            done if unsent => self.of_all(done),
            done => done,
        }
    }

    /// The result of what all writes of the transaction need.
    fn of_all<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &result {
            self.ahead.lock().failed = Some(uncommitted(error));
        }
        result
    }

    async fn only_if(&self, wanted: bool, sql: &str) -> Result<(), StoreError> {
        match wanted {
            true => self.client.batch_execute(sql).await.map_err(trouble),
            false => Ok(()),
        }
    }

    /// Sends what waits.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.behind(async { Ok(()) }).await
    }

    /// Whether the server has warned since this was last asked.
    pub fn warned(&self) -> bool {
        self.warned.swap(false, Ordering::SeqCst)
    }
}

/// Which server is the primary, as far as this process knows.
#[derive(Default)]
pub(in crate::store) struct PrimaryServer {
    /// Its place among the servers that were named.
    place: AtomicUsize,
    /// What the follower last heard from.
    pub incarnation: Mutex<Option<Incarnation>>,
}

/// Makes connections for a pool.
pub(in crate::store) struct Dialer {
    address: Address,
    tls: Option<MakeRustlsConnect>,
    known: Arc<PrimaryServer>,
    /// What its connections are set to besides.
    settings: &'static str,
}

impl Dialer {
    pub fn new(address: Address, known: Arc<PrimaryServer>) -> Result<Dialer, StoreError> {
        let tls = match address.ssl_mode {
            SslMode::Disable => None,
            _ => Some(MakeRustlsConnect::new(tls(&address)?)),
        };
        Ok(Dialer { address, tls, known, settings: "" })
    }

    /// The same, whose connections are set to more than [`SETTINGS`].
    pub fn with(self, settings: &'static str) -> Dialer {
        Dialer { settings, ..self }
    }

    async fn dial(&self, server: &Config) -> Result<Link, StoreError> {
        let mut server = server.clone();
        if let Some(password) = password(&self.address, &server)? {
            server.password(password);
        }
        let result = match &self.tls {
            Some(tls) if self.address.ssl_mode != SslMode::Allow => link(&server, tls.clone()).await,
            _ => link(&server, NoTls).await,
        };
        match (result, &self.tls) {
            // The server answered, and does not want us like this.
            (Err(StoreError::Postgres(error)), Some(tls)) if self.address.ssl_mode == SslMode::Allow => {
                let first = StoreError::Postgres(error);
                link(server.ssl_mode(DriverSslMode::Require), tls.clone()).await.map_err(|_| first)
            }
            (result, _) => result,
        }
    }
}

impl Manager for Dialer {
    type Type = Link;
    type Error = StoreError;

    async fn create(&self) -> Result<Link, StoreError> {
        let servers = &self.address.servers;
        let first = self.known.place.load(Ordering::Relaxed);
        let mut why = None;
        for at in (0..servers.len()).map(|at| (first + at) % servers.len()) {
            match self.dial(&servers[at]).await {
                Ok(link) => {
                    link.client.batch_execute(self.settings).await.map_err(trouble)?;
                    self.known.place.store(at, Ordering::Relaxed);
                    return Ok(link);
                }
                // The one that was the primary has the more telling reason.
                Err(error) => why = why.or(Some(error)),
            }
        }
        Err(why.unwrap_or_else(|| StoreError::Unreachable { reason: "no server is named".into() }))
    }

    async fn recycle(&self, link: &mut Link, _: &Metrics) -> RecycleResult<StoreError> {
        // One to a primary that was left behind, and does not know it, must not
        // be written to.
        let left = self.known.incarnation.lock().is_some_and(|known| known != link.incarnation);
        if left || link.torn || link.client.is_closed() {
            return Err(RecycleError::message("torn"));
        }
        if link.planned.elapsed() < PLANS_KEPT {
            return Ok(());
        }
        link.client.batch_execute("DISCARD PLANS").await.map_err(trouble)?;
        link.planned = Instant::now();
        Ok(())
    }
}

/// Connects, and makes sure that this is a primary.
async fn link<T>(server: &Config, tls: T) -> Result<Link, StoreError>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    let (client, connection) = server.connect(tls).await.map_err(|error| match error.code() {
        Some(_) => trouble(error),
        None => StoreError::Unreachable { reason: reason(&error).into() },
    })?;
    let warned = Arc::new(AtomicBool::new(false));
    let task = tokio::spawn(listen(connection, warned.clone()));
    client.batch_execute(SETTINGS).await.map_err(trouble)?;
    let row = client
        .query_one(
            "SELECT pg_is_in_recovery(), system_identifier, CASE WHEN pg_is_in_recovery() THEN NULL \
             ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END FROM pg_control_system()",
            &[],
        )
        .await
        .map_err(trouble)?;
    let timeline: Option<&str> = row.get(2);
    let Some(timeline) = timeline else {
        return Err(StoreError::Unreachable { reason: "no server is the primary; this one is a standby".into() });
    };
    let incarnation = Incarnation {
        system: row.get::<_, i64>(1) as u64,
        timeline: u32::from_str_radix(timeline, 16).unwrap_or_default(),
    };
    warned.store(false, Ordering::SeqCst);
    Ok(Link {
        client: ClientWrapper::new(client, task),
        warned,
        incarnation,
        torn: false,
        planned: Instant::now(),
        ahead: Mutex::default(),
    })
}

/// Runs a connection to its end, and notes warnings.
async fn listen<S, T>(mut connection: Connection<S, T>, warned: Arc<AtomicBool>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    while let Some(message) = std::future::poll_fn(|context| connection.poll_message(context)).await {
        match message {
            Ok(AsyncMessage::Notice(notice)) => {
                tracing::warn!(notice = notice.message(), "the database warns: {}", notice.message());
                warned.store(true, Ordering::SeqCst);
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "a connection to the database ended");
                return;
            }
        }
    }
}

/// The password for a server, from where there is one: the URI, the file of the
/// settings, libpq's password file.
fn password(address: &Address, server: &Config) -> Result<Option<String>, StoreError> {
    if server.get_password().is_some() {
        return Ok(None);
    }
    if let Some(path) = &address.password_file {
        let text = std::fs::read_to_string(path).map_err(|source| unreadable(path, &source))?;
        return Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()));
    }
    let named = address.passfile.clone().or_else(|| std::env::var_os("PGPASSFILE").map(PathBuf::from));
    let path = match &named {
        Some(path) => path.clone(),
        None => match std::env::home_dir() {
            Some(home) => home.join(".pgpass"),
            None => return Ok(None),
        },
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            private(&path)?;
            Ok(text.lines().find_map(|line| passfile_line(line, server)))
        }
        Err(_) if named.is_none() => Ok(None),
        Err(source) => Err(unreadable(&path, &source)),
    }
}

fn unreadable(path: &Path, source: &std::io::Error) -> StoreError {
    StoreError::Unreachable { reason: format!("the password file {} cannot be read: {source}", path.display()).into() }
}

/// As libpq, which takes no password from a file that others can read.
fn private(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::PermissionsExt;
    let open = std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0);
    match open {
        true => Err(StoreError::Unreachable {
            reason: format!("the password file {} can be read by others; chmod it to 0600", path.display()).into(),
        }),
        false => Ok(()),
    }
}

/// The password of a line `host:port:database:user:password`, if the rest fits.
fn passfile_line(line: &str, server: &Config) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let mut fields = vec![String::new()];
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => fields.last_mut()?.extend(letters.next()),
            ':' if fields.len() < 5 => fields.push(String::new()),
            other => fields.last_mut()?.push(other),
        }
    }
    let [host, port, database, user, password] = &fields[..] else { return None };
    let server_host = match server.get_hosts() {
        [Host::Tcp(name)] => name.clone(),
        _ => "localhost".to_owned(),
    };
    let server_port = server.get_ports().first().copied().unwrap_or(5432).to_string();
    let server_user = server.get_user()?;
    let server_database = server.get_dbname().unwrap_or(server_user);
    let fits = |field: &str, is: &str| field == "*" || field == is;
    let all = fits(host, &server_host)
        && fits(port, &server_port)
        && fits(database, server_database)
        && fits(user, server_user);
    all.then(|| password.clone())
}

/// What a certificate has to show, by `sslmode`.
fn tls(address: &Address) -> Result<ClientConfig, StoreError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&error))?;
    // As libpq: `require` with a root certificate is `verify-ca`.
    let mode = match (address.ssl_mode, &address.ssl_root_cert) {
        (SslMode::Require, Some(_)) => SslMode::VerifyCa,
        (mode, _) => mode,
    };
    let verifier: Arc<dyn ServerCertVerifier> = match mode {
        SslMode::Disable | SslMode::Allow | SslMode::Prefer | SslMode::Require => {
            Arc::new(Trust { provider, authority: None })
        }
        SslMode::VerifyCa | SslMode::VerifyFull => {
            let mut roots = RootCertStore::empty();
            match &address.ssl_root_cert {
                Some(path) if path != Path::new("system") => {
                    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| unusable(&error))?;
                    for certificate in certificates {
                        let certificate = certificate.map_err(|error| unusable(&error))?;
                        roots.add(certificate).map_err(|error| unusable(&error))?;
                    }
                }
                _ => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            }
            let authority = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
            let authority = authority.map_err(|error| unusable(&error))?;
            match mode {
                SslMode::VerifyFull => authority,
                _ => Arc::new(Trust { provider, authority: Some(authority) }),
            }
        }
    };
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

fn unusable(error: &dyn std::error::Error) -> StoreError {
    StoreError::Unreachable { reason: format!("the certificates of sslrootcert cannot be used: {error}").into() }
}

/// Accepts any certificate, or any that an authority has signed, whatever its name.
#[derive(Debug)]
struct Trust {
    provider: Arc<CryptoProvider>,
    authority: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(authority) = &self.authority else { return Ok(ServerCertVerified::assertion()) };
        match authority.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_file_is_read_as_libpq_reads_it() {
        let address: Address = "postgres://me@db.example:5433/rollcall".parse().expect("an address");
        let server = &address.servers[0];
        for (line, expected) in [
            ("db.example:5433:rollcall:me:a:b\\\\c", Some("a:b\\c")),
            ("*:*:*:*:any", Some("any")),
            ("db.example:5432:*:me:no", None),
            ("*:*:*:you:no", None),
            ("# *:*:*:*:no", None),
            ("", None),
        ] {
            assert_eq!(passfile_line(line, server).as_deref(), expected, "{line}");
        }
    }
}
