//! EXPOSE: ports, ranges of ports, and the address forms that mean nothing but are still taken.

use std::collections::BTreeSet;
use std::net::IpAddr;

use kiln_core::{Diagnostic, Empty};

use super::state::State;
use super::{Lowering, Outcome, go_text};
use crate::ast::Word;
use crate::expand::Rules;
use crate::lint::StageChecks;
use crate::plan::Step;

impl Lowering<'_> {
    pub(super) fn expose(&mut self, words: &[Word], step: &Step, state: &mut State) -> Outcome<()> {
        // In the order of numbers, each once.
        let mut ports = BTreeSet::new();
        for word in words {
            let place = step.place(word.span);
            let (_, words) = Rules::words(self.plan.escape)
                .split(&word.value, &state.env)
                .map_err(|error| super::cannot_expand(&error, place))?;
            for written in words {
                let exposed = parse(&written).map_err(|message| Diagnostic::error(message, place))?;
                self.warnings.extend(StageChecks::port(&written, place));
                ports.extend((exposed.first..=exposed.last).map(|port| (port, exposed.protocol)));
            }
        }
        let texts: Vec<String> = ports.iter().map(|(port, protocol)| format!("{port}/{protocol}")).collect();
        let text = format!("EXPOSE {}", go_text::list(&texts));
        state.image.config.exposed_ports.extend(texts.into_iter().map(|text| (text, Empty {})));
        self.commit(state, text, true);
        Ok(())
    }
}

/// One word of EXPOSE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Exposed {
    first: u16,
    last: u16,
    protocol: &'static str,
}

fn parse(written: &str) -> Result<Exposed, String> {
    read(written).map_err(|cause| format!("invalid port: {}: {cause}", go_text::quoted(written)))
}

fn read(written: &str) -> Result<Exposed, String> {
    let (before, port) = written.rsplit_once(':').map_or(("", written), |(before, port)| (before, port));
    let (ip, host) = before.rsplit_once(':').unwrap_or(("", before));
    let (range, protocol) = port.split_once('/').unwrap_or((port, ""));
    if range.is_empty() {
        return Err("no port specified".to_owned());
    }
    let lower = protocol.to_lowercase();
    let known = ["tcp", "udp", "sctp"].into_iter().find(|name| *name == lower);
    let known = known.or(lower.is_empty().then_some("tcp")).ok_or(format!("invalid proto: {lower}"))?;
    check_address(ip)?;
    let (first, last) = parse_range(range).ok_or(format!("invalid containerPort: {range}"))?;
    if !host.is_empty() {
        let (host_first, host_last) = parse_range(host).ok_or(format!("invalid hostPort: {host}"))?;
        // A range of the host's ports for one port is one to choose from.
        if last - first != host_last - host_first && last != first {
            return Err(format!("invalid ranges specified for container and host Ports: {range} and {host}"));
        }
    }
    Ok(Exposed { first, last, protocol: known })
}

fn check_address(ip: &str) -> Result<(), String> {
    if ip.is_empty() {
        return Ok(());
    }
    let bare = match ip.strip_prefix('[') {
        Some(rest) => rest
            .strip_suffix(']')
            .ok_or_else(|| format!("invalid IP address {ip}: missing ']' in address"))?,
        None => ip,
    };
    bare.parse::<IpAddr>().map(|_| ()).map_err(|_| format!("invalid IP address: {bare}"))
}

fn parse_range(text: &str) -> Option<(u16, u16)> {
    let number = |digits: &str| {
        (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests;
