//! What makes everybody, or everybody of a room, come back at once.

use std::time::Duration;

use anyhow::ensure;
use longline_load_scenario::StormKind;
use tokio::time::Instant;

use super::{Passed, Running};
use crate::link::Order;

/// A room that was killed is started again after this.
const ROOM_AWAY: Duration = Duration::from_secs(2);
/// For a room that was told to stop: it sends its sessions away first, for which it has a minute if nothing else is set.
const ROOM_STOPS: Duration = Duration::from_secs(120);

impl Running<'_> {
    /// The storm breaks loose. Comes back when the rooms are all there again, the devices perhaps not.
    pub(super) async fn storm(&mut self, kind: StormKind) -> anyhow::Result<Passed> {
        match kind {
            StormKind::Reconnect => {
                self.course.fleet.order(&Order::DropAll).await;
                Ok(Passed::Done)
            }
            StormKind::KillRoom => {
                let room = self.course.under_load.kill_room()?;
                let away = self.until(Instant::now() + ROOM_AWAY, |_| false).await?;
                self.course.under_load.restart_room(&room).await?;
                Ok(away)
            }
            StormKind::Rolling => self.roll().await,
        }
    }

    /// All rooms are restarted, one after the other and in order.
    async fn roll(&mut self) -> anyhow::Result<Passed> {
        for room in self.course.under_load.room_names() {
            self.course.under_load.tell_room_to_stop(&room)?;
            let stopped = self.until_stopped(&room).await?;
            ensure!(stopped != Passed::Deadline, "{room} did not stop within {ROOM_STOPS:?}");
            self.course.under_load.restart_room(&room).await?;
            if stopped == Passed::Cut {
                return Ok(stopped);
            }
        }
        Ok(Passed::Done)
    }

    async fn until_stopped(&mut self, room: &str) -> anyhow::Result<Passed> {
        let deadline = Instant::now() + ROOM_STOPS;
        loop {
            let passed = self.wait(deadline, true).await?;
            if passed != Passed::Done || self.course.under_load.room_has_stopped(room)? {
                return Ok(passed);
            }
        }
    }
}
