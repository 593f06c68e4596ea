//! Registry credentials and the `X-Registry-Auth` header.

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE};
use base64::{alphabet, engine::DecodePaddingMode};

/// One registry's credentials.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the fields are the Engine API's own")]
pub struct AuthConfig {
    #[serde(deserialize_with = "crate::wire::nullable", skip_serializing_if = "String::is_empty")]
    pub username: String,
    #[serde(deserialize_with = "crate::wire::nullable", skip_serializing_if = "String::is_empty")]
    pub password: String,
    #[serde(deserialize_with = "crate::wire::nullable", skip_serializing_if = "String::is_empty")]
    pub auth: String,
    #[serde(deserialize_with = "crate::wire::nullable", skip_serializing_if = "String::is_empty")]
    pub email: String,
    #[serde(deserialize_with = "crate::wire::nullable", skip_serializing_if = "String::is_empty")]
    pub serveraddress: String,
    #[serde(deserialize_with = "crate::wire::nullable", skip_serializing_if = "String::is_empty")]
    pub identitytoken: String,
    #[serde(deserialize_with = "crate::wire::nullable", skip_serializing_if = "String::is_empty")]
    pub registrytoken: String,
}

crate::wire::wire! {
    /// Answer of `POST /auth`.
    AuthResponse { status: String; identity_token: String; }
}

/// Why an `X-Registry-Auth` header could not be read.
#[derive(Debug)]
#[allow(missing_docs, reason = "named by their variants")]
pub enum HeaderError {
    Base64(base64::DecodeError),
    Json(serde_json::Error),
}

impl std::fmt::Display for HeaderError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Base64(cause) => write!(out, "invalid X-Registry-Auth header: {cause}"),
            Self::Json(cause) => write!(out, "invalid X-Registry-Auth header: {cause}"),
        }
    }
}

impl std::error::Error for HeaderError {}

/// Reads the header's value; an empty one means no credentials.
///
/// # Errors
/// The value is not URL-safe base64 of a JSON object.
pub fn decode_auth(header: &str) -> Result<AuthConfig, HeaderError> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &alphabet::URL_SAFE,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let header = header.trim();
    if header.is_empty() {
        return Ok(AuthConfig::default());
    }
    let bytes = LENIENT.decode(header).map_err(HeaderError::Base64)?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(AuthConfig::default());
    }
    crate::from_slice(&bytes).map_err(HeaderError::Json)
}

/// Writes the header's value.
#[must_use]
pub fn encode_auth(auth: &AuthConfig) -> String {
    URL_SAFE.encode(serde_json::to_vec(auth).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_must_round_trip_and_be_read_without_padding() {
        let auth = AuthConfig { username: "me?>".into(), password: "x".into(), ..AuthConfig::default() };
        let text = encode_auth(&auth);
        assert_eq!(decode_auth(&text).unwrap(), auth);
        assert_eq!(decode_auth(text.trim_end_matches('=')).unwrap(), auth);
        assert_eq!(decode_auth("").unwrap(), AuthConfig::default());
        assert!(decode_auth("***").is_err());
        let null = URL_SAFE.encode(r#"{"Username":"me","password":null,"serverAddress":"x"}"#);
        let read = decode_auth(&null).unwrap();
        assert_eq!((&*read.username, &*read.password, &*read.serveraddress), ("me", "", "x"));
    }
}
