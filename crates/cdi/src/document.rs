//! A CDI file (<https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md>).

use crate::yaml;
use serde::{Deserialize, Deserializer};
use std::path::{Path, PathBuf};

/// Versions this crate knows.
const VERSIONS: [&str; 8] = ["0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"];

macro_rules! documents {
    ($($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident : $type:ty,)* })*) => {
        $(
            $(#[$meta])*
            #[derive(Debug, Clone, Default, PartialEq, Deserialize)]
            #[serde(rename_all = "camelCase", default, deny_unknown_fields)]
            pub(crate) struct $name { $($(#[$field_meta])* pub(crate) $field: $type,)* }
        )*
    };
}

documents! {
    /// The whole of a file.
    Document {
        #[serde(deserialize_with = "word")]
        cdi_version: String,
        kind: String,
        annotations: serde_json::Map<String, serde_json::Value>,
        devices: Vec<Device>,
        container_edits: Edits,
    }
    /// One device.
    Device {
        #[serde(deserialize_with = "word")]
        name: String,
        annotations: serde_json::Map<String, serde_json::Value>,
        container_edits: Edits,
    }
    /// What a container needs.
    Edits {
        env: Option<Vec<String>>,
        device_nodes: Option<Vec<Node>>,
        net_devices: Option<Vec<serde_json::Value>>,
        hooks: Option<Vec<Hook>>,
        mounts: Option<Vec<Mount>>,
        intel_rdt: Option<serde_json::Value>,
        additional_gids: Option<Vec<u32>>,
    }
    /// A device node.
    Node {
        path: PathBuf,
        host_path: Option<PathBuf>,
        #[serde(rename = "type")]
        kind: Option<String>,
        major: Option<i64>,
        minor: Option<i64>,
        file_mode: Option<u32>,
        permissions: Option<String>,
        uid: Option<u32>,
        gid: Option<u32>,
    }
    /// A mount.
    Mount {
        host_path: PathBuf,
        container_path: PathBuf,
        #[serde(rename = "type")]
        kind: Option<String>,
        options: Option<Vec<String>>,
    }
    /// A program run at a point of the container's life.
    Hook {
        hook_name: String,
        path: PathBuf,
        args: Option<Vec<String>>,
        env: Option<Vec<String>>,
        timeout: Option<u32>,
    }
}

/// A text, which YAML takes for a number if nobody put quotes around it.
fn word<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Word {
        Text(String),
        Number(serde_json::Number),
    }
    Ok(match Word::deserialize(from)? {
        Word::Text(text) => text,
        Word::Number(number) => number.to_string(),
    })
}

/// Reads a file's content: JSON, or YAML, of which JSON is a part.
///
/// # Errors
/// What is wrong, in words.
pub(crate) fn parse(text: &str) -> Result<Document, String> {
    let value = yaml::parse(text)?;
    let document: Document = serde_json::from_value(value).map_err(|error| error.to_string())?;
    document.check()?;
    Ok(document)
}

impl Document {
    fn check(&self) -> Result<(), String> {
        let version = self.cdi_version.trim_start_matches('v');
        if !VERSIONS.contains(&version) {
            let known = VERSIONS.join(", ");
            return Err(format!("unknown cdiVersion {:?}: known are {known}", self.cdi_version));
        }
        let (vendor, class) = self.kind.split_once('/').unwrap_or((&self.kind, ""));
        if !is_vendor(vendor) || !is_class(class) {
            return Err(format!("invalid kind {:?}: write VENDOR/CLASS", self.kind));
        }
        if self.devices.is_empty() {
            return Err("no devices".into());
        }
        let mut names: Vec<&str> = self.devices.iter().map(|device| device.name.as_str()).collect();
        if let Some(bad) = names.iter().find(|name| !is_name(name)) {
            return Err(format!("invalid device name {bad:?}"));
        }
        names.sort_unstable();
        if let Some([same, _]) = names.windows(2).find(|pair| pair.first() == pair.last()) {
            return Err(format!("device {same:?} is there twice"));
        }
        self.devices
            .iter()
            .map(|device| &device.container_edits)
            .chain([&self.container_edits])
            .try_for_each(Edits::check)
    }
}

impl Edits {
    fn check(&self) -> Result<(), String> {
        for entry in self.env.iter().flatten() {
            if entry.split_once('=').is_none_or(|(name, _)| name.is_empty()) || entry.contains('\0') {
                return Err(format!("invalid env {entry:?}: write NAME=VALUE"));
            }
        }
        for node in self.device_nodes.iter().flatten() {
            absolute("deviceNodes.path", &node.path)?;
            node.host_path.iter().try_for_each(|path| absolute("deviceNodes.hostPath", path))?;
            let kind = node.kind.as_deref().unwrap_or("");
            if !matches!(kind, "" | "b" | "c" | "u" | "p") {
                return Err(format!("device node {}: invalid type {kind:?}", node.path.display()));
            }
            let access = node.permissions.as_deref().unwrap_or("");
            if access.len() > 3 || !access.chars().all(|c| "rwm".contains(c)) {
                return Err(format!("device node {}: invalid permissions {access:?}", node.path.display()));
            }
        }
        for mount in self.mounts.iter().flatten() {
            absolute("mounts.hostPath", &mount.host_path)?;
            absolute("mounts.containerPath", &mount.container_path)?;
        }
        for hook in self.hooks.iter().flatten() {
            absolute("hooks.path", &hook.path)?;
            let names =
                ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
            if !names.contains(&hook.hook_name.as_str()) {
                return Err(format!(
                    "invalid hookName {:?}: write one of {}",
                    hook.hook_name,
                    names.join(", ")
                ));
            }
        }
        Ok(())
    }
}

fn absolute(field: &str, path: &Path) -> Result<(), String> {
    match path.is_absolute() {
        true => Ok(()),
        false => Err(format!("{field} {:?} is no absolute path", path.display().to_string())),
    }
}

/// Whether a text names a device: `VENDOR/CLASS=NAME`.
pub fn is_qualified(text: &str) -> bool {
    let kind_and_name = text.split_once('=');
    kind_and_name.is_some_and(|(kind, name)| {
        kind.split_once('/').is_some_and(|(vendor, class)| is_vendor(vendor) && is_class(class))
            && is_name(name)
    })
}

fn is_vendor(text: &str) -> bool {
    spelled(text, |first| first.is_ascii_alphabetic(), "_-.")
}

fn is_class(text: &str) -> bool {
    spelled(text, |first| first.is_ascii_alphabetic(), "_-.")
}

fn is_name(text: &str) -> bool {
    spelled(text, |first| first.is_ascii_alphanumeric(), "_-.:")
}

fn spelled(text: &str, begins: fn(char) -> bool, between: &str) -> bool {
    text.starts_with(begins)
        && text.ends_with(|last: char| last.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || between.contains(c))
        && text.len() <= 256
}
