//! Names and receivers: whether the names of the settings resolve, and whether
//! the addresses of webhooks accept a connection.

use std::net::{IpAddr, ToSocketAddrs};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::database::Hook;
use super::{Diagnosis, PATIENCE};
use crate::config::Config;
use crate::domain::shown::shown;
use crate::outbound::Outbound;
use crate::store::Location;

/// A look-up that takes longer than this slows down each delivery.
const SLOW: Duration = Duration::from_secs(1);
/// How many receivers are tried at a time.
const AT_ONCE: usize = 16;

/// The names of the settings.
pub fn names(config: &Config) -> Vec<Diagnosis> {
    let mut names: Vec<(&str, String)> = vec![("this machine", "localhost".to_owned())];
    if !config.mail.host.is_empty() {
        names.push(("mail.host", config.mail.host.clone()));
    }
    if let Some(host) = config.console.url.host() {
        names.push(("console.url", host));
    }
    if let Location::Postgres(address) = &config.database {
        names.extend(address.hosts().into_iter().map(|host| ("database", host)));
    }
    names.retain(|(_, name)| name.parse::<IpAddr>().is_err());
    names.into_iter().map(|(what, name)| resolves(what, name)).collect()
}

fn resolves(what: &str, name: String) -> Diagnosis {
    const CHECK: &str = "dns";
    let advice = "check /etc/resolv.conf and /etc/hosts, and the name in the settings";
    let (give, taken) = mpsc::sync_channel(1);
    let (began, asked) = (Instant::now(), name.clone());
    // The system's look-up has no limit in time; its thread ends by itself.
    std::thread::spawn(move || {
        let found = (asked.as_str(), 0).to_socket_addrs().map(|found| found.count());
        let _ = give.send(found);
    });
    let (found, took) = (taken.recv_timeout(PATIENCE), began.elapsed());
    let name = shown(&name);
    match found {
        Ok(Ok(0)) => Diagnosis::error(CHECK, format!("{what}: {name} has no address"), advice),
        Ok(Ok(count)) if took > SLOW => {
            Diagnosis::warning(CHECK, format!("{what}: {name} has {count} addresses, found after {took:.1?}"), advice)
        }
        Ok(Ok(1)) => Diagnosis::ok(CHECK, format!("{what}: {name} has one address")),
        Ok(Ok(count)) => Diagnosis::ok(CHECK, format!("{what}: {name} has {count} addresses")),
        Ok(Err(error)) => Diagnosis::error(CHECK, format!("{what}: {name} was not found: {error}"), advice),
        Err(_) => Diagnosis::error(CHECK, format!("{what}: {name} was not found within {PATIENCE:?}"), advice),
    }
}

/// The receivers of webhooks: resolved, connected to, with a TLS handshake and
/// without a request.
pub fn webhooks(config: &Config, hooks: Vec<Hook>) -> Vec<Diagnosis> {
    const CHECK: &str = "webhooks";
    let settings = crate::http::webhooks::settings(config);
    let timeout = settings.timeout.min(PATIENCE);
    let outbound = Outbound::new(settings.allow_networks, settings.authorities, timeout);
    if let Err(error) = outbound.ready() {
        return vec![Diagnosis::error(CHECK, error.to_string(), "correct webhooks.ca_file")];
    }
    if hooks.is_empty() {
        return vec![Diagnosis::ok(CHECK, "no webhook is switched on")];
    }
    let mut findings = Vec::new();
    for some in hooks.chunks(AT_ONCE) {
        let reached = std::thread::scope(|scope| {
            let tries: Vec<_> = some.iter().map(|hook| scope.spawn(|| outbound.reach(&hook.url))).collect();
            tries
                .into_iter()
                .map(|one| one.join().unwrap_or_else(|_| Err("the attempt broke".to_owned())))
                .collect::<Vec<_>>()
        });
        findings.extend(some.iter().zip(reached).map(|(hook, reached)| of_webhook(hook, reached)));
    }
    findings
}

/// The path of an address may be a secret, so the host alone is shown.
fn of_webhook(Hook { partner, id, url }: &Hook, reached: Result<(), String>) -> Diagnosis {
    const CHECK: &str = "webhooks";
    let host = url.split("://").nth(1).and_then(|rest| rest.split(['/', '?']).next()).unwrap_or_default();
    let name = format!("{id} of {partner}, {}", shown(host));
    match reached {
        Ok(()) => Diagnosis::ok(CHECK, format!("{name}: accepts connections")),
        Err(why) => Diagnosis::warning(
            CHECK,
            format!("{name}: {why}"),
            "contact the owner of the receiver; docs/webhooks.md explains the limits on addresses",
        ),
    }
}
