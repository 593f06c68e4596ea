//! The command line: tables of commands and flags, docker's texts and exit codes, templates,
//! tables, and the pump between a terminal and a container.

mod app;
mod commands;
mod config;
mod contexts;
mod device;
mod doctor;
mod error;
#[cfg(test)]
mod fuzz;
mod help;
mod man;
mod output;
mod parse;
mod request;
mod spec;
mod table;
mod template;
mod terminal;

pub use app::{leave_session, main};
pub use help::compat_markdown;
pub use man::man_pages;
