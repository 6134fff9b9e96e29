//! Sessions that the business ends.

use longline_pb::coordinator::KickRequest;
use longline_pb::coordinator::coordinator_client::CoordinatorClient;
use longline_types::{Address, Error, ErrorCode, Role, Route, SessionId, Stamp};

use crate::support::saver::FakeSaver;
use crate::support::sessions::{FakeRegister, FakeRoom};
use crate::support::{Running, SOON, address, config};

struct Sessions {
    running: Running,
    register: FakeRegister,
    room: FakeRoom,
}

async fn sessions() -> Sessions {
    let saver = FakeSaver::start(1, vec![]).await;
    let (register, room) = (FakeRegister::start(2).await, FakeRoom::start(3).await);
    let nodes = vec![saver.node.clone(), register.node.clone(), room.node.clone()];
    Sessions { running: Running::start(config(), nodes).await, register, room }
}

impl Sessions {
    fn route(&self, session: u64) -> Route {
        let stamp = Stamp { generation: 1, counter: session };
        let (node, incarnation) = (self.room.node.number, self.room.node.incarnation);
        Route { stamp, node, incarnation, session: SessionId(session) }
    }

    async fn kick(&self, detail: &str) -> Result<bool, Error> {
        let request = KickRequest { address: address(7), detail: detail.into() };
        let kick = |channel| {
            let request = request.clone();
            async move { CoordinatorClient::new(channel).kick(request).await }
        };
        self.running.peers.unary(Role::Coordinator, 1, SOON, kick).await.map(|reply| reply.kicked)
    }
}

#[tokio::test]
async fn a_kick_finds_the_session_and_ends_it() {
    let sessions = sessions().await;
    let route = sessions.route(11);
    sessions.register.set_route(route);
    sessions.room.hold(route);
    assert!(sessions.kick("logged out elsewhere").await.unwrap());
    let kicks = sessions.room.kicks();
    assert_eq!((kicks.len(), kicks[0].detail.as_str()), (1, "logged out elsewhere"));
    assert_eq!(kicks[0].route.map(Route::from), Some(route));
    assert_eq!(sessions.register.asked(), [Address::new(7, "alice").unwrap().key()]);
    assert!(!sessions.kick("again").await.unwrap(), "the route that is left is a stale one");
}

#[tokio::test]
async fn a_user_who_is_not_connected_is_not_kicked() {
    let sessions = sessions().await;
    assert!(!sessions.kick("").await.unwrap());
    // The room has restarted since: whoever was there is not any more.
    sessions.register.set_route(Route { incarnation: 1, ..sessions.route(11) });
    assert!(!sessions.kick("").await.unwrap());
    assert!(sessions.room.kicks().is_empty());
    assert_eq!(sessions.running.counter(r#"longline_coordinator_kicks_total{result="not_connected"}"#), 2);
}

#[tokio::test]
async fn not_known_is_not_the_same_as_not_connected_r3() {
    let sessions = sessions().await;
    let refilling = Error::new(ErrorCode::Refilling, "not all rooms have answered");
    let moved = Error::new(ErrorCode::WrongNode, "ask the owner");
    let route = sessions.route(11);
    sessions.register.set_route(route);
    sessions.room.hold(route);
    sessions.register.fail_with([refilling.clone(), moved]);
    assert!(sessions.kick("").await.unwrap(), "it asks again while nobody can tell");
    sessions.register.fail_with(std::iter::repeat_n(refilling, 10_000));
    assert_eq!(sessions.kick("").await.unwrap_err().code, ErrorCode::Refilling);
}

#[tokio::test]
async fn what_is_told_to_the_device_is_bounded() {
    let sessions = sessions().await;
    assert_eq!(sessions.kick(&"x".repeat(257)).await.unwrap_err().code, ErrorCode::InvalidArgument);
}
