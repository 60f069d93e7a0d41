//! Emails, sent through one SMTP server.
//!
//! An email has one recipient, so recipients do not see each other, and a refusal
//! concerns one of them. Temporary refusals, which are retried, are distinguished
//! from permanent ones.
//!
//! Invariants: if TLS is configured, only the greeting is sent unencrypted, and a
//! server that offers no TLS, or whose certificate is not trusted, gets neither
//! email nor password; unencrypted connections go to this machine only; every wait
//! for the server has a timeout; headers cannot be changed or extended by the names
//! in them.
//! Deliberately absent: recipients and times (`service::background::schedules`), queues, and
//! connections that are kept open.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox, Message, MultiPart};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate, SmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::Noop;
use lettre::transport::smtp::extension::ClientId;

/// The longest address, in bytes (RFC 5321's path, without its brackets).
const ADDRESS_BYTES_MAX: usize = 254;
/// How much of what a server says is kept, in characters.
const ANSWER_CHARS_MAX: usize = 300;

/// How the connection is protected.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailTls {
    /// The connection begins open and is encrypted before anything is said.
    StartTls,
    /// It is encrypted from its first byte.
    Tls,
    /// Not at all: for a mail server on this machine.
    None,
}

/// Where letters go, as the settings say it.
#[derive(Clone, Debug)]
pub struct MailSettings {
    pub host: String,
    pub port: u16,
    pub tls: MailTls,
    /// Nobody signs in if it is empty.
    pub user: String,
    pub password_file: PathBuf,
    pub from: String,
    /// Certificates that are trusted beside the usual ones; none if it is empty.
    pub ca_file: PathBuf,
    /// For each wait.
    pub timeout: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum MailError {
    #[error("mail.from {text:?} is not a sender such as \"Rollcall <rollcall@example.net>\"")]
    From { text: String },
    #[error(
        "mail.tls = \"none\" sends letters and passwords readable; it is for a mail server on this machine, and {host} \
         is another"
    )]
    Open { host: String },
    #[error("mail.user is set, so mail.password_file must name a file with the password")]
    NoPassword,
    #[error("cannot read {what} {}", path.display())]
    File {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} has no certificates in PEM", path.display())]
    Certificates { path: PathBuf },
    #[error("mail.host {host:?} cannot be used")]
    Host {
        host: String,
        #[source]
        source: lettre::transport::smtp::Error,
    },
}

/// A letter to one recipient.
#[derive(Clone, Debug)]
pub struct Email<'a> {
    pub to: &'a str,
    pub subject: &'a str,
    pub text: &'a str,
    pub html: Option<&'a str>,
    /// A table, by the name of its file.
    pub csv: Option<(&'a str, &'a str)>,
    /// What names it for good, without brackets and place: tried again, it is
    /// the same letter.
    pub id: &'a str,
}

/// Why a letter was not taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MailFailure {
    /// The server could not be used at all. `what` may be shown to a tenant; `why`
    /// is for the operator, since it names machines of this network.
    Server { what: &'static str, why: String },
    /// Not this letter, not now.
    Later(String),
    /// Not this letter, ever.
    Never(String),
}

impl fmt::Display for MailFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MailFailure::Server { what, why } => write!(f, "{what}: {why}"),
            MailFailure::Later(why) => write!(f, "not taken now: {why}"),
            MailFailure::Never(why) => write!(f, "refused: {why}"),
        }
    }
}

/// An address that a letter can go to, as it was written but for spaces around.
pub fn address(text: &str) -> Result<&str, &'static str> {
    let text = text.trim();
    let odd = |c: char| c.is_control() || c.is_whitespace() || "<>,;\"\\()".contains(c);
    if text.len() > ADDRESS_BYTES_MAX || text.contains(odd) || text.parse::<lettre::Address>().is_err() {
        return Err("must be an e-mail address such as desk@example.net");
    }
    Ok(text)
}

/// What writes letters, with all that it needs at hand.
pub struct Mailer {
    host: String,
    port: u16,
    tls: MailTls,
    parameters: TlsParameters,
    credentials: Option<(String, Credentials)>,
    from: Mailbox,
    timeout: Duration,
}

/// Shows where it goes, and no secret.
impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailer({}:{})", self.host, self.port)
    }
}

impl Mailer {
    /// Reads what the settings name, so that what is wrong is told at a start.
    pub fn open(settings: &MailSettings) -> Result<Mailer, MailError> {
        let MailSettings { host, port, tls, user, password_file, from, ca_file, timeout } = settings;
        let sender: Mailbox = from.parse().map_err(|_| MailError::From { text: from.clone() })?;
        if *tls == MailTls::None && !here(host) {
            return Err(MailError::Open { host: host.clone() });
        }
        let credentials = match (user.as_str(), password_file.as_os_str().is_empty()) {
            ("", _) => None,
            (_, true) => return Err(MailError::NoPassword),
            (user, false) => {
                let password = text_of("the password in", password_file)?;
                let password = password.trim_end_matches(['\r', '\n']).to_owned();
                Some((user.to_owned(), Credentials::new(user.to_owned(), password)))
            }
        };
        let mut parameters = TlsParameters::builder(host.clone());
        if !ca_file.as_os_str().is_empty() {
            let pem = text_of("the certificates in", ca_file)?;
            let certificates = Certificate::from_pem(pem.as_bytes());
            let usable = certificates.ok().filter(|_| pem.contains("-----BEGIN CERTIFICATE-----"));
            let usable = usable.ok_or_else(|| MailError::Certificates { path: ca_file.clone() })?;
            parameters = parameters.add_root_certificate(usable);
        }
        let parameters = parameters.build().map_err(|source| MailError::Host { host: host.clone(), source })?;
        let (host, port, tls, timeout) = (host.clone(), *port, *tls, *timeout);
        Ok(Mailer { host, port, tls, parameters, credentials, from: sender, timeout })
    }

    /// Hands a letter over. `told` hears how it goes, step by step.
    pub fn send(&self, letter: &Email<'_>, told: &mut dyn FnMut(&str)) -> Result<(), MailFailure> {
        let message = self.message(letter).map_err(MailFailure::Never)?;
        let mut connection = self.connect(told)?;
        let taken = connection.send(message.envelope(), &message.formatted());
        let answer = match taken {
            Ok(response) => said(&response.message().collect::<Vec<_>>().join(" ")),
            Err(error) => {
                connection.abort();
                let why = said(&error.to_string());
                return Err(match (error.is_permanent(), error.is_transient(), error.is_client()) {
                    (true, ..) | (.., true) => MailFailure::Never(why),
                    (_, true, _) => MailFailure::Later(why),
                    (false, false, false) => MailFailure::Server { what: "the mail server broke off", why },
                });
            }
        };
        told(&format!("it accepted the email: {answer}"));
        // It has the letter; how it says goodbye changes nothing.
        let _ = connection.quit();
        Ok(())
    }

    /// Connects and signs in as for an email, and sends none. Returns the steps.
    pub fn probe(&self) -> Result<Vec<String>, MailFailure> {
        let mut steps = Vec::new();
        let mut connection = self.connect(&mut |step| steps.push(step.to_owned()))?;
        let _ = connection.quit();
        Ok(steps)
    }

    /// A line to the server that is fit to carry a letter.
    fn connect(&self, told: &mut dyn FnMut(&str)) -> Result<SmtpConnection, MailFailure> {
        let hello = ClientId::Domain(self.from.email.domain().to_owned());
        let hello = if hello.to_string().starts_with('[') { ClientId::default() } else { hello };
        let wrapped = (self.tls == MailTls::Tls).then_some(&self.parameters);
        let server = (self.host.as_str(), self.port);
        let place = format!("{}:{}", self.host, self.port);
        let unusable = |error: lettre::transport::smtp::Error| {
            let why = said(&error.to_string());
            let what = match () {
                () if why.contains("certificate") => "the mail server's certificate is not trusted",
                () if error.is_transient() || error.is_permanent() => "the mail server does not serve us",
                () => "the mail server cannot be reached",
            };
            MailFailure::Server { what, why: format!("{place}: {why}") }
        };
        let mut connection =
            SmtpConnection::connect(server, Some(self.timeout), &hello, wrapped, None).map_err(unusable)?;
        told(&format!("connected to {place}"));
        if self.tls == MailTls::StartTls {
            if !connection.can_starttls() {
                connection.abort();
                let what = "the mail server offers no STARTTLS, so nothing was sent to it";
                return Err(MailFailure::Server {
                    what,
                    why: format!("{place} did not name it in its answer to EHLO"),
                });
            }
            connection.starttls(&self.parameters, &hello).map_err(unusable)?;
            if !self.in_step(&mut connection) {
                connection.abort();
                let what = "something was put between us and the mail server, so nothing was sent to it";
                return Err(MailFailure::Server {
                    what,
                    why: format!("{place}: answers came before they were asked for"),
                });
            }
        }
        match self.tls {
            MailTls::StartTls | MailTls::Tls => told("the connection is encrypted, and the certificate is trusted"),
            MailTls::None => told("the connection is not encrypted"),
        }
        if let Some((user, credentials)) = &self.credentials {
            if let Err(error) = connection.auth(&[Mechanism::Plain, Mechanism::Login], credentials) {
                connection.abort();
                let why = format!("{place}: {}", said(&error.to_string()));
                return Err(MailFailure::Server { what: "the mail server did not let us sign in", why });
            }
            told(&format!("signed in as {user}"));
        }
        Ok(connection)
    }

    /// Whether what the server answers is what it was asked. Somebody on the way
    /// can put answers behind its "go ahead", still open; they wait in memory
    /// and would be read as those of the encrypted line, so that a letter that
    /// was refused looks taken.
    fn in_step(&self, connection: &mut SmtpConnection) -> bool {
        // What was put there is there at once; nobody else has anything to say.
        let waited = connection.set_timeout(Some(Duration::from_millis(1)));
        let early = connection.read_response();
        let silent = early.is_err_and(|error| error.status().is_none() && !error.is_response());
        if waited.and_then(|()| connection.set_timeout(Some(self.timeout))).is_err() || !silent {
            return false;
        }
        // One answer put there was read as the one to EHLO, whose own, of many
        // lines, then comes to this.
        connection.command(Noop).map_or(true, |response| response.message().count() < 2)
    }

    /// The letter as it goes over the line.
    fn message(&self, letter: &Email<'_>) -> Result<Message, String> {
        let Email { to, subject, text, html, csv, id } = letter;
        let to: lettre::Address = to.parse().map_err(|_| "it is no address".to_owned())?;
        let raw =
            |name: &'static str, value: &str| HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned());
        let builder = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(one_line(subject))
            .date(SystemTime::now())
            .message_id(Some(format!("<{id}@{}>", self.from.email.domain())))
            .raw_header(raw("Auto-Submitted", "auto-generated"))
            .raw_header(raw("X-Auto-Response-Suppress", "All"));
        let text = (*text).to_owned();
        let body = match html {
            Some(html) => MultiPart::alternative_plain_html(text, (*html).to_owned()),
            None => MultiPart::alternative().singlepart(lettre::message::SinglePart::plain(text)),
        };
        let body = match csv {
            Some((name, csv)) => {
                let kind = ContentType::parse("text/csv; charset=utf-8").map_err(|error| error.to_string())?;
                let table = Attachment::new((*name).to_owned()).body((*csv).to_owned(), kind);
                MultiPart::mixed().multipart(body).singlepart(table)
            }
            None => body,
        };
        builder.multipart(body).map_err(|error| error.to_string())
    }
}

/// Whether a host is this machine, as far as its name says.
fn here(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

fn text_of(what: &'static str, path: &Path) -> Result<String, MailError> {
    std::fs::read_to_string(path).map_err(|source| MailError::File { what, path: path.to_owned(), source })
}

/// What a server said, fit to be shown: on one line, and not for ever.
fn said(text: &str) -> String {
    one_line(text).chars().take(ANSWER_CHARS_MAX).collect()
}

/// Text without what would end a line or turn it around.
pub fn one_line(text: &str) -> String {
    let odd = |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if odd(c) { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> MailSettings {
        MailSettings {
            host: "mail.example.net".to_owned(),
            port: 587,
            tls: MailTls::StartTls,
            user: String::new(),
            password_file: PathBuf::new(),
            from: "Rollcall <rollcall@example.net>".to_owned(),
            ca_file: PathBuf::new(),
            timeout: Duration::from_secs(5),
        }
    }

    #[track_caller]
    fn check_refused(settings: MailSettings, part: &str) {
        let error = Mailer::open(&settings).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }

    #[test]
    fn what_cannot_work_is_told_at_the_start() {
        assert!(Mailer::open(&settings()).is_ok());
        check_refused(MailSettings { from: "nobody".to_owned(), ..settings() }, "mail.from");
        check_refused(MailSettings { tls: MailTls::None, ..settings() }, "on this machine");
        for host in ["localhost", "127.0.0.1", "::1"] {
            assert!(Mailer::open(&MailSettings { tls: MailTls::None, host: host.to_owned(), ..settings() }).is_ok());
        }
        check_refused(MailSettings { user: "u".to_owned(), ..settings() }, "password_file");
        check_refused(
            MailSettings { user: "u".to_owned(), password_file: "/nowhere/password".into(), ..settings() },
            "/nowhere/password",
        );
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "not a certificate").expect("written");
        check_refused(MailSettings { ca_file: file.path().to_owned(), ..settings() }, "certificates");
    }

    #[test]
    fn the_password_is_shown_nowhere() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "hunter2\n").expect("written");
        let settings = MailSettings { user: "u".to_owned(), password_file: file.path().to_owned(), ..settings() };
        let mailer = Mailer::open(&settings).expect("usable");
        assert!(!format!("{mailer:?} {settings:?}").contains("hunter2"));
    }

    #[test]
    fn addresses() {
        for good in ["desk@example.net", " desk@example.net ", "d.e-s+k@sub.example.co", "büro@example.net"] {
            assert_eq!(address(good), Ok(good.trim()));
        }
        let long = format!("{}@example.net", "a".repeat(250));
        for bad in [
            "",
            "desk",
            "@example.net",
            "desk@",
            "a b@example.net",
            "a@example.net\r\nBcc: b@example.net",
            "<a@b.net>",
            "a@b.net, c@d.net",
            "\"a b\"@example.net",
            &long,
        ] {
            assert!(address(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn no_name_makes_a_header() {
        let mailer = Mailer::open(&settings()).expect("usable");
        let subject = "x\r\nBcc: victim@example.net\r\n\r\nBody\u{202e}";
        let letter = Email {
            to: "desk@example.net",
            subject,
            text: "text",
            html: Some("<p>"),
            csv: Some(("f.csv", "a,b\r\n")),
            id: "i",
        };
        let message = mailer.message(&letter).expect("a letter");
        let text = String::from_utf8(message.formatted()).expect("text");
        let (head, _) = text.split_once("\r\n\r\n").expect("a head");
        assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{head}");
        assert!(head.contains("Message-ID: <i@example.net>") && head.contains("Auto-Submitted: auto-generated"));
        assert_eq!(message.envelope().to().len(), 1);
    }
}
