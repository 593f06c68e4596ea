//! Architectures, and the numbers of their system calls.

use super::Error;
use std::collections::HashMap;
use std::sync::OnceLock;

/// One line a name: numbers for each architecture.
const TABLE: &str = include_str!("syscalls.txt");

/// An architecture whose system calls are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 32-bit x86.
    X86,
    /// 32-bit pointers on 64-bit x86. Its calls come by the entry of 64-bit x86, with a bit set.
    X32,
    /// 64-bit Arm.
    Aarch64,
    /// 32-bit Arm.
    Arm,
}

impl Arch {
    /// The one this program runs on.
    pub const fn host() -> Self {
        if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 }
    }

    /// `SCMP_ARCH_…`; none for an architecture whose calls can't be made on a machine we run on.
    pub(crate) fn parse(name: &str) -> Result<Option<Self>, Error> {
        const FOREIGN: [&str; 14] = [
            "MIPS",
            "MIPS64",
            "MIPS64N32",
            "MIPSEL",
            "MIPSEL64",
            "MIPSEL64N32",
            "PPC",
            "PPC64",
            "PPC64LE",
            "S390",
            "S390X",
            "PARISC",
            "PARISC64",
            "RISCV64",
        ];
        let bare = name.strip_prefix("SCMP_ARCH_").unwrap_or_default();
        match bare {
            "NATIVE" => Ok(Some(Self::host())),
            "X86_64" => Ok(Some(Self::X86_64)),
            "X86" => Ok(Some(Self::X86)),
            "X32" => Ok(Some(Self::X32)),
            "AARCH64" => Ok(Some(Self::Aarch64)),
            "ARM" => Ok(Some(Self::Arm)),
            "LOONGARCH64" | "M68K" | "SH" | "SHEB" => Ok(None),
            foreign if FOREIGN.contains(&foreign) => Ok(None),
            _ => Err(Error::Unknown {
                what: "architecture",
                word: super::rules::excerpt(name),
                known: "use SCMP_ARCH_X86_64, SCMP_ARCH_X86, SCMP_ARCH_X32, SCMP_ARCH_AARCH64, SCMP_ARCH_ARM",
            }),
        }
    }

    /// The name in a profile's `archMap`.
    pub(crate) const fn scmp_name(self) -> &'static str {
        match self {
            Self::X86_64 => "SCMP_ARCH_X86_64",
            Self::X86 => "SCMP_ARCH_X86",
            Self::X32 => "SCMP_ARCH_X32",
            Self::Aarch64 => "SCMP_ARCH_AARCH64",
            Self::Arm => "SCMP_ARCH_ARM",
        }
    }

    /// The name in a rule's `includes.arches`.
    pub(crate) const fn docker_name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::X86 => "x86",
            Self::X32 => "x32",
            Self::Aarch64 => "arm64",
            Self::Arm => "arm",
        }
    }

    /// `AUDIT_ARCH_…` (linux/audit.h), what a filter sees.
    pub(crate) const fn audit(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// The number of a call, without the x32 bit; none if the architecture does not have it.
    pub(crate) fn number(self, name: &str) -> Option<u32> {
        static NUMBERS: OnceLock<HashMap<&'static str, [Option<u32>; 5]>> = OnceLock::new();
        let table = NUMBERS.get_or_init(|| TABLE.lines().filter_map(parse_line).collect());
        let row = table.get(name)?;
        let column = match self {
            Self::X86_64 => 0,
            Self::X86 => 1,
            Self::X32 => 2,
            Self::Aarch64 => 3,
            Self::Arm => 4,
        };
        row.get(column).copied().flatten()
    }
}

fn parse_line(line: &'static str) -> Option<(&'static str, [Option<u32>; 5])> {
    let mut words = line.split(' ');
    let name = words.next().filter(|name| !name.starts_with('#'))?;
    let mut row = [None; 5];
    for (cell, word) in row.iter_mut().zip(words) {
        *cell = word.parse().ok();
    }
    Some((name, row))
}

/// Arguments the kernel takes as 32 bits whatever the register holds, as bits by index.
///
/// A comparison of all 64 bits could be led astray by the upper half: `socket(1 << 32 | AF_ALG)` is greater than
/// 40 but makes an AF_ALG socket (the same happened to `ioctl` filters, CVE-2019-10063).
pub(crate) fn is_narrow(name: &str, index: u32) -> bool {
    let mask: u32 = match name {
        "socket" | "socketpair" | "setsockopt" | "getsockopt" | "seccomp" => 0b111,
        "ioctl" | "fcntl" | "fcntl64" | "setns" => 0b11,
        "personality" | "prctl" | "bpf" | "keyctl" | "socketcall" | "shutdown" => 0b1,
        "madvise" => 0b100,
        _ => 0,
    };
    mask & (1 << index.min(31)) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        assert_eq!(Arch::X86_64.number("read"), Some(0));
        assert_eq!(Arch::X86_64.number("clone3"), Some(435));
        assert_eq!(Arch::X86.number("socketcall"), Some(102));
        assert_eq!(Arch::X32.number("execve"), Some(520));
        assert_eq!(Arch::Aarch64.number("openat"), Some(56));
        assert_eq!(Arch::Arm.number("cacheflush"), Some(0xf0002));
        for arch in [Arch::X86_64, Arch::X86, Arch::X32, Arch::Aarch64, Arch::Arm] {
            assert_eq!(arch.number("file_setattr"), Some(469));
            assert_eq!(arch.number("no_such_call"), None);
        }
        assert_eq!(Arch::Aarch64.number("open"), None);
    }

    #[test]
    fn the_table_agrees_with_this_hosts_headers() {
        for (name, number) in [
            ("openat2", libc::SYS_openat2),
            ("keyctl", libc::SYS_keyctl),
            ("pidfd_getfd", libc::SYS_pidfd_getfd),
            ("unshare", libc::SYS_unshare),
            ("mseal", libc::SYS_mseal),
        ] {
            assert_eq!(Arch::host().number(name).map(i64::from), Some(number), "{name}");
        }
    }

    /// The compiler sends x32 calls below 512 through the table of 64-bit x86.
    #[test]
    fn x32_shares_the_numbers_below_512() {
        for (name, row) in TABLE.lines().filter_map(parse_line) {
            if let (x86_64, Some(x32)) = (row[0], row[2])
                && x32 < 512
            {
                assert_eq!(x86_64, Some(x32), "{name}");
            }
        }
    }
}
