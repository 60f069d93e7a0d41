//! Which field each column of a file is read as.
//!
//! The command line and the console read columns by the same rule, [`resolve`].
//! A column's own name decides, never its cells: a mapping first, then the
//! columns of the product whose export the file is, then our names, then other
//! names of the trade. Case and separators do not matter.
//!
//! Always holds: of two columns that could be the same field, one that names it
//! exactly wins over one that names it loosely (`customer_id` over `customer`);
//! two that name it equally well are for the reader to refuse. The two ends of a
//! block are both read, or the file is refused.
//! Deliberately absent: words that mean too much to be one field (`name`,
//! `type`, `country code`). Such a column is not read, and listed as unread.

use super::KnownExport;
use super::field::{Field, Mapping, folded};

/// What a column of the file is to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ColumnRole {
    Field(Field),
    /// The same, in the words of the product whose export it is.
    Exported(Field, KnownExport),
    Ignored,
    Unknown,
}

impl ColumnRole {
    /// The field that is read from the column.
    pub fn field(self) -> Option<Field> {
        match self {
            ColumnRole::Field(field) | ColumnRole::Exported(field, _) => Some(field),
            ColumnRole::Ignored | ColumnRole::Unknown => None,
        }
    }
}

/// How well a name says which field it is. The better one comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Weight {
    /// A mapping, a product's column, or our own name.
    Exact,
    /// Another name for nothing but this field.
    Plain,
    /// A word that means the field only where no other column says it.
    Loose,
}

/// What other people call a field, as names are compared.
const SYNONYMS: &[(Field, Weight, &[&str])] = &[
    (Field::Number, Weight::Exact, &["start"]),
    (Field::NumberEnd, Weight::Exact, &["end"]),
    (
        Field::Number,
        Weight::Plain,
        &[
            "numbers",
            "phonenumber",
            "phonenumbers",
            "phonenumbere164",
            "telephonenumber",
            "telephonenumbers",
            "telnumber",
            "did",
            "dids",
            "didnumber",
            "didnumbers",
            "didddi",
            "didnumberddi",
            "dide164",
            "ddi",
            "ddis",
            "ddinumber",
            "msisdn",
            "e164",
            "e164number",
            "numbere164",
            "tn",
            "tns",
            "virtualnumber",
            "inboundnumber",
            "directnumber",
            "rangestart",
            "startnumber",
            "firstnumber",
            "fromnumber",
            "numberstart",
            "numberfrom",
            "blockstart",
            "didstart",
            "startdid",
        ],
    ),
    (
        Field::Number,
        Weight::Loose,
        &[
            "phone",
            "phoneno",
            "telephone",
            "telephoneno",
            "tel",
            "telno",
            "fullnumber",
            "destinationnumber",
            "callednumber",
            "dnis",
        ],
    ),
    (
        Field::NumberEnd,
        Weight::Plain,
        &[
            "rangeend",
            "endnumber",
            "lastnumber",
            "tonumber",
            "numberto",
            "blockend",
            "didend",
            "enddid",
            "rangeto",
            "endrange",
            "endofrange",
        ],
    ),
    (
        Field::AccountAuthId,
        Weight::Plain,
        &[
            "accountid",
            "authid",
            "accountsid",
            "accountnumber",
            "accountcode",
            "customerid",
            "customerauthid",
            "customeraccountid",
            "customernumber",
            "customerno",
            "customercode",
            "clientid",
            "subaccountid",
            "tenantid",
        ],
    ),
    (
        Field::AccountAuthId,
        Weight::Loose,
        &["account", "customer", "customeraccount", "client", "subaccount", "tenant"],
    ),
    (Field::AccountName, Weight::Plain, &["customername", "clientname", "companyname", "tenantname", "subaccountname"]),
    (Field::AccountName, Weight::Loose, &["company", "organization", "organisation"]),
    (Field::ApplicationId, Weight::Plain, &["appid"]),
    (Field::ApplicationId, Weight::Loose, &["application", "app"]),
    (Field::ApplicationName, Weight::Plain, &["appname"]),
    (Field::TrunkId, Weight::Plain, &["siptrunkid", "trunkgroupid"]),
    (Field::TrunkId, Weight::Loose, &["trunk", "siptrunk", "trunkgroup"]),
    (
        Field::MonthlyCost,
        Weight::Plain,
        &[
            "monthlyfee",
            "monthlyprice",
            "monthlyrate",
            "monthlycharge",
            "monthlyrental",
            "monthlyrentalrate",
            "monthlyrecurringcost",
            "monthlyrecurringcharge",
            "mrc",
            "costpermonth",
            "pricepermonth",
        ],
    ),
    (Field::MonthlyCost, Weight::Loose, &["cost", "price", "monthly", "rental", "recurringcost", "recurringcharge"]),
    (Field::Currency, Weight::Plain, &["currencycode", "ccy"]),
    (
        Field::AssignedAt,
        Weight::Plain,
        &[
            "assigned",
            "assignedon",
            "assigneddate",
            "dateassigned",
            "assignmentdate",
            "activated",
            "activatedat",
            "activatedon",
            "activationdate",
        ],
    ),
    (Field::AssignedAt, Weight::Loose, &["startdate", "purchasedat", "purchasedate"]),
    (
        Field::ExpiresAt,
        Weight::Plain,
        &[
            "expires",
            "expireson",
            "expiry",
            "expirydate",
            "expiration",
            "expirationdate",
            "expiresdate",
            "dateexpires",
            "validuntil",
            "validto",
        ],
    ),
    (Field::ExpiresAt, Weight::Loose, &["enddate"]),
    (Field::NumberType, Weight::Plain, &["phonenumbertype", "didtype"]),
    (
        Field::Country,
        Weight::Plain,
        &["isocountry", "isocountrycode", "countryiso", "countryisocode", "countryisoalpha2"],
    ),
    (Field::Region, Weight::Loose, &["city", "area", "location", "locality", "place", "town", "ratecenter"]),
    (Field::Tags, Weight::Plain, &["tag", "labels"]),
    (Field::Tags, Weight::Loose, &["label"]),
];

/// The names of a block's first and last number. The words of `from` and `to`
/// mean nothing else only as a pair, or after a mapping.
const BLOCKS: &[(&str, &str)] = &[
    ("start", "end"),
    ("from", "to"),
    ("first", "last"),
    ("begin", "end"),
    ("rangestart", "rangeend"),
    ("rangefrom", "rangeto"),
    ("startnumber", "endnumber"),
    ("firstnumber", "lastnumber"),
    ("fromnumber", "tonumber"),
    ("numberfrom", "numberto"),
    ("numberstart", "numberend"),
    ("blockstart", "blockend"),
    ("didstart", "didend"),
    ("startdid", "enddid"),
    ("didfrom", "didto"),
    ("startrange", "endrange"),
    ("startofrange", "endofrange"),
];

/// The field of a name that is no mapping's and no product's.
fn meaning(folded: &str) -> Option<(Field, Weight)> {
    let own = |field: &&Field| field.as_str().bytes().filter(|&byte| byte != b'_').eq(folded.bytes());
    if let Some(&field) = Field::ALL.iter().find(own) {
        return Some((field, Weight::Exact));
    }
    let known = SYNONYMS.iter().find(|(_, _, names)| names.contains(&folded))?;
    Some((known.0, known.1))
}

/// Whether a name alone says that a column has numbers.
pub(super) fn is_number(name: &str) -> bool {
    meaning(&folded(name)).is_some_and(|(field, _)| field == Field::Number)
}

/// What a column is by its name alone, and how well the name says so.
fn candidate(folded: &str, mappings: &[Mapping], export: Option<KnownExport>) -> (ColumnRole, Weight) {
    if let Some(mapping) = mappings.iter().find(|mapping| super::field::folded(&mapping.column) == folded) {
        return (mapping.field.map_or(ColumnRole::Ignored, ColumnRole::Field), Weight::Exact);
    }
    let meaning = meaning(folded);
    let Some(export) = export else {
        return meaning
            .map_or((ColumnRole::Unknown, Weight::Loose), |(field, weight)| (ColumnRole::Field(field), weight));
    };
    match (export.column(folded), meaning) {
        (Some(None), _) => (ColumnRole::Ignored, Weight::Exact),
        (Some(Some(field)), _) => (ColumnRole::Exported(field, export), Weight::Exact),
        // In an export only our own names are understood beside the product's.
        (None, Some((field, Weight::Exact))) => (ColumnRole::Exported(field, export), Weight::Exact),
        (None, _) => (ColumnRole::Unknown, Weight::Loose),
    }
}

/// What the columns of a file are, in their order.
pub(super) struct Resolved {
    pub roles: Vec<ColumnRole>,
    /// The column that begins a block where no column ends it.
    pub endless: Option<usize>,
}

/// Decides what each column of a file is, given the names of all of them.
pub(super) fn resolve(names: &[&str], mappings: &[Mapping], export: Option<KnownExport>) -> Resolved {
    let folded: Vec<String> = names.iter().map(|name| folded(name)).collect();
    let candidates: Vec<(ColumnRole, Weight)> = folded.iter().map(|name| candidate(name, mappings, export)).collect();
    // A column that a mapping takes away still says that looser names are not it.
    let by_itself: Vec<(ColumnRole, Weight)> = folded.iter().map(|name| candidate(name, &[], export)).collect();
    let best = |field: Field| {
        let saying = candidates.iter().chain(&by_itself).filter(|(role, _)| role.field() == Some(field));
        saying.map(|(_, weight)| *weight).min()
    };
    let mut roles: Vec<ColumnRole> = candidates
        .iter()
        .map(|&(role, weight)| match role.field() {
            Some(field) if best(field).is_some_and(|best| best < weight) => ColumnRole::Unknown,
            _ => role,
        })
        .collect();
    resolve_block(&folded, &mut roles, mappings);
    let endless = endless(&folded, &roles, mappings);
    Resolved { roles, endless }
}

/// Whether a mapping names the column.
fn is_mapped(column: &str, mappings: &[Mapping]) -> bool {
    mappings.iter().any(|mapping| folded(&mapping.column) == column)
}

/// Finds the ends of a block among columns that say nothing alone.
fn resolve_block(folded: &[String], roles: &mut [ColumnRole], mappings: &[Mapping]) {
    let at = |name: &str| folded.iter().position(|column| column == name);
    let free = |at: usize, roles: &[ColumnRole]| roles[at] == ColumnRole::Unknown && !is_mapped(&folded[at], mappings);
    let holds = |field: Field, roles: &[ColumnRole]| roles.iter().position(|role| role.field() == Some(field));
    for (first, last) in BLOCKS {
        let (first, Some(last)) = (at(first), at(last)) else { continue };
        let number = holds(Field::Number, roles);
        if let Some(first) = first
            && number.is_none()
            && free(first, roles)
            && (free(last, roles) || roles[last].field() == Some(Field::NumberEnd))
        {
            roles[first] = ColumnRole::Field(Field::Number);
        }
        let number = holds(Field::Number, roles);
        // Beside a number, `from` and `to` are something else than its block.
        let belongs = number.is_some() && (first.is_none() || first == number);
        if belongs && free(last, roles) && holds(Field::NumberEnd, roles).is_none() {
            roles[last] = ColumnRole::Field(Field::NumberEnd);
        }
    }
}

/// The column of numbers, if its name begins a block that no column ends.
fn endless(folded: &[String], roles: &[ColumnRole], mappings: &[Mapping]) -> Option<usize> {
    let number = roles.iter().position(|role| role.field() == Some(Field::Number))?;
    let begins = BLOCKS.iter().any(|(first, _)| *first == folded[number]);
    // An end that a mapping ignores is a decision.
    let ended = roles.iter().any(|role| role.field() == Some(Field::NumberEnd))
        || BLOCKS.iter().any(|(_, last)| folded.iter().any(|name| name == last) && is_mapped(last, mappings));
    (begins && !ended && !is_mapped(&folded[number], mappings)).then_some(number)
}

/// What a JSON key is that the first row did not have; `held` are the fields of
/// the keys so far.
pub(super) fn role_of_late(
    name: &str,
    mappings: &[Mapping],
    export: Option<KnownExport>,
    held: impl Fn(Field) -> bool,
) -> ColumnRole {
    let (role, weight) = candidate(&folded(name), mappings, export);
    match role.field() {
        Some(field) if weight == Weight::Loose && held(field) => ColumnRole::Unknown,
        _ => role,
    }
}

/// The columns of mappings that are not among these names.
pub(super) fn unmatched<'a>(
    mappings: &'a [Mapping],
    names: impl Iterator<Item = &'a str>,
) -> impl Iterator<Item = &'a Mapping> {
    let names: Vec<String> = names.map(folded).collect();
    mappings.iter().filter(move |mapping| !names.contains(&folded(&mapping.column)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::BadMapping;

    #[test]
    fn a_mapping_is_column_and_field() {
        let mapping = |column: &str, field| Ok(Mapping { column: column.to_owned(), field });
        assert_eq!("Opérateur=account_auth_id".parse(), mapping("Opérateur", Some(Field::AccountAuthId)));
        assert_eq!(" a=b = Number ".parse(), mapping("a=b", Some(Field::Number)));
        assert_eq!("notes=-".parse(), mapping("notes", None));
        for text in ["", "=", "number", "a=", "=number"] {
            assert!(matches!(text.parse::<Mapping>(), Err(BadMapping::Form { .. })), "input: {text:?}");
        }
        let message = "operator=acount".parse::<Mapping>().expect_err("no such field").to_string();
        assert!(
            message.starts_with("there is no field \"acount\"; the fields are number, number_end, account_auth_id")
        );
        assert!(message.ends_with("reserved_for, since"), "{message}");
    }

    fn roles(header: &str, mappings: &[&str], export: Option<KnownExport>) -> Vec<ColumnRole> {
        let mappings: Vec<Mapping> = mappings.iter().map(|text| text.parse().expect("a mapping")).collect();
        let names: Vec<&str> = header.split(',').collect();
        resolve(&names, &mappings, export).roles
    }

    /// The fields of a header's columns; `-` is not read.
    #[track_caller]
    fn check(header: &str, mappings: &[&str], expected: &str) {
        let field = |role: ColumnRole| role.field().map_or("-", Field::as_str);
        let found: Vec<&str> = roles(header, mappings, None).into_iter().map(field).collect();
        assert_eq!(found.join(","), expected, "header: {header}");
    }

    #[test]
    fn case_and_separators_do_not_matter() {
        for name in [
            "number",
            " Number ",
            "phone_number",
            "Phone Number",
            "phoneNumber",
            "PHONE-NUMBER",
            "Phone\u{a0}number",
            "Phone.Number",
            "DID",
            "ddi",
            "TN",
            "MSISDN",
            "E.164",
            "Destination Number",
            "destination_number",
            "tel. no.",
        ] {
            check(name, &[], "number");
        }
        for (name, field) in [
            ("Account Auth ID", "account_auth_id"),
            ("customerId", "account_auth_id"),
            ("Customer", "account_auth_id"),
            ("Customer Name", "account_name"),
            ("Application", "application_id"),
            ("application-name", "application_name"),
            ("Monthly-Cost", "monthly_cost"),
            ("Monthly Cost", "monthly_cost"),
            ("monthlyFee", "monthly_cost"),
            ("MRC", "monthly_cost"),
            ("Expires At", "expires_at"),
            ("expiresAt", "expires_at"),
            ("Valid until", "expires_at"),
            ("Quarantine Ends At", "quarantine_ends_at"),
            ("Number End", "number_end"),
            ("Labels", "tags"),
            ("City", "region"),
        ] {
            check(&format!("number,{name}"), &[], &format!("number,{field}"));
        }
        for name in ["", "#", "colour", "name", "type", "country code", "description", "notes", "owner", "extension"] {
            check(&format!("number,{name}"), &[], "number,-");
        }
    }

    #[test]
    fn a_name_that_says_it_exactly_wins() {
        check("number,phone,did", &[], "number,-,-");
        check("DID,Destination Number", &[], "number,-");
        check("did,phone number", &[], "number,number");
        check("number,customer,customer_id", &[], "number,-,account_auth_id");
        check("number,customer,customer name", &[], "number,account_auth_id,account_name");
        check("number,price,monthly price", &[], "number,-,monthly_cost");
        check("number,phone", &["phone=number", "number=-"], "-,number");
        check("number,operator ,Region", &["Operator=account_auth_id", "region=-"], "number,account_auth_id,-");
        check("number,#,*", &["#=tags"], "number,tags,-");
    }

    #[test]
    fn a_block_is_read_by_both_of_its_ends() {
        for header in [
            "START,end",
            "from,to",
            "From,To",
            "First,Last",
            "range start,range end",
            "Start Number,End Number",
            "number,number_end",
            "number,to",
            "did,last number",
            "begin,end",
        ] {
            check(header, &[], "number,number_end");
        }
        check("to,from", &[], "number_end,number");
        check("from,to", &["from=number"], "number,number_end");
        check("from,to", &["to=number_end"], "number,number_end");
        check("from,to", &["from=number", "to=-"], "number,-");
        // Beside a number they are something else.
        check("number,first,last", &[], "number,-,-");
        check("number,from,to", &[], "number,-,-");
        check("from,name", &[], "-,-");
        let endless = |header: &str, mappings: &[&str]| {
            let mappings: Vec<Mapping> = mappings.iter().map(|text| text.parse().expect("a mapping")).collect();
            resolve(&header.split(',').collect::<Vec<_>>(), &mappings, None).endless
        };
        assert_eq!(endless("region,range start,range finish", &[]), Some(1));
        assert_eq!(endless("start,finish", &[]), Some(0));
        assert_eq!(endless("start,finish", &["finish=number_end"]), None);
        assert_eq!(endless("start,finish", &["start=number"]), None);
        assert_eq!(endless("start,end", &["end=-"]), None);
        assert_eq!(endless("number,finish", &[]), None);
    }

    #[test]
    fn columns_of_an_export_are_known_by_its_names_and_ours() {
        let found = roles(
            "Number,sub_account,currency,renewal_date,alias,colour,city",
            &["alias=tags"],
            Some(KnownExport::Plivo),
        );
        let exported = |field| ColumnRole::Exported(field, KnownExport::Plivo);
        assert_eq!(
            found,
            [
                exported(Field::Number),
                exported(Field::AccountAuthId),
                exported(Field::Currency),
                ColumnRole::Ignored,
                ColumnRole::Field(Field::Tags),
                ColumnRole::Unknown,
                ColumnRole::Unknown,
            ]
        );
    }

    #[test]
    fn synonyms_are_written_as_they_are_compared_and_name_one_field() {
        let mut seen = std::collections::HashSet::new();
        for name in SYNONYMS.iter().flat_map(|(_, _, names)| *names) {
            assert_eq!(*name, folded(name));
            assert!(seen.insert(*name), "{name} is there twice");
            assert!(!Field::ALL.iter().any(|field| folded(field.as_str()) == *name), "{name} is ours");
        }
    }

    #[test]
    fn fields_index_an_array() {
        for (at, &field) in Field::ALL.iter().enumerate() {
            assert_eq!(field as usize, at);
        }
    }
}
