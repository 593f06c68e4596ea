//! What is made ahead of a start: a container that takes it is the same as one for which everything was made anew.

use proa_e2e::command::until;
use proa_e2e::{Daemon, Suite};

pub(crate) fn add(s: &mut Suite) {
    s.alone("a container of what was made ahead must be the same as one made from nothing", the_same);
}

/// Everything the kernel says about a process' confinement, and every file it sees.
const LOOK: &str = "grep -E '^(Umask|State|Uid|Gid|Groups|Cap|NoNew|Seccomp|Sig[PIC]|Shd)' /proc/self/status
    cut -d' ' -f4- /proc/self/mountinfo | sed -E 's/ (master|shared):[0-9]+//'
    cat /proc/self/limits /proc/self/oom_score_adj /proc/self/cgroup
    for fd in /proc/1/fd/*; do echo $fd; done
    for ns in /proc/self/ns/*; do readlink $ns | cut -d: -f1; done
    cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range
    for f in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts; do wc -c < $f; done
    ls /sys/firmware | wc -l
    ip -o link | cut -d@ -f1 | cut -d' ' -f2; ip route | wc -l; cat /etc/resolv.conf
    for d in / /dev /etc; do find $d -xdev | sort | while read -r f; do stat -c '%n %a %u:%g %F %t,%T' \"$f\"; done; done";

fn the_same() {
    let (ahead, anew) = (Daemon::start("ahead", &[]), Daemon::start("anew", &["--prepared-sandboxes", "0"]));
    let seen = [&ahead, &anew].map(|daemon| {
        daemon.load_busybox();
        // The image is known from now on, and what it needs is made in the pause that follows.
        daemon.docker(&["run", "--rm", "busybox", "true"]).ok();
        if daemon.dir == ahead.dir {
            until("a root filesystem is ready", || ready(daemon, "data/containers", "ready-"));
            until("a sandbox is ready", || ready(daemon, "exec/shims", ""));
        } else {
            assert_eq!(ready(daemon, "data/containers", "ready-"), None);
            // The monitor of what ran goes behind the answer.
            until("no sandbox is there", || ready(daemon, "exec/shims", "").is_none().then_some(()));
        }
        let text = daemon.docker(&["run", "--name", "looks", "busybox", "sh", "-c", LOOK]).ok();
        let id = daemon.docker(&["inspect", "-f", "{{.Id}}", "looks"]).ok();
        daemon.docker(&["rm", "looks"]).ok();
        plain(&text, daemon, &id)
    });
    let [ahead, anew] = seen;
    assert!(ahead.len() > 100, "{ahead:?}");
    for (ahead, anew) in ahead.iter().zip(&anew) {
        assert_eq!(ahead, anew);
    }
    assert_eq!(ahead.len(), anew.len());
}

/// Whether there is an entry of that kind in a directory of the daemon.
fn ready(daemon: &Daemon, dir: &str, prefix: &str) -> Option<()> {
    let mut entries = std::fs::read_dir(daemon.dir.join(dir)).into_iter().flatten().flatten();
    entries.any(|entry| entry.file_name().to_string_lossy().starts_with(prefix)).then_some(())
}

/// Without what differs between any two containers: names of directories, of sandboxes and of themselves.
fn plain(text: &str, daemon: &Daemon, id: &str) -> Vec<String> {
    let short = id.get(..12).unwrap_or(id);
    let dir = daemon.dir.display().to_string();
    let text = text.replace(&dir, "DIR").replace(id, "ID").replace(short, "SHORT");
    let word = |word: &str| -> String {
        if word.contains("upperdir=") {
            return "OVERLAY".into();
        }
        let parts: Vec<&str> = word.split('/').collect();
        let hex = |part: &&str| part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        let named = |part: &&str| if hex(part) { "HEX".to_owned() } else { (*part).to_owned() };
        let named = parts.iter().map(named).collect::<Vec<_>>().join("/");
        // The cgroup above all containers of a daemon is named after its directory.
        named.split("/proa-").next().unwrap_or_default().to_owned()
    };
    text.lines().map(|line| line.split(' ').map(word).collect::<Vec<_>>().join(" ")).collect()
}
