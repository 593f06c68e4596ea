//! Fuzz test of the configuration file.

use crate::config::Config;
use proa_fuzz::run;

#[test]
fn fuzz_daemon_json() {
    let seed = br#"{"data-root":"/d","hosts":["unix:///x","tcp://0.0.0.0:1"],"bip":"10.0.0.1/24","mtu":1400,"log-opts":{"max-size":"10m"},"dns":["1.1.1.1"],"insecure-registries":["a:5000","10.0.0.0/8"],"registry-mirrors":["https://m"],"default-ulimits":{"nofile":{"Name":"nofile","Hard":5,"Soft":4}},"runtimes":{"crun":{"path":"/x","runtimeArgs":["a"]}},"log-level":"debug","live-restore":true,"tlsverify":false,"max-concurrent-downloads":3,"labels":["a=b"]}"#;
    let path = proa_fuzz::scratch("json");
    let args = ["--config-file".to_owned(), path.to_string_lossy().into_owned()];
    run("daemon_json", &[seed], |bytes| {
        std::fs::write(&path, bytes).expect("the file");
        let _ = Config::load(&args);
    });
    let _ = std::fs::remove_file(&path);
}
