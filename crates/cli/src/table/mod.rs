//! The static tables of commands and flags that the parser, the help, the completion and the
//! compatibility document are all read from.

mod container;
mod image;
mod other;
mod swarm;

/// One flag.
#[derive(Debug)]
pub(crate) struct Flag {
    pub(crate) long: &'static str,
    /// A blank where there is none.
    pub(crate) short: char,
    /// The name of the value's type; empty for a switch.
    pub(crate) kind: &'static str,
    pub(crate) usage: &'static str,
}

/// One command.
#[derive(Debug)]
pub(crate) struct Command {
    /// The words of its managed form.
    pub(crate) path: &'static str,
    /// The usage line behind the program's name.
    pub(crate) usage: &'static str,
    pub(crate) short: &'static str,
    /// All spellings, the managed form first.
    pub(crate) aliases: &'static [&'static str],
    pub(crate) flags: &'static [Flag],
    pub(crate) min: usize,
    pub(crate) max: usize,
    /// Whether flags may follow arguments.
    pub(crate) interspersed: bool,
}

impl Command {
    /// The usage line behind the program's name, for the spelling that was used.
    pub(crate) fn usage_as(&self, spelling: &str) -> String {
        let leads = |alias: &&&str| {
            self.usage.strip_prefix(**alias).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        };
        let written = self.aliases.iter().filter(leads).max_by_key(|alias| alias.len());
        match written.and_then(|alias| self.usage.strip_prefix(alias)) {
            Some(rest) => format!("{spelling}{rest}"),
            None => self.usage.to_owned(),
        }
    }
}

const fn f(long: &'static str, short: char, kind: &'static str, usage: &'static str) -> Flag {
    Flag { long, short, kind, usage }
}

/// The global flags.
pub(crate) static GLOBAL: &[Flag] = &[
    f("config", ' ', "string", "Location of client config files (default \"~/.docker\")"),
    f("context", 'c', "string", "Name of the context to use to connect to the daemon"),
    f("debug", 'D', "", "Enable debug mode"),
    f("host", 'H', "list", "Daemon socket to connect to"),
    f(
        "log-level",
        'l',
        "string",
        "Set the logging level (\"debug\", \"info\", \"warn\", \"error\", \"fatal\") (default \"info\")",
    ),
    f("tls", ' ', "", "Use TLS; implied by --tlsverify"),
    f("tlscacert", ' ', "string", "Trust certs signed only by this CA"),
    f("tlscert", ' ', "string", "Path to TLS certificate file"),
    f("tlskey", ' ', "string", "Path to TLS key file"),
    f("tlsverify", ' ', "", "Use TLS and verify the remote"),
    f("version", 'v', "", "Print version information and quit"),
];

/// Groups of commands.
pub(crate) static GROUPS: &[(&str, &str)] = &[
    ("builder", "Manage builds"),
    ("checkpoint", "Manage checkpoints"),
    ("container", "Manage containers"),
    ("context", "Manage contexts"),
    ("image", "Manage images"),
    ("manifest", "Manage Docker image manifests and manifest lists"),
    ("network", "Manage networks"),
    ("plugin", "Manage plugins"),
    ("system", "Manage the engine"),
    ("trust", "Manage trust on Docker images"),
    ("trust key", "Manage keys for signing Docker images"),
    ("trust signer", "Manage entities who can sign Docker images"),
    ("volume", "Manage volumes"),
    ("config", "Manage Swarm configs"),
    ("node", "Manage Swarm nodes"),
    ("secret", "Manage Swarm secrets"),
    ("service", "Manage Swarm services"),
    ("stack", "Manage Swarm stacks"),
    ("swarm", "Manage Swarm"),
];

/// All commands.
pub(crate) fn commands() -> impl Iterator<Item = &'static Command> {
    container::COMMANDS.iter().chain(image::COMMANDS).chain(other::COMMANDS).chain(swarm::COMMANDS)
}

/// The command that a spelling names.
pub(crate) fn find(spelling: &str) -> Option<&'static Command> {
    commands().find(|command| command.aliases.contains(&spelling))
}

/// What a first word or words name.
pub(crate) enum Found {
    /// A command and how many words spelt it.
    Command(&'static Command, usize),
    /// A group, and how many words spelt it.
    Group(&'static str, &'static str, usize),
    /// Neither.
    Unknown,
}

/// Finds the longest spelling at the beginning of `words`.
pub(crate) fn resolve(words: &[String]) -> Found {
    for count in (1..=words.len().min(3)).rev() {
        let spelling = words.get(..count).unwrap_or_default().join(" ");
        if let Some(command) = find(&spelling) {
            return Found::Command(command, count);
        }
        if let Some((name, short)) = GROUPS.iter().find(|(name, _)| *name == spelling) {
            return Found::Group(name, short, count);
        }
    }
    Found::Unknown
}

/// Whether the help of a group leaves a command out: programs call it, not people.
pub(crate) fn hidden(path: &str) -> bool {
    path == "system dial-stdio"
}

/// Flags that docker knows and this version does not carry out: refused by name, never ignored.
const REFUSED_FLAGS: &[(&str, &str)] = &[
    ("container run", "cpu-count"),
    ("container run", "cpu-percent"),
    ("container run", "io-maxbandwidth"),
    ("container run", "io-maxiops"),
    ("container run", "use-api-socket"),
    ("container create", "cpu-count"),
    ("container create", "cpu-percent"),
    ("container create", "io-maxbandwidth"),
    ("container create", "io-maxiops"),
    ("container create", "use-api-socket"),
    ("container start", "checkpoint"),
    ("container start", "checkpoint-dir"),
    ("image ls", "tree"),
    ("volume create", "availability"),
    ("volume create", "group"),
    ("volume create", "limit-bytes"),
    ("volume create", "required-bytes"),
    ("volume create", "scope"),
    ("volume create", "secret"),
    ("volume create", "sharing"),
    ("volume create", "topology-preferred"),
    ("volume create", "topology-required"),
    ("volume create", "type"),
];

/// Why a flag is refused.
pub(crate) fn reason(flag: &str) -> &'static str {
    match flag {
        "cpu-count" | "cpu-percent" | "io-maxbandwidth" | "io-maxiops" => "it is for containers of Windows",
        "use-api-socket" => "a container that has the engine's socket has the host; use --volume if it shall",
        "checkpoint" | "checkpoint-dir" => "this version of Proa makes no checkpoints",
        "availability" | "group" | "limit-bytes" | "required-bytes" | "scope" | "secret" | "sharing"
        | "topology-preferred" | "topology-required" | "type" => "cluster volumes need a swarm",
        _ => "this version of Proa does not carry it out",
    }
}

/// Whether this version carries a flag of a supported command out.
pub(crate) fn supported_flag(path: &str, flag: &str) -> bool {
    !REFUSED_FLAGS.contains(&(path, flag))
}

/// The commands this version carries out.
const SUPPORTED: &[&str] = &[
    "container attach",
    "container commit",
    "container cp",
    "container create",
    "container diff",
    "container exec",
    "container export",
    "container inspect",
    "container kill",
    "container logs",
    "container ls",
    "container pause",
    "container port",
    "container prune",
    "container rename",
    "container restart",
    "container rm",
    "container run",
    "container start",
    "container stats",
    "container stop",
    "container top",
    "container unpause",
    "container update",
    "container wait",
    "doctor",
    "image history",
    "image import",
    "image inspect",
    "image load",
    "image ls",
    "image prune",
    "image pull",
    "image push",
    "image rm",
    "image save",
    "image tag",
    "context create",
    "context export",
    "context import",
    "context inspect",
    "context ls",
    "context rm",
    "context show",
    "context update",
    "context use",
    "inspect",
    "login",
    "logout",
    "network inspect",
    "network ls",
    "network prune",
    "system df",
    "system dial-stdio",
    "system events",
    "system info",
    "system prune",
    "version",
    "volume clone",
    "volume create",
    "volume export",
    "volume import",
    "volume inspect",
    "volume ls",
    "volume prune",
    "volume rename",
    "volume rm",
    "volume update",
];

/// Whether this version carries a command out.
pub(crate) fn supported(path: &str) -> bool {
    SUPPORTED.contains(&path)
}
