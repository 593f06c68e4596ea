//! Help, completion and the compatibility document, read from the tables.

use std::fmt::Write as _;

use crate::table::{self, Command, Flag};

const WIDTH: usize = 80;

/// Cuts one line off, as pflag does, with a slop of five columns.
fn cut(width: usize, text: &str) -> (&str, &str) {
    if width + 5 > text.len() {
        return (text, "");
    }
    let head = text.get(..width).unwrap_or(text);
    let Some(space) = head.rfind([' ', '\t', '\n']).filter(|at| *at > 0) else {
        return (text, "");
    };
    let at = head.rfind('\n').filter(|at| *at > 0 && *at < space).unwrap_or(space);
    (text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default())
}

fn wrap(indent: usize, width: usize, text: &str) -> String {
    let pad = " ".repeat(indent);
    let room = width.saturating_sub(indent + 5);
    if room < 24 {
        return text.replace('\n', &format!("\n{pad}"));
    }
    let (mut line, mut rest) = cut(room, text);
    let mut out = line.replace('\n', &format!("\n{pad}"));
    while !rest.is_empty() {
        (line, rest) = cut(room, rest);
        let _ = write!(out, "\n{pad}{}", line.replace('\n', &format!("\n{pad}")));
    }
    out
}

/// The lines about flags.
pub(crate) fn flags(flags: &[Flag], width: usize) -> String {
    let head = |flag: &Flag| {
        let short = if flag.short == ' ' { "      ".to_owned() } else { format!("  -{}, ", flag.short) };
        let kind = if flag.kind.is_empty() { String::new() } else { format!(" {}", flag.kind) };
        format!("{short}--{}{kind}", flag.long)
    };
    // one without words is deprecated: it works and is not shown
    let flags: Vec<&Flag> = flags.iter().filter(|flag| !flag.usage.is_empty()).collect();
    let column = flags.iter().map(|flag| head(flag).len()).max().unwrap_or(0) + 3;
    let mut out = String::new();
    for flag in flags {
        let _ = writeln!(out, "{:column$}{}", head(flag), wrap(column, width.saturating_sub(1), flag.usage));
    }
    out
}

/// Help of one command.
pub(crate) fn command(program: &str, command: &Command, width: usize) -> String {
    let mut out = format!("Usage:  {program} {}\n\n{}\n", command.usage, command.short);
    if command.aliases.len() > 1 {
        let names: Vec<String> = command.aliases.iter().map(|alias| format!("{program} {alias}")).collect();
        let _ = write!(out, "\nAliases:\n  {}\n", names.join(", "));
    }
    if !command.flags.is_empty() {
        let _ = write!(out, "\nOptions:\n{}", flags(command.flags, width));
    }
    if !table::supported(command.path) {
        let _ = write!(out, "\nThis command is not supported by this version of Proa.\n");
    }
    out
}

/// Help of a group.
pub(crate) fn group(program: &str, name: &str, short: &str) -> String {
    let mut out = format!("Usage:  {program} {name} COMMAND\n\n{short}\n\nCommands:\n");
    let prefix = format!("{name} ");
    let mut rows: Vec<(&str, &str)> = table::commands()
        .filter(|command| !table::hidden(command.path))
        .filter_map(|command| {
            command
                .aliases
                .iter()
                .find_map(|alias| alias.strip_prefix(&prefix))
                .map(|last| (last, command.short))
        })
        .filter(|(last, _)| !last.contains(' '))
        .collect();
    rows.sort_unstable();
    for (last, short) in rows {
        let _ = writeln!(out, "  {last:<11} {short}");
    }
    let _ = write!(out, "\nRun '{program} {name} COMMAND --help' for more information on a command.\n");
    out
}

/// The help of the program.
pub(crate) fn top(program: &str) -> String {
    const COMMON: &[&str] = &[
        "run", "exec", "ps", "build", "pull", "push", "images", "login", "logout", "search", "version",
        "info",
    ];
    let mut out = format!(
        "Usage:  {program} [OPTIONS] COMMAND\n\nA self-sufficient runtime for containers\n\nCommon Commands:\n"
    );
    for name in COMMON {
        if let Some(command) = table::find(name) {
            let _ = writeln!(out, "  {name:<11} {}", command.short.trim_end_matches('.'));
        }
    }
    out.push_str("\nManagement Commands:\n");
    for (name, short) in table::GROUPS.iter().filter(|(name, _)| !name.contains(' ')) {
        let _ = writeln!(out, "  {name:<11} {short}");
    }
    out.push_str("\nCommands:\n");
    let mut rows: Vec<(&str, &str)> = table::commands()
        .flat_map(|command| command.aliases.iter().map(|alias| (*alias, command.short)))
        .filter(|(alias, _)| !alias.contains(' ') && !COMMON.contains(alias))
        .collect();
    rows.sort_unstable();
    for (name, short) in rows {
        let _ = writeln!(out, "  {name:<11} {short}");
    }
    let _ = write!(out, "\nGlobal Options:\n{}", flags(table::GLOBAL, WIDTH));
    let _ = write!(out, "\nRun '{program} COMMAND --help' for more information on a command.\n");
    out
}

/// The table command × flag × state, in Markdown.
#[must_use]
pub fn compat_markdown() -> String {
    let mut out = String::from("| command | flag | state |\n|---|---|---|\n");
    let mut all: Vec<&Command> = table::commands().collect();
    all.sort_by_key(|command| command.path);
    for command in all {
        let state = if table::supported(command.path) { "supported" } else { "refused" };
        let _ = writeln!(out, "| `{}` | | {state} |", command.aliases.join("`, `"));
        for flag in command.flags {
            let short = if flag.short == ' ' { String::new() } else { format!("-{}, ", flag.short) };
            let state = if table::supported_flag(command.path, flag.long) { state } else { "refused" };
            let _ = writeln!(out, "| `{}` | `{short}--{}` | {state} |", command.path, flag.long);
        }
    }
    out
}

/// A completion script.
pub(crate) fn completion(program: &str, shell: &str) -> Option<String> {
    let mut names: Vec<&str> =
        table::commands().flat_map(|command| command.aliases.iter().copied()).collect();
    names.extend(table::GROUPS.iter().map(|(name, _)| *name));
    names.sort_unstable();
    let flags_of = |command: &Command| {
        command.flags.iter().map(|flag| format!("--{}", flag.long)).collect::<Vec<_>>().join(" ")
    };
    let firsts: Vec<&str> = names.iter().copied().filter(|name| !name.contains(' ')).collect();
    let mut out = String::new();
    match shell {
        "bash" | "zsh" => {
            if shell == "zsh" {
                let _ = writeln!(out, "#compdef {program}\nautoload -U +X bashcompinit && bashcompinit");
            }
            let _ = writeln!(
                out,
                "_{program}() {{\n  local cur=${{COMP_WORDS[COMP_CWORD]}} words\n  case \"${{COMP_WORDS[*]:1:COMP_CWORD-1}} \" in"
            );
            for command in table::commands() {
                for alias in command.aliases {
                    let _ = writeln!(out, "    \"{alias} \"*) words=\"{}\" ;;", flags_of(command));
                }
            }
            for (group, _) in table::GROUPS {
                let prefix = format!("{group} ");
                let subs: Vec<&str> =
                    names.iter().filter_map(|name| name.strip_prefix(prefix.as_str())).collect();
                let _ = writeln!(out, "    \"{group} \"*) words=\"{}\" ;;", subs.join(" "));
            }
            let _ = writeln!(
                out,
                "    *) words=\"{}\" ;;\n  esac\n  COMPREPLY=( $(compgen -W \"$words\" -- \"$cur\") )\n}}\ncomplete -o default -F _{program} {program}",
                firsts.join(" ")
            );
        }
        "fish" => {
            for name in firsts {
                let short = table::find(name).map_or("", |command| command.short).replace('\'', "\\'");
                let _ =
                    writeln!(out, "complete -c {program} -n __fish_use_subcommand -f -a {name} -d '{short}'");
                for flag in table::find(name).map(|command| command.flags).unwrap_or_default() {
                    let _ = writeln!(
                        out,
                        "complete -c {program} -n '__fish_seen_subcommand_from {name}' -l {}",
                        flag.long
                    );
                }
            }
        }
        _ => return None,
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_must_wrap_as_dockers_does() {
        let text = command("docker", table::find("ps").unwrap(), WIDTH);
        assert!(text.starts_with("Usage:  docker ps [OPTIONS]\n\nList containers\n\nAliases:\n  docker container ls, docker container list, docker container ps, docker ps\n"));
        assert!(text.contains("  -n, --last int        Show n last created containers (includes all\n                        states) (default -1)\n"), "{text}");
    }

    #[test]
    fn every_shell_must_have_a_completion() {
        for shell in ["bash", "zsh", "fish"] {
            assert!(completion("proa", shell).unwrap().contains("run"));
        }
        assert!(compat_markdown().contains("| `container run` | `-d, --detach` | supported |"));
    }
}
