//! `rollcall mail test`

use clap::Subcommand;
use serde_json::json;

use super::{CliError, Global, Outcome, output};
use crate::mail::{Email, MailFailure, Mailer, address};
use crate::service::token;

#[derive(Subcommand)]
pub enum Mail {
    /// Send a test email with the settings, and report each step
    Test {
        /// The recipient
        #[arg(long, value_name = "ADDRESS")]
        to: String,
    },
}

/// What sends letters, if the settings name a mail server.
pub fn open(global: &Global) -> Result<Option<Mailer>, CliError> {
    let settings = global.settings()?.mail.settings();
    settings.map(|settings| Mailer::open(&settings)).transpose().map_err(CliError::Mail)
}

impl Mail {
    pub fn run(self, global: &Global) -> Result<Outcome, CliError> {
        let Mail::Test { to } = self;
        let to = address(&to).map_err(|message| CliError::Usage(format!("--to {message}")))?;
        let Some(mailer) = open(global)? else {
            let message =
                "no mail server is set up: name one as mail.host in the settings, and the settings with --config";
            return Err(CliError::Other(message.to_owned()));
        };
        let mut steps = Vec::new();
        let letter = Email {
            to,
            subject: "Rollcall: a test",
            text: "This is a test. Rollcall can send you emails.\n",
            html: None,
            csv: None,
            id: &format!("test.{}", token::holder()),
        };
        let result = mailer.send(&letter, &mut |step| {
            if !global.json {
                output::note(step);
            }
            steps.push(step.to_owned());
        });
        let hint = match &result {
            Ok(()) => None,
            Err(MailFailure::Server { .. }) => Some("nothing was sent; see [mail] in the settings"),
            Err(MailFailure::Later(_)) => Some("the server would take it later; alerts are tried again for a day"),
            Err(MailFailure::Never(_)) => {
                Some("the server works and refuses this email for good; check the address and mail.from")
            }
        };
        if global.json {
            let error = result.as_ref().err().map(ToString::to_string);
            output::json(&json!({ "to": to, "sent": result.is_ok(), "steps": steps, "error": error, "hint": hint }))?;
            return Ok(if result.is_ok() { Outcome::Done } else { Outcome::Failed });
        }
        match (result, hint) {
            (Ok(()), _) => output::line(&format!("sent an email to {to}"))?,
            (Err(failure), hint) => {
                output::note(&format!("error: {failure}"));
                output::note(hint.unwrap_or_default());
                return Ok(Outcome::Failed);
            }
        }
        Ok(Outcome::Done)
    }
}
