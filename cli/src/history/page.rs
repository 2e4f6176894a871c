//! A build as a page of HTML: complete in itself, without scripts, light and dark.

use std::time::Duration;

use super::About;
use super::model::{Model, Outcome, Step};
use super::stages::{Stage, picture, stages};

const STYLE: &str = include_str!("page.css");

/// The page.
pub(crate) fn page(about: &About, model: &Model) -> String {
    let stages = stages(model);
    let mut html = String::with_capacity(4096 + model.steps.len() * 700);
    html.push_str(&format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{} · kiln build</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n",
        escape(&about.name)
    ));
    head(about, model, &mut html);
    html.push_str("<section><h2>Stages</h2><div class=\"scroll\">\n");
    html.push_str(&picture(model, &stages));
    html.push_str("</div></section>\n");
    timeline(model, &stages, &mut html);
    html.push_str("</body>\n</html>\n");
    html
}

fn head(about: &About, model: &Model, html: &mut String) {
    let path: Duration = model.steps.iter().filter(|step| step.critical).map(Step::took).sum();
    let work: Duration = model.steps.iter().map(Step::took).sum();
    let started = Duration::from_millis(about.started);
    let started = humantime::format_rfc3339_seconds(std::time::SystemTime::UNIX_EPOCH + started);
    html.push_str(&format!(
        "<header><h1>{}</h1><span class=\"badge {}\">{}</span>\n<p class=\"meta\">{}{} · {} · {started}</p></header>\n",
        escape(&about.name),
        about.status,
        about.status,
        escape(&about.dockerfile),
        about.target.as_ref().map_or(String::new(), |target| format!(" → {}", escape(target))),
        escape(&about.context),
    ));
    html.push_str("<dl class=\"figures\">");
    let together = if model.took.is_zero() { 1.0 } else { work.as_secs_f64() / model.took.as_secs_f64() };
    for (name, figure) in [
        ("took", seconds(model.took)),
        ("critical path", seconds(path)),
        ("work, all steps", seconds(work)),
        ("at the same time", format!("{together:.1}×")),
        ("steps run", about.ran.to_string()),
        ("steps cached", about.cached.to_string()),
    ] {
        html.push_str(&format!("<div><dt>{name}</dt><dd>{figure}</dd></div>"));
    }
    html.push_str("</dl>\n");
    if let Some(error) = &about.error {
        html.push_str(&format!("<pre class=\"error\">{}</pre>\n", escape(error)));
    }
}

fn timeline(model: &Model, stages: &[Stage], html: &mut String) {
    let whole = model.took.as_secs_f64().max(1e-6);
    let mut stage_of = vec![""; model.steps.len()];
    for stage in stages {
        for &step in &stage.steps {
            stage_of[step] = &stage.name;
        }
    }
    let mut order: Vec<usize> = (0..model.steps.len()).collect();
    order.sort_by_key(|&n| (model.steps[n].started.or(model.steps[n].ended).unwrap_or(model.took), n));
    html.push_str("<section><h2>Timeline</h2>\n<div class=\"legend\">");
    for (class, word) in [
        ("hot", "critical path"),
        ("done", "run"),
        ("cached", "cached"),
        ("failed", "failed"),
        ("canceled", "given up"),
    ] {
        html.push_str(&format!("<span><i class=\"{class}\"></i>{word}</span>"));
    }
    html.push_str(
        "<label><input type=\"checkbox\" id=\"only-run\">hide cached</label>\
         <label><input type=\"checkbox\" id=\"only-hot\">critical path alone</label></div>\n<div class=\"chart\">\n<div class=\"axis\"><span></span><div>",
    );
    for (at, label) in ticks(whole) {
        html.push_str(&format!("<b style=\"left:{:.3}%\">{label}</b>", at / whole * 100.0));
    }
    html.push_str("</div></div>\n");
    for number in order {
        row(model, number, stage_of[number], whole, html);
    }
    html.push_str("</div></section>\n");
}

fn row(model: &Model, number: usize, stage: &str, whole: f64, html: &mut String) {
    let step = &model.steps[number];
    let percent = |at: Duration| (at.as_secs_f64() / whole * 100.0).min(100.0);
    let hot = if step.critical { " hot" } else { "" };
    let outcome = step.outcome.as_str();
    let bar = match (step.started, step.ended) {
        (Some(started), Some(ended)) => {
            let (left, right) = (percent(started), percent(ended));
            // The time stands beside the bar where there is room for it.
            let side = if right < 86.0 {
                format!("left:{right:.3}%")
            } else {
                format!("right:{:.3}%", 100.0 - left)
            };
            format!(
                "<i class=\"{outcome}{hot}\" style=\"left:{left:.3}%;width:{:.3}%\"></i><em style=\"{side}\">{}</em>",
                (right - left).max(0.0),
                seconds(step.took())
            )
        }
        (None, Some(ended)) => {
            format!("<i class=\"mark {outcome}\" style=\"left:{:.3}%\"></i>", percent(ended))
        }
        _ => String::new(),
    };
    let name = step
        .name
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("] "))
        .map_or(&*step.name, |(_, name)| name);
    html.push_str(&format!(
        "<details class=\"row {outcome}{hot}\"><summary><span class=\"label\" title=\"{}\"><small>{}</small>{}</span><span class=\"track\">{bar}</span></summary>\n",
        escape(&step.name),
        escape(stage),
        escape(name.lines().next().unwrap_or_default()),
    ));
    detail(model, step, html);
    html.push_str("</details>\n");
}

fn detail(model: &Model, step: &Step, html: &mut String) {
    html.push_str(&format!("<div class=\"detail\"><p class=\"full\">{}</p><p>", escape(&step.name)));
    if let (Some(started), Some(ended)) = (step.started, step.ended) {
        let (from, to) = (seconds(started), seconds(ended));
        html.push_str(&format!("{} to {}, {}. ", from, to, seconds(step.took())));
    }
    html.push_str(match step.outcome {
        Outcome::Waiting => "Did not begin.",
        Outcome::Done => "Ran.",
        Outcome::Cached => "Its result was known.",
        Outcome::Failed => "Failed.",
        Outcome::Canceled => "Given up.",
    });
    html.push_str("</p>");
    if !step.inputs.is_empty() {
        html.push_str("<p>Waited for:</p><ul>");
        for &input in &step.inputs {
            html.push_str(&format!("<li>{}</li>", escape(&model.steps[input].name)));
        }
        html.push_str("</ul>");
    }
    if let Some(error) = &step.error {
        html.push_str(&format!("<pre class=\"error\">{}</pre>", escape(error)));
    }
    if !step.tail.is_empty() {
        let tail: Vec<&str> = step.tail.iter().map(String::as_str).collect();
        html.push_str(&format!("<pre>{}</pre>", escape(&tail.join("\n"))));
    }
    html.push_str("</div>");
}

/// Times for the axis, some six of them at round numbers.
fn ticks(whole: f64) -> Vec<(f64, String)> {
    let rough = whole / 6.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * power).find(|step| *step >= rough).unwrap_or(rough);
    let mut ticks = Vec::new();
    let mut at = 0.0;
    // The label of a tick at the very end would stand outside.
    while at <= whole * 0.94 && ticks.len() < 20 {
        ticks.push((at, seconds(Duration::from_secs_f64(at))));
        at += step;
    }
    ticks
}

/// `340 ms`, `2.5 s`, `3 min 20 s`.
pub(crate) fn seconds(time: Duration) -> String {
    let s = time.as_secs_f64();
    match s {
        _ if time.is_zero() => "0".to_owned(),
        s if s < 0.001 => format!("{} µs", time.as_micros()),
        s if s < 0.0995 => format!("{:.1} ms", s * 1000.0),
        s if s < 0.9995 => format!("{:.0} ms", s * 1000.0),
        s if s < 59.95 => format!("{s:.1} s"),
        _ if time.as_secs() < 3600 => format!("{} min {} s", time.as_secs() / 60, time.as_secs() % 60),
        _ => format!("{} h {} min", time.as_secs() / 3600, time.as_secs() / 60 % 60),
    }
}

/// Text that nobody takes for markup.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' | '\t' => safe.push(c),
            c if c.is_control() => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        for (micros, text) in [
            (0, "0"),
            (12, "12 µs"),
            (4_200, "4.2 ms"),
            (340_000, "340 ms"),
            (2_500_000, "2.5 s"),
            (200_000_000, "3 min 20 s"),
        ] {
            assert_eq!(seconds(Duration::from_micros(micros)), text);
        }
    }

    #[test]
    fn nothing_of_a_build_becomes_markup() {
        assert_eq!(escape("<b a='\"&\u{1b}\n"), "&lt;b a=&#39;&quot;&amp;\u{fffd}\n");
    }
}
