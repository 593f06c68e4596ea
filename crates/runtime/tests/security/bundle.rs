//! Bundles with docker's defaults, and the runtime run on them.

use proa_oci::runtime::{
    Capabilities, Device, DeviceRule, Linux, Mount, Namespace, Process, Resources, Root, Spec,
};
use proa_runtime::seccomp::{Conditions, default_profile};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Docker's fourteen: 0xa80425fb.
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

/// Paths docker hides.
pub(crate) const MASKED: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/devices/system/cpu/cpu0/thermal_throttle",
];

/// Paths docker makes read-only.
pub(crate) const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// A bundle, and the container made of it. Dropping it removes both.
pub(crate) struct Bundle {
    pub(crate) dir: PathBuf,
    pub(crate) id: String,
    pub(crate) spec: Spec,
    /// The runtime's binary: this program, or a copy of it.
    pub(crate) runtime: PathBuf,
}

impl Bundle {
    /// A bundle whose program is the probe with these words.
    pub(crate) fn new(words: &[&str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("proa-t-{}-{n}", std::process::id());
        let dir = std::env::temp_dir().join(format!("proa-security-{id}"));
        let _ = std::fs::remove_dir_all(&dir);
        for part in ["rootfs/etc", "rootfs/tmp", "canary"] {
            std::fs::create_dir_all(dir.join(part)).unwrap();
        }
        let runtime = std::env::current_exe().unwrap();
        let spec = spec(&id, &runtime, words);
        Self { dir, id, spec, runtime }
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    /// A directory of the host that no container may change or see.
    pub(crate) fn canary(&self) -> PathBuf {
        self.dir.join("canary")
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        self.spec.process.as_mut().unwrap()
    }

    /// Adds a bind of a host's path.
    pub(crate) fn bind(&mut self, source: &Path, destination: &str, options: &[&str]) {
        let options = ["bind"].iter().chain(options).map(|o| (*o).to_owned()).collect();
        self.spec.mounts.push(Mount {
            destination: destination.into(),
            kind: "bind".into(),
            source: source.into(),
            options,
            ..Mount::default()
        });
    }

    /// Runs the container to its end.
    pub(crate) fn run(&self) -> Output {
        self.write();
        self.call(&["run", "-b", self.dir.to_str().unwrap(), &self.id])
    }

    /// Runs it and returns what the probe printed; a failure is an error in words.
    pub(crate) fn output(&self) -> Result<String, String> {
        text(self.run())
    }

    /// Starts the container, to go on in the background.
    pub(crate) fn start(&self) -> Result<(), String> {
        self.write();
        text(self.call(&["run", "-d", "-b", self.dir.to_str().unwrap(), &self.id])).map(drop)
    }

    /// Executes the probe in the running container; `flags` go before its id.
    pub(crate) fn exec(&self, flags: &[&str], words: &[&str]) -> Output {
        let mut args = vec!["exec"];
        args.extend(flags);
        args.extend([self.id.as_str(), "/probe", "--probe"]);
        args.extend(words);
        self.call(&args)
    }

    fn write(&self) {
        let text = serde_json::to_string_pretty(&self.spec).unwrap();
        std::fs::write(self.dir.join("config.json"), text).unwrap();
    }

    /// Runs a command of the runtime, for a minute at most. What it prints goes through files: a container in the
    /// background may keep the other end of a pipe open.
    pub(crate) fn call(&self, args: &[&str]) -> Output {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let file = |name: &str| self.dir.join(format!("{name}-{n}"));
        let mut command = Command::new(&self.runtime);
        command.arg("--runtime").arg("--root").arg(self.dir.join("state")).args(args).stdin(Stdio::null());
        command.stdout(std::fs::File::create(file("out")).unwrap());
        command.stderr(std::fs::File::create(file("err")).unwrap());
        let mut child = command.spawn().unwrap();
        let end = Instant::now() + Duration::from_secs(60);
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > end => {
                    let _ = child.kill();
                    break child.wait().unwrap();
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        let read = |name| std::fs::read(file(name)).unwrap();
        Output { status, stdout: read("out"), stderr: read("err") }
    }

    /// Whether the canary is as it was made: empty.
    pub(crate) fn unharmed(&self) -> Result<(), String> {
        let found: Vec<_> =
            std::fs::read_dir(self.canary()).unwrap().flatten().map(|entry| entry.path()).collect();
        crate::check(found.is_empty(), || format!("something was made on the host: {found:?}"))
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        if self.dir.join("state").exists() {
            let _ = self.call(&["delete", "-f", &self.id]);
        }
        let _ = std::fs::remove_dir_all(&self.dir);
        let Ok(path) = proa_runtime::cgroup::CgroupPath::new(&format!("/{}", self.id)) else { return };
        if let Ok(cgroup) = proa_runtime::cgroup::Cgroup::open(&path) {
            let _ = cgroup.kill();
            let _ = cgroup.remove();
        }
    }
}

/// What was printed, or the failure in words.
pub(crate) fn text(output: Output) -> Result<String, String> {
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{}: {error}{}", output.status, String::from_utf8_lossy(&output.stdout)))
}

fn spec(id: &str, probe: &Path, words: &[&str]) -> Spec {
    let caps: Vec<String> = CAPABILITIES.iter().map(|cap| (*cap).to_owned()).collect();
    let capabilities = Capabilities {
        bounding: caps.clone(),
        effective: caps.clone(),
        permitted: caps.clone(),
        ..Capabilities::default()
    };
    let process = Process {
        args: ["/probe", "--probe"].iter().chain(words).map(|word| (*word).to_owned()).collect(),
        env: vec!["PATH=/".into()],
        cwd: "/".into(),
        capabilities: Some(capabilities),
        ..Process::default()
    };
    let kinds = ["pid", "network", "ipc", "uts", "mount", "cgroup"];
    let linux = Linux {
        namespaces: kinds.iter().map(|kind| Namespace { kind: (*kind).into(), path: None }).collect(),
        cgroups_path: format!("/{id}/box"),
        resources: Some(Resources { devices: device_rules(), ..Resources::default() }),
        seccomp: Some(default_profile(&Conditions::host(&caps)).unwrap()),
        masked_paths: MASKED.iter().map(Into::into).collect(),
        readonly_paths: READ_ONLY.iter().map(Into::into).collect(),
        ..Linux::default()
    };
    let mut mounts = mounts();
    mounts.push(Mount {
        destination: "/probe".into(),
        kind: "bind".into(),
        source: probe.into(),
        options: vec!["bind".into(), "ro".into()],
        ..Mount::default()
    });
    Spec {
        oci_version: "1.2.0".into(),
        process: Some(process),
        root: Some(Root { path: "rootfs".into(), readonly: false }),
        hostname: "box".into(),
        mounts,
        linux,
        ..Spec::default()
    }
}

fn mounts() -> Vec<Mount> {
    [
        ("/proc", "proc", "nosuid,noexec,nodev"),
        ("/dev", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
        ("/dev/pts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"),
        ("/sys", "sysfs", "nosuid,noexec,nodev,ro"),
        ("/sys/fs/cgroup", "cgroup", "ro,nosuid,noexec,nodev"),
        ("/dev/mqueue", "mqueue", "nosuid,noexec,nodev"),
        ("/dev/shm", "tmpfs", "nosuid,noexec,nodev,mode=1777,size=65536k"),
    ]
    .into_iter()
    .map(|(destination, kind, options)| Mount {
        destination: destination.into(),
        kind: kind.into(),
        source: kind.into(),
        options: options.split(',').map(str::to_owned).collect(),
        ..Mount::default()
    })
    .collect()
}

/// Docker's rules: nothing, then the harmless character devices; making nodes, but not opening them.
fn device_rules() -> Vec<DeviceRule> {
    let rule = |allow, kind: &str, major, minor, access: &str| DeviceRule {
        allow,
        kind: kind.into(),
        major,
        minor,
        access: access.into(),
    };
    let mut rules = vec![rule(false, "a", None, None, "rwm")];
    rules.push(rule(true, "c", None, None, "m"));
    rules.push(rule(true, "b", None, None, "m"));
    for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)] {
        rules.push(rule(true, "c", Some(major), Some(minor), "rwm"));
    }
    rules.push(rule(true, "c", Some(136), None, "rwm"));
    rules
}

/// A device to be made in the container, without a rule for it.
pub(crate) fn device(path: &str, kind: &str, major: i64, minor: i64) -> Device {
    Device { path: path.into(), kind: kind.into(), major, minor, file_mode: Some(0o666), ..Device::default() }
}
