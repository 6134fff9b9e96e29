//! What an operator sees of the cluster.

use std::sync::Arc;

use longline_pb::convert::message_state;
use longline_pb::saver::{AccountRequest, saver_client::SaverClient};
use longline_types::{MessageState, Role, View};

use super::Ops;
use crate::Failure;

/// accepted = sum of ended by reason + waiting, from stored states (I3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Accounting {
    pub(crate) accepted: u64,
    /// One entry per state, waiting first.
    pub(crate) counts: Vec<(MessageState, u64)>,
}

impl Ops {
    /// The view as this center has it.
    pub(crate) fn view(&self) -> Arc<View> {
        self.shared.peers.view()
    }

    /// Accounts for every message of a product, or of all.
    pub(crate) async fn accounting(&self, product: Option<u32>) -> Result<Accounting, Failure> {
        let request = AccountRequest { product: product.unwrap_or(0) };
        let call = |channel| async move { SaverClient::new(channel).account(request).await };
        let reply = self.shared.peers.unary(Role::Saver, 0, self.shared.ask_timeout, call).await?;
        let count = |state: MessageState| {
            let of_state = |c: &&longline_pb::saver::Count| message_state(c.state) == Some(state);
            reply.counts.iter().filter(of_state).map(|c| c.count).sum()
        };
        let counts = MessageState::ALL.into_iter().map(|state| (state, count(state))).collect();
        Ok(Accounting { accepted: reply.accepted, counts })
    }
}
