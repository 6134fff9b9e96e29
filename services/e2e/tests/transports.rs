//! A message through every transport of a room's port, in the whole cluster.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

#[path = "../../room/tests/support/device.rs"]
mod device;
#[path = "../../room/tests/support/noise.rs"]
mod noise;
#[path = "../../room/tests/support/tls.rs"]
mod tls;
#[path = "../../room/tests/support/websocket.rs"]
mod websocket;

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use device::{Device, Through};
use longline_e2e::{Cluster, SOON, Shape};
use longline_noise::PublicKey;
use longline_room::NoiseConfig;
use longline_testkit::eventually;
use rustls::ClientConfig;
use rustls::version::{TLS12, TLS13};
use serde_json::{Value, json};
use tls::{Authority, handshaken, write_new};

const DEADLINE: Duration = SOON;

/// A cluster whose room speaks everything, and what a device needs to know of it.
struct Everything {
    cluster: Cluster,
    authority: Authority,
    room: SocketAddr,
    key: PublicKey,
}

impl Everything {
    async fn start() -> Everything {
        let authority = Authority::new();
        let mut shape = Shape::default();
        shape.room.tls = Some(authority.files.clone());
        shape.room.noise = Some(NoiseConfig { key: authority.folder.path().join("noise.key") });
        shape.room.proxy.trusted = vec!["127.0.0.0/8".parse().unwrap()];
        let cluster = Cluster::shaped(shape).await.unwrap();
        let url = format!("{}/v1/route?product={}&user=alice", cluster.dispatcher(), cluster.product);
        let route = tokio::sync::OnceCell::<Value>::new();
        // The dispatcher may hear of the room after the room has its place.
        eventually(SOON, "the dispatcher names the room", async || {
            let answer: Value = reqwest::get(&url).await.unwrap().json().await.unwrap();
            answer["endpoints"].is_array() && route.set(answer).is_ok()
        })
        .await;
        let route = route.into_inner().unwrap();
        let endpoint = route["endpoints"][0].as_str().unwrap();
        let key = route["noise_keys"][endpoint].as_str().unwrap().parse().unwrap();
        Everything { room: endpoint.parse().unwrap(), cluster, authority, key }
    }

    /// A device, bound as `user`, behind what the words say from the outside in.
    async fn device(&self, words: &'static str, user: &'static str) -> Device {
        let clients = [&TLS13, &TLS12].map(|version| Arc::new(self.authority.client(version)));
        let (room, key, product) = (self.room, self.key, self.cluster.product);
        let connected = tokio::task::spawn_blocking(move || {
            let mut device = Device::connect_through(room, |socket| through(words, socket, &clients, &key));
            device.hello_with(&[user], |hello| hello.binds[0].product = product);
            device.welcome();
            device
        });
        connected.await.unwrap()
    }
}

fn through(
    words: &str,
    socket: TcpStream,
    [tls13, tls12]: &[Arc<ClientConfig>; 2],
    key: &PublicKey,
) -> Box<dyn Through> {
    let mut through: Box<dyn Through> = Box::new(socket.try_clone().unwrap());
    for word in words.split(' ') {
        through = match word {
            "tcp" => through,
            "proxy" => {
                through.write_all(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n").unwrap();
                through
            }
            "tls1.3" => Box::new(handshaken(tls13, socket.try_clone().unwrap()).unwrap()),
            "tls1.2" => Box::new(handshaken(tls12, socket.try_clone().unwrap()).unwrap()),
            "ws" => Box::new(websocket::Stream::connect("ws://localhost/v1/ws", through)),
            "noise" => Box::new(noise::Stream::connect(through, key).unwrap()),
            other => panic!("{other}"),
        };
    }
    through
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_delivered_and_acknowledged_through_every_transport() {
    let everything = Everything::start().await;
    let cluster = &everything.cluster;
    let cases = [
        ("tcp", "user-1"),
        ("tls1.3", "user-2"),
        ("tls1.2", "user-3"),
        ("ws", "user-4"),
        ("tls1.3 ws", "user-5"),
        ("noise", "user-6"),
        ("proxy tls1.3", "user-7"),
        ("proxy tls1.3 ws noise", "user-8"),
    ];
    for (words, user) in cases {
        let mut device = everything.device(words, user).await;
        let id = cluster.api.push(user, json!(words)).await.unwrap();
        let pushed = tokio::task::spawn_blocking(move || {
            let (index, push) = device.push();
            device.ack(index.into(), &[push.id]);
            (push, device)
        });
        let (push, _device) = pushed.await.unwrap();
        assert_eq!((push.id, push.payload.as_ref()), (id.0, json!(words).to_string().as_bytes()), "{words}");
        let what = format!("the message through {words} is acked");
        eventually(SOON, &what, async || cluster.api.state(id).await.is_ok_and(|s| s == "acked")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_takes_a_new_certificate_without_a_restart() {
    let everything = Everything::start().await;
    let mut session = everything.device("tls1.3", "alice").await;
    let before = everything.authority.certificate();
    write_new(&everything.authority.files);
    assert_ne!(everything.authority.certificate(), before);
    let client = Arc::new(everything.authority.client(&TLS13));
    let room = everything.room;
    // It refuses the old certificate, which it does not know.
    eventually(SOON, "the new certificate", async || {
        let client = Arc::clone(&client);
        let connect = move || handshaken(&client, TcpStream::connect(room).unwrap()).is_ok();
        tokio::task::spawn_blocking(connect).await.unwrap()
    })
    .await;
    assert!(everything.cluster.metric("room-1", "longline_room_certificate_reloads_total") >= 1.0);
    tokio::task::spawn_blocking(move || session.assert_served()).await.unwrap();
}
