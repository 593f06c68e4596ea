//! Parsers of the values that describe ports, mounts, devices and limits.

use std::collections::BTreeMap;
use std::net::IpAddr;

use proa_docker_api::{
    BindOptions, DriverConfig, Mount, PortBinding, PortMap, RestartPolicy, ThrottleDevice, TmpfsOptions,
    Ulimit, VolumeOptions, WeightDevice,
};
use proa_types::units::parse_ram;

type Result<T> = std::result::Result<T, String>;

fn range(text: &str, what: &str) -> Result<(u16, u16)> {
    let bad = || format!("invalid {what}: {text}");
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let (low, high) = (low.parse().map_err(|_| bad())?, high.parse().map_err(|_| bad())?);
    if high < low { Err(bad()) } else { Ok((low, high)) }
}

/// `[ip:][host[-host]:]container[-container][/proto]` or the long form.
///
/// # Errors
/// docker's words.
pub(crate) fn publish(text: &str, into: &mut PortMap) -> Result<()> {
    let text = &long_publish(text)?.unwrap_or_else(|| text.to_owned());
    let (rest, proto) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    let proto = proto.to_ascii_lowercase();
    if !matches!(proto.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("invalid proto: {proto}"));
    }
    let (ip, host, container) = match rest.rsplit_once(':') {
        None => ("", "", rest),
        Some((head, container)) => match head.rsplit_once(':') {
            None => ("", head, container),
            Some((ip, host)) => (ip, host, container),
        },
    };
    let ip = ip.trim_start_matches('[').trim_end_matches(']');
    if !ip.is_empty() && ip.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address: {ip}"));
    }
    if container.is_empty() {
        return Err(format!("no port specified: {text}<empty>"));
    }
    let (low, high) = range(container, "containerPort")?;
    let wide = high - low;
    let hosts = if host.is_empty() { None } else { Some(range(host, "hostPort")?) };
    if let Some((begin, end)) = hosts
        && end - begin != wide
        && wide != 0
    {
        return Err(format!("invalid ranges specified for container and host Ports: {container} and {host}"));
    }
    for offset in 0..=wide {
        let host_port = match hosts {
            None => String::new(),
            Some((begin, end)) if wide == 0 && end > begin => format!("{begin}-{end}"),
            Some((begin, _)) => (begin + offset).to_string(),
        };
        let key = format!("{}/{proto}", low + offset);
        into.entry(key)
            .or_default()
            .get_or_insert_default()
            .push(PortBinding { host_ip: ip.to_owned(), host_port });
    }
    Ok(())
}

fn long_publish(text: &str) -> Result<Option<String>> {
    if !text.contains('=') {
        return Ok(None);
    }
    let (mut target, mut published, mut proto) = (String::new(), String::new(), "tcp".to_owned());
    for field in text.split(',') {
        let (key, value) = field.split_once('=').ok_or_else(|| format!("invalid field: {field}"))?;
        match key {
            "target" => value.clone_into(&mut target),
            "published" => value.clone_into(&mut published),
            "protocol" => value.clone_into(&mut proto),
            "mode" => {}
            _ => return Err(format!("invalid field key: {key}")),
        }
    }
    Ok(Some(format!("{published}:{target}/{proto}")))
}

/// `--expose`: ports as `port/proto`.
///
/// # Errors
/// docker's words.
pub(crate) fn expose(text: &str) -> Result<Vec<String>> {
    let (ports, proto) = text.split_once('/').unwrap_or((text, "tcp"));
    let (low, high) = range(ports, "range format for --expose")
        .map_err(|cause| format!("{cause}, error: strconv.ParseUint: parsing {ports:?}: invalid syntax"))?;
    Ok((low..=high).map(|port| format!("{port}/{proto}")).collect())
}

/// One `-v`: an anonymous volume's path, or a bind.
pub(crate) enum VolumeSpec {
    Anonymous(String),
    Bind(String),
}

/// Reads one `-v`.
///
/// # Errors
/// docker's words.
pub(crate) fn volume(text: &str) -> Result<VolumeSpec> {
    if text.is_empty() {
        return Err("invalid empty volume spec".into());
    }
    let Some((source, rest)) = text.split_once(':') else {
        return Ok(VolumeSpec::Anonymous(text.to_owned()));
    };
    if source.is_empty() || rest.is_empty() || rest.starts_with(':') {
        return Err(format!("invalid spec: {text}: empty section between colons"));
    }
    if rest.split(':').count() > 2 {
        return Err(format!("invalid spec: {text}: too many colons"));
    }
    if source.starts_with('.') {
        let path = std::path::absolute(source).map_err(|cause| format!("{source}: {cause}"))?;
        let clean: std::path::PathBuf = path.components().collect();
        return Ok(VolumeSpec::Bind(format!("{}:{rest}", clean.display())));
    }
    Ok(VolumeSpec::Bind(text.to_owned()))
}

/// Fields divided by commas; quotes guard commas.
pub(crate) fn csv(text: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => out.push(String::new()),
            c => {
                if let Some(field) = out.last_mut() {
                    field.push(c);
                }
            }
        }
    }
    out
}

fn yes(key: &str, value: Option<&str>) -> Result<bool> {
    match value {
        None | Some("1" | "t" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "false" | "FALSE" | "False") => Ok(false),
        Some(other) => Err(format!("invalid value for {key}: {other}")),
    }
}

fn pair<'a>(field: &str, value: &'a str) -> Result<(&'a str, String)> {
    let (key, value) = value.split_once('=').unwrap_or((value, ""));
    if key.is_empty() {
        return Err(format!("invalid field '{field}' must be a key=value pair"));
    }
    Ok((key, value.to_owned()))
}

/// Reads one `--mount`.
///
/// # Errors
/// docker's words.
pub(crate) fn mount(text: &str) -> Result<Mount> {
    let mut mount = Mount { kind: "volume".into(), ..Mount::default() };
    for field in csv(text) {
        let (key, value) =
            field.split_once('=').map_or((field.as_str(), None), |(key, value)| (key, Some(value)));
        mount_field(&mut mount, &field, &key.to_ascii_lowercase(), value)?;
    }
    if mount.kind.is_empty() {
        return Err("type is required".into());
    }
    if mount.target.is_empty() {
        return Err("target is required".into());
    }
    let refuse = |option: &str| Err(format!("cannot mix '{option}' with mount type '{}'", mount.kind));
    match mount.kind.as_str() {
        "volume" | "bind" | "tmpfs" | "image" | "cluster" | "npipe" => {}
        other => return Err(format!("invalid mount type: {other}")),
    }
    if mount.volume_options.is_some() && mount.kind != "volume" {
        return refuse("volume-*");
    }
    if mount.bind_options.is_some() && mount.kind != "bind" {
        return refuse("bind-*");
    }
    if mount.tmpfs_options.is_some() && mount.kind != "tmpfs" {
        return refuse("tmpfs-*");
    }
    Ok(mount)
}

fn mount_field(mount: &mut Mount, field: &str, key: &str, value: Option<&str>) -> Result<()> {
    match key {
        "readonly" | "ro" => {
            mount.read_only = yes(key, value)?;
            return Ok(());
        }
        "volume-nocopy" => {
            mount.volume_options.get_or_insert_default().no_copy = yes(key, value)?;
            return Ok(());
        }
        "bind-nonrecursive" => {
            mount.bind_options.get_or_insert_default().non_recursive = yes(key, value)?;
            return Ok(());
        }
        _ => {}
    }
    let value = value.ok_or_else(|| format!("invalid field '{field}' must be a key=value pair"))?.to_owned();
    match key {
        "type" => mount.kind = value.to_ascii_lowercase(),
        "source" | "src" => {
            mount.source = if value.starts_with('.') {
                let path = std::path::absolute(&value).map_err(|cause| cause.to_string())?;
                path.components().collect::<std::path::PathBuf>().display().to_string()
            } else {
                value
            };
        }
        "target" | "dst" | "destination" => mount.target = value,
        "consistency" => mount.consistency = value.to_ascii_lowercase(),
        "bind-propagation" => {
            mount.bind_options.get_or_insert_with(BindOptions::default).propagation =
                value.to_ascii_lowercase()
        }
        "bind-recursive" => {
            let options = mount.bind_options.get_or_insert_default();
            match value.as_str() {
                "enabled" => {}
                "disabled" => options.non_recursive = true,
                "writable" => options.read_only_non_recursive = true,
                "readonly" => options.read_only_force_recursive = true,
                _ => {
                    return Err(format!(
                        "invalid value for {key}: {value} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"
                    ));
                }
            }
        }
        _ if key.starts_with("volume-") => return volume_field(mount, field, key, &value),
        "image-subpath" => mount.image_options = Some(serde_json::json!({ "Subpath": value })),
        "tmpfs-size" => {
            let size = parse_ram(&value).map_err(|_| format!("invalid value for {key}: {value}"))?;
            mount.tmpfs_options.get_or_insert_with(TmpfsOptions::default).size_bytes = size;
        }
        "tmpfs-mode" => {
            let mode =
                u32::from_str_radix(&value, 8).map_err(|_| format!("invalid value for {key}: {value}"))?;
            mount.tmpfs_options.get_or_insert_default().mode = mode;
        }
        _ => return Err(format!("unexpected key '{key}' in '{field}'")),
    }
    Ok(())
}

fn volume_field(mount: &mut Mount, field: &str, key: &str, value: &str) -> Result<()> {
    let options = mount.volume_options.get_or_insert_with(VolumeOptions::default);
    match key {
        "volume-subpath" => value.clone_into(&mut options.subpath),
        "volume-driver" => {
            value.clone_into(&mut options.driver_config.get_or_insert_with(DriverConfig::default).name)
        }
        "volume-label" => {
            let (name, label) = pair(field, value)?;
            options.labels.insert(name.to_owned(), label);
        }
        "volume-opt" => {
            let (name, option) = pair(field, value)?;
            options.driver_config.get_or_insert_default().options.insert(name.to_owned(), option);
        }
        _ => return Err(format!("unexpected key '{key}' in '{field}'")),
    }
    Ok(())
}

/// Reads one `--ulimit`.
///
/// # Errors
/// docker's words.
pub(crate) fn ulimit(text: &str) -> Result<Ulimit> {
    const NAMES: &[&str] = &[
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    let (name, limits) = text.split_once('=').ok_or_else(|| format!("invalid ulimit argument: {text}"))?;
    if !NAMES.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let number = |part: &str| {
        part.parse::<i64>().map_err(|_| format!("strconv.ParseInt: parsing {part:?}: invalid syntax"))
    };
    let (soft, hard) = match limits.split_once(':') {
        Some((soft, hard)) => (number(soft)?, number(hard)?),
        None => (number(limits)?, number(limits)?),
    };
    if hard >= 0 && (soft > hard || soft == -1 && hard != -1) {
        return Err(format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"));
    }
    Ok(Ulimit { name: name.into(), hard, soft })
}

/// Reads `--restart`.
///
/// # Errors
/// docker's words.
pub(crate) fn restart(text: &str) -> Result<RestartPolicy> {
    let (name, count) = text.split_once(':').unwrap_or((text, ""));
    if name.is_empty() && text.contains(':') {
        return Err("invalid restart policy format: no policy provided before colon".into());
    }
    let maximum_retry_count = match count {
        "" if text.ends_with(':') => {
            return Err("invalid restart policy format: maximum retry count must be an integer".into());
        }
        "" => 0,
        count => count
            .parse()
            .map_err(|_| "invalid restart policy format: maximum retry count must be an integer")?,
    };
    Ok(RestartPolicy { name: name.into(), maximum_retry_count })
}

fn path_of(text: &str) -> Result<(&str, &str)> {
    let (path, value) = text.split_once(':').ok_or_else(|| format!("bad format: {text}"))?;
    if path.starts_with("/dev/") {
        Ok((path, value))
    } else {
        Err(format!("bad format for device path: {text}"))
    }
}

/// `--device-*-bps` (bytes) and `--device-*-iops`.
///
/// # Errors
/// docker's words.
pub(crate) fn throttle(text: &str, bytes: bool) -> Result<ThrottleDevice> {
    let (path, value) = path_of(text)?;
    let rate = if bytes {
        parse_ram(value).ok().and_then(|rate| u64::try_from(rate).ok())
    } else {
        value.parse().ok()
    };
    let wanted = if bytes {
        "<device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
    } else {
        "<device-path>:<number>. Number must be a positive integer"
    };
    let rate =
        rate.ok_or_else(|| format!("invalid rate for device: {text}. The correct format is {wanted}"))?;
    Ok(ThrottleDevice { path: path.into(), rate })
}

/// `--blkio-weight-device`.
///
/// # Errors
/// docker's words.
pub(crate) fn weight(text: &str) -> Result<WeightDevice> {
    let (path, value) = path_of(text)?;
    let weight = value
        .parse()
        .ok()
        .filter(|weight| *weight == 0 || (10..=1000).contains(weight))
        .ok_or_else(|| format!("invalid weight for device: {text}"))?;
    Ok(WeightDevice { path: path.into(), weight })
}

/// `--cpus` in billionths.
///
/// # Errors
/// docker's words.
pub(crate) fn cpus(text: &str) -> Result<i64> {
    let value: f64 = text.parse().map_err(|_| format!("failed to parse {text} as a rational number"))?;
    let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
    if fraction.trim_end_matches('0').len() > 9 {
        return Err("value is too precise".into());
    }
    Ok((value * 1e9).round() as i64)
}

/// `key=value` lines; a key alone takes the environment's value or is left out.
///
/// # Errors
/// docker's words.
pub(crate) fn environment(text: &str) -> Result<Option<String>> {
    if text.is_empty() || text.starts_with('=') {
        return Err(format!("invalid environment variable: {text}"));
    }
    if text.contains('=') {
        return Ok(Some(text.to_owned()));
    }
    Ok(std::env::var(text).ok().map(|value| format!("{text}={value}")))
}

/// Lines of an `--env-file` or `--label-file`.
///
/// # Errors
/// docker's words.
pub(crate) fn key_file(path: &str, environment: bool) -> Result<Vec<String>> {
    let bytes =
        std::fs::read(path).map_err(|cause| format!("open {path}: {}", crate::app::reason(&cause)))?;
    let text =
        String::from_utf8(bytes).map_err(|_| format!("env file {path} contains invalid utf8 bytes"))?;
    let mut out = Vec::new();
    for line in text.trim_start_matches('\u{feff}').lines() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once('=').map_or((line, None), |(key, value)| (key, Some(value)));
        if key.is_empty() {
            return Err(format!("poorly formatted environment: no variable name on line '{line}'"));
        }
        if key.contains(char::is_whitespace) {
            return Err(format!("poorly formatted environment: variable '{key}' contains whitespaces"));
        }
        match value {
            Some(value) => out.push(format!("{key}={value}")),
            None if environment => out.extend(std::env::var(key).ok().map(|value| format!("{key}={value}"))),
            None => out.push(key.to_owned()),
        }
    }
    Ok(out)
}

/// `key=value` texts as a map.
pub(crate) fn map(list: &[String]) -> BTreeMap<String, String> {
    list.iter()
        .map(|text| {
            text.split_once('=')
                .map_or((text.clone(), String::new()), |(key, value)| (key.to_owned(), value.to_owned()))
        })
        .collect()
}

/// A duration as Go writes it, in nanoseconds.
///
/// # Errors
/// Go's words.
pub(crate) fn duration(text: &str) -> Result<i64> {
    let bad = || format!("time: invalid duration {text:?}");
    if text == "0" {
        return Ok(0);
    }
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let value: f64 = rest.get(..end).and_then(|number| number.parse().ok()).ok_or_else(bad)?;
        rest = rest.get(end..).unwrap_or_default();
        let (unit, scale) = [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)]
            .into_iter()
            .find(|(unit, _)| rest.starts_with(unit))
            .ok_or_else(bad)?;
        rest = rest.get(unit.len()..).unwrap_or_default();
        total += value * scale;
    }
    if text.is_empty() { Err(bad()) } else { Ok(total as i64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(text: &str) -> Result<String> {
        let mut map = PortMap::new();
        publish(text, &mut map)?;
        Ok(map
            .iter()
            .flat_map(|(key, list)| {
                list.iter().flatten().map(move |b| format!("{}|{}|{key}", b.host_ip, b.host_port))
            })
            .collect::<Vec<_>>()
            .join(" "))
    }

    #[test]
    fn ports_must_be_read_in_every_form() {
        assert_eq!(ports("80").unwrap(), "||80/tcp");
        assert_eq!(ports("8080:80/udp").unwrap(), "|8080|80/udp");
        assert_eq!(ports("[::1]:8080:80").unwrap(), "::1|8080|80/tcp");
        assert_eq!(ports("127.0.0.1::80").unwrap(), "127.0.0.1||80/tcp");
        assert_eq!(ports("10-11:20-21").unwrap(), "|10|20/tcp |11|21/tcp");
        assert_eq!(ports("10-12:20").unwrap(), "|10-12|20/tcp");
        assert_eq!(ports("target=80,published=8080").unwrap(), "|8080|80/tcp");
        assert_eq!(ports("a:80").unwrap_err(), "invalid hostPort: a");
        assert_eq!(ports("80:x").unwrap_err(), "invalid containerPort: x");
        assert!(ports("1-3:20-21").unwrap_err().starts_with("invalid ranges"));
        assert!(ports("x:1:2").is_err() && ports("80/foo").is_err() && ports("99999").is_err());
    }

    #[test]
    fn mounts_must_be_read_and_refused_in_dockers_words() {
        let read = mount("type=bind,src=/a,dst=/b,readonly,bind-propagation=rshared").unwrap();
        assert!(read.read_only && read.source == "/a" && read.target == "/b");
        assert_eq!(
            mount("type=tmpfs,target=/x,tmpfs-size=1m,tmpfs-mode=1777").unwrap().tmpfs_options.unwrap().mode,
            0o1777
        );
        assert_eq!(mount("type=bind,src=/a").unwrap_err(), "target is required");
        assert_eq!(mount("target=/x,foo=1").unwrap_err(), "unexpected key 'foo' in 'foo=1'");
        assert_eq!(mount("target").unwrap_err(), "invalid field 'target' must be a key=value pair");
    }

    #[test]
    fn limits_must_be_read() {
        assert_eq!(ulimit("nofile=1:2").unwrap().hard, 2);
        assert!(ulimit("nofile=3:2").is_err() && ulimit("x=1").is_err() && ulimit("nofile").is_err());
        assert_eq!(restart("on-failure:3").unwrap().maximum_retry_count, 3);
        assert!(restart("on-failure:x").is_err() && restart(":1").is_err());
        assert_eq!(cpus("1.5").unwrap(), 1_500_000_000);
        let device = crate::device::device("/dev/a:r").unwrap();
        assert_eq!(device.cgroup_permissions, "r");
        assert_eq!(throttle("/dev/a:1mb", true).unwrap().rate, 1 << 20);
        assert_eq!(duration("1m30s").unwrap(), 90_000_000_000);
    }
}
