//! The names by which a partner, its accounts, applications, trunks and keys
//! are known: opaque text, a type each, so that they cannot be swapped.
//!
//! An id is compared byte for byte and never taken apart. Account,
//! application and trunk ids are unique within one partner only.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The most bytes an id can have.
pub const ID_BYTES_MAX: usize = 128;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to {ID_BYTES_MAX} bytes of text without control characters, spaces around it or '/'")]
pub struct BadId;

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
                if well_formed(text) { Ok($name(text.into())) } else { Err(BadId) }
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
