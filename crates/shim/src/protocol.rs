//! What engine and shim say to each other. Every message carries a version; fields are only ever added.

use proa_logs::LogConfig;
use proa_oci::runtime::{Process, Resources, Spec};
use proa_runtime::{Rootfs, SandboxSpec};
use proa_types::{ContainerId, ErrorKind, ExecId, PortProtocol, Timestamp};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use proa_runtime::TerminalSize;

/// Version of this protocol.
pub(crate) const VERSION: u32 = 1;

/// Which runtime makes the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuntimeChoice {
    /// The library in the shim.
    Builtin,
    /// A program with the OCI command line.
    Foreign {
        /// The program.
        path: PathBuf,
        /// Arguments before the command.
        args: Vec<String>,
    },
}

/// A published port: what reaches the listening socket is forwarded to the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// Transport.
    pub protocol: PortProtocol,
    /// The container's side.
    pub target: SocketAddr,
}

/// Everything a parked sandbox needs to become a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StartRequest {
    /// The container.
    pub container: ContainerId,
    /// Its configuration; `root.path` is not used.
    pub spec: Spec,
    /// Its root filesystem.
    pub rootfs: Rootfs,
    /// A compiled filter (`proa_runtime::seccomp::Program::to_bytes`); wins over the configuration's.
    pub filter: Option<Vec<u8>>,
    /// Whether standard input stays open.
    pub open_stdin: bool,
    /// Whether it closes when the first attached client has gone.
    pub stdin_once: bool,
    /// Where output is kept.
    pub log: LogConfig,
    /// Whether process 1 is a reaper.
    pub init: bool,
    /// Which runtime.
    pub runtime: RuntimeChoice,
    /// Published ports; their sockets come beside, in this order.
    pub forwards: Vec<Forward>,
    /// Streams attached from the beginning; their sockets come behind those of the ports.
    pub attached: Vec<AttachRequest>,
    /// Whether the root, mounted already as `rootfs` says and attached nowhere, comes last.
    #[serde(default)]
    pub mounted: bool,
    /// Whether the root belongs to users as the container has them (`StartContainer::idmapped`).
    #[serde(default)]
    pub idmapped: bool,
    /// Bundle directory of the container.
    pub dir: PathBuf,
}

/// A process to run beside the first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExecRequest {
    /// Its name.
    pub id: ExecId,
    /// What it is.
    pub process: Process,
    /// A compiled filter.
    pub filter: Option<Vec<u8>>,
    /// Whether standard input stays open.
    pub open_stdin: bool,
    /// Streams attached from the beginning, so that nothing is lost; the socket comes beside.
    pub attach: Option<AttachRequest>,
    /// After which it is killed, with everything in its session.
    #[serde(default)]
    pub limit: Option<Duration>,
}

/// Streams of a process to be connected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachRequest {
    /// Which process; none is the first.
    pub exec: Option<ExecId>,
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// Whether the log comes before: the stream then begins with what the log does not have yet of a line, and the
    /// answer tells until when the log is to be read.
    #[serde(default)]
    pub behind_log: bool,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// Exit code; 128 and the signal's number if a signal ended it.
    pub code: i32,
    /// When.
    pub at: Timestamp,
    /// Whether the kernel killed something in it for want of memory.
    pub oom_killed: bool,
}

/// What the shim tells without being asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A process ended; none is the first.
    Exited {
        /// Which.
        exec: Option<ExecId>,
        /// How.
        exit: ExitRecord,
    },
    /// The kernel killed something for want of memory.
    Oom,
}

/// What the shim knows of its container; also kept in `facts.json` of its directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The container, once started.
    pub container: Option<ContainerId>,
    /// First process, on the host.
    pub pid: i32,
    /// Its start time in clock ticks after boot, which tells it from a later process of the same number.
    pub start_time: u64,
    /// When it was started.
    pub started_at: Timestamp,
    /// How it ended.
    pub exit: Option<ExitRecord>,
    /// Cgroup path.
    pub cgroup: String,
    /// Whether it is paused.
    #[serde(default)]
    pub paused: bool,
    /// Whether one process more is in its cgroup than are the container's, and is allowed for in its limit. Told when
    /// asked for; not kept.
    #[serde(default)]
    pub one_more: bool,
}

/// A request.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    Prepare { spec: Box<SandboxSpec>, cgroup: String },
    Start(Box<StartRequest>),
    Exec(Box<ExecRequest>),
    Attach(AttachRequest),
    Signal { exec: Option<ExecId>, signal: i32 },
    KillAll,
    Resize { exec: Option<ExecId>, size: TerminalSize },
    Pause,
    Resume,
    Update(Box<Resources>),
    Pids,
    Facts,
    Events,
    Release,
}

/// The answer to a request.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Response {
    Done,
    Prepared { pid: i32 },
    Started { pid: i32, start_time: u64, at: Timestamp, warnings: Vec<String> },
    Running { pid: i32 },
    Attached { at: Timestamp },
    Pids(Vec<i32>),
    Facts(Facts),
    Warnings(Vec<String>),
    Failed { message: String, kind: Kind, exit_code: Option<i32> },
}

/// [`ErrorKind`] on the wire.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Kind {
    NotFound,
    InvalidArgument,
    Conflict,
    Forbidden,
    NotImplemented,
    Exhausted,
    Internal,
}

impl From<ErrorKind> for Kind {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::InvalidArgument => Self::InvalidArgument,
            ErrorKind::Conflict | ErrorKind::NotModified => Self::Conflict,
            ErrorKind::Forbidden | ErrorKind::Unauthorized => Self::Forbidden,
            ErrorKind::NotImplemented => Self::NotImplemented,
            ErrorKind::Exhausted => Self::Exhausted,
            ErrorKind::Unavailable | ErrorKind::Cancelled | ErrorKind::Internal => Self::Internal,
        }
    }
}

impl From<Kind> for ErrorKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::NotFound => Self::NotFound,
            Kind::InvalidArgument => Self::InvalidArgument,
            Kind::Conflict => Self::Conflict,
            Kind::Forbidden => Self::Forbidden,
            Kind::NotImplemented => Self::NotImplemented,
            Kind::Exhausted => Self::Exhausted,
            Kind::Internal => Self::Internal,
        }
    }
}
