//! The part of a specification that a sandbox is made from before its image, program and limits are known.

use crate::Error;
use proa_oci::runtime::{DeviceRule, IdMapping, Mount, Namespace, Spec, TimeOffset};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What stage 1 builds. Two containers whose `SandboxSpec` is equal can take each other's sandbox.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// Namespaces made or joined.
    pub(crate) namespaces: Vec<Namespace>,
    /// User mapping.
    pub(crate) uid_mappings: Vec<IdMapping>,
    /// Group mapping.
    pub(crate) gid_mappings: Vec<IdMapping>,
    /// Clock offsets of the time namespace.
    pub(crate) time_offsets: BTreeMap<String, TimeOffset>,
    /// Kernel filesystems.
    pub(crate) mounts: Vec<Mount>,
    /// Paths hidden in them.
    pub(crate) masked: Vec<PathBuf>,
    /// Paths made read-only in them.
    pub(crate) readonly: Vec<PathBuf>,
    /// Device rules of the cgroup.
    pub(crate) devices: Vec<DeviceRule>,
}

impl SandboxSpec {
    /// The sandbox a container with this specification needs. Pure.
    ///
    /// # Errors
    /// [`Error::Spec`] for namespaces or mappings that contradict each other.
    pub fn of(spec: &Spec) -> Result<Self, Error> {
        Ok(Self {
            namespaces: spec.linux.namespaces.clone(),
            uid_mappings: spec.linux.uid_mappings.clone(),
            gid_mappings: spec.linux.gid_mappings.clone(),
            time_offsets: spec.linux.time_offsets.clone(),
            ..Self::default()
        })
    }
}
