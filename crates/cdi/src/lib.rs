//! Devices by the Container Device Interface (CDI, versions 0.3 to 1.1): programs of device vendors write what a
//! container needs to use a device into files, and a container names the device as `vendor/class=name`.
//!
//! Directories are read when they are asked about, so a device is there as soon as its file is. The files are read as if
//! strangers had written them: regular files of bounded size, and anything this crate does not know is an error that
//! names it. What a file says is only ever done for a container that names one of its devices; no label and no
//! annotation does (CVE-2026-53492).
//!
//! Knows no container: it is given an OCI document and changes it.

mod apply;
mod document;
mod error;
#[cfg(test)]
mod fuzz;
mod gpu;
mod registry;
#[cfg(test)]
mod tests;
mod yaml;

pub use apply::apply;
pub use document::is_qualified;
pub use error::Error;
pub use gpu::{GpuRequest, gpus};
pub use registry::Registry;

/// Where files are looked for if nothing else is said; the later directory wins.
pub const DEFAULT_DIRS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];
