//! Quality against depth and against time, drawn as SVG.

use std::fmt::Display;
use std::io::Write;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::failure::Failure;
use crate::out_folder::parent_folder;

/// What is drawn.
pub struct Curve {
    /// What quality is measured by.
    pub metric: String,
    /// That of the first stage alone.
    pub first_stage: f64,
    /// By depth, the least first.
    pub points: Vec<Point>,
}

/// A depth.
pub struct Point {
    pub depth: usize,
    pub quality: f64,
    /// A query's mean.
    pub milliseconds: f64,
}

const SIZE: (u32, u32) = (900, 380);
/// They can be told apart by those who see no red or green, and on light and dark ground.
const RANKED: RGBColor = RGBColor(0, 114, 178);
const FIRST: RGBColor = RGBColor(213, 94, 0);

/// Writes the file; until it is whole it has another name.
pub fn write(path: &Path, curve: &Curve) -> Result<(), Failure> {
    let failed = |reason: &dyn Display| Failure::about(path.display(), reason);
    if path.is_dir() || path.file_name().is_none() {
        return Err(failed(&"expected the name of a file, found a folder"));
    }
    let svg = draw(curve).map_err(|reason| failed(&reason))?;
    let mut file = tempfile::NamedTempFile::new_in(parent_folder(path)?).map_err(|error| failed(&error))?;
    file.write_all(svg.as_bytes()).map_err(|error| failed(&error))?;
    file.persist(path).map_err(|error| failed(&error.error))?;
    Ok(())
}

fn draw(curve: &Curve) -> Result<String, String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE).map_err(text)?;
        let (by_depth, by_time) = root.split_horizontally(SIZE.0 / 2);
        let of =
            |x: fn(&Point) -> f64| curve.points.iter().map(|point| (x(point), point)).collect::<Vec<_>>();
        panel(&by_depth, curve, "candidates that are ranked", &of(|point| point.depth as f64))?;
        panel(&by_time, curve, "milliseconds a query", &of(|point| point.milliseconds))?;
        root.present().map_err(text)?;
    }
    Ok(svg)
}

/// Quality against something that grows with depth, on a logarithmic axis.
fn panel(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    curve: &Curve,
    label: &str,
    points: &[(f64, &Point)],
) -> Result<(), String> {
    let range = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)))
    };
    let (left, right) = range(&mut points.iter().map(|(x, _)| x.max(1e-3)));
    let (low, high) = range(&mut points.iter().map(|(_, point)| point.quality).chain([curve.first_stage]));
    let margin = ((high - low) * 0.15).max(0.005);
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(46)
        .y_label_area_size(64)
        .build_cartesian_2d((left * 0.8..right * 1.25).log_scale(), low - margin..high + margin)
        .map_err(text)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc(label)
        .y_desc(&curve.metric)
        .x_label_formatter(&|x| number(*x))
        .y_label_formatter(&|y| format!("{y:.3}"))
        .x_labels(6)
        .y_labels(6)
        .label_style(("sans-serif", 14))
        .axis_desc_style(("sans-serif", 15))
        .draw()
        .map_err(text)?;
    let level = [(left * 0.8, curve.first_stage), (right * 1.25, curve.first_stage)];
    chart.draw_series(DashedLineSeries::new(level, 6, 4, FIRST.stroke_width(2))).map_err(text)?;
    // Under the line.
    let place = (left * 0.84, curve.first_stage - margin * 0.12);
    let name = Text::new("first stage", place, ("sans-serif", 14).into_font().color(&FIRST));
    chart.draw_series([name]).map_err(text)?;
    let line = points.iter().map(|(x, point)| (x.max(1e-3), point.quality));
    chart.draw_series(LineSeries::new(line.clone(), RANKED.stroke_width(2))).map_err(text)?;
    chart.draw_series(line.map(|at| Circle::new(at, 4, RANKED.filled()))).map_err(text)?;
    let names = points.iter().map(|(x, point)| {
        let place = (x.max(1e-3), point.quality + margin * 0.45);
        Text::new(point.depth.to_string(), place, ("sans-serif", 14).into_font().color(&RANKED))
    });
    chart.draw_series(names).map_err(text)?;
    Ok(())
}

fn number(x: f64) -> String {
    if x >= 10.0 { format!("{x:.0}") } else { format!("{x:.1}") }
}

fn text(error: impl Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_has_its_points_and_its_words() {
        let point = |depth, quality, milliseconds| Point { depth, quality, milliseconds };
        let points = vec![point(5, 0.41, 3.0), point(20, 0.47, 11.5), point(100, 0.46, 60.0)];
        let svg = draw(&Curve { metric: "ndcg@10".into(), first_stage: 0.38, points }).unwrap();
        assert_eq!(svg.matches("<circle").count(), 6, "{svg}");
        for word in ["ndcg@10", "first stage", "milliseconds a query", "candidates that are ranked"] {
            assert!(svg.contains(word), "{word}: {svg}");
        }
        assert!(svg.trim_end().ends_with("</svg>"));
    }

    #[test]
    fn one_point_and_times_of_nothing_are_drawn() {
        let points = vec![Point { depth: 1, quality: 0.0, milliseconds: 0.0 }];
        let svg = draw(&Curve { metric: "map".into(), first_stage: 0.0, points }).unwrap();
        assert_eq!(svg.matches("<circle").count(), 2, "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
