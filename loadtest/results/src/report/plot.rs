//! A plot over time: lines and bands in an SVG that takes any width, with its text beside it as HTML, so that it stays as large as
//! the text around it.

use std::fmt::Write as _;

use askama::Template;

use super::scale::Scale;
use super::thin::{Point, thin};
use crate::PhaseSpan;
use crate::units::{Unit, clock};

/// The SVG's own units; it is stretched to the place that it has.
const WIDTH: f64 = 1_000.0;
const HEIGHT: f64 = 300.0;
/// Colours in `style.css`; further lines are dashed.
const COLOURS: usize = 7;
/// A phase needs this share of the width for its name.
const NAMED_SHARE: f64 = 0.11;
/// Text beyond this share of the width is written towards the middle.
const LAST_SHARE: f64 = 0.95;

/// What to plot.
#[derive(Debug, Clone)]
pub(super) struct Chart<'a> {
    pub(super) title: &'a str,
    /// What the vertical axis is.
    pub(super) axis: &'a str,
    pub(super) unit: Unit,
    pub(super) logarithmic: bool,
    pub(super) phases: &'a [PhaseSpan],
    pub(super) until_s: f64,
    pub(super) bands: Vec<Band>,
    pub(super) lines: Vec<Line>,
}

/// A line with its name in the legend.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) name: String,
    /// What the legend says beside the name.
    pub(super) note: String,
    /// In pixels.
    pub(super) width: f64,
    pub(super) points: Vec<Point>,
}

/// An area between two lines, given by their numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Band {
    pub(super) low: usize,
    pub(super) high: usize,
}

/// A chart, drawn.
#[derive(Debug, Template)]
#[template(path = "plot.html")]
pub(super) struct Plot<'a> {
    title: &'a str,
    axis: &'a str,
    phases: Vec<Shade>,
    rows: Vec<Tick>,
    columns: Vec<Tick>,
    areas: Vec<Drawn>,
    lines: Vec<Drawn>,
}

#[derive(Debug)]
struct Shade {
    class: &'static str,
    name: String,
    named: bool,
    from: f64,
    width: f64,
}

/// A place in per cent of the axis, whether it is at the end, its place in the SVG, and what is written there.
#[derive(Debug)]
struct Tick {
    at: f64,
    last: bool,
    svg: f64,
    text: String,
}

#[derive(Debug)]
struct Drawn {
    colour: usize,
    dashed: bool,
    width: f64,
    name: String,
    note: String,
    path: String,
}

impl<'a> Chart<'a> {
    /// Draws it; none if no line has a value.
    pub(super) fn draw(&self) -> Option<Plot<'a>> {
        let values = || self.lines.iter().flat_map(|line| &line.points).filter_map(|(_, value)| *value);
        values().next()?;
        let highest = values().fold(0.0, f64::max);
        let lowest = values().fold(f64::INFINITY, f64::min);
        let y = if self.logarithmic { Scale::powers(lowest, highest) } else { Scale::from_zero(highest) };
        let x = Scale::time(self.until_s);
        let axes = Axes { x, y };
        let thinned: Vec<Vec<Point>> = self.lines.iter().map(|line| thin(&line.points)).collect();
        Some(Plot {
            title: self.title,
            axis: self.axis,
            phases: self.phases.iter().map(|phase| axes.shade(phase)).collect(),
            rows: axes.y.ticks.iter().map(|tick| axes.row(*tick, self.unit)).collect(),
            columns: axes.x.ticks.iter().map(|tick| axes.column(*tick, self.until_s)).collect(),
            areas: self.bands.iter().map(|band| self.area(*band, &axes)).collect(),
            lines: thinned.iter().enumerate().map(|(at, points)| self.line(at, axes.line(points))).collect(),
        })
    }

    fn area(&self, band: Band, axes: &Axes) -> Drawn {
        self.line(band.high, axes.area(&self.lines[band.low].points, &self.lines[band.high].points))
    }

    fn line(&self, at: usize, path: String) -> Drawn {
        let Line { name, note, width, .. } = &self.lines[at];
        Drawn {
            colour: at % COLOURS,
            dashed: at >= COLOURS,
            width: *width,
            name: name.clone(),
            note: note.clone(),
            path,
        }
    }
}

struct Axes {
    x: Scale,
    y: Scale,
}

impl Axes {
    fn shade(&self, phase: &PhaseSpan) -> Shade {
        use crate::PhaseName::{Measured, Ramp, Settle, WarmUp};
        let (from, to) = (self.x.place(phase.from_s), self.x.place(phase.to_s));
        let class = match phase.name {
            Ramp => "ramp",
            WarmUp => "warm-up",
            Measured => "measured",
            Settle => "settle",
        };
        let width = (to - from).max(0.0);
        Shade {
            class,
            name: phase.name.to_string(),
            named: width >= NAMED_SHARE,
            from: 100.0 * from,
            width: 100.0 * width,
        }
    }

    fn row(&self, value: f64, unit: Unit) -> Tick {
        let place = self.y.place(value);
        Tick { at: 100.0 * place, last: false, svg: HEIGHT * (1.0 - place), text: unit.short(value) }
    }

    fn column(&self, at_s: f64, until_s: f64) -> Tick {
        let place = self.x.place(at_s);
        Tick { at: 100.0 * place, last: place > LAST_SHARE, svg: WIDTH * place, text: clock(at_s, until_s) }
    }

    fn point(&self, at_s: f64, value: f64) -> (f64, f64) {
        (WIDTH * self.x.place(at_s), HEIGHT * (1.0 - self.y.place(value)))
    }

    /// The path of a line, broken where there is no value. A value alone between gaps is a dot.
    fn line(&self, points: &[Point]) -> String {
        let mut path = String::new();
        for stretch in points.split(|(_, value)| value.is_none()).filter(|stretch| !stretch.is_empty()) {
            self.follow(&mut path, "M", stretch.iter());
            if stretch.len() == 1 {
                path.push_str("h0");
            }
        }
        path
    }

    /// The path around the area between two lines, one for each stretch without a gap. Both have the same times, so they are
    /// thinned together: to the lowest of the one and the highest of the other.
    fn area(&self, low: &[Point], high: &[Point]) -> String {
        let both: Vec<(Point, Point)> = low.iter().copied().zip(high.iter().copied()).collect();
        let mut path = String::new();
        for stretch in both.split(|(low, high)| low.1.is_none() || high.1.is_none()).filter(|s| s.len() > 1) {
            let (low, high): (Vec<Point>, Vec<Point>) = stretch.iter().copied().unzip();
            self.follow(&mut path, "M", thin(&high).iter());
            self.follow(&mut path, "L", thin(&low).iter().rev());
            path.push('Z');
        }
        path
    }

    fn follow<'p>(&self, path: &mut String, first: &str, points: impl Iterator<Item = &'p Point>) {
        let known = points.filter_map(|(at_s, value)| Some((*at_s, (*value)?)));
        for (n, (at_s, value)) in known.enumerate() {
            let (x, y) = self.point(at_s, value);
            let command = if n == 0 { first } else { "L" };
            write!(path, "{command}{x:.1} {y:.1}").expect("a String takes everything");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PhaseName;

    fn chart<'a>(phases: &'a [PhaseSpan], lines: &[&[Option<f64>]]) -> Chart<'a> {
        let line = |values: &[Option<f64>]| Line {
            name: "<rooms>".into(),
            note: String::new(),
            width: 2.0,
            points: values.iter().enumerate().map(|(at, value)| (at as f64, *value)).collect(),
        };
        Chart {
            title: "Title & more",
            axis: "things",
            unit: Unit::Count,
            logarithmic: false,
            phases,
            until_s: 4.0,
            bands: vec![],
            lines: lines.iter().map(|values| line(values)).collect(),
        }
    }

    #[test]
    fn a_line_goes_through_its_points_and_breaks_at_gaps() {
        let values = [Some(0.0), Some(10.0), None, Some(5.0), None];
        let plot = chart(&[], &[&values]).draw().unwrap();
        assert_eq!(plot.lines[0].path, "M0.0 300.0L250.0 17.0M750.0 158.5h0");
    }

    #[test]
    fn a_band_runs_along_the_one_line_and_back_along_the_other() {
        let (low, high) = (
            [Some(0.0), Some(5.0), None, Some(5.0), Some(5.0)],
            [Some(5.0), Some(10.0), Some(9.0), Some(10.0), Some(10.0)],
        );
        let plot =
            Chart { bands: vec![Band { low: 0, high: 1 }], ..chart(&[], &[&low, &high]) }.draw().unwrap();
        let first = "M0.0 158.5L250.0 17.0L250.0 158.5L0.0 300.0Z";
        assert_eq!(plot.areas[0].path, format!("{first}M750.0 17.0L1000.0 17.0L1000.0 158.5L750.0 158.5Z"));
    }

    #[test]
    fn nothing_known_is_no_plot() {
        assert!(chart(&[], &[]).draw().is_none());
        assert!(chart(&[], &[&[None, None]]).draw().is_none());
    }

    #[test]
    fn many_lines_have_different_looks() {
        let values = [Some(1.0)];
        let lines = vec![values.as_slice(); 2 * COLOURS];
        let plot = chart(&[], &lines).draw().unwrap();
        let looks: std::collections::BTreeSet<_> =
            plot.lines.iter().map(|line| (line.colour, line.dashed)).collect();
        assert_eq!(looks.len(), 2 * COLOURS);
    }

    #[test]
    fn phases_lie_where_they_were_and_names_are_escaped() {
        let phases = [
            PhaseSpan { name: PhaseName::Ramp, from_s: 0.0, to_s: 0.1 },
            PhaseSpan { name: PhaseName::Measured, from_s: 1.0, to_s: 3.0 },
        ];
        let plot = chart(&phases, &[&[Some(1.0)]]).draw().unwrap();
        assert_eq!((plot.phases[1].from, plot.phases[1].width), (25.0, 50.0));
        assert!(!plot.phases[0].named && plot.phases[1].named);
        let html = plot.render().unwrap();
        assert!(html.contains("&#60;rooms&#62;") && !html.contains("<rooms>"), "{html}");
        assert!(html.contains("Title &#38; more"), "{html}");
    }
}
