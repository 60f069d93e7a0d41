//! The description of the API, for people's tools.
//!
//! Its prose, schemas and examples are data: a file for each family of
//! operations in `src/http/openapi/`, in OpenAPI's own language with a few
//! directives (`expand`). Made from the program's tables are paths and methods,
//! limits, words and columns (`values`), and what a parameter or a field may be
//! (`strict`), so that the description cannot say something else than the
//! program does. `openapi.json` in the repository is a copy that a test compares
//! with this.

mod expand;
mod strict;
mod values;

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use self::expand::Expander;
use super::operations::{OPERATIONS, Operation};

/// The name and the text of each data file.
macro_rules! files {
    ($($name:literal)*) => { &[$(($name, include_str!(concat!("openapi/", $name, ".json")))),*] };
}

/// Their schemas stand in the description in this order.
const FILES: &[(&str, &str)] = files![
    "document" "columns" "numbers" "entities" "past" "costs" "shared" "ops" "checks" "manage" "jobs" "schedules"
    "webhooks" "settings"
];

/// The part that is a parameter of every read of a partner's inventory.
const VERSION_AT_LEAST: &str = "version_at_least";
/// The part that is a parameter of every write that obeys that header.
const IF_MATCH: &str = "if_match";

/// The whole description, as pretty JSON.
pub fn text() -> String {
    let mut text = serde_json::to_string_pretty(&document()).expect("a document serialises");
    text.push('\n');
    text
}

pub(crate) fn document() -> Value {
    let expander = Expander { parts: section("parts"), columns: section("columns"), values: values::values() };
    let mut document = expander.expand(&section("document").into());
    document["components"]["schemas"] = expander.expand(&section("schemas").into());
    document["paths"] = paths(&expander).into();
    document
}

/// A section of all files, by the names in it.
fn section(name: &str) -> Map<String, Value> {
    let mut all = Map::new();
    for (file, text) in FILES {
        let mut sections: HashMap<String, Map<String, Value>> = serde_json::from_str(text).expect(file);
        all.extend(sections.remove(name).unwrap_or_default());
    }
    all
}

/// Each operation of the table under its path and method.
fn paths(expander: &Expander) -> Map<String, Value> {
    let described = section("operations");
    let mut paths = Map::new();
    for entry in OPERATIONS {
        let Operation { method, path, ids, .. } = entry;
        for id in *ids {
            let Some(members) = described.get(*id) else { continue };
            let mut operation = json!({ "operationId": id });
            for (name, member) in expander.expand(members).as_object().into_iter().flatten() {
                operation[name] = member.clone();
            }
            if operation["security"].is_null() {
                of_a_node(method, &mut operation, expander);
            }
            if entry.obeys_if_match() {
                add_parameter(&mut operation, IF_MATCH, expander);
                operation["responses"]["412"] = json!({ "$ref": "#/components/responses/412" });
            }
            strict::operation(method, &mut operation);
            let methods = paths.entry(path.replace("{verb}", id)).or_insert_with(|| json!({}));
            methods[*method] = operation;
        }
    }
    paths
}

/// What holds of every operation on a partner's inventory, because a node
/// answers it.
fn of_a_node(method: &str, operation: &mut Value, expander: &Expander) {
    operation["responses"]["503"] = json!({ "$ref": "#/components/responses/503" });
    if method == "get" {
        add_parameter(operation, VERSION_AT_LEAST, expander);
    }
}

fn add_parameter(operation: &mut Value, part: &str, expander: &Expander) {
    let mut parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
    parameters.push(expander.expand(&json!({ "$use": part })));
    operation["parameters"] = parameters.into();
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_operation_of_the_table_is_described_and_no_other() {
        let ids: Vec<&str> = OPERATIONS.iter().flat_map(|operation| operation.ids).copied().collect();
        let described = section("operations");
        assert_eq!(ids.iter().copied().collect::<BTreeSet<_>>(), described.keys().map(|id| &**id).collect());
        assert_eq!(ids.len(), described.len(), "an id stands for one operation");
    }

    #[test]
    fn the_verbs_on_one_number_are_those_of_jobs() {
        let act = OPERATIONS.iter().find(|operation| operation.path.ends_with("{verb}")).expect("the verbs");
        let ids: BTreeSet<&str> = act.ids.iter().copied().collect();
        assert_eq!(ids, crate::http::manage::VERBS.into_iter().collect());
    }

    /// The directives that are left in a value, each with its place.
    fn directives(value: &Value, place: &str, out: &mut Vec<String>) {
        match value {
            Value::String(text) if text.starts_with('$') => out.push(format!("{place}: {text}")),
            Value::Array(items) => items.iter().for_each(|item| directives(item, place, out)),
            Value::Object(members) => {
                for (name, value) in members {
                    if name.starts_with('$') && name != "$ref" {
                        out.push(format!("{place}: {name} {value}"));
                    }
                    directives(value, &format!("{place}/{name}"), out);
                }
            }
            _ => {}
        }
    }

    #[test]
    fn every_directive_is_known() {
        let mut unknown = Vec::new();
        directives(&document(), "", &mut unknown);
        assert!(unknown.is_empty(), "no such directive, part, value or column: {unknown:#?}");
    }

    #[test]
    fn every_reference_leads_to_something() {
        let document = document();
        let text = document.to_string();
        let references: BTreeSet<&str> =
            text.split(r##""$ref":"#"##).skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(references.len() > 20, "{references:?}");
        for reference in references {
            assert!(document.pointer(reference).is_some(), "there is no #{reference}");
        }
    }

    #[test]
    fn every_part_value_and_column_is_used() {
        let values = values::values();
        let made = Value::from(values.clone()).to_string();
        let data: String = FILES.iter().map(|(_, text)| *text).chain([&*made]).collect();
        let data: String = data.split_whitespace().collect();
        for part in section("parts").keys().filter(|part| ![VERSION_AT_LEAST, IF_MATCH].contains(&&***part)) {
            assert!(data.contains(&format!(r#""$use":"{part}""#)), "nothing uses the part {part}");
        }
        for (shape, _) in values::SHAPES {
            assert!(data.contains(&format!(r#""$columns":"{shape}""#)), "nothing uses the columns {shape}");
        }
        for value in values.keys() {
            assert!(data.contains(&format!(r#""${value}""#)), "nothing uses the value ${value}");
        }
        let shapes = values::SHAPES.iter().flat_map(|(_, columns)| *columns);
        let columns: BTreeSet<&str> = shapes.map(|column| column.name()).collect();
        assert_eq!(columns, section("columns").keys().map(|name| &**name).collect(), "columns.json has each column");
    }

    #[test]
    fn a_name_stands_in_one_file() {
        let sections = ["document", "operations", "schemas", "parts", "columns"];
        let mut names = BTreeSet::new();
        for (file, text) in FILES {
            let own: Map<String, Value> = serde_json::from_str(text).expect(file);
            for (section, members) in &own {
                assert!(sections.contains(&&**section), "{file}.json: no section {section}");
                for name in members.as_object().expect(section).keys() {
                    assert!(names.insert((section.clone(), name.clone())), "{file}.json has {section}/{name} again");
                }
            }
        }
    }
}
