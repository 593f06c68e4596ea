//! A volume as it is asked for, and as it is.

use proa_types::{Labels, Timestamp};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What a volume shall be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumeSpec {
    /// Its name; none makes an anonymous volume with a name of 64 hexadecimal digits.
    pub name: Option<String>,
    /// The driver; nothing is `local`.
    pub driver: String,
    /// The driver's options. `local` knows `type`, `o`, `device` (as mount(8)) and `size` for tmpfs.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: Labels,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// Where its data is on the host.
    pub mountpoint: PathBuf,
    /// The driver's options.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: Labels,
    /// When it was made.
    pub created: Timestamp,
    /// Whether nobody gave it a name.
    pub anonymous: bool,
}
