//! One call, as far as it is charged for.

use super::number::words;
use super::{Currency, Decimal, E164, Time};

/// Which way a call went, seen from the customer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    Inbound,
    Outbound,
}

words!(Direction: Inbound "inbound", Outbound "outbound");

/// A call record. Numbers that cannot be ours are absent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Call {
    /// What its `uuid` says, in 128 bits.
    pub id: u128,
    pub start: Time,
    pub direction: Option<Direction>,
    pub from: Option<E164>,
    pub to: Option<E164>,
    /// How long is charged.
    pub seconds: u64,
    pub cost: Decimal,
    pub currency: Currency,
    /// Whether the cost is the sum of its parts, where the record names them.
    pub adds_up: bool,
}

impl Call {
    /// The number of the customer whose call it is.
    pub fn ours(&self) -> Option<E164> {
        match self.direction? {
            Direction::Inbound => self.to,
            Direction::Outbound => self.from,
        }
    }
}
