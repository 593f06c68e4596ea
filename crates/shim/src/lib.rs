//! The monitor of one container, its protocol and client
