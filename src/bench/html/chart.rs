//! Charts as SVG, drawn by hand: lines over two axes, and ranges beside a line at 1.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 300.0;
/// Room for the labels: left, right, top, bottom.
const LEFT: f64 = 72.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 40.0;
/// Height of a row of ranges.
const ROW: f64 = 24.0;
/// Room for a row's name.
const NAME: f64 = 250.0;
/// Labelled places on an axis, about.
const TICKS: f64 = 5.0;
/// Different colours; more lines than that repeat them.
const COLOURS: usize = 6;

/// One line of a chart.
#[derive(Debug)]
pub struct Line {
    /// What the legend says; empty where another line of the same colour has said it.
    pub name: String,
    /// Lines that belong together have the same number.
    pub colour: usize,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
}

/// Lines over two axes.
#[derive(Debug)]
pub struct Chart {
    /// What the x axis says.
    pub x_label: &'static str,
    /// What the y axis says.
    pub y_label: &'static str,
    /// Labelled places on the x axis; round numbers if there are none.
    pub x_ticks: Vec<(f64, &'static str)>,
    /// Powers of ten are equally far apart; all y are above 0 then.
    pub is_logarithmic: bool,
    /// What is drawn.
    pub lines: Vec<Line>,
}

/// A value with its spread.
#[derive(Debug)]
pub struct Range {
    /// What it is.
    pub name: String,
    /// The middle, above 0.
    pub median: f64,
    /// The ends, above 0.
    pub ends: (f64, f64),
}

impl Chart {
    /// The chart as an `svg` element; nothing if there is nothing to draw.
    pub fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let xs = bounds(points().map(|&(x, _)| x));
        let ys = bounds(points().map(|&(_, y)| y));
        let (Some(xs), Some(ys)) = (xs, ys) else {
            return String::new();
        };
        let y_axis = if self.is_logarithmic {
            Axis::logarithmic(ys, (HEIGHT - BOTTOM, TOP))
        } else {
            Axis::linear((0.0, ys.1), (HEIGHT - BOTTOM, TOP))
        };
        let mut x_axis = Axis::linear(xs, (LEFT, WIDTH - RIGHT));
        if !self.x_ticks.is_empty() {
            let ticks = self.x_ticks.iter();
            x_axis.ticks = ticks.map(|&(at, text)| (at, text.to_owned())).collect();
        } else {
            // The line ends where its data does.
            x_axis.high = if xs.0 < xs.1 { xs.1 } else { xs.0 + 1.0 };
        }
        let mut out = open(HEIGHT);
        self.draw_axes(&x_axis, &y_axis, &mut out);
        for line in &self.lines {
            let colour = line.colour % COLOURS;
            let _ = write!(out, r#"<polyline class="c{colour}" points=""#);
            for &(x, y) in &line.points {
                let _ = write!(out, "{:.1},{:.1} ", x_axis.place(x), y_axis.place(y));
            }
            out.push_str("\"/>");
        }
        self.draw_legend(&mut out);
        out + "</svg>\n"
    }

    fn draw_axes(&self, x_axis: &Axis, y_axis: &Axis, out: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (at, text) in &y_axis.ticks {
            let y = y_axis.place(*at);
            let _ = write!(
                out,
                r#"<line class="grid" x1="{LEFT}" y1="{y:.1}" x2="{right}" y2="{y:.1}"/>"#
            );
            write_text(out, (LEFT - 6.0, y + 4.0), "end", text);
        }
        for (at, text) in x_axis.ticks.iter().filter(|(at, _)| x_axis.holds(*at)) {
            let x = x_axis.place(*at);
            let _ = write!(
                out,
                r#"<line class="grid" x1="{x:.1}" y1="{TOP}" x2="{x:.1}" y2="{bottom}"/>"#
            );
            write_text(out, (x, bottom + 16.0), "middle", text);
        }
        write_text(
            out,
            (f64::midpoint(LEFT, right), HEIGHT - 6.0),
            "middle",
            self.x_label,
        );
        write_text(out, (LEFT + 4.0, TOP + 10.0), "start", self.y_label);
    }

    fn draw_legend(&self, out: &mut String) {
        let named = self.lines.iter().filter(|line| !line.name.is_empty());
        let named: Vec<&Line> = named.collect();
        if named.len() < 2 {
            return;
        }
        let room = (WIDTH - LEFT) / named.len() as f64;
        for (place, line) in named.into_iter().enumerate() {
            let (x, y) = (LEFT + room.min(130.0) * place as f64, HEIGHT - 6.0);
            let colour = line.colour % COLOURS;
            let _ = write!(
                out,
                r#"<line class="c{colour}" x1="{x}" y1="{0}" x2="{1}" y2="{0}"/>"#,
                y - 4.0,
                x + 18.0
            );
            write_text(out, (x + 22.0, y), "start", &line.name);
        }
    }
}

/// Ranges, one a row, on a logarithmic axis with a line at 1.
pub fn ranges(ranges: &[Range]) -> String {
    let ends = ranges.iter().flat_map(|range| [range.ends.0, range.ends.1]);
    let Some(ends) = bounds(ends.chain([1.0])) else {
        return String::new();
    };
    let height = ROW * ranges.len() as f64 + BOTTOM;
    let bottom = height - BOTTOM + 4.0;
    let axis = Axis::logarithmic(ends, (NAME, WIDTH - RIGHT));
    let mut out = open(height);
    for (at, text) in &axis.ticks {
        let x = axis.place(*at);
        let _ = write!(
            out,
            r#"<line class="grid" x1="{x:.1}" y1="0" x2="{x:.1}" y2="{bottom}"/>"#
        );
        write_text(&mut out, (x, bottom + 16.0), "middle", text);
    }
    let one = axis.place(1.0);
    let _ = write!(
        out,
        r#"<line class="one" x1="{one:.1}" y1="0" x2="{one:.1}" y2="{bottom}"/>"#
    );
    for (place, range) in ranges.iter().enumerate() {
        let y = ROW * (place as f64 + 0.5);
        let (low, high) = (axis.place(range.ends.0), axis.place(range.ends.1));
        let middle = axis.place(range.median);
        let _ = write!(
            out,
            r#"<line class="c0" x1="{low:.1}" y1="{y}" x2="{high:.1}" y2="{y}"/><circle cx="{middle:.1}" cy="{y}" r="4"/>"#
        );
        let text = format!("{}  {}", range.name, short(range.median));
        write_text(&mut out, (NAME - 8.0, y + 4.0), "end", &text);
    }
    out + "</svg>\n"
}

/// From values to places on the page.
struct Axis {
    low: f64,
    high: f64,
    is_logarithmic: bool,
    from: f64,
    to: f64,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// With round steps that enclose the values.
    fn linear((low, high): (f64, f64), (from, to): (f64, f64)) -> Axis {
        let high = if low < high { high } else { low + 1.0 };
        let length = high - low;
        let power = 10_f64.powf((length / TICKS).log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|factor| factor * power)
            .into_iter()
            .find(|step| length / step <= TICKS)
            .unwrap_or(10.0 * power);
        let first = (low / step).floor();
        let count = ((high / step).ceil() - first).clamp(1.0, 2.0 * TICKS) as u32;
        let at = |place: u32| (first + f64::from(place)) * step;
        Axis {
            low: at(0),
            high: at(count),
            is_logarithmic: false,
            from,
            to,
            ticks: (0..=count)
                .map(|place| (at(place), short(at(place))))
                .collect(),
        }
    }

    /// With powers of ten that enclose the values; halves and fifths between, if these are few.
    fn logarithmic((low, high): (f64, f64), (from, to): (f64, f64)) -> Axis {
        let low = low.max(1e-9);
        let first = low.log10().floor() as i32;
        let last = (high.max(low).log10().ceil() as i32).max(first + 1);
        let factors: &[f64] = if last - first <= 2 {
            &[1.0, 2.0, 5.0]
        } else {
            &[1.0]
        };
        let (low, high) = (10_f64.powi(first), 10_f64.powi(last));
        let ticks = (first..=last)
            .flat_map(|power| {
                factors
                    .iter()
                    .map(move |factor| factor * 10_f64.powi(power))
            })
            .filter(|&at| at <= high * 1.001)
            .map(|at| (at, short(at)))
            .collect();
        Axis {
            low,
            high,
            is_logarithmic: true,
            from,
            to,
            ticks,
        }
    }

    fn holds(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    fn place(&self, value: f64) -> f64 {
        let share = if self.is_logarithmic {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + share * (self.to - self.from)
    }
}

fn bounds(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values
        .filter(|value| value.is_finite())
        .map(|value| (value, value))
        .reduce(|(low, high), (value, _)| (low.min(value), high.max(value)))
}

fn open(height: f64) -> String {
    format!(r#"<svg viewBox="0 0 {WIDTH} {height}" xmlns="http://www.w3.org/2000/svg">"#)
}

fn write_text(out: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    let text = super::escaped(text);
    let _ = write!(
        out,
        r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#
    );
}

/// A number as short as it can be read: 1.5k, 20M.
pub fn short(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        1e9.. => (value / 1e9, "G"),
        1e6.. => (value / 1e6, "M"),
        1e3.. => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let text = match scaled.abs() {
        100.0.. => format!("{scaled:.0}"),
        10.0.. => format!("{scaled:.1}"),
        _ => format!("{scaled:.2}"),
    };
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (100.0, "100"),
            (1_500.0, "1.5k"),
            (20e6, "20M"),
            (123_456.0, "123k"),
        ] {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn ticks_are_round_and_enclose_the_values() {
        let axis = Axis::linear((0.0, 87.0), (0.0, 100.0));
        let texts: Vec<&str> = axis.ticks.iter().map(|(_, text)| &text[..]).collect();
        assert_eq!(texts, ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(axis.place(50.0), 50.0);
        let axis = Axis::logarithmic((30.0, 5_000.0), (0.0, 30.0));
        let texts: Vec<&str> = axis.ticks.iter().map(|(_, text)| &text[..]).collect();
        assert_eq!(texts, ["10", "100", "1k", "10k"]);
        assert!((axis.place(100.0) - 10.0).abs() < 1e-9);
    }

    #[test]
    fn lines_lie_within_the_picture() {
        for (is_logarithmic, points) in [
            (false, vec![(0.0, 0.0), (5.0, 7.0)]),
            (true, vec![(1.0, 1e-3), (2.0, 1e6)]),
            (true, vec![(1.0, 3.0)]),
            (false, vec![(0.0, 0.0)]),
        ] {
            let name = "a<b".to_owned();
            let chart = Chart {
                x_label: "x",
                y_label: "y",
                x_ticks: Vec::new(),
                is_logarithmic,
                lines: vec![Line {
                    name,
                    colour: 0,
                    points,
                }],
            };
            let svg = chart.svg();
            let (_, rest) = svg.split_once("points=\"").expect("a line");
            let (points, _) = rest.split_once('"').expect("it ends");
            for point in points.split_whitespace() {
                let (x, y) = point.split_once(',').expect("a pair");
                let (x, y): (f64, f64) = (x.parse().expect("x"), y.parse().expect("y"));
                assert!(
                    (0.0..=WIDTH).contains(&x) && (0.0..=HEIGHT).contains(&y),
                    "{svg}"
                );
            }
        }
    }

    #[test]
    fn nothing_gives_nothing() {
        assert_eq!(ranges(&[]).matches("<circle").count(), 0);
        let chart = Chart {
            x_label: "x",
            y_label: "y",
            x_ticks: Vec::new(),
            is_logarithmic: true,
            lines: Vec::new(),
        };
        assert_eq!(chart.svg(), "");
    }
}
