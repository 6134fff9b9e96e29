//! What a device shows of a session that broke.

use super::*;

const ROOM: &str = "10.0.0.1:9000";

/// A device that resumes, bound in a session that is offered under this token.
fn offered(token: &[u8]) -> Rig {
    let mut rig = Rig::with(Manner::Good, 1.0);
    let at = rig.cx.now.at;
    rig.device.come(0, at, &mut rig.cx);
    // As if it had been routed there.
    rig.device.goes_to(ROOM.parse().unwrap(), &rig.cx);
    greet(&mut rig);
    rig.hear(&offer(token, false));
    rig
}

fn offer(token: &[u8], resumed: bool) -> client::Welcome {
    client::Welcome { resume_token: token.to_vec(), resumed, ..welcome(60, Some(BindResult::Ok)) }
}

/// Connects and takes the HELLO.
fn greet(rig: &mut Rig) -> client::Hello {
    rig.device.opening(&mut rig.cx);
    rig.device.opened(&mut rig.cx);
    let out = std::mem::take(&mut rig.cx.out);
    let hello = frames(out.strip_prefix(&PREFACE).unwrap()).remove(0).1;
    prost::Message::decode(&hello[..]).unwrap()
}

fn acknowledge(rig: &mut Rig, ids: std::ops::Range<u64>) {
    for id in ids {
        rig.hear_push(id, PushFlag::None);
        rig.said();
    }
}

fn shown(hello: &client::Hello) -> (&[u8], Vec<u64>) {
    (&hello.resume_token, hello.have.iter().flat_map(|ack| ack.ids.iter().copied()).collect())
}

const BROKEN: [Ending; 5] = [
    Ending::Trouble(Trouble::Reset),
    Ending::Trouble(Trouble::HungUp),
    Ending::Trouble(Trouble::Silence),
    Ending::Dropped { away: 50 },
    Ending::Closed { reason: 1002, retry_after_ms: 0 },
];

#[test]
fn a_session_that_broke_is_asked_for_at_its_room_with_what_was_acknowledged() {
    for ending in BROKEN {
        let mut rig = offered(b"one");
        acknowledge(&mut rig, 1..3);
        // Its ACK is not in the kernel's hands.
        rig.hear_push(3, PushFlag::None);
        rig.cx.out.clear();
        rig.cx.acked.clear();
        rig.device.ended(ending, &mut rig.cx);
        assert!(rig.device.next(&rig.cx) - rig.cx.now.ms <= 100, "at once: {ending:?}");
        assert_eq!(rig.device.route(&mut rig.cx), Some(ROOM.parse().unwrap()), "{ending:?}");
        let hello = greet(&mut rig);
        assert_eq!(shown(&hello), (&b"one"[..], vec![1, 2]), "{ending:?}");
        rig.hear(&offer(b"two", true));
        rig.said();
        acknowledge(&mut rig, 4..5);
        rig.device.ended(ending, &mut rig.cx);
        assert_eq!(shown(&greet(&mut rig)), (&b"two"[..], vec![1, 2, 4]), "the same session");
        rig.hear(&offer(b"three", false));
        assert_eq!((rig.counts().resumed, rig.counts().resumes_refused), (1, 1));
        rig.device.ended(ending, &mut rig.cx);
        assert_eq!(shown(&greet(&mut rig)), (&b"three"[..], vec![]), "a fresh session");
    }
}

#[test]
fn a_session_that_was_ended_is_not_asked_for() {
    for ending in [
        Ending::Closed { reason: 1000, retry_after_ms: 0 },
        Ending::Closed { reason: 2008, retry_after_ms: 0 },
        Ending::Trouble(Trouble::Protocol),
        Ending::Trouble(Trouble::Unbound),
        Ending::Moved,
    ] {
        let mut rig = offered(b"one");
        acknowledge(&mut rig, 1..3);
        rig.device.ended(ending, &mut rig.cx);
        assert_eq!(rig.device.route(&mut rig.cx), None, "{ending:?}");
        assert_eq!(shown(&greet(&mut rig)), (&b""[..], vec![]), "{ending:?}");
    }
    let mut rig = offered(b"one");
    let reconnect = client::Reconnect { endpoints: vec![], within_ms: 3000, ticket: vec![] };
    rig.hear(&client::Directive { what: Some(directive::What::Reconnect(reconnect)) });
    rig.device.ended(Ending::Trouble(Trouble::Reset), &mut rig.cx);
    assert_eq!(rig.device.route(&mut rig.cx), None, "after a directive");
}

#[test]
fn a_try_that_fails_is_the_last_one() {
    let mut rig = offered(b"one");
    rig.device.ended(Ending::Trouble(Trouble::Reset), &mut rig.cx);
    greet(&mut rig);
    rig.device.ended(Ending::Trouble(Trouble::Refused), &mut rig.cx);
    let wait = rig.device.next(&rig.cx) - rig.cx.now.ms;
    assert!((200..=400).contains(&wait), "{wait}");
    assert_eq!((rig.device.route(&mut rig.cx), rig.device.attempt), (None, 1));
    assert_eq!(shown(&greet(&mut rig)), (&b""[..], vec![]));

    let mut rig = offered(b"one");
    for ending in [Trouble::Reset, Trouble::Ports].map(Ending::Trouble) {
        rig.device.ended(ending, &mut rig.cx);
        assert_eq!(rig.device.route(&mut rig.cx), Some(ROOM.parse().unwrap()), "{ending:?}");
        rig.device.opening(&mut rig.cx);
    }
}

#[test]
fn no_more_ids_are_named_than_a_hello_may_have() {
    let mut rig = offered(b"one");
    acknowledge(&mut rig, 0..1100);
    rig.device.ended(Ending::Trouble(Trouble::Reset), &mut rig.cx);
    assert_eq!(shown(&greet(&mut rig)), (&b"one"[..], (76..1100).collect()));
}

#[test]
fn who_does_not_resume_and_who_misbehaves_keeps_nothing() {
    for (manner, share) in [(Manner::Good, 0.0), (Manner::NeverAck, 1.0)] {
        let mut rig = Rig::with(manner, share);
        rig.device.goes_to(ROOM.parse().unwrap(), &rig.cx);
        assert!(rig.device.resumption.is_none(), "{manner:?}");
    }
}
