//! The regions and the tags of numbers: what they may be where they are new, and how
//! stored ones are read that are older than the rules.
//! Deliberately absent: the regions that the numbering plan derives (`plan`).

use std::sync::Arc;

use super::entity::{self, NAME_CHARS_MAX};
use super::field::code;
use super::number::{TAGS_MAX, Tags};
use super::{FieldError, nothing};

/// The most characters the name of a region can have.
pub const REGION_CHARS_MAX: usize = NAME_CHARS_MAX;

/// The name of a region as people give it; `None` if it is empty, too long, or has
/// control characters.
pub fn region(text: &str) -> Option<Arc<str>> {
    entity::name(text)
}

/// The name of a region as another inventory or a file has it, which may be older than
/// the rules of [`region`]: on one line, and cut where it is too long. `None` if it says
/// nothing.
pub fn region_of(text: &str) -> Option<Arc<str>> {
    if let Some(region) = region(text) {
        return Some(region);
    }
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let plain = plain.trim();
    match plain.char_indices().nth(REGION_CHARS_MAX) {
        Some(_) => {
            let kept: String = plain.chars().take(REGION_CHARS_MAX - 1).collect();
            Some(format!("{}…", kept.trim_end()).into())
        }
        None => Some(plain.into()).filter(|_| !plain.is_empty()),
    }
}

/// The region and the tags of numbers that are new: each says something, and the tags
/// are not too many.
pub fn check_new(region: Option<&str>, tags: &Tags) -> Vec<FieldError> {
    let region = region.map(|region| ("region", region));
    let nothing = region.into_iter().chain(tags.iter().map(|tag| ("tags", tag)));
    let nothing = nothing.filter(|(_, text)| nothing::certain(text));
    let mut errors: Vec<FieldError> =
        nothing.map(|(field, text)| FieldError::new(field, code::INVALID, nothing::OMIT, text)).collect();
    if let Some(region) = region.filter(|(_, region)| self::region(region).is_none()) {
        let message = format!("must be 1 to {REGION_CHARS_MAX} characters without control characters");
        errors.push(FieldError::new(region.0, code::INVALID, message, region.1));
    }
    let count = tags.iter().count();
    if count > TAGS_MAX {
        let message = format!("must be at most {TAGS_MAX} tags, not {count}");
        errors.push(FieldError::missing("tags", code::OUT_OF_RANGE, message));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_region_is_always_read_and_reading_it_again_changes_nothing() {
        let long = "é".repeat(5_000);
        let cut = format!("{}…", "é".repeat(REGION_CHARS_MAX - 1));
        for (text, new, read) in [
            ("Mumbai", true, Some("Mumbai")),
            (" New Delhi ", true, Some("New Delhi")),
            (&long[..REGION_CHARS_MAX * 2], true, Some(&long[..REGION_CHARS_MAX * 2])),
            (&long, false, Some(cut.as_str())),
            ("a\nb\u{1b}[31m", false, Some("a b [31m")),
            ("", false, None),
            ("\n\t", false, None),
        ] {
            assert_eq!(region(text).is_some(), new, "{text:?}");
            assert_eq!(region_of(text).as_deref(), read, "{text:?}");
            if let Some(read) = read {
                assert_eq!(region_of(read).as_deref(), region(read).as_deref(), "{text:?}");
            }
        }
    }

    #[test]
    fn a_new_number_has_a_region_and_tags_that_say_something() {
        let tags = |count: usize| Tags::new((0..count).map(|at| format!("t{at}")));
        let long = "x".repeat(REGION_CHARS_MAX + 1);
        for (region, tags, fields) in [
            (None, Tags::default(), &[] as &[&str]),
            (Some("Pune"), tags(TAGS_MAX), &[]),
            (Some("NULL"), Tags::default(), &["region"]),
            (Some("a\nb"), Tags::default(), &["region"]),
            (Some(&*long), Tags::default(), &["region"]),
            (None, Tags::new(["vip", "n/a"]), &["tags"]),
            (None, tags(TAGS_MAX + 1), &["tags"]),
        ] {
            let errors = check_new(region, &tags);
            let found: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
            assert_eq!(found, fields, "{region:?} {tags:?}");
        }
    }
}
