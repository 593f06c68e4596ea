//! What the engine and its plugins say to each other.

use std::collections::BTreeMap;

crate::wire::wire! {
    /// Answer of `POST /Plugin.Activate`.
    PluginManifest { implements: Vec<String>; }
    /// What an authorisation plugin is shown. Bodies are in base64; those of an answer are shown after it is made.
    AuthorizationRequest {
        user: String, skip "String::is_empty";
        user_authn_method: String = "UserAuthNMethod", skip "String::is_empty";
        request_method: String, skip "String::is_empty";
        request_uri: String, skip "String::is_empty";
        request_body: String, skip "String::is_empty";
        request_headers: BTreeMap<String, String>, skip "BTreeMap::is_empty";
        request_peer_certificates: Vec<String>, skip "Vec::is_empty";
        response_body: String, skip "String::is_empty";
        response_headers: BTreeMap<String, String>, skip "BTreeMap::is_empty";
        response_status_code: u16, skip "crate::host_config::is_zero";
    }
    /// What it says.
    AuthorizationResponse { allow: bool; msg: String; err: String; }
}
