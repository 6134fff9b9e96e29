//! The standalone process from outside: what it prints is true, its keys and messages survive `kill -9`, and what it cannot
//! have it refuses in words.
#![allow(clippy::unwrap_used)] // all of this is a test

use std::path::Path;
use std::time::Duration;

use longline_testkit::{Process, Scratch, eventually_some};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_secs(30);

const FREE: &str = "127.0.0.1:0";

/// A standalone process, and what it has printed.
struct Standalone {
    process: Process,
    printed: String,
}

impl Standalone {
    async fn start(scratch: &Scratch, data: &Path) -> Standalone {
        let mut process = launch(scratch, data, FREE);
        let printed = eventually_some(DEADLINE, "the standalone process is ready", async || {
            assert!(process.exited().unwrap().is_none(), "{}", process.output());
            Some(process.output()).filter(|text| text.contains("Ctrl-C stops it."))
        });
        let printed = printed.await;
        Standalone { printed, process }
    }

    /// What it printed beside this name.
    fn value(&self, name: &str) -> &str {
        let line = self.printed.lines().find_map(|line| line.trim_start().strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap()
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> (StatusCode, Value) {
        let reply = request.bearer_auth(self.value("key")).send().await.unwrap();
        (reply.status(), reply.json().await.unwrap_or_default())
    }
}

fn launch(scratch: &Scratch, data: &Path, room: &str) -> Process {
    let data = data.to_str().unwrap();
    let arguments = ["standalone", "--data", data, "--http", FREE, "--room", room].map(str::to_owned);
    let log = scratch.folder("log").unwrap().join("log");
    Process::start(Path::new(env!("CARGO_BIN_EXE_longline")), &arguments, &log).unwrap()
}

fn client() -> Client {
    Client::builder().no_proxy().timeout(DEADLINE).build().unwrap()
}

#[tokio::test]
async fn keys_and_messages_survive_kill_9() {
    let scratch = Scratch::new().unwrap();
    let data = scratch.path().join("data");
    let mut first = Standalone::start(&scratch, &data).await;
    let api = first.value("API").to_owned();
    let message = json!({ "to": { "user": "alice" }, "payload": "hello" });
    let (status, sent) = first.ask(client().post(format!("{api}/v1/messages")).json(&message)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{sent}");
    let id = sent["messages"][0]["id"].as_str().unwrap().to_owned();
    let (key, admin_key) = (first.value("key").to_owned(), std::fs::read(data.join("admin.key")).unwrap());
    first.process.kill().unwrap();

    let second = Standalone::start(&scratch, &data).await;
    assert_eq!(second.value("key"), key);
    assert_eq!(std::fs::read(data.join("admin.key")).unwrap(), admin_key);
    let api = second.value("API").to_owned();
    let (status, user) = second.ask(client().get(format!("{api}/v1/users/alice"))).await;
    assert_eq!((status, &user["waiting"]), (StatusCode::OK, &json!(1)), "{user}");
    let (status, message) = second.ask(client().get(format!("{api}/v1/messages/{id}"))).await;
    assert_eq!(status, StatusCode::OK, "{message}");
}

#[tokio::test]
async fn a_lost_demo_key_is_replaced() {
    let scratch = Scratch::new().unwrap();
    let data = scratch.path().join("data");
    let mut first = Standalone::start(&scratch, &data).await;
    let key = first.value("key").to_owned();
    first.process.stop(DEADLINE).await.unwrap();
    std::fs::remove_file(data.join("demo.key")).unwrap();
    let second = Standalone::start(&scratch, &data).await;
    assert_ne!(second.value("key"), key);
    let user = client().get(format!("{}/v1/users/alice", second.value("API")));
    assert_eq!(second.ask(user).await.0, StatusCode::OK);
}

#[tokio::test]
async fn what_it_prints_answers() {
    let scratch = Scratch::new().unwrap();
    let mut process = Standalone::start(&scratch, &scratch.path().join("data")).await;
    let ready = client().get(format!("{}/readyz", process.value("admin"))).send().await.unwrap();
    assert_eq!(ready.status(), StatusCode::OK);
    let metrics = client().get(format!("{}/metrics", process.value("admin"))).send().await.unwrap();
    assert!(metrics.text().await.unwrap().contains("process_resident_memory_bytes"));
    let route = format!("{}/v1/route?product=1&user=alice", process.value("dispatcher"));
    let route = client().get(route).send().await.unwrap().text().await.unwrap();
    assert!(route.contains(process.value("room")), "{route}");
    let program = env!("CARGO_BIN_EXE_longline");
    for line in
        [format!("  {program} listen --user alice --room "), format!("  {program} push --user alice --api ")]
    {
        assert!(process.printed.contains(&line), "{}", process.printed);
    }
    let status = process.process.stop(DEADLINE).await.unwrap();
    assert!(status.success(), "SIGTERM stops it in order: {}", process.process.output());
}

#[tokio::test]
async fn what_is_in_use_is_refused_in_words() {
    let scratch = Scratch::new().unwrap();
    let data = scratch.path().join("data");
    let first = Standalone::start(&scratch, &data).await;
    let mut second = launch(&scratch, &data, FREE);
    assert!(!second.wait(DEADLINE).await.unwrap().success());
    assert!(second.output().contains("is in use by another longline process"), "{}", second.output());

    let room = first.value("room");
    let mut third = launch(&scratch, &scratch.path().join("other"), room);
    assert!(!third.wait(DEADLINE).await.unwrap().success());
    let said = third.output();
    assert!(said.contains(room) && said.contains("Address already in use"), "{said}");
}

#[tokio::test]
async fn a_session_can_be_looked_at_while_it_lives() {
    let scratch = Scratch::new().unwrap();
    let data = scratch.path().join("data");
    let process = Standalone::start(&scratch, &data).await;
    let program = Path::new(env!("CARGO_BIN_EXE_longline"));
    let log = scratch.folder("listen").unwrap().join("log");
    let listen =
        ["listen", "--user", "alice", "--room", process.value("room"), "--no-ack"].map(str::to_owned);
    let mut device = Process::start(program, &listen, &log).unwrap();
    let (api, key_file) = (process.value("API"), data.join("admin.key"));
    let look = |words: &[&str]| {
        let mut command = std::process::Command::new(program);
        command
            .args(["ctl", "session", "alice", "--api", api, "--admin-key-file"])
            .arg(&key_file)
            .args(words);
        let output = command.env_remove("LONGLINE_ADMIN_KEY").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let message = json!({ "to": { "user": "alice" }, "payload": "hello" });
    let (status, sent) = process.ask(client().post(format!("{api}/v1/messages")).json(&message)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{sent}");
    let id = sent["messages"][0]["id"].as_str().unwrap();
    let seen = eventually_some(DEADLINE, "the message is in flight", async || {
        let seen: Value = serde_json::from_str(&look(&["--json"])).unwrap();
        (seen["session"]["in_flight"][0]["id"] == id).then_some(seen)
    });
    let seen = seen.await;
    assert_eq!((&seen["presence"], &seen["session"]["state"]), (&json!("online"), &json!("open")), "{seen}");
    assert_eq!(seen["session"]["transport"], "tcp");
    assert!(seen["session"]["sdk"].as_str().unwrap().starts_with("rust/"), "{seen}");
    let text = look(&[]);
    assert!(text.starts_with("alice of product 1 is online; 1 messages wait\n"), "{text}");
    assert!(text.contains(&format!("in flight    {id} for ")), "{text}");
    device.stop(DEADLINE).await.unwrap();
    let gone = async || look(&[]).starts_with("alice of product 1 is offline").then_some(());
    eventually_some(DEADLINE, "alice is offline", gone).await;
}
