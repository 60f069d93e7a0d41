//! The steps from the stored entities to those of the file: compares, and calls the
//! verbs.
//!
//! Invariants: a step whose result is there already is skipped; a token is in its
//! file before its key is in the database, so no key has a lost token; files of
//! secrets are readable by their owner alone and are never overwritten.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::file::{self, ApplyFile};
use super::{ApplyChange, FieldDifference, StepKind};
use crate::cli::{CliError, output, refusal};
use crate::domain::setting::{ReportPolicy, Webhook};
use crate::domain::{
    self, ApplicationId, Destinations, Dialect, PartnerId, PartnerKey, Role, RouteEntity, RouteKind, Scope, Setting,
    Time, TrunkId,
};
use crate::inventory::Snapshot;
use crate::service::background::schedules::SchedulePatch;
use crate::service::background::webhooks::{NewWebhook, WebhookChanges};
use crate::service::people::{NewUser, People, UserActor, UserEdit};
use crate::service::verbs::entities::{CallTarget, EntityPatch};
use crate::service::verbs::numbers::Expected;
use crate::service::{NewKey, Service, ServiceError, Token, VerbOutcome, WriteOutcome};
use crate::store::StoreError;

/// What becomes of files with secrets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SecretFiles {
    /// Read and checked, and none is written.
    Checked,
    Written,
}

pub struct Steps {
    service: Service,
    people: People,
    /// Where browsers find the console.
    base: String,
    secrets: SecretFiles,
    pub changes: Vec<ApplyChange>,
}

/// The fields that differ.
#[derive(Default)]
struct FieldDifferences(Vec<FieldDifference>);

impl FieldDifferences {
    /// Compares one field; a file that does not say it keeps it.
    fn compare(&mut self, field: &'static str, before: Value, after: Option<Value>) {
        if let Some(after) = after.filter(|after| *after != before) {
            self.0.push(FieldDifference { field, before, after });
        }
    }

    /// The same of something new.
    fn set(&mut self, field: &'static str, after: Option<Value>) {
        self.compare(field, Value::Null, after);
    }
}

fn refused(text: String) -> CliError {
    CliError::Other(text)
}

/// The name of something new, which its entry must have.
fn new_name(name: Option<&Arc<str>>, what: impl FnOnce() -> String) -> Result<&Arc<str>, CliError> {
    name.ok_or_else(|| refused(format!("{} does not exist yet, so its entry needs a name", what())))
}

impl Steps {
    pub fn new(service: Service, people: People, base: String, secrets: SecretFiles) -> Steps {
        Steps { service, people, base, secrets, changes: Vec::new() }
    }

    /// Takes all steps; returns the changes.
    pub fn all(&mut self, file: &ApplyFile) -> Result<Vec<ApplyChange>, CliError> {
        for partner in &file.partners {
            self.partner(partner)?;
        }
        for user in &file.administrators {
            if user.role.is_some() {
                return Err(refused(format!("administrator {}: leave out the role", user.email)));
            }
            self.user(None, user)?;
        }
        Ok(self.changes.clone())
    }

    fn record(
        &mut self,
        action: StepKind,
        kind: &'static str,
        name: &str,
        partner: Option<&PartnerId>,
        fields: FieldDifferences,
    ) {
        let (name, partner) = (name.to_owned(), partner.map(ToString::to_string));
        self.changes.push(ApplyChange { action, kind, name, partner, fields: fields.0 });
    }

    fn partner(&mut self, wanted: &file::PartnerEntry) -> Result<(), CliError> {
        let id = &wanted.auth_id;
        match self.service.store().partner(id)? {
            None => {
                let name = new_name(wanted.name.as_ref(), || format!("partner {id}"))?;
                self.service.partner_create(id.clone(), name.clone())?;
                let mut fields = FieldDifferences::default();
                fields.set("name", Some(json!(name)));
                self.record(StepKind::Create, "partner", id.as_str(), None, fields);
            }
            Some(_) => {
                let name = self.service.snapshot(id, false)?.partner.name.clone();
                if wanted.name.as_ref().is_some_and(|wanted| *wanted != name) {
                    let text = format!("partner {id} is called {name:?}, and a partner cannot be renamed");
                    return Err(refused(format!("{text}; write name = {name:?}")));
                }
            }
        }
        let snapshot = self.service.snapshot(id, false)?;
        let suspended = snapshot.partner.suspended_at.is_some();
        let mut fields = FieldDifferences::default();
        fields.compare("suspended", json!(suspended), wanted.suspended.map(|wanted| json!(wanted)));
        if !fields.0.is_empty() {
            self.service.partner_suspend(id, !suspended)?;
            self.record(StepKind::Change, "partner", id.as_str(), None, fields);
        }
        let key = snapshot.key;
        for account in &wanted.accounts {
            self.account(id, &snapshot, account).map_err(|error| within("account", account.id.as_str(), id, error))?;
        }
        for application in &wanted.applications {
            self.application(id, &snapshot, application)
                .map_err(|error| within("application", application.id.as_str(), id, error))?;
        }
        for trunk in &wanted.trunks {
            self.trunk(id, &snapshot, trunk).map_err(|error| within("trunk", trunk.id.as_str(), id, error))?;
        }
        for one in &wanted.keys {
            self.key(id, &snapshot, one).map_err(|error| within("key", &one.name, id, error))?;
        }
        for webhook in &wanted.webhooks {
            self.webhook(id, &snapshot, webhook).map_err(|error| within("webhook", &webhook.name, id, error))?;
        }
        for schedule in &wanted.schedules {
            self.schedule(id, &snapshot, schedule).map_err(|error| within("schedule", &schedule.name, id, error))?;
        }
        for user in &wanted.users {
            self.user(Some((id, key)), user).map_err(|error| within("user", &user.email, id, error))?;
        }
        Ok(())
    }

    fn account(&mut self, of: &PartnerId, snapshot: &Snapshot, wanted: &file::AccountEntry) -> Result<(), CliError> {
        let (id, mut fields) = (&wanted.id, FieldDifferences::default());
        let action = match snapshot.accounts.get(id.as_str()) {
            None => {
                let name = new_name(wanted.name.as_ref(), || format!("account {id} of {of}"))?;
                fields.set("name", Some(json!(name)));
                self.service.account_new(snapshot.key, id, name)?;
                StepKind::Create
            }
            Some(before) => {
                fields.compare("name", json!(before.name), wanted.name.as_ref().map(|name| json!(name)));
                if fields.0.is_empty() {
                    return Ok(());
                }
                let changes = EntityPatch { name: wanted.name.clone(), ..EntityPatch::default() };
                self.service.account_edit(snapshot.key, id, &changes)?;
                StepKind::Change
            }
        };
        self.record(action, "account", id.as_str(), Some(of), fields);
        Ok(())
    }

    fn application(
        &mut self,
        of: &PartnerId,
        snapshot: &Snapshot,
        wanted: &file::RouteEntry<ApplicationId>,
    ) -> Result<(), CliError> {
        let before = snapshot.applications.get(wanted.id.as_str()).cloned().map(RouteEntity::from);
        self.route(of, snapshot.key, (RouteKind::Application, wanted), before)
    }

    fn trunk(
        &mut self,
        of: &PartnerId,
        snapshot: &Snapshot,
        wanted: &file::RouteEntry<TrunkId>,
    ) -> Result<(), CliError> {
        if wanted.answer_url.is_some() {
            return Err(refused(format!("trunk {} of {of}: only applications have an answer_url", wanted.id)));
        }
        let before = snapshot.trunks.get(wanted.id.as_str()).cloned().map(RouteEntity::from);
        self.route(of, snapshot.key, (RouteKind::Trunk, wanted), before)
    }

    fn route<I: std::fmt::Display>(
        &mut self,
        of: &PartnerId,
        key: PartnerKey,
        (kind, wanted): (RouteKind, &file::RouteEntry<I>),
        before: Option<RouteEntity>,
    ) -> Result<(), CliError> {
        let (id, mut fields) = (wanted.id.to_string(), FieldDifferences::default());
        let answer_url = wanted.answer_url.as_ref().map(|url| Some(url.clone()).filter(|url| !url.is_empty()));
        let mut changes = EntityPatch {
            name: wanted.name.clone(),
            archived: wanted.archived,
            destinations: wanted.destinations.clone(),
            answer_url,
        };
        let action = match before {
            None => {
                let name = new_name(wanted.name.as_ref(), || format!("{kind} {id} of {of}"))?;
                fields.set("name", Some(json!(name)));
                fields.set("account", wanted.account.as_ref().map(|account| json!(account)));
                fields.set("destinations", wanted.destinations.as_ref().map(listed));
                fields.set("answer_url", changes.answer_url.clone().flatten().map(|url| json!(url)));
                fields.set("archived", wanted.archived.filter(|archived| *archived).map(|archived| json!(archived)));
                let calls = CallTarget {
                    destinations: wanted.destinations.clone().unwrap_or_default(),
                    answer_url: changes.answer_url.clone().flatten(),
                };
                self.service.route_new(key, (kind, &id), name, wanted.account.as_ref(), &calls)?;
                if wanted.archived == Some(true) {
                    changes = EntityPatch { archived: Some(true), ..EntityPatch::default() };
                    self.service.route_edit(key, (kind, &id), &changes)?;
                }
                StepKind::Create
            }
            Some(before) => {
                if let Some(account) =
                    wanted.account.as_ref().filter(|&account| Some(account) != before.account.as_ref())
                {
                    let owner =
                        before.account.map_or("to the partner".to_owned(), |owner| format!("to account {owner}"));
                    let text = format!("{kind} {id} of {of} belongs {owner}, and cannot be given to account {account}");
                    return Err(refused(format!("{text}; create another {kind} for it")));
                }
                fields.compare("name", json!(before.name), wanted.name.as_ref().map(|name| json!(name)));
                fields.compare(
                    "archived",
                    json!(before.archived_at.is_some()),
                    wanted.archived.map(|archived| json!(archived)),
                );
                fields.compare("destinations", listed(&before.destinations), wanted.destinations.as_ref().map(listed));
                let url = |url: Option<&Arc<str>>| url.map_or(Value::Null, |url| json!(url));
                fields.compare(
                    "answer_url",
                    url(before.answer_url.as_ref()),
                    changes.answer_url.as_ref().map(|wanted| url(wanted.as_ref())),
                );
                if fields.0.is_empty() {
                    return Ok(());
                }
                self.service.route_edit(key, (kind, &id), &changes)?;
                StepKind::Change
            }
        };
        self.record(action, kind.as_str(), &id, Some(of), fields);
        Ok(())
    }

    fn key(&mut self, of: &PartnerId, snapshot: &Snapshot, wanted: &file::KeyEntry) -> Result<(), CliError> {
        let now = Time::now();
        let name = &wanted.name;
        let live: Vec<&domain::Key> = snapshot.keys.iter().filter(|key| key.name == *name && key.live(now)).collect();
        if live.len() > 1 {
            let text = format!("partner {of} has {} live keys named {name:?}", live.len());
            return Err(refused(format!("{text}; revoke all but one with `rollcall key revoke`")));
        }
        let held = wanted.token_file.as_deref().map(read_token).transpose()?.flatten();
        if wanted.absent {
            if let Some(key) = live.first() {
                self.service.key_revoke(of, &key.id)?;
                self.record(StepKind::Remove, "key", name, Some(of), FieldDifferences::default());
            }
            return Ok(());
        }
        let scopes = wanted.scopes.clone().unwrap_or_else(|| vec![Scope::Read]);
        let networks = wanted.networks.clone().unwrap_or_default();
        let dialect = wanted.dialect.unwrap_or(Dialect::Data);
        let Some(before) = live.first() else {
            if wanted.expires_at.is_some_and(|end| end <= now) {
                return Err(refused(format!("key {name:?} of {of}: expires_at must be in the future")));
            }
            let Some(path) = &wanted.token_file else {
                return Err(refused(format!("key {name:?} of {of}: name the file of its token in token_file")));
            };
            let token = match held {
                Some(token) if snapshot.keys.iter().any(|key| key.token_sha256 == token.sha256()) => {
                    return Err(taken(of, name, path));
                }
                Some(token) => token,
                None => {
                    let token = Token::generate();
                    self.secret(path, token.reveal())?;
                    token
                }
            };
            let mut fields = FieldDifferences::default();
            fields.set("scopes", Some(json!(scopes)));
            fields.set("networks", Some(json!(networks)).filter(|_| !networks.is_empty()));
            fields.set("dialect", Some(json!(dialect)));
            fields.set("expires_at", wanted.expires_at.map(|end| json!(end)));
            fields.set("token_file", Some(json!(path)));
            let new = NewKey { name: name.clone(), scopes, expires_at: wanted.expires_at, networks, dialect };
            // A token opens one partner: of a database, one key has it.
            self.service.key_install(of, new, token).map_err(|error| match error {
                ServiceError::Store(StoreError::Sqlite(_) | StoreError::Postgres(_)) => taken(of, name, path),
                error => error.into(),
            })?;
            self.record(StepKind::Create, "key", name, Some(of), fields);
            return Ok(());
        };
        if held.is_some_and(|token| token.sha256() != before.token_sha256) {
            let file = wanted.token_file.as_deref().unwrap_or(Path::new("")).display();
            let text = format!("key {name:?} of {of} has another token than {file}");
            return Err(refused(format!("{text}; revoke {} or remove the file", before.id)));
        }
        let mut fields = FieldDifferences::default();
        fields.compare("scopes", json!(before.scopes), wanted.scopes.as_ref().map(|scopes| json!(scopes)));
        fields.compare("networks", json!(before.networks), wanted.networks.as_ref().map(|networks| json!(networks)));
        fields.compare("dialect", json!(before.dialect), wanted.dialect.map(|dialect| json!(dialect)));
        fields.compare("expires_at", json!(before.expires_at), wanted.expires_at.map(|end| json!(end)));
        match fields.0.first() {
            None => Ok(()),
            Some(FieldDifference { field, before, after }) => Err(refused(format!(
                "key {name:?} of {of} has {field} {before}, and the file says {after}; a key's rights never change: give \
                 the new key another name, and mark this one `absent = true` once nobody uses it"
            ))),
        }
    }

    fn webhook(&mut self, of: &PartnerId, snapshot: &Snapshot, wanted: &file::WebhookEntry) -> Result<(), CliError> {
        let key = snapshot.key;
        let all = snapshot.settings.iter().filter(|setting| setting.removed_at.is_none());
        let named = all.filter_map(|setting| Some((setting, setting.webhook()?)));
        let named: Vec<(&Setting, &Webhook)> = named.filter(|(_, webhook)| webhook.name == wanted.name).collect();
        let before = one_of(of, "webhook", &wanted.name, &named)?;
        let (name, mut fields) = (&wanted.name, FieldDifferences::default());
        let Some((setting, before)) = before else {
            if wanted.absent {
                return Ok(());
            }
            let Some(url) = wanted.url.clone() else {
                return Err(refused(format!("webhook {name:?} of {of}: name its url")));
            };
            let (events, order) = (wanted.events.clone().unwrap_or_default(), wanted.order.unwrap_or_default());
            fields.set("url", Some(json!(url)));
            fields.set("events", Some(json!(events)).filter(|_| !events.is_empty()));
            fields.set("order", wanted.order.map(|order| json!(order.as_str())));
            fields.set("enabled", wanted.enabled.filter(|enabled| !enabled).map(|enabled| json!(enabled)));
            let Some(path) = &wanted.secret_file else {
                return Err(refused(format!(
                    "webhook {name:?} of {of}: name a new file for its secret in secret_file"
                )));
            };
            let mut place = self.place(path)?;
            let made = self.service.webhook_create(key, &NewWebhook { name: name.clone(), url, events, order })?;
            let WriteOutcome::Done { shown: VerbOutcome::Webhook(made), .. } = made else { return Ok(()) };
            let secret = made.secret.as_ref().map(|secret| secret.reveal()).unwrap_or_default();
            place.write(path, secret)?;
            if wanted.enabled == Some(false) {
                let off = WebhookChanges { enabled: Some(false), ..WebhookChanges::default() };
                self.service.webhook_edit(key, &made.setting.id, &off, &Expected::Anything)?;
            }
            self.record(StepKind::Create, "webhook", name, Some(of), fields);
            return Ok(());
        };
        if wanted.absent {
            self.service.webhook_remove(key, &setting.id, &Expected::Anything)?;
            self.record(StepKind::Remove, "webhook", name, Some(of), fields);
            return Ok(());
        }
        fields.compare("url", json!(before.url), wanted.url.as_ref().map(|url| json!(url)));
        fields.compare("events", json!(before.events), wanted.events.as_ref().map(|events| json!(events)));
        fields.compare("order", json!(before.order.as_str()), wanted.order.map(|order| json!(order.as_str())));
        fields.compare("enabled", json!(before.off.is_none()), wanted.enabled.map(|enabled| json!(enabled)));
        if fields.0.is_empty() {
            return Ok(());
        }
        let changes = WebhookChanges {
            name: None,
            url: wanted.url.clone(),
            events: wanted.events.clone(),
            order: wanted.order,
            enabled: wanted.enabled,
        };
        self.service.webhook_edit(key, &setting.id, &changes, &Expected::Anything)?;
        self.record(StepKind::Change, "webhook", name, Some(of), fields);
        Ok(())
    }

    fn schedule(&mut self, of: &PartnerId, snapshot: &Snapshot, wanted: &file::ScheduleEntry) -> Result<(), CliError> {
        let key = snapshot.key;
        let all = snapshot.settings.iter().filter(|setting| setting.removed_at.is_none());
        let named = all.filter_map(|setting| Some((setting, setting.schedule()?)));
        let named: Vec<(&Setting, &domain::setting::Schedule)> =
            named.filter(|(_, schedule)| schedule.name == wanted.name).collect();
        let before = one_of(of, "schedule", &wanted.name, &named)?;
        let (name, mut fields) = (&wanted.name, FieldDifferences::default());
        let within = wanted.within_days.map(|days| i64::from(days) * 86_400);
        let change = SchedulePatch {
            name: Some(name.clone()),
            cron: wanted.cron.clone(),
            zone: wanted.zone.clone(),
            recipients: wanted.recipients.clone(),
            checks: wanted.checks.clone(),
            within,
            report: wanted.report,
            alerts: wanted.alerts,
            off: wanted.enabled.map(|enabled| !enabled),
        };
        let days = |seconds: i64| json!(seconds / 86_400);
        let report = |report: ReportPolicy| json!(report.as_str());
        let Some((setting, before)) = before else {
            if wanted.absent {
                return Ok(());
            }
            fields.set("cron", wanted.cron.as_ref().map(|cron| json!(cron)));
            fields.set("zone", wanted.zone.as_ref().map(|zone| json!(zone)));
            fields.set("recipients", wanted.recipients.as_ref().map(|recipients| json!(recipients)));
            fields.set("checks", wanted.checks.as_ref().map(|checks| json!(checks)));
            fields.set("within_days", within.map(days));
            fields.set("report", wanted.report.map(report));
            fields.set("alerts", wanted.alerts.map(|alerts| json!(alerts)));
            fields.set("enabled", wanted.enabled.map(|enabled| json!(enabled)));
            self.service.schedule_create(key, &change)?;
            self.record(StepKind::Create, "schedule", name, Some(of), fields);
            return Ok(());
        };
        if wanted.absent {
            self.service.schedule_remove(key, &setting.id)?;
            self.record(StepKind::Remove, "schedule", name, Some(of), fields);
            return Ok(());
        }
        fields.compare("cron", json!(before.cron), wanted.cron.as_ref().map(|cron| json!(cron)));
        fields.compare("zone", json!(before.zone), wanted.zone.as_ref().map(|zone| json!(zone)));
        fields.compare("recipients", json!(before.recipients), wanted.recipients.as_ref().map(|all| json!(all)));
        fields.compare("checks", json!(before.checks), wanted.checks.as_ref().map(|checks| json!(checks)));
        fields.compare("within_days", days(before.within), within.map(days));
        fields.compare("report", report(before.report), wanted.report.map(report));
        fields.compare("alerts", json!(before.alerts), wanted.alerts.map(|alerts| json!(alerts)));
        fields.compare("enabled", json!(before.off.is_none()), wanted.enabled.map(|enabled| json!(enabled)));
        if fields.0.is_empty() {
            return Ok(());
        }
        self.service.schedule_edit(key, &setting.id, &change)?;
        self.record(StepKind::Change, "schedule", name, Some(of), fields);
        Ok(())
    }

    /// A user of a partner; without one, an administrator of the platform.
    fn user(&mut self, of: Option<(&PartnerId, PartnerKey)>, wanted: &file::UserEntry) -> Result<(), CliError> {
        let (email, mut fields) = (&wanted.email, FieldDifferences::default());
        let (partner, key) = of.unzip();
        let found = self.people.everybody(None)?.into_iter().find(|user| user.email == *email);
        let actor = self.service.actor().clone();
        let by = UserActor::Command(&actor);
        let Some(before) = found else {
            let role = match (key, wanted.role) {
                (None, _) => Role::Administrator,
                (Some(_), Some(role)) => role,
                (Some(_), None) => {
                    return Err(refused(format!("user {email}: name the role: owner, manager or viewer")));
                }
            };
            let Some(path) = &wanted.link_file else {
                return Err(refused(format!("user {email}: name a new file for the set-up link in link_file")));
            };
            fields.set("role", Some(json!(role.as_str())));
            fields.set("name", wanted.name.as_ref().map(|name| json!(name)));
            fields.set("zone", wanted.zone.as_ref().map(|zone| json!(zone)));
            fields.set("disabled", wanted.disabled.filter(|disabled| *disabled).map(|disabled| json!(disabled)));
            let mut place = self.place(path)?;
            let name = wanted.name.as_ref().map(ToString::to_string);
            let new = NewUser { email: email.to_string(), name, role, partner: key, zone: wanted.zone.clone() };
            let (user, link) = self.people.user_create(by, new)?;
            place.write(path, &crate::cli::user::link(&self.base, &link))?;
            if wanted.disabled == Some(true) {
                self.people.user_edit(by, &user.id, UserEdit { disabled: Some(true), ..UserEdit::default() })?;
            }
            self.record(StepKind::Create, "user", email, partner, fields);
            return Ok(());
        };
        if before.partner != key {
            return Err(refused(format!("user {email} is there already, and belongs elsewhere")));
        }
        fields.compare("role", json!(before.role.as_str()), wanted.role.map(|role| json!(role.as_str())));
        fields.compare("name", json!(before.name), wanted.name.as_ref().map(|name| json!(name)));
        fields.compare("zone", json!(before.zone), wanted.zone.as_ref().map(|zone| json!(zone)));
        let disabled = before.disabled_at.is_some();
        fields.compare("disabled", json!(disabled), wanted.disabled.map(|disabled| json!(disabled)));
        if fields.0.is_empty() {
            return Ok(());
        }
        let differs = |field| fields.0.iter().any(|one| one.field == field);
        let edit = UserEdit {
            name: wanted.name.as_ref().filter(|_| differs("name")).map(ToString::to_string),
            role: wanted.role.filter(|_| differs("role")),
            zone: wanted.zone.clone().filter(|_| differs("zone")),
            disabled: wanted.disabled.filter(|_| differs("disabled")),
        };
        self.people.user_edit(by, &before.id, edit)?;
        self.record(StepKind::Change, "user", email, partner, fields);
        Ok(())
    }

    /// Writes a secret into a new file.
    fn secret(&self, path: &Path, secret: &str) -> Result<(), CliError> {
        self.place(path)?.write(path, secret)
    }

    /// A new file for a secret, before there is one.
    fn place(&self, path: &Path) -> Result<SecretFile, CliError> {
        let failed = |source| CliError::Io { what: format!("cannot create {}", path.display()), source };
        if self.secrets == SecretFiles::Checked {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            return match (path.exists(), folder.is_dir()) {
                (true, _) => Err(failed(std::io::ErrorKind::AlreadyExists.into())),
                (_, false) => Err(failed(std::io::ErrorKind::NotFound.into())),
                (false, true) => Ok(SecretFile { file: None, path: None }),
            };
        }
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        Ok(SecretFile { file: Some(file), path: Some(path.to_owned()) })
    }
}

/// A file for a secret; removed on drop if nothing was written.
struct SecretFile {
    file: Option<std::fs::File>,
    path: Option<std::path::PathBuf>,
}

impl SecretFile {
    fn write(&mut self, path: &Path, secret: &str) -> Result<(), CliError> {
        let failed = |source| CliError::Io { what: format!("cannot write {}", path.display()), source };
        if let Some(file) = &mut self.file {
            writeln!(file, "{secret}").and_then(|()| file.sync_all()).map_err(failed)?;
        }
        self.path = None;
        Ok(())
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn listed(destinations: &Destinations) -> Value {
    let one = |one: &domain::Destination| {
        json!({
            "uri": one.uri.to_string(), "priority": one.priority, "weight": one.weight, "enabled": one.enabled,
        })
    };
    destinations.as_slice().iter().map(one).collect()
}

/// The only setting with a name.
fn one_of<T: Copy>(of: &PartnerId, kind: &str, name: &str, named: &[T]) -> Result<Option<T>, CliError> {
    match named {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        more => {
            let text = format!("partner {of} has {} {kind}s named {name:?}", more.len());
            Err(refused(format!("{text}; rename or remove all but one")))
        }
    }
}

/// Names the entry that a rule refuses.
fn within(kind: &str, name: &str, of: &PartnerId, error: CliError) -> CliError {
    match error {
        CliError::Service(ServiceError::Store(_)) | CliError::Other(_) | CliError::Io { .. } => error,
        error => {
            // With the values; no option of the command sets a field of the file.
            let text = refusal::text(&error, &refusal::typed()).unwrap_or_else(|| output::reasons(&error));
            refused(format!("{kind} {name:?} of {of}: {text}"))
        }
    }
}

fn taken(of: &PartnerId, name: &str, path: &Path) -> CliError {
    let path = path.display();
    refused(format!(
        "key {name:?} of {of}: the token in {path} belongs to another key, perhaps a revoked one; remove the file, and a \
         new token is written"
    ))
}

/// The token in a file; `None` if there is no file.
fn read_token(path: &Path) -> Result<Option<Token>, CliError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(CliError::Io { what: format!("cannot read {}", path.display()), source }),
    };
    let wrong = || {
        refused(format!("{} has no token of Rollcall's; remove the file, and a new token is written", path.display()))
    };
    Token::parse(text.trim()).map(Some).ok_or_else(wrong)
}
