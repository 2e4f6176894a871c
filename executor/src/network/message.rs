//! Questions and answers of the domain name system (RFC 1035), as far as a network's own names need them.

use std::net::IpAddr;

const HEADER: usize = 12;
const A: u16 = 1;
const AAAA: u16 = 28;
const INTERNET: u16 = 1;
/// Short: containers come and go.
const TTL: u32 = 5;

/// The one question of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    /// In lower case, without a dot at the end.
    pub(super) name: String,
    kind: u16,
    /// Where it ends in the message.
    end: usize,
}

impl Question {
    /// Reads a query with one question of the Internet's class; anything else is for others to answer.
    pub(super) fn parse(query: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u16::from_be_bytes(query.get(at..at + 2)?.try_into().ok()?));
        // A query of the standard kind.
        if word(2)? & 0xf800 != 0 || word(4)? != 1 {
            return None;
        }
        let mut at = HEADER;
        let mut labels = Vec::new();
        loop {
            let length = usize::from(*query.get(at)?);
            at += 1;
            match length {
                0 => break,
                1..=63 => labels.push(std::str::from_utf8(query.get(at..at + length)?).ok()?.to_lowercase()),
                _ => return None,
            }
            at += length;
        }
        let kind = word(at)?;
        (word(at + 2)? == INTERNET).then(|| Self { name: labels.join("."), kind, end: at + 4 })
    }

    /// The answer with those of `addresses` that were asked for; none is an answer too.
    pub(super) fn answer(&self, query: &[u8], addresses: &[IpAddr]) -> Vec<u8> {
        let mut records = Vec::new();
        let mut count: u16 = 0;
        for address in addresses {
            let data = match (address, self.kind) {
                (IpAddr::V4(address), A) => address.octets().to_vec(),
                (IpAddr::V6(address), AAAA) => address.octets().to_vec(),
                _ => continue,
            };
            // The name is the question's, by its place.
            records.extend([0xc0, 12]);
            records.extend(self.kind.to_be_bytes());
            records.extend(INTERNET.to_be_bytes());
            records.extend(TTL.to_be_bytes());
            records.extend(u16::try_from(data.len()).unwrap_or(0).to_be_bytes());
            records.extend(data);
            count += 1;
        }
        let mut answer = query[..2].to_vec();
        // A response with authority, recursion as wished and available, no error.
        answer.extend([0x84 | query[2] & 1, 0x80]);
        answer.extend([0, 1]);
        answer.extend(count.to_be_bytes());
        answer.extend([0; 4]);
        answer.extend(&query[HEADER..self.end]);
        answer.extend(records);
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(kind: u8) -> Vec<u8> {
        let mut query = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        query.extend(b"\x03Web\x04test\x00\x00");
        query.extend([kind, 0, 1]);
        query
    }

    #[test]
    fn a_name_is_answered_with_the_addresses_of_the_kind_asked_for() {
        let addresses = ["10.1.2.3".parse().unwrap(), "fd00::1".parse().unwrap()];
        let query = query(1);
        let question = Question::parse(&query).unwrap();
        assert_eq!(question.name, "web.test");
        let answer = question.answer(&query, &addresses);
        assert_eq!(answer[..8], [0xab, 0xcd, 0x85, 0x80, 0, 1, 0, 1]);
        assert!(answer.ends_with(&[0, 4, 10, 1, 2, 3]));
        let query = self::query(16);
        assert_eq!(Question::parse(&query).unwrap().answer(&query, &addresses)[6..8], [0, 0]);
    }

    #[test]
    fn what_is_no_query_is_left_to_others() {
        assert_eq!(Question::parse(&query(1)[..20]), None);
        let mut response = query(1);
        response[2] |= 0x80;
        assert_eq!(Question::parse(&response), None);
        let mut pointer = query(1);
        pointer[HEADER] = 0xc0;
        assert_eq!(Question::parse(&pointer), None);
    }
}
