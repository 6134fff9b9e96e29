//! The hot methods: each batch is checked item by item, and what is right goes to the store as one group.

use longline_pb::saver::{
    AckReply, AckRequest, CheckReply, CheckRequest, LoadReply, LoadRequest, PutReply, PutRequest,
    PutUplinkReply, PutUplinkRequest,
};
use longline_pb::types;
use longline_types::{Error, MessageState};

use super::{Service, requests};
use crate::metrics::Operation;
use crate::store::{Ack, Store, Stored};

impl<S: Store> Service<S> {
    pub(super) async fn put_batch(self, batch: Vec<PutRequest>) -> Vec<PutReply> {
        let saver = self.member.current().number;
        let parsed = batch.into_iter().map(requests::put).collect();
        let results =
            self.through(Operation::Put, parsed, async |group| self.store.put(group, saver).await).await;
        for stored in results.iter().flatten() {
            self.count_stored(stored);
        }
        results.into_iter().map(put_reply).collect()
    }

    pub(super) async fn load_batch(self, batch: Vec<LoadRequest>) -> Vec<LoadReply> {
        let parsed = batch.into_iter().map(requests::load).collect();
        let results = self.through(Operation::Load, parsed, async |batch| self.store.load(batch).await).await;
        let reply = |result| match result {
            Ok(crate::store::Loaded { messages, more }) => {
                self.metrics.loaded.inc_by(messages.len() as u64);
                LoadReply { messages, more, error: None }
            }
            Err(e) => LoadReply { error: failure(e), ..LoadReply::default() },
        };
        results.into_iter().map(reply).collect()
    }

    pub(super) async fn check_batch(self, batch: Vec<CheckRequest>) -> Vec<CheckReply> {
        let parsed = batch.into_iter().map(requests::check).collect();
        let results =
            self.through(Operation::Check, parsed, async |batch| self.store.check(batch).await).await;
        let reply = |result: Result<bool, Error>| match result {
            Ok(waiting) => CheckReply { waiting, error: None },
            Err(e) => CheckReply { waiting: false, error: failure(e) },
        };
        results.into_iter().map(reply).collect()
    }

    pub(super) async fn ack_batch(self, batch: Vec<AckRequest>) -> Vec<AckReply> {
        let parsed: Vec<Result<Ack, Error>> = batch.into_iter().map(requests::ack).collect();
        let broadcasts: Vec<bool> =
            parsed.iter().map(|p| p.as_ref().is_ok_and(|ack| ack.broadcast_seq != 0)).collect();
        let results = self.through(Operation::Ack, parsed, async |batch| self.store.ack(batch).await).await;
        let reply = |(result, broadcast): (Result<bool, Error>, bool)| match result {
            Ok(ended) => {
                self.count_ack(ended, broadcast);
                AckReply { ended, error: None }
            }
            Err(e) => AckReply { ended: false, error: failure(e) },
        };
        results.into_iter().zip(broadcasts).map(reply).collect()
    }

    pub(super) async fn put_uplink_batch(self, batch: Vec<PutUplinkRequest>) -> Vec<PutUplinkReply> {
        let parsed = batch.into_iter().map(requests::put_uplink).collect();
        let results = self
            .through(Operation::PutUplink, parsed, async |batch| self.store.put_uplinks(batch).await)
            .await;
        let reply = |result: Result<bool, Error>| match result {
            Ok(repeated_request) => PutUplinkReply { repeated_request, error: None },
            Err(e) => PutUplinkReply { repeated_request: false, error: failure(e) },
        };
        results.into_iter().map(reply).collect()
    }

    /// Sends the requests that are right through the store, and puts each refusal in its place.
    async fn through<Q, R>(
        &self,
        operation: Operation,
        parsed: Vec<Result<Q, Error>>,
        work: impl AsyncFnOnce(Vec<Q>) -> Vec<Result<R, Error>>,
    ) -> Vec<Result<R, Error>> {
        let (mut right, mut refused) = (Vec::with_capacity(parsed.len()), Vec::with_capacity(parsed.len()));
        for request in parsed {
            match request {
                Ok(request) => {
                    right.push(request);
                    refused.push(None);
                }
                Err(e) => refused.push(Some(e)),
            }
        }
        let mut results = Vec::new();
        if !right.is_empty() {
            let _timer = self.metrics.batch(operation, right.len());
            results = work(right).await;
        }
        let mut results = results.into_iter();
        let mut next =
            || results.next().unwrap_or_else(|| Err(Error::internal("the store gave too few answers")));
        let all: Vec<_> = refused.into_iter().map(|e| e.map_or_else(&mut next, Err)).collect();
        for error in all.iter().filter_map(|r| r.as_ref().err()) {
            self.metrics.failed(operation, error);
        }
        all
    }

    fn count_stored(&self, stored: &Stored) {
        let metrics = &self.metrics;
        if stored.repeated {
            metrics.repeated.inc()
        } else {
            metrics.stored.inc()
        }
        metrics.ended(MessageState::Collapsed, stored.collapsed.into());
        metrics.ended(MessageState::Overflowed, stored.overflowed.into());
    }

    fn count_ack(&self, ended: bool, broadcast: bool) {
        match (ended, broadcast) {
            (true, false) => self.metrics.ended(MessageState::Acked, 1),
            (true, true) => self.metrics.broadcast_acks.inc(),
            (false, _) => self.metrics.idle_acks.inc(),
        }
    }
}

fn failure(error: Error) -> Option<types::Error> {
    Some(error.into())
}

fn put_reply(result: Result<Stored, Error>) -> PutReply {
    match result {
        Ok(stored) => PutReply {
            id: stored.id.0,
            state: types::MessageState::from(stored.state).into(),
            repeated_request: stored.repeated,
            error: None,
        },
        Err(e) => PutReply { error: failure(e), ..PutReply::default() },
    }
}
