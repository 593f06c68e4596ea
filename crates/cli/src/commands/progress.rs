//! Progress of pulls, pushes and loads: lines that move on a terminal, plain lines elsewhere.

use std::io::Write as _;

use proa_client::Lines;
use proa_docker_api::JsonMessage;

use crate::error::{Result, fail};

/// Shows a stream; gives its `aux` documents.
///
/// # Errors
/// The stream reports a failure.
pub(crate) async fn show(mut lines: Lines, quiet: bool, to_stderr: bool) -> Result<Vec<serde_json::Value>> {
    let terminal = !to_stderr && crate::terminal::stdout_is();
    let mut ids: Vec<String> = Vec::new();
    let mut aux = Vec::new();
    while let Some(message) = lines.next::<JsonMessage>().await? {
        if let Some(detail) = &message.error_detail {
            fail!("{}", detail.message);
        }
        if !message.error.is_empty() {
            fail!("{}", message.error);
        }
        aux.extend(message.aux.clone());
        if quiet {
            continue;
        }
        let text = line(&message, terminal);
        let Some(text) = text else { continue };
        let text = if terminal { move_to(&mut ids, &message.id, &text) } else { text };
        if to_stderr {
            let _ = std::io::stderr().write_all(text.as_bytes());
        } else {
            super::pump::emit(text.as_bytes())?;
        }
    }
    Ok(aux)
}

fn line(message: &JsonMessage, terminal: bool) -> Option<String> {
    if !message.stream.is_empty() {
        return Some(message.stream.clone());
    }
    if message.status.is_empty() {
        return None;
    }
    let moving =
        message.progress_detail.as_ref().is_some_and(|detail| detail.current > 0 || detail.total > 0);
    if moving && !terminal {
        return None;
    }
    let id = if message.id.is_empty() { String::new() } else { format!("{}: ", message.id) };
    let progress = match &message.progress_detail {
        Some(detail) if moving && detail.total > 0 => {
            let done = usize::try_from(50 * detail.current.min(detail.total) / detail.total).unwrap_or(0);
            let human = |bytes: i64| proa_types::units::human_size(bytes.unsigned_abs(), 4);
            format!(
                " [{}>{}]  {}/{}",
                "=".repeat(done),
                " ".repeat(50 - done.min(50)),
                human(detail.current),
                human(detail.total)
            )
        }
        _ => String::new(),
    };
    Some(format!("{id}{}{progress}\n", message.status))
}

/// Moves to the line of an item, writes it, and comes back.
fn move_to(ids: &mut Vec<String>, id: &str, text: &str) -> String {
    if id.is_empty() {
        ids.clear();
        return text.to_owned();
    }
    match ids.iter().position(|known| known == id) {
        Some(at) => {
            let up = ids.len() - at;
            format!("\x1b[{up}A\x1b[2K\r{}\x1b[{up}B\r", text.trim_end())
        }
        None => {
            ids.push(id.to_owned());
            text.to_owned()
        }
    }
}
