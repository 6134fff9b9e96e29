//! Which interval a device is asked to keep.

use longline_pb::client::Network;

use crate::EngineConfig;

/// What the device said in HELLO: its network, and the range it can keep (0: no wish), in seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Wish {
    pub(crate) network: Network,
    pub(crate) min_s: u32,
    pub(crate) max_s: u32,
}

impl Wish {
    /// The interval in seconds: the network's, moved into the device's range, and no longer than the product wants (0: no wish).
    pub(crate) fn choose(self, product_max_s: u32, config: &EngineConfig) -> u32 {
        let usual = match self.network {
            Network::Network2g | Network::Network3g => config.heartbeat_slow_s,
            Network::Wifi | Network::Ethernet => config.heartbeat_max_s,
            Network::Unspecified | Network::Network4g | Network::Network5g => config.heartbeat_min_s,
        };
        let mut chosen = usual.max(self.min_s);
        for longest in [self.max_s, product_max_s].into_iter().filter(|s| *s > 0) {
            chosen = chosen.min(longest);
        }
        chosen.min(config.heartbeat_max_s).max(config.heartbeat_floor_s).max(1)
    }
}

/// Without a byte for this long the session is broken: 1.5 intervals.
pub(crate) fn patience_ms(interval_s: u32) -> u64 {
    u64::from(interval_s) * 1500
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_device_and_product_choose_together() {
        let config = EngineConfig::default();
        let choose = |network, min_s, max_s, product| Wish { network, min_s, max_s }.choose(product, &config);
        assert_eq!(choose(Network::Network2g, 0, 0, 0), 300);
        assert_eq!(choose(Network::Wifi, 0, 0, 0), 480);
        assert_eq!(choose(Network::Network4g, 0, 0, 0), 240);
        assert_eq!(choose(Network::Network4g, 400, 450, 0), 400, "the device can keep longer ones");
        assert_eq!(choose(Network::Wifi, 0, 60, 0), 60);
        assert_eq!(choose(Network::Wifi, 100, 200, 60), 60, "the product asks for quick detection");
        assert_eq!(choose(Network::Wifi, u32::MAX, 0, 0), 480, "nobody goes beyond the longest");
        assert_eq!(choose(Network::Wifi, 0, 1, 1), 5, "nor below the floor");
        assert_eq!(patience_ms(300), 450_000);
    }
}
