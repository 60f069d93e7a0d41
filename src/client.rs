//! Reads another server's inventory through its Partner API.
//!
//! A listing is polite and complete, or it is an error. Polite: one request at a
//! time; it waits as long as the server says (`Retry-After`), with backoff while the
//! server fails. Complete: it succeeds only if as many distinct rows came as the
//! server's total says; if the total changes meanwhile, it starts again. So a
//! failed page never makes an inventory shorter, and an error names the page and
//! the status.
//!
//! Both dialects are understood, told apart by their keys. Where the server
//! gives a `Link` to the next page it is followed, else pages are counted up.
//! Only the query of a link is used: the credentials go to the named server
//! alone, which is also why redirects are refused.
//! Memory: one page; of rows that come in no order also what names each.
//! Deliberately absent: writes, filters, keeping what was read.

mod read;

use std::collections::HashSet;
use std::fmt;
use std::ops::ControlFlow;
use std::thread;
use std::time::Duration;

use crate::domain::shown::{quoted, shown, without_secrets};
use crate::domain::{AccountId, Dialect, Time, UpstreamAccount, UpstreamNumber};
use read::{ListKind, ListPage, ListRow};

/// The most bytes of one answer.
const BODY_BYTES_MAX: u64 = 16 << 20;

/// How many rows that come in no order are told apart.
const REMEMBERED_MAX: u64 = 10_000_000;

/// The paths of the lists, below the server's address.
const ACCOUNTS: &str = "/api/v1/partner/accounts";
const NUMBERS: &str = "/api/v1/partner/numbers";

/// How long to go on asking.
#[derive(Clone, Debug)]
pub struct Patience {
    /// How often one page is asked for.
    pub attempts: u32,
    /// How often a walk is begun.
    pub walks: u32,
    /// The wait before a second attempt; it doubles with each further one.
    pub wait_first: Duration,
    /// The longest wait. A server that asks for more is given up.
    pub wait_max: Duration,
    /// How long one request may take, from its connection to its last byte.
    pub timeout: Duration,
    /// How many rows are asked for at once.
    pub per_page: u64,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            attempts: 5,
            walks: 3,
            wait_first: Duration::from_millis(500),
            wait_max: Duration::from_secs(60),
            timeout: Duration::from_secs(60),
            per_page: 100,
        }
    }
}

/// Which numbers are wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ListScope {
    /// The partner's, assigned or not.
    All,
    /// One account's.
    Of(AccountId),
}

/// What a walk hands on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WalkStep<T> {
    /// A walk begins: what came before it, if anything did, is void.
    Begin,
    /// The rows of a page, at least one.
    Rows(Vec<T>),
}

/// A walk that came to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Walked {
    /// How many rows there are, and were handed on since the last
    /// [`WalkStep::Begin`].
    pub total: u64,
    pub pages: u64,
    /// The entity tag of every page, if they all had the same: from a Rollcall
    /// server the rows are then of one moment.
    pub etag: Option<String>,
    /// In which of the two shapes they came.
    pub dialect: Dialect,
}

/// Where a walk was when it failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WalkPosition {
    pub path: String,
    pub page: u64,
}

impl fmt::Display for WalkPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page {} of {}", self.page, self.path)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("{url:?} is no server's address; write https://HOST or http://HOST:PORT, with nothing secret in it")]
    Url { url: String },
    #[error("the auth id and the token must be visible characters, as a header has them")]
    Credentials,
    #[error("{place}: the server answers {status}{said}{}", advice(*status))]
    Refused { place: WalkPosition, status: u16, said: String },
    #[error(
        "{place}: the server answers {status}, a redirect{to}; credentials go to the named server only, so name the one that answers"
    )]
    Redirect { place: WalkPosition, status: u16, to: String },
    #[error("{place}: the server answers {status} and asks for {seconds} seconds of patience; come back then")]
    Busy { place: WalkPosition, status: u16, seconds: u64 },
    #[error("{place}: no answer in {attempts} attempts")]
    Unreachable {
        place: WalkPosition,
        attempts: u32,
        #[source]
        source: Box<ureq::Error>,
    },
    #[error("{place}: the answer ({status}) is not to be used: {problem}")]
    Unusable { place: WalkPosition, status: u16, problem: String },
    #[error(
        "{path}: the list changed during each of {walks} walks, the last time so: {problem}; try when it is quieter"
    )]
    Moving { path: String, walks: u32, problem: String },
    #[error("{path}: stopped before the end")]
    Stopped { path: String },
}

/// What helps against a status.
fn advice(status: u16) -> &'static str {
    match status {
        401 => "; check the auth id and the token",
        403 => "; check whether the partner is active, and what the key may do and from where",
        404 => "; check the server's address and the account's id",
        _ => "",
    }
}

/// A server and the credentials for it.
pub struct Client {
    agent: ureq::Agent,
    base: String,
    auth_id: String,
    auth_token: String,
    patience: Patience,
}

/// Without the token.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &self.base).field("auth_id", &self.auth_id).finish_non_exhaustive()
    }
}

impl Client {
    /// Nothing is asked yet.
    pub fn new(url: &str, auth_id: &str, auth_token: &str, patience: Patience) -> Result<Client, ClientError> {
        let base = url.trim_end_matches('/');
        let bad = || ClientError::Url { url: without_secrets(url) };
        let uri: http::Uri = base.parse().map_err(|_| bad())?;
        let named = uri.authority().is_some_and(|name| !name.as_str().contains('@'));
        if !matches!(uri.scheme_str(), Some("http" | "https")) || !named || base.contains(['?', '#']) {
            return Err(bad());
        }
        let visible = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !visible(auth_id) || !visible(auth_token) {
            return Err(ClientError::Credentials);
        }
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(patience.timeout.min(Duration::from_secs(10))))
            .timeout_global(Some(patience.timeout))
            .user_agent(concat!("rollcall/", env!("CARGO_PKG_VERSION")))
            .accept("application/json")
            .build();
        Ok(Client {
            agent: config.new_agent(),
            base: base.to_owned(),
            auth_id: auth_id.to_owned(),
            auth_token: auth_token.to_owned(),
            patience,
        })
    }

    /// All accounts of the partner.
    pub fn accounts(&self) -> Result<Vec<UpstreamAccount>, ClientError> {
        let mut all = Vec::new();
        self.walk(ACCOUNTS, &mut |step| {
            match step {
                WalkStep::Begin => all.clear(),
                WalkStep::Rows(rows) => all.extend(rows),
            }
            ControlFlow::Continue(())
        })?;
        Ok(all)
    }

    /// Walks a list of numbers from its beginning to its end. `take` may break,
    /// which is [`ClientError::Stopped`]: no error means that all rows came.
    pub fn numbers(
        &self,
        list: &ListScope,
        take: &mut dyn FnMut(WalkStep<UpstreamNumber>) -> ControlFlow<()>,
    ) -> Result<Walked, ClientError> {
        match list {
            ListScope::All => self.walk(NUMBERS, take),
            ListScope::Of(account) => self.walk(&format!("{ACCOUNTS}/{}/numbers", segment(account.as_str())), take),
        }
    }

    fn walk<T: ListRow>(
        &self,
        path: &str,
        take: &mut dyn FnMut(WalkStep<T>) -> ControlFlow<()>,
    ) -> Result<Walked, ClientError> {
        let mut sorted = true;
        let mut walks = 0;
        loop {
            if take(WalkStep::Begin).is_break() {
                return Err(ClientError::Stopped { path: path.to_owned() });
            }
            match self.walk_once(path, sorted, take)? {
                WalkEnd::Complete(walked) => return Ok(walked),
                // Once only, so it counts for nothing.
                WalkEnd::Unsorted => sorted = false,
                WalkEnd::Moved(problem) => {
                    walks += 1;
                    tracing::debug!(path, problem, "walking {path} again");
                    if walks >= self.patience.walks {
                        return Err(ClientError::Moving { path: path.to_owned(), walks, problem });
                    }
                }
            }
        }
    }

    fn walk_once<T: ListRow>(
        &self,
        path: &str,
        sorted: bool,
        take: &mut dyn FnMut(WalkStep<T>) -> ControlFlow<()>,
    ) -> Result<WalkEnd, ClientError> {
        let mut place = WalkPosition { path: path.to_owned(), page: 1 };
        let mut query = self.page_query(1);
        let mut linked = false;
        let mut total = None;
        let mut kind = None;
        let mut came = 0;
        let mut seen = SeenRows::new(sorted);
        let mut etag: Option<String> = None;
        loop {
            let answer = self.get(&query, &place)?;
            let unusable = |problem| ClientError::Unusable { place: place.clone(), status: answer.status, problem };
            let page: ListPage<T> = read::page(&answer.body).map_err(unusable)?;
            if *kind.get_or_insert(page.kind) != page.kind {
                return Err(unusable("its keys are another dialect's than the pages before had".to_owned()));
            }
            if let Some(number) = page.number.filter(|&number| !linked && number != place.page) {
                return Err(unusable(format!("it says that it is page {number}")));
            }
            if page.total > REMEMBERED_MAX && !sorted {
                return Err(unusable(format!(
                    "{} rows in no order cannot be told apart; more than {REMEMBERED_MAX} must come in ascending order",
                    page.total
                )));
            }
            let before: u64 = *total.get_or_insert(page.total);
            if before != page.total {
                return Ok(WalkEnd::Moved(format!(
                    "the total went from {before} to {} on page {}",
                    page.total, place.page
                )));
            }
            for row in &page.rows {
                match seen.add(row.key()) {
                    Sighting::New => {}
                    Sighting::Unsorted => return Ok(WalkEnd::Unsorted),
                    Sighting::Again => {
                        return Ok(WalkEnd::Moved(format!(
                            "{} came twice, the second time on page {}",
                            row.key(),
                            place.page
                        )));
                    }
                }
            }
            etag = if place.page == 1 {
                answer.etag.clone()
            } else {
                etag.filter(|tag| answer.etag.as_ref() == Some(tag))
            };
            let empty = page.rows.is_empty();
            came += page.rows.len() as u64;
            if !empty && take(WalkStep::Rows(page.rows)).is_break() {
                return Err(ClientError::Stopped { path: path.to_owned() });
            }
            if empty || came >= page.total {
                break;
            }
            match answer.link.as_deref().map(|link| next_query(link, path)) {
                Some(Ok(Some(next))) => {
                    query = next;
                    linked = true;
                }
                Some(Err(target)) => {
                    let problem = format!("its Link leads to {}, which is not a page of this list", quoted(target));
                    return Err(ClientError::Unusable { place, status: answer.status, problem });
                }
                // A server that names its next pages has no more of them.
                Some(Ok(None)) | None if linked => break,
                Some(Ok(None)) | None => query = self.page_query(place.page + 1),
            }
            place.page += 1;
        }
        let total = total.unwrap_or_default();
        if came != total {
            return Ok(WalkEnd::Moved(format!("{came} rows came, and the total is {total}")));
        }
        let dialect = if kind == Some(ListKind::Items) { Dialect::Items } else { Dialect::Data };
        Ok(WalkEnd::Complete(Walked { total, pages: place.page, etag, dialect }))
    }

    fn page_query(&self, page: u64) -> String {
        format!("page={page}&per_page={}", self.patience.per_page)
    }

    /// One page, asked for until it comes or patience ends.
    fn get(&self, query: &str, place: &WalkPosition) -> Result<UpstreamResponse, ClientError> {
        let url = format!("{}{}?{query}", self.base, place.path);
        let mut wait = self.patience.wait_first;
        for attempt in 1.. {
            let last = attempt >= self.patience.attempts;
            let pause = match self.ask(&url) {
                Ok(answer) => match answer.status {
                    200 => return Ok(answer),
                    300..=399 => {
                        let to = answer.location.map_or(String::new(), |to| format!(" to {}", quoted(&to)));
                        return Err(ClientError::Redirect { place: place.clone(), status: answer.status, to });
                    }
                    429 | 500 | 502 | 503 | 504 if !last => match answer.retry_after {
                        Some(after) if after > self.patience.wait_max => {
                            let seconds = after.as_secs();
                            return Err(ClientError::Busy { place: place.clone(), status: answer.status, seconds });
                        }
                        Some(after) => after.max(wait),
                        None => wait,
                    },
                    status => {
                        let said = read::error_message(&answer.body)
                            .map_or(String::new(), |said| format!(" ({})", shown(&said)));
                        return Err(ClientError::Refused { place: place.clone(), status, said });
                    }
                },
                Err(ureq::Error::BodyExceedsLimit(_)) => {
                    let problem = format!("it is larger than {BODY_BYTES_MAX} bytes");
                    return Err(ClientError::Unusable { place: place.clone(), status: 200, problem });
                }
                Err(error) if last || !passing(&error) => {
                    return Err(ClientError::Unreachable {
                        place: place.clone(),
                        attempts: attempt,
                        source: Box::new(error),
                    });
                }
                Err(_) => wait,
            };
            tracing::debug!(%place, attempt, wait_ms = pause.as_millis() as u64, "{place} again in {pause:?}");
            thread::sleep(pause.min(self.patience.wait_max));
            wait = wait.saturating_mul(2).min(self.patience.wait_max);
        }
        unreachable!("the last attempt returns")
    }

    fn ask(&self, url: &str) -> Result<UpstreamResponse, ureq::Error> {
        let request = self.agent.get(url).header("X-Auth-ID", &self.auth_id).header("X-Auth-Token", &self.auth_token);
        let response = request.call()?;
        let (parts, body) = response.into_parts();
        let body = body.into_with_config().limit(BODY_BYTES_MAX).read_to_string()?;
        let text = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let links: Vec<&str> =
            parts.headers.get_all(http::header::LINK).iter().filter_map(|value| value.to_str().ok()).collect();
        Ok(UpstreamResponse {
            status: parts.status.as_u16(),
            etag: text(http::header::ETAG),
            location: text(http::header::LOCATION),
            retry_after: text(http::header::RETRY_AFTER).and_then(|after| retry_after(&after)),
            link: if links.is_empty() { None } else { Some(links.join(", ")) },
            body,
        })
    }
}

/// What came back for one request, read to its end.
struct UpstreamResponse {
    status: u16,
    etag: Option<String>,
    location: Option<String>,
    retry_after: Option<Duration>,
    link: Option<String>,
    body: String,
}

/// How one walk ended.
enum WalkEnd {
    Complete(Walked),
    /// The list is not the same as when the walk began.
    Moved(String),
    /// The rows are in no ascending order, so each has to be remembered.
    Unsorted,
}

/// Which rows came already.
enum SeenRows<K> {
    /// All up to this one, in ascending order.
    Sorted(Option<K>),
    Remembered(HashSet<K>),
}

enum Sighting {
    New,
    Again,
    Unsorted,
}

impl<K: Ord + std::hash::Hash> SeenRows<K> {
    fn new(sorted: bool) -> SeenRows<K> {
        if sorted { SeenRows::Sorted(None) } else { SeenRows::Remembered(HashSet::new()) }
    }

    fn add(&mut self, key: K) -> Sighting {
        match self {
            SeenRows::Sorted(Some(last)) if *last == key => Sighting::Again,
            SeenRows::Sorted(Some(last)) if *last > key => Sighting::Unsorted,
            SeenRows::Sorted(last) => {
                *last = Some(key);
                Sighting::New
            }
            SeenRows::Remembered(all) => {
                if all.insert(key) {
                    Sighting::New
                } else {
                    Sighting::Again
                }
            }
        }
    }
}

/// Whether asking again may help.
fn passing(error: &ureq::Error) -> bool {
    matches!(
        error,
        ureq::Error::Io(_)
            | ureq::Error::Timeout(_)
            | ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::Protocol(_)
    )
}

/// `Retry-After`: seconds, or a date.
fn retry_after(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    let seconds = at.as_second() - Time::now().seconds();
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// The query of the link to the next page of the list at `path`; the link
/// itself if it leads elsewhere.
fn next_query<'a>(link: &'a str, path: &str) -> Result<Option<String>, &'a str> {
    let mut rest = link;
    while let Some((_, from)) = rest.split_once('<') {
        let Some((target, after)) = from.split_once('>') else { break };
        let parameters = after.split('<').next().unwrap_or_default();
        rest = after;
        let next = parameters.split([';', ',']).map(str::trim).any(|part| {
            part.strip_prefix("rel=").is_some_and(|rel| rel.trim_matches('"').split(' ').any(|word| word == "next"))
        });
        if next {
            return match target.split_once('?') {
                Some((to, query)) if to.ends_with(path) => Ok(Some(query.to_owned())),
                Some(_) | None => Err(target),
            };
        }
    }
    Ok(None)
}

/// An id as one part of a path.
fn segment(id: &str) -> String {
    let mut out = String::with_capacity(id.len());
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_names_a_server_and_nothing_else() {
        let check = |url: &str, good: bool| {
            let made = Client::new(url, "PA_1", "token", Patience::default());
            assert_eq!(made.is_ok(), good, "{url:?}: {made:?}");
        };
        for url in ["http://127.0.0.1:8080", "https://api.example.com/", "https://example.com/behind/a/proxy"] {
            check(url, true);
        }
        for url in ["", "example.com", "ftp://example.com", "/api", "https://", "http://a/?b=c", "http://me:secret@a/"]
        {
            check(url, false);
        }
        for url in [
            "http://me:hunter2@a/",
            "http://hunter2@a/",
            "me:hunter2@a",
            "http://a/?token=hunter2",
            "http://x:p@hunter2@a",
        ] {
            let error = Client::new(url, "PA_1", "token", Patience::default()).expect_err(url).to_string();
            assert!(!error.contains("hunter2"), "{url}: {error}");
        }
        assert!(Client::new("http://a", "PA 1", "token", Patience::default()).is_err());
        let client = Client::new("http://a", "PA_1", "rollcall_secret", Patience::default()).expect("good");
        assert!(!format!("{client:?}").contains("secret"));
    }

    #[test]
    fn the_next_page_is_the_link_that_says_so() {
        let check = |link: &str, expected: Result<Option<&str>, &str>| {
            let found = next_query(link, NUMBERS);
            assert_eq!(found.as_ref().map(Option::as_deref).map_err(|target| &**target), expected, "{link}");
        };
        let next = Ok(Some("after=%2B1&per_page=2"));
        check("</api/v1/partner/numbers?after=%2B1&per_page=2>; rel=\"next\"", next);
        check("<https://other.example/x/api/v1/partner/numbers?after=%2B1&per_page=2>;rel=next", next);
        check(
            "</api/v1/partner/numbers?page=1>; rel=\"first\", </api/v1/partner/numbers?after=%2B1&per_page=2>; title=\"a,b\"; rel=\"next\"",
            next,
        );
        check("</api/v1/partner/numbers?page=1>; rel=\"last\"", Ok(None));
        check("nonsense", Ok(None));
        check("<https://evil.example/?page=2>; rel=\"next\"", Err("https://evil.example/?page=2"));
        check("</api/v1/partner/numbers>; rel=\"next\"", Err("/api/v1/partner/numbers"));
    }

    #[test]
    fn ids_are_one_part_of_a_path() {
        assert_eq!(segment("MA_1"), "MA_1");
        assert_eq!(segment("a b+ü?"), "a%20b%2B%C3%BC%3F");
    }

    #[test]
    fn a_wait_is_seconds_or_a_date() {
        assert_eq!(retry_after(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Fri, 31 Dec 1999 23:59:59 GMT"), Some(Duration::ZERO));
        assert_eq!(retry_after("soon"), None);
        assert!(retry_after("Fri, 31 Dec 2100 23:59:59 GMT").is_some_and(|wait| wait > Duration::from_secs(3600)));
    }
}
