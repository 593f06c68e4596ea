//! The configuration: values of flags and file, checked, with defaults.

use crate::error::Error;
use crate::option::State;
use crate::values::{Value, Values};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// Where the configuration is read from unless --config-file says otherwise.
pub(crate) const DEFAULT_FILE: &str = "/etc/proa/daemon.json";
const DEFAULT_DATA: &str = "/var/lib/proa";
const DEFAULT_EXEC: &str = "/run/proa";

/// A runtime other than our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Runtime {
    pub(crate) path: PathBuf,
    pub(crate) args: Vec<String>,
}

/// TLS of tcp sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tls {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// Clients must show a certificate of this authority.
    pub(crate) authority: Option<PathBuf>,
}

/// The daemon's configuration.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    pub(crate) file: PathBuf,
    /// As given; empty means the default sockets.
    pub(crate) hosts: Vec<String>,
    pub(crate) data_root: PathBuf,
    pub(crate) exec_root: PathBuf,
    pub(crate) pidfile: PathBuf,
    pub(crate) group: Option<String>,
    pub(crate) tls: Option<Tls>,
    pub(crate) authorization: Vec<String>,
    pub(crate) bridge: Option<String>,
    pub(crate) bip: Option<String>,
    pub(crate) mtu: Option<u32>,
    pub(crate) icc: bool,
    pub(crate) ip: Option<IpAddr>,
    pub(crate) ip_forward: bool,
    pub(crate) ip_masq: bool,
    pub(crate) default_gateway: Option<IpAddr>,
    pub(crate) userland_proxy: bool,
    pub(crate) dns: Vec<String>,
    pub(crate) dns_options: Vec<String>,
    pub(crate) dns_search: Vec<String>,
    pub(crate) mirrors: Vec<String>,
    pub(crate) insecure: Vec<String>,
    pub(crate) downloads: usize,
    pub(crate) uploads: usize,
    pub(crate) storage_driver: String,
    pub(crate) runtimes: BTreeMap<String, Runtime>,
    pub(crate) default_runtime: String,
    /// Where Prometheus asks.
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) log_driver: String,
    pub(crate) log_options: BTreeMap<String, String>,
    pub(crate) log_level: tracing::Level,
    pub(crate) log_json: bool,
    pub(crate) live_restore: bool,
    pub(crate) shutdown_timeout: u64,
    pub(crate) labels: Vec<String>,
    pub(crate) ulimits: BTreeMap<String, (i64, i64)>,
    pub(crate) shm_size: Option<u64>,
    pub(crate) seccomp_profile: Option<String>,
    pub(crate) no_new_privileges: bool,
    pub(crate) userns_remap: Option<String>,
    pub(crate) userns_pool: Option<(u32, u32)>,
    pub(crate) cdi_dirs: Vec<PathBuf>,
    pub(crate) cgroup_parent: Option<String>,
    pub(crate) cgroupns: Option<String>,
    pub(crate) ipc_mode: Option<String>,
    pub(crate) init: bool,
    pub(crate) oom_score: Option<i32>,
    pub(crate) prepared: Option<usize>,
    /// Only check, and end.
    pub(crate) validate: bool,
    /// Everything that was given, as it was given.
    pub(crate) given: Values,
    /// Options that have no meaning here, with the reason.
    pub(crate) notes: Vec<String>,
}

impl Config {
    /// Reads flags, then the file they name, then the environment.
    pub(crate) fn load(args: &[String]) -> Result<Self, Error> {
        let flags = Values::from_flags(args)?;
        let named = flags.text("config-file").map(PathBuf::from);
        let path = named.clone().unwrap_or_else(|| DEFAULT_FILE.into());
        let file = match std::fs::read_to_string(&path) {
            Ok(text) => Values::from_file(&path, &text)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => {
                Values::default()
            }
            Err(source) => return Err(Error::Io { path, source }),
        };
        let mut values = Values::merge(file, flags, &path)?;
        environment(&mut values, |name| std::env::var(name).ok());
        Self::from_values(path, &values)
    }

    /// This configuration with what may change while the daemon runs taken from `newer`, and the names of the options
    /// that differ and need a restart.
    pub(crate) fn reloaded(&self, newer: &Self) -> Result<(Self, Vec<&'static str>), Error> {
        let mut values = self.given.clone();
        let kept = values.reload(&newer.given);
        Ok((Self::from_values(self.file.clone(), &values)?, kept))
    }

    fn from_values(file: PathBuf, values: &Values) -> Result<Self, Error> {
        let notes = check_states(values)?;
        let data_root = absolute("data-root", values, DEFAULT_DATA)?;
        let exec_root = absolute("exec-root", values, DEFAULT_EXEC)?;
        let pidfile = values.text("pidfile").map_or_else(|| exec_root.join("proa.pid"), PathBuf::from);
        Ok(Self {
            file,
            hosts: values.list("host"),
            pidfile,
            group: values.text("group"),
            tls: tls(values)?,
            authorization: values.list("authorization-plugin"),
            bridge: values.text("bridge"),
            bip: values.text("bip"),
            mtu: number(values, "mtu", 68, 65_535)?,
            icc: values.bool("icc", true),
            ip: address(values, "ip")?,
            ip_forward: values.bool("ip-forward", true),
            ip_masq: values.bool("ip-masq", true),
            default_gateway: address(values, "default-gateway")?,
            userland_proxy: values.bool("userland-proxy", true),
            dns: dns(values)?,
            dns_options: values.list("dns-opt"),
            dns_search: values.list("dns-search"),
            mirrors: mirrors(values)?,
            insecure: values.list("insecure-registry"),
            downloads: number(values, "max-concurrent-downloads", 1, 64)?.unwrap_or(3),
            uploads: number(values, "max-concurrent-uploads", 1, 64)?.unwrap_or(5),
            storage_driver: values.text("storage-driver").unwrap_or_else(|| "overlay2".into()),
            default_runtime: default_runtime(values)?,
            runtimes: runtimes(values)?,
            metrics: metrics(values)?,
            log_driver: values.text("log-driver").unwrap_or_else(|| "json-file".into()),
            log_options: values.map("log-opt"),
            log_level: level(values)?,
            log_json: one_of(values, "log-format", &["text", "json"])?.as_deref() == Some("json"),
            live_restore: values.bool("live-restore", false),
            shutdown_timeout: number(values, "shutdown-timeout", 0, 86_400)?.unwrap_or(15),
            labels: labels(values)?,
            ulimits: ulimits(values)?,
            shm_size: size(values, "default-shm-size")?,
            seccomp_profile: values.text("seccomp-profile"),
            no_new_privileges: values.bool("no-new-privileges", false),
            userns_remap: values.text("userns-remap").filter(|text| !text.is_empty()),
            userns_pool: userns_pool(values)?,
            cdi_dirs: cdi_dirs(values)?,
            cgroup_parent: values.text("cgroup-parent"),
            cgroupns: one_of(values, "default-cgroupns-mode", &["private", "host"])?,
            ipc_mode: one_of(values, "default-ipc-mode", &["private", "shareable"])?,
            init: values.bool("init", false),
            oom_score: number(values, "oom-score-adjust", -1000, 1000)?,
            prepared: number(values, "prepared-sandboxes", 0, 64)?,
            data_root,
            exec_root,
            validate: values.bool("validate", false),
            given: values.clone(),
            notes,
        })
    }

    /// Whether the sockets are the default ones of this host.
    pub(crate) fn has_default_roots(&self) -> bool {
        self.data_root == Path::new(DEFAULT_DATA) && self.exec_root == Path::new(DEFAULT_EXEC)
    }

    /// Six digits that tell daemons with other roots apart in kernel names; none for the default roots.
    pub(crate) fn suffix(&self) -> Option<String> {
        let both = format!("{}\n{}", self.data_root.display(), self.exec_root.display());
        // FNV-1a, 32 bits: stable over versions, and enough to tell the daemons of one host apart.
        let hash = both
            .bytes()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        (!self.has_default_roots()).then(|| format!("{:06x}", hash >> 8))
    }
}

/// What the environment says where flags and file say nothing.
fn environment(values: &mut Values, get: impl Fn(&str) -> Option<String>) {
    let truthy = |name: &str| get(name).is_some_and(|value| !value.is_empty());
    if truthy("DOCKER_TLS_VERIFY") && !values.has("tls") {
        values.or("tlsverify", Value::Bool(true));
    }
    if let Some(dir) = get("DOCKER_CERT_PATH").filter(|dir| !dir.is_empty()) {
        for (flag, file) in [("tlscacert", "ca.pem"), ("tlscert", "cert.pem"), ("tlskey", "key.pem")] {
            values.or(flag, Value::Text(Path::new(&dir).join(file).to_string_lossy().into_owned()));
        }
    }
    for (flag, name) in
        [("data-root", "PROA_DATA_ROOT"), ("exec-root", "PROA_EXEC_ROOT"), ("log-level", "PROA_LOG_LEVEL")]
    {
        if let Some(text) = get(name).filter(|text| !text.is_empty()) {
            values.or(flag, Value::Text(text));
        }
    }
}

/// Refuses options that are not supported; notes those without meaning.
fn check_states(values: &Values) -> Result<Vec<String>, Error> {
    let mut notes = Vec::new();
    for option in values.given() {
        match option.state {
            State::Honoured => {}
            State::Refused(why)
                if option.kind == crate::option::Kind::Bool && !values.bool(option.flag, true) =>
            {
                let _ = why;
            }
            State::Refused(why) => {
                return Err(Error::Value { option: option.flag, detail: format!("not supported: {why}") });
            }
            State::Ignored(why) => notes.push(format!("--{} has no effect: {why}", option.flag)),
        }
    }
    Ok(notes)
}

fn absolute(flag: &'static str, values: &Values, default: &str) -> Result<PathBuf, Error> {
    let path = PathBuf::from(values.text(flag).unwrap_or_else(|| default.into()));
    let path = std::path::absolute(&path).map_err(Error::io(&path))?;
    if path == Path::new("/") {
        return Err(Error::Value { option: flag, detail: "cannot be /".into() });
    }
    Ok(path)
}

fn number<T: TryFrom<i64>>(
    values: &Values,
    flag: &'static str,
    least: i64,
    most: i64,
) -> Result<Option<T>, Error> {
    let Some(number) = values.number(flag) else { return Ok(None) };
    let bad = || Error::Value { option: flag, detail: format!("{number} is not between {least} and {most}") };
    if !(least..=most).contains(&number) {
        return Err(bad());
    }
    T::try_from(number).map(Some).map_err(|_| bad())
}

fn address(values: &Values, flag: &'static str) -> Result<Option<IpAddr>, Error> {
    let parse = |text: String| {
        text.parse()
            .map_err(|_| Error::Value { option: flag, detail: format!("{text:?} is not an IP address") })
    };
    values.text(flag).map(parse).transpose()
}

fn dns(values: &Values) -> Result<Vec<String>, Error> {
    let list = values.list("dns");
    match list.iter().find(|text| text.parse::<IpAddr>().is_err()) {
        Some(bad) => Err(Error::Value { option: "dns", detail: format!("{bad:?} is not an IP address") }),
        None => Ok(list),
    }
}

fn mirrors(values: &Values) -> Result<Vec<String>, Error> {
    let list = values.list("registry-mirror");
    match list.iter().find(|url| !url.starts_with("http://") && !url.starts_with("https://")) {
        Some(bad) => Err(Error::Value {
            option: "registry-mirror",
            detail: format!("invalid mirror {bad:?}: write a URL"),
        }),
        None => Ok(list),
    }
}

/// `FIRST:COUNT`.
fn userns_pool(values: &Values) -> Result<Option<(u32, u32)>, Error> {
    let Some(text) = values.text("userns-auto-range") else { return Ok(None) };
    let pair =
        text.split_once(':').and_then(|(first, count)| Some((first.parse().ok()?, count.parse().ok()?)));
    let useful = pair.filter(|(first, count): &(u32, u32)| *first > 0 && first.checked_add(*count).is_some());
    let detail = format!("{text:?}: write FIRST:COUNT, as 1000000:6553600");
    useful.map(Some).ok_or(Error::Value { option: "userns-auto-range", detail })
}

/// Where devices are described. One that is named and empty switches them off, as it does for dockerd.
fn cdi_dirs(values: &Values) -> Result<Vec<PathBuf>, Error> {
    if !values.has("cdi-spec-dir") {
        return Ok(vec!["/etc/cdi".into(), "/var/run/cdi".into()]);
    }
    let dirs: Vec<PathBuf> =
        values.list("cdi-spec-dir").into_iter().filter(|dir| !dir.is_empty()).map(PathBuf::from).collect();
    match dirs.iter().find(|dir| !dir.is_absolute()) {
        Some(bad) => {
            let detail = format!("{:?} is not an absolute path", bad.display().to_string());
            Err(Error::Value { option: "cdi-spec-dir", detail })
        }
        None => Ok(dirs),
    }
}

/// Labels are `KEY=VALUE`, and a key has one value.
fn labels(values: &Values) -> Result<Vec<String>, Error> {
    let bad = |detail: String| Error::Value { option: "label", detail };
    let mut seen = BTreeMap::new();
    let mut list = Vec::new();
    for label in values.list("label") {
        let pair = label.split_once('=').filter(|(key, _)| !key.is_empty());
        let (key, value) =
            pair.ok_or_else(|| bad(format!("bad attribute format: {label}: write KEY=VALUE")))?;
        match seen.insert(key.to_owned(), value.to_owned()) {
            None => list.push(label),
            Some(other) if other == value => {}
            Some(other) => {
                return Err(bad(format!("conflict labels for {key}={value} and {key}={other}")));
            }
        }
    }
    Ok(list)
}

fn one_of(values: &Values, flag: &'static str, choices: &[&str]) -> Result<Option<String>, Error> {
    match values.text(flag) {
        Some(text) if !choices.contains(&text.as_str()) => {
            Err(Error::Value { option: flag, detail: format!("{text:?}: write {}", choices.join(" or ")) })
        }
        other => Ok(other),
    }
}

fn size(values: &Values, flag: &'static str) -> Result<Option<u64>, Error> {
    let parse = |text: String| {
        let bytes = proa_types::units::parse_ram(&text)
            .map_err(|e| Error::Value { option: flag, detail: e.to_string() })?;
        u64::try_from(bytes).map_err(|_| Error::Value { option: flag, detail: "must not be negative".into() })
    };
    values.text(flag).map(parse).transpose()
}

/// `ADDRESS:PORT`; a name is that of this machine's loopback only.
fn metrics(values: &Values) -> Result<Option<SocketAddr>, Error> {
    let Some(text) = values.text("metrics-addr") else { return Ok(None) };
    let address = text.replacen("localhost:", "127.0.0.1:", 1);
    let address = if address.starts_with(':') { format!("0.0.0.0{address}") } else { address };
    let bad = || Error::Value {
        option: "metrics-addr",
        detail: format!("{text:?}: write an address and a port, as 127.0.0.1:9323"),
    };
    address.parse().map(Some).map_err(|_| bad())
}

fn level(values: &Values) -> Result<tracing::Level, Error> {
    let level = match values.text("log-level").as_deref() {
        None | Some("info") => tracing::Level::INFO,
        Some("trace") => tracing::Level::TRACE,
        Some("debug") => tracing::Level::DEBUG,
        Some("warn" | "warning") => tracing::Level::WARN,
        Some("error" | "fatal" | "panic") => tracing::Level::ERROR,
        Some(other) => {
            let detail = format!("invalid logging level: {other}");
            return Err(Error::Value { option: "log-level", detail });
        }
    };
    Ok(if values.bool("debug", false) { tracing::Level::DEBUG } else { level })
}

fn ulimits(values: &Values) -> Result<BTreeMap<String, (i64, i64)>, Error> {
    let parse = |(name, text): (String, String)| {
        let (soft, hard) = text.split_once(':').unwrap_or((&text, &text));
        let pair = soft
            .parse()
            .ok()
            .zip(hard.parse().ok())
            .filter(|(soft, hard): &(i64, i64)| soft <= hard || *hard == -1);
        let bad = || Error::Value {
            option: "default-ulimit",
            detail: format!("invalid ulimit argument: {name}={text}"),
        };
        pair.map(|pair| (name.clone(), pair)).ok_or_else(bad)
    };
    values.map("default-ulimit").into_iter().map(parse).collect()
}

fn default_runtime(values: &Values) -> Result<String, Error> {
    let registered = runtimes(values)?;
    // Docker's name for its own stands for ours, and is what clients expect to read; unless it is another's here.
    let usual = if registered.contains_key("runc") { "proa" } else { "runc" };
    let name = values.text("default-runtime").unwrap_or_else(|| usual.into());
    if matches!(name.as_str(), "proa" | "runc" | "io.containerd.runc.v2") || registered.contains_key(&name) {
        return Ok(name);
    }
    Err(Error::Value {
        option: "default-runtime",
        detail: format!("specified default runtime '{name}' does not exist"),
    })
}

fn runtimes(values: &Values) -> Result<BTreeMap<String, Runtime>, Error> {
    let bad = |detail: String| Error::Value { option: "add-runtime", detail };
    let mut all = BTreeMap::new();
    for (name, path) in values.map("add-runtime") {
        all.insert(name, Runtime { path: path.into(), args: Vec::new() });
    }
    let from_file = values.json("add-runtime").and_then(serde_json::Value::as_object);
    for (name, runtime) in from_file.into_iter().flatten() {
        let path = runtime["path"].as_str().filter(|path| !path.is_empty());
        let path = path.ok_or_else(|| bad(format!("runtime {name:?} has no path")))?;
        let words = runtime["runtimeArgs"].as_array().into_iter().flatten();
        let args = words.filter_map(|word| word.as_str().map(Into::into)).collect();
        all.insert(name.clone(), Runtime { path: path.into(), args });
    }
    if all.contains_key("proa") {
        return Err(bad("runtime name 'proa' is reserved".into()));
    }
    Ok(all)
}

fn tls(values: &Values) -> Result<Option<Tls>, Error> {
    let verify = values.bool("tlsverify", false);
    if !verify && !values.bool("tls", false) {
        return Ok(None);
    }
    let needed = |flag: &'static str| {
        values
            .text(flag)
            .map(PathBuf::from)
            .ok_or(Error::Value { option: flag, detail: "is needed with --tls and --tlsverify".into() })
    };
    let authority = if verify { Some(needed("tlscacert")?) } else { None };
    Ok(Some(Tls { certificate: needed("tlscert")?, key: needed("tlskey")?, authority }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(line: &str) -> Result<Config, Error> {
        let values = Values::from_flags(&line.split_whitespace().map(Into::into).collect::<Vec<_>>())?;
        Config::from_values(DEFAULT_FILE.into(), &values)
    }

    #[test]
    fn defaults_are_there() {
        let config = config("").unwrap();
        assert!(
            config.has_default_roots() && config.suffix().is_none() && config.icc && config.tls.is_none()
        );
        assert_eq!(
            (config.log_driver.as_str(), config.downloads, config.shutdown_timeout),
            ("json-file", 3, 15)
        );
        assert_eq!(config.pidfile, Path::new("/run/proa/proa.pid"));
    }

    #[test]
    fn other_roots_have_another_suffix() {
        let (a, b) = (config("--data-root /a").unwrap(), config("--data-root /b").unwrap());
        assert_ne!(a.suffix(), b.suffix());
        assert_eq!(a.suffix().map(|s| s.len()), Some(6));
    }

    #[test]
    fn bad_values_are_named() {
        for (line, said) in [
            ("--mtu 1", "mtu: 1 is not between"),
            ("--log-level loud", "invalid logging level: loud"),
            ("--debug --log-level loud", "invalid logging level: loud"),
            ("--default-runtime x", "'x' does not exist"),
            ("--add-runtime proa=/x", "reserved"),
            ("--tlsverify", "is needed with --tls"),
            ("--ip here", "is not an IP address"),
            ("--registry-mirror m", "invalid mirror"),
            ("--userns-auto-range 7", "userns-auto-range: \"7\": write FIRST:COUNT"),
            ("--cdi-spec-dir relative", "is not an absolute path"),
            ("--default-ulimit nofile=9:1", "invalid ulimit"),
            ("--data-root /", "cannot be /"),
            ("--label a", "bad attribute format: a"),
            ("--label a=1 --label a=2", "conflict labels for a=2 and a=1"),
        ] {
            let error = config(line).unwrap_err().to_string();
            assert!(error.contains(said), "{line}: {error}");
        }
        assert!(config("--selinux-enabled=false").is_ok());
        assert_eq!(config("--iptables=false").unwrap().notes.len(), 1);
    }

    #[test]
    fn the_environment_comes_last() {
        let mut values = Values::default();
        environment(&mut values, |name| match name {
            "DOCKER_TLS_VERIFY" => Some("1".into()),
            "DOCKER_CERT_PATH" => Some("/certs".into()),
            _ => None,
        });
        let tls = Config::from_values(DEFAULT_FILE.into(), &values).unwrap().tls.unwrap();
        assert_eq!(tls.authority.as_deref(), Some(Path::new("/certs/ca.pem")));
    }
}
