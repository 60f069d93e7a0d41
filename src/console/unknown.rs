//! Sentences about a word of an address that the page does not know.
//!
//! A person may have typed the address, or followed an old link. An unknown word
//! is said, with the words that may be meant, and never shown as an empty list:
//! an empty list would be a false answer.
//! Deliberately absent: customers, applications and trunks (`inventory::names`),
//! the filter line (`line`).

use crate::inventory::names::like;

/// The most characters of a word that are repeated.
const SHOWN_CHARS_MAX: usize = 40;
/// The most words that are listed where none is similar.
const LISTED_MAX: usize = 16;

/// `expring is no check. Did you mean expiring?`
pub fn word<'a>(what: &str, value: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let near = like(known.clone(), value);
    let advice = match near.split_last() {
        Some((last, [])) => format!("Did you mean {last}?"),
        Some((last, rest)) => format!("Did you mean {} or {last}?", rest.join(", ")),
        None => {
            let mut all: Vec<&str> = known.collect();
            let more = if all.len() > LISTED_MAX { " and others" } else { "" };
            all.truncate(LISTED_MAX);
            let is = if all.len() == 1 { "There is only" } else { "There are" };
            format!("{is} {}{more}", all.join(", "))
        }
    };
    format!("{} is no {what}. {advice}", shown(value))
}

/// A typed text, fit to be repeated.
pub fn shown(value: &str) -> String {
    value.chars().take(SHOWN_CHARS_MAX).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_meant_is_said() {
        let words = ["expiring", "expired", "unrouted"];
        let said = |value: &str| word("check", value, words.into_iter());
        assert_eq!(said("expring"), "expring is no check. Did you mean expiring?");
        assert_eq!(said("expir"), "expir is no check. Did you mean expiring or expired?");
        assert_eq!(said("zzzz"), "zzzz is no check. There are expiring, expired, unrouted");
        assert_eq!(word("word", "x", ["page"].into_iter()), "x is no word. There is only page");
        assert_eq!(said("<b>\n"), "<b>\u{fffd} is no check. There are expiring, expired, unrouted");
        assert!(said(&"x".repeat(500)).len() < 120);
    }
}
