use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A list of networks: `10.0.0.0/8`, `2001:db8::/32`, or single addresses.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Networks {
    listed: Vec<IpNet>,
    /// By length, the beginnings of addresses, IPv4 as IPv6 has it (`::ffff:0:0/96`). There are few lengths, so a look is a few
    /// lookups however long the list is.
    beginnings: BTreeMap<u8, HashSet<u128>>,
}

impl Networks {
    /// Whether none is listed.
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// Whether one of them has the address.
    pub fn contain(&self, address: IpAddr) -> bool {
        let bits = bits(address);
        self.beginnings.iter().any(|(length, beginnings)| beginnings.contains(&beginning(bits, *length)))
    }
}

impl PartialEq for Networks {
    fn eq(&self, other: &Networks) -> bool {
        self.listed == other.listed
    }
}

impl TryFrom<Vec<String>> for Networks {
    type Error = String;

    fn try_from(texts: Vec<String>) -> Result<Networks, String> {
        let mut networks = Networks::default();
        for text in texts {
            let network = network(&text)?;
            let length = match network {
                IpNet::V4(v4) => v4.prefix_len() + 96,
                IpNet::V6(v6) => v6.prefix_len(),
            };
            networks.beginnings.entry(length).or_default().insert(bits(network.network()));
            networks.listed.push(network);
        }
        Ok(networks)
    }
}

impl From<Networks> for Vec<String> {
    fn from(networks: Networks) -> Vec<String> {
        networks.listed.iter().map(ToString::to_string).collect()
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    let parsed = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let network = parsed.map_err(|_| format!("`{text}` is no network such as 10.0.0.0/8 and no address"))?;
    if network.addr() != network.network() {
        return Err(format!(
            "`{text}` has bits beyond its length: is it {}, or the one address?",
            network.trunc()
        ));
    }
    Ok(network)
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn beginning(bits: u128, length: u8) -> u128 {
    bits & u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn networks(texts: &[&str]) -> Networks {
        Networks::try_from(texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn addresses_are_found_in_networks_of_their_family_and_mapped_ones_too() {
        let list = networks(&["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::1"]);
        for inside in ["10.255.0.1", "::ffff:10.1.2.3", "192.0.2.7", "2001:db8:ffff::1", "::1"] {
            assert!(list.contain(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["11.0.0.1", "192.0.2.8", "2001:db9::1", "::2", "::10.0.0.1"] {
            assert!(!list.contain(outside.parse().unwrap()), "{outside}");
        }
        assert!(networks(&["0.0.0.0/0"]).contain("203.0.113.9".parse().unwrap()));
        assert!(!networks(&["0.0.0.0/0"]).contain("2001:db8::1".parse().unwrap()));
        assert!(networks(&["::/0"]).contain("2001:db8::1".parse().unwrap()));
        assert!(!networks(&[]).contain("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_network_is_refused_in_words() {
        for (text, said) in [
            ("10.0.0.0/33", "no network"),
            ("10.0.0", "no network"),
            ("example.com", "no network"),
            ("10.0.0.1/8", "is it 10.0.0.0/8"),
            ("2001:db8::1/32", "is it 2001:db8::/32"),
        ] {
            let error = Networks::try_from(vec![text.to_owned()]).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_look_finds_what_ipnet_finds(nets in proptest::collection::vec((any::<u32>(), 0u8..=32), 0..20), ip: u32) {
            let nets: Vec<IpNet> = nets
                .into_iter()
                // Near the address, or hardly any would have it.
                .map(|(bits, length)| ipnet::Ipv4Net::new_assert((ip ^ bits >> 20).into(), length).trunc().into())
                .collect();
            let list = Networks::try_from(nets.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
            let ip = IpAddr::V4(ip.into());
            prop_assert_eq!(list.contain(ip), nets.iter().any(|n| n.contains(&ip)));
            let texts: Vec<String> = list.clone().into();
            prop_assert_eq!(Networks::try_from(texts).unwrap(), list);
        }
    }
}
