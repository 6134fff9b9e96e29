//! Which room a device goes to.

use std::collections::HashMap;
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
        stop: CancellationToken,
    ) -> anyhow::Result<Dispatched> {
        anyhow::ensure!(!dispatchers.is_empty(), "there is no dispatcher");
        let users = Users::default();
        let (questions, queue) = mpsc::channel(QUESTIONS);
        let http = reqwest::Client::builder().timeout(DEADLINE).build()?;
        let asker = Asker { http, dispatchers, product, prefix, users: Arc::clone(&users) };
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
                let rooms = asker.ask(&question).await.unwrap_or_default();
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

    async fn ask(&self, question: &Question) -> anyhow::Result<Vec<SocketAddr>> {
        let (user, attempt) = (question.user, question.attempt);
        let dispatcher = &self.dispatchers[user.wrapping_add(attempt) as usize % self.dispatchers.len()];
        let (product, prefix) = (self.product, &self.prefix);
        let url = format!("{dispatcher}/v1/route?product={product}&user={prefix}-{user}&attempt={attempt}");
        let route: Route = self.http.get(url).send().await?.error_for_status()?.json().await?;
        Ok(route.endpoints.iter().filter_map(|e| e.parse().ok()).collect())
    }
}
