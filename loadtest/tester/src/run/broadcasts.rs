//! The broadcasts of a leg: sent open loop, one at a time at most as often as the scenario says.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use longline_load_scenario::{Broadcast, Phases};
use longline_load_traffic::{Api, broadcast};
use longline_load_truth::{Clock, Header, Kind};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::link::{Assignment, Sent};

/// Broadcasts whose answers are waited for; more are not sent, and counted.
const UNDER_WAY: usize = 16;

/// Sends them and says which were accepted.
pub(crate) struct Broadcasts {
    what: Option<Broadcast>,
    api: Api,
    run: u32,
    clock: Clock,
    /// When each is due.
    due: VecDeque<Instant>,
    number: u64,
    under_way: JoinSet<Result<Sent, String>>,
    sent: u64,
    errors: BTreeMap<String, u64>,
}

impl Broadcasts {
    pub(crate) fn new(leg: &Assignment, what: Option<&Broadcast>) -> Broadcasts {
        Broadcasts {
            what: what.copied(),
            api: leg.side.api(),
            run: leg.run,
            clock: Clock::new(),
            due: VecDeque::new(),
            number: 0,
            under_way: JoinSet::new(),
            sent: 0,
            errors: BTreeMap::new(),
        }
    }

    /// The measured phase begins now: sends what falls into it.
    pub(crate) fn begin(&mut self, now: Instant, phases: &Phases) {
        self.due = self.what.iter().flat_map(|what| what.times(phases)).map(|after| now + after).collect();
    }

    /// No more.
    pub(crate) fn end(&mut self) {
        self.due.clear();
    }

    /// Whether answers are still waited for.
    pub(crate) fn under_way(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// How many were accepted.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Why others were not, and how many.
    pub(crate) fn into_errors(self) -> BTreeMap<String, u64> {
        self.errors
    }

    /// Waits for the next answer, and sends what is due meanwhile. None where one was not accepted. May be dropped at any time.
    pub(crate) async fn next(&mut self) -> Option<Sent> {
        loop {
            tokio::select! {
                Some(answer) = self.under_way.join_next() => {
                    let answer = answer.unwrap_or_else(|e| Err(e.to_string()));
                    return answer.inspect(|_| self.sent += 1).map_err(|why| self.failed(why)).ok();
                }
                () = due(self.due.front()) => self.send(),
            }
        }
    }

    fn send(&mut self) {
        self.due.pop_front();
        let Some(what) = self.what else { return };
        if self.under_way.len() >= UNDER_WAY {
            self.failed("broadcast not sent: too many without an answer".to_owned());
            return;
        }
        self.number += 1;
        let (number, at, api) = (self.number, self.clock.now(), self.api.clone());
        let header = Header {
            run: self.run,
            agent: u16::MAX,
            kind: Kind::Broadcast,
            user: u32::MAX,
            sequence: number,
            due: at,
        };
        let expires = what.ttl_s.map(|s| at + Duration::from_secs(s.into()).as_micros() as u64);
        self.under_way.spawn(async move {
            match broadcast(&api, header, what.payload_bytes, what.ttl_s, what.per_second).await {
                Ok(id) => Ok(Sent { number, id, at, expires }),
                Err(error) => Err(format!("broadcast: {error}")),
            }
        });
    }

    fn failed(&mut self, why: String) {
        *self.errors.entry(why).or_default() += 1;
    }
}

async fn due(at: Option<&Instant>) {
    match at {
        Some(at) => sleep_until(*at).await,
        None => std::future::pending().await,
    }
}
