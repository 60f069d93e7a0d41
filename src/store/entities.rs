//! The tables of partners and of what they have besides numbers: the columns of each,
//! declared once for reading and writing.

use std::sync::LazyLock;

use super::rows::PARTNER;
use super::sql::{SqlValue, bind};
use crate::domain::change::Edit;
use crate::domain::{Account, AccountId, Acknowledgement, Destinations, EntityChange};

/// A table of partners or of what they have besides numbers.
#[derive(Clone, Copy)]
pub(super) struct EntityTable {
    pub table: &'static str,
    /// What a row is called within its partner.
    pub name: &'static str,
    /// What is read and written of an entity, that name first.
    pub columns: &'static str,
    /// What is read besides.
    more: &'static str,
}

const fn entity(table: &'static str, name: &'static str, columns: &'static str, more: &'static str) -> EntityTable {
    EntityTable { table, name, columns, more }
}

pub(super) const ACCOUNTS: EntityTable =
    entity("account", "auth_id", "auth_id, name, created_at, archived_at", ", lost_at");
pub(super) const APPLICATIONS: EntityTable =
    entity("application", "id", "id, name, account, created_at, archived_at, destinations, answer_url", "");
pub(super) const TRUNKS: EntityTable =
    entity("trunk", "id", "id, name, account, created_at, archived_at, destinations", "");
pub(super) const KEYS: EntityTable = entity(
    "api_key",
    "id",
    "id, name, token_sha256, scopes, networks, created_at, expires_at, revoked_at, dialect",
    "",
);
pub(super) const ACKNOWLEDGEMENTS: EntityTable =
    entity("acknowledgement", "finding", "finding, note, until, by, at", "");
pub(super) const SETTINGS: EntityTable = entity("setting", "id", "id, body", "");

/// In the order in which they are loaded.
pub(super) const ENTITIES: [EntityTable; 7] = [
    entity("partner", "partner", PARTNER, ", version, head, row_digest"),
    ACCOUNTS,
    APPLICATIONS,
    TRUNKS,
    KEYS,
    ACKNOWLEDGEMENTS,
    SETTINGS,
];

impl EntityTable {
    /// The columns that `read_entity` takes.
    pub fn all(&self) -> String {
        format!("partner, {}{}", self.columns, self.more)
    }

    /// The statement that writes an entity, new or changed.
    pub fn upsert(&self) -> &'static str {
        static UPSERTS: LazyLock<Vec<String>> = LazyLock::new(|| ENTITIES.iter().map(upsert).collect());
        let at = ENTITIES.iter().position(|known| known.table == self.table);
        at.map_or("", |at| &UPSERTS[at])
    }
}

fn upsert(table: &EntityTable) -> String {
    let EntityTable { table, name, columns, .. } = table;
    let count = 1 + columns.split(", ").count();
    let values: Vec<String> = (1..=count).map(|at| format!("?{at}")).collect();
    let set: Vec<String> = columns.split(", ").skip(1).map(|column| format!("{column} = excluded.{column}")).collect();
    format!(
        "INSERT INTO {table} (partner, {columns}) VALUES ({}) ON CONFLICT (partner, {name}) DO UPDATE SET {}",
        values.join(", "),
        set.join(", ")
    )
}

/// Where an entity is written, and the values of its columns; partners have a
/// statement of their own.
pub(super) fn entity_row(change: &EntityChange) -> Option<(EntityTable, Vec<SqlValue<'_>>)> {
    Some(match change {
        EntityChange::Partner(_) => return None,
        EntityChange::Account(Edit { after: Account { auth_id, name, created_at, archived_at }, .. }) => {
            (ACCOUNTS, bind![auth_id.as_str(), name, *created_at, *archived_at].to_vec())
        }
        EntityChange::Application(Edit { after: one, .. }) => {
            let account = one.account.as_ref().map(AccountId::as_str);
            let destinations = destinations_text(&one.destinations);
            let (id, url) = (one.id.as_str(), one.answer_url.as_ref());
            let row = bind![id, &one.name, account, one.created_at, one.archived_at, destinations, url];
            (APPLICATIONS, row.to_vec())
        }
        EntityChange::Trunk(Edit { after: one, .. }) => {
            let account = one.account.as_ref().map(AccountId::as_str);
            let destinations = destinations_text(&one.destinations);
            let row = bind![one.id.as_str(), &one.name, account, one.created_at, one.archived_at, destinations];
            (TRUNKS, row.to_vec())
        }
        EntityChange::Acknowledgement(Edit { after: Acknowledgement { finding, note, until, by, at }, .. }) => {
            (ACKNOWLEDGEMENTS, bind![finding, note.as_ref(), *until, by, *at].to_vec())
        }
        EntityChange::Setting(Edit { after, .. }) => {
            (SETTINGS, bind![&after.id, serde_json::to_string(after).expect("a setting serialises")].to_vec())
        }
        EntityChange::Key(Edit { after: key, .. }) => {
            let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
            let networks: Vec<String> = key.networks.iter().map(ToString::to_string).collect();
            let row = bind![
                key.id.as_str(),
                &key.name,
                &key.token_sha256,
                scopes.join(","),
                networks.join(","),
                key.created_at,
                key.expires_at,
                key.revoked_at,
                key.dialect.as_str(),
            ];
            (KEYS, row.to_vec())
        }
    })
}

fn destinations_text(destinations: &Destinations) -> Option<String> {
    (!destinations.is_empty()).then(|| serde_json::to_string(destinations).expect("destinations serialise"))
}
