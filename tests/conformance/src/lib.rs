//! The published definition of the Engine API as the judge: a socket in front of the daemon's, through which the
//! tests' clients speak, and which holds every response against the definition of its route.
//!
//! What it is not: a test of its own. Bytes pass through unchanged and at once; what was wrong is asked for at the end.
//! What always holds: a response that cannot be judged is never counted as judged.

mod http;
mod known;
mod proxy;
mod schema;
mod swagger;
mod verdict;

pub use proxy::Proxy;
pub use verdict::Report;
