//! Composition root of the engine: configuration, wiring, restore, reload, shutdown.

mod config;
mod error;
#[cfg(test)]
mod fuzz;
mod listen;
mod metrics;
mod option;
mod pidfile;
mod run;
mod values;

use config::Config;
use std::ffi::OsString;
use tracing::level_filters::LevelFilter;

/// Changes the level of the daemon's log while it runs.
type LogLevel = tracing_subscriber::reload::Handle<LevelFilter, tracing_subscriber::Registry>;

/// The face `proa daemon`: serves the Engine API until it is told to end. The exit code.
pub fn main(args: Vec<OsString>) -> i32 {
    let args: Vec<String> = args.into_iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let has = |words: &[&str]| args.iter().any(|arg| words.contains(&arg.as_str()));
    if has(&["--help", "-h"]) {
        print!("{}", option::help());
        return 0;
    }
    if has(&["--version", "-v"]) {
        println!("Proa version {}", env!("CARGO_PKG_VERSION"));
        return 0;
    }
    if has(&["--failpoints"]) {
        proa_engine::failpoints().for_each(|name| println!("{name}"));
        return 0;
    }
    let config = match Config::load(&args) {
        Ok(config) => config,
        Err(error) => return fail(&error),
    };
    let level = log(&config);
    for note in &config.notes {
        tracing::warn!("{note}");
    }
    if config.validate {
        return match run::validate(&config) {
            Ok(()) => {
                println!("configuration OK");
                0
            }
            Err(error) => fail(&error),
        };
    }
    match run::run(&args, config, &level) {
        Ok(()) => 0,
        Err(error) => fail(&error),
    }
}

fn fail(error: &error::Error) -> i32 {
    eprintln!("proa daemon: {error}");
    if matches!(error, error::Error::Flag(_)) {
        eprintln!("See 'proa daemon --help'.");
    }
    1
}

/// Logs to standard error, as text or JSON. The handle changes the level.
fn log(config: &Config) -> LogLevel {
    use std::io::IsTerminal;
    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;
    let (level, handle) = tracing_subscriber::reload::Layer::new(LevelFilter::from_level(config.log_level));
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let layer = if config.log_json {
        layer.json().boxed()
    } else {
        layer.with_ansi(std::io::stderr().is_terminal()).boxed()
    };
    tracing_subscriber::registry().with(level).with(layer).init();
    handle
}
