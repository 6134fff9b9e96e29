//! Version 2: a signature, version and command, family and transport, a length, and as many bytes: addresses, then TLVs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::{Addresses, Header, LONGEST, ProxyError, Version};

/// What every header begins with; chosen so that no text protocol takes it for a line.
pub(crate) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes before those that the length counts.
pub(crate) const FIXED: usize = 16;

/// Version in the upper half of its byte.
pub(crate) const VERSION: u8 = 2;
pub(crate) const LOCAL: u8 = 0;
pub(crate) const PROXY: u8 = 1;

/// Families, in the upper half of their byte; 0 is UNSPEC.
pub(crate) const INET: u8 = 1;
pub(crate) const INET6: u8 = 2;
const UNIX: u8 = 3;
/// Transports, in the lower half: 0 is UNSPEC, 1 is a stream, 2 is a datagram.
pub(crate) const STREAM: u8 = 1;
const LAST_TRANSPORT: u8 = 2;

/// Bytes of the addresses of a family.
const INET_LEN: usize = 12;
const INET6_LEN: usize = 36;
const UNIX_LEN: usize = 216;

/// As [`crate::decode`], of bytes that begin with [`SIGNATURE`] or with a part of it.
pub(crate) fn decode(bytes: &[u8]) -> Result<Option<(Header, usize)>, ProxyError> {
    let Some(&version_command) = bytes.get(12) else { return Ok(None) };
    let (version, command) = halves(version_command);
    if version != VERSION {
        return Err(ProxyError::UnknownVersion(version));
    }
    if command > PROXY {
        return Err(ProxyError::UnknownCommand(command));
    }
    let Some(&family_transport) = bytes.get(13) else { return Ok(None) };
    // A proxy that speaks for itself may write anything as family and addresses.
    let needed = if command == LOCAL { 0 } else { addresses_len(family_transport)? };
    let Some(&[high, low]) = bytes.get(14..FIXED) else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length < needed {
        return Err(ProxyError::TooShort { length, needed });
    }
    if FIXED + length > LONGEST {
        return Err(ProxyError::TooLong { length, limit: LONGEST - FIXED });
    }
    let Some(rest) = bytes.get(FIXED..FIXED + length) else { return Ok(None) };
    let addresses = addresses(&rest[..needed]);
    Ok(Some((Header { version: Version::V2, addresses }, FIXED + length)))
}

/// Bytes of the addresses; 0 if there are none.
fn addresses_len(family_transport: u8) -> Result<usize, ProxyError> {
    let (family, transport) = halves(family_transport);
    match family {
        _ if transport > LAST_TRANSPORT => Err(ProxyError::UnknownFamily(family_transport)),
        0 => Ok(0),
        INET => Ok(INET_LEN),
        INET6 => Ok(INET6_LEN),
        UNIX => Ok(UNIX_LEN),
        _ => Err(ProxyError::UnknownFamily(family_transport)),
    }
}

/// The addresses, told apart by how many bytes they take; those of UNIX sockets say nothing of use.
fn addresses(bytes: &[u8]) -> Option<Addresses> {
    match bytes.len() {
        INET_LEN => pair(bytes, |ip: [u8; 4]| Ipv4Addr::from(ip).into()),
        INET6_LEN => pair(bytes, |ip: [u8; 16]| Ipv6Addr::from(ip).into()),
        _ => None,
    }
}

/// Two addresses of `N` bytes, then two ports.
fn pair<const N: usize>(bytes: &[u8], ip: impl Fn([u8; N]) -> IpAddr) -> Option<Addresses> {
    let (source, rest) = bytes.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk::<2>()?;
    let (destination_port, _) = rest.split_first_chunk::<2>()?;
    Some(Addresses {
        source: SocketAddr::new(ip(*source), u16::from_be_bytes(*source_port)),
        destination: SocketAddr::new(ip(*destination), u16::from_be_bytes(*destination_port)),
    })
}

fn halves(byte: u8) -> (u8, u8) {
    (byte >> 4, byte & 0xf)
}
