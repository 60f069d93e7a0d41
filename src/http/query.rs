//! The query string of a list: what it asks for, and how to ask for the pages
//! around it.

use std::borrow::Cow;

use crate::domain::field::code;
use crate::domain::{E164, FieldError};
use crate::inventory::{Filter, Order, PARAMETERS, QueryError, Selection, Window, parse_after};

use super::error::ApiError;
use crate::wire::whole;

pub const PER_PAGE_DEFAULT: u64 = 20;
pub const PER_PAGE_MAX: u64 = 100;

/// Which rows of which page, in which order.
#[derive(Debug)]
pub struct ListQuery {
    pub filter: Filter,
    pub order: Order,
    pub after: Option<E164>,
    pub page: u64,
    pub per_page: u64,
    /// The parameters that links keep, as they stand in them, each with an
    /// `&` behind it: all but paging, as they were sent.
    kept: String,
    sized: bool,
}

/// What a list can be asked besides `page` and `per_page`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Takes {
    /// Filters, order and `after`, over all accounts.
    Global,
    /// The same within one account, so without `account_auth_id`.
    Customer,
    /// Nothing.
    Paging,
}

impl Takes {
    /// The names it knows, in the order of their documentation.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let filters = PARAMETERS.iter().map(|parameter| parameter.name);
        let own = filters.filter(move |name| self.takes(name));
        let after = (self != Takes::Paging).then_some("after");
        ["page", "per_page"].into_iter().chain(after).chain(own)
    }

    fn takes(self, name: &str) -> bool {
        match self {
            Takes::Global => true,
            Takes::Customer => name != "account_auth_id",
            Takes::Paging => false,
        }
    }
}

impl ListQuery {
    /// Reads a query string. All that is wrong with it is reported at once.
    pub fn parse(query: &str, takes: Takes) -> Result<ListQuery, ApiError> {
        let mut list = ListQuery {
            filter: Filter::default(),
            order: Order::default(),
            after: None,
            page: 1,
            per_page: PER_PAGE_DEFAULT,
            kept: String::new(),
            sized: false,
        };
        let mut errors: Vec<FieldError> = Vec::new();
        let mut seen: Vec<Cow<'_, str>> = Vec::new();
        let mut paged = false;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if seen.contains(&name) {
                errors.push(FieldError::new(&name, code::REPEATED, "must be given once", &value));
                continue;
            }
            seen.push(name.clone());
            match &*name {
                "page" => {
                    paged = true;
                    match bounded(&value, 1, u64::MAX) {
                        Some(page) => list.page = page,
                        None => errors.push(FieldError::new("page", code::OUT_OF_RANGE, "must be 1 or more", &value)),
                    }
                }
                "per_page" => match bounded(&value, 1, PER_PAGE_MAX) {
                    Some(per_page) => {
                        list.per_page = per_page;
                        list.sized = true;
                    }
                    None => {
                        let message = format!("must be between 1 and {PER_PAGE_MAX}");
                        errors.push(FieldError::new("per_page", code::OUT_OF_RANGE, message, &value));
                    }
                },
                "after" if takes != Takes::Paging => {
                    if !value.is_empty() {
                        match parse_after(&value) {
                            Ok(number) => list.after = Some(number),
                            Err(error) => errors.push(error),
                        }
                    }
                }
                name => {
                    let set = if takes.takes(name) {
                        list.filter.set(&mut list.order, name, &value)
                    } else {
                        Err(QueryError::Unknown)
                    };
                    match set {
                        Ok(()) => list.keep(name, &value),
                        Err(QueryError::Value(error)) => errors.push(error),
                        Err(QueryError::Unknown) => {
                            let known: Vec<&str> = takes.names().collect();
                            let message = format!("is not a parameter; known are {}", known.join(", "));
                            errors.push(FieldError::new(name, code::UNKNOWN, message, &value));
                        }
                    }
                }
            }
        }
        if let (Some(after), true) = (list.after, errors.is_empty()) {
            let value = after.to_string();
            if paged {
                errors.push(FieldError::new("after", code::CONFLICT, "cannot be given together with page", &value));
            }
            if !list.order.by_number() {
                errors.push(FieldError::new("after", code::CONFLICT, "goes with sort=number only", &value));
            }
        }
        if errors.is_empty() { Ok(list) } else { Err(ApiError::validation(errors)) }
    }

    pub fn window(&self) -> Window {
        let rows = self.per_page as usize;
        match self.after {
            Some(number) => Window::After { number, rows },
            None => Window::Page { skip: (self.page - 1).saturating_mul(self.per_page), rows },
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
                true => Target::After(last.number()),
                false => Target::Page(self.page + 1),
            };
            self.link(&mut links, path, next, "next");
        }
        let prev = match (self.after, selection.before) {
            (Some(_), Some(before)) => Some(Target::After(before)),
            (Some(_), None) => (selection.start > 0).then_some(Target::Page(1)),
            (None, _) => (self.page > 1).then(|| Target::Page((self.page - 1).min(last_page))),
        };
        if let Some(prev) = prev {
            self.link(&mut links, path, prev, "prev");
        }
        self.link(&mut links, path, Target::Page(1), "first");
        self.link(&mut links, path, Target::Page(last_page), "last");
        links
    }

    fn keep(&mut self, name: &str, value: &str) {
        let mut pair = form_urlencoded::Serializer::new(String::new());
        pair.append_pair(name, value);
        self.kept.push_str(&pair.finish());
        self.kept.push('&');
    }

    fn link(&self, links: &mut Vec<u8>, path: &str, target: Target, relation: &str) {
        let separator = if links.is_empty() { "<" } else { ", <" };
        let mut put = |text: &str| links.extend_from_slice(text.as_bytes());
        put(separator);
        put(path);
        put("?");
        put(&self.kept);
        match target {
            Target::Page(page) => {
                put("page=");
                whole(links, page);
            }
            Target::After(number) => {
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

enum Target {
    Page(u64),
    After(E164),
}

/// A whole number written in ASCII digits alone, within bounds.
fn bounded(text: &str, min: u64, max: u64) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|value| plain && (min..=max).contains(value))
}
