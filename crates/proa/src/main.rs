//! The multi-call binary: picks a face by name or first word.

use std::ffi::OsString;

fn main() {
    let mut args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let face = if args.is_empty() { OsString::new() } else { args.remove(0) };
    let code = match face.to_str() {
        Some("runtime") => proa_runtime::cli::main(args),
        _ => {
            eprintln!("proa: this build has the face `runtime` only");
            1
        }
    };
    std::process::exit(code);
}
