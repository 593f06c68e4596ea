//! A driver for fuzz tests on stable Rust: mutations of seeds, for a bounded time, as ordinary tests.
//!
//! A test calls [`run`] with a name, seeds and a closure that must not panic and must end. Seeds are those of the test
//! and the files of `fuzz/corpus/NAME/`. By default a target runs for a moment, so that it belongs to every test run;
//! `cargo xtask fuzz NAME --seconds N` (variable `PROA_FUZZ_SECONDS`) runs one for longer. An input that fails is
//! written to `fuzz/crashes/`, and named; moved to the corpus it is tried first for ever after.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long one input may take; the machine may be very busy.
const SLOW: Duration = Duration::from_secs(20);
/// Largest input.
const LARGEST: usize = 64 << 10;
/// Mutated inputs kept to mutate further.
const KEPT: usize = 256;

/// Feeds `target` the seeds and mutations of them.
///
/// # Panics
/// When the target does, or takes longer than it may; the message names the file with the input.
pub fn run(name: &str, seeds: &[&[u8]], target: impl Fn(&[u8])) {
    let mut pool: Vec<Vec<u8>> = seeds.iter().map(|seed| seed.to_vec()).collect();
    pool.extend(corpus(name));
    pool.push(Vec::new());
    for seed in &pool {
        once(name, seed, &target);
    }
    let words = words(&pool);
    let mut random = Random::new();
    let first = pool.len();
    let limit = std::env::var("PROA_FUZZ_SECONDS").ok().and_then(|text| text.parse::<f64>().ok());
    let end = Instant::now() + Duration::from_secs_f64(limit.unwrap_or(0.2));
    let mut count = 0u64;
    while Instant::now() < end {
        let mut input = random.pick(&pool).cloned().unwrap_or_default();
        for _ in 0..=random.below(6) {
            mutate(&mut input, &pool, &words, &mut random);
        }
        input.truncate(LARGEST);
        once(name, &input, &target);
        count += 1;
        // Seeds stay; some of what came of them takes turns.
        if random.below(8) == 0 {
            if pool.len() < first + KEPT {
                pool.push(input);
            } else if let Some(slot) = pool.get_mut(first + random.below(KEPT)) {
                *slot = input;
            }
        }
    }
    println!("fuzz {name}: {count} inputs");
}

/// A path of this process's own for a target that reads files, in memory where there is such a place.
pub fn scratch(name: &str) -> PathBuf {
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    dir.join(format!("proa-fuzz-{name}-{}", std::process::id()))
}

fn once(name: &str, input: &[u8], target: &impl Fn(&[u8])) {
    let begun = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| target(input)));
    let slow = begun.elapsed() > SLOW;
    if result.is_ok() && !slow {
        return;
    }
    let file = keep(name, input);
    println!("fuzz {name}: the input is at {}", file.display());
    match result {
        Err(panic) => resume_unwind(panic),
        Ok(()) => panic!("{name}: an input took {:?}: {}", begun.elapsed(), file.display()),
    }
}

fn home() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let files = std::fs::read_dir(home().join("corpus").join(name)).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = files.map(|entry| entry.path()).collect();
    files.sort();
    files.iter().filter_map(|file| std::fs::read(file).ok()).collect()
}

fn keep(name: &str, input: &[u8]) -> PathBuf {
    let sum = input
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, &b| (sum ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let dir = home().join("crashes");
    let file = dir.join(format!("{name}-{sum:016x}"));
    let _ = std::fs::create_dir_all(&dir).and_then(|()| std::fs::write(&file, input));
    file
}

/// Words of the seeds: what stands between punctuation, and the punctuation.
fn words(pool: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut words: Vec<Vec<u8>> = pool
        .iter()
        .flat_map(|seed| seed.split(|byte| !byte.is_ascii_alphanumeric()))
        .filter(|word| !word.is_empty() && word.len() < 80)
        .map(<[u8]>::to_vec)
        .collect();
    let more = [
        "0",
        "-1",
        "65536",
        "4294967296",
        "18446744073709551616",
        "1e999",
        "null",
        "[]",
        "{}",
        "\"\"",
        "..",
        "/",
    ];
    words.extend(more.iter().map(|word| word.as_bytes().to_vec()));
    words.extend(
        [&b"\0"[..], b"\xff", b"\xc3\xa9", b"\xe2\x80\x93", b"\n", b"\r\n", b"\\u0000", b"%00"]
            .map(<[u8]>::to_vec),
    );
    words.sort();
    words.dedup();
    words
}

fn mutate(input: &mut Vec<u8>, pool: &[Vec<u8>], words: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len() + 1);
    let to = (at + random.below(32)).min(input.len());
    match random.below(10) {
        0 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = random.next().to_le_bytes()[0];
            }
        }
        2 => drop(input.drain(at..to)),
        3 => input.insert(at, random.next().to_le_bytes()[0]),
        4 | 5 => {
            let word = random.pick(words).cloned().unwrap_or_default();
            let end = if random.below(2) == 0 { at } else { to };
            drop(input.splice(at..end, word));
        }
        6 => {
            let piece = input.get(at..to).unwrap_or_default().to_vec();
            let most = if random.below(20) == 0 { 500 } else { 4 };
            let times = 1 + random.below(most);
            drop(input.splice(at..at, piece.repeat(times)));
        }
        7 => input.truncate(at),
        8 => {
            // The head of this one and the tail of another.
            let other = random.pick(pool).cloned().unwrap_or_default();
            let from = random.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(other.get(from..).unwrap_or_default());
        }
        _ => {
            let end = (at + 1 + random.below(8)).min(input.len());
            let byte = [0, 0xff, b'0', b'9', b' ', b'"', 0x7f, 0x80][random.below(8)];
            input.get_mut(at..end).unwrap_or_default().fill(byte);
        }
    }
}

/// Marsaglia's xorshift: enough for choosing.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let seed = std::env::var("PROA_FUZZ_SEED").ok().and_then(|text| text.parse().ok());
        Self(seed.unwrap_or(u64::from(now.subsec_nanos()) << 20 ^ now.as_secs()) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % (bound.max(1) as u64)).unwrap_or(0)
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len()))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    #[should_panic(expected = "found")]
    fn a_panic_is_found() {
        super::run("self", &[b"{\"a\":[1,2]}"], |bytes| {
            assert!(!bytes.windows(2).any(|pair| pair == b"}}"), "found");
        });
    }
}
