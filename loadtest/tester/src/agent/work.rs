//! One agent's share of one leg: its devices, its ledger, its load.

use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use longline_load_scenario::{self as scenario, Class, NetworkKind};
use longline_load_swarm::{Churn, Hostile, Network, Options, Routes, Swarm, Transport, Transports, Uplinks};
use longline_load_target::UPLINK_ROUTE;
use longline_load_traffic::{Pace, Progress, Traffic, Unicasts, Via, unicasts};
use longline_load_truth::{Clock, Graces, Ledger, LedgerOptions, histogram_to_bytes};
use longline_noise::PublicKey;
use longline_pb::client;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::routes::{Direct, Dispatched, Failures};
use crate::link::{Assignment, Outcome, Sample, Sent, Side};

/// For requests under way to be answered once the load has stopped.
const LAST_ANSWERS: Duration = Duration::from_secs(15);
/// Examples of each kind of finding that an agent hands in.
const EXAMPLES: usize = 20;

/// What runs for one leg.
pub(crate) struct Work {
    assignment: Assignment,
    clock: Clock,
    ledger: Arc<Ledger>,
    swarm: Swarm,
    /// Why devices were not told where to connect.
    unrouted: Failures,
    progress: Arc<Progress>,
    load: Option<JoinHandle<()>>,
    /// Why the load cannot be sent.
    failed: Arc<OnceLock<String>>,
    /// Ends the making of new messages.
    stop_load: CancellationToken,
    /// Ends everything.
    stop: CancellationToken,
}

impl Work {
    /// Takes the assignment; nothing is connected yet.
    pub(crate) async fn start(assignment: Assignment) -> anyhow::Result<Work> {
        let (own, other) = (env!("CARGO_PKG_VERSION"), &assignment.version);
        ensure!(own == other, "this agent is version {own}, the controller {other}: use the same program");
        let clock = Clock::new();
        let stop = CancellationToken::new();
        let ledger = Arc::new(Ledger::new(LedgerOptions {
            run: assignment.run,
            agent: assignment.agent,
            users: assignment.users.clone(),
            clock,
            graces: Graces::default(),
        }));
        let unrouted = Failures::default();
        let routes = routes(&assignment, &unrouted, &stop)?;
        let swarm = Swarm::start(devices(&assignment, Arc::clone(&ledger), clock, routes)?)
            .context("cannot start the devices")?;
        let stop_load = stop.child_token();
        let progress = Arc::default();
        Ok(Work {
            assignment,
            clock,
            ledger,
            swarm,
            unrouted,
            progress,
            load: None,
            failed: Arc::default(),
            stop_load,
            stop,
        })
    }

    /// Ramp.
    pub(crate) fn connect(&mut self, per_second: f64) {
        self.swarm.connect(self.share_of(per_second));
    }

    /// Warm-up: messages, uplinks and churn begin.
    pub(crate) fn begin(&mut self) {
        let scenario = &self.assignment.scenario;
        if let Some(churn) = &scenario.churn {
            self.swarm.churn(Some(Churn {
                per_second: churn.share_per_second * self.assignment.users.len() as f64,
                half_open: churn.half_open,
                away: churn.away(),
            }));
        }
        if let Some(uplink) = &scenario.uplink {
            self.swarm.uplink(Some(Uplinks {
                per_second: self.share_of(uplink.per_second),
                payload_bytes: uplink.payload_bytes,
                route: UPLINK_ROUTE,
            }));
        }
        if let Some(traffic) = self.traffic()
            && self.load.is_none()
        {
            let (progress, stop) = (Arc::clone(&self.progress), self.stop_load.clone());
            let failed = Arc::clone(&self.failed);
            self.load = Some(tokio::spawn(async move {
                if let Err(error) = unicasts(traffic, progress, stop).await {
                    // There is one load, so it is the first to say.
                    let _ = failed.set(error.to_string());
                }
            }));
        }
    }

    /// Measured phase.
    pub(crate) fn measure(&mut self) {
        self.ledger.set_measuring(true);
    }

    /// All devices close at once and come back.
    pub(crate) fn drop_all(&mut self) {
        self.swarm.drop_all();
    }

    /// The API took a broadcast.
    pub(crate) fn broadcast(&mut self, sent: &Sent) {
        self.ledger.broadcast(sent.number, sent.at, sent.id, sent.expires);
    }

    /// No new messages; everybody comes back.
    pub(crate) fn settle(&mut self) {
        self.ledger.set_measuring(false);
        self.stop_load.cancel();
        self.swarm.churn(None);
        self.swarm.uplink(None);
        self.swarm.all_back();
    }

    /// Why it cannot go on, if it cannot.
    pub(crate) fn failed(&self) -> Option<&String> {
        self.failed.get()
    }

    /// How it goes.
    pub(crate) fn sample(&self) -> Sample {
        Sample {
            messages: self.ledger.counts(),
            devices: self.swarm.counts(),
            unrouted: self.unrouted.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            traffic: self.progress.counts(),
            latencies: self.ledger.take_latencies().to_bytes(),
            connects: histogram_to_bytes(&self.swarm.take_connect_latencies()),
            outstanding: self.ledger.outstanding(),
            loading: self.load.as_ref().is_some_and(|load| !load.is_finished()),
        }
    }

    /// Ends the leg's load and says what was found. It is still to be stopped, which takes long where there are many devices.
    pub(crate) async fn finish(&mut self) -> Result<Outcome, String> {
        self.stop_load.cancel();
        if let Some(load) = self.load.take() {
            // What is not answered by then stays unknown in the ledger.
            let _ = timeout(LAST_ANSWERS, load).await;
        }
        let sample = self.sample();
        let ledger = Arc::clone(&self.ledger);
        // It looks at every user, and the controller takes an agent for dead that says nothing for long.
        let findings = tokio::task::spawn_blocking(move || ledger.findings(EXAMPLES)).await;
        Ok(Outcome {
            agent: self.assignment.agent,
            sample,
            findings: findings.map_err(|error| format!("the ledger cannot be read: {error}"))?,
            uplinks: self.swarm.uplinks(),
        })
    }

    /// Ends everything at once.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        if let Some(load) = self.load.take() {
            load.abort();
        }
        let swarm = self.swarm;
        // Its threads are joined.
        let _ = tokio::task::spawn_blocking(move || swarm.stop()).await;
    }

    fn share_of(&self, rate: f64) -> f64 {
        rate / f64::from(self.assignment.agents.max(1))
    }

    /// The unicasts that are this agent's to send, if there are any.
    fn traffic(&self) -> Option<Traffic> {
        let assignment = &self.assignment;
        let unicast = assignment.scenario.unicast.as_ref()?;
        Some(Traffic {
            load: Unicasts {
                pace: match unicast.pace {
                    scenario::Pace::Open { per_second } => {
                        Pace::Open { per_second: self.share_of(per_second) }
                    }
                    scenario::Pace::Closed { window } => Pace::Closed { window },
                },
                via: match (&assignment.side, unicast.via) {
                    (Side::Raw { .. } | Side::System { injection: Some(_), .. }, _) => Via::Raw,
                    (_, scenario::Via::Http) => Via::Http,
                    (_, scenario::Via::Batch { users }) => Via::Batch { users },
                    (_, scenario::Via::Grpc { users }) => Via::Grpc { users },
                },
                payload: unicast.payload_bytes.iter().map(|size| (size.bytes, size.share)).collect(),
                transient: unicast.class == Class::Transient,
                ttl_s: unicast.ttl_s,
                connections: unicast.connections,
                idempotent: unicast.class == Class::Durable,
            },
            api: assignment.side.api(),
            users: assignment.users.clone(),
            prefix: assignment.prefix.clone(),
            ledger: Arc::clone(&self.ledger),
            clock: self.clock,
            seed: seed(assignment),
        })
    }
}

/// Different for each agent and leg, the same for the same run again.
fn seed(assignment: &Assignment) -> u64 {
    u64::from(assignment.run) << 16 | u64::from(assignment.agent)
}

fn devices(
    assignment: &Assignment,
    ledger: Arc<Ledger>,
    clock: Clock,
    routes: Arc<dyn Routes>,
) -> anyhow::Result<Options> {
    let scenario = &assignment.scenario;
    let hostile = scenario.hostile.unwrap_or_default();
    let (product, token_key) = match &assignment.side {
        Side::System { product, token_key, .. } => (*product, token_key.clone()),
        Side::Raw { .. } => (1, None),
    };
    let networks = scenario.devices.networks.iter().map(|network| Network {
        kind: match network.kind {
            NetworkKind::Wifi => client::Network::Wifi,
            NetworkKind::Ethernet => client::Network::Ethernet,
            NetworkKind::G2 => client::Network::Network2g,
            NetworkKind::G3 => client::Network::Network3g,
            NetworkKind::G4 => client::Network::Network4g,
            NetworkKind::G5 => client::Network::Network5g,
        },
        share: network.share,
        heartbeat_s: network.heartbeat_s,
    });
    Ok(Options {
        threads: scenario.agents.threads,
        users: assignment.users.clone(),
        prefix: assignment.prefix.clone(),
        product,
        token_key,
        sources: scenario.agents.source_addresses(),
        step: Duration::from_millis(scenario.agents.step_ms.into()),
        networks: networks.collect(),
        transports: transports(assignment)?,
        resume: scenario.devices.resume,
        hostile: Hostile {
            never_ack: hostile.never_ack,
            slow: hostile.slow,
            stop_reading: hostile.stop_reading,
            rubbish: hostile.rubbish,
            silent: hostile.silent,
        },
        seed: seed(assignment),
        ledger,
        clock,
        run: assignment.run,
        agent: assignment.agent,
        routes,
    })
}

/// The reference server speaks plain TCP.
fn transports(assignment: &Assignment) -> anyhow::Result<Transports> {
    let Side::System { trust, .. } = &assignment.side else { return Ok(Transports::default()) };
    let transport = match assignment.scenario.devices.transport {
        scenario::Transport::Tcp => Transport::Tcp,
        scenario::Transport::Tls => Transport::Tls,
        scenario::Transport::Ws => Transport::Ws,
        scenario::Transport::Wss => Transport::Wss,
        scenario::Transport::Noise => Transport::Noise,
    };
    let noise_key = trust.noise_key.as_deref().map(str::parse::<PublicKey>).transpose();
    Ok(Transports {
        shares: vec![(transport, 1.0)],
        roots: trust.ca.clone().into_bytes(),
        host: trust.host.clone(),
        noise_key: noise_key.context("devices.noise_key")?.map(|key| *key.as_bytes()),
    })
}

fn routes(
    assignment: &Assignment,
    unrouted: &Failures,
    stop: &CancellationToken,
) -> anyhow::Result<Arc<dyn Routes>> {
    Ok(match &assignment.side {
        Side::Raw { devices, .. } => Arc::new(Direct::new(std::slice::from_ref(devices))?),
        Side::System { dispatchers, rooms, .. } if dispatchers.is_empty() => Arc::new(Direct::new(rooms)?),
        Side::System { dispatchers, product, .. } => Arc::new(Dispatched::start(
            dispatchers.clone(),
            *product,
            assignment.prefix.clone(),
            Arc::clone(unrouted),
            stop.clone(),
        )?),
    })
}
