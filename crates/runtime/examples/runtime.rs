//! The runtime's command line alone, for trying it out: `cargo run --example runtime -- run ID`.

fn main() {
    std::process::exit(proa_runtime::cli::main(std::env::args_os().skip(1).collect()));
}
