//! What the services count themselves: their `/metrics`, the chosen ones, summed up by role.

mod chosen;
mod node;
mod text;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use reqwest::{Client, Url};
use tokio::task::JoinSet;

use crate::admin::Admin;
use node::{Node, Values};

/// For all answers of one scrape.
const DEADLINE: Duration = Duration::from_secs(3);
/// Metrics of a node are a tenth of this.
const MAX_TEXT: usize = 1 << 20;
/// `process_…` of a process that has several services.
const ALL_SERVICES: &str = "standalone";

/// What one scrape brought.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Scrape {
    /// Sums over the nodes of a role: `room.sessions`, `room.closes.kicked`, `saver.stored`, `center.process_cpu_seconds`.
    ///
    /// Counters never fall: those of a node that does not answer, or has been restarted, go on from what it told last. Gauges are of
    /// the nodes that answered.
    pub values: BTreeMap<String, f64>,
    /// Nodes that did not answer in time, with the reason.
    pub missing: Vec<String>,
}

/// Asks nodes for their metrics again and again.
#[derive(Debug)]
pub struct Scraper {
    client: Client,
    nodes: Vec<Node>,
}

/// Where metrics come from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A node's admin port, as URL without path.
    Node(String),
    /// What the nodes of a cluster report to it of themselves: memory, CPU, sessions.
    Cluster(Admin),
}

impl Scraper {
    /// Of these nodes, by name. Nothing is asked yet.
    pub(crate) fn new(client: Client, sources: impl IntoIterator<Item = (String, Source)>) -> Scraper {
        Scraper { client, nodes: sources.into_iter().map(|(name, source)| Node::new(name, source)).collect() }
    }

    /// Asks all at once, and takes what has come within three seconds.
    pub async fn scrape(&mut self) -> Scrape {
        let mut answers = JoinSet::new();
        for (place, node) in self.nodes.iter().enumerate() {
            let (client, source) = (self.client.clone(), node.source.clone());
            answers.spawn(async move { (place, ask(&client, &source).await) });
        }
        let mut came: Vec<anyhow::Result<Values>> =
            self.nodes.iter().map(|_| Err(anyhow::anyhow!("no answer within {DEADLINE:?}"))).collect();
        let all = async {
            while let Some(answer) = answers.join_next().await {
                if let Ok((place, values)) = answer {
                    came[place] = values;
                }
            }
        };
        // What has not come is told as missing.
        let _ = tokio::time::timeout(DEADLINE, all).await;

        let mut scrape = Scrape::default();
        for (node, values) in self.nodes.iter_mut().zip(came) {
            match values {
                Ok(values) => node.take(values),
                Err(error) => {
                    node.forget_gauges();
                    scrape.missing.push(format!("{}: {error:#}", node.name));
                }
            }
            for (key, value) in node.values() {
                *scrape.values.entry(key.to_owned()).or_default() += value;
            }
        }
        scrape
    }
}

async fn ask(client: &Client, source: &Source) -> anyhow::Result<Values> {
    match source {
        Source::Node(url) => Ok(chosen_of(&fetch(client, url).await?)),
        Source::Cluster(admin) => reported(admin).await,
    }
}

async fn fetch(client: &Client, url: &str) -> anyhow::Result<String> {
    let url = Url::parse(url)?.join("/metrics")?;
    let mut answer = client.get(url).send().await?.error_for_status()?;
    let mut text = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        ensure!(text.len() + chunk.len() <= MAX_TEXT, "more than {MAX_TEXT} bytes of metrics");
        text.extend_from_slice(&chunk);
    }
    String::from_utf8(text).context("the metrics are no UTF-8")
}

/// The chosen ones of a node's metrics.
fn chosen_of(text: &str) -> Values {
    let lines: Vec<text::Line<'_>> = text::lines(text, |name| chosen::chosen(name).is_some()).collect();
    let mut services = lines.iter().filter_map(|line| line.label("service"));
    let first = services.next().unwrap_or(ALL_SERVICES);
    let process = if services.all(|service| service == first) { first } else { ALL_SERVICES };
    let mut values = Values::default();
    for line in &lines {
        let Some(told_apart) = chosen::chosen(line.name) else { continue };
        let role = line.label("service").unwrap_or(process);
        let key = chosen::key(role, line.name, told_apart.and_then(|label| line.label(label)));
        values.add(key, line.value, chosen::is_counter(line.name));
    }
    values
}

/// What the nodes of a cluster report to it.
async fn reported(admin: &Admin) -> anyhow::Result<Values> {
    let mut values = Values::default();
    for node in admin.nodes().await? {
        let mut gauge =
            |name: &str, value: u64| values.add(format!("{}.{name}", node.role), value as f64, false);
        gauge("process_resident_memory_bytes", node.load.resident_bytes);
        gauge("cpu_permille", node.load.cpu_permille);
        if node.role == "room" {
            gauge("sessions", node.load.sessions);
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    const ROOM: &str = "longline_room_sessions{service=\"room\"} 3\n\
        longline_room_closes_total{reason=\"kicked\",service=\"room\"} 2\n\
        longline_rpc_batch_items_bucket{method=\"saver.ack\",service=\"room\",le=\"1\"} 9\n\
        longline_rpc_batch_items_sum{method=\"saver.ack\",service=\"room\"} 9\n\
        longline_rpc_failures_total{method=\"saver.ack\",reason=\"late\",service=\"room\"} 1\n\
        longline_rpc_failures_total{method=\"saver.put\",reason=\"late\",service=\"room\"} 2\n\
        process_cpu_seconds_total 1.5\n";

    /// Answers a connection with each of these metrics, an empty text not at all, and then takes no more.
    async fn serve(texts: &'static [&'static str]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut held = Vec::new();
            for text in texts {
                let (mut socket, _) = listener.accept().await.unwrap();
                let _ = socket.read(&mut [0; 4096]).await.unwrap();
                if text.is_empty() {
                    held.push(socket);
                    continue;
                }
                let length = text.len();
                let answer =
                    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{text}");
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
            drop(listener);
            std::future::pending::<()>().await;
        });
        format!("http://{address}")
    }

    fn scraper(urls: &[&str]) -> Scraper {
        let sources = urls.iter().map(|url| ((*url).to_owned(), Source::Node((*url).to_owned())));
        Scraper::new(Client::builder().no_proxy().build().unwrap(), sources)
    }

    #[test]
    fn metrics_of_a_role_are_kept_under_its_name() {
        let values: Vec<(String, f64)> = chosen_of(ROOM).each().map(|(key, value, _)| (key, value)).collect();
        let expected = [
            ("room.closes.kicked", 2.0),
            ("room.process_cpu_seconds", 1.5),
            ("room.rpc_batch_items_sum.saver.ack", 9.0),
            ("room.rpc_failures.late", 3.0),
            ("room.sessions", 3.0),
        ];
        assert_eq!(values, expected.map(|(key, value)| (key.to_owned(), value)));
    }

    #[test]
    fn a_process_of_several_services_is_standalone() {
        let text = format!("{ROOM}longline_saver_stored_total{{service=\"saver\"}} 4\n");
        let keys: Vec<String> = chosen_of(&text).each().map(|(key, ..)| key).collect();
        assert!(keys.contains(&"standalone.process_cpu_seconds".to_owned()), "{keys:?}");
        assert!(keys.contains(&"saver.stored".to_owned()), "{keys:?}");
        assert!(keys.contains(&"room.sessions".to_owned()), "{keys:?}");
    }

    #[tokio::test]
    async fn nodes_are_summed_up_and_the_silent_one_is_named() {
        let answering = [serve(&[ROOM]).await, serve(&[ROOM]).await];
        let silent = serve(&[""]).await;
        let mut scraper = scraper(&[&answering[0], &silent, &answering[1]]);
        let scrape = scraper.scrape().await;
        assert_eq!(scrape.values["room.sessions"], 6.0);
        assert_eq!(scrape.values["room.process_cpu_seconds"], 3.0);
        assert_eq!(scrape.missing, [format!("{silent}: no answer within 3s")]);
    }

    #[tokio::test]
    async fn counters_never_fall_and_gauges_are_of_now() {
        const LATER: &str = "longline_room_closes_total{reason=\"kicked\",service=\"room\"} 5\n\
            longline_room_sessions{service=\"room\"} 1\n";
        const RESTARTED: &str = "longline_room_closes_total{reason=\"kicked\",service=\"room\"} 1\n\
            longline_room_sessions{service=\"room\"} 4\n";
        let mut scraper = scraper(&[&serve(&[ROOM, LATER, RESTARTED]).await]);
        let mut seen = Vec::new();
        for _ in 0..4 {
            let Scrape { values, missing } = scraper.scrape().await;
            seen.push((values["room.closes.kicked"], values.get("room.sessions").copied(), missing.len()));
        }
        let expected = [(2.0, Some(3.0), 0), (5.0, Some(1.0), 0), (6.0, Some(4.0), 0), (6.0, None, 1)];
        assert_eq!(seen, expected);
    }

    #[tokio::test]
    async fn what_is_no_metrics_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nobody = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let scrape = scraper(&[&nobody, "nonsense"]).scrape().await;
        assert_eq!(scrape.values, BTreeMap::new());
        assert!(scrape.missing[0].starts_with(&nobody) && scrape.missing[1].starts_with("nonsense: "));
    }

    #[tokio::test]
    async fn what_is_chosen_is_what_services_count() {
        let binary = longline_procs::binary(longline_procs::Profile::Dev).unwrap();
        let options = crate::StartOptions { binary, ..Default::default() };
        let servers = longline_load_scenario::Servers::Standalone(Default::default());
        let system = crate::Running::start(&servers, options).await.unwrap();
        let scraper = system.scraper();
        let Source::Node(url) = &scraper.nodes[0].source else { panic!("{scraper:?}") };
        let text = fetch(&scraper.client, url).await.unwrap();
        let told: Vec<&str> = text::lines(&text, |_| true).map(|line| line.name).collect();
        let missing: Vec<&str> = chosen::always_there().filter(|name| !told.contains(name)).collect();
        assert_eq!(missing, [""; 0], "names that no service uses");
    }
}
