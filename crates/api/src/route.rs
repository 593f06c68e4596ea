//! The route table: every path of the Engine API, with its handler or what it answers instead.

use crate::body::{Answer, drain};
use crate::error::Failure;
use crate::query::decode;
use crate::routes::{containers, exec, files, images, stats, streams, system, upkeep, usage, volumes};
use crate::server::Call;
use hyper::{Method, StatusCode};
use std::pin::Pin;

/// A handler's answer, later.
pub(crate) type Future = Pin<Box<dyn std::future::Future<Output = Result<Answer, Failure>> + Send>>;

/// One route.
pub(crate) struct Route {
    method: &'static str,
    /// `{name}` is one part of the path, `{name...}` the rest up to what follows.
    pattern: &'static str,
    pub(crate) handler: fn(Call) -> Future,
    supported: bool,
}

impl Route {
    /// Whether it is the one of this method and pattern.
    pub(crate) fn is(&self, method: &str, pattern: &str) -> bool {
        self.method == method && self.pattern == pattern
    }
}

/// What a path leads to.
pub(crate) enum Found {
    /// A route, and what its names stand for.
    Route(&'static Route, Vec<String>),
    /// The path exists with another method.
    OtherMethod,
    /// No such path.
    Nothing,
}

macro_rules! routes {
    ($($method:ident $pattern:literal => $handler:expr;)* ; $($later:ident $path:literal;)*) => {
        pub(crate) static ROUTES: &[Route] = &[
            $(Route {
                method: stringify!($method),
                pattern: $pattern,
                handler: |call| Box::pin($handler(call)),
                supported: true,
            },)*
            $(Route {
                method: stringify!($later),
                pattern: $path,
                handler: |call| Box::pin(not_supported(call, stringify!($later), $path)),
                supported: false,
            },)*
        ];
    };
}

async fn not_supported(call: Call, method: &str, path: &str) -> Result<Answer, Failure> {
    drain(call.request.into_body()).await;
    let message = format!("{method} {path} is not supported by this version of Proa");
    Err(Failure::new(StatusCode::NOT_IMPLEMENTED, message))
}

routes! {
    GET "/_ping" => system::ping;
    GET "/version" => system::version;
    GET "/info" => system::info;
    GET "/events" => system::events;
    POST "/auth" => system::auth;
    GET "/system/df" => usage::disk_usage;
    GET "/networks" => system::networks;
    GET "/networks/{id}" => system::network;
    GET "/containers/json" => containers::list;
    POST "/containers/create" => containers::create;
    GET "/containers/{id...}/json" => containers::inspect;
    GET "/containers/{id}/top" => containers::top;
    GET "/containers/{id}/logs" => streams::logs;
    GET "/containers/{id}/stats" => stats::stats;
    POST "/containers/{id}/start" => containers::start;
    POST "/containers/{id}/stop" => containers::stop;
    POST "/containers/{id}/restart" => containers::restart;
    POST "/containers/{id}/kill" => containers::kill;
    POST "/containers/{id}/rename" => containers::rename;
    POST "/containers/{id}/pause" => containers::pause;
    POST "/containers/{id}/unpause" => containers::unpause;
    POST "/containers/{id}/wait" => containers::wait;
    POST "/containers/{id}/resize" => containers::resize;
    POST "/containers/{id}/attach" => streams::attach;
    GET "/containers/{id}/attach/ws" => streams::attach_websocket;
    DELETE "/containers/{id...}" => containers::remove;
    GET "/containers/{id}/archive" => files::archive;
    PUT "/containers/{id}/archive" => files::extract;
    GET "/containers/{id}/export" => files::export;
    GET "/containers/{id}/changes" => files::changes;
    POST "/commit" => files::commit;
    POST "/containers/{id}/exec" => exec::create;
    POST "/exec/{id}/start" => exec::start;
    POST "/exec/{id}/resize" => exec::resize;
    GET "/exec/{id}/json" => exec::inspect;
    GET "/images/json" => images::list;
    POST "/images/create" => images::create;
    POST "/images/load" => images::load;
    GET "/images/get" => images::save_many;
    GET "/images/{name...}/get" => images::save;
    GET "/images/{name...}/json" => images::inspect;
    GET "/images/{name...}/history" => images::history;
    POST "/images/{name...}/push" => images::push;
    POST "/images/{name...}/tag" => images::tag;
    DELETE "/images/{name...}" => images::remove;
    GET "/volumes" => volumes::list;
    POST "/volumes/create" => volumes::create;
    POST "/containers/{id}/update" => upkeep::update;
    POST "/containers/prune" => upkeep::containers_prune;
    POST "/images/prune" => upkeep::images_prune;
    POST "/volumes/prune" => upkeep::volumes_prune;
    POST "/networks/prune" => upkeep::networks_prune;
    POST "/build/prune" => upkeep::build_prune;
    GET "/volumes/{name}" => volumes::inspect;
    DELETE "/volumes/{name}" => volumes::remove;
    PUT "/volumes/{name}" => volumes::update;
    POST "/proa/volumes/{name}/clone" => volumes::clone;
    POST "/proa/volumes/{name}/rename" => volumes::rename;
    GET "/proa/volumes/{name}/export" => volumes::export;
    POST "/proa/volumes/{name}/import" => volumes::import;
    ;
    GET "/containers/{id}/checkpoints";
    POST "/containers/{id}/checkpoints";
    POST "/build";
    POST "/build/cancel";
    GET "/images/search";
    GET "/images/{name...}/attestations";
    POST "/networks/create";
    DELETE "/networks/{id}";
    POST "/networks/{id}/connect";
    POST "/networks/{id}/disconnect";
    GET "/plugins";
    GET "/plugins/privileges";
    POST "/plugins/pull";
    GET "/plugins/{name...}/json";
    DELETE "/plugins/{name...}";
    POST "/plugins/{name...}/enable";
    POST "/plugins/{name...}/disable";
    POST "/plugins/{name...}/upgrade";
    POST "/plugins/create";
    POST "/plugins/{name...}/push";
    POST "/plugins/{name...}/set";
    GET "/nodes";
    GET "/nodes/{id}";
    DELETE "/nodes/{id}";
    POST "/nodes/{id}/update";
    GET "/swarm";
    POST "/swarm/init";
    POST "/swarm/join";
    POST "/swarm/leave";
    POST "/swarm/update";
    GET "/swarm/unlockkey";
    POST "/swarm/unlock";
    GET "/services";
    POST "/services/create";
    GET "/services/{id}";
    DELETE "/services/{id}";
    POST "/services/{id}/update";
    GET "/services/{id}/logs";
    GET "/tasks";
    GET "/tasks/{id}";
    GET "/tasks/{id}/logs";
    GET "/secrets";
    POST "/secrets/create";
    GET "/secrets/{id}";
    DELETE "/secrets/{id}";
    POST "/secrets/{id}/update";
    GET "/configs";
    POST "/configs/create";
    GET "/configs/{id}";
    DELETE "/configs/{id}";
    POST "/configs/{id}/update";
    GET "/distribution/{name...}/json";
    POST "/session";
    POST "/grpc";
}

/// Finds the route of a path.
pub(crate) fn find(method: &Method, path: &str) -> Found {
    let mut other = false;
    for route in ROUTES {
        let Some(names) = matches(route.pattern, path) else { continue };
        if route.method == method.as_str() {
            return Found::Route(route, names);
        }
        other = true;
    }
    if other { Found::OtherMethod } else { Found::Nothing }
}

/// What the names of a pattern stand for, if the path fits it.
fn matches(pattern: &str, path: &str) -> Option<Vec<String>> {
    let path = path.trim_end_matches('/');
    let open = pattern.split_once("...}").and_then(|(start, after)| Some((start.rsplit_once('{')?.0, after)));
    if let Some((before, after)) = open {
        let rest = path.strip_prefix(before)?;
        let name = rest.strip_suffix(after)?;
        return (!name.is_empty()).then(|| vec![decode_path(name)]);
    }
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    let mut names = Vec::new();
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(names),
            (Some(part), Some(text)) if part.starts_with('{') && !text.is_empty() => {
                names.push(decode_path(text))
            }
            (Some(part), Some(text)) if part == text => {}
            _ => return None,
        }
    }
}

/// A path keeps its plus signs.
fn decode_path(text: &str) -> String {
    decode(&text.replace('+', "%2B"))
}

/// The endpoint part of docs/COMPAT.md.
pub fn compat_markdown() -> String {
    let mut text = String::from("## Endpoints\n\n| method | path | state |\n|---|---|---|\n");
    let mut rows: Vec<&Route> = ROUTES.iter().collect();
    rows.sort_by_key(|route| (route.pattern, route.method));
    for route in rows {
        let state = if route.supported { "served" } else { "answers 501" };
        text.push_str(&format!("| {} | `{}` | {state} |\n", route.method, route.pattern.replace("...", "")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_their_routes() {
        assert_eq!(matches("/containers/{id}/json", "/containers/a%2Fb/json"), Some(vec!["a/b".into()]));
        assert_eq!(
            matches("/images/{name...}/json", "/images/host:5/a/b:c/json"),
            Some(vec!["host:5/a/b:c".into()])
        );
        assert_eq!(matches("/images/{name...}", "/images/a/b"), Some(vec!["a/b".into()]));
        assert_eq!(matches("/containers/{id}/json", "/containers//json"), None);
        assert!(
            matches!(find(&Method::GET, "/containers/json"), Found::Route(route, _) if route.pattern == "/containers/json")
        );
        assert!(matches!(find(&Method::POST, "/_ping"), Found::OtherMethod));
        assert!(matches!(find(&Method::GET, "/nope"), Found::Nothing));
    }
}
