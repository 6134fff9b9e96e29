//! Header fields of requests and responses.

use httparse::Header;

/// Most fields of a request or a response.
pub(crate) const MOST: usize = 64;

/// The value of the field with this name, if there is exactly one.
pub(crate) fn only<'a>(headers: &[Header<'a>], name: &str) -> Option<&'a [u8]> {
    let mut values = all(headers, name);
    values.next().filter(|_| values.next().is_none())
}

/// Whether there is a field with this name.
pub(crate) fn has(headers: &[Header<'_>], name: &str) -> bool {
    all(headers, name).next().is_some()
}

/// Whether one of the fields with this name lists this word; case does not matter.
pub(crate) fn lists(headers: &[Header<'_>], name: &str, word: &str) -> bool {
    all(headers, name)
        .flat_map(|value| value.split(|byte| *byte == b','))
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
}

fn all<'a>(headers: &[Header<'a>], name: &str) -> impl Iterator<Item = &'a [u8]> {
    headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
}
