//! What the crash suite adds to the end-to-end harness: a source of chance that can be repeated.

/// Numbers from a seed (SplitMix64), so that a failing run can be run again.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// From `PROA_SEED`, or from the clock; the seed is printed.
    pub fn seeded() -> Self {
        let given = std::env::var("PROA_SEED").ok().and_then(|text| text.parse().ok());
        let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let seed = given.unwrap_or(clock.as_nanos() as u64);
        println!("PROA_SEED={seed} repeats this run");
        Self(seed)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit.max(1)
    }
}
