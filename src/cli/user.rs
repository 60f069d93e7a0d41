//! `rollcall user create | list | role | link | disable | enable`

use std::sync::Arc;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{CliError, Global, Outcome, operator, output, parse_name};
use crate::domain::{self, PartnerId, PartnerKey, Role};
use crate::service::Service;
use crate::service::people::{NewUser, People, SignInSettings, UserActor, UserEdit};
use crate::store::{self, Open};

#[derive(Subcommand)]
pub enum UserCommand {
    /// Create a user, and print the link with which they set a password
    Create {
        /// The email address that they sign in with
        #[arg(long, value_name = "ADDRESS")]
        email: String,
        /// Their name; by default the part of the address before the @
        #[arg(long, value_parser = parse_name)]
        name: Option<Arc<str>>,
        /// An administrator of the platform: all partners
        #[arg(long, conflicts_with_all = ["partner", "role"])]
        platform_admin: bool,
        /// The partner they belong to
        #[arg(long, value_name = "PA_X", requires = "role")]
        partner: Option<PartnerId>,
        /// Their role: owner, manager or viewer
        #[arg(long, value_parser = parse_role, requires = "partner")]
        role: Option<Role>,
        /// The time zone in which they see times
        #[arg(long, value_name = "ZONE", default_value = "UTC")]
        zone: String,
    },
    /// List the users
    List {
        /// Only the users of this partner
        #[arg(long, value_name = "PA_X")]
        partner: Option<PartnerId>,
    },
    /// Change the role of a user, and end their sessions
    Role {
        #[command(flatten)]
        who: Who,
        /// owner, manager or viewer
        #[arg(value_parser = parse_role)]
        role: Role,
    },
    /// Print a new link to set a password; using it ends the old password and all sessions
    Link {
        #[command(flatten)]
        who: Who,
        /// Remove the second factor as well, if the user has lost it
        #[arg(long)]
        without_second_factor: bool,
    },
    /// Disable a user, and end their sessions
    Disable(Who),
    /// Enable a user again
    Enable(Who),
}

/// Somebody, by address or id.
#[derive(clap::Args)]
pub struct Who {
    /// The email address, or the id that `user list --json` shows
    #[arg(value_name = "ADDRESS")]
    who: String,
}

impl Who {
    fn find(&self, people: &People) -> Result<domain::User, CliError> {
        let email = domain::user::email(&self.who);
        let same = |user: &domain::User| user.id.as_str() == self.who || Some(&user.email) == email.as_ref();
        let found = people.everybody(None)?.into_iter().find(same);
        found.ok_or_else(|| CliError::Other(format!("there is no user {}", self.who)))
    }
}

fn parse_role(text: &str) -> Result<Role, String> {
    let role = Role::parse(text.trim()).filter(|role| *role != Role::Administrator);
    role.ok_or_else(|| "must be owner, manager or viewer".to_owned())
}

impl UserCommand {
    pub fn run(self, global: &Global) -> Result<Outcome, CliError> {
        let settings = global.settings()?;
        // The first administrator may be the first thing there is.
        let open = match &self {
            UserCommand::Create { platform_admin: true, .. } => Open::Create,
            _ => Open::Existing,
        };
        let store = store::open(&settings.location(), open)?;
        let service = Service::new(store.clone(), operator::actor(&settings.location()));
        let by = UserActor::Command(service.actor());
        let people = People::new(store, SignInSettings::default());
        let base = || -> Result<String, CliError> {
            Ok(settings.console.base(settings.http.listen, settings.http.tls()?.is_some()))
        };
        match self {
            UserCommand::Create { email, name, platform_admin, partner, role, zone } => {
                if !platform_admin && partner.is_none() {
                    let message = "say what they shall be: --platform-admin, or --partner PA_X --role owner";
                    return Err(CliError::Usage(message.to_owned()));
                }
                let key = partner.as_ref().map(|partner| service.partner_key(partner)).transpose()?;
                let new = NewUser {
                    email,
                    name: name.map(|name| name.to_string()),
                    role: role.unwrap_or(Role::Administrator),
                    partner: key,
                    zone: Some(zone),
                };
                let (user, path) = people.user_create(by, new)?;
                let link = link(&base()?, &path);
                if global.json {
                    let mut shown = shown(&user, partner.as_ref());
                    shown["link"] = link.into();
                    output::json(&shown)?;
                } else {
                    output::line(&format!("created {} {} ({})", user.role, user.email, user.id))?;
                    tell(&link)?;
                }
            }
            UserCommand::List { partner } => {
                let only = partner.as_ref().map(|partner| service.partner_key(partner)).transpose()?;
                let partners = service.partners_listed()?;
                let name = |key: PartnerKey| {
                    let found = partners.iter().find(|(of, _, _)| *of == key);
                    found.map(|(_, _, partner)| partner.auth_id.clone())
                };
                let users = people.everybody(only)?;
                if global.json {
                    let one = |user: &domain::User| shown(user, user.partner.and_then(name).as_ref());
                    let list: Vec<Value> = users.iter().map(one).collect();
                    output::json(&json!({ "data": list }))?;
                } else if users.is_empty() {
                    output::note("nobody can sign in; create a user with `rollcall user create`");
                } else {
                    let row = |user: &domain::User| {
                        let status = match (user.disabled_at, user.password_set) {
                            (Some(at), _) => format!("disabled {at}"),
                            (None, false) => "no password yet".to_owned(),
                            (None, true) => "active".to_owned(),
                        };
                        vec![
                            user.email.to_string(),
                            user.name.to_string(),
                            user.role.to_string(),
                            user.partner.and_then(name).map_or("all".to_owned(), |partner| partner.to_string()),
                            status,
                            if user.two_factor { "yes" } else { "no" }.to_owned(),
                            user.last_signed_in_at.map_or("never".to_owned(), |at| at.to_string()),
                        ]
                    };
                    let rows: Vec<_> = users.iter().map(row).collect();
                    let headings = ["E-MAIL", "NAME", "ROLE", "PARTNER", "STATUS", "SECOND FACTOR", "LAST SIGNED IN"];
                    output::table(&headings, &rows)?;
                }
            }
            UserCommand::Role { who, role } => {
                let edit = UserEdit { role: Some(role), ..UserEdit::default() };
                let user = people.user_edit(by, &who.find(&people)?.id, edit)?;
                report(global, &service, &user, &format!("{} is now {}", user.email, user.role))?;
            }
            UserCommand::Disable(who) => disable(global, &service, &people, &who, true)?,
            UserCommand::Enable(who) => disable(global, &service, &people, &who, false)?,
            UserCommand::Link { who, without_second_factor } => {
                let user = who.find(&people)?;
                if without_second_factor {
                    people.user_totp_remove(by, &user.id)?;
                }
                let link = link(&base()?, &people.user_link(by, &user.id)?);
                if global.json {
                    output::json(&json!({ "id": user.id, "email": user.email, "link": link }))?;
                } else {
                    tell(&link)?;
                }
            }
        }
        Ok(Outcome::Done)
    }
}

fn disable(global: &Global, service: &Service, people: &People, who: &Who, disabled: bool) -> Result<(), CliError> {
    let edit = UserEdit { disabled: Some(disabled), ..UserEdit::default() };
    let user = people.user_edit(UserActor::Command(service.actor()), &who.find(people)?.id, edit)?;
    let done = if disabled { "disabled" } else { "enabled" };
    report(global, service, &user, &format!("{done} {}", user.email))
}

/// A link into the console, to be opened in a browser.
pub fn link(base: &str, path: &str) -> String {
    if base.ends_with(":0") {
        output::note(
            "http.listen has port 0, so the link cannot have the server's port: put it in the place of the 0, or set \
             console.url",
        );
    }
    format!("{base}{path}")
}

fn tell(link: &str) -> Result<(), CliError> {
    output::line(link)?;
    output::note("the link is valid once, within 24 hours; anyone who has it can set the password");
    Ok(())
}

fn shown(user: &domain::User, partner: Option<&PartnerId>) -> Value {
    json!({
        "id": user.id,
        "email": user.email,
        "name": user.name,
        "role": user.role.as_str(),
        "partner": partner,
        "zone": user.zone,
        "created_at": user.created_at,
        "disabled_at": user.disabled_at,
        "two_factor": user.two_factor,
        "password_set": user.password_set,
        "last_signed_in_at": user.last_signed_in_at,
    })
}

fn report(global: &Global, service: &Service, user: &domain::User, done: &str) -> Result<(), CliError> {
    if !global.json {
        return output::line(done);
    }
    let partners = service.partners_listed()?;
    let partner = partners.iter().find(|(key, _, _)| Some(*key) == user.partner);
    output::json(&shown(user, partner.map(|(_, _, partner)| &partner.auth_id)))
}
