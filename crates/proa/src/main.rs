//! The multi-call binary: picks a face by its first word.

use std::ffi::OsString;

fn main() {
    let mut args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let face = if args.is_empty() { OsString::new() } else { args.remove(0) };
    let code = match face.to_str() {
        Some("shim") => proa_shim::main(args),
        Some("runtime") => proa_runtime::cli::main(args),
        Some("daemon") => proa_daemon::main(args),
        _ => {
            eprintln!("proa: this build has no command line yet");
            1
        }
    };
    std::process::exit(code);
}
