//! A root filesystem, a specification as docker writes it, and containers that are gone when the test is.

use proa_oci::runtime::{Capabilities, DeviceRule, Mount, Namespace, Process, Resources, Root, Spec};
use proa_runtime::cgroup::CgroupPath;
use proa_runtime::{
    Container, Error, Exec, ExecOptions, Rootfs, Sandbox, SandboxSpec, StartContainer, Stdio,
};
use rustix::process::{WaitId, WaitIdOptions, waitid};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A directory of one test; removed at its end.
pub(crate) struct World {
    pub(crate) dir: PathBuf,
    count: std::cell::Cell<u32>,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
        let _ = std::fs::remove_dir(Path::new("/sys/fs/cgroup").join(self.group()));
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let _ = std::fs::remove_dir(hierarchy.path().join(self.group()));
        }
    }
}

impl World {
    pub(crate) fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("proa-runtime-{}-{name}", std::process::id()));
        let bin = dir.join("rootfs/bin");
        std::fs::create_dir_all(&bin).unwrap();
        for directory in ["etc", "tmp", "root", "proc", "dev", "sys"] {
            std::fs::create_dir_all(dir.join("rootfs").join(directory)).unwrap();
        }
        std::fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
        for name in
            ["sh", "cat", "id", "sleep", "true", "ls", "grep", "readlink", "ps", "kill", "touch", "tty"]
        {
            std::os::unix::fs::symlink("busybox", bin.join(name)).unwrap();
        }
        std::fs::write(
            dir.join("rootfs/etc/passwd"),
            "root:x:0:0::/root:/bin/sh\nu:x:1000:1000::/home/u:/bin/sh\n",
        )
        .unwrap();
        Self { dir, count: 0.into() }
    }

    fn group(&self) -> String {
        format!("proa-t-{}", std::process::id())
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    /// A new cgroup path.
    pub(crate) fn cgroup(&self) -> CgroupPath {
        self.count.set(self.count.get() + 1);
        CgroupPath::new(&format!("/{}/{}", self.group(), self.count.get())).unwrap()
    }

    pub(crate) fn prepare(&self, spec: &Spec) -> Sandbox {
        Sandbox::prepare(&SandboxSpec::of(spec).unwrap(), &self.cgroup()).unwrap()
    }

    /// Starts a container that writes to a pipe.
    pub(crate) fn start(&self, spec: &Spec) -> Result<Running, Error> {
        let sandbox = Sandbox::prepare(&SandboxSpec::of(spec)?, &self.cgroup())?;
        self.start_in(sandbox, spec, |_| {})
    }

    pub(crate) fn start_in(
        &self,
        sandbox: Sandbox,
        spec: &Spec,
        change: impl FnOnce(&mut StartContainer<'_>),
    ) -> Result<Running, Error> {
        let (stdio, output) = pipes();
        let rootfs = Rootfs::Directory(self.root());
        let mut request = StartContainer::new("test", &self.dir, spec, rootfs, stdio);
        change(&mut request);
        Ok(Running { container: Some(sandbox.start(request)?), output })
    }

    /// Runs a script to its end: its output, and its exit status.
    pub(crate) fn run(&self, spec: &Spec) -> (String, i32) {
        self.start(spec).unwrap().finish()
    }
}

/// Standard streams: nothing in, both out into a pipe.
pub(crate) fn pipes() -> (Stdio, File) {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let stdin: OwnedFd = File::open("/dev/null").unwrap().into();
    let stderr = writer.try_clone().unwrap();
    (Stdio::Fds { stdin, stdout: writer, stderr }, File::from(reader))
}

/// A container and what it writes; killed and removed at the end.
pub(crate) struct Running {
    pub(crate) container: Option<Container>,
    output: File,
}

impl Running {
    pub(crate) fn container(&self) -> &Container {
        self.container.as_ref().unwrap()
    }

    /// Reads what it writes until that ends with `end`.
    pub(crate) fn read_until(&mut self, end: &str) -> String {
        let mut bytes = Vec::new();
        let mut next = [0];
        while !bytes.ends_with(end.as_bytes()) && self.output.read(&mut next).unwrap() > 0 {
            bytes.push(next[0]);
        }
        String::from_utf8(bytes).unwrap()
    }

    pub(crate) fn finish(mut self) -> (String, i32) {
        let mut text = String::new();
        self.output.read_to_string(&mut text).unwrap();
        (text, wait(self.container().pidfd()))
    }

    pub(crate) fn exec(&self, process: &Process) -> Result<(String, i32), Error> {
        let (stdio, mut output) = pipes();
        let options = ExecOptions { filter: None, stdio, preserved: Vec::new(), degrade: false };
        let exec: Exec = self.container().exec(process, options)?;
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        Ok((text, wait(exec.pidfd.as_fd())))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(container) = self.container.take() {
            let _ = container.kill_all();
            let pidfd = container.pidfd().try_clone_to_owned().unwrap();
            let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
            container.release().unwrap();
        }
    }
}

/// Waits for a child: its exit status, 128 and the signal if one ended it.
pub(crate) fn wait(pidfd: BorrowedFd<'_>) -> i32 {
    let status = waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED).unwrap().unwrap();
    status.exit_status().unwrap_or_else(|| 128 + status.terminating_signal().unwrap_or(0))
}

pub(crate) fn mount(destination: &str, kind: &str, source: &Path, options: &str) -> Mount {
    Mount {
        destination: destination.into(),
        kind: kind.into(),
        source: source.to_owned(),
        options: options.split(',').filter(|option| !option.is_empty()).map(Into::into).collect(),
        ..Mount::default()
    }
}

/// Docker's fourteen.
pub(crate) const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// A specification as docker's defaults make it, running a shell script.
pub(crate) fn spec(script: &str) -> Spec {
    let caps: Vec<String> = CAPABILITIES.iter().map(|cap| (*cap).to_owned()).collect();
    let process = Process {
        args: vec!["sh".into(), "-c".into(), script.into()],
        env: vec!["PATH=/bin".into()],
        cwd: "/".into(),
        capabilities: Some(Capabilities {
            bounding: caps.clone(),
            effective: caps.clone(),
            permitted: caps.clone(),
            ..Capabilities::default()
        }),
        ..Process::default()
    };
    let none = Path::new("x");
    let mut spec = Spec {
        oci_version: "1.2.0".into(),
        process: Some(process),
        root: Some(Root { path: "rootfs".into(), readonly: false }),
        hostname: "box".into(),
        mounts: vec![
            mount("/proc", "proc", none, "nosuid,noexec,nodev"),
            mount("/dev", "tmpfs", none, "nosuid,strictatime,mode=755,size=65536k"),
            mount("/dev/pts", "devpts", none, "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"),
            mount("/sys", "sysfs", none, "nosuid,noexec,nodev,ro"),
            mount("/sys/fs/cgroup", "cgroup", none, "ro,nosuid,noexec,nodev"),
            mount("/dev/mqueue", "mqueue", none, "nosuid,noexec,nodev"),
            mount("/dev/shm", "tmpfs", none, "nosuid,noexec,nodev,mode=1777,size=65536k"),
        ],
        ..Spec::default()
    };
    let kinds = ["mount", "network", "uts", "pid", "ipc", "cgroup"];
    spec.linux.namespaces = kinds.iter().map(|kind| Namespace { kind: (*kind).into(), path: None }).collect();
    let masked =
        ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi", "/sys/firmware"];
    spec.linux.masked_paths = masked.iter().map(Into::into).collect();
    let readonly = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
    spec.linux.readonly_paths = readonly.iter().map(Into::into).collect();
    let deny = DeviceRule { allow: false, access: "rwm".into(), ..DeviceRule::default() };
    spec.linux.resources = Some(Resources { devices: vec![deny], ..Resources::default() });
    let conditions = proa_runtime::seccomp::Conditions::host(&caps);
    spec.linux.seccomp = proa_runtime::seccomp::default_profile(&conditions).ok();
    spec
}

/// The process of a specification with another script.
pub(crate) fn process(spec: &Spec, script: &str) -> Process {
    let mut process = spec.process.clone().unwrap();
    process.args = vec!["sh".into(), "-c".into(), script.into()];
    process
}
