//! Mount options, as fstab(5) writes them and config.md lists them, sorted by what they change. Pure.

use rustix::mount::MountAttrFlags;
use serde::{Deserialize, Serialize};

/// What a mount's options ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MountOptions {
    /// `MOUNT_ATTR_…` set on the mount.
    pub(crate) set: u64,
    /// `MOUNT_ATTR_…` cleared on the mount, before.
    pub(crate) clear: u64,
    /// `MOUNT_ATTR_…` set on the mount and all below it.
    pub(crate) set_all: u64,
    /// `MOUNT_ATTR_…` cleared on the mount and all below it, before.
    pub(crate) clear_all: u64,
    /// `MS_SHARED` and so on, and whether for all below it too; in order.
    pub(crate) propagation: Vec<(u64, bool)>,
    /// Whether it is a bind, and whether of the whole tree.
    pub(crate) bind: Option<bool>,
    /// Whether ids are mapped, and whether on all mounts below it.
    pub(crate) id_map: Option<bool>,
    /// Whether a tmpfs begins with what it covers.
    pub(crate) copy_up: bool,
    /// Options for the filesystem, `name` or `name=value`.
    pub(crate) data: Vec<String>,
}

const RDONLY: u64 = MountAttrFlags::MOUNT_ATTR_RDONLY.bits() as u64;
const NOSUID: u64 = MountAttrFlags::MOUNT_ATTR_NOSUID.bits() as u64;
const NODEV: u64 = MountAttrFlags::MOUNT_ATTR_NODEV.bits() as u64;
const NOEXEC: u64 = MountAttrFlags::MOUNT_ATTR_NOEXEC.bits() as u64;
const ATIME: u64 = MountAttrFlags::MOUNT_ATTR__ATIME.bits() as u64;
const NOATIME: u64 = MountAttrFlags::MOUNT_ATTR_NOATIME.bits() as u64;
const STRICTATIME: u64 = MountAttrFlags::MOUNT_ATTR_STRICTATIME.bits() as u64;
const NODIRATIME: u64 = MountAttrFlags::MOUNT_ATTR_NODIRATIME.bits() as u64;
const NOSYMFOLLOW: u64 = MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW.bits() as u64;

impl MountOptions {
    /// Sorts the options. What is not known is the filesystem's.
    pub(crate) fn parse(options: &[String]) -> Self {
        let mut parsed = Self::default();
        for option in options {
            parsed.add(option);
        }
        parsed
    }

    fn add(&mut self, option: &str) {
        // Recursive forms are `r` before the plain one, for those that have one (config.md, "rro" and so on).
        if let Some((set, clear)) = attribute(option) {
            (self.set, self.clear) = ((self.set & !clear) | set, (self.clear & !set) | clear);
            return;
        }
        if let Some((set, clear)) = option.strip_prefix('r').and_then(attribute) {
            (self.set_all, self.clear_all) = ((self.set_all & !clear) | set, (self.clear_all & !set) | clear);
            return;
        }
        match option {
            "bind" => self.bind = Some(self.bind.unwrap_or(false)),
            "rbind" => self.bind = Some(true),
            "idmap" => self.id_map = Some(false),
            "ridmap" => self.id_map = Some(true),
            "tmpcopyup" => self.copy_up = true,
            // What they would undo is not set, or has no meaning for a new mount.
            "defaults" | "async" | "remount" | "loud" | "nolazytime" | "noiversion" | "nomand" => {}
            _ => match propagation(option) {
                Some(change) => self.propagation.push(change),
                None => self.data.push(option.to_owned()),
            },
        }
    }

    /// Whether the mount itself is read-only.
    pub(crate) fn read_only(&self) -> bool {
        self.set & RDONLY != 0
    }

    /// Takes the read-only wish out, to be fulfilled when the filesystem has been filled.
    pub(crate) fn take_read_only(&mut self) -> bool {
        let asked = self.read_only();
        self.set &= !RDONLY;
        asked
    }

    /// The value of `name=` in the filesystem's options.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.data.iter().filter_map(|option| option.split_once('=')).find(|(n, _)| *n == name).map(|(_, v)| v)
    }
}

/// `MOUNT_ATTR_…` that an option sets and clears.
fn attribute(option: &str) -> Option<(u64, u64)> {
    Some(match option {
        "ro" => (RDONLY, 0),
        "rw" => (0, RDONLY),
        "nosuid" => (NOSUID, 0),
        "suid" => (0, NOSUID),
        "nodev" => (NODEV, 0),
        "dev" => (0, NODEV),
        "noexec" => (NOEXEC, 0),
        "exec" => (0, NOEXEC),
        "nosymfollow" => (NOSYMFOLLOW, 0),
        "symfollow" => (0, NOSYMFOLLOW),
        "nodiratime" => (NODIRATIME, 0),
        "diratime" => (0, NODIRATIME),
        "noatime" => (NOATIME, ATIME),
        "strictatime" => (STRICTATIME, ATIME),
        "relatime" | "atime" | "norelatime" | "nostrictatime" => (0, ATIME),
        _ => return None,
    })
}

/// The propagation an option asks for, and whether for the whole tree (mount_namespaces(7)).
fn propagation(option: &str) -> Option<(u64, bool)> {
    let plain = |name: &str| match name {
        "shared" => Some(libc::MS_SHARED),
        "slave" => Some(libc::MS_SLAVE),
        "private" => Some(libc::MS_PRIVATE),
        "unbindable" => Some(libc::MS_UNBINDABLE),
        _ => None,
    };
    plain(option)
        .map(|kind| (kind, false))
        .or_else(|| option.strip_prefix('r').and_then(plain).map(|kind| (kind, true)))
}

/// The propagation `linux.rootfsPropagation` asks for: kind, and whether for the whole tree.
pub(crate) fn root_propagation(text: &str) -> Option<(u64, bool)> {
    propagation(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> MountOptions {
        MountOptions::parse(&text.split(',').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_sorted_by_what_they_change() {
        let options = parse("rbind,ro,nosuid,rro,rprivate,size=64k,mode=755,tmpcopyup,rnodev");
        assert_eq!(options.set, RDONLY | NOSUID);
        assert_eq!(options.set_all, RDONLY | NODEV);
        assert_eq!(options.bind, Some(true));
        assert_eq!(options.propagation, [(libc::MS_PRIVATE, true)]);
        assert_eq!(options.data, ["size=64k", "mode=755"]);
        assert_eq!(options.value("mode"), Some("755"));
        assert!(options.copy_up);
    }

    #[test]
    fn later_options_win() {
        let options = parse("ro,rw,noatime,strictatime,bind,rbind");
        assert!(!options.read_only());
        assert_eq!(options.set, STRICTATIME);
        assert_eq!(options.bind, Some(true));
        assert!(parse("rw,ro").read_only());
        assert_eq!(parse("relatime").clear, ATIME);
    }
}
