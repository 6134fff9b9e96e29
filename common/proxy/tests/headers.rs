//! Headers as proxies write them, and what is refused.

use longline_proxy::{
    Addresses, Header, LONGEST, LONGEST_V1, ProxyError, Version, decode, encode_v1, encode_v2, may_begin,
};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn addresses(source: &str, destination: &str) -> Option<Addresses> {
    Some(Addresses {
        source: source.parse().expect("an address"),
        destination: destination.parse().expect("an address"),
    })
}

/// Version 2: version and command, family and transport, then as many bytes as there are.
fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    [SIGNATURE, &[command, family], &(rest.len() as u16).to_be_bytes(), rest].concat()
}

/// The header is found whole, and not before its last byte; what follows it is left.
fn found(bytes: &[u8]) -> Header {
    for cut in 0..bytes.len() {
        assert_eq!(decode(&bytes[..cut]), Ok(None), "{cut} of {} bytes", bytes.len());
    }
    let (header, used) =
        decode(&[bytes, b"LL\x01\x00"].concat()).expect("a whole header").expect("a whole header");
    assert_eq!(used, bytes.len());
    assert!(may_begin(bytes[0]));
    header
}

fn refused(bytes: &[u8]) -> ProxyError {
    decode(bytes).expect_err("an error")
}

#[test]
fn lines_of_version_1() {
    let read = |line: &str| {
        let header = found(line.as_bytes());
        assert_eq!(header.version, Version::V1);
        header.addresses
    };
    let four = addresses("192.0.2.1:56324", "198.51.100.2:443");
    assert_eq!(read("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"), four);
    assert_eq!(
        read("PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n"),
        addresses("0.0.0.0:0", "255.255.255.255:65535")
    );
    assert_eq!(read("PROXY TCP6 2001:db8::1 ::1 1 2\r\n"), addresses("[2001:db8::1]:1", "[::1]:2"));
    assert_eq!(read("PROXY UNKNOWN\r\n"), None);
    assert_eq!(read("PROXY UNKNOWN \u{ff} anything 1 2 3\r\n"), None);
    let longest = format!("PROXY UNKNOWN {}\r\n", "f".repeat(LONGEST_V1 - 16));
    assert_eq!(longest.len(), LONGEST_V1);
    assert_eq!(read(&longest), None);
}

#[test]
fn lines_that_are_none() {
    for line in [
        "PROXY \r\n",
        "PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
        "PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 00 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
        "PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n",
    ] {
        assert_eq!(refused(line.as_bytes()), ProxyError::BadLine, "{line:?}");
    }
    let endless = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat();
    assert_eq!(decode(&endless[..LONGEST_V1 - 1]), Ok(None));
    assert_eq!(refused(&endless[..LONGEST_V1]), ProxyError::LineTooLong);
    let late = [&endless[..LONGEST_V1 - 1], b"\r\n"].concat();
    assert_eq!(refused(&late), ProxyError::LineTooLong);
}

#[test]
fn binary_headers_of_version_2() {
    let four = [192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 0x01, 0xbb];
    let header = found(&binary(0x21, 0x11, &four));
    assert_eq!(
        header,
        Header { version: Version::V2, addresses: addresses("192.0.2.1:56324", "198.51.100.2:443") }
    );
    assert_eq!(header.source(), Some("192.0.2.1:56324".parse().unwrap()));
    let six =
        [&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..], &[0; 15], &[1, 0, 1, 0, 2]].concat();
    assert_eq!(found(&binary(0x21, 0x21, &six)).addresses, addresses("[2001:db8::1]:1", "[::1]:2"));
    // UDP that came to the proxy is an address as well.
    assert_eq!(found(&binary(0x21, 0x12, &four)).source(), header.source());
    // TLVs: an unknown type, and an authority.
    let tlvs = [&four[..], &[0xee, 0, 2, 7, 7], &[2, 0, 3], b"a.b"].concat();
    assert_eq!(found(&binary(0x21, 0x11, &tlvs)).addresses, header.addresses);
}

#[test]
fn binary_headers_without_an_address() {
    let none = |bytes: &[u8]| assert_eq!(found(bytes), Header { version: Version::V2, addresses: None });
    none(&binary(0x20, 0, &[]));
    none(&binary(0x20, 0x11, &[9; 12]));
    none(&binary(0x20, 0xff, &[9; 3]));
    none(&binary(0x21, 0, &[]));
    none(&binary(0x21, 0, &[1, 2, 3]));
    none(&binary(0x21, 0x31, &[b'/'; 216]));
    none(&binary(0x21, 0, &[0; LONGEST - 16]));
}

#[test]
fn binary_headers_that_are_none() {
    assert_eq!(refused(&binary(0x11, 0x11, &[0; 12])), ProxyError::UnknownVersion(1));
    assert_eq!(refused(&binary(0x22, 0x11, &[0; 12])), ProxyError::UnknownCommand(2));
    assert_eq!(refused(&binary(0x21, 0x41, &[0; 12])), ProxyError::UnknownFamily(0x41));
    assert_eq!(refused(&binary(0x21, 0x13, &[0; 12])), ProxyError::UnknownFamily(0x13));
    assert_eq!(refused(&binary(0x21, 0x03, &[])), ProxyError::UnknownFamily(0x03));
    assert_eq!(refused(&binary(0x21, 0x11, &[0; 11])), ProxyError::TooShort { length: 11, needed: 12 });
    assert_eq!(refused(&binary(0x21, 0x21, &[0; 35])), ProxyError::TooShort { length: 35, needed: 36 });
    assert_eq!(refused(&binary(0x21, 0x31, &[0; 215])), ProxyError::TooShort { length: 215, needed: 216 });
    let length = LONGEST - 16 + 1;
    let long = binary(0x21, 0x11, &vec![0; length]);
    assert_eq!(refused(&long[..16]), ProxyError::TooLong { length, limit: LONGEST - 16 });
}

#[test]
fn what_begins_otherwise_is_refused_with_its_first_wrong_byte() {
    for (bytes, right) in [("LL", 0), ("GET / HTTP/1.1", 0), ("POST /", 1), ("PROXX", 4), ("\r\n\r\n\r", 4)] {
        assert_eq!(decode(&bytes.as_bytes()[..right]), Ok(None), "{bytes:?}");
        assert_eq!(refused(&bytes.as_bytes()[..=right]), ProxyError::NoHeader, "{bytes:?}");
    }
    assert!(!may_begin(b'L') && !may_begin(b'G') && !may_begin(0x16));
}

#[test]
fn the_bytes_of_written_headers_are_fixed() {
    let (four, mut out) = (addresses("192.0.2.1:56324", "198.51.100.2:443"), Vec::new());
    encode_v1(four, &mut out);
    assert_eq!(out, b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n");
    out.clear();
    encode_v1(addresses("192.0.2.1:1", "[::1]:2"), &mut out);
    assert_eq!(out, b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n");
    out.clear();
    encode_v2(four, &mut out);
    assert_eq!(out, binary(0x21, 0x11, &[192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 0x01, 0xbb]));
    out.clear();
    encode_v2(None, &mut out);
    assert_eq!(out, binary(0x20, 0, &[]));
}
