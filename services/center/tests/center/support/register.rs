//! A register that knows what the test tells it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use longline_pb::register::register_server::Register;
use longline_pb::register::{
    ChangeBatch, ChangeReply, ChangeRequest, LookupBatch, LookupReply, LookupRequest, UnbindReply,
    change_reply, change_request,
};
use longline_rpc::methods::{RegisterChange, RegisterLookup};
use longline_rpc::{PipelineStream, ServeOptions, serve};
use longline_types::{Address, AddressKey, Error, ErrorCode, Route};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

#[derive(Clone, Default)]
pub(crate) struct FakeRegister(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    routes: HashMap<AddressKey, Route>,
    /// Where an address turns up when its route is removed.
    moves: HashMap<AddressKey, Route>,
    refilling: bool,
    lookups: usize,
    /// Keeps the reply of the next lookups.
    held: Option<Arc<Notify>>,
    unbound: Vec<Route>,
}

impl FakeRegister {
    pub(crate) fn bind(&self, user: &str, route: Route) {
        self.0.lock().unwrap().routes.insert(key(user), route);
    }

    /// When the address's route is removed, this one stands there.
    pub(crate) fn then(&self, user: &str, route: Route) {
        self.0.lock().unwrap().moves.insert(key(user), route);
    }

    pub(crate) fn set_refilling(&self, refilling: bool) {
        self.0.lock().unwrap().refilling = refilling;
    }

    /// The next lookups are answered only once this is notified; those after them at once.
    pub(crate) fn hold_next(&self) -> Arc<Notify> {
        self.0.lock().unwrap().held.insert(Arc::default()).clone()
    }

    /// Addresses looked up.
    pub(crate) fn lookups(&self) -> usize {
        self.0.lock().unwrap().lookups
    }

    /// Routes removed, in order.
    pub(crate) fn unbound(&self) -> Vec<Route> {
        self.0.lock().unwrap().unbound.clone()
    }

    fn look_up(&self, request: LookupRequest) -> LookupReply {
        let mut known = self.0.lock().unwrap();
        known.lookups += 1;
        if known.refilling {
            let error = Error::new(ErrorCode::Refilling, "refilling");
            return LookupReply { error: Some(error.into()), ..LookupReply::default() };
        }
        let route = known.routes.get(&request.key.unwrap().into()).copied();
        LookupReply { route: route.map(Into::into), ..LookupReply::default() }
    }

    fn change(&self, request: ChangeRequest) -> ChangeReply {
        let Some(change_request::What::Unbind(unbind)) = request.what else {
            panic!("a center only unbinds: {request:?}");
        };
        let (key, route) = (AddressKey::from(unbind.key.unwrap()), Route::from(unbind.route.unwrap()));
        let mut known = self.0.lock().unwrap();
        let removed = known.routes.get(&key) == Some(&route);
        if removed {
            known.routes.remove(&key);
            known.unbound.push(route);
            if let Some(next) = known.moves.remove(&key) {
                known.routes.insert(key, next);
            }
        }
        ChangeReply { what: Some(change_reply::What::Unbind(UnbindReply { removed })), view: request.view }
    }
}

fn key(user: &str) -> AddressKey {
    Address::new(super::PRODUCT, user).unwrap().key()
}

#[tonic::async_trait]
impl Register for FakeRegister {
    type ChangeStream = PipelineStream<RegisterChange>;
    type LookupStream = PipelineStream<RegisterLookup>;

    async fn change(
        &self,
        request: Request<Streaming<ChangeBatch>>,
    ) -> Result<Response<Self::ChangeStream>, Status> {
        let fake = self.clone();
        let options = ServeOptions { concurrency: 1 };
        Ok(serve::<RegisterChange, _, _>(
            request.into_inner(),
            options,
            &CancellationToken::new(),
            move |batch| {
                let replies = batch.into_iter().map(|request| fake.change(request)).collect();
                std::future::ready(replies)
            },
        ))
    }

    async fn lookup(
        &self,
        request: Request<Streaming<LookupBatch>>,
    ) -> Result<Response<Self::LookupStream>, Status> {
        let fake = self.clone();
        let options = ServeOptions { concurrency: 8 };
        Ok(serve::<RegisterLookup, _, _>(
            request.into_inner(),
            options,
            &CancellationToken::new(),
            move |batch| {
                let replies = batch.into_iter().map(|request| fake.look_up(request)).collect();
                let held = fake.0.lock().unwrap().held.take();
                async move {
                    if let Some(held) = held {
                        held.notified().await;
                    }
                    replies
                }
            },
        ))
    }
}
