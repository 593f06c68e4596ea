//! Options of the `local` driver: `type`, `o` and `device`, as mount(8) takes them. Pure.

use crate::Error;
use crate::driver::Options;
use rustix::mount::{MountFlags, MountPropagationFlags};

/// A mount to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) kind: String,
    pub(crate) device: String,
    pub(crate) flags: MountFlags,
    pub(crate) bind: bool,
    pub(crate) propagation: Option<MountPropagationFlags>,
    pub(crate) data: String,
}

/// Checks names and completeness of options, with docker's texts.
pub(crate) fn check(options: &Options) -> Result<(), Error> {
    const KNOWN: [&str; 4] = ["type", "o", "device", "size"];
    let refuse = |text: String| Err(Error::Option(text));
    if let Some(unknown) = options.keys().find(|key| !KNOWN.contains(&key.as_str())) {
        return refuse(format!("invalid option: {unknown:?}"));
    }
    for (option, needed) in [("device", "type"), ("type", "device"), ("o", "device"), ("o", "type")] {
        if options.contains_key(option) && !options.contains_key(needed) {
            return refuse(format!("missing required option: {needed:?}"));
        }
    }
    if options.contains_key("size") {
        return refuse(
            "quota size requested but no quota support: use a tmpfs volume (type=tmpfs, o=size=…) or a device of \
             that size"
                .into(),
        );
    }
    if options.values().any(|value| value.contains('\0')) {
        return refuse("an option contains a NUL".into());
    }
    if let Some(plan) = plan(options)
        && let Some(address) = plan.data.split(',').find_map(|item| item.strip_prefix("addr="))
        && address.parse::<std::net::IpAddr>().is_err()
    {
        return refuse(format!(
            "addr={address}: the kernel needs the server's IP address here, not its name"
        ));
    }
    Ok(())
}

/// The mount these options describe, if they do.
pub(crate) fn plan(options: &Options) -> Option<Plan> {
    let (kind, device) = (options.get("type")?, options.get("device")?);
    let mut plan = Plan {
        kind: kind.clone(),
        device: device.clone(),
        flags: MountFlags::empty(),
        bind: false,
        propagation: None,
        data: String::new(),
    };
    for item in options.get("o").map(String::as_str).unwrap_or_default().split(',') {
        plan.add(item.trim());
    }
    Some(plan)
}

impl Plan {
    /// One item of `o`: a flag of mount(2), or data for the file system.
    fn add(&mut self, item: &str) {
        let (set, flag) = match item {
            "" | "defaults" | "rw" | "async" => (true, MountFlags::empty()),
            "ro" => (true, MountFlags::RDONLY),
            "nosuid" => (true, MountFlags::NOSUID),
            "suid" => (false, MountFlags::NOSUID),
            "nodev" => (true, MountFlags::NODEV),
            "dev" => (false, MountFlags::NODEV),
            "noexec" => (true, MountFlags::NOEXEC),
            "exec" => (false, MountFlags::NOEXEC),
            "sync" => (true, MountFlags::SYNCHRONOUS),
            "dirsync" => (true, MountFlags::DIRSYNC),
            "noatime" => (true, MountFlags::NOATIME),
            "atime" => (false, MountFlags::NOATIME),
            "nodiratime" => (true, MountFlags::NODIRATIME),
            "diratime" => (false, MountFlags::NODIRATIME),
            "relatime" => (true, MountFlags::RELATIME),
            "strictatime" => (true, MountFlags::STRICTATIME),
            "bind" => {
                self.bind = true;
                return;
            }
            "rbind" => {
                self.bind = true;
                (true, MountFlags::REC)
            }
            other => {
                match propagation(other) {
                    Some(propagation) => self.propagation = Some(propagation),
                    None if self.data.is_empty() => self.data = other.to_owned(),
                    None => self.data = format!("{},{other}", self.data),
                }
                return;
            }
        };
        self.flags.set(flag, set);
    }
}

fn propagation(item: &str) -> Option<MountPropagationFlags> {
    let (recursive, base) = match item.strip_prefix('r') {
        Some(base @ ("private" | "shared" | "slave" | "unbindable")) => (MountPropagationFlags::REC, base),
        _ => (MountPropagationFlags::empty(), item),
    };
    let kind = match base {
        "private" => MountPropagationFlags::PRIVATE,
        "shared" => MountPropagationFlags::SHARED,
        "slave" => MountPropagationFlags::DOWNSTREAM,
        "unbindable" => MountPropagationFlags::UNBINDABLE,
        _ => return None,
    };
    Some(kind | recursive)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Options {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn o_is_split_into_flags_and_data() {
        let plan = plan(&options(&[
            ("type", "tmpfs"),
            ("device", "tmpfs"),
            ("o", "size=100m,uid=1000,ro,nosuid,noexec,exec"),
        ]))
        .unwrap();
        assert_eq!(plan.flags, MountFlags::RDONLY | MountFlags::NOSUID);
        assert_eq!(plan.data, "size=100m,uid=1000");
        assert!(!plan.bind);
        let bind =
            super::plan(&options(&[("type", "none"), ("device", "/srv"), ("o", "rbind,rslave")])).unwrap();
        assert!(bind.bind && bind.data.is_empty());
        assert_eq!(bind.propagation, Some(MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC));
        assert_eq!(super::plan(&Options::new()), None);
    }

    #[test]
    fn wrong_options_get_dockers_words() {
        for (pairs, text) in [
            (&[("foo", "x")][..], "invalid option: \"foo\""),
            (&[("type", "nfs")], "missing required option: \"device\""),
            (&[("device", "/x")], "missing required option: \"type\""),
            (&[("o", "bind"), ("device", "/x")], "missing required option: \"type\""),
            (&[("size", "10m")], "quota size requested but no quota support"),
            (&[("type", "nfs"), ("device", ":/x"), ("o", "addr=server,rw")], "IP address"),
        ] {
            let error = check(&options(pairs)).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
        check(&options(&[("type", "nfs"), ("device", ":/x"), ("o", "addr=10.0.0.1,rw")])).unwrap();
        check(&Options::new()).unwrap();
    }
}
