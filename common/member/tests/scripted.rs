//! A member against a keeper that answers as the test says. What a real one does is tested in `services/keeper`.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::time::{Duration, Instant};

use longline_config::NodeConfig;
use longline_member::{Member, Options, join};
use longline_pb::keeper::keeper_server::{self, KeeperServer};
use longline_pb::keeper::{
    self, ConfigEntry, ConfigEvent, IdGrant, LeaveRequest, Node, ReadConfigRequest, RegisterRequest,
    Registration, RenewReply, RenewRequest, View, ViewEvent, WatchConfigRequest, WatchViewRequest,
    WriteConfigRequest,
};
use longline_pb::types::Empty;
use longline_testkit::eventually;
use longline_types::{Error, Load, NodeState, Role, now_ms};
use tokio::net::TcpListener;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

const SOON: Duration = Duration::from_secs(20);

/// What the keeper answers, and what it was asked.
#[derive(Default)]
struct Script {
    cluster: String,
    view_number: u64,
    lease_ms: u32,
    grant_ms: u64,
    known: HashSet<u64>,
    granted_until_ms: u64,
    registrations: Vec<RegisterRequest>,
    renewals: Vec<RenewRequest>,
    leaves: Vec<LeaveRequest>,
    /// Is told of each renewal.
    renewed: Option<mpsc::Sender<()>>,
}

impl Script {
    fn grant(&mut self) -> IdGrant {
        let from_ms = self.granted_until_ms.max(now_ms());
        self.granted_until_ms = from_ms + self.grant_ms;
        IdGrant { number: 1, from_ms, until_ms: self.granted_until_ms }
    }
}

#[derive(Clone)]
struct Keeper {
    script: Arc<Mutex<Script>>,
    address: SocketAddr,
}

impl Keeper {
    async fn start(lease_ms: u32, grant_ms: u64) -> Keeper {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let script =
            Script { cluster: "one".into(), view_number: 50, lease_ms, grant_ms, ..Script::default() };
        let keeper = Keeper { script: Arc::new(Mutex::new(script)), address: listener.local_addr().unwrap() };
        let routes = tonic::service::Routes::new(KeeperServer::new(keeper.clone()));
        tokio::spawn(longline_rpc::listen(listener, routes, CancellationToken::new(), SOON));
        keeper
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    async fn join(&self) -> Member {
        let node = NodeConfig { keepers: vec![self.address.to_string()], ..NodeConfig::default() };
        let options = Options {
            role: Role::Center,
            node,
            rpc: self.address,
            public: Vec::new(),
            noise_key: String::new(),
        };
        join(options, CancellationToken::new()).await.unwrap()
    }
}

#[tonic::async_trait]
impl keeper_server::Keeper for Keeper {
    type WatchViewStream = ReceiverStream<Result<ViewEvent, Status>>;
    type WatchConfigStream = ReceiverStream<Result<ConfigEvent, Status>>;

    async fn register(&self, request: Request<RegisterRequest>) -> Result<Response<Registration>, Status> {
        let mut script = self.script();
        script.registrations.push(request.into_inner());
        let incarnation = script.registrations.len() as u64;
        script.known.insert(incarnation);
        let node = Node { number: 1, incarnation, role: keeper::Role::Center.into(), ..Node::default() };
        let view = View { number: script.view_number, nodes: vec![node], ..View::default() };
        Ok(Response::new(Registration {
            number: 1,
            incarnation,
            lease_ms: script.lease_ms,
            grant: Some(script.grant()),
            view: Some(view),
            cluster: script.cluster.clone(),
        }))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewReply>, Status> {
        let request = request.into_inner();
        let mut script = self.script();
        if !script.known.contains(&request.incarnation) {
            return Err(longline_rpc::status(Error::not_found("it has ended")));
        }
        script.renewals.push(request);
        if let Some(renewed) = &script.renewed {
            let _ = renewed.send(());
        }
        let grant = request.want_grant.then(|| script.grant());
        Ok(Response::new(RenewReply { view_number: script.view_number, grant, now_ms: now_ms() }))
    }

    async fn leave(&self, request: Request<LeaveRequest>) -> Result<Response<Empty>, Status> {
        self.script().leaves.push(request.into_inner());
        Ok(Response::new(Empty {}))
    }

    async fn watch_view(
        &self,
        _request: Request<WatchViewRequest>,
    ) -> Result<Response<Self::WatchViewStream>, Status> {
        Err(Status::unimplemented("registrations bring the views here"))
    }

    async fn watch_config(
        &self,
        _request: Request<WatchConfigRequest>,
    ) -> Result<Response<Self::WatchConfigStream>, Status> {
        Err(Status::unimplemented("not asked by a member"))
    }

    async fn read_config(
        &self,
        _request: Request<ReadConfigRequest>,
    ) -> Result<Response<ConfigEntry>, Status> {
        Err(Status::unimplemented("not asked by a member"))
    }

    async fn write_config(
        &self,
        _request: Request<WriteConfigRequest>,
    ) -> Result<Response<ConfigEntry>, Status> {
        Err(Status::unimplemented("not asked by a member"))
    }
}

#[tokio::test]
async fn a_change_of_state_is_told_at_once_with_the_load() {
    let keeper = Keeper::start(60_000, 60_000).await;
    let member = keeper.join().await;
    assert_eq!(keeper.script().registrations[0].state(), keeper::NodeState::Starting);
    member.set_load(Load { sessions: 4, ..Load::default() });
    member.set_state(NodeState::Ready);
    eventually(SOON, "a renewal long before it is due", async || {
        let script = keeper.script();
        script.renewals.iter().any(|r| r.state() == keeper::NodeState::Ready && r.load.unwrap().sessions == 4)
    })
    .await;
    member.leave().await;
    let left = keeper.script().leaves.clone();
    assert_eq!((left.len(), left[0].incarnation), (1, 1));
    assert!(!member.lease_valid());
}

#[tokio::test]
async fn ids_go_on_beyond_the_first_grant_i1() {
    let keeper = Keeper::start(150, 300).await;
    let member = keeper.join().await;
    let first_until_ms = keeper.script().granted_until_ms;
    eventually(SOON, "time goes beyond the first grant", async || now_ms() > first_until_ms + 300).await;
    let ids = member.ids();
    eventually(SOON, "ids are made there", async || {
        ids.make(now_ms()).is_ok_and(|id| id.time_ms() > first_until_ms)
    })
    .await;
    let script = keeper.script();
    let wanted = script.renewals.iter().filter(|r| r.want_grant).count();
    assert!(wanted >= 1 && wanted < script.renewals.len(), "only where half is used");
}

/// The keeper is on another runtime: this one, which is the node's, stands still.
#[test]
fn a_node_that_is_late_keeps_its_lease() {
    let elsewhere =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let keeper = elsewhere.block_on(Keeper::start(300, 60_000));
    let here = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    here.block_on(async {
        let member = keeper.join().await;
        let (renewed, renewals) = mpsc::channel();
        keeper.script().renewed = Some(renewed);
        let begun = Instant::now();
        for _ in 0..6 {
            renewals.recv_timeout(SOON).expect("renewed while the node is at work");
        }
        assert!(begun.elapsed() > Duration::from_millis(300), "for longer than a lease");
        assert!(member.lease_valid());
    });
}

#[tokio::test]
async fn a_lost_registration_is_replaced_by_name_r4() {
    let keeper = Keeper::start(150, 60_000).await;
    let member = keeper.join().await;
    member.set_state(NodeState::Draining);
    let mut identity = member.identity();
    keeper.script().known.clear();
    tokio::time::timeout(SOON, identity.changed()).await.unwrap().unwrap();
    assert_eq!(identity.borrow().incarnation, 2);
    let again = keeper.script().registrations[1].clone();
    assert_eq!((again.previous_incarnation, again.state()), (1, keeper::NodeState::Draining));
}

#[tokio::test]
async fn views_go_back_only_with_another_cluster() {
    let keeper = Keeper::start(150, 60_000).await;
    let member = keeper.join().await;
    let mut identity = member.identity();
    let mut lose = async |cluster: &str, view_number: u64| {
        {
            let mut script = keeper.script();
            (script.cluster, script.view_number) = (cluster.to_owned(), view_number);
            script.known.clear();
        }
        tokio::time::timeout(SOON, identity.changed()).await.unwrap().unwrap();
        identity.borrow_and_update();
        member.view().borrow().number
    };
    assert_eq!(lose("one", 40).await, 50, "an older view is not adopted");
    assert_eq!(lose("one", 60).await, 60);
    assert_eq!(lose("two", 3).await, 3, "another cluster counts anew");
}
