//! Composition root of the engine: configuration, wiring, restore, reload, shutdown.

mod config;
mod error;
mod option;
mod values;
