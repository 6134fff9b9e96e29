//! Numbers for people: three digits that count, with their unit.

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Things.
    Count,
    /// Things per second.
    PerSecond,
    /// Bytes; kilo is 1,000.
    Bytes,
    /// Microseconds of delay or of CPU.
    Micros,
    /// Cores kept busy.
    Cores,
}

impl Unit {
    /// The number with its unit, like `12.3 ms`.
    pub(crate) fn text(self, value: f64) -> String {
        match self {
            Unit::Count => digits(value),
            Unit::PerSecond => format!("{} /s", digits(value)),
            Unit::Bytes => scaled(value, &BYTES),
            Unit::Micros => scaled(value, &MICROS),
            Unit::Cores => format!("{} cores", trimmed(&digits(value))),
        }
    }

    /// As short as an axis wants it, without the unit where that is in the title: `20k`.
    pub(crate) fn short(self, value: f64) -> String {
        match self {
            Unit::Count | Unit::PerSecond => trimmed(&scaled(value, &COUNTS)),
            Unit::Bytes | Unit::Micros => trimmed(&self.text(value)),
            Unit::Cores => trimmed(&digits(value)),
        }
    }
}

/// Without zeros at the end of the decimals.
fn trimmed(number: &str) -> String {
    let end = number.find(|c: char| !c.is_ascii_digit() && !"-.,".contains(c)).unwrap_or(number.len());
    let (digits, unit) = number.split_at(end);
    let digits =
        if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits };
    format!("{digits}{unit}")
}

/// Where a step of units begins, and its name.
type Steps = [(f64, &'static str); 4];
const BYTES: Steps = [(1.0, " B"), (1e4, " kB"), (1e6, " MB"), (1e9, " GB")];
const MICROS: Steps = [(1.0, " µs"), (1e3, " ms"), (1e6, " s"), (1e9, "")];
const COUNTS: Steps = [(1.0, ""), (1e3, "k"), (1e6, "M"), (1e9, "G")];

fn scaled(value: f64, steps: &Steps) -> String {
    let used = if steps == &MICROS { &steps[..3] } else { &steps[..] };
    let step = used.iter().rposition(|(from, _)| value.abs() >= *from).unwrap_or(0);
    let unit = 1000f64.powi(step as i32);
    format!("{}{}", digits(value / unit), used[step].1)
}

/// Three digits that count and commas between thousands: `0.0123`, `1.23`, `123`, `12,345`.
pub(crate) fn digits(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let size = value.abs().log10().floor();
    let decimals = if size >= 3.0 { 0 } else { (2.0 - size).clamp(0.0, 6.0) as usize };
    let text = format!("{value:.decimals$}");
    match text.split_once('.') {
        Some(_) => text,
        None => match text.strip_prefix('-') {
            Some(rest) => format!("-{}", commas(rest)),
            None => commas(&text),
        },
    }
}

/// A count with commas between the thousands.
pub(crate) fn count(value: u64) -> String {
    commas(&value.to_string())
}

/// `count` of something, in singular or plural.
pub(crate) fn counted(value: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(value), if value == 1 { one } else { many })
}

/// How many times as much, like `6.02×`.
pub(crate) fn times(ratio: f64) -> String {
    format!("{}×", digits(ratio))
}

/// A length of time in seconds, like `12.3 s` or `1 h 02 min`.
pub(crate) fn seconds(value: f64) -> String {
    let whole = value.max(0.0).round() as u64;
    match whole {
        0..=99 => format!("{} s", (value * 10.0).round() / 10.0),
        100..=3_599 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3_600, whole % 3_600 / 60),
    }
}

/// A time on an axis that ends at `until_s`: `20 s`, `2:30`, or `1:30 h` of hours.
pub(crate) fn clock(at_s: f64, until_s: f64) -> String {
    let whole = at_s.max(0.0).round() as u64;
    match until_s {
        ..100.0 => format!("{} s", trimmed(&digits(at_s))),
        ..3_600.0 => format!("{}:{:02}", whole / 60, whole % 60),
        _ => format!("{}:{:02} h", whole / 3_600, whole % 3_600 / 60),
    }
}

fn commas(number: &str) -> String {
    let mut text = String::with_capacity(number.len() + number.len() / 3);
    for (at, digit) in number.chars().enumerate() {
        if at > 0 && (number.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_count() {
        let texts = [0.0, 0.00001234, 0.01234, 1.234, 12.34, 123.4, 1_234.5, 1_234_567.0, -1_234.5, 999.6]
            .map(digits);
        assert_eq!(
            texts,
            ["0", "0.000012", "0.0123", "1.23", "12.3", "123", "1,234", "1,234,567", "-1,234", "1,000"]
        );
    }

    #[test]
    fn units_grow_with_the_number() {
        let bytes = [900.0, 3_012.0, 12_345.0, 4.1e7, 2.5e10].map(|value| Unit::Bytes.text(value));
        assert_eq!(bytes, ["900 B", "3,012 B", "12.3 kB", "41.0 MB", "25.0 GB"]);
        let micros = [61.04, 1_500.0, 2.5e6, 3.6e9].map(|value| Unit::Micros.text(value));
        assert_eq!(micros, ["61.0 µs", "1.50 ms", "2.50 s", "3,600 s"]);
        assert_eq!(
            (Unit::PerSecond.text(1234.0), Unit::Cores.text(0.5)),
            ("1,234 /s".into(), "0.5 cores".into())
        );
    }

    #[test]
    fn ticks_are_short() {
        let ticks = [0.0, 500.0, 2_000.0, 2_500.0, 1e6].map(|value| Unit::Count.short(value));
        assert_eq!(ticks, ["0", "500", "2k", "2.5k", "1M"]);
        let ticks = [1.0, 10.0, 100.0, 1_000.0, 1e7].map(|value| Unit::Micros.short(value));
        assert_eq!(ticks, ["1 µs", "10 µs", "100 µs", "1 ms", "10 s"]);
        assert_eq!((Unit::Cores.short(0.5), Unit::Bytes.short(2e7)), ("0.5".into(), "20 MB".into()));
    }

    #[test]
    fn times_of_day_and_counts_read_well() {
        let texts = [0.84, 12.0, 99.4, 100.0, 3_725.0].map(seconds);
        assert_eq!(texts, ["0.8 s", "12 s", "99.4 s", "1 min 40 s", "1 h 02 min"]);
        assert_eq!(
            [clock(20.0, 60.0), clock(150.0, 200.0), clock(5_400.0, 9_000.0)],
            ["20 s", "2:30", "1:30 h"]
        );
        assert_eq!(counted(1, "message", "messages"), "1 message");
        assert_eq!(counted(12_345, "message", "messages"), "12,345 messages");
        assert_eq!(times(6.024), "6.02×");
    }
}
