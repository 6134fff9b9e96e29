//! Long lines with fewer points, without losing what stands out.

/// A value at a time, or that there was none.
pub(super) type Point = (f64, Option<f64>);

/// At most so many points a line has.
pub(super) const MOST: usize = 600;

/// The line in at most [`MOST`] points: of each stretch the lowest and the highest, and one of its gaps.
pub(super) fn thin(points: &[Point]) -> Vec<Point> {
    if points.len() <= MOST {
        return points.to_vec();
    }
    let stretch = points.len().div_ceil(MOST / 3);
    points.chunks(stretch).flat_map(stands_out).collect()
}

fn stands_out(stretch: &[Point]) -> Vec<Point> {
    let known = || stretch.iter().enumerate().filter_map(|(at, (_, value))| Some((at, (*value)?)));
    let lowest = known().min_by(|a, b| a.1.total_cmp(&b.1)).map(|(at, _)| at);
    let highest = known().max_by(|a, b| a.1.total_cmp(&b.1)).map(|(at, _)| at);
    let gap = stretch.iter().position(|(_, value)| value.is_none());
    let mut kept: Vec<usize> = [lowest, highest, gap].into_iter().flatten().collect();
    kept.sort_unstable();
    kept.dedup();
    kept.into_iter().map(|at| stretch[at]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_lines_stay_as_they_are() {
        let points: Vec<Point> = (0..MOST).map(|at| (at as f64, Some(1.0))).collect();
        assert_eq!(thin(&points), points);
    }

    #[test]
    fn extremes_and_gaps_are_kept_in_order() {
        let mut points: Vec<Point> =
            (0..100_000).map(|at| (f64::from(at), Some(f64::from(at % 7)))).collect();
        points[12_345].1 = Some(99.0);
        points[54_321].1 = Some(-99.0);
        points[77_777].1 = None;
        let thinned = thin(&points);
        assert!(thinned.len() <= MOST && thinned.len() > MOST / 3, "{}", thinned.len());
        for kept in [12_345, 54_321, 77_777] {
            assert!(thinned.contains(&points[kept]), "{kept}");
        }
        assert!(thinned.is_sorted_by(|a, b| a.0 < b.0));
    }
}
