//! The multi-call binary: picks a face by its own name and its first word.

use std::ffi::OsString;
use std::path::Path;

fn main() {
    let all: Vec<OsString> = std::env::args_os().collect();
    let docker =
        all.first().and_then(|name| Path::new(name).file_name()).is_some_and(|name| name == "docker");
    let face = if docker { None } else { all.get(1).and_then(|word| word.to_str()) };
    let rest = || all.iter().skip(2).cloned().collect::<Vec<_>>();
    let code = match face {
        Some("shim") => proa_shim::main(rest()),
        Some("log-sender") => proa_logs::sender::main(),
        Some("log-compress") => i32::from(proa_logs::compress().is_err()),
        Some("runtime") => proa_runtime::cli::main(rest()),
        Some("daemon") => {
            proa_cli::leave_session();
            proa_daemon::main(rest())
        }
        _ => proa_cli::main(all),
    };
    std::process::exit(code);
}
