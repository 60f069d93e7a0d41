//! Users: rows of tables outside the log, in the transaction of the caller.

use std::net::IpAddr;

use super::{
    AuditEntry, Audited, PeopleReads, PeopleWrites, Prune, SecretDigest, Standing, StoredLink, StoredSession,
    StoredUser,
};
use crate::domain::{PartnerKey, Time, User, UserId};
use crate::store::StoreError;
use crate::store::health::row_name;
use crate::store::rows::*;
use crate::store::sql::{Sql, SqlValue, bind};

/// How much is deleted in one transaction.
const STEP: usize = 1_000;

fn named(row: &dyn RowCells) -> String {
    row_name(row, &[0])
}

/// What grants something: a row that cannot be understood grants nothing.
fn granting<T>(
    sql: &impl Sql,
    table: &'static str,
    query: &str,
    values: &[SqlValue<'_>],
    read: impl Fn(&dyn RowCells) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    Ok(sql.readable((table, &named), query, values, read)?.into_iter().next())
}

impl<S: Sql> PeopleReads for S {
    fn user(&mut self, id: &UserId) -> Result<Option<Standing>, StoreError> {
        let sql = format!("SELECT {USER}, p.suspended_at FROM app_user u {PARTNER_OF} WHERE u.id = ?1");
        self.first(&sql, bind![id.as_str()], |row| read_standing(row, 0))
    }

    fn user_by_email(&mut self, email: &str) -> Result<Option<Standing>, StoreError> {
        let sql = format!("SELECT {USER}, p.suspended_at FROM app_user u {PARTNER_OF} WHERE u.email = ?1");
        self.first(&sql, bind![email], |row| read_standing(row, 0))
    }

    fn users(&mut self, partner: Option<PartnerKey>) -> Result<Vec<User>, StoreError> {
        let sql = format!(
            "SELECT {USER} FROM app_user u WHERE CAST(?1 AS bigint) IS NULL OR u.partner = ?1 ORDER BY u.email"
        );
        self.readable(("app_user", &named), &sql, bind![partner], |row| Ok(read_user(row, 0)?.user))
    }

    fn session(&mut self, digest: &SecretDigest) -> Result<Option<(StoredSession, Standing)>, StoreError> {
        let sql = format!(
            "SELECT {SESSION}, {USER}, p.suspended_at FROM session s JOIN app_user u ON u.id = s.user {PARTNER_OF} \
             WHERE s.sha256 = ?1"
        );
        granting(self, "session", &sql, bind![digest], |row| Ok((read_session(row, 0)?, read_standing(row, 6)?)))
    }

    fn sessions(&mut self, user: &UserId) -> Result<Vec<StoredSession>, StoreError> {
        let sql = format!("SELECT {SESSION} FROM session s WHERE s.user = ?1 ORDER BY s.created_at DESC, s.sha256");
        self.readable(("session", &named), &sql, bind![user.as_str()], |row| read_session(row, 0))
    }

    fn link(&mut self, digest: &SecretDigest) -> Result<Option<(StoredLink, Standing)>, StoreError> {
        let sql = format!(
            "SELECT {LINK}, {USER}, p.suspended_at FROM set_up_link l \
             JOIN app_user u ON u.id = l.user {PARTNER_OF} WHERE l.sha256 = ?1"
        );
        granting(self, "set_up_link", &sql, bind![digest], |row| Ok((read_link(row, 0)?, read_standing(row, 4)?)))
    }

    fn source(&mut self, user: &UserId, from: IpAddr) -> Result<Option<Time>, StoreError> {
        let sql = "SELECT s.user, address, at FROM sign_in_source s WHERE s.user = ?1 AND address = ?2";
        granting(self, "sign_in_source", sql, bind![user.as_str(), from.to_string()], |row| time_of(row.int(2)?))
    }

    fn recovery_codes(&mut self, user: &UserId) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM recovery_code c WHERE c.user = ?1";
        Ok(self.first(sql, bind![user.as_str()], |row| row.int(0))?.unwrap_or_default() as u64)
    }

    fn audit(
        &mut self,
        partner: Option<PartnerKey>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Audited>, StoreError> {
        // Two statements, so that each has its index.
        let of = if partner.is_some() { "partner = ?1" } else { "CAST(?1 AS bigint) IS NULL" };
        let sql = format!("SELECT {AUDITED} FROM audit WHERE {of} AND id < ?2 ORDER BY id DESC LIMIT ?3");
        let values = bind![partner, before.unwrap_or(u64::MAX), limit];
        self.readable(("audit", &named), &sql, values, |row| read_audited(row))
    }
}

impl<S: Sql> PeopleWrites for S {
    fn put_user(&mut self, stored: &StoredUser) -> Result<(), StoreError> {
        let StoredUser { user, password, totp, totp_offer } = stored;
        self.run(
            "INSERT INTO app_user (id, email, name, role, partner, zone, created_at, disabled_at, last_signed_in_at, \
             password, totp_secret, totp_step, totp_offer) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, \
             ?13) ON CONFLICT (id) DO UPDATE SET email = ?2, name = ?3, role = ?4, partner = ?5, zone = ?6, \
             disabled_at = ?8, last_signed_in_at = ?9, password = ?10, totp_secret = ?11, totp_step = ?12, \
             totp_offer = ?13",
            bind![
                user.id.as_str(),
                &user.email,
                &user.name,
                user.role.as_str(),
                user.partner,
                &user.zone,
                user.created_at,
                user.disabled_at,
                user.last_signed_in_at,
                password.as_ref(),
                totp.as_ref().map(|totp| &totp.secret),
                totp.as_ref().map(|totp| totp.step),
                totp_offer.as_ref(),
            ],
        )?;
        Ok(())
    }

    fn put_session(&mut self, session: &StoredSession) -> Result<(), StoreError> {
        let StoredSession { digest, user, created_at, seen_at, from, code_due } = session;
        self.run(
            "INSERT INTO session (sha256, \"user\", created_at, seen_at, address, code_due) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            bind![digest, user.as_str(), *created_at, *seen_at, from.to_string(), *code_due],
        )?;
        Ok(())
    }

    fn seen(&mut self, digest: &SecretDigest, at: Time) -> Result<(), StoreError> {
        self.run("UPDATE session SET seen_at = ?2 WHERE sha256 = ?1 AND seen_at < ?2", bind![digest, at])?;
        Ok(())
    }

    fn end_session(&mut self, digest: &SecretDigest) -> Result<bool, StoreError> {
        Ok(self.run("DELETE FROM session WHERE sha256 = ?1", bind![digest])? == 1)
    }

    fn end_sessions(&mut self, user: &UserId, but: Option<&SecretDigest>) -> Result<u64, StoreError> {
        // No digest is empty.
        let but = but.map_or(&[][..], |digest| digest);
        self.run("DELETE FROM session WHERE \"user\" = ?1 AND sha256 <> ?2", bind![user.as_str(), but])
    }

    fn put_link(&mut self, link: &StoredLink) -> Result<(), StoreError> {
        let StoredLink { digest, user, created_at, expires_at } = link;
        self.run(
            "INSERT INTO set_up_link (sha256, \"user\", created_at, expires_at) VALUES (?1, ?2, ?3, ?4)",
            bind![digest, user.as_str(), *created_at, *expires_at],
        )?;
        Ok(())
    }

    fn end_links(&mut self, user: &UserId) -> Result<(), StoreError> {
        self.run("DELETE FROM set_up_link WHERE \"user\" = ?1", bind![user.as_str()])?;
        Ok(())
    }

    fn put_source(&mut self, user: &UserId, from: IpAddr, at: Time) -> Result<(), StoreError> {
        self.run(
            "INSERT INTO sign_in_source (\"user\", address, at) VALUES (?1, ?2, ?3) \
             ON CONFLICT (\"user\", address) DO UPDATE SET at = ?3 WHERE sign_in_source.at < ?3",
            bind![user.as_str(), from.to_string(), at],
        )?;
        Ok(())
    }

    fn put_recovery_codes(&mut self, user: &UserId, codes: &[SecretDigest]) -> Result<(), StoreError> {
        self.run("DELETE FROM recovery_code WHERE \"user\" = ?1", bind![user.as_str()])?;
        let codes = codes.iter().map(|code| bind![user.as_str(), code].to_vec());
        self.run_each("INSERT INTO recovery_code (\"user\", sha256) VALUES (?1, ?2)", codes)?;
        Ok(())
    }

    fn take_recovery_code(&mut self, user: &UserId, code: &SecretDigest) -> Result<bool, StoreError> {
        let sql = "DELETE FROM recovery_code WHERE \"user\" = ?1 AND sha256 = ?2";
        Ok(self.run(sql, bind![user.as_str(), code])? == 1)
    }

    fn put_audit(&mut self, entry: &AuditEntry) -> Result<(), StoreError> {
        let AuditEntry { at, partner, who, what, about, refused, from, request_id } = entry;
        self.run(
            "INSERT INTO audit (at, partner, who, what, about, refused, address, request_id) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            bind![
                *at,
                *partner,
                who,
                what,
                about.as_ref(),
                refused.as_ref(),
                from.map(|from| from.to_string()),
                request_id.as_ref(),
            ],
        )?;
        Ok(())
    }
}

/// Deletes a step of what is over, and returns how many rows that were. Rows that
/// somebody is about to use or to end are left for the next time.
pub(in crate::store) fn prune<S: Sql>(sql: &S, prune: &Prune) -> Result<u64, StoreError> {
    let Prune { sessions_created, sessions_seen, sessions_due, links, sources, audit } = *prune;
    let step = |table: &str, key: &str, over: &str, values: &[SqlValue<'_>]| {
        let lock = S::SKIP_LOCKED;
        let query = format!("SELECT {key} FROM {table} WHERE {over} LIMIT {STEP} {lock}");
        sql.run(&format!("DELETE FROM {table} WHERE ({key}) IN ({query})"), values)
    };
    let sessions = "created_at <= ?1 OR seen_at <= ?2 OR (code_due = 1 AND created_at <= ?3)";
    Ok(step("session", "sha256", sessions, bind![sessions_created, sessions_seen, sessions_due])?
        + step("set_up_link", "sha256", "expires_at <= ?1", bind![links])?
        + step("sign_in_source", "\"user\", address", "at <= ?1", bind![sources])?
        + step("audit", "id", "at <= ?1", bind![audit])?)
}
