//! Numbers that look random and come again with their seed.

/// A generator (xorshift64*). The seed is `KILN_SEED`, or a fixed one; tests print it when they fail.
pub struct Random(u64);

impl Random {
    /// The generator of a test.
    pub fn new() -> Self {
        let seed = amount("KILN_SEED", 20_261_122);
        println!("KILN_SEED={seed}");
        Self::with_seed(seed)
    }

    /// A generator of its own for each part of a test.
    pub fn with_seed(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % limit
    }

    /// One of several.
    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        let at = self.below(all.len() as u64);
        &all[usize::try_from(at).expect("an index")]
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::new()
    }
}

/// The number in a variable: how much a test does.
pub fn amount(variable: &str, default: u64) -> u64 {
    let text = std::env::var_os(variable).and_then(|text| text.into_string().ok());
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}
