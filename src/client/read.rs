//! Pages of another server's answers, taken apart.
//!
//! The names are those that `wire` writes. Always holds: an amount is read
//! from the digits as they stand, never through a float; what is not of its
//! type is an error that names row and field, never left out.

use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;
use std::str::FromStr;
use std::sync::Arc;

use serde_json::value::RawValue;

use crate::domain::shown::{quoted, shown};
use crate::domain::{
    AccountId, Currency, E164, Money, NumberType, Status, Tags, UpstreamAccount, UpstreamFields, UpstreamNumber,
    entity, label,
};
use crate::wire::Column as C;

/// Under which key the rows stand, which tells what their keys are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ListKind {
    Data,
    Items,
    Accounts,
}

pub(super) struct ListPage<T> {
    pub kind: ListKind,
    pub rows: Vec<T>,
    pub total: u64,
    /// Which page it says it is.
    pub number: Option<u64>,
}

/// A row of a list, with what tells it from the others.
pub(super) trait ListRow: Sized {
    type Key: Ord + Hash + Display;

    fn key(&self) -> Self::Key;

    fn read(cells: &JsonFields<'_>, kind: ListKind) -> Result<Self, String>;
}

#[derive(serde::Deserialize)]
struct ListEnvelope<'a> {
    #[serde(borrow, default)]
    data: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    accounts: Option<Vec<&'a RawValue>>,
    #[serde(default)]
    meta: Option<Meta>,
    #[serde(default)]
    total: Option<u64>,
    #[serde(default)]
    page: Option<u64>,
}

#[derive(serde::Deserialize)]
struct Meta {
    total: Option<u64>,
    page: Option<u64>,
}

/// Takes an answer apart; what is wrong with it otherwise.
pub(super) fn page<T: ListRow>(body: &str) -> Result<ListPage<T>, String> {
    // An array would be taken for the envelope's fields in their order.
    if !body.trim_start().starts_with('{') {
        return Err("it is not a list in JSON: it is no object".to_owned());
    }
    let envelope: ListEnvelope<'_> =
        serde_json::from_str(body).map_err(|error| format!("it is not a list in JSON: {:.200}", error.to_string()))?;
    let ListEnvelope { data, items, accounts, meta, total, page } = envelope;
    let (kind, rows, total, number) = match (data, items, accounts) {
        (Some(rows), None, None) => {
            let meta = meta.ok_or_else(|| "it has \"data\" and no \"meta\"".to_owned())?;
            (ListKind::Data, rows, meta.total, meta.page)
        }
        (None, Some(rows), None) => (ListKind::Items, rows, total, page),
        (None, None, Some(rows)) => (ListKind::Accounts, rows, total, page),
        (None, None, None) => return Err("it has neither \"data\" nor \"items\"".to_owned()),
        _ => return Err("it mixes \"data\", \"items\" and \"accounts\"".to_owned()),
    };
    let total = total.ok_or_else(|| "it has no \"total\"".to_owned())?;
    let one = |(at, row): (usize, &&RawValue)| {
        let cells: Result<HashMap<String, &RawValue>, _> = serde_json::from_str(row.get());
        let cells = cells.map_err(|_| "is no object".to_owned());
        cells
            .and_then(|cells| T::read(&JsonFields(cells), kind))
            .map_err(|problem| format!("row {}: {problem}", at + 1))
    };
    let rows = rows.iter().enumerate().map(one).collect::<Result<Vec<T>, String>>()?;
    Ok(ListPage { kind, rows, total, number })
}

/// The code and the message of the error envelope, if that is what it is.
pub(super) fn error_message(body: &str) -> Option<String> {
    let body: serde_json::Value = serde_json::from_str(body).ok()?;
    let error = &body["error"];
    match (error["code"].as_str(), error["message"].as_str()) {
        (Some(code), Some(message)) => Some(format!("{}: {}", shown(code), shown(message))),
        (code, message) => code.or(message).map(|text| shown(text).to_string()),
    }
}

/// The fields of a row by their names.
pub(super) struct JsonFields<'a>(HashMap<String, &'a RawValue>);

impl JsonFields<'_> {
    /// The value's JSON; none if it is null or absent.
    fn raw(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.get()).filter(|&text| text != "null")
    }

    /// Text that says something.
    fn text(&self, name: &str) -> Result<Option<String>, String> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        let text: String = serde_json::from_str(raw).map_err(|_| format!("{name} must be text, not {raw:.40}"))?;
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    fn parsed<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, String> {
        let text = self.text(name)?;
        text.map(|text| text.parse().map_err(|error| format!("{name} {} {error}", quoted(&text)))).transpose()
    }

    fn required<T>(&self, name: &str, value: Option<T>) -> Result<T, String> {
        value.ok_or_else(|| format!("{name} is missing"))
    }

    fn name(&self, name: &str) -> Result<Option<Arc<str>>, String> {
        let text = self.text(name)?;
        text.map(|text| entity::name(&text).ok_or_else(|| format!("{name} is too long, or no plain text"))).transpose()
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, String> {
        match self.raw(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(raw) => Err(format!("{name} must be true or false, not {raw:.40}")),
        }
    }

    /// An amount and the currency it is of.
    fn money(&self, amount: &str, currency: &str) -> Result<Option<Money>, String> {
        let of: Option<Currency> = self.parsed(currency)?;
        let Some(raw) = self.raw(amount) else { return Ok(None) };
        let of = of.ok_or_else(|| format!("{amount} is {raw:.40} without a {currency}"))?;
        // Zeros behind the point say nothing, however many there are.
        let digits = if raw.contains('.') { raw.trim_end_matches('0').trim_end_matches('.') } else { raw };
        Money::parse(digits, of).map(Some).map_err(|error| format!("{amount} {raw:.40} {error}"))
    }

    fn tags(&self, name: &str) -> Result<Option<Tags>, String> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        let labels: Vec<String> = serde_json::from_str(raw).map_err(|_| format!("{name} must be a list of texts"))?;
        if let Some(odd) = labels.iter().find(|label| label.chars().any(char::is_control)) {
            return Err(format!("{name} has {}, which is no plain text", quoted(odd)));
        }
        Ok(Some(Tags::new(labels)))
    }
}

impl ListRow for UpstreamNumber {
    type Key = E164;

    fn key(&self) -> E164 {
        self.number
    }

    fn read(cells: &JsonFields<'_>, kind: ListKind) -> Result<UpstreamNumber, String> {
        // What the two dialects call alike things.
        let [number, account, trunk, cost, assigned_at] = match kind {
            ListKind::Data => [C::Number, C::AccountAuthId, C::TrunkId, C::MonthlyCost, C::AssignedAt],
            ListKind::Items => [C::E164, C::AccountId, C::TrunkGroupId, C::MonthlyFee, C::PurchasedAt],
            ListKind::Accounts => return Err("is an account where a number was asked for".to_owned()),
        }
        .map(C::name);
        let text = cells.text(C::NumberType.name())?;
        let kind_of = |text: String| {
            NumberType::parse(&text)
                .ok_or_else(|| format!("number_type {} must be local, tollfree or mobile", quoted(&text)))
        };
        Ok(UpstreamNumber {
            number: cells.required(number, cells.parsed(number)?)?,
            assigned_at: cells.parsed(assigned_at)?,
            expires_at: cells.parsed(C::ExpiresAt.name())?,
            said: UpstreamFields {
                account: cells.parsed(account)?,
                account_name: cells.name(C::AccountName.name())?,
                status: status(cells, kind)?,
                application: cells.parsed(C::ApplicationId.name())?,
                application_name: cells.name(C::ApplicationName.name())?,
                trunk: cells.parsed(trunk)?,
                number_type: text.map(kind_of).transpose()?,
                country: cells.parsed(C::Country.name())?,
                region: cells.text(C::Region.name())?.and_then(|text| label::region_of(&text)),
                cost: cells.money(cost, C::Currency.name())?,
                tags: cells.tags(C::Tags.name())?,
            },
        })
    }
}

/// The second dialect has more words for what does not route calls.
fn status(cells: &JsonFields<'_>, kind: ListKind) -> Result<Status, String> {
    let name = C::Status.name();
    let text = cells.required(name, cells.text(name)?)?;
    let said = match (kind, text.as_str()) {
        (_, "active") => Status::Active,
        (_, "suspended") => Status::Suspended,
        (ListKind::Items, "blocked" | "pending_purchase" | "pending_release" | "released") => Status::Suspended,
        _ => return Err(format!("status {} is not one that is known", quoted(&text))),
    };
    let blocked = cells.flag(C::IsBlocked.name())?.unwrap_or(false);
    Ok(if blocked { Status::Suspended } else { said })
}

impl ListRow for UpstreamAccount {
    type Key = AccountId;

    fn key(&self) -> AccountId {
        self.auth_id.clone()
    }

    fn read(cells: &JsonFields<'_>, kind: ListKind) -> Result<UpstreamAccount, String> {
        let [id, name] = match kind {
            ListKind::Data => [C::AccountAuthId.name(), C::AccountName.name()],
            ListKind::Accounts => ["auth_id", "name"],
            ListKind::Items => return Err("is a number where an account was asked for".to_owned()),
        };
        let auth_id: AccountId = cells.required(id, cells.parsed(id)?)?;
        let counts: Option<ListTotal> = match cells.raw("numbers") {
            Some(raw) => Some(serde_json::from_str(raw).map_err(|_| "numbers must be counts".to_owned())?),
            None => None,
        };
        Ok(UpstreamAccount {
            name: cells.name(name)?.unwrap_or_else(|| auth_id.as_str().into()),
            auth_id,
            created_at: cells.parsed(C::CreatedAt.name())?,
            archived_at: cells.parsed("archived_at")?,
            numbers: counts.map(|counts| counts.total),
        })
    }
}

#[derive(serde::Deserialize)]
struct ListTotal {
    total: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(row: &str, kind: &str) -> Result<UpstreamNumber, String> {
        let body = match kind {
            "data" => format!("{{\"data\":[{row}],\"meta\":{{\"total\":1,\"page\":1,\"per_page\":20}}}}"),
            _ => format!("{{\"items\":[{row}],\"page\":1,\"per_page\":20,\"total\":1,\"account_auth_id\":\"MA_1\"}}"),
        };
        page::<UpstreamNumber>(&body).map(|page| page.rows.into_iter().next().expect("a row"))
    }

    #[test]
    fn a_row_of_the_platform_is_read() {
        let row = r#"{"id":"aabbccdd","account_id":"MA_1","e164":"+918012345678","country":"IN","region":"Karnataka",
            "capabilities":{"voice":true},"status":"active","provider":"","setup_fee":100,"monthly_fee":300.5,"currency":"INR",
            "application_id":"20577609616603585","tags":[],"purchased_at":"2026-03-25T06:58:38.796024Z","is_blocked":false}"#;
        let number = number(row, "items").expect("a number");
        assert_eq!(number.number.to_string(), "+918012345678");
        assert_eq!(number.said.cost.map(|cost| cost.minor), Some(30_050));
        assert_eq!(number.assigned_at.map(|at| at.to_string()).as_deref(), Some("2026-03-25T06:58:38Z"));
        assert_eq!(
            (number.said.status, number.said.trunk, number.said.tags),
            (Status::Active, None, Some(Tags::default()))
        );
    }

    #[test]
    fn what_is_not_of_its_type_is_named() {
        let check = |dialect: &str, row: &str, expected: &str| {
            let problem = number(row, dialect).map(|number| number.number).expect_err(row);
            assert!(problem.contains(expected), "{row}: {problem}");
        };
        check("data", r#"{"number":"912271264217","status":"active"}"#, "row 1: number \"912271264217\"");
        check("data", r#"{"status":"active"}"#, "row 1: number is missing");
        check("data", r#"{"number":"+912271264217"}"#, "status is missing");
        check("data", r#"{"number":"+912271264217","status":"blocked"}"#, "status \"blocked\"");
        check("data", r#"{"number":"+912271264217","status":"active","monthly_cost":500}"#, "without a currency");
        check(
            "data",
            r#"{"number":"+912271264217","status":"active","monthly_cost":5e2,"currency":"INR"}"#,
            "monthly_cost 5e2",
        );
        check(
            "data",
            r#"{"number":"+912271264217","status":"active","monthly_cost":1.5,"currency":"JPY"}"#,
            "monthly_cost 1.5",
        );
        check(
            "data",
            r#"{"number":"+912271264217","status":"active","assigned_at":"yesterday"}"#,
            "assigned_at \"yesterday\"",
        );
        check("data", r#"{"e164":"+912271264217","status":"active"}"#, "number is missing");
        check("items", r#"{"e164":"+912271264217","status":"active","is_blocked":"no"}"#, "is_blocked");
        check("data", "7", "row 1: is no object");
        check(
            "items",
            r#"{"e164":"+912271264217","status":"active","tags":["a\u001b[31m"]}"#,
            "tags has \"a\\u{1b}[31m\"",
        );
        let long = "9".repeat(5_000_000);
        for row in [
            format!(r#"{{"number":"{long}","status":"active"}}"#),
            format!(r#"{{"number":"+912271264217","status":"{long}"}}"#),
            format!(r#"{{"number":"+912271264217","status":"active","number_type":"{long}"}}"#),
            format!(r#"{{"number":"+912271264217","status":"active","country":"{long}"}}"#),
            format!(r#"{{"number":"+912271264217","status":"active","tags":["{long}\n"]}}"#),
        ] {
            let problem = number(&row, "data").expect_err("too long");
            assert!(problem.len() < 400, "{} bytes", problem.len());
        }
        let total = page::<UpstreamNumber>(&format!(r#"{{"data":[],"meta":{{"total":"{long}"}}}}"#));
        assert!(total.err().is_some_and(|problem| problem.len() < 400));
    }

    #[test]
    fn an_amount_is_its_digits() {
        let cost = |literal: &str| {
            let row =
                format!(r#"{{"number":"+912271264217","status":"active","monthly_cost":{literal},"currency":"INR"}}"#);
            number(&row, "data").expect("a number").said.cost.map(|cost| cost.minor)
        };
        assert_eq!(cost("500.00"), Some(50_000));
        assert_eq!(cost("500"), Some(50_000));
        assert_eq!(cost("0.1"), Some(10));
        assert_eq!(cost("500.000000"), Some(50_000));
        assert_eq!(cost("null"), None);
    }

    #[test]
    fn a_region_of_another_server_stops_nothing() {
        let long = "x".repeat(5_000);
        for (region, read) in [("Mumbai", "Mumbai"), ("a\\nb\\u001b[31m", "a b [31m"), (&long, "x")] {
            let row = format!(r#"{{"number":"+912271264217","status":"active","region":"{region}"}}"#);
            let region = number(&row, "data").expect("a number").said.region.expect("a region");
            assert!(region.starts_with(read) && region.chars().count() <= label::REGION_CHARS_MAX, "{region}");
        }
    }

    #[test]
    fn an_envelope_is_one_of_them() {
        let check = |body: &str, expected: &str| {
            let problem = page::<UpstreamNumber>(body).map(|page| page.total).expect_err(body);
            assert!(problem.contains(expected), "{body}: {problem}");
        };
        check("", "not a list in JSON");
        check("<html>", "not a list in JSON");
        check("[]", "not a list in JSON");
        check("{}", "neither");
        check(r#"{"data":[]}"#, "no \"meta\"");
        check(r#"{"data":[],"meta":{}}"#, "no \"total\"");
        check(r#"{"items":[]}"#, "no \"total\"");
        check(r#"{"data":[],"items":[],"meta":{"total":0}}"#, "mixes");
        check(r#"{"accounts":[{}],"total":1}"#, "is an account");
    }
}
