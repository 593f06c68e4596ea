//! The client's `config.json`: read where a command needs it, unknown keys kept when it is written.

use serde::Serialize as _;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::error::{Result, fail};

/// The document and where it lies.
pub(crate) struct Config {
    path: PathBuf,
    document: Value,
}

impl Config {
    /// Reads `config.json` in `directory`; one that is not there is empty.
    ///
    /// # Errors
    /// It cannot be read, or is not JSON.
    pub(crate) fn read(directory: &Path) -> Result<Self> {
        let path = directory.join("config.json");
        let document = match std::fs::read(&path) {
            Ok(raw) => match serde_json::from_slice(&raw) {
                Ok(document) => document,
                Err(cause) => fail!("loading config file: {}: {cause}", path.display()),
            },
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => json!({}),
            Err(cause) => fail!("loading config file: {}: {}", path.display(), crate::app::reason(&cause)),
        };
        Ok(Self { path, document })
    }

    /// Writes it, readable by its owner only, by rename.
    ///
    /// # Errors
    /// The directory or the file cannot be written.
    pub(crate) fn write(&self) -> Result<()> {
        use std::os::unix::fs::OpenOptionsExt as _;
        // a link to a file elsewhere stays one
        let path = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let directory = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(directory)?;
        let mut document = self.document.clone();
        if let Some(members) = document.as_object_mut() {
            members.entry("auths").or_insert_with(|| json!({}));
        }
        let mut text = Vec::new();
        let indented = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        document.serialize(&mut serde_json::Serializer::with_formatter(&mut text, indented))?;
        let partial = directory.join(format!("config.json.{}", std::process::id()));
        let mut options = std::fs::OpenOptions::new();
        let mut out = options.write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
        out.write_all(&text)?;
        Ok(std::fs::rename(partial, &path)?)
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A text, empty where there is none.
    pub(crate) fn text(&self, key: &str) -> &str {
        self.document.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// Sets a text; an empty one removes it.
    pub(crate) fn set_text(&mut self, key: &str, text: &str) {
        let Some(document) = self.document.as_object_mut() else { return };
        if text.is_empty() {
            document.remove(key);
        } else {
            document.insert(key.to_owned(), text.into());
        }
    }

    /// The members of an object of texts.
    pub(crate) fn texts(&self, key: &str) -> Vec<(String, String)> {
        let members = self.document.get(key).and_then(Value::as_object);
        let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
        members.into_iter().flatten().filter_map(text).collect()
    }

    /// The items of a list of texts.
    pub(crate) fn list(&self, key: &str) -> Vec<String> {
        let items = self.document.get(key).and_then(Value::as_array);
        items.into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
    }

    /// A stored entry of `auths`.
    pub(crate) fn auth(&self, server: &str) -> Option<&Value> {
        self.document.get("auths")?.get(server)
    }

    /// Stores or, with none, removes an entry of `auths`.
    pub(crate) fn set_auth(&mut self, server: &str, entry: Option<Value>) {
        let Some(document) = self.document.as_object_mut() else { return };
        let auths = document.entry("auths").or_insert_with(|| json!({}));
        match (auths.as_object_mut(), entry) {
            (Some(auths), Some(entry)) => drop(auths.insert(server.to_owned(), entry)),
            (Some(auths), None) => drop(auths.remove(server)),
            (None, _) => {}
        }
    }

    /// The credential helper for a registry: its own, or the store for all.
    pub(crate) fn helper(&self, server: &str) -> Option<String> {
        let own = self.document.pointer("/credHelpers").and_then(|helpers| helpers.get(server));
        let name = own.and_then(Value::as_str).unwrap_or_else(|| self.text("credsStore"));
        (!name.is_empty()).then(|| format!("docker-credential-{name}"))
    }

    /// The proxy variables a new container gets: those of `proxies` for this host, else the default ones.
    pub(crate) fn proxies(&self, host: &str) -> Vec<(String, String)> {
        const NAMES: [(&str, &str); 5] = [
            ("httpProxy", "HTTP_PROXY"),
            ("httpsProxy", "HTTPS_PROXY"),
            ("noProxy", "NO_PROXY"),
            ("ftpProxy", "FTP_PROXY"),
            ("allProxy", "ALL_PROXY"),
        ];
        let Some(proxies) = self.document.get("proxies") else { return Vec::new() };
        let Some(entry) = proxies.get(host).or_else(|| proxies.get("default")) else { return Vec::new() };
        let mut out = Vec::new();
        for (key, variable) in NAMES {
            if let Some(value) = entry.get(key).and_then(Value::as_str).filter(|value| !value.is_empty()) {
                out.push((variable.to_owned(), value.to_owned()));
                out.push((variable.to_ascii_lowercase(), value.to_owned()));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_here_must_be_kept() {
        let directory = std::env::temp_dir().join(format!("proa-cli-{}-config", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let text = r#"{"auths":{"old":{}},"credHelpers":{"r.example":"x"},"credsStore":"all","other":[1],
            "proxies":{"default":{"httpProxy":"http://p:1"},"unix:///s":{"noProxy":"a"}},"detachKeys":"ctrl-a"}"#;
        std::fs::write(directory.join("config.json"), text).unwrap();
        let mut config = Config::read(&directory).unwrap();
        assert_eq!(config.helper("r.example").as_deref(), Some("docker-credential-x"));
        assert_eq!(config.helper("other").as_deref(), Some("docker-credential-all"));
        assert_eq!(config.text("detachKeys"), "ctrl-a");
        assert_eq!(config.proxies("unix:///s").len(), 2);
        assert_eq!(config.proxies("elsewhere").first().unwrap(), &("HTTP_PROXY".into(), "http://p:1".into()));
        config.set_auth("new", Some(json!({"auth":"x"})));
        config.set_auth("old", None);
        config.write().unwrap();
        let again = Config::read(&directory).unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
        assert!(again.auth("new").is_some() && again.auth("old").is_none());
        assert_eq!(again.document.get("other").unwrap(), &json!([1]));
    }
}
