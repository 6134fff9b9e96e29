//! The system as a run has it, with real processes: it has a product of its own, is watched, and leaves nothing behind.
#![allow(clippy::unwrap_used)] // all of this is a test

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use longline_load_scenario::{Counts, External, Local, Servers};
use longline_load_target::{Probe, Running, Scrape, StartOptions, UPLINK_ROUTE};
use longline_procs::Profile;
use longline_testkit::eventually;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_secs(30);

/// Asking cargo once is enough.
static BINARY: LazyLock<PathBuf> = LazyLock::new(|| longline_procs::binary(Profile::Dev).unwrap());

fn options() -> StartOptions {
    StartOptions { binary: BINARY.clone(), ..StartOptions::default() }
}

async fn start(servers: &Servers) -> Running {
    Running::start(servers, options()).await.unwrap()
}

fn pinned() -> Local {
    Local { cores: vec![0], ..Local::default() }
}

/// Points at a system that was started for the test.
fn pointed_at(system: &Running, admin_key: Option<&str>) -> Servers {
    Servers::External(External {
        api: system.api().to_vec(),
        dispatcher: system.dispatchers()[0].clone(),
        product: system.product(),
        key: system.key().to_owned(),
        admin_key: admin_key.map(str::to_owned),
    })
}

fn client() -> Client {
    Client::builder().no_proxy().timeout(DEADLINE).build().unwrap()
}

/// Sends a message to alice at every center.
async fn send(system: &Running, key: &str) -> Vec<StatusCode> {
    let mut statuses = Vec::new();
    for center in system.api() {
        let request = client().post(format!("{center}/v1/messages")).bearer_auth(key);
        let message = json!({ "to": { "user": "alice" }, "payload": "hello" });
        statuses.push(request.json(&message).send().await.unwrap().status());
    }
    statuses
}

async fn product(system: &Running, id: u32) -> Value {
    let url = format!("{}/v1/admin/products/{id}", system.api()[0]);
    let request = client().get(url).bearer_auth(system.admin_key().unwrap());
    request.send().await.unwrap().json().await.unwrap()
}

async fn scrape(system: &Running) -> BTreeMap<String, f64> {
    let Scrape { values, missing } = system.scraper().scrape().await;
    assert_eq!(missing, [""; 0]);
    values
}

fn cores_of(pid: u32) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim().to_owned()
}

fn is_there(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test]
async fn a_standalone_process_serves_the_run_and_ends_with_it() {
    let mut system = start(&Servers::Standalone(pinned())).await;
    assert_eq!(send(&system, system.key()).await, [StatusCode::ACCEPTED]);
    assert!(system.product() > 1, "not the product demo");
    assert_eq!((system.rooms().len(), system.dispatchers().len()), (1, 1));
    assert!(system.versions().longline.is_some() && system.versions().redis.is_none());

    let processes = system.processes();
    let [process] = processes.as_slice() else { panic!("{processes:?}") };
    assert_eq!((process.role.as_str(), cores_of(process.pid).as_str()), ("standalone", "0"));
    let sample = Probe::new(&processes).sample().remove(0);
    assert!(sample.cpu_us > 1_000 && sample.rss_bytes > 1 << 20 && sample.threads > 1, "{sample:?}");

    let values = scrape(&system).await;
    for (key, value) in [
        ("saver.stored", 1.0),
        ("center.messages_accepted.durable", 1.0),
        ("room.sessions", 0.0),
        ("keeper.nodes.room", 1.0),
    ] {
        assert_eq!(values[key], value, "{key} in {values:?}");
    }
    assert!(values["standalone.process_cpu_seconds"] > 0.0);

    assert!(system.kill_room(None).unwrap_err().to_string().contains("mode = \"cluster\""));
    assert_eq!(system.ended().unwrap(), []);
    let pid = process.pid;
    system.stop().await.unwrap();
    assert!(!is_there(pid));
}

#[tokio::test]
async fn a_cluster_serves_the_run_and_its_rooms_can_be_killed() {
    let counts = Counts { rooms: 2, registers: 1, savers: 1, centers: 2, coordinators: 1, dispatchers: 1 };
    let mut system = start(&Servers::Cluster { counts, local: pinned() }).await;
    assert_eq!(send(&system, system.key()).await, [StatusCode::ACCEPTED; 2]);
    let versions = system.versions();
    assert!(versions.longline.is_some() && versions.redis.is_some() && versions.mariadb.is_some());

    let before = system.processes();
    let of = |role: &str| before.iter().filter(|process| process.role == role).count();
    assert_eq!((of("room"), of("keeper"), of("redis"), of("mariadb"), before.len()), (2, 1, 1, 1, 11));
    assert!(before.iter().all(|process| cores_of(process.pid) == "0"), "{before:?}");
    assert_eq!(Probe::new(&before).sample().len(), 11);

    let (rooms, mut scraper) = (system.rooms().to_vec(), system.scraper());
    let first = scraper.scrape().await;
    assert_eq!((first.values["keeper.nodes.room"], first.missing.len()), (2.0, 0));

    let killed = system.kill_room(None).unwrap();
    assert_eq!(system.kill_room(Some("center-1")).unwrap_err().to_string(), "there is no room center-1");
    let pid = before.iter().find(|process| process.name == killed).unwrap().pid;
    assert!(!is_there(pid));
    assert_eq!(system.ended().unwrap(), [], "it did not end by itself");
    let during = scraper.scrape().await;
    assert!(
        during.missing.len() == 1 && during.missing[0].starts_with(&format!("{killed}: ")),
        "{:?}",
        during.missing
    );
    let counted = "room.process_cpu_seconds";
    assert!(during.values[counted] >= first.values[counted], "what it had counted stands");

    system.restart_room(&killed).await.unwrap();
    assert_eq!(system.rooms(), rooms);
    assert_eq!(scraper.scrape().await.missing, [""; 0]);

    assert!(system.tell_room_to_stop("center-1").is_err());
    system.tell_room_to_stop("room-2").unwrap();
    eventually(DEADLINE, "it stops", async || system.room_has_stopped("room-2").unwrap()).await;
    assert!(!system.room_has_stopped("room-1").unwrap());
    assert_eq!(system.ended().unwrap(), [], "it was told to");
    system.restart_room("room-2").await.unwrap();
    let after = system.processes();
    assert_eq!(Probe::new(&after).sample().len(), 11);
    assert!(after.iter().all(|process| process.pid != pid && cores_of(process.pid) == "0"), "{after:?}");

    system.stop().await.unwrap();
    let left: Vec<_> = after.iter().filter(|process| is_there(process.pid)).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_system_that_runs_already_gets_a_product_for_the_run_and_keeps_its_own() {
    let mut system = start(&Servers::Standalone(Local::default())).await;
    let mut run = start(&pointed_at(&system, system.admin_key())).await;
    assert_ne!(run.product(), system.product());
    assert_eq!(run.rooms(), system.rooms());
    assert_eq!(run.versions().longline, system.versions().longline);
    assert_eq!(send(&run, run.key()).await, [StatusCode::ACCEPTED]);
    assert_eq!((run.processes(), run.ended().unwrap()), (vec![], vec![]));
    assert!(run.kill_room(None).is_err());
    let reported = async || scrape(&run).await["room.process_resident_memory_bytes"] > 0.0;
    eventually(DEADLINE, "the room reports what it uses", reported).await;

    let key = run.key().to_owned();
    run.stop().await.unwrap();
    let pids: Vec<u32> = system.processes().iter().map(|process| process.pid).collect();
    assert!(pids.iter().all(|pid| is_there(*pid)));
    let refused = async || send(&system, &key).await == [StatusCode::FORBIDDEN];
    eventually(DEADLINE, "the run's product is disabled", refused).await;
    assert_eq!(send(&system, system.key()).await, [StatusCode::ACCEPTED]);
}

#[tokio::test]
async fn without_the_admin_key_the_given_product_is_used() {
    let system = start(&Servers::Standalone(Local::default())).await;
    let given = pointed_at(&system, None);
    let run = start(&given).await;
    assert_eq!((run.product(), run.key(), run.token_key()), (system.product(), system.key(), None));
    assert_eq!(run.scraper().scrape().await, Scrape::default());
    run.stop().await.unwrap();
    assert_eq!(send(&system, system.key()).await, [StatusCode::ACCEPTED]);

    let refused = Running::start(&given, StartOptions { tokens: true, ..options() }).await.unwrap_err();
    assert!(refused.to_string().contains("give servers.admin_key"), "{refused}");
    let Servers::External(mut wrong) = given else { unreachable!() };
    wrong.key.push('x');
    let refused = Running::start(&Servers::External(wrong), options()).await.unwrap_err();
    assert!(format!("{refused:#}").contains("401"), "{refused:#}");
}

#[tokio::test]
async fn the_product_is_as_the_run_asks() {
    let uplink_url = Some("http://127.0.0.1:9/uplinks".to_owned());
    let asked = StartOptions { tokens: true, uplink_url: uplink_url.clone(), ..options() };
    let system = Running::start(&Servers::Standalone(Local::default()), asked).await.unwrap();
    let product = product(&system, system.product()).await;
    assert_eq!(product["require_token"], true, "{product}");
    assert_eq!(product["routes"], json!([{ "number": UPLINK_ROUTE, "url": uplink_url }]), "{product}");
    assert!(product["name"].as_str().unwrap().starts_with("loadtest-"), "{product}");
    assert!(system.token_key().is_some());
}

#[tokio::test]
async fn one_that_ends_by_itself_is_named_with_its_last_words() {
    let mut system = start(&Servers::Standalone(Local::default())).await;
    let pid = system.processes()[0].pid;
    assert!(std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
    let gone = async || !system.ended().unwrap().is_empty();
    eventually(DEADLINE, "the process has ended", gone).await;
    let ended = system.ended().unwrap().remove(0);
    assert_eq!(ended.name, "standalone");
    assert!(ended.how.contains("SIGKILL"), "{ended:?}");
    assert!(ended.last_words.contains("Ctrl-C stops it"), "{ended:?}");
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_told() {
    let missing = StartOptions { binary: PathBuf::from("/no/longline"), ..options() };
    let refused = Running::start(&Servers::Standalone(Local::default()), missing).await.unwrap_err();
    assert!(refused.to_string().contains("cargo build --release --package longline"), "{refused}");

    let nonsense = toml::from_str("nonsense = 1").unwrap();
    let local = Local { settings: BTreeMap::from([("room".to_owned(), nonsense)]), ..Local::default() };
    let refused = Running::start(&Servers::Standalone(local), options()).await.unwrap_err();
    assert!(refused.to_string().contains("nonsense"), "{refused}");
}
