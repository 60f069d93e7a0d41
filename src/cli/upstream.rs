//! Reads the complete inventory of another server, for commands that check or copy
//! it.
//!
//! The listing runs on a thread of its own, because it may wait a minute for the
//! server and Ctrl-C must not wait. It only fills memory, so it may be abandoned.

use std::fs::File;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::CliError;
use super::output::Bar;
use crate::client::{Client, ClientError, ListScope, Patience, WalkStep};
use crate::service::background::mirror::{Listing, ListingBuilder, MirrorError};

/// The most bytes of a file that has a token.
const TOKEN_BYTES_MAX: u64 = 4_096;

/// How often the screen is kept up, and Ctrl-C listened to.
const TICK: Duration = Duration::from_millis(50);

/// The token in a file that has nothing else in it.
pub fn token(path: &Path) -> Result<String, CliError> {
    let named = |source| CliError::Io { what: format!("cannot read {}", path.display()), source };
    let mut token = String::new();
    File::open(path).and_then(|file| file.take(TOKEN_BYTES_MAX).read_to_string(&mut token)).map_err(named)?;
    let token = token.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(CliError::Usage(format!("{} must have the token and nothing else in it", path.display())));
    }
    Ok(token.to_owned())
}

/// A server, and what opens it.
pub struct Upstream {
    client: Arc<Client>,
}

impl Upstream {
    pub fn new(url: &str, auth_id: &str, token_file: &Path, attempts: u32) -> Result<Upstream, CliError> {
        let patience = Patience { attempts, ..Patience::default() };
        let client = Client::new(url, auth_id, &token(token_file)?, patience);
        let client = client.map_err(|error| match error {
            ClientError::Url { .. } | ClientError::Credentials => CliError::Usage(error.to_string()),
            error => error.into(),
        })?;
        Ok(Upstream { client: Arc::new(client) })
    }

    /// All that it has; no error means that all came.
    pub fn look(&self, cancel: &AtomicBool) -> Result<Listing, CliError> {
        let (give, taken) = mpsc::channel();
        let came = Arc::new(AtomicU64::new(0));
        let (client, counted) = (self.client.clone(), came.clone());
        // A caller that stopped waiting does not need the result.
        thread::spawn(move || drop(give.send(look(&client, &counted))));
        let bar = Bar::new(None, "numbers");
        let looked = loop {
            match taken.recv_timeout(TICK) {
                Ok(looked) => break looked.map_err(CliError::from),
                Err(RecvTimeoutError::Timeout) if cancel.load(Ordering::Relaxed) => {
                    break Err(MirrorError::Cancelled.into());
                }
                Err(RecvTimeoutError::Timeout) => bar.set("reading", came.load(Ordering::Relaxed), None),
                Err(RecvTimeoutError::Disconnected) => break Err(CliError::Other("the walk broke off".to_owned())),
            }
        };
        bar.finish();
        looked
    }
}

fn look(client: &Client, came: &AtomicU64) -> Result<Listing, ClientError> {
    let accounts = match client.accounts() {
        Ok(accounts) => Some(accounts),
        Err(error) if lacks(&error) => None,
        Err(error) => return Err(error),
    };
    let mut reading = ListingBuilder::default();
    let walked = client.numbers(&ListScope::All, &mut |step| {
        match step {
            WalkStep::Begin => {
                came.store(0, Ordering::Relaxed);
                reading.begin();
            }
            WalkStep::Rows(rows) => {
                came.fetch_add(rows.len() as u64, Ordering::Relaxed);
                rows.into_iter().for_each(|row| reading.add(row));
            }
        }
        ControlFlow::Continue(())
    })?;
    Ok(reading.finish(walked.dialect, accounts))
}

/// Whether a server says that it has no such list, or not for us. One that has
/// it and fails says something else.
fn lacks(error: &ClientError) -> bool {
    match error {
        ClientError::Refused { status, .. } => match status {
            401 | 407 | 408 | 425 | 429 => false,
            501 => true,
            status => (400..500).contains(status),
        },
        ClientError::Url { .. }
        | ClientError::Credentials
        | ClientError::Redirect { .. }
        | ClientError::Busy { .. }
        | ClientError::Unreachable { .. }
        | ClientError::Unusable { .. }
        | ClientError::Moving { .. }
        | ClientError::Stopped { .. } => false,
    }
}
