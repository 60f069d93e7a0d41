//! The query string of a list: what it asks for, and how to ask for the pages
//! around it; and that of the costs.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::HeaderName;

use crate::billing::{BadMonth, Month, Proration};
use crate::domain::entity::NAME_CHARS_MAX;
use crate::domain::field::code;
use crate::domain::time::BadTime;
use crate::domain::{Dialect, E164, FieldError, Time};
use crate::inventory::{Filter, Order, PARAMETERS, QueryError, Selection, Window, parse_after};
use crate::service::background::jobs::RowResult;

use super::error::ApiError;
use crate::service::past;
use crate::wire::whole;

pub const PER_PAGE_DEFAULT: u64 = 20;
pub const PER_PAGE_MAX: u64 = 100;

/// What the platform's SDKs send besides the specification's own parameters.
/// Taken from keys of their dialect.
pub const SDK: [&str; 3] = ["limit", "offset", "include_subaccounts"];

/// Which rows of which page, in which order.
#[derive(Debug)]
pub struct ListQuery {
    pub filter: Filter,
    pub order: Order,
    pub after: Option<E164>,
    /// The inventory as it was at the end of this second, instead of as it is.
    pub as_of: Option<Time>,
    pub page: u64,
    pub per_page: u64,
    /// Which rows of a job.
    pub result: Option<RowResult>,
    /// Part of an entity's name or id, in lower case.
    pub search: Option<String>,
    /// The parameters that links keep, as they stand in them, each with an
    /// `&` behind it: all but paging, as they were sent.
    kept: String,
    sized: bool,
}

/// What a list can be asked besides `page` and `per_page`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ListParameters {
    /// Filters, order, `after` and `as_of`, over all accounts.
    Global,
    /// The same within one account, so without `account_auth_id`.
    Customer,
    /// Nothing.
    Paging,
    /// Part of a name or an id.
    Entities,
    /// Which rows of a job.
    JobRows,
}

impl ListParameters {
    /// The names it knows, in the order of their documentation.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let filters = PARAMETERS.iter().map(|parameter| parameter.name);
        let own = filters.filter(move |name| self.takes(name));
        let walks: &[&str] = if self.walks() { &["after", "as_of"] } else { &[] };
        let result = match self {
            ListParameters::JobRows => Some("result"),
            ListParameters::Entities => Some("search"),
            ListParameters::Global | ListParameters::Customer | ListParameters::Paging => None,
        };
        ["page", "per_page"].into_iter().chain(result).chain(walks.iter().copied()).chain(own)
    }

    /// Whether it is a list of numbers.
    fn walks(self) -> bool {
        matches!(self, ListParameters::Global | ListParameters::Customer)
    }

    fn takes(self, name: &str) -> bool {
        match self {
            ListParameters::Global => true,
            ListParameters::Customer => name != "account_auth_id",
            ListParameters::Paging | ListParameters::Entities | ListParameters::JobRows => false,
        }
    }
}

/// Reads the query string of an answer about one thing at one moment.
pub fn moment(query: &str) -> Result<Option<Time>, ApiError> {
    let mut time = None;
    let errors = parameters(query, |name, value| match name {
        "as_of" if value.is_empty() => Ok(()),
        "as_of" => as_of(&value).map(|found| time = Some(found)),
        name => Err(unknown(name, &value, &["as_of"])),
    });
    if errors.is_empty() { Ok(time) } else { Err(ApiError::validation(errors)) }
}

/// Hands over each parameter of a query once; what is wrong with them, in the order in
/// which they were sent.
pub(super) fn parameters<'q>(
    query: &'q str,
    mut take: impl FnMut(&str, Cow<'q, str>) -> Result<(), FieldError>,
) -> Vec<FieldError> {
    let (mut seen, mut errors) = (Vec::new(), Vec::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let taken = match seen.contains(&name) {
            true => Err(FieldError::new(&name, code::REPEATED, "must be given once", &value)),
            false => take(&name, value),
        };
        errors.extend(taken.err());
        seen.push(name);
    }
    errors
}

impl ListQuery {
    /// Reads a query string. All that is wrong with it is reported at once.
    pub fn parse(query: &str, takes: ListParameters) -> Result<ListQuery, ApiError> {
        ListQuery::parse_in(query, takes, Dialect::Data)
    }

    /// The same of a key whose dialect has parameters of its own.
    pub fn parse_in(query: &str, takes: ListParameters, dialect: Dialect) -> Result<ListQuery, ApiError> {
        let mut list = ListQuery {
            filter: Filter::default(),
            order: Order::default(),
            after: None,
            as_of: None,
            page: 1,
            per_page: PER_PAGE_DEFAULT,
            result: None,
            search: None,
            kept: String::new(),
            sized: false,
        };
        let mut paged = false;
        let own = dialect == Dialect::Items && takes.walks();
        let sdk: &[&str] = if own { &SDK } else { &[] };
        let mut limit = None;
        let mut offset = None;
        let mut errors = parameters(query, |name, value| {
            match name {
                "page" => {
                    paged = true;
                    list.page = page_of(&value)?;
                }
                "per_page" => {
                    list.per_page = per_page_of(&value)?;
                    list.sized = true;
                }
                "result" if takes == ListParameters::JobRows => {
                    if !value.is_empty() {
                        list.result = Some(row_result(&value)?);
                    }
                }
                "search" if takes == ListParameters::Entities => list.search = entity_search(&value)?,
                "after" | "as_of" if takes.walks() && value.is_empty() => {}
                "after" if takes.walks() => list.after = Some(parse_after(&value)?),
                "as_of" if takes.walks() => {
                    list.keep("as_of", &value);
                    list.as_of = Some(as_of(&value)?);
                }
                "limit" if own => {
                    let wrong = || out_of_range("limit", format!("must be between 1 and {PER_PAGE_MAX}"), &value);
                    limit = Some(bounded(&value, 1, PER_PAGE_MAX).ok_or_else(wrong)?);
                }
                "offset" if own => {
                    let wrong = || out_of_range("offset", "must be 0 or more".to_owned(), &value);
                    offset = Some(bounded(&value, 0, u64::MAX).ok_or_else(wrong)?);
                }
                "include_subaccounts" if own => subaccounts(&value, takes)?,
                name => {
                    let set = if takes.takes(name) {
                        list.filter.set(&mut list.order, name, &value)
                    } else {
                        Err(QueryError::Unknown)
                    };
                    set.map_err(|error| match error {
                        QueryError::Value(error) => error,
                        QueryError::Unknown => {
                            unknown(name, &value, &takes.names().chain(sdk.iter().copied()).collect::<Vec<_>>())
                        }
                    })?;
                    list.keep(name, &value);
                }
            }
            Ok(())
        });
        if let Some(rows) = limit {
            if list.sized {
                let message = "cannot be given together with per_page, which says the same";
                errors.push(FieldError::new("limit", code::CONFLICT, message, &rows.to_string()));
            }
            list.per_page = rows;
            list.sized = true;
        }
        if let Some(rows) = offset {
            let conflict = |message: &str| FieldError::new("offset", code::CONFLICT, message, &rows.to_string());
            if paged {
                errors.push(conflict("cannot be given together with page"));
            } else if rows % list.per_page != 0 {
                errors.push(conflict("must be a multiple of limit, for rows come in pages"));
            }
            list.page = rows / list.per_page + 1;
        }
        if list.as_of.is_some() && list.filter.called.is_some() {
            let message = "cannot be given together with as_of: calls are remembered as of now";
            errors.push(FieldError::new("called_before", code::CONFLICT, message, ""));
        }
        if let (Some(after), true) = (list.after, errors.is_empty()) {
            let value = after.to_string();
            // Generated clients always send the first page.
            if list.page != 1 {
                let message = "cannot be given together with a page other than 1";
                errors.push(FieldError::new("after", code::CONFLICT, message, &value));
            }
            if !list.order.by_number() {
                errors.push(FieldError::new("after", code::CONFLICT, "goes with sort=number only", &value));
            }
        }
        if errors.is_empty() { Ok(list) } else { Err(ApiError::validation(errors)) }
    }

    /// How many rows come before the page.
    pub fn skip(&self) -> u64 {
        (self.page - 1).saturating_mul(self.per_page)
    }

    pub fn window(&self) -> Window {
        let rows = self.per_page as usize;
        match self.after {
            Some(number) => Window::After { number, rows },
            None => Window::Page { skip: self.skip(), rows },
        }
    }

    /// The `Link` header (RFC 8288). Targets are relative and keep the filters.
    /// `next` continues after a number where the order is by number, so that a
    /// walk neither skips nor repeats rows while others change.
    pub fn links(&self, path: &str, selection: &Selection<'_>) -> Vec<u8> {
        let last_page = selection.total.div_ceil(self.per_page).max(1);
        let end = selection.start + selection.rows.len() as u64;
        let mut links = Vec::with_capacity(4 * (path.len() + self.kept.len() + 80));
        if let Some(last) = selection.rows.last().filter(|_| end < selection.total) {
            let next = match self.order.by_number() {
                true => PageTarget::After(last.number()),
                false => PageTarget::Page(self.page + 1),
            };
            self.link(&mut links, path, next, "next");
        }
        let prev = match (self.after, selection.before) {
            (Some(_), Some(before)) => Some(PageTarget::After(before)),
            (Some(_), None) => (selection.start > 0).then_some(PageTarget::Page(1)),
            (None, _) => (self.page > 1).then(|| PageTarget::Page((self.page - 1).min(last_page))),
        };
        if let Some(prev) = prev {
            self.link(&mut links, path, prev, "prev");
        }
        self.link(&mut links, path, PageTarget::Page(1), "first");
        self.link(&mut links, path, PageTarget::Page(last_page), "last");
        links
    }

    fn keep(&mut self, name: &str, value: &str) {
        let mut pair = form_urlencoded::Serializer::new(String::new());
        pair.append_pair(name, value);
        self.kept.push_str(&pair.finish());
        self.kept.push('&');
    }

    fn link(&self, links: &mut Vec<u8>, path: &str, target: PageTarget, relation: &str) {
        let separator = if links.is_empty() { "<" } else { ", <" };
        let mut put = |text: &str| links.extend_from_slice(text.as_bytes());
        put(separator);
        put(path);
        put("?");
        put(&self.kept);
        match target {
            PageTarget::Page(page) => {
                put("page=");
                whole(links, page);
            }
            PageTarget::After(number) => {
                put("after=%2B");
                whole(links, number.digits());
            }
        }
        if self.sized {
            links.extend_from_slice(b"&per_page=");
            whole(links, self.per_page);
        }
        for part in [">; rel=\"", relation, "\""] {
            links.extend_from_slice(part.as_bytes());
        }
    }
}

/// Part of an entity's name or id, in lower case; empty is no filter.
fn entity_search(text: &str) -> Result<Option<String>, FieldError> {
    if text.chars().count() > NAME_CHARS_MAX {
        let message = format!("must have at most {NAME_CHARS_MAX} characters");
        return Err(FieldError::new("search", code::TOO_LONG, message, text));
    }
    Ok(Some(text.trim().to_lowercase()).filter(|search| !search.is_empty()))
}

/// Which changes are asked for, and how many at once.
#[derive(Debug)]
pub struct ChangesQuery {
    /// Those after this version.
    pub after: u64,
    pub per_page: u64,
}

impl ChangesQuery {
    /// The names it knows.
    pub const NAMES: [&str; 2] = ["after", "per_page"];

    pub fn parse(query: &str) -> Result<ChangesQuery, ApiError> {
        let mut changes = ChangesQuery { after: 0, per_page: PER_PAGE_DEFAULT };
        let errors = parameters(query, |name, value| {
            match name {
                "after" if value.is_empty() => {}
                "after" => changes.after = version("after", &value)?,
                "per_page" => changes.per_page = per_page_of(&value)?,
                name => return Err(unknown(name, &value, &ChangesQuery::NAMES)),
            }
            Ok(())
        });
        if errors.is_empty() { Ok(changes) } else { Err(ApiError::validation(errors)) }
    }
}

/// A version of a partner, 0 for before its first change. The highest that
/// means anything is far above what the store can count to.
pub fn version(field: &str, text: &str) -> Result<u64, FieldError> {
    let wrong = || FieldError::new(field, code::INVALID, "must be the version of a change, a whole number", text);
    bounded(text, 0, u64::MAX).ok_or_else(wrong)
}

/// The version that a header names, if it is there; `field` is how people write
/// the header.
pub fn version_header(headers: &HeaderMap, name: &HeaderName, field: &str) -> Result<Option<u64>, ApiError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let read = match values.next() {
        Some(_) => Err(FieldError::new(field, code::REPEATED, "must be given once", text)),
        None => version(field, text),
    };
    read.map(Some).map_err(|error| ApiError::validation(vec![error]))
}

/// A time that is not to come.
fn as_of(text: &str) -> Result<Time, FieldError> {
    let wrong = |code, message: &str| FieldError::new("as_of", code, message, text);
    let time: Time = text.parse().map_err(|error: BadTime| wrong(code::INVALID, &error.to_string()))?;
    past::check(time).map(|()| time)
}

/// A parameter that there is not.
pub(super) fn unknown(name: &str, value: &str, known: &[&str]) -> FieldError {
    let message = format!("is not a parameter; known are {}", known.join(", "));
    FieldError::new(name, code::UNKNOWN, message, value)
}

/// Which month's costs.
#[derive(Debug)]
pub struct CostsQuery {
    pub month: Month,
    pub account: Option<String>,
    pub proration: Proration,
    pub page: u64,
    pub per_page: u64,
}

impl CostsQuery {
    /// The names it knows, in the order of their documentation.
    pub const NAMES: [&str; 5] = ["month", "account_auth_id", "proration", "page", "per_page"];

    /// Reads a query string. All that is wrong with it is reported at once.
    pub fn parse(query: &str) -> Result<CostsQuery, ApiError> {
        let (mut month, mut account, mut proration) = (None, None, Proration::default());
        let (mut page, mut per_page) = (1, PER_PAGE_DEFAULT);
        let mut named = false;
        let mut errors = parameters(query, |name, value| {
            match name {
                "month" => {
                    named = true;
                    month = Some(value.parse().map_err(|error| month_error(&error, &value))?);
                }
                "account_auth_id" => account = Some(value.into_owned()).filter(|id| !id.is_empty()),
                "proration" if value.is_empty() => {}
                "proration" => {
                    let wrong = || FieldError::new("proration", code::INVALID, "must be full or days", &value);
                    proration = Proration::parse(&value).ok_or_else(wrong)?;
                }
                "page" => page = page_of(&value)?,
                "per_page" => per_page = per_page_of(&value)?,
                name => return Err(unknown(name, &value, &CostsQuery::NAMES)),
            }
            Ok(())
        });
        match month {
            Some(month) if errors.is_empty() => Ok(CostsQuery { month, account, proration, page, per_page }),
            Some(_) => Err(ApiError::validation(errors)),
            None => {
                if !named {
                    errors.insert(0, FieldError::missing("month", code::MISSING, "is needed, such as month=2026-02"));
                }
                Err(ApiError::validation(errors))
            }
        }
    }
}

fn month_error(error: &BadMonth, value: &str) -> FieldError {
    FieldError::new("month", code::INVALID, error.to_string(), value)
}

fn out_of_range(name: &str, message: String, value: &str) -> FieldError {
    FieldError::new(name, code::OUT_OF_RANGE, message, value)
}

fn row_result(value: &str) -> Result<RowResult, FieldError> {
    let known = || RowResult::ALL.iter().map(|result| result.as_str()).collect::<Vec<_>>().join(", ");
    let wrong = || FieldError::new("result", code::INVALID, format!("must be one of {}", known()), value);
    RowResult::parse(value).ok_or_else(wrong)
}

pub(super) fn page_of(value: &str) -> Result<u64, FieldError> {
    let wrong = || out_of_range("page", format!("must be a whole number from 1 to {}", u64::MAX), value);
    bounded(value, 1, u64::MAX).ok_or_else(wrong)
}

pub(super) fn per_page_of(value: &str) -> Result<u64, FieldError> {
    let wrong = || out_of_range("per_page", format!("must be between 1 and {PER_PAGE_MAX}"), value);
    bounded(value, 1, PER_PAGE_MAX).ok_or_else(wrong)
}

enum PageTarget {
    Page(u64),
    After(E164),
}

/// Accounts have no accounts below them here, so on a customer's list it asks
/// for nothing. The partner's is of its customers' numbers and its own stock:
/// leaving theirs out is another list.
fn subaccounts(value: &str, takes: ListParameters) -> Result<(), FieldError> {
    let message = match (value, takes) {
        ("" | "true", _) | ("false", ListParameters::Customer) => return Ok(()),
        ("false", _) => "cannot be false: this list is of all accounts; ask for assigned=false",
        _ => "must be true or false",
    };
    Err(FieldError::new("include_subaccounts", code::INVALID, message, value))
}

/// A whole number written in ASCII digits alone, within bounds.
pub(super) fn bounded(text: &str, min: u64, max: u64) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|value| plain && (min..=max).contains(value))
}

/// Refuses every parameter, of an endpoint that has none.
pub(super) fn refuse_parameters(query: &str) -> Result<(), ApiError> {
    let message = "is not a parameter; there are none";
    let errors = parameters(query, |name, value| Err(FieldError::new(name, code::UNKNOWN, message, &value)));
    if errors.is_empty() { Ok(()) } else { Err(ApiError::validation(errors)) }
}
