//! Replaces the directives of the data files by what they stand for.
//!
//! | in the data | stands for |
//! |---|---|
//! | `"$NAME"` | a value of the program (`values`): a limit, the words of a type, a list's parameters |
//! | `"$use": "PART"` | what stands under this name in a section `parts` |
//! | `"$object": { "a": …, "b?": … }` | the schema of an object with these keys and no other; one with `?` may be absent |
//! | `"$columns": "SHAPE"` | the columns of a row, each with its schema |
//! | `"$sample": "SHAPE"` | the columns of a row, each with its value in the examples |
//! | `"$errors": ["401", …]` | the error responses that operations share |
//! | `"$text": ["at most ", …]` | one text; what is no text within is written as JSON |
//!
//! Members of an object that a directive stands for take its place among the
//! members around it; a later member replaces an earlier one of its name, where
//! that stands. So `{ "$use": "job", "total": 0 }` is the job with another total.
//! A list within a list, by a directive, is put into it.
//!
//! A directive that is not known stays as it is, and a test names it.

use serde_json::{Map, Value, json};

use super::values;

pub struct Expander {
    pub parts: Map<String, Value>,
    /// Each column's `schema` and `sample`.
    pub columns: Map<String, Value>,
    pub values: Map<String, Value>,
}

impl Expander {
    pub fn expand(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.value(text).unwrap_or_else(|| value.clone()),
            Value::Array(items) => self.list(items),
            Value::Object(members) => self.object(members),
            _ => value.clone(),
        }
    }

    fn value(&self, text: &str) -> Option<Value> {
        let value = self.values.get(text.strip_prefix('$')?)?;
        Some(self.expand(value))
    }

    fn list(&self, items: &[Value]) -> Value {
        let mut list = Vec::new();
        for item in items {
            match self.expand(item) {
                Value::Array(several) if !item.is_array() => list.extend(several),
                one => list.push(one),
            }
        }
        list.into()
    }

    fn object(&self, members: &Map<String, Value>) -> Value {
        let mut object = Map::new();
        for (name, value) in members {
            match self.directive(name, value) {
                Some(Value::Object(members)) => object.extend(members),
                Some(list_or_text) => return list_or_text,
                None => _ = object.insert(name.clone(), self.expand(value)),
            }
        }
        object.into()
    }

    fn directive(&self, name: &str, value: &Value) -> Option<Value> {
        match name {
            "$use" => Some(self.expand(self.parts.get(value.as_str()?)?)),
            "$object" => Some(closed(self.expand(value).as_object()?)),
            "$columns" => self.row(value, "schema"),
            "$sample" => self.row(value, "sample"),
            "$errors" => value.as_array()?.iter().map(|status| status.as_str().map(error)).collect(),
            "$text" => Some(value.as_array()?.iter().map(|piece| plain(self.expand(piece))).collect::<String>().into()),
            _ => None,
        }
    }

    fn row(&self, shape: &Value, what: &str) -> Option<Value> {
        let (_, columns) = values::SHAPES.iter().find(|(name, _)| shape == name)?;
        let of_column = |name: &str| match self.columns.get(name) {
            Some(column) => self.expand(&column[what]),
            None => json!(format!("$columns/{name}")),
        };
        Some(columns.iter().map(|column| (column.name().to_owned(), of_column(column.name()))).collect())
    }
}

/// The schema of an object that has exactly these keys.
fn closed(keys: &Map<String, Value>) -> Value {
    let required: Vec<&String> = keys.keys().filter(|name| !name.ends_with('?')).collect();
    let properties: Map<String, Value> =
        keys.iter().map(|(name, schema)| (name.trim_end_matches('?').to_owned(), schema.clone())).collect();
    json!({ "type": "object", "required": required, "properties": properties, "additionalProperties": false })
}

fn error(status: &str) -> (String, Value) {
    (status.to_owned(), json!({ "$ref": format!("#/components/responses/{status}") }))
}

fn plain(piece: Value) -> String {
    match piece {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(value: &Value) -> String {
        let parts = json!({ "job": { "id": "$ID", "total": 1, "error": null }, "pair": [1, 2] });
        let parts = parts.as_object().expect("parts").clone();
        let values = json!({ "ID": "job_1", "MAX": 100 }).as_object().expect("values").clone();
        Expander { parts, columns: Map::new(), values }.expand(value).to_string()
    }

    #[test]
    fn directives_stand_for_what_they_name() {
        for (data, expected) in [
            (json!("$MAX"), json!(100)),
            (
                json!({ "a": 1, "$use": "job", "total": 0, "b": 2 }),
                json!({ "a": 1, "id": "job_1", "total": 0, "error": null, "b": 2 }),
            ),
            (json!([0, { "$use": "pair" }, [3]]), json!([0, 1, 2, [3]])),
            (json!({ "$use": "pair" }), json!([1, 2])),
            (json!({ "$errors": ["401"] }), json!({ "401": { "$ref": "#/components/responses/401" } })),
            (json!({ "$text": ["at most ", "$MAX", ": ", { "b": [] }] }), json!(r#"at most 100: {"b":[]}"#)),
            (
                json!({ "$object": { "a": {}, "b?": {} }, "type": ["object", "null"] }),
                json!({ "type": ["object", "null"], "required": ["a"], "properties": { "a": {}, "b": {} }, "additionalProperties": false }),
            ),
        ] {
            assert_eq!(expand(&data), expected.to_string(), "{data}");
        }
    }

    #[test]
    fn what_is_not_known_stays() {
        for data in [
            json!("$MIN"),
            json!({ "$use": "none" }),
            json!({ "$columns": "none", "a": 1 }),
            json!({ "$errors": [401] }),
            json!({ "$other": 1 }),
            json!({ "$ref": "#/components/schemas/Job" }),
        ] {
            assert_eq!(expand(&data), data.to_string());
        }
    }
}
