//! Names of containers: `quiet_lamport` where the user gives none.

const FIRST: [&str; 40] = [
    "agile", "amber", "bold", "brave", "bright", "brisk", "calm", "clever", "cosy", "crisp", "daring",
    "eager", "fair", "fond", "gentle", "glad", "happy", "honest", "jolly", "keen", "kind", "lively", "loyal",
    "lucid", "merry", "mild", "neat", "noble", "patient", "placid", "quick", "quiet", "serene", "sharp",
    "steady", "sunny", "tidy", "vivid", "warm", "wise",
];

const SECOND: [&str; 40] = [
    "abel",
    "babbage",
    "banach",
    "bell",
    "bohr",
    "boole",
    "cantor",
    "church",
    "curie",
    "darwin",
    "dijkstra",
    "euclid",
    "euler",
    "faraday",
    "fermat",
    "fourier",
    "franklin",
    "galois",
    "gauss",
    "germain",
    "goedel",
    "hamilton",
    "hilbert",
    "hopper",
    "jacobi",
    "kepler",
    "kolmogorov",
    "lagrange",
    "lamport",
    "leibniz",
    "liskov",
    "lovelace",
    "maxwell",
    "meitner",
    "newton",
    "noether",
    "pascal",
    "ramanujan",
    "turing",
    "volta",
];

/// A name made of two words; from the `attempt`th on with a number, for a full house.
pub(crate) fn random(attempt: u32) -> String {
    let mut bytes = [0_u8; 4];
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    let first = FIRST[usize::from(bytes[0]) % FIRST.len()];
    let second = SECOND[usize::from(bytes[1]) % SECOND.len()];
    match attempt {
        0..4 => format!("{first}_{second}"),
        _ => format!("{first}_{second}{}", u16::from_le_bytes([bytes[2], bytes[3]])),
    }
}

/// Whether people may call a container or a volume so. Docker wants two letters at least.
pub(crate) fn is_valid(name: &str) -> bool {
    let mut bytes = name.bytes();
    let starts_well = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    starts_well && bytes.all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dockers() {
        for good in ["a", "a.b-c_D1", "0x"] {
            assert!(is_valid(good), "{good}");
        }
        for bad in ["", "_ab", "-ab", "a b", "a/b", "é1"] {
            assert!(!is_valid(bad), "{bad}");
        }
        assert!((0..200).all(|attempt| is_valid(&random(attempt % 8))));
    }
}
