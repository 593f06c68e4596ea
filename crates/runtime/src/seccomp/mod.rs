//! Filters of system calls: docker's default profile, profiles from files, and their compilation to the
//! kernel's filter language (seccomp(2), Documentation/userspace-api/seccomp_filter.rst).

mod error;
mod program;

pub use error::Error;
pub use program::Program;

use proa_oci::runtime::Seccomp;
use std::sync::Arc;

/// What a profile's conditional rules are decided by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Conditions {
    /// Capabilities the container has, as `CAP_CHOWN`.
    pub capabilities: Vec<String>,
    /// The kernel's version, major and minor.
    pub kernel: (u32, u32),
    /// The machine's architecture.
    pub arch: Arch,
    /// Whether 32-bit x86 programs may make sockets through `socketcall`, whose address family no filter can
    /// see. Only images for `linux/386` need it.
    pub socketcall: bool,
}

impl Conditions {
    /// Those of this host.
    pub fn host(capabilities: &[String]) -> Self {
        Self { capabilities: capabilities.to_vec(), kernel: (0, 0), arch: Arch::host(), socketcall: false }
    }
}

/// An architecture whose system calls are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 32-bit x86.
    X86,
    /// 32-bit pointers on 64-bit x86.
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
}

/// Docker's default profile under these conditions.
///
/// # Errors
/// None that a correct build can meet.
pub fn default_profile(conditions: &Conditions) -> Result<Seccomp, Error> {
    let _ = conditions;
    Err(Error::Unfinished)
}

/// Reads a profile from a file's content, in docker's form or in the runtime specification's.
///
/// # Errors
/// [`Error::Json`], or what names the action, operator or architecture that is not known.
pub fn parse_profile(text: &[u8], conditions: &Conditions) -> Result<Seccomp, Error> {
    let _ = (text, conditions);
    Err(Error::Unfinished)
}

/// Compiles a filter for the architectures it names, or for this host's where it names none.
///
/// # Errors
/// What in the profile cannot be compiled.
pub fn compile(profile: &Seccomp) -> Result<Program, Error> {
    let _ = profile;
    Err(Error::Unfinished)
}

/// The default profile's program for these conditions; the last few are kept.
///
/// # Errors
/// None that a correct build can meet.
pub fn default_program(conditions: &Conditions) -> Result<Arc<Program>, Error> {
    default_profile(conditions).and_then(|profile| compile(&profile)).map(Arc::new)
}
