//! Instructions of `import --change`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut config = Default::default();
    for line in text.lines().take(20) {
        let _ = proa_image::changes::apply(&mut config, line);
    }
});
