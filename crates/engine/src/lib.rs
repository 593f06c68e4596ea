//! The engine: containers from creation to removal, their processes, images and volumes. It knows no HTTP.
//!
//! Every operation on one container runs alone; operations on different containers run side by side. An intent is
//! recorded before its effect: the store holds what is wanted, a file of each container below the exec root what is so
//! now, and the container's monitor what is so in the kernel. [`Engine::restore`] makes the three agree.

mod attach;
mod config;
mod container;
mod create;
mod ended;
mod engine;
mod error;
mod events;
mod exec;
mod execs;
mod exit;
mod failpoint;
mod health;
mod identity;
mod images;
mod index;
mod info;
mod journal;
mod launch;
mod leaving;
mod lifecycle;
mod list;
mod logs;
mod mounts;
mod network_files;
mod pieces;
mod plan;
mod pool;
mod prune;
mod publish;
mod pull;
mod record;
mod removal;
mod restore;
mod root;
pub mod spec;
pub mod state;
mod stats;
mod system;
mod top;
mod trees;
mod update;
mod usage;
mod volumes;
mod wait;

pub use attach::{AttachOptions, AttachStream, Replay};
pub use config::{EngineConfig, Runtime};
pub use create::Created;
pub use ended::Ended;
pub use engine::{Engine, Parts};
pub use error::Error;
pub use events::{Event, EventKind, EventStream, Period};
pub use exec::{ExecSpec, ExecView};
pub use failpoint::NAMES as FAILPOINTS;
pub use health::{Health, HealthCheck, HealthStatus, Probed};
pub use images::{Credentials, ImageView, Progress, ProgressDetail};
pub use info::Info;
pub use list::{ContainerView, ListOptions};
pub use logs::{LogOptions, LogStream};
pub use pieces::Pieces;
pub use plan::{masked_paths, readonly_paths};
pub use prune::Pruned;
pub use pull::PullRequest;
pub use record::{ContainerRecord, MountPoint};
pub use removal::RemoveOptions;
pub use stats::{BlockUsage, LinkUsage, Reading, Sample, Samples, Usage};
pub use system::NetworkView;
pub use top::Processes;
pub use update::Update;
pub use usage::{DiskUsage, UsageOf, VolumeUsage};
pub use volumes::VolumeView;
pub use wait::{Wait, WaitCondition, Waited};
