//! `logs`: what was written is there, in order, as asked for.

use proa_e2e::{Suite, command::until};
use std::io::{BufRead, BufReader};

pub(crate) fn add(s: &mut Suite) {
    s.each("logs must keep both streams apart", |c| {
        let name = c.name("c");
        c.start(&name, &[], "echo out; echo err >&2");
        c.ok(&["wait", &name]);
        let out = c.run(&["logs", &name]);
        assert_eq!((out.out().as_str(), out.err().trim()), ("out", "err"));
    });
    s.each("logs --tail must give the last lines", |c| {
        let name = c.name("c");
        c.start(&name, &[], "for i in 1 2 3 4 5; do echo $i; done");
        c.ok(&["wait", &name]);
        assert_eq!(c.ok(&["logs", "--tail", "2", &name]), "4\n5");
        assert_eq!(c.ok(&["logs", "--tail", "0", &name]), "");
        assert_eq!(c.ok(&["logs", "-n", "all", &name]).lines().count(), 5);
    });
    s.each("logs -t must date each line", |c| {
        let name = c.name("c");
        c.start(&name, &[], "echo x");
        c.ok(&["wait", &name]);
        let line = c.ok(&["logs", "-t", &name]);
        let (time, text) = line.split_once(' ').expect("a date and a line");
        assert_eq!((time.len(), text), (30, "x"), "{line}");
    });
    s.each("logs --since and --until must cut by time", |c| {
        let name = c.name("c");
        c.start(&name, &[], "echo early; sleep 2.5; echo late");
        c.ok(&["wait", &name]);
        let dated = c.ok(&["logs", "-t", &name]);
        let late = dated
            .lines()
            .last()
            .and_then(|l| l.split_once(' '))
            .map(|(t, _)| t.to_owned())
            .expect("two lines");
        assert_eq!(c.ok(&["logs", "--since", &late, &name]), "late");
        let early = dated
            .lines()
            .next()
            .and_then(|l| l.split_once(' '))
            .map(|(t, _)| t.to_owned())
            .expect("two lines");
        assert_eq!(c.ok(&["logs", "--until", &early, &name]), "early");
    });
    s.each("logs -f must follow until the container ends", |c| {
        let name = c.name("c");
        c.start(&name, &[], "for i in 1 2 3; do echo $i; sleep 0.3; done");
        assert_eq!(c.ok(&["logs", "-f", &name]), "1\n2\n3");
    });
    s.each("logs -f must show a line as soon as it is written", |c| {
        let name = c.name("c");
        c.start(&name, &[], "echo first; sleep 60");
        let mut child = c.spawn(&["logs", "-f", &name]);
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("stdout")).read_line(&mut line).expect("a line");
        assert_eq!(line, "first\n");
        let _ = child.kill();
        let _ = child.wait();
    });
    s.each("logs must be safe for any bytes and long lines", |c| {
        let name = c.name("c");
        c.start(&name, &[], "head -c 100000 /dev/zero | tr '\\0' x; echo; printf 'a\\tb\"c\\\\d\\n'");
        c.ok(&["wait", &name]);
        let text = c.ok(&["logs", &name]);
        assert_eq!(text.lines().next().map(str::len), Some(100_000));
        assert_eq!(text.lines().last(), Some("a\tb\"c\\d"));
    });
    s.each("--log-driver none must keep nothing and say so", |c| {
        let name = c.name("c");
        c.start(&name, &["--log-driver", "none"], "echo x");
        c.ok(&["wait", &name]);
        c.run(&["logs", &name]).fails(1, "does not support reading");
    });
    s.each("--log-driver local and json-file must rotate within their bound", |c| {
        for driver in ["local", "json-file"] {
            let name = c.name(driver);
            let options = ["--log-driver", driver, "--log-opt", "max-size=20k", "--log-opt", "max-file=2"];
            c.start(&name, &options, "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done");
            c.ok(&["wait", &name]);
            let text = c.ok(&["logs", &name]);
            assert_eq!(text.lines().last(), Some("line 2999"), "{driver}");
            assert!(text.lines().count() < 3000, "{driver}: nothing was rotated away");
        }
    });
    s.each("logs --details must show the labels, variables and tag that json-file was told to keep", |c| {
        let name = c.name("c");
        let options = ["--label", "team=a b", "--label", "other=x", "-e", "SITE=c&d", "-e", "SITES=e"];
        let kept = ["labels=team", "env-regex=^SITE$", "tag={{.Name}}"];
        let kept: Vec<&str> = kept.iter().flat_map(|option| ["--log-opt", option]).collect();
        c.start(&name, &[&options[..], &kept].concat(), "echo hello");
        c.ok(&["wait", &name]);
        assert_eq!(c.ok(&["logs", &name]), "hello");
        assert_eq!(c.ok(&["logs", "--details", &name]), format!("SITE=c%26d,tag={name},team=a+b hello"));
        let dated = c.ok(&["logs", "--details", "-t", &name]);
        assert_eq!(dated.split_once(' ').map(|(_, rest)| rest.ends_with(" hello")), Some(true), "{dated}");
    });
    s.each("logs must read over rotated and compressed files, all of it, its end and a part", |c| {
        for driver in ["local", "json-file"] {
            let name = c.name(driver);
            let bounds = ["max-size=20k", "max-file=100", "compress=true"];
            let mut options = vec!["--log-driver", driver];
            options.extend(bounds.iter().flat_map(|option| ["--log-opt", option]));
            let script = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; sleep 0.5; echo end";
            c.start(&name, &options, script);
            let followed = c.ok(&["logs", "-f", &name]);
            let wanted: Vec<String> =
                (0..3000).map(|i| format!("line {i}")).chain(["end".to_owned()]).collect();
            assert!(followed.lines().eq(wanted.iter()), "{driver}: {} lines", followed.lines().count());
            c.ok(&["wait", &name]);
            assert!(c.ok(&["logs", &name]).lines().eq(wanted.iter()), "{driver}");
            let tail = c.ok(&["logs", "--tail", "2500", &name]);
            assert!(tail.lines().eq(wanted[501..].iter()), "{driver}: {} lines", tail.lines().count());
            let dated = c.ok(&["logs", "-t", &name]);
            let last =
                dated.lines().last().and_then(|line| line.split_once(' ')).expect("a date").0.to_owned();
            assert_eq!(c.ok(&["logs", "--since", &last, &name]), "end", "{driver}");
        }
    });
    s.each("logs of a running container must be readable many times at once", |c| {
        let name = c.name("c");
        c.start(&name, &[], "i=0; while [ $i -lt 200 ]; do echo $i; i=$((i+1)); done; sleep 60");
        until("all lines", || (c.ok(&["logs", &name]).lines().count() == 200).then_some(()));
        let followers: Vec<_> = (0..5).map(|_| c.spawn(&["logs", "-f", &name])).collect();
        c.ok(&["kill", &name]);
        for follower in followers {
            let out = follower.wait_with_output().expect("the follower ends");
            assert_eq!(String::from_utf8_lossy(&out.stdout).lines().count(), 200);
        }
    });
}
