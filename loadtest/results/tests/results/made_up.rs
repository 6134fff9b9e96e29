//! Runs that were never run: what servers cost is given, so that the figures are known beforehand.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use longline_load_results::{
    Agent, Counts, Distribution, Example, Fault, Figures, Latencies, Leg, Machine, OwnCost, Percentiles,
    PhaseName, PhaseSpan, ProcessSample, Run, SCHEMA, Sample, Scenario, Server, Side, TESTER, Verdict,
};

/// What one role costs, shared by its processes.
#[derive(Debug, Clone)]
pub(crate) struct Cost {
    pub(crate) role: &'static str,
    pub(crate) processes: u32,
    pub(crate) base_bytes: f64,
    pub(crate) bytes_per_session: f64,
    pub(crate) idle_us_per_s: f64,
    pub(crate) us_per_connect: f64,
    pub(crate) us_per_unicast: f64,
    pub(crate) us_per_broadcast_delivery: f64,
}

/// A leg to make up. Samples are a second apart, the ramp starts at 2 s.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) side: Side,
    pub(crate) round: u32,
    pub(crate) sessions: u64,
    pub(crate) ramp_s: u32,
    pub(crate) warm_up_s: u32,
    pub(crate) measured_s: u32,
    pub(crate) settle_s: u32,
    pub(crate) unicasts_per_s: u64,
    pub(crate) broadcast_every_s: u32,
    pub(crate) delay_us: u64,
    pub(crate) noise: f64,
    pub(crate) costs: Vec<Cost>,
}

pub(crate) fn cost(role: &'static str, processes: u32, bytes_per_session: f64, us: [f64; 3]) -> Cost {
    let [us_per_connect, us_per_unicast, us_per_broadcast_delivery] = us;
    Cost {
        role,
        processes,
        base_bytes: 40e6,
        bytes_per_session,
        idle_us_per_s: 2_000.0,
        us_per_connect,
        us_per_unicast,
        us_per_broadcast_delivery,
    }
}

impl Plan {
    pub(crate) fn standalone() -> Plan {
        Plan {
            side: Side::System,
            round: 1,
            sessions: 10_000,
            ramp_s: 20,
            warm_up_s: 5,
            measured_s: 30,
            settle_s: 3,
            unicasts_per_s: 2_000,
            broadcast_every_s: 0,
            delay_us: 1_000,
            noise: 0.0,
            costs: vec![
                cost("standalone", 1, 3_000.0, [120.0, 60.0, 4.0]),
                cost(TESTER, 2, 600.0, [20.0, 6.0, 3.0]),
            ],
        }
    }

    pub(crate) fn raw() -> Plan {
        Plan {
            side: Side::Raw,
            delay_us: 200,
            costs: vec![cost("raw", 1, 500.0, [30.0, 8.0, 2.0]), cost(TESTER, 2, 600.0, [20.0, 5.0, 3.0])],
            ..Plan::standalone()
        }
    }

    pub(crate) fn cluster() -> Plan {
        Plan {
            costs: vec![
                cost("room", 3, 3_000.0, [90.0, 12.0, 4.0]),
                cost("center", 2, 0.0, [0.0, 25.0, 0.1]),
                cost("saver", 2, 20.0, [8.0, 30.0, 0.5]),
                cost("register", 2, 200.0, [10.0, 3.0, 0.0]),
                cost("coordinator", 1, 0.0, [0.0, 0.0, 0.0]),
                cost("dispatcher", 1, 0.0, [15.0, 0.0, 0.0]),
                cost("keeper", 1, 0.0, [0.0, 0.0, 0.0]),
                cost("redis", 1, 30.0, [2.0, 11.0, 0.1]),
                cost("mariadb", 1, 0.0, [0.0, 45.0, 0.2]),
                cost(TESTER, 2, 600.0, [20.0, 6.0, 3.0]),
            ],
            ..Plan::standalone()
        }
    }

    pub(crate) fn leg(&self) -> Leg {
        let mut noise = Noise(u64::from(self.round) * 7 + self.sessions, self.noise);
        let phases = self.phases();
        let (ramp, traffic, stop) = (phases[0], phases[1].from_s, phases[2].to_s);
        let mut leg =
            Leg { side: self.side, round: self.round, started_ms: 1_795_000_000_000, ..Leg::default() };
        let mut last = Sample::default();
        let mut whole = Histogram::<u64>::new(3).expect("3 digits are few");
        for second in 0..=phases[3].to_s as u32 {
            let at_s = f64::from(second);
            let share = ((at_s - ramp.from_s) / ramp.length_s()).clamp(0.0, 1.0);
            let connected = (self.sessions as f64 * share).round() as u64;
            let busy_s = (at_s.min(stop) - traffic).max(0.0);
            let unicasts = (self.unicasts_per_s as f64 * busy_s) as u64;
            let broadcasts = if self.broadcast_every_s == 0 {
                0.0
            } else {
                (busy_s / f64::from(self.broadcast_every_s)).floor()
            };
            let deliveries = broadcasts as u64 * self.sessions;
            let delays =
                (unicasts > last.received).then(|| self.delays(unicasts - last.received, &mut noise));
            if let Some(delays) = &delays {
                whole.add(delays).expect("it grows");
            }
            let delays = delays.as_ref().and_then(Percentiles::of);
            let sample = Sample {
                at_s,
                connected,
                connects: connected,
                resumed: connected / 2,
                connect_failures: connected / 1_000,
                planned: unicasts,
                accepted: unicasts,
                received: unicasts,
                acked: unicasts,
                broadcast_deliveries: deliveries,
                uplinks: 0,
                errors: connected / 1_000,
                accepted_us: delays.map(|p| Percentiles {
                    p50: p.p50 / 2,
                    p99: p.p99 / 2,
                    p999: p.p999 / 2,
                    ..p
                }),
                received_us: delays,
                acked_us: delays,
                processes: self.processes(at_s, connected, unicasts, deliveries, &mut noise),
                metrics: BTreeMap::from([("room.sessions".to_owned(), connected as f64)]),
            };
            last = sample.clone();
            leg.series.push(sample);
        }
        leg.phases = phases;
        leg.counts = Counts {
            planned: last.planned,
            accepted: last.accepted,
            received: last.received,
            acked: last.acked,
            redelivered: 3,
            broadcast_expected: last.broadcast_deliveries,
            broadcast_received: last.broadcast_deliveries,
            ..Counts::default()
        };
        leg.broadcasts = last.broadcast_deliveries / self.sessions;
        let delays = Distribution::of(&whole);
        leg.measured = Latencies {
            accepted: delays.clone(),
            received: delays.clone(),
            acked: delays.clone(),
            ..Latencies::default()
        };
        leg.latency = Latencies { connect: delays, ..leg.measured.clone() };
        leg.closes = BTreeMap::from([("1002 reconnect".to_owned(), 12)]);
        leg.errors = BTreeMap::from([("connect timed out".to_owned(), last.errors)]);
        leg
    }

    fn phases(&self) -> Vec<PhaseSpan> {
        let names = [PhaseName::Ramp, PhaseName::WarmUp, PhaseName::Measured, PhaseName::Settle];
        let lengths = [self.ramp_s, self.warm_up_s, self.measured_s, self.settle_s];
        let mut from = 2;
        let spans = names.into_iter().zip(lengths).map(|(name, length)| {
            from += length;
            PhaseSpan { name, from_s: f64::from(from - length), to_s: f64::from(from) }
        });
        spans.collect()
    }

    fn delays(&self, count: u64, noise: &mut Noise) -> Histogram<u64> {
        let mut histogram = Histogram::<u64>::new(3).expect("3 digits are few");
        let middle = self.delay_us as f64 * noise.factor();
        for n in 0..1_000 {
            // A long tail: the last of a thousand takes about a hundred times as long as the middle one.
            let delay = middle
                * (0.6 + 0.8 * f64::from(n) / 1_000.0 + 0.1 / (1.001 - f64::from(n) / 1_000.0).powf(1.0));
            histogram.record_n(delay as u64, (count / 1_000).max(1)).expect("it grows");
        }
        histogram
    }

    fn processes(
        &self,
        at_s: f64,
        connected: u64,
        unicasts: u64,
        deliveries: u64,
        noise: &mut Noise,
    ) -> Vec<ProcessSample> {
        let mut processes = Vec::new();
        for cost in &self.costs {
            let bytes = cost.bytes_per_session * connected as f64 * noise.factor();
            let cpu_us = cost.idle_us_per_s * at_s
                + cost.us_per_connect * connected as f64
                + cost.us_per_unicast * unicasts as f64
                + cost.us_per_broadcast_delivery * deliveries as f64;
            for n in 1..=cost.processes {
                processes.push(ProcessSample {
                    role: cost.role.to_owned(),
                    name: format!("{}-{n}", cost.role),
                    pid: 1_000 + n,
                    rss_bytes: (cost.base_bytes + bytes / f64::from(cost.processes)) as u64,
                    cpu_us: (cpu_us / f64::from(cost.processes)) as u64,
                });
            }
        }
        processes
    }
}

/// The same disturbance in every run of the tests.
struct Noise(u64, f64);

impl Noise {
    /// Around 1, within the share given.
    fn factor(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        1.0 + self.1 * ((self.0 >> 33) as f64 / f64::from(1u32 << 30) - 1.0)
    }
}

/// A run of these legs, concluded, with nothing wrong.
pub(crate) fn run(legs: Vec<Leg>) -> Run {
    let mut run = Run {
        schema: SCHEMA,
        tester_version: "0.1.0".into(),
        started_ms: 1_795_000_000_000,
        ended_ms: 1_795_000_180_000,
        interrupted: false,
        machine: Machine {
            host: "bench-1".into(),
            system: "Linux 6.1.0".into(),
            cpu: "Made-up Processor 9000".into(),
            cores: 8,
            memory_bytes: 34_359_738_368,
            open_files: 20_000,
        },
        scenario: Scenario {
            name: "unicast".into(),
            description: "One message after the other, to one user each".into(),
            mode: "cluster".into(),
            overrides: vec!["devices.count=10000".into()],
            text: "name = \"unicast\"\n\n[devices]\ncount = 10000\nconnects_per_second = 500\n".into(),
        },
        servers: vec![],
        agents: vec![
            Agent { name: "agent-1".into(), remote: None, devices: 5_000, died: None },
            Agent { name: "agent-2".into(), remote: None, devices: 5_000, died: None },
        ],
        examples: vec![],
        verdict: Verdict { ok: true, ..Verdict::default() },
        figures: Figures::default(),
        reference: None,
        ratios: None,
        own: OwnCost::default(),
        legs,
    };
    run.servers = servers(&run.legs);
    run.conclude();
    run
}

fn servers(legs: &[Leg]) -> Vec<Server> {
    let first = legs.iter().filter_map(|leg| leg.series.first());
    let processes = first.flat_map(|sample| &sample.processes).filter(|process| process.role != TESTER);
    let mut servers: Vec<Server> = processes
        .map(|process| Server {
            role: process.role.clone(),
            name: process.name.clone(),
            version: "0.1.0".into(),
            cores: vec![0],
        })
        .collect();
    servers.dedup_by(|a, b| a.name == b.name);
    servers
}

/// The same run, but it lost a message.
pub(crate) fn gone_wrong(run: Run) -> Run {
    Run {
        verdict: Verdict {
            ok: false,
            reasons: vec![
                "1 of 70,000 accepted messages was never received".into(),
                "2 were received again without need".into(),
            ],
            lost: 1,
            duplicated: 2,
            ..Verdict::default()
        },
        examples: vec![Example {
            what: Fault::Lost,
            user: 17,
            id: 7_412_000_000_000_000_001,
            sequence: 4711,
            due: 1_795_000_040_123_456,
            detail: "accepted by center-1 and never received".into(),
        }],
        ..run
    }
}
