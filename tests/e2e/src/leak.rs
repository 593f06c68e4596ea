//! The proof that nothing leaked: what the kernel holds before the suite and after it must be the same.

use std::collections::BTreeSet;
use std::path::Path;

/// What the kernel holds that an engine makes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holdings(BTreeSet<String>);

impl Holdings {
    /// Looks at mounts, links, cgroups, tables and processes of this machine.
    pub fn now() -> Self {
        let mut all = BTreeSet::new();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        // What ip(8) makes for its first namespace stays for the next.
        let places =
            mounts.lines().filter_map(|line| line.split(' ').nth(4)).filter(|at| *at != "/run/netns");
        all.extend(places.map(|at| format!("mount {at}")));
        for entry in std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten() {
            all.insert(format!("link {}", entry.file_name().to_string_lossy()));
        }
        cgroups(Path::new("/sys/fs/cgroup"), 0, &mut all);
        if let Ok(out) = std::process::Command::new("nft").args(["list", "tables"]).output() {
            all.extend(String::from_utf8_lossy(&out.stdout).lines().map(|table| format!("nft {table}")));
        }
        all.extend(processes());
        Self(all)
    }

    /// What is there now and was not before.
    pub fn since(&self, before: &Self) -> Vec<String> {
        self.0.difference(&before.0).cloned().collect()
    }
}

impl Holdings {
    /// How many more things there are now than there were, of the kind that there are most more of.
    pub fn now_more(&self) -> isize {
        let count = |all: &BTreeSet<String>| {
            let mut kinds = std::collections::BTreeMap::<String, isize>::new();
            for name in all {
                *kinds.entry(name.split(' ').next().unwrap_or_default().to_owned()).or_default() += 1;
            }
            kinds
        };
        let before = count(&self.0);
        let more = |(kind, now): (String, isize)| now - before.get(&kind).copied().unwrap_or(0);
        count(&Self::now().0).into_iter().map(more).max().unwrap_or(0)
    }
}

fn cgroups(dir: &Path, depth: u32, all: &mut BTreeSet<String>) {
    if depth > 4 {
        return;
    }
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let path = entry.path();
            if path.to_string_lossy().contains("proa") {
                all.insert(format!("cgroup {}", path.display()));
            }
            cgroups(&path, depth + 1, all);
        }
    }
}

/// Processes of our binary.
fn processes() -> Vec<String> {
    let binary = crate::proa();
    let own = std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
        let path = entry.path();
        let exe = std::fs::read_link(path.join("exe")).ok()?;
        let line = std::fs::read(path.join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let ours = exe == binary || exe.to_string_lossy().starts_with(&*binary.to_string_lossy());
        ours.then(|| format!("process {} {line}", entry.file_name().to_string_lossy()))
    });
    own.collect()
}
