//! Every option of the daemon, once: its flag, its key in `daemon.json`, its kind, its help. Flags, file, help and
//! documentation are read off this table.

/// What an option's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text.
    Text,
    /// `true` or `false`; a bare flag means `true`.
    Bool,
    /// A whole number.
    Number,
    /// A list; the flag may be given several times.
    List,
    /// `name=value` pairs; the flag may be given several times.
    Map,
    /// An object in the file only has this form: `{"NAME": {"path": …, "runtimeArgs": […]}}`.
    Runtimes,
}

/// How far an option is honoured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Honoured.
    Honoured,
    /// Known from dockerd, and refused or warned about with this sentence.
    Refused(&'static str),
    /// Accepted, and without meaning here; the sentence is logged.
    Ignored(&'static str),
}

/// One option.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opt {
    /// Long flag without dashes.
    pub(crate) flag: &'static str,
    /// Short flag.
    pub(crate) short: Option<char>,
    /// Key in `daemon.json`; empty if it has none.
    pub(crate) key: &'static str,
    pub(crate) kind: Kind,
    pub(crate) state: State,
    pub(crate) help: &'static str,
}

const fn opt(flag: &'static str, key: &'static str, kind: Kind, help: &'static str) -> Opt {
    Opt { flag, short: None, key, kind, state: State::Honoured, help }
}

const fn short(letter: char, option: Opt) -> Opt {
    Opt { short: Some(letter), ..option }
}

const fn no(flag: &'static str, key: &'static str, kind: Kind, why: &'static str) -> Opt {
    Opt { state: State::Refused(why), ..opt(flag, key, kind, "Not supported") }
}

const fn moot(flag: &'static str, key: &'static str, kind: Kind, why: &'static str) -> Opt {
    Opt { state: State::Ignored(why), ..opt(flag, key, kind, why) }
}

use Kind::{Bool, List, Map, Number, Runtimes, Text};

const SWARM: &str = "swarm mode is not part of this version";
const NFT: &str = "the firewall is an nftables table of the daemon's own; nothing else is touched";

/// The options, in the order of the help.
pub(crate) const OPTIONS: &[Opt] = &[
    Opt { kind: Runtimes, ..opt("add-runtime", "runtimes", Map, "Register an OCI runtime, NAME=PATH") },
    moot(
        "allow-nondistributable-artifacts",
        "allow-nondistributable-artifacts",
        List,
        "foreign layers are pushed like others",
    ),
    opt("authorization-plugin", "authorization-plugins", List, "Plugin that every request is shown to first"),
    opt("bip", "bip", Text, "Address and prefix of the bridge, as 172.17.0.1/16"),
    short('b', opt("bridge", "bridge", Text, "Name of the bridge; \"none\" for no default network")),
    opt(
        "cdi-spec-dir",
        "cdi-spec-dirs",
        List,
        "Directory of device descriptions (default /etc/cdi and /var/run/cdi)",
    ),
    opt("cgroup-parent", "cgroup-parent", Text, "Parent cgroup of all containers"),
    opt("config-file", "", Text, "Configuration file (default /etc/proa/daemon.json)"),
    moot(
        "containerd",
        "containerd",
        Text,
        "there is no containerd: containers are run by the daemon's own monitors",
    ),
    opt(
        "data-root",
        "data-root",
        Text,
        "Where images, containers and volumes are kept (default /var/lib/proa)",
    ),
    short('D', opt("debug", "debug", Bool, "Log at debug level")),
    no(
        "default-address-pool",
        "default-address-pools",
        List,
        "user-defined networks are not part of this version",
    ),
    opt("default-cgroupns-mode", "default-cgroupns-mode", Text, "private or host"),
    opt("default-gateway", "default-gateway", Text, "Default gateway of containers"),
    opt("default-ipc-mode", "default-ipc-mode", Text, "private or shareable"),
    opt("default-runtime", "default-runtime", Text, "Runtime of containers that name none (default proa)"),
    opt("default-shm-size", "default-shm-size", Text, "Size of /dev/shm (default 64M)"),
    opt("default-ulimit", "default-ulimits", Map, "Limits of containers that name none, NAME=SOFT:HARD"),
    opt("dns", "dns", List, "Name servers of containers"),
    opt("dns-opt", "dns-opts", List, "Options of the resolver"),
    opt("dns-search", "dns-search", List, "Search domains"),
    opt("exec-root", "exec-root", Text, "Where run-time facts are kept (default /run/proa)"),
    no("fixed-cidr", "fixed-cidr", Text, "give the bridge its own prefix with --bip"),
    short(
        'G',
        opt("group", "group", Text, "Group of the socket (default proa, else docker, where there is one)"),
    ),
    short('h', opt("help", "", Bool, "Print this help")),
    short('H', opt("host", "hosts", List, "Socket to listen on: unix://PATH, tcp://ADDRESS:PORT, fd://")),
    opt("icc", "icc", Bool, "Let containers of the bridge reach each other (default true)"),
    opt("init", "init", Bool, "Run an init that reaps and forwards signals in every container"),
    opt(
        "insecure-registry",
        "insecure-registries",
        List,
        "Registries where TLS may fail to verify or be absent",
    ),
    opt("ip", "ip", Text, "Address of published ports that name none (default 0.0.0.0)"),
    opt(
        "ip-forward",
        "ip-forward",
        Bool,
        "Switch forwarding on when the first container needs it (default true)",
    ),
    opt("ip-masq", "ip-masq", Bool, "Masquerade what containers send out (default true)"),
    moot("iptables", "iptables", Bool, NFT),
    moot("ip6tables", "ip6tables", Bool, NFT),
    no("ipv6", "ipv6", Bool, "IPv6 addresses of containers are not part of this version"),
    opt("label", "labels", List, "Labels of the daemon, KEY=VALUE"),
    opt("live-restore", "live-restore", Bool, "Leave containers running when the daemon is stopped"),
    opt("log-driver", "log-driver", Text, "Log driver of containers that name none (default json-file)"),
    opt("log-format", "log-format", Text, "Form of the daemon's own log: text or json"),
    short('l', opt("log-level", "log-level", Text, "trace, debug, info, warn or error (default info)")),
    opt("log-opt", "log-opts", Map, "Options of that log driver, NAME=VALUE"),
    opt("max-concurrent-downloads", "max-concurrent-downloads", Number, "Layers fetched at once (default 3)"),
    opt("max-concurrent-uploads", "max-concurrent-uploads", Number, "Layers sent at once (default 5)"),
    opt("metrics-addr", "metrics-addr", Text, "Serve metrics for Prometheus at ADDRESS:PORT"),
    opt("mtu", "mtu", Number, "MTU of the bridge"),
    opt(
        "no-new-privileges",
        "no-new-privileges",
        Bool,
        "Set no-new-privileges in containers that say nothing else",
    ),
    opt("oom-score-adjust", "oom-score-adjust", Number, "Out-of-memory score of the daemon"),
    short(
        'p',
        opt("pidfile", "pidfile", Text, "File with the daemon's process id (default EXEC-ROOT/proa.pid)"),
    ),
    opt(
        "prepared-sandboxes",
        "prepared-sandboxes",
        Number,
        "Sandboxes kept ready; 0 prepares each one at its start",
    ),
    opt("registry-mirror", "registry-mirrors", List, "Mirrors of docker.io, tried first"),
    opt(
        "seccomp-profile",
        "seccomp-profile",
        Text,
        "File with the default system-call filter, or \"unconfined\"",
    ),
    no("selinux-enabled", "selinux-enabled", Bool, "SELinux labels are not part of this version"),
    opt(
        "shutdown-timeout",
        "shutdown-timeout",
        Number,
        "Seconds containers get to end at shutdown (default 15)",
    ),
    short('s', opt("storage-driver", "storage-driver", Text, "Storage driver: overlay2 or vfs")),
    no("storage-opt", "storage-opts", List, "the overlay driver has no options"),
    no("swarm-default-advertise-addr", "swarm-default-advertise-addr", Text, SWARM),
    opt("tls", "tls", Bool, "Use TLS on tcp sockets; implied by --tlsverify"),
    opt("tlscacert", "tlscacert", Text, "Authority of client certificates"),
    opt("tlscert", "tlscert", Text, "Certificate of the daemon"),
    opt("tlskey", "tlskey", Text, "Key of that certificate"),
    opt("tlsverify", "tlsverify", Bool, "Use TLS and ask clients for a certificate"),
    opt(
        "userland-proxy",
        "userland-proxy",
        Bool,
        "Forward loopback connections to published ports (default true)",
    ),
    opt(
        "userns-auto-range",
        "userns-auto-range",
        Text,
        "Ids for --userns auto, FIRST:COUNT (default: those of proa or containers in /etc/subuid)",
    ),
    opt(
        "userns-remap",
        "userns-remap",
        Text,
        "Users of containers: default, USER[:GROUP] or UID[:GID] of /etc/subuid",
    ),
    opt("validate", "", Bool, "Check the configuration and exit"),
    short('v', opt("version", "", Bool, "Print the version")),
];

/// The options that SIGHUP may change, those of dockerd's and the log level. Others need a restart.
pub(crate) const RELOADABLE: &[&str] = &[
    "add-runtime",
    "authorization-plugin",
    "debug",
    "default-runtime",
    "insecure-registry",
    "label",
    "live-restore",
    "log-level",
    "max-concurrent-downloads",
    "max-concurrent-uploads",
    "registry-mirror",
    "shutdown-timeout",
];

impl Opt {
    /// Its name for users: the key in the file, or the flag where it has none.
    pub(crate) fn name(&self) -> &'static str {
        if self.key.is_empty() { self.flag } else { self.key }
    }
}

/// The option with this long flag.
pub(crate) fn by_flag(flag: &str) -> Option<&'static Opt> {
    OPTIONS.iter().find(|option| option.flag == flag)
}

/// The option with this short flag.
pub(crate) fn by_letter(letter: char) -> Option<&'static Opt> {
    OPTIONS.iter().find(|option| option.short == Some(letter))
}

/// The option with this key. dockerd's older spellings of some keys are known too.
pub(crate) fn by_key(key: &str) -> Option<&'static Opt> {
    let key = match key {
        "graph" => "data-root",
        "exec-opts" | "log-opt" => return None,
        other => other,
    };
    OPTIONS.iter().find(|option| !option.key.is_empty() && option.key == key)
}

/// The help, one line for each option.
pub(crate) fn help() -> String {
    let mut text = String::from(
        "\nUsage:  proa daemon [OPTIONS]\n\nThe engine behind the Docker Engine API.\n\nOptions:\n",
    );
    for option in OPTIONS.iter().filter(|option| option.state == State::Honoured) {
        let short = option.short.map_or("    ".into(), |letter| format!("-{letter}, "));
        let value = match option.kind {
            Kind::Bool => "",
            Kind::Number => " int",
            Kind::List => " list",
            Kind::Map => " map",
            Kind::Text => " string",
            Kind::Runtimes => " runtime",
        };
        let flag = format!("{short}--{}{value}", option.flag);
        text.push_str(&format!("  {flag:<36} {}\n", option.help));
    }
    text
}
