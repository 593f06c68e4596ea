//! The OCI runtime: library and command line
