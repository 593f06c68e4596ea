//! Handlers by subject.

pub(crate) mod containers;
pub(crate) mod exec;
pub(crate) mod files;
pub(crate) mod images;
pub(crate) mod stats;
pub(crate) mod streams;
pub(crate) mod system;
pub(crate) mod upkeep;
pub(crate) mod usage;
pub(crate) mod volumes;
