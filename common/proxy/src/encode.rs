//! From addresses to a header.

use std::net::{IpAddr, Ipv6Addr};

use crate::{Addresses, v1, v2};

/// Appends a line of version 1; `UNKNOWN` without addresses.
pub fn encode_v1(addresses: Option<Addresses>, out: &mut Vec<u8>) {
    let Some(Addresses { source, destination }) = addresses else {
        return out.extend_from_slice(b"PROXY UNKNOWN\r\n");
    };
    let (from, to) = same_family(source.ip(), destination.ip());
    let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
    out.extend_from_slice(v1::START);
    let line = format!("{family} {from} {to} {} {}\r\n", source.port(), destination.port());
    out.extend_from_slice(line.as_bytes());
}

/// Appends a header of version 2 without TLVs; LOCAL without addresses.
pub fn encode_v2(addresses: Option<Addresses>, out: &mut Vec<u8>) {
    out.extend_from_slice(v2::SIGNATURE);
    let Some(Addresses { source, destination }) = addresses else {
        return out.extend_from_slice(&[v2::VERSION << 4 | v2::LOCAL, 0, 0, 0]);
    };
    out.push(v2::VERSION << 4 | v2::PROXY);
    match same_family(source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            out.extend_from_slice(&[v2::INET << 4 | v2::STREAM, 0, 12]);
            out.extend_from_slice(&from.octets());
            out.extend_from_slice(&to.octets());
        }
        (from, to) => {
            out.extend_from_slice(&[v2::INET6 << 4 | v2::STREAM, 0, 36]);
            out.extend_from_slice(&mapped(from).octets());
            out.extend_from_slice(&mapped(to).octets());
        }
    }
    out.extend_from_slice(&source.port().to_be_bytes());
    out.extend_from_slice(&destination.port().to_be_bytes());
}

/// A header has one family: if the addresses have two, the IPv4 address is mapped into IPv6.
fn same_family(from: IpAddr, to: IpAddr) -> (IpAddr, IpAddr) {
    if from.is_ipv4() == to.is_ipv4() { (from, to) } else { (mapped(from).into(), mapped(to).into()) }
}

fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}
