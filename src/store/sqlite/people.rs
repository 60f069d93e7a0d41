//! People: rows of their own tables, none of them in a log.

use std::net::IpAddr;

use rusqlite::{Connection, Params, Row, params};

use crate::domain::{PartnerKey, Time, User, UserId};
use crate::store::StoreError;
use crate::store::health::{Health, row_name};
use crate::store::people::{
    AuditEntry, Audited, PeopleReads, PeopleWrites, Prune, SecretDigest, Standing, StoredLink, StoredSession,
    StoredUser,
};
use crate::store::rows::*;

/// How much is forgotten in one transaction.
const STEP: usize = 1_000;

/// A connection, inside a transaction of its caller's; and where unreadable
/// rows are counted.
pub(super) struct SqlitePeople<'c>(pub(super) &'c Connection, pub(super) &'c Health);

impl SqlitePeople<'_> {
    fn one<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query(params)?;
        rows.next()?.map(read).transpose()
    }

    /// The same of what grants something: a row that cannot be understood
    /// grants nothing.
    fn granting<T>(
        &self,
        table: &'static str,
        sql: &str,
        params: impl Params,
        read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let read = |row: &Row<'_>| self.1.readable(table, || row_name(row, &[0]), read(row));
        Ok(self.one(sql, params, read)?.flatten())
    }

    /// Every row that can be understood; the others are counted.
    fn all<T>(
        &self,
        table: &'static str,
        sql: &str,
        params: impl Params,
        read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query(params)?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.extend(self.1.readable(table, || row_name(row, &[0]), read(row))?);
        }
        Ok(all)
    }

    /// How many rows it changed.
    fn put(&self, sql: &str, params: impl Params) -> Result<usize, StoreError> {
        Ok(self.0.prepare_cached(sql)?.execute(params)?)
    }
}

impl PeopleReads for SqlitePeople<'_> {
    fn user(&mut self, id: &UserId) -> Result<Option<Standing>, StoreError> {
        let sql = format!("SELECT {USER}, p.suspended_at FROM app_user u {PARTNER_OF} WHERE u.id = ?1");
        self.one(&sql, [id.as_str()], |row| read_standing(row, 0))
    }

    fn user_by_email(&mut self, email: &str) -> Result<Option<Standing>, StoreError> {
        let sql = format!("SELECT {USER}, p.suspended_at FROM app_user u {PARTNER_OF} WHERE u.email = ?1");
        self.one(&sql, [email], |row| read_standing(row, 0))
    }

    fn users(&mut self, partner: Option<PartnerKey>) -> Result<Vec<User>, StoreError> {
        let sql = format!("SELECT {USER} FROM app_user u WHERE ?1 IS NULL OR u.partner = ?1 ORDER BY u.email");
        self.all("app_user", &sql, [partner.map(|key| key.0)], |row| Ok(read_user(row, 0)?.user))
    }

    fn session(&mut self, digest: &SecretDigest) -> Result<Option<(StoredSession, Standing)>, StoreError> {
        let sql = format!(
            "SELECT {SESSION}, {USER}, p.suspended_at FROM session s JOIN app_user u ON u.id = s.user {PARTNER_OF} \
             WHERE s.sha256 = ?1"
        );
        self.granting("session", &sql, [digest], |row| Ok((read_session(row, 0)?, read_standing(row, 6)?)))
    }

    fn sessions(&mut self, user: &UserId) -> Result<Vec<StoredSession>, StoreError> {
        let sql = format!("SELECT {SESSION} FROM session s WHERE s.user = ?1 ORDER BY s.created_at DESC, s.sha256");
        self.all("session", &sql, [user.as_str()], |row| read_session(row, 0))
    }

    fn link(&mut self, digest: &SecretDigest) -> Result<Option<(StoredLink, Standing)>, StoreError> {
        let sql = format!(
            "SELECT {LINK}, {USER}, p.suspended_at FROM set_up_link l \
             JOIN app_user u ON u.id = l.user {PARTNER_OF} WHERE l.sha256 = ?1"
        );
        self.granting("set_up_link", &sql, [digest], |row| Ok((read_link(row, 0)?, read_standing(row, 4)?)))
    }

    fn source(&mut self, user: &UserId, from: IpAddr) -> Result<Option<Time>, StoreError> {
        let sql = "SELECT user, address, at FROM sign_in_source WHERE user = ?1 AND address = ?2";
        self.granting("sign_in_source", sql, params![user.as_str(), from.to_string()], |row| time_of(row.int(2)?))
    }

    fn recovery_codes(&mut self, user: &UserId) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM recovery_code WHERE user = ?1";
        let count = self.one(sql, [user.as_str()], |row| Ok(row.int(0)? as u64))?;
        Ok(count.unwrap_or_default())
    }

    fn audit(
        &mut self,
        partner: Option<PartnerKey>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Audited>, StoreError> {
        let (before, limit) = (before.map_or(i64::MAX, whole), whole(limit as u64));
        // Told apart here, so that each has its index.
        let of = if partner.is_some() { "partner = ?1 AND" } else { "?1 IS NULL AND" };
        let sql = format!(
            "SELECT {AUDITED} FROM audit \
             WHERE {of} id < ?2 ORDER BY id DESC LIMIT ?3"
        );
        self.all("audit", &sql, params![partner.map(|key| key.0), before, limit], |row| read_audited(row))
    }
}

impl PeopleWrites for SqlitePeople<'_> {
    fn put_user(&mut self, stored: &StoredUser) -> Result<(), StoreError> {
        let StoredUser { user, password, totp, totp_offer } = stored;
        self.put(
            "INSERT INTO app_user (id, email, name, role, partner, zone, created_at, disabled_at, last_signed_in_at, \
             password, totp_secret, totp_step, totp_offer) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, \
             ?13) ON CONFLICT (id) DO UPDATE SET email = ?2, name = ?3, role = ?4, partner = ?5, zone = ?6, \
             disabled_at = ?8, last_signed_in_at = ?9, password = ?10, totp_secret = ?11, totp_step = ?12, \
             totp_offer = ?13",
            params![
                user.id.as_str(),
                &*user.email,
                &*user.name,
                user.role.as_str(),
                user.partner.map(|key| key.0),
                &*user.zone,
                user.created_at.seconds(),
                seconds(user.disabled_at),
                seconds(user.last_signed_in_at),
                password,
                totp.as_ref().map(|totp| &totp.secret),
                totp.as_ref().map(|totp| totp.step),
                totp_offer,
            ],
        )?;
        Ok(())
    }

    fn put_session(&mut self, session: &StoredSession) -> Result<(), StoreError> {
        let StoredSession { digest, user, created_at, seen_at, from, code_due } = session;
        self.put(
            "INSERT INTO session (sha256, user, created_at, seen_at, address, code_due) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![digest, user.as_str(), created_at.seconds(), seen_at.seconds(), from.to_string(), code_due],
        )?;
        Ok(())
    }

    fn seen(&mut self, digest: &SecretDigest, at: Time) -> Result<(), StoreError> {
        self.put("UPDATE session SET seen_at = max(seen_at, ?2) WHERE sha256 = ?1", params![digest, at.seconds()])?;
        Ok(())
    }

    fn end_session(&mut self, digest: &SecretDigest) -> Result<bool, StoreError> {
        Ok(self.put("DELETE FROM session WHERE sha256 = ?1", [digest])? == 1)
    }

    fn end_sessions(&mut self, user: &UserId, but: Option<&SecretDigest>) -> Result<u64, StoreError> {
        let sql = "DELETE FROM session WHERE user = ?1 AND (?2 IS NULL OR sha256 != ?2)";
        Ok(self.put(sql, params![user.as_str(), but])? as u64)
    }

    fn put_link(&mut self, link: &StoredLink) -> Result<(), StoreError> {
        let StoredLink { digest, user, created_at, expires_at } = link;
        self.put(
            "INSERT INTO set_up_link (sha256, user, created_at, expires_at) VALUES (?1, ?2, ?3, ?4)",
            params![digest, user.as_str(), created_at.seconds(), expires_at.seconds()],
        )?;
        Ok(())
    }

    fn end_links(&mut self, user: &UserId) -> Result<(), StoreError> {
        self.put("DELETE FROM set_up_link WHERE user = ?1", [user.as_str()])?;
        Ok(())
    }

    fn put_source(&mut self, user: &UserId, from: IpAddr, at: Time) -> Result<(), StoreError> {
        self.put(
            "INSERT INTO sign_in_source (user, address, at) VALUES (?1, ?2, ?3) \
             ON CONFLICT (user, address) DO UPDATE SET at = max(at, ?3)",
            params![user.as_str(), from.to_string(), at.seconds()],
        )?;
        Ok(())
    }

    fn put_recovery_codes(&mut self, user: &UserId, codes: &[SecretDigest]) -> Result<(), StoreError> {
        self.put("DELETE FROM recovery_code WHERE user = ?1", [user.as_str()])?;
        for code in codes {
            self.put("INSERT INTO recovery_code (user, sha256) VALUES (?1, ?2)", params![user.as_str(), code])?;
        }
        Ok(())
    }

    fn take_recovery_code(&mut self, user: &UserId, code: &SecretDigest) -> Result<bool, StoreError> {
        let sql = "DELETE FROM recovery_code WHERE user = ?1 AND sha256 = ?2";
        Ok(self.put(sql, params![user.as_str(), code])? == 1)
    }

    fn put_audit(&mut self, entry: &AuditEntry) -> Result<(), StoreError> {
        let AuditEntry { at, partner, who, what, about, refused, from, request_id } = entry;
        self.put(
            "INSERT INTO audit (at, partner, who, what, about, refused, address, request_id) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                at.seconds(),
                partner.map(|key| key.0),
                &**who,
                &**what,
                about.as_deref(),
                refused.as_deref(),
                from.map(|from| from.to_string()),
                request_id.as_deref(),
            ],
        )?;
        Ok(())
    }
}

/// Forgets a step of what is over; how many rows that were.
pub(super) fn prune(connection: &Connection, prune: &Prune) -> rusqlite::Result<usize> {
    let Prune { sessions_created, sessions_seen, sessions_due, links, sources, audit } = prune;
    let mut gone = 0;
    let limit = STEP as i64;
    gone += connection
        .prepare_cached(
            "DELETE FROM session WHERE sha256 IN (SELECT sha256 FROM session WHERE created_at <= ?1 OR seen_at <= ?2 \
             OR (code_due = 1 AND created_at <= ?3) LIMIT ?4)",
        )?
        .execute(params![sessions_created.seconds(), sessions_seen.seconds(), sessions_due.seconds(), limit])?;
    gone += connection
        .prepare_cached(
            "DELETE FROM set_up_link WHERE sha256 IN (SELECT sha256 FROM set_up_link WHERE expires_at <= ?1 LIMIT ?2)",
        )?
        .execute([links.seconds(), limit])?;
    gone += connection
        .prepare_cached(
            "DELETE FROM sign_in_source WHERE (user, address) IN \
             (SELECT user, address FROM sign_in_source WHERE at <= ?1 LIMIT ?2)",
        )?
        .execute([sources.seconds(), limit])?;
    gone += connection
        .prepare_cached("DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at <= ?1 LIMIT ?2)")?
        .execute([audit.seconds(), limit])?;
    Ok(gone)
}
