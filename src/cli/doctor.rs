//! `rollcall doctor`: looks at the settings and the surroundings of a server, and
//! names what to do.
//!
//! Invariants: it writes nothing, sends no email and no event, and starts beside
//! a running server; each line is one check with its result; a check that cannot
//! finish in time is a line as well. Exit codes: 0 if there is no error (warnings
//! count as none), 1 if there is one, 78 if the settings cannot be used.
//! Deliberately absent: the comparison of rows, log and digests, which takes as
//! long as the data are large (`rollcall verify`).

mod database;
mod machine;
mod network;

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::serve::log_filter;
use super::{CliError, Global, Outcome, output};
use crate::config::Config;
use crate::http::server::Certificate;
use crate::mail::Mailer;

/// How long a look-up, a connection or a handshake may take.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub struct Doctor {}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warning,
    Error,
}

/// The result of one check.
#[derive(Clone, Debug, Serialize)]
struct Diagnosis {
    check: &'static str,
    status: Level,
    text: String,
    /// What to do; none where all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Diagnosis {
    fn ok(check: &'static str, text: impl Into<String>) -> Diagnosis {
        Diagnosis { check, status: Level::Ok, text: text.into(), advice: None }
    }

    fn warning(check: &'static str, text: impl Into<String>, advice: impl Into<String>) -> Diagnosis {
        Diagnosis { check, status: Level::Warning, text: text.into(), advice: Some(advice.into()) }
    }

    fn error(check: &'static str, text: impl Into<String>, advice: impl Into<String>) -> Diagnosis {
        Diagnosis { check, status: Level::Error, text: text.into(), advice: Some(advice.into()) }
    }
}

impl Doctor {
    pub fn run(self, global: &Global) -> Result<Outcome, CliError> {
        let config = match global.settings() {
            Ok(config) => config,
            Err(error) => {
                let advice = "correct the file; `rollcall config defaults` explains every setting";
                let finding = Diagnosis::error("settings", output::reasons(&error), advice);
                report(global, &[finding])?;
                return Ok(Outcome::Settings);
            }
        };
        let mut findings = settings(global, &config);
        findings.extend(machine::check(&config));
        findings.extend(certificates(&config));
        let (found, webhooks) = database::check(&config);
        findings.extend(found);
        findings.extend(network::names(&config));
        findings.push(mail(&config));
        findings.extend(network::webhooks(&config, webhooks));
        report(global, &findings)?;
        let worst = findings.iter().map(|finding| finding.status).max();
        Ok(if worst == Some(Level::Error) { Outcome::Failed } else { Outcome::Done })
    }
}

fn report(global: &Global, findings: &[Diagnosis]) -> Result<(), CliError> {
    let worst = findings.iter().map(|finding| finding.status).max().unwrap_or(Level::Ok);
    if global.json {
        return output::json(&serde_json::json!({ "status": worst, "checks": findings }));
    }
    for Diagnosis { check, status, text, advice } in findings {
        let word = match status {
            Level::Ok => "OK",
            Level::Warning => "WARNING",
            Level::Error => "ERROR",
        };
        output::line(&format!("{word:<8} {check:<12} {text}"))?;
        if let Some(advice) = advice {
            output::line(&format!("{:<21} → {advice}", ""))?;
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.status == level).count();
    output::line(&format!("{} errors, {} warnings", count(Level::Error), count(Level::Warning)))
}

fn settings(global: &Global, config: &Config) -> Vec<Diagnosis> {
    const CHECK: &str = "settings";
    let mut findings = vec![match &global.config {
        Some(path) => Diagnosis::ok(CHECK, format!("{} is well formed", path.display())),
        None => Diagnosis::ok(CHECK, "there is no settings file (--config); the defaults hold"),
    }];
    if let Err(error) = log_filter(config) {
        let advice = "correct or unset it; `rollcall serve` does not start with it";
        findings.push(Diagnosis::error(CHECK, error.to_string(), advice));
    }
    let http = &config.http;
    if http.tls_cert.as_os_str().is_empty() && !http.listen.ip().is_loopback() && http.trusted_proxies.is_empty() {
        findings.push(Diagnosis::warning(
            CHECK,
            format!("http.listen is {}, without TLS and without a trusted proxy", http.listen),
            "set http.tls_cert and http.tls_key, or name the proxy in http.trusted_proxies",
        ));
    }
    let through_proxy = !http.trusted_proxies.is_empty();
    if through_proxy && config.console.url.as_str().is_empty() {
        let advice = "set console.url to the address that browsers use, so that links in emails lead there";
        findings.push(Diagnosis::warning(CHECK, "console.url is empty behind a proxy", advice));
    }
    if http.private_listen.0.is_none() && !http.listen.ip().is_loopback() {
        let advice = "set http.private_listen, or close /metrics and /readyz in the proxy";
        findings.push(Diagnosis::warning(CHECK, format!("/metrics is public at {}", http.listen), advice));
    }
    let secrets = [
        ("http.tls_key", &http.tls_key),
        ("mail.password_file", &config.mail.password_file),
        ("postgres.password_file", &config.postgres.password_file),
    ];
    findings.extend(secrets.into_iter().filter_map(|(name, path)| machine::readable_by_others(name, path)));
    findings
}

/// Certificates and files of authorities.
fn certificates(config: &Config) -> Vec<Diagnosis> {
    const CHECK: &str = "certificates";
    let http = &config.http;
    let mut findings = Vec::new();
    match http.tls() {
        Err(error) => findings.push(Diagnosis::error(CHECK, error.to_string(), "set both, or neither")),
        Ok(None) => findings.push(Diagnosis::ok(CHECK, "this server speaks plain HTTP; there is no certificate")),
        Ok(Some((cert, key))) => match Certificate::load(cert, key) {
            Err(error) => {
                findings.push(Diagnosis::error(
                    CHECK,
                    output::reasons(&error),
                    "correct http.tls_cert and http.tls_key",
                ));
            }
            Ok(_) => findings.push(expiry("http.tls_cert", cert)),
        },
    }
    for (name, path) in [("mail.ca_file", &config.mail.ca_file), ("webhooks.ca_file", &config.webhooks.ca_file)] {
        if !path.as_os_str().is_empty() {
            findings.push(expiry(name, path));
        }
    }
    findings
}

/// The first end of a certificate in a file.
fn expiry(name: &str, path: &Path) -> Diagnosis {
    const CHECK: &str = "certificates";
    let shown = path.display();
    let ends = match machine::certificate_ends(path) {
        Ok(ends) => ends,
        Err(why) => {
            return Diagnosis::error(
                CHECK,
                format!("{name}: cannot read {shown}: {why}"),
                "name a PEM file of certificates",
            );
        }
    };
    let now = crate::domain::Time::now();
    let days = (ends.seconds() - now.seconds()) / 86_400;
    match days {
        _ if ends <= now => Diagnosis::error(
            CHECK,
            format!("{name}: {shown} expired at {ends}"),
            "renew it, then send SIGHUP to the server",
        ),
        0..14 => Diagnosis::warning(
            CHECK,
            format!("{name}: {shown} expires at {ends}, in {days} days"),
            "renew it, then send SIGHUP to the server",
        ),
        _ => Diagnosis::ok(CHECK, format!("{name}: {shown} expires at {ends}, in {days} days")),
    }
}

/// Whether the mail server takes a connection and the login; no email is sent.
fn mail(config: &Config) -> Diagnosis {
    const CHECK: &str = "mail";
    let Some(settings) = config.mail.settings() else {
        return Diagnosis::ok(CHECK, "no mail server is set (mail.host), so no emails are sent");
    };
    let place = format!("{}:{}", settings.host, settings.port);
    let timeout = settings.timeout.min(PATIENCE);
    let mailer = match Mailer::open(&crate::mail::MailSettings { timeout, ..settings }) {
        Ok(mailer) => mailer,
        Err(error) => return Diagnosis::error(CHECK, output::reasons(&error), "correct [mail] in the settings"),
    };
    match mailer.probe() {
        Ok(steps) => Diagnosis::ok(CHECK, format!("{place}: {}", steps.join("; "))),
        Err(failure) => Diagnosis::error(
            CHECK,
            failure.to_string(),
            "check mail.host, mail.port, mail.tls and the login; `rollcall mail test --to ADDRESS` sends an email",
        ),
    }
}
