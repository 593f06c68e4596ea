//! Volumes as a whole, beyond docker: clone, rename, export, import.

use proa_e2e::Suite;
use proa_e2e::archive::{file, member, tar};

pub(crate) fn add(s: &mut Suite) {
    s.ours("volume clone must copy a volume that nobody runs with", |c| {
        let (from, to, name) = (c.name("from"), c.name("to"), c.name("c"));
        c.ok(&["volume", "create", "--label", "tier=web", &from]);
        let volume = format!("{from}:/v");
        c.sh(&["-v", &volume], "echo one > /v/f; ln /v/f /v/g; ln -s f /v/l; mkdir /v/d; chown 7:8 /v/d");
        assert_eq!(c.ok(&["volume", "clone", "--label", "copy=yes", &from, &to]), to);
        let shown = c.sh(
            &["-v", &format!("{to}:/v")],
            "cat /v/g; readlink /v/l; stat -c '%u %g' /v/d; stat -c %h /v/f",
        );
        assert_eq!(shown, "one\nf\n7 8\n2");
        let labels = c.ok(&["volume", "inspect", "--format", "{{json .Labels}}", &to]);
        assert_eq!(labels, r#"{"copy":"yes","tier":"web"}"#);
        c.sh(&["-v", &volume], "echo two > /v/f");
        assert_eq!(c.sh(&["-v", &format!("{to}:/v")], "cat /v/f"), "one");
        c.run(&["volume", "clone", &from, &to]).fails(1, "a volume of this name exists");
        c.run(&["volume", "clone", &c.name("none"), &c.name("x")]).fails(1, "no such volume");
        c.run(&["volume", "clone", &from, "a/b"]).fails(1, "includes invalid characters");
        let id = c.start(&name, &["-v", &volume], "sleep 600");
        let refused = c.run(&["volume", "clone", &from, &c.name("x")]);
        refused.fails(1, "volume is in use").fails(1, &id);
        c.run(&["volume", "inspect", &c.name("x")]).fails(1, "no such volume");
    });
    s.ours("volume rename must keep the data and refuse a volume in use", |c| {
        let (from, to, name) = (c.name("from"), c.name("to"), c.name("c"));
        c.sh(&["-v", &format!("{from}:/v")], "echo one > /v/f");
        let id = c.ok(&["create", "--name", &name, "-v", &format!("{from}:/v"), "busybox"]);
        c.run(&["volume", "rename", &from, &to]).fails(1, "volume is in use").fails(1, &id);
        c.ok(&["rm", &name]);
        c.ok(&["volume", "create", &to]);
        c.run(&["volume", "rename", &from, &to]).fails(1, "a volume of this name exists");
        c.ok(&["volume", "rm", &to]);
        c.ok(&["volume", "rename", &from, &to]);
        c.run(&["volume", "inspect", &from]).fails(1, "no such volume");
        assert_eq!(c.sh(&["-v", &format!("{to}:/v")], "cat /v/f"), "one");
        let at = c.ok(&["volume", "inspect", "--format", "{{.Mountpoint}}", &to]);
        assert!(at.contains(&to), "{at}");
    });
    s.ours("volume export and import must carry everything a file has", |c| {
        let (from, to) = (c.name("from"), c.name("to"));
        let script = "echo one > /v/f; ln /v/f /v/g; ln -s f /v/l; mkdir -m 1700 /v/d; mkfifo /v/p; chown 7:8 /v/d; touch -d @1000 /v/f";
        c.sh(&["-v", &format!("{from}:/v")], script);
        let path = c.dir("out").join("v.tar");
        c.ok(&["volume", "export", "-o", &path.to_string_lossy(), &from]);
        let piped = c.run(&["volume", "export", &from]);
        assert_eq!(piped.stdout, std::fs::read(&path).unwrap());
        assert_eq!(c.feed(&["volume", "import", "--label", "a=b", &to], &piped.stdout).ok(), to);
        let look = "cd /v; stat -c '%n %u %g %a %h %Y' f g d | sed 's/ [0-9]*$//' ; readlink l; test -p p && cat g; stat -c %Y f";
        let both = [&from, &to].map(|name| c.sh(&["-v", &format!("{name}:/v")], look));
        assert_eq!(both[0], both[1]);
        assert!(both[0].ends_with("one\n1000"), "{}", both[0]);
        assert_eq!(c.ok(&["volume", "inspect", "--format", "{{.Labels.a}}", &to]), "b");
        let again = c.feed(&["volume", "import", &to, "-"], &piped.stdout);
        again.fails(1, "a volume of this name exists");
        c.run(&["volume", "import", &c.name("x"), "/no/such/file"]).fails(1, "no such file or directory");
        c.run(&["volume", "export", &c.name("x")]).fails(1, "no such volume");
        let held = c.name("c");
        c.start(&held, &["-v", &format!("{from}:/v")], "sleep 600");
        c.run(&["volume", "export", &from]).fails(1, "volume is in use");
    });
    s.ours("an import of a volume must stay inside and leave nothing when it fails", |c| {
        let outside = c.dir("outside");
        std::fs::write(outside.join("kept"), "kept").unwrap();
        let target = outside.to_string_lossy().into_owned();
        for (name, members) in [
            ("up", vec![file("../../../../tmp/proa-import", b"x")]),
            ("link", vec![member("l", b'2', &target, b""), file("l/kept", b"bad")]),
            ("hard", vec![member("h", b'1', "../../../../etc/passwd", b"")]),
            ("cut", vec![file("f", b"x"), file("g", &[0; 3000])[..700].to_vec()]),
        ] {
            let volume = c.name(name);
            let mut archive = tar(&members);
            if name == "cut" {
                archive = members.concat();
            }
            let out = c.feed(&["volume", "import", &volume], &archive);
            assert_eq!(std::fs::read_to_string(outside.join("kept")).unwrap(), "kept", "{name}");
            assert!(!std::path::Path::new("/tmp/proa-import").exists());
            if out.code != 0 {
                c.run(&["volume", "inspect", &volume]).fails(1, "no such volume");
            }
            assert!(name != "cut" || out.code == 1, "{name}: {}", out.err());
        }
        c.feed(&["volume", "import", &c.name("text")], b"this is no archive")
            .fails(1, "neither a tar archive");
        c.run(&["volume", "inspect", &c.name("text")]).fails(1, "no such volume");
    });
}
