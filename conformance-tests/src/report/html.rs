//! For a browser: one self-contained page with the matrix, every case, its requirements and the bytes of failures.

use super::{Count, Results, escape, word};
use crate::kills;
use crate::registry::{self, Listed};
use crate::runner::{Outcome, Run};
use crate::specification::{self, Requirement};
use crate::wire::{Direction, Exchange};

const STYLE: &str = "
:root{color-scheme:light dark;--line:#8884;--ok:#2a8a4a;--bad:#d0342c;--dim:#777;--soft:#8881}
@media(prefers-color-scheme:dark){:root{--ok:#5cc07d;--bad:#ff7a70;--dim:#999}}
body{font:15px/1.5 system-ui,sans-serif;max-width:78rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin-bottom:.3rem}h2{font-size:1.2rem;margin:2.5rem 0 .5rem;border-bottom:1px solid var(--line)}
a{color:inherit}code{font:.9em ui-monospace,monospace}.lead{color:var(--dim);max-width:50rem}
table{border-collapse:collapse;margin:1rem 0}th,td{padding:.2rem .9rem;border-bottom:1px solid var(--line);text-align:left}
thead th{position:sticky;top:0;background:Canvas}.n{text-align:right;font-variant-numeric:tabular-nums}
tfoot td{font-weight:600;border-bottom:0}
.passed{color:var(--ok)}.failed{color:var(--bad);font-weight:600}.excepted,.skipped{color:var(--dim)}
details{border-bottom:1px solid var(--line);padding:.35rem 0}details[open]{padding-bottom:.8rem}
summary{cursor:pointer;display:flex;gap:.8rem;align-items:baseline}summary .title{flex:1}
.mark{font-size:.85em;white-space:nowrap}
.req{margin:.4rem 0 .4rem 1rem}.meta{color:var(--dim);font-size:.9em;margin:.2rem 1rem}
.message{margin:.6rem 1rem;white-space:pre-wrap;overflow-wrap:anywhere}
.wire{display:grid;grid-template-columns:1fr 1fr;gap:.3rem 1rem;margin:.6rem 1rem}
.wire b{color:var(--dim);font-weight:400;font-size:.85em}
.wire pre{margin:0;padding:.4rem .6rem;background:var(--soft);white-space:pre-wrap;overflow-wrap:anywhere;font-size:12px;border-radius:4px}
.wire .sent{grid-column:1}.wire .received{grid-column:2}
.wire .event{grid-column:1/3;background:none;color:var(--dim);padding:0;text-align:center}
body:has(#only:checked) details.fine,body:has(#only:checked) section.fine{display:none}
@media(max-width:50rem){.wire{display:block}.wire pre{margin:.3rem 0}.wire .received{margin-left:1.5rem}summary{flex-wrap:wrap}}
";

/// The whole page.
pub fn html(results: &[Results]) -> String {
    let sum = Count::of(results.iter().flat_map(|result| &result.runs));
    let requirements = specification::requirements();
    let servers: Vec<&str> = results.iter().map(|result| result.server.as_str()).collect();
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Conformance of {servers}: {sum}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>\n\
         <h1>Conformance of {servers}</h1>\n<p><strong>{sum}</strong></p>\n\
         <p class=\"lead\">Each case is a client's script over a raw socket; it quotes the requirements it holds a server to. \
         Failures show the octets that went over the wire: sent on the left, received on the right. Each case is itself \
         tested by servers that are broken on purpose; it says which of these it notices.</p>\n\
         <p><label><input type=\"checkbox\" id=\"only\"> only what did not pass everywhere</label></p>\n",
        servers = escape(&servers.join(", ")),
        sum = escape(&sum.line()),
    );
    page.push_str(&matrix(results));
    for group in registry::groups() {
        let cases: Vec<Listed> = registry::all()
            .filter(|listed| listed.group.name == group.name && !runs(results, listed).is_empty())
            .collect();
        if cases.is_empty() {
            continue;
        }
        let fine = if cases.iter().all(|listed| is_fine(results, listed)) { " class=\"fine\"" } else { "" };
        page.push_str(&format!("<section{fine}><h2 id=\"{}\">{}</h2>\n", group.name, escape(group.title)));
        for listed in cases {
            page.push_str(&case(&listed, results, &requirements));
        }
        page.push_str("</section>\n");
    }
    page + "</body></html>\n"
}

/// The runs of a case, with their servers.
fn runs<'r>(results: &'r [Results], listed: &Listed) -> Vec<(&'r str, &'r Run)> {
    let of = |result: &'r Results| {
        let run = result.runs.iter().find(|run| run.listed.name() == listed.name());
        run.map(|run| (result.server.as_str(), run))
    };
    results.iter().filter_map(of).collect()
}

fn is_fine(results: &[Results], listed: &Listed) -> bool {
    runs(results, listed).iter().all(|(_, run)| matches!(run.outcome, Outcome::Passed))
}

fn matrix(results: &[Results]) -> String {
    let mut text = String::from("<table><thead><tr><th></th>");
    for result in results {
        text.push_str(&format!("<th class=\"n\">{}</th>", escape(&result.server)));
    }
    text.push_str("</tr></thead>\n");
    for group in registry::groups() {
        let of_group = |run: &&Run| run.listed.group.name == group.name;
        if !results.iter().any(|result| result.runs.iter().any(|run| of_group(&run))) {
            continue;
        }
        text.push_str(&format!("<tr><td><a href=\"#{}\">{}</a></td>", group.name, escape(group.title)));
        for result in results {
            text.push_str(&cell(Count::of(result.runs.iter().filter(of_group))));
        }
        text.push_str("</tr>\n");
    }
    text.push_str("<tfoot><tr><td>All</td>");
    for result in results {
        text.push_str(&cell(Count::of(&result.runs)));
    }
    text + "</tr></tfoot></table>\n"
}

fn cell(count: Count) -> String {
    let class = match count {
        Count { failed: 1.., .. } => "failed",
        Count { passed: 1.., .. } => "passed",
        _ => "skipped",
    };
    let mut text = count.passed.to_string();
    for (number, what) in [(count.failed, "failed"), (count.excepted, "excepted"), (count.skipped, "skipped")] {
        if number > 0 {
            text.push_str(&format!(", {number} {what}"));
        }
    }
    format!("<td class=\"n {class}\">{text}</td>")
}

fn case(listed: &Listed, results: &[Results], requirements: &[Requirement]) -> String {
    let (case, runs) = (listed.case, runs(results, listed));
    let failed = runs.iter().any(|(_, run)| matches!(run.outcome, Outcome::Failed { .. }));
    let (open, fine) =
        (if failed { " open" } else { "" }, if is_fine(results, listed) { " class=\"fine\"" } else { "" });
    let mut text = format!(
        "<details id=\"{}\"{fine}{open}><summary><span class=\"title\"><code>{}</code> {}</span>",
        listed.name(),
        case.id,
        escape(case.title)
    );
    for (server, run) in &runs {
        let (word, server) = (word(&run.outcome), escape(server));
        let time = match run.outcome {
            Outcome::Skipped(_) => String::new(),
            _ => format!(" {} ms", run.duration.as_millis()),
        };
        text.push_str(&format!("<span class=\"mark {word}\">{server} {word}{time}</span>"));
    }
    text.push_str("</summary>\n");
    for id in case.requirements {
        if let Some(requirement) = requirements.iter().find(|requirement| requirement.id == *id) {
            let (title, source) = (escape(&requirement.title), escape(&requirement.source));
            let line = prose(&requirement.text);
            text.push_str(&format!("<p class=\"req\" title=\"Source: {source}\"><b>{id} {title}.</b> {line}</p>\n"));
        }
    }
    let capability = listed.capabilities().map(|name| format!(" · needs the capability {name}")).collect::<String>();
    let setting = if case.setting.name == "default" {
        String::new()
    } else {
        format!(" · under the setting {}", case.setting.name)
    };
    let faults = kills::faults_of(&listed.name()).join(", ").replace('_', " ");
    let faults = if faults.is_empty() { faults } else { format!(" · fails where {faults}") };
    text.push_str(&format!("<p class=\"meta\">{}{capability}{setting}{}</p>\n", case.level.word(), escape(&faults)));
    for (server, run) in runs {
        let server = escape(server);
        match &run.outcome {
            Outcome::Passed => {}
            Outcome::Skipped(reason) => {
                text.push_str(&format!("<p class=\"meta\">{server}: skipped: {}</p>\n", escape(reason)));
            }
            Outcome::Excepted { reason, failure } => text.push_str(&format!(
                "<p class=\"meta\">{server}: excepted: {}</p>\n<p class=\"message\">{}</p>\n",
                prose(reason),
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

/// Text of the specification: what stands between backticks is code.
fn prose(text: &str) -> String {
    let parts = text.split('`').enumerate();
    parts.map(|(n, part)| if n % 2 == 1 { format!("<code>{}</code>", escape(part)) } else { escape(part) }).collect()
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
            "<pre class=\"{class}\"><b>connection {}</b>\n{}{more}</pre>",
            exchange.connection,
            escape(&shown)
        ));
    }
    text + "</div>\n"
}
