//! A system call profile of the user's, in Docker's JSON form (`--security-opt seccomp=FILE`), compiled to a filter.
//!
//! Rules are compared in the order of the file, those with conditions before those without. What comes through an entry that
//! the profile does not name, or by an x32 number, does not exist: a profile of refusals cannot be passed by on that way.

use std::collections::BTreeSet;

use libc::sock_filter;
use serde::Deserialize;

use super::emit::Program;
use super::{ENTRIES, extra, table};
use crate::sandbox::capability;

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// It is not Docker's JSON.
    #[error("read the system call profile")]
    Json(#[from] serde_json::Error),
    /// A word that is not known.
    #[error("the system call profile has the {what} `{word}`, which is not known")]
    Word {
        /// What it stands for.
        what: &'static str,
        /// As written.
        word: String,
    },
    /// It refuses a call that kiln has no number for, and allows what it does not name.
    #[error("the system call profile refuses `{0}`, which is not known, and allows what it does not name")]
    Unknown(String),
    /// Fields that say the same.
    #[error("the system call profile has both `{0}` and `{1}`: use one of them")]
    Both(&'static str, &'static str),
    /// The kernel takes 4096 instructions.
    #[error("the system call profile is too long: {0} instructions, of 4096")]
    Long(usize),
}

/// The file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    default_action: String,
    #[serde(default)]
    default_errno_ret: Option<u16>,
    #[serde(default)]
    arch_map: Option<Vec<Architecture>>,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    syscalls: Option<Vec<Rule>>,
    #[serde(default, rename = "flags")]
    _flags: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Architecture {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: String,
    #[serde(default)]
    errno_ret: Option<u16>,
    #[serde(default)]
    args: Option<Vec<Condition>>,
    #[serde(default, rename = "comment")]
    _comment: Option<String>,
    #[serde(default)]
    includes: Option<Filter>,
    #[serde(default)]
    excludes: Option<Filter>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Filter {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

/// What a profile depends on besides itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine {
    pub(crate) capabilities: u64,
    /// Major and minor number.
    pub(crate) kernel: (u32, u32),
}

impl Machine {
    /// This one.
    pub(crate) fn of_process(capabilities: u64) -> Self {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        Self { capabilities, kernel: version(&release).unwrap_or((0, 0)) }
    }
}

fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Compiles the profile in `text`.
pub(crate) fn compile(text: &str, machine: Machine) -> Result<Vec<sock_filter>, ProfileError> {
    let file: File = serde_json::from_str(text)?;
    let has = |list: &Option<Vec<_>>| list.as_ref().is_some_and(|list: &Vec<_>| !list.is_empty());
    if has(&file.architectures) && file.arch_map.as_ref().is_some_and(|map| !map.is_empty()) {
        return Err(ProfileError::Both("architectures", "archMap"));
    }
    if file.syscalls.iter().flatten().any(|rule| rule.name.is_some() && has(&rule.names)) {
        return Err(ProfileError::Both("name", "names"));
    }
    let default = action(&file.default_action, file.default_errno_ret)?;
    let mut program = Program::default();
    for (entry, (arch, column)) in ENTRIES.into_iter().enumerate() {
        if entry > 0 && !has_32_bits(&file) {
            continue;
        }
        let mut failure = None;
        program.for_architecture(arch, |body| {
            failure = rules(&file, machine, default, column, body).err();
        });
        if let Some(failure) = failure {
            return Err(failure);
        }
    }
    let program = program.finish();
    if program.len() > 4096 {
        return Err(ProfileError::Long(program.len()));
    }
    Ok(program)
}

const ALLOW: u32 = 0x7fff_0000;

/// `SECCOMP_RET_*` (linux/seccomp.h).
fn action(word: &str, errno: Option<u16>) -> Result<u32, ProfileError> {
    let data = u32::from(errno.unwrap_or(libc::EPERM as u16));
    Ok(match word {
        "SCMP_ACT_ALLOW" => ALLOW,
        "SCMP_ACT_ERRNO" => 0x0005_0000 | data,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => 0,
        "SCMP_ACT_KILL_PROCESS" => 0x8000_0000,
        "SCMP_ACT_TRAP" => 0x0003_0000,
        "SCMP_ACT_TRACE" => 0x7ff0_0000 | data,
        "SCMP_ACT_LOG" => 0x7ffc_0000,
        other => return Err(ProfileError::Word { what: "action", word: other.to_owned() }),
    })
}

#[cfg(target_arch = "x86_64")]
const NAMES: [&str; 4] = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "amd64", "x86"];
#[cfg(target_arch = "aarch64")]
const NAMES: [&str; 4] = ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", "arm64", "arm"];

fn has_32_bits(file: &File) -> bool {
    let native = file.arch_map.iter().flatten().filter(|map| map.architecture == NAMES[0]);
    let mut below = native.flat_map(|map| map.sub_architectures.iter().flatten());
    below.any(|name| name == NAMES[1]) || file.architectures.iter().flatten().any(|name| name == NAMES[1])
}

fn applies(rule: &Rule, machine: Machine) -> bool {
    let has = |name: &String| {
        let bit = capability::by_name(name.strip_prefix("CAP_").unwrap_or(name));
        bit.is_some_and(|bit| machine.capabilities & bit != 0)
    };
    let here = |name: &String| name == NAMES[2] || name == NAMES[3];
    let new_enough = |text: &String| version(text).is_some_and(|wanted| machine.kernel >= wanted);
    if let Some(includes) = &rule.includes {
        let arches = includes.arches.as_deref().unwrap_or_default();
        if !includes.caps.iter().flatten().all(has)
            || !arches.is_empty() && !arches.iter().any(here)
            || !includes.min_kernel.as_ref().is_none_or(new_enough)
        {
            return false;
        }
    }
    let Some(excludes) = &rule.excludes else { return true };
    !excludes.caps.iter().flatten().any(has)
        && !excludes.arches.iter().flatten().any(here)
        && !excludes.min_kernel.as_ref().is_some_and(new_enough)
}

/// The rules for one entry; the number of the call is loaded.
fn rules(
    file: &File,
    machine: Machine,
    default: u32,
    column: usize,
    body: &mut Program,
) -> Result<(), ProfileError> {
    const X32: u32 = 0x4000_0000;
    body.at_least(X32, 0x0005_0000 | libc::ENOSYS.cast_unsigned());
    let found: Vec<&Rule> = file.syscalls.iter().flatten().filter(|rule| applies(rule, machine)).collect();
    let is_conditional = |rule: &Rule| rule.args.as_ref().is_some_and(|args| !args.is_empty());
    let mut done = BTreeSet::new();
    for conditional in [true, false] {
        for rule in found.iter().filter(|rule| is_conditional(rule) == conditional) {
            let verdict = action(&rule.action, rule.errno_ret)?;
            for name in rule.names.iter().flatten().chain(&rule.name) {
                let Some(numbers) = numbers(name) else {
                    if verdict != ALLOW && default == ALLOW {
                        return Err(ProfileError::Unknown(name.clone()));
                    }
                    continue;
                };
                let Ok(number) = u32::try_from(numbers[column]) else { continue };
                if conditional {
                    for tests in alternatives(rule.args.as_deref().unwrap_or_default()) {
                        conditions(body, number, &tests, verdict)?;
                    }
                } else if done.insert(number) && verdict != default {
                    body.exactly(number, verdict);
                }
            }
        }
    }
    body.verdict(default);
    Ok(())
}

fn numbers(name: &str) -> Option<[i32; 4]> {
    let known = table::TABLE.iter().find(|(known, ..)| *known == name).map(|(.., numbers)| *numbers);
    known.or_else(|| extra::TABLE.iter().find(|(known, _)| *known == name).map(|(_, numbers)| *numbers))
}

/// Conditions on different arguments hold together; of several on one argument one is enough, as in runc.
fn alternatives(conditions: &[Condition]) -> Vec<Vec<&Condition>> {
    let indices: BTreeSet<u32> = conditions.iter().map(|condition| condition.index).collect();
    if indices.len() == conditions.len() {
        return vec![conditions.iter().collect()];
    }
    conditions.iter().map(|condition| vec![condition]).collect()
}

fn conditions(
    body: &mut Program,
    number: u32,
    tests: &[&Condition],
    verdict: u32,
) -> Result<(), ProfileError> {
    let mut inner = Program::default();
    for test in tests.iter().rev() {
        let wrong = |what, word: String| ProfileError::Word { what, word };
        if test.index > 5 {
            return Err(wrong("argument number", test.index.to_string()));
        }
        let rest = std::mem::take(&mut inner);
        let rest = if rest.is_empty() { Program::of(verdict) } else { rest };
        inner = match test.op.as_str() {
            "SCMP_CMP_EQ" => rest.if_equal(test.index, u64::MAX, test.value),
            "SCMP_CMP_MASKED_EQ" => rest.if_equal(test.index, test.value, test.value_two),
            "SCMP_CMP_NE" => rest.unless_equal(test.index, test.value),
            "SCMP_CMP_GE" => rest.if_at_least(test.index, test.value),
            "SCMP_CMP_GT" => match test.value.checked_add(1) {
                Some(least) => rest.if_at_least(test.index, least),
                None => Program::default(),
            },
            "SCMP_CMP_LT" => rest.if_below(test.index, test.value),
            "SCMP_CMP_LE" => match test.value.checked_add(1) {
                Some(most) => rest.if_below(test.index, most),
                None => rest,
            },
            other => return Err(wrong("comparison", other.to_owned())),
        };
        if inner.is_empty() {
            return Ok(());
        }
    }
    body.block(number, inner);
    Ok(())
}

#[cfg(test)]
mod tests;
