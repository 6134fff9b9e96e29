//! A device's uplinks under way: each is sent until the room has answered, with the same sequence, over any number of connections.

use longline_load_truth::Micros;
use longline_pb::client::{self, UplinkResult};

use crate::time::{Ms, NEVER};
use crate::world::Cx;

/// Most uplinks of a device without an answer; a room takes no more.
const WINDOW: usize = 16;
/// Sent again on the same connection if the room says nothing for this long.
const RESEND_MS: Ms = 30_000;
/// Waits at least this long after RETRY, and asked for more than an hour no longer.
const RETRY_MS: (Ms, Ms) = (100, 3_600_000);

/// Uplinks without an answer, oldest first.
#[derive(Default, Debug)]
pub(crate) struct Flights(Vec<Flight>);

/// One uplink.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Flight {
    pub(crate) sequence: u64,
    /// When it was due to be sent first.
    pub(crate) due: Micros,
    /// Bytes of its payload.
    pub(crate) bytes: u32,
    pub(crate) route: u32,
    /// When to send it, again or for the first time.
    pub(crate) send_at: Ms,
}

impl Flights {
    pub(crate) fn has_space(&self) -> bool {
        self.0.len() < WINDOW
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn add(&mut self, flight: Flight) {
        self.0.push(flight);
    }

    /// A new connection: all are sent again.
    pub(crate) fn resend(&mut self, now: Ms) {
        self.0.iter_mut().for_each(|flight| flight.send_at = now);
    }

    /// When something is to be sent next.
    pub(crate) fn next(&self) -> Ms {
        self.0.iter().map(|flight| flight.send_at).min().unwrap_or(NEVER)
    }

    /// Writes what is due.
    pub(crate) fn flush(&mut self, user: u32, cx: &mut Cx) {
        for flight in self.0.iter_mut().filter(|flight| flight.send_at <= cx.now.ms) {
            let mut payload = Vec::new();
            let header = cx.world.uplink_header(user, flight.sequence, flight.due);
            header.payload(flight.bytes as usize, &mut payload);
            let uplink = client::Uplink {
                index: 0,
                route: flight.route,
                payload: payload.into(),
                sequence: flight.sequence,
            };
            longline_wire::encode(&uplink, &mut cx.out).expect("the payload's length was limited");
            flight.send_at = cx.now.ms.saturating_add(RESEND_MS);
            cx.tally().uplinks_sent.add(1);
        }
        cx.rearm = true;
    }

    /// Takes the room's answer. One to an uplink that is not under way is one to a repeat of it.
    pub(crate) fn answered(&mut self, ack: &client::UplinkAck, cx: &mut Cx) {
        let Some(place) = self.0.iter().position(|flight| flight.sequence == ack.sequence) else { return };
        match ack.result() {
            UplinkResult::Ok => {
                self.0.remove(place);
                cx.world.uplink_acked(ack.sequence);
                cx.tally().uplinks_acked.add(1);
            }
            UplinkResult::NoRoute | UplinkResult::Refused => {
                self.0.remove(place);
                cx.tally().uplinks_refused.add(1);
            }
            UplinkResult::Retry | UplinkResult::Unspecified => {
                let asked = ack.retry_after_ms.clamp(RETRY_MS.0, RETRY_MS.1);
                let wait = cx.chance.between(asked, asked * 2);
                self.0[place].send_at = cx.now.ms.saturating_add(wait);
                cx.tally().uplinks_retried.add(1);
                cx.rearm = true;
            }
        }
    }
}
