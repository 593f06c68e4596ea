//! Manual pages (man(7)), made from the tables of commands and flags.

use crate::table::{self, Command};
use std::fmt::Write as _;

/// The pages of all commands: file name (`proa-container-run.1`) and text.
pub fn man_pages(program: &str) -> Vec<(String, String)> {
    table::commands().map(|command| (file(program, command), page(program, command))).collect()
}

fn file(program: &str, command: &Command) -> String {
    format!("{program}-{}.1", command.path.replace(' ', "-"))
}

/// Text that roff takes as it stands.
fn plain(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    text.lines()
        .map(|line| if line.starts_with('.') { format!("\\&{line}") } else { line.to_owned() })
        .collect::<Vec<_>>()
        .join("\n.br\n")
}

fn page(program: &str, command: &Command) -> String {
    let title = format!("{program}-{}", command.path.replace(' ', "-"));
    let mut out =
        format!(".TH {} 1 \"\" \"Proa {}\" \"\"\n", plain(&title.to_uppercase()), env!("CARGO_PKG_VERSION"));
    let _ = write!(out, ".SH NAME\n{} \\- {}\n", plain(&title), plain(command.short));
    let _ = write!(out, ".SH SYNOPSIS\n.B {program}\n{}\n", plain(command.usage));
    if command.aliases.len() > 1 {
        let all: Vec<String> =
            command.aliases.iter().map(|alias| plain(&format!("{program} {alias}"))).collect();
        let _ = write!(out, ".SH ALIASES\n{}\n", all.join(", "));
    }
    if !command.flags.is_empty() {
        out.push_str(".SH OPTIONS\n");
    }
    for flag in command.flags {
        let short = if flag.short == ' ' { String::new() } else { format!("\\fB\\-{}\\fR, ", flag.short) };
        let kind = if flag.kind.is_empty() { String::new() } else { format!(" \\fI{}\\fR", flag.kind) };
        let _ = write!(
            out,
            ".TP\n{short}\\fB{}\\fR{kind}\n{}\n",
            plain(&format!("--{}", flag.long)),
            plain(flag.usage)
        );
    }
    if !table::supported(command.path) {
        out.push_str(".SH NOTES\nThis version of Proa does not have this command yet.\n");
    }
    let group = command.path.split(' ').next().unwrap_or_default();
    let _ = write!(out, ".SH SEE ALSO\n.BR {program} (1), {}\n", plain(&format!("{program} {group} --help")));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_must_have_a_page_with_its_flags() {
        let pages = man_pages("proa");
        assert_eq!(pages.len(), table::commands().count());
        let (_, run) = pages.iter().find(|(name, _)| name == "proa-container-run.1").unwrap();
        for wanted in [
            ".SH NAME\nproa\\-container\\-run \\- ",
            "\\fB\\-e\\fR, \\fB\\-\\-env\\fR \\fIlist\\fR",
            "proa run",
        ] {
            assert!(run.contains(wanted), "{wanted}\n{run}");
        }
        assert!(pages.iter().all(|(_, text)| !text.lines().any(|line| line.starts_with('\''))));
    }
}
