//! How long released numbers are kept from reuse, by country.

use std::collections::BTreeMap;

use super::Country;

/// How long a released number is kept from reuse.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Quarantine {
    pub default_days: u32,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub countries: BTreeMap<Country, u32>,
}

impl Quarantine {
    /// In seconds.
    pub fn of(&self, country: Option<Country>) -> i64 {
        let own = country.and_then(|country| self.countries.get(&country));
        i64::from(*own.unwrap_or(&self.default_days)) * 86_400
    }
}
