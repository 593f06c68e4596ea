//! The terminal: raw mode that is always undone, and its size.

use rustix::termios::{self, OptionalActions, Termios};

/// Raw mode of standard input; dropped, it restores what was.
#[derive(Debug)]
pub(crate) struct Raw(Termios);

impl Raw {
    /// Switches to raw mode where standard input is a terminal.
    pub(crate) fn enter() -> Option<Self> {
        let stdin = rustix::stdio::stdin();
        let before = termios::tcgetattr(stdin).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(stdin, OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Rows and columns of the terminal on standard output.
pub(crate) fn size() -> Option<[u32; 2]> {
    let size = termios::tcgetwinsize(rustix::stdio::stdout()).ok()?;
    (size.ws_row > 0).then(|| [u32::from(size.ws_row), u32::from(size.ws_col)])
}

/// Whether standard input is a terminal.
pub(crate) fn stdin_is() -> bool {
    termios::isatty(rustix::stdio::stdin())
}

/// Whether standard output is a terminal.
pub(crate) fn stdout_is() -> bool {
    termios::isatty(rustix::stdio::stdout())
}

/// The width of the terminal that output or errors go to; none where they go elsewhere.
pub(crate) fn columns(errors: bool) -> Option<usize> {
    let size = if errors {
        termios::tcgetwinsize(rustix::stdio::stderr())
    } else {
        termios::tcgetwinsize(rustix::stdio::stdout())
    };
    size.ok().map(|size| usize::from(size.ws_col))
}
