//! What a row makes of a number's state, its holder and its cost.
//!
//! Invariant: what could mean two things is refused, with what to write.
//! Deliberately absent: the transaction, and what a row names (`import`).

use super::{ImportOptions, RowRefusal, TAKEN, refuse};
use crate::domain::{AccountId, Currency, E164, Money, Record, State, Status, Time};
use crate::intake::{Cell, Field, RowFields};

/// A field that an absent column keeps and an empty cell clears.
pub(super) fn chosen<T: Clone>(cell: &Cell<T>, kept: Option<&T>) -> Option<T> {
    match cell {
        Cell::Value(value) => Some(value.clone()),
        Cell::Empty => None,
        Cell::Absent => kept.cloned(),
    }
}

/// Which state a number is in, since and until when, and for whom.
pub(super) struct Placement {
    pub state: State,
    pub account: Option<AccountId>,
    pub since: Time,
    pub until: Option<Time>,
}

impl Placement {
    pub fn holder(&self) -> Option<&AccountId> {
        if self.state.held() { self.account.as_ref() } else { None }
    }
}

/// Who shall have the number, and in which state.
pub(super) fn settle_place(
    current: Option<&Record>,
    fields: &RowFields,
    at: Time,
    move_held: bool,
    number: E164,
) -> Result<Placement, RowRefusal> {
    let holder = current.and_then(Record::holder);
    let state = fields.state.value().copied();
    let wanted = match (&fields.account, state) {
        (Cell::Value(account), Some(state)) if !state.held() => {
            return Err(refuse(
                Field::State,
                state,
                format!("a number that account {account} holds is active or suspended"),
            ));
        }
        (Cell::Value(account), _) => Some(account),
        (Cell::Empty, Some(state)) if state.held() => {
            return Err(refuse(Field::AccountAuthId, "", format!("a number that is {state} needs an account")));
        }
        (Cell::Absent, Some(state)) if state.held() => Some(
            holder.ok_or_else(|| refuse(Field::State, state, format!("a number that is {state} needs an account")))?,
        ),
        (Cell::Absent, None) => holder,
        (Cell::Empty | Cell::Absent, _) => None,
    };
    if holder.is_some() && holder != wanted && !move_held {
        return Err(refuse(Field::Number, number, TAKEN));
    }
    if let (Some(current), Some(wanted), None, false) = (current, wanted, holder, move_held) {
        let until = current.until.map(|until| format!(" until {until}")).unwrap_or_default();
        match current.state.at(current.until, at) {
            State::Quarantined => {
                return Err(refuse(
                    Field::Number,
                    number,
                    format!("the number is in quarantine{until}; give --move to assign it now"),
                ));
            }
            State::Reserved if current.account.as_ref() != Some(wanted) => {
                return Err(refuse(
                    Field::Number,
                    number,
                    format!("the number is reserved for another account{until}; give --move to assign it now"),
                ));
            }
            State::Reserved | State::Available | State::Active | State::Suspended | State::Retired => {}
        }
    }
    let ends = |cell: &Cell<Time>, field: Field, state: State| {
        let kept = current.filter(|current| current.state == state).and_then(|current| current.until);
        cell.value()
            .copied()
            .or(kept)
            .ok_or_else(|| refuse(field, "", format!("a number that is {state} needs its end")))
    };
    let (state, account, until) = match (wanted, state) {
        (Some(account), state) => {
            // A number that moves keeps its status.
            let kept = current.filter(|current| current.holder().is_some()).map(|current| current.state);
            let said = match (fields.blocked.value(), fields.status.value()) {
                (Some(true), _) | (_, Some(Status::Suspended)) => Some(State::Suspended),
                (_, Some(Status::Active)) => Some(State::Active),
                (_, None) => None,
            };
            (state.or(said).or(kept).unwrap_or(State::Active), Some(account.clone()), None)
        }
        (None, Some(State::Quarantined)) => (
            State::Quarantined,
            None,
            Some(ends(&fields.quarantine_ends_at, Field::QuarantineEndsAt, State::Quarantined)?),
        ),
        (None, Some(State::Reserved)) => {
            let kept =
                current.filter(|current| current.state == State::Reserved).and_then(|current| current.account.as_ref());
            let account = fields.reserved_for.value().or(kept).cloned();
            let account =
                account.ok_or_else(|| refuse(Field::ReservedFor, "", "a number that is reserved needs an account"))?;
            (State::Reserved, Some(account), Some(ends(&fields.reserved_until, Field::ReservedUntil, State::Reserved)?))
        }
        (None, Some(State::Available | State::Active | State::Suspended | State::Retired)) => {
            (State::Available, None, None)
        }
        (None, None) => match current.filter(|current| !current.state.held()) {
            Some(current) => (current.state, current.account.clone(), current.until),
            None => (State::Available, None, None),
        },
    };
    let moves = holder.is_some() && state.held();
    let stays = |current: &&Record| current.state == state && (moves || current.account == account);
    let kept = current.filter(stays).map(|current| current.since);
    let since = fields.since.value().copied().or(kept).unwrap_or(at);
    Ok(Placement { state, account, since, until })
}

/// What the number costs by the row.
pub(super) fn settle_cost(
    current: Option<&Record>,
    fields: &RowFields,
    held: bool,
    options: &ImportOptions,
) -> Result<Option<Money>, RowRefusal> {
    let stored = current.and_then(|current| current.cost);
    let stored_currency = stored.map(|cost| cost.currency);
    let flag: Option<Currency> = options.intake.currency;
    let currency = match &fields.currency {
        Cell::Value(currency) => Some(*currency),
        Cell::Absent | Cell::Empty => stored_currency.or(flag),
    };
    // The flags are for what neither the row nor the store says.
    let amount = match &fields.cost {
        Cell::Value(amount) => Some(amount),
        Cell::Absent | Cell::Empty => options.monthly_cost.as_ref().filter(|_| stored.is_none()),
    };
    let cost = match (amount, currency) {
        (Some(amount), Some(currency)) => Some(
            Money::parse(amount, currency).map_err(|error| refuse(Field::MonthlyCost, amount, error.to_string()))?,
        ),
        (Some(amount), None) => {
            return Err(refuse(
                Field::Currency,
                "",
                format!("the monthly_cost {amount} needs a currency, here or as --currency"),
            ));
        }
        (None, Some(currency))
            if fields.currency.value().is_some() && stored_currency.is_some_and(|stored| stored != currency) =>
        {
            return Err(refuse(Field::Currency, currency, "another currency needs its monthly_cost in the same row"));
        }
        (None, _) => stored,
    };
    if held && cost.is_none() {
        let message =
            "an assigned number needs a monthly_cost and a currency, in its row or as --monthly-cost and --currency";
        return Err(refuse(Field::MonthlyCost, "", message));
    }
    Ok(cost)
}
