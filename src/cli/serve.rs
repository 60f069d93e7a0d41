//! `rollcall serve`: the server, from the open database to the last answer.

pub(super) mod descriptors;
mod notify;
mod reread;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{fmt, reload};

use self::notify::{Heart, Notify};
use self::reread::Reread;
pub use self::reread::log_filter;
use super::{CliError, Global, Outcome};
use crate::config::{AtLeast, Config, ConfigError, LogFormat};
use crate::console;
use crate::domain::Time;
use crate::face::Faces;
use crate::http::server::Certificate;
use crate::http::{self, App};
use crate::mail::Mailer;
use crate::service::Replica;
use crate::service::background::jobs::runner::{self, JobRunner};
use crate::service::background::net_changes::NetChangesMade;
use crate::service::background::schedules;
use crate::service::background::webhooks::runner::WebhookRunner as Webhooks;
use crate::service::background::workers::Work;
use crate::store::{self, Location, Open, StoreError};
use crate::trace;

#[derive(Clone, clap::Args)]
pub struct Serve {
    /// The address and port to listen on, or a port of 127.0.0.1
    #[arg(long, value_name = "ADDR", value_parser = parse_listen)]
    listen: Option<SocketAddr>,
    /// A certificate with its chain, PEM: serve TLS; reloaded on SIGHUP
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The key of the certificate, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Create the database if there is none at its path
    #[arg(long)]
    create: bool,
    /// Requests a second for each key; 0 means no limit
    #[arg(long, value_name = "N")]
    rate_limit: Option<u32>,
}

/// An address with its port, or a port of this machine.
pub fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<u16>() {
        Ok(port) => Ok(SocketAddr::from(([127, 0, 0, 1], port))),
        Err(_) => text.parse().map_err(|_| "must be an address and a port such as 0.0.0.0:8080, or a port".to_owned()),
    }
}

impl Serve {
    pub fn run(self, global: &Global) -> Result<Outcome, CliError> {
        let config = self.settings(global)?;
        log_to_stderr(&config)?;
        // A PostgreSQL database is there or not; only its tables are made.
        let shared = matches!(config.database, Location::Postgres(_));
        let open = if self.create || shared { Open::Create } else { Open::Existing };
        let global = global.clone();
        let again = Box::new(move || self.settings(&global));
        serve(&config, open, routes, Hangup::Reload(again), |_| Ok(()))
    }

    /// The settings, with the flags laid over them.
    fn settings(&self, global: &Global) -> Result<Config, CliError> {
        let mut config = global.settings()?;
        if let Some(listen) = self.listen {
            config.http.listen = listen;
        }
        if let Some(rate) = self.rate_limit {
            config.limits.requests_per_second = rate;
            config.limits.requests_burst = rate.saturating_mul(2);
        }
        if let (Some(cert), Some(key)) = (&self.tls_cert, &self.tls_key) {
            (config.http.tls_cert, config.http.tls_key) = (cert.clone(), key.clone());
        }
        Ok(config)
    }
}

pub fn log_to_stderr(config: &Config) -> Result<(), ConfigError> {
    use std::io::{IsTerminal, stderr};
    let colours = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = move || super::output::LogLines { colours };
    // The reader of the log may have gone. Reporting that to the same stderr would
    // panic, in the thread that logs.
    let lines = fmt::layer().with_writer(lines).with_ansi(colours).log_internal_errors(false);
    let (filter, handle) = reload::Layer::new(reread::log_filter(config)?);
    reread::keep(handle);
    let log = tracing_subscriber::registry().with(filter);
    let set = match config.log.format {
        LogFormat::Text => log.with(lines).try_init(),
        LogFormat::Json => log.with(lines.json()).try_init(),
    };
    http::access::send_to(super::output::access_line);
    if let Err(error) = set {
        super::output::note(&format!("logging is not available: {error}"));
    }
    Ok(())
}

/// The API and the console.
pub fn routes(app: Arc<App>) -> Router {
    let routes = http::router(app.clone()).merge(console::router(app));
    let routes = if trace::on() { routes.layer(axum::middleware::from_fn(http::name_span)) } else { routes };
    routes.layer(axum::middleware::from_fn(http::compress::layer))
}

/// Reads the settings again, with the flags of the command.
pub type ReadSettings = Box<dyn Fn() -> Result<Config, CliError> + Send>;

/// What SIGHUP asks for.
pub enum Hangup {
    /// To read the settings and the certificate again, as services do.
    Reload(ReadSettings),
    /// To end, as what runs in a terminal does.
    Stop,
}

/// Serves `routes`, which are at least [`routes`], until SIGTERM or Ctrl-C.
/// `ready` hears the address once it listens.
pub fn serve(
    config: &Config,
    open: Open,
    routes: impl FnOnce(Arc<App>) -> Router,
    hangup: Hangup,
    ready: impl FnOnce(SocketAddr) -> Result<(), CliError>,
) -> Result<Outcome, CliError> {
    let started = Instant::now();
    let said = config;
    let mut config = config.clone();
    config.http.connections_max = AtLeast::from(descriptors::connections(config.http.connections_max.into()));
    let config = &config;
    let notify = Notify::from_environment();
    let tls = match config.http.tls()? {
        Some((cert, key)) => Some(Arc::new(Certificate::load(cert, key)?)),
        None => None,
    };
    let mailer = config.mail.settings().map(|mail| Mailer::open(&mail)).transpose().map_err(CliError::Mail)?;
    let folder = &config.console.imports_folder;
    if !folder.as_os_str().is_empty() && !folder.is_dir() {
        let folder = folder.display();
        return Err(CliError::Settings(format!(
            "console.imports_folder: there is no folder {folder}; create it first"
        )));
    }
    if let Some(lost) = store::lost_log(&config.location()) {
        tracing::warn!("{lost}");
    }
    let store = store::open(&config.location(), open)?;
    let Some(lock) = store.serve_lock()? else {
        return Err(CliError::Other(format!("another server is using {} already", config.database)));
    };
    let replica = Arc::new(Replica::load(store)?);
    let numbers: usize = replica.nodes().iter().map(|node| node.snapshot().len()).sum();
    let partners = replica.nodes().len();
    let load_ms = started.elapsed().as_millis() as u64;
    info!(partners, numbers, load_ms, "loaded {numbers} numbers of {partners} partners in {load_ms} ms");

    match replica.store().has_earlier_tables() {
        Ok(false) => {}
        Ok(true) => warn!(
            "the numbers of this PostgreSQL database are in the tables of the earlier release, one row each; once all nodes \
             run this release, `rollcall migrate-schema` makes rows of neighbours of them"
        ),
        Err(error) => warn!(error = &error as &dyn std::error::Error, "cannot tell which tables the numbers are in"),
    }

    let mut app = App::new(replica.clone(), config);
    let calls = metrics_exporter_prometheus::Matcher::Full("rollcall_route_seconds".to_owned());
    app.metrics = metrics_exporter_prometheus::PrometheusBuilder::new()
        .set_buckets(&[0.000_05, 0.000_1, 0.000_5, 0.001, 0.005, 0.025, 0.1, 0.5, 2.5])
        .and_then(|builder| builder.set_buckets_for_metric(calls, &CALL_BUCKETS))
        .ok()
        .and_then(|builder| builder.install_recorder().ok());
    http::described::describe();
    app.service.webhooks_ready().map_err(|error| CliError::Settings(error.to_string()))?;
    let app = Arc::new(app);
    match app.people.everybody(None) {
        Ok(users) if users.is_empty() => {
            info!("nobody can sign in yet; `rollcall user create --platform-admin --email ADDRESS` makes the first");
        }
        Ok(_) => {}
        Err(error) => warn!(error = &error as &dyn std::error::Error, "cannot tell who may sign in"),
    }
    if let Some(node) = app.service.node() {
        info!(node, "this node is {node}");
    }
    let traces = trace::start(config.trace.settings(app.service.node().unwrap_or("server")))
        .map_err(|why| CliError::Settings(format!("trace.endpoint: {why}")))?;
    let router = routes(app.clone());

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| CliError::Io { what: "cannot start the runtime".to_owned(), source })?;
    let settings =
        runner::JobSettings { workers: config.jobs.workers.into(), per_partner: config.jobs.per_partner.into() };
    let runner = JobRunner::start(&app.service, settings);
    let alerts = schedules::runner::ScheduleRunner::start(&app.service, mailer, Arc::new(Time::now));
    let webhooks = Webhooks::start(&app.service, replica.clone(), config.webhooks.at_once.into());
    // Who answers no calls has none to record.
    let answers = !config.routing.sip.is_empty() || !config.routing.http.is_empty();
    let recorder = answers.then(|| app.service.node().unwrap_or("server").to_owned());
    let background = Background::start(app.clone(), config.follow.interval_ms.into(), recorder.clone());
    let (follower, held) = (background.follower.clone(), replica.clone());
    let alive = move || !follower.is_finished();
    let heart = Heart::start(notify.clone(), runtime.handle().clone(), alive, move || status(&held));
    let served = runtime.block_on(async {
        // Before anybody hears that it serves: from then on, a signal is a request.
        let signals = Signals::catch();
        let (listener, address) = listen(config.http.listen)?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        if tls.is_none() && !address.ip().is_loopback() && config.http.trusted_proxies.is_empty() {
            warn!(
                %address,
                "{address} can be reached from elsewhere, without TLS: keys and numbers travel in the clear, and nobody \
                 can sign in to the console; give --tls-cert and --tls-key, or name your proxy in http.trusted_proxies"
            );
        }
        let private = match config.http.private_listen.0 {
            Some(address) => Some(listen(address)?),
            None => None,
        };
        info!(%address, "listening on {scheme}://{address}");
        if let Some((_, address)) = &private {
            info!(%address, "listening on http://{address} for /metrics and /digest");
        }
        let faces = Faces::start(&replica, config)
            .map_err(|source| CliError::Io { what: "cannot listen for calls".to_owned(), source })?;
        ready(address)?;
        notify.ready(&status(&replica));
        let service = matches!(hangup, Hangup::Reload(_));
        let reread = match hangup {
            Hangup::Reload(settings) => Some(Reread::new(settings, said.clone(), app.live.clone(), tls.clone())),
            Hangup::Stop => None,
        };
        let asked = stop_signal(signals, reread, &background.broken);
        let shutdown = app.ending(async {
            asked.await;
            notify.stopping();
            faces.drain();
        });
        let settings = (config, &app.live);
        let public = http::serve("public", router, listener, settings, tls, shutdown);
        let served = match private {
            None => public.await,
            // The private one answers until the public one has ended.
            Some((listener, _)) => {
                let own = http::private_router(app.clone());
                tokio::select! {
                    served = public => served,
                    served = http::serve("private", own, listener, settings, None, std::future::pending()) => served,
                }
            }
        };
        // What runs in a terminal has no proxy that looks elsewhere meanwhile.
        if service {
            faces.drained().await;
        }
        faces.stop().await;
        Ok::<_, CliError>(served)
    });
    webhooks.stop();
    runner.stop();
    alerts.stop();
    app.uploads.stop();
    heart.stop();
    background.stop();
    app.people.flush();
    let flushed = replica.flush_key_uses();
    if let Err(error) = replica.keep_called(recorder.as_deref().map(|name| (name, true)), Time::now()) {
        warn!(error = &error as &dyn std::error::Error, "cannot store which numbers were called");
    }
    drop(lock);
    traces.stop();
    let served = served?;
    if let Err(error) = flushed {
        warn!(error = &error as &dyn std::error::Error, "cannot write when keys were last used");
    }
    if background.broken.load(Ordering::SeqCst) {
        return Err(StoreError::Stopped { reason: "the log says how".into() }.into());
    }
    info!(cut = served.cut, "stopped; {} requests were cut", served.cut);
    Ok(Outcome::Done)
}

/// Seconds that an answer to a call takes.
const CALL_BUCKETS: [f64; 10] =
    [0.000_001, 0.000_002, 0.000_005, 0.000_01, 0.000_02, 0.000_05, 0.000_1, 0.000_5, 0.005, 0.05];

/// The state of this node in one line, for `systemctl status`.
fn status(replica: &Replica) -> String {
    let nodes = replica.nodes();
    let numbers: usize = nodes.iter().map(|node| node.snapshot().len()).sum();
    let serving = format!("{numbers} numbers of {} partners", nodes.len());
    match replica.freshness() {
        (true, _) => serving,
        (false, age) => format!("{serving}; no word from the database for {} s", age.as_secs()),
    }
}

/// How many connections wait to be accepted; the kernel has a limit of its own.
/// The usual 128 is too few: a burst beyond it costs everybody else's new
/// connection a second, which is when the kernel tries again.
const BACKLOG: u32 = 4_096;

/// A listener, and the address that it got.
fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), CliError> {
    let failed = |source| CliError::Io { what: format!("cannot listen on {address}"), source };
    let listener = bind(address).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// How often a database whose last write failed is asked whether it takes
/// writes again.
const PROBE: Duration = Duration::from_secs(1);
/// How often all tables are looked at for rows that cannot be understood, and
/// how many times longer than that took at least, so that it costs a hundredth
/// of a core.
const SURVEY: Duration = Duration::from_secs(10);
const SURVEY_TIMES: u32 = 100;
/// How often spans of changes are looked for that were not put together.
const NET_CHANGES: Duration = Duration::from_secs(20);
/// And how many times longer than one took the next one waits, so that a long log takes
/// a tenth of a core.
const NET_CHANGES_TIMES: u32 = 9;
/// How often the numbers that were called are stored.
const RECORD: Duration = Duration::from_secs(60);

/// The signals that ask the process for something. Until they are caught, they
/// end it.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn catch() -> io::Result<Signals> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Signals { terminate, interrupt, hangup: signal(SignalKind::hangup())? })
    }
}

/// Resolves when the process is asked to end, or when its database broke.
/// Until then it reads the settings again on SIGHUP; without `reread`, that is
/// the end as well.
async fn stop_signal(signals: io::Result<Signals>, mut reread: Option<Reread>, broken: &AtomicBool) {
    let broken = async {
        while !broken.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let Ok(Signals { mut terminate, mut interrupt, mut hangup }) = signals else {
        error!("cannot listen for signals; stop with SIGKILL");
        return broken.await;
    };
    let hangups = async {
        while hangup.recv().await.is_some() {
            match &mut reread {
                Some(reread) => reread.now(),
                None => return,
            }
        }
    };
    tokio::select! {
        _ = terminate.recv() => info!("stopping on SIGTERM"),
        _ = interrupt.recv() => info!("stopping on Ctrl-C"),
        () = hangups => info!("stopping on SIGHUP"),
        () = broken => error!("stopping because the database cannot be trusted any more"),
    }
}

/// What a server does beside answering: on one thread it follows the log, on
/// another it writes down key use, forgets quiet clients once a minute, and keeps net changes. They
/// are two because the first is also how the server knows that its database
/// answers, and must not wait for it.
struct Background {
    stop: Arc<AtomicBool>,
    broken: Arc<AtomicBool>,
    follower: Arc<std::thread::JoinHandle<()>>,
    housekeeper: std::thread::JoinHandle<()>,
}

impl Background {
    fn start(app: Arc<App>, interval: Duration, recorder: Option<String>) -> Background {
        let stop = Arc::new(AtomicBool::new(false));
        let broken = Arc::new(AtomicBool::new(false));
        let (stopped, replica) = (stop.clone(), app.replica.clone());
        let heartbeat = app.service.workers.join(Work::Follower);
        let follower = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                heartbeat.begin();
                replica.follow();
                std::thread::sleep(interval);
            }
        });
        let (stopped, broke) = (stop.clone(), broken.clone());
        let housekeeper = std::thread::spawn(move || {
            let (mut minute, mut tidied) = (Instant::now(), Instant::now());
            let (mut probed, mut survey) = (Instant::now(), Instant::now());
            let mut net_changes = Instant::now() + NET_CHANGES;
            let mut recorded: Option<Instant> = None;
            let heartbeat = app.service.workers.join(Work::Housekeeping);
            while !stopped.load(Ordering::Relaxed) {
                heartbeat.begin();
                std::thread::sleep(Duration::from_millis(50));
                // Samples of durations are kept until they are added up.
                if let Some(metrics) = app.metrics.as_ref().filter(|_| tidied.elapsed() >= Duration::from_secs(5)) {
                    tidied = Instant::now();
                    metrics.run_upkeep();
                }
                let store = app.replica.store();
                if !store.health().writable() && probed.elapsed() >= PROBE {
                    store.probe();
                    probed = Instant::now();
                }
                if survey <= Instant::now() {
                    let began = Instant::now();
                    if let Err(error) = store.survey() {
                        warn!(
                            error = &error as &dyn std::error::Error,
                            "cannot look for rows that cannot be understood"
                        );
                    }
                    survey = Instant::now() + SURVEY.max(began.elapsed() * SURVEY_TIMES);
                }
                if net_changes <= Instant::now() {
                    let began = Instant::now();
                    let pause = match app.service.keep_net_change(&app.replica, &stopped) {
                        Ok(NetChangesMade::One) => began.elapsed() * NET_CHANGES_TIMES,
                        Ok(NetChangesMade::None) => NET_CHANGES,
                        Err(error) => {
                            warn!(
                                error = &error as &dyn std::error::Error,
                                "cannot keep what many changes did together; trying again"
                            );
                            NET_CHANGES
                        }
                    };
                    net_changes = Instant::now() + pause;
                }
                if recorded.is_none_or(|recorded| recorded.elapsed() >= RECORD) {
                    recorded = Some(Instant::now());
                    let recorder = recorder.as_deref().map(|name| (name, false));
                    if let Err(error) = app.replica.keep_called(recorder, Time::now()) {
                        warn!(
                            error = &error as &dyn std::error::Error,
                            "cannot store which numbers were called; trying again"
                        );
                    }
                }
                if minute.elapsed() < Duration::from_secs(60) {
                    continue;
                }
                minute = Instant::now();
                app.forget_quiet();
                match app.replica.flush_key_uses() {
                    Ok(()) => {}
                    Err(StoreError::Stopped { .. }) => broke.store(true, Ordering::SeqCst),
                    Err(error) => {
                        warn!(error = &error as &dyn std::error::Error, "cannot write when keys were last used");
                    }
                }
            }
        });
        Background { stop, broken, follower: Arc::new(follower), housekeeper }
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        while !(self.follower.is_finished() && self.housekeeper.is_finished()) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
