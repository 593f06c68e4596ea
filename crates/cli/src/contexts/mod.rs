//! Contexts as docker stores them below its configuration: `contexts/meta/<sha256 of the name>/meta.json`
//! and the certificates in `contexts/tls/<the same>/<endpoint>/`. Other clients read and write them too,
//! so unknown members are kept and a document appears by rename only.

pub(crate) mod archive;
mod zip;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::error::{Result, fail};

/// The context that is no stored one: the flags' and the environment's engine.
pub(crate) const DEFAULT: &str = "default";
/// The engine's endpoint of a context.
pub(crate) const ENDPOINT: &str = "docker";

/// The document of a context.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Meta {
    pub(crate) name: String,
    pub(crate) metadata: Map<String, Value>,
    pub(crate) endpoints: BTreeMap<String, Value>,
}

impl Meta {
    /// A context that leads to `host`.
    pub(crate) fn new(name: &str, host: &str, unverified: bool) -> Self {
        let mut meta = Self { name: name.to_owned(), ..Self::default() };
        meta.endpoints.insert(ENDPOINT.into(), json!({ "Host": host, "SkipTLSVerify": unverified }));
        meta
    }

    /// What it says about itself.
    pub(crate) fn description(&self) -> &str {
        self.metadata.get("Description").and_then(Value::as_str).unwrap_or_default()
    }

    /// Describes it; an empty text changes nothing.
    pub(crate) fn describe(&mut self, text: &str) {
        if !text.is_empty() {
            self.metadata.insert("Description".into(), text.into());
        }
    }

    /// The engine's address.
    pub(crate) fn host(&self) -> &str {
        let endpoint = self.endpoints.get(ENDPOINT);
        endpoint.and_then(|endpoint| endpoint.get("Host")).and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether the engine's certificate is not verified.
    pub(crate) fn unverified(&self) -> bool {
        let endpoint = self.endpoints.get(ENDPOINT);
        endpoint.and_then(|endpoint| endpoint.get("SkipTLSVerify")).and_then(Value::as_bool).unwrap_or(false)
    }
}

/// The files of certificates by endpoint and name.
pub(crate) type Material = BTreeMap<String, BTreeMap<String, Vec<u8>>>;

/// The stored contexts.
pub(crate) struct Store {
    root: PathBuf,
}

impl Store {
    /// Those below a directory of configuration.
    pub(crate) fn new(config: &Path) -> Self {
        Self { root: config.join("contexts") }
    }

    /// The directory of a context's document.
    pub(crate) fn meta_dir(&self, name: &str) -> PathBuf {
        self.root.join("meta").join(id(name))
    }

    /// The directory of a context's certificates.
    pub(crate) fn tls_dir(&self, name: &str) -> PathBuf {
        self.root.join("tls").join(id(name))
    }

    /// Whether a context of that name is stored.
    pub(crate) fn exists(&self, name: &str) -> bool {
        self.meta_dir(name).join("meta.json").exists()
    }

    /// A stored context.
    ///
    /// # Errors
    /// It is not there, or its document is broken.
    pub(crate) fn read(&self, name: &str) -> Result<Meta> {
        let path = self.meta_dir(name).join("meta.json");
        let raw = match std::fs::read(&path) {
            Ok(raw) => raw,
            Err(cause) => {
                let kind =
                    if cause.kind() == std::io::ErrorKind::NotFound { "context not found: " } else { "" };
                fail!("context {name:?}: {kind}open {}: {}", path.display(), crate::app::reason(&cause))
            }
        };
        serde_json::from_slice(&raw).or_else(|cause| fail!("context {name:?}: {}: {cause}", path.display()))
    }

    /// Every stored context whose document can be read, in the order of their names.
    pub(crate) fn list(&self) -> Vec<Meta> {
        let entries = std::fs::read_dir(self.root.join("meta")).into_iter().flatten().flatten();
        let read = |path: PathBuf| serde_json::from_slice(&std::fs::read(path.join("meta.json")).ok()?).ok();
        let mut all: Vec<Meta> = entries.filter_map(|entry| read(entry.path())).collect();
        all.sort_by(|a, b| crate::output::natural(&a.name, &b.name));
        all
    }

    /// Stores a context's document in place of the one before.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn save(&self, meta: &Meta) -> Result<()> {
        let dir = self.meta_dir(&meta.name);
        std::fs::create_dir_all(&dir)?;
        replace(&dir.join("meta.json"), &serde_json::to_vec(meta)?, 0o644)
    }

    /// Forgets a context and its certificates.
    ///
    /// # Errors
    /// Something of it cannot be removed.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        for dir in [self.meta_dir(name), self.tls_dir(name)] {
            match std::fs::remove_dir_all(&dir) {
                Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                    fail!("context {name:?}: remove {}: {}", dir.display(), crate::app::reason(&cause))
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The names of a context's certificate files by endpoint.
    pub(crate) fn tls_names(&self, name: &str) -> BTreeMap<String, Vec<String>> {
        names(&self.tls_dir(name))
            .into_iter()
            .map(|endpoint| {
                let files = names(&self.tls_dir(name).join(&endpoint));
                (endpoint, files)
            })
            .collect()
    }

    /// A context's certificates.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(crate) fn tls(&self, name: &str) -> Result<Material> {
        let dir = self.tls_dir(name);
        let mut all = Material::new();
        for (endpoint, files) in self.tls_names(name) {
            for file in files {
                let bytes = std::fs::read(dir.join(&endpoint).join(&file))?;
                all.entry(endpoint.clone()).or_default().insert(file, bytes);
            }
        }
        Ok(all)
    }

    /// Stores the certificates of one endpoint in place of those before.
    ///
    /// # Errors
    /// They cannot be written.
    pub(crate) fn set_tls(
        &self,
        name: &str,
        endpoint: &str,
        files: &BTreeMap<String, Vec<u8>>,
    ) -> Result<()> {
        let context = self.tls_dir(name);
        let dir = context.join(endpoint);
        if dir.exists() {
            std::fs::remove_dir_all(&dir)?;
        }
        if files.is_empty() {
            // the context's directory goes with its last endpoint
            let _ = std::fs::remove_dir(&context);
            return Ok(());
        }
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        for (file, bytes) in files {
            replace(&dir.join(file), bytes, 0o600)?;
        }
        Ok(())
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut all: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    all.sort();
    all
}

fn id(name: &str) -> String {
    proa_oci::Digest::of(name.as_bytes()).hex().to_owned()
}

/// Writes a file by rename.
fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let partial = path.with_extension(format!("partial-{}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    let mut out = options.write(true).create(true).truncate(true).mode(mode).open(&partial)?;
    out.write_all(bytes)?;
    Ok(std::fs::rename(&partial, path)?)
}

/// Whether a context may have that name.
///
/// # Errors
/// Docker's text why not.
pub(crate) fn check_name(name: &str) -> Result<()> {
    if name.is_empty() {
        fail!("context name cannot be empty");
    }
    if name == DEFAULT {
        fail!("\"default\" is a reserved context name");
    }
    let mut chars = name.chars();
    let first = chars.next().is_some_and(|first| first.is_ascii_alphanumeric());
    let valid = |c: char| c.is_ascii_alphanumeric() || "_.+-".contains(c);
    if !first || name.len() < 2 || !chars.all(valid) {
        fail!(
            "context name {name:?} is invalid, names are validated against regexp \"^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$\""
        );
    }
    Ok(())
}

/// Whether a new context may have that name.
///
/// # Errors
/// The name is invalid, or another context has it.
pub(crate) fn check_new(store: &Store, name: &str) -> Result<()> {
    check_name(name)?;
    if store.exists(name) {
        fail!("context {name:?} already exists");
    }
    Ok(())
}
