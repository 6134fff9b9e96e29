//! Uplinks and presence: what the shards ask of the coordinator.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use longline_pb::client::UplinkResult;
use longline_pb::convert;
use longline_pb::coordinator::{self, PresenceRequest, UplinkReply};
use longline_types::{Address, Error, ErrorCode, Role, SessionId, TimeMs};

use super::{DEADLINE, Links};
use crate::link::{Answer, PresenceChange, UplinkRequest};

/// A user who came or went.
pub(crate) struct Presence {
    pub(crate) address: Address,
    pub(crate) device: Arc<str>,
    pub(crate) session: SessionId,
    pub(crate) at_ms: TimeMs,
    pub(crate) change: PresenceChange,
}

/// When a device sends an uplink again that was not taken.
const RETRY_AFTER_MS: u32 = 2_000;
/// Presence has no second chance later, so it gets longer.
const PRESENCE_DEADLINE: Duration = Duration::from_secs(30);

/// Brings uplinks to the coordinators that their addresses prefer, so that one device's meet in one place.
pub(crate) fn uplink(links: &Arc<Links>, requests: Vec<UplinkRequest>) {
    for (key, group) in by_coordinator(links, requests, |r| &r.address) {
        let Some(permit) = links.uplinks.enter(group.len()) else {
            let busy = Error::new(ErrorCode::ResourceExhausted, "too many uplinks are under way");
            links.answers.send(group.iter().map(|r| uplink_answer(r, Err(busy.clone()))));
            continue;
        };
        let links = links.clone();
        links.clone().tasks.spawn(async move {
            let replies =
                links.uplink.group_any(key, group.iter().map(uplink_request).collect(), DEADLINE).await;
            links
                .answers
                .send(group.iter().zip(replies).map(|(request, reply)| uplink_answer(request, reply)));
            drop(permit);
        });
    }
}

/// Reports who came and went. What no coordinator takes in time is counted and gone: the next change tells the truth again.
pub(crate) fn presence(links: &Arc<Links>, changes: Vec<Presence>) {
    for (key, group) in by_coordinator(links, changes, |p| &p.address) {
        let Some(permit) = links.presences.enter(group.len()) else {
            links.metrics.presence_lost.inc_by(group.len() as u64);
            continue;
        };
        let links = links.clone();
        links.clone().tasks.spawn(async move {
            let node = links.member.current().number;
            let requests = group.iter().map(|p| presence_request(p, node)).collect();
            let replies = links.presence.group_any(key, requests, PRESENCE_DEADLINE).await;
            let lost =
                replies.into_iter().filter(|r| !matches!(r, Ok(reply) if reply.error.is_none())).count();
            links.metrics.presence_lost.inc_by(lost as u64);
            drop(permit);
        });
    }
}

fn by_coordinator<Q>(
    links: &Links,
    questions: Vec<Q>,
    address: impl Fn(&Q) -> &Address,
) -> impl Iterator<Item = (u64, Vec<Q>)> {
    let view = links.peers.view();
    let mut groups: HashMap<Option<u32>, (u64, Vec<Q>)> = HashMap::new();
    for question in questions {
        let key = address(&question).key().high;
        let node = view.pick(Role::Coordinator, key).map(|n| n.number);
        groups.entry(node).or_insert_with(|| (key, Vec::new())).1.push(question);
    }
    groups.into_values()
}

fn uplink_request(r: &UplinkRequest) -> coordinator::UplinkRequest {
    coordinator::UplinkRequest {
        address: Some((&r.address).into()),
        device: r.device.to_string(),
        sequence: r.sequence,
        route: r.route,
        payload: r.payload.clone(),
        received_at_ms: r.received_at_ms,
    }
}

fn uplink_answer(request: &UplinkRequest, reply: Result<UplinkReply, Error>) -> Answer {
    let taken = reply.and_then(|reply| convert::ok_or_error(reply.error));
    let (result, retry_after_ms) = match taken {
        Ok(()) => (UplinkResult::Ok, 0),
        Err(error) => match error.code {
            ErrorCode::NotFound => (UplinkResult::NoRoute, 0),
            ErrorCode::InvalidArgument | ErrorCode::PermissionDenied => (UplinkResult::Refused, 0),
            _ => (UplinkResult::Retry, RETRY_AFTER_MS),
        },
    };
    Answer::Uplink { session: request.session, sequence: request.sequence, result, retry_after_ms }
}

fn presence_request(p: &Presence, node: u32) -> PresenceRequest {
    let (online, reason) = match p.change {
        PresenceChange::Online => (true, String::new()),
        PresenceChange::Offline(reason) => (false, reason.name().to_owned()),
    };
    PresenceRequest {
        address: Some((&p.address).into()),
        online,
        device: p.device.to_string(),
        session: p.session.0,
        at_ms: p.at_ms,
        reason,
        node,
    }
}
