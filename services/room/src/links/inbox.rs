//! Loads, checks and acks: what the shards ask of the saver.

use std::collections::HashMap;
use std::sync::Arc;

use longline_pb::saver::{AckReply, AckRequest, CheckReply, CheckRequest, LoadReply};
use longline_pb::{convert, saver};
use longline_rpc::{Method, Pipelines};
use longline_types::{Address, Error, MessageId, Role, TimeMs, limits};

use super::line::Line;
use super::{DEADLINE, Links};
use crate::link::{Answer, BindId, Failed, LoadRequest, Loaded, Message};

/// A question whether anything waits.
pub(crate) struct Check {
    pub(crate) bind: BindId,
    pub(crate) address: Address,
}

/// An acknowledgement on its way.
pub(crate) struct Ack {
    pub(crate) bind: BindId,
    pub(crate) address: Address,
    pub(crate) id: MessageId,
    pub(crate) broadcast_seq: u64,
    pub(crate) written_at_ms: TimeMs,
}

/// Loads of one group; their replies carry payloads.
const LOADS_TOGETHER: usize = 64;
/// Checks or acks of one group: a batch.
const TOGETHER: usize = limits::BATCH_ITEMS;

/// Loads. How many are under way is up to the shards; what is too much even so fails at once.
pub(crate) fn load(links: &Arc<Links>, requests: Vec<LoadRequest>) {
    for group in by_saver(links, requests, LOADS_TOGETHER, |r| &r.address) {
        let Some(permit) = links.loads.enter(group.questions.len()) else {
            refuse(links, group, load_answer);
            continue;
        };
        let (links, pipelines) = (links.clone(), links.load.clone());
        links.clone().tasks.spawn(async move {
            ask(&links, pipelines, group, |_, r| load_request(r), load_answer).await;
            drop(permit);
        });
    }
}

/// Checks, as many at once as the savers answer soon.
pub(crate) fn check(links: &Arc<Links>, checks: Vec<Check>) {
    for group in by_saver(links, checks, TOGETHER, |c| &c.address) {
        in_line(links, &links.checks, links.check.clone(), group, |_, c| check_request(c), check_answer);
    }
}

/// Acks, as many at once as the savers confirm soon.
pub(crate) fn ack(links: &Arc<Links>, acks: Vec<Ack>) {
    for group in by_saver(links, acks, TOGETHER, |a| &a.address) {
        in_line(links, &links.acks, links.ack.clone(), group, ack_request, ack_answer);
    }
}

/// Questions for one saver, and the key that leads to it.
struct Group<Q> {
    key: u64,
    questions: Vec<Q>,
}

/// Groups questions by the saver that their addresses prefer.
fn by_saver<Q>(
    links: &Links,
    questions: Vec<Q>,
    most: usize,
    address: impl Fn(&Q) -> &Address,
) -> Vec<Group<Q>> {
    let view = links.peers.view();
    let mut groups: HashMap<Option<u32>, Group<Q>> = HashMap::new();
    let mut full = Vec::new();
    for question in questions {
        let key = address(&question).key().high;
        let saver = view.pick(Role::Saver, key).map(|n| n.number);
        let group = groups.entry(saver).or_insert_with(|| Group { key, questions: Vec::new() });
        group.questions.push(question);
        if group.questions.len() >= most {
            full.push(std::mem::replace(group, Group { key, questions: Vec::new() }));
        }
    }
    full.extend(groups.into_values().filter(|g| !g.questions.is_empty()));
    full
}

/// Asks a group on a task of its own once its turn has come.
fn in_line<M: Method, Q: Send + 'static>(
    links: &Arc<Links>,
    line: &Arc<Line>,
    pipelines: Pipelines<M>,
    group: Group<Q>,
    request: fn(&Links, &Q) -> M::Request,
    answer: fn(Q, Result<M::Reply, Failed>) -> Answer,
) {
    let (links, line) = (links.clone(), line.clone());
    links.clone().tasks.spawn(async move {
        let Some(turn) = line.turn(group.questions.len()).await else {
            return refuse(&links, group, answer);
        };
        let well = ask(&links, pipelines, group, request, answer).await;
        turn.done(well);
    });
}

/// Asks a group and answers the shards. Whether the saver answered.
async fn ask<M: Method, Q>(
    links: &Links,
    pipelines: Pipelines<M>,
    group: Group<Q>,
    request: fn(&Links, &Q) -> M::Request,
    answer: fn(Q, Result<M::Reply, Failed>) -> Answer,
) -> bool {
    let requests = group.questions.iter().map(|q| request(links, q)).collect();
    let replies = pipelines.group_any(group.key, requests, DEADLINE).await;
    let well = replies.iter().any(Result::is_ok);
    let answers = group
        .questions
        .into_iter()
        .zip(replies)
        .map(|(question, reply)| answer(question, reply.map_err(|error| failed(M::NAME, &error))));
    links.answers.send(answers);
    well
}

/// Answers the shards at once: they ask again later.
fn refuse<Q, R>(links: &Links, group: Group<Q>, answer: fn(Q, Result<R, Failed>) -> Answer) {
    links.answers.send(group.questions.into_iter().map(|q| answer(q, Err(Failed))));
}

/// The shard only needs to know that it has to ask again; the reason is for the log.
fn failed(what: &str, error: &Error) -> Failed {
    tracing::debug!(what, %error, "a question of a shard failed");
    Failed
}

fn checked<T>(what: &str, value: T, error: Option<longline_pb::types::Error>) -> Result<T, Failed> {
    convert::ok_or_error(error).map(|()| value).map_err(|error| failed(what, &error))
}

fn load_request(r: &LoadRequest) -> saver::LoadRequest {
    saver::LoadRequest {
        address: Some((&r.address).into()),
        limit: r.limit,
        max_bytes: r.max_bytes,
        except: r.except.iter().map(|id| id.0).collect(),
        known_broadcast: r.known_broadcast,
        seen_broadcast: r.seen_broadcast,
    }
}

fn load_answer(question: LoadRequest, reply: Result<LoadReply, Failed>) -> Answer {
    let result = reply.and_then(|reply| {
        let loaded =
            Loaded { messages: reply.messages.into_iter().map(Message::from).collect(), more: reply.more };
        checked("load", loaded, reply.error)
    });
    Answer::Load { bind: question.bind, number: question.number, result }
}

fn check_request(c: &Check) -> CheckRequest {
    CheckRequest { address: Some((&c.address).into()), in_flight: 0 }
}

fn check_answer(question: Check, reply: Result<CheckReply, Failed>) -> Answer {
    let result = reply.and_then(|reply| checked("check", reply.waiting, reply.error));
    Answer::Check { bind: question.bind, result }
}

fn ack_request(links: &Links, a: &Ack) -> AckRequest {
    AckRequest {
        address: Some((&a.address).into()),
        id: a.id.0,
        broadcast_seq: a.broadcast_seq,
        written_at_ms: a.written_at_ms,
        room: links.member.current().number,
    }
}

fn ack_answer(question: Ack, reply: Result<AckReply, Failed>) -> Answer {
    let result = reply.and_then(|reply| checked("ack", reply.ended, reply.error));
    Answer::Ack { bind: question.bind, id: question.id, result }
}
