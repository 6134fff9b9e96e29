//! Between jobs and the messages of the service.

use longline_load_truth::Header;
use longline_pb::center::{SendReply, SendRequest};
use longline_pb::types::{Class, Error};

use crate::desk::{BAD_ANSWER, Outcome, Reply};
use crate::job::Job;
use crate::load::Unicasts;

/// Makes the requests of one connection.
#[derive(Clone, Debug)]
pub(crate) struct SendRequests {
    prefix: String,
    class: Class,
    ttl_seconds: u32,
}

impl SendRequests {
    /// For users named `<prefix>-<number>`.
    pub(crate) fn new(load: &Unicasts, prefix: &str) -> SendRequests {
        let class = if load.transient { Class::Transient } else { Class::Durable };
        SendRequests { prefix: prefix.to_owned(), class, ttl_seconds: load.ttl_s.unwrap_or(0) }
    }

    /// The request for what is open of this job; the same payload each time.
    pub(crate) fn of(&self, job: &Job, idempotent: bool) -> SendRequest {
        let mut payload = Vec::with_capacity((job.bytes as usize).max(Header::LEN));
        job.header.payload(job.bytes as usize, &mut payload);
        SendRequest {
            users: job.open.iter().map(|message| format!("{}-{}", self.prefix, message.user)).collect(),
            payload: payload.into(),
            class: self.class.into(),
            ttl_seconds: self.ttl_seconds,
            idempotency_key: if idempotent { job.key() } else { String::new() },
            ..SendRequest::default()
        }
    }
}

/// What a reply says of so many messages.
pub(crate) fn reply(reply: &SendReply, count: usize) -> Reply<'static> {
    if let Some(error) = &reply.error {
        return Reply::Whole(failure(error));
    }
    if reply.messages.len() != count {
        return Reply::Whole(Outcome::Unknown(BAD_ANSWER));
    }
    let outcomes = reply.messages.iter().map(|sent| match &sent.error {
        Some(error) => failure(error),
        None if sent.id == 0 => Outcome::Unknown(BAD_ANSWER),
        None => Outcome::Accepted(sent.id),
    });
    Reply::Each(outcomes.collect())
}

fn failure(error: &Error) -> Outcome<'static> {
    Reply::outcome_of(longline_types::ErrorCode::from(error.code()).name())
}
