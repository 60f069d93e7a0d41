//! Where a call of a store is allowed: on threads that may wait.
//!
//! A thread that serves requests serves many, so that none of them may wait for
//! a database on it. The HTTP side marks its requests with [`SERVING`]; every
//! store asserts [`may_wait`] before it waits, so that a call in the wrong place
//! fails in the first test that makes it.
//! Deliberately absent: the threads themselves (`http::waiting`).

tokio::task_local! {
    /// Set while a request is worked on by a thread that serves others too.
    pub static SERVING: ();
}

/// Panics, in builds with assertions, on a thread that serves requests.
#[track_caller]
pub fn may_wait() {
    debug_assert!(
        SERVING.try_with(|()| ()).is_err(),
        "a thread that serves requests called the store; use http::waiting"
    );
}
