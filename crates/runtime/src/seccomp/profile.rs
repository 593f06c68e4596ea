//! Profiles as text: docker's form and the runtime specification's, which is a part of it.
//!
//! Docker's form adds `archMap` and, for each rule, `includes` and `excludes` by capability, architecture and
//! kernel version. What is left after these are decided is the specification's form.

use super::{Arch, Conditions, Error};
use proa_oci::runtime::{Seccomp, SyscallArg, SyscallRule};
use serde::Deserialize;

/// Docker's published default profile (moby/profiles, June 2026, Apache-2.0).
const DEFAULT: &[u8] = include_bytes!("default.json");

/// Longest text that is read.
const MAX_TEXT: usize = 1 << 20;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    default_errno_ret: Option<u32>,
    #[serde(default, deserialize_with = "nullable")]
    architectures: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    arch_map: Vec<ArchEntry>,
    #[serde(default, deserialize_with = "nullable")]
    flags: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    listener_path: String,
    #[serde(default, deserialize_with = "nullable")]
    listener_metadata: String,
    #[serde(default, deserialize_with = "nullable")]
    syscalls: Vec<ProfileRule>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ArchEntry {
    architecture: String,
    #[serde(deserialize_with = "nullable")]
    sub_architectures: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ProfileRule {
    name: String,
    #[serde(deserialize_with = "nullable")]
    names: Vec<String>,
    action: String,
    errno_ret: Option<u32>,
    #[serde(deserialize_with = "nullable")]
    args: Vec<SyscallArg>,
    #[serde(deserialize_with = "nullable")]
    includes: Filter,
    #[serde(deserialize_with = "nullable")]
    excludes: Filter,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Filter {
    #[serde(deserialize_with = "nullable")]
    caps: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    arches: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    min_kernel: String,
}

fn nullable<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(d: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

/// Reads a profile and decides its conditional rules.
pub(crate) fn parse(text: &[u8], conditions: &Conditions) -> Result<Seccomp, Error> {
    if text.len() > MAX_TEXT {
        return Err(Error::TooLarge { what: "its length in bytes", limit: MAX_TEXT });
    }
    let profile: Profile = serde_json::from_slice(text).map_err(Error::Json)?;
    if !profile.arch_map.is_empty() && !profile.architectures.is_empty() {
        return Err(rule("architectures", "use either 'architectures' or 'archMap', not both"));
    }
    let mut syscalls = Vec::new();
    for entry in profile.syscalls {
        syscalls.extend(decide(entry, conditions)?);
    }
    let seccomp = Seccomp {
        default_action: profile.default_action,
        default_errno_ret: profile.default_errno_ret,
        architectures: architectures(profile.architectures, &profile.arch_map, conditions.arch)?,
        flags: profile.flags,
        listener_path: profile.listener_path,
        listener_metadata: profile.listener_metadata,
        syscalls,
    };
    // Every word is checked now, so that a bad file is refused when it is given and not when it is used.
    super::rules::Rules::of(&seccomp)?;
    Ok(seccomp)
}

/// The default profile, with the 32-bit door to sockets closed unless it is asked for.
pub(crate) fn default(conditions: &Conditions) -> Result<Seccomp, Error> {
    let mut profile = parse(DEFAULT, conditions)?;
    if !conditions.socketcall {
        guard_socketcall(&mut profile);
    }
    Ok(profile)
}

/// Allows `socketcall` only for what does not make a socket (call 1 is `SYS_SOCKET`).
fn guard_socketcall(profile: &mut Seccomp) {
    const SYS_SOCKET: u64 = 1;
    let mut rules = Vec::new();
    for rule in &mut profile.syscalls {
        let before = rule.names.len();
        rule.names.retain(|name| name != "socketcall");
        if rule.names.len() != before {
            rules.push(SyscallRule {
                names: vec!["socketcall".into()],
                action: rule.action.clone(),
                errno_ret: rule.errno_ret,
                args: vec![SyscallArg {
                    index: 0,
                    value: SYS_SOCKET,
                    value_two: 0,
                    op: "SCMP_CMP_NE".into(),
                }],
            });
        }
    }
    profile.syscalls.extend(rules);
}

fn architectures(given: Vec<String>, map: &[ArchEntry], host: Arch) -> Result<Vec<String>, Error> {
    for entry in map {
        Arch::parse(&entry.architecture)?;
    }
    if map.is_empty() {
        return Ok(given);
    }
    let mut names = vec![host.scmp_name().to_owned()];
    if let Some(entry) = map.iter().find(|entry| entry.architecture == host.scmp_name()) {
        names.extend(entry.sub_architectures.iter().cloned());
    }
    Ok(names)
}

/// The rule as it applies here; none if it does not.
fn decide(entry: ProfileRule, conditions: &Conditions) -> Result<Option<SyscallRule>, Error> {
    let names = match (entry.name.is_empty(), entry.names.is_empty()) {
        (false, false) => {
            return Err(rule(&entry.name, "use either 'name' or 'names', not both"));
        }
        (false, true) => vec![entry.name],
        _ => entry.names,
    };
    let has = |cap: &String| conditions.capabilities.contains(cap);
    let here = |arch: &String| arch == conditions.arch.docker_name();
    let (includes, excludes) = (&entry.includes, &entry.excludes);
    let included = includes.caps.iter().all(has)
        && (includes.arches.is_empty() || includes.arches.iter().any(here))
        && at_least(conditions.kernel, &includes.min_kernel)?;
    let excluded = excludes.caps.iter().any(has)
        || excludes.arches.iter().any(here)
        || (!excludes.min_kernel.is_empty() && at_least(conditions.kernel, &excludes.min_kernel)?);
    if !included || excluded {
        return Ok(None);
    }
    Ok(Some(SyscallRule { names, action: entry.action, errno_ret: entry.errno_ret, args: entry.args }))
}

/// Whether the kernel is at least `MAJOR.MINOR`; nothing is any kernel.
fn at_least(kernel: (u32, u32), wanted: &str) -> Result<bool, Error> {
    if wanted.is_empty() {
        return Ok(true);
    }
    super::version(wanted).map(|wanted| kernel >= wanted).ok_or_else(|| {
        rule("minKernel", &format!("{:?} is no version such as 4.8", super::rules::excerpt(wanted)))
    })
}

fn rule(name: &str, reason: &str) -> Error {
    Error::Rule { rule: super::rules::excerpt(name), reason: reason.to_owned() }
}
