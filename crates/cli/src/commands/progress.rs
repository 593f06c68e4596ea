//! Progress of pulls, pushes, loads and imports: a line for each layer on a terminal, plain lines elsewhere.
//!
//! On a terminal a layer keeps its line; the cursor goes up to it and back. Elsewhere bars are left out and
//! only changes of state are written, so that logs stay readable.

use proa_client::Lines;
use proa_docker_api::{JsonMessage, ProgressDetail};
use proa_types::units::human_size;
use std::fmt::Write as _;
use std::io::{self, Write};

use crate::error::{Result, fail};

/// Shows a stream on standard output, or on standard error as `run` does; gives its `aux` documents.
///
/// # Errors
/// The stream reports a failure.
pub(crate) async fn show(mut lines: Lines, quiet: bool, to_stderr: bool) -> Result<Vec<serde_json::Value>> {
    let out: Box<dyn Write> = if to_stderr { Box::new(io::stderr()) } else { Box::new(io::stdout()) };
    let mut progress = Progress::new(out, crate::terminal::columns(to_stderr));
    let mut aux = Vec::new();
    while let Some(message) = lines.next::<JsonMessage>().await? {
        if let Some(detail) = &message.error_detail {
            fail!("{}", detail.message);
        }
        if !message.error.is_empty() {
            fail!("{}", message.error);
        }
        aux.extend(message.aux.clone());
        if !quiet {
            progress.show(&message)?;
        }
    }
    Ok(aux)
}

/// Writes the messages of one stream.
struct Progress<W> {
    out: W,
    /// Columns of the terminal; none where the output is no terminal.
    columns: Option<usize>,
    ids: Vec<String>,
}

impl<W: Write> Progress<W> {
    /// A display on `out`; `columns` is the terminal's width, if it is one.
    fn new(out: W, columns: Option<usize>) -> Self {
        Self { out, columns, ids: Vec::new() }
    }

    /// Shows one message.
    ///
    /// # Errors
    /// The output cannot be written.
    fn show(&mut self, message: &JsonMessage) -> io::Result<()> {
        if message.aux.is_some() || (message.status.is_empty() && message.stream.is_empty()) {
            return Ok(());
        }
        let text = match self.columns {
            Some(columns) => self.on_terminal(message, columns),
            None => plain(message),
        };
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    fn on_terminal(&mut self, message: &JsonMessage, columns: usize) -> String {
        let moves =
            !message.id.is_empty() && (message.progress_detail.is_some() || !message.progress.is_empty());
        let mut up = 0;
        let mut text = String::new();
        if moves {
            let line = match self.ids.iter().position(|id| *id == message.id) {
                Some(line) => line,
                None => {
                    self.ids.push(message.id.clone());
                    text.push('\n');
                    self.ids.len() - 1
                }
            };
            up = self.ids.len() - line;
            let _ = write!(text, "\x1b[{up}A\x1b[2K\r");
        } else {
            self.ids.clear();
        }
        let bar = message.progress_detail.as_ref().map(|detail| bar(detail, columns)).unwrap_or_default();
        text.push_str(&line(message, &bar));
        if moves {
            let _ = write!(text, "\r\x1b[{up}B");
        } else if message.stream.is_empty() {
            text.push('\n');
        }
        text
    }
}

fn line(message: &JsonMessage, bar: &str) -> String {
    let id = if message.id.is_empty() { String::new() } else { format!("{}: ", message.id) };
    match (bar.is_empty(), message.stream.is_empty()) {
        (false, _) => format!("{id}{} {bar}", message.status),
        (true, false) => format!("{id}{}", message.stream),
        (true, true) => format!("{id}{}", message.status),
    }
}

fn plain(message: &JsonMessage) -> String {
    let moving = message.progress_detail.as_ref().is_some_and(|p| p.current > 0 || p.total > 0);
    match () {
        () if moving => String::new(),
        () if message.stream.is_empty() => line(message, "") + "\n",
        () => line(message, ""),
    }
}

/// `[====>      ]  1.2MB/4.8MB`; the bar itself only where there is room for it.
fn bar(detail: &ProgressDetail, columns: usize) -> String {
    let size = |bytes: i64| match detail.units.as_str() {
        "" => human_size(u64::try_from(bytes).unwrap_or(0), 4),
        units => format!("{bytes} {units}"),
    };
    match (detail.current, detail.total) {
        (..=0, ..=0) => String::new(),
        (current, ..=0) => format!("{:>8}", size(current)),
        (current, total) => {
            let half = usize::try_from(current.saturating_mul(50) / total).unwrap_or(0).min(50);
            let counts = match () {
                () if detail.hide_counts => String::new(),
                () if current > total => format!("{:>8}", size(current)),
                () => format!("{:>8}/{}", size(current), size(total)),
            };
            if columns <= 110 && columns > 0 {
                return counts.trim_start().to_owned();
            }
            format!("[{}>{}] {counts}", "=".repeat(half), " ".repeat(50 - half))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str, status: &str, moved: Option<(i64, i64)>) -> JsonMessage {
        let progress_detail =
            moved.map(|(current, total)| ProgressDetail { current, total, ..ProgressDetail::default() });
        JsonMessage { id: id.into(), status: status.into(), progress_detail, ..JsonMessage::default() }
    }

    fn show(columns: Option<usize>, messages: &[JsonMessage]) -> String {
        let mut out = Vec::new();
        let mut progress = Progress::new(&mut out, columns);
        messages.iter().for_each(|m| progress.show(m).unwrap());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_pipe_gets_plain_lines_without_bars() {
        let text = show(
            None,
            &[
                message("latest", "Pulling from library/x", None),
                message("abc", "Pulling fs layer", Some((0, 0))),
                message("abc", "Downloading", Some((10, 100))),
                message("abc", "Pull complete", Some((0, 0))),
                message("", "Status: Downloaded newer image for x:latest", None),
            ],
        );
        assert_eq!(
            text,
            "latest: Pulling from library/x\nabc: Pulling fs layer\nabc: Pull complete\nStatus: Downloaded newer image for x:latest\n"
        );
        assert!(!text.contains('\x1b'));
    }

    #[test]
    fn on_a_terminal_each_layer_keeps_its_line() {
        let text = show(
            Some(120),
            &[
                message("a", "Waiting", Some((0, 0))),
                message("b", "Waiting", Some((0, 0))),
                message("a", "Downloading", Some((512_000, 1_024_000))),
            ],
        );
        let bar = format!("a: Downloading [{}>{}]    512kB/1.024MB", "=".repeat(25), " ".repeat(25));
        assert_eq!(
            text,
            format!(
                "\n\x1b[1A\x1b[2K\ra: Waiting\r\x1b[1B\n\x1b[1A\x1b[2K\rb: Waiting\r\x1b[1B\x1b[2A\x1b[2K\r{bar}\r\x1b[2B"
            )
        );
        assert!(show(Some(80), &[message("a", "Downloading", Some((1, 2)))]).contains("Downloading 1B/2B"));
    }
}
