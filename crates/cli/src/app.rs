//! The program: global flags, the choice of a command, the way to an engine.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proa_client::{Client, Host, TlsOptions};

use crate::config::Config;
use crate::contexts::{DEFAULT, ENDPOINT, Meta, Store};
use crate::error::{Failure, Result, fail};
use crate::output::put;
use crate::parse::{self, Parsed};
use crate::table::{self, Command, Found};
use crate::{commands, help};

/// What every command is given.
pub(crate) struct App {
    pub(crate) program: String,
    pub(crate) client: Client,
    pub(crate) flags: Parsed,
    /// The directory of the client's configuration.
    pub(crate) config: PathBuf,
    /// The context in use.
    pub(crate) context: String,
    /// What flags and environment say about TLS.
    pub(crate) tls: Option<TlsOptions>,
    /// The host of `-H`.
    host: Option<String>,
}

impl App {
    /// A setting of `config.json`; a file that is broken or not there sets nothing.
    pub(crate) fn setting(&self, key: &str) -> String {
        Config::read(&self.config).map(|config| config.text(key).to_owned()).unwrap_or_default()
    }

    /// The address behind the default context.
    pub(crate) fn default_host(&self) -> String {
        let own = || if Path::new(OWN).exists() { OWN } else { STOCK };
        let named = self.host.clone().or_else(commands::environment_host);
        named.unwrap_or_else(|| format!("unix://{}", own()))
    }

    /// The keys that detach: the flag's, else the configuration's, else none given.
    pub(crate) fn detach_keys(&self) -> String {
        match self.flags.text("detach-keys") {
            Some(keys) => keys.to_owned(),
            None => self.setting("detachKeys"),
        }
    }
}

/// A system error's words alone, in lower case.
pub(crate) fn reason(cause: &std::io::Error) -> String {
    let text = cause.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

/// Runs the command line; `args` begin with the program's own name. Gives the exit code.
#[must_use]
pub fn main(args: Vec<OsString>) -> i32 {
    let mut words = args.into_iter().map(|word| word.to_string_lossy().into_owned());
    let program = words.next().unwrap_or_default();
    let program = program.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("proa").to_owned();
    let words: Vec<String> = words.collect();
    match begin(&program, &words) {
        Ok(()) => 0,
        Err(failure) => {
            if !failure.message.is_empty() {
                eprintln!("{}", failure.message);
            }
            failure.code
        }
    }
}

fn begin(program: &str, words: &[String]) -> Result<()> {
    let global = parse::parse(words, table::GLOBAL, false)
        .map_err(|cause| Failure::new(format!("{cause}\n\nUsage:  {program} [OPTIONS] COMMAND [ARG...]\n\nRun '{program} --help' for more information")).code(125))?;
    if global.on("version") {
        put(&format!("Proa version {}\n", env!("CARGO_PKG_VERSION")));
        return Ok(());
    }
    let rest = global.args.as_slice();
    let Some(first) = rest.first().filter(|_| !global.help) else {
        put(&help::top(program));
        return Ok(());
    };
    if first == "completion" {
        return completion(program, rest.get(1));
    }
    if first == "man" {
        return manual(program, rest.get(1));
    }
    if first == "help" {
        return help_of(program, rest.get(1..).unwrap_or_default());
    }
    match table::resolve(rest) {
        Found::Command(command, count) => {
            let spelling = rest.get(..count).unwrap_or_default().join(" ");
            run(program, &global, command, &spelling, rest.get(count..).unwrap_or_default())
        }
        Found::Group(name, short, count) => match rest.get(count) {
            Some(word) if !word.starts_with('-') => {
                let rest = if name == "volume" { " COMMAND" } else { "" };
                fail!(
                    "{program}: unknown command: {program} {name} {word}\n\nUsage:  {program} {name}{rest}\n\nRun '{program} {name} --help' for more information"
                )
            }
            None => {
                eprint!("{}", help::group(program, name, short));
                Ok(())
            }
            Some(_) => {
                put(&help::group(program, name, short));
                Ok(())
            }
        },
        Found::Unknown => fail!(
            "{program}: unknown command: {program} {first}\n\nRun '{program} --help' for more information"
        ),
    }
}

fn completion(program: &str, shell: Option<&String>) -> Result<()> {
    match shell.and_then(|shell| help::completion(program, shell)) {
        Some(text) => put(&text),
        None => fail!("usage: {program} completion bash|zsh|fish"),
    }
    Ok(())
}

/// `man DIRECTORY`: writes the manual pages.
fn manual(program: &str, directory: Option<&String>) -> Result<()> {
    let Some(directory) = directory else { fail!("usage: {program} man DIRECTORY") };
    std::fs::create_dir_all(directory)?;
    for (name, text) in crate::man::man_pages(program) {
        std::fs::write(Path::new(directory).join(name), text)?;
    }
    Ok(())
}

fn help_of(program: &str, words: &[String]) -> Result<()> {
    match table::resolve(words) {
        Found::Command(command, _) => put(&help::command(program, command, width())),
        Found::Group(name, short, _) => put(&help::group(program, name, short)),
        Found::Unknown if words.is_empty() => put(&help::top(program)),
        Found::Unknown => fail!("unknown help topic: {}", words.join(" ")),
    }
    Ok(())
}

fn width() -> usize {
    crate::terminal::size()
        .and_then(|[_, columns]| usize::try_from(columns).ok())
        .filter(|width| *width > 0)
        .unwrap_or(80)
}

fn run(
    program: &str,
    global: &Parsed,
    command: &'static Command,
    spelling: &str,
    words: &[String],
) -> Result<()> {
    let see = format!("Run '{program} {spelling} --help' for more information");
    let mut usage = format!("Usage:  {program} {}", command.usage_as(spelling));
    if command.path == "container cp" {
        usage.push_str(&format!("\n\t{program} {spelling} [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH"));
    }
    let flagged = |cause: String| Failure::new(format!("{cause}\n\n{usage}\n\n{see}")).code(125);
    let flags = parse::parse(words, command.flags, command.interspersed).map_err(flagged)?;
    if flags.help {
        let text = help::command(program, command, width());
        put(&text.replacen(command.usage, &command.usage_as(spelling), 1));
        return Ok(());
    }
    if !table::supported(command.path) {
        fail!("{program} {spelling} is not supported by this version of Proa.");
    }
    if let Some(name) = flags.names().find(|name| !table::supported_flag(command.path, name)) {
        fail!("{program} {spelling}: --{name} is not supported: {}.", table::reason(name));
    }
    if let Some(cause) =
        parse::arity(&format!("{program} {spelling}"), command.min, command.max, flags.args.len())
    {
        if command.path == "context use" {
            fail!("accepts 1 arg(s), received {}", flags.args.len());
        }
        let see = if command.max == usize::MAX { see.replacen("Run", "See", 1) } else { see };
        fail!("{program}: {cause}\n\n{usage}\n\n{see}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let starts = matches!(command.path, "container run" | "container create");
    let outcome = runtime.block_on(async {
        let config = config_directory(global);
        let settings = Config::read(&config).inspect_err(|cause| eprintln!("WARNING: {cause}")).ok();
        let context = current_context(global, settings.as_ref())?;
        let offline = matches!(command.path, "logout" | "doctor") || command.path.starts_with("context ");
        // a bare connection is for someone who will ask himself
        let negotiates = command.path != "system dial-stdio";
        let reached = match offline {
            true => Ok(Client::new(Host::Unix(OWN.into()), None)),
            false => connect(global, &config, &context, settings.as_ref(), negotiates).await,
        };
        let client = match reached {
            Err(failure) if command.path == "version" && flags.text("format").is_none() => {
                put(&commands::client_version(proa_docker_api::API_VERSION, &context));
                return Err(failure);
            }
            client => client?,
        };
        let host = global.list("host").first().cloned();
        let tls = tls_options(global, &config);
        let app = App { program: program.to_owned(), client, flags, config, context, tls, host };
        commands::dispatch(&app, command.path).await
    });
    runtime.shutdown_background();
    outcome.map_err(|failure| {
        if !starts || failure.bare {
            failure
        } else if failure.message.starts_with("invalid argument ") {
            flagged(failure.message)
        } else {
            let code = if failure.code == 1 { 125 } else { failure.code };
            Failure::new(format!("{program}: {}\n\n{see}", failure.message)).code(code)
        }
    })
}

const OWN: &str = "/run/proa/proa.sock";
const STOCK: &str = "/var/run/docker.sock";

fn config_directory(global: &Parsed) -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".docker");
    let named = global.text("config").map(PathBuf::from);
    named.or_else(|| std::env::var_os("DOCKER_CONFIG").map(PathBuf::from)).unwrap_or_else(home)
}

/// The context in use: flags come before variables, a host before a context, `config.json` last.
fn current_context(global: &Parsed, settings: Option<&Config>) -> Result<String> {
    let hosts = global.list("host");
    let asked = global.text("context").filter(|name| !name.is_empty());
    if let Some(name) = asked {
        if !hosts.is_empty() {
            fail!("conflicting options: cannot specify both --host and --context");
        }
        return Ok(name.to_owned());
    }
    if !hosts.is_empty() || commands::environment_host().is_some() {
        return Ok(DEFAULT.to_owned());
    }
    let variable = std::env::var("DOCKER_CONTEXT").ok().filter(|value| !value.is_empty());
    let configured = || settings.map(|settings| settings.text("currentContext").to_owned());
    let name = variable.or_else(configured).filter(|name| !name.is_empty());
    Ok(name.unwrap_or_else(|| DEFAULT.to_owned()))
}

async fn connect(
    global: &Parsed,
    config: &Path,
    context: &str,
    settings: Option<&Config>,
    negotiates: bool,
) -> Result<Client> {
    let unresolved = |cause: String| {
        Failure::new(format!("Failed to initialize: unable to resolve docker endpoint: {cause}"))
    };
    let hosts = global.list("host");
    if hosts.len() > 1 {
        return Err(unresolved("Specify only one -H".to_owned()));
    }
    let client = if context == DEFAULT {
        match hosts.first().cloned().or_else(commands::environment_host) {
            Some(host) => {
                // a word alone is the name of a machine
                let bare = !host.contains("://") && !host.starts_with('/');
                let host = if bare { format!("tcp://{host}") } else { host };
                let tls = tls_options(global, config).map(|options| options.config()).transpose()?;
                reach(&host, tls, negotiates).await?
            }
            None => default_engine().await?,
        }
    } else {
        let store = Store::new(config);
        let meta = store.read(context).map_err(|failure| unresolved(failure.message))?;
        let tls = context_tls(&store, &meta).map(|options| options.config()).transpose()?;
        match meta.host() {
            "" => default_engine().await?,
            host => reach(host, tls, negotiates).await?,
        }
    };
    if let Some(settings) = settings {
        client.set_headers(settings.texts("HttpHeaders"));
    }
    Ok(client)
}

type Tls = Option<Arc<proa_client::rustls::ClientConfig>>;

async fn reach(host: &str, tls: Tls, negotiates: bool) -> Result<Client> {
    let client = Client::new(Host::parse(host)?, tls);
    if !negotiates {
        return Ok(client);
    }
    match std::env::var("DOCKER_API_VERSION") {
        Ok(version) if !version.is_empty() => client.set_version(&version),
        _ => drop(client.negotiate().await?),
    }
    Ok(client)
}

/// The certificates of a stored context; none where it has none and verifies.
fn context_tls(store: &Store, meta: &Meta) -> Option<TlsOptions> {
    let folder = store.tls_dir(&meta.name).join(ENDPOINT);
    let file = |name: &str| Some(folder.join(name)).filter(|path| path.exists());
    let [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(file);
    let any = ca.is_some() || cert.is_some() || key.is_some() || meta.unverified();
    any.then(|| TlsOptions { ca, cert, key, verify: !meta.unverified() })
}

/// What flags and environment say about TLS; none without it.
fn tls_options(global: &Parsed, config: &Path) -> Option<TlsOptions> {
    let variable = |name: &str| std::env::var(name).is_ok_and(|value| !value.is_empty());
    let verify = if global.has("tlsverify") { global.on("tlsverify") } else { variable("DOCKER_TLS_VERIFY") };
    if !verify && !global.on("tls") && !variable("DOCKER_TLS") {
        return None;
    }
    let folder = std::env::var_os("DOCKER_CERT_PATH").map_or_else(|| config.to_owned(), PathBuf::from);
    let file = |flag: &str, name: &str| {
        let path = global.text(flag).map_or_else(|| folder.join(name), PathBuf::from);
        (global.has(flag) || path.exists()).then_some(path)
    };
    Some(TlsOptions {
        ca: file("tlscacert", "ca.pem"),
        cert: file("tlscert", "cert.pem"),
        key: file("tlskey", "key.pem"),
        verify,
    })
}

/// The own engine, another one on the usual socket, or an own one started now.
async fn default_engine() -> Result<Client> {
    let own = Client::new(Host::Unix(OWN.into()), None);
    let refused = match own.probe().await {
        Ok(()) => return Ok(own),
        Err(cause) => cause,
    };
    let stock = Client::new(Host::Unix(STOCK.into()), None);
    if stock.negotiate().await.is_ok() {
        return Ok(stock);
    }
    if !rustix::process::geteuid().is_root() {
        if matches!(refused, proa_client::Error::Denied { .. }) {
            fail!(
                "permission denied on {OWN}: this user is not in the socket's group (proa or docker); add it with `sudo usermod -aG proa $USER` and log in again, or run the command with sudo"
            );
        }
        fail!(
            "no engine answers on {OWN} or {STOCK}, and starting one needs root: run this command with sudo, or start the engine with `sudo proa daemon`"
        );
    }
    start_engine(own).await
}

/// Tells an engine that a client started it; it leaves the client's session then.
const ON_DEMAND: &str = "PROA_ON_DEMAND";

/// Leaves the session of the client that started this engine, so that closing the terminal does not end it.
pub fn leave_session() {
    if std::env::var_os(ON_DEMAND).is_some() {
        let _ = rustix::process::setsid();
    }
}

async fn start_engine(client: Client) -> Result<Client> {
    const LOG: &str = "/var/log/proa.log";
    let log = std::fs::OpenOptions::new().create(true).append(true).open(LOG)?;
    let mut daemon = std::process::Command::new("/proc/self/exe")
        .arg("daemon")
        .stdin(std::process::Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .current_dir("/")
        .env(ON_DEMAND, "1")
        .spawn()?;
    let mut gone = 0;
    for _ in 0..1000 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        if client.negotiate().await.is_ok() {
            eprintln!("Started the engine: socket {OWN}, data /var/lib/proa, log {LOG}");
            return Ok(client);
        }
        // another client may have started one at the same moment: that one answers soon
        let status = daemon.try_wait()?;
        gone += u32::from(status.is_some());
        if let Some(status) = status
            && gone > 200
        {
            fail!("the engine ended while starting ({status}): look at {LOG}");
        }
    }
    fail!("the engine did not answer on {OWN} within 10 s: look at {LOG}")
}
