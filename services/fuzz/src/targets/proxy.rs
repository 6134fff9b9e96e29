use longline_proxy::{LONGEST, Version, decode, encode_v1, encode_v2, may_begin};

/// The PROXY protocol. The bytes are what a connection begins with.
///
/// No part of a header is taken for another answer than the whole; what is found is within its bytes, and comes back when it is
/// written again.
pub fn proxy(data: &[u8]) {
    let whole = decode(data);
    for cut in 0..data.len().min(LONGEST + 1) {
        match decode(&data[..cut]) {
            Ok(None) => assert!(cut < LONGEST),
            said => assert_eq!(said, whole, "at {cut}"),
        }
    }
    let Ok(Some((header, used))) = whole else { return };
    assert!(used <= data.len() && used <= LONGEST && data.first().is_some_and(|first| may_begin(*first)));
    let mut written = Vec::new();
    match header.version {
        Version::V1 => encode_v1(header.addresses, &mut written),
        Version::V2 => encode_v2(header.addresses, &mut written),
    }
    assert_eq!(decode(&written), Ok(Some((header, written.len()))));
}
