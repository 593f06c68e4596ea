//! docs/COMPAT.md says what the tables say that the program runs on. `cargo xtask fix` writes it anew.

#[test]
fn the_document_is_what_the_tables_say() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/COMPAT.md");
    let head = "# Compatibility\n\nMade from the route table and the command tables by `cargo xtask fix`; a test holds it to them.\n\n";
    let wanted = format!("{head}{}\n{}", proa_api::compat_markdown(), proa_cli::compat_markdown());
    if std::env::var_os("PROA_WRITE_DOCS").is_some() {
        std::fs::write(path, &wanted).expect("docs/COMPAT.md");
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(found == wanted, "docs/COMPAT.md is not up to date: run `cargo xtask fix`");
}
