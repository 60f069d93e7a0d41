//! The exports of other products, recognised by the names of their columns.
//!
//! A product's words mean in its export what its public documentation says, and
//! nothing anywhere else: `number` without a `+` is a whole international number
//! in a Plivo export, and refused in any other file. A file is a product's if it
//! has the product's column of numbers and one that tells it apart. Columns that
//! a mapping names say nothing of the product, and are read as the mapping says.
//!
//! Always holds: a file that could be two products' is refused.
//! Deliberately absent: dates and times without a zone (no product's are
//! documented to be UTC, so they are refused, except that a bare day is its
//! midnight UTC, as everywhere); a product that is named rather than recognised.

use std::fmt;
use std::sync::Arc;

use super::field::{self, Field, Mapping};
use super::value::{self, Fault};
use crate::domain::spelling::Bare;
use crate::domain::{Country, NumberType, Status, Time};

/// A product whose export is known.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Export {
    Vobiz,
    Plivo,
    Twilio,
    Telnyx,
    Didww,
    Bandwidth,
    PortaBilling,
}

impl fmt::Display for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Export::Vobiz => "Vobiz",
            Export::Plivo => "Plivo",
            Export::Twilio => "Twilio",
            Export::Telnyx => "Telnyx",
            Export::Didww => "DIDWW",
            Export::Bandwidth => "Bandwidth",
            Export::PortaBilling => "PortaBilling",
        })
    }
}

/// What a column of an export is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Is {
    Field(Field),
    /// Understood, and not kept.
    Ignored,
}

use Is::{Field as F, Ignored as No};

/// How an export is recognised and read.
struct Product {
    export: Export,
    /// Its column of numbers.
    number: &'static str,
    /// One of these tells it from other files; for `all`, each of them has to
    /// be there.
    telling: &'static [&'static str],
    all: bool,
    /// Columns that it does not have: a file with one of them is not its.
    foreign: &'static [&'static str],
    /// What its columns are, where it is not what they are to us.
    columns: &'static [(&'static str, Is)],
}

/// In lower case, as names are compared.
const PRODUCTS: &[Product] = &[
    // Also the second dialect of our own API.
    Product {
        export: Export::Vobiz,
        number: "e164",
        telling: &["auth_id", "account_id", "monthly_fee", "trunk_group_id", "purchased_at"],
        all: false,
        foreign: &[],
        columns: &[
            ("e164", F(Field::Number)),
            ("auth_id", F(Field::AccountAuthId)),
            ("account_id", F(Field::AccountAuthId)),
            ("monthly_fee", F(Field::MonthlyCost)),
            ("trunk_group_id", F(Field::TrunkId)),
            ("purchased_at", F(Field::AssignedAt)),
            // A number renews itself while its rental is paid, so the date of
            // the next bill is no expiry.
            ("next_billing_date", No),
            ("last_billing_date", No),
            ("id", No),
            ("capabilities", No),
            ("setup_fee", No),
            ("voice_enabled", No),
            ("created_at", No),
            ("updated_at", No),
            ("source", No),
            ("provider", No),
            ("provider_ref", No),
            ("is_trial_number", No),
            ("minimum_commitment_months", No),
            ("aadhaar_verification_required", No),
            ("aadhaar_verified", No),
        ],
    },
    Product {
        export: Export::Plivo,
        number: "number",
        telling: &["sub_account", "added_on", "monthly_rental_rate", "renewal_date"],
        all: false,
        foreign: &[],
        columns: &[
            ("sub_account", F(Field::AccountAuthId)),
            ("application", F(Field::ApplicationId)),
            ("monthly_rental_rate", F(Field::MonthlyCost)),
            ("added_on", F(Field::AssignedAt)),
            // The day of the next bill: a rental renews itself.
            ("renewal_date", No),
            ("alias", No),
            ("carrier", No),
            ("resource_uri", No),
            ("voice_enabled", No),
            ("voice_rate", No),
            ("sms_enabled", No),
            ("sms_rate", No),
            ("mms_enabled", No),
            ("mms_rate", No),
            ("cnam", No),
            ("cnam_lookup", No),
            ("tendlc_campaign_id", No),
            ("tendlc_registration_status", No),
            ("toll_free_sms_verification", No),
        ],
    },
    Product {
        export: Export::Twilio,
        number: "phone_number",
        telling: &["account_sid", "friendly_name", "date_created"],
        all: false,
        foreign: &[],
        columns: &[
            ("phone_number", F(Field::Number)),
            ("account_sid", F(Field::AccountAuthId)),
            ("date_created", F(Field::AssignedAt)),
            ("voice_application_sid", F(Field::ApplicationId)),
            ("trunk_sid", F(Field::TrunkId)),
            // What people call the number, at first the number itself. It is
            // neither an application nor an account; --map makes it a tag.
            ("friendly_name", No),
            ("sid", No),
            ("date_updated", No),
            ("capabilities", No),
            ("uri", No),
            ("beta", No),
            ("origin", No),
            ("api_version", No),
        ],
    },
    Product {
        export: Export::Telnyx,
        number: "phone_number",
        telling: &["connection_id", "connection_name", "purchased_at"],
        all: false,
        foreign: &[],
        columns: &[
            ("phone_number", F(Field::Number)),
            // Where calls to the number go.
            ("connection_id", F(Field::ApplicationId)),
            ("connection_name", F(Field::ApplicationName)),
            ("purchased_at", F(Field::AssignedAt)),
            ("id", No),
            ("record_type", No),
            ("created_at", No),
            ("updated_at", No),
        ],
    },
    Product {
        export: Export::Didww,
        number: "number",
        telling: &["expires_at", "created_at"],
        all: true,
        foreign: &["account_auth_id", "application_id", "trunk_id", "monthly_cost", "assigned_at"],
        columns: &[
            ("created_at", F(Field::AssignedAt)),
            ("blocked", F(Field::Blocked)),
            ("id", No),
            ("description", No),
            ("capacity_limit", No),
            ("billing_cycles_count", No),
            ("channels_included_count", No),
            ("dedicated_channels_count", No),
        ],
    },
    Product {
        export: Export::Bandwidth,
        number: "fullnumber",
        telling: &["accountid", "city", "ratecenter", "lata", "tier"],
        all: false,
        foreign: &[],
        columns: &[
            ("fullnumber", F(Field::Number)),
            ("accountid", F(Field::AccountAuthId)),
            ("city", F(Field::Region)),
            ("state", No),
            ("ratecenter", No),
            ("lata", No),
            ("tier", No),
            ("vendorid", No),
            ("vendorname", No),
            ("lastmodified", No),
        ],
    },
    Product {
        export: Export::PortaBilling,
        number: "did number",
        telling: &["did number"],
        all: false,
        foreign: &[],
        columns: &[("did number", F(Field::Number)), ("recurring cost", F(Field::MonthlyCost))],
    },
];

impl Export {
    /// The product whose export has these columns, if it is one's. Two that it
    /// could be are an error.
    pub(super) fn of<'a>(
        names: impl Iterator<Item = &'a str>,
        mappings: &[Mapping],
    ) -> Result<Option<Export>, [Export; 2]> {
        let names: Vec<String> = names
            .map(field::folded)
            .filter(|name| !mappings.iter().any(|mapping| field::folded(&mapping.column) == *name))
            .collect();
        let has = |wanted: &str| names.iter().any(|name| name == wanted);
        let is_of = |product: &&Product| {
            let told = match product.all {
                true => product.telling.iter().all(|name| has(name)),
                false => product.telling.iter().any(|name| has(name)),
            };
            has(product.number) && told && !product.foreign.iter().any(|name| has(name))
        };
        let mut found = PRODUCTS.iter().filter(is_of).map(|product| product.export);
        match (found.next(), found.next()) {
            (Some(one), Some(other)) => Err([one, other]),
            (one, _) => Ok(one),
        }
    }

    fn product(self) -> &'static Product {
        PRODUCTS.iter().find(|product| product.export == self).expect("every export is in the table")
    }

    /// What a column is in the export, where it is not what it is to us: a
    /// field, or nothing that is kept.
    pub(super) fn column(self, folded: &str) -> Option<Option<Field>> {
        let (_, is) = self.product().columns.iter().find(|(name, _)| *name == folded)?;
        Some(match is {
            Is::Field(field) => Some(*field),
            Is::Ignored => None,
        })
    }

    /// What digits without a `+` are.
    pub(super) fn bare(self) -> Bare {
        match self {
            Export::Plivo => Bare::International,
            Export::Bandwidth => Bare::NorthAmerican,
            Export::Vobiz | Export::Twilio | Export::Telnyx | Export::Didww | Export::PortaBilling => Bare::Unknown,
        }
    }
}

/// An id, or a URI whose last part it is: `/v1/Account/MA…/Application/123/`.
/// `kinds` are what the part before it may be.
pub(super) fn id_of<'a>(text: &'a str, kinds: &[&str]) -> Result<&'a str, Fault> {
    if !text.contains('/') {
        return Ok(text);
    }
    let mut parts = text.trim_end_matches('/').rsplit('/');
    match (parts.next(), parts.next()) {
        (Some(id), Some(kind)) if !id.is_empty() && kinds.iter().any(|known| kind.eq_ignore_ascii_case(known)) => {
            Ok(id)
        }
        _ => Err(Fault::Text(format!("must be an id, or a URI that ends in /{}/ and the id", kinds[0]))),
    }
}

/// As [`value::time`], and what products write besides: the form of e-mail
/// (RFC 2822), and a space where the T belongs. Always with its zone.
pub(super) fn time(text: &str) -> Result<Time, Fault> {
    let plain = value::time(text);
    if plain.is_ok() {
        return plain;
    }
    if let Ok(moment) = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text)
        && let Some(time) = Time::new(moment.as_second())
    {
        return Ok(time);
    }
    match text.split_once(' ').map(|(day, rest)| format!("{day}T{rest}").parse()) {
        Some(Ok(time)) => Ok(time),
        Some(Err(_)) | None => plain,
    }
}

/// An amount without the zeros that products write behind its decimals:
/// `0.80000` is 0.8, exactly.
pub(super) fn amount(text: &str) -> Result<Arc<str>, Fault> {
    let amount = value::amount(text)?;
    Ok(if amount.contains('.') { amount.trim_end_matches('0').trim_end_matches('.').into() } else { amount })
}

/// A status in the product's words.
pub(super) fn status(text: &str, export: Export) -> Result<Status, Fault> {
    let word = text.to_ascii_lowercase();
    match (export, word.as_str()) {
        (_, "active") => Ok(Status::Active),
        (_, "suspended") | (Export::Vobiz, "blocked") => Ok(Status::Suspended),
        (Export::Twilio, "in-use") | (Export::Bandwidth, "inservice") => Ok(Status::Active),
        _ => Err(Fault::Text(format!(
            "is nothing that a number which is here and works has as its status with {export}; leave the row out, or ignore \
             the column with --map"
        ))),
    }
}

/// A country's code; products also write names, which the number tells anyway.
pub(super) fn country(text: &str) -> Option<Country> {
    text.parse().ok()
}

/// A kind of number in a word that is also ours; the number tells the others.
pub(super) fn number_type(text: &str) -> Option<NumberType> {
    match text.to_ascii_lowercase().as_str() {
        "fixed" => Some(NumberType::Local),
        word => NumberType::parse(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_is_known_by_its_columns() {
        let check = |header: &str, expected: Result<Option<Export>, [Export; 2]>| {
            assert_eq!(Export::of(header.split(','), &[]), expected, "header: {header}");
        };
        check("e164,account_id,monthly_fee", Ok(Some(Export::Vobiz)));
        check("E164 , Auth_Id", Ok(Some(Export::Vobiz)));
        check("number,sub_account,application", Ok(Some(Export::Plivo)));
        check("phone_number,friendly_name", Ok(Some(Export::Twilio)));
        check("phone_number,connection_id", Ok(Some(Export::Telnyx)));
        check("number,expires_at,created_at", Ok(Some(Export::Didww)));
        check("FullNumber,City,AccountId", Ok(Some(Export::Bandwidth)));
        check("DID Number,Recurring Cost", Ok(Some(Export::PortaBilling)));
        // Ours, or anybody's.
        check("number,account_auth_id,expires_at,created_at", Ok(None));
        check("number,expires_at", Ok(None));
        check("number,application", Ok(None));
        check("phone_number,status", Ok(None));
        check("e164,name", Ok(None));
        check("added_on,monthly_rental_rate", Ok(None));
        // Two at once.
        check("phone_number,account_sid,connection_id", Err([Export::Twilio, Export::Telnyx]));
        check("number,added_on,created_at,expires_at", Err([Export::Plivo, Export::Didww]));
    }

    #[test]
    fn mapped_columns_say_nothing_of_the_product() {
        let mappings = ["Connection_ID=trunk_id".parse().expect("a mapping")];
        let names = ["phone_number", "account_sid", "connection_id"];
        assert_eq!(Export::of(names.into_iter(), &mappings), Ok(Some(Export::Twilio)));
    }

    #[test]
    fn tables_are_in_lower_case_and_name_each_column_once() {
        for product in PRODUCTS {
            for (at, (name, _)) in product.columns.iter().enumerate() {
                assert_eq!(*name, field::folded(name));
                assert!(!product.columns[..at].iter().any(|(other, _)| other == name), "{} {name}", product.export);
            }
        }
    }

    #[test]
    fn ids_amounts_and_times_as_products_write_them() {
        let id = |text| id_of(text, &["Application"]).map_err(|fault| fault.to_string());
        assert_eq!(id("123"), Ok("123"));
        assert_eq!(id("/v1/Account/MA1/Application/123/"), Ok("123"));
        assert_eq!(id("https://api.example.com/v1/Account/MA1/application/123"), Ok("123"));
        for text in ["/v1/Account/MA1/", "/v1/Account/MA1/Application/", "/", "a/b"] {
            assert!(id(text).is_err(), "{text}");
        }
        let amount = |text| amount(text).map(|text| text.to_string()).map_err(|fault| fault.to_string());
        assert_eq!(amount("0.80000").as_deref(), Ok("0.8"));
        assert_eq!(amount("500.00").as_deref(), Ok("500"));
        assert_eq!(amount("0.80001").as_deref(), Ok("0.80001"));
        assert_eq!(amount("1.250").as_deref(), Ok("1.25"));
        assert_eq!(amount("1200").as_deref(), Ok("1200"));
        assert!(amount("1,000").is_err());
        let time = |text| time(text).map(|time| time.to_string()).ok();
        assert_eq!(time("Tue, 20 Aug 2024 15:09:59 +0000").as_deref(), Some("2024-08-20T15:09:59Z"));
        assert_eq!(time("Tue, 20 Aug 2024 20:39:59 +0530").as_deref(), Some("2024-08-20T15:09:59Z"));
        assert_eq!(time("2024-08-20").as_deref(), Some("2024-08-20T00:00:00Z"));
        assert_eq!(time("2024-08-20 15:09:59.123+00:00").as_deref(), Some("2024-08-20T15:09:59Z"));
        for text in [
            "2024-08-20 15:09:59",
            "2024-08-20T15:09:59",
            "Tue, 20 Aug 2024 15:09:59",
            "Mon, 20 Aug 2024 15:09:59 +0000",
            "08/20/2024",
        ] {
            assert_eq!(time(text), None, "{text}");
        }
    }
}
