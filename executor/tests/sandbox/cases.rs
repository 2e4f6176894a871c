//! What a step may expect, and what it may not do.

use crate::fixture::Fixture;

type Case = fn(&Fixture);

pub(crate) const CASES: &[(&str, Case)] = &[("exit_codes_and_signals_are_told", exit_codes_and_signals_are_told)];

fn exit_codes_and_signals_are_told(fixture: &Fixture) {
    assert_eq!(fixture.step("exit 0").run().exit.code(), 0);
    assert_eq!(fixture.step("exit 42").run().exit.code(), 42);
}
