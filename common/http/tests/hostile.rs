//! Clients that hold connections and say nothing, or little; and an ordered end.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use longline_http::{Bounds, HttpMetrics, listen};
use longline_testkit::eventually;
use prometheus::{Registry, TextEncoder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(20);

struct Port {
    address: SocketAddr,
    registry: Registry,
    /// `/slow` was asked.
    arrived: Arc<Notify>,
    /// Lets `/slow` answer.
    gate: Arc<Notify>,
    shutdown: CancellationToken,
    ended: JoinHandle<()>,
}

async fn open(bounds: Bounds) -> Port {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, registry) = (listener.local_addr().unwrap(), Registry::new());
    let (arrived, gate, shutdown) =
        (Arc::new(Notify::new()), Arc::new(Notify::new()), CancellationToken::new());
    let (asked, released) = (Arc::clone(&arrived), Arc::clone(&gate));
    let slow = move || async move {
        asked.notify_one();
        released.notified().await;
    };
    let router = Router::new()
        .route("/", get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() }))
        .route("/slow", get(slow));
    let metrics = HttpMetrics::register(&registry).unwrap();
    let ended = tokio::spawn(listen(listener, router, bounds, metrics, shutdown.clone(), SOON));
    Port { address, registry, arrived, gate, shutdown, ended }
}

impl Port {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    fn metric(&self, name: &str) -> u64 {
        let text = TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap();
        text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')).unwrap().parse().unwrap()
    }
}

async fn ask(stream: &mut TcpStream, path: &str) {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end too.
    let _ =
        tokio::time::timeout(SOON, stream.read_to_end(&mut bytes)).await.expect("the end of the connection");
    String::from_utf8_lossy(&bytes).into_owned()
}

fn bounds(max_connections: usize, head_timeout: Duration) -> Bounds {
    Bounds { max_connections, head_timeout, ..Bounds::default() }
}

#[tokio::test]
async fn a_handler_learns_who_asks() {
    let port = open(Bounds::default()).await;
    let mut stream = port.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with(&stream.local_addr().unwrap().to_string())
    );
}

#[tokio::test]
async fn who_says_nothing_or_half_a_head_or_only_the_preface_is_cut() {
    let port = open(bounds(100, Duration::from_millis(100))).await;
    for bytes in [&b""[..], b"G", b"GET / HTTP/1.1\r\nhost: x\r\nx-", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = port.connect().await;
        stream.write_all(bytes).await.unwrap();
        rest(&mut stream).await;
    }
    // An idle connection after a request, too.
    let mut stream = port.connect().await;
    ask(&mut stream, "/").await;
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 200"));
    eventually(SOON, "no connection", async || port.metric("longline_http_connections") == 0).await;
}

#[tokio::test]
async fn connections_beyond_the_bound_are_closed_and_counted() {
    let port = open(bounds(2, SOON)).await;
    let (first, _second) = (port.connect().await, port.connect().await);
    eventually(SOON, "two connections", async || port.metric("longline_http_connections") == 2).await;
    let mut third = port.connect().await;
    assert_eq!(rest(&mut third).await, "");
    assert_eq!(port.metric("longline_http_connections_refused_total"), 1);
    drop(first);
    eventually(SOON, "room again", async || port.metric("longline_http_connections") == 1).await;
    let mut fourth = port.connect().await;
    ask(&mut fourth, "/").await;
    let mut byte = [0];
    assert_eq!(fourth.read(&mut byte).await.unwrap(), 1);
}

#[tokio::test]
async fn a_stop_lets_requests_in_flight_end() {
    // Only the stop ends these connections.
    let port = open(bounds(100, 10 * SOON)).await;
    let mut stream = port.connect().await;
    ask(&mut stream, "/slow").await;
    tokio::time::timeout(SOON, port.arrived.notified()).await.expect("the request");
    let idle = port.connect().await;
    port.shutdown.cancel();
    eventually(SOON, "nobody new", async || TcpStream::connect(port.address).await.is_err()).await;
    port.gate.notify_one();
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 200"));
    tokio::time::timeout(SOON, port.ended).await.expect("the end").unwrap();
    drop(idle);
}
