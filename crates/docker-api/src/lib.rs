//! Wire types of the Docker Engine API, written by hand.
//!
//! What this crate is: the JSON documents, stream frames, filters and the registry header of
//! the published Engine API (1.24 to 1.54), with Go's field names. What it is not: domain
//! types; conversions live at the edge (`api`, `cli`). What always holds: `null` is read as the
//! zero value wherever Go would read it so, absent fields are zero values, and what `dockerd`
//! prints as `null` is an `Option`.

mod archive;
mod auth;
mod container;
mod exec;
mod filters;
mod fold;
mod frame;
mod host_config;
mod image;
mod message;
mod network;
mod plugin;
mod stats;
mod system;
mod usage;
mod volume;
mod wire;

pub use archive::{ContainerPathStat, FilesystemChange};
pub use auth::{AuthConfig, AuthResponse, HeaderError, decode_auth, encode_auth};
pub use container::{
    BuildPruned, ContainerConfig, ContainerCreateRequest, ContainerInspect, ContainerState, ContainerSummary,
    ContainersPruned, CreateResponse, GraphDriver, HealthConfig, HealthResult, HealthState, MountPoint,
    NetworkSettings, PortSummary, SummaryHealth, SummaryHostConfig, SummaryNetworks, TopResponse,
    UpdateResponse, WaitError, WaitResponse,
};
pub use exec::{ExecCreate, ExecInspect, ExecProcess, ExecStart, IdResponse};
pub use filters::{FilterError, Filters};
pub use fold::from_slice;
pub use frame::{Frame, FrameDecoder, FrameError, HEADER_LEN, Stream, header};
pub use host_config::{
    BindOptions, DeviceMapping, DeviceRequest, DriverConfig, HostConfig, LogConfig, Mount, PortBinding,
    PortMap, RestartPolicy, ThrottleDevice, TmpfsOptions, Ulimit, VolumeOptions, WeightDevice,
};
pub use image::{
    HistoryItem, ImageConfig, ImageDeleteItem, ImageInspect, ImageMetadata, ImageSummary, ImagesPruned,
    RootFs,
};
pub use message::{ErrorDetail, ErrorResponse, JsonMessage, ProgressDetail};
pub use network::{
    EndpointIpamConfig, EndpointSettings, Ipam, IpamConfig, Network, NetworkContainer, NetworkCreateResponse,
    NetworkingConfig, NetworksPruned,
};
pub use plugin::{AuthorizationRequest, AuthorizationResponse, PluginManifest};
pub use stats::{
    BlkioEntry, BlkioStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats, Stats, StorageStats,
    ThrottlingData,
};
pub use system::{
    Commit, ComponentVersion, DiscoveredDevice, EventActor, EventMessage, Info, Platform, Plugins,
    RegistryConfig, RegistryIndex, RuntimeInfo, Swarm, Version,
};
pub use usage::{BuildCacheUsage, ContainersUsage, DiskUsage, ImagesUsage, VolumesUsage};
pub use volume::{Volume, VolumeCreate, VolumeList, VolumeUsage, VolumesPruned};

/// The newest API version spoken here.
pub const API_VERSION: &str = "1.54";
/// The oldest API version spoken here.
pub const MIN_API_VERSION: &str = "1.24";
