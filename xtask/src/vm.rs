//! The tests once more in a small machine: Debian's cloud kernel under qemu's software emulation. It has what this
//! host may lack: pure cgroup v2, AppArmor, another kernel version. Slow, so for function and not for timing.

use crate::fixtures::{Fixtures, install};
use crate::shell::{Outcome, cargo, output};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Modules the engine's tests need, with what they depend on.
const MODULES: [&str; 23] = [
    "overlay",
    "veth",
    "bridge",
    "br_netfilter",
    "nf_tables",
    "nft_chain_nat",
    "nft_nat",
    "nft_masq",
    "nft_ct",
    "nft_fib_inet",
    "nft_reject_inet",
    "nft_redir",
    "nft_numgen",
    "nft_hash",
    "nf_nat",
    "nf_conntrack",
    "nf_conntrack_netlink",
    "tun",
    "dummy",
    "macvlan",
    "vxlan",
    "loop",
    "ext4",
];

/// Crates whose own tests run there.
const CRATES: [&str; 4] = ["proa-runtime", "proa-shim", "proa-network", "proa-volume"];

/// How long the whole machine may take, in seconds.
const LIMIT: &str = "5400";

/// What the kernel is told. Mitigations would only make the emulation slower; on a busy host the timers' own check fails.
const COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check tsc=reliable \
    apparmor=1 security=apparmor cgroup_no_v1=all";

/// Boots the machine, runs the tests whose names contain one of `filters`, passes its output on; `each` sees every line. A program
/// that was ended by its limit of time, or ended badly otherwise, is named in the error.
pub(crate) fn boot(fixtures: &Fixtures, filters: &[&str], mut each: impl FnMut(&str)) -> Outcome {
    install(&[
        ("qemu-system-x86_64", "qemu-system-x86"),
        ("kmod", "kmod"),
        ("cpio", "cpio"),
        ("busybox", "busybox-static"),
        ("runc", "runc"),
        ("crun", "crun"),
        ("xz", "xz-utils"),
        ("zstd", "zstd"),
    ]);
    let dir = fixtures.cache.join("vm");
    let kernel = kernel(&dir)?;
    let initrd = initrd(&dir, &kernel, fixtures, filters)?;
    println!("── booting Linux {} under emulation", kernel.version);
    let mut child = machine(&kernel, &initrd).spawn().map_err(|e| format!("qemu-system-x86_64: {e}"))?;
    let (mut finished, mut broken) = (false, Vec::new());
    for line in
        child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).split(b'\n')).map_while(Result::ok)
    {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        println!("{line}");
        match line.strip_prefix("proa-vm: ") {
            Some("finished") => finished = true,
            Some(said) if said.contains(" ended with ") => broken.push(said.to_owned()),
            _ => each(&line),
        }
    }
    let _ = child.wait();
    if !finished {
        broken.push(format!("the machine ended before its tests did (it may run for {LIMIT} s)"));
    }
    if broken.is_empty() { Ok(()) } else { Err(broken.join(", ")) }
}

/// The emulator's command line, its serial console on standard output.
fn machine(kernel: &Kernel, initrd: &Path) -> Command {
    let mut qemu = Command::new("timeout");
    qemu.args([
        "--foreground",
        "-k",
        "10",
        LIMIT,
        "qemu-system-x86_64",
        "-accel",
        "tcg,thread=multi",
        "-smp",
        "2",
    ]);
    qemu.args(["-cpu", "max", "-m", "4096", "-nographic", "-no-reboot", "-nic", "none"]);
    qemu.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(initrd);
    qemu.arg("-append").arg(COMMAND_LINE);
    qemu.stdin(Stdio::null()).stdout(Stdio::piped());
    qemu
}

struct Kernel {
    version: String,
    image: PathBuf,
    root: PathBuf,
}

/// Debian's cloud kernel, fetched once.
fn kernel(dir: &Path) -> Outcome<Kernel> {
    let root = dir.join("kernel");
    if !root.join("boot").is_dir() {
        println!("── fetching Debian's cloud kernel");
        std::fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        let script = r#"set -e; cd "$1"; rm -rf kernel.new *.deb
            name=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-.*\)/\1/p' | head -1)
            [ -n "$name" ] || { apt-get -q update >/dev/null; name=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-.*\)/\1/p' | head -1); }
            apt-get -q download "$name" >/dev/null; dpkg-deb -x linux-image-*.deb kernel.new; mv kernel.new kernel; rm -f *.deb"#;
        output(Command::new("sh").args(["-c", script, "sh"]).arg(dir))?;
    }
    let boot = std::fs::read_dir(root.join("boot")).map_err(|e| format!("{}: {e}", root.display()))?;
    let image =
        boot.flatten().map(|entry| entry.path()).find(|path| path.to_string_lossy().contains("vmlinuz-"));
    let image = image.ok_or("the kernel package has no vmlinuz")?;
    let name = image.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Kernel { version: name.trim_start_matches("vmlinuz-").to_owned(), image, root })
}

/// Debian's loader of AppArmor profiles, unpacked and not installed: this host may have no AppArmor.
fn apparmor_parser(dir: &Path) -> Outcome<PathBuf> {
    let root = dir.join("apparmor");
    if !root.is_dir() {
        println!("── fetching Debian's apparmor_parser");
        let script = r#"set -e; cd "$1"; rm -rf apparmor.new apparmor_*.deb
            apt-get -q download apparmor >/dev/null 2>&1 || { apt-get -q update >/dev/null; apt-get -q download apparmor >/dev/null; }
            dpkg-deb -x apparmor_*.deb apparmor.new; mv apparmor.new apparmor; rm -f apparmor_*.deb"#;
        output(Command::new("sh").args(["-c", script, "sh"]).arg(dir))?;
    }
    Ok(root.join("sbin"))
}

/// The first filesystem: busybox, modules, the binary, the test programs.
fn initrd(dir: &Path, kernel: &Kernel, fixtures: &Fixtures, filters: &[&str]) -> Outcome<PathBuf> {
    let root = dir.join("root");
    let _ = std::fs::remove_dir_all(&root);
    for name in [
        "bin", "sbin", "usr/bin", "etc", "proc", "sys", "dev", "tmp", "run", "tests", "fixtures", "var/lib",
        "root",
    ] {
        std::fs::create_dir_all(root.join(name)).map_err(|e| format!("{}: {e}", root.display()))?;
    }
    let script = r#"set -e; root=$1 kroot=$2 version=$3 cache=$4 proa=$5 extra=$6; shift 6
        busybox=$(command -v busybox); cp "$busybox" "$root/bin/busybox"
        for a in $("$busybox" --list); do [ "$a" = busybox ] || ln -sf /bin/busybox "$root/bin/$a"; done
        depmod -b "$kroot" "$version"
        for m in "$@"; do modprobe -d "$kroot" -S "$version" --show-depends "$m" 2>/dev/null | sed -n 's/^insmod \([^ ]*\).*/\1/p'; done |
            awk '!seen[$0]++' > "$root/modules"
        mkdir -p "$root/lib/modules"; n=0
        while read -r file; do
            n=$((n+1)); to=$root/lib/modules/$(printf %03d $n).ko
            case $file in
                *.xz) xz -dc "$file" > "$to" ;;
                *.zst) zstd -dcq "$file" > "$to" ;;
                *) cp "$file" "$to" ;;
            esac
        done < "$root/modules"
        for name in nft ip script curl tar apparmor_parser; do
            program=$(PATH=$PATH:/usr/sbin:/sbin:$extra command -v $name) || continue
            mkdir -p "$root/tools"; cp -L "$program" "$root/tools/"
            for file in $(ldd "$program" 2>/dev/null | grep -o '/[^ ]*'); do
                mkdir -p "$root${file%/*}"; cp -L "$file" "$root$file"
            done
        done
        for program in /usr/bin/docker /usr/sbin/runc /usr/bin/crun; do
            [ -x "$program" ] || continue
            for file in "$program" $(ldd "$program" 2>/dev/null | grep -o '/[^ ]*'); do
                mkdir -p "$root${file%/*}"; cp -L "$file" "$root$file"
            done
        done
        cp "$cache"/*.tar "$root/fixtures/"; cp "$proa" "$root/bin/proa"
        echo 'root:x:0:0:root:/root:/bin/sh' > "$root/etc/passwd"; echo 'root:x:0:' > "$root/etc/group"
        printf '127.0.0.1 localhost\n' > "$root/etc/hosts""#;
    let mut sh = Command::new("sh");
    sh.args(["-c", script, "sh"]).arg(&root).arg(&kernel.root).arg(&kernel.version);
    output(sh.arg(&fixtures.cache).arg(&fixtures.proa).arg(apparmor_parser(dir)?).args(MODULES))?;
    for (name, program) in test_programs()? {
        let mut strip = Command::new("strip");
        output(strip.arg("-o").arg(root.join("tests").join(name)).arg(program))?;
    }
    std::fs::write(root.join("filters"), filters.join("\n")).map_err(|e| e.to_string())?;
    std::fs::write(root.join("init"), INIT).map_err(|e| e.to_string())?;
    output(Command::new("chmod").arg("755").arg(root.join("init")))?;
    let image = dir.join("initrd");
    // Not packed: the machine would be slower to unpack it than this one to read it.
    let pack = r#"cd "$1" && find . | cpio -o -H newc --quiet > "$2""#;
    output(Command::new("sh").args(["-c", pack, "sh"]).arg(&root).arg(&image))?;
    Ok(image)
}

/// Builds the test programs; they are static, so they run anywhere.
fn test_programs() -> Outcome<Vec<(String, PathBuf)>> {
    println!("── building the test programs");
    let mut build = cargo();
    build.args(["test", "--no-run", "--message-format", "json-render-diagnostics", "-p", "proa-e2e"]);
    for name in CRATES {
        build.args(["-p", name]);
    }
    let json = output(&mut build)?;
    let artifacts = json.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let programs = artifacts.filter(|a| a["profile"]["test"] == true).filter_map(|a| {
        let program = PathBuf::from(a["executable"].as_str()?);
        Some((program.file_name()?.to_string_lossy().into_owned(), program))
    });
    Ok(programs.collect())
}

/// The machine's first process: mounts, modules, a real root (the first filesystem cannot be pivoted away), tests. What a
/// test prints is shown also if it passes: why it was skipped.
const INIT: &str = r#"#!/bin/sh
export PATH=/tools:/bin:/sbin:/usr/bin HOME=/root PROA_EMULATED=1 PROA_BIN=/bin/proa PROA_FIXTURES=/fixtures RUST_BACKTRACE=0
if [ ! -e /switched ]; then
    mount -t tmpfs -o size=3g,mode=755 root /tmp
    for d in /*; do case $d in /proc|/sys|/dev|/tmp|/run) ;; *) cp -a "$d" /tmp/; ;; esac; done
    mkdir -p /tmp/proc /tmp/sys /tmp/dev /tmp/run /tmp/tmp; touch /tmp/switched
    exec switch_root /tmp /init
fi
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev; mkdir -p /dev/pts /dev/shm
mount -t devpts -o ptmxmode=666 devpts /dev/pts; mount -t tmpfs shm /dev/shm; mount -t tmpfs run /run; mount -t tmpfs tmp /tmp
ln -sf /proc/self/fd /dev/fd
mount -t securityfs security /sys/kernel/security 2>/dev/null
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for m in /lib/modules/*.ko; do insmod "$m" 2>/dev/null; done
ip link set lo up; ip link add eth0 type dummy 2>/dev/null && ip addr add 192.0.2.2/24 dev eth0 && ip link set eth0 up && ip route add default via 192.0.2.1
printf '%s\n' 'profile proa-test flags=(attach_disconnected,mediate_deleted) {' ' file,' ' deny /etc/plain r,' \
    ' capability,' ' network,' ' mount,' ' umount,' ' pivot_root,' ' signal,' ' ptrace,' ' unix,' '}' > /tmp/profile
mkdir -p /etc/apparmor; touch /etc/apparmor/parser.conf
apparmor_parser --replace --skip-cache /tmp/profile || echo "proa-vm: apparmor_parser ended with $?"
echo "proa-vm: Linux $(uname -r), controllers: $(cat /sys/fs/cgroup/cgroup.controllers), lsm: $(cat /sys/kernel/security/lsm 2>/dev/null)"
run() {
    program=$1; shift
    case $program in
        */e2e-*) timeout -k 10 3600 "$program" --test-threads 2 --color never "$@" ;;
        *) timeout -k 10 1800 "$program" --test-threads 2 --color never --show-output "$@" ;;
    esac < /dev/null || echo "proa-vm: ${program#/tests/} $* ended with $?"
}
for t in /tests/*; do
    echo "── $t"
    begin=$(cut -d. -f1 /proc/uptime)
    if [ -s /filters ]; then
        while read -r filter || [ -n "$filter" ]; do run "$t" "$filter"; done < /filters
    else
        run "$t"
    fi
    echo "── ${t#/tests/} took $(($(cut -d. -f1 /proc/uptime) - begin)) s"
done
echo "proa-vm: finished"
poweroff -f
"#;
