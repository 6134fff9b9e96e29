//! Pipelines against real servers on loopback: batching, order, bounds, and what a caller learns when a server dies.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use longline_pb::register::register_server::{Register, RegisterServer};
use longline_pb::register::{
    AddressKey, ChangeBatch, ChangeReply, ChangeRequest, LookupBatch, LookupReply, LookupRequest, Unbind,
    change_request,
};
use longline_rpc::methods::{RegisterChange, RegisterLookup};
use longline_rpc::{Linger, Peers, PipelineOptions, PipelineStream, ServeOptions, WhenFull, listen, serve};
use longline_types::{ErrorCode, Load, Node, NodeState, Role, View};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

const SOON: Duration = Duration::from_secs(10);

/// Answers a lookup with the request's own number in `view`; a change with the count of changes so far.
#[derive(Clone, Default)]
struct Echo {
    shutdown: CancellationToken,
    changes: Arc<AtomicUsize>,
    largest_batch: Arc<AtomicUsize>,
    hold: Arc<AtomicBool>,
    released: Arc<Notify>,
    arrived: Arc<Notify>,
}

#[tonic::async_trait]
impl Register for Echo {
    type ChangeStream = PipelineStream<RegisterChange>;
    type LookupStream = PipelineStream<RegisterLookup>;

    async fn change(
        &self,
        request: Request<Streaming<ChangeBatch>>,
    ) -> Result<Response<Self::ChangeStream>, Status> {
        let changes = self.changes.clone();
        Ok(serve::<RegisterChange, _, _>(
            request.into_inner(),
            ServeOptions { concurrency: 1 },
            &self.shutdown,
            move |batch| {
                let changes = changes.clone();
                async move {
                    let mut replies = Vec::new();
                    for _ in batch {
                        tokio::task::yield_now().await;
                        let view = changes.fetch_add(1, Ordering::SeqCst) as u64;
                        replies.push(ChangeReply { what: None, view });
                    }
                    replies
                }
            },
        ))
    }

    async fn lookup(
        &self,
        request: Request<Streaming<LookupBatch>>,
    ) -> Result<Response<Self::LookupStream>, Status> {
        let this = self.clone();
        Ok(serve::<RegisterLookup, _, _>(
            request.into_inner(),
            ServeOptions { concurrency: 8 },
            &self.shutdown,
            move |batch| {
                let this = this.clone();
                async move {
                    this.largest_batch.fetch_max(batch.len(), Ordering::SeqCst);
                    this.arrived.notify_one();
                    while this.hold.load(Ordering::SeqCst) {
                        this.released.notified().await;
                    }
                    batch.into_iter().map(|r| LookupReply { view: r.view, ..Default::default() }).collect()
                }
            },
        ))
    }
}

struct Server {
    echo: Echo,
    address: String,
    running: tokio::task::JoinHandle<()>,
}

async fn server() -> Server {
    let echo = Echo::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let routes = tonic::service::Routes::new(RegisterServer::new(echo.clone()));
    let shutdown = echo.shutdown.clone();
    let running = tokio::spawn(async move { listen(listener, routes, shutdown, SOON).await.unwrap() });
    Server { echo, address, running }
}

fn node(number: u32, rpc: &str) -> Node {
    Node {
        number,
        incarnation: u64::from(number) + 100,
        role: Role::Register,
        name: String::new(),
        idc: String::new(),
        rpc: rpc.to_owned(),
        public: vec![],
        noise_key: String::new(),
        state: NodeState::Ready,
        load: Load::default(),
        registered_at_ms: 0,
        version: String::new(),
    }
}

fn peers(nodes: Vec<Node>) -> (watch::Sender<Arc<View>>, Peers) {
    let (sender, view) = watch::channel(Arc::new(View::new(1, nodes, vec![])));
    (sender, Peers::new(view, &prometheus::Registry::new()))
}

fn lookup(number: u64) -> LookupRequest {
    LookupRequest { key: Some(AddressKey { high: number, low: 0 }), view: number }
}

#[tokio::test]
async fn each_request_gets_its_own_reply_and_groups_travel_as_batches() {
    let server = server().await;
    let (_view, peers) = peers(vec![node(1, &server.address)]);
    let pipelines = peers.pipelines::<RegisterLookup>(PipelineOptions::default());
    let groups = (0..50u64).map(|g| {
        let pipelines = pipelines.clone();
        async move {
            let group: Vec<_> = (0..97).map(|i| lookup(g * 1000 + i)).collect();
            let replies = pipelines.call_group(1, group, SOON).await;
            for (i, reply) in replies.into_iter().enumerate() {
                assert_eq!(reply.unwrap().view, g * 1000 + i as u64);
            }
        }
    });
    futures::future::join_all(groups).await;
    let largest = server.echo.largest_batch.load(Ordering::SeqCst);
    assert!((97..=256).contains(&largest), "batches of {largest}");
}

#[tokio::test]
async fn an_ordered_pipeline_keeps_the_order_of_its_caller() {
    let server = server().await;
    let (_view, peers) = peers(vec![node(1, &server.address)]);
    let pipelines = peers.pipelines::<RegisterChange>(PipelineOptions::default());
    let request = ChangeRequest { view: 1, what: Some(change_request::What::Unbind(Unbind::default())) };
    let replies = pipelines.call_group(1, vec![request; 1000], SOON).await;
    let order: Vec<u64> = replies.into_iter().map(|r| r.unwrap().view).collect();
    assert_eq!(order, (0..1000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_full_pipeline_refuses_or_waits_as_it_was_told() {
    let server = server().await;
    server.echo.hold.store(true, Ordering::SeqCst);
    let (_view, peers) = peers(vec![node(1, &server.address)]);
    let options = PipelineOptions { in_flight_items: 10, ..PipelineOptions::default() };
    let refusing = peers.pipelines::<RegisterLookup>(options);
    let waiting = peers.pipelines::<RegisterLookup>(PipelineOptions { when_full: WhenFull::Wait, ..options });
    for pipelines in [&refusing, &waiting] {
        let pipelines = pipelines.clone();
        tokio::spawn(async move { pipelines.call_group(1, vec![lookup(0); 10], SOON).await });
        server.echo.arrived.notified().await;
    }
    let refused = refusing.call(1, lookup(1), SOON).now_or_never().expect("refused without waiting");
    assert_eq!(refused.unwrap_err().code, ErrorCode::ResourceExhausted);
    let late = waiting.call(1, lookup(1), Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(late.code, ErrorCode::ResourceExhausted);
    let waits = tokio::spawn({
        let waiting = waiting.clone();
        async move { waiting.call(1, lookup(2), SOON).await }
    });
    server.echo.hold.store(false, Ordering::SeqCst);
    server.echo.released.notify_waiters();
    assert_eq!(waits.await.unwrap().unwrap().view, 2);
}

#[tokio::test]
async fn what_was_in_flight_when_a_server_died_is_unknown() {
    // A runtime of its own, so that the server can die with its connections as a process does.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = runtime.spawn(server()).await.unwrap();
    server.echo.hold.store(true, Ordering::SeqCst);
    let (_view, peers) = peers(vec![node(1, &server.address)]);
    let pipelines = peers.pipelines::<RegisterLookup>(PipelineOptions::default());
    let hanging = tokio::spawn({
        let pipelines = pipelines.clone();
        async move { pipelines.call(1, lookup(1), SOON).await }
    });
    server.echo.arrived.notified().await;
    runtime.shutdown_background();
    assert_eq!(hanging.await.unwrap().unwrap_err().code, ErrorCode::DeadlineExceeded);
    assert_eq!(pipelines.call(1, lookup(2), SOON).await.unwrap_err().code, ErrorCode::Unavailable);
}

#[tokio::test]
async fn an_unreachable_node_is_unavailable_and_any_goes_to_the_next() {
    let server = server().await;
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let (_view, peers) = peers(vec![node(1, &gone), node(2, &server.address)]);
    let pipelines = peers.pipelines::<RegisterLookup>(PipelineOptions::default());
    assert_eq!(pipelines.call(1, lookup(1), SOON).await.unwrap_err().code, ErrorCode::Unavailable);
    assert_eq!(pipelines.call(9, lookup(1), SOON).await.unwrap_err().code, ErrorCode::Unavailable);
    for key in 0..20 {
        assert_eq!(pipelines.call_any(key, lookup(key), SOON).await.unwrap().view, key);
    }
}

#[tokio::test]
async fn a_call_on_any_node_waits_for_a_view_that_has_one_and_gives_up_at_its_deadline() {
    let server = server().await;
    let (view, peers) = peers(vec![]);
    let pipelines = peers.pipelines::<RegisterLookup>(PipelineOptions::default());
    let nobody = pipelines.call_any(1, lookup(1), Duration::from_millis(100)).await.unwrap_err();
    assert_eq!(nobody.code, ErrorCode::Unavailable);
    let waits = tokio::spawn({
        let pipelines = pipelines.clone();
        async move { pipelines.call_any(1, lookup(7), SOON).await }
    });
    tokio::task::yield_now().await;
    view.send_replace(Arc::new(View::new(2, vec![node(1, &server.address)], vec![])));
    assert_eq!(waits.await.unwrap().unwrap().view, 7);
}

#[tokio::test]
async fn a_server_that_stops_ends_its_pipelines_and_returns() {
    let server = server().await;
    let (_view, peers) = peers(vec![node(1, &server.address)]);
    let pipelines = peers.pipelines::<RegisterLookup>(PipelineOptions::default());
    pipelines.call(1, lookup(1), SOON).await.unwrap();
    server.echo.shutdown.cancel();
    tokio::time::timeout(SOON, server.running).await.expect("ends before the deadline").unwrap();
    let after = pipelines.call(1, lookup(2), Duration::from_secs(2)).await.unwrap_err();
    assert!(matches!(after.code, ErrorCode::Unavailable | ErrorCode::DeadlineExceeded));
}

#[tokio::test]
async fn a_group_larger_than_the_pipeline_goes_alone_rather_than_never() {
    let server = server().await;
    let (_view, peers) = peers(vec![node(1, &server.address)]);
    let options = PipelineOptions { in_flight_items: 10, ..PipelineOptions::default() };
    let pipelines = peers.pipelines::<RegisterLookup>(options);
    let replies = pipelines.call_group(1, (0..700).map(lookup).collect(), SOON).await;
    assert!(replies.into_iter().enumerate().all(|(i, r)| r.unwrap().view == i as u64));
    assert!(server.echo.largest_batch.load(Ordering::SeqCst) <= 256);
}

/// The pause is far longer than any deadline here; so what comes in time was not held back.
#[tokio::test]
async fn a_lone_request_goes_at_once_and_full_batches_wait_for_nothing() {
    let server = server().await;
    let (_view, peers) = peers(vec![node(1, &server.address)]);
    let options = PipelineOptions { linger: Linger::Paced(10 * SOON), ..PipelineOptions::default() };
    let pipelines = peers.pipelines::<RegisterLookup>(options);
    // With those that come while the stream is opened.
    pipelines.call(1, lookup(0), SOON).await.expect("a lone one goes at once");
    let replies = pipelines.call_group(1, (0..512).map(lookup).collect(), SOON).await;
    assert!(replies.into_iter().all(|reply| reply.is_ok()), "two full batches");
    let late = pipelines.call(1, lookup(0), SOON / 10).await.unwrap_err();
    assert_eq!(late.code, ErrorCode::DeadlineExceeded, "the next waits for company");
}

#[tokio::test]
async fn requests_that_wait_for_company_leave_together() {
    let wait = Duration::from_millis(400);
    for linger in [Linger::Always(wait), Linger::Paced(wait)] {
        let server = server().await;
        let (_view, peers) = peers(vec![node(1, &server.address)]);
        let options = PipelineOptions { linger, ..PipelineOptions::default() };
        let pipelines = peers.pipelines::<RegisterLookup>(options);
        // What comes while the stream is opened leaves together in any case.
        pipelines.call(1, lookup(0), SOON).await.unwrap();
        let mut calls = Vec::new();
        for number in 0..20 {
            let pipelines = pipelines.clone();
            calls.push(tokio::spawn(async move { pipelines.call(1, lookup(number), SOON).await }));
            // One at a time: the pipeline has each in its hands before the next comes.
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        }
        for call in calls {
            call.await.unwrap().unwrap();
        }
        assert_eq!(server.echo.largest_batch.load(Ordering::SeqCst), 20, "{linger:?}");
    }
}
