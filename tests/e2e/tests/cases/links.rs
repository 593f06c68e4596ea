//! Links on the default bridge: what a container is told of another, and the name that a link is.

use proa_e2e::{Ctx, Suite, command::until};

pub(crate) fn add(s: &mut Suite) {
    s.each("--link must tell the address of another in hosts and variables", told);
    s.each("the address of a link must follow the container when it starts anew", follows);
    s.each("a link must be a name of the container, until rm --link", named);
    s.each("a link to what cannot be reached must be refused", refused);
    s.each("keys of a request must be read in any case", any_case);
}

fn told(c: &Ctx) {
    let (web, app) = (c.name("web"), c.name("app"));
    c.start(&web, &["-h", "thehost", "-e", "COLOR=red", "--expose", "80", "--expose", "53/udp"], "sleep 60");
    let address = c.inspect(&web, "{{.NetworkSettings.IPAddress}}");
    let link = format!("{web}:my-db");
    let said = c.sh(&["--name", &app, "--link", &link], "cat /etc/hosts; env");
    let line = format!("{address}\tmy-db thehost {web}");
    assert!(said.lines().any(|l| l == line), "{line} in {said}");
    for entry in [
        format!("MY_DB_PORT=udp://{address}:53"),
        format!("MY_DB_PORT_80_TCP=tcp://{address}:80"),
        format!("MY_DB_PORT_80_TCP_ADDR={address}"),
        "MY_DB_PORT_80_TCP_PORT=80".into(),
        "MY_DB_PORT_80_TCP_PROTO=tcp".into(),
        format!("MY_DB_PORT_53_UDP=udp://{address}:53"),
        format!("MY_DB_NAME=/{app}/my-db"),
        "MY_DB_ENV_COLOR=red".into(),
    ] {
        assert!(said.lines().any(|l| l == entry), "{entry} in {said}");
    }
    // Without an alias, the name is it.
    let said = c.sh(&["--link", &web], "grep thehost /etc/hosts");
    assert_eq!(said, format!("{address}\t{web} thehost"));
}

fn follows(c: &Ctx) {
    let (web, app, other) = (c.name("web"), c.name("app"), c.name("other"));
    c.start(&web, &["-h", "thehost"], "sleep 600");
    c.start(&app, &["--link", &format!("{web}:db")], "echo mine >> /etc/hosts; sleep 600");
    until("its own line", || c.ok(&["exec", &app, "cat", "/etc/hosts"]).contains("mine").then_some(()));
    let before = c.inspect(&web, "{{.NetworkSettings.IPAddress}}");
    c.ok(&["stop", "-t", "0", &web]);
    c.start(&other, &[], "sleep 600");
    c.ok(&["start", &web]);
    let address = c.inspect(&web, "{{.NetworkSettings.IPAddress}}");
    let hosts = c.ok(&["exec", &app, "cat", "/etc/hosts"]);
    assert!(hosts.contains(&format!("{address}\tdb thehost {web}")), "{hosts}");
    assert!(before == address || !hosts.contains(&before), "{before}: {hosts}");
    assert!(hosts.contains("mine"), "{hosts}");
    c.ok(&["exec", &app, "ping", "-c1", "-W5", "db"]);
}

fn named(c: &Ctx) {
    let (web, app) = (c.name("web"), c.name("app"));
    c.start(&web, &[], "sleep 600");
    let id = c.inspect(&web, "{{.Id}}");
    c.start(&app, &["--link", &format!("{web}:db")], "sleep 600");
    let link = format!("{app}/db");
    assert_eq!(c.inspect(&link, "{{.Id}}"), id);
    assert_eq!(c.inspect(&app, "{{json .HostConfig.Links}}"), format!("[\"/{web}:/{app}/db\"]"));
    let names = c.ok(&["ps", "--no-trunc", "--filter", &format!("id={id}"), "--format", "{{.Names}}"]);
    assert!(names.split(',').any(|name| name == link) && names.split(',').any(|name| name == web), "{names}");
    assert_eq!(c.ok(&["ps", "--filter", &format!("id={id}"), "--format", "{{.Names}}"]), web);
    c.ok(&["rm", "--link", &link]);
    c.run(&["inspect", "--type", "container", &link]).fails(1, "No such container");
    assert_eq!(c.inspect(&app, "{{json .HostConfig.Links}}"), "null");
    let hosts = c.ok(&["exec", &app, "cat", "/etc/hosts"]);
    // Its own hostname is hexadecimal, too.
    assert!(!hosts.contains("\tdb "), "{hosts}");
    c.run(&["rm", "--link", &web]).fails(1, "cannot remove the default link name");
    c.ok(&["rm", "-f", &web]);
    c.ok(&["restart", "-t", "0", &app]);
}

fn refused(c: &Ctx) {
    let (web, app) = (c.name("web"), c.name("app"));
    let missing = format!("could not get container for {web}");
    c.run(&["create", "--link", &format!("{web}:db"), "busybox", "true"]).fails(1, &missing);
    c.ok(&["create", "--name", &web, "busybox", "true"]);
    c.ok(&["create", "--name", &app, "--link", &format!("{web}:db"), "busybox", "true"]);
    let text = format!("Cannot link to a non running container: /{web} AS /{app}/db");
    c.run(&["start", &app]).fails(1, &text);
    let text = "host type networking can't be used with links";
    // Some clients refuse it themselves.
    let body = format!(r#"{{"Image":"busybox","HostConfig":{{"NetworkMode":"host","Links":["{web}"]}}}}"#);
    let answer = c.request("POST", "/containers/create", &body);
    assert!(answer.contains(" 400 ") && answer.contains(text), "{answer}");
}

fn any_case(c: &Ctx) {
    let name = c.name("c");
    let body = r#"{"image":"busybox","CMD":["sleep","60"],"env":["A=b"],
        "hostconfig":{"memory":16777216,"restartpolicy":{"NAME":"on-failure","maximumretrycount":3}}}"#;
    let answer = c.request("POST", &format!("/containers/create?name={name}"), body);
    assert!(answer.contains(" 201 "), "{answer}");
    let shown = c.inspect(
        &name,
        "{{.Config.Cmd}} {{.Config.Env}} {{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}",
    );
    assert!(shown.starts_with("[sleep 60] [A=b") && shown.ends_with("16777216 3"), "{shown}");
}
