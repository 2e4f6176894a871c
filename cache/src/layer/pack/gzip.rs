//! gzip members, the incompressible parts of a block stored.

use libdeflater::{CompressionLvl, Compressor};

/// Compressible and incompressible parts are told apart in steps of this.
const SEGMENT: usize = 32 * 1024;

/// Compresses blocks; one a thread.
pub(super) struct Packer {
    compressor: Compressor,
    store: Compressor,
}

/// The nearest level that there is.
pub(super) fn level(level: i32) -> CompressionLvl {
    CompressionLvl::new(level.clamp(0, 12)).expect("0 to 12 are levels")
}

impl Packer {
    pub(super) fn new(level: CompressionLvl) -> Self {
        Self { compressor: Compressor::new(level), store: Compressor::new(self::level(0)) }
    }

    /// One member for each run of segments of the same sort.
    pub(super) fn pack(&mut self, block: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        let mut start = 0;
        while start < block.len() {
            let segment = |at: usize| &block[at..block.len().min(at + SEGMENT)];
            let dense = is_dense(segment(start));
            let mut end = start + segment(start).len();
            while end < block.len() && is_dense(segment(end)) == dense {
                end += segment(end).len();
            }
            self.member(&block[start..end], dense, &mut packed);
            start = end;
        }
        packed
    }

    fn member(&mut self, bytes: &[u8], dense: bool, into: &mut Vec<u8>) {
        let compressor = if dense { &mut self.store } else { &mut self.compressor };
        let at = into.len();
        into.resize(at + compressor.gzip_compress_bound(bytes.len()), 0);
        let size = compressor.gzip_compress(bytes, &mut into[at..]).expect("the bound is enough");
        into.truncate(at + size);
    }
}

/// Whether bytes look compressed or encrypted already: in samples of them, all values come about equally often.
fn is_dense(bytes: &[u8]) -> bool {
    const SAMPLE: usize = 512;
    const SAMPLES: usize = 8;
    if bytes.len() < SAMPLE * SAMPLES {
        return false;
    }
    let mut counts = [0_u64; 256];
    let step = bytes.len() / SAMPLES;
    for sample in 0..SAMPLES {
        for &byte in &bytes[sample * step..][..SAMPLE] {
            counts[usize::from(byte)] += 1;
        }
    }
    // For n random bytes, n + n(n-1)/256 on average, with a standard deviation of half a percent of that.
    let n = (SAMPLE * SAMPLES) as u64;
    let expected = n + n * (n - 1) / 256;
    let squares: u64 = counts.iter().map(|count| count * count).sum();
    squares * 50 < expected * 51
}
