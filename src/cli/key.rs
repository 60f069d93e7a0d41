//! `rollcall key create | list | revoke`

use std::collections::HashMap;
use std::sync::Arc;

use clap::Subcommand;
use ipnet::IpNet;
use serde_json::{Value, json};

use super::{CliError, Global, OfPartner, Outcome, output, parse_name};
use crate::domain::{self, Dialect, KeyId, PartnerId, Scope, Time, network};
use crate::service::{NewKey, Token};
use crate::store::Open;

#[derive(Subcommand)]
pub enum KeyCommand {
    /// Create a key; its token is shown once
    Create {
        #[command(flatten)]
        of: OfPartner,
        /// The purpose of the key
        #[arg(long, value_parser = parse_name)]
        name: Arc<str>,
        /// The scopes of the key: read, manage (which includes read)
        #[arg(long, value_delimiter = ',', default_value = "read", value_parser = parse_scope)]
        scope: Vec<Scope>,
        /// When it expires, such as 2027-01-01T00:00:00Z
        #[arg(long, value_name = "TIME")]
        expires: Option<Time>,
        /// A network it may be used from; may be repeated
        #[arg(long, value_name = "CIDR", value_parser = parse_network)]
        network: Vec<IpNet>,
        /// The JSON shape of lists: data (the specification's), or items (what the platform's SDKs read)
        #[arg(long, value_name = "data|items", default_value = "data", value_parser = parse_dialect)]
        dialect: Dialect,
    },
    /// List a partner's keys, without their tokens
    List {
        #[command(flatten)]
        of: OfPartner,
    },
    /// Create a key with the rights of another one, which stays valid for a while
    Rotate {
        #[command(flatten)]
        of: OfPartner,
        /// The key's id, as `key list` shows it
        key: KeyId,
        /// How long the old key stays valid
        #[arg(long, value_name = "SPAN", default_value = "24h", value_parser = super::check::parse_span)]
        overlap: i64,
    },
    /// Revoke a key permanently
    Revoke {
        #[command(flatten)]
        of: OfPartner,
        /// The key's id, as `key list` shows it
        #[arg(value_name = "KEY_ID", required_unless_present = "key_id")]
        key: Option<KeyId>,
        #[arg(long, value_name = "KEY_ID", conflicts_with = "key", hide = true)]
        key_id: Option<KeyId>,
    },
}

fn parse_scope(text: &str) -> Result<Scope, String> {
    Scope::parse(text.trim()).ok_or_else(|| "must be read or manage".to_owned())
}

fn parse_dialect(text: &str) -> Result<Dialect, String> {
    Dialect::parse(text.trim()).ok_or_else(|| "must be data or items".to_owned())
}

fn parse_network(text: &str) -> Result<IpNet, String> {
    network::network(text).ok_or_else(|| "must be a network such as 192.0.2.0/24".to_owned())
}

fn credentials(partner: &PartnerId, token: &Token, id: &KeyId) -> Result<(), CliError> {
    output::line(&format!("X-Auth-ID:    {partner}"))?;
    output::line(&format!("X-Auth-Token: {}", token.reveal()))?;
    output::line(&format!("key id:       {id}"))
}

impl KeyCommand {
    pub fn run(self, global: &Global) -> Result<Outcome, CliError> {
        let service = global.service(Open::Existing)?;
        match self {
            KeyCommand::Create { of, name, mut scope, expires, network, dialect } => {
                scope.sort();
                scope.dedup();
                if expires.is_some_and(|end| end <= Time::now()) {
                    return Err(CliError::Usage("--expires must be in the future".to_owned()));
                }
                let new = NewKey { name, scopes: scope, expires_at: expires, networks: network, dialect };
                let (key, token) = service.key_create(&of.partner, new)?.value;
                if global.json {
                    output::json(&json!({
                        "auth_id": of.partner,
                        "auth_token": token.reveal(),
                        "key_id": key.id,
                    }))?;
                } else {
                    credentials(&of.partner, &token, &key.id)?;
                    output::note("keep the token now: it is not stored and will not be shown again");
                }
            }
            KeyCommand::Rotate { of, key, overlap } => {
                let (new, token) = service.key_rotate(&of.partner, &key, overlap)?.value;
                if global.json {
                    output::json(&json!({
                        "auth_id": of.partner, "auth_token": token.reveal(), "key_id": new.id, "replaces": key,
                    }))?;
                } else {
                    credentials(&of.partner, &token, &new.id)?;
                    output::note(&format!(
                        "keep the token now; the key {key} ends at {} at the latest",
                        Time::now().plus(overlap)
                    ));
                }
            }
            KeyCommand::List { of } => {
                let snapshot = service.snapshot(&of.partner, false)?;
                let uses: HashMap<KeyId, Time> = service
                    .store()
                    .key_uses()?
                    .into_iter()
                    .filter(|(partner, _, _)| *partner == snapshot.key)
                    .map(|(_, id, time)| (id, time))
                    .collect();
                let keys: Vec<&domain::Key> = snapshot.keys.sorted().collect();
                if global.json {
                    let one = |key: &&domain::Key| {
                        json!({
                            "key_id": key.id,
                            "name": key.name,
                            "scopes": key.scopes,
                            "networks": key.networks,
                            "dialect": key.dialect,
                            "created_at": key.created_at,
                            "expires_at": key.expires_at,
                            "revoked_at": key.revoked_at,
                            "last_used_at": uses.get(&key.id),
                        })
                    };
                    let list: Vec<Value> = keys.iter().map(one).collect();
                    output::json(&json!({ "data": list }))?;
                } else if keys.is_empty() {
                    output::note("there are no keys; create one with `rollcall key create`");
                } else {
                    let now = Time::now();
                    let row = |key: &&domain::Key| {
                        let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
                        let status = match (key.revoked_at, key.expires_at) {
                            (Some(at), _) => format!("revoked {at}"),
                            (None, Some(end)) if end <= now => format!("expired {end}"),
                            (None, Some(end)) => format!("until {end}"),
                            (None, None) => "live".to_owned(),
                        };
                        let used = uses.get(&key.id).map_or("never".to_owned(), ToString::to_string);
                        let dialect = key.dialect.to_string();
                        vec![key.id.to_string(), key.name.to_string(), scopes.join(","), dialect, status, used]
                    };
                    let rows: Vec<_> = keys.iter().map(row).collect();
                    output::table(&["KEY ID", "NAME", "SCOPES", "DIALECT", "STATUS", "LAST USED"], &rows)?;
                }
            }
            KeyCommand::Revoke { of, key, key_id } => {
                let key = key.or(key_id).ok_or_else(|| CliError::Usage("name the key".to_owned()))?;
                let key = service.key_revoke(&of.partner, &key)?.value;
                if global.json {
                    output::json(&json!({ "key_id": key.id, "revoked_at": key.revoked_at }))?;
                } else {
                    output::line(&format!("revoked key {} ({})", key.id, key.name))?;
                }
            }
        }
        Ok(Outcome::Done)
    }
}
