//! What another server said of its inventory, and what a record becomes by it.
//!
//! What many numbers say alike is kept once, so a look of a million numbers
//! takes about 50 bytes for each.
//! Invariant: a number is in a look once, and a record that says on the wire
//! what upstream says is not touched.
//! Deliberately absent: the store, and how the rows came.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::change::GENESIS;
use crate::domain::dictionary::Dictionary;
use crate::domain::{
    Account, AccountId, Application, ApplicationId, Dialect, E164, Money, Partner, PartnerId, PartnerKey, Record,
    State, Status, Time, Trunk, TrunkId, UpstreamAccount, UpstreamFields, UpstreamNumber, number, plan,
};
use crate::inventory::{Loader, Misfit, Snapshot};

/// How far upstream's clock may be ahead: a number that it calls suspended, and
/// that ends within this, has ended.
const SKEW_SECONDS: i64 = 60;

/// A look in the making.
#[derive(Default)]
pub struct ListingBuilder {
    said: Dictionary<Arc<UpstreamFields>>,
    rows: Vec<ListingRow>,
}

/// One number, in as few bytes as it takes.
#[derive(Clone, Copy)]
pub(super) struct ListingRow {
    pub number: E164,
    said: u32,
    assigned_at: Option<Time>,
    expires_at: Option<Time>,
}

impl ListingBuilder {
    /// What came so far is void.
    pub fn begin(&mut self) {
        *self = ListingBuilder::default();
    }

    pub fn add(&mut self, told: UpstreamNumber) {
        let UpstreamNumber { number, assigned_at, expires_at, said } = told;
        let last = self.rows.last().map(|row| row.said);
        let same = last.filter(|&at| self.said.get(at).is_some_and(|last| **last == said));
        let said = same.unwrap_or_else(|| self.said.place(Arc::new(said), None));
        self.rows.push(ListingRow { number, said, assigned_at, expires_at });
    }

    /// All came. `accounts` is the whole list of them, if upstream has one.
    pub fn finish(self, dialect: Dialect, accounts: Option<Vec<UpstreamAccount>>) -> Listing {
        let ListingBuilder { said, mut rows, .. } = self;
        rows.sort_unstable_by_key(|row| row.number);
        let listed = accounts.as_ref().map(Vec::len);
        let mut look = Listing {
            rows,
            listed,
            tells_expiry: dialect == Dialect::Data,
            accounts: BTreeMap::new(),
            applications: BTreeMap::new(),
            trunks: BTreeMap::new(),
            said: said.into_values(),
        };
        for UpstreamAccount { auth_id, name, created_at, archived_at, .. } in accounts.into_iter().flatten() {
            look.accounts
                .insert(auth_id, UpstreamCustomer { name: Some(name), created_at, archived: archived_at.is_some() });
        }
        for said in &look.said {
            if let Some(id) = &said.account {
                let known = look.accounts.entry(id.clone()).or_default();
                // An account with numbers exists, whatever the list of accounts says.
                known.archived = false;
                known.name = known.name.take().or_else(|| said.account_name.clone());
            }
            if let Some(id) = &said.application {
                let route = look.applications.entry(id.clone()).or_insert_with(|| UpstreamRoute::of(said));
                route.also(said);
                route.name = route.name.take().or_else(|| said.application_name.clone());
            }
            if let Some(id) = &said.trunk {
                look.trunks.entry(id.clone()).or_insert_with(|| UpstreamRoute::of(said)).also(said);
            }
        }
        look
    }
}

/// Everything that upstream said, at about one moment. Sorted by number.
pub struct Listing {
    said: Vec<Arc<UpstreamFields>>,
    pub(super) rows: Vec<ListingRow>,
    /// Those of the list, and those that numbers name.
    pub(super) accounts: BTreeMap<AccountId, UpstreamCustomer>,
    /// How many accounts its list has; `None` if it has no list.
    pub(super) listed: Option<usize>,
    pub(super) applications: BTreeMap<ApplicationId, UpstreamRoute>,
    pub(super) trunks: BTreeMap<TrunkId, UpstreamRoute>,
    /// Whether no expiry means that there is none.
    tells_expiry: bool,
}

#[derive(Default)]
pub(super) struct UpstreamCustomer {
    name: Option<Arc<str>>,
    created_at: Option<Time>,
    archived: bool,
}

/// An application or a trunk, as far as numbers tell it.
pub(super) struct UpstreamRoute {
    name: Option<Arc<str>>,
    holder: Option<AccountId>,
    /// Whether numbers of several accounts use it.
    shared: bool,
}

impl UpstreamRoute {
    fn of(said: &UpstreamFields) -> UpstreamRoute {
        UpstreamRoute { name: None, holder: said.account.clone(), shared: false }
    }

    fn also(&mut self, said: &UpstreamFields) {
        self.shared |= self.holder != said.account;
    }

    /// The account that it belongs to, if it may go on doing so.
    fn owner(&self, before: Option<AccountId>) -> Option<AccountId> {
        before.filter(|_| !self.shared).filter(|owner| self.holder.as_ref() == Some(owner))
    }
}

/// Why a number cannot be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum UpstreamRefusal {
    Taken,
    NoCost,
}

impl UpstreamRefusal {
    pub(super) fn reason(self) -> &'static str {
        match self {
            UpstreamRefusal::Taken => "another partner of this server has the number",
            UpstreamRefusal::NoCost => {
                "an assigned number needs a cost, and upstream tells none; give --monthly-cost and --currency"
            }
        }
    }
}

impl Listing {
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether accounts without numbers are known.
    pub fn lists_accounts(&self) -> bool {
        self.listed.is_some()
    }

    /// The look as an inventory of its own, with no database. Since when a
    /// number is suspended is not told, so it is said to be since it was
    /// assigned: at the earliest.
    pub fn snapshot(&self, partner: PartnerId, at: Time) -> Result<Snapshot, Misfit> {
        let name = partner.as_str().into();
        let partner = Partner { auth_id: partner, name, created_at: at, suspended_at: None };
        let mut loader = Loader::new(Snapshot::empty(PartnerKey(0), 0, GENESIS, partner));
        let snapshot = &mut loader.snapshot;
        let (accounts, applications, trunks) =
            (&mut snapshot.accounts, &mut snapshot.applications, &mut snapshot.trunks);
        self.accounts.iter().for_each(|(id, told)| Arc::make_mut(accounts).put(told.settle(id, None, at)));
        self.applications.iter().for_each(|(id, told)| Arc::make_mut(applications).put(told.application(id, None, at)));
        self.trunks.iter().for_each(|(id, told)| Arc::make_mut(trunks).put(told.trunk(id, None, at)));
        for row in &self.rows {
            let mut record = self.image(row, None, None, at);
            record.since = record.assigned_at.unwrap_or(at);
            loader.number(row.number, 0, &record)?;
        }
        Ok(loader.finish())
    }

    /// What a number becomes, given what it is at `at`.
    pub(super) fn settle(
        &self,
        row: &ListingRow,
        current: Option<&Record>,
        cost: Option<Money>,
        at: Time,
    ) -> Result<Record, UpstreamRefusal> {
        let record = self.image(row, current, cost, at);
        if record.state.held() && record.cost.is_none() { Err(UpstreamRefusal::NoCost) } else { Ok(record) }
    }

    fn image(&self, row: &ListingRow, current: Option<&Record>, cost: Option<Money>, at: Time) -> Record {
        let said = &*self.said[row.said as usize];
        let held = said.account.is_some();
        let kept = current.filter(|current| current.holder() == said.account.as_ref());
        let expires_at = match self.tells_expiry {
            true => row.expires_at,
            // What routes calls has not expired.
            false => kept.and_then(|kept| kept.expires_at).filter(|&end| said.status == Status::Suspended || end > at),
        };
        let state = match held {
            true => held_state(said.status, expires_at, kept.map(|kept| kept.state), at),
            false => unheld_state(kept.map(|kept| kept.state)),
        };
        let stays = kept.filter(|kept| kept.state == state);
        let reserved_for = stays.filter(|_| !held).and_then(|kept| kept.account.clone());
        let assigned_at = row.assigned_at.or(kept.and_then(|kept| kept.assigned_at)).unwrap_or(at);
        let cost = match held {
            true => said.cost.or(current.and_then(|current| current.cost)).or(cost),
            false => said.cost,
        };
        let derived = || plan::lookup(row.number.digits()).number_type;
        Record {
            state,
            account: said.account.clone().or(reserved_for),
            application: said.application.clone(),
            trunk: said.trunk.clone(),
            number_type: said.number_type.or(current.map(|current| current.number_type)).unwrap_or_else(derived),
            country: said.country,
            region: said.region.clone(),
            cost,
            assigned_at: held.then_some(assigned_at),
            expires_at,
            since: stays.map_or(at, |kept| kept.since),
            until: stays.and_then(|kept| kept.until),
            tags: said.tags.clone().or_else(|| current.map(|current| current.tags.clone())).unwrap_or_default(),
        }
    }
}

/// The state of a held number. The wire says `suspended` of what has expired as
/// well, so what says the same on the wire stays as it is, and a suspended
/// number that has expired is one that was active until then.
fn held_state(status: Status, expires_at: Option<Time>, kept: Option<State>, at: Time) -> State {
    let same = kept.filter(|&state| number::status(state, expires_at, at) == status);
    same.unwrap_or(match status {
        Status::Active => State::Active,
        Status::Suspended if expires_at.is_some_and(|end| end <= at.plus(SKEW_SECONDS)) => State::Active,
        Status::Suspended => State::Suspended,
    })
}

/// The state of a number that no account holds. The Partner API says the same of
/// a reservation, a quarantine and a free number, so a reservation or a
/// quarantine that was made here stays.
fn unheld_state(kept: Option<State>) -> State {
    kept.filter(|state| matches!(state, State::Reserved | State::Quarantined)).unwrap_or(State::Available)
}

impl UpstreamCustomer {
    pub(super) fn settle(&self, id: &AccountId, before: Option<&Account>, at: Time) -> Account {
        let before_name = before.map(|before| before.name.clone());
        Account {
            auth_id: id.clone(),
            name: self.name.clone().or(before_name).unwrap_or_else(|| id.as_str().into()),
            created_at: self.created_at.or(before.map(|before| before.created_at)).unwrap_or(at),
            archived_at: self.archived.then(|| before.and_then(|before| before.archived_at).unwrap_or(at)),
        }
    }
}

impl UpstreamRoute {
    pub(super) fn application(&self, id: &ApplicationId, before: Option<&Application>, at: Time) -> Application {
        let before_name = before.map(|before| before.name.clone());
        Application {
            id: id.clone(),
            name: self.name.clone().or(before_name).unwrap_or_else(|| id.as_str().into()),
            account: self.owner(before.and_then(|before| before.account.clone())),
            created_at: before.map_or(at, |before| before.created_at),
            archived_at: None,
            // The upstream does not know where calls go; what was set here stays.
            destinations: before.map(|before| before.destinations.clone()).unwrap_or_default(),
            answer_url: before.and_then(|before| before.answer_url.clone()),
        }
    }

    pub(super) fn trunk(&self, id: &TrunkId, before: Option<&Trunk>, at: Time) -> Trunk {
        Trunk {
            id: id.clone(),
            name: before.map_or_else(|| id.as_str().into(), |before| before.name.clone()),
            account: self.owner(before.and_then(|before| before.account.clone())),
            created_at: before.map_or(at, |before| before.created_at),
            archived_at: None,
            destinations: before.map(|before| before.destinations.clone()).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_and_quarantines_stay_and_all_else_that_nobody_holds_is_available() {
        use State::{Active, Available, Quarantined, Reserved, Retired, Suspended};
        let cases = [
            (None, Available),
            (Some(Available), Available),
            (Some(Reserved), Reserved),
            (Some(Quarantined), Quarantined),
            (Some(Active), Available),
            (Some(Suspended), Available),
            (Some(Retired), Available),
        ];
        for (kept, expected) in cases {
            assert_eq!(unheld_state(kept), expected, "{kept:?}");
        }
    }

    #[test]
    fn what_the_wire_calls_suspended_is_paused_or_has_ended() {
        use State::{Active, Suspended};
        let now = Time::new(1_770_000_000).expect("a time");
        let cases = [
            // (status, the end in seconds from now, what it was, what it is)
            (Status::Active, None, None, Active),
            (Status::Active, Some(10), Some(Suspended), Active),
            (Status::Suspended, None, None, Suspended),
            (Status::Suspended, None, Some(Active), Suspended),
            (Status::Suspended, Some(86_400), Some(Active), Suspended),
            // Ended, now or by a clock that is a little ahead.
            (Status::Suspended, Some(0), None, Active),
            (Status::Suspended, Some(-86_400), Some(Active), Active),
            (Status::Suspended, Some(SKEW_SECONDS), None, Active),
            (Status::Suspended, Some(SKEW_SECONDS + 1), None, Suspended),
            // Paused, and ended since: it says the same, so it is the same.
            (Status::Suspended, Some(-1), Some(Suspended), Suspended),
            // Ended while the pages came.
            (Status::Active, Some(-1), Some(Active), Active),
        ];
        for (status, ends, kept, expected) in cases {
            let found = held_state(status, ends.map(|seconds| now.plus(seconds)), kept, now);
            assert_eq!(found, expected, "{status:?} {ends:?} {kept:?}");
        }
    }
}
