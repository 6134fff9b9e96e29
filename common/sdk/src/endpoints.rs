//! Which room to try next.

use std::collections::{HashMap, VecDeque};

use longline_noise::PublicKey;
use longline_types::Address;
use tokio::time::Instant;

use crate::dispatcher::{Dispatcher, Group};

/// Rooms are tried in rounds: each of the group once, then a wait, then the dispatcher is asked again.
#[derive(Debug)]
pub(crate) struct Endpoints {
    fixed: Vec<String>,
    dispatcher: Dispatcher,
    /// What the dispatcher said last, and until when that holds.
    group: Vec<String>,
    noise_keys: HashMap<String, PublicKey>,
    good_until: Option<Instant>,
    /// The room that welcomed the device last, unless it sent the device away.
    preferred: Option<String>,
    /// The room that sent the device away.
    avoided: Option<String>,
    /// Rooms that a room named; for the next round only.
    named: Vec<String>,
    round: VecDeque<String>,
    /// The round is the one room that may give the session back.
    returning: bool,
    failed_rounds: u32,
}

impl Endpoints {
    pub(crate) fn new(fixed: Vec<String>, dispatcher: Dispatcher) -> Endpoints {
        Endpoints {
            fixed,
            dispatcher,
            group: Vec::new(),
            noise_keys: HashMap::new(),
            good_until: None,
            preferred: None,
            avoided: None,
            named: Vec::new(),
            round: VecDeque::new(),
            returning: false,
            failed_rounds: 0,
        }
    }

    /// The question for the dispatcher, if there is one to be asked before the next round.
    pub(crate) fn question(
        &self,
        address: Address,
        now: Instant,
    ) -> Option<impl Future<Output = Result<Group, (String, String)>> + Send + use<>> {
        let known = !self.named.is_empty() || self.good_until.is_some_and(|until| now < until);
        if self.dispatcher.is_empty() || known {
            return None;
        }
        let (dispatcher, attempt) = (self.dispatcher.clone(), self.failed_rounds);
        Some(async move { dispatcher.ask(address, attempt).await })
    }

    /// Takes the dispatcher's answer.
    pub(crate) fn answered(&mut self, group: Group, now: Instant) {
        self.group = group.endpoints;
        self.noise_keys = group.noise_keys;
        self.good_until = Some(now + group.ttl);
    }

    /// Begins a round with what is known: rooms that were named, then the one that was good, then the others.
    pub(crate) fn start_round(&mut self) {
        let known = if self.group.is_empty() { &self.fixed } else { &self.group };
        let preferred = self.preferred.iter().filter(|p| known.contains(p));
        let mut round: Vec<String> = Vec::new();
        for endpoint in self.named.iter().chain(preferred).chain(known) {
            if !round.contains(endpoint) {
                round.push(endpoint.clone());
            }
        }
        // A stable sort: the avoided one goes last, the others keep their order.
        round.sort_by_key(|endpoint| Some(endpoint) == self.avoided.as_ref());
        self.named.clear();
        self.round = round.into();
    }

    /// The next round is this room alone, whatever the dispatcher says meanwhile: it has the session.
    pub(crate) fn return_to(&mut self, endpoint: &str) {
        self.round = VecDeque::from([endpoint.to_owned()]);
        self.returning = true;
    }

    /// The next room of the round; none at its end.
    pub(crate) fn next(&mut self) -> Option<String> {
        self.round.pop_front()
    }

    /// The key that the dispatcher has named for this room.
    pub(crate) fn noise_key(&self, endpoint: &str) -> Option<PublicKey> {
        self.noise_keys.get(endpoint).copied()
    }

    /// Whether the round is over.
    pub(crate) fn is_over(&self) -> bool {
        self.round.is_empty()
    }

    /// Nobody in the round could be used: the dispatcher is to be asked again, unless there was only a session to be had back.
    pub(crate) fn round_failed(&mut self) {
        if std::mem::take(&mut self.returning) {
            return;
        }
        self.failed_rounds = self.failed_rounds.saturating_add(1);
        self.good_until = None;
    }

    /// This room welcomed the device.
    pub(crate) fn worked(&mut self, endpoint: &str) {
        self.preferred = Some(endpoint.to_owned());
        self.avoided = None;
        self.failed_rounds = 0;
        self.returning = false;
        self.round.clear();
    }

    /// This room sent the device away, perhaps to others that it named.
    pub(crate) fn sent_away(&mut self, endpoint: &str, named: Vec<String>) {
        self.preferred = None;
        self.avoided = Some(endpoint.to_owned());
        self.good_until = None;
        self.named = named;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn endpoints(dispatcher: bool, fixed: &[&str]) -> Endpoints {
        let urls = if dispatcher { vec!["http://d".to_owned()] } else { Vec::new() };
        let network = longline_pb::client::Network::Wifi;
        let dispatcher = Dispatcher::new(urls, network, Duration::from_secs(1)).unwrap();
        Endpoints::new(fixed.iter().map(|s| s.to_string()).collect(), dispatcher)
    }

    fn round(endpoints: &mut Endpoints) -> Vec<String> {
        endpoints.start_round();
        std::iter::from_fn(|| endpoints.next()).collect()
    }

    fn asks(endpoints: &Endpoints, now: Instant) -> bool {
        endpoints.question(Address::new(1, "alice").unwrap(), now).is_some()
    }

    #[test]
    fn what_worked_goes_first_and_what_sent_away_goes_last() {
        let mut endpoints = endpoints(false, &["a", "b", "c"]);
        assert_eq!(round(&mut endpoints), ["a", "b", "c"]);
        endpoints.worked("b");
        assert_eq!(round(&mut endpoints), ["b", "a", "c"]);
        endpoints.sent_away("b", vec![]);
        assert_eq!(round(&mut endpoints), ["a", "c", "b"]);
        endpoints.sent_away("a", vec!["z".into()]);
        assert_eq!(round(&mut endpoints), ["z", "b", "c", "a"]);
        assert_eq!(round(&mut endpoints), ["b", "c", "a"], "named rooms are for one round");
    }

    #[test]
    fn a_session_is_asked_for_where_it_was_and_then_all_is_as_before() {
        let (mut endpoints, now) = (endpoints(true, &[]), Instant::now());
        let group = Group {
            endpoints: vec!["a".into(), "b".into()],
            noise_keys: HashMap::new(),
            ttl: Duration::from_secs(60),
        };
        endpoints.answered(group, now);
        endpoints.worked("gone from the group");
        endpoints.return_to("gone from the group");
        assert!(!endpoints.is_over());
        assert_eq!(endpoints.next().as_deref(), Some("gone from the group"));
        assert!(endpoints.is_over());
        endpoints.round_failed();
        assert!(!asks(&endpoints, now), "the others were not tried");
        assert_eq!(round(&mut endpoints), ["a", "b"]);
        endpoints.round_failed();
        assert!(asks(&endpoints, now));
    }

    #[test]
    fn the_dispatcher_is_asked_when_its_answer_is_old_or_of_no_use() {
        let (mut endpoints, now) = (endpoints(true, &["fixed"]), Instant::now());
        assert!(asks(&endpoints, now));
        assert_eq!(round(&mut endpoints), ["fixed"], "until it has answered");
        let ttl = Duration::from_secs(60);
        let named = vec!["a".into(), "b".into()];
        endpoints.answered(Group { endpoints: named, noise_keys: HashMap::new(), ttl }, now);
        assert!(!asks(&endpoints, now) && asks(&endpoints, now + ttl));
        assert_eq!(round(&mut endpoints), ["a", "b"]);
        endpoints.round_failed();
        assert!(asks(&endpoints, now));
        assert_eq!(round(&mut endpoints), ["a", "b"], "an old answer is better than none");
        endpoints.sent_away("a", vec!["c".into()]);
        assert!(!asks(&endpoints, now), "a room has named others");
    }
}
