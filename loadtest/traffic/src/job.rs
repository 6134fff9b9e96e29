//! A request to be sent: one message, or one payload for several users.

use longline_load_truth::{Header, Kind};
use tokio::time::Instant;

/// Planned messages that share a request.
#[derive(Debug)]
pub(crate) struct Job {
    /// Of the payload; also names the request.
    pub(crate) header: Header,
    /// The payload's length in bytes.
    pub(crate) bytes: u32,
    /// The messages whose fate is open, in the order of the request.
    pub(crate) open: Vec<Message>,
    /// Where its first try stands, once it has begun.
    pub(crate) begun: Option<Begun>,
}

/// A user's message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Message {
    pub(crate) user: u32,
    pub(crate) sequence: u64,
}

/// What is known of a request that has been tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun {
    /// After this it is given up.
    pub(crate) until: Instant,
    /// A try may have been taken without our hearing of it: a refusal of a later try says nothing of the first.
    pub(crate) uncertain: bool,
}

impl Message {
    /// Its own header: that of the payload, unless it shares it.
    pub(crate) fn header(&self, job: &Job) -> Header {
        Header { kind: Kind::Unicast, user: self.user, sequence: self.sequence, ..job.header }
    }
}

impl Job {
    /// A message to one user.
    pub(crate) fn single(header: Header, bytes: u32) -> Job {
        let open = vec![Message { user: header.user, sequence: header.sequence }];
        Job { header, bytes, open, begun: None }
    }

    /// One payload for these users, whose messages have these sequences.
    pub(crate) fn batch(header: Header, bytes: u32, users: &[u32], sequences: Vec<u64>) -> Job {
        let message = |(&user, sequence)| Message { user, sequence };
        Job { header, bytes, open: users.iter().zip(sequences).map(message).collect(), begun: None }
    }

    /// Whether an earlier try may have been taken.
    pub(crate) fn is_uncertain(&self) -> bool {
        self.begun.is_some_and(|begun| begun.uncertain)
    }

    /// The idempotency key: the same in every try, and in no other request to these users.
    pub(crate) fn key(&self) -> String {
        let Header { run, agent, sequence, .. } = self.header;
        format!("{run:08x}-{agent}-{sequence}")
    }
}
