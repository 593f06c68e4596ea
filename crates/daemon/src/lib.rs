//! Composition root of the engine: configuration, wiring, restore, reload, shutdown.

mod config;
mod error;
mod listen;
mod option;
mod pidfile;
mod values;
