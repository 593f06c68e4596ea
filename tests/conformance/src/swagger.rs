//! The definition: which responses a route may give.

use crate::schema::{self, Violation};
use serde_json::Value;

/// The definition of version 1.54 of the Engine API.
#[derive(Debug)]
pub(crate) struct Swagger {
    root: Value,
}

/// A route of the definition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Route<'a> {
    /// Its path as the definition writes it.
    pub(crate) pattern: &'a str,
    responses: &'a Value,
}

impl Swagger {
    /// Reads the copy kept here.
    ///
    /// # Panics
    /// If the copy is not JSON, which a test of this crate would have found.
    pub(crate) fn load() -> Self {
        let text = include_str!("../engine-v1.54.json");
        Self { root: serde_json::from_str(text).unwrap_or_else(|e| panic!("engine-v1.54.json: {e}")) }
    }

    /// The route of a path without its version. A literal part is worth more than a name.
    pub(crate) fn route(&self, method: &str, path: &str) -> Option<Route<'_>> {
        let method = method.to_lowercase();
        let paths = self.root["paths"].as_object()?;
        let fitting = paths.iter().filter(|(pattern, _)| fits(pattern, path));
        let found = fitting.filter_map(|(pattern, operations)| Some((pattern, operations.get(&method)?)));
        let (pattern, operation) =
            found.min_by_key(|(pattern, _)| (pattern.matches('{').count(), usize::MAX - pattern.len()))?;
        Some(Route { pattern, responses: &operation["responses"] })
    }

    /// Holds a document against a schema of the definition.
    pub(crate) fn check(&self, schema: &Value, value: &Value) -> Vec<Violation> {
        schema::check(&self.root["definitions"], schema, value)
    }
}

impl<'a> Route<'a> {
    /// What the definition says of a status, if it is one of this route.
    pub(crate) fn response(&self, status: u16) -> Option<&'a Value> {
        self.responses.get(status.to_string())
    }
}

/// Whether a path fits a pattern; the names of images and plug-ins have slashes in them, and those of links.
fn fits(pattern: &str, path: &str) -> bool {
    if matches!(pattern, "/containers/{id}" | "/containers/{id}/json") {
        let after = pattern.trim_start_matches("/containers/{id}");
        let link = path.strip_prefix("/containers/").and_then(|rest| rest.strip_suffix(after));
        let (parent, alias) = link.and_then(|link| link.split_once('/')).unwrap_or_default();
        let others =
            ["json", "archive", "attach", "changes", "checkpoints", "export", "logs", "stats", "top"];
        if !parent.is_empty() && !alias.is_empty() && !alias.contains('/') && !others.contains(&alias) {
            return true;
        }
    }
    if let Some((before, after)) = pattern.split_once("{name}")
        && (before == "/images/" || before == "/plugins/" || before == "/distribution/")
    {
        let name = path.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
        return name.is_some_and(|name| !name.is_empty());
    }
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some(part), Some(text)) if part == text || (part.starts_with('{') && !text.is_empty()) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_must_find_their_routes() {
        let swagger = Swagger::load();
        for (method, path, pattern) in [
            ("GET", "/containers/json", "/containers/json"),
            ("GET", "/containers/json/json", "/containers/{id}/json"),
            ("GET", "/images/json", "/images/json"),
            ("GET", "/images/host:5/team/app:v1/json", "/images/{name}/json"),
            ("DELETE", "/images/a/b", "/images/{name}"),
            ("HEAD", "/_ping", "/_ping"),
        ] {
            assert_eq!(
                swagger.route(method, path).map(|route| route.pattern),
                Some(pattern),
                "{method} {path}"
            );
        }
        assert!(swagger.route("GET", "/nope").is_none());
        assert!(swagger.route("POST", "/containers/json").is_none());
    }

    #[test]
    fn every_reference_must_lead_somewhere() {
        let swagger = Swagger::load();
        let text = swagger.root.to_string();
        for name in text.split("\"#/definitions/").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(!swagger.root["definitions"][name].is_null(), "{name}");
        }
    }
}
