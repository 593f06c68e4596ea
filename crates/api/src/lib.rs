//! The HTTP edge of the engine: routes, versions, streams, wire <-> domain.
//!
//! Every route of the Engine API is in one table ([`route::ROUTES`]); those that are not part of this version answer
//! 501 and name themselves. The table also makes the endpoint part of docs/COMPAT.md.

mod authorization;
mod body;
mod convert;
mod error;
mod hijack;
mod query;
mod route;
mod routes;
mod server;
mod websocket;

pub use authorization::{Authorization, Peer};
pub use route::compat_markdown;
pub use server::{Api, serve};
