//! Completion of words that a shell cannot know, from the database that the command
//! would use: partners, customers, applications and trunks by id and by name, ids of
//! webhooks, schedules, jobs and keys, addresses of users; and the values of filters.
//!
//! The script of a shell calls `rollcall complete -- WORDS…` with the words before
//! the cursor, the last of which is being typed, and gets one candidate a line: the
//! word, a tab, and what it is. The rest of the script is clap's.
//! Always holds: it says nothing and changes nothing where anything fails, for its
//! reader is in the middle of a line; archived entities are not offered; a name
//! that several entities have is offered by id.
//! Deliberately absent: numbers, of which there are too many.

use std::collections::HashMap;
use std::ffi::OsString;

use clap::{Arg, Command, CommandFactory, FromArgMatches};
use clap_complete::Shell;

use super::{Cli, Global};
use crate::domain::{NumberType, PartnerId, PartnerKey, Status, Time};
use crate::inventory::names::NamedKind;
use crate::service::people::{People, SignInSettings};
use crate::service::{Service, ServiceError};
use crate::store::Open;

/// The most candidates; a shell asks before it lists so many.
const CANDIDATES_MAX: usize = 200;

/// Value names of options: what stands for one of our ids.
const ENTITY: &str = "ID|NAME";
const PARTNER: &str = "PA_X";

#[derive(clap::Args)]
pub struct Complete {
    /// The words of the line up to the cursor
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

/// The kind of id that an option or an argument takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Completing {
    Partner,
    Entity(NamedKind),
    Webhook,
    Schedule,
    Job,
    Key,
    User,
    Word(&'static [&'static str]),
}

/// A word that may be typed, and what it stands for.
type Candidate = (String, String);

impl Complete {
    /// The candidates for the last word, a line each.
    pub fn text(self) -> String {
        let words = joined(self.words.iter().map(|word| word.to_string_lossy().into_owned()));
        let found = candidates(&words).unwrap_or_default();
        found.into_iter().map(|(word, about)| format!("{word}\t{about}\n")).collect()
    }
}

/// Words that Bash took apart at a colon, such as `sqlite:rollcall.db`.
fn joined(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut joined: Vec<String> = Vec::new();
    let mut open = false;
    for word in words {
        match joined.last_mut() {
            Some(last) if open || word == ":" => last.push_str(&word),
            _ => joined.push(word.clone()),
        }
        open = word == ":";
    }
    joined
}

fn candidates(words: &[String]) -> Option<Vec<Candidate>> {
    let (typed, before) = words.split_last()?;
    let mut command = Cli::command();
    command.build();
    let (wanted, typed) = wanted(&command, before, typed)?;
    // A shell hands over the quotation mark that was not closed yet.
    let typed = typed.trim_start_matches(['"', '\'']).to_lowercase();
    let mut found = match wanted {
        Completing::Word(all) => all.iter().map(|word| ((*word).to_owned(), String::new())).collect(),
        stored => stored_words(stored, before, &typed)?,
    };
    found.retain(|(word, _)| word.to_lowercase().starts_with(&typed) && !word.chars().any(char::is_control));
    found.sort();
    found.dedup_by(|a, b| a.0 == b.0);
    found.truncate(CANDIDATES_MAX);
    Some(found)
}

/// The words of a kind that is in the database.
fn stored_words(wanted: Completing, before: &[String], typed: &str) -> Option<Vec<Candidate>> {
    let matches = Cli::command().ignore_errors(true).try_get_matches_from(before).ok()?;
    let global = Global::from_arg_matches(&matches).ok()?;
    let service = global.service(Open::Read).ok()?;
    let partners = service.partners().ok()?;
    if wanted == Completing::Partner {
        let of = |name: &str, id: &str| (id.to_owned(), name.to_owned());
        return Some(partners.iter().map(|(_, _, one)| of(&one.name, one.auth_id.as_str())).collect());
    }
    if wanted == Completing::User {
        let users = People::new(service.store().clone(), SignInSettings::default()).everybody(None).ok()?;
        return Some(users.into_iter().map(|user| (user.email.to_string(), user.id.to_string())).collect());
    }
    let partner = match value_of(before, &["--partner"]).or_else(|| std::env::var("ROLLCALL_PARTNER").ok()) {
        Some(id) => id.parse::<PartnerId>().ok()?,
        None => match &partners[..] {
            [(_, _, only)] => only.auth_id.clone(),
            _ => return None,
        },
    };
    match wanted {
        Completing::Entity(kind) => entities(&service, &partner, kind, typed),
        Completing::Key => {
            let snapshot = service.snapshot(&partner, false).ok()?;
            Ok(snapshot.keys.sorted().map(|one| (one.id.to_string(), one.name.to_string())).collect())
        }
        other => ids(&service, service.partner_key(&partner).ok()?, other),
    }
    .ok()
}

/// Those that are in use, by name; by id to a person who types one, or where no
/// name will do.
fn entities(
    service: &Service,
    partner: &PartnerId,
    kind: NamedKind,
    typed: &str,
) -> Result<Vec<Candidate>, ServiceError> {
    let snapshot = service.snapshot(partner, false)?;
    let all = snapshot.entities(kind);
    let live = || all.iter().filter(|one| !one.archived);
    let mut shared: HashMap<String, usize> = HashMap::new();
    live().for_each(|one| *shared.entry(one.name.to_lowercase()).or_default() += 1);
    let by_name = live().filter(|one| one.name != one.id && shared[&one.name.to_lowercase()] == 1);
    let by_name = by_name.map(|one| (one.name.to_owned(), one.id.to_owned()));
    let by_id = live().filter(|one| !typed.is_empty() || shared[&one.name.to_lowercase()] > 1);
    Ok(by_name.chain(by_id.map(|one| (one.id.to_owned(), one.name.to_owned()))).collect())
}

/// The ids of what has no name that a command takes.
fn ids(service: &Service, key: PartnerKey, wanted: Completing) -> Result<Vec<Candidate>, ServiceError> {
    let of = |id: &str, about: &str| (id.to_owned(), about.to_owned());
    Ok(match wanted {
        Completing::Webhook => {
            service.webhooks(key)?.iter().map(|one| of(&one.setting.id, &one.webhook.name)).collect()
        }
        Completing::Schedule => {
            service.schedules(key, Time::now())?.iter().map(|one| of(&one.id, &one.schedule.name)).collect()
        }
        Completing::Job => {
            let (jobs, _) = service.jobs(key, 0, CANDIDATES_MAX)?;
            jobs.iter().map(|job| of(&job.id, &format!("{}, {}", job.state, job.created_at))).collect()
        }
        _ => Vec::new(),
    })
}

/// The kind of the word at the cursor, and the part of it that is typed.
fn wanted<'t>(command: &Command, before: &[String], typed: &'t str) -> Option<(Completing, &'t str)> {
    let (mut at, mut group, mut place) = (command, "", 0);
    let mut words = before.iter().skip(1);
    while let Some(word) = words.next() {
        if let Some(option) = word.strip_prefix("--") {
            let Some(arg) = long(at, option.split('=').next().unwrap_or_default()) else { continue };
            let takes_value = arg.get_action().takes_values() && !option.contains('=');
            // Bash hands over `--account`, `=` and the value as three words.
            let value = if takes_value { words.next() } else { None };
            let value = if value.is_some_and(|value| value == "=") { words.next() } else { value };
            if takes_value && value.is_none() {
                return Some((of(arg, group)?, typed.trim_start_matches('=')));
            }
        } else if let Some(sub) = at.find_subcommand(word) {
            if group.is_empty() {
                group = sub.get_name();
            }
            (at, place) = (sub, 0);
        } else {
            place += 1;
        }
    }
    if let Some(option) = typed.strip_prefix("--") {
        let (name, value) = option.split_once('=')?;
        return Some((of(long(at, name)?, group)?, value));
    }
    let arg = at.get_positionals().nth(place)?;
    Some((of(arg, group)?, typed))
}

/// An option by its long name or another that it has.
fn long<'c>(command: &'c Command, name: &str) -> Option<&'c Arg> {
    command
        .get_arguments()
        .find(|arg| arg.get_long() == Some(name) || arg.get_all_aliases().is_some_and(|all| all.contains(&name)))
}

/// The kind of id of an option or argument below a group of commands.
fn of(arg: &Arg, group: &str) -> Option<Completing> {
    let name = arg.get_value_names().and_then(|names| names.first()).map(|name| name.as_str()).unwrap_or_default();
    let word = match arg.get_id().as_str() {
        "id" | "auth_id" => group,
        id => id,
    };
    Some(match (name, word) {
        (PARTNER, _) => Completing::Partner,
        ("WEBHOOK_ID", _) => Completing::Webhook,
        ("SCHEDULE", _) => Completing::Schedule,
        ("JOB_ID", _) => Completing::Job,
        ("KEY_ID", _) => Completing::Key,
        ("ADDRESS", "who") => Completing::User,
        (ENTITY, "account" | "account_auth_id" | "customer" | "reserved_for") => {
            Completing::Entity(NamedKind::Customer)
        }
        (ENTITY, "application" | "application_id") => Completing::Entity(NamedKind::Application),
        (ENTITY, "trunk" | "trunk_id") => Completing::Entity(NamedKind::Trunk),
        (_, "status") => Completing::Word(STATUSES),
        (_, "number_type") => Completing::Word(NUMBER_TYPES),
        (_, "routed" | "assigned") => Completing::Word(&["false", "true"]),
        (_, "sort") => Completing::Word(SORTS),
        _ => return None,
    })
}

const STATUSES: &[&str] = &[Status::Active.as_str(), Status::Suspended.as_str()];
const NUMBER_TYPES: &[&str] = &[NumberType::Local.as_str(), NumberType::Tollfree.as_str(), NumberType::Mobile.as_str()];
const SORTS: &[&str] =
    &["-assigned_at", "-expires_at", "-monthly_cost", "-number", "assigned_at", "expires_at", "monthly_cost", "number"];

/// The value of an option in the words of a line.
fn value_of(words: &[String], names: &[&str]) -> Option<String> {
    let at = words.iter().position(|word| names.contains(&word.split('=').next().unwrap_or_default()))?;
    match words[at].split_once('=') {
        Some((_, value)) => Some(value.to_owned()),
        None => words[at + 1..].iter().find(|word| *word != "=").cloned(),
    }
}

/// The script of a shell: clap's, which asks us for names where it has none.
pub fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rollcall", &mut script);
    let text = String::from_utf8_lossy(&script).into_owned();
    let text = match shell {
        Shell::Bash => text + BASH,
        Shell::Fish => fish(&text) + FISH,
        Shell::Zsh => {
            // Ours asks clap's where it has nothing itself.
            let named = text.replace(":_default'", ":_rollcall_names'");
            // The functions stand before the call at the end.
            match named.rfind("\nif [ \"$funcstack[1]\"") {
                Some(end) => format!("{}{ZSH}{}", &named[..end], &named[end..]),
                None => named + ZSH,
            }
        }
        _ => text,
    };
    text.into_bytes()
}

/// Fish completes the value of an option by the option's own line.
fn fish(text: &str) -> String {
    let mut command = Cli::command();
    command.build();
    let mut named = Vec::new();
    long_names(&command, "", &mut named);
    let asks = |line: &str| named.iter().any(|name| line.contains(&format!(" -l {name} ")));
    let line = |line: &str| match line.strip_suffix(" -r") {
        Some(_) if asks(line) => format!("{line} -k -f -a '(__fish_rollcall_names)'\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// The long names of options whose values are completed.
fn long_names(command: &Command, group: &str, found: &mut Vec<String>) {
    let named = command.get_arguments().filter(|arg| of(arg, group).is_some());
    found.extend(named.filter_map(Arg::get_long).map(str::to_owned));
    for below in command.get_subcommands() {
        long_names(below, if group.is_empty() { below.get_name() } else { group }, found);
    }
}

const BASH: &str = r#"
_rollcall_names() {
    local cur=${COMP_WORDS[COMP_CWORD]} quote="" line found=()
    case $cur in \"*|\'*) quote=${cur:0:1} ;; esac
    while IFS= read -r line; do
        line=${line%%$'\t'*}
        if [[ -n $line ]]; then
            if [[ -z $quote ]]; then printf -v line %q "$line"; fi
            found+=("$line")
        fi
    done < <("${COMP_WORDS[0]}" complete -- "${COMP_WORDS[@]:0:COMP_CWORD+1}" 2>/dev/null)
    if ((${#found[@]})); then
        COMPREPLY=("${found[@]}")
    else
        _rollcall "$@"
    fi
}

if [[ "${BASH_VERSINFO[0]}" -eq 4 && "${BASH_VERSINFO[1]}" -ge 4 || "${BASH_VERSINFO[0]}" -gt 4 ]]; then
    complete -F _rollcall_names -o nosort -o bashdefault -o default rollcall
else
    complete -F _rollcall_names -o bashdefault -o default rollcall
fi
"#;

const FISH: &str = r#"
function __fish_rollcall_names
    rollcall complete -- (commandline -opc) (commandline -ct) 2>/dev/null
end
complete -c rollcall -n '__fish_rollcall_names | string length -q' -k -f -a '(__fish_rollcall_names)'
"#;

const ZSH: &str = r#"
(( $+functions[_rollcall_names] )) ||
_rollcall_names() {
    local -a typed found
    local line
    typed=("${(@Q)${(z)LBUFFER}}")
    [[ $LBUFFER == *' ' ]] && typed+=("")
    for line in "${(@f)$($typed[1] complete -- "${typed[@]}" 2>/dev/null)}"; do
        [[ -n $line ]] && found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
    done
    if (( $#found )); then _describe 'name' found; else _default; fi
}
"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn each(command: &Command, group: &str, see: &mut impl FnMut(&Arg, &str)) {
        command.get_arguments().filter(|arg| !arg.is_hide_set()).for_each(|arg| see(arg, group));
        for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
            each(below, if group.is_empty() { below.get_name() } else { group }, see);
        }
    }

    #[test]
    fn every_argument_has_help_and_every_id_is_completed() {
        let mut command = Cli::command();
        command.build();
        let mut wrong = Vec::new();
        each(&command, "", &mut |arg, group| {
            let names: Vec<&str> = arg.get_value_names().into_iter().flatten().map(|name| name.as_str()).collect();
            if arg.get_help().is_none_or(|help| help.to_string().trim().is_empty()) {
                wrong.push(format!("{group} {} has no help", arg.get_id()));
            }
            let ids = [ENTITY, PARTNER, "WEBHOOK_ID", "SCHEDULE", "JOB_ID", "KEY_ID"];
            if names.iter().any(|name| ids.contains(name)) && of(arg, group).is_none() {
                wrong.push(format!("{group} {} is not completed", arg.get_id()));
            }
        });
        assert_eq!(wrong, Vec::<String>::new());
    }

    #[test]
    fn fish_asks_for_the_values_of_options() {
        let script = String::from_utf8(script(Shell::Fish)).expect("text");
        for (option, asks) in [("-l account-auth-id -l account ", true), ("-l status ", true), ("-l config ", false)] {
            let lines: Vec<&str> = script.lines().filter(|line| line.contains(option)).collect();
            let asking = lines.iter().filter(|line| line.ends_with("-a '(__fish_rollcall_names)'")).count();
            assert!(!lines.is_empty() && asking == if asks { lines.len() } else { 0 }, "{option}: {lines:?}");
        }
    }

    #[test]
    fn words_are_joined_at_colons() {
        let of = |line: &str| joined(line.split(' ').map(str::to_owned));
        assert_eq!(of("rollcall --database sqlite : a.db --json"), ["rollcall", "--database", "sqlite:a.db", "--json"]);
        assert_eq!(of("a b"), ["a", "b"]);
    }

    #[test]
    fn the_word_at_the_cursor_has_a_kind() {
        let mut command = Cli::command();
        command.build();
        let of = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let (typed, before) = words.split_last().expect("a word");
            wanted(&command, before, typed).map(|(wanted, typed)| (wanted, typed.to_owned()))
        };
        use NamedKind::{Application, Customer, Trunk};
        for (line, expected) in [
            ("rollcall number assign +33123 --account Glo", Some((Completing::Entity(Customer), "Glo"))),
            ("rollcall number assign +33123 --account=Glo", Some((Completing::Entity(Customer), "Glo"))),
            ("rollcall number assign +33123 --account = Glo", Some((Completing::Entity(Customer), "Glo"))),
            ("rollcall number assign --account MA_1 --application ", Some((Completing::Entity(Application), ""))),
            ("rollcall number route +33123 --trunk t", Some((Completing::Entity(Trunk), "t"))),
            ("rollcall account archive --auth-id ", Some((Completing::Entity(Customer), ""))),
            ("rollcall application rename Ma", Some((Completing::Entity(Application), "Ma"))),
            ("rollcall trunk destination add ", Some((Completing::Entity(Trunk), ""))),
            ("rollcall --json number list --partner PA", Some((Completing::Partner, "PA"))),
            ("rollcall partner suspend ", Some((Completing::Partner, ""))),
            ("rollcall number list --account Ac", Some((Completing::Entity(Customer), "Ac"))),
            ("rollcall export --trunk-id ", Some((Completing::Entity(Trunk), ""))),
            ("rollcall number transfer +33123 --account ", Some((Completing::Entity(Customer), ""))),
            ("rollcall number list --status a", Some((Completing::Word(STATUSES), "a"))),
            ("rollcall job show ", Some((Completing::Job, ""))),
            ("rollcall webhook test wh", Some((Completing::Webhook, "wh"))),
            ("rollcall schedule run ", Some((Completing::Schedule, ""))),
            ("rollcall key revoke ", Some((Completing::Key, ""))),
            ("rollcall user disable ow", Some((Completing::User, "ow"))),
            ("rollcall number assign ", None),
            ("rollcall number assign --ac", None),
            ("rollcall number assign --cost ", None),
            ("rollcall application create ", None),
            ("rollcall imp", None),
        ] {
            let expected = expected.map(|(wanted, typed)| (wanted, typed.to_owned()));
            assert_eq!(of(line), expected, "{line}");
        }
    }
}
