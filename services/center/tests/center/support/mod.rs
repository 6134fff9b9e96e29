//! A center among fakes, all over real sockets on loopback.

pub(crate) mod coordinator;
pub(crate) mod register;
pub(crate) mod room;
pub(crate) mod saver;

use std::net::SocketAddr;
use std::time::Duration;

use longline_auth::ProductKey;
use longline_boot::Deps;
use longline_center::{Config, bind};
use longline_fakes::{FakeKeeper, node};
use longline_pb::coordinator::coordinator_server::CoordinatorServer;
use longline_pb::register::register_server::RegisterServer;
use longline_pb::room::room_server::RoomServer;
use longline_pb::saver::saver_server::SaverServer;
use longline_pb::saver::{self as pb};
use longline_types::{Node, NodeState, ProductId, Role};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use coordinator::FakeCoordinator;
use register::FakeRegister;
use room::FakeRoom;
use saver::FakeSaver;

/// Number that the keeper gives the first center; the next gets the next.
pub(crate) const CENTER: u32 = 505;
/// Everything that is waited for comes within this, also on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);
pub(crate) const PRODUCT: u32 = 7;
pub(crate) const ADMIN_KEY: &str = "the operators' own key";

/// The fakes.
pub(crate) struct Cluster {
    pub(crate) keeper: FakeKeeper,
    pub(crate) saver: FakeSaver,
    pub(crate) register: FakeRegister,
    pub(crate) rooms: [FakeRoom; 2],
    pub(crate) coordinator: FakeCoordinator,
    pub(crate) key: ProductKey,
}

/// A running center and an HTTP client for it.
pub(crate) struct Center {
    pub(crate) address: SocketAddr,
    pub(crate) deps: Deps,
    client: reqwest::Client,
    key: String,
    shutdown: CancellationToken,
    ended: JoinHandle<anyhow::Result<()>>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Cluster {
    pub(crate) async fn start() -> Cluster {
        let (saver, register) = (FakeSaver::default(), FakeRegister::default());
        let rooms = [FakeRoom::new(3), FakeRoom::new(4)];
        let coordinator = FakeCoordinator::default();
        let mut nodes = Vec::new();
        let mut add = async |number, role| {
            let (listener, address) = listener().await;
            let public = vec![format!("{role}-{number}.example:9000")];
            nodes.push(Node { public, registered_at_ms: 1_735_689_600_000, ..node(number, role, address) });
            listener
        };
        serve(add(saver::SAVER, Role::Saver).await, SaverServer::new(saver.clone()));
        serve(add(2, Role::Register).await, RegisterServer::new(register.clone()));
        for room in &rooms {
            serve(add(room.number, Role::Room).await, RoomServer::new(room.clone()));
        }
        serve(add(5, Role::Coordinator).await, CoordinatorServer::new(coordinator.clone()));
        let key = ProductKey::generate(ProductId(PRODUCT));
        saver.store_product(product(&key));
        Cluster { keeper: FakeKeeper::start(nodes).await, saver, register, rooms, coordinator, key }
    }

    /// A center that is ready to serve. Its deadlines are long, so that a busy machine changes nothing; a test that waits for
    /// one sets it.
    pub(crate) async fn center(&self) -> Center {
        self.center_with(|_| {}).await
    }

    /// State of the first center as the keeper has it; none once it has left.
    pub(crate) fn center_state(&self) -> Option<NodeState> {
        self.keeper.views().borrow().node(CENTER).map(|node| node.state)
    }

    pub(crate) async fn center_with(&self, change: impl FnOnce(&mut Config)) -> Center {
        let mut config = Config::default();
        config.node.keepers = vec![self.keeper.address.clone()];
        config.node.shutdown_s = 20;
        config.admin_key_sha256 = Some(sha256_hex(ADMIN_KEY));
        config.put_timeout_ms = 60_000;
        config.ask_timeout_ms = 20_000;
        config.hints.step_timeout_ms = 60_000;
        config.http.request_timeout_ms = 60_000;
        config.broadcasts.claim_every_ms = 200;
        config.broadcasts.lease_ms = 3_600_000;
        config.broadcasts.poll_every_ms = 20;
        change(&mut config);
        let (deps, shutdown) = (Deps::default(), CancellationToken::new());
        let bound = bind(config, deps.clone()).await.unwrap();
        let address = bound.rpc();
        let ended = tokio::spawn(bound.run(shutdown.clone()));
        tokio::time::timeout(SOON, deps.health.wait_ready()).await.expect("ready in time");
        let (client, key) = (reqwest::Client::new(), self.key.expose().to_owned());
        Center { address, deps, client, key, shutdown, ended }
    }
}

impl Center {
    /// A request with the product's key.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.bare(method, path).bearer_auth(&self.key)
    }

    /// A request with the operators' key.
    pub(crate) fn admin(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.bare(method, path).bearer_auth(ADMIN_KEY)
    }

    /// A request without a key.
    pub(crate) fn bare(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address)).timeout(SOON)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        answer(self.request(Method::GET, path)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        answer(self.request(Method::DELETE, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        answer(self.request(Method::POST, path).json(&body)).await
    }

    /// Sends to one user and returns the message's id.
    pub(crate) async fn send(&self, user: &str, payload: Value) -> u64 {
        let body = serde_json::json!({ "to": { "user": user }, "payload": payload });
        let answer = self.post("/v1/messages", body).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        id(&answer.body["messages"][0]["id"])
    }

    /// A counter's value, by its name and labels as `/metrics` shows them.
    pub(crate) fn counter(&self, line: &str) -> u64 {
        let text = prometheus::TextEncoder::new().encode_to_string(&self.deps.registry.gather()).unwrap();
        let value = text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
        value.map_or(0, |v| v.parse().unwrap())
    }

    /// Stops in order and waits for the end.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(SOON, self.ended).await.expect("stopped in time").unwrap().unwrap();
    }
}

impl Answer {
    /// Checks that it is this problem, whole.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, code: &str) -> &Answer {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        assert_eq!(self.body["code"], code, "{self:?}");
        assert_eq!(self.body["status"], status, "{self:?}");
        assert_eq!(self.body["type"], format!("urn:longline:problem:{code}"), "{self:?}");
        assert!(!self.body["title"].as_str().unwrap().is_empty(), "{self:?}");
        assert!(!self.body["detail"].as_str().unwrap().is_empty(), "{self:?}");
        self
    }

    /// Checks that the detail says this.
    #[track_caller]
    pub(crate) fn says(&self, what: &str) {
        assert!(self.body["detail"].as_str().unwrap().contains(what), "{what:?} in {self:?}");
    }
}

pub(crate) async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.unwrap();
    Answer { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
}

/// An id as JSON has it.
#[track_caller]
pub(crate) fn id(value: &Value) -> u64 {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).parse().unwrap()
}

/// Waits until this is so.
pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    longline_testkit::eventually(SOON, what, async || is_so()).await;
}

pub(crate) async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// Serves a fake for the rest of the test.
pub(crate) fn serve<S>(listener: TcpListener, service: S)
where
    S: tonic::codegen::Service<
            http::Request<tonic::body::Body>,
            Response = http::Response<tonic::body::Body>,
            Error = std::convert::Infallible,
        > + tonic::server::NamedService
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    let routes = Routes::new(service);
    tokio::spawn(longline_rpc::listen(listener, routes, CancellationToken::new(), Duration::ZERO));
}

fn product(key: &ProductKey) -> pb::Product {
    pb::Product {
        id: PRODUCT,
        name: "shop".into(),
        revision: 1,
        keys: vec![pb::ProductKey { sha256: key.sha256().to_vec(), expires_at_ms: 0 }],
        inbox_limit: 50,
        max_ttl_s: 3600,
        default_ttl_s: 600,
        ..pb::Product::default()
    }
}

fn sha256_hex(text: &str) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}
