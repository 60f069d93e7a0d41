//! The description of the lists of numbers, and of one number.

use serde_json::{Value, json};

use super::{headers, list_of, one_of, parameters, path_parameter, responses, sample};
use crate::http::query::ListParameters;
use crate::wire::{self, Column};

/// The two lists of the specification, and one number.
pub(super) fn operations() -> Vec<Value> {
    vec![
        list_of_numbers(
            "customer_numbers",
            "All phone numbers of one customer account",
            ListParameters::Customer,
            "CustomerNumber",
            wire::CUSTOMER,
        ),
        list_of_numbers(
            "numbers",
            "All phone numbers of the partner, assigned or not",
            ListParameters::Global,
            "Number",
            wire::GLOBAL,
        ),
        number(),
    ]
}

fn number() -> Value {
    json!({
        "operationId": "number",
        "tags": ["Phone numbers"],
        "summary": "One phone number, with its tags",
        "parameters": [path_parameter("e164", "The number in E.164, its + as it is or as %2B.", "+912271264217")],
        "responses": responses(&["401", "403", "404", "422", "429"], json!({
            "description": "The number.",
            "headers": headers(false),
            "content": { "application/json": {
                "schema": one_of("SingleNumber"),
                "example": { "data": sample(wire::SINGLE) },
            } },
        })),
    })
}

fn list_of_numbers(id: &str, summary: &str, takes: ListParameters, schema: &str, columns: &[Column]) -> Value {
    let mut all = parameters(takes);
    let mut errors = vec!["401", "403", "422", "429"];
    if takes == ListParameters::Customer {
        all.insert(0, path_parameter("id", "The customer account.", "MA_48149cf4"));
        errors.insert(2, "404");
    }
    let header: Vec<&str> = columns.iter().map(|column| column.name()).collect();
    let own = list_of(schema);
    let ok = json!({
        "description": "A page of numbers in ascending order of the number, or of `sort`. As CSV or NDJSON, all of them.",
        "headers": headers(true),
        "content": {
            "application/json": {
                "schema": { "oneOf": [own, { "$ref": "#/components/schemas/ItemPage" }] },
                "example": { "data": [sample(columns)], "meta": { "total": 1, "page": 1, "per_page": 20 } },
            },
            "text/csv": { "schema": { "type": "string" }, "example": format!("{}\r\n", header.join(",")) },
            "application/x-ndjson": { "schema": { "type": "string" }, "example": format!("{}\n", sample(columns)) },
        },
    });
    let mut responses = responses(&errors, ok);
    responses["304"] = json!({ "description": "Not changed since the given `If-None-Match`." });
    json!({
        "operationId": id,
        "tags": ["Phone numbers"],
        "summary": summary,
        "description": format!(
            "A key that was made with `--dialect items` is answered in the shape that the platform's SDKs read (`ItemPage`), and may \
             also send their parameters: `limit` and `offset`, a multiple of it, instead of `per_page` and `page`, and \
             `include_subaccounts`{}. The two shapes are never mixed.",
            if takes == ListParameters::Customer { ", which changes nothing here" } else { "=true" }
        ),
        "parameters": all,
        "responses": responses,
    })
}
