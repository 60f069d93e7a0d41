//! One number or a block of them into stock.
//!
//! The form says what the management API's body would, and is read by the same
//! code; numbers may have the spaces that people write them with.
//! Deliberately absent: files (`import`).

use askama::Template;
use axum::extract::{Path, Request, State};
use http::StatusCode;
use serde_json::{Map, Value};

use super::form::{FormRefusal, Wrongs};
use super::gate::{Form, Needs, Visit, query_value};
use super::page::{Frame, PageResult, done, html_as, told};
use super::verbs::Choices;
use super::{ConsoleState, show, verbs};
use crate::domain::{E164, FieldError};
use crate::http::body::BodyFields;
use crate::http::manage;
use crate::service::verbs::numbers::{BLOCK_MAX, Stock};
use crate::service::{ServiceError, WriteOutcome};
use crate::wire;
use crate::wire::html::Html;

#[derive(Template)]
#[template(path = "stock.html")]
struct StockPage<'a> {
    frame: Frame,
    form: &'a Form,
    most: String,
    choices: Html,
    wrongs: Wrongs,
}

/// GET /console/p/{partner}/numbers?new[&number=+…]
pub fn form(visit: &Visit, query: &str) -> PageResult {
    visit.need(Needs::Manager)?;
    let number = wire::parameter(query, "number");
    let form = number.map_or_else(Form::default, |number| Form::default().with("number", &number));
    page(visit, &form, None, StatusCode::OK)
}

/// POST /console/p/{partner}/numbers
pub async fn add(State(console): ConsoleState, Path(partner): Path<String>, request: Request) -> PageResult {
    let (visit, form) = Visit::post(&console, request, &partner, Needs::Manager).await?;
    let stock = match read(&form) {
        Ok(stock) => stock,
        Err(errors) => return page(&visit, &form, Some(refusal(errors)), StatusCode::UNPROCESSABLE_ENTITY),
    };
    let (first, last) = (stock.first, stock.last);
    match visit.act("number.stock", move |service, key| service.stock(key, &stock)).await {
        Ok(WriteOutcome::Done { version, .. }) => {
            let to = format!("{}/numbers?q={}", visit.base, query_value(&shared(first, last)));
            done(&to, version)
        }
        Ok(WriteOutcome::Again(_)) => done(&format!("{}/numbers", visit.base), None),
        Err(error) => {
            let readable = |number: E164| visit.console.spaces.readable(number);
            let refusal = match error {
                ServiceError::Conflict(conflict) => FormRefusal::field(
                    "number",
                    format!(
                        "{} is in the inventory already, and is {}. None of the numbers was added.",
                        readable(conflict.number),
                        conflict.state
                    ),
                ),
                ServiceError::Taken { number } => {
                    let text = format!("{} is not free. None of the numbers was added.", readable(number));
                    FormRefusal::field("number", text)
                }
                other => FormRefusal::from_verb(other)?,
            };
            page(&visit, &form, Some(refusal), StatusCode::CONFLICT)
        }
    }
}

fn page(visit: &Visit, form: &Form, refusal: Option<FormRefusal>, status: StatusCode) -> PageResult {
    let mut frame = visit.frame("Add to stock", "numbers");
    let (error, wrongs) = refusal.map_or((None, Wrongs::default()), |refusal| (Some(refusal.text), refusal.wrongs));
    frame.error = error;
    let choices = Html::of(&Choices::of(visit));
    html_as(status, &StockPage { frame, form, most: show::thousands(BLOCK_MAX), choices, wrongs })
}

/// What the form asks for.
fn read(form: &Form) -> Result<Stock, Vec<FieldError>> {
    let mut body: Map<String, Value> = Map::new();
    for name in ["number", "number_end"] {
        let digits: String = form.get(name).chars().filter(|c| !matches!(c, ' ' | '-' | '.' | '(' | ')')).collect();
        if !digits.is_empty() {
            body.insert(name.to_owned(), digits.into());
        }
    }
    for name in ["number_type", "region"] {
        if let Some(value) = form.given(name) {
            body.insert(name.to_owned(), value.into());
        }
    }
    for name in ["country", "currency"] {
        if let Some(value) = form.given(name) {
            body.insert(name.to_owned(), value.to_ascii_uppercase().into());
        }
    }
    let mut wrong = None;
    match verbs::amount(form) {
        Some(Ok(amount)) => drop(body.insert("monthly_cost".to_owned(), amount)),
        Some(Err(error)) => wrong = Some(error),
        None => {}
    }
    let tags: Value = form.get("tags").split(',').map(str::trim).filter(|tag| !tag.is_empty()).collect();
    body.insert("tags".to_owned(), tags);
    let fields = BodyFields::parse(Value::Object(body).to_string().as_bytes()).map_err(|_| Vec::new())?;
    match (manage::read_stock(fields), wrong) {
        (read, None) => read,
        (Ok(_), Some(error)) => Err(vec![error]),
        // The amount that is wrong is not in the body, and is not missing either.
        (Err(mut errors), Some(error)) => {
            errors.retain(|one| one.field != error.field);
            errors.push(error);
            Err(errors)
        }
    }
}

/// What is wrong, with the names that the form's fields have for people.
fn refusal(errors: Vec<FieldError>) -> FormRefusal {
    let mut named = errors.clone();
    for error in &mut named {
        match error.field.as_str() {
            "number" => error.field = "first number".to_owned(),
            "number_end" => error.field = "last number".to_owned(),
            _ => {}
        }
    }
    FormRefusal { text: told(&named), ..FormRefusal::of(errors) }
}

/// The filter line of the digits that a block's numbers begin with.
fn shared(first: E164, last: E164) -> String {
    let (first, last) = (first.to_string(), last.to_string());
    let same = first.bytes().zip(last.bytes()).take_while(|(a, b)| a == b).count();
    // The + alone would be no filter.
    if same > 1 { first[..same].to_owned() } else { "state:available".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(fields: &[(&str, &str)]) -> Form {
        fields.iter().fold(Form::default(), |form, (name, value)| form.with(name, value))
    }

    #[test]
    fn a_form_is_a_number_or_a_block() {
        let cost = [("monthly_cost", "500.00"), ("currency", "inr")];
        let one = read(&form(&[&cost[..], &[("number", "+91 22 7126-4217")]].concat())).expect("one number");
        assert_eq!((one.first, one.cost.to_string().as_str()), (one.last, "500.00"));
        let with = |fields: &[(&str, &str)]| read(&form(&[&cost[..], fields].concat()));
        let block = with(&[("number", "+912271264200"), ("number_end", "+912271264299"), ("tags", "a, b,")]);
        let block = block.expect("a block");
        assert_eq!(block.last.digits() - block.first.digits(), 99);
        assert_eq!(block.tags.iter().count(), 2);
        let refused = |fields: &[(&str, &str)]| refusal(with(fields).expect_err("refused")).text;
        assert!(refused(&[]).contains("first number"));
        assert!(refused(&[("number", "+912271264200"), ("number_end", "+91227126429")]).contains("last number"));
        assert!(refused(&[("number", "22 7126 4217")]).contains("first number"));
        assert!(refused(&[("number", "+912271264200"), ("monthly_cost", "a lot")]).contains("monthly cost"));
    }

    #[test]
    fn a_block_is_found_by_the_digits_it_shares() {
        let shared = |first: &str, last: &str| shared(first.parse().expect("one"), last.parse().expect("one"));
        assert_eq!(shared("+912271264200", "+912271264299"), "+9122712642");
        assert_eq!(shared("+912271264200", "+912271264200"), "+912271264200");
        assert_eq!(shared("+199999999", "+200000000"), "state:available");
    }
}
