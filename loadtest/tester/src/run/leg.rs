//! One leg: one side in one round, from the first connection to the findings.

mod storm;

use std::time::Duration;

use longline_load_results::{Leg, PhaseName, PhaseSpan, Side, Uplinks};
use longline_load_scenario::Scenario;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::broadcasts::Broadcasts;
use super::findings::{Devices, Findings};
use super::fleet::{Fleet, News};
use super::series::Series;
use super::sides::UnderLoad;
use super::uplinks::Business;
use crate::display::Display;
use crate::link::{Assignment, Order};

/// Between two samples, with few agents and with many.
const TICK: Duration = Duration::from_millis(250);
const SLOW_TICK: Duration = Duration::from_secs(1);
/// How many agents are many.
const MANY: usize = 8;
/// What the servers cost without devices is watched for so long first.
const BEFORE: Duration = Duration::from_secs(1);
/// How slowly devices may connect in the worst case before the ramp is given up, a second; and what is added to that.
const SLOWEST_RAMP: f64 = 200.0;
const RAMP_GRACE: Duration = Duration::from_secs(60);
/// After everything has arrived: time for a second copy of something to show.
const QUIET: Duration = Duration::from_secs(1);
/// An interrupted run waits no longer than this for what is outstanding.
const INTERRUPTED_SETTLE: Duration = Duration::from_secs(10);

/// Everything a leg works with.
pub(crate) struct Course<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) fleet: &'a mut Fleet,
    pub(crate) under_load: &'a mut UnderLoad,
    pub(crate) display: &'a mut Display,
    /// Takes the uplinks, if there are any.
    pub(crate) business: Option<&'a mut Business>,
    /// Ctrl-C.
    pub(crate) stop: &'a CancellationToken,
    pub(crate) side: Side,
    pub(crate) round: u32,
}

/// How a leg ended.
pub(crate) struct Ended {
    pub(crate) leg: Leg,
    pub(crate) findings: Findings,
}

/// Why time passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Passed {
    /// It was time, or what was waited for is there.
    Done,
    /// The deadline came first.
    Deadline,
    /// Ctrl-C came first, or the servers are gone.
    Cut,
}

/// A leg under way.
struct Running<'a> {
    course: Course<'a>,
    series: Series,
    broadcasts: Broadcasts,
    /// The leg's number, in every payload.
    run: u32,
    phases: Vec<PhaseSpan>,
    /// Between two samples.
    tick: Duration,
}

/// Runs the leg.
pub(crate) async fn run(course: Course<'_>, assignment: &Assignment) -> anyhow::Result<Ended> {
    course.fleet.assign(course.scenario.devices.count, assignment).await?;
    let tick = if course.fleet.agents().len() > MANY { SLOW_TICK } else { TICK };
    let mut series = Series::start();
    series.tick(course.fleet, course.under_load, News::default());
    let broadcasts = Broadcasts::new(assignment, course.scenario.broadcast.as_ref());
    let mut running = Running { course, series, broadcasts, run: assignment.run, phases: Vec::new(), tick };
    let cut = running.load().await?;
    let cut = running.settle(cut).await? || cut;
    running.finish(cut).await
}

impl Running<'_> {
    /// Ramp, warm-up, measured phase; whether they were cut short.
    async fn load(&mut self) -> anyhow::Result<bool> {
        let before = self.until(Instant::now() + BEFORE, |_| false).await?;
        if before == Passed::Cut || self.ramp().await? == Passed::Cut {
            return Ok(true);
        }

        self.course.fleet.order(&Order::Begin).await;
        let begun = self.enter(PhaseName::WarmUp);
        let warm = self.until(Instant::now() + self.course.scenario.phases.warm_up(), |_| false).await?;
        self.leave(PhaseName::WarmUp, begun);
        if warm == Passed::Cut {
            return Ok(true);
        }

        self.course.fleet.order(&Order::Measure).await;
        let begun = self.enter(PhaseName::Measured);
        let measured = self.measure().await?;
        self.leave(PhaseName::Measured, begun);
        Ok(measured == Passed::Cut)
    }

    /// The devices connect, until those that want to be online are, or it takes far too long.
    async fn ramp(&mut self) -> anyhow::Result<Passed> {
        let scenario = self.course.scenario;
        let (rate, expected) = (scenario.devices.connects_per_second, expected_online(scenario));
        self.course.fleet.order(&Order::Connect { per_second: rate }).await;
        let slowest = if rate > 0.0 { rate.min(SLOWEST_RAMP) } else { SLOWEST_RAMP };
        let longest = Duration::from_secs_f64(f64::from(scenario.devices.count) / slowest) + RAMP_GRACE;
        let begun = self.enter(PhaseName::Ramp);
        let is_up = move |fleet: &Fleet| online(fleet) >= share(fleet.devices(), expected);
        let passed = self.until(Instant::now() + longest, is_up).await?;
        self.leave(PhaseName::Ramp, begun);
        if passed == Passed::Deadline {
            let (online, devices) = (online(self.course.fleet), self.course.fleet.devices());
            let worst = Series::worst(self.course.fleet);
            let why =
                worst.map_or_else(String::new, |(what, count)| format!("; most often: {what} ({count})"));
            let given_up = format!("the ramp was given up with {online} of {devices} devices online{why}");
            self.course.display.note(&given_up);
        }
        Ok(passed)
    }

    /// The measured phase with its broadcasts and its storm.
    async fn measure(&mut self) -> anyhow::Result<Passed> {
        let scenario = self.course.scenario;
        let end = Instant::now() + scenario.phases.measured();
        self.broadcasts.begin(Instant::now(), &scenario.phases);
        let Some(storm) = &scenario.storm else { return self.until(end, |_| false).await };
        let passed = self.until(Instant::now() + storm.at(), |_| false).await?;
        if passed == Passed::Cut {
            return Ok(passed);
        }
        if self.storm(storm.kind).await? == Passed::Cut {
            return Ok(Passed::Cut);
        }
        self.until(end, |_| false).await
    }

    /// No new messages; until everyone is online and has everything, or the deadline. Whether it was cut short itself.
    async fn settle(&mut self, cut: bool) -> anyhow::Result<bool> {
        let begun = self.enter(PhaseName::Settle);
        self.broadcasts.end();
        self.course.fleet.order(&Order::Settle).await;
        let longest = self.course.scenario.phases.settle();
        let longest = if cut { longest.min(INTERRUPTED_SETTLE) } else { longest };
        let deadline = Instant::now() + longest;
        let mut quiet_since: Option<Instant> = None;
        let mut passed = Passed::Done;
        while passed == Passed::Done && quiet_since.is_none_or(|since| since.elapsed() < QUIET) {
            passed = self.wait(deadline, !cut).await?;
            let is_quiet = settled(self.course.fleet, &self.broadcasts);
            quiet_since = is_quiet.then(|| quiet_since.unwrap_or_else(Instant::now));
        }
        self.leave(PhaseName::Settle, begun);
        Ok(passed == Passed::Cut)
    }

    async fn finish(self, cut: bool) -> anyhow::Result<Ended> {
        let Running { course, mut series, broadcasts, run, phases, .. } = self;
        let (outcomes, news) = course.fleet.finish().await;
        series.tick(course.fleet, course.under_load, news);
        let uplinks = match course.business {
            Some(business) => business.check(&outcomes, run),
            None => Uplinks::default(),
        };
        let (online, devices) = (online(course.fleet), course.fleet.devices());
        let devices = Devices { all: devices, offline: devices.saturating_sub(online) };
        let findings = Findings::gather(outcomes, uplinks, devices, course.fleet.orphaned(), cut);
        let mut leg = series.into_leg(course.fleet, &findings);
        (leg.side, leg.round, leg.phases) = (course.side, course.round, phases);
        leg.broadcasts = broadcasts.sent();
        leg.errors.extend(broadcasts.into_errors());
        Ok(Ended { leg, findings })
    }

    /// Lets time pass until something is so, or the deadline, or Ctrl-C.
    async fn until(&mut self, deadline: Instant, done: impl Fn(&Fleet) -> bool) -> anyhow::Result<Passed> {
        loop {
            match self.wait(deadline, true).await? {
                Passed::Done if !done(self.course.fleet) => {}
                passed => return Ok(passed),
            }
        }
    }

    /// Lets the time between two samples pass, or less if the deadline comes first, or Ctrl-C where that may cut it; sends broadcasts
    /// that are due, and takes a sample at the end.
    async fn wait(&mut self, deadline: Instant, may_cut: bool) -> anyhow::Result<Passed> {
        let next = Instant::now() + self.tick;
        let passed = loop {
            tokio::select! {
                biased;
                () = self.course.stop.cancelled(), if may_cut => break Passed::Cut,
                () = sleep_until(deadline), if deadline <= next => break Passed::Deadline,
                () = sleep_until(next) => break Passed::Done,
                sent = self.broadcasts.next() => {
                    if let Some(sent) = sent {
                        self.course.fleet.order(&Order::Broadcast(sent)).await;
                    }
                }
            }
        };
        self.sample().await?;
        Ok(passed)
    }

    /// A sample of everything, and a look at whether anybody died.
    async fn sample(&mut self) -> anyhow::Result<()> {
        let course = &mut self.course;
        let news = course.fleet.look().await;
        for died in course.fleet.died() {
            course.display.note(&format!("an agent died and its devices are counted out: {died}"));
        }
        for ended in course.under_load.ended() {
            course.display.note(&format!("a server process ended by itself: {ended}"));
        }
        self.series.tick(course.fleet, course.under_load, news);
        if let Some(sample) = self.series.last() {
            course.display.show(sample, course.fleet.devices());
        }
        anyhow::ensure!(course.fleet.alive().next().is_some(), "all agents are dead");
        Ok(())
    }

    fn enter(&mut self, phase: PhaseName) -> f64 {
        let planned = planned(self.course.scenario, phase);
        self.course.display.phase(self.course.side, self.course.round, phase, planned);
        self.series.now_s()
    }

    fn leave(&mut self, name: PhaseName, from_s: f64) {
        self.phases.push(PhaseSpan { name, from_s, to_s: self.series.now_s() });
    }
}

/// The share of the devices that are online at the end of the ramp: the others do not want to be.
fn expected_online(scenario: &Scenario) -> f64 {
    1.0 - scenario.hostile.map_or(0.0, |hostile| hostile.rubbish + hostile.silent)
}

/// How long a phase takes at the most, where that is known.
fn planned(scenario: &Scenario, phase: PhaseName) -> Option<Duration> {
    match phase {
        PhaseName::Ramp => Some(scenario.ramp()).filter(|ramp| !ramp.is_zero()),
        PhaseName::WarmUp => Some(scenario.phases.warm_up()),
        PhaseName::Measured => Some(scenario.phases.measured()),
        PhaseName::Settle => Some(scenario.phases.settle()),
    }
}

/// Devices that are connected and bound.
fn online(fleet: &Fleet) -> u64 {
    fleet.alive().filter_map(|a| Some(a.latest.as_ref()?.devices.connected)).sum()
}

fn share(devices: u64, part: f64) -> u64 {
    (devices as f64 * part) as u64
}

/// Whether everyone is back and has everything.
fn settled(fleet: &Fleet, broadcasts: &Broadcasts) -> bool {
    let all = |agent: &super::fleet::Agent| {
        let Some(sample) = &agent.latest else { return false };
        !sample.loading && sample.outstanding == 0 && sample.devices.connected >= agent.users.len() as u64
    };
    !broadcasts.under_way() && fleet.alive().all(all)
}
