//! The way of a message through the backend, without a socket.

use longline_load_raw::{Acked, Report};
use longline_types::ErrorCode;

use super::*;

const PRODUCT: u32 = 1;
const ROUTE: Route = Route { stamp: None, node: 7, incarnation: 70, session: 700 };

/// An injector, and what is asked for it.
struct Rig {
    post: Post,
    injector: Serial,
}

impl Rig {
    fn new(transient: bool) -> Rig {
        let mut post = Post::new(PRODUCT);
        let injector = post.connect(Arc::default()).unwrap();
        let mut rig = Rig { post, injector };
        rig.follow([Order::Users { prefix: "run-1".into(), transient }]);
        rig
    }

    fn follow(&mut self, orders: impl IntoIterator<Item = Order>) -> Vec<Message> {
        self.post.follow(self.injector, orders, 1_000).unwrap()
    }

    fn send(&mut self, user: u32, ids: impl IntoIterator<Item = u64>) {
        let payload = Bytes::from_static(b"hello");
        let order = |id| Order::Deliver(Delivery { user, id, payload: payload.clone() });
        self.follow(ids.into_iter().map(order).collect::<Vec<_>>());
    }

    /// Answers all lookups so.
    fn found(&mut self, route: Option<Route>) -> usize {
        let asked = self.post.take_lookups();
        asked.iter().for_each(|(user, _)| self.post.found(*user, route));
        asked.len()
    }

    /// The ids that go to room 7 now; they are answered so.
    fn delivered(&mut self, result: DeliverResult) -> Vec<u64> {
        let mut ids = Vec::new();
        for (room, group) in self.post.take_deliveries() {
            assert_eq!((room, group.items.len()), (ROUTE.node, group.requests.len()));
            for request in &group.requests {
                assert_eq!(request.route, Some(ROUTE));
                ids.push(request.message.as_ref().unwrap().id);
            }
            let replies = ids.iter().map(|_| Ok(DeliverReply { result: result.into() })).collect();
            self.post.delivered(group.items, replies);
        }
        ids
    }

    fn load(&mut self, user: &str, limit: u32, except: &[u64]) -> (Vec<u64>, bool) {
        let (except, max_bytes) = (except.to_vec(), 1 << 20);
        let request =
            LoadRequest { address: address(user), limit, max_bytes, except, ..LoadRequest::default() };
        let reply = self.post.load(&request);
        assert_eq!(reply.error, None);
        (reply.messages.iter().map(|message| message.id).collect(), reply.more)
    }

    fn ack(&mut self, user: &str, id: u64, broadcast_seq: u64) -> bool {
        let request = AckRequest { address: address(user), id, broadcast_seq, ..AckRequest::default() };
        self.post.ack(&request).ended
    }

    fn waits(&mut self, user: &str) -> bool {
        self.post.check(&CheckRequest { address: address(user), in_flight: 0 }).waiting
    }

    /// What the injector is told.
    fn report(&mut self) -> Report {
        let reports = &mut self.post.injectors.get_mut(self.injector).unwrap().reports;
        reports.end();
        let bytes = reports.unwritten().to_vec();
        reports.advance(bytes.len());
        let (mut report, mut input) = (Report::default(), bytes::BytesMut::from(&bytes[..]));
        while let Some(body) = longline_load_raw::take_whole(&mut input, 1 << 20).unwrap() {
            report.add(&body).unwrap();
        }
        report
    }
}

fn address(user: &str) -> Option<Address> {
    Some(Address { product: PRODUCT, user: user.to_owned() })
}

fn acked(user: u32, ids: &[u64]) -> Report {
    Report { acked: ids.iter().map(|id| Acked { user, id: *id }).collect(), absent: 0 }
}

#[test]
fn a_message_is_looked_up_once_delivered_in_order_and_reported_when_it_is_acknowledged() {
    let mut rig = Rig::new(false);
    rig.send(5, [10, 11]);
    assert!(rig.post.take_deliveries().is_empty(), "nobody knows where the user is");
    rig.send(5, [12]);
    assert_eq!(rig.found(Some(ROUTE)), 1, "one question for all three");
    rig.send(5, [13]);
    assert_eq!(rig.delivered(DeliverResult::Pushed), [10, 11, 12, 13]);
    assert!(!rig.post.has_work() && rig.waits("run-1-5"));
    assert_eq!(rig.report(), Report::default());
    assert!([10, 11, 12, 13].into_iter().all(|id| rig.ack("run-1-5", id, 0)));
    assert!(!rig.ack("run-1-5", 13, 0), "it has ended before");
    assert_eq!(rig.report(), acked(5, &[10, 11, 12, 13]));
    assert!(!rig.waits("run-1-5"));
    assert_eq!((rig.post.held, rig.post.held_bytes), (0, 0));
}

#[test]
fn what_the_room_puts_off_or_nobody_can_deliver_comes_with_a_load() {
    let mut rig = Rig::new(false);
    rig.send(5, [10]);
    rig.found(Some(ROUTE));
    assert_eq!(rig.delivered(DeliverResult::Deferred), [10]);
    rig.send(6, [20, 21, 22]);
    rig.found(None);
    assert!(!rig.post.has_work());
    assert_eq!(rig.load("run-1-5", 64, &[]), (vec![10], false));
    assert_eq!(rig.load("run-1-6", 2, &[]), (vec![20, 21], true));
    assert_eq!(rig.load("run-1-6", 2, &[20]), (vec![21, 22], false));
    assert_eq!(rig.load("run-2-6", 2, &[]), (vec![], false), "another leg's user");
    assert_eq!(rig.report(), Report::default());
}

#[test]
fn a_stale_route_is_looked_up_anew_and_tried_once_more() {
    let mut rig = Rig::new(false);
    rig.send(5, [10]);
    rig.found(Some(ROUTE));
    rig.send(5, [11]);
    assert_eq!(rig.delivered(DeliverResult::NotHere), [10, 11]);
    assert_eq!(rig.found(Some(ROUTE)), 1);
    assert_eq!(rig.delivered(DeliverResult::NotHere), [10, 11]);
    assert!(!rig.post.has_work(), "not a third time");
    assert!(rig.waits("run-1-5"));
}

#[test]
fn a_transient_message_is_reported_by_what_the_room_says_and_waits_nowhere() {
    let mut rig = Rig::new(true);
    rig.send(5, [10]);
    rig.found(Some(ROUTE));
    assert_eq!(rig.delivered(DeliverResult::Pushed), [10]);
    assert_eq!(rig.report(), acked(5, &[10]));
    for result in [DeliverResult::Dropped, DeliverResult::Overloaded] {
        rig.send(5, [11]);
        assert_eq!(rig.delivered(result), [11]);
        assert_eq!(rig.report(), Report { acked: vec![], absent: 1 });
    }
    rig.send(6, [20]);
    rig.found(None);
    assert_eq!(rig.report(), Report { acked: vec![], absent: 1 });
    assert!(!rig.waits("run-1-5") && !rig.waits("run-1-6"));
    assert_eq!((rig.post.held, rig.post.held_bytes), (0, 0));
}

#[test]
fn a_broadcast_is_loaded_by_those_who_knew_the_product_and_its_acknowledgements_are_reported() {
    let mut rig = Rig::new(false);
    assert_eq!(rig.load("run-1-5", 64, &[]), (vec![], false));
    let walks = rig.follow([Order::Broadcast { id: 90, payload: Bytes::from_static(b"all") }]);
    assert_eq!((walks.len(), walks[0].id, walks[0].broadcast_seq), (1, 90, 1));
    assert!(rig.waits("run-1-5") && !rig.waits("run-1-6"));
    assert_eq!(rig.load("run-1-5", 64, &[]), (vec![90], false));
    assert_eq!(rig.load("run-1-6", 64, &[]), (vec![], false), "the first load");
    assert!(rig.ack("run-1-5", 90, 1) && !rig.ack("run-1-5", 90, 1));
    assert_eq!(rig.report(), acked(5, &[90]));
    assert_eq!(rig.load("run-1-5", 64, &[]), (vec![], false));
}

#[test]
fn injectors_wait_when_too_much_is_held() {
    let mut rig = Rig::new(false);
    rig.send(5, 0..MOST as u64);
    assert!(rig.post.is_full());
    assert!(rig.ack("run-1-5", 0, 0));
    assert!(!rig.post.is_full());
}

#[test]
fn messages_before_the_users_have_a_name_and_bad_addresses_are_refused() {
    let mut post = Post::new(PRODUCT);
    let injector = post.connect(Arc::default()).unwrap();
    let mut rig = Rig { post, injector };
    rig.send(5, [10]);
    assert_eq!(rig.report(), Report { acked: vec![], absent: 1 });
    for address in [None, address("alice"), Some(Address { product: 2, user: "run-1-5".into() })] {
        let failed = rig.post.load(&LoadRequest { address, ..LoadRequest::default() }).error.unwrap();
        assert_eq!(Error::from(failed).code, ErrorCode::InvalidArgument);
    }
}
