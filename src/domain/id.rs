//! The ids of a partner, its accounts, applications, trunks and keys: opaque text,
//! with a type for each kind, so that they cannot be swapped.
//!
//! An id is compared byte for byte and never taken apart. Account,
//! application and trunk ids are unique within one partner only.
//!
//! Reading an id applies only the rules that every stored id obeys, so that stored
//! entities are found by their ids. New ids obey more rules: see [`check_new`].

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::nothing;

/// The most bytes an id can have.
pub const ID_BYTES_MAX: usize = 128;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadId {
    #[error("must be 1 to {ID_BYTES_MAX} bytes of text without control characters, spaces around it or '/'")]
    Form,
    #[error("cannot be an id: a browser takes . and .. in an address for another page; choose another id")]
    Dots,
    #[error("has an invisible character, U+{:04X}; write the id without it", u32::from(*.0))]
    Invisible(char),
    #[error("{}", nothing::CHOOSE)]
    Nothing,
}

/// Whether text can be the id of something new. What has such an id already
/// keeps it.
pub fn check_new(text: &str) -> Result<(), BadId> {
    if nothing::certain(text) {
        return Err(BadId::Nothing);
    }
    if !well_formed(text) {
        return Err(BadId::Form);
    }
    if matches!(text, "." | "..") {
        return Err(BadId::Dots);
    }
    text.chars().find(|&c| nothing::invisible(c)).map_or(Ok(()), |c| Err(BadId::Invisible(c)))
}

fn well_formed(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= ID_BYTES_MAX
        && text.trim() == text
        && !text.chars().any(|c| c.is_control() || c == '/')
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// An id as the store wrote it, which was checked when it came in.
            pub fn stored(text: &str) -> $name {
                $name(text.into())
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<$name, BadId> {
                if well_formed(text) { Ok($name(text.into())) } else { Err(BadId::Form) }
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

id!(
    /// A partner's public name, `PA_…`: what it sends as `X-Auth-ID`.
    PartnerId
);
id!(
    /// A customer account, `MA_…`.
    AccountId
);
id!(ApplicationId);
id!(TrunkId);
id!(
    /// The public name of a key, shown in lists and in the log.
    KeyId
);
id!(
    /// Somebody who signs in, `us_…`: what the log calls them.
    UserId
);

/// A partner's place in the store: what every row of it begins with.
/// Never shown to a tenant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PartnerKey(pub i64);

impl fmt::Display for PartnerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_has_an_id_that_can_be_seen_and_linked_to() {
        for text in ["MA_1", "new", "a b", "'\"%2F+?#", "é", "...", "0", "NA", "null-1"] {
            assert_eq!(check_new(text), Ok(()), "{text:?}");
        }
        for (text, expected) in [
            ("", BadId::Form),
            (" a", BadId::Form),
            ("a/b", BadId::Form),
            ("a\tb", BadId::Form),
            (".", BadId::Dots),
            ("..", BadId::Dots),
            ("MA_1\u{200b}", BadId::Invisible('\u{200b}')),
            ("\u{feff}MA_1", BadId::Invisible('\u{feff}')),
            ("NULL", BadId::Nothing),
            ("n/a", BadId::Nothing),
        ] {
            assert_eq!(check_new(text), Err(expected), "{text:?}");
        }
        assert_eq!(check_new(&"a".repeat(ID_BYTES_MAX + 1)), Err(BadId::Form));
        let message = BadId::Invisible('\u{200b}').to_string();
        assert_eq!(message, "has an invisible character, U+200B; write the id without it");
    }

    #[test]
    fn what_is_stored_is_found_by_its_name() {
        for text in [".", "..", "MA_1\u{200b}", "NULL"] {
            assert!(text.parse::<AccountId>().is_ok(), "{text:?}");
        }
    }
}
