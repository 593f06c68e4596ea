//! Filters of system calls: docker's default profile, profiles from files, and their compilation to the
//! kernel's filter language (seccomp(2), Documentation/userspace-api/seccomp_filter.rst).
//!
//! What always holds:
//! - The first rule of a profile whose conditions hold decides; calls no rule names get the default action. Names
//!   an architecture lacks are passed over.
//! - A call by an architecture the profile does not name kills the process. x32 comes by the entry of 64-bit x86:
//!   it is recognised by its bit and judged by its own table, or killed where the profile does not name x32.
//! - Arguments the kernel takes as 32 bits are compared as 32 bits, so that nothing hides in the upper half.
//! - The same profile gives the same program, byte for byte.
//!
//! # 32-bit sockets
//!
//! The default profile refuses sockets of `AF_ALG` and `AF_VSOCK`. 32-bit x86 has a second way to make a socket:
//! `socketcall(SYS_SOCKET, args)`, where the family is in memory and no filter can see it. The published profile
//! allows it, so a 32-bit program in a 64-bit image reaches what the 64-bit rule forbids ("copy.fail", 2026).
//! Here `socketcall` may do everything but make a socket, unless [`Conditions::socketcall`] asks for it. The cost:
//! C libraries of 32-bit distributions built for kernels before 4.3 make every socket by `socketcall`, so 32-bit
//! programs of theirs have no network in a 64-bit image; images for `linux/386` need the condition set (there,
//! AppArmor's `deny network alg` is what is left). 32-bit Arm has no such call.

mod arch;
mod cache;
mod compile;
mod emit;
mod error;
mod profile;
mod program;
mod rules;
#[cfg(test)]
mod tests;

pub use arch::Arch;
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
    /// Those of this host, `socketcall` closed. The order of the capabilities does not matter.
    pub fn host(capabilities: &[String]) -> Self {
        let mut capabilities = capabilities.to_vec();
        capabilities.sort_unstable();
        capabilities.dedup();
        let release = rustix::system::uname();
        let kernel = release.release().to_str().ok().and_then(version).unwrap_or((0, 0));
        Self { capabilities, kernel, arch: Arch::host(), socketcall: false }
    }
}

/// Docker's default profile under these conditions.
///
/// # Errors
/// None that a correct build can meet.
pub fn default_profile(conditions: &Conditions) -> Result<Seccomp, Error> {
    profile::default(conditions)
}

/// Reads a profile from a file's content, in docker's form or in the runtime specification's. Every word is
/// checked, and the conditional rules are decided.
///
/// # Errors
/// [`Error::Json`], [`Error::TooLarge`], or what names the action, operator or architecture that is not known.
pub fn parse_profile(text: &[u8], conditions: &Conditions) -> Result<Seccomp, Error> {
    profile::parse(text, conditions)
}

/// Compiles a filter for the architectures it names, or for this host's where it names none.
///
/// # Errors
/// What in the profile cannot be compiled.
pub fn compile(profile: &Seccomp) -> Result<Program, Error> {
    compile::compile(&rules::Rules::of(profile)?)
}

/// The default profile's program for these conditions; the last few are kept.
///
/// # Errors
/// None that a correct build can meet.
pub fn default_program(conditions: &Conditions) -> Result<Arc<Program>, Error> {
    static PROGRAMS: cache::Cache = cache::Cache::new();
    PROGRAMS.program(conditions, || compile(&default_profile(conditions)?))
}

/// `MAJOR.MINOR` at the beginning of a version.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match (numbers.next()?, numbers.next()?) {
        (Ok(major), Ok(minor)) => Some((major, minor)),
        _ => None,
    }
}
