//! The actions on a number, and the states that allow them: the one state table.
//!
//! An [`Action`] on a [`Record`] returns the next record or a refusal. `service`
//! checks before that the named accounts, applications and trunks exist.
//!
//! | verb        | available | reserved     | active  | suspended | quarantined | retired |
//! |-------------|-----------|--------------|---------|-----------|-------------|---------|
//! | `assign`    | yes       | same account | same²   | –         | –           | –       |
//! | `transfer`  | –         | –            | other¹³ | other³    | –           | –       |
//! | `release`   | –         | –            | yes¹    | yes       | already     | –       |
//! | `suspend`   | –         | –            | yes     | already   | –           | –       |
//! | `resume`    | –         | –            | already | yes       | –           | –       |
//! | `route`     | –         | –            | yes     | yes       | –           | –       |
//! | `renew`     | –         | –            | yes     | yes       | –           | –       |
//! | `reserve`   | yes       | same account | –       | –         | –           | –       |
//! | `unreserve` | already   | yes          | –       | –         | –           | –       |
//! | `retire`    | yes       | –            | –       | –         | yes         | already |
//! | `tag`       | yes       | yes          | yes     | yes       | yes         | –       |
//! | `cost`      | yes       | yes          | yes     | yes       | yes         | –       |
//!
//! "Already", and any other action that would change nothing, succeeds and writes
//! nothing; `–` is a conflict. ¹ The account's last active number needs
//! `confirm_last`. ² Assigning a number to the account that holds it, with the same
//! values. ³ To another account; to the account that holds it, with the same
//! values, is "already".
//!
//! Invariants: an action that changes the state sets `since`; one that does not
//! leaves it. A state that ended by time (a reservation, a quarantine) is
//! `available` here as everywhere.
//! Deliberately absent: I/O, the clock, permissions.

use super::field::code;
use super::number::TAGS_MAX;
use super::quarantine::Quarantine;
use super::{
    AccountId, ApplicationId, Currency, FieldError, Money, Record, State, Tags, Time, TrunkId, Verb, Zone, nothing,
};

/// By how many months one renewal extends at most.
pub const MONTHS_MAX: u32 = 120;

/// One verb with what it needs. Written down where it is done later: in a job.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Assign(Assignment),
    Transfer(Transfer),
    Release {
        /// Also if the account then has no active number left.
        confirm_last: bool,
    },
    Suspend,
    Resume,
    /// What is `None` stays as it is; `Some(None)` clears it.
    Route {
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
        application: Option<Option<ApplicationId>>,
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
        trunk: Option<Option<TrunkId>>,
    },
    /// Without an end, the number auto-renews.
    Renew {
        expires_at: Option<Time>,
    },
    /// Moves the expiry by whole months, from the later of it and now, on the
    /// clocks of a zone. A number that auto-renews stays as it is. A name of its
    /// own, so that a build that lacks it refuses such a job.
    Extend {
        months: u32,
        zone: Zone,
    },
    Reserve {
        account: AccountId,
        until: Time,
    },
    Unreserve,
    Retire,
    Tag {
        add: Tags,
        remove: Tags,
    },
    Cost(Money),
}

/// What an account gets a number with; what is `None` is the number's own.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Assignment {
    pub account: AccountId,
    pub application: Option<ApplicationId>,
    pub trunk: Option<TrunkId>,
    /// Without an end, the number auto-renews.
    pub expires_at: Option<Time>,
    pub cost: Option<Price>,
}

/// A number that moves from the account that holds it to another.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Transfer {
    pub account: AccountId,
    /// What is `None` stays as it is; `Some(None)` clears it.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub application: Option<Option<ApplicationId>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub trunk: Option<Option<TrunkId>>,
    /// Also if the giver then has no active number left.
    pub confirm_last: bool,
}

/// An amount whose currency may be the number's own.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Price {
    /// A plain decimal amount, as [`Money::parse`] reads it.
    pub amount: Option<String>,
    pub currency: Option<Currency>,
}

/// Why an action is not done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The number's state does not allow it.
    State,
    /// What was asked for is wrong in itself.
    Field(FieldError),
}

impl Action {
    pub fn verb(&self) -> Verb {
        match self {
            Action::Assign(_) => Verb::Assign,
            Action::Transfer(_) => Verb::Transfer,
            Action::Release { .. } => Verb::Release,
            Action::Suspend => Verb::Suspend,
            Action::Resume => Verb::Resume,
            Action::Route { .. } => Verb::Route,
            Action::Renew { .. } | Action::Extend { .. } => Verb::Renew,
            Action::Reserve { .. } => Verb::Reserve,
            Action::Unreserve => Verb::Unreserve,
            Action::Retire => Verb::Retire,
            Action::Tag { .. } => Verb::Tag,
            Action::Cost(_) => Verb::Cost,
        }
    }

    /// What a number becomes by this action at `now`. A record that equals the
    /// given one [`as of now`](Record::as_of) says that all is so already.
    ///
    pub fn apply(&self, record: &Record, now: Time, quarantine: &Quarantine) -> Result<Record, Refusal> {
        use State::{Active, Available, Quarantined, Reserved, Retired, Suspended};
        let record = record.as_of(now);
        let entered = |state| Record { state, since: now, until: None, ..record.clone() };
        match (self, record.state) {
            (_, Retired) if *self != Action::Retire => Err(Refusal::State),

            (Action::Assign(to), Available) => to.assign(&record, now),
            (Action::Assign(to), Reserved) if record.account.as_ref() == Some(&to.account) => to.assign(&record, now),
            (Action::Assign(to), Active) if to.holds(&record)? => Ok(record),
            (Action::Assign(_), _) => Err(Refusal::State),

            (Action::Transfer(to), Active | Suspended) if record.account.as_ref() != Some(&to.account) => {
                Ok(to.moved(&record, now))
            }
            (Action::Transfer(to), Active | Suspended) if to.holds(&record) => Ok(record),
            (Action::Transfer(_), _) => Err(Refusal::State),

            (Action::Release { .. }, Active | Suspended) => Ok(Record {
                account: None,
                application: None,
                trunk: None,
                assigned_at: None,
                expires_at: None,
                until: Some(now.plus(quarantine.of(record.country))),
                ..entered(Quarantined)
            }
            .as_of(now)),
            (Action::Release { .. }, Quarantined) => Ok(record),
            (Action::Release { .. }, _) => Err(Refusal::State),

            (Action::Suspend, Active) => Ok(entered(Suspended)),
            (Action::Suspend, Suspended) => Ok(record),
            (Action::Suspend, _) => Err(Refusal::State),

            (Action::Resume, Suspended) => Ok(entered(Active)),
            (Action::Resume, Active) => Ok(record),
            (Action::Resume, _) => Err(Refusal::State),

            (Action::Route { application, trunk }, Active | Suspended) => Ok(Record {
                application: application.clone().unwrap_or_else(|| record.application.clone()),
                trunk: trunk.clone().unwrap_or_else(|| record.trunk.clone()),
                ..record
            }),
            (Action::Route { .. }, _) => Err(Refusal::State),

            (Action::Renew { expires_at }, Active | Suspended) => {
                if let Some(end) = *expires_at {
                    not_before("expires_at", end, now, "now")?;
                    if let Some(assigned_at) = record.assigned_at {
                        not_before("expires_at", end, assigned_at, "the number was assigned")?;
                    }
                }
                Ok(Record { expires_at: *expires_at, ..record })
            }
            (Action::Extend { months, zone }, Active | Suspended) => {
                let Some(end) = record.expires_at else { return Ok(record) };
                Ok(Record { expires_at: Some(extended(end, now, *months, zone)?), ..record })
            }
            (Action::Renew { .. } | Action::Extend { .. }, _) => Err(Refusal::State),

            (Action::Reserve { account, until }, Available) => {
                not_before("until", *until, now, "now")?;
                Ok(Record { account: Some(account.clone()), until: Some(*until), ..entered(Reserved) })
            }
            (Action::Reserve { account, until }, Reserved) if record.account.as_ref() == Some(account) => {
                not_before("until", *until, now, "now")?;
                Ok(Record { until: Some(*until), ..record })
            }
            (Action::Reserve { .. }, _) => Err(Refusal::State),

            (Action::Unreserve, Reserved) => Ok(Record { account: None, ..entered(Available) }),
            (Action::Unreserve, Available) => Ok(record),
            (Action::Unreserve, _) => Err(Refusal::State),

            (Action::Retire, Available | Quarantined) => Ok(entered(Retired)),
            (Action::Retire, Retired) => Ok(record),
            (Action::Retire, _) => Err(Refusal::State),

            (Action::Tag { add, remove }, _) => {
                let mut new = add.iter().filter(|tag| !record.tags.contains(tag));
                if let Some(tag) = new.find(|tag| nothing::certain(tag)) {
                    return Err(Refusal::Field(FieldError::new("add", code::INVALID, nothing::OMIT, tag)));
                }
                let kept = record.tags.iter().filter(|tag| !remove.contains(tag));
                let tags = Tags::new(kept.chain(add.iter()));
                if tags.iter().count() > TAGS_MAX {
                    let message = format!("would give the number more than {TAGS_MAX} tags");
                    return Err(field("add", code::OUT_OF_RANGE, message));
                }
                Ok(Record { tags, ..record })
            }

            (Action::Cost(cost), _) => Ok(Record { cost: Some(*cost), ..record }),
        }
    }
}

impl Assignment {
    fn assign(&self, record: &Record, now: Time) -> Result<Record, Refusal> {
        if let Some(end) = self.expires_at {
            not_before("expires_at", end, now, "now")?;
        }
        let cost = match &self.cost {
            Some(price) => Some(price.resolve(record.cost)?),
            None => record.cost,
        };
        if cost.is_none() {
            return Err(field("monthly_cost", code::MISSING, "is needed: the number has none of its own"));
        }
        Ok(Record {
            state: State::Active,
            account: Some(self.account.clone()),
            application: self.application.clone(),
            trunk: self.trunk.clone(),
            cost,
            assigned_at: Some(now),
            expires_at: self.expires_at,
            since: now,
            until: None,
            ..record.clone()
        })
    }

    /// Whether a held number is just what this would make of it.
    fn holds(&self, record: &Record) -> Result<bool, Refusal> {
        let cost = match &self.cost {
            Some(price) => Some(price.resolve(record.cost)?),
            None => record.cost,
        };
        Ok(record.account.as_ref() == Some(&self.account)
            && (self.application.is_none() || self.application == record.application)
            && (self.trunk.is_none() || self.trunk == record.trunk)
            && (self.expires_at.is_none() || self.expires_at == record.expires_at)
            && cost == record.cost)
    }
}

impl Transfer {
    /// Whether the number of that account has the route that is asked for.
    fn holds(&self, record: &Record) -> bool {
        self.application.as_ref().is_none_or(|wanted| *wanted == record.application)
            && self.trunk.as_ref().is_none_or(|wanted| *wanted == record.trunk)
    }

    /// A held number as its new account has it: assigned now, with the state,
    /// the price and the expiry that it had.
    pub fn moved(&self, record: &Record, now: Time) -> Record {
        Record {
            account: Some(self.account.clone()),
            application: self.application.clone().unwrap_or_else(|| record.application.clone()),
            trunk: self.trunk.clone().unwrap_or_else(|| record.trunk.clone()),
            assigned_at: Some(now),
            ..record.clone()
        }
    }
}

impl Price {
    /// The amount in its currency, or in that of what the number costs now.
    pub fn resolve(&self, current: Option<Money>) -> Result<Money, Refusal> {
        let currency = self.currency.or(current.map(|cost| cost.currency));
        match (&self.amount, currency) {
            (Some(amount), Some(currency)) => Money::parse(amount, currency).map_err(|error| {
                Refusal::Field(FieldError::new("monthly_cost", code::INVALID, error.to_string(), amount))
            }),
            (Some(_), None) => Err(field("currency", code::MISSING, "is needed with monthly_cost")),
            // A currency alone says nothing new, or half of something.
            (None, currency) => match current {
                Some(cost) if currency == Some(cost.currency) => Ok(cost),
                _ => Err(field("monthly_cost", code::MISSING, "is needed with currency")),
            },
        }
    }
}

/// Reads null as a value of its own: only what is absent is `None`.
fn given<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: serde::Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    serde::Deserialize::deserialize(deserializer).map(Some)
}

fn field(name: &str, code: &'static str, message: impl Into<String>) -> Refusal {
    Refusal::Field(FieldError::missing(name, code, message))
}

/// The end of a renewal by whole months.
fn extended(end: Time, now: Time, months: u32, zone: &Zone) -> Result<Time, Refusal> {
    let later = zone.months_later(end.max(now), months).filter(|later| !later.is_last_day());
    later.ok_or_else(|| {
        let message = format!("would move the expiry of {end} past the last year that has a calendar");
        Refusal::Field(FieldError::new("months", code::OUT_OF_RANGE, message, &months.to_string()))
    })
}

fn not_before(name: &str, time: Time, earliest: Time, what: &str) -> Result<(), Refusal> {
    if time >= earliest {
        return Ok(());
    }
    let message = format!("must not be before {what} ({earliest})");
    Err(Refusal::Field(FieldError::new(name, code::OUT_OF_RANGE, message, &time.to_string())))
}

/// Whether a verb is worth offering in a state: it could change something, for
/// one account at least.
pub fn offered(verb: Verb, state: State) -> bool {
    use State::{Active, Available, Quarantined, Reserved, Suspended};
    match verb {
        Verb::Assign | Verb::Reserve => matches!(state, Available | Reserved),
        Verb::Transfer | Verb::Release | Verb::Route | Verb::Renew => matches!(state, Active | Suspended),
        Verb::Suspend => state == Active,
        Verb::Resume => state == Suspended,
        Verb::Unreserve => state == Reserved,
        Verb::Retire => matches!(state, Available | Quarantined),
        Verb::Tag | Verb::Cost => state != State::Retired,
        _ => false,
    }
}

impl Action {
    /// What to do about a number whose state does not allow this.
    pub fn hint(&self, record: &Record) -> &'static str {
        match self {
            Action::Assign(to) if record.holder() == Some(&to.account) => match record.state {
                State::Suspended => "the account holds it already; resume it, or change it with cost, route or renew",
                _ => "the account holds it already; change it with cost, route or renew",
            },
            action => hint(action.verb(), record.state),
        }
    }
}

/// What to do about a state that does not allow a verb.
pub fn hint(verb: Verb, state: State) -> &'static str {
    use State::{Active, Available, Quarantined, Reserved, Retired, Suspended};
    match (verb, state) {
        (_, Retired) => "bring it into stock again first",
        (Verb::Assign, Active | Suspended) => "release it first, or transfer it",
        (Verb::Transfer, Active | Suspended) => "the account holds it already; set its route instead",
        (Verb::Assign, Quarantined) => "wait for the end of its quarantine, or undo the release",
        (Verb::Assign | Verb::Reserve, Reserved) => "it is reserved for another account; unreserve it first",
        (Verb::Reserve, _) => "only an available number can be reserved",
        (Verb::Retire, Active | Suspended) => "release it first",
        (Verb::Retire, _) => "unreserve it first",
        (Verb::Unreserve, _) => "it is not reserved",
        (_, Available | Reserved | Quarantined) => "no account holds it",
        (_, Active | Suspended) => "its state does not allow this",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Country, NumberType};

    const NOW: i64 = 1_770_000_000;

    fn now() -> Time {
        Time::new(NOW).expect("a time")
    }

    fn record(state: State) -> Record {
        let held = matches!(state, State::Active | State::Suspended);
        let account = held || state == State::Reserved;
        Record {
            state,
            account: account.then(|| "MA_1".parse().expect("an id")),
            application: held.then(|| "app_1".parse().expect("an id")),
            trunk: None,
            number_type: NumberType::Local,
            country: None,
            region: None,
            cost: Money::parse("5.00", "EUR".parse().expect("a currency")).ok(),
            assigned_at: held.then(|| now().plus(-100)),
            expires_at: None,
            since: now().plus(-50),
            until: matches!(state, State::Reserved | State::Quarantined).then(|| now().plus(1_000)),
            tags: Tags::new(["old"]),
        }
    }

    fn assign(account: &str) -> Action {
        let account = account.parse().expect("an id");
        Action::Assign(Assignment { account, application: None, trunk: None, expires_at: None, cost: None })
    }

    fn reserve(account: &str) -> Action {
        Action::Reserve { account: account.parse().expect("an id"), until: now().plus(2_000) }
    }

    fn transfer(account: &str) -> Action {
        let account = account.parse().expect("an id");
        Action::Transfer(Transfer { account, application: None, trunk: None, confirm_last: true })
    }

    /// The action of a row of the table, for the account that has the number
    /// and for another.
    fn actions(verb: &str) -> [Action; 2] {
        let both = |action: Action| [action.clone(), action];
        match verb {
            "assign" => [assign("MA_1"), assign("MA_2")],
            "reserve" => [reserve("MA_1"), reserve("MA_2")],
            "transfer" => [transfer("MA_1"), transfer("MA_2")],
            "release" => both(Action::Release { confirm_last: true }),
            "suspend" => both(Action::Suspend),
            "resume" => both(Action::Resume),
            "route" => both(Action::Route { application: Some(None), trunk: None }),
            "renew" => both(Action::Renew { expires_at: Some(now().plus(9_000)) }),
            "unreserve" => both(Action::Unreserve),
            "retire" => both(Action::Retire),
            "tag" => both(Action::Tag { add: Tags::new(["new"]), remove: Tags::default() }),
            "cost" => both(Action::Cost(Money::parse("7.00", "EUR".parse().expect("a currency")).expect("money"))),
            verb => panic!("the table has a verb {verb}"),
        }
    }

    /// The table at the top of this file, cell by cell.
    #[test]
    fn the_table_is_what_happens() {
        let quarantine = Quarantine { default_days: 90, ..Quarantine::default() };
        let table = include_str!("action.rs").lines().filter_map(|line| line.strip_prefix("//! | `"));
        let mut cells = 0;
        for line in table {
            let (verb, rest) = line.split_once('`').expect("a verb");
            let row: Vec<&str> = rest.split('|').map(str::trim).filter(|cell| !cell.is_empty()).collect();
            assert_eq!(row.len(), State::ALL.len(), "{line}");
            for (&state, cell) in State::ALL.iter().zip(row) {
                let before = record(state);
                let outcomes = actions(verb).map(|action| action.apply(&before, now(), &quarantine));
                let refused = Err(Refusal::State);
                let what = format!("{verb} in state {state}: {cell}");
                match cell.trim_end_matches(['¹', '²', '³', ' ']) {
                    "yes" => outcomes.iter().for_each(|outcome| assert_ne!(outcome.as_ref(), Ok(&before), "{what}")),
                    "already" => outcomes.iter().for_each(|outcome| assert_eq!(outcome, &Ok(before.clone()), "{what}")),
                    "–" => outcomes.iter().for_each(|outcome| assert_eq!(outcome, &refused, "{what}")),
                    "same account" => {
                        assert!(outcomes[0].as_ref().is_ok_and(|after| *after != before), "{what}");
                        assert_eq!(outcomes[1], refused, "{what}");
                    }
                    "other" => {
                        assert_eq!(outcomes[0], Ok(before.clone()), "{what}");
                        assert!(outcomes[1].as_ref().is_ok_and(|after| *after != before), "{what}");
                    }
                    "same" => assert_eq!(outcomes, [Ok(before), refused], "{what}"),
                    other => panic!("{other:?} in {line}"),
                }
                if let [Ok(after), _] = &actions(verb).map(|action| action.apply(&record(state), now(), &quarantine)) {
                    let moved = after.state != state;
                    assert_eq!(after.since, if moved { now() } else { record(state).since }, "{what}");
                }
                let offered = ["yes", "same account", "other"].iter().any(|word| cell.starts_with(word));
                assert_eq!(super::offered(actions(verb)[0].verb(), state), offered, "{what}");
                cells += 1;
            }
        }
        assert_eq!(cells, 12 * State::ALL.len());
    }

    #[test]
    fn what_ended_by_time_is_available() {
        for state in [State::Reserved, State::Quarantined] {
            let ended = Record { until: Some(now()), ..record(state) };
            let assigned = assign("MA_2").apply(&ended, now(), &Quarantine::default()).expect("available");
            assert_eq!((assigned.state, assigned.assigned_at), (State::Active, Some(now())), "{state}");
            let still = Record { until: Some(now().plus(1)), ..record(state) };
            assert_eq!(assign("MA_2").apply(&still, now(), &Quarantine::default()), Err(Refusal::State), "{state}");
        }
    }

    #[test]
    fn a_transfer_keeps_all_but_holder_and_route() {
        let app = |id: &str| Some(id.parse::<ApplicationId>().expect("an id"));
        let trunk = |id: &str| Some(id.parse::<TrunkId>().expect("an id"));
        for state in [State::Active, State::Suspended] {
            let ends = Some(now().plus(-1)); // An expired number moves as it is.
            let before = Record { expires_at: ends, trunk: trunk("trunk_1"), ..record(state) };
            let cases = [
                (None, None, app("app_1"), trunk("trunk_1")),
                (Some(None), None, None, trunk("trunk_1")),
                (Some(app("app_2")), Some(None), app("app_2"), None),
            ];
            for (application, on, routed, expected) in cases {
                let account: AccountId = "MA_2".parse().expect("an id");
                let to = Transfer { account: account.clone(), application, trunk: on, confirm_last: false };
                let after = Action::Transfer(to.clone()).apply(&before, now(), &Quarantine::default());
                let expected = Record {
                    account: Some(account),
                    application: routed,
                    trunk: expected,
                    assigned_at: Some(now()),
                    ..before.clone()
                };
                assert_eq!(after, Ok(expected), "{to:?}");
            }
        }
        // To its holder with another route: that is no transfer.
        let to = Transfer {
            account: "MA_1".parse().expect("an id"),
            application: Some(None),
            trunk: None,
            confirm_last: true,
        };
        let refused = Action::Transfer(to).apply(&record(State::Active), now(), &Quarantine::default());
        assert_eq!(refused, Err(Refusal::State));
    }

    #[test]
    fn quarantine_follows_the_country() {
        let france: Country = "FR".parse().expect("a country");
        let quarantine = Quarantine { default_days: 90, countries: [(france, 40)].into() };
        let until = |country: Option<Country>| {
            let held = Record { country, ..record(State::Active) };
            let released = Action::Release { confirm_last: true }.apply(&held, now(), &quarantine).expect("released");
            (released.until.expect("an end").seconds() - NOW) / 86_400
        };
        assert_eq!((until(Some(france)), until(None)), (40, 90));
        // None at all: available at once.
        let none = Quarantine::default();
        let released = Action::Release { confirm_last: true }.apply(&record(State::Active), now(), &none);
        assert_eq!(released.expect("released").state, State::Available);
    }

    #[test]
    fn a_renewal_by_months_counts_from_the_later_of_the_end_and_now() {
        let at = |text: &str| text.parse::<Time>().expect("a time");
        for (state, end, now, months, expected) in [
            (State::Active, Some("2026-12-11T00:00:00Z"), "2026-11-29T12:00:00Z", 12, Some("2027-12-11T00:00:00Z")),
            (State::Suspended, Some("2027-01-31T00:00:00Z"), "2026-11-29T12:00:00Z", 1, Some("2027-02-28T00:00:00Z")),
            // It has expired: from now.
            (State::Active, Some("2026-11-01T00:00:00Z"), "2027-01-31T12:30:15Z", 1, Some("2027-02-28T12:30:15Z")),
            (State::Active, Some("2026-11-29T12:00:00Z"), "2026-11-29T12:00:00Z", 1, Some("2026-12-29T12:00:00Z")),
            // It auto-renews: left as it is.
            (State::Active, None, "2026-11-29T12:00:00Z", 12, None),
        ] {
            let held = Record { expires_at: end.map(at), ..record(state) };
            let action = Action::Extend { months, zone: Zone::utc() };
            let after = action.apply(&held, at(now), &Quarantine::default()).expect("renewed");
            assert_eq!(after.expires_at, expected.map(at), "{end:?} and {months} months at {now}");
            assert_eq!(after, Record { expires_at: expected.map(at), ..held }, "nothing else changes");
        }
        let last = Record { expires_at: Some(at("9999-12-01T00:00:00Z")), ..record(State::Active) };
        let refused = Action::Extend { months: 1, zone: Zone::utc() }.apply(&last, now(), &Quarantine::default());
        assert!(matches!(refused, Err(Refusal::Field(error)) if error.field == "months"));
        for state in [State::Available, State::Reserved, State::Quarantined, State::Retired] {
            let refused =
                Action::Extend { months: 1, zone: Zone::utc() }.apply(&record(state), now(), &Quarantine::default());
            assert_eq!(refused, Err(Refusal::State), "{state}");
        }
    }

    /// A job may have been written by another build.
    #[test]
    fn an_extension_is_never_read_as_auto_renewal() {
        let text = serde_json::to_string(&Action::Extend { months: 12, zone: Zone::utc() }).expect("JSON");
        assert_eq!(text, r#"{"extend":{"months":12,"zone":"UTC"}}"#);
        assert_eq!(serde_json::from_str::<Action>(&text).expect("read").verb(), Verb::Renew);
        let renewed = serde_json::from_str::<Action>(r#"{"renew":{"expires_at":null}}"#).expect("read");
        assert_eq!(renewed, Action::Renew { expires_at: None });
    }

    #[test]
    fn renewal_is_never_into_the_past() {
        let renew = |at: i64| Action::Renew { expires_at: Some(now().plus(at)) };
        let quarantine = Quarantine::default();
        assert!(renew(0).apply(&record(State::Active), now(), &quarantine).is_ok());
        for at in [-1, -200] {
            let outcome = renew(at).apply(&record(State::Active), now(), &quarantine);
            assert!(matches!(outcome, Err(Refusal::Field(error)) if error.field == "expires_at"), "{at}");
        }
    }
}
