//! A cluster of a keeper, registers and rooms that are only as much of a room as a register needs.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longline_boot::Deps;
use longline_config::NodeConfig;
use longline_keeper::Config as KeeperConfig;
use longline_member::{Member, Options, join};
use longline_pb::register::change_reply::What as Answer;
use longline_pb::register::change_request::What;
use longline_pb::register::{
    Assert, AssertReply, Bind, BindReply, ChangeReply, ChangeRequest, LookupReply, LookupRequest, SlotDone,
    Unbind,
};
use longline_pb::room::room_server::{self, RoomServer};
use longline_pb::room::{
    BroadcastProgress, BroadcastRequest, DeliverBatch, DisplaceBatch, DisplaceReply, DisplaceRequest,
    InspectReply, InspectRequest, KickReply, KickRequest,
};
use longline_register::Config;
use longline_rpc::methods::{RegisterChange, RegisterLookup, RoomDeliver, RoomDisplace};
use longline_rpc::{Peers, PipelineOptions, PipelineStream, Pipelines, ServeOptions, serve};
use longline_types::{Address, AddressKey, Device, NodeState, Role, Route, Slot, SlotOwner, Stamp, View};
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Starts a keeper with a lease of a second, for as long as the test's runtime.
pub(crate) async fn start_keeper(folder: &std::path::Path) -> SocketAddr {
    start_keeper_until(folder, CancellationToken::new()).await
}

/// Starts a keeper that can be stopped.
pub(crate) async fn start_keeper_until(folder: &std::path::Path, shutdown: CancellationToken) -> SocketAddr {
    let mut config = KeeperConfig { data: folder.to_owned(), lease_ms: 1_000, ..KeeperConfig::default() };
    config.node.rpc = SocketAddr::from(([127, 0, 0, 1], 0));
    let bound = longline_keeper::bind(config, Deps::default()).await.unwrap();
    let address = bound.rpc();
    tokio::spawn(bound.run(shutdown));
    address
}

fn node_config(keeper: SocketAddr) -> NodeConfig {
    NodeConfig { keepers: vec![keeper.to_string()], shutdown_s: 60, ..NodeConfig::default() }
}

/// A register on threads of its own, so that it can be killed whole.
pub(crate) struct RegisterProcess {
    runtime: Option<Runtime>,
    shutdown: CancellationToken,
    ended: tokio::task::JoinHandle<anyhow::Result<()>>,
    pub(crate) rpc: SocketAddr,
    pub(crate) deps: Deps,
}

impl RegisterProcess {
    pub(crate) async fn start(keeper: SocketAddr) -> RegisterProcess {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (shutdown, deps) = (CancellationToken::new(), Deps::default());
        let config = Config { node: node_config(keeper), ..Config::default() };
        let bound = runtime.spawn(longline_register::bind(config, deps.clone())).await.unwrap().unwrap();
        let rpc = bound.rpc();
        let ended = runtime.spawn(bound.run(shutdown.clone()));
        RegisterProcess { runtime: Some(runtime), shutdown, ended, rpc, deps }
    }

    /// Ends it as a kill would: nothing is said, all sockets close.
    pub(crate) fn kill(mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Stops it in order.
    pub(crate) async fn stop(mut self) {
        self.shutdown.cancel();
        (&mut self.ended).await.unwrap().unwrap();
        self.kill();
    }

    /// A metric's value, summed over its labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let families = self.deps.registry.gather();
        let metrics = families.iter().filter(|f| f.name() == name).flat_map(|f| f.get_metric());
        metrics.map(|m| m.get_gauge().get_value() + m.get_counter().get_value()).sum()
    }
}

/// A session as its room holds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) key: AddressKey,
    pub(crate) route: Route,
    pub(crate) device: Device,
}

/// A room that binds, refills and hears of displacements; it has no devices.
pub(crate) struct FakeRoom {
    pub(crate) member: Member,
    changes: Pipelines<RegisterChange>,
    lookups: Pipelines<RegisterLookup>,
    pub(crate) displacements: Arc<Displacements>,
    sent: Mutex<HashMap<Slot, SlotOwner>>,
}

impl FakeRoom {
    /// Joins, and says that no slot has anything of it.
    pub(crate) async fn start(keeper: SocketAddr) -> FakeRoom {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let rpc = listener.local_addr().unwrap();
        let displacements = Arc::new(Displacements::default());
        let service = RoomServer::from_arc(displacements.clone());
        let routes = tonic::service::Routes::new(service);
        tokio::spawn(longline_rpc::listen(listener, routes, CancellationToken::new(), SOON));
        let options = Options {
            role: Role::Room,
            node: node_config(keeper),
            rpc,
            public: Vec::new(),
            noise_key: String::new(),
        };
        let member = join(options, CancellationToken::new()).await.unwrap();
        member.set_state(NodeState::Ready);
        let peers = Peers::new(member.view(), &Registry::new());
        let changes = peers.pipelines(PipelineOptions::default());
        let lookups = peers.pipelines(PipelineOptions::default());
        FakeRoom { member, changes, lookups, displacements, sent: Mutex::default() }
    }

    pub(crate) fn room(&self) -> (u32, u64) {
        let identity = self.member.current();
        (identity.number, identity.incarnation)
    }

    /// Waits for a view.
    pub(crate) async fn view_where(&self, what: &str, condition: impl Fn(&View) -> bool) -> Arc<View> {
        let mut view = self.member.view();
        let waiting = tokio::time::timeout(SOON, view.wait_for(|view| condition(view)));
        waiting.await.unwrap_or_else(|_| panic!("not in time: {what}")).unwrap().clone()
    }

    pub(crate) async fn bind(&self, user: &str, session: u64, device: Device) -> (Held, BindReply) {
        let (node, incarnation) = self.room();
        let key = key(user);
        let bind = Bind { key: Some(key.into()), node, incarnation, session, device: Some(device.into()) };
        let Answer::Bind(reply) = self.ask(key.slot(), What::Bind(bind)).await else { panic!("no bind") };
        let stamp: Stamp = reply.stamp.unwrap_or_default().into();
        let session = longline_types::SessionId(session);
        (Held { key, route: Route { stamp, node, incarnation, session }, device }, reply)
    }

    pub(crate) async fn unbind(&self, held: Held) -> bool {
        let unbind = Unbind { key: Some(held.key.into()), route: Some(held.route.into()) };
        let Answer::Unbind(reply) = self.ask(held.key.slot(), What::Unbind(unbind)).await else { panic!() };
        reply.removed
    }

    pub(crate) async fn assert(&self, held: Held) -> AssertReply {
        let (key, route, device) = (Some(held.key.into()), Some(held.route.into()), Some(held.device.into()));
        let answer = self.ask(held.key.slot(), What::Assert(Assert { key, route, device })).await;
        let Answer::Assert(reply) = answer else { panic!("{answer:?}") };
        reply
    }

    /// Sends what it holds of the slots that have a new owner, then that it is done with them (R2).
    pub(crate) async fn refill(&self, held: &[Held]) {
        let view = self.member.view().borrow().clone();
        let (node, incarnation) = self.room();
        let mut done: HashMap<u32, Vec<ChangeRequest>> = HashMap::new();
        for slot in Slot::all() {
            let owner = view.owner(slot).unwrap();
            if self.sent.lock().unwrap().get(&slot) == Some(&owner) {
                continue;
            }
            for held in held.iter().filter(|held| held.key.slot() == slot) {
                assert!(!self.assert(*held).await.displaced);
            }
            let generation = owner.generation;
            let what = SlotDone { slot: slot.index() as u32, generation, node, incarnation };
            let request = ChangeRequest { view: view.number, what: Some(What::SlotDone(what)) };
            done.entry(owner.node).or_default().push(request);
            self.sent.lock().unwrap().insert(slot, owner);
        }
        for (owner, done) in done {
            for reply in self.changes.call_group(owner, done, SOON).await {
                assert!(matches!(reply.unwrap().what, Some(Answer::SlotDone(_))));
            }
        }
    }

    /// Asks the slot's owner for a change, until it can serve it.
    async fn ask(&self, slot: Slot, what: What) -> Answer {
        longline_testkit::eventually_some(SOON, "the slot's owner serves", async || {
            let view = self.member.view().borrow().clone();
            let reply = self.change(view.owner(slot)?.node, view.number, what).await?;
            match reply.what? {
                Answer::Error(_) => None,
                answer => Some(answer),
            }
        })
        .await
    }

    /// One change, sent once.
    pub(crate) async fn change(&self, node: u32, view: u64, what: What) -> Option<ChangeReply> {
        self.changes.call(node, ChangeRequest { view, what: Some(what) }, SOON).await.ok()
    }

    /// Asks whom the view names for the user.
    pub(crate) async fn lookup(&self, user: &str) -> LookupReply {
        longline_testkit::eventually_some(SOON, "an answer", async || {
            let view = self.member.view().borrow().clone();
            self.lookup_at(view.owner(key(user).slot())?.node, view.number, user).await
        })
        .await
    }

    pub(crate) async fn lookup_at(&self, node: u32, view: u64, user: &str) -> Option<LookupReply> {
        let request = LookupRequest { key: Some(key(user).into()), view };
        self.lookups.call(node, request, SOON).await.ok()
    }
}

/// The key of a user of product 1.
pub(crate) fn key(user: &str) -> AddressKey {
    Address::new(1, user).unwrap().key()
}

/// What a fake room was told; it confirms nothing while it is deaf.
#[derive(Default)]
pub(crate) struct Displacements {
    pub(crate) heard: Arc<Mutex<Vec<DisplaceRequest>>>,
    pub(crate) deaf: AtomicBool,
    pub(crate) missed: AtomicUsize,
}

#[tonic::async_trait]
impl room_server::Room for Displacements {
    type DeliverStream = PipelineStream<RoomDeliver>;
    type DisplaceStream = PipelineStream<RoomDisplace>;

    async fn displace(
        &self,
        request: Request<Streaming<DisplaceBatch>>,
    ) -> Result<Response<Self::DisplaceStream>, Status> {
        if self.deaf.load(Ordering::SeqCst) {
            self.missed.fetch_add(1, Ordering::SeqCst);
            return Err(Status::unavailable("deaf"));
        }
        let heard = self.heard.clone();
        let handler = move |requests: Vec<DisplaceRequest>| {
            let replies = requests.iter().map(|_| DisplaceReply { found: true }).collect();
            heard.lock().unwrap().extend(requests);
            std::future::ready(replies)
        };
        let options = ServeOptions { concurrency: 1 };
        Ok(serve::<RoomDisplace, _, _>(request.into_inner(), options, &CancellationToken::new(), handler))
    }

    async fn deliver(
        &self,
        _request: Request<Streaming<DeliverBatch>>,
    ) -> Result<Response<Self::DeliverStream>, Status> {
        Err(Status::unimplemented("a fake room"))
    }

    async fn broadcast(
        &self,
        _request: Request<BroadcastRequest>,
    ) -> Result<Response<BroadcastProgress>, Status> {
        Err(Status::unimplemented("a fake room"))
    }

    async fn inspect(&self, _request: Request<InspectRequest>) -> Result<Response<InspectReply>, Status> {
        Err(Status::unimplemented("a fake room"))
    }

    async fn kick(&self, _request: Request<KickRequest>) -> Result<Response<KickReply>, Status> {
        Err(Status::unimplemented("a fake room"))
    }
}
