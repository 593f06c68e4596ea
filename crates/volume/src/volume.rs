//! A volume as it is asked for, as it is, and as it is stored.

use proa_types::{Labels, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What a volume shall be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumeSpec {
    /// Its name; none makes an anonymous volume with a name of 64 hexadecimal digits.
    pub name: Option<String>,
    /// Whether the name is such a one too, chosen by the caller.
    pub anonymous: bool,
    /// The driver; nothing is `local`.
    pub driver: String,
    /// The driver's options. `local` knows `type`, `o` and `device` (as mount(8)).
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

/// A volume in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VolumeRecord {
    pub(crate) driver: String,
    #[serde(default)]
    pub(crate) options: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) labels: Labels,
    pub(crate) created: Timestamp,
    #[serde(default)]
    pub(crate) anonymous: bool,
    /// Its removal has begun, or its making has not ended: it is no volume, and what there is of it goes at the
    /// next opportunity.
    #[serde(default)]
    pub(crate) removing: bool,
    /// It is being renamed: its data may still be below this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) moved_from: Option<String>,
}

impl VolumeRecord {
    pub(crate) fn volume(self, name: String, mountpoint: PathBuf) -> Volume {
        Volume {
            name,
            driver: self.driver,
            mountpoint,
            options: self.options,
            labels: self.labels,
            created: self.created,
            anonymous: self.anonymous,
        }
    }
}
