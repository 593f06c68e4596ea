//! The documents and names of the Open Container Initiative: digests, references, platforms, image
//! manifests and configurations (image-spec 1.1), and the runtime configuration (runtime-spec 1.2).
//!
//! Pure data: parsing, checking, writing. No I/O.

pub mod digest;
pub mod image;
pub mod platform;
pub mod reference;
pub mod runtime;

pub use digest::Digest;
pub use platform::Platform;
pub use reference::Reference;
