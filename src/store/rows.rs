//! How each kind of row is read, checked on its way in, whatever engine it
//! comes from.
//!
//! A row that this program would not have written is `StoreError::Corrupt`,
//! never a panic and never a guess.

use std::net::IpAddr;
use std::sync::Arc;

use crate::domain::change::Digest;
use crate::domain::{
    Account, AccountId, Acknowledgement, Actor, Application, ApplicationId, Currency, Dates, Destinations, Dialect,
    E164, KeptDigest, Key, KeyId, Money, NumberType, Partner, PartnerId, PartnerKey, Record, Role, Scope, Setting,
    State, Tags, Time, Trunk, TrunkId, User, UserId, Verb,
};
use crate::store::people::{AuditEntry, Audited, Standing, StoredLink, StoredSession, StoredUser, Totp};
use crate::store::{Document, Loaded, LogEntry, LogHead, StoreError, StoredJob};

/// One row of an engine's answer, by column.
pub(super) trait RowCells {
    fn text_if(&self, at: usize) -> Result<Option<&str>, StoreError>;
    fn int_if(&self, at: usize) -> Result<Option<i64>, StoreError>;
    fn bytes_if(&self, at: usize) -> Result<Option<&[u8]>, StoreError>;

    fn text(&self, at: usize) -> Result<&str, StoreError> {
        self.text_if(at)?.ok_or_else(|| null(at))
    }

    fn int(&self, at: usize) -> Result<i64, StoreError> {
        self.int_if(at)?.ok_or_else(|| null(at))
    }
}

fn null(at: usize) -> StoreError {
    corrupt(format!("a null in column {at}"))
}

/// SHA-256, or what is as long.
pub(super) fn digest(row: &(impl RowCells + ?Sized), at: usize) -> Result<Digest, StoreError> {
    let bytes = row.bytes_if(at)?.ok_or_else(|| null(at))?;
    bytes.try_into().map_err(|_| corrupt(format!("{} bytes for a digest", bytes.len())))
}

// The columns of each kind of row, in the order in which `read_…` takes them.
macro_rules! partner_columns {
    () => {
        "auth_id, name, created_at, suspended_at"
    };
}
pub(super) use partner_columns;
pub(super) const PARTNER: &str = partner_columns!();
pub(super) const RECORD: &str = "state, account, application, trunk, number_type, country, region, cost, currency, assigned_at, \
                      expires_at, since, until, tags";
/// How many columns [`RECORD`] has.
pub(super) const RECORD_COLUMNS: usize = 14;

/// The longest that a lease lasts. One that ends later was not written by this
/// program, and keeps nobody from the work.
pub(super) const LEASE_SECONDS_MAX: i64 = 86_400;

/// From the columns `partner, version, head`.
pub(super) fn read_head(row: &(impl RowCells + ?Sized)) -> Result<LogHead, StoreError> {
    Ok(LogHead { key: PartnerKey(row.int(0)?), version: row.int(1)? as u64, digest: digest(row, 2)? })
}

/// What a partner's row has for a digest of its rows, as of that head.
pub(super) fn read_row_digest(row: &(impl RowCells + ?Sized), at: usize, head: &LogHead) -> KeptDigest {
    let bytes = row.bytes_if(at);
    KeptDigest::read(bytes.unwrap_or(Some(&[])), head.key, head.version, &head.digest)
}

/// A table that is surveyed for rows that cannot be understood, besides
/// `ENTITIES`; a column `user` is quoted, since alone it is PostgreSQL's word
/// for the role.
pub(super) struct SideTable {
    pub table: &'static str,
    /// What it is read from, with the alias that its columns have.
    pub from: &'static str,
    pub columns: &'static str,
    /// The columns that name a row.
    pub name: &'static [usize],
}

const fn beside(table: &'static str, from: &'static str, columns: &'static str, name: &'static [usize]) -> SideTable {
    SideTable { table, from, columns, name }
}

/// Numbers and the log are not surveyed: they are read whole by loads and by
/// `verify`.
pub(super) const BESIDE: [SideTable; 12] = [
    beside("answered", "answered", "partner, key, at, status, etag, fingerprint", &[0, 1]),
    beside("job", "job", "id, created_at, open, body", &[0]),
    beside("job_batch", "job_batch", "partner, job, batch, body", &[0, 1, 2]),
    beside("document", "document", "id, due, body, kind", &[3, 0]),
    beside("lease", "lease", "name, holder", &[0]),
    beside("account_numbers", "account_numbers", "partner, account, state, ends, numbers", &[0, 1, 2, 3]),
    beside("app_user", "app_user u", USER, &[0]),
    beside("recovery_code", "recovery_code", "\"user\", sha256", &[0, 1]),
    beside("session", "session s", SESSION, &[0]),
    beside("set_up_link", "set_up_link l", LINK, &[0]),
    beside("sign_in_source", "sign_in_source", "\"user\", address, at", &[0, 1]),
    beside("audit", "audit", AUDITED, &[0]),
];

/// Whether this program understands a row of one of [`BESIDE`].
pub(super) fn understood(table: &str, row: &(impl RowCells + ?Sized)) -> Result<(), StoreError> {
    match table {
        "answered" => {
            row.int(0).and(row.text(1)).and(row.text_if(4)).and(digest(row, 5))?;
            time_of(row.int(2)?)?;
            let status = row.int(3)?;
            u16::try_from(status).map(|_| ()).map_err(|_| corrupt(format!("status {status}")))
        }
        "job" => read_job(row, 0).and_then(|job| json(&job.body)),
        "job_batch" => row.int(0).and(row.text(1)).and(row.int(2)).and(row.text(3)).and_then(json),
        "document" => read_document(row, 0).map(|_| ()),
        "lease" => row.text(0).and(row.text(1)).map(|_| ()),
        "account_numbers" => {
            row.int(0).and(row.text(1)).and(row.int(3))?;
            let (state, numbers) = (row.text(2)?, row.int(4)?);
            State::parse(state).ok_or_else(|| corrupt(format!("state {state:?}")))?;
            if numbers > 0 { Ok(()) } else { Err(corrupt(format!("{numbers} numbers"))) }
        }
        "app_user" => read_user(row, 0).map(|_| ()),
        "recovery_code" => row.text(0).and(digest(row, 1)).map(|_| ()),
        "session" => read_session(row, 0).map(|_| ()),
        "set_up_link" => read_link(row, 0).map(|_| ()),
        "sign_in_source" => {
            row.text(0)?;
            address(row.text(1)?)?;
            time_of(row.int(2)?).map(|_| ())
        }
        "audit" => read_audited(row).map(|_| ()),
        other => Err(corrupt(format!("{other} is not surveyed"))),
    }
}

fn json(text: &str) -> Result<(), StoreError> {
    let parsed = serde_json::from_str::<serde::de::IgnoredAny>(text);
    parsed.map(|_| ()).map_err(|error| corrupt(format!("its body is no JSON ({error})")))
}

/// From the partner and the columns of one of [`ENTITIES`].
pub(super) fn read_entity(table: &str, row: &(impl RowCells + ?Sized)) -> Result<Loaded, StoreError> {
    let key = PartnerKey(row.int(0)?);
    Ok(match table {
        "partner" => {
            let head = LogHead { key, version: row.int(5)? as u64, digest: digest(row, 6)? };
            let row_digest = read_row_digest(row, 7, &head);
            Loaded::Partner { head, row_digest, partner: read_partner(row, 1)? }
        }
        "account" => Loaded::Account(key, read_account(row, 1)?, time_if(row.int_if(5)?)?),
        "application" => Loaded::Application(key, read_application(row, 1)?),
        "trunk" => Loaded::Trunk(key, read_trunk(row, 1)?),
        "api_key" => Loaded::Key(key, read_key(row, 1)?),
        "acknowledgement" => Loaded::Acknowledgement(key, read_acknowledgement(row, 1)?),
        "setting" => Loaded::Setting(key, read_setting(row, 2)?),
        other => return Err(corrupt(format!("{other} is no table of entities"))),
    })
}

/// What is handed over in the place of a row that was not understood; `at` is
/// the column of its partner, and what it is called is beside that. Any other
/// error stays one.
pub(super) fn poison(
    error: StoreError,
    table: &'static str,
    row: &(impl RowCells + ?Sized),
    at: usize,
) -> Result<Loaded, StoreError> {
    let StoreError::Corrupt { what } = error else { return Err(error) };
    let digits = row.int_if(1 - at).ok().flatten().filter(|_| table == "number");
    let number = digits.and_then(|digits| E164::new(u64::try_from(digits).ok()?));
    let name = match (row.text_if(1 - at), row.int_if(1 - at)) {
        (Ok(Some(name)), _) => name.to_owned(),
        (_, Ok(Some(number))) => number.to_string(),
        _ => "without a name".to_owned(),
    };
    let numbers = number.map(|number| (number, number));
    Ok(Loaded::Poison {
        key: row.int(at).ok().map(PartnerKey),
        table,
        numbers,
        what: format!("{table} {name}: {what}"),
    })
}

pub(super) const ENTRY: &str = "at, actor, request_id, verb";

pub(super) fn read_entry(row: &(impl RowCells + ?Sized), at: usize) -> Result<LogEntry, StoreError> {
    let (actor, verb) = (row.text(at + 1)?, row.text(at + 3)?);
    Ok(LogEntry {
        at: time_of(row.int(at)?)?,
        actor: Actor::parse(actor).ok_or_else(|| corrupt(format!("actor {actor:?}")))?,
        request_id: row.text_if(at + 2)?.map(str::to_owned),
        verb: Verb::parse(verb).ok_or_else(|| corrupt(format!("verb {verb:?}")))?,
        from: None,
    })
}

pub(super) fn read_partner(row: &(impl RowCells + ?Sized), at: usize) -> Result<Partner, StoreError> {
    Ok(Partner {
        auth_id: PartnerId::stored(row.text(at)?),
        name: row.text(at + 1)?.into(),
        created_at: time_of(row.int(at + 2)?)?,
        suspended_at: time_if(row.int_if(at + 3)?)?,
    })
}

pub(super) fn read_account(row: &(impl RowCells + ?Sized), at: usize) -> Result<Account, StoreError> {
    Ok(Account {
        auth_id: AccountId::stored(row.text(at)?),
        name: row.text(at + 1)?.into(),
        created_at: time_of(row.int(at + 2)?)?,
        archived_at: time_if(row.int_if(at + 3)?)?,
    })
}

pub(super) fn read_application(row: &(impl RowCells + ?Sized), at: usize) -> Result<Application, StoreError> {
    Ok(Application {
        id: ApplicationId::stored(row.text(at)?),
        name: row.text(at + 1)?.into(),
        account: row.text_if(at + 2)?.map(AccountId::stored),
        created_at: time_of(row.int(at + 3)?)?,
        archived_at: time_if(row.int_if(at + 4)?)?,
        destinations: read_destinations(row.text_if(at + 5)?)?,
        answer_url: row.text_if(at + 6)?.map(Into::into),
    })
}

pub(super) fn read_trunk(row: &(impl RowCells + ?Sized), at: usize) -> Result<Trunk, StoreError> {
    Ok(Trunk {
        id: TrunkId::stored(row.text(at)?),
        name: row.text(at + 1)?.into(),
        account: row.text_if(at + 2)?.map(AccountId::stored),
        created_at: time_of(row.int(at + 3)?)?,
        archived_at: time_if(row.int_if(at + 4)?)?,
        destinations: read_destinations(row.text_if(at + 5)?)?,
    })
}

fn read_destinations(text: Option<&str>) -> Result<Destinations, StoreError> {
    let Some(text) = text else { return Ok(Destinations::default()) };
    serde_json::from_str(text).map_err(|error| corrupt(format!("destinations: {error}")))
}

pub(super) fn read_acknowledgement(row: &(impl RowCells + ?Sized), at: usize) -> Result<Acknowledgement, StoreError> {
    Ok(Acknowledgement {
        finding: row.text(at)?.into(),
        note: row.text_if(at + 1)?.map(Into::into),
        until: time_if(row.int_if(at + 2)?)?,
        by: row.text(at + 3)?.into(),
        at: time_of(row.int(at + 4)?)?,
    })
}

pub(super) fn read_setting(row: &(impl RowCells + ?Sized), at: usize) -> Result<Setting, StoreError> {
    let body = row.text(at)?;
    serde_json::from_str(body).map_err(|error| corrupt(format!("a setting ({error})")))
}

pub(super) fn read_key(row: &(impl RowCells + ?Sized), at: usize) -> Result<Key, StoreError> {
    fn list<T>(text: &str, one: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, StoreError> {
        let parts = text.split(',').filter(|part| !part.is_empty());
        parts.map(|part| one(part).ok_or_else(|| corrupt(format!("{part:?} in a key")))).collect()
    }
    let dialect = row.text(at + 8)?;
    Ok(Key {
        id: KeyId::stored(row.text(at)?),
        name: row.text(at + 1)?.into(),
        token_sha256: digest(row, at + 2)?,
        scopes: list(row.text(at + 3)?, Scope::parse)?,
        networks: list(row.text(at + 4)?, |network| network.parse().ok())?,
        created_at: time_of(row.int(at + 5)?)?,
        expires_at: time_if(row.int_if(at + 6)?)?,
        revoked_at: time_if(row.int_if(at + 7)?)?,
        dialect: Dialect::parse(dialect).ok_or_else(|| corrupt(format!("dialect {dialect:?}")))?,
    })
}

/// The last value of each repeating column. Neighbouring numbers mostly share
/// them, and sharing one allocation is cheaper than making another.
#[derive(Default)]
pub(super) struct LastValues {
    account: Option<AccountId>,
    application: Option<ApplicationId>,
    trunk: Option<TrunkId>,
    region: Option<Arc<str>>,
    currency: Option<Currency>,
}

impl LastValues {
    /// `slot` if it has this text, else what `make` makes of it, kept there.
    fn share<T: Clone>(
        slot: &mut Option<T>,
        text: Option<&str>,
        get: fn(&T) -> &str,
        make: fn(&str) -> T,
    ) -> Option<T> {
        let text = text?;
        match slot {
            Some(value) if get(value) == text => {}
            _ => *slot = Some(make(text)),
        }
        slot.clone()
    }
}

/// The dates of a record whose columns begin at `at`.
pub(super) fn read_dates(row: &(impl RowCells + ?Sized), at: usize) -> Result<Dates, StoreError> {
    Ok(Dates {
        assigned_at: time_if(row.int_if(at + 9)?)?,
        expires_at: time_if(row.int_if(at + 10)?)?,
        since: time_of(row.int(at + 11)?)?,
        until: time_if(row.int_if(at + 12)?)?,
    })
}

pub(super) fn read_record(
    row: &(impl RowCells + ?Sized),
    at: usize,
    seen: &mut LastValues,
) -> Result<Record, StoreError> {
    let state = row.text(at)?;
    let number_type = row.text(at + 4)?;
    let cost = match (row.int_if(at + 7)?, row.text_if(at + 8)?) {
        (Some(minor), Some(code)) => {
            let currency = match seen.currency {
                Some(currency) if currency.code() == code => currency,
                _ => code.parse().map_err(|_| corrupt(format!("currency {code:?}")))?,
            };
            seen.currency = Some(currency);
            Some(Money { minor, currency })
        }
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => return Err(corrupt("half an amount of money".to_owned())),
    };
    let country = match row.text_if(at + 5)? {
        Some(code) => Some(code.parse().map_err(|_| corrupt(format!("country {code:?}")))?),
        None => None,
    };
    let tags = match row.text_if(at + 13)? {
        Some(tags) => serde_json::from_str(tags).map_err(|_| corrupt(format!("tags {tags:?}")))?,
        None => Tags::default(),
    };
    let Dates { assigned_at, expires_at, since, until } = read_dates(row, at)?;
    Ok(Record {
        state: State::parse(state)
            .filter(|state| *state != State::Retired)
            .ok_or_else(|| corrupt(format!("state {state:?}")))?,
        account: LastValues::share(&mut seen.account, row.text_if(at + 1)?, AccountId::as_str, AccountId::stored),
        application: LastValues::share(
            &mut seen.application,
            row.text_if(at + 2)?,
            ApplicationId::as_str,
            ApplicationId::stored,
        ),
        trunk: LastValues::share(&mut seen.trunk, row.text_if(at + 3)?, TrunkId::as_str, TrunkId::stored),
        number_type: NumberType::parse(number_type).ok_or_else(|| corrupt(format!("number type {number_type:?}")))?,
        country,
        region: LastValues::share(&mut seen.region, row.text_if(at + 6)?, |region| region, |text| text.into()),
        cost,
        assigned_at,
        expires_at,
        since,
        until,
        tags,
    })
}

pub(super) const JOB: &str = "id, created_at, open, body";
pub(super) const DOCUMENT: &str = "id, due, body";

pub(super) fn read_job(row: &(impl RowCells + ?Sized), at: usize) -> Result<StoredJob, StoreError> {
    Ok(StoredJob {
        id: row.text(at)?.to_owned(),
        created_at: time_of(row.int(at + 1)?)?,
        open: row.int(at + 2)? != 0,
        body: row.text(at + 3)?.to_owned(),
    })
}

pub(super) fn read_document(row: &(impl RowCells + ?Sized), at: usize) -> Result<Document, StoreError> {
    Ok(Document {
        id: row.text(at)?.to_owned(),
        due: time_if(row.int_if(at + 1)?)?,
        body: row.text(at + 2)?.to_owned(),
    })
}

// People and what happened to them.

pub(super) const USER: &str = "u.id, u.email, u.name, u.role, u.partner, u.zone, u.created_at, u.disabled_at, \
                    u.last_signed_in_at, u.password, u.totp_secret, u.totp_step, u.totp_offer";
/// Whose `suspended_at` is what it takes to tell a [`Standing`].
pub(super) const PARTNER_OF: &str = "LEFT JOIN partner p ON p.partner = u.partner";
pub(super) const SESSION: &str = "s.sha256, s.user, s.created_at, s.seen_at, s.address, s.code_due";

pub(super) const LINK: &str = "l.sha256, l.user, l.created_at, l.expires_at";
pub(super) const AUDITED: &str = "id, at, partner, who, what, about, refused, address, request_id";

pub(super) fn read_user(row: &(impl RowCells + ?Sized), at: usize) -> Result<StoredUser, StoreError> {
    let role = row.text(at + 3)?;
    let password = row.text_if(at + 9)?.map(str::to_owned);
    let secret = row.bytes_if(at + 10)?.map(<[u8]>::to_vec);
    let step = row.int_if(at + 11)?;
    let totp = secret.zip(step).map(|(secret, step)| Totp { secret, step });
    let user = User {
        id: UserId::stored(row.text(at)?),
        email: row.text(at + 1)?.into(),
        name: row.text(at + 2)?.into(),
        role: Role::parse(role).ok_or_else(|| corrupt(format!("the role {role:?} of a user")))?,
        partner: row.int_if(at + 4)?.map(PartnerKey),
        zone: row.text(at + 5)?.into(),
        created_at: time_of(row.int(at + 6)?)?,
        disabled_at: time_if(row.int_if(at + 7)?)?,
        two_factor: totp.is_some(),
        password_set: password.is_some(),
        last_signed_in_at: time_if(row.int_if(at + 8)?)?,
    };
    Ok(StoredUser { user, password, totp, totp_offer: row.bytes_if(at + 12)?.map(<[u8]>::to_vec) })
}

/// From the columns of `USER` and then the partner's `suspended_at`.
pub(super) fn read_standing(row: &(impl RowCells + ?Sized), at: usize) -> Result<Standing, StoreError> {
    let suspended = row.int_if(at + 13)?;
    Ok(Standing { user: read_user(row, at)?, partner_suspended: suspended.is_some() })
}

pub(super) fn read_session(row: &(impl RowCells + ?Sized), at: usize) -> Result<StoredSession, StoreError> {
    Ok(StoredSession {
        digest: digest(row, at)?,
        user: UserId::stored(row.text(at + 1)?),
        created_at: time_of(row.int(at + 2)?)?,
        seen_at: time_of(row.int(at + 3)?)?,
        from: address(row.text(at + 4)?)?,
        code_due: row.int(at + 5)? != 0,
    })
}

pub(super) fn address(text: &str) -> Result<IpAddr, StoreError> {
    text.parse().map_err(|_| corrupt(format!("the address {text:?}")))
}

pub(super) fn read_audited(row: &(impl RowCells + ?Sized)) -> Result<Audited, StoreError> {
    Ok(Audited {
        id: row.int(0)? as u64,
        entry: AuditEntry {
            at: time_of(row.int(1)?)?,
            partner: row.int_if(2)?.map(PartnerKey),
            who: row.text(3)?.into(),
            what: row.text(4)?.into(),
            about: row.text_if(5)?.map(Into::into),
            refused: row.text_if(6)?.map(Into::into),
            from: row.text_if(7)?.map(address).transpose()?,
            request_id: row.text_if(8)?.map(Into::into),
        },
    })
}

/// From the columns `sha256, user, created_at, expires_at`.
pub(super) fn read_link(row: &(impl RowCells + ?Sized), at: usize) -> Result<StoredLink, StoreError> {
    Ok(StoredLink {
        digest: digest(row, at)?,
        user: UserId::stored(row.text(at + 1)?),
        created_at: time_of(row.int(at + 2)?)?,
        expires_at: time_of(row.int(at + 3)?)?,
    })
}

pub(super) fn corrupt(what: String) -> StoreError {
    StoreError::Corrupt { what }
}

pub(super) fn number_of(digits: i64) -> Result<E164, StoreError> {
    let number = u64::try_from(digits).ok().and_then(E164::new);
    number.ok_or_else(|| corrupt(format!("number {digits}")))
}

pub(super) fn time_of(seconds: i64) -> Result<Time, StoreError> {
    Time::new(seconds).ok_or_else(|| corrupt(format!("time {seconds}")))
}

pub(super) fn time_if(seconds: Option<i64>) -> Result<Option<Time>, StoreError> {
    seconds.map(time_of).transpose()
}

pub(super) fn seconds(time: Option<Time>) -> Option<i64> {
    time.map(Time::seconds)
}

/// A count or a place as the engine takes it; what is beyond its numbers is
/// beyond every row.
pub(super) fn whole(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
