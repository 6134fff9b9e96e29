//! Background work of the cluster store: flushing, filling, settling, sweeping notes, partitions, the clock.

use std::time::Duration;

use longline_types::{Error, Slot};
use redis::Cmd;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Core;
use super::keys;
use super::redis_link::{Link, bytes, number};

/// How long a Redis that has lost its data stays unnoticed; addresses that are asked for meanwhile are filled one by one.
const LOOK: Duration = Duration::from_secs(1);
/// Between two looks at all slots, in looks: how long what a saver left behind that died may stay.
const SURVEY: u32 = 5;
const CLOCK: Duration = Duration::from_secs(10);
const PARTITIONS: Duration = Duration::from_secs(600);
/// How long a `fast` message waits for company on its way to the database.
const LINGER: Duration = Duration::from_millis(5);
/// After a failure.
const PAUSE: Duration = Duration::from_millis(200);
/// How long the orderly end may take.
const LAST_FLUSH: Duration = Duration::from_secs(5);

/// What a look at all slots found.
#[derive(Default)]
struct Survey {
    unfilled: Vec<Slot>,
    unflushed: Vec<Slot>,
    unsettled: Vec<Slot>,
}

impl Core {
    /// [`Store::run`](crate::store::Store::run).
    pub(super) async fn run(&self, shutdown: CancellationToken) {
        let work = async {
            tokio::join!(
                Box::pin(self.keep_flushing()),
                Box::pin(self.keep_surveying()),
                Box::pin(self.keep_sweeping()),
                Box::pin(self.keep_in_step())
            );
        };
        shutdown.run_until_cancelled(work).await;
        match timeout(LAST_FLUSH, Box::pin(self.flush_everything())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "some messages wait in Redis for another saver"),
            Err(_) => tracing::warn!("some messages wait in Redis for another saver"),
        }
    }

    async fn flush_everything(&self) -> Result<(), Error> {
        while self.flush_queue().await? {}
        self.flush_all(&*self.redis.link().await?).await
    }

    async fn keep_flushing(&self) {
        loop {
            self.queue.some().await;
            sleep(LINGER).await;
            if let Err(error) = self.flush_queue().await {
                tracing::warn!(%error, "messages stored fast are not in the database yet");
                sleep(PAUSE).await;
            }
        }
    }

    async fn keep_surveying(&self) {
        let mut ticks = ticks(LOOK);
        for look in (0..SURVEY).cycle() {
            ticks.tick().await;
            if let Err(error) = self.look_after_redis(look == 0).await {
                tracing::debug!(%error, "Redis was not surveyed to the end");
            }
        }
    }

    async fn keep_sweeping(&self) {
        let mut ticks = ticks(LOOK);
        loop {
            ticks.tick().await;
            if let Err(error) = self.sweep_notes().await {
                tracing::debug!(%error, "notes were not swept");
            }
        }
    }

    async fn keep_in_step(&self) {
        let (mut clock, mut partitions) = (ticks(CLOCK), ticks(PARTITIONS));
        loop {
            let (outcome, what) = tokio::select! {
                _ = clock.tick() => (self.clock.measure(&self.sql).await, "the database's time is not known"),
                _ = partitions.tick() => (self.maintain_partitions().await, "partitions were not maintained"),
            };
            if let Err(error) = outcome {
                tracing::warn!(%error, what);
            }
        }
    }

    /// Surveys all slots and mends what it finds; unless `always`, only if Redis has lost its data since all were filled.
    async fn look_after_redis(&self, always: bool) -> Result<(), Error> {
        let link = self.redis.link().await?;
        let mut canary = redis::cmd("GET");
        canary.arg(keys::CANARY);
        if !always && bytes(link.one(canary).await?) == link.run_id.as_bytes() {
            return Ok(());
        }
        let survey = self.survey(&link).await?;
        for slot in survey.unsettled {
            self.settle_slot(&link, slot).await?;
        }
        for slot in survey.unflushed {
            self.flush_slot(&link, slot).await?;
        }
        if survey.unfilled.is_empty() {
            let mut canary = redis::cmd("SET");
            canary.arg(keys::CANARY).arg(&link.run_id);
            link.one(canary).await?;
        } else {
            let begun = Instant::now();
            self.fill_slots(&link, &survey.unfilled).await?;
            tracing::info!(slots = survey.unfilled.len(), took = ?begun.elapsed(), "filled Redis from the database");
        }
        Ok(())
    }

    /// Writes whatever waits in Redis for the database.
    pub(super) async fn flush_all(&self, link: &Link) -> Result<(), Error> {
        for slot in self.survey(link).await?.unflushed {
            self.flush_slot(link, slot).await?;
        }
        Ok(())
    }

    async fn survey(&self, link: &Link) -> Result<Survey, Error> {
        let questions = |slot: Slot| -> [Cmd; 3] {
            let ask = |name: &str, key: String| {
                let mut command = redis::cmd(name);
                command.arg(key);
                command
            };
            [
                ask("GET", keys::slot_mark(slot)),
                ask("EXISTS", keys::unflushed(slot)),
                ask("EXISTS", keys::endings(slot)),
            ]
        };
        let answers = link.run(Slot::all().flat_map(questions).collect()).await?;
        let answers = answers.into_iter().collect::<Result<Vec<_>, Error>>()?;
        let mut survey = Survey::default();
        for (slot, answers) in Slot::all().zip(answers.chunks_exact(3)) {
            let filled = bytes(answers[0].clone()) == link.run_id.as_bytes();
            link.note_filled(slot, filled);
            if !filled {
                survey.unfilled.push(slot);
            }
            if number(&answers[1]) == 1 {
                survey.unflushed.push(slot);
            }
            if number(&answers[2]) == 1 {
                survey.unsettled.push(slot);
            }
        }
        Ok(survey)
    }
}

fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
