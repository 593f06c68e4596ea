//! How far a load or a pull has come.

/// What is being done to a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Its bytes arrive (and are unpacked as they do).
    Receiving,
    /// All bytes are here; the rest is written out and checked.
    Unpacking,
    /// It was here before.
    Exists,
    /// It is here, checked and unpacked.
    Complete,
}

/// Someone who wants to know. Calls come from several threads, at most about ten a second for each layer.
pub trait Progress: Send + Sync {
    /// `layer` (12 hexadecimal digits) is in `phase`; `current` of `total` bytes (0 if unknown).
    fn report(&self, layer: &str, phase: Phase, current: u64, total: u64);
}

/// Nobody wants to know.
impl Progress for () {
    fn report(&self, _: &str, _: Phase, _: u64, _: u64) {}
}
