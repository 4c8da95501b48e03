//! The two formats of an exposition, which differ in names, in comments, and in an end. Pure text.

use std::fmt::{Display, Write as _};

use adapter_core::observe::{BOUNDS, HistogramSnapshot};

/// How metrics are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Prometheus' text format, version 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
    Info,
}

/// An exposition in the making.
pub(super) struct Text {
    format: Format,
    out: String,
}

/// Metrics of one name in the making.
pub(super) struct Family<'a> {
    out: &'a mut String,
    name: &'a str,
    suffix: &'static str,
}

impl Text {
    pub(super) fn new(format: Format) -> Self {
        Text { format, out: String::with_capacity(16 << 10) }
    }

    /// Begins a family. Its `name` ends in its unit, if it has one, and never in `_total` or `_info`; `help` is one line.
    pub(super) fn family<'a>(&'a mut self, name: &'a str, kind: Kind, help: &str) -> Family<'a> {
        let suffix = match kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        let (word, described) = match (kind, self.format) {
            // Known there by the names of its samples.
            (Kind::Info, Format::Prometheus) => ("gauge", suffix),
            (Kind::Counter, Format::Prometheus) => ("counter", suffix),
            (Kind::Info, Format::OpenMetrics) => ("info", ""),
            (Kind::Counter, Format::OpenMetrics) => ("counter", ""),
            (Kind::Gauge, _) => ("gauge", ""),
            (Kind::Histogram, _) => ("histogram", ""),
        };
        // Writing to a String can't fail.
        let _ = writeln!(self.out, "# HELP {name}{described} {help}\n# TYPE {name}{described} {word}");
        let unit = ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(unit));
        if let (Format::OpenMetrics, Some(unit)) = (self.format, unit) {
            let _ = writeln!(self.out, "# UNIT {name} {unit}");
        }
        Family { out: &mut self.out, name, suffix }
    }

    /// The whole of it.
    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }
}

impl Family<'_> {
    /// One sample; `labels` are as [`labels`] has them.
    pub(super) fn sample(&mut self, labels: &str, value: impl Display) -> &mut Self {
        self.line(self.suffix, labels, value);
        self
    }

    /// All samples of a histogram.
    pub(super) fn histogram(&mut self, labels: &str, histogram: &HistogramSnapshot) {
        let comma = if labels.is_empty() { "" } else { "," };
        let bounds = BOUNDS.iter().map(|bound| format!("{bound:?}")).chain(["+Inf".to_owned()]);
        let mut below = 0;
        // One that nothing was recorded in may have no buckets.
        for (bound, count) in bounds.zip(histogram.buckets.iter().chain(std::iter::repeat(&0))) {
            below += count;
            self.line("_bucket", &format!("{labels}{comma}le=\"{bound}\""), below);
        }
        self.line("_sum", labels, histogram.sum.as_secs_f64());
        self.line("_count", labels, histogram.count);
    }

    fn line(&mut self, suffix: &str, labels: &str, value: impl Display) {
        let _ = match labels {
            "" => writeln!(self.out, "{}{suffix} {value}", self.name),
            labels => writeln!(self.out, "{}{suffix}{{{labels}}} {value}", self.name),
        };
    }
}

/// Names and values as they stand in a sample. An empty value is none: to who scrapes they are the same.
pub(super) fn labels(labels: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in labels.iter().filter(|(_, value)| !value.is_empty()) {
        let comma = if text.is_empty() { "" } else { "," };
        let _ = write!(text, "{comma}{name}=\"");
        for c in value.chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                c => text.push(c),
            }
        }
        text.push('"');
    }
    text
}
