//! The words of an address that a page reads.
//!
//! Every address of the table in `console.rs` names its words, and a word that a
//! page does not read is refused here, before the page is made: a word that is
//! passed over shows rows that nobody asked for. Values of the words that all lists
//! have are checked here as well.
//! Deliberately absent: values that need an inventory, such as a customer's name;
//! their pages say what is wrong with those.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::IntoResponse;
use http::Response;
use std::sync::Arc;

use super::gate::Person;
use super::page::Trouble;
use super::{Console, line, unknown, verbs};
use crate::inventory::PARAMETERS;
use crate::service::background::jobs::RowResult;

/// The most rows of a page of numbers: so many stay below 100 kB.
pub const ROWS_MAX: u64 = 100;

/// A word of an address, and what it takes.
#[derive(Clone, Copy)]
pub struct AddressWord {
    name: &'static str,
    takes: Takes,
}

#[derive(Clone, Copy)]
enum Takes {
    /// Whatever the page makes of it.
    Text,
    /// The same, several times.
    Texts,
    /// A whole number from 1.
    Whole,
    /// How many rows a page has.
    Rows,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// An action of a number.
    Verb,
    /// How a job ended for a number.
    Result,
    /// Not a word, but all filters of a list of numbers.
    Filters,
}

/// The words of pages, each by its constant.
pub mod words {
    use super::{AddressWord, Takes};

    const fn text(name: &'static str) -> AddressWord {
        AddressWord { name, takes: Takes::Text }
    }

    const fn one_of(name: &'static str, values: &'static [&'static str]) -> AddressWord {
        AddressWord { name, takes: Takes::OneOf(values) }
    }

    const fn whole(name: &'static str) -> AddressWord {
        AddressWord { name, takes: Takes::Whole }
    }

    pub const ACCOUNT: AddressWord = text("account");
    pub const BACK: AddressWord = text("back");
    pub const CHECK: AddressWord = text("check");
    pub const CURRENCY: AddressWord = text("currency");
    pub const DELIVERY: AddressWord = text("delivery");
    pub const FROM: AddressWord = text("from");
    pub const DAY: AddressWord = text("day");
    pub const FORM: AddressWord = text("form");
    pub const IDLE_FOR: AddressWord = text("idle_for");
    pub const MONTH: AddressWord = text("month");
    pub const NEW: AddressWord = text("new");
    pub const NUMBER: AddressWord = text("number");
    pub const PART: AddressWord = text("part");
    pub const PRORATION: AddressWord = text("proration");
    pub const Q: AddressWord = text("q");
    pub const RESENT: AddressWord = text("resent");
    pub const SEEN: AddressWord = text("seen");
    pub const TO: AddressWord = text("to");
    pub const CHANGE: AddressWord = text("verb");
    pub const WHO: AddressWord = text("who");
    pub const ACKNOWLEDGED: AddressWord = text("acknowledged");
    pub const JOBS_SEEN: AddressWord = AddressWord { name: "seen", takes: Takes::Texts };
    pub const BEFORE: AddressWord = whole("before");
    pub const PAGE: AddressWord = whole("page");
    pub const PER_PAGE: AddressWord = AddressWord { name: "per_page", takes: Takes::Rows };
    pub const DO: AddressWord = AddressWord { name: "do", takes: Takes::Verb };
    pub const RESULT: AddressWord = AddressWord { name: "result", takes: Takes::Result };
    pub const FILTERS: AddressWord = AddressWord { name: "", takes: Takes::Filters };
    pub const ARCHIVED: AddressWord = one_of("archived", &["1"]);
    pub const FOR: AddressWord = one_of("for", &["spreadsheet"]);
    pub const KIND: AddressWord = one_of("kind", &["customer", "application", "trunk"]);
    pub const RAW: AddressWord = one_of("raw", &["1"]);
}

/// What every page may be told by the form before it.
const EVERYWHERE: [&str; 2] = ["done", "said"];

/// The words of one address.
pub type AddressWords = &'static [AddressWord];

/// Refuses an address with a word that its page does not read.
pub async fn read_whole(
    State((console, words)): State<(Arc<Console>, AddressWords)>,
    request: Request,
    next: Next,
) -> Response<Body> {
    // Somebody who is not signed in is asked for that first.
    let fault = request.uri().query().and_then(|query| fault(query, words));
    match fault {
        Some(fault) if Person::enter(&console, &request).is_ok() => Trouble::Address(fault).into_response(),
        _ => next.run(request).await,
    }
}

/// What is wrong with the words of an address.
fn fault(query: &str, words: AddressWords) -> Option<String> {
    let mut seen: Vec<String> = Vec::new();
    form_urlencoded::parse(query.as_bytes()).find_map(|(name, value)| {
        if EVERYWHERE.contains(&&*name) {
            return None;
        }
        let Some(takes) = takes(&name, words) else { return Some(unread(&name, words)) };
        if seen.iter().any(|one| *one == *name) && !matches!(takes, Takes::Texts) {
            return Some(format!("{name} is given twice; give it once"));
        }
        seen.push(name.to_string());
        let value = value.trim();
        if value.is_empty() { None } else { takes.fault(&name, value) }
    })
}

fn takes(name: &str, words: AddressWords) -> Option<Takes> {
    let filters = || line::is_parameter(name);
    let own = |word: &&AddressWord| match word.takes {
        Takes::Filters => filters(),
        _ => word.name == name,
    };
    words.iter().find(own).map(|word| word.takes)
}

fn unread(name: &str, words: AddressWords) -> String {
    let filters = words.iter().any(|word| matches!(word.takes, Takes::Filters));
    let filters = PARAMETERS.iter().filter(|_| filters).map(|parameter| parameter.name);
    let known: Vec<&str> = words.iter().map(|word| word.name).filter(|name| !name.is_empty()).chain(filters).collect();
    match known.is_empty() {
        true => format!("{} is no word of this address, which takes none", unknown::shown(name)),
        false => unknown::word("word of this address", name, known.iter().copied()),
    }
}

impl Takes {
    fn fault(self, name: &str, value: &str) -> Option<String> {
        let shown = unknown::shown(value);
        let number = value.parse::<u64>().ok();
        match self {
            Takes::Text | Takes::Texts | Takes::Filters => None,
            Takes::Whole => match number {
                Some(1..) => None,
                _ => Some(format!("{name} must be a whole number from 1; “{shown}” is none")),
            },
            Takes::Rows => match number {
                Some(1..=ROWS_MAX) => None,
                _ => Some(format!("{name} must be a whole number from 1 to {ROWS_MAX}; “{shown}” is none")),
            },
            Takes::OneOf(values) if values.contains(&value) => None,
            Takes::OneOf(values) => Some(unknown::word(&format!("value of {name}"), value, values.iter().copied())),
            Takes::Verb if verbs::find(value).is_some() => None,
            Takes::Verb => Some(unknown::word("action of a number", value, verbs::ALL.iter().map(|verb| verb.name))),
            Takes::Result if RowResult::parse(value).is_some() => None,
            Takes::Result => {
                let known = RowResult::ALL.iter().map(|result| result.as_str());
                Some(unknown::word("result of a row", value, known))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::words::{ARCHIVED, BEFORE, DO, FILTERS, JOBS_SEEN, PAGE, PER_PAGE, Q, RESULT};
    use super::*;

    #[test]
    fn a_word_that_a_page_does_not_read_is_refused() {
        const NUMBERS: AddressWords = &[Q, PAGE, PER_PAGE, FILTERS];
        const OTHERS: AddressWords = &[ARCHIVED, BEFORE, DO, JOBS_SEEN, RESULT];
        for (query, words, expected) in [
            ("q=x&page=2&per_page=100&region=Mumbai&sort=-monthly_cost&done=7&said=x", NUMBERS, None),
            ("q=&page=&per_page=&expires_before=&account=MA_1&state=available", NUMBERS, None),
            ("archived=1&before=3&do=renew&seen=a&seen=b&result=failed", OTHERS, None),
            ("regoin=Mumbai", NUMBERS, Some("regoin is no word of this address. Did you mean region?")),
            ("after=", NUMBERS, Some("after is no word of this address")),
            ("foo=1", &[], Some("foo is no word of this address, which takes none")),
            ("q=a&q=b", NUMBERS, Some("q is given twice")),
            ("page=0", NUMBERS, Some("page must be a whole number from 1; “0” is none")),
            ("page=abc", NUMBERS, Some("page must be a whole number")),
            ("per_page=0", NUMBERS, Some("per_page must be a whole number from 1 to 100")),
            ("per_page=101", NUMBERS, Some("per_page must be")),
            ("archived=yes", OTHERS, Some("yes is no value of archived")),
            ("before=x", OTHERS, Some("before must be")),
            ("do=renw", OTHERS, Some("Did you mean renew?")),
            ("result=foo", OTHERS, Some("foo is no result of a row")),
        ] {
            let found = fault(query, words);
            match expected {
                None => assert_eq!(found, None, "{query}"),
                Some(text) => assert!(found.as_deref().unwrap_or_default().contains(text), "{query}: {found:?}"),
            }
        }
    }
}
