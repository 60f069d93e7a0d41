//! The reference pages of `docs/reference/`, made from the program: commands, the
//! API, errors, metrics and events. `rollcall manual --reference FOLDER` writes
//! them, and a test holds the committed pages equal to them.
//!
//! Deliberately absent: the settings, whose page is their file.

use std::fmt::Write as _;

use clap::{ArgAction, CommandFactory as _};
use serde_json::Value;

use super::Cli;
use crate::domain::field::code;
use crate::http::described::METRICS;
use crate::http::{error, openapi};
use crate::service::background::webhooks::event;

const MADE: &str = "This page is made from the program; `rollcall manual --reference docs/reference` writes it.";

/// The pages, each with the name of its file.
pub fn pages() -> [(&'static str, String); 5] {
    [("commands", commands()), ("api", api()), ("errors", errors()), ("metrics", metrics()), ("events", events())]
}

fn page(title: &str, about: &str) -> String {
    format!("# {title}\n\n{about}\n\n{MADE}\n")
}

/// Text within a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn table(out: &mut String, heads: &[&str], rows: &[Vec<String>]) {
    if rows.is_empty() {
        return;
    }
    let line = |out: &mut String, cells: &[String]| {
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    };
    out.push('\n');
    line(out, &heads.iter().map(ToString::to_string).collect::<Vec<_>>());
    let _ = writeln!(out, "|{}", "---|".repeat(heads.len()));
    rows.iter().for_each(|row| line(out, row));
}

fn commands() -> String {
    let mut cli = Cli::command();
    cli.build();
    let about = "Every command with its arguments. `--database`, `--config` and `--json` are options of all commands. Exit codes: 0 \
                 done, 1 refused or failed, 2 a wrong command line, 3 findings or differences, 78 unusable settings.";
    let mut out = page("Commands", about);
    for command in cli.get_subcommands() {
        describe(command, "rollcall", &mut out);
    }
    out
}

fn describe(command: &clap::Command, before: &str, out: &mut String) {
    if command.is_hide_set() || command.get_name() == "help" {
        return;
    }
    let path = format!("{before} {}", command.get_name());
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let _ = write!(out, "\n## {path}\n\n{}.\n", about.trim_end_matches('.'));
    let own = command.get_arguments().filter(|argument| {
        let builtin = matches!(
            argument.get_action(),
            ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
        );
        !builtin && !argument.is_global_set() && !argument.is_hide_set()
    });
    let rows: Vec<Vec<String>> = own.map(argument).collect();
    table(out, &["argument", "meaning"], &rows);
    for below in command.get_subcommands() {
        describe(below, &path, out);
    }
}

fn argument(argument: &clap::Arg) -> Vec<String> {
    let takes = argument.get_action().takes_values();
    let names = argument.get_value_names().unwrap_or_default();
    let value = names.first().map_or_else(|| argument.get_id().to_string().to_uppercase(), ToString::to_string);
    let spelled = match argument.get_long() {
        Some(long) if takes => format!("--{long} {value}"),
        Some(long) => format!("--{long}"),
        None => value,
    };
    let needed = if argument.is_required_set() { " (needed)" } else { "" };
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let choices = argument.get_possible_values();
    let choices: Vec<&str> = choices.iter().map(|choice| choice.get_name()).collect();
    let choices = match takes && !choices.is_empty() {
        true => format!(" One of {}.", choices.join(", ")),
        false => String::new(),
    };
    vec![format!("`{}`{needed}", cell(&spelled)), cell(&format!("{help}{choices}"))]
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn api() -> String {
    let document = openapi::document();
    let about = "Every operation of the API. A server has the same with examples at `/docs`, and `openapi.json` describes it for tools.";
    let mut out = page("API", about);
    for tag in document["tags"].as_array().into_iter().flatten() {
        let _ = write!(out, "\n## {}\n\n{}\n", text(&tag["name"]), text(&tag["description"]));
        let mut rows = Vec::new();
        for (path, methods) in document["paths"].as_object().into_iter().flatten() {
            for (method, what) in methods.as_object().into_iter().flatten() {
                if what["tags"][0] == tag["name"] {
                    let of = |what: &str| what.to_owned();
                    let parameters = what["parameters"].as_array().into_iter().flatten();
                    let parameters = parameters.filter(|one| one["in"] == "query").map(|one| of(text(&one["name"])));
                    let body = &what["requestBody"]["content"]["application/json"]["schema"]["properties"];
                    let fields = body.as_object().into_iter().flatten().map(|(name, _)| name.clone());
                    let given: Vec<String> = parameters.chain(fields).map(|name| format!("`{name}`")).collect();
                    rows.push(vec![
                        format!("`{} {}`", method.to_uppercase(), cell(path)),
                        cell(text(&what["summary"])),
                        given.join(", "),
                    ]);
                }
            }
        }
        table(&mut out, &["operation", "meaning", "parameters and fields"], &rows);
    }
    out
}

fn errors() -> String {
    let about = "Every error of every JSON endpoint has the same envelope: `status`, `error.code`, `error.message`, `error.details`, \
                 `timestamp` and `requestId`, which is in the log as well.";
    let mut out = page("Errors", about);
    let rows = error::CODES.iter().map(|(status, code, meaning)| {
        let retry = if matches!(status, 429 | 503 | 507) { "after `Retry-After`" } else { "no" };
        vec![status.to_string(), format!("`{code}`"), cell(meaning), retry.to_owned()]
    });
    table(&mut out, &["status", "code", "meaning", "retry"], &rows.collect::<Vec<_>>());
    out.push_str("\n## Fields\n\n`details.errors` of a `VALIDATION_ERROR` names each `field` with a `code`, a `message` and the `value`.\n");
    let rows: Vec<_> = code::ALL.iter().map(|(code, meaning)| vec![format!("`{code}`"), cell(meaning)]).collect();
    table(&mut out, &["code", "meaning"], &rows);
    out
}

fn metrics() -> String {
    let about = "Every metric of `/metrics`, in the text format of Prometheus. No series names a tenant or a number.";
    let mut out = page("Metrics", about);
    let rows = METRICS.iter().map(|one| {
        let labels: Vec<String> = one.labels.iter().map(|label| format!("`{label}`")).collect();
        vec![format!("`{}`", one.name), one.kind.as_str().to_owned(), labels.join(", "), cell(one.help)]
    });
    table(&mut out, &["metric", "kind", "labels", "meaning"], &rows.collect::<Vec<_>>());
    out
}

fn events() -> String {
    let about = "Every kind of event that a webhook may choose; [webhooks.md](../webhooks.md) explains bodies, signatures and retries. A \
                 change has the same name as its verb in `GET /api/v1/partner/changes`.";
    let mut out = page("Events", about);
    let rows: Vec<_> = event::kinds().map(|kind| vec![format!("`{kind}`"), cell(event::meaning(kind))]).collect();
    table(&mut out, &["type", "when"], &rows);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_pages_are_those_of_the_program() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference");
        let mut committed: Vec<String> = std::fs::read_dir(&folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
            .collect();
        committed.sort();
        let mut made: Vec<String> = pages().iter().map(|(name, _)| format!("{name}.md")).collect();
        made.sort();
        assert_eq!(committed, made);
        for (name, text) in pages() {
            let committed = std::fs::read_to_string(folder.join(format!("{name}.md"))).expect("text");
            assert!(
                committed == text,
                "docs/reference/{name}.md is not what the program makes; run `rollcall manual --reference docs/reference`"
            );
        }
    }

    #[test]
    fn every_kind_of_event_and_code_has_a_meaning() {
        for kind in event::kinds() {
            assert!(event::meaning(kind).ends_with('.'), "{kind}");
        }
        for text in error::CODES.iter().map(|(_, _, text)| text).chain(code::ALL.iter().map(|(_, text)| text)) {
            assert!(text.ends_with('.'), "{text}");
        }
    }
}
