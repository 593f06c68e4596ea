//! Registry protocol client
