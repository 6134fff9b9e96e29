//! Asking the dispatcher.

mod support;

use std::time::Duration;

use longline_sdk::{Client, Event, Network};
use support::{Room, device, event, soon, wait_for};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

struct Dispatcher {
    listener: TcpListener,
    url: String,
}

impl Dispatcher {
    async fn new() -> Dispatcher {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        Dispatcher { listener, url }
    }

    /// Answers the next request, and returns its path.
    async fn answer(&self, status: &str, body: &str) -> String {
        soon(async {
            let (mut socket, _) = self.listener.accept().await.expect("a connection");
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                assert!(socket.read_buf(&mut request).await.expect("a request") > 0);
            }
            let length = body.len();
            let answer =
                format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
            socket.write_all(answer.as_bytes()).await.expect("an answer");
            let request = String::from_utf8(request).expect("text");
            request.split(' ').nth(1).expect("a path").to_owned()
        })
        .await
    }

    async fn name(&self, rooms: &[&str], ttl_s: u32) -> String {
        let rooms: Vec<_> = rooms.iter().map(|r| format!("{r:?}")).collect();
        self.answer("200 OK", &format!("{{\"endpoints\":[{}],\"ttl_s\":{ttl_s}}}", rooms.join(","))).await
    }
}

fn asking(dispatcher: &Dispatcher) -> longline_sdk::Builder {
    Client::builder("test-device")
        .dispatcher(&dispatcher.url)
        .bind(7, "a b&c", "")
        .network(Network::Wifi)
        .backoff(Duration::from_millis(10), Duration::from_millis(40))
}

async fn dead() -> String {
    Room::new().await.address.clone()
}

#[tokio::test]
async fn the_group_is_tried_in_order_and_what_worked_is_remembered() {
    let (dispatcher, room, dead) = (Dispatcher::new().await, Room::new().await, dead().await);
    let (_client, mut events) = asking(&dispatcher).start().unwrap();
    let path = dispatcher.name(&[&dead, &room.address], 300).await;
    assert_eq!(path, "/v1/route?product=7&user=a+b%26c&network=wifi&attempt=0");
    assert!(matches!(event(&mut events).await, Event::ConnectFailed { endpoint, .. } if endpoint == dead));
    let (session, _) = room.welcome().await;
    assert!(matches!(event(&mut events).await, Event::Connected { .. }));
    drop(session);
    // The answer still holds, so nobody is asked, and the dead one is not tried before the good one.
    let _session = room.welcome().await;
    let connected = |e| match e {
        Event::ConnectFailed { .. } => Some(false),
        Event::Connected { .. } => Some(true),
        _ => None,
    };
    assert!(wait_for(&mut events, connected).await);
}

#[tokio::test]
async fn a_group_of_no_use_is_reported_by_the_number_of_the_attempt() {
    let (dispatcher, room, dead) = (Dispatcher::new().await, Room::new().await, dead().await);
    let (_client, _events) = asking(&dispatcher).start().unwrap();
    assert!(dispatcher.name(&[&dead], 300).await.ends_with("&attempt=0"));
    assert!(dispatcher.name(&[&dead], 300).await.ends_with("&attempt=1"));
    assert!(dispatcher.name(&[&room.address], 300).await.ends_with("&attempt=2"));
    room.welcome().await;
}

#[tokio::test]
async fn without_an_answer_the_given_rooms_are_left() {
    let (dispatcher, room) = (Dispatcher::new().await, Room::new().await);
    let (_client, mut events) = device(&[&room]).dispatcher(&dispatcher.url).start().unwrap();
    dispatcher.answer("503 Service Unavailable", "").await;
    let told = event(&mut events).await;
    assert!(
        matches!(&told, Event::ConnectFailed { endpoint, .. } if *endpoint == dispatcher.url),
        "{told:?}"
    );
    room.welcome().await;
}

#[tokio::test]
async fn the_next_dispatcher_is_asked_where_one_fails() {
    let (bad, good, room) = (Dispatcher::new().await, Dispatcher::new().await, Room::new().await);
    let (_client, _events) = asking(&bad).dispatcher(&good.url).start().unwrap();
    bad.answer("200 OK", "<html>hello</html>").await;
    good.name(&[&room.address], 300).await;
    room.welcome().await;
}
