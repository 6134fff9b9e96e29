//! A saver over gRPC, as the rest of the cluster meets it, with SQLite below.
#![allow(clippy::unwrap_used)] // all of this is a test

mod keeper;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use longline_boot::{Deps, Readiness};
use longline_pb::saver::saver_client::SaverClient;
use longline_pb::saver::*;
use longline_pb::types::{Address, Class, Message, MessageState};
use longline_rpc::methods::{SaverAck, SaverCheck, SaverLoad, SaverPut, SaverPutUplink};
use longline_rpc::{Peers, PipelineOptions};
use longline_saver::{Config, StoreConfig, bind};
use longline_testkit::{eventually, eventually_some};
use longline_types::{ErrorCode, NodeState, Role, now_ms};
use prometheus::{Registry, TextEncoder};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use keeper::FakeKeeper;

const SOON: Duration = Duration::from_secs(20);

struct Saver {
    keeper: FakeKeeper,
    deps: Deps,
    peers: Peers,
    stop: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
    number: u32,
}

impl Saver {
    async fn start(path: &Path) -> Saver {
        Saver::start_with(path, |_| {}).await
    }

    async fn start_with(path: &Path, change: impl FnOnce(&mut Config)) -> Saver {
        let keeper = FakeKeeper::start().await;
        let mut config = Config { store: StoreConfig::sqlite(path), ..Config::default() };
        config.node.keepers = vec![keeper.address.clone()];
        change(&mut config);
        let (deps, stop) = (Deps::default(), CancellationToken::new());
        let bound = bind(config, deps.clone()).await.unwrap();
        assert!(matches!(deps.health.now(), Readiness::NotReady(_)));
        let address = bound.rpc().to_string();
        let running = tokio::spawn(bound.run(stop.clone()));
        let number = eventually_some(SOON, "the saver is ready", async || {
            let view = keeper.views().borrow().clone();
            view.ready(Role::Saver).find(|n| n.rpc == address).map(|n| n.number)
        })
        .await;
        let peers = Peers::new(keeper.views(), &Registry::new());
        Saver { keeper, deps, peers, stop, running, number }
    }

    fn client(&self) -> SaverClient<Channel> {
        let view = self.peers.view();
        SaverClient::new(self.peers.channel(view.node(self.number).unwrap()).unwrap())
    }

    async fn put(&self, items: Vec<PutRequest>) -> Vec<PutReply> {
        let pipelines = self.peers.pipelines::<SaverPut>(PipelineOptions::default());
        let replies = pipelines.call_group(self.number, items, SOON).await;
        replies.into_iter().map(|r| r.unwrap()).collect()
    }

    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(SOON, self.running).await.unwrap().unwrap().unwrap();
    }
}

fn alice() -> Option<Address> {
    Some(Address { product: 1, user: "alice".to_owned() })
}

fn put(id: u64) -> PutRequest {
    let message = Message {
        id,
        payload: Bytes::from_static(b"hello"),
        sent_at_ms: now_ms(),
        expires_at_ms: now_ms() + 60_000,
        class: Class::Durable.into(),
        ..Message::default()
    };
    PutRequest { address: alice(), message: Some(message), ..PutRequest::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_stored_loaded_and_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let saver = Saver::start(&folder.path().join("saver.db")).await;
    let waiting = i32::from(MessageState::Waiting);
    let replies = saver.put(vec![put(1), PutRequest { address: None, ..put(2) }, put(3)]).await;
    assert_eq!((replies[0].id, replies[0].state), (1, waiting));
    assert_eq!(replies[1].error.as_ref().unwrap().code(), longline_pb::types::ErrorCode::InvalidArgument);
    assert_eq!((replies[2].id, replies[2].state), (3, waiting), "a bad item fails alone");

    let check = saver.peers.pipelines::<SaverCheck>(PipelineOptions::default());
    let asked = CheckRequest { address: alice(), in_flight: 1 };
    assert!(check.call(saver.number, asked, SOON).await.unwrap().waiting);

    let load = saver.peers.pipelines::<SaverLoad>(PipelineOptions::default());
    let request = LoadRequest {
        address: alice(),
        limit: 1,
        max_bytes: 1000,
        except: vec![1],
        ..LoadRequest::default()
    };
    let page = load.call(saver.number, request.clone(), SOON).await.unwrap();
    assert_eq!((page.messages.len(), page.messages[0].id, page.more), (1, 3, false));
    assert_eq!(page.messages[0].payload.as_ref(), b"hello");
    let bad = load.call(saver.number, LoadRequest { limit: 0, ..request }, SOON).await.unwrap();
    assert!(bad.error.is_some());

    let ack = saver.peers.pipelines::<SaverAck>(PipelineOptions::default());
    let request = AckRequest { address: alice(), id: 3, written_at_ms: 8, room: 9, ..AckRequest::default() };
    assert!(ack.call(saver.number, request.clone(), SOON).await.unwrap().ended);
    assert!(!ack.call(saver.number, request, SOON).await.unwrap().ended);

    let mut client = saver.client();
    let record = client.read_message(ReadMessageRequest { product: 1, id: 3 }).await.unwrap().into_inner();
    assert_eq!((record.state(), record.written_by), (MessageState::Acked, 9));
    assert_eq!(record.stored_by, saver.number);
    let inbox = client.read_inbox(ReadInboxRequest { address: alice() }).await.unwrap().into_inner();
    assert_eq!((inbox.waiting, inbox.oldest_id), (1, 1));
    let recalled = client.recall(RecallRequest { product: 1, id: 1 }).await.unwrap().into_inner();
    assert!(recalled.recalled);
    assert_eq!(recalled.address, alice());
    let unknown = client.read_message(ReadMessageRequest { product: 1, id: 2 }).await.unwrap_err();
    assert_eq!(longline_rpc::error(unknown).code, ErrorCode::NotFound);
    let account = client.account(AccountRequest { product: 1 }).await.unwrap().into_inner();
    assert_eq!(account.accepted, 2);
    assert_eq!(account.counts.iter().map(|c| c.count).sum::<u64>(), 2, "I3");

    let shown = TextEncoder::new().encode_to_string(&saver.deps.registry.gather()).unwrap();
    for line in [
        "longline_saver_stored_total 2",
        "longline_saver_loaded_total 1",
        "longline_saver_idle_acks_total 1",
        "longline_saver_ended_total{reason=\"acked\"} 1",
        "longline_saver_ended_total{reason=\"recalled\"} 1",
        "longline_saver_failed_total{code=\"invalid_argument\",operation=\"put\"} 1",
        "longline_saver_batch_items_count{operation=\"put\"} 1",
        "longline_saver_store_seconds_count{operation=\"ack\"} 2",
    ] {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
    saver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_ends_messages_and_the_metrics_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let saver = Saver::start_with(&folder.path().join("saver.db"), |c| c.sweeps.expiry_every_ms = 20).await;
    let mut short = put(1);
    short.message.as_mut().unwrap().expires_at_ms = now_ms() + 100;
    saver.put(vec![short, put(2)]).await;
    let mut client = saver.client();
    eventually(SOON, "the sweep ends it", async || {
        let record =
            client.read_message(ReadMessageRequest { product: 1, id: 1 }).await.unwrap().into_inner();
        record.state() == MessageState::Expired
    })
    .await;
    let expired = "longline_saver_ended_total{reason=\"expired\"} 1";
    eventually(SOON, "it is counted", async || {
        TextEncoder::new().encode_to_string(&saver.deps.registry.gather()).unwrap().contains(expired)
    })
    .await;
    saver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_a_product_reaches_the_watchers_of_every_saver() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saver.db");
    let first = Saver::start(&path).await;
    let second = Saver::start(&path).await;
    let mut watches = Vec::new();
    for saver in [&first, &second] {
        let mut watch = saver.client().watch_products(WatchProductsRequest {}).await.unwrap().into_inner();
        let event = watch.message().await.unwrap().unwrap();
        assert!(event.snapshot && event.products.is_empty());
        watches.push(watch);
    }
    let product = Product { name: "demo".to_owned(), ..Product::default() };
    let write = WriteProductRequest { product: Some(product.clone()), expected_revision: 0 };
    let written = first.client().write_product(write).await.unwrap().into_inner();
    for watch in &mut watches {
        let event = tokio::time::timeout(SOON, watch.message()).await.unwrap();
        let event = event.unwrap().unwrap();
        assert_eq!((event.snapshot, event.products), (false, vec![written.clone()]));
    }
    let shop = WriteProductRequest {
        product: Some(Product { name: "shop".to_owned(), ..Product::default() }),
        expected_revision: 0,
    };
    let shop = second.client().write_product(shop).await.unwrap().into_inner();
    let changed = Product { window: 9, ..written.clone() };
    let changed = WriteProductRequest { product: Some(changed), expected_revision: written.revision };
    let written = second.client().write_product(changed).await.unwrap().into_inner();
    for watch in &mut watches {
        let mut told = Vec::new();
        while told.last() != Some(&written) {
            let event = tokio::time::timeout(SOON, watch.message()).await.unwrap().unwrap().unwrap();
            assert!(!event.snapshot);
            told.extend(event.products);
        }
        assert_eq!(told, [shop.clone(), written.clone()], "each change once, and nothing else");
    }
    let late =
        second.client().watch_products(WatchProductsRequest {}).await.unwrap().into_inner().message().await;
    assert_eq!(
        late.unwrap().unwrap(),
        ProductsEvent { snapshot: true, products: vec![shop, written.clone()] }
    );
    let read =
        second.client().read_product(ReadProductRequest { id: written.id }).await.unwrap().into_inner();
    assert_eq!(read, written);
    let stale =
        WriteProductRequest { product: Some(written.clone()), expected_revision: written.revision + 1 };
    let refused = second.client().write_product(stale).await.unwrap_err();
    assert_eq!(longline_rpc::error(refused).code, ErrorCode::Conflict);
    let nameless = WriteProductRequest { product: Some(Product::default()), expected_revision: 0 };
    let refused = second.client().write_product(nameless).await.unwrap_err();
    assert_eq!(longline_rpc::error(refused).code, ErrorCode::InvalidArgument);
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broadcasts_and_uplinks_pass_through() {
    let folder = tempfile::tempdir().unwrap();
    let saver = Saver::start(&folder.path().join("saver.db")).await;
    let mut client = saver.client();
    let load = saver.peers.pipelines::<SaverLoad>(PipelineOptions::default());
    let request = LoadRequest { address: alice(), limit: 10, max_bytes: 1000, ..LoadRequest::default() };
    load.call(saver.number, request.clone(), SOON).await.unwrap();
    let message = put(5).message;
    let stored = PutBroadcastRequest { product: 1, message, rate_per_second: 7, ..Default::default() };
    let stored = client.put_broadcast(stored).await.unwrap().into_inner();
    assert_eq!((stored.id, stored.seq), (5, 1));
    let page = load.call(saver.number, request, SOON).await.unwrap();
    assert_eq!(page.messages[0].broadcast_seq, 1);
    let claim = ClaimBroadcastsRequest { node: 1, incarnation: 2, lease_ms: 60_000, limit: 10 };
    assert_eq!(client.claim_broadcasts(claim).await.unwrap().into_inner().broadcasts.len(), 1);
    let report = ReportBroadcastRequest {
        product: 1,
        id: 5,
        node: 1,
        incarnation: 2,
        finished: true,
        ..Default::default()
    };
    client.report_broadcast(report).await.unwrap();
    let listed = ListBroadcastsRequest { product: 1, above: 0, limit: 10 };
    let listed = client.list_broadcasts(listed).await.unwrap().into_inner().broadcasts;
    assert!(listed[0].finished);

    let record = UplinkRecord {
        id: 6,
        kind: UplinkKind::Data.into(),
        address: alice(),
        sequence: 1,
        ..UplinkRecord::default()
    };
    let uplinks = saver.peers.pipelines::<SaverPutUplink>(PipelineOptions::default());
    let uplink = PutUplinkRequest { record: Some(record), node: 1, incarnation: 2, lease_ms: 50 };
    assert!(!uplinks.call(saver.number, uplink.clone(), SOON).await.unwrap().repeated_request);
    assert!(uplinks.call(saver.number, uplink, SOON).await.unwrap().repeated_request);
    eventually(SOON, "the lease lapses and the uplink is claimed", async || {
        let claim = ClaimUplinksRequest { node: 2, incarnation: 3, lease_ms: 60_000, limit: 10 };
        !client.claim_uplinks(claim).await.unwrap().into_inner().uplinks.is_empty()
    })
    .await;
    let done = FinishedUplink { id: 6, taken: true, next_try_at_ms: 0 };
    client.finish_uplinks(FinishUplinksRequest { uplinks: vec![done] }).await.unwrap();
    saver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_joins_as_starting_and_leaves_in_order_with_streams_open() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saver.db");
    let saver = Saver::start(&path).await;
    assert_eq!(saver.deps.health.now(), Readiness::Ready);
    let mut watch = saver.client().watch_products(WatchProductsRequest {}).await.unwrap().into_inner();
    watch.message().await.unwrap();
    saver.put(vec![put(1)]).await;
    let keeper = saver.keeper.clone();
    assert_eq!(keeper.views().borrow().node(saver.number).unwrap().state, NodeState::Ready);
    let deps = saver.deps.clone();
    saver.stop().await;
    assert!(keeper.views().borrow().nodes().next().is_none(), "it has left");
    assert!(matches!(deps.health.now(), Readiness::NotReady(_)));
    let again = Saver::start(&path).await;
    let inbox = again.client().read_inbox(ReadInboxRequest { address: alice() }).await.unwrap().into_inner();
    assert_eq!(inbox.waiting, 1);
    again.stop().await;
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_ends_the_saver_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { store: StoreConfig::sqlite(folder.path()), ..Config::default() };
    let bound = bind(config, Deps::default()).await.unwrap();
    let error = bound.run(CancellationToken::new()).await.unwrap_err();
    assert!(error.to_string().contains(&folder.path().display().to_string()), "{error}");
}
