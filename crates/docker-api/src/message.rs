//! Error bodies and the lines of progress streams.

use serde_json::Value;

crate::wire::wire! {
    /// Body of an answer with a status of 400 or more.
    ErrorResponse { message: String = "message"; }
    /// One line of a pull, push, load, import or build.
    JsonMessage {
        stream: String = "stream", skip "String::is_empty";
        status: String = "status", skip "String::is_empty";
        progress_detail: Option<ProgressDetail> = "progressDetail", skip "Option::is_none";
        progress: String = "progress", skip "String::is_empty";
        id: String = "id", skip "String::is_empty";
        error_detail: Option<ErrorDetail> = "errorDetail", skip "Option::is_none";
        error: String = "error", skip "String::is_empty";
        aux: Option<Value> = "aux", skip "Option::is_none";
    }
    /// How far one item is, in bytes or `units`.
    ProgressDetail {
        current: i64 = "current", skip "crate::host_config::is_zero";
        total: i64 = "total", skip "crate::host_config::is_zero";
        start: i64 = "start", skip "crate::host_config::is_zero";
        hide_counts: bool = "hidecounts", skip "crate::host_config::is_false";
        units: String = "units", skip "String::is_empty";
    }
    /// The failure of a stream.
    ErrorDetail {
        code: i64 = "code", skip "crate::host_config::is_zero";
        message: String = "message";
    }
}
