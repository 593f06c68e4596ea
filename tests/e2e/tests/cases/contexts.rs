//! Contexts, as docker stores them: each client keeps its own, and each reads the others'.

use proa_e2e::{Ctx, Suite};
use std::process::Command;

/// A client's command with a configuration of the test and nothing about hosts in its environment.
fn command(c: &Ctx, program: &std::path::Path, config: &std::path::Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).env("DOCKER_CONFIG", config).current_dir(config);
    for name in ["DOCKER_HOST", "PROA_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"] {
        command.env_remove(name);
    }
    assert!(c.host.starts_with("unix://"));
    command
}

fn run(c: &Ctx, config: &std::path::Path, args: &[&str]) -> proa_e2e::command::Output {
    proa_e2e::command::run(&mut command(c, &c.client.program, config, args), b"")
}

/// Runs with one variable more.
fn run_with(
    c: &Ctx,
    config: &std::path::Path,
    (name, value): (&str, &str),
    args: &[&str],
) -> proa_e2e::command::Output {
    let mut command = command(c, &c.client.program, config, args);
    proa_e2e::command::run(command.env(name, value), b"")
}

pub(crate) fn add(s: &mut Suite) {
    s.each("a context must be made, used, changed and removed", |c| {
        let config = c.dir("config");
        let docker = |args: &[&str]| run(c, &config, args);
        let host = format!("host={}", c.host);
        let made = docker(&["context", "create", "mine", "--description", "the text", "--docker", &host]);
        assert_eq!(
            (made.ok().as_str(), made.err().trim()),
            ("mine", "Successfully created context \"mine\"")
        );
        docker(&["context", "create", "mine", "--docker", &host]).fails(1, "context \"mine\" already exists");
        docker(&["--context", "mine", "ps"]).ok();
        run_with(c, &config, ("DOCKER_CONTEXT", "mine"), &["ps"]).ok();
        let used = docker(&["context", "use", "mine"]);
        assert_eq!((used.ok().as_str(), used.err().trim()), ("mine", "Current context is now \"mine\""));
        docker(&["ps"]).ok();
        let text = std::fs::read_to_string(config.join("config.json")).unwrap();
        assert_eq!(text, "{\n\t\"auths\": {},\n\t\"currentContext\": \"mine\"\n}");
        let listed = docker(&["context", "ls"]).ok();
        assert!(listed.contains("mine *") && listed.contains("the text"), "{listed}");
        let field = "{{.Name}} {{.Endpoints.docker.Host}}";
        let found = docker(&["context", "inspect", "--format", field, "mine"]).ok();
        assert_eq!(found, format!("mine {}", c.host));
        docker(&["context", "update", "mine", "--docker", "host=unix:///no/such.sock"]).ok();
        docker(&["ps"]).fails(1, "unix:///no/such.sock");
        // a host comes before the context, and says so
        let warned = run_with(c, &config, ("DOCKER_HOST", &c.host), &["context", "use", "mine"]);
        assert!(warned.err().contains("DOCKER_HOST environment variable overrides the active context"));
        run_with(c, &config, ("DOCKER_HOST", &c.host), &["ps"]).ok();
        docker(&["-H", &c.host, "ps"]).ok();
        docker(&["context", "rm", "mine"]).fails(1, "is in use, set -f flag to force remove");
        assert_eq!(docker(&["context", "rm", "-f", "mine"]).ok(), "mine");
        assert!(docker(&["context", "ls"]).ok().contains("default *"));
    });
    s.each("what is no context must be told", |c| {
        let config = c.dir("config");
        let docker = |args: &[&str]| run(c, &config, args);
        let create = |name: &str, docker_: &str| docker(&["context", "create", name, "--docker", docker_]);
        create("x y", "host=tcp://h:1").fails(1, "is invalid, names are validated against regexp");
        create("default", "host=tcp://h:1").fails(1, "\"default\" is a reserved context name");
        create("ab", "colour=red").fails(1, "unrecognized config key");
        create("ab", "host=bogus").fails(1, "unable to parse docker host `bogus`");
        create("ab", "host=tcp://h:1,ca=/no/such").fails(1, "no such file or directory");
        create("ab", "host=tcp://h:1,skip-tls-verify=perhaps").fails(1, "invalid syntax");
        docker(&["context", "rm", "default"]).fails(1, "context \"default\" cannot be removed");
        docker(&["context", "rm", "nope"]).fails(1, "context \"nope\" does not exist");
        docker(&["--context", "nope", "ps"]).fails(1, "unable to resolve docker endpoint: context \"nope\"");
        docker(&["--context", "nope", "-H", &c.host, "ps"]).fails(1, "");
        docker(&["-H", &c.host, "-H", &c.host, "ps"]).fails(1, "specify only one -H");
        assert!(!config.join("contexts/meta").exists());
    });
    s.each("a context must be exported and imported", |c| {
        let config = c.dir("config");
        let docker = |args: &[&str]| run(c, &config, args);
        for name in ["ca", "cert", "key"] {
            std::fs::write(config.join(name), format!("the {name}\n")).unwrap();
        }
        docker(&["context", "create", "plain", "--docker", "host=tcp://h:1"]).ok();
        docker(&["context", "export", "plain"]).ok();
        docker(&["context", "export", "plain"]).fails(1, "file exists");
        docker(&["context", "import", "again", "plain.dockercontext"]).ok();
        docker(&["context", "import", "again", "plain.dockercontext"]).fails(1, "already exists");
        let piped = docker(&["context", "export", "plain", "-"]);
        piped.ok();
        let mut import = command(c, &c.client.program, &config, &["context", "import", "piped", "-"]);
        proa_e2e::command::run(&mut import, &piped.stdout).ok();
        let host = ["context", "inspect", "--format", "{{.Endpoints.docker.Host}}", "again", "piped"];
        assert_eq!(docker(&host).ok(), "tcp://h:1\ntcp://h:1");
        docker(&["context", "import", "bad", "ca"]).fails(1, "");
        docker(&["context", "import", "bad", "no-such-file"]).fails(1, "no such file or directory");
    });
    s.each("a context's archive must not write anywhere else", |c| {
        use proa_e2e::archive::{file, member, tar};
        let config = c.dir("config");
        let document = file("meta.json", br#"{"Name":"q","Endpoints":{"docker":{"Host":"tcp://h:1"}}}"#);
        for (name, bad) in [
            ("up", file("tls/docker/../../../../x", b"x")),
            ("beside", file("other", b"x")),
            ("root", file("/etc/x", b"x")),
            ("lone", file("tls/lone", b"x")),
        ] {
            std::fs::write(config.join("a.tar"), tar(&[document.clone(), bad])).unwrap();
            let out = run(c, &config, &["context", "import", name, "a.tar"]);
            assert_eq!(out.code, 1, "{name}: {}", out.err());
        }
        let link = member("tls/docker/ca.pem", b'2', "/etc/passwd", b"");
        std::fs::write(config.join("a.tar"), tar(&[document, link])).unwrap();
        run(c, &config, &["context", "import", "linked", "a.tar"]);
        let tls = walk(&config.join("contexts"));
        assert!(tls.iter().all(|path| !path.ends_with("ca.pem") && !path.ends_with('x')), "{tls:?}");
        assert!(!config.join("x").exists());
    });
    s.ours("contexts must be the same for the stock clients and for ours", |c| {
        let config = c.dir("config");
        for name in ["ca", "cert", "key"] {
            std::fs::write(config.join(name), format!("the {name}\n")).unwrap();
        }
        let host = format!("host={}", c.host);
        let ours = |args: &[&str]| run(c, &config, args);
        for stock in proa_e2e::Client::all().iter().filter(|client| !client.is_ours()) {
            let theirs =
                |args: &[&str]| proa_e2e::command::run(&mut command(c, &stock.program, &config, args), b"");
            let (a, b) = (format!("ours-{}", stock.name), format!("theirs-{}", stock.name));
            ours(&["context", "create", &a, "--description", "a text", "--docker", &host]).ok();
            theirs(&["context", "create", &b, "--description", "a text", "--docker", &host]).ok();
            theirs(&["--context", &a, "ps"]).ok();
            ours(&["--context", &b, "ps"]).ok();
            let document = |name: &str| {
                let path = ours(&["context", "inspect", "--format", "{{.Storage.MetadataPath}}", name]).ok();
                std::fs::read_to_string(format!("{path}/meta.json")).unwrap()
            };
            assert_eq!(document(&a), document(&b).replace("theirs-", "ours-"));
            assert_eq!(theirs(&["context", "inspect", &a]).ok(), ours(&["context", "inspect", &a]).ok());
            assert_eq!(theirs(&["context", "inspect", &b]).ok(), ours(&["context", "inspect", &b]).ok());
            // archives of one are read by the other
            let (from_ours, from_theirs) = (format!("{a}-again"), format!("{b}-again"));
            ours(&["context", "export", &a]).ok();
            theirs(&["context", "export", &b]).ok();
            theirs(&["context", "import", &from_ours, &format!("{a}.dockercontext")]).ok();
            ours(&["context", "import", &from_theirs, &format!("{b}.dockercontext")]).ok();
            theirs(&["--context", &from_theirs, "ps"]).ok();
            ours(&["--context", &from_ours, "ps"]).ok();
            theirs(&["context", "use", &a]).ok();
            assert_eq!(ours(&["context", "show"]).ok(), a);
            ours(&["context", "rm", "-f", &a]).ok();
            assert!(!theirs(&["context", "ls", "-q"]).ok().lines().any(|name| name == a));
        }
    });
}

/// Every path below a directory.
fn walk(dir: &std::path::Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        all.push(entry.path().display().to_string());
        all.extend(walk(&entry.path()));
    }
    all
}
