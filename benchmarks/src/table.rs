//! Tables: printed as aligned Markdown, and written as JSON with the same names.

use serde_json::{Map, Value, json};

/// A measurement's table: one row a subject.
pub struct Table {
    /// A name for programs, such as `get-pinned`.
    name: &'static str,
    title: String,
    columns: Vec<Column>,
    rows: Vec<(String, Row)>,
}

/// A column's heading and the decimals of its numbers.
type Column = (&'static str, usize);

/// The cells after the subject's name, or the one reason why there are none.
type Row = Result<Vec<Cell>, String>;

pub enum Cell {
    Number(f64),
    Text(String),
    /// Nothing to show: the subject has no such thing.
    Nothing,
    /// Nothing to show, for this reason.
    Without(String),
}

impl From<f64> for Cell {
    fn from(number: f64) -> Self {
        Cell::Number(number)
    }
}

impl From<Option<f64>> for Cell {
    fn from(number: Option<f64>) -> Self {
        number.map_or(Cell::Nothing, Cell::Number)
    }
}

impl From<Result<f64, String>> for Cell {
    fn from(number: Result<f64, String>) -> Self {
        number.map_or_else(Cell::Without, Cell::Number)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Cell::Text(text)
    }
}

impl Table {
    pub fn new(name: &'static str, title: impl Into<String>, columns: &[Column]) -> Self {
        Self { name, title: title.into(), columns: columns.to_vec(), rows: Vec::new() }
    }

    pub fn row(&mut self, subject: &str, cells: Row) {
        debug_assert!(cells.as_ref().map_or(true, |cells| cells.len() == self.columns.len()));
        self.rows.push((subject.to_string(), cells));
    }

    /// Markdown, with a dash for each number that there is not, and the reasons below.
    pub fn text(&self) -> String {
        let headings =
            std::iter::once("server".to_string()).chain(self.columns.iter().map(|(name, _)| name.to_string()));
        let mut lines = vec![headings.collect::<Vec<_>>()];
        // What shares a reason shares its line.
        let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
        let mut explain = |reason, what| match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, all)) => all.push(what),
            None => reasons.push((reason, vec![what])),
        };
        for (subject, row) in &self.rows {
            let mut line = vec![subject.clone()];
            match row {
                Ok(cells) => line.extend(cells.iter().zip(&self.columns).map(|(cell, (name, decimals))| match cell {
                    Cell::Number(number) => grouped(*number, *decimals),
                    Cell::Text(text) => text.clone(),
                    Cell::Nothing => "-".into(),
                    Cell::Without(reason) => {
                        explain(reason, format!("{subject} ({name})"));
                        "-".into()
                    }
                })),
                Err(reason) => {
                    explain(reason, subject.clone());
                    line.resize(self.columns.len() + 1, "-".into());
                }
            }
            lines.push(line);
        }
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..=self.columns.len()).map(width).collect();
        let mut text = format!("{}\n\n", self.title);
        for (index, line) in lines.iter().enumerate() {
            for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
                text += &if column == 0 { format!("| {cell:<width$} |") } else { format!(" {cell:>width$} |") };
            }
            text.push('\n');
            if index == 0 {
                for (column, width) in widths.iter().enumerate() {
                    let dashes = "-".repeat(*width);
                    text += &if column == 0 { format!("| {dashes} |") } else { format!(" {}: |", &dashes[1..]) };
                }
                text.push('\n');
            }
        }
        if !reasons.is_empty() {
            text.push('\n');
            text.extend(reasons.iter().map(|(reason, what)| format!("{}: {reason}\n", what.join(", "))));
        }
        text
    }

    pub fn json(&self) -> Value {
        let rows = self.rows.iter().map(|(subject, row)| {
            let mut object = Map::new();
            object.insert("server".into(), json!(subject));
            match row {
                Ok(cells) => object.extend(cells.iter().zip(&self.columns).map(|(cell, (name, _))| {
                    let value = match cell {
                        Cell::Number(number) => json!(number),
                        Cell::Text(text) => json!(text),
                        Cell::Nothing => Value::Null,
                        Cell::Without(reason) => json!({ "reason": reason }),
                    };
                    (name.to_string(), value)
                })),
                Err(reason) => drop(object.insert("reason".into(), json!(reason))),
            }
            Value::Object(object)
        });
        json!({ "name": self.name, "title": self.title, "rows": rows.collect::<Vec<_>>() })
    }
}

/// A number with its thousands apart.
fn grouped(number: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$}", number.abs());
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut result = String::from(if number < 0.0 { "-" } else { "" });
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            result.push(',');
        }
        result.push(digit);
    }
    result + fraction
}

/// The middle one of some samples, or the mean of the two in the middle.
pub fn median(samples: impl IntoIterator<Item = f64>) -> f64 {
    let mut samples: Vec<f64> = samples.into_iter().collect();
    samples.sort_by(f64::total_cmp);
    let middle = samples.len() / 2;
    match samples.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => samples[middle],
        _ => f64::midpoint(samples[middle - 1], samples[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns_groups_and_explains() {
        let mut table = Table::new("t", "Title", &[("req/s", 0), ("ratio", 2)]);
        table.row("one", Ok(vec![1_234_567.4.into(), Cell::Nothing]));
        table.row("two", Err("does not build: error".into()));
        table.row("three", Err("does not build: error".into()));
        table.row("four", Ok(vec![1.0.into(), Err("no base".to_string()).into()]));
        let expected = "Title\n\n| server |     req/s | ratio |\n| ------ | --------: | ----: |\n\
            | one    | 1,234,567 |     - |\n| two    |         - |     - |\n| three  |         - |     - |\n\
            | four   |         1 |     - |\n\ntwo, three: does not build: error\nfour (ratio): no base\n";
        assert_eq!(table.text(), expected);
        assert_eq!(table.json()["rows"][1]["reason"], "does not build: error");
        assert_eq!(table.json()["rows"][3]["ratio"]["reason"], "no base");
    }

    #[test]
    fn medians() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median([]).is_nan());
    }
}
