//! The exports of other products, recognised by the names of their columns.
//!
//! A product's words mean in its export what its public documentation says, and
//! nothing anywhere else: `number` without a `+` is a whole international number
//! in a Plivo export, and refused in most other files. A file is a product's if
//! it has the product's column of numbers, and one column that only the product
//! has or two that are usual in its exports. Columns that a mapping names say
//! nothing of the product, and are read as the mapping says.
//!
//! Always holds: a file that could be two products' is refused.
//! Deliberately absent: dates and times without a zone (no product's are
//! documented to be UTC, so they are refused, except that a bare day is its
//! midnight UTC, as everywhere); a product that is named rather than recognised.

use std::fmt;
use std::sync::Arc;

use jiff::tz::TimeZone;

use super::field::{self, Field, Mapping};
use super::value::{self, CellFault};
use crate::domain::spelling::BareDigits;
use crate::domain::{Country, NumberType, State, Status, Time};

/// A product whose export is known.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum KnownExport {
    Vobiz,
    Plivo,
    Twilio,
    Telnyx,
    Didww,
    Bandwidth,
    PortaBilling,
    Kazoo,
    Vonage,
    FreePbx,
    Astpp,
    Teams,
}

impl fmt::Display for KnownExport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            KnownExport::Vobiz => "Vobiz",
            KnownExport::Plivo => "Plivo",
            KnownExport::Twilio => "Twilio",
            KnownExport::Telnyx => "Telnyx",
            KnownExport::Didww => "DIDWW",
            KnownExport::Bandwidth => "Bandwidth",
            KnownExport::PortaBilling => "PortaBilling",
            KnownExport::Kazoo => "Kazoo",
            KnownExport::Vonage => "Vonage",
            KnownExport::FreePbx => "FreePBX",
            KnownExport::Astpp => "ASTPP",
            KnownExport::Teams => "Microsoft Teams",
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
    export: KnownExport,
    /// Its column of numbers, by each of its names.
    number: &'static [&'static str],
    /// Columns that only this product has: one of them is enough.
    own: &'static [&'static str],
    /// Columns that others could have as well: two of them are enough.
    common: &'static [&'static str],
    /// What its columns are, where it is not what they are to us.
    columns: &'static [(&'static str, Is)],
}

/// Names are written as they are compared, see [`field::folded`].
const PRODUCTS: &[Product] = &[
    // Also the second dialect of our own API.
    Product {
        export: KnownExport::Vobiz,
        number: &["e164"],
        own: &["authid", "trunkgroupid", "aadhaarverified"],
        common: &[
            "accountid",
            "monthlyfee",
            "purchasedat",
            "isblocked",
            "setupfee",
            "nextbillingdate",
            "lastbillingdate",
        ],
        columns: &[
            ("e164", F(Field::Number)),
            ("authid", F(Field::AccountAuthId)),
            ("accountid", F(Field::AccountAuthId)),
            ("monthlyfee", F(Field::MonthlyCost)),
            ("trunkgroupid", F(Field::TrunkId)),
            ("purchasedat", F(Field::AssignedAt)),
            // A number renews itself while its rental is paid, so the date of
            // the next bill is no expiry.
            ("nextbillingdate", No),
            ("lastbillingdate", No),
            ("id", No),
            ("capabilities", No),
            ("setupfee", No),
            ("voiceenabled", No),
            ("createdat", No),
            ("updatedat", No),
            ("source", No),
            ("provider", No),
            ("providerref", No),
            ("istrialnumber", No),
            ("minimumcommitmentmonths", No),
            ("aadhaarverificationrequired", No),
            ("aadhaarverified", No),
        ],
    },
    Product {
        export: KnownExport::Plivo,
        number: &["number"],
        own: &["monthlyrentalrate", "tendlccampaignid"],
        common: &["subaccount", "addedon", "application", "renewaldate", "voicerate", "smsrate", "resourceuri"],
        columns: &[
            ("subaccount", F(Field::AccountAuthId)),
            ("application", F(Field::ApplicationId)),
            ("monthlyrentalrate", F(Field::MonthlyCost)),
            ("addedon", F(Field::AssignedAt)),
            // The day of the next bill: a rental renews itself.
            ("renewaldate", No),
            ("alias", No),
            ("carrier", No),
            ("resourceuri", No),
            ("voiceenabled", No),
            ("voicerate", No),
            ("smsenabled", No),
            ("smsrate", No),
            ("mmsenabled", No),
            ("mmsrate", No),
            ("cnam", No),
            ("cnamlookup", No),
            ("tendlccampaignid", No),
            ("tendlcregistrationstatus", No),
            ("tollfreesmsverification", No),
        ],
    },
    Product {
        export: KnownExport::Twilio,
        number: &["phonenumber"],
        own: &["accountsid", "voiceapplicationsid", "trunksid"],
        common: &["sid", "friendlyname", "datecreated", "dateupdated"],
        columns: &[
            ("phonenumber", F(Field::Number)),
            ("accountsid", F(Field::AccountAuthId)),
            ("datecreated", F(Field::AssignedAt)),
            ("voiceapplicationsid", F(Field::ApplicationId)),
            ("trunksid", F(Field::TrunkId)),
            // What people call the number, at first the number itself. It is
            // neither an application nor an account; --map makes it a tag.
            ("friendlyname", No),
            ("sid", No),
            ("dateupdated", No),
            ("capabilities", No),
            ("uri", No),
            ("beta", No),
            ("origin", No),
            ("apiversion", No),
        ],
    },
    Product {
        export: KnownExport::Telnyx,
        number: &["phonenumber"],
        own: &["connectionid", "connectionname", "messagingprofileid", "t38faxgatewayenabled"],
        common: &["purchasedat", "recordtype", "countryisoalpha2", "billinggroupid", "customerreference"],
        columns: &[
            ("phonenumber", F(Field::Number)),
            // Where calls to the number go.
            ("connectionid", F(Field::ApplicationId)),
            ("connectionname", F(Field::ApplicationName)),
            ("purchasedat", F(Field::AssignedAt)),
            ("countryisoalpha2", F(Field::Country)),
            ("phonenumbertype", F(Field::NumberType)),
            ("id", No),
            ("recordtype", No),
            ("createdat", No),
            ("updatedat", No),
            ("externalpin", No),
            ("customerreference", No),
            ("billinggroupid", No),
            ("messagingprofileid", No),
            ("messagingprofilename", No),
            ("emergencyenabled", No),
            ("emergencyaddressid", No),
            ("emergencystatus", No),
            ("callforwardingenabled", No),
            ("callrecordingenabled", No),
            ("calleridnameenabled", No),
            ("cnamlistingenabled", No),
            ("t38faxgatewayenabled", No),
            ("hdvoiceenabled", No),
            ("inboundcallscreening", No),
            ("deletionlockenabled", No),
            ("sourcetype", No),
        ],
    },
    Product {
        export: KnownExport::Didww,
        number: &["number"],
        own: &["awaitingregistration", "dedicatedchannelscount", "channelsincludedcount", "billingcyclescount"],
        common: &["blocked", "capacitylimit", "terminated", "pendingremoval"],
        columns: &[
            ("createdat", F(Field::AssignedAt)),
            ("blocked", F(Field::Blocked)),
            ("id", No),
            ("description", No),
            ("capacitylimit", No),
            ("billingcyclescount", No),
            ("channelsincludedcount", No),
            ("dedicatedchannelscount", No),
            ("awaitingregistration", No),
            ("pendingremoval", No),
            ("terminated", No),
            ("emergencyenabled", No),
        ],
    },
    Product {
        export: KnownExport::Bandwidth,
        number: &["fullnumber"],
        own: &["ratecenter", "lata", "vendorid"],
        common: &["accountid", "city", "state", "tier", "vendorname", "lastmodified"],
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
    // The header before and since its new interface.
    Product {
        export: KnownExport::PortaBilling,
        number: &["didnumber", "number"],
        own: &["didvendorbatch", "vendorbatch", "periodicfee", "recurringcost"],
        common: &["activationfee", "activationcost", "freeofcharge", "releaseddate", "releasedate"],
        columns: &[
            ("didnumber", F(Field::Number)),
            ("recurringcost", F(Field::MonthlyCost)),
            ("periodicfee", F(Field::MonthlyCost)),
            ("area", F(Field::Region)),
            ("didvendorbatch", No),
            ("vendorbatch", No),
            ("activationfee", No),
            ("activationcost", No),
            ("description", No),
            ("releaseddate", No),
            ("releasedate", No),
            ("freeofcharge", No),
            ("free", No),
        ],
    },
    Product {
        export: KnownExport::Kazoo,
        number: &["e164"],
        own: &["carriermodule", "previouslyassignedto"],
        common: &["usedby", "portedin", "portin", "cnaminbound", "cnamoutbound"],
        columns: &[
            ("e164", F(Field::Number)),
            ("accountid", F(Field::AccountAuthId)),
            // Who had it, what uses it (a kind of callflow) and who carries it.
            ("previouslyassignedto", No),
            ("usedby", No),
            ("carriermodule", No),
            ("created", No),
            ("modified", No),
            ("portin", No),
            ("portedin", No),
            ("cnaminbound", No),
            ("cnamoutbound", No),
            ("e911locality", No),
            ("e911name", No),
            ("e911region", No),
            ("e911streetaddress", No),
            ("e911extendedaddress", No),
            ("e911postalcode", No),
            ("prependenabled", No),
            ("prependname", No),
            ("prependnumber", No),
            ("ringbackearly", No),
            ("ringbacktransfer", No),
            ("forceoutbound", No),
            ("failovere164", No),
            ("failoversip", No),
        ],
    },
    Product {
        export: KnownExport::Vonage,
        number: &["msisdn"],
        own: &["mohttpurl", "voicecallbacktype", "messagescallbacktype"],
        common: &["features", "appid", "type"],
        columns: &[
            ("msisdn", F(Field::Number)),
            ("appid", F(Field::ApplicationId)),
            ("type", F(Field::NumberType)),
            ("features", No),
            ("mohttpurl", No),
            ("messagescallbacktype", No),
            ("messagescallbackvalue", No),
            ("voicecallbacktype", No),
            ("voicecallbackvalue", No),
        ],
    },
    // The DIDs of its bulk handler.
    Product {
        export: KnownExport::FreePbx,
        number: &["extension"],
        own: &["cidnum", "privacyman", "pmmaxretries"],
        common: &["destination", "alertinfo", "mohclass", "grppre", "pricid"],
        columns: &[
            ("extension", F(Field::Number)),
            // A place in the exchange's dial plan, such as ext-local,100,1.
            ("destination", No),
            ("description", No),
            ("cidnum", No),
            ("privacyman", No),
            ("alertinfo", No),
            ("ringing", No),
            ("fanswer", No),
            ("mohclass", No),
            ("grppre", No),
            ("delayanswer", No),
            ("pricid", No),
            ("pmmaxretries", No),
            ("pmminlength", No),
            ("reversal", No),
            ("rvolume", No),
            ("callrecording", No),
            ("indicationzone", No),
        ],
    },
    Product {
        export: KnownExport::Astpp,
        number: &["did"],
        own: &["initialincrement"],
        common: &["calltype", "increment"],
        columns: &[
            ("did", F(Field::Number)),
            ("account", F(Field::AccountAuthId)),
            ("initialincrement", No),
            ("increment", No),
            ("calltype", No),
            ("destination", No),
        ],
    },
    // The numbers of a tenant, by either of its two commands.
    Product {
        export: KnownExport::Teams,
        number: &["telephonenumber"],
        own: &["assignedpstntargetid", "pstnassignmentstatus", "pstnpartnerid", "civicaddressid"],
        common: &["activationstate", "assignmentstatus", "operatorid", "targetid", "acquiredcapabilities"],
        columns: &[
            ("telephonenumber", F(Field::Number)),
            ("isocountrycode", F(Field::Country)),
            ("city", F(Field::Region)),
            ("placename", F(Field::Region)),
            // Who provides the number, and which user or resource has it.
            ("numbertype", No),
            ("operatorid", No),
            ("activationstate", No),
            ("assignedpstntargetid", No),
            ("targetid", No),
            ("targettype", No),
            ("assignmentcategory", No),
            ("assignmentstatus", No),
            ("pstnassignmentstatus", No),
            ("capability", No),
            ("acquiredcapabilities", No),
            ("availablecapabilities", No),
            ("civicaddressid", No),
            ("isosubdivision", No),
            ("isosubdivisioncode", No),
            ("locationid", No),
            ("locationupdatesupported", No),
            ("networksiteid", No),
            ("portinorderstatus", No),
            ("pstnpartnerid", No),
            ("pstnpartnername", No),
            ("partnername", No),
            ("numbersource", No),
            ("acquisitiondate", No),
            ("reversenumberlookup", No),
            ("routingoptions", No),
            ("tag", No),
        ],
    },
];

impl KnownExport {
    /// The product whose export has these columns, if it is one's. Two that it
    /// could be are an error.
    pub(super) fn of<'a>(
        names: impl Iterator<Item = &'a str>,
        mappings: &[Mapping],
    ) -> Result<Option<KnownExport>, [KnownExport; 2]> {
        let names: Vec<String> = names
            .map(field::folded)
            .filter(|name| !mappings.iter().any(|mapping| field::folded(&mapping.column) == *name))
            .collect();
        let has = |wanted: &str| names.iter().any(|name| name == wanted);
        let is_of = |product: &&Product| {
            let has_number = product.number.iter().any(|name| has(name));
            let common = product.common.iter().filter(|name| has(name)).count();
            has_number && (product.own.iter().any(|name| has(name)) || common >= 2)
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
    pub(super) fn bare(self) -> BareDigits {
        match self {
            KnownExport::Plivo | KnownExport::Didww | KnownExport::Vonage => BareDigits::International,
            KnownExport::Bandwidth => BareDigits::NorthAmerican,
            KnownExport::Vobiz
            | KnownExport::Twilio
            | KnownExport::Telnyx
            | KnownExport::PortaBilling
            | KnownExport::Kazoo
            | KnownExport::FreePbx
            | KnownExport::Astpp
            | KnownExport::Teams => BareDigits::Unknown,
        }
    }
}

/// An id, or a URI whose last part it is: `/v1/Account/MA…/Application/123/`.
/// `kinds` are what the part before it may be.
pub(super) fn id_of<'a>(text: &'a str, kinds: &[&str]) -> Result<&'a str, CellFault> {
    if !text.contains('/') {
        return Ok(text);
    }
    let mut parts = text.trim_end_matches('/').rsplit('/');
    match (parts.next(), parts.next()) {
        (Some(id), Some(kind)) if !id.is_empty() && kinds.iter().any(|known| kind.eq_ignore_ascii_case(known)) => {
            Ok(id)
        }
        _ => Err(CellFault::Text(format!("must be an id, or a URI that ends in /{}/ and the id", kinds[0]))),
    }
}

/// As [`value::time`], and what products write besides: the form of e-mail
/// (Twilio's).
pub(super) fn time(text: &str, zone: &TimeZone) -> Result<Time, CellFault> {
    let plain = value::time(text, zone);
    if plain.is_err()
        && let Ok(moment) = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text)
        && let Some(time) = Time::new(moment.as_second())
    {
        return Ok(time);
    }
    plain
}

/// An amount without the zeros that products write behind its decimals:
/// `0.80000` is 0.8, exactly.
pub(super) fn amount(text: &str) -> Result<Arc<str>, CellFault> {
    let amount = value::amount(text)?;
    Ok(if amount.contains('.') { amount.trim_end_matches('0').trim_end_matches('.').into() } else { amount })
}

/// A status in the product's words.
pub(super) fn status(text: &str, export: KnownExport) -> Result<Status, CellFault> {
    let word = text.to_ascii_lowercase();
    match (export, word.as_str()) {
        (_, "active") => Ok(Status::Active),
        (_, "suspended") | (KnownExport::Vobiz, "blocked") | (KnownExport::Astpp, "inactive") => Ok(Status::Suspended),
        (KnownExport::Twilio, "in-use") | (KnownExport::Bandwidth, "inservice" | "in_service") => Ok(Status::Active),
        _ => Err(CellFault::Text(format!(
            "is nothing that a number which is here and works has as its status with {export}; leave the row out, or ignore \
             the column with --map"
        ))),
    }
}

/// A state in the product's words; none is an account without numbers.
pub(super) fn state(text: &str, export: KnownExport) -> Result<Option<State>, CellFault> {
    let word = text.to_ascii_lowercase();
    match (export, word.as_str()) {
        (KnownExport::Kazoo, "in_service") => Ok(Some(State::Active)),
        (KnownExport::Kazoo, "aging") => Ok(Some(State::Quarantined)),
        (KnownExport::Kazoo, "available" | "reserved") => value::state(text),
        (KnownExport::Kazoo, _) => Err(CellFault::Text(format!(
            "is no state of a number that is here, with {export}; leave the row out, or ignore the column with --map"
        ))),
        _ => value::state(text),
    }
}

/// A place; Plivo writes the country behind it in capitals, `Mumbai, INDIA`.
pub(super) fn region(text: &str, export: KnownExport) -> Result<Arc<str>, CellFault> {
    let place = match (export, text.rsplit_once(", ")) {
        (KnownExport::Plivo, Some((place, country)))
            // Shorter ones are states of the United States.
            if !place.trim().is_empty() && country.len() > 3 && !country.contains(|c: char| c.is_lowercase()) =>
        {
            place.trim()
        }
        _ => text,
    };
    value::region(place)
}

/// A country's code; products also write names, which the number tells anyway.
pub(super) fn country(text: &str) -> Option<Country> {
    text.parse().ok()
}

/// A kind of number in a word that we have too; the number tells the others.
pub(super) fn number_type(text: &str) -> Option<NumberType> {
    match field::folded(text).as_str() {
        "fixed" | "landline" => Some(NumberType::Local),
        "landlinetollfree" => Some(NumberType::Tollfree),
        "mobilelvn" => Some(NumberType::Mobile),
        word => NumberType::parse(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_is_known_by_its_columns() {
        let check = |header: &str, expected: Result<Option<KnownExport>, [KnownExport; 2]>| {
            assert_eq!(KnownExport::of(header.split(','), &[]), expected, "header: {header}");
        };
        check("e164,account_id,monthly_fee", Ok(Some(KnownExport::Vobiz)));
        check("E164 , Auth_Id", Ok(Some(KnownExport::Vobiz)));
        check("number,sub_account,application", Ok(Some(KnownExport::Plivo)));
        check("phone_number,sid,friendly_name", Ok(Some(KnownExport::Twilio)));
        check("phone_number,connection_id", Ok(Some(KnownExport::Telnyx)));
        check("number,blocked,capacity_limit,expires_at,created_at", Ok(Some(KnownExport::Didww)));
        check("FullNumber,City,AccountId", Ok(Some(KnownExport::Bandwidth)));
        check("DID Number,Recurring Cost", Ok(Some(KnownExport::PortaBilling)));
        check("Number,DID vendor batch,Activation fee,Periodic fee,Country", Ok(Some(KnownExport::PortaBilling)));
        check("e164,account_id,state,used_by,carrier_module", Ok(Some(KnownExport::Kazoo)));
        check("country,msisdn,type,features", Ok(Some(KnownExport::Vonage)));
        check("cidnum,extension,destination", Ok(Some(KnownExport::FreePbx)));
        check("DID,Country,Account,Initial Increment", Ok(Some(KnownExport::Astpp)));
        check("TelephoneNumber,PstnAssignmentStatus", Ok(Some(KnownExport::Teams)));
        // Ours, or anybody's.
        for header in [
            "number,account_auth_id,expires_at,created_at",
            "number,expires_at,created_at",
            "number,application",
            "Number,Sub Account",
            "Number,Added On",
            "Number,Renewal Date",
            "phone_number,status",
            "Phone Number,Friendly Name",
            "phone_number,purchased_at",
            "e164,account_id",
            "e164,name",
            "Full Number,City",
            "DID Number,Extension Matched",
            "msisdn,country",
            "extension,destination",
            "did,account",
            "added_on,monthly_rental_rate",
        ] {
            check(header, Ok(None));
        }
        // Two at once.
        check("phone_number,account_sid,connection_id", Err([KnownExport::Twilio, KnownExport::Telnyx]));
        check("number,monthly_rental_rate,awaiting_registration", Err([KnownExport::Plivo, KnownExport::Didww]));
    }

    #[test]
    fn mapped_columns_say_nothing_of_the_product() {
        let mappings = ["Connection_ID=trunk_id".parse().expect("a mapping")];
        let names = ["phone_number", "account_sid", "connection_id"];
        assert_eq!(KnownExport::of(names.into_iter(), &mappings), Ok(Some(KnownExport::Twilio)));
    }

    #[test]
    fn names_are_written_as_they_are_compared_and_each_column_once() {
        for product in PRODUCTS {
            let columns = product.columns.iter().map(|(name, _)| name);
            for name in columns.chain(product.number).chain(product.own).chain(product.common) {
                assert_eq!(*name, field::folded(name));
            }
            for (at, (name, _)) in product.columns.iter().enumerate() {
                assert!(!product.columns[..at].iter().any(|(other, _)| other == name), "{} {name}", product.export);
            }
        }
    }

    #[test]
    fn places_and_kinds_as_products_write_them() {
        let region = |text, export| region(text, export).map(|place| place.to_string()).unwrap_or_default();
        assert_eq!(region("Mumbai, INDIA", KnownExport::Plivo), "Mumbai");
        assert_eq!(region("San Jose, California, UNITED STATES", KnownExport::Plivo), "San Jose, California");
        assert_eq!(region("Mumbai", KnownExport::Plivo), "Mumbai");
        assert_eq!(region("Springfield, Illinois", KnownExport::Plivo), "Springfield, Illinois");
        assert_eq!(region("Mumbai, INDIA", KnownExport::Telnyx), "Mumbai, INDIA");
        for (text, expected) in [
            ("fixed", Some(NumberType::Local)),
            ("mobile-lvn", Some(NumberType::Mobile)),
            ("landline-toll-free", Some(NumberType::Tollfree)),
            ("toll_free", Some(NumberType::Tollfree)),
            ("Local", Some(NumberType::Local)),
            ("national", None),
        ] {
            assert_eq!(number_type(text), expected, "{text}");
        }
        let state = |text| state(text, KnownExport::Kazoo).map_err(|fault| fault.to_string());
        assert_eq!(state("in_service"), Ok(Some(State::Active)));
        assert_eq!(state("Available"), Ok(Some(State::Available)));
        assert!(
            state("port_in").is_err_and(|fault| fault.starts_with("is no state of a number that is here, with Kazoo"))
        );
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
        let time = |text| time(text, &TimeZone::UTC).map(|time| time.to_string()).ok();
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
