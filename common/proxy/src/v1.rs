//! Version 1: `PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::{Addresses, Header, LONGEST_V1, ProxyError, Version};

/// What every line begins with.
pub(crate) const START: &[u8] = b"PROXY ";

/// As [`crate::decode`], of bytes that begin with [`START`] or with a part of it.
pub(crate) fn decode(bytes: &[u8]) -> Result<Option<(Header, usize)>, ProxyError> {
    let seen = &bytes[..bytes.len().min(LONGEST_V1)];
    let Some(end) = seen.iter().position(|byte| *byte == b'\n') else {
        return if bytes.len() < LONGEST_V1 { Ok(None) } else { Err(ProxyError::LineTooLong) };
    };
    let line = seen[..end].strip_suffix(b"\r").and_then(|line| line.strip_prefix(START));
    let addresses = addresses(line.ok_or(ProxyError::BadLine)?).ok_or(ProxyError::BadLine)?;
    Ok(Some((Header { version: Version::V1, addresses }, end + 1)))
}

/// What stands between [`START`] and the end of the line; none if it is not valid.
fn addresses(line: &[u8]) -> Option<Option<Addresses>> {
    // A proxy that does not know may write anything behind the word.
    if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
        return Some(None);
    }
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    let read = match words.next()? {
        "TCP4" => ip::<Ipv4Addr>,
        "TCP6" => ip::<Ipv6Addr>,
        _ => return None,
    };
    let (source, destination) = (read(words.next()?)?, read(words.next()?)?);
    let (source_port, destination_port) = (port(words.next()?)?, port(words.next()?)?);
    if words.next().is_some() {
        return None;
    }
    Some(Some(Addresses {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    }))
}

fn ip<A: FromStr + Into<IpAddr>>(word: &str) -> Option<IpAddr> {
    word.parse::<A>().ok().map(Into::into)
}

/// Decimal without leading zeros or a sign, as the specification demands.
fn port(word: &str) -> Option<u16> {
    let plain = word == "0" || word.starts_with(|first: char| matches!(first, '1'..='9'));
    word.parse().ok().filter(|_| plain)
}
