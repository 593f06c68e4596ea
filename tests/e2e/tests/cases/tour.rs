//! A tour of docker's commands: scripts of them, with what dockerd and the stock clients answer beside them in
//! `tour/`. Each client walks it against an engine that is its own; our client is called `docker` there and is
//! held to what docker 28 says. Names that differ from run to run are made alike before they are compared.
//!
//! `PROA_TOUR=write cargo xtask test e2e --against dockerd tour` writes what is expected anew.

use proa_e2e::{Ctx, Daemon, Suite};
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) fn add(s: &mut Suite) {
    s.each("a tour of the commands on containers must say what docker says", |c| walk(c, "containers"));
    s.each("a tour of what is seen of containers must say what docker says", |c| walk(c, "seeing"));
    s.each("a tour of the commands on volumes must say what docker says", |c| walk(c, "volumes"));
    s.each("a tour of the commands on contexts must say what docker says", |c| walk(c, "contexts"));
    s.each("a tour of the commands on the system must say what docker says", |c| walk(c, "system"));
    s.each("a tour of mistakes must say what docker says", |c| walk(c, "mistakes"));
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/tour")
}

fn walk(c: &Ctx, script: &str) {
    let daemon = Daemon::start(&format!("tour-{script}-{}", c.client.name), &[]);
    daemon.load_busybox();
    let bin = c.dir("bin");
    std::os::unix::fs::symlink(&c.client.program, bin.join("docker")).unwrap();
    let config = c.dir("config");
    let steps = std::fs::read_to_string(folder().join(format!("{script}.script"))).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    drop(listener);
    let mut told = String::new();
    for line in steps.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        told.push_str(&step(&daemon, (&bin, &config), &port, line));
    }
    let told = told.replace(&format!(":{port}"), ":PORT").replace(&format!("| {port}\n"), "| PORT\n");
    let told = alike(&told, &daemon, &config);
    let version = if c.client.is_ours() { "docker28" } else { &c.client.name };
    let path = folder().join(format!("{script}.{version}"));
    if std::env::var("PROA_TOUR").is_ok_and(|word| word == "write") && !c.client.is_ours() {
        assert!(c.reference, "what is expected is dockerd's");
        return std::fs::write(path, told).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    let differences = differences(&wanted, &told);
    assert!(
        differences.is_empty(),
        "{} steps of {script} differ:\n{}",
        differences.len(),
        differences.concat()
    );
}

/// One command, run by sh(1) with `docker` before all others: what it said and how it ended.
fn step(daemon: &Daemon, (bin, config): (&Path, &Path), port: &str, line: &str) -> String {
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir(config).env("DOCKER_CONFIG", config).env("COLUMNS", "80");
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", bin.display()));
    for name in ["PROA_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"] {
        command.env_remove(name);
    }
    command.env("DOCKER_HOST", daemon.host()).env("PORT", port);
    let out = proa_e2e::command::run(&mut command, b"");
    let marked = |mark: &str, text: &str| -> String {
        text.lines().map(|line| format!("{mark} {line}").trim_end().to_owned() + "\n").collect()
    };
    format!("$ {line}\n{}{}= {}\n\n", marked("|", &out.out()), marked("!", &out.err()), out.code)
}

/// The steps that differ, each with both answers.
fn differences(wanted: &str, told: &str) -> Vec<String> {
    let split = |text: &str| -> Vec<String> { text.split("\n\n").map(str::to_owned).collect() };
    let (wanted, told) = (split(wanted), split(told));
    let pairs = (0..wanted.len().max(told.len())).map(|at| (wanted.get(at), told.get(at)));
    let text = |step: Option<&String>| step.cloned().unwrap_or_default();
    pairs
        .filter(|(wanted, told)| wanted != told)
        .map(|(wanted, told)| format!("--- wanted\n{}\n--- told\n{}\n", text(wanted), text(told)))
        .collect()
}

/// How dockerd 20.10 begins what its successors, and Proa, say otherwise.
const OLDER: [(&str, &str); 5] = [
    ("Invalid filter", "invalid filter"),
    ("Invalid IPC mode", "invalid IPC mode"),
    ("Invalid signal", "invalid signal"),
    ("Cannot kill container: nope: No such", "No such"),
    ("invalid restart policy 'bogus'", "invalid restart policy: unknown policy 'bogus'"),
];

/// Makes alike what differs from run to run: ids, times, sizes, places, and how wide columns are.
fn alike(text: &str, daemon: &Daemon, config: &Path) -> String {
    let text = text
        .replace(&daemon.host(), "HOST")
        .replace(&*daemon.dir.to_string_lossy(), "DIR")
        .replace(&*config.to_string_lossy(), "CONFIG");
    let text = OLDER.iter().fold(text, |text, (old, new)| text.replace(old, new));
    let text: Vec<String> = text.lines().map(|line| columns(&words(line))).collect();
    let ages = [
        "Less than a second ago",
        "1 second ago",
        "About a minute ago",
        "Less than a second",
        "1 second",
        "About a minute",
    ];
    let mut text = text.join("\n") + "\n\n";
    for count in 2..120 {
        text =
            text.replace(&format!("{count} seconds ago"), "AGE").replace(&format!("{count} seconds"), "AGE");
    }
    for count in 2..60 {
        text =
            text.replace(&format!("{count} minutes ago"), "AGE").replace(&format!("{count} minutes"), "AGE");
    }
    for age in ages {
        text = text.replace(age, "AGE");
    }
    text.replace("AGE ago", "AGE")
}

/// Two blanks or more become three.
fn columns(line: &str) -> String {
    let mut out = String::new();
    let mut blanks = 0;
    for c in line.chars() {
        if c == ' ' {
            blanks += 1;
            continue;
        }
        out.push_str(match blanks {
            0 => "",
            1 => " ",
            _ => "   ",
        });
        blanks = 0;
        out.push(c);
    }
    out
}

/// Ids, sizes and times within a line.
fn words(line: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    for c in line.chars().chain(['\n']) {
        if c.is_ascii_alphanumeric() || "._:+-".contains(c) {
            word.push(c);
        } else {
            out.push_str(&one(&word));
            word.clear();
            out.push(c);
        }
    }
    out.truncate(out.len() - 1);
    out
}

fn one(word: &str) -> String {
    let (head, tail) = match word.rsplit_once(':') {
        Some(("sha256", tail)) => ("sha256:", tail),
        _ => ("", word),
    };
    let hex = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if hex(tail) && tail.len() == 64 {
        return format!("{head}ID");
    }
    if hex(tail) && tail.len() == 12 {
        return format!("{head}id");
    }
    let unit = tail.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    if tail.len() > unit.len() && ["B", "kB", "MB", "GB", "KiB", "MiB", "GiB"].contains(&unit) {
        return "SIZE".to_owned();
    }
    let time = tail.len() >= 20 && tail.starts_with("20") && tail.contains('T') && tail.contains(':');
    if time { "TIME".to_owned() } else { word.to_owned() }
}
