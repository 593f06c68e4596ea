//! Tar archives as they are found in images: reading that trusts nothing, and writing.

mod error;

pub use error::Error;
