//! The multi-call binary: picks a face by name or first word.

fn main() {}
