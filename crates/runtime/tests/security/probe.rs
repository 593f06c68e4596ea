//! The hostile program: it tries what it is told and prints what came of it, one line an attempt.

use proa_sys::seccomp::{Probe, probe};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(crate) fn main(words: &[String]) -> i32 {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["cat", paths @ ..] => paths.iter().for_each(|path| print!("{}", read(path))),
        ["calls"] => calls(),
        ["descriptors"] => descriptors(),
        ["look", paths @ ..] => paths.iter().for_each(|path| println!("{path} {}", look(Path::new(path)))),
        ["write", paths @ ..] => paths.iter().for_each(|path| println!("{path} {}", write(path))),
        ["devices"] => devices(),
        ["reach", path] => println!("{}", reach(path)),
        ["overwrite"] => overwrite(),
        ["forks"] => forks(),
        ["namespaces"] => namespaces(),
        ["sleep"] => std::thread::sleep(Duration::from_secs(60)),
        ["true"] => {}
        other => {
            eprintln!("the probe does not know {other:?}");
            return 64;
        }
    }
    0
}

fn read(path: &str) -> String {
    std::fs::read(path).map_or_else(
        |error| format!("{path}: {error}\n"),
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    )
}

/// The errno of every call the default filter has an opinion about.
fn calls() {
    let list = [
        Probe::Keyctl,
        Probe::AddKey,
        Probe::Clone3,
        Probe::IoUringSetup,
        Probe::Bpf,
        Probe::Mount,
        Probe::Userfaultfd,
        Probe::OpenByHandleAt,
        Probe::Personality,
        Probe::Socket(1),
        Probe::Socket(38),
        Probe::Socket(40),
        Probe::Socket((1 << 32) | 38),
        Probe::Socketcall32,
        Probe::KeyctlX32,
    ];
    for call in list {
        println!("{call:?} {}", probe(call).map_or_else(|| "none".to_owned(), |errno| errno.to_string()));
    }
}

/// Descriptors this program was given, with what they are.
fn descriptors() {
    let Ok(list) = std::fs::read_dir("/proc/self/fd") else { return };
    let found: Vec<PathBuf> = list.flatten().map(|entry| entry.path()).collect();
    for path in found {
        // The list's own descriptor is closed by now.
        if let Ok(target) = std::fs::read_link(&path) {
            println!("{} {}", path.file_name().unwrap_or_default().display(), target.display());
        }
    }
}

/// What is at a path: `absent`, `null` (the null device), `empty` (file or directory), or `content`.
fn look(path: &Path) -> &'static str {
    let Ok(stat) = rustix::fs::stat(path) else { return "absent" };
    let content = match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice if stat.st_rdev == rustix::fs::makedev(1, 3) => return "null",
        FileType::Directory => std::fs::read_dir(path).is_ok_and(|mut list| list.next().is_some()),
        _ => std::fs::read(path).is_ok_and(|bytes| !bytes.is_empty()),
    };
    if content { "content" } else { "empty" }
}

/// Tries to open a file for writing, or to make one in a directory.
fn write(path: &str) -> String {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = if Path::new(path).is_dir() {
        rustix::fs::mkdir(format!("{path}/made-by-the-probe"), Mode::RWXU)
    } else {
        rustix::fs::open(path, flags, Mode::empty()).map(drop)
    };
    word(opened)
}

fn word(result: Result<(), Errno>) -> String {
    result.map_or_else(|error| format!("{error:?}").replace("Os { code: ", "errno "), |()| "done".to_owned())
}

/// Makes nodes of devices and opens them.
fn devices() {
    let list = [
        ("sda", FileType::BlockDevice, 8, 0),
        ("vda", FileType::BlockDevice, 254, 0),
        ("mem", FileType::CharacterDevice, 1, 1),
        ("kmsg", FileType::CharacterDevice, 1, 11),
        ("fuse", FileType::CharacterDevice, 10, 229),
        ("zero", FileType::CharacterDevice, 1, 5),
    ];
    for (name, kind, major, minor) in list {
        let path = format!("/tmp/{name}");
        let made =
            rustix::fs::mknodat(rustix::fs::CWD, &path, kind, Mode::RUSR, rustix::fs::makedev(major, minor));
        let opened = rustix::fs::open(&path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).map(drop);
        println!("{name} {} {}", made.is_ok(), opened.err().map_or(0, Errno::raw_os_error));
    }
    let given = rustix::fs::open("/dev/given", OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).map(drop);
    println!("given true {}", given.err().map_or(0, Errno::raw_os_error));
}

/// Whether a path of the host can be reached from the working directory.
fn reach(path: &str) -> &'static str {
    let up = "../".repeat(40);
    for start in [".", "/proc/self/cwd", "/proc/self/root"] {
        if Path::new(&format!("{start}/{up}{path}")).exists() {
            return "reached";
        }
    }
    "not reached"
}

/// For a while, opens every other process's binary for writing and writes to it.
fn overwrite() {
    println!("ready");
    let end = Instant::now() + Duration::from_secs(8);
    let own = std::process::id().to_string();
    let mut tried = 0u64;
    while Instant::now() < end {
        let Ok(list) = std::fs::read_dir("/proc") else { continue };
        for entry in list.flatten() {
            let name = entry.file_name();
            let Some(pid) = name.to_str().filter(|n| n.bytes().all(|b| b.is_ascii_digit()) && **n != *own)
            else {
                continue;
            };
            let exe = format!("/proc/{pid}/exe");
            // Held open, it can be written to as soon as nobody executes it.
            let Ok(held) = std::fs::File::open(&exe) else { continue };
            tried += 1;
            let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&held));
            for path in [exe, again] {
                if let Ok(mut file) = std::fs::OpenOptions::new().write(true).open(path) {
                    let _ = std::io::Write::write_all(&mut file, b"#!/overwritten by a container\n");
                    println!("overwritten");
                }
            }
        }
    }
    println!("tried {tried}");
}

/// Starts processes until it may not.
fn forks() {
    let mut children = Vec::new();
    while children.len() < 200 {
        match std::process::Command::new("/proc/self/exe").args(["--probe", "sleep"]).spawn() {
            Ok(child) => children.push(child),
            Err(_) => break,
        }
    }
    println!("{}", children.len());
    for mut child in children {
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Tries to make namespaces, and to enter its own again.
fn namespaces() {
    use rustix::thread::UnshareFlags;
    for (name, flag) in [
        ("user", UnshareFlags::NEWUSER),
        ("mount", UnshareFlags::NEWNS),
        ("network", UnshareFlags::NEWNET),
        ("cgroup", UnshareFlags::NEWCGROUP),
    ] {
        #[allow(deprecated)]
        let result = rustix::thread::unshare(flag);
        println!("{name} {}", result.err().map_or(0, Errno::raw_os_error));
    }
}
