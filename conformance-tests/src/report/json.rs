//! For programs: everything, as one JSON document.

use serde_json::{Value, json};

use super::{Count, Results, word};
use crate::runner::{Outcome, Run};
use crate::wire::{Direction, Exchange};

/// The whole report.
pub fn json(results: &[Results]) -> String {
    let sum = Count::of(results.iter().flat_map(|result| &result.runs));
    let servers: Vec<Value> = results
        .iter()
        .map(|result| json!({ "server": result.server, "cases": result.runs.iter().map(run).collect::<Vec<_>>() }))
        .collect();
    let report = json!({
        "passed": sum.passed, "failed": sum.failed, "excepted": sum.excepted, "skipped": sum.skipped,
        "servers": servers,
    });
    format!("{report:#}\n")
}

fn run(run: &Run) -> Value {
    let case = run.listed.case;
    let mut value = json!({
        "group": run.listed.group.name, "case": case.id, "title": case.title, "requirements": case.requirements,
        "level": case.level.word(), "capabilities": run.listed.capabilities().collect::<Vec<_>>(), "setting": case.setting.name,
        "outcome": word(&run.outcome), "milliseconds": run.duration.as_millis() as u64,
    });
    match &run.outcome {
        Outcome::Passed => {}
        Outcome::Skipped(reason) => value["reason"] = json!(reason),
        Outcome::Excepted { reason, failure } => {
            value["reason"] = json!(reason);
            value["failure"] = json!(failure.0);
        }
        Outcome::Failed { failure, exchanges, .. } => {
            value["failure"] = json!(failure.0);
            value["exchanges"] = exchanges.iter().map(exchange).collect();
        }
    }
    value
}

fn exchange(exchange: &Exchange) -> Value {
    let direction = match exchange.direction {
        Direction::Sent => "sent",
        Direction::Received => "received",
        Direction::Event => "event",
    };
    json!({
        "connection": exchange.connection, "direction": direction,
        "bytes": exchange.bytes.escape_ascii().to_string(), "more": exchange.more,
    })
}
