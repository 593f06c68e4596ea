//! Fuzz tests of what users write on the command line.

use crate::spec;
use proa_fuzz::run;

#[test]
fn fuzz_specs() {
    let seeds: [&[u8]; 8] = [
        b"127.0.0.1:8000-8010:80-90/tcp",
        b"[::1]::53/udp",
        b"type=bind,source=/a,target=/b,readonly,bind-propagation=rslave",
        b"type=volume,src=v,dst=/v,volume-driver=local,volume-opt=a=b,\"volume-label=c,d\"",
        b"type=tmpfs,destination=/t,tmpfs-size=64m,tmpfs-mode=1700",
        b"/dev/sda:/dev/xvdc:rwm",
        b"nofile=1024:2048",
        b"/dev/sda:10mb",
    ];
    run("specs", &seeds, |bytes| {
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        let _ = spec::publish(text, &mut Default::default());
        let _ = spec::mount(text);
        let _ = crate::device::device(text);
        let _ = spec::ulimit(text);
        let _ = spec::throttle(text, true);
        let _ = spec::throttle(text, false);
        let _ = spec::weight(text);
        let _ = spec::environment(text);
    });
}

#[test]
fn fuzz_env_file() {
    let path = proa_fuzz::scratch("env");
    let name = path.to_string_lossy().into_owned();
    run("env_file", &[b"\xef\xbb\xbf# c\nA=b c\n  D\r\nE=\n"], |bytes| {
        std::fs::write(&path, bytes).expect("the file");
        for environment in [true, false] {
            for line in spec::key_file(&name, environment).unwrap_or_default() {
                assert!(!line.starts_with('#') && !line.contains('\n'), "{line:?}");
            }
        }
    });
    let _ = std::fs::remove_file(&path);
}
