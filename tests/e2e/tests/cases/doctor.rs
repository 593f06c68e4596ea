//! `doctor`: it works where no engine runs.

use proa_e2e::Suite;

pub(crate) fn add(s: &mut Suite) {
    s.ours("doctor must tell what works and what is missing without an engine", |c| {
        let run = |args: &[&str]| {
            let mut command = c.command(args);
            command.env("DOCKER_HOST", "unix:///no/such.sock");
            proa_e2e::command::run(&mut command, b"")
        };
        let out = run(&["doctor"]);
        let shown = out.ok();
        for area in ["kernel", "cgroups", "storage", "network", "host"] {
            assert!(shown.lines().any(|line| line == area), "{area}: {shown}");
        }
        assert!(shown.contains("Containers can run here: 0 missing") && !shown.contains('\u{1b}'), "{shown}");
        let report: serde_json::Value =
            serde_json::from_str(&run(&["doctor", "--format", "json"]).ok()).unwrap();
        assert_eq!(report["Healthy"], true);
        let checks = report["Checks"].as_array().unwrap();
        let named = |check: &serde_json::Value| check["Name"] == "version" && check["State"] == "ok";
        assert!(checks.iter().any(named), "{report}");
        assert_eq!(run(&["doctor", "--format", "{{.Healthy}}"]).ok(), "true");
        assert!(c.on_terminal(&["doctor"], b"").out().contains("\u{1b}[32mok"));
    });
}
