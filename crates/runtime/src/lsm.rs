//! The security label a program is executed under: AppArmor, SELinux.

use crate::Error;
use proa_oci::runtime::Process;
use rustix::fs::{Mode, OFlags, openat};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::os::fd::BorrowedFd;
use std::path::Path;

/// What is written before execve(2).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Labels {
    apparmor: Option<String>,
    selinux: Option<String>,
}

impl Labels {
    /// Those of a process, as far as this kernel has the module. Looks at the host: call it outside of the container.
    /// With `degrade` a label of a module the kernel lacks is a warning, else an error.
    pub(crate) fn plan(process: &Process, degrade: bool) -> Result<(Self, Vec<String>), Error> {
        let mut labels = Self::default();
        let mut warnings = Vec::new();
        let mut take = |value: &str, module: &str, active: bool| -> Result<Option<String>, Error> {
            match (value.is_empty(), active) {
                (true, _) => Ok(None),
                (false, true) => Ok(Some(value.to_owned())),
                (false, false) if degrade || value == "unconfined" => {
                    if value != "unconfined" {
                        warnings.push(format!("this kernel has no {module}: {value:?} is not applied"));
                    }
                    Ok(None)
                }
                (false, false) => Err(Error::Unsupported {
                    feature: format!("{module} label {value:?}"),
                    reason: "the kernel runs without it; leave the label out".into(),
                }),
            }
        };
        labels.apparmor = take(&process.apparmor_profile, "AppArmor", has_apparmor())?;
        labels.selinux =
            take(&process.selinux_label, "SELinux", Path::new("/sys/fs/selinux/enforce").exists())?;
        Ok((labels, warnings))
    }

    /// Sets them for the next execve(2), below a procfs nothing is mounted over.
    pub(crate) fn apply(&self, proc: BorrowedFd<'_>) -> Result<(), Error> {
        if let Some(profile) = &self.apparmor {
            let text = format!("exec {profile}");
            // The first file is there since Linux 5.1; the second may be another module's.
            write(proc, "self/attr/apparmor/exec", &text)
                .or_else(|_| write(proc, "self/attr/exec", &text))
                .map_err(|error| refused(profile, error))?;
        }
        if let Some(label) = &self.selinux {
            write(proc, "self/attr/exec", label)
                .map_err(|error| Error::step(format!("set SELinux label {label:?}"), error))?;
        }
        Ok(())
    }
}

/// The kernel answers ENOENT for a profile it does not have (`change_onexec` in security/apparmor/domain.c).
fn refused(profile: &str, error: std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::NotFound {
        let advice = "load it with apparmor_parser -r FILE, or use unconfined";
        return Error::spec("AppArmor profile", format!("{profile:?} is not loaded: {advice}"));
    }
    Error::step(format!("set AppArmor profile {profile:?}"), error)
}

/// Whether AppArmor is active.
pub fn has_apparmor() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"))
}

fn write(proc: BorrowedFd<'_>, path: &str, text: &str) -> std::io::Result<()> {
    let fd = openat(proc, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    std::fs::File::from(fd).write_all(text.as_bytes())
}
