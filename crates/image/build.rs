//! Compiles the greeting program of the built-in image for the target: a static file of a few kilobytes.
//!
//! It is compiled by rustc directly, without cargo's flags, so that flags of the workspace or the user do
//! not change it. On an architecture the program does not know, the built-in image is left out.

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=hello/hello.rs");
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("hello");
    let target = env::var("TARGET").unwrap_or_default();
    if !(target.starts_with("x86_64-") || target.starts_with("aarch64-")) {
        println!("cargo::warning=no greeting program for {target}: the built-in hello-world is left out");
        if let Err(error) = std::fs::write(&out, b"") {
            println!("cargo::error=cannot write {}: {error}", out.display());
        }
        return;
    }
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    rustc.args(["hello/hello.rs", "--crate-name", "hello", "--edition", "2024", "--target", &target]);
    for option in
        ["panic=abort", "opt-level=s", "strip=symbols", "relocation-model=static", "codegen-units=1"]
    {
        rustc.args(["-C", option]);
    }
    for argument in ["-nostartfiles", "-nostdlib", "-static", "-Wl,--build-id=none", "-Wl,-z,norelro"] {
        rustc.args(["-C", &format!("link-arg={argument}")]);
    }
    if let Some(linker) = env::var("RUSTC_LINKER").ok().filter(|linker| !linker.is_empty()) {
        rustc.args(["-C", &format!("linker={linker}")]);
    }
    rustc.arg("-o").arg(&out);
    match rustc.status() {
        Ok(status) if status.success() => {}
        Ok(status) => println!("cargo::error=compiling hello/hello.rs for {target} failed: {status}"),
        Err(error) => println!("cargo::error=cannot run rustc: {error}"),
    }
}
