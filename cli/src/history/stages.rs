//! The stages of a build as a picture: a card each, in columns by what they need, with the steps as a strip.

use std::collections::BTreeMap;
use std::time::Duration;

use super::model::{Model, Outcome};

/// Width and height of a card, and the room between cards, in pixels.
const CARD: (usize, usize) = (232, 84);
const GAP: (usize, usize) = (64, 20);

/// A stage of the Dockerfile for one platform, or what kiln does itself.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) name: String,
    pub(super) steps: Vec<usize>,
    needs: Vec<usize>,
    column: usize,
    row: usize,
}

/// The stage of a step, by its name: `[linux/arm64 build 2/5] RUN make` is of `linux/arm64 build`.
fn stage_of(name: &str) -> &str {
    let inside = name.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(inside, _)| inside);
    match inside {
        Some("internal") | None => "kiln",
        Some(inside) => {
            let numbered =
                |word: &str| word.contains('/') && word.bytes().all(|b| b.is_ascii_digit() || b == b'/');
            match inside.rsplit_once(' ') {
                Some((stage, last)) if numbered(last) => stage.trim_end(),
                None if numbered(inside) => "stage-0",
                _ => inside,
            }
        }
    }
}

/// The stages of a build, each after those it needs as far as that is possible.
pub(super) fn stages(model: &Model) -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
    let mut of_step = Vec::with_capacity(model.steps.len());
    for (number, step) in model.steps.iter().enumerate() {
        let name = stage_of(&step.name);
        let at = *by_name.entry(name).or_insert_with(|| {
            let name = name.to_owned();
            stages.push(Stage { name, steps: Vec::new(), needs: Vec::new(), column: 0, row: 0 });
            stages.len() - 1
        });
        stages[at].steps.push(number);
        of_step.push(at);
    }
    for (number, step) in model.steps.iter().enumerate() {
        for &input in &step.inputs {
            let (user, used) = (of_step[number], of_step[input]);
            if user != used && stages[used].name != "kiln" && !stages[user].needs.contains(&used) {
                stages[user].needs.push(used);
            }
        }
    }
    // As often as there are stages is enough, and ends even where two stages need each other.
    for _ in 0..stages.len().min(200) {
        for at in 0..stages.len() {
            let column = stages[at].needs.iter().map(|&need| stages[need].column + 1).max().unwrap_or(0);
            stages[at].column = column.min(200);
        }
    }
    let last = stages.iter().map(|stage| stage.column).max().unwrap_or(0);
    for stage in stages.iter_mut().filter(|stage| stage.name == "kiln") {
        stage.column = if last == 0 { 1 } else { last + 1 };
    }
    let mut rows: BTreeMap<usize, usize> = BTreeMap::new();
    for stage in &mut stages {
        let row = rows.entry(stage.column).or_default();
        stage.row = *row;
        *row += 1;
    }
    stages
}

/// The picture, as SVG.
pub(super) fn picture(model: &Model, stages: &[Stage]) -> String {
    let columns = stages.iter().map(|stage| stage.column + 1).max().unwrap_or(1);
    let rows = stages.iter().map(|stage| stage.row + 1).max().unwrap_or(1);
    let (width, height) = (columns * (CARD.0 + GAP.0) - GAP.0 + 2, rows * (CARD.1 + GAP.1) - GAP.1 + 2);
    let place = |stage: &Stage| (1 + stage.column * (CARD.0 + GAP.0), 1 + stage.row * (CARD.1 + GAP.1));
    let mut svg = format!(
        "<svg class=\"graph\" role=\"img\" aria-label=\"The stages and what they need\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\n"
    );
    for stage in stages {
        let (x, y) = place(stage);
        let critical = |stage: &Stage| stage.steps.iter().any(|&step| model.steps[step].critical);
        for &need in &stage.needs {
            let (from_x, from_y) = place(&stages[need]);
            let (from_x, from_y, y) = (from_x + CARD.0, from_y + CARD.1 / 2, y + CARD.1 / 2);
            let bend = GAP.0 / 2;
            let class = if critical(stage) && critical(&stages[need]) { "edge hot" } else { "edge" };
            svg.push_str(&format!(
                "<path class=\"{class}\" d=\"M{from_x} {from_y} C{} {from_y} {} {y} {x} {y}\"/>\n",
                from_x + bend,
                x - bend.min(x)
            ));
        }
    }
    for stage in stages {
        card(model, stage, place(stage), &mut svg);
    }
    svg.push_str("</svg>\n");
    svg
}

fn card(model: &Model, stage: &Stage, (x, y): (usize, usize), svg: &mut String) {
    let steps = || stage.steps.iter().map(|&step| &model.steps[step]);
    let ran = steps().filter(|step| step.started.is_some()).count();
    let cached = steps().filter(|step| step.outcome == Outcome::Cached).count();
    let took: Duration = steps().map(super::Step::took).sum();
    let failed = steps().any(|step| step.outcome == Outcome::Failed);
    let hot = if steps().any(|step| step.critical) { " hot" } else { "" };
    let class = if failed { "card bad" } else { "card" };
    let name: String = stage.name.chars().take(26).collect();
    svg.push_str(&format!(
        "<g class=\"{class}{hot}\"><rect x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" rx=\"10\"/>\
         <text class=\"title\" x=\"{}\" y=\"{}\">{}</text>\
         <text class=\"small\" x=\"{}\" y=\"{}\">{} · {ran} run · {cached} cached</text>\
         <text class=\"time\" x=\"{}\" y=\"{}\">{}</text>\n",
        CARD.0,
        CARD.1,
        x + 14,
        y + 27,
        super::page::escape(&name),
        x + 14,
        y + 47,
        if stage.steps.len() == 1 { "1 step".to_owned() } else { format!("{} steps", stage.steps.len()) },
        x + CARD.0 - 14,
        y + 27,
        super::page::seconds(took),
    ));
    // The strip: as many cells as steps, or as there is room for.
    let cells = stage.steps.len().min(68);
    let room = CARD.0 - 28;
    for cell in 0..cells {
        let (from, to) = (cell * stage.steps.len() / cells, (cell + 1) * stage.steps.len() / cells);
        let worst = stage.steps[from..to.max(from + 1)].iter().map(|&step| model.steps[step].outcome);
        let class = worst.max_by_key(|outcome| rank(*outcome)).unwrap_or_default().as_str();
        let (left, right) = (cell * room / cells, (cell + 1) * room / cells);
        let width = (right - left).saturating_sub(if cells > 40 { 0 } else { 2 }).max(1);
        svg.push_str(&format!(
            "<rect class=\"cell {class}\" x=\"{}\" y=\"{}\" width=\"{width}\" height=\"10\" rx=\"2\"/>",
            x + 14 + left,
            y + 60
        ));
    }
    svg.push_str("</g>\n");
}

/// Which outcome is told of several.
fn rank(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Waiting => 0,
        Outcome::Cached => 1,
        Outcome::Done => 2,
        Outcome::Canceled => 3,
        Outcome::Failed => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_belongs_to_the_stage_in_its_name() {
        for (name, stage) in [
            ("[build 2/5] RUN make", "build"),
            ("[1/2] FROM x", "stage-0"),
            ("[linux/arm64 build  2/5] RUN make", "linux/arm64 build"),
            ("[internal] load build context", "kiln"),
            ("exporting to image", "kiln"),
        ] {
            assert_eq!(stage_of(name), stage, "{name}");
        }
    }
}
