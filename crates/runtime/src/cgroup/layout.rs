//! Which cgroup hierarchies the host has, and where. Read once: they do not change under a running program.

use super::{CgroupPath, Error};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Controllers that limits are written to, by their v2 names.
const V2_WANTED: [&str; 6] = ["cpu", "cpuset", "io", "memory", "pids", "hugetlb"];

/// Controllers and named hierarchies of v1 that are joined. Others (a foreign name=…) are left alone.
const V1_KNOWN: [&str; 14] = [
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "devices",
    "freezer",
    "blkio",
    "pids",
    "hugetlb",
    "net_cls",
    "net_prio",
    "perf_event",
    "rdma",
    "misc",
];

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Where it is mounted.
    pub(crate) mount: PathBuf,
    /// Its v1 controllers, or `name=systemd`; empty for v2.
    pub(crate) controllers: Vec<String>,
    /// The caller's own cgroup, as seen below the mount: `/` or `/user/x`.
    pub(crate) own: String,
    /// The controllers of v2 that its root has.
    pub(crate) available: String,
}

impl Hierarchy {
    fn new(mount: PathBuf, controllers: Vec<String>, own: String) -> Self {
        Self { mount, controllers, own, available: String::new() }
    }

    /// The directories from the mount to `path`, each below the one before.
    pub(crate) fn components<'a>(&'a self, path: &'a CgroupPath) -> impl Iterator<Item = &'a str> {
        let base = if path.is_absolute() { "" } else { self.own.as_str() };
        base.split('/').filter(|part| !part.is_empty()).chain(path.components())
    }
}

/// Every hierarchy of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Hierarchies of v1.
    pub(crate) v1: Vec<Hierarchy>,
    /// The unified hierarchy of v2; beside v1 hierarchies the host is hybrid.
    pub(crate) v2: Option<Hierarchy>,
}

impl Layout {
    /// The host's layout, from `/proc/self/mountinfo` and `/proc/self/cgroup`.
    pub(crate) fn host() -> Result<&'static Self, Error> {
        static HOST: OnceLock<Layout> = OnceLock::new();
        if let Some(layout) = HOST.get() {
            return Ok(layout);
        }
        let read =
            |path: &str| std::fs::read_to_string(path).map_err(|source| Error::io("read", path, source));
        let mut layout = Self::parse(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?);
        if let Some(v2) = &mut layout.v2 {
            v2.available = std::fs::read_to_string(v2.mount.join("cgroup.controllers")).unwrap_or_default();
        }
        if layout.v1.is_empty() && layout.v2.is_none() {
            return Err(Error::NoHierarchy);
        }
        Ok(HOST.get_or_init(|| layout))
    }

    /// Reads the two files' contents. Of several mounts of one hierarchy the first counts.
    pub(crate) fn parse(mountinfo: &str, cgroup: &str) -> Self {
        let mut layout = Self::default();
        for mount in mountinfo.lines().filter_map(parse_mount) {
            if mount.unified {
                if layout.v2.is_none() {
                    let own = own_cgroup(cgroup, None, &mount.root);
                    layout.v2 = Some(Hierarchy::new(mount.point, Vec::new(), own));
                }
                continue;
            }
            let known = !mount.controllers.is_empty();
            if known && !layout.v1.iter().any(|h| h.controllers == mount.controllers) {
                let own = own_cgroup(cgroup, mount.controllers.first().map(String::as_str), &mount.root);
                layout.v1.push(Hierarchy::new(mount.point, mount.controllers, own));
            }
        }
        layout
    }

    /// Whether v2 alone is mounted.
    pub(crate) fn is_unified(&self) -> bool {
        self.v1.is_empty()
    }
}

/// Those of the available controllers of v2 that are wanted and not yet enabled, as `+cpu +io`.
pub(crate) fn to_enable(available: &str, enabled: &str) -> Vec<String> {
    let has = |list: &str, name: &str| list.split_whitespace().any(|word| word == name);
    V2_WANTED
        .iter()
        .filter(|name| has(available, name) && !has(enabled, name))
        .map(|name| format!("+{name}"))
        .collect()
}

struct MountLine {
    root: String,
    point: PathBuf,
    unified: bool,
    controllers: Vec<String>,
}

/// `31 23 0:28 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu` (proc_pid_mountinfo(5)).
fn parse_mount(line: &str) -> Option<MountLine> {
    let (before, after) = line.split_once(" - ")?;
    let mut fields = before.split(' ');
    let (root, point) = (fields.nth(3)?, fields.next()?);
    let mut fields = after.split(' ');
    let unified = match fields.next()? {
        "cgroup2" => true,
        "cgroup" => false,
        _ => return None,
    };
    let options = fields.nth(1).unwrap_or_default();
    let controllers = options
        .split(',')
        .filter(|option| V1_KNOWN.contains(option) || *option == "name=systemd")
        .map(str::to_owned)
        .collect();
    Some(MountLine {
        root: proa_sys::mount::unescaped(root),
        point: PathBuf::from(proa_sys::mount::unescaped(point)),
        unified,
        controllers,
    })
}

/// The caller's cgroup in one hierarchy, below what is mounted of it.
fn own_cgroup(cgroup: &str, controller: Option<&str>, root: &str) -> String {
    let own = cgroup
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            Some((fields.next()?, fields.next()?))
        })
        .find(|(names, _)| match controller {
            Some(wanted) => names.split(',').any(|name| name == wanted),
            None => names.is_empty(),
        })
        .map_or("/", |(_, path)| path);
    // Without a cgroup namespace a container sees the host's path, and a mount that begins at it.
    let below = if root == "/" { Some(own) } else { own.strip_prefix(root) };
    match below {
        Some(path) if Path::new(path).components().all(|c| c != std::path::Component::ParentDir) => {
            format!("/{}", path.trim_matches('/'))
        }
        _ => "/".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
23 1 254:0 / / rw - ext4 /dev/vda rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:5 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
42 31 0:39 / /sys/fs/cgroup/elogind rw,relatime - cgroup cgroup rw,name=elogind
99 23 0:32 / /mnt/again rw,relatime - cgroup cgroup rw,memory
";

    #[test]
    fn a_hybrid_host_has_both() {
        let layout = Layout::parse(HYBRID, "4:memory:/user/me\n1:cpu,cpuacct:/\n9:name=systemd:/\n0::/\n");
        assert_eq!(layout.v1.len(), 3);
        let memory = layout.v1.iter().find(|h| h.controllers == ["memory"]).unwrap();
        assert_eq!(memory.mount, Path::new("/sys/fs/cgroup/memory"));
        assert_eq!(memory.own, "/user/me");
        let relative = CgroupPath::new("x/y").unwrap();
        assert_eq!(memory.components(&relative).collect::<Vec<_>>(), ["user", "me", "x", "y"]);
        assert_eq!(memory.components(&CgroupPath::new("/x").unwrap()).collect::<Vec<_>>(), ["x"]);
        assert_eq!(layout.v2.as_ref().unwrap().own, "/");
        assert!(!layout.is_unified());
    }

    #[test]
    fn a_unified_host_and_an_odd_mount_point() {
        let layout = Layout::parse(
            "28 22 0:25 / /sys/fs\\040x/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n",
            "0::/system.slice/proa.service\n",
        );
        assert!(layout.is_unified());
        let v2 = layout.v2.unwrap();
        assert_eq!(v2.mount, Path::new("/sys/fs x/cgroup"));
        assert_eq!(v2.own, "/system.slice/proa.service");
    }

    #[test]
    fn inside_a_container_without_cgroup_namespace_paths_begin_at_the_mount() {
        let info = "9 8 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        let layout = Layout::parse(info, "4:memory:/docker/abc/job\n");
        assert_eq!(layout.v1.first().unwrap().own, "/job");
        let outside = Layout::parse(info, "4:memory:/docker/other\n");
        assert_eq!(outside.v1.first().unwrap().own, "/");
        let above = "9 8 0:25 /../.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(Layout::parse(above, "0::/../x\n").v2.unwrap().own, "/");
    }

    #[test]
    fn hostile_lines_are_passed_over() {
        for text in ["", " - ", "1 2 3 - cgroup", "1 2 3 4 5 - cgroup2", "a - cgroup cgroup rw,cpu"] {
            let _ = Layout::parse(text, "::::\n\n:");
        }
    }

    #[test]
    fn only_what_is_missing_is_enabled() {
        assert_eq!(to_enable("cpuset cpu io memory pids rdma", "cpu memory"), ["+cpuset", "+io", "+pids"]);
        assert!(to_enable("hugetlb", "hugetlb").is_empty());
    }
}
