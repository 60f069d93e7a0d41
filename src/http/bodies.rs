//! The memory budgets of request bodies while they arrive.
//!
//! Invariants: a body is read only after its headers were checked; each part of it
//! is first taken from a budget; a length over the limit is refused before a byte
//! is read. Unauthenticated and authenticated callers have a budget each, and no
//! caller may take more than a quarter of one, so a stalled caller delays no other.
//! No body waits for memory, because bodies that hold a part and wait for the rest
//! would deadlock. A body without memory is refused, and the client retries.
//! Deliberately absent: imported files, which are written to disk in pieces.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use parking_lot::Mutex;

use super::error::ApiError;
use super::server::network;
use crate::config::Limits;
use crate::domain::{PartnerKey, UserId};

/// The longest body of a stranger, in bytes: a form with an address, a password
/// and a code.
pub const STRANGER_BYTES_MAX: usize = 16 << 10;
/// A caller may hold this part of a budget.
const SHARE: usize = 4;
/// Memory is taken in pieces of at least this many bytes.
const PIECE_BYTES: usize = 4 << 10;

/// Who sends a body.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Caller {
    /// Not signed in, and without a key. An IPv6 address stands for its /64.
    Stranger(IpAddr),
    Partner(PartnerKey),
    User(UserId),
}

/// Why there is no body.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the body is longer than {max} bytes")]
    TooLong { max: usize },
    #[error("the body did not arrive")]
    Lost,
    #[error("too many requests with a body are under way for you; send it again when one has been answered")]
    Share,
    #[error("too many requests with a body are under way; send it again")]
    Full,
}

impl BodyError {
    pub fn status(&self) -> StatusCode {
        match self {
            BodyError::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::Lost => StatusCode::BAD_REQUEST,
            BodyError::Share => StatusCode::TOO_MANY_REQUESTS,
            BodyError::Full => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> ApiError {
        match error {
            BodyError::TooLong { .. } => ApiError::too_large(error.to_string()),
            BodyError::Lost => ApiError::bad_request(&error.to_string()),
            BodyError::Share => ApiError::rate_limit_because(1, error.to_string()),
            BodyError::Full => ApiError::unavailable(&error.to_string()),
        }
    }
}

/// The budgets of a server.
pub struct Bodies {
    strangers: BodyPool,
    known: BodyPool,
}

impl Bodies {
    pub fn new(limits: &Limits) -> Bodies {
        let pool = |bytes| BodyPool { bytes, taken: Mutex::default() };
        Bodies { strangers: pool(limits.stranger_body_bytes.into()), known: pool(limits.known_body_bytes.into()) }
    }

    fn pool(&self, caller: &Caller) -> &BodyPool {
        match caller {
            Caller::Stranger(_) => &self.strangers,
            Caller::Partner(_) | Caller::User(_) => &self.known,
        }
    }
}

/// Memory that bodies share.
struct BodyPool {
    bytes: usize,
    taken: Mutex<TakenBytes>,
}

#[derive(Default)]
struct TakenBytes {
    bytes: usize,
    by: HashMap<Caller, usize>,
}

/// What one body holds of a pool, given back on drop.
struct HeldBytes<'a> {
    pool: &'a BodyPool,
    caller: &'a Caller,
    bytes: usize,
}

impl HeldBytes<'_> {
    fn grow(&mut self, bytes: usize) -> Result<(), BodyError> {
        let mut taken = self.pool.taken.lock();
        let own = taken.by.get(self.caller).copied().unwrap_or_default();
        if own + bytes > self.pool.bytes / SHARE {
            return Err(BodyError::Share);
        }
        if taken.bytes + bytes > self.pool.bytes {
            return Err(BodyError::Full);
        }
        taken.bytes += bytes;
        taken.by.insert(self.caller.clone(), own + bytes);
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for HeldBytes<'_> {
    fn drop(&mut self) {
        let mut taken = self.pool.taken.lock();
        taken.bytes -= self.bytes;
        let Some(own) = taken.by.get_mut(self.caller) else { return };
        *own -= self.bytes;
        if *own == 0 {
            taken.by.remove(self.caller);
        }
    }
}

/// The body of one request: a stranger's, until its caller is known. A request
/// extension.
#[derive(Clone)]
pub struct Allowance(Arc<Sender>);

struct Sender {
    bodies: Arc<Bodies>,
    stranger: Caller,
    known: OnceLock<Caller>,
}

impl Allowance {
    pub fn new(bodies: Arc<Bodies>, from: IpAddr) -> Allowance {
        Allowance(Arc::new(Sender { bodies, stranger: Caller::Stranger(network(from)), known: OnceLock::new() }))
    }

    /// The caller of this request turned out to be known.
    pub fn known<B>(request: &Request<B>, caller: Caller) {
        if let Some(Allowance(own)) = request.extensions().get::<Allowance>() {
            let _ = own.known.set(caller);
        }
    }

    /// Reads a request's body to its end: at most `max` bytes of it, and of a
    /// stranger's [`STRANGER_BYTES_MAX`].
    pub async fn read(extensions: &http::Extensions, body: Body, max: usize) -> Result<Vec<u8>, BodyError> {
        // Without an allowance there is no budget to take it from.
        let Allowance(own) = extensions.get::<Allowance>().cloned().ok_or(BodyError::Full)?;
        match own.known.get() {
            Some(caller) => collect(body, max, own.bodies.pool(caller), caller).await,
            None => collect(body, max.min(STRANGER_BYTES_MAX), &own.bodies.strangers, &own.stranger).await,
        }
    }
}

async fn collect(mut body: Body, max: usize, pool: &BodyPool, caller: &Caller) -> Result<Vec<u8>, BodyError> {
    let announced = http_body::Body::size_hint(&body);
    if announced.lower() > max as u64 {
        return Err(BodyError::TooLong { max });
    }
    let most = announced.exact().map_or(max, |length| length as usize);
    let mut held = HeldBytes { pool, caller, bytes: 0 };
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Lost)?.into_data() else { continue };
        let length = bytes.len() + data.len();
        if length > max {
            return Err(BodyError::TooLong { max });
        }
        if length > held.bytes {
            // Half as much again, so that a long body is not copied often.
            let wanted = length.max(bytes.len() / 2 * 3).max(PIECE_BYTES).min(most.max(length));
            held.grow(wanted - held.bytes)?;
            bytes.reserve_exact(wanted - bytes.len());
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> BodyPool {
        BodyPool { bytes: 64 << 10, taken: Mutex::default() }
    }

    fn stranger(last: u8) -> Caller {
        Caller::Stranger([192, 0, 2, last].into())
    }

    fn read(pool: &BodyPool, caller: &Caller, body: Body, max: usize) -> Result<usize, String> {
        pollster::block_on(collect(body, max, pool, caller))
            .map(|bytes| bytes.len())
            .map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn a_body_is_read_up_to_its_limit_and_gives_its_memory_back() {
        let pool = pool();
        for (length, max, expected) in [
            (0, 10, Ok(0)),
            (10, 10, Ok(10)),
            (11, 10, Err("TooLong { max: 10 }")),
            (16 << 10, 16 << 10, Ok(16 << 10)),
            (20 << 10, 30 << 10, Err("Share")),
        ] {
            let read = read(&pool, &stranger(1), Body::from(vec![b'x'; length]), max);
            assert_eq!(read, expected.map_err(str::to_owned));
            let taken = pool.taken.lock();
            assert_eq!((taken.bytes, taken.by.len()), (0, 0), "after {length} bytes");
        }
    }

    #[test]
    fn no_caller_takes_all_and_all_take_no_more_than_there_is() {
        let pool = pool();
        let callers: Vec<Caller> = (1..=5).map(stranger).collect();
        let mut held: Vec<HeldBytes<'_>> =
            callers.iter().map(|caller| HeldBytes { pool: &pool, caller, bytes: 0 }).collect();
        for held in &mut held[..4] {
            held.grow(16 << 10).expect("a quarter");
            assert!(matches!(held.grow(1), Err(BodyError::Share)));
        }
        assert!(matches!(held[4].grow(1), Err(BodyError::Full)));
        held.remove(0);
        held[3].grow(1).expect("what was given back");
    }
}
