//! For CI: JUnit's XML, one suite a server.

use super::{Count, Results, escape};
use crate::runner::Outcome;

/// The whole report.
pub fn junit(results: &[Results]) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for result in results {
        let count = Count::of(&result.runs);
        let seconds: f64 = result.runs.iter().map(|run| run.duration.as_secs_f64()).sum();
        text.push_str(&format!(
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" time=\"{seconds:.3}\">\n",
            escape(&result.server),
            result.runs.len(),
            count.failed,
            count.skipped + count.excepted,
        ));
        for run in &result.runs {
            text.push_str(&format!(
                "    <testcase classname=\"{}.{}\" name=\"{}\" time=\"{:.3}\"",
                escape(&result.server),
                run.listed.group.name,
                run.listed.case.id,
                run.duration.as_secs_f64()
            ));
            match &run.outcome {
                Outcome::Passed => text.push_str("/>\n"),
                Outcome::Skipped(reason) | Outcome::Excepted { reason, .. } => {
                    text.push_str(&format!("><skipped message=\"{}\"/></testcase>\n", escape(reason)));
                }
                Outcome::Failed { failure, transcript, .. } => text.push_str(&format!(
                    "><failure message=\"{}\">{}</failure></testcase>\n",
                    escape(&failure.0),
                    escape(&format!(
                        "[{}] {}\n{transcript}",
                        run.listed.case.requirements.join(", "),
                        run.listed.case.title
                    )),
                )),
            }
        }
        text.push_str("  </testsuite>\n");
    }
    text + "</testsuites>\n"
}
