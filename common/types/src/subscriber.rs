use std::net::{IpAddr, Ipv6Addr};

/// What one subscriber has, for limits by address: an IPv4 address, or an IPv6 /64, whose addresses are all the subscriber's to use.
/// An IPv4 address that IPv6 has mapped is the IPv4 address.
pub fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_subscriber_has_64_bits_of_addresses() {
        for (address, one) in [
            ("2001:db8::1", "2001:db8::"),
            ("2001:db8::ffff:1", "2001:db8::"),
            ("2001:db8:0:1::1", "2001:db8:0:1::"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("10.0.0.1", "10.0.0.1"),
        ] {
            assert_eq!(subscriber(address.parse().unwrap()).to_string(), one, "{address}");
        }
    }
}
