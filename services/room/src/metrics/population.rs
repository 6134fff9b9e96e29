use longline_pb::client::Network;

use super::{Number, Sdks};
use crate::transport::TransportKind;

/// Where a connection is on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum State {
    /// It has not sent a whole HELLO.
    Greeting,
    /// It has said who it is, and waits for its WELCOME.
    Opening,
    /// It has had its WELCOME.
    Open,
    /// It was told to go.
    Leaving,
    /// A session whose connection broke.
    Parked,
}

impl State {
    pub(crate) const ALL: [State; 5] =
        [State::Greeting, State::Opening, State::Open, State::Leaving, State::Parked];

    /// Its value of the label `state`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Greeting => "greeting",
            State::Opening => "opening",
            State::Open => "open",
            State::Leaving => "leaving",
            State::Parked => "parked",
        }
    }

    /// It has said who it is, and is connected.
    pub(crate) fn is_session(self) -> bool {
        matches!(self, State::Opening | State::Open)
    }
}

/// Every network that HELLO can name, by its number.
pub(super) const NETWORKS: [Network; 7] = [
    Network::Unspecified,
    Network::Wifi,
    Network::Ethernet,
    Network::Network2g,
    Network::Network3g,
    Network::Network4g,
    Network::Network5g,
];

/// Its value of the label `network`.
pub(crate) fn network_name(network: Network) -> &'static str {
    match network {
        Network::Unspecified => "unspecified",
        Network::Wifi => "wifi",
        Network::Ethernet => "ethernet",
        Network::Network2g => "2g",
        Network::Network3g => "3g",
        Network::Network4g => "4g",
        Network::Network5g => "5g",
    }
}

/// Its place among [`NETWORKS`].
pub(super) fn network_place(network: Network) -> usize {
    network as usize
}

/// What an open session is counted under, in three bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Labels {
    transport: u8,
    network: u8,
    sdk: u8,
}

/// A connection as it is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Resident {
    pub(crate) state: State,
    pub(crate) transport: TransportKind,
}

/// The connections of one shard, by what they are.
#[derive(Default, Debug)]
pub(crate) struct Population {
    states: [[Number; State::ALL.len()]; TransportKind::ALL.len()],
    networks: [[Number; NETWORKS.len()]; TransportKind::ALL.len()],
}

impl Population {
    /// A connection was accepted.
    pub(crate) fn came(&self, resident: Resident) {
        self.state(resident).add(1);
    }

    /// A connection is gone.
    pub(crate) fn left(&self, resident: Resident) {
        self.state(resident).sub(1);
    }

    /// A connection is not any more what it was.
    pub(crate) fn moved(&self, before: Resident, after: Resident) {
        self.left(before);
        self.came(after);
    }

    /// A session has had its WELCOME: what it is counted under from now on.
    pub(crate) fn opened(
        &self,
        labels: &mut Labels,
        transport: TransportKind,
        network: Network,
        sdk: &str,
        sdks: &Sdks,
    ) {
        labels.transport = transport as u8;
        labels.network = network_place(network) as u8;
        labels.sdk = sdks.enter(sdk);
        self.network(*labels).add(1);
    }

    /// A session that was open is so no more.
    pub(crate) fn closed(&self, labels: Labels, sdks: &Sdks) {
        self.network(labels).sub(1);
        sdks.leave(labels.sdk);
    }

    pub(crate) fn in_state(&self, transport: TransportKind, state: State) -> u64 {
        self.state(Resident { state, transport }).read()
    }

    /// Open sessions in the network with this place among [`NETWORKS`].
    pub(crate) fn in_network(&self, transport: TransportKind, network: usize) -> u64 {
        self.networks[transport as usize][network].read()
    }

    fn state(&self, resident: Resident) -> &Number {
        &self.states[resident.transport as usize][resident.state as usize]
    }

    fn network(&self, labels: Labels) -> &Number {
        &self.networks[usize::from(labels.transport)][usize::from(labels.network)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_numbers_agree() {
        assert!(State::ALL.iter().enumerate().all(|(place, state)| *state as usize == place));
        assert!(TransportKind::ALL.iter().enumerate().all(|(place, transport)| *transport as usize == place));
        assert!(NETWORKS.iter().enumerate().all(|(place, network)| network_place(*network) == place));
        assert!(Network::try_from(NETWORKS.len() as i32).is_err(), "a network has no place");
    }

    #[test]
    fn who_left_is_not_counted() {
        let (population, sdks) = (Population::default(), Sdks::default());
        let resident = |state| Resident { state, transport: TransportKind::Tcp };
        let mut labels = Labels::default();
        population.came(resident(State::Greeting));
        population.moved(resident(State::Greeting), resident(State::Open));
        population.opened(&mut labels, TransportKind::Tcp, Network::Network4g, "rust/0.1.0", &sdks);
        assert_eq!(population.in_state(TransportKind::Tcp, State::Open), 1);
        assert_eq!(population.in_network(TransportKind::Tcp, 5), 1);
        assert_eq!(sdks.sessions(), [("rust/0.1.0".to_owned(), 1)]);
        population.moved(resident(State::Open), resident(State::Leaving));
        population.closed(labels, &sdks);
        population.left(resident(State::Leaving));
        assert!(State::ALL.iter().all(|state| population.in_state(TransportKind::Tcp, *state) == 0));
        assert_eq!(population.in_network(TransportKind::Tcp, 5), 0);
        assert!(sdks.sessions().is_empty());
    }
}
