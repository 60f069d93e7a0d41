//! How each kind of row is read, checked on its way in.
//!
//! A row that this program would not have written is `StoreError::Corrupt`,
//! never a panic and never a guess.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::Row;
use rusqlite::types::ValueRef;

use crate::domain::{
    Account, AccountId, Acknowledgement, Application, ApplicationId, Currency, Dates, Dialect, E164, Key, KeyId, Money,
    NumberType, Partner, PartnerId, PartnerKey, Record, Scope, Setting, State, Tags, Time, Trunk, TrunkId,
};
use crate::store::{Batch, Head, StoreError};

// The columns of each kind of row, in the order in which `read_…` takes them.
pub(super) const PARTNER: &str = "auth_id, name, created_at, suspended_at";
pub(super) const ACCOUNT: &str = "auth_id, name, created_at, archived_at";
pub(super) const ROUTE: &str = "id, name, account, created_at, archived_at";
pub(super) const KEY: &str = "id, name, token_sha256, scopes, networks, created_at, expires_at, revoked_at, dialect";
pub(super) const ACKNOWLEDGEMENT: &str = "finding, note, until, by, at";
pub(super) const RECORD: &str = "state, account, application, trunk, number_type, country, region, cost, currency, assigned_at, \
                      expires_at, since, until, tags";

/// From the columns `partner, version, head`.
pub(super) fn read_head(row: &Row<'_>) -> rusqlite::Result<Head> {
    Ok(Head { key: PartnerKey(row.get(0)?), version: row.get::<_, i64>(1)? as u64, digest: row.get(2)? })
}

pub(super) fn read_partner(row: &Row<'_>, at: usize) -> Result<Partner, StoreError> {
    Ok(Partner {
        auth_id: PartnerId::stored(text(row, at)?),
        name: text(row, at + 1)?.into(),
        created_at: time_of(row.get(at + 2)?)?,
        suspended_at: time_if(row.get(at + 3)?)?,
    })
}

pub(super) fn read_account(row: &Row<'_>, at: usize) -> Result<Account, StoreError> {
    Ok(Account {
        auth_id: AccountId::stored(text(row, at)?),
        name: text(row, at + 1)?.into(),
        created_at: time_of(row.get(at + 2)?)?,
        archived_at: time_if(row.get(at + 3)?)?,
    })
}

pub(super) fn read_application(row: &Row<'_>, at: usize) -> Result<Application, StoreError> {
    Ok(Application {
        id: ApplicationId::stored(text(row, at)?),
        name: text(row, at + 1)?.into(),
        account: text_if(row, at + 2)?.map(AccountId::stored),
        created_at: time_of(row.get(at + 3)?)?,
        archived_at: time_if(row.get(at + 4)?)?,
    })
}

pub(super) fn read_trunk(row: &Row<'_>, at: usize) -> Result<Trunk, StoreError> {
    Ok(Trunk {
        id: TrunkId::stored(text(row, at)?),
        name: text(row, at + 1)?.into(),
        account: text_if(row, at + 2)?.map(AccountId::stored),
        created_at: time_of(row.get(at + 3)?)?,
        archived_at: time_if(row.get(at + 4)?)?,
    })
}

pub(super) fn read_acknowledgement(row: &Row<'_>, at: usize) -> Result<Acknowledgement, StoreError> {
    Ok(Acknowledgement {
        finding: text(row, at)?.into(),
        note: text_if(row, at + 1)?.map(Into::into),
        until: time_if(row.get(at + 2)?)?,
        by: text(row, at + 3)?.into(),
        at: time_of(row.get(at + 4)?)?,
    })
}

pub(super) fn read_setting(row: &Row<'_>, at: usize) -> Result<Setting, StoreError> {
    let body = text(row, at)?;
    serde_json::from_str(body).map_err(|error| corrupt(format!("a setting ({error})")))
}

pub(super) fn read_key(row: &Row<'_>, at: usize) -> Result<Key, StoreError> {
    fn list<T>(text: &str, one: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, StoreError> {
        let parts = text.split(',').filter(|part| !part.is_empty());
        parts.map(|part| one(part).ok_or_else(|| corrupt(format!("{part:?} in a key")))).collect()
    }
    let dialect = text(row, at + 8)?;
    Ok(Key {
        id: KeyId::stored(text(row, at)?),
        name: text(row, at + 1)?.into(),
        token_sha256: row.get(at + 2)?,
        scopes: list(text(row, at + 3)?, Scope::parse)?,
        networks: list(text(row, at + 4)?, |network| network.parse().ok())?,
        created_at: time_of(row.get(at + 5)?)?,
        expires_at: time_if(row.get(at + 6)?)?,
        revoked_at: time_if(row.get(at + 7)?)?,
        dialect: Dialect::parse(dialect).ok_or_else(|| corrupt(format!("dialect {dialect:?}")))?,
    })
}

/// The last value of each repeating column. Neighbouring numbers mostly share
/// them, and sharing one allocation is cheaper than making another.
#[derive(Default)]
pub(super) struct Seen {
    account: Option<AccountId>,
    application: Option<ApplicationId>,
    trunk: Option<TrunkId>,
    region: Option<Arc<str>>,
    currency: Option<Currency>,
}

impl Seen {
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

/// Which of the images of a batch a row has, told by the bytes of its columns:
/// they are compared before anything is made of them.
#[derive(Default)]
pub(super) struct Images {
    seen: Seen,
    places: HashMap<Vec<u8>, u32>,
    /// The row before, which is mostly alike; no bytes if there is none.
    last: (Vec<u8>, u32),
    bytes: Vec<u8>,
}

impl Images {
    /// From the columns `number, partner, version` and those of [`RECORD`].
    pub(super) fn place(&mut self, row: &Row<'_>, batch: &mut Batch) -> Result<u32, StoreError> {
        self.bytes.clear();
        // How much of the row before it has been equal to; none once it differs.
        let mut same = Some(0);
        // All but the dates, of which almost every row has its own.
        for at in std::iter::once(1).chain(3..12).chain(std::iter::once(16)) {
            // Whatever the file holds, two rows with these bytes are the same.
            let (kind, cell) = match row.get_ref(at)? {
                ValueRef::Null => (0, &[][..]),
                ValueRef::Integer(value) => (1, &value.to_le_bytes()[..]),
                ValueRef::Real(value) => (2, &value.to_bits().to_le_bytes()[..]),
                ValueRef::Text(text) => (3, text),
                ValueRef::Blob(bytes) => (4, bytes),
            };
            let [a, b, c, d] = (cell.len() as u32).to_le_bytes();
            let head = [kind, a, b, c, d];
            if let Some(from) = same {
                let last = &self.last.0;
                let middle = from + head.len();
                let end = middle + cell.len();
                if last.get(from..middle) == Some(&head) && last.get(middle..end) == Some(cell) {
                    same = Some(end);
                    continue;
                }
                self.bytes.extend_from_slice(&last[..from]);
                same = None;
            }
            self.bytes.extend_from_slice(&head);
            self.bytes.extend_from_slice(cell);
        }
        if same.is_some() {
            return Ok(self.last.1);
        }
        let place = match self.places.get(&self.bytes) {
            Some(place) => *place,
            None => {
                let place = batch.images.len() as u32;
                batch.images.push((PartnerKey(row.get(1)?), read_record(row, 3, &mut self.seen)?));
                self.places.insert(self.bytes.clone(), place);
                place
            }
        };
        std::mem::swap(&mut self.last.0, &mut self.bytes);
        self.last.1 = place;
        Ok(place)
    }

    /// The next batch has images of its own.
    pub(super) fn clear(&mut self) {
        self.places.clear();
        self.last.0.clear();
    }
}

/// The dates of a record whose columns begin at `at`.
pub(super) fn read_dates(row: &Row<'_>, at: usize) -> Result<Dates, StoreError> {
    Ok(Dates {
        assigned_at: time_if(row.get(at + 9)?)?,
        expires_at: time_if(row.get(at + 10)?)?,
        since: time_of(row.get(at + 11)?)?,
        until: time_if(row.get(at + 12)?)?,
    })
}

pub(super) fn read_record(row: &Row<'_>, at: usize, seen: &mut Seen) -> Result<Record, StoreError> {
    let state = text(row, at)?;
    let number_type = text(row, at + 4)?;
    let cost = match (row.get::<_, Option<i64>>(at + 7)?, text_if(row, at + 8)?) {
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
    let country = match text_if(row, at + 5)? {
        Some(code) => Some(code.parse().map_err(|_| corrupt(format!("country {code:?}")))?),
        None => None,
    };
    let tags = match text_if(row, at + 13)? {
        Some(tags) => serde_json::from_str(tags).map_err(|_| corrupt(format!("tags {tags:?}")))?,
        None => Tags::default(),
    };
    let Dates { assigned_at, expires_at, since, until } = read_dates(row, at)?;
    Ok(Record {
        state: State::parse(state)
            .filter(|state| *state != State::Retired)
            .ok_or_else(|| corrupt(format!("state {state:?}")))?,
        account: Seen::share(&mut seen.account, text_if(row, at + 1)?, AccountId::as_str, AccountId::stored),
        application: Seen::share(
            &mut seen.application,
            text_if(row, at + 2)?,
            ApplicationId::as_str,
            ApplicationId::stored,
        ),
        trunk: Seen::share(&mut seen.trunk, text_if(row, at + 3)?, TrunkId::as_str, TrunkId::stored),
        number_type: NumberType::parse(number_type).ok_or_else(|| corrupt(format!("number type {number_type:?}")))?,
        country,
        region: Seen::share(&mut seen.region, text_if(row, at + 6)?, |region| region, |text| text.into()),
        cost,
        assigned_at,
        expires_at,
        since,
        until,
        tags,
    })
}

pub(super) fn corrupt(what: String) -> StoreError {
    StoreError::Corrupt { what }
}

/// A text column, borrowed from the row.
pub(super) fn text<'r>(row: &'r Row<'_>, at: usize) -> Result<&'r str, StoreError> {
    text_if(row, at)?.ok_or_else(|| corrupt(format!("a null in column {at}")))
}

pub(super) fn text_if<'r>(row: &'r Row<'_>, at: usize) -> Result<Option<&'r str>, StoreError> {
    match row.get_ref(at)? {
        ValueRef::Null => Ok(None),
        value => value.as_str().map(Some).map_err(|_| corrupt(format!("column {at} is not text"))),
    }
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
