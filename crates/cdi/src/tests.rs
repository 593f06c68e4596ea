use super::*;
use crate::document::parse;
use proa_oci::runtime::{Process, Spec};
use std::path::PathBuf;

const SPEC: &str = r#"
# what a vendor's program writes
cdiVersion: 0.6.0
kind: vendor.com/device
annotations: {who: "me"}
containerEdits:
  env:
    - ALL=yes
devices:
  - name: "0"
    containerEdits:
      deviceNodes:
        - path: /dev/one
          hostPath: /dev/null
          permissions: rw
          fileMode: 0666
      env:
        - PATH=/vendor
  - name: first
    containerEdits:
      additionalGids: [7]
      mounts:
        - hostPath: /usr
          containerPath: /vendor
          options: [ro, nosuid]
      hooks:
        - hookName: createContainer
          path: /bin/true
          args: ["true"]
"#;

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("proa-cdi-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn file(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).unwrap();
    }

    fn read(&self) -> Registry {
        Registry::read(std::slice::from_ref(&self.0))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|&name| name.to_owned()).collect()
}

fn document() -> Spec {
    let process = Process { env: names(&["PATH=/bin", "A=1"]), ..Process::default() };
    Spec { process: Some(process), ..Spec::default() }
}

#[test]
fn edits_of_files_and_devices_are_made() {
    let dir = Dir::new("edits");
    dir.file("vendor.yaml", SPEC);
    let (registry, mut spec) = (dir.read(), document());
    assert_eq!(registry.faults(), [] as [&str; 0]);
    assert_eq!(registry.names().collect::<Vec<_>>(), ["vendor.com/device=0", "vendor.com/device=first"]);
    let asked = names(&["vendor.com/device=0", "vendor.com/device=first", "vendor.com/device=0"]);
    apply(&registry, &asked, false, &mut spec).unwrap();
    let process = spec.process.unwrap();
    assert_eq!(process.env, ["A=1", "ALL=yes", "PATH=/vendor"]);
    assert_eq!(process.user.additional_gids, [7]);
    let [device] = &spec.linux.devices[..] else { panic!("{:?}", spec.linux.devices) };
    assert_eq!((device.path.to_str(), device.kind.as_str()), (Some("/dev/one"), "c"));
    assert_eq!((device.major, device.minor, device.file_mode), (1, 3, Some(0o666)));
    let [rule] = &spec.linux.resources.unwrap().devices[..] else { panic!() };
    assert_eq!((rule.allow, rule.access.as_str(), rule.minor), (true, "rw", Some(3)));
    assert_eq!(spec.mounts[0].options, ["ro", "nosuid", "bind"]);
    assert_eq!(spec.hooks.create_container.len(), 1);
}

#[test]
fn nodes_are_bound_where_none_can_be_made() {
    let dir = Dir::new("bound");
    dir.file("vendor.yaml", SPEC);
    let mut spec = document();
    apply(&dir.read(), &names(&["vendor.com/device=0"]), true, &mut spec).unwrap();
    assert!(spec.linux.devices.is_empty());
    assert_eq!(spec.mounts[0].source.to_str(), Some("/dev/null"));
    assert_eq!(spec.mounts[0].destination.to_str(), Some("/dev/one"));
}

#[test]
fn what_is_missing_wrong_or_there_twice_is_named() {
    let dir = Dir::new("wrong");
    dir.file("a.yaml", SPEC);
    dir.file("b.yaml", SPEC);
    dir.file("c.json", r#"{"cdiVersion":"9.0.0","kind":"x.com/y","devices":[{"name":"z"}]}"#);
    dir.file("ignored.txt", "no");
    let registry = dir.read();
    assert_eq!(registry.names().count(), 0);
    let error =
        apply(&registry, &names(&["vendor.com/device=0", "rest"]), false, &mut document()).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("unresolvable CDI devices vendor.com/device=0, rest\n"), "{text}");
    assert!(text.contains("conflicting device \"vendor.com/device=0\""), "{text}");
    assert!(text.contains("unknown cdiVersion \"9.0.0\""), "{text}");
}

#[test]
fn a_later_directory_wins() {
    let (first, second) = (Dir::new("first"), Dir::new("second"));
    let of = |value: &str| {
        format!(
            r#"{{"cdiVersion":"1.1.0","kind":"v.com/d","devices":[{{"name":"x","containerEdits":{{"env":["V={value}"]}}}}]}}"#
        )
    };
    first.file("a.json", &of("1"));
    second.file("b.json", &of("2"));
    let mut spec = document();
    let registry = Registry::read(&[first.0.clone(), second.0.clone(), "/no/such/place".into()]);
    apply(&registry, &names(&["v.com/d=x"]), false, &mut spec).unwrap();
    assert_eq!(spec.process.unwrap().env.last().map(String::as_str), Some("V=2"));
}

#[test]
fn what_is_not_done_is_refused_by_name() {
    for (edit, said) in [
        (r#"{"intelRdt":{"closID":"x"}}"#, "intelRdt"),
        (r#"{"netDevices":[{"hostInterfaceName":"eth0","name":"eth0"}]}"#, "netDevices"),
        (r#"{"hooks":[{"hookName":"poststop","path":"/x"}]}"#, "poststop"),
        (r#"{"deviceNodes":[{"path":"/dev/no-such-device"}]}"#, "/dev/no-such-device"),
        (r#"{"deviceNodes":[{"path":"/dev/null","type":"b"}]}"#, "not b"),
    ] {
        let dir = Dir::new("refused");
        let text = format!(
            r#"{{"cdiVersion":"1.1.0","kind":"v.com/d","devices":[{{"name":"x","containerEdits":{edit}}}]}}"#
        );
        dir.file("a.json", &text);
        let error = apply(&dir.read(), &names(&["v.com/d=x"]), false, &mut document()).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[test]
fn hostile_files_are_refused() {
    let edits = |edits: &str| {
        format!(
            r#"{{"cdiVersion":"1.0.0","kind":"v.com/d","devices":[{{"name":"x","containerEdits":{edits}}}]}}"#
        )
    };
    for (text, said) in [
        ("", "empty"),
        ("a: &x 1", "anchors"),
        ("a: *x", "anchor"),
        ("a: 1\na: 2", "twice"),
        ("a: 1\n---\nb: 2", "more than one"),
        (&"[".repeat(40), "deep"),
        (&"[".repeat(10_000), "recursion"),
        ("cdiVersion: 1.0.0\nkind: v.com/d\nextra: 1", "extra"),
        ("cdiVersion: 1.0.0\nkind: ../d\ndevices: [{name: x}]", "kind"),
        ("cdiVersion: 1.0.0\nkind: v.com/d\ndevices: [{name: x}, {name: x}]", "twice"),
        ("cdiVersion: 1.0.0\nkind: v.com/d\ndevices: [{name: 'x y'}]", "device name"),
        (&edits(r#"{"env":["=x"]}"#), "env"),
        (&edits(r#"{"mounts":[{"hostPath":"etc","containerPath":"/x"}]}"#), "absolute"),
        (&edits(r#"{"hooks":[{"hookName":"sometime","path":"/x"}]}"#), "hookName"),
        (&edits(r#"{"deviceNodes":[{"path":"/dev/x","permissions":"rx"}]}"#), "permissions"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(said), "{text:.60}: {error}");
    }
    let dir = Dir::new("hostile");
    dir.file("large.json", &" ".repeat(3 << 20));
    rustix::fs::mknodat(
        rustix::fs::CWD,
        dir.0.join("fifo.json"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let faults = dir.read().faults().join("\n");
    assert!(faults.contains("larger than 2 MiB") && faults.contains("no regular file"), "{faults}");
}

#[test]
fn wishes_for_graphics_processors_are_answered() {
    let dir = Dir::new("gpus");
    let ask = |count, ids: &[&str]| gpus(&dir.read(), &GpuRequest { count, ids: names(ids) });
    assert_eq!(ask(-1, &[]), None);
    let file = |kind: &str, list: &str| {
        let devices: Vec<String> = list.split(' ').map(|name| format!("{{\"name\":\"{name}\"}}")).collect();
        format!(r#"{{"cdiVersion":"0.5.0","kind":"{kind}","devices":[{}]}}"#, devices.join(","))
    };
    dir.file("amd.json", &file("amd.com/gpu", "0 1"));
    assert_eq!(ask(-1, &[]).unwrap(), ["amd.com/gpu=0", "amd.com/gpu=1"]);
    dir.file("nvidia.json", &file("nvidia.com/gpu", "0 1 10 2 GPU-6a all"));
    assert_eq!(ask(-1, &[]).unwrap(), ["nvidia.com/gpu=all"]);
    assert_eq!(ask(2, &[]).unwrap(), ["nvidia.com/gpu=0", "nvidia.com/gpu=1"]);
    assert_eq!(ask(9, &[]).unwrap().last().unwrap(), "nvidia.com/gpu=4");
    assert_eq!(ask(0, &["GPU-6a", "1"]).unwrap(), ["nvidia.com/gpu=GPU-6a", "nvidia.com/gpu=1"]);
    assert_eq!(ask(0, &["amd.com/gpu=1"]).unwrap(), ["amd.com/gpu=1"]);
}

#[test]
fn names_of_devices_are_told_from_paths() {
    for name in ["nvidia.com/gpu=all", "v/c=0", "v-1.x/c_d=a.b:c"] {
        assert!(is_qualified(name), "{name}");
    }
    for path in ["/dev/null", "/dev/a=b", "v/c", "v=c", "/c=x", "v/=x", "v/c=", "v/c=a b", "1v/c=x"] {
        assert!(!is_qualified(path), "{path}");
    }
}
