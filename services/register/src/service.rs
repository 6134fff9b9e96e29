//! The register's gRPC: requests of a batch are converted, done under one view, and answered.

use std::sync::Arc;

use longline_pb::convert::required;
use longline_pb::register::change_reply::What as Answer;
use longline_pb::register::change_request::What;
use longline_pb::register::register_server;
use longline_pb::register::{
    Assert, AssertReply, Bind, BindReply, ChangeBatch, ChangeReply, ChangeRequest, LookupBatch, LookupReply,
    LookupRequest, SlotDone, Unbind, UnbindReply,
};
use longline_pb::types::Empty;
use longline_rpc::methods::{RegisterChange, RegisterLookup};
use longline_rpc::{PipelineStream, ServeOptions, serve};
use longline_types::{AddressKey, Error, ErrorCode, Route, SessionId, Slot};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::displace::Displaced;
use crate::register::Register;
use crate::rooms::Room;
use crate::slot::{AssertResult, BindResult, Claim};
use crate::table::{Entered, Found, Refusal};

/// Changes of one stream are made in its order (R2).
const IN_ORDER: ServeOptions = ServeOptions { concurrency: 1 };
/// Lookups have no order; a batch that waits for a view holds up only some.
const SIDE_BY_SIDE: ServeOptions = ServeOptions { concurrency: 8 };

pub(crate) struct Service {
    register: Arc<Register>,
    stop: CancellationToken,
}

impl Service {
    pub(crate) fn new(register: Arc<Register>, stop: CancellationToken) -> Service {
        Service { register, stop }
    }
}

#[tonic::async_trait]
impl register_server::Register for Service {
    type ChangeStream = PipelineStream<RegisterChange>;
    type LookupStream = PipelineStream<RegisterLookup>;

    async fn change(
        &self,
        request: Request<Streaming<ChangeBatch>>,
    ) -> Result<Response<Self::ChangeStream>, Status> {
        let register = self.register.clone();
        let handler = move |requests| change(register.clone(), requests);
        Ok(serve::<RegisterChange, _, _>(request.into_inner(), IN_ORDER, &self.stop, handler))
    }

    async fn lookup(
        &self,
        request: Request<Streaming<LookupBatch>>,
    ) -> Result<Response<Self::LookupStream>, Status> {
        let register = self.register.clone();
        let handler = move |requests| lookup(register.clone(), requests);
        Ok(serve::<RegisterLookup, _, _>(request.into_inner(), SIDE_BY_SIDE, &self.stop, handler))
    }
}

/// Waits once for the latest view of the batch, then makes all changes without waiting: a stream that dies leaves nothing
/// behind that would be done later, out of order.
async fn change(register: Arc<Register>, requests: Vec<ChangeRequest>) -> Vec<ChangeReply> {
    register.catch_up(requests.iter().map(|r| r.view).max().unwrap_or(0)).await;
    let mut changing = Changing { table: register.table.enter(), register: &register, displaced: Vec::new() };
    let replies = requests.into_iter().map(|request| changing.one(request)).collect();
    let Changing { table, displaced, .. } = changing;
    drop(table);
    register.displacer.tell(displaced);
    replies
}

/// A batch of changes under one view.
struct Changing<'a> {
    table: Entered<'a>,
    register: &'a Register,
    displaced: Vec<Displaced>,
}

impl Changing<'_> {
    fn one(&mut self, request: ChangeRequest) -> ChangeReply {
        let view = request.view;
        let answer = match request.what {
            Some(What::Bind(bind)) => self.bind(view, bind),
            Some(What::Unbind(unbind)) => self.unbind(view, unbind),
            Some(What::Assert(assert)) => self.assert(view, assert),
            Some(What::SlotDone(done)) => self.done(view, done),
            None => Err(Error::invalid("field `what` is missing")),
        };
        let what = answer.unwrap_or_else(|error| Answer::Error(error.into()));
        ChangeReply { what: Some(what), view: self.table.view() }
    }

    fn bind(&mut self, view: u64, bind: Bind) -> Result<Answer, Error> {
        let key = required(bind.key, "key")?.into();
        let claim = Claim {
            room: Room { number: bind.node, incarnation: bind.incarnation },
            session: SessionId(bind.session),
            device: required(bind.device, "device")?.into(),
        };
        match self.table.bind(view, key, claim).map_err(|r| self.refused(r))? {
            BindResult::Stale => {
                self.register.metrics.stale.inc();
                Ok(Answer::Bind(BindReply { stale: true, ..BindReply::default() }))
            }
            BindResult::Bound { stamp, displaced } => {
                self.register.metrics.bound.inc();
                self.displace(key, displaced);
                let displaced = displaced.map(Into::into);
                Ok(Answer::Bind(BindReply { stale: false, stamp: Some(stamp.into()), displaced }))
            }
        }
    }

    fn unbind(&mut self, view: u64, unbind: Unbind) -> Result<Answer, Error> {
        let key = required(unbind.key, "key")?.into();
        let route = required(unbind.route, "route")?.into();
        let removed = self.table.unbind(view, key, route).map_err(|r| self.refused(r))?;
        Ok(Answer::Unbind(UnbindReply { removed }))
    }

    fn assert(&mut self, view: u64, assert: Assert) -> Result<Answer, Error> {
        let key = required(assert.key, "key")?.into();
        let route: Route = required(assert.route, "route")?.into();
        let device = required(assert.device, "device")?.into();
        match self.table.assert(view, key, route, device).map_err(|r| self.refused(r))? {
            AssertResult::Displaced => Ok(Answer::Assert(AssertReply { displaced: true })),
            AssertResult::Stands { displaced } => {
                self.displace(key, displaced);
                Ok(Answer::Assert(AssertReply { displaced: false }))
            }
        }
    }

    fn done(&mut self, view: u64, done: SlotDone) -> Result<Answer, Error> {
        let no_slot = || Error::invalid(format!("slot {} does not exist", done.slot));
        let slot = Slot::new(done.slot).ok_or_else(no_slot)?;
        let room = Room { number: done.node, incarnation: done.incarnation };
        self.table.done(view, slot, done.generation, room).map_err(|r| self.refused(r))?;
        Ok(Answer::SlotDone(Empty {}))
    }

    fn displace(&mut self, key: AddressKey, route: Option<Route>) {
        self.displaced.extend(route.map(|route| Displaced { key, route }));
    }

    fn refused(&self, refusal: Refusal) -> Error {
        self.register.metrics.refused.inc();
        error(refusal, self.table.view())
    }
}

async fn lookup(register: Arc<Register>, requests: Vec<LookupRequest>) -> Vec<LookupReply> {
    register.catch_up(requests.iter().map(|r| r.view).max().unwrap_or(0)).await;
    let table = register.table.enter();
    let view = table.view();
    let found: Vec<Result<Found, Error>> = requests
        .into_iter()
        .map(|request| {
            let key = required(request.key, "key")?.into();
            table.lookup(request.view, key).map_err(|refusal| error(refusal, view))
        })
        .collect();
    drop(table);
    // Looked at last: a pause of the process before this is noticed (R3).
    let lease_valid = register.member.lease_valid();
    found.into_iter().map(|found| lookup_reply(&register, found, lease_valid, view)).collect()
}

fn lookup_reply(
    register: &Register,
    found: Result<Found, Error>,
    lease_valid: bool,
    view: u64,
) -> LookupReply {
    let metrics = &register.metrics;
    let (counter, route, error) = match found {
        Ok(Found::Route(route)) => (&metrics.hit, Some(route.into()), None),
        Ok(Found::Nothing) if lease_valid => (&metrics.miss, None, None),
        Ok(Found::Nothing) => (&metrics.unknown, None, Some(unknown("this register's lease has run out"))),
        Ok(Found::Unknown) => (&metrics.unknown, None, Some(unknown("the slot is refilling"))),
        Err(error) => (&metrics.refused, None, Some(error)),
    };
    counter.inc();
    LookupReply { route, error: error.map(Into::into), view }
}

fn unknown(why: &str) -> Error {
    Error::new(ErrorCode::Refilling, why)
}

fn error(refusal: Refusal, view: u64) -> Error {
    match refusal {
        Refusal::NotOwner => {
            Error::new(ErrorCode::WrongNode, format!("the slot is another's in view {view}"))
        }
        Refusal::Behind => Error::unavailable(format!("this register knows view {view} only")),
        Refusal::NotInView(room) => Error::unavailable(format!(
            "room {} of incarnation {} is not in view {view}",
            room.number, room.incarnation
        )),
    }
}
