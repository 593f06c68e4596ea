//! The program: command, environment, user, limits.

use super::{Facts, Security};
use crate::Error;
use crate::record::ContainerRecord;
use crate::spec::{ContainerSpec, Ulimit};
use proa_oci::image::ExecConfig;
use proa_oci::runtime::{ConsoleSize, Process, Rlimit, User};
use std::collections::BTreeSet;

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Who a program runs as.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

/// Program and arguments: an entry point that is named replaces the image's arguments too.
pub(crate) fn command(spec: &ContainerSpec, image: &ExecConfig) -> Result<Vec<String>, Error> {
    let named = spec.entrypoint.as_ref();
    // `--entrypoint ""` is [""]: the image's is cleared.
    let cleared = named.is_some_and(|words| words.iter().all(String::is_empty));
    let entrypoint = match named {
        Some(_) if cleared => Vec::new(),
        Some(words) => words.clone(),
        None => image.entrypoint.clone().unwrap_or_default(),
    };
    let cmd = match (&spec.cmd, named) {
        (Some(words), _) if !words.is_empty() => words.clone(),
        (_, None) => image.cmd.clone().unwrap_or_default(),
        _ => Vec::new(),
    };
    let all = [entrypoint, cmd].concat();
    if all.is_empty() {
        return Err(Error::Invalid("No command specified: name one, or use an image that has one".into()));
    }
    Ok(all)
}

/// The variables of the request, then those of the image that it does not name. A bare name stays: it takes a variable
/// away.
pub(crate) fn environment(spec: &ContainerSpec, image: &ExecConfig) -> Vec<String> {
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let named: BTreeSet<String> = spec.env.iter().map(|entry| name(entry)).collect();
    let rest = image.env.iter().filter(|entry| !named.contains(&name(entry)));
    spec.env.iter().chain(rest).cloned().collect()
}

/// Sets or, for a bare name, removes a variable.
fn merge(all: &mut Vec<String>, entry: &str) {
    let name = entry.split('=').next().unwrap_or_default();
    let same = |known: &String| known.split('=').next() == Some(name);
    match (all.iter().position(same), entry.contains('=')) {
        (Some(at), true) => all.splice(at..=at, [entry.to_owned()]).for_each(drop),
        (Some(at), false) => drop(all.remove(at)),
        (None, true) => all.push(entry.to_owned()),
        (None, false) => {}
    }
}

fn default_to(all: &mut Vec<String>, name: &str, value: &str) {
    if !all.iter().any(|entry| entry.split('=').next() == Some(name)) {
        all.push(format!("{name}={value}"));
    }
}

/// The first process.
pub(super) fn process(
    record: &ContainerRecord,
    facts: &Facts<'_>,
    security: &Security,
) -> Result<Process, Error> {
    let spec = &record.spec;
    let mut base = vec![PATH.to_owned(), format!("HOSTNAME={}", super::hostname(record))];
    if spec.tty {
        base.push("TERM=xterm".into());
    }
    base.extend(facts.links.iter().cloned());
    for entry in &spec.env {
        merge(&mut base, entry);
    }
    default_to(&mut base, "HOME", &facts.identity.home);
    let (rows, columns) = spec.host.console_size;
    Ok(Process {
        terminal: spec.tty,
        console_size: (rows > 0).then_some(ConsoleSize { height: rows, width: columns }),
        user: user(&facts.identity),
        args: record.command.clone(),
        env: base,
        cwd: if spec.working_dir.is_empty() { "/".into() } else { spec.working_dir.clone().into() },
        capabilities: Some(security.capabilities(facts.identity.uid == 0)),
        rlimits: rlimits(&spec.host.ulimits, facts.default_ulimits)?,
        no_new_privileges: security.no_new_privileges,
        apparmor_profile: security.apparmor.clone(),
        selinux_label: String::new(),
        oom_score_adj: Some(spec.host.oom_score_adj),
        ..Process::default()
    })
}

/// The primary group is among the supplementary ones too: a program that leaves it must not gain what is denied to
/// that group (CVE-2022-36109).
fn user(identity: &Identity) -> User {
    let mut groups = identity.groups.clone();
    if !groups.contains(&identity.gid) {
        groups.insert(0, identity.gid);
    }
    User { uid: identity.uid, gid: identity.gid, umask: None, additional_gids: groups }
}

/// A process beside the first, with the container's environment: `own` is what the container was asked to have.
pub(crate) fn exec(
    base: &Process,
    own: &[String],
    spec: &crate::exec::ExecSpec,
    identity: &Identity,
    security: &Security,
) -> Process {
    // A home that nobody named is that of the container's user, who may be another.
    let named = own.iter().any(|entry| entry.starts_with("HOME="));
    let keeps = |entry: &&String| named || !entry.starts_with("HOME=");
    let mut env: Vec<String> = base.env.iter().filter(keeps).cloned().collect();
    if spec.tty {
        default_to(&mut env, "TERM", "xterm");
    }
    for entry in &spec.env {
        merge(&mut env, entry);
    }
    default_to(&mut env, "HOME", &identity.home);
    let (rows, columns) = spec.console_size;
    Process {
        terminal: spec.tty,
        console_size: (rows > 0).then_some(ConsoleSize { height: rows, width: columns }),
        user: user(identity),
        args: spec.cmd.clone(),
        env,
        cwd: if spec.working_dir.is_empty() { base.cwd.clone() } else { spec.working_dir.clone().into() },
        capabilities: Some(security.capabilities(identity.uid == 0)),
        ..base.clone()
    }
}

fn rlimits(asked: &[Ulimit], defaults: &[Ulimit]) -> Result<Vec<Rlimit>, Error> {
    let others = defaults.iter().filter(|d| !asked.iter().any(|a| a.name == d.name));
    asked
        .iter()
        .chain(others)
        .map(|limit| {
            let known = [
                "as",
                "core",
                "cpu",
                "data",
                "fsize",
                "locks",
                "memlock",
                "msgqueue",
                "nice",
                "nofile",
                "nproc",
                "rss",
                "rtprio",
                "rttime",
                "sigpending",
                "stack",
            ];
            if !known.contains(&limit.name.as_str()) {
                return Err(Error::Invalid(format!("invalid ulimit type: {}", limit.name)));
            }
            let number = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
            let kind = format!("RLIMIT_{}", limit.name.to_ascii_uppercase());
            Ok(Rlimit { kind, soft: number(limit.soft), hard: number(limit.hard) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Option<Vec<String>> {
        Some(text.split(' ').map(Into::into).collect())
    }

    #[test]
    fn commands_merge_as_dockers() {
        let image = ExecConfig { entrypoint: words("ep"), cmd: words("a b"), ..ExecConfig::default() };
        let of = |entrypoint: Option<Vec<String>>, cmd| {
            command(&ContainerSpec { entrypoint, cmd, ..ContainerSpec::default() }, &image)
        };
        assert_eq!(of(None, None).unwrap(), ["ep", "a", "b"]);
        assert_eq!(of(None, words("x")).unwrap(), ["ep", "x"]);
        assert_eq!(of(words("sh"), None).unwrap(), ["sh"]);
        assert_eq!(of(Some(vec![String::new()]), words("x")).unwrap(), ["x"]);
        assert!(command(&ContainerSpec::default(), &ExecConfig::default()).is_err());
    }

    #[test]
    fn exec_keeps_a_home_that_was_named_and_finds_one_that_was_not() {
        let facts = super::super::tests::facts();
        let security = super::super::security(&crate::system::plain_record(), u64::MAX).unwrap();
        let home = |own: &[&str], asked: &[&str]| {
            let own: Vec<String> = own.iter().map(|&entry| entry.to_owned()).collect();
            let mut record = crate::system::plain_record();
            record.spec.env.clone_from(&own);
            let base = process(&record, &facts, &security).unwrap();
            let env = asked.iter().map(|&entry| entry.to_owned()).collect();
            let spec = crate::exec::ExecSpec { env, ..Default::default() };
            let who = Identity { uid: 7, home: "/seven".into(), ..Identity::default() };
            let process = exec(&base, &own, &spec, &who, &security);
            let mut homes = process.env.into_iter().filter(|entry| entry.starts_with("HOME="));
            let home = homes.next();
            assert_eq!(homes.next(), None);
            home.unwrap()
        };
        assert_eq!(home(&[], &[]), "HOME=/seven");
        assert_eq!(home(&["HOME=/own"], &[]), "HOME=/own");
        assert_eq!(home(&["HOME=/own"], &["HOME=/asked"]), "HOME=/asked");
        assert_eq!(home(&[], &["HOME=/asked"]), "HOME=/asked");
    }

    #[test]
    fn variables_merge_and_bare_names_remove() {
        let image = ExecConfig { env: vec!["A=1".into(), "B=2".into()], ..ExecConfig::default() };
        let spec =
            ContainerSpec { env: vec!["A=x=y".into(), "B".into(), "C=3".into()], ..ContainerSpec::default() };
        let kept = environment(&spec, &image);
        assert_eq!(kept, ["A=x=y", "B", "C=3"]);
        let mut all = vec!["B=base".to_owned()];
        kept.iter().for_each(|entry| merge(&mut all, entry));
        assert_eq!(all, ["A=x=y", "C=3"]);
    }
}
