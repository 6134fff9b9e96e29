//! A keeper process that is killed again and again, at any moment: what it has answered, it still knows (I1).
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::collections::{HashMap, HashSet};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{Keeper, client};
use longline_pb::keeper::{self, IdGrant, RegisterRequest, RenewRequest};
use tokio::sync::watch;

const FOLDER: &str = "LONGLINE_TEST_KEEPER_FOLDER";
const ADDRESS: &str = "keeper listens on ";

/// The process that the other test kills; nothing unless that test has started it.
#[tokio::test]
async fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let keeper = Keeper::start(Path::new(&folder), 0).await;
    println!("\n{ADDRESS}{}", keeper.address);
    // Ends with the test that started it, at the latest when that closes the pipe.
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await.unwrap().unwrap();
}

fn start(folder: &Path) -> (Child, SocketAddr) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(FOLDER, folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = lines.map_while(Result::ok).find_map(|l| l.strip_prefix(ADDRESS)?.parse().ok());
    (child, address.expect("the keeper starts"))
}

/// What was answered, over all lives of the keeper.
#[derive(Default)]
struct Answered {
    incarnations: HashSet<u64>,
    grants: HashMap<u32, Vec<IdGrant>>,
    view: u64,
    last: Option<(u32, u64)>,
}

impl Answered {
    fn grant(&mut self, grant: IdGrant) {
        let earlier = self.grants.entry(grant.number).or_default();
        let apart = earlier.iter().all(|e| grant.from_ms >= e.until_ms || grant.until_ms <= e.from_ms);
        assert!(apart, "{grant:?} overlaps one of {earlier:?}");
        earlier.push(grant);
    }
}

/// Registers and renews until the keeper is gone; tells how many registrations it has got.
async fn use_keeper(address: SocketAddr, answered: &mut Answered, got: watch::Sender<u64>) {
    let mut client = client(address);
    loop {
        if let Some((number, incarnation)) = answered.last {
            let state = keeper::NodeState::Ready.into();
            let renew = RenewRequest { number, incarnation, state, want_grant: true, load: None };
            match client.renew(renew).await {
                Ok(reply) => {
                    let reply = reply.into_inner();
                    assert!(reply.view_number >= answered.view, "the view's number went back");
                    answered.view = reply.view_number;
                    if let Some(grant) = reply.grant {
                        answered.grant(grant);
                    }
                }
                Err(status) if status.code() == tonic::Code::NotFound => panic!("a live node was forgotten"),
                Err(_) => return,
            }
        }
        let register = RegisterRequest {
            role: keeper::Role::Center.into(),
            idc: "default".into(),
            rpc: "127.0.0.1:9".into(),
            state: keeper::NodeState::Starting.into(),
            ..RegisterRequest::default()
        };
        let Ok(registration) = client.register(register).await else { return };
        let registration = registration.into_inner();
        assert!(answered.incarnations.insert(registration.incarnation), "an incarnation came twice");
        let view = registration.view.unwrap();
        assert!(view.number > answered.view, "the view's number did not rise");
        assert!(view.nodes.iter().any(|n| n.incarnation == registration.incarnation));
        answered.view = view.number;
        answered.grant(registration.grant.unwrap());
        answered.last = Some((registration.number, registration.incarnation));
        got.send_modify(|got| *got += 1);
    }
}

#[tokio::test]
async fn a_killed_keeper_forgets_nothing_that_it_answered_i1() {
    let folder = tempfile::tempdir().unwrap();
    let mut answered = Answered::default();
    for life in 0..4u64 {
        let (mut child, address) = start(folder.path());
        let (got, mut so_far) = watch::channel(0);
        let using = use_keeper(address, &mut answered, got);
        let killing = async {
            so_far.wait_for(|got| *got >= 2 + 5 * life).await.expect("it answers until it is killed");
            child.kill().unwrap();
        };
        tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(using, killing) })
            .await
            .expect("the killed keeper stops answering");
        child.wait().unwrap();
    }
}
