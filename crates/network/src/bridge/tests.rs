//! Real traffic through a real kernel, in network namespaces that each test makes for itself.

mod lab;
mod lifecycle;
mod ports;
mod traffic;
