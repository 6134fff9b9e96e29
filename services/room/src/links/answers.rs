use longline_types::SessionId;

use crate::link::{Answer, BindId, ShardSender};

/// Brings answers back to the shards that asked.
pub(crate) struct Answers {
    shards: Vec<ShardSender>,
}

impl Answers {
    pub(crate) fn new(shards: Vec<ShardSender>) -> Answers {
        Answers { shards }
    }

    /// The shards, by number.
    pub(crate) fn shards(&self) -> &[ShardSender] {
        &self.shards
    }

    /// The shard that holds the session, if the id is one of this room.
    pub(crate) fn shard(&self, session: SessionId) -> Option<&ShardSender> {
        self.shards.get(usize::from(session.shard()))
    }

    /// Sends answers to their shards, one handover each.
    pub(crate) fn send(&self, answers: impl IntoIterator<Item = Answer>) {
        let mut by_shard: Vec<Vec<Answer>> = self.shards.iter().map(|_| Vec::new()).collect();
        for answer in answers {
            if let Some(list) = by_shard.get_mut(usize::from(session_of(&answer).shard())) {
                list.push(answer);
            }
        }
        for (shard, answers) in self.shards.iter().zip(by_shard) {
            shard.answer(answers);
        }
    }
}

fn session_of(answer: &Answer) -> SessionId {
    match answer {
        Answer::Bind { bind: BindId { session, .. }, .. }
        | Answer::Load { bind: BindId { session, .. }, .. }
        | Answer::Check { bind: BindId { session, .. }, .. }
        | Answer::Ack { bind: BindId { session, .. }, .. }
        | Answer::Assert { bind: BindId { session, .. }, .. }
        | Answer::Uplink { session, .. } => *session,
    }
}
