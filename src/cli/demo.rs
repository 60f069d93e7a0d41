//! `rollcall demo`: everything at once, with nothing to set up.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, IsTerminal};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::output::{self, Bar};
use super::serve::{self, Hangup};
use super::{CliError, Global, Outcome, operator};
use crate::config::{LogFilter, Routing};
use crate::demo::{self, DemoPeople};
use crate::domain::{Actor, Dialect, PartnerId, Role, Scope, Time};
use crate::service::people::{Clock, LINK_PATH, NewUser, People, SignInSettings, SystemClock, UserActor};
use crate::service::verbs::import::ImportProgress;
use crate::service::{NewKey, Service, token};
use crate::store::{self, Location, Open};

#[derive(clap::Args)]
pub struct Demo {
    /// The address and port to listen on
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// How many numbers to make
    #[arg(long, value_name = "N", default_value_t = demo::NUMBERS_DEFAULT, value_parser = clap::value_parser!(u64).range(demo::NUMBERS))]
    numbers: u64,
    /// The folder to keep the demo in
    #[arg(long, value_name = "PATH", default_value = "rollcall-demo")]
    dir: PathBuf,
    /// Throw away what an earlier demo left there, and begin again
    #[arg(long)]
    fresh: bool,
}

/// A number of the demo that calls are routed for.
const CALLED: &str = "+912271264217";
/// The first ports that are tried for the faces that answer calls.
const SIP_PORT: u16 = 5070;
const ROUTE_PORT: u16 = 8081;
/// And how many more where those are taken.
const PORTS_TRIED: u16 = 200;

const DATABASE: &str = "rollcall.db";
/// The demo's tokens, so that it can print them again. A real server keeps
/// only their digests.
const CREDENTIALS: &str = "credentials.json";
/// The passwords of the demo's people, for the same reason.
const LOGINS: &str = "logins.json";

impl Demo {
    pub fn run(self, global: &Global) -> Result<Outcome, CliError> {
        let mut config = global.settings()?;
        if let Some(listen) = self.listen {
            config.http.listen = listen;
        }
        // Quieter than a server: what is printed below is what matters.
        if config.log.filter.as_str() == "info" {
            config.log.filter = LogFilter::quiet();
        }
        serve::log_to_stderr(&config)?;
        let failed = |source| CliError::Io { what: format!("cannot use the folder {}", self.dir.display()), source };
        fs::create_dir_all(&self.dir).map_err(failed)?;
        let path = self.dir.join(DATABASE);
        config.database = Location::Sqlite(path.clone());
        {
            let store = store::open(&config.database, Open::Create)?;
            if store.serve_lock()?.is_none() {
                return Err(CliError::Other(format!("a demo is being served from {} already", self.dir.display())));
            }
            if self.fresh {
                self.refuse_others(Service::new(store, operator::actor(&config.database)))?;
            }
        }
        if self.fresh {
            for file in [DATABASE, CREDENTIALS, LOGINS, "rollcall.db-wal", "rollcall.db-shm"] {
                match fs::remove_file(self.dir.join(file)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                    _ => {}
                }
            }
        }
        let store = store::open(&config.database, Open::Create)?;
        let service = Service::new(store, operator::actor(&config.database));
        let now = Time::now();
        demo::create_partners(&service, now)?;
        let logins = logins(&service, &self.dir.join(LOGINS), now)?;
        let made = self.populate(&service, &logins, now)?;
        let credentials = credentials(&service, &self.dir.join(CREDENTIALS))?;
        drop(service);
        let scheme = if config.http.tls()?.is_some() { "https" } else { "http" };
        // Chosen just before they are listened on: another may begin meanwhile.
        for (face, port) in [(&mut config.routing.sip, SIP_PORT), (&mut config.routing.http, ROUTE_PORT)] {
            if face.is_empty() {
                face.extend(free_address(port));
            }
        }
        let calls = config.routing.clone();
        serve::serve(&config, Open::Existing, serve::routes, Hangup::Stop, |address| {
            let url = format!("{scheme}://{address}");
            let text = if global.json {
                let one = |(partner, token): (&PartnerId, &String)| json!({ "auth_id": partner, "auth_token": token });
                let partners: Vec<_> = credentials.iter().map(one).collect();
                let one = |Login { role, email, password, .. }: &Login| json!({ "role": role, "email": email, "password": password });
                let logins: Vec<_> = logins.iter().map(one).collect();
                format!(
                    "{}\n",
                    json!({
                        "url": url, "numbers": made, "partners": partners, "logins": logins,
                        "sip": calls.sip.first(), "route": calls.http.first(),
                    })
                )
            } else {
                welcome(&url, &self.dir, made, (&credentials, &logins), &calls)
            };
            output::styled(&text)
        })
    }

    /// Refuses to throw away a database that no demo made.
    fn refuse_others(&self, service: Service) -> Result<(), CliError> {
        let partners = service.partners()?;
        let demo = demo::partners();
        let made_here = partners.iter().any(|partner| demo.iter().any(|made| made.auth_id == partner.2.auth_id));
        match partners.first() {
            Some(other) if !made_here => Err(CliError::Other(format!(
                "the database in {} is no demo: it has partner {}; name another folder with --dir",
                self.dir.display(),
                other.2.auth_id
            ))),
            _ => Ok(()),
        }
    }

    /// Fills the database, and says how many numbers there are.
    fn populate(&self, service: &Service, logins: &[Login], now: Time) -> Result<u64, CliError> {
        let bar = Bar::new(Some(self.numbers), "numbers");
        let progress = |progress: ImportProgress| match progress {
            ImportProgress::Reading { .. } => {}
            ImportProgress::Writing { numbers, .. } => bar.set("making the demo", numbers, None),
        };
        // What an interrupted start left undone is completed; the rest stays.
        let first = demo::partners()[0].auth_id.clone();
        let actor =
            |role: Role| logins.iter().find(|login| login.role == role.as_str()).map(|login| login.actor.clone());
        let people = |partner: &PartnerId| {
            let people = actor(Role::Owner).zip(actor(Role::Manager)).filter(|_| *partner == first);
            people.map(|(owner, manager)| DemoPeople { owner, manager })
        };
        let done = demo::populate(service, &people, self.numbers, now, &progress, output::interrupt()?)?;
        let reopened = done.imported.is_empty();
        bar.finish();
        let mut have = 0;
        for partner in demo::partners() {
            have += service.snapshot(&partner.auth_id, true)?.len() as u64;
        }
        if reopened && have != self.numbers {
            output::note(&format!("reopening the demo with {have} numbers; --fresh makes a new one"));
        }
        Ok(have)
    }
}

/// The next address of this machine that is free for TCP and UDP.
fn free_address(first: u16) -> Option<SocketAddr> {
    let free = |address: &SocketAddr| UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok();
    (first..first.saturating_add(PORTS_TRIED)).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).find(free)
}

/// A key of each partner: the one made before, or a new one.
fn credentials(service: &Service, path: &Path) -> Result<BTreeMap<PartnerId, String>, CliError> {
    let failed = |source| CliError::Io { what: format!("cannot use {}", path.display()), source };
    match fs::read(path) {
        Ok(bytes) => {
            if let Ok(known) = serde_json::from_slice::<BTreeMap<PartnerId, String>>(&bytes) {
                return Ok(known);
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let mut credentials = BTreeMap::new();
    for partner in demo::partners() {
        let scopes = vec![Scope::Read, Scope::Manage];
        let new =
            NewKey { name: "demo".into(), scopes, expires_at: None, networks: Vec::new(), dialect: Dialect::Data };
        let (_, token) = service.key_create(&partner.auth_id, new)?.value;
        credentials.insert(partner.auth_id, token.reveal().to_owned());
    }
    store::sqlite::create_private(path).map_err(failed)?;
    let text = serde_json::to_string_pretty(&credentials).map_err(|error| CliError::Other(error.to_string()))?;
    fs::write(path, text).map_err(failed)?;
    Ok(credentials)
}

/// A user of the demo.
struct Login {
    role: &'static str,
    email: String,
    password: String,
    actor: Actor,
}

/// A clock that stands at the time at which the demo's people came.
struct Then(Time);

impl Clock for Then {
    fn now(&self) -> Time {
        self.0
    }

    fn pause(&self, length: Duration) {
        std::thread::sleep(length);
    }
}

/// A user of each role, with a password of the demo's own: the ones made
/// before, or new ones, who came with the partners.
fn logins(service: &Service, path: &Path, now: Time) -> Result<Vec<Login>, CliError> {
    let failed = |source| CliError::Io { what: format!("cannot use {}", path.display()), source };
    let mut known: BTreeMap<String, String> = match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
        Err(error) => return Err(failed(error)),
    };
    let new_demo = known.is_empty();
    let clock: Arc<dyn Clock> = if new_demo { Arc::new(Then(demo::arrival(now))) } else { Arc::new(SystemClock) };
    let people = People::new(service.store().clone(), SignInSettings { clock, ..SignInSettings::default() });
    let first = service.partner_key(&demo::partners()[0].auth_id)?;
    let mut logins = Vec::new();
    let mut new = false;
    for &role in Role::ALL {
        let email = format!("{role}@demo.example");
        let found = people.everybody(None)?.into_iter().find(|user| *user.email == *email);
        let mut id = found.as_ref().map(|user| user.id.clone());
        let password = match (&found, known.get(&email)) {
            (Some(user), Some(password)) if user.password_set => password.clone(),
            _ => {
                let path = match found {
                    Some(user) => people.user_link(UserActor::Command(service.actor()), &user.id)?,
                    None => {
                        let partner = (role != Role::Administrator).then_some(first);
                        let new = NewUser { email: email.clone(), name: None, role, partner, zone: None };
                        let (user, path) = people.user_create(UserActor::Command(service.actor()), new)?;
                        id = Some(user.id);
                        path
                    }
                };
                let password = token::recovery_code();
                let link = path.strip_prefix(LINK_PATH).unwrap_or(&path);
                let begun = people.set_up(link, &password, IpAddr::from([127, 0, 0, 1]))?;
                people.sign_out(&begun.token)?;
                new = true;
                known.insert(email.clone(), password.clone());
                password
            }
        };
        let actor = id.map(|id| Actor::User { id, email: email.as_str().into() });
        let actor = actor.unwrap_or_else(|| service.actor().clone());
        logins.push(Login { role: role.as_str(), email, password, actor });
    }
    if new {
        store::sqlite::create_private(path).map_err(failed)?;
        let text = serde_json::to_string_pretty(&known).map_err(|error| CliError::Other(error.to_string()))?;
        fs::write(path, text).map_err(failed)?;
    }
    Ok(logins)
}

/// Where everything is, and the specification's own commands, filled in.
fn welcome(
    url: &str,
    dir: &Path,
    numbers: u64,
    (credentials, logins): (&BTreeMap<PartnerId, String>, &[Login]),
    calls: &Routing,
) -> String {
    let bold = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let heading = |text: &str| if bold { format!("\x1b[1m{text}\x1b[0m\n") } else { format!("{text}\n") };
    let soon = Time::now().plus(14 * 86_400);
    let now = Time::now();
    let mut text =
        heading(&format!("Rollcall demo: {numbers} numbers of {} partners in {}", credentials.len(), dir.display()));
    let mut put = |line: &str| writeln!(text, "{line}").expect("writing to memory");
    put("");
    put(&format!("  Partner API   {url}/api/v1/partner/numbers"));
    put(&format!("  Description   {url}/openapi.json"));
    put(&format!("  Health        {url}/readyz  {url}/metrics"));
    for address in &calls.sip {
        put(&format!("  Calls, SIP    sip:{address} (UDP)"));
    }
    for address in &calls.http {
        put(&format!("  Calls, HTTP   http://{address}/route/{CALLED}"));
    }
    put("");
    put(&format!("  Console       {url}/console"));
    for Login { role, email, password, .. } in logins {
        put(&format!("    {role:13}  {email:26}  password  {password}"));
    }
    for (partner, token) in credentials {
        put("");
        put(&format!("  X-Auth-ID     {partner}"));
        put(&format!("  X-Auth-Token  {token}"));
    }
    let first = demo::partners()[0].auth_id.clone();
    let token = credentials.get(&first).map_or("", String::as_str);
    let mut curl = |about: &str, path: &str| {
        text.push('\n');
        text.push_str(&heading(&format!("# {about}")));
        writeln!(
            text,
            "curl -X GET \\\n  \"{url}/api/v1/partner{path}\" \\\n  -H \"X-Auth-ID: {first}\" \\\n  \
             -H \"X-Auth-Token: {token}\" \\\n  -H \"Accept: application/json\""
        )
        .expect("writing to memory");
    };
    curl("List all numbers for a customer", "/accounts/MA_48149cf4/numbers?page=1&per_page=20");
    curl("Search for a specific number", "/accounts/MA_48149cf4/numbers?search=9122712");
    curl("All numbers across all customers", "/numbers?page=1&per_page=50");
    curl("Numbers that no customer has", "/numbers?assigned=false&per_page=5");
    curl(
        "Active numbers that expire within 14 days",
        &format!("/numbers?status=active&expires_before={soon}&sort=expires_at&per_page=5"),
    );
    curl("Numbers that have expired", &format!("/numbers?expires_before={now}&per_page=5"));
    curl("Active numbers with nowhere to route", "/numbers?status=active&routed=false&per_page=5");
    if let Some(address) = calls.sip.first() {
        text.push('\n');
        text.push_str(&heading("# Ask by a SIP INVITE where a call goes"));
        writeln!(text, "rollcall route test {CALLED} --at {address}").expect("writing to memory");
    }
    text.push_str("\nServing until Ctrl-C.\n");
    text
}
