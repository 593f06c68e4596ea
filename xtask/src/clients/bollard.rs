//! The tests in bollard's crate, each in a process of its own: one that hangs takes no other with it.

use super::{Ending, Endings, Lab};
use crate::shell::{Outcome, cargo, output, run};
use std::path::{Path, PathBuf};
use std::process::Command;

const VERSION: &str = "0.21.0";

/// How long one test may take, in seconds.
const PATIENCE: &str = "60";

pub(super) fn bollard(lab: &Lab, filter: &str) -> Outcome<Endings> {
    let dir = lab.cache.join(format!("bollard-{VERSION}"));
    let source = fetch(&dir)?;
    let mut all = Vec::new();
    for (name, program) in programs(&dir, &source)? {
        let list = output(Command::new(&program).args(["--list", "--format", "terse"]))?;
        let tests = list.lines().filter_map(|line| line.strip_suffix(": test"));
        let named: Vec<(&str, String)> = tests.map(|test| (test, format!("{name}::{test}"))).collect();
        let mut passed = 0;
        let chosen: Vec<_> = named.into_iter().filter(|(_, full)| full.contains(filter)).collect();
        for (test, full) in &chosen {
            lab.tidy(&[])?;
            let mut command = lab.command("timeout");
            command.args(["--kill-after=5", PATIENCE]).arg(&program).args(["--exact", test, "--nocapture"]);
            command.current_dir(&source).env("REGISTRY_HTTP_ADDR", &lab.registry.authority);
            let text = lab.run(&mut command)?;
            let ending = match text.contains("test result: ok.") {
                true if text.contains(" 1 ignored") => Ending::Skipped,
                true => Ending::Passed,
                false => Ending::Failed,
            };
            passed += usize::from(ending == Ending::Passed);
            all.push((full.clone(), ending));
        }
        if !chosen.is_empty() {
            println!("   {name}: {passed} passed, {} not", chosen.len() - passed);
        }
    }
    Ok(all)
}

/// The crate's source, as cargo fetches it for a project that needs it.
fn fetch(dir: &Path) -> Outcome<PathBuf> {
    let source = dir.join("source");
    if source.is_dir() {
        return Ok(source);
    }
    println!("── fetching bollard {VERSION}");
    let asking = dir.join("asking");
    let at = |e: std::io::Error| format!("{}: {e}", asking.display());
    std::fs::create_dir_all(asking.join("src")).map_err(at)?;
    let manifest = format!(
        "[package]\nname = \"asking\"\nversion = \"0.0.0\"\nedition = \"2021\"\n[workspace]\n[dependencies]\nbollard = \"={VERSION}\"\n"
    );
    std::fs::write(asking.join("Cargo.toml"), manifest).map_err(at)?;
    std::fs::write(asking.join("src/lib.rs"), "").map_err(at)?;
    let json = output(cargo().current_dir(&asking).args(["metadata", "--format-version", "1"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&json).map_err(|e| e.to_string())?;
    let packages = metadata["packages"].as_array().cloned().unwrap_or_default();
    let found = packages.iter().find(|package| package["name"] == "bollard");
    let manifest =
        found.and_then(|package| package["manifest_path"].as_str()).ok_or("cargo fetched no bollard")?;
    let new = dir.join("source.new");
    let _ = std::fs::remove_dir_all(&new);
    let from = Path::new(manifest).parent().unwrap_or(Path::new("/"));
    output(Command::new("cp").args(["-r", "--no-preserve=mode"]).arg(from).arg(&new))?;
    std::fs::rename(&new, &source).map_err(at)?;
    Ok(source)
}

/// Its test programs, built.
fn programs(dir: &Path, source: &Path) -> Outcome<Vec<(String, PathBuf)>> {
    let mut build = cargo();
    build.current_dir(source).env("CARGO_TARGET_DIR", dir.join("target"));
    build.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_PROFILE_TEST_DEBUG", "0");
    build.args(["test", "--tests", "--no-run"]);
    run("building bollard's tests", &mut build)?;
    let json = output(build.args(["--message-format", "json-render-diagnostics"]))?;
    let artifacts = json.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let tests = artifacts.filter(|artifact| artifact["target"]["kind"][0] == "test");
    let mut all: Vec<(String, PathBuf)> = tests
        .filter_map(|artifact| {
            let name = artifact["target"]["name"].as_str()?.to_owned();
            Some((name, PathBuf::from(artifact["executable"].as_str()?)))
        })
        .collect();
    all.sort();
    Ok(all)
}
