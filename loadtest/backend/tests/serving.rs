//! The backend over its sockets: injectors on one side, what a room asks on the other.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use longline_boot::Deps;
use longline_fakes::FakeKeeper;
use longline_load_backend::{Backend, Options, PRODUCT};
use longline_load_raw::{Acked, Acks, Delivery, Injector, Report};
use longline_pb::saver::saver_client::SaverClient;
use longline_pb::saver::{
    AckRequest, CheckRequest, LoadRequest, PutRequest, ReadProductRequest, WatchProductsRequest,
};
use longline_pb::types::Address;
use longline_rpc::methods::{SaverAck, SaverCheck, SaverLoad, SaverPut};
use longline_rpc::{Peers, PipelineOptions};
use longline_types::{NodeState, Role};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tonic::Code;

const DEADLINE: Duration = Duration::from_secs(20);

/// A backend that serves, and the view of a room.
struct Rig {
    injection: SocketAddr,
    peers: Peers,
    /// The backend's number.
    saver: u32,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Rig {
    async fn start() -> Rig {
        let keeper = FakeKeeper::start(Vec::new()).await;
        let inject = "127.0.0.1:0".parse().unwrap();
        let token_key = Some("key".to_owned());
        let options =
            Options { keeper: keeper.address.clone(), inject, window: 9, broadcast_per_second: 0, token_key };
        let stop = CancellationToken::new();
        let (deps, joining) = (Deps::named("backend"), stop.clone());
        let backend = Backend::join(options, deps.clone(), joining).await.unwrap().unwrap();
        let injection = backend.injection().unwrap();
        let serving = tokio::spawn(backend.run(stop.clone()));
        let mut views = keeper.views();
        let ready = views.wait_for(|view| view.live(Role::Saver).any(|node| node.state == NodeState::Ready));
        let view = tokio::time::timeout(DEADLINE, ready).await.unwrap().unwrap().clone();
        let saver = view.live(Role::Saver).next().unwrap().number;
        Rig { injection, peers: Peers::new(views, &deps.registry), saver, stop, serving }
    }

    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(DEADLINE, self.serving).await.unwrap().unwrap().unwrap();
    }

    /// What a load brings.
    async fn load(&self, user: &str) -> Vec<u64> {
        let loads = self.peers.pipelines::<SaverLoad>(PipelineOptions::default());
        let (limit, max_bytes) = (64, 1 << 20);
        let request = LoadRequest { address: address(user), limit, max_bytes, ..LoadRequest::default() };
        let reply = loads.call(self.saver, request, DEADLINE).await.unwrap();
        reply.messages.iter().map(|message| message.id).collect()
    }

    async fn ack(&self, user: &str, id: u64) -> bool {
        let acks = self.peers.pipelines::<SaverAck>(PipelineOptions::default());
        let request = AckRequest { address: address(user), id, ..AckRequest::default() };
        acks.call(self.saver, request, DEADLINE).await.unwrap().ended
    }
}

fn address(user: &str) -> Option<Address> {
    Some(Address { product: PRODUCT, user: user.to_owned() })
}

async fn next(acks: &mut Acks) -> Report {
    tokio::time::timeout(DEADLINE, acks.next()).await.unwrap().unwrap().unwrap()
}

#[tokio::test]
async fn what_is_injected_is_loaded_and_its_acknowledgement_is_reported() {
    let rig = Rig::start().await;
    let (injector, mut acks) = Injector::connect(rig.injection).await.unwrap();
    injector.users("run-1", false).await.unwrap();
    let payload = Bytes::from_static(b"hello");
    let delivery = |user, id| Delivery { user, id, payload: payload.clone() };
    // There is no register: nobody can be found, and the messages wait. The last has no user, which tells that all were taken.
    injector.send(&[delivery(5, 10), delivery(5, 11), delivery(u32::MAX, 1)]).await.unwrap();
    assert_eq!(next(&mut acks).await, Report { acked: vec![], absent: 1 });
    assert_eq!(rig.load("run-1-5").await, [10, 11]);
    let checks = rig.peers.pipelines::<SaverCheck>(PipelineOptions::default());
    let waiting = async |in_flight| {
        let check = CheckRequest { address: address("run-1-5"), in_flight };
        checks.call(rig.saver, check, DEADLINE).await.unwrap().waiting
    };
    assert!(waiting(1).await && !waiting(2).await);
    assert!(rig.ack("run-1-5", 11).await && !rig.ack("run-1-5", 11).await);
    assert_eq!(next(&mut acks).await, Report { acked: vec![Acked { user: 5, id: 11 }], absent: 0 });
    assert_eq!(rig.load("run-1-5").await, [10]);
    rig.stop().await;
}

#[tokio::test]
async fn a_room_finds_the_one_product_and_nothing_that_a_room_does_not_ask_for() {
    let rig = Rig::start().await;
    let view = rig.peers.view();
    let mut client = SaverClient::new(rig.peers.channel(view.node(rig.saver).unwrap()).unwrap());
    let mut events = client.watch_products(WatchProductsRequest {}).await.unwrap().into_inner();
    let event = events.message().await.unwrap().unwrap();
    let [product] = event.products.as_slice() else { panic!("{event:?}") };
    assert!(event.snapshot && product.require_token && product.token_keys == [b"key".to_vec()]);
    assert_eq!((product.id, product.window), (PRODUCT, 9));
    let read = client.read_product(ReadProductRequest { id: PRODUCT }).await.unwrap().into_inner();
    assert_eq!(read, *product);
    let other = client.read_product(ReadProductRequest { id: PRODUCT + 1 }).await.unwrap_err();
    assert_eq!(other.code(), Code::NotFound);
    let puts = rig.peers.pipelines::<SaverPut>(PipelineOptions::default());
    assert!(puts.call(rig.saver, PutRequest::default(), DEADLINE).await.is_err());
    // Its streams end with the backend.
    rig.stop().await;
    assert!(
        tokio::time::timeout(DEADLINE, events.message()).await.unwrap().is_ok_and(|event| event.is_none())
    );
}

#[tokio::test]
async fn who_does_not_speak_the_protocol_is_hung_up_on_and_others_are_served() {
    let rig = Rig::start().await;
    for said in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], b"LLI\x02", b"LLI\x01\x01\0\0\0\x09", b"LLI\x01\xff\xff\xff\xff"]
    {
        let mut socket = TcpStream::connect(rig.injection).await.unwrap();
        socket.write_all(said).await.unwrap();
        let read = tokio::time::timeout(DEADLINE, socket.read(&mut [0; 16])).await.unwrap();
        assert!(!matches!(read, Ok(1..)), "{said:?}: {read:?}");
    }
    let (injector, mut acks) = Injector::connect(rig.injection).await.unwrap();
    injector.users("run-1", true).await.unwrap();
    // Nobody knows where the user is, so a transient message is dropped.
    injector.send(&[Delivery { user: 5, id: 10, payload: Bytes::new() }]).await.unwrap();
    assert_eq!(next(&mut acks).await, Report { acked: vec![], absent: 1 });
    rig.stop().await;
}
