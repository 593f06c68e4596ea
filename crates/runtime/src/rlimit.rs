//! Resource limits of a process (setrlimit(2)).

use crate::Error;
use proa_oci::runtime::Rlimit;
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit, setrlimit};

fn resource(kind: &str) -> Option<Resource> {
    Some(match kind.strip_prefix("RLIMIT_")? {
        "AS" => Resource::As,
        "CORE" => Resource::Core,
        "CPU" => Resource::Cpu,
        "DATA" => Resource::Data,
        "FSIZE" => Resource::Fsize,
        "LOCKS" => Resource::Locks,
        "MEMLOCK" => Resource::Memlock,
        "MSGQUEUE" => Resource::Msgqueue,
        "NICE" => Resource::Nice,
        "NOFILE" => Resource::Nofile,
        "NPROC" => Resource::Nproc,
        "RSS" => Resource::Rss,
        "RTPRIO" => Resource::Rtprio,
        "RTTIME" => Resource::Rttime,
        "SIGPENDING" => Resource::Sigpending,
        "STACK" => Resource::Stack,
        _ => return None,
    })
}

/// Checks that every limit is known, once, and its soft value within the hard one.
pub(crate) fn check(limits: &[Rlimit]) -> Result<(), Error> {
    for (i, limit) in limits.iter().enumerate() {
        let bad = |reason: String| Err(Error::spec(format!("process.rlimits[{i}]"), reason));
        if resource(&limit.kind).is_none() {
            return bad(format!("there is no limit {:?}", limit.kind));
        }
        if limits.iter().take(i).any(|earlier| earlier.kind == limit.kind) {
            return bad(format!("{} is there twice", limit.kind));
        }
        if limit.soft > limit.hard {
            return bad(format!("the soft limit {} is above the hard one {}", limit.soft, limit.hard));
        }
    }
    Ok(())
}

/// Sets the caller's limits. With `degrade` one that the host does not allow is set as high as it does, with a warning.
pub(crate) fn apply(limits: &[Rlimit], degrade: bool) -> Result<Vec<String>, Error> {
    let mut warnings = Vec::new();
    for limit in limits {
        let Some(resource) = resource(&limit.kind) else { continue };
        let value = |n: u64| (n != u64::MAX).then_some(n);
        let asked = rustix::process::Rlimit { current: value(limit.soft), maximum: value(limit.hard) };
        match setrlimit(resource, asked) {
            Err(Errno::PERM) if degrade => {
                let own = getrlimit(resource).maximum.unwrap_or(u64::MAX);
                let capped = rustix::process::Rlimit {
                    current: value(limit.soft.min(own)),
                    maximum: value(limit.hard.min(own)),
                };
                setrlimit(resource, capped).map_err(|error| failed(limit, error))?;
                warnings
                    .push(format!("{} is {own}, not {}: the host allows no more", limit.kind, limit.hard));
            }
            other => other.map_err(|error| failed(limit, error))?,
        }
    }
    Ok(warnings)
}

fn failed(limit: &Rlimit, error: Errno) -> Error {
    let hint = if error == Errno::PERM { " (raising it needs CAP_SYS_RESOURCE)" } else { "" };
    Error::step(format!("set {} to {}:{}{hint}", limit.kind, limit.soft, limit.hard), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_refused() {
        let limit = |kind: &str, soft, hard| Rlimit { kind: kind.into(), soft, hard };
        check(&[limit("RLIMIT_NOFILE", 5, 5), limit("RLIMIT_CORE", 0, u64::MAX)]).unwrap();
        for bad in [
            vec![limit("RLIMIT_X", 1, 1)],
            vec![limit("NOFILE", 1, 1)],
            vec![limit("RLIMIT_CORE", 2, 1)],
            vec![limit("RLIMIT_CORE", 1, 1), limit("RLIMIT_CORE", 1, 1)],
        ] {
            assert!(check(&bad).is_err(), "{bad:?}");
        }
    }
}
