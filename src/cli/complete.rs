//! Completion of names that a shell cannot know: partners, customers, applications and
//! trunks, by id and by name, from the database that the command would use.
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
use crate::domain::PartnerId;
use crate::inventory::names::NamedKind;
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
}

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

fn candidates(words: &[String]) -> Option<Vec<(String, String)>> {
    let (typed, before) = words.split_last()?;
    let mut command = Cli::command();
    command.build();
    let (wanted, typed) = wanted(&command, before, typed)?;
    // A shell hands over the quotation mark that was not closed yet.
    let typed = typed.trim_start_matches(['"', '\'']).to_lowercase();
    let matches = Cli::command().ignore_errors(true).try_get_matches_from(before).ok()?;
    let global = Global::from_arg_matches(&matches).ok()?;
    let service = global.service(Open::Read).ok()?;
    let partners = service.partners().ok()?;
    let mut found: Vec<(String, String)> = match wanted {
        Completing::Partner => {
            let of = |name: &str, id: &str| (id.to_owned(), name.to_owned());
            partners.iter().map(|(_, _, partner)| of(&partner.name, partner.auth_id.as_str())).collect()
        }
        Completing::Entity(kind) => {
            let partner = match value_of(before, &["--partner"]).or_else(|| std::env::var("ROLLCALL_PARTNER").ok()) {
                Some(id) => id.parse::<PartnerId>().ok()?,
                None => match &partners[..] {
                    [(_, _, only)] => only.auth_id.clone(),
                    _ => return None,
                },
            };
            let snapshot = service.snapshot(&partner, false).ok()?;
            let all = snapshot.entities(kind);
            let live = || all.iter().filter(|one| !one.archived);
            let mut shared: HashMap<String, usize> = HashMap::new();
            live().for_each(|one| *shared.entry(one.name.to_lowercase()).or_default() += 1);
            let by_name = live().filter(|one| one.name != one.id && shared[&one.name.to_lowercase()] == 1);
            let by_name = by_name.map(|one| (one.name.to_owned(), one.id.to_owned()));
            // An id is offered to a person who types one, or where no name will do.
            let by_id = live().filter(|one| !typed.is_empty() || shared[&one.name.to_lowercase()] > 1);
            by_name.chain(by_id.map(|one| (one.id.to_owned(), one.name.to_owned()))).collect()
        }
    };
    found.retain(|(word, _)| word.to_lowercase().starts_with(&typed) && !word.chars().any(char::is_control));
    found.sort();
    found.dedup_by(|a, b| a.0 == b.0);
    found.truncate(CANDIDATES_MAX);
    Some(found)
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
    let named = |name: &str| arg.get_value_names().is_some_and(|names| names.iter().any(|one| one.as_str() == name));
    if named(PARTNER) {
        return Some(Completing::Partner);
    }
    let word = match arg.get_id().as_str() {
        _ if !named(ENTITY) => return None,
        "id" | "auth_id" => group,
        id => id,
    };
    match word {
        "account" | "customer" | "reserved_for" => Some(Completing::Entity(NamedKind::Customer)),
        "application" => Some(Completing::Entity(NamedKind::Application)),
        "trunk" => Some(Completing::Entity(NamedKind::Trunk)),
        _ => None,
    }
}

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
        Shell::Fish => text + FISH,
        Shell::Zsh => {
            let named = text
                .replace(&format!(":{ENTITY}:_default"), &format!(":{ENTITY}:_rollcall_names"))
                .replace(&format!(":{PARTNER}:_default"), &format!(":{PARTNER}:_rollcall_names"))
                .replace(" or its name:_default", " or its name:_rollcall_names")
                .replace(" or its present name:_default", " or its present name:_rollcall_names");
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
