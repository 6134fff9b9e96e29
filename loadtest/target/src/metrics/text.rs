//! The text format of Prometheus, as far as our services write it.

use std::borrow::Cow;

/// One line: a metric with its labels, and its value.
#[derive(PartialEq, Debug)]
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    labels: Vec<(&'a str, Cow<'a, str>)>,
    pub(super) value: f64,
}

impl Line<'_> {
    pub(super) fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| *label == name).map(|(_, value)| value.as_ref())
    }
}

/// The metrics in a text whose names are `wanted`. Comments, and lines that are no metrics, are passed over.
pub(super) fn lines<'a>(text: &'a str, wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = Line<'a>> {
    text.lines().filter_map(move |line| {
        let end = line.find(['{', ' '])?;
        wanted(&line[..end]).then(|| parse(line, end)).flatten()
    })
}

fn parse(line: &str, end_of_name: usize) -> Option<Line<'_>> {
    let (name, mut rest) = line.split_at(end_of_name);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            rest = rest.trim_start_matches([',', ' ']);
            if let Some(behind) = rest.strip_prefix('}') {
                rest = behind;
                break;
            }
            let (label, quoted) = rest.split_once("=\"")?;
            let (value, behind) = quoted_value(quoted)?;
            labels.push((label, value));
            rest = behind;
        }
    }
    // A time may follow.
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Line { name, labels, value })
}

/// What stands before the closing quote, and what follows it.
fn quoted_value(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let end = text.find(['"', '\\'])?;
    if text[end..].starts_with('"') {
        return Some((Cow::Borrowed(&text[..end]), &text[end + 1..]));
    }
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((Cow::Owned(value), &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP a_total Help {with} braces\n\
        # TYPE a_total counter\n\
        a_total 3\n\
        b{service=\"room\",reason=\"a \\\"b\\\\\\n}\"} 1.5e3 1700000000\n\
        b{} NaN\n\
        c{le=\"+Inf\",} +Inf\n\
        broken\n\
        broken{x=\"1} 2\n\
        broken{x=1} 2\n\
        broken 1,5\n\
        broken \n";

    #[test]
    fn lines_are_taken_apart() {
        let all: Vec<Line<'_>> = lines(TEXT, |_| true).collect();
        let names: Vec<&str> = all.iter().map(|line| line.name).collect();
        assert_eq!(names, ["a_total", "b", "b", "c"]);
        assert_eq!((all[0].value, all[1].value, all[3].value), (3.0, 1500.0, f64::INFINITY));
        assert!(all[2].value.is_nan());
        assert_eq!(all[1].label("service"), Some("room"));
        assert_eq!(all[1].label("reason"), Some("a \"b\\\n}"));
        assert_eq!(all[3].label("le"), Some("+Inf"));
        assert_eq!(all[0].label("service"), None);
    }

    #[test]
    fn only_what_is_wanted_is_taken() {
        let names: Vec<&str> = lines(TEXT, |name| name == "c").map(|line| line.name).collect();
        assert_eq!(names, ["c"]);
    }
}
