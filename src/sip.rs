//! SIP as a stateless redirect server speaks it: datagrams read, answers written.
//!
//! Pure: bytes in, bytes out. A [`Request`] borrows its datagram, and an answer
//! goes into a buffer that the caller reuses, so a call allocates nothing.
//!
//! What always holds: a response, an ACK and a CANCEL are never answered, and
//! neither is a request without a usable Via; an answer is at most
//! [`ANSWER_EXTRA_MAX`] bytes larger than its request and its Contact lines; no
//! byte of a request can end a line of an answer.
//!
//! Deliberately absent: transactions, timers, dialogs, TCP, name resolution.

mod answer;
mod message;
mod text;
#[cfg(test)]
mod torture;

pub use answer::{ANSWER_EXTRA_MAX, SipAnswer, TagSeed, destination, write};
pub use message::{
    DATAGRAM_MAX, HEADERS_MAX, Method, Request, RequestFault, Scheme, Silence, Uri, VIAS_MAX, Via, read, status,
};
