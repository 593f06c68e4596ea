//! From flags to the document that creates a container.

use std::collections::BTreeMap;

use proa_docker_api::{
    ContainerConfig, ContainerCreateRequest, DeviceMapping, DeviceRequest, EndpointIpamConfig,
    EndpointSettings, HealthConfig, HostConfig, LogConfig, NetworkingConfig,
};
use proa_types::units::parse_ram;

use crate::device;
use crate::parse::Parsed;
use crate::spec::{self, VolumeSpec};

type Result<T> = std::result::Result<T, String>;

fn bytes(flags: &Parsed, name: &str) -> Result<i64> {
    match flags.text(name) {
        None => Ok(0),
        Some("-1") => Ok(-1),
        Some(text) => parse_ram(text).map_err(|cause| cause.to_string()),
    }
}

fn each<T>(flags: &Parsed, name: &str, read: impl Fn(&str) -> Result<T>) -> Result<Option<Vec<T>>> {
    let flagged = |text: &String| {
        read(text).map_err(|cause| format!("invalid argument {text:?} for \"--{name}\" flag: {cause}"))
    };
    let list: Vec<T> = flags.list(name).iter().map(flagged).collect::<Result<_>>()?;
    Ok(Some(list).filter(|list| !list.is_empty()))
}

/// Builds the document of `run` and `create`.
///
/// # Errors
/// docker's words about the first bad value.
pub(crate) fn build(flags: &Parsed) -> Result<ContainerCreateRequest> {
    let mut host = host_config(flags)?;
    let config = config(flags, &mut host)?;
    for text in flags.list("publish") {
        spec::publish(&text, &mut host.port_bindings)?;
    }
    let mut config = config;
    for key in host.port_bindings.keys() {
        config.exposed_ports.insert(key.clone(), serde_json::json!({}));
    }
    let networking_config = networks(flags, &mut host)?;
    resources(flags, &mut host)?;
    Ok(ContainerCreateRequest { config, host_config: host, networking_config })
}

fn config(flags: &Parsed, host: &mut HostConfig) -> Result<ContainerConfig> {
    let (image, command) = flags.args.split_first().ok_or("no image given")?;
    let mut env = Vec::new();
    for path in flags.list("env-file") {
        env.extend(spec::key_file(&path, true)?);
    }
    for text in flags.list("env") {
        env.extend(
            spec::environment(&text)
                .map_err(|cause| format!("invalid argument {text:?} for \"-e, --env\" flag: {cause}"))?,
        );
    }
    let mut labels = Vec::new();
    for path in flags.list("label-file") {
        labels.extend(spec::key_file(&path, false)?);
    }
    labels.extend(flags.list("label"));
    let mut volumes = BTreeMap::new();
    let mut binds = Vec::new();
    for text in flags.list("volume") {
        match spec::volume(&text)? {
            VolumeSpec::Anonymous(path) => drop(volumes.insert(path, serde_json::json!({}))),
            VolumeSpec::Bind(bind) => binds.push(bind),
        }
    }
    host.binds = Some(binds).filter(|list| !list.is_empty());
    let mut exposed_ports = BTreeMap::new();
    for text in flags.list("expose") {
        exposed_ports.extend(spec::expose(&text)?.into_iter().map(|port| (port, serde_json::json!({}))));
    }
    let (stdin, stdout, stderr) = attached(flags)?;
    Ok(ContainerConfig {
        hostname: flags.text_or("hostname"),
        domainname: flags.text_or("domainname"),
        user: flags.text_or("user"),
        attach_stdin: stdin,
        attach_stdout: stdout,
        attach_stderr: stderr,
        exposed_ports,
        tty: flags.on("tty"),
        open_stdin: flags.on("interactive"),
        stdin_once: flags.on("interactive") && stdin,
        env: Some(env).filter(|list| !list.is_empty()),
        cmd: Some(command.to_vec()).filter(|list| !list.is_empty()),
        healthcheck: health(flags)?,
        image: image.clone(),
        volumes: Some(volumes).filter(|map| !map.is_empty()),
        working_dir: flags.text_or("workdir"),
        entrypoint: flags.text("entrypoint").map(|text| vec![text.to_owned()]),
        labels: spec::map(&labels),
        stop_signal: flags.text_or("stop-signal"),
        stop_timeout: flags.int("stop-timeout"),
        ..ContainerConfig::default()
    })
}

/// Which streams are attached: stdin, stdout, stderr.
///
/// # Errors
/// An unknown stream.
pub(crate) fn attached(flags: &Parsed) -> Result<(bool, bool, bool)> {
    let list = flags.list("attach");
    if let Some(bad) =
        list.iter().find(|text| !matches!(text.to_ascii_lowercase().as_str(), "stdin" | "stdout" | "stderr"))
    {
        return Err(format!(
            "invalid argument {bad:?} for \"-a, --attach\" flag: valid streams are STDIN, STDOUT and STDERR"
        ));
    }
    if flags.on("detach") {
        return Ok((false, false, false));
    }
    let has = |name: &str| list.iter().any(|text| text.eq_ignore_ascii_case(name));
    Ok(if list.is_empty() {
        (flags.on("interactive"), true, true)
    } else {
        (has("stdin"), has("stdout"), has("stderr"))
    })
}

fn health(flags: &Parsed) -> Result<Option<HealthConfig>> {
    let given = [
        "health-cmd",
        "health-interval",
        "health-timeout",
        "health-start-period",
        "health-start-interval",
        "health-retries",
    ];
    if flags.on("no-healthcheck") {
        if given.iter().any(|name| flags.has(name)) {
            return Err("--no-healthcheck conflicts with --health-* options".into());
        }
        return Ok(Some(HealthConfig { test: Some(vec!["NONE".into()]), ..HealthConfig::default() }));
    }
    let time = |name: &str| match flags.text(name) {
        None => Ok(0),
        Some(text) if text.starts_with('-') => Err(format!("--{name} cannot be negative")),
        Some(text) => spec::duration(text)
            .map_err(|cause| format!("invalid argument {text:?} for \"--{name}\" flag: {cause}")),
    };
    let health = HealthConfig {
        test: flags.text("health-cmd").map(|command| vec!["CMD-SHELL".into(), command.into()]),
        interval: time("health-interval")?,
        timeout: time("health-timeout")?,
        start_period: time("health-start-period")?,
        start_interval: time("health-start-interval")?,
        retries: flags.int("health-retries").unwrap_or(0),
    };
    Ok(Some(health).filter(|health| *health != HealthConfig::default()))
}

fn security(flags: &Parsed) -> Result<Option<Vec<String>>> {
    let mut out = Vec::new();
    for text in flags.list("security-opt") {
        let (key, value) = text.split_once('=').or_else(|| text.split_once(':')).unwrap_or((&text, ""));
        if value.is_empty() && key != "no-new-privileges" {
            return Err(format!("Invalid --security-opt: {text:?}"));
        }
        if key == "seccomp" && !matches!(value, "unconfined" | "builtin") {
            let raw = std::fs::read(value).map_err(|cause| {
                format!(
                    "opening seccomp profile ({value}) failed: open {value}: {}",
                    crate::app::reason(&cause)
                )
            })?;
            let profile: serde_json::Value = serde_json::from_slice(&raw)
                .map_err(|cause| format!("compacting json for seccomp profile ({value}) failed: {cause}"))?;
            out.push(format!("seccomp={profile}"));
        } else {
            out.push(text);
        }
    }
    Ok(Some(out).filter(|list| !list.is_empty()))
}

/// The namespaces that are shared are well named.
fn modes(flags: &Parsed) -> Result<()> {
    let wrong = |flag: &str, known: &[&str], prefixed: bool| {
        flags.text(flag).is_some_and(|mode| {
            let other = mode.strip_prefix("container:").is_some_and(|name| prefixed && !name.is_empty());
            !mode.is_empty() && !known.contains(&mode) && !other
        })
    };
    // Beyond docker: `auto`, `auto:size=N`.
    let own_users = flags.text("userns").is_some_and(|mode| mode == "auto" || mode.starts_with("auto:"));
    match () {
        () if wrong("pid", &["host"], true) => Err("--pid: invalid PID mode".into()),
        () if wrong("uts", &["host"], false) => Err("--uts: invalid UTS mode".into()),
        () if wrong("userns", &["host"], false) && !own_users => Err("--userns: invalid USER mode".into()),
        () if wrong("cgroupns", &["host", "private"], false) => Err("--cgroupns: invalid CGROUP mode".into()),
        () => Ok(()),
    }
}

/// `c 1:3 rwm`: a type, two numbers or `*`, and what may be done.
fn device_rule(text: &str) -> Result<String> {
    let words: Vec<&str> = text.split(' ').collect();
    let number = |text: &str| text == "*" || (!text.is_empty() && text.chars().all(|c| c.is_ascii_digit()));
    let fits = match words.as_slice() {
        [kind, numbers, access] => {
            matches!(*kind, "a" | "b" | "c")
                && numbers.split_once(':').is_some_and(|(major, minor)| number(major) && number(minor))
                && (1..=3).contains(&access.len())
                && access.chars().all(|c| "rwm".contains(c))
        }
        _ => false,
    };
    if fits { Ok(text.to_owned()) } else { Err(format!("invalid device cgroup format '{text}'")) }
}

fn host_config(flags: &Parsed) -> Result<HostConfig> {
    modes(flags)?;
    each(flags, "sysctl", |text| match text.contains('=') {
        true => Ok(()),
        false => Err(format!("sysctl '{text}' is not allowed")),
    })?;
    let driver = flags.text_or("log-driver");
    let options = spec::map(&flags.list("log-opt"));
    if driver == "none" && !options.is_empty() {
        return Err("invalid logging opts for driver none".into());
    }
    let restart = flags.text("restart").map_or_else(|| spec::restart("no"), spec::restart)?;
    if flags.on("rm") && !matches!(restart.name.as_str(), "" | "no") {
        return Err("conflicting options: cannot specify both --restart and --rm".into());
    }
    let tmpfs = flags
        .list("tmpfs")
        .iter()
        .map(|text| {
            text.split_once(':').map_or((text.clone(), String::new()), |(path, options)| {
                (path.to_owned(), options.to_owned())
            })
        })
        .collect();
    let (devices, device_requests) = devices(flags)?;
    let console_size = crate::terminal::size().filter(|_| flags.on("tty")).unwrap_or([0, 0]);
    Ok(HostConfig {
        container_id_file: flags.text_or("cidfile"),
        log_config: LogConfig { kind: driver, config: options },
        restart_policy: restart,
        auto_remove: flags.on("rm"),
        volume_driver: flags.text_or("volume-driver"),
        volumes_from: flags.some_list("volumes-from"),
        console_size,
        annotations: spec::map(&flags.list("annotation")),
        cap_add: flags.some_list("cap-add"),
        cap_drop: flags.some_list("cap-drop"),
        cgroupns_mode: flags.text_or("cgroupns"),
        dns: each(flags, "dns", address)?,
        dns_options: flags.some_list("dns-option"),
        dns_search: flags.some_list("dns-search"),
        extra_hosts: each(flags, "add-host", extra_host)?,
        group_add: flags.some_list("group-add"),
        ipc_mode: flags.text_or("ipc"),
        links: flags.some_list("link"),
        oom_score_adj: flags.int("oom-score-adj").unwrap_or(0),
        pid_mode: flags.text_or("pid"),
        privileged: flags.on("privileged"),
        publish_all_ports: flags.on("publish-all"),
        readonly_rootfs: flags.on("read-only"),
        security_opt: security(flags)?,
        storage_opt: spec::map(&flags.list("storage-opt")),
        tmpfs,
        uts_mode: flags.text_or("uts"),
        userns_mode: flags.text_or("userns"),
        shm_size: bytes(flags, "shm-size")?,
        sysctls: spec::map(&flags.list("sysctl")),
        runtime: flags.text_or("runtime"),
        isolation: flags.text_or("isolation"),
        devices,
        device_requests,
        device_cgroup_rules: each(flags, "device-cgroup-rule", device_rule)?,
        ulimits: each(flags, "ulimit", spec::ulimit)?,
        mounts: each(flags, "mount", spec::mount)?.unwrap_or_default(),
        init: flags.has("init").then(|| flags.on("init")),
        ..HostConfig::default()
    })
}

/// Devices of the host, and those asked of a driver: `--device vendor/class=name` and `--gpus`.
#[expect(clippy::type_complexity, reason = "two fields of the document")]
fn devices(flags: &Parsed) -> Result<(Option<Vec<DeviceMapping>>, Option<Vec<DeviceRequest>>)> {
    let (named, paths): (Vec<_>, Vec<_>) =
        flags.list("device").into_iter().partition(|text| device::is_device_name(text));
    let list = paths.iter().map(|text| device::device(text)).collect::<Result<Vec<_>>>()?;
    let mut requests = each(flags, "gpus", device::gpus)?.unwrap_or_default();
    if !named.is_empty() {
        let ids = Some(named);
        requests.push(DeviceRequest { driver: "cdi".into(), device_ids: ids, ..DeviceRequest::default() });
    }
    Ok((Some(list).filter(|list| !list.is_empty()), Some(requests).filter(|list| !list.is_empty())))
}

fn address(text: &str) -> Result<String> {
    let given = text.trim();
    match given.parse::<std::net::IpAddr>() {
        Ok(_) => Ok(given.to_owned()),
        Err(_) => Err(format!("IP address is not correctly formatted: {text}")),
    }
}

fn extra_host(text: &str) -> Result<String> {
    let Some((host, ip)) = text.split_once([':', '=']).filter(|(h, ip)| !h.is_empty() && !ip.is_empty())
    else {
        return Err(format!("bad format for add-host: {text:?}"));
    };
    let plain = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
    if plain != "host-gateway" && plain.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("invalid IP address in add-host: {ip:?}"));
    }
    Ok(format!("{host}:{plain}"))
}

/// The limits that flags give.
///
/// # Errors
/// A value that is none.
pub(crate) fn resources(flags: &Parsed, host: &mut HostConfig) -> Result<()> {
    host.memory = bytes(flags, "memory")?;
    host.memory_reservation = bytes(flags, "memory-reservation")?;
    host.memory_swap = bytes(flags, "memory-swap")?;
    host.kernel_memory = bytes(flags, "kernel-memory")?;
    host.memory_swappiness = Some(flags.int("memory-swappiness").unwrap_or(-1));
    if host.memory_swappiness.is_some_and(|value| !(-1..=100).contains(&value)) {
        return Err(format!(
            "invalid value: {}. Valid memory swappiness range is 0-100",
            flags.text_or("memory-swappiness")
        ));
    }
    host.oom_kill_disable = Some(flags.on("oom-kill-disable"));
    host.pids_limit = Some(flags.int("pids-limit").unwrap_or(0));
    host.nano_cpus = flags.text("cpus").map_or(Ok(0), |text| {
        spec::cpus(text).map_err(|cause| format!("invalid argument {text:?} for \"--cpus\" flag: {cause}"))
    })?;
    let int = |name: &str| flags.int(name).unwrap_or(0);
    host.cpu_shares = int("cpu-shares");
    host.cpu_period = int("cpu-period");
    host.cpu_quota = int("cpu-quota");
    host.cpu_realtime_period = int("cpu-rt-period");
    host.cpu_realtime_runtime = int("cpu-rt-runtime");
    host.cpuset_cpus = flags.text_or("cpuset-cpus");
    host.cpuset_mems = flags.text_or("cpuset-mems");
    host.cgroup_parent = flags.text_or("cgroup-parent");
    host.blkio_weight = flags.int("blkio-weight").and_then(|weight| u16::try_from(weight).ok()).unwrap_or(0);
    host.blkio_weight_device = each(flags, "blkio-weight-device", spec::weight)?;
    host.blkio_device_read_bps = each(flags, "device-read-bps", |text| spec::throttle(text, true))?;
    host.blkio_device_write_bps = each(flags, "device-write-bps", |text| spec::throttle(text, true))?;
    host.blkio_device_read_iops = each(flags, "device-read-iops", |text| spec::throttle(text, false))?;
    host.blkio_device_write_iops = each(flags, "device-write-iops", |text| spec::throttle(text, false))?;
    Ok(())
}

fn networks(flags: &Parsed, host: &mut HostConfig) -> Result<NetworkingConfig> {
    let mut out = NetworkingConfig::default();
    let given = flags.list("network");
    host.network_mode = given.first().cloned().unwrap_or_else(|| "default".into());
    let mut names = Vec::new();
    for text in &given {
        let mut endpoint = EndpointSettings::default();
        let mut name = text.clone();
        if text.contains('=') {
            for field in text.split(',') {
                let (key, value) = field.split_once('=').ok_or_else(|| format!("invalid field {field}"))?;
                match key {
                    "name" => value.clone_into(&mut name),
                    "alias" => endpoint.aliases.get_or_insert_default().push(value.into()),
                    "ip" => endpoint.ipam_config.get_or_insert_default().ipv4_address = value.into(),
                    "ip6" => endpoint.ipam_config.get_or_insert_default().ipv6_address = value.into(),
                    "mac-address" => value.clone_into(&mut endpoint.mac_address),
                    _ => return Err(format!("invalid field key {key}")),
                }
            }
        }
        names.push((name, endpoint));
    }
    if let Some((name, _)) = names.first() {
        host.network_mode.clone_from(name);
    }
    let mut first = names.first().map(|(_, endpoint)| endpoint.clone()).unwrap_or_default();
    if let Some(aliases) = flags.some_list("network-alias") {
        first.aliases.get_or_insert_default().extend(aliases);
    }
    if flags.has("ip") || flags.has("ip6") {
        first.ipam_config = Some(EndpointIpamConfig {
            ipv4_address: flags.text_or("ip"),
            ipv6_address: flags.text_or("ip6"),
            link_local_ips: flags.list("link-local-ip"),
        });
    }
    if let Some(mac) = flags.text("mac-address") {
        mac.clone_into(&mut first.mac_address);
    }
    if first != EndpointSettings::default() || names.len() > 1 {
        out.endpoints_config.insert(host.network_mode.clone(), Some(first));
    }
    for (name, endpoint) in names.into_iter().skip(1) {
        out.endpoints_config.insert(name, Some(endpoint));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{parse::parse, table};

    fn made(words: &[&str]) -> Result<ContainerCreateRequest> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        build(&parse(&words, table::find("run").unwrap().flags, false)?)
    }

    #[test]
    fn flags_must_end_in_the_document() {
        let request = made(&[
            "-itd",
            "-p",
            "8080:80",
            "-v",
            "/a:/b:ro",
            "-v",
            "/c",
            "-m",
            "64m",
            "--cpus",
            ".5",
            "--entrypoint",
            "sh",
            "--init",
            "--network",
            "none",
            "-e",
            "A=1",
            "busybox",
            "echo",
            "-n",
        ])
        .unwrap();
        assert_eq!(request.config.cmd.unwrap(), ["echo", "-n"]);
        assert_eq!(request.host_config.binds.unwrap(), ["/a:/b:ro"]);
        assert!(request.config.volumes.unwrap().contains_key("/c"));
        assert_eq!((request.host_config.memory, request.host_config.nano_cpus), (64 << 20, 500_000_000));
        assert_eq!(request.host_config.network_mode, "none");
        assert!(
            request.config.exposed_ports.contains_key("80/tcp")
                && request.config.open_stdin
                && !request.config.attach_stdin
        );
    }

    #[test]
    fn bad_values_must_be_refused() {
        assert!(
            made(&["--rm", "--restart", "always", "x"])
                .unwrap_err()
                .contains("cannot specify both --restart and --rm")
        );
        assert!(made(&["-a", "foo", "x"]).is_err());
        assert!(
            made(&["--env-file", "/nope", "x"])
                .unwrap_err()
                .contains("open /nope: no such file or directory")
        );
    }
}
