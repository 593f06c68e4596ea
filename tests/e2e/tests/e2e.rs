//! Obligations of the engine, each run with every client.

fn main() {
    proa_e2e::Suite::default().run()
}
