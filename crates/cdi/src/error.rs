//! What can go wrong with described devices. Docker's texts where scripts match on them.

use std::path::PathBuf;

/// A failure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No file describes these devices, or two of one directory do; with what is wrong about files.
    #[error("unresolvable CDI devices {}{}", names.join(", "), said(faults))]
    Unresolvable {
        /// As they were asked for.
        names: Vec<String>,
        /// What is wrong with files, each with its path.
        faults: Vec<String>,
    },
    /// A file is not what it should be.
    #[error("CDI spec {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The device asks for something that is not done here.
    #[error("CDI device {device} asks for {what}, which is not supported")]
    Unsupported {
        /// The device or the kind of all devices of a file.
        device: String,
        /// What it asks for.
        what: String,
    },
    /// A device node of the host is missing or of another type.
    #[error("CDI device {device}: device node {}: {reason}", path.display())]
    Node {
        /// The device.
        device: String,
        /// On the host.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

fn said(faults: &[String]) -> String {
    faults.iter().map(|fault| format!("\n{fault}")).collect()
}
