//! The terms of the trade as types: numbers, accounts, amounts of money, changes.
//! Storage, API and console all use these types.
//!
//! Text is parsed into one of these types where it enters the program, and is not
//! checked again. Invariant: a value of these types is well formed.
//! Deliberately absent: I/O, async, SQL, HTTP.

pub mod action;
pub mod call;
pub mod change;
pub mod country;
pub mod decimal;
pub mod destination;
pub mod dictionary;
pub mod e164;
pub mod entity;
pub mod field;
pub mod id;
pub mod label;
pub mod money;
pub mod net_change;
pub mod network;
pub mod nothing;
pub mod number;
pub mod plan;
pub mod quarantine;
pub mod row_digest;
pub mod runs;
pub mod setting;
pub mod shown;
pub mod span;
pub mod spelling;
pub mod spreadsheet;
pub mod summary;
pub mod time;
pub mod upstream;
pub mod user;
pub mod zone;

pub use action::Action;
pub use call::{Call, Direction};
pub use change::{Actor, Change, EntityChange, Logged, NumberChange, RunChange, Verb};
pub use country::Country;
pub use decimal::Decimal;
pub use destination::{Destination, Destinations, SipUri};
pub use e164::E164;
pub use entity::{Account, Acknowledgement, Application, Dialect, Key, Partner, RouteEntity, RouteKind, Scope, Trunk};
pub use field::FieldError;
pub use id::{AccountId, ApplicationId, KeyId, PartnerId, PartnerKey, TrunkId, UserId};
pub use money::{Currency, Money, Sum};
pub use net_change::NetChange;
pub use number::{Dates, NumberType, Record, State, Status, Tags};
pub use row_digest::{KeptDigest, RowDigest};
pub use runs::{Group, NumberRun};
pub use setting::{Choice, Mirror, Setting};
pub use time::Time;
pub use upstream::{UpstreamAccount, UpstreamFields, UpstreamNumber};
pub use user::{Role, User};
pub use zone::Zone;
