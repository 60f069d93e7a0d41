//! Call records from the platform: its pages, one after the other.
//!
//! What does not answer is an error and never an empty month: every page is
//! there, in its order, or there is no invoice. Busy servers are asked again,
//! a few times and not before they say. Credentials go to the host that was
//! named and to no other: redirects are not followed.

use std::io::Read;
use std::time::Duration;

use ureq::Agent;
use ureq::http::{Response, StatusCode};

use crate::cli::CliError;
use crate::domain::Zone;
use crate::intake::{self, CallsRead, TakeCall};

/// The most records the platform puts on a page.
const PER_PAGE: u64 = 100;
/// How often a page is asked for, at the most.
const ATTEMPTS: u32 = 6;
/// The longest that a server can make us wait, and how long one may take.
const WAIT_MAX: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(60);
/// The most bytes of one page.
const PAGE_BYTES_MAX: u64 = 64 << 20;

pub struct Credentials {
    pub auth_id: String,
    pub token: String,
}

/// Hands over the calls of all pages.
pub fn calls(
    url: &str,
    credentials: &Credentials,
    zone: Option<&Zone>,
    take: TakeCall<'_>,
) -> Result<CallsRead, CliError> {
    let agent: Agent = Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .build()
        .into();
    let mut all = CallsRead::default();
    let mut page = 1_u64;
    loop {
        let target = with_page(url, page);
        let failed = |reason: String| CliError::Other(format!("page {page} of the call records at {url}: {reason}"));
        let body = get(&agent, &target, credentials).map_err(failed)?;
        let limited = body.take(PAGE_BYTES_MAX);
        let read = intake::read_calls(limited, zone, &mut *take).map_err(|error| failed(chain(&error)))?;
        let Some(place) = read.pagination else {
            return Err(failed("the answer has no pagination; is this the platform's CDR endpoint?".to_owned()));
        };
        if place.page != page {
            return Err(failed(format!("the answer is page {}", place.page)));
        }
        if place.has_next && read.records == 0 {
            return Err(failed("the page is empty, and yet it says that there is a next one".to_owned()));
        }
        all = all.then(read);
        if !place.has_next {
            return Ok(all);
        }
        page += 1;
    }
}

/// The address of a page: what the user gave, with their filters.
fn with_page(url: &str, page: u64) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}page={page}&per_page={PER_PAGE}")
}

fn get(agent: &Agent, url: &str, credentials: &Credentials) -> Result<impl Read + use<>, String> {
    let mut attempt = 1;
    loop {
        let request = agent
            .get(url)
            .header("X-Auth-ID", &credentials.auth_id)
            .header("X-Auth-Token", &credentials.token)
            .header("Accept", "application/json");
        let (reason, wait) = match request.call() {
            Ok(response) if response.status() == StatusCode::OK => return Ok(response.into_body().into_reader()),
            Ok(response) => {
                let status = response.status();
                let reason = format!("it answers {status}");
                if status != StatusCode::TOO_MANY_REQUESTS && !status.is_server_error() {
                    return Err(reason);
                }
                (reason, retry_after(&response))
            }
            Err(error) => (error.to_string(), None),
        };
        if attempt == ATTEMPTS {
            return Err(format!("{reason}, {ATTEMPTS} times"));
        }
        let wait = wait.unwrap_or(Duration::from_millis(500 << attempt)).min(WAIT_MAX);
        std::thread::sleep(wait);
        attempt += 1;
    }
}

/// What a server says of when to come back, in whole seconds.
fn retry_after<T>(response: &Response<T>) -> Option<Duration> {
    let seconds: u64 = response.headers().get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}
