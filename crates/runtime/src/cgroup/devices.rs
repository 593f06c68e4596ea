//! Device access: rules in order, reduced to a default and exceptions, then written as v1 wants them.
//!
//! The reduction is what the kernel itself does on v1 (security/device_cgroup.c): a rule for all devices sets
//! the default and forgets all exceptions; any other adds or takes an exception. Both versions of cgroups are
//! served from the reduced form, so that both decide alike.

use super::Error;
use proa_oci::runtime::DeviceRule;
use std::collections::BTreeMap;

/// May make a node.
pub(crate) const MKNOD: u8 = 1;
/// May open for reading.
pub(crate) const READ: u8 = 2;
/// May open for writing.
pub(crate) const WRITE: u8 = 4;

const ALL: u8 = MKNOD | READ | WRITE;

/// A set of devices; `None` is every number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Devices {
    /// Block devices, or character devices.
    pub(crate) block: bool,
    pub(crate) major: Option<u32>,
    pub(crate) minor: Option<u32>,
}

/// What is allowed, reduced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Access {
    /// Whether a device without an exception may be used.
    pub(crate) allow: bool,
    /// The exceptions with their access bits.
    pub(crate) exceptions: BTreeMap<Devices, u8>,
}

impl Default for Access {
    fn default() -> Self {
        Self { allow: true, exceptions: BTreeMap::new() }
    }
}

impl Access {
    /// Reduces rules in order.
    pub(crate) fn of(rules: &[DeviceRule]) -> Result<Self, Error> {
        let mut access = Self::default();
        for rule in rules {
            access.apply(rule)?;
        }
        Ok(access)
    }

    fn apply(&mut self, rule: &DeviceRule) -> Result<(), Error> {
        let bits = access_bits(&rule.access)?;
        let (major, minor) = (number(rule.major, "major")?, number(rule.minor, "minor")?);
        let kinds: &[bool] = match rule.kind.as_str() {
            "" | "a" => &[false, true],
            "c" | "u" => &[false],
            "b" => &[true],
            other => return Err(invalid(format!("unknown type {other:?}: use a, b or c"))),
        };
        if kinds.len() == 2 && bits == ALL && major.is_none() && minor.is_none() {
            *self = Self { allow: rule.allow, exceptions: BTreeMap::new() };
            return Ok(());
        }
        for block in kinds {
            let devices = Devices { block: *block, major, minor };
            if rule.allow == self.allow {
                if let Some(old) = self.exceptions.get_mut(&devices) {
                    *old &= !bits;
                }
            } else {
                *self.exceptions.entry(devices).or_default() |= bits;
            }
        }
        self.exceptions.retain(|_, bits| *bits != 0);
        Ok(())
    }

    /// The writes that bring a fresh v1 cgroup here: file and value, in order.
    pub(crate) fn v1_writes(&self) -> Vec<(&'static str, String)> {
        let (all, other) =
            if self.allow { ("devices.allow", "devices.deny") } else { ("devices.deny", "devices.allow") };
        let mut writes = vec![(all, "a".to_owned())];
        writes.extend(self.exceptions.iter().map(|(devices, bits)| (other, line(devices, *bits))));
        writes
    }

    /// The writes that bring a v1 cgroup from `old` here without a moment in which what both allow is denied.
    pub(crate) fn v1_changes(&self, old: &Self) -> Vec<(&'static str, String)> {
        if self.allow != old.allow {
            return self.v1_writes();
        }
        let (add, take) =
            if self.allow { ("devices.deny", "devices.allow") } else { ("devices.allow", "devices.deny") };
        let missing = |from: &Self, devices: &Devices, bits: u8| {
            bits & !from.exceptions.get(devices).copied().unwrap_or_default()
        };
        let mut writes = Vec::new();
        for (devices, bits) in &self.exceptions {
            let new = missing(old, devices, *bits);
            if new != 0 {
                writes.push((add, line(devices, new)));
            }
        }
        for (devices, bits) in &old.exceptions {
            let gone = missing(self, devices, *bits);
            if gone != 0 {
                writes.push((take, line(devices, gone)));
            }
        }
        writes
    }

    /// Reads `devices.list` of a v1 cgroup; none if it is not understood.
    pub(crate) fn parse_v1(text: &str) -> Option<Self> {
        if text.trim() == "a *:* rwm" {
            return Some(Self::default());
        }
        let mut access = Self { allow: false, exceptions: BTreeMap::new() };
        for line in text.lines() {
            let mut words = line.split([' ', ':']);
            let (kind, major, minor, bits) = (words.next()?, words.next()?, words.next()?, words.next()?);
            let number = |text: &str| match text {
                "*" => Some(None),
                number => number.parse().ok().map(Some),
            };
            let devices = Devices { block: kind == "b", major: number(major)?, minor: number(minor)? };
            *access.exceptions.entry(devices).or_default() |= access_bits(bits).ok()?;
        }
        Some(access)
    }

    /// Whether an access is allowed; what the kernel decides from these rules.
    #[cfg(test)]
    pub(crate) fn allows(&self, block: bool, major: u32, minor: u32, wanted: u8) -> bool {
        let met = self.exceptions.iter().any(|(devices, bits)| {
            let here = devices.block == block
                && devices.major.is_none_or(|m| m == major)
                && devices.minor.is_none_or(|m| m == minor);
            here && if self.allow { wanted & bits != 0 } else { wanted & !bits == 0 }
        });
        met != self.allow
    }
}

fn line(devices: &Devices, bits: u8) -> String {
    let number = |n: Option<u32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
    let kind = if devices.block { 'b' } else { 'c' };
    let mut text = format!("{kind} {}:{} ", number(devices.major), number(devices.minor));
    for (bit, letter) in [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')] {
        if bits & bit != 0 {
            text.push(letter);
        }
    }
    text
}

/// Access letters to bits; nothing is all.
fn access_bits(text: &str) -> Result<u8, Error> {
    if text.is_empty() {
        return Ok(ALL);
    }
    text.chars().try_fold(0, |bits, letter| match letter {
        'r' => Ok(bits | READ),
        'w' => Ok(bits | WRITE),
        'm' => Ok(bits | MKNOD),
        other => Err(invalid(format!("unknown access {other:?}: use r, w and m"))),
    })
}

fn number(value: Option<i64>, which: &str) -> Result<Option<u32>, Error> {
    match value {
        None | Some(-1) => Ok(None),
        Some(n) => {
            u32::try_from(n).map(Some).map_err(|_| invalid(format!("{which} number {n} is out of range")))
        }
    }
}

fn invalid(reason: String) -> Error {
    Error::Value { limit: "device rule", reason }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn rule(
        allow: bool,
        kind: &str,
        major: Option<i64>,
        minor: Option<i64>,
        access: &str,
    ) -> DeviceRule {
        DeviceRule { allow, kind: kind.into(), major, minor, access: access.into() }
    }

    pub(crate) fn docker() -> Vec<DeviceRule> {
        vec![
            rule(false, "", None, None, "rwm"),
            rule(true, "c", None, None, "m"),
            rule(true, "b", None, None, "m"),
            rule(true, "c", Some(1), Some(3), "rwm"),
            rule(true, "c", Some(1), Some(5), "rw"),
            rule(true, "c", Some(1), Some(5), "m"),
            rule(true, "c", Some(136), None, "rwm"),
            rule(false, "c", Some(10), Some(229), "rwm"),
        ]
    }

    #[test]
    fn dockers_rules_reduce_to_an_allow_list() {
        let access = Access::of(&docker()).unwrap();
        assert!(access.allows(false, 1, 3, READ | WRITE));
        assert!(access.allows(false, 1, 5, READ | WRITE | MKNOD));
        assert!(access.allows(true, 8, 0, MKNOD));
        assert!(!access.allows(true, 8, 0, READ));
        assert!(!access.allows(false, 10, 229, READ));
        let writes = access.v1_writes();
        assert_eq!(writes.first().unwrap(), &("devices.deny", "a".to_owned()));
        assert!(writes.contains(&("devices.allow", "c 136:* rwm".to_owned())));
        assert_eq!(writes.len(), 6);
    }

    #[test]
    fn privileged_is_one_rule_and_exceptions_of_it_deny() {
        let access =
            Access::of(&[rule(true, "a", None, None, "rwm"), rule(false, "c", Some(1), Some(8), "w")])
                .unwrap();
        assert!(access.allows(true, 8, 0, READ | WRITE));
        assert!(access.allows(false, 1, 8, READ));
        assert!(!access.allows(false, 1, 8, READ | WRITE));
        assert_eq!(access.v1_writes().last().unwrap(), &("devices.deny", "c 1:8 w".to_owned()));
    }

    #[test]
    fn an_update_touches_only_what_changed() {
        let old = Access::of(&docker()).unwrap();
        let mut rules = docker();
        rules.push(rule(true, "b", Some(8), Some(0), "rwm"));
        rules.push(rule(false, "c", Some(136), None, "rwm"));
        let changes = Access::of(&rules).unwrap().v1_changes(&old);
        let expected =
            [("devices.allow", "b 8:0 rwm".to_owned()), ("devices.deny", "c 136:* rwm".to_owned())];
        assert_eq!(changes, expected);
    }

    #[test]
    fn the_kernels_list_reads_back() {
        let access = Access::of(&docker()).unwrap();
        let list: String = access.exceptions.iter().map(|(d, b)| line(d, *b) + "\n").collect();
        assert_eq!(Access::parse_v1(&list).unwrap(), access);
        assert_eq!(Access::parse_v1("a *:* rwm\n").unwrap(), Access::default());
        assert_eq!(Access::parse_v1("nonsense"), None);
    }

    #[test]
    fn wrong_rules_are_named() {
        assert!(Access::of(&[rule(true, "x", None, None, "r")]).is_err());
        assert!(Access::of(&[rule(true, "c", Some(-2), None, "r")]).is_err());
        assert!(Access::of(&[rule(true, "c", Some(1), Some(1 << 40), "r")]).is_err());
        assert!(Access::of(&[rule(true, "c", None, None, "rx")]).is_err());
    }
}
