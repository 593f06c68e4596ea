//! The rules that a machine can hold: formatting, lints, floors, file sizes, licences, generated documents.

use crate::shell::{Outcome, cargo, output, root, run};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const LICENCES: [&str; 10] = [
    "MIT",
    "Apache-2.0",
    "BSD-3-Clause",
    "BSD-2-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "CDLA-Permissive-2.0",
    "Unlicense",
    "0BSD",
];

/// Longest file of code, in lines.
const LONGEST_FILE: usize = 600;

/// Checks everything and writes nothing.
pub(crate) fn verify() -> Outcome {
    run("formatting", cargo().args(["fmt", "--all", "--check"]))?;
    floors()?;
    style()?;
    licences()?;
    documents()?;
    run(
        "lints",
        cargo().args(["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]),
    )?;
    println!("verify: all checks passed");
    Ok(())
}

/// Formats the code and writes the generated documents anew.
pub(crate) fn fix() -> Outcome {
    run("formatting", cargo().args(["fmt", "--all"]))?;
    let mut generate = cargo();
    generate.args(["test", "--quiet", "-p", "proa", "--test", "compat"]).env("PROA_WRITE_DOCS", "1");
    run("docs/COMPAT.md", &mut generate)
}

fn floors() -> Outcome {
    println!("── floors");
    let text = read(&root().join("xtask/layers.toml"))?;
    let mut floors = BTreeMap::new();
    for line in text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
        if let Some((name, floor)) = line.split_once('=') {
            let floor: u32 =
                floor.trim().parse().map_err(|_| format!("xtask/layers.toml: bad line: {line}"))?;
            floors.insert(name.trim().to_owned(), floor);
        }
    }
    let mut faults = Vec::new();
    for entry in list(&root().join("crates"))? {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(floor) = floors.get(&name) else {
            faults.push(format!("crates/{name} has no floor in xtask/layers.toml"));
            continue;
        };
        for used in used_crates(&entry.join("Cargo.toml"))? {
            if floors.get(&used).is_none_or(|below| below >= floor) {
                faults.push(format!("crates/{name} (floor {floor}) may not use {used}: only lower floors"));
            }
        }
    }
    report("floors", faults)
}

/// The project's crates that a manifest names outside its development dependencies.
fn used_crates(manifest: &Path) -> Outcome<Vec<String>> {
    let text = read(manifest)?;
    let mut inside = false;
    let mut used = Vec::new();
    for line in text.lines() {
        if line.starts_with('[') {
            inside = line == "[dependencies]" || line == "[build-dependencies]";
        }
        if let (true, Some(rest)) = (inside, line.strip_prefix("proa-")) {
            used.push(rest.split(['.', ' ', '=']).next().unwrap_or_default().to_owned());
        }
    }
    Ok(used)
}

fn style() -> Outcome {
    println!("── style");
    let mut faults = Vec::new();
    for file in sources(&root())? {
        let text = read(&file)?;
        let name = file.strip_prefix(root()).unwrap_or(&file).display().to_string();
        let lines = text.lines().count();
        // Tables of flags are data: one row for each, however many there are.
        if lines > LONGEST_FILE && !name.contains("/table/") {
            faults.push(format!("{name}: {lines} lines; split it (at most {LONGEST_FILE})"));
        }
        let crate_root = name.ends_with("src/lib.rs") || name.ends_with("src/main.rs");
        if crate_root && !text.starts_with("//!") {
            faults.push(format!("{name}: begin with a //! comment that says what this is"));
        }
        for word in ["todo!(", "unimplemented!("] {
            if text.contains(word) && !name.starts_with("xtask") {
                faults.push(format!("{name}: {word}) is left in"));
            }
        }
    }
    report("style", faults)
}

fn licences() -> Outcome {
    println!("── licences");
    let json = output(cargo().args(["metadata", "--format-version", "1", "--locked"]))?;
    let metadata: serde_json::Value =
        serde_json::from_str(&json).map_err(|e| format!("cargo metadata: {e}"))?;
    let empty = Vec::new();
    let packages = metadata["packages"].as_array().unwrap_or(&empty);
    let faults = packages.iter().filter_map(|package| {
        let licence = package["license"].as_str().unwrap_or("none");
        let allowed = licence.split(" OR ").flat_map(|part| part.split('/')).any(|choice| {
            choice.split(" AND ").all(|one| {
                let one =
                    one.trim().trim_matches(['(', ')']).split(" WITH ").next().unwrap_or_default().to_owned();
                LICENCES.contains(&one.as_str())
            })
        });
        (!allowed).then(|| format!("{}: licence {licence} is not on the list", package["name"]))
    });
    report("licences", faults.collect())
}

fn documents() -> Outcome {
    println!("── documents");
    let needed =
        ["README.md", "LICENSE", "CHANGELOG.md", "docs/ARCHITECTURE.md", "docs/COMPAT.md", ".ci/run"];
    let missing = needed.iter().filter(|file| !root().join(file).is_file());
    report("documents", missing.map(|file| format!("{file} is missing")).collect())
}

fn report(what: &str, faults: Vec<String>) -> Outcome {
    if faults.is_empty() { Ok(()) } else { Err(format!("{what}:\n  {}", faults.join("\n  "))) }
}

/// Every Rust file of the project.
fn sources(root: &Path) -> Outcome<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = ["crates", "xtask", "tests"].iter().map(|name| root.join(name)).collect();
    while let Some(folder) = folders.pop() {
        for entry in list(&folder)? {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|e| e == "rs") {
                files.push(entry);
            }
        }
    }
    Ok(files)
}

fn list(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

fn read(file: &Path) -> Outcome<String> {
    std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))
}
