//! What a client has been told is so: whoever asks right after a reply, or after the end of a stream, is answered from
//! what was told. Each obligation is tried several times in a row, since a window that is open is not hit every time.

use proa_e2e::{Ctx, Suite};

/// How often each is tried.
const TIMES: usize = 8;

pub(crate) fn add(s: &mut Suite) {
    s.each("the exit code of an exec must be known when its output ends", |c| {
        let name = c.name("c");
        c.start(&name, &[], "sleep 60");
        for n in 1..=TIMES {
            let code = i32::try_from(n).unwrap_or(1);
            assert_eq!(c.run(&["exec", &name, "sh", "-c", &format!("echo out; exit {n}")]).code, code);
        }
    });
    s.each("the exit must be in inspect and ps when an attached client ends", |c| {
        for n in 1..=TIMES {
            let name = c.name(&format!("c{n}"));
            assert_eq!(c.run(&["run", "--name", &name, "busybox", "sh", "-c", "echo said; exit 3"]).code, 3);
            assert_eq!(c.inspect(&name, "{{.State.Status}} {{.State.ExitCode}}"), "exited 3");
            assert_eq!(c.ok(&["ps", "-q", "--filter", &format!("name={name}")]), "");
            assert_eq!(c.ok(&["logs", &name]), "said");
            assert_eq!(c.inspect(&name, "{{.NetworkSettings.IPAddress}}"), "");
        }
    });
    s.each("a container must be out of ps when wait has answered", |c| {
        for n in 1..=TIMES {
            let name = c.name(&format!("c{n}"));
            c.start(&name, &[], "sleep 0.1; exit 4");
            assert_eq!(c.ok(&["wait", &name]), "4");
            assert_eq!(c.ok(&["ps", "-q", "--filter", &format!("name={name}")]), "");
            assert_eq!(c.inspect(&name, "{{.State.Running}} {{.State.ExitCode}}"), "false 4");
        }
    });
    s.each("the name of a container with --rm must be free when its end is told", |c| {
        let name = c.name("c");
        for _ in 1..=TIMES {
            c.ok(&["run", "--rm", "--name", &name, "busybox", "true"]);
            c.start(&name, &["--rm"], "sleep 60");
            c.ok(&["stop", "-t", "0", &name]);
            c.start(&name, &["--rm"], "sleep 60");
            c.ok(&["kill", &name]);
            c.start(&name, &["--rm"], "sleep 60");
            c.ok(&["rm", "-f", &name]);
        }
    });
    s.each("an anonymous volume must be gone when its container is", |c| {
        for n in 1..=TIMES {
            let name = c.name(&format!("c{n}"));
            let since = now();
            c.start(&name, &["-v", "/anon"], "sleep 60");
            let volume = c.inspect(&name, "{{(index .Mounts 0).Name}}");
            c.ok(&["rm", "-fv", &name]);
            c.run(&["volume", "inspect", &volume]).fails(1, "no such volume");
            assert!(!c.ok(&["volume", "ls", "-q"]).contains(&volume));
            let told = events(c, &since, &["type=volume", &format!("volume={volume}")]);
            assert!(told.contains(&"create".to_owned()) && told.contains(&"destroy".to_owned()), "{told:?}");
            let out = c.sh(&["-v", "/anon"], "grep ' /anon ' /proc/self/mountinfo");
            let path = out.split(' ').nth(3).unwrap_or_default();
            let volume = path.rsplit('/').nth(1).unwrap_or_default();
            assert_eq!(volume.len(), 64, "{out}");
            assert!(!c.ok(&["volume", "ls", "-q"]).contains(volume));
        }
    });
    s.each("a published port must be free when its container has stopped", |c| {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let publish = format!("{port}:80");
        for n in 1..=TIMES {
            let (a, b) = (c.name(&format!("a{n}")), c.name(&format!("b{n}")));
            c.start(&a, &["-p", &publish], "sleep 60");
            c.ok(&["stop", "-t", "0", &a]);
            assert_eq!(c.ok(&["port", &a]), "");
            c.start(&b, &["-p", &publish], "sleep 60");
            c.ok(&["rm", "-f", &b]);
            c.ok(&["start", &a]);
            c.ok(&["kill", &a]);
            c.sh(&["-p", &publish], "true");
            c.sh(&["-p", &publish], "true");
        }
    });
    s.each("restart must publish the same ports again, also with --rm", |c| {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let publish = format!("{port}:80");
        for (suffix, options) in [("kept", &["-p", &publish][..]), ("rm", &["--rm", "-p", &publish])] {
            let name = c.name(suffix);
            c.start(&name, options, "echo up >> /ups; exec sleep 600");
            for n in 1..=4 {
                assert!(c.ok(&["port", &name]).contains(&format!("80/tcp -> 0.0.0.0:{port}")));
                // A run that is ended before it has written would never be counted.
                proa_e2e::command::until("the file of all runs", || {
                    (c.run(&["exec", &name, "cat", "/ups"]).out().lines().count() == n).then_some(())
                });
                c.ok(&["restart", "-t", "0", &name]);
            }
            c.ok(&["rm", "-f", &name]);
        }
    });
    s.each("an image must be free when its container is removed", |c| {
        for n in 1..=TIMES {
            let (name, image) = (c.name(&format!("c{n}")), c.name("image"));
            c.ok(&["tag", "busybox", &image]);
            c.ok(&["run", "-d", "--name", &name, &image, "sleep", "60"]);
            c.ok(&["rm", "-f", &name]);
            assert!(c.ok(&["rmi", &image]).contains("Untagged"));
        }
    });
    events_in_order(s);
}

/// Events of a container or volume from `since` until now, each as its action without what follows a colon.
fn events(c: &Ctx, since: &str, filters: &[&str]) -> Vec<String> {
    let until = now();
    let mut args = vec!["events", "--since", since, "--until", &until, "--format", "{{.Action}}"];
    filters.iter().for_each(|filter| args.extend(["--filter", filter]));
    let text = c.ok(&args);
    text.lines().map(|line| line.split(':').next().unwrap_or_default().to_owned()).collect()
}

fn now() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("{}.{:09}", now.as_secs(), now.subsec_nanos())
}

fn events_in_order(s: &mut Suite) {
    s.each("events must be told in order, all of them before the reply", |c| {
        for n in 1..=TIMES {
            let (name, since) = (c.name(&format!("c{n}")), now());
            let filter = format!("container={name}");
            let told = || events(c, &since, &[&filter]).join(" ");
            c.ok(&["run", "--name", &name, "busybox", "true"]);
            assert_eq!(told(), "create attach start die");
            c.ok(&["rm", &name]);
            assert_eq!(told(), "create attach start die destroy");
            let since = now();
            let told = || events(c, &since, &[&filter]).join(" ");
            c.start(&name, &[], "sleep 60");
            c.ok(&["exec", &name, "true"]);
            c.ok(&["kill", &name]);
            assert_eq!(told(), "create start exec_create exec_start exec_die kill die");
            c.ok(&["start", &name]);
            c.ok(&["stop", "-t", "0", &name]);
            c.ok(&["start", &name]);
            c.ok(&["rm", "-f", &name]);
            let rest = "start kill die stop start kill die destroy";
            assert_eq!(told(), format!("create start exec_create exec_start exec_die kill die {rest}"));
        }
    });
}
