//! A container's id: 64 hexadecimal digits, as Docker has them.

/// A new id that nobody else has. Its first twelve digits are not a number, so that no tool takes it for one.
pub(crate) fn new() -> String {
    loop {
        let mut bytes = [0_u8; 32];
        // The kernel gives up to 256 bytes at once and without fail once it has booted.
        let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
        let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        if id[..12].bytes().any(|b| b.is_ascii_alphabetic()) {
            return id;
        }
    }
}

/// The twelve digits that people are shown.
pub(crate) fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}
