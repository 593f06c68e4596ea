//! A profile's words checked and turned into values.

use super::{Arch, Error};
use proa_oci::runtime::{Seccomp, SyscallArg, SyscallRule};
use proa_sys::seccomp as sys;

/// Most rules of a profile, names of a rule and conditions of a rule.
const MAX_RULES: usize = 4096;
const MAX_NAMES: usize = 4096;
const MAX_CONDITIONS: usize = 24;

/// Greatest errno the kernel passes on.
const MAX_ERRNO: u32 = 4095;

/// What is done about a call: `SECCOMP_RET_…` with its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Action(pub(crate) u32);

impl Action {
    pub(crate) const KILL_PROCESS: Self = Self(0x8000_0000);
    pub(crate) const KILL_THREAD: Self = Self(0);
    pub(crate) const TRAP: Self = Self(0x0003_0000);
    pub(crate) const ERRNO: Self = Self(0x0005_0000);
    pub(crate) const NOTIFY: Self = Self(0x7fc0_0000);
    pub(crate) const TRACE: Self = Self(0x7ff0_0000);
    pub(crate) const LOG: Self = Self(0x7ffc_0000);
    pub(crate) const ALLOW: Self = Self(0x7fff_0000);

    /// `SCMP_ACT_…`; `errno` is the data of ERRNO (EPERM if none is given) and TRACE.
    fn parse(name: &str, errno: Option<u32>) -> Result<Self, Error> {
        let plain = match name.strip_prefix("SCMP_ACT_").unwrap_or_default() {
            "ALLOW" => Self::ALLOW,
            "LOG" => Self::LOG,
            "KILL" | "KILL_THREAD" => Self::KILL_THREAD,
            "KILL_PROCESS" => Self::KILL_PROCESS,
            "TRAP" => Self::TRAP,
            "NOTIFY" => Self::NOTIFY,
            "ERRNO" => return Self::with_errno(Self::ERRNO, errno),
            "TRACE" => return Self::with_errno(Self::TRACE, errno),
            _ => {
                return Err(Error::Unknown {
                    what: "action",
                    word: excerpt(name),
                    known: "use SCMP_ACT_ALLOW, _ERRNO, _KILL, _KILL_THREAD, _KILL_PROCESS, _TRAP, _TRACE, _LOG, _NOTIFY",
                });
            }
        };
        Ok(plain)
    }

    fn with_errno(action: Self, errno: Option<u32>) -> Result<Self, Error> {
        let errno = errno.unwrap_or(1);
        if errno > MAX_ERRNO {
            return Err(Error::Rule {
                rule: format!("errnoRet {errno}"),
                reason: format!("an error number is at most {MAX_ERRNO}"),
            });
        }
        Ok(Self(action.0 | errno))
    }
}

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Operator {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    /// `argument & mask == value`.
    MaskedEq {
        mask: u64,
    },
}

/// A condition on one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Condition {
    pub(crate) index: u32,
    pub(crate) operator: Operator,
    pub(crate) value: u64,
}

/// A rule: what to do about these calls if all conditions hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) names: Vec<String>,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) action: Action,
}

/// A whole profile, understood. The first rule whose conditions hold decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) arches: Vec<Arch>,
    pub(crate) default: Action,
    pub(crate) rules: Vec<Rule>,
    pub(crate) flags: u32,
}

impl Rules {
    /// Checks a profile.
    pub(crate) fn of(profile: &Seccomp) -> Result<Self, Error> {
        let default = Action::parse(&profile.default_action, profile.default_errno_ret)?;
        bounded("the number of rules", profile.syscalls.len(), MAX_RULES)?;
        let mut rules = Vec::new();
        for rule in &profile.syscalls {
            rules.extend(read_rule(rule)?);
        }
        let mut flags = parse_flags(&profile.flags)?;
        if default == Action::NOTIFY {
            return Err(Error::Rule {
                rule: "defaultAction".into(),
                reason: "SCMP_ACT_NOTIFY cannot be the default: the listener itself could not be handed over"
                    .into(),
            });
        }
        if rules.iter().any(|rule| rule.action == Action::NOTIFY) {
            flags |= sys::FLAG_NEW_LISTENER;
        }
        Ok(Self { arches: arches(&profile.architectures)?, default, rules, flags })
    }
}

fn arches(names: &[String]) -> Result<Vec<Arch>, Error> {
    bounded("the number of architectures", names.len(), 64)?;
    let mut arches = Vec::new();
    for name in names {
        if let Some(arch) = Arch::parse(name)?
            && !arches.contains(&arch)
        {
            arches.push(arch);
        }
    }
    if arches.is_empty() {
        arches.push(Arch::host());
    }
    Ok(arches)
}

fn parse_flags(names: &[String]) -> Result<u32, Error> {
    // Without a word on it, speculation is left as fast as outside, as other runtimes do.
    if names.is_empty() {
        return Ok(sys::FLAG_SPEC_ALLOW);
    }
    names.iter().try_fold(0, |flags, name| {
        let flag = match name.strip_prefix("SECCOMP_FILTER_FLAG_").unwrap_or_default() {
            "TSYNC" => sys::FLAG_TSYNC,
            "LOG" => sys::FLAG_LOG,
            "SPEC_ALLOW" => sys::FLAG_SPEC_ALLOW,
            "WAIT_KILLABLE_RECV" => sys::FLAG_WAIT_KILLABLE_RECV,
            _ => {
                return Err(Error::Unknown {
                    what: "flag",
                    word: excerpt(name),
                    known: "use SECCOMP_FILTER_FLAG_TSYNC, _LOG, _SPEC_ALLOW, _WAIT_KILLABLE_RECV",
                });
            }
        };
        Ok(flags | flag)
    })
}

/// Conditions that name one argument twice are alternatives, each a rule of its own, as in other runtimes.
fn read_rule(rule: &SyscallRule) -> Result<Vec<Rule>, Error> {
    bounded("the number of names in a rule", rule.names.len(), MAX_NAMES)?;
    bounded("the number of conditions in a rule", rule.args.len(), MAX_CONDITIONS)?;
    let name = rule.names.first().map_or_else(|| "a rule without names".to_owned(), |name| excerpt(name));
    let action = Action::parse(&rule.action, rule.errno_ret)?;
    if action == Action::NOTIFY && rule.names.iter().any(|name| name == "write" || name == "sendmsg") {
        let reason =
            "SCMP_ACT_NOTIFY cannot be used for write or sendmsg: the listener could not be handed over";
        return Err(Error::Rule { rule: name, reason: reason.into() });
    }
    let conditions = rule.args.iter().map(|arg| condition(&name, arg)).collect::<Result<Vec<_>, _>>()?;
    let twice =
        conditions.iter().enumerate().any(|(i, a)| conditions.iter().skip(i + 1).any(|b| a.index == b.index));
    let names = rule.names.clone();
    if twice {
        let alternative = |condition| Rule { names: names.clone(), conditions: vec![condition], action };
        return Ok(conditions.into_iter().map(alternative).collect());
    }
    Ok(vec![Rule { names, conditions, action }])
}

fn condition(rule: &str, arg: &SyscallArg) -> Result<Condition, Error> {
    if arg.index > 5 {
        return Err(Error::Rule {
            rule: rule.to_owned(),
            reason: format!("there is no argument {}: they count from 0 to 5", arg.index),
        });
    }
    let operator = match arg.op.strip_prefix("SCMP_CMP_").unwrap_or_default() {
        "EQ" => Operator::Eq,
        "NE" => Operator::Ne,
        "LT" => Operator::Lt,
        "LE" => Operator::Le,
        "GT" => Operator::Gt,
        "GE" => Operator::Ge,
        "MASKED_EQ" => {
            let operator = Operator::MaskedEq { mask: arg.value };
            return Ok(Condition { index: arg.index, operator, value: arg.value_two });
        }
        _ => {
            return Err(Error::Unknown {
                what: "operator",
                word: excerpt(&arg.op),
                known: "use SCMP_CMP_EQ, _NE, _LT, _LE, _GT, _GE, _MASKED_EQ",
            });
        }
    };
    Ok(Condition { index: arg.index, operator, value: arg.value })
}

fn bounded(what: &'static str, size: usize, limit: usize) -> Result<(), Error> {
    if size > limit { Err(Error::TooLarge { what, limit }) } else { Ok(()) }
}

/// The beginning of a word, for a message.
pub(crate) fn excerpt(word: &str) -> String {
    word.chars().take(64).collect()
}
