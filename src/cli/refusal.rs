//! Refusals of the verbs in the words of the command line: options with their values
//! where the API has the names of fields.
//!
//! What always holds: an option is named only if the command has it; a field that no
//! option sets keeps its name.

use clap::{Arg, Command, CommandFactory as _};

use super::{Cli, CliError};
use crate::domain::FieldError;
use crate::service::people::PeopleError;
use crate::service::verbs::import::ImportError;
use crate::service::{ServiceError, Unusable};

/// Fields whose option has another name. Of several, the command has one.
const OPTIONS: [(&str, &[&str]); 14] = [
    ("account_auth_id", &["account", "auth-id"]),
    ("application_id", &["application", "id"]),
    ("trunk_id", &["trunk", "id"]),
    ("partner", &["partner"]),
    ("number_end", &["to"]),
    ("tags", &["tag"]),
    ("events", &["event"]),
    ("recipients", &["to"]),
    ("checks", &["check"]),
    ("destinations", &["destination", "uri"]),
    ("scopes", &["scope"]),
    ("networks", &["network"]),
    ("expires_at", &["expires-at", "expires"]),
    ("number", &["number", "block"]),
];

/// The command that the program was started with.
pub fn typed() -> Command {
    let mut command = Cli::command();
    command.build();
    for word in std::env::args().skip(1) {
        if let Some(below) = command.find_subcommand(&word) {
            command = below.clone();
        }
    }
    command
}

/// What was refused, for the person who typed `command`; `None` if the error says so
/// itself.
pub fn text(error: &CliError, command: &Command) -> Option<String> {
    let error = match error {
        CliError::Service(error) | CliError::Import(ImportError::Service(error)) => error,
        CliError::People(PeopleError::Invalid(errors)) => return Some(fields(errors, command)),
        _ => return None,
    };
    match error {
        ServiceError::Invalid(errors) => Some(fields(errors, command)),
        ServiceError::Last { .. } => Some(error.to_string().replace("confirm_last=true", "--confirm-last")),
        ServiceError::Unusable(unusable) => {
            let Unusable { number, account, why, errors } = &**unusable;
            let options: Vec<String> = errors.iter().filter_map(|error| option(&error.field, command)).collect();
            let none: Vec<String> = options.iter().map(|option| option.replacen("--", "--no-", 1)).collect();
            let (why, options, none) = (why.join(" and "), options.join(" and "), none.join(" and "));
            Some(format!(
                "account {account} cannot use the route of number {number}: {why}; give another {options}, or {none} \
                 for none"
            ))
        }
        _ => None,
    }
}

/// All wrong inputs.
pub fn fields(errors: &[FieldError], command: &Command) -> String {
    errors.iter().map(|error| field(error, command)).collect::<Vec<_>>().join("; ")
}

/// One wrong input: its option with the value, and what is wrong.
fn field(FieldError { field, message, value, .. }: &FieldError, command: &Command) -> String {
    let message = message.replace(" (null in JSON)", " (null)");
    let value = value.as_deref().map(shown);
    let within = |prefix| field.strip_prefix(prefix);
    let of_job = [("params.", "param"), ("filter.", "filter")];
    if let Some((name, option)) = of_job.iter().find_map(|(prefix, option)| Some((within(prefix)?, option))) {
        let value = value.map(|value| format!("={value}")).unwrap_or_default();
        return format!("--{option} {name}{value} {message}");
    }
    // The value says which one of a list it is.
    let base = field.split(['[', '.']).next().unwrap_or(field);
    let name = option(base, command).unwrap_or_else(|| field.clone());
    match value {
        Some(value) => format!("{name} {value} {message}"),
        None => format!("{name} {message}"),
    }
}

/// The option or the argument that sets a field.
fn option(field: &str, command: &Command) -> Option<String> {
    let own = field.replace('_', "-");
    let others = OPTIONS.iter().find(|(name, _)| *name == field).map_or(&[] as &[&str], |(_, options)| options);
    let names = std::iter::once(own.as_str()).chain(others.iter().copied());
    let named = |argument: &&Arg, name: &str| match argument.get_long() {
        Some(long) => long == name,
        None => argument.get_id() == name,
    };
    let found = names.filter_map(|name| command.get_arguments().find(|argument| named(argument, name))).next()?;
    Some(match found.get_long() {
        Some(long) => format!("--{long}"),
        None => found.get_value_names().and_then(|names| names.first()).map_or(own, ToString::to_string),
    })
}

/// A value as it was typed, in quotes where that says where it ends.
fn shown(value: &str) -> String {
    match value.is_empty() || value.contains(char::is_whitespace) {
        true => format!("{value:?}"),
        false => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::field::code;

    fn leaf(path: &str) -> Command {
        let mut command = Cli::command();
        command.build();
        path.split(' ').fold(command, |command, word| command.find_subcommand(word).expect("a command").clone())
    }

    #[test]
    fn a_field_is_named_by_its_option() {
        for (path, name, value, expected) in [
            ("account create", "account_auth_id", Some("NULL"), "--auth-id NULL"),
            ("number assign", "account_auth_id", Some("MA_1"), "--account MA_1"),
            ("number assign", "application_id", Some("app_1"), "--application app_1"),
            ("number assign", "monthly_cost", None, "--monthly-cost"),
            ("application create", "application_id", Some("NULL"), "ID NULL"),
            ("application create", "account_auth_id", Some("MA_1"), "--account MA_1"),
            ("number add", "tags", Some("n/a"), "--tag n/a"),
            ("number tag", "add", Some("a b"), "--add \"a b\""),
            ("number add", "number", Some("+1"), "NUMBER +1"),
            ("number routing", "as_of", Some("2099-01-01T00:00:00Z"), "--as-of 2099-01-01T00:00:00Z"),
            ("webhook create", "events[0]", Some("nope"), "--event nope"),
            ("schedule create", "recipients[1]", Some("nope"), "--to nope"),
            ("job create", "params.months", Some("x"), "--param months=x"),
            ("job create", "filter.status", None, "--filter status"),
            ("job create", "verb", Some("x"), "--verb x"),
            ("apply", "expires_at", None, "expires_at"),
        ] {
            let error = match value {
                Some(value) => FieldError::new(name, code::INVALID, "is wrong", value),
                None => FieldError::missing(name, code::INVALID, "is wrong"),
            };
            assert_eq!(field(&error, &leaf(path)), format!("{expected} is wrong"), "{path} {name}");
        }
    }
}
