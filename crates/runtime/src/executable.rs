//! Finding a program, with the texts of Go's `os/exec`, which clients of docker match with.

use crate::Error;
use rustix::fs::{Access, AtFlags, CWD, FileType, accessat, stat};
use rustix::io::Errno;
use std::path::{Path, PathBuf};

/// Where programs are looked for when the environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The file to execute for a name: as it is if it has a slash, else the first executable one in `PATH`.
pub(crate) fn find(name: &str, env: &[String]) -> Result<PathBuf, Error> {
    if name.is_empty() {
        return Err(refused(name, "executable file not found in $PATH".into(), 127));
    }
    if name.contains('/') {
        return match executable(Path::new(name)) {
            Ok(()) => Ok(PathBuf::from(name)),
            Err(error) => Err(because(name, error, &format!("stat {name}: "))),
        };
    }
    let path = env.iter().rev().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    path.split(':')
        .map(|directory| Path::new(if directory.is_empty() { "." } else { directory }).join(name))
        .find(|candidate| executable(candidate).is_ok())
        .ok_or_else(|| refused(name, "executable file not found in $PATH".into(), 127))
}

fn executable(path: &Path) -> Result<(), Errno> {
    if FileType::from_raw_mode(stat(path)?.st_mode) == FileType::Directory {
        return Err(Errno::ISDIR);
    }
    accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
}

/// Why execve(2) refused a program that was found.
pub(crate) fn because(name: &str, error: Errno, missing: &str) -> Error {
    let (cause, exit) = match error {
        Errno::NOENT => (format!("{missing}no such file or directory"), 127),
        Errno::NOTDIR => (format!("{missing}not a directory"), 127),
        Errno::ACCESS | Errno::PERM => ("permission denied".into(), 126),
        // Both words: older clients look for the second.
        Errno::ISDIR => ("is a directory: permission denied".into(), 126),
        Errno::NOEXEC => ("exec format error".into(), 126),
        Errno::LOOP => ("too many levels of symbolic links".into(), 126),
        Errno::TOOBIG => ("argument list too long".into(), 126),
        Errno::TXTBSY => ("text file busy".into(), 126),
        other => (std::io::Error::from(other).to_string(), 126),
    };
    refused(name, cause, exit)
}

fn refused(name: &str, cause: String, exit: u8) -> Error {
    Error::Program { program: name.to_owned(), cause, exit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_clients_match_with() {
        let message = |name: &str| find(name, &["PATH=/bin:/usr/bin".into()]).unwrap_err().to_string();
        assert_eq!(message("nope"), r#"exec: "nope": executable file not found in $PATH"#);
        assert_eq!(message("/nope"), r#"exec: "/nope": stat /nope: no such file or directory"#);
        assert_eq!(message("/etc"), r#"exec: "/etc": is a directory: permission denied"#);
        assert_eq!(message("/etc/passwd"), r#"exec: "/etc/passwd": permission denied"#);
        assert_eq!(find("/etc", &[]).unwrap_err().exit_code(), 126);
        assert_eq!(find("", &[]).unwrap_err().exit_code(), 127);
    }

    #[test]
    fn the_last_path_of_the_environment_counts() {
        let found = find("sh", &["PATH=/nowhere".into(), "PATH=/nowhere:/bin".into()]).unwrap();
        assert_eq!(found, Path::new("/bin/sh"));
        assert!(find("sh", &["PATH=/nowhere".into()]).is_err());
        find("sh", &[]).unwrap();
    }
}
