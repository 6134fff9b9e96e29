//! What the device sends.

use bytes::Bytes;
use longline_pb::client::{self, UplinkResult};
use longline_types::{CloseReason, MessageId, limits};
use longline_wire::{FrameRef, FrameType};

use super::ending::{Ending, RETRY_AFTER_MS};
use super::flight::Acked;
use super::greeting::wanted_bind;
use super::open::{Session, WaitingUplink, bind_id};
use super::turn::Turn;
use crate::link::{ToCluster, UplinkRequest};

/// Ids of an ACK that cost as much as a frame.
const IDS_PER_FRAME: usize = 64;

impl Session {
    /// Handles one frame.
    pub(crate) fn frame(&mut self, frame: FrameRef<'_>, t: &mut Turn<'_>) -> Result<(), Ending> {
        self.spend(1, t)?;
        match frame.kind {
            FrameType::Ping => t.pong(),
            FrameType::Ack => self.acked(frame.parse()?, t)?,
            FrameType::Uplink => self.uplink(frame.parse()?, t),
            FrameType::Bind => self.bind_asked(frame.parse()?, t)?,
            FrameType::Unbind => self.unbind(frame.parse::<client::Unbind>()?.index, t),
            FrameType::Close => return Err(Ending::new(CloseReason::ClientGone, "")),
            kind => {
                let detail = format!("{kind} may not come now");
                return Err(Ending::new(CloseReason::UnexpectedFrame, detail));
            }
        }
        if t.output.len() > most_output(t) {
            return Err(Ending::new(CloseReason::SlowReader, "the device does not read its answers"));
        }
        Ok(())
    }

    fn spend(&mut self, frames: u32, t: &Turn<'_>) -> Result<(), Ending> {
        let config = &t.env.config;
        if self.budget.take(frames, t.now.ms, config.frames_per_second, config.frame_burst) {
            return Ok(());
        }
        Err(Ending::new(CloseReason::TooManyFrames, "more frames than a device has reason to send"))
    }

    /// A device that binds more before its WELCOME gets it now.
    fn bind_asked(&mut self, bind: client::Bind, t: &mut Turn<'_>) -> Result<(), Ending> {
        self.welcome(t)?;
        self.want(wanted_bind(bind), None, t);
        Ok(())
    }

    /// The device has messages. Ids that were not pushed to it on this bind change nothing, and are counted.
    fn acked(&mut self, ack: client::Ack, t: &mut Turn<'_>) -> Result<(), Ending> {
        if ack.ids.len() > limits::ACK_IDS {
            return Err(Ending::new(CloseReason::BadField, "ACK has at most 1024 ids"));
        }
        self.spend((ack.ids.len() / IDS_PER_FRAME) as u32, t)?;
        let foreign = self.acknowledge(ack, t);
        t.env.counters.foreign_acks.add(foreign as u64);
        Ok(())
    }

    /// Has the saver told of the messages that were pushed on the bind; says how many ids were of no such message.
    pub(super) fn acknowledge(&mut self, ack: client::Ack, t: &mut Turn<'_>) -> usize {
        let Some(bind) = self.binds.by_index(ack.index).filter(|b| b.flight().is_some()) else {
            return ack.ids.len();
        };
        let mut foreign = 0;
        for id in ack.ids.into_iter().map(MessageId) {
            match bind.with_flight(|flight| flight.acknowledge(id)) {
                Acked::Foreign => foreign += 1,
                Acked::Again => {}
                Acked::First(entry) => {
                    t.env.counters.acks.add(1);
                    t.ask(ToCluster::Ack {
                        bind: bind_id(bind, t),
                        address: bind.address.clone(),
                        id,
                        broadcast_seq: entry.broadcast_seq,
                        written_at_ms: entry.written_at_ms,
                    });
                }
            }
        }
        foreign
    }

    /// Data for the business: handed on, or answered at once if it cannot be.
    fn uplink(&mut self, uplink: client::Uplink, t: &mut Turn<'_>) {
        if self.uplinks.iter().flat_map(|u| u.iter()).any(|w| w.sequence == uplink.sequence) {
            return; // Its answer will come.
        }
        let bind = self.binds.by_index(uplink.index);
        let Some(bind) = bind.filter(|_| uplink.payload.len() <= limits::PAYLOAD) else {
            return answer_uplink(uplink.sequence, UplinkResult::Refused, 0, t);
        };
        if !bind.is_held() {
            // Still asked for, or made anew after a lost lease (R4): soon it stands, or the device is told that it does not.
            return answer_uplink(uplink.sequence, UplinkResult::Retry, RETRY_AFTER_MS, t);
        }
        let waiting = self.uplinks.get_or_insert_default();
        let bytes = uplink.payload.len() as u64;
        let fits = waiting.len() < usize::from(t.env.config.uplinks_per_session)
            && t.env.uplink_bytes + bytes <= t.env.config.uplink_bytes;
        if t.env.congested || !fits {
            if waiting.is_empty() {
                self.uplinks = None;
            }
            return answer_uplink(uplink.sequence, UplinkResult::Retry, RETRY_AFTER_MS, t);
        }
        waiting.push(WaitingUplink { sequence: uplink.sequence, bytes: bytes as u32 });
        t.env.uplink_bytes += bytes;
        t.env.counters.uplinks.add(1);
        t.ask(ToCluster::Uplink(UplinkRequest {
            session: t.id,
            address: bind.address.clone(),
            device: self.profile.device.clone(),
            route: uplink.route,
            sequence: uplink.sequence,
            // Of its own: the bytes it came in are the shard's read buffer.
            payload: Bytes::copy_from_slice(&uplink.payload),
            received_at_ms: t.now.wall_ms,
        }));
    }

    /// The cluster has answered an uplink.
    pub(crate) fn uplink_answered(
        &mut self,
        sequence: u64,
        result: UplinkResult,
        retry_after_ms: u32,
        t: &mut Turn<'_>,
    ) {
        let Some(waiting) = &mut self.uplinks else { return };
        let Some(place) = waiting.iter().position(|w| w.sequence == sequence) else { return };
        let done = waiting.swap_remove(place);
        if waiting.is_empty() {
            self.uplinks = None;
        }
        t.env.uplink_bytes = t.env.uplink_bytes.saturating_sub(done.bytes.into());
        answer_uplink(sequence, result, retry_after_ms, t);
    }
}

fn answer_uplink(sequence: u64, result: UplinkResult, retry_after_ms: u32, t: &mut Turn<'_>) {
    t.send(&client::UplinkAck { sequence, result: result.into(), retry_after_ms });
}

/// Unwritten bytes, answers included, beyond which a device is not reading: pushes never go that far.
fn most_output(t: &Turn<'_>) -> usize {
    t.env.config.output_bytes as usize + limits::PAYLOAD + 64 * 1024
}
