//! For a browser: one self-contained page with the matrix, every case, its requirements and the bytes of failures.

use super::{Count, Results, escape, word};
use crate::registry::{self, Listed};
use crate::runner::{Outcome, Run};
use crate::specification::{self, Requirement};
use crate::wire::{Direction, Exchange};

const STYLE: &str = "
:root{color-scheme:light dark;--line:#8884;--ok:#2a8a4a;--bad:#c8322b;--dim:#888;--soft:#8881}
body{font:15px/1.5 system-ui,sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2.5rem;border-bottom:1px solid var(--line)}
table{border-collapse:collapse;margin:1rem 0}th,td{padding:.25rem .8rem;border-bottom:1px solid var(--line);text-align:left}
td.n{text-align:center;font-variant-numeric:tabular-nums}
.passed{color:var(--ok)}.failed{color:var(--bad);font-weight:600}.excepted,.skipped{color:var(--dim)}
details{border-bottom:1px solid var(--line);padding:.35rem 0}summary{cursor:pointer}
summary code{font-size:.9em}.mark{float:right;margin-left:.8rem;font-size:.9em}
.req{margin:.3rem 0 .3rem 1rem;color:inherit}.req b{font-weight:600}.meta{color:var(--dim);font-size:.9em;margin-left:1rem}
.wire{display:grid;grid-template-columns:1fr 1fr;gap:.4rem 1rem;margin:.6rem 1rem}
.wire pre{margin:0;padding:.5rem;background:var(--soft);white-space:pre-wrap;overflow-wrap:anywhere;font-size:12px;border-radius:4px}
.wire .sent{grid-column:1}.wire .received{grid-column:2}.wire .event{grid-column:1/3;background:none;color:var(--dim);padding:0}
.message{margin:.4rem 1rem;white-space:pre-wrap;overflow-wrap:anywhere}
";

/// The whole page. `kills` says for a case which of the broken servers it fails, if the suite's own test was run.
pub fn html(results: &[Results], kills: &[(String, Vec<String>)]) -> String {
    let sum = Count::of(results.iter().flat_map(|result| &result.runs));
    let requirements = specification::requirements();
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Conformance: {0}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>\n\
         <h1>Conformance report</h1>\n<p><strong>{0}</strong></p>\n",
        escape(&sum.line())
    );
    page.push_str(&matrix(results));
    for group in registry::groups() {
        let cases: Vec<Listed> = registry::all()
            .filter(|listed| {
                listed.group.name == group.name && results.iter().any(|result| of(result, listed).is_some())
            })
            .collect();
        if cases.is_empty() {
            continue;
        }
        page.push_str(&format!("<h2 id=\"{}\">{}</h2>\n", group.name, escape(group.title)));
        for listed in cases {
            page.push_str(&case(&listed, results, &requirements, kills));
        }
    }
    page + "</body></html>\n"
}

fn of<'r>(result: &'r Results, listed: &Listed) -> Option<&'r Run> {
    result.runs.iter().find(|run| run.listed.name() == listed.name())
}

fn matrix(results: &[Results]) -> String {
    let mut text = String::from("<table><tr><th></th>");
    for result in results {
        text.push_str(&format!("<th>{}</th>", escape(&result.server)));
    }
    text.push_str("</tr>\n");
    for group in registry::groups() {
        text.push_str(&format!("<tr><td><a href=\"#{}\">{}</a></td>", group.name, escape(group.title)));
        for result in results {
            let count = Count::of(result.runs.iter().filter(|run| run.listed.group.name == group.name));
            let class = if count.failed > 0 {
                "failed"
            } else if count.passed > 0 {
                "passed"
            } else {
                "skipped"
            };
            let mut cell = format!("{}", count.passed);
            for (number, what) in [(count.failed, "failed"), (count.excepted, "excepted"), (count.skipped, "skipped")] {
                if number > 0 {
                    cell.push_str(&format!(", {number} {what}"));
                }
            }
            text.push_str(&format!("<td class=\"n {class}\">{cell}</td>"));
        }
        text.push_str("</tr>\n");
    }
    text + "</table>\n"
}

fn case(listed: &Listed, results: &[Results], requirements: &[Requirement], kills: &[(String, Vec<String>)]) -> String {
    let case = listed.case;
    let failed =
        results.iter().filter_map(|result| of(result, listed)).any(|run| matches!(run.outcome, Outcome::Failed { .. }));
    let mut text = format!("<details id=\"{}\"{}><summary>", listed.name(), if failed { " open" } else { "" });
    for result in results.iter().rev() {
        if let Some(run) = of(result, listed) {
            let word = word(&run.outcome);
            let milliseconds = run.duration.as_millis();
            let server = escape(&result.server);
            text.push_str(&format!("<span class=\"mark {word}\" title=\"{milliseconds} ms\">{server} {word}</span>"));
        }
    }
    text.push_str(&format!("<code>{}</code> {}</summary>\n", case.id, escape(case.title)));
    for id in case.requirements {
        let (text_of, source) = requirements
            .iter()
            .find(|requirement| requirement.id == *id)
            .map_or(("", ""), |requirement| (requirement.text.as_str(), requirement.source.as_str()));
        text.push_str(&format!("<p class=\"req\" title=\"{}\"><b>{id}</b> {}</p>\n", escape(source), escape(text_of)));
    }
    let capability = case.capability.map(|name| format!(" · needs {name}")).unwrap_or_default();
    let setting =
        if case.setting.name == "default" { String::new() } else { format!(" · setting {}", case.setting.name) };
    let faults = kills
        .iter()
        .find(|(name, _)| *name == listed.name())
        .map_or(String::new(), |(_, faults)| format!(" · fails with the faults {}", faults.join(", ")));
    text.push_str(&format!("<p class=\"meta\">{}{capability}{setting}{}</p>\n", case.level.word(), escape(&faults)));
    for result in results {
        let Some(run) = of(result, listed) else { continue };
        let server = escape(&result.server);
        let milliseconds = run.duration.as_millis();
        match &run.outcome {
            Outcome::Passed => text.push_str(&format!("<p class=\"meta\">{server}: passed in {milliseconds} ms</p>\n")),
            Outcome::Skipped(reason) => {
                text.push_str(&format!("<p class=\"meta\">{server}: skipped: {}</p>\n", escape(reason)));
            }
            Outcome::Excepted { reason, failure } => text.push_str(&format!(
                "<p class=\"meta\">{server}: excepted: {}</p>\n<p class=\"message\">{}</p>\n",
                escape(reason),
                escape(&failure.0)
            )),
            Outcome::Failed { failure, exchanges, .. } => {
                text.push_str(&format!("<p class=\"message failed\">{server}: {}</p>\n", escape(&failure.0)));
                text.push_str(&wire(exchanges));
            }
        }
    }
    text + "</details>\n"
}

/// Request bytes on the left, response bytes on the right.
fn wire(exchanges: &[Exchange]) -> String {
    let mut text = String::from("<div class=\"wire\">");
    for exchange in exchanges {
        let class = match exchange.direction {
            Direction::Sent => "sent",
            Direction::Received => "received",
            Direction::Event => "event",
        };
        let more = if exchange.more > 0 { format!("\n… and {} octets more", exchange.more) } else { String::new() };
        let shown = crate::text::show(&exchange.bytes, 2000);
        text.push_str(&format!(
            "<pre class=\"{class}\" title=\"connection {0}\">{0}: {1}{more}</pre>",
            exchange.connection,
            escape(&shown)
        ));
    }
    text + "</div>\n"
}
