//! What a client has been told is so: whoever asks right after a reply, or after the end of a stream, is answered from
//! what was told. Each obligation is tried several times in a row, since a window that is open is not hit every time.

use proa_e2e::Suite;

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
        }
    });
}
