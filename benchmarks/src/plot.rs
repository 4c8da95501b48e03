//! One kind of plot: lines over two logarithmic axes, as plain SVG. It brings its own paper, light or dark as the reader has it, so that it
//! is legible wherever it is shown; lines differ in colour, in dashes and in marks.

use std::fmt::Write as _;

pub struct Plot {
    pub title: String,
    /// What the axes are, with units.
    pub x: &'static str,
    pub y: &'static str,
    /// Where the axis of x is marked, and by which words.
    pub ticks: Vec<(f64, String)>,
    /// Names, and points; all numbers are above zero.
    pub lines: Vec<(String, Vec<(f64, f64)>)>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 460.0;
/// The edges of the area that the lines are in.
const LEFT: f64 = 84.0;
const RIGHT: f64 = 610.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 400.0;

/// Colours on light and on dark paper that the colour-blind tell apart (Okabe and Ito), dashes, and marks around 0, 0.
const STYLES: [(&str, &str, &str, &str); 6] = [
    ("#0072b2", "#56b4e9", "none", "M-4-4h8v8h-8z"),
    ("#b84c00", "#e69f00", "7 3", "M0-5l5 9h-10z"),
    ("#007a58", "#2fc79c", "2 3", "M0-5l5 5-5 5-5-5z"),
    ("#a8457f", "#e59ac3", "9 3 2 3", "M0 5l5-9h-10z"),
    ("#222222", "#eeeeee", "none", "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0"),
    ("#7a6f00", "#f0e442", "4 4", "M-4-1h3v-3h2v3h3v2h-3v3h-2v-3h-3z"),
];

impl Plot {
    pub fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|(_, points)| points);
        let x = Axis::over(self.ticks.iter().map(|(at, _)| *at).chain(points().map(|point| point.0)), LEFT, RIGHT);
        let y = Axis::decades(points().map(|point| point.1), BOTTOM, TOP);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\">\n\
             <title>{0}</title>\n{1}<rect class=\"paper\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n\
             <text class=\"title\" x=\"{LEFT}\" y=\"28\">{0}</text>\n",
            escaped(&self.title),
            style()
        );
        for (at, words) in &self.ticks {
            let at = x.place(*at);
            grid(&mut svg, [at, TOP, at, BOTTOM]);
            text(&mut svg, [at, BOTTOM + 20.0], "middle", words);
        }
        for at in y.powers() {
            let place = y.place(at);
            grid(&mut svg, [LEFT, place, RIGHT, place]);
            text(&mut svg, [LEFT - 8.0, place + 4.0], "end", &short(at));
        }
        text(&mut svg, [f64::midpoint(LEFT, RIGHT), BOTTOM + 46.0], "middle", self.x);
        let (across, middle) = (22.0, f64::midpoint(TOP, BOTTOM));
        let name = escaped(self.y);
        push(
            &mut svg,
            format_args!(
                "<text x=\"{across}\" y=\"{middle}\" transform=\"rotate(-90 {across} {middle})\" text-anchor=\"middle\">{name}</text>"
            ),
        );
        for (which, (name, points)) in self.lines.iter().enumerate() {
            let class = which % STYLES.len();
            let places: Vec<_> = points.iter().map(|point| (x.place(point.0), y.place(point.1))).collect();
            let beside = (RIGHT + 18.0, TOP + 14.0 + 24.0 * which as f64);
            let key = [(beside.0, beside.1), (beside.0 + 34.0, beside.1)];
            let marks = places.iter().copied().chain([(beside.0 + 17.0, beside.1)]);
            for line in [places.as_slice(), &key] {
                let line: Vec<_> = line.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
                push(&mut svg, format_args!("<polyline class=\"l l{class}\" points=\"{}\"/>", line.join(" ")));
            }
            for (x, y) in marks {
                let mark = STYLES[class].3;
                push(
                    &mut svg,
                    format_args!("<path class=\"m{class}\" transform=\"translate({x:.1} {y:.1})\" d=\"{mark}\"/>"),
                );
            }
            text(&mut svg, [beside.0 + 42.0, beside.1 + 4.0], "start", name);
        }
        svg + "</svg>\n"
    }
}

/// Numbers by their logarithms, between two places.
struct Axis {
    least: f64,
    most: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn over(numbers: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let ends =
            numbers.map(f64::log10).fold((f64::MAX, f64::MIN), |(least, most), at| (least.min(at), most.max(at)));
        Self { least: ends.0, most: ends.1, from, to }
    }

    /// The same from one power of ten to another.
    fn decades(numbers: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let Self { least, most, .. } = Self::over(numbers, from, to);
        Self { least: least.floor(), most: most.ceil(), from, to }
    }

    fn place(&self, number: f64) -> f64 {
        self.from + (number.log10() - self.least) / (self.most - self.least) * (self.to - self.from)
    }

    fn powers(&self) -> impl Iterator<Item = f64> {
        (self.least as i32..=self.most as i32).map(|power| 10f64.powi(power))
    }
}

fn style() -> String {
    let mut style = String::from(
        "<style>\n.paper { fill: #ffffff }\ntext { font: 13px sans-serif; fill: #222222 }\n.title { font-weight: bold; font-size: 15px }\n\
         .g { stroke: #dddddd }\n.l { fill: none; stroke-width: 2 }\n",
    );
    let mut dark = String::from(".paper { fill: #161b22 }\ntext { fill: #e6e6e6 }\n.g { stroke: #3a4048 }\n");
    for (which, (light, other, dashes, _)) in STYLES.iter().enumerate() {
        push(
            &mut style,
            format_args!(".l{which} {{ stroke: {light}; stroke-dasharray: {dashes} }}\n.m{which} {{ fill: {light} }}"),
        );
        push(&mut dark, format_args!(".l{which} {{ stroke: {other} }}\n.m{which} {{ fill: {other} }}"));
    }
    format!("{style}@media (prefers-color-scheme: dark) {{\n{dark}}}\n</style>\n")
}

fn grid(svg: &mut String, [x1, y1, x2, y2]: [f64; 4]) {
    push(svg, format_args!("<line class=\"g\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"));
}

fn text(svg: &mut String, [x, y]: [f64; 2], anchor: &str, words: &str) {
    let words = escaped(words);
    push(svg, format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>"));
}

fn push(svg: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(svg, "{line}").expect("a String takes all");
}

/// A power of ten in words.
fn short(number: f64) -> String {
    match number {
        _ if number >= 1e9 => format!("{} G", number / 1e9),
        _ if number >= 1e6 => format!("{} M", number / 1e6),
        _ if number >= 1e3 => format!("{} k", number / 1e3),
        _ => number.to_string(),
    }
}

fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_by_logarithms() {
        let axis = Axis::decades([20.0, 3_000.0].into_iter(), 400.0, 100.0);
        assert_eq!([10.0, 100.0, 10_000.0].map(|number| axis.place(number)), [400.0, 300.0, 100.0]);
        assert_eq!(axis.powers().map(short).collect::<Vec<_>>(), ["10", "100", "1 k", "10 k"]);
    }

    #[test]
    fn draws_a_line_for_each() {
        let line = |name: &str| (name.to_string(), vec![(1.0, 10.0), (1024.0, 99.0)]);
        let ticks = vec![(1.0, "1 B".to_string()), (1024.0, "1 KiB".to_string())];
        let plot =
            Plot { title: "a < b & c".into(), x: "octets", y: "Ir", ticks, lines: vec![line("one"), line("two")] };
        let svg = plot.svg();
        assert!(svg.contains("<title>a &lt; b &amp; c</title>") && svg.ends_with("</svg>\n"), "{svg}");
        assert_eq!(svg.matches("<polyline").count(), 4);
        assert_eq!(svg.matches("<path").count(), 6);
    }
}
