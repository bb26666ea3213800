//! A picture of what grows and what does not, as SVG.

use crate::table::{GET_COLD, GET_NEW, GET_WARM, PUBLISH, SINCE, Table, grouped};
use std::fmt::Write as _;

/// What is drawn, each with a colour that stands out from white and from black.
const LINES: [(&str, &str); 5] =
    [(PUBLISH, "#2f81f7"), (GET_COLD, "#d9534f"), (GET_NEW, "#b8860b"), (GET_WARM, "#2e9e5b"), (SINCE, "#a05fd0")];
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 380.0;
/// Where the axes are.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 560.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 320.0;

/// Draws how long each took, in milliseconds, over the number of packages, of which each step is tenfold.
pub(crate) fn draw(table: &Table, shape: &str, sizes: &[u64]) -> String {
    let points = |what: &str| -> Vec<(u64, f64)> {
        let time = |size: &u64| Some((*size, table.find(shape, *size, what)?.subject().as_secs_f64() * 1e3));
        sizes.iter().filter_map(time).collect()
    };
    let most = LINES.iter().flat_map(|(what, _)| points(what)).map(|(_, time)| time).fold(1.0, f64::max);
    let step = step_for(most);
    let top = (most / step).ceil() * step;
    let (first, last) = (sizes[0] as f64, sizes[sizes.len() - 1] as f64);
    let wide = (last / first).ln().max(f64::MIN_POSITIVE);
    let x = |size: u64| LEFT + 20.0 + (size as f64 / first).ln() / wide * (RIGHT - LEFT - 40.0);
    let y = |time: f64| BOTTOM - time / top * (BOTTOM - TOP);

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Time in milliseconds over the number of packages\">\n\
         <style>text {{ font: 13px sans-serif; fill: #24292f }} .axis {{ stroke: #8c959f; stroke-width: 1 }} .grid {{ stroke: #8c959f; stroke-width: 0.5; stroke-dasharray: 2 4 }}\n\
         @media (prefers-color-scheme: dark) {{ text {{ fill: #d0d7de }} }}</style>\n\
         <text x=\"{LEFT}\" y=\"22\">milliseconds, median; packages in the registry, shape “{shape}”</text>\n"
    );
    let mut line = |from: (f64, f64), to: (f64, f64), class: &str| {
        let _ = writeln!(
            svg,
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" class=\"{class}\"/>",
            from.0, from.1, to.0, to.1
        );
    };
    line((LEFT, BOTTOM), (RIGHT, BOTTOM), "axis");
    line((LEFT, TOP), (LEFT, BOTTOM), "axis");
    let steps = (top / step).round() as u32;
    for number in 1..=steps {
        let at = y(f64::from(number) * step);
        line((LEFT, at), (RIGHT, at), "grid");
    }
    for number in 0..=steps {
        let time = f64::from(number) * step;
        let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{time}</text>", LEFT - 8.0, y(time) + 4.0);
    }
    for size in sizes {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            x(*size),
            BOTTOM + 22.0,
            grouped(*size)
        );
    }
    // Names stand where their lines end, the lowest first, none upon another.
    let mut ends: Vec<(f64, &str, &str)> = Vec::new();
    for (what, colour) in LINES {
        let points = points(what);
        let Some((_, end)) = points.last() else { continue };
        ends.push((y(*end), what, colour));
        let path: Vec<String> = points.iter().map(|(size, time)| format!("{:.1},{:.1}", x(*size), y(*time))).collect();
        let _ = writeln!(svg, "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>", path.join(" "));
        for (size, time) in points {
            let _ = writeln!(svg, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\" fill=\"{colour}\"/>", x(size), y(time));
        }
    }
    ends.sort_by(|one, other| other.0.total_cmp(&one.0));
    let mut free = BOTTOM;
    for (at, what, colour) in ends {
        let at = at.min(free);
        free = at - 17.0;
        let _ =
            writeln!(svg, "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"10\" height=\"10\" fill=\"{colour}\"/>", RIGHT + 10.0, at - 5.0);
        let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\">{what}</text>", RIGHT + 26.0, at + 4.0);
    }
    svg.push_str("</svg>\n");
    svg
}

/// Returns a round number that so many milliseconds are some four to ten steps of.
fn step_for(most: f64) -> f64 {
    let tenth = 10_f64.powf((most / 10.0).log10().ceil());
    [0.1, 0.2, 0.5, 1.0].into_iter().map(|part| part * tenth * 2.0).find(|step| most / step <= 8.0).unwrap_or(tenth * 2.0)
}
