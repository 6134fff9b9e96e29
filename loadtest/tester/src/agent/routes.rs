//! Which room a device goes to.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use longline_load_swarm::Routes;
use serde::Deserialize;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

/// Straight to the rooms, spread evenly; the next one after a failure.
pub(crate) struct Direct(Vec<SocketAddr>);

impl Direct {
    pub(crate) fn new(rooms: &[String]) -> anyhow::Result<Direct> {
        let parse = |room: &String| room.parse().with_context(|| format!("{room} is not an address"));
        let rooms: Vec<SocketAddr> = rooms.iter().map(parse).collect::<Result<_, _>>()?;
        anyhow::ensure!(!rooms.is_empty(), "there is no room");
        Ok(Direct(rooms))
    }
}

impl Routes for Direct {
    fn room(&self, user: u32, attempt: u32) -> Option<SocketAddr> {
        let rooms = self.0.len();
        Some(self.0[(user as usize + attempt as usize) % rooms])
    }
}

/// As the dispatcher says: its group in order, then it is asked again.
pub(crate) struct Dispatched {
    users: Users,
    questions: mpsc::Sender<Question>,
}

/// Questions without an answer that is of use, by what was wrong.
pub(crate) type Failures = Arc<Mutex<BTreeMap<String, u64>>>;

type Users = Arc<Mutex<HashMap<u32, Known>>>;

/// What is known of a user's way.
enum Known {
    /// A question is under way.
    Asked,
    /// The answer to the question of a device that had failed `after` times; never empty.
    Group { after: u32, rooms: Vec<SocketAddr> },
}

struct Question {
    user: u32,
    attempt: u32,
}

/// Questions that wait; a device whose question is not taken asks again soon.
const QUESTIONS: usize = 10_000;
/// Asked at once.
const AT_ONCE: usize = 32;
const DEADLINE: Duration = Duration::from_secs(5);

impl Dispatched {
    /// Asks the dispatchers in turn until `stop`.
    pub(crate) fn start(
        dispatchers: Vec<String>,
        product: u32,
        prefix: String,
        failures: Failures,
        stop: CancellationToken,
    ) -> anyhow::Result<Dispatched> {
        anyhow::ensure!(!dispatchers.is_empty(), "there is no dispatcher");
        let users = Users::default();
        let (questions, queue) = mpsc::channel(QUESTIONS);
        let http = reqwest::Client::builder().timeout(DEADLINE).build()?;
        let asker = Asker { http, dispatchers, product, prefix, users: Arc::clone(&users), failures };
        tokio::spawn(asker.run(queue, stop));
        Ok(Dispatched { users, questions })
    }
}

impl Routes for Dispatched {
    fn room(&self, user: u32, attempt: u32) -> Option<SocketAddr> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        match users.get(&user) {
            Some(Known::Asked) => return None,
            Some(Known::Group { after, rooms }) => {
                // A device that was connected counts its failures anew.
                let tried = attempt.saturating_sub(*after) as usize;
                if let Some(room) = rooms.get(tried) {
                    return Some(*room);
                }
            }
            None => {}
        }
        if self.questions.try_send(Question { user, attempt }).is_ok() {
            users.insert(user, Known::Asked);
        }
        None
    }
}

#[derive(Clone)]
struct Asker {
    http: reqwest::Client,
    dispatchers: Vec<String>,
    product: u32,
    prefix: String,
    users: Users,
    failures: Failures,
}

/// The dispatcher's answer, as far as it is used.
#[derive(Deserialize)]
struct Route {
    endpoints: Vec<String>,
}

impl Asker {
    async fn run(self, mut queue: mpsc::Receiver<Question>, stop: CancellationToken) {
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        while let Some(Some(question)) = stop.run_until_cancelled(queue.recv()).await {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            let asker = self.clone();
            tokio::spawn(async move {
                let rooms = asker.ask(&question).await.unwrap_or_else(|why| {
                    count(&asker.failures, why);
                    Vec::new()
                });
                let mut users = asker.users.lock().unwrap_or_else(PoisonError::into_inner);
                // Without an answer the device asks again.
                match rooms.is_empty() {
                    false => users.insert(question.user, Known::Group { after: question.attempt, rooms }),
                    true => users.remove(&question.user),
                };
                drop(slot);
            });
        }
    }

    /// The rooms, at least one; or what is wrong, in few words.
    async fn ask(&self, question: &Question) -> Result<Vec<SocketAddr>, String> {
        let (user, attempt) = (question.user, question.attempt);
        let dispatcher = &self.dispatchers[user.wrapping_add(attempt) as usize % self.dispatchers.len()];
        let (product, prefix) = (self.product, &self.prefix);
        let url = format!("{dispatcher}/v1/route?product={product}&user={prefix}-{user}&attempt={attempt}");
        let answer = self.http.get(url).send().await;
        let answer = answer.map_err(|_| "the dispatcher cannot be reached".to_owned())?;
        if !answer.status().is_success() {
            return Err(format!("the dispatcher answered {}", answer.status()));
        }
        let route: Route = answer.json().await.map_err(|_| "not a dispatcher's answer".to_owned())?;
        let rooms: Vec<SocketAddr> = route.endpoints.iter().filter_map(|e| e.parse().ok()).collect();
        if rooms.is_empty() { Err("the dispatcher knows no room".to_owned()) } else { Ok(rooms) }
    }
}

fn count(failures: &Failures, why: String) {
    *failures.lock().unwrap_or_else(PoisonError::into_inner).entry(why).or_default() += 1;
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers every question with this status and body.
    async fn dispatcher(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let _ = socket.read(&mut [0; 4096]).await.unwrap();
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        format!("http://{address}")
    }

    fn start(dispatcher: String) -> (Dispatched, Failures) {
        let (failures, stop) = (Failures::default(), CancellationToken::new());
        let dispatched = Dispatched::start(vec![dispatcher], 1, "p".into(), failures.clone(), stop);
        (dispatched.unwrap(), failures)
    }

    async fn room(routes: &Dispatched, attempt: u32) -> SocketAddr {
        longline_testkit::eventually_some(DEADLINE, "a room", async || routes.room(7, attempt)).await
    }

    #[tokio::test]
    async fn the_group_is_tried_in_order_and_then_asked_for_anew() {
        const GROUP: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\
            content-length: 51\r\n\r\n{\"endpoints\":[\"127.0.0.1:1\",\"127.0.0.1:2\"],\"ttl\":1}";
        let (routes, failures) = start(dispatcher(GROUP).await);
        assert_eq!(routes.room(7, 0), None, "nobody knows yet");
        let ports = [(0, 1), (1, 2), (2, 1), (3, 2), (0, 1)];
        for (attempt, port) in ports {
            assert_eq!(room(&routes, attempt).await.port(), port, "attempt {attempt}");
        }
        assert!(failures.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_is_wrong_with_the_dispatcher_is_counted() {
        const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let wrong = [
            (dispatcher(NOT_FOUND).await, "the dispatcher answered 404 Not Found"),
            (format!("http://{nobody}"), "the dispatcher cannot be reached"),
        ];
        for (url, expected) in wrong {
            let (routes, failures) = start(url);
            let counted = async || {
                assert_eq!(routes.room(7, 0), None);
                failures.lock().unwrap().contains_key(expected)
            };
            longline_testkit::eventually(DEADLINE, expected, counted).await;
        }
    }

    #[test]
    fn direct_ways_are_spread_and_move_on_after_a_failure() {
        let routes = Direct::new(&["127.0.0.1:1".into(), "127.0.0.1:2".into()]).unwrap();
        let ports = [(0, 0), (1, 0), (0, 1), (1, 1)]
            .map(|(user, attempt)| routes.room(user, attempt).unwrap().port());
        assert_eq!(ports, [1, 2, 2, 1]);
        assert!(Direct::new(&[]).is_err() && Direct::new(&["nowhere".into()]).is_err());
    }
}
