//! What is stored of a container, and the tables.

use crate::health::Health;
use crate::spec::ContainerSpec;
use crate::state::State;
use proa_network::{Endpoint, PublishedPort};
use proa_oci::Digest;
use proa_state::Table;
use proa_types::{ContainerId, ContainerName, IdMap, Timestamp};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Containers by id.
pub(crate) const CONTAINERS: Table<ContainerRecord> = Table::new("containers");
/// Facts about the engine itself.
pub(crate) const ENGINE: Table<String> = Table::new("engine");

/// A container as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: ContainerName,
    /// When it was made.
    pub created: Timestamp,
    /// The image it runs.
    pub image: Digest,
    /// What it was asked to be.
    pub spec: ContainerSpec,
    /// What its program is, image and request taken together.
    pub command: Vec<String>,
    /// Mounts, settled at creation.
    pub mounts: Vec<MountPoint>,
    /// Where it stands.
    pub state: State,
    /// Whether it was made to remove itself (`--rm`): it is in the journal and never in the store, and a power cut
    /// takes it.
    #[serde(default)]
    pub ephemeral: bool,
    /// Its users, if they are not the host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub userns: Option<UserNamespace>,
    /// How often its policy has started it again.
    pub restart_count: u32,
    /// Whether a user stopped it: `unless-stopped` then leaves it down.
    pub stopped_by_user: bool,
    /// Its health since it was started last, if that is checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Whether it is being stopped because it was unhealthy, to be started again.
    #[serde(default)]
    pub healing: bool,
    /// Whether it is paused by a step of ours, not by a user: it goes on after a crash.
    #[serde(default)]
    pub stands_still: bool,
    /// Whether its limits have been changed here, but perhaps not yet in the kernel.
    #[serde(default)]
    pub limits_due: bool,
    /// Its place on the network, while it runs.
    pub endpoint: Option<Endpoint>,
    /// What is published of it, while it runs.
    pub published: Vec<PublishedPort>,
}

impl ContainerRecord {
    /// The path that docker calls `Path`: the program.
    pub fn program(&self) -> &str {
        self.command.first().map_or("", String::as_str)
    }
}

/// The users and groups of a container that has a user namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserNamespace {
    /// Which ids of the host they are.
    pub map: IdMap,
    /// Whether no other container has them (`--userns auto`).
    pub own: bool,
}

/// A mount of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPoint {
    /// `bind`, `volume` or `tmpfs`.
    pub kind: String,
    /// Name of a volume.
    pub name: String,
    /// Path on the host.
    pub source: PathBuf,
    /// Path in the container.
    pub destination: PathBuf,
    /// Driver of a volume.
    pub driver: String,
    /// Options as they were given.
    pub mode: String,
    /// Whether it may be written.
    pub writable: bool,
    /// Propagation of a bind.
    pub propagation: String,
    /// Path in the volume, if not the whole of it is mounted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subpath: String,
    /// Whether mounts below the source are left out.
    #[serde(default)]
    pub non_recursive: bool,
    /// Whether an empty volume is filled with what the image has there.
    #[serde(default)]
    pub copy: bool,
    /// Whether the volume was made for this container and goes with it.
    #[serde(default)]
    pub anonymous: bool,
    /// Options of a memory filesystem.
    #[serde(default)]
    pub options: Vec<String>,
}
