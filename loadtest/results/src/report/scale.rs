//! Axes: where values lie, and round numbers to write beside them.

/// An axis from its lowest to its highest value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    logarithmic: bool,
    /// The values to write beside the axis.
    pub(super) ticks: Vec<f64>,
}

/// A line at the highest value stays off the edge.
const HEADROOM: f64 = 1.06;
/// At most so many spaces between ticks.
const SPACES: f64 = 6.0;
/// And of time, whose ticks are wider.
const TIME_SPACES: f64 = 5.0;
/// Seconds between the ticks of longer times.
const CLOCK_STEPS: [f64; 11] =
    [30.0, 60.0, 120.0, 300.0, 600.0, 1_200.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 21_600.0];

impl Scale {
    /// From 0 to a little more than the highest value.
    pub(super) fn from_zero(highest: f64) -> Scale {
        let high = if highest > 0.0 { highest * HEADROOM } else { 1.0 };
        let step = round_step(high, SPACES);
        let ticks = (0..).map(|tick| f64::from(tick) * step).take_while(|tick| *tick <= high);
        Scale { low: 0.0, high, logarithmic: false, ticks: ticks.collect() }
    }

    /// From one power of ten to another, around the values, the lowest of which is taken for no less than 1.
    pub(super) fn powers(lowest: f64, highest: f64) -> Scale {
        let from = lowest.max(1.0).log10().floor() as i32;
        let to = (highest.max(1.0).log10().ceil() as i32).max(from + 1);
        let (low, high) = (10f64.powi(from), 10f64.powi(to));
        Scale { low, high, logarithmic: true, ticks: (from..=to).map(|power| 10f64.powi(power)).collect() }
    }

    /// Of time in seconds: exactly from 0 to the end, with ticks that a clock has.
    pub(super) fn time(until_s: f64) -> Scale {
        let high = if until_s > 0.0 { until_s } else { 1.0 };
        let step = if high < 100.0 {
            round_step(high, TIME_SPACES)
        } else {
            let least = high / TIME_SPACES;
            CLOCK_STEPS
                .into_iter()
                .find(|step| *step >= least)
                .unwrap_or_else(|| round_step(high, TIME_SPACES))
        };
        let ticks = (0..).map(|tick| f64::from(tick) * step).take_while(|tick| *tick <= high);
        Scale { low: 0.0, high, logarithmic: false, ticks: ticks.collect() }
    }

    /// Where a value lies: 0 at the low end, 1 at the high end, never outside.
    pub(super) fn place(&self, value: f64) -> f64 {
        let place = if self.logarithmic {
            (value.max(self.low) / self.low).log10() / (self.high / self.low).log10()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        place.clamp(0.0, 1.0)
    }
}

/// 1, 2 or 5 times a power of ten, so that the width has at most so many of them.
fn round_step(width: f64, spaces: f64) -> f64 {
    let least = width / spaces;
    let power = 10f64.powf(least.log10().floor());
    let factor =
        [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= least * 0.999_999).unwrap_or(10.0);
    factor * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover_the_values() {
        assert_eq!(Scale::from_zero(10_000.0).ticks, [0.0, 2_000.0, 4_000.0, 6_000.0, 8_000.0, 10_000.0]);
        assert_eq!(Scale::from_zero(1_234.0).ticks, [0.0, 500.0, 1_000.0]);
        assert_eq!(Scale::from_zero(0.0).ticks.first(), Some(&0.0));
        for highest in [1e-6, 0.03, 1.0, 7.3, 99.0, 1e9] {
            let scale = Scale::from_zero(highest);
            assert!(scale.place(highest) > 0.9 && scale.place(highest) < 1.0, "{scale:?}");
            assert!((3..=6).contains(&scale.ticks.len()), "{scale:?}");
        }
    }

    #[test]
    fn powers_of_ten_enclose_the_values() {
        let scale = Scale::powers(250.0, 31_000.0);
        assert_eq!(scale.ticks, [100.0, 1_000.0, 10_000.0, 100_000.0]);
        assert_eq!((scale.place(100.0), scale.place(100_000.0), scale.place(0.0)), (0.0, 1.0, 0.0));
        assert!((scale.place(1_000.0) - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!(Scale::powers(0.0, 0.0).ticks, [1.0, 10.0]);
        assert_eq!(Scale::powers(1_000.0, 1_000.0).ticks, [1_000.0, 10_000.0]);
    }

    #[test]
    fn time_begins_and_ends_where_it_does() {
        let scale = Scale::time(63.0);
        assert_eq!(scale.ticks, [0.0, 20.0, 40.0, 60.0]);
        assert_eq!((scale.place(0.0), scale.place(63.0), scale.place(99.0)), (0.0, 1.0, 1.0));
        assert_eq!(Scale::time(130.0).ticks, [0.0, 30.0, 60.0, 90.0, 120.0]);
        assert_eq!(Scale::time(4_000.0).ticks, [0.0, 1_200.0, 2_400.0, 3_600.0]);
        assert_eq!(Scale::time(1e6).ticks.len(), 6);
        assert_eq!(Scale::time(0.0).place(0.0), 0.0);
    }
}
