//! Where messages go: standard error, and the `--log` file, which engines read for the reason of a failure.

use proa_types::Timestamp;
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;

/// The log of one command.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) file: Option<PathBuf>,
    pub(super) json: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    level: &'a str,
    msg: &'a str,
    time: String,
}

impl Log {
    /// Writes an error to the file and to standard error.
    pub(super) fn error(&self, message: &str) {
        self.write("error", message);
        eprintln!("{message}");
    }

    /// Writes a warning to the file, or to standard error where there is none.
    pub(super) fn warning(&self, message: &str) {
        if self.file.is_none() {
            eprintln!("warning: {message}");
        }
        self.write("warning", message);
    }

    fn write(&self, level: &str, message: &str) {
        let Some(path) = &self.file else { return };
        let line = Line { level, msg: message, time: Timestamp::now().to_string() };
        let text = match self.json {
            true => serde_json::to_string(&line).unwrap_or_default(),
            false => format!("time={:?} level={level} msg={message:?}", line.time),
        };
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        let _ = file.and_then(|mut file| writeln!(file, "{text}"));
    }
}
