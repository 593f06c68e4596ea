//! Capability sets of a process (capabilities(7)).

use crate::Error;
use proa_oci::runtime::Capabilities;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
};

/// Names by number, without `CAP_` (include/uapi/linux/capability.h).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The number of a capability by its name, `CAP_CHOWN` or `chown`.
fn number(name: &str) -> Option<usize> {
    let upper = name.to_ascii_uppercase();
    let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES.iter().position(|known| *known == name)
}

/// The names of all capabilities this program knows, as `CAP_CHOWN`.
pub(crate) fn names() -> impl Iterator<Item = String> {
    NAMES.iter().map(|name| format!("CAP_{name}"))
}

/// Five sets as bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sets {
    pub(crate) bounding: u64,
    pub(crate) effective: u64,
    pub(crate) permitted: u64,
    pub(crate) inheritable: u64,
    pub(crate) ambient: u64,
}

impl Sets {
    /// The sets of a specification (none: all empty), and the names nobody knows.
    pub(crate) fn of(asked: Option<&Capabilities>) -> (Self, Vec<String>) {
        let Some(asked) = asked else { return (Self::default(), Vec::new()) };
        let mut unknown = Vec::new();
        let mut bits = |names: &[String]| bits(names, &mut unknown);
        let sets = Self {
            bounding: bits(&asked.bounding),
            effective: bits(&asked.effective),
            permitted: bits(&asked.permitted),
            inheritable: bits(&asked.inheritable),
            ambient: bits(&asked.ambient),
        };
        unknown.sort();
        unknown.dedup();
        (sets, unknown)
    }

    /// Leaves what is in `limit`; returns what was asked beyond it.
    fn limit(&mut self, limit: u64) -> u64 {
        let asked = self.bounding | self.effective | self.permitted | self.inheritable | self.ambient;
        for set in [
            &mut self.bounding,
            &mut self.effective,
            &mut self.permitted,
            &mut self.inheritable,
            &mut self.ambient,
        ] {
            *set &= limit;
        }
        // The kernel has it so: ambient within permitted and inheritable, effective within permitted.
        self.effective &= self.permitted;
        self.ambient &= self.permitted & self.inheritable;
        asked & !limit
    }
}

/// The bits of names; those nobody knows go to `unknown`.
pub(crate) fn bits(names: &[String], unknown: &mut Vec<String>) -> u64 {
    names.iter().fold(0, |bits, name| match number(name) {
        Some(number) => bits | 1 << number,
        None => {
            unknown.push(name.clone());
            bits
        }
    })
}

fn text(bits: u64) -> String {
    let names = (0..64).filter(|n| bits >> n & 1 == 1).map(|n| match NAMES.get(n) {
        Some(name) => format!("CAP_{name}"),
        None => format!("capability {n}"),
    });
    names.collect::<Vec<_>>().join(", ")
}

/// The caller's bounding set.
pub(crate) fn bounding() -> u64 {
    let mut bits = 0;
    for bit in (0..64).map(|n| 1u64 << n) {
        match capability_is_in_bounding_set(CapabilitySet::from_bits_retain(bit)) {
            Ok(true) => bits |= bit,
            Ok(false) => {}
            // The first number the kernel does not know.
            Err(_) => break,
        }
    }
    bits
}

/// Takes everything out of the caller's bounding set but `keep`.
pub(crate) fn drop_bounding(keep: u64) -> Result<(), Error> {
    let drop = bounding() & !keep;
    for bit in (0..64).map(|n| 1u64 << n).filter(|bit| drop & bit != 0) {
        remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(bit))
            .map_err(|error| Error::step(format!("drop {} from the bounding set", text(bit)), error))?;
    }
    Ok(())
}

/// The sets a process gets, after what the host itself lacks is taken out; and warnings about that.
pub(crate) fn plan(asked: Option<&Capabilities>) -> (Sets, Vec<String>) {
    let (mut sets, unknown) = Sets::of(asked);
    let own = capabilities(None).map_or(u64::MAX, |own| own.permitted.bits());
    let missing = sets.limit(bounding() & own);
    let mut warnings = Vec::new();
    if missing != 0 {
        warnings.push(format!("the host cannot give {}: started without", text(missing)));
    }
    if !unknown.is_empty() {
        warnings.push(format!("unknown capabilities are left out: {}", unknown.join(", ")));
    }
    (sets, warnings)
}

/// Makes everything permitted effective, after a change of user cleared it.
pub(crate) fn raise() -> Result<(), Error> {
    let failed = |error| Error::step("raise capabilities", error);
    let own = capabilities(None).map_err(failed)?;
    set_capabilities(None, CapabilitySets { effective: own.permitted, ..own }).map_err(failed)
}

/// Gives the caller its final sets.
pub(crate) fn apply(sets: Sets) -> Result<(), Error> {
    let failed = |error| Error::step("set capabilities", error);
    let set = CapabilitySet::from_bits_retain;
    let _ = clear_ambient_capability_set();
    let sets3 = CapabilitySets {
        effective: set(sets.effective),
        permitted: set(sets.permitted),
        inheritable: set(sets.inheritable),
    };
    set_capabilities(None, sets3).map_err(failed)?;
    for bit in (0..64).map(|n| 1u64 << n).filter(|bit| sets.ambient & bit != 0) {
        configure_capability_in_ambient_set(set(bit), true).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_fourteen_have_dockers_number() {
        let names = [
            "CAP_CHOWN",
            "CAP_DAC_OVERRIDE",
            "CAP_FSETID",
            "CAP_FOWNER",
            "CAP_MKNOD",
            "CAP_NET_RAW",
            "CAP_SETGID",
            "CAP_SETUID",
            "CAP_SETFCAP",
            "CAP_SETPCAP",
            "CAP_NET_BIND_SERVICE",
            "CAP_SYS_CHROOT",
            "CAP_KILL",
            "CAP_AUDIT_WRITE",
        ];
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        assert_eq!(bits(&names, &mut Vec::new()), 0xa804_25fb);
    }

    #[test]
    fn what_the_host_lacks_is_left_out_and_named() {
        let mut sets =
            Sets { bounding: 0b111, effective: 0b101, permitted: 0b101, inheritable: 1, ambient: 0b100 };
        assert_eq!(sets.limit(0b011), 0b100);
        assert_eq!(sets, Sets { bounding: 0b011, effective: 1, permitted: 1, inheritable: 1, ambient: 0 });
        let (_, unknown) =
            Sets::of(Some(&Capabilities { bounding: vec!["CAP_FLY".into()], ..Default::default() }));
        assert_eq!(unknown, ["CAP_FLY"]);
    }
}
