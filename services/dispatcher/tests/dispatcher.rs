//! A dispatcher with a keeper whose view has rooms, asked over HTTP and gRPC on its one port.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use longline_boot::Deps;
use longline_dispatcher::{Config, bind};
use longline_fakes::{FakeKeeper, node};
use longline_pb::dispatcher::RouteRequest;
use longline_pb::dispatcher::dispatcher_client::DispatcherClient;
use longline_testkit::eventually;
use longline_types::{Node, NodeState, Role};
use reqwest::{Response, StatusCode};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(20);

struct Running {
    keeper: FakeKeeper,
    deps: Deps,
    base: String,
    http: reqwest::Client,
    shutdown: CancellationToken,
    ended: JoinHandle<anyhow::Result<()>>,
}

fn room(number: u32, idc: &str) -> Node {
    let mut room = node(number, Role::Room, "127.0.0.1:1".into());
    room.public = vec![format!("room-{number}:9000")];
    room.idc = idc.into();
    room
}

fn rooms(count: u32) -> Vec<Node> {
    (1..=count).map(|number| room(number, "default")).collect()
}

async fn start(mut config: Config, rooms: Vec<Node>) -> Running {
    let keeper = FakeKeeper::start(rooms).await;
    config.node.keepers = vec![keeper.address.clone()];
    let (deps, shutdown) = (Deps::default(), CancellationToken::new());
    let bound = bind(config, deps.clone()).await.unwrap();
    assert_eq!(bound.public(), [bound.rpc()]);
    let base = format!("http://{}", bound.rpc());
    let ended = tokio::spawn(bound.run(shutdown.clone()));
    tokio::time::timeout(SOON, deps.health.wait_ready()).await.expect("ready in time");
    Running { keeper, deps, base, http: reqwest::Client::new(), shutdown, ended }
}

impl Running {
    async fn get(&self, path: &str) -> Response {
        self.http.get(format!("{}{path}", self.base)).send().await.unwrap()
    }

    async fn route(&self, user: &str, more: &str) -> Vec<String> {
        let response = self.get(&format!("/v1/route?product=7&user={user}{more}")).await;
        assert_eq!(response.status(), StatusCode::OK);
        let body: Value = response.json().await.unwrap();
        body["endpoints"].as_array().unwrap().iter().map(|e| e.as_str().unwrap().to_owned()).collect()
    }

    fn metric(&self, line: &str) -> u64 {
        let text = prometheus::TextEncoder::new().encode_to_string(&self.deps.registry.gather()).unwrap();
        text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' ')).map_or(0, |v| v.parse().unwrap())
    }
}

#[tokio::test]
async fn a_client_gets_three_rooms_and_the_same_again() {
    let dispatcher = start(Config::default(), rooms(5)).await;
    let response = dispatcher.get("/v1/route?product=7&user=alice&network=wifi&attempt=0").await;
    assert_eq!(response.headers()["cache-control"], "no-store");
    let body: Value = response.json().await.unwrap();
    assert_eq!((body["endpoints"].as_array().unwrap().len(), &body["ttl_s"]), (3, &60.into()));
    assert_eq!(body.as_object().unwrap().len(), 2);
    let first = dispatcher.route("alice", "").await;
    assert_eq!(first, dispatcher.route("alice", "").await);
    assert_ne!(first, dispatcher.route("alice", "&attempt=1").await);
    assert_eq!(dispatcher.metric(r#"longline_dispatcher_requests_total{result="ok"}"#), 4);
}

#[tokio::test]
async fn keys_for_noise_come_with_the_rooms_that_have_one() {
    let mut rooms = rooms(2);
    rooms[1].noise_key = "the key of room 2".into();
    let dispatcher = start(Config::default(), rooms).await;
    let body: Value = dispatcher.get("/v1/route?product=7&user=alice").await.json().await.unwrap();
    assert_eq!(body["endpoints"].as_array().unwrap().len(), 2);
    assert_eq!(body["noise_keys"], serde_json::json!({ "room-2:9000": "the key of room 2" }));
    let mut client = DispatcherClient::connect(dispatcher.base.clone()).await.unwrap();
    let request = RouteRequest { product: 7, user: "alice".into(), ..Default::default() };
    let reply = client.route(request).await.unwrap().into_inner();
    assert_eq!(reply.noise_keys["room-2:9000"], "the key of room 2");
}

#[tokio::test]
async fn grpc_says_the_same_on_the_same_port() {
    let dispatcher = start(Config::default(), rooms(5)).await;
    let mut client = DispatcherClient::connect(dispatcher.base.clone()).await.unwrap();
    for (user, attempt) in [("alice", 0), ("bob", 0), ("bob", 1)] {
        let request = RouteRequest { product: 7, user: user.into(), attempt, ..Default::default() };
        let reply = client.route(request).await.unwrap().into_inner();
        assert_eq!(reply.endpoints, dispatcher.route(user, &format!("&attempt={attempt}")).await);
        assert_eq!(reply.ttl_s, 60);
    }
    let status = client.route(RouteRequest { product: 7, ..Default::default() }).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    assert!(status.message().contains("`user`"), "{status}");
}

#[tokio::test]
async fn rooms_that_drain_start_or_leave_are_not_named() {
    let dispatcher = start(Config::default(), rooms(3)).await;
    let before = dispatcher.route("alice", "").await;
    assert_eq!(before.len(), 3);
    let set_state = |endpoint: &str, state| {
        let endpoint = endpoint.to_owned();
        dispatcher.keeper.change(move |nodes| {
            nodes.iter_mut().filter(|n| n.public.contains(&endpoint)).for_each(|n| n.state = state);
        });
    };
    set_state(&before[0], NodeState::Draining);
    set_state(&before[1], NodeState::Starting);
    eventually(SOON, "one room to be left", async || dispatcher.route("alice", "").await == before[2..])
        .await;
    set_state(&before[2], NodeState::Draining);
    let least_bad = async || {
        let mut group = dispatcher.route("alice", "").await;
        group.sort();
        group == {
            let mut draining = vec![before[0].clone(), before[2].clone()];
            draining.sort();
            draining
        }
    };
    eventually(SOON, "those that drain, since there are no others", least_bad).await;
    dispatcher.keeper.change(|nodes| nodes.retain(|n| n.role != Role::Room));
    let ask = || dispatcher.get("/v1/route?product=7&user=alice");
    eventually(SOON, "no room", async || ask().await.status() == StatusCode::SERVICE_UNAVAILABLE).await;
    let response = ask().await;
    assert!(response.headers().contains_key("retry-after"));
    let problem: Value = response.json().await.unwrap();
    assert_eq!((&problem["code"], &problem["status"]), (&"unavailable".into(), &503.into()));
}

#[tokio::test]
async fn own_idc_first_and_one_of_another() {
    let mut all = rooms(3);
    all.extend((11..=13).map(|number| room(number, "west")));
    let mut config = Config::default();
    config.node.idc = "west".into();
    let dispatcher = start(config, all).await;
    let group = dispatcher.route("alice", "").await;
    let is_west: Vec<bool> = group.iter().map(|e| e.starts_with("room-1") && e.len() == 12).collect();
    assert_eq!(is_west, [true, true, false], "{group:?}");
}

#[tokio::test]
async fn what_clients_report_lowers_a_room_for_others() {
    let config = Config { trusted_proxies: 1, ..Config::default() };
    let dispatcher = start(config, rooms(2)).await;
    let bad = dispatcher.route("user-0", "").await[0].clone();
    let share = async || {
        let mut share = 0;
        for n in 0..100 {
            share += u32::from(dispatcher.route(&format!("user-{n}"), "").await[0] == bad);
        }
        share
    };
    let before = share().await;
    let own = dispatcher.route("user-0", &format!("&failed={bad}")).await;
    assert_eq!((own[1].as_str(), own.len()), (bad.as_str(), 2), "who reports a room gets it last");
    for n in 0..40 {
        let path = format!("/v1/route?product=7&user=x&failed={bad},nobody:1");
        let asked = dispatcher.http.get(format!("{}{path}", dispatcher.base));
        asked.header("x-forwarded-for", format!("192.0.2.{n}")).send().await.unwrap();
    }
    let after = share().await;
    assert!(after < before / 2, "{before} of 100 users before, {after} after");
    assert_eq!(dispatcher.route("user-0", "").await.len(), 2, "it is still there");
    assert_eq!(dispatcher.metric(r#"longline_dispatcher_failure_reports_total{result="counted"}"#), 41);
    assert_eq!(dispatcher.metric(r#"longline_dispatcher_failure_reports_total{result="unknown_room"}"#), 40);
}

#[tokio::test]
async fn what_is_wrong_with_a_question_is_said() {
    let dispatcher = start(Config::default(), rooms(1)).await;
    let long = "x".repeat(129);
    for (path, status, word) in [
        ("/v1/route".to_owned(), 400, "`product`"),
        ("/v1/route?product=7".to_owned(), 400, "`user`"),
        ("/v1/route?product=x&user=a".to_owned(), 400, "`product`"),
        (format!("/v1/route?product=7&user={long}"), 400, "`user`"),
        ("/v1/route?product=7&user=a&network=carrier-pigeon".to_owned(), 400, "`network`"),
        ("/v1/route?product=7&user=a&attempt=-1".to_owned(), 400, "`attempt`"),
        ("/v1/route?product=7&user=%ff%00".to_owned(), 400, "`user`"),
        ("/v2".to_owned(), 404, "/v1/route"),
    ] {
        let response = dispatcher.get(&path).await;
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{path}");
        let problem: Value = response.json().await.unwrap();
        assert!(problem["detail"].as_str().unwrap().contains(word), "{path}: {problem}");
        assert_eq!(problem["status"], status);
    }
    let posted = dispatcher.http.post(format!("{}/v1/route", dispatcher.base)).send().await.unwrap();
    assert_eq!(
        (posted.status(), &posted.headers()["allow"]),
        (StatusCode::METHOD_NOT_ALLOWED, &"GET,HEAD".parse().unwrap())
    );
}

#[tokio::test]
async fn who_asks_too_much_is_told_to_wait() {
    let config = Config { per_ip_per_s: 1, per_ip_burst: 5, ..Config::default() };
    let dispatcher = start(config, rooms(1)).await;
    let mut last = StatusCode::OK;
    for _ in 0..20 {
        let response = dispatcher.get("/v1/route?product=7&user=a").await;
        last = response.status();
        if last == StatusCode::TOO_MANY_REQUESTS {
            assert!(response.headers().contains_key("retry-after"));
            assert_eq!(response.json::<Value>().await.unwrap()["code"], "resource_exhausted");
            break;
        }
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn a_stop_leaves_the_cluster() {
    let dispatcher = start(Config::default(), rooms(1)).await;
    dispatcher.shutdown.cancel();
    tokio::time::timeout(SOON, dispatcher.ended).await.expect("in time").unwrap().unwrap();
    assert!(dispatcher.keeper.views().borrow().live(Role::Dispatcher).next().is_none());
}
