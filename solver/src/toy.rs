//! A worker over integers, and the tests of the solver's promises on it: no disk, no clock.
//!
//! A program is lines `name = expression`, an expression a sum of numbers and names. `name = source` reads the toy's
//! own table of sources, so that a test can change the world between two builds. `%` in front of a sum takes it
//! modulo 10, so that different inputs can give equal outputs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use kiln_core::{
    About, ContentHash, FileAction, FileEdit, Graph, HttpSource, Op, Silent, Source, StepId, Vertex, VertexId,
};
use proptest::prelude::*;

use crate::{CacheKey, Definition, SolveError, Worker, solve};

#[derive(Debug, Clone, thiserror::Error)]
#[error("{0} is broken")]
struct Broken(String);

#[derive(Default)]
struct Table {
    sources: Mutex<BTreeMap<String, i64>>,
    broken: Mutex<HashSet<String>>,
    asked: Mutex<HashMap<Definition, i64>>,
    made: Mutex<HashMap<CacheKey, i64>>,
    questions: AtomicUsize,
    ran: Mutex<Vec<String>>,
}

impl Worker for Table {
    type Output = i64;
    type Error = Broken;
    type Claim = ();

    async fn lock(&self, _step: StepId, source: &Vertex) -> Result<ContentHash, Broken> {
        let value = self.sources.lock().unwrap()[&source.about.name];
        Ok(ContentHash::of(&value.to_le_bytes()))
    }

    async fn asked(&self, definition: &Definition) -> Result<Option<i64>, Broken> {
        self.questions.fetch_add(1, Ordering::Relaxed);
        Ok(self.asked.lock().unwrap().get(definition).copied())
    }

    async fn made(&self, key: &CacheKey, _op: &Op, _inputs: &[i64]) -> Result<Option<i64>, Broken> {
        Ok(self.made.lock().unwrap().get(key).copied())
    }

    async fn content(&self, _op: &Op, _index: usize, input: &i64) -> Result<ContentHash, Broken> {
        Ok(ContentHash::of(&input.to_le_bytes()))
    }

    async fn claim(&self, _key: &CacheKey) -> Result<(), Broken> {
        Ok(())
    }

    async fn run(&self, _step: StepId, vertex: &Vertex, inputs: &[i64]) -> Result<i64, Broken> {
        tokio::task::yield_now().await;
        let name = &vertex.about.name;
        if self.broken.lock().unwrap().contains(name) {
            return Err(Broken(name.clone()));
        }
        self.ran.lock().unwrap().push(name.clone());
        Ok(match &vertex.op {
            Op::File(edit) => evaluate(edit, inputs),
            _ => self.sources.lock().unwrap()[name],
        })
    }

    async fn remember(
        &self,
        definition: &Definition,
        key: &CacheKey,
        _op: &Op,
        _inputs: &[i64],
        output: &i64,
    ) -> Result<(), Broken> {
        self.asked.lock().unwrap().insert(*definition, *output);
        self.made.lock().unwrap().insert(*key, *output);
        Ok(())
    }
}

/// The op of `name = [%] constant + inputs…`: the constant and the sign stand in a directory's name and owner.
fn sum(constant: i64, modulo: bool) -> Op {
    let owner = if modulo { "%" } else { "" }.to_owned();
    let action = FileAction::MakeDir { path: constant.to_string(), owner, mode: 0 };
    Op::File(FileEdit { actions: vec![action], link: false, created: None })
}

fn evaluate(edit: &FileEdit, inputs: &[i64]) -> i64 {
    let [FileAction::MakeDir { path, owner, .. }] = edit.actions.as_slice() else {
        unreachable!("toy ops only")
    };
    let total = path.parse::<i64>().unwrap().wrapping_add(inputs.iter().fold(0, |a, b| a.wrapping_add(*b)));
    if owner == "%" { total.rem_euclid(10) } else { total }
}

struct Toy {
    worker: Arc<Table>,
    program: String,
    no_cache: HashSet<String>,
}

impl Toy {
    fn new(program: &str) -> Self {
        Self { worker: Arc::default(), program: program.to_owned(), no_cache: HashSet::new() }
    }

    fn set(&self, source: &str, value: i64) {
        self.worker.sources.lock().unwrap().insert(source.to_owned(), value);
    }

    fn graph(&self) -> (Graph, HashMap<String, VertexId>) {
        let (mut graph, mut names) = (Graph::new(), HashMap::new());
        for line in self.program.split(';').map(str::trim).filter(|l| !l.is_empty()) {
            let (name, expression) = line.split_once(" = ").unwrap();
            let about =
                About { name: name.to_owned(), no_cache: self.no_cache.contains(name), ..About::default() };
            let id = if expression == "source" {
                let source =
                    HttpSource { url: name.to_owned(), checksum: None, filename: String::new(), mode: 0 };
                graph.add(Op::Source(Source::Http(source)), vec![], about)
            } else {
                let (modulo, terms) = match expression.strip_prefix("% ") {
                    Some(terms) => (true, terms),
                    None => (false, expression),
                };
                let (mut constant, mut inputs) = (0, Vec::new());
                for term in terms.split(" + ") {
                    match term.parse::<i64>() {
                        Ok(number) => constant += number,
                        Err(_) => inputs.push(names[term]),
                    }
                }
                graph.add(sum(constant, modulo), inputs, about)
            };
            names.insert(name.to_owned(), id);
        }
        (graph, names)
    }

    fn try_solve(&self, root: &str) -> Result<(i64, Vec<String>), SolveError<Broken>> {
        let (graph, names) = self.graph();
        self.worker.ran.lock().unwrap().clear();
        self.worker.questions.store(0, Ordering::Relaxed);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let solving = solve(Arc::new(graph), names[root], Arc::clone(&self.worker), Arc::new(Silent));
        let output = runtime.block_on(solving)?;
        let mut ran = self.worker.ran.lock().unwrap().clone();
        ran.sort();
        Ok((output, ran))
    }

    /// The value of `root` and the names of what ran, sorted.
    fn solve(&self, root: &str) -> (i64, Vec<String>) {
        self.try_solve(root).unwrap()
    }
}

fn ran<const N: usize>(value: i64, names: [&str; N]) -> (i64, Vec<String>) {
    (value, names.map(str::to_owned).to_vec())
}

#[test]
fn a_second_build_runs_nothing_and_asks_one_question() {
    let toy = Toy::new("a = 1; b = 2; c = a + b");
    assert_eq!(toy.solve("c"), ran(3, ["a", "b", "c"]));
    assert_eq!(toy.solve("c"), ran(3, []));
    assert_eq!(toy.worker.questions.load(Ordering::Relaxed), 1);
}

#[test]
fn only_what_the_root_needs_is_run() {
    let toy = Toy::new("a = 1; unused = 2 + a; c = a + 5");
    assert_eq!(toy.solve("c"), ran(6, ["a", "c"]));
}

#[test]
fn a_changed_source_runs_what_reads_it() {
    let toy = Toy::new("s = source; t = source; a = s + 1; b = t + 1; c = a + b");
    toy.set("s", 1);
    toy.set("t", 1);
    assert_eq!(toy.solve("c").0, 4);
    toy.set("s", 5);
    assert_eq!(toy.solve("c"), ran(8, ["a", "c", "s"]));
}

#[test]
fn equal_content_stops_the_change() {
    let toy = Toy::new("s = source; digit = % s; c = digit + 100");
    toy.set("s", 7);
    assert_eq!(toy.solve("c").0, 107);
    toy.set("s", 17);
    assert_eq!(toy.solve("c"), ran(107, ["digit", "s"]));
    // And the new way to the same content is known from then on.
    assert_eq!(toy.solve("c"), ran(107, []));
}

#[test]
fn equal_work_is_done_once() {
    let toy = Toy::new("a = 1; x = a + 3; y = a + 3; c = x + y");
    let (value, ran) = toy.solve("c");
    assert_eq!((value, ran.len()), (8, 3), "one of x and y: {ran:?}");
}

#[test]
fn no_cache_runs_the_step_and_not_what_reads_equal_content() {
    let mut toy = Toy::new("a = 1; b = a + 1; c = b + 1");
    assert_eq!(toy.solve("c").0, 3);
    toy.no_cache.insert("b".to_owned());
    assert_eq!(toy.solve("c"), ran(3, ["b"]));
}

#[test]
fn a_failure_names_its_step_and_stops_what_needs_it() {
    let toy = Toy::new("a = 1; b = a + 1; c = b + 1");
    toy.worker.broken.lock().unwrap().insert("b".to_owned());
    let error = toy.try_solve("c").unwrap_err();
    assert_eq!(error.to_string(), "b");
    assert_eq!(*toy.worker.ran.lock().unwrap(), ["a"]);
    // What was made before the failure is not made again.
    toy.worker.broken.lock().unwrap().clear();
    assert_eq!(toy.solve("c"), ran(3, ["b", "c"]));
}

#[test]
fn a_chain_of_ten_thousand_steps_needs_no_deep_stack() {
    let mut program = String::from("v0 = 1");
    for i in 1..10_000 {
        program.push_str(&format!("; v{i} = v{} + 1", i - 1));
    }
    assert_eq!(Toy::new(&program).solve("v9999").0, 10_000);
}

/// A line of a random program: a constant, whether it is modulo, and which earlier lines it reads.
type Line = (i64, bool, Vec<prop::sample::Index>);

fn program(lines: &[Line]) -> String {
    let mut text = String::from("s0 = source; s1 = source");
    for (i, (constant, modulo, inputs)) in lines.iter().enumerate() {
        let sign = if *modulo { "% " } else { "" };
        text.push_str(&format!("; v{i} = {sign}{constant}"));
        for input in inputs {
            match input.index(i + 2) {
                at @ 0..2 => text.push_str(&format!(" + s{at}")),
                at => text.push_str(&format!(" + v{}", at - 2)),
            }
        }
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever was built before, the next build gives what a build from scratch gives; it runs only what never ran on
    /// these inputs before; and built again, it runs nothing.
    #[test]
    fn an_incremental_build_equals_one_from_scratch(
        lines in prop::collection::vec(line(), 1..12),
        edits in prop::collection::vec(edit(), 1..8),
    ) {
        let mut lines: Vec<Line> = lines;
        let mut toy = Toy::new(&program(&lines));
        let mut sources = [0, 0];
        toy.set("s0", 0);
        toy.set("s1", 0);
        let mut seen = HashSet::new();
        for edit in edits {
            edit.apply(&mut lines, &mut sources);
            for (at, value) in sources.iter().enumerate() {
                toy.set(&format!("s{at}"), *value);
            }
            toy.program = program(&lines);
            // Any line may be the target, as any stage may.
            let root = format!("v{}", edit.target.index(lines.len()));
            let scratch = Toy::new(&toy.program);
            scratch.set("s0", sources[0]);
            scratch.set("s1", sources[1]);
            let (value, ran) = toy.solve(&root);
            prop_assert_eq!(value, scratch.solve(&root).0);
            let values = values(&lines, sources);
            for name in ran {
                let work = work(&name, &lines, &values);
                prop_assert!(seen.insert(work.clone()), "{} ran again on {:?}", name, work);
            }
            prop_assert_eq!(toy.solve(&root).1, Vec::<String>::new());
        }
    }
}

/// One edit of a random program.
#[derive(Debug, Clone)]
struct Edit {
    source: usize,
    value: i64,
    at: prop::sample::Index,
    change: Change,
    target: prop::sample::Index,
}

#[derive(Debug, Clone)]
enum Change {
    None,
    Constant(i64),
    Inputs(Vec<prop::sample::Index>),
    Insert(Line),
    Remove,
}

impl Edit {
    fn apply(&self, lines: &mut Vec<Line>, sources: &mut [i64; 2]) {
        sources[self.source] = self.value;
        let at = self.at.index(lines.len());
        match &self.change {
            Change::None => {}
            Change::Constant(constant) => lines[at].0 = *constant,
            Change::Inputs(inputs) => lines[at].2.clone_from(inputs),
            Change::Insert(line) => lines.insert(at, line.clone()),
            Change::Remove => {
                if lines.len() > 1 {
                    lines.remove(at);
                }
            }
        }
    }
}

fn line() -> impl Strategy<Value = Line> {
    (0_i64..20, any::<bool>(), prop::collection::vec(any::<prop::sample::Index>(), 0..4))
}

fn edit() -> impl Strategy<Value = Edit> {
    let change = prop_oneof![
        Just(Change::None),
        (0_i64..20).prop_map(Change::Constant),
        prop::collection::vec(any::<prop::sample::Index>(), 0..4).prop_map(Change::Inputs),
        line().prop_map(Change::Insert),
        Just(Change::Remove),
    ];
    let index = any::<prop::sample::Index>;
    (0_usize..2, 0_i64..30, index(), change, index()).prop_map(|(source, value, at, change, target)| Edit {
        source,
        value,
        at,
        change,
        target,
    })
}

/// What the lines come to, sources first, by nothing of the solver's.
fn values(lines: &[Line], sources: [i64; 2]) -> Vec<i64> {
    let mut values = sources.to_vec();
    for (i, (constant, modulo, inputs)) in lines.iter().enumerate() {
        let total = inputs.iter().fold(*constant, |sum, input| sum.wrapping_add(values[input.index(i + 2)]));
        values.push(if *modulo { total.rem_euclid(10) } else { total });
    }
    values
}

/// What a step that ran was and read: a source with its value, or a sum with the values of its inputs in order.
fn work(name: &str, lines: &[Line], values: &[i64]) -> (String, Vec<i64>) {
    if let Some(source) = name.strip_prefix('s') {
        return (name.to_owned(), vec![values[source.parse::<usize>().unwrap()]]);
    }
    let i: usize = name[1..].parse().unwrap();
    let (constant, modulo, inputs) = &lines[i];
    (format!("{constant} {modulo}"), inputs.iter().map(|input| values[input.index(i + 2)]).collect())
}
