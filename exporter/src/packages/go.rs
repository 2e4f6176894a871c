//! Go's modules: what the linker writes into every program (Go, debug/buildinfo).

use std::path::Path;

use super::{Manager, Package};

const MAGIC: &[u8] = b"\xff Go buildinf:";
/// The version of Go and the modules follow the header.
const HEADER: usize = 32;
/// Set since Go 1.18: the strings stand in place.
const INLINE: u8 = 2;

pub(super) fn knows(_path: &Path, size: u64, mode: u32) -> bool {
    mode & 0o111 != 0 && size > 4096
}

pub(super) fn read(path: &Path, bytes: &[u8]) -> Vec<Package> {
    if !bytes.starts_with(b"\x7fELF") {
        return Vec::new();
    }
    // It is aligned, and a program may hold the magic elsewhere, as this one does.
    bytes
        .chunks_exact(16)
        .enumerate()
        .filter(|(_, chunk)| chunk.starts_with(MAGIC) && chunk[15] & INLINE != 0)
        .find_map(|(index, _)| modules(path, bytes.get(index * 16 + HEADER..)?))
        .unwrap_or_default()
}

fn modules(path: &Path, strings: &[u8]) -> Option<Vec<Package>> {
    let (go, rest) = string(strings)?;
    let (text, _) = string(rest)?;
    let version = std::str::from_utf8(go).ok()?.strip_prefix("go")?;
    let mut all = vec![Package::new(Manager::Golang, "stdlib", version, path)];
    // Sixteen bytes around the text mark where it begins and ends.
    let text = text.get(16..text.len().checked_sub(16)?).unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    for line in text.lines() {
        let mut fields = line.split('\t');
        match (fields.next(), fields.next(), fields.next()) {
            (Some("=>"), Some(name), Some(version)) => {
                // It stands in for the one before.
                all.pop();
                all.push(Package::new(Manager::Golang, name, version, path));
            }
            (Some("mod" | "dep"), Some(name), Some(version)) => {
                all.push(Package::new(Manager::Golang, name, version, path));
            }
            _ => {}
        }
    }
    Some(all)
}

/// A string with its length before it, in groups of seven bits.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length: usize = 0;
    for (at, byte) in bytes.iter().take(5).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let rest = &bytes[at + 1..];
            return Some((rest.get(..length)?, rest.get(length..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(go: &str, modules: &str) -> Vec<u8> {
        let mut bytes = b"\x7fELF".to_vec();
        bytes.resize(64, 0);
        bytes.extend(MAGIC);
        bytes.extend([8, INLINE]);
        bytes.resize(64 + HEADER, 0);
        let framed = format!("{}{modules}{}", "s".repeat(16), "e".repeat(16));
        for text in [go, &framed] {
            bytes.extend([(text.len() & 0x7f) as u8 | 0x80, (text.len() >> 7) as u8]);
            bytes.extend(text.as_bytes());
        }
        bytes.resize(bytes.len().next_multiple_of(16), 0);
        bytes
    }

    #[test]
    fn a_program_lists_its_modules_and_their_replacements() {
        let text = "path\tcmd/app\nmod\texample.com/app\tv1.2.3\th1:x=\ndep\tgolang.org/x/net\tv0.1.0\th1:y=\n\
                    dep\texample.com/old\tv1.0.0\n=>\texample.com/new\tv2.0.0\th1:z=\nbuild\t-compiler=gc\n";
        let urls: Vec<String> =
            read(Path::new("app"), &program("go1.22.1", text)).iter().map(Package::url).collect();
        let expected = [
            "pkg:golang/stdlib@1.22.1",
            "pkg:golang/example.com/app@v1.2.3",
            "pkg:golang/golang.org/x/net@v0.1.0",
            "pkg:golang/example.com/new@v2.0.0",
        ];
        assert_eq!(urls, expected);
    }

    #[test]
    fn a_program_that_only_looks_like_one_of_gos_is_none() {
        let whole = program("go1.22", "mod\ta\tv1\n");
        for end in [0, 3, 64, 70, 97, 99, whole.len() - 20] {
            read(Path::new("app"), &whole[..end]);
        }
        assert_eq!(read(Path::new("app"), &program("no version", "")), []);
    }
}
