//! Devices: of the host, by rule, and those that files describe (CDI).

use proa_e2e::{Client, Ctx, Daemon, Suite};
use std::path::PathBuf;

pub(crate) fn add(s: &mut Suite) {
    s.each("--device must make the device, under another name and with less access if that is asked", |c| {
        assert_eq!(
            c.sh(&["--device", "/dev/full:/dev/x"], "stat -c '%F %t:%T' /dev/x"),
            "character special file 1:7"
        );
        let tun = |option: &str, script: &str| c.run_sh(&["--device", option], script);
        let denied = tun("/dev/net/tun:/dev/x:r", ": > /dev/x");
        assert!(denied.code != 0 && denied.err().contains("not permitted"), "{}", denied.err());
        tun("/dev/net/tun:/dev/x:r", ": < /dev/x").ok();
        tun("/dev/net/tun:rw", ": > /dev/net/tun").ok();
        c.run_sh(&["--device", "/dev/no-such-device"], "true").fails(125, "no such file or directory");
        c.run_sh(&["--device", "/etc/passwd"], "true").fails(125, "not a device node");
        c.run_sh(&["--device", "/dev/null:/dev/x:q"], "true").fails(125, "bad mode specified: q");
    });
    s.each("a directory of devices must be given as a whole", |c| {
        let dir = c.dir("devices");
        for (name, minor) in [("one", 3), ("two", 5)] {
            node(&dir.join(name), minor);
        }
        std::fs::write(dir.join("plain"), "").unwrap();
        let option = format!("{}:/dev/all", dir.display());
        assert_eq!(
            c.sh(&["--device", &option], "ls /dev/all; head -c 3 /dev/all/two | wc -c"),
            "one\ntwo\n3"
        );
    });
    s.each("--device-cgroup-rule must allow what is made inside", |c| {
        let script = "mknod /tmp/tun c 10 200; : < /tmp/tun && echo read; : > /tmp/tun && echo written";
        let seen = |options: &[&str]| c.run_sh(options, &format!("{script}; true")).out();
        assert_eq!(seen(&[]), "");
        assert_eq!(seen(&["--device-cgroup-rule", "c 10:* r"]), "read");
        assert_eq!(seen(&["--device-cgroup-rule", "c 10:200 rw"]), "read\nwritten");
        c.run_sh(&["--device-cgroup-rule", "c 1 r"], "true").fails(125, "invalid device cgroup format");
    });
    s.each("--gpus must be refused in docker's words where no device is described", |c| {
        let told = "could not select device driver \"\" with capabilities: [[gpu]]";
        c.run_sh(&["--gpus", "all"], "true").fails(125, told);
    });
    s.alone("described devices must be found at once, given by name, and shown", described);
    s.alone("--gpus must be answered by described devices of class gpu", graphics);
    s.alone("described devices that are missing, wrong or unsupported must be told by name", wrong);
}

fn node(path: &std::path::Path, minor: u32) {
    use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
    let made = mknodat(CWD, path, FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(1, minor));
    made.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// A daemon that looks for descriptions in a directory of its own, and that directory.
fn daemon(name: &str) -> (Daemon, PathBuf) {
    let dir = proa_e2e::scratch(&format!("{name}-specs"));
    let daemon = Daemon::start_proa(name, &["--cdi-spec-dir", &dir.to_string_lossy()]);
    daemon.load_busybox();
    (daemon, dir)
}

/// The clients that know devices by name.
fn clients() -> impl Iterator<Item = Client> {
    Client::all().into_iter().filter(|client| client.name != "docker20")
}

const VENDOR: &str = r#"---
cdiVersion: "0.6.0"
kind: vendor.com/device
containerEdits:
  env: [ "VENDOR=here" ]
devices:
  - name: one
    containerEdits:
      env: [ "DEVICE=one" ]
      deviceNodes:
        - { path: /dev/vendor/one, hostPath: /dev/full, permissions: rw, fileMode: 0o600, uid: 7 }
      additionalGids: [ 4242 ]
  - name: lib
    containerEdits:
      mounts:
        - { hostPath: /etc, containerPath: /vendor/etc, options: [ ro, nosuid, nodev, rbind, rprivate ] }
      hooks:
        - { hookName: createContainer, path: /bin/sh, args: [ sh, -c, "echo hooked > HOOK" ] }
"#;

fn described() {
    let (daemon, dir) = daemon("cdi");
    for client in clients() {
        let c = Ctx::new(&client, &daemon);
        let file = dir.join("vendor.yaml");
        let device = ["--device", "vendor.com/device=one"];
        c.run_sh(&device, "true").fails(125, "unresolvable CDI devices vendor.com/device=one");
        let hook = dir.join("hook");
        std::fs::write(&file, VENDOR.replace("HOOK", &hook.to_string_lossy())).unwrap();
        let script = "echo $VENDOR $DEVICE; stat -c '%t:%T %a %u' /dev/vendor/one; id -G; ls /vendor 2>&1";
        let seen = c.run_sh(&device, script).out();
        assert_eq!(
            seen, "here one\n1:7 600 7\n0 4242\nls: /vendor: No such file or directory",
            "{}",
            client.name
        );
        let both = [
            "--device",
            "vendor.com/device=one",
            "--device",
            "vendor.com/device=lib",
            "--device",
            "/dev/full:/dev/x",
        ];
        assert_eq!(
            c.sh(
                &both,
                "echo $VENDOR; ls /vendor/etc/hostname /dev/x; touch /vendor/etc/x 2>/dev/null || echo ro"
            ),
            "here\n/dev/x\n/vendor/etc/hostname\nro"
        );
        assert_eq!(std::fs::read_to_string(&hook).unwrap_or_default(), "hooked\n");
        let name = c.name("c");
        c.start(&name, &device, "sleep 60");
        let requests = c.inspect_json(&name)["HostConfig"]["DeviceRequests"].clone();
        assert_eq!(requests[0]["Driver"], "cdi");
        assert_eq!(requests[0]["DeviceIDs"][0], "vendor.com/device=one");
        let info = c.get("/v1.50/info");
        assert_eq!(info["CDISpecDirs"][0], dir.to_string_lossy().as_ref());
        let named: Vec<_> =
            info["DiscoveredDevices"].as_array().unwrap().iter().map(|d| d["ID"].clone()).collect();
        assert_eq!(named, ["vendor.com/device=lib", "vendor.com/device=one"]);
        assert!(c.get("/v1.49/info").get("DiscoveredDevices").is_none());
        std::fs::remove_file(&file).unwrap();
        std::fs::remove_file(&hook).unwrap();
    }
    let _ = std::fs::remove_dir_all(&dir);
}

fn graphics() {
    let (daemon, dir) = daemon("gpus");
    let device = |name: &str| format!(r#"{{"name":"{name}","containerEdits":{{"env":["GPU_{name}=1"]}}}}"#);
    let devices = ["0", "1", "all"].map(device).join(",");
    let file = format!(r#"{{"cdiVersion":"0.5.0","kind":"nvidia.com/gpu","devices":[{devices}]}}"#);
    std::fs::write(dir.join("nvidia.json"), file).unwrap();
    for client in Client::all() {
        let c = Ctx::new(&client, &daemon);
        let seen = |gpus: &str| c.sh(&["--gpus", gpus], "env | grep ^GPU_ | sort | xargs");
        assert_eq!(seen("all"), "GPU_all=1");
        assert_eq!(seen("2"), "GPU_0=1 GPU_1=1");
        assert_eq!(seen("device=1"), "GPU_1=1");
        assert_eq!(seen("count=1,capabilities=utility"), "GPU_0=1");
        c.run_sh(&["--gpus", "3"], "true").fails(125, "unresolvable CDI devices nvidia.com/gpu=2");
        let told = "could not select device driver \"\" with capabilities: [[tpu gpu]]";
        c.run_sh(&["--gpus", "capabilities=tpu"], "true").fails(125, told);
        c.run_sh(&["--gpus", "driver=other"], "true").fails(125, "could not select device driver \"other\"");
    }
    let _ = std::fs::remove_dir_all(&dir);
}

fn wrong() {
    let (daemon, dir) = daemon("cdi-wrong");
    let client = Client::all().remove(0);
    let c = Ctx::new(&client, &daemon);
    let file = |edits: &str| {
        let text = format!(
            r#"{{"cdiVersion":"1.1.0","kind":"v.com/d","devices":[{{"name":"x","containerEdits":{edits}}}]}}"#
        );
        std::fs::write(dir.join("v.json"), text).unwrap();
    };
    let fails = |said: &str| {
        c.run_sh(&["--device", "v.com/d=x"], "true").fails(125, said);
    };
    file(r#"{"intelRdt":{"closID":"x"}}"#);
    fails("CDI device v.com/d=x asks for intelRdt");
    file(r#"{"netDevices":[{"hostInterfaceName":"eth0"}]}"#);
    fails("asks for netDevices");
    file(r#"{"surprise":1}"#);
    fails("unknown field `surprise`");
    file(r#"{"deviceNodes":[{"path":"/dev/no-such-device"}]}"#);
    fails("device node /dev/no-such-device");
    std::fs::write(dir.join("v.json"), " ".repeat(3 << 20)).unwrap();
    fails("larger than 2 MiB");
    let told = c.ok(&["info", "--format", "{{json .Warnings}}"]);
    assert!(told.contains("larger than 2 MiB"), "{told}");
    let _ = std::fs::remove_dir_all(&dir);
}
