//! Any addresses, any bytes.

use std::net::{IpAddr, SocketAddr};

use longline_proxy::{Addresses, LONGEST, Version, decode, encode_v1, encode_v2};
use proptest::collection::vec;
use proptest::prelude::*;

fn pair() -> impl Strategy<Value = Addresses> {
    let four = any::<([u8; 4], [u8; 4])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b)));
    let six = any::<([u8; 16], [u8; 16])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b)));
    (prop_oneof![four, six], any::<(u16, u16)>()).prop_map(|((from, to), (from_port, to_port))| Addresses {
        source: SocketAddr::new(from, from_port),
        destination: SocketAddr::new(to, to_port),
    })
}

fn write(version: Version, addresses: Option<Addresses>) -> Vec<u8> {
    let mut out = Vec::new();
    match version {
        Version::V1 => encode_v1(addresses, &mut out),
        Version::V2 => encode_v2(addresses, &mut out),
    }
    out
}

fn version() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V1), Just(Version::V2)]
}

/// Bytes that begin like headers, so that the checks behind the first bytes are reached.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let damaged = (version(), pair(), vec(any::<(prop::sample::Index, u8)>(), 1..4)).prop_map(
        |(version, pair, damage)| {
            let mut bytes = write(version, Some(pair));
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes
        },
    );
    let binary =
        vec(any::<u8>(), 0..300).prop_map(|rest| [b"\r\n\r\n\0\r\nQUIT\n".as_slice(), &rest].concat());
    let line = "PROXY (TCP[46]|UNKNOWN|[A-Z]{0,4})[ 0-9a-f.:]{0,120}(\r\n)?".prop_map(String::into_bytes);
    prop_oneof![vec(any::<u8>(), 0..100), damaged, binary, line]
}

proptest! {
    #[test]
    fn any_addresses_come_back_from_any_version(version in version(), pair in proptest::option::of(pair())) {
        let bytes = write(version, pair);
        let (header, used) = decode(&bytes).unwrap().unwrap();
        prop_assert_eq!((header.version, header.addresses, used), (version, pair, bytes.len()));
    }

    #[test]
    fn no_bytes_make_the_decoder_panic_and_it_never_changes_its_mind(bytes in hostile()) {
        let whole = decode(&bytes);
        for cut in 0..bytes.len() {
            match decode(&bytes[..cut]) {
                Ok(None) => prop_assert!(cut < LONGEST),
                said => prop_assert_eq!(&said, &whole, "at {}", cut),
            }
        }
        if let Ok(Some((_, used))) = whole {
            prop_assert!(used <= bytes.len() && used <= LONGEST);
        }
    }
}
