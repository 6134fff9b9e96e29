//! One frame of each kind, by the name under which proto/README.md shows its bytes.

use longline_pb::client::{self, directive::What};
use longline_wire::{Body, FrameType, PREFACE, encode, encode_empty, encode_push_message};

/// Bytes on the wire, and the side that sends them.
pub(crate) struct Example {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) fn push() -> client::Push {
    client::Push {
        id: 42,
        payload: b"\"hello\"".as_slice().into(),
        flags: client::PushFlag::Redelivered as u32,
        sent_at_ms: 1_790_000_000_000,
        expires_at_ms: 1_790_000_060_000,
        broadcast_seq: 0,
    }
}

pub(crate) fn hello() -> client::Hello {
    client::Hello {
        device: "d-1".into(),
        connection_counter: 7,
        sdk: "mini/1".into(),
        platform: "linux".into(),
        network: client::Network::Wifi.into(),
        binds: vec![client::Bind { index: 0, product: 1, user: "alice".into(), ..Default::default() }],
        heartbeat_min_s: 30,
        heartbeat_max_s: 300,
        resume_token: Vec::new(),
        have: Vec::new(),
        ticket: Vec::new(),
    }
}

/// Everything that proto/README.md shows, in its order.
pub(crate) fn all() -> Vec<Example> {
    let bound = |index, result: client::BindResult, window| client::Bound {
        index,
        result: result.into(),
        window,
        ..Default::default()
    };
    let reconnect = client::Reconnect {
        endpoints: vec!["10.0.0.2:9000".into()],
        within_ms: 30_000,
        ticket: vec![1, 2, 3],
    };
    vec![
        Example { name: "preface", bytes: PREFACE.to_vec() },
        frame("HELLO", &hello()),
        frame(
            "WELCOME",
            &client::Welcome {
                session: 0x0001_0000_002a,
                heartbeat_s: 240,
                server_time_ms: 1_790_000_000_000,
                binds: vec![bound(0, client::BindResult::Ok, 32)],
                ..Default::default()
            },
        ),
        frame(
            "BIND",
            &client::Bind { index: 1, product: 2, user: "bob".into(), token: "t".into(), last_broadcast: 0 },
        ),
        frame("UNBIND", &client::Unbind { index: 1 }),
        frame("UNBIND of index 0", &client::Unbind { index: 0 }),
        frame("BOUND", &bound(1, client::BindResult::Ok, 32)),
        Example { name: "PUSH", bytes: pushed() },
        frame("ACK", &client::Ack { index: 0, ids: vec![42, 43] }),
        frame(
            "UPLINK",
            &client::Uplink { index: 0, route: 3, payload: b"{\"a\":1}".as_slice().into(), sequence: 9 },
        ),
        frame(
            "UPLINK_ACK",
            &client::UplinkAck { sequence: 9, result: client::UplinkResult::Ok.into(), retry_after_ms: 0 },
        ),
        empty("PING", FrameType::Ping),
        empty("PONG", FrameType::Pong),
        frame("DIRECTIVE reconnect", &client::Directive { what: Some(What::Reconnect(reconnect)) }),
        frame("DIRECTIVE heartbeat", &client::Directive { what: Some(What::HeartbeatS(60)) }),
        frame(
            "CLOSE",
            &client::Close { reason: 1000, detail: "the room stops".into(), retry_after_ms: 5000 },
        ),
        frame(
            "HELLO resume",
            &client::Hello {
                device: "d-1".into(),
                connection_counter: 8,
                binds: hello().binds,
                resume_token: vec![0x0a, 0x0b],
                have: vec![client::Ack { index: 0, ids: vec![42] }],
                ..Default::default()
            },
        ),
        frame(
            "WELCOME resumed",
            &client::Welcome {
                session: 0x0001_0000_002a,
                resume_token: vec![0x0c, 0x0d],
                heartbeat_s: 240,
                resumed: true,
                server_time_ms: 1_790_000_000_000,
                binds: vec![bound(0, client::BindResult::Ok, 32)],
            },
        ),
    ]
}

fn frame<M: Body>(name: &'static str, body: &M) -> Example {
    let mut bytes = Vec::new();
    encode(body, &mut bytes).expect("a frame within its limit");
    Example { name, bytes }
}

fn empty(name: &'static str, kind: FrameType) -> Example {
    let mut bytes = Vec::new();
    encode_empty(kind, &mut bytes).expect("a frame within its limit");
    Example { name, bytes }
}

fn pushed() -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_push_message(0, &push(), &mut bytes).expect("a frame within its limit");
    bytes
}

/// Bytes as pairs of hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ")
}
