//! What is right and wrong with a response.

use crate::http::Head;
use crate::known;
use crate::schema::Violation;
use crate::swagger::{Route, Swagger};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// The oldest version that the definition still describes: what is asked for below it is answered in older forms.
const OLDEST: (u32, u32) = (1, 44);

/// Something wrong with the responses of a route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    /// Method, path as the definition writes it, status.
    route: String,
    violation: Violation,
}

/// What was seen until now.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// One line for each thing that is wrong: route, place, why, an example of a request.
    pub violations: Vec<String>,
    /// Responses that were held against the definition.
    pub judged: u64,
    /// Responses to requests of older versions, which were not.
    pub older: u64,
    /// How often each route was judged.
    pub routes: BTreeMap<String, u64>,
}

#[derive(Debug, Default)]
struct Seen {
    findings: BTreeMap<Finding, String>,
    routes: BTreeMap<String, u64>,
    older: u64,
}

/// Holds responses against the definition, from many connections at once.
#[derive(Debug)]
pub(crate) struct Judge {
    swagger: Swagger,
    seen: Mutex<Seen>,
}

/// A response on its way past the judge.
#[derive(Debug)]
pub(crate) struct Exchange {
    method: String,
    path: String,
    status: u16,
    content: String,
    body: Option<Vec<u8>>,
}

/// Largest body that is kept to be judged.
const BODY: usize = 32 << 20;

impl Judge {
    pub(crate) fn new() -> Self {
        Self { swagger: Swagger::load(), seen: Mutex::default() }
    }

    /// A response begins. None if it answers a request of a version that is not judged.
    pub(crate) fn begin(&self, method: &str, target: &str, response: &Head) -> Option<Exchange> {
        let path = target.split('?').next().unwrap_or_default();
        let (version, path) = version_of(path);
        if version.is_some_and(|version| version < OLDEST) {
            self.with(|seen| seen.older += 1);
            return None;
        }
        let status = response.line[1].parse().unwrap_or(0);
        let wanted = self.swagger.route(method, path).is_some_and(|route| schema_of(route, status).is_some());
        Some(Exchange {
            method: method.to_owned(),
            path: path.to_owned(),
            status,
            content: response.content.clone(),
            body: (wanted && method != "HEAD").then(Vec::new),
        })
    }

    /// The response is over. `whole` is false if the connection ended within its body.
    pub(crate) fn end(&self, exchange: &Exchange, whole: bool) {
        let (method, path, status) = (&exchange.method, &exchange.path, exchange.status);
        // Ours, beyond the definition.
        if path.starts_with("/proa/") {
            return;
        }
        let Some(route) = self.swagger.route(method, path) else {
            let fine = matches!(status, 400 | 404 | 405 | 501);
            return if fine {
            } else {
                self.wrong(exchange, method, "", format!("status {status} of an unknown path"))
            };
        };
        let title = format!("{method} {}", route.pattern);
        if route.response(status).is_none() && known::status(method, route.pattern, status).is_none() {
            self.wrong(exchange, &title, "", format!("status {status} is not in the definition"));
        }
        if let (Some(schema), Some(body)) = (schema_of(route, status), &exchange.body) {
            self.documents(exchange, &title, &schema, body, whole);
        }
        self.with(|seen| *seen.routes.entry(title).or_default() += 1);
    }

    fn documents(&self, exchange: &Exchange, title: &str, schema: &Value, body: &[u8], whole: bool) {
        if !exchange.content.contains("json") {
            self.wrong(exchange, title, "", format!("content type {:?}", exchange.content));
        }
        let mut count = 0;
        for document in serde_json::Deserializer::from_slice(body).into_iter::<Value>() {
            count += 1;
            match document {
                Ok(document) => {
                    for violation in self.swagger.check(schema, &document) {
                        if known::excuse(title, &violation).is_none() {
                            self.wrong(exchange, title, &violation.at, violation.why);
                        }
                    }
                }
                Err(_) if !whole => {}
                Err(error) => self.wrong(exchange, title, "", format!("not JSON: {error}")),
            }
        }
        let stream = exchange.path == "/events" || exchange.path.ends_with("/stats");
        if whole && !stream && count != 1 {
            self.wrong(exchange, title, "", format!("{count} documents"));
        }
    }

    fn wrong(&self, exchange: &Exchange, title: &str, at: &str, why: String) {
        let route = format!("{title} {}", exchange.status);
        let finding = Finding { route, violation: Violation { at: at.to_owned(), why } };
        let example = format!("{} {}", exchange.method, exchange.path);
        self.with(|seen| {
            seen.findings.entry(finding).or_insert(example);
        });
    }

    fn with(&self, act: impl FnOnce(&mut Seen)) {
        act(&mut self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    pub(crate) fn report(&self) -> Report {
        let mut report = Report::default();
        self.with(|seen| {
            report.violations.extend(seen.findings.iter().map(|(finding, example)| {
                let Finding { route, violation: Violation { at, why } } = finding;
                format!("{route}: {at}: {why} (as in {example})")
            }));
            report.routes.clone_from(&seen.routes);
            report.older = seen.older;
        });
        report.judged = report.routes.values().sum();
        report
    }
}

impl Exchange {
    pub(crate) fn body(&mut self, bytes: &[u8]) {
        if let Some(body) = &mut self.body {
            match body.len() + bytes.len() <= BODY {
                true => body.extend_from_slice(bytes),
                false => self.body = None,
            }
        }
    }
}

/// The schema of a response's documents, if it has any. A status that a route has beyond the definition carries the
/// document of every error.
fn schema_of(route: Route<'_>, status: u16) -> Option<Value> {
    match route.response(status) {
        Some(response) => {
            Some(&response["schema"]).filter(|s| s.is_object() && s["type"] != "string").cloned()
        }
        None => (status >= 400).then(|| json!({ "$ref": "#/definitions/ErrorResponse" })),
    }
}

/// `/v1.41/info` is 1.41 and `/info`.
fn version_of(path: &str) -> (Option<(u32, u32)>, &str) {
    let parsed = path.strip_prefix("/v").and_then(|rest| {
        let (version, _) = rest.split_once('/')?;
        let (major, minor) = version.split_once('.')?;
        Some(((major.parse().ok()?, minor.parse().ok()?), rest.get(version.len()..)?))
    });
    parsed.map_or((None, path), |(version, rest)| (Some(version), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(method: &str, target: &str, status: u16, body: &str) -> Report {
        let judge = Judge::new();
        let line = ["HTTP/1.1".to_owned(), status.to_string(), "X".to_owned()];
        let head = Head { line, content: "application/json".into(), ..Head::default() };
        if let Some(mut exchange) = judge.begin(method, target, &head) {
            exchange.body(body.as_bytes());
            judge.end(&exchange, true);
        }
        judge.report()
    }

    #[test]
    fn a_right_response_must_pass() {
        let report =
            judged("POST", "/v1.54/containers/x/wait?condition=next-exit", 200, r#"{"StatusCode":0}"#);
        assert_eq!((report.violations, report.judged), (Vec::new(), 1));
    }

    #[test]
    fn wrong_responses_must_be_told() {
        let wrong = |method, target, status, body| judged(method, target, status, body).violations.join("\n");
        assert!(
            wrong("POST", "/v1.54/containers/x/wait", 200, r#"{"StatusCode":"0"}"#)
                .contains("StatusCode: \"0\"")
        );
        assert!(wrong("POST", "/containers/x/wait", 200, "{}").contains("StatusCode: is required"));
        assert!(wrong("POST", "/containers/x/wait", 200, "").contains("0 documents"));
        assert!(wrong("POST", "/containers/x/wait", 299, "").contains("status 299"));
        assert!(
            wrong("GET", "/containers/x/json", 404, r#"{"error":"no"}"#).contains("message: is required")
        );
    }

    #[test]
    fn older_versions_must_be_counted_and_left() {
        let report = judged("GET", "/v1.41/info", 200, "nonsense");
        assert_eq!((report.violations.len(), report.judged, report.older), (0, 0, 1));
    }
}
