use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use longline_pb::client::{BindResult, UplinkResult};
use longline_room::link::{
    Answer, AssertOutcome, BindOutcome, BindProof, BindRequest, Bound, ClusterReceiver, Command, Failed,
    Identity, LoadRequest, Loaded, Message, Queueing, Refusal, ShardSender, ToCluster, UplinkRequest,
};
use longline_types::{Address, MessageId, Route, SessionId, Stamp};
use tokio::sync::oneshot;

use super::address;

/// Register, saver and coordinator in one: what the links would find behind them.
pub struct Cluster {
    shards: Vec<ShardSender>,
    state: Mutex<State>,
}

pub struct State {
    pub inboxes: HashMap<Address, BTreeMap<MessageId, Message>>,
    pub routes: HashMap<Address, Route>,
    pub identity: Identity,
    stamps: u64,
    pub window: u16,
    pub ack_timeout_ms: u32,
    pub max_heartbeat_s: u32,
    pub queueing: Queueing,
    /// The cluster cannot be reached.
    pub fails: bool,
    /// Only loads fail.
    pub fails_loads: bool,
    /// Nothing is answered.
    pub silent: bool,
    pub asked: Vec<ToCluster>,
}

impl Cluster {
    pub fn new(shards: Vec<ShardSender>) -> Arc<Cluster> {
        let state = State {
            inboxes: HashMap::new(),
            routes: HashMap::new(),
            identity: Identity { node: 7, incarnation: 1 },
            stamps: 0,
            window: 16,
            ack_timeout_ms: 30_000,
            max_heartbeat_s: 0,
            queueing: Queueing::default(),
            fails: false,
            fails_loads: false,
            silent: false,
            asked: Vec::new(),
        };
        Arc::new(Cluster { shards, state: Mutex::new(state) })
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn route(&self, user: &str) -> Route {
        *self.lock().routes.get(&address(user)).unwrap_or_else(|| panic!("{user} is not bound"))
    }

    pub fn store(&self, user: &str, messages: impl IntoIterator<Item = Message>) {
        let messages = messages.into_iter().map(|m| (m.id, m));
        self.lock().inboxes.entry(address(user)).or_default().extend(messages);
    }

    pub fn waiting(&self, user: &str) -> Vec<u64> {
        self.lock().inboxes.get(&address(user)).map_or_else(Vec::new, |i| i.keys().map(|id| id.0).collect())
    }

    /// Questions so far that `pick` something from.
    pub fn asked<T>(&self, pick: impl FnMut(&ToCluster) -> Option<T>) -> Vec<T> {
        self.lock().asked.iter().filter_map(pick).collect()
    }

    pub fn run(&self, mut questions: ClusterReceiver) {
        while let Some(batch) = questions.blocking_recv() {
            for question in batch {
                self.answer(question);
            }
        }
    }

    fn answer(&self, question: ToCluster) {
        self.lock().asked.push(question.clone());
        if self.lock().silent {
            return;
        }
        match question {
            ToCluster::Bind(request) => self.bind(request),
            ToCluster::Unbind { address, route } => {
                let routes = &mut self.lock().routes;
                if routes.get(&address) == Some(&route) {
                    routes.remove(&address);
                }
            }
            ToCluster::Load(request) => self.load(request),
            ToCluster::Check { bind, address } => {
                let state = self.lock();
                let waiting = state.inboxes.get(&address).is_some_and(|i| !i.is_empty());
                let result = if state.fails { Err(Failed) } else { Ok(waiting) };
                drop(state);
                self.send(bind.session, Answer::Check { bind, result });
            }
            ToCluster::Ack { bind, address, id, .. } => {
                let mut state = self.lock();
                let result = if state.fails {
                    Err(Failed)
                } else {
                    Ok(state.inboxes.entry(address).or_default().remove(&id).is_some())
                };
                drop(state);
                self.send(bind.session, Answer::Ack { bind, id, result });
            }
            ToCluster::Uplink(UplinkRequest { session, sequence, .. }) => {
                let result = if self.lock().fails { UplinkResult::Retry } else { UplinkResult::Ok };
                self.send(session, Answer::Uplink { session, sequence, result, retry_after_ms: 0 });
            }
            ToCluster::Assert(request) => {
                let current = self.lock().routes.get(&request.address) == Some(&request.route);
                let outcome = if current { AssertOutcome::Current } else { AssertOutcome::Displaced };
                let (bind, stamp) = (request.bind, request.route.stamp);
                self.send(bind.session, Answer::Assert { bind, stamp, outcome });
            }
            ToCluster::Presence { .. } | ToCluster::Refilled { .. } => {}
        }
    }

    fn bind(&self, BindRequest { bind, address, proof, .. }: BindRequest) {
        let mut state = self.lock();
        let refused =
            |result| BindOutcome::Refused(Refusal { result, retry_after_ms: 0, detail: "no".to_owned() });
        let bad_token = matches!(&proof, BindProof::Token(token) if &**token == "bad");
        let mut displaced = None;
        let outcome = if state.fails {
            refused(BindResult::Unavailable)
        } else if address.product.0 == 404 {
            refused(BindResult::UnknownProduct)
        } else if bad_token {
            refused(BindResult::BadToken)
        } else {
            state.stamps += 1;
            let stamp = Stamp { generation: 1, counter: state.stamps };
            let Identity { node, incarnation } = state.identity;
            let route = Route { stamp, node, incarnation, session: bind.session };
            displaced = state.routes.insert(address.clone(), route).filter(|r| r.session != bind.session);
            BindOutcome::Bound(Bound {
                route,
                window: state.window,
                ack_timeout_ms: state.ack_timeout_ms,
                max_heartbeat_s: state.max_heartbeat_s,
                queueing: state.queueing,
                presence: true,
            })
        };
        drop(state);
        if let Some(route) = displaced {
            let (reply, confirmed) = oneshot::channel();
            let key = address.key();
            self.shard(route.session).command(Command::Displace { key, route, reply }).unwrap();
            confirmed.blocking_recv().unwrap();
        }
        self.send(bind.session, Answer::Bind { bind, address, outcome });
    }

    fn load(&self, request: LoadRequest) {
        let state = self.lock();
        let result = if state.fails || state.fails_loads {
            Err(Failed)
        } else {
            let inbox = state.inboxes.get(&request.address).into_iter().flat_map(|i| i.values());
            let mut waiting = inbox.filter(|m| !request.except.contains(&m.id)).cloned().peekable();
            let mut bytes = 0;
            let mut messages = Vec::new();
            while messages.len() < request.limit as usize
                && let Some(message) = waiting
                    .next_if(|m| messages.is_empty() || bytes + m.payload.len() <= request.max_bytes as usize)
            {
                bytes += message.payload.len();
                messages.push(message);
            }
            Ok(Loaded { messages, more: waiting.peek().is_some() })
        };
        drop(state);
        let LoadRequest { bind, number, .. } = request;
        self.send(bind.session, Answer::Load { bind, number, result });
    }

    fn shard(&self, session: SessionId) -> &ShardSender {
        &self.shards[usize::from(session.shard())]
    }

    fn send(&self, session: SessionId, answer: Answer) {
        self.shard(session).answer(vec![answer]);
    }
}
