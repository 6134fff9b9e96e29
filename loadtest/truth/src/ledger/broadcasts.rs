//! The broadcasts, and who of a shard's users has received which.
//!
//! For the last few broadcasts everything is known of each user (12 bytes). Of older ones there are three bits a user, and none
//! once all have ended. What that loses: an acknowledgement that was written when the broadcast was no longer among the last few is
//! taken as one that may have died, so a further receipt after it counts as redelivered, not as duplicated.

use std::collections::{BTreeMap, VecDeque};

use super::reception::{Future, Reception};
use super::tick::{NEVER, Rules, Tick};
use super::users::User;
use super::{Device, Received};
use crate::{Header, Micros};

/// Broadcasts of which every receipt and acknowledgement is known.
const RECENT: usize = 8;
/// Broadcasts that were received but not announced by the controller. More are not believed.
const UNANNOUNCED: usize = 256;

/// The broadcasts of a shard.
#[derive(Debug, Default)]
pub(super) struct Broadcasts {
    table: BTreeMap<u64, Broadcast>,
    recent: VecDeque<u64>,
    /// Announced ones that may still be missing somewhere.
    owed: Vec<u64>,
    unannounced: usize,
}

/// One broadcast.
#[derive(Debug)]
struct Broadcast {
    announced: Option<Announced>,
    /// As announced, or else as first received; 0: not known.
    id: u64,
    receptions: Receptions,
    received: u64,
    missing: u64,
}

#[derive(Clone, Copy, Debug)]
struct Announced {
    sent: Micros,
    expires: Tick,
}

/// Who received it.
#[derive(Debug)]
enum Receptions {
    Recent(Box<[Reception]>),
    Past {
        received: Bits,
        acked: Bits,
        ended: Bits,
    },
    /// All have, and none may again.
    Ended,
}

/// What a receipt is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Came {
    First,
    /// Once more, as delivery at least once allows.
    Again,
    /// Once more, as it does not.
    Duplicated,
}

/// A receipt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Arrival {
    pub(super) came: Came,
    /// Its id is the one that is known.
    pub(super) right_id: bool,
    /// After its expiry.
    pub(super) late: bool,
}

/// Deliveries of one broadcast that are missing.
#[derive(Debug)]
pub(super) struct Missing<I> {
    pub(super) number: u64,
    pub(super) id: u64,
    pub(super) sent: Micros,
    /// It has expired, so they may be.
    pub(super) expired: bool,
    /// Whose.
    pub(super) places: I,
}

/// What an announcement settles.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Announcement {
    /// Users who should get it.
    pub(super) expected: u64,
    /// Receipts until now that had another id.
    pub(super) wrong: u64,
}

/// Now, and what it is judged by.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) users: &'a [User],
    pub(super) rules: &'a Rules,
    pub(super) now: Tick,
}

impl Broadcasts {
    /// The controller tells of it. `None` if it has done so before.
    pub(super) fn announce(
        &mut self,
        scene: Scene<'_>,
        number: u64,
        sent: Micros,
        id: u64,
        expires: Option<Micros>,
    ) -> Option<Announcement> {
        let unannounced = usize::from(self.table.contains_key(&number));
        let broadcast = self.get_or_make(scene, number);
        if broadcast.announced.is_some() {
            return None;
        }
        let announced = Announced { sent, expires: expires.map_or(NEVER, |at| scene.rules.tick(at)) };
        let wrong = if broadcast.received > 0 && broadcast.id != id { broadcast.received } else { 0 };
        let owed = |(_, user): &(usize, &User)| announced.is_owed(user, scene.rules);
        let owed = || scene.users.iter().enumerate().filter(owed);
        broadcast.announced = Some(announced);
        broadcast.id = id;
        broadcast.missing = owed().filter(|(place, _)| !broadcast.receptions.received(*place)).count() as u64;
        let expected = owed().count() as u64;
        if broadcast.missing > 0 {
            self.owed.push(number);
        }
        self.unannounced -= unannounced;
        Some(Announcement { expected, wrong })
    }

    /// A user received it. `None` if there cannot be such a user or broadcast.
    pub(super) fn receive(
        &mut self,
        scene: Scene<'_>,
        device: Device,
        header: &Header,
        push: &Received<'_>,
    ) -> Option<Arrival> {
        let user = scene.users.get(device.place)?;
        if !self.table.contains_key(&header.sequence) {
            if self.unannounced >= UNANNOUNCED {
                return None;
            }
            self.unannounced += 1;
        }
        let broadcast = self.get_or_make(scene, header.sequence);
        let came = broadcast.receptions.receive(user, device, push.redelivered, &scene);
        if came == Came::First {
            broadcast.received += 1;
            if broadcast.announced.is_some_and(|announced| announced.is_owed(user, scene.rules)) {
                broadcast.missing = broadcast.missing.saturating_sub(1);
            }
        }
        if broadcast.id == 0 {
            broadcast.id = push.id;
        }
        Some(Arrival {
            came,
            right_id: broadcast.id == push.id,
            late: broadcast.is_late(scene.now, scene.rules),
        })
    }

    /// The user at this place acknowledged it. Answers whether for the first time.
    pub(super) fn ack(&mut self, number: u64, place: usize, connection: u32, at: Tick) -> bool {
        let Some(broadcast) = self.table.get_mut(&number) else { return false };
        match &mut broadcast.receptions {
            Receptions::Recent(all) => {
                all.get_mut(place).is_some_and(|reception| reception.ack(connection, at))
            }
            Receptions::Past { received, acked, .. } => received.get(place) && !acked.set(place),
            Receptions::Ended => false,
        }
    }

    /// Deliveries that are owed and have not expired.
    pub(super) fn outstanding(&mut self, now: Tick) -> u64 {
        let Broadcasts { table, owed, .. } = self;
        owed.retain(|number| table.get(number).is_some_and(|broadcast| broadcast.missing > 0));
        let owed = owed.iter().filter_map(|number| table.get(number));
        owed.filter(|broadcast| !broadcast.is_expired(now)).map(|broadcast| broadcast.missing).sum()
    }

    /// What is missing at the end.
    pub(super) fn missing<'a>(
        &'a self,
        scene: Scene<'a>,
    ) -> impl Iterator<Item = Missing<impl Iterator<Item = usize> + 'a>> + 'a {
        self.owed.iter().filter_map(move |&number| {
            let broadcast = self.table.get(&number)?;
            let announced = broadcast.announced?;
            let owed = move |place: &usize| {
                let user = scene.users.get(*place);
                user.is_some_and(|user| announced.is_owed(user, scene.rules))
                    && !broadcast.receptions.received(*place)
            };
            let places = (0..scene.users.len()).filter(owed);
            let expired = announced.expires <= scene.now;
            Some(Missing { number, id: broadcast.id, sent: announced.sent, expired, places })
        })
    }

    fn get_or_make(&mut self, scene: Scene<'_>, number: u64) -> &mut Broadcast {
        if !self.table.contains_key(&number) {
            self.recent.push_back(number);
            if self.recent.len() > RECENT
                && let Some(oldest) = self.recent.pop_front()
                && let Some(broadcast) = self.table.get_mut(&oldest)
            {
                broadcast.receptions.pack(&scene);
            }
        }
        let count = scene.users.len();
        self.table.entry(number).or_insert_with(|| Broadcast {
            announced: None,
            id: 0,
            receptions: Receptions::Recent(vec![Reception::NONE; count].into()),
            received: 0,
            missing: 0,
        })
    }
}

impl Broadcast {
    /// A receipt now is late.
    fn is_late(&self, at: Tick, rules: &Rules) -> bool {
        self.announced.is_some_and(|announced| {
            announced.expires != NEVER && at > announced.expires.saturating_add(rules.late)
        })
    }

    fn is_expired(&self, now: Tick) -> bool {
        self.announced.is_some_and(|announced| announced.expires <= now)
    }
}

impl Announced {
    /// The user had first come before it was sent (S8); around that time it may come or not.
    fn is_owed(&self, user: &User, rules: &Rules) -> bool {
        user.first_bound.saturating_add(rules.broadcast) <= self.sent
    }
}

impl Receptions {
    fn received(&self, place: usize) -> bool {
        match self {
            Receptions::Recent(all) => all.get(place).is_some_and(Reception::received),
            Receptions::Past { received, .. } => received.get(place),
            Receptions::Ended => true,
        }
    }

    fn receive(&mut self, user: &User, device: Device, marked: bool, scene: &Scene<'_>) -> Came {
        let Device { place, connection } = device;
        let legal = match self {
            Receptions::Recent(all) => {
                let Some(reception) = all.get_mut(place) else { return Came::Duplicated };
                let legal = reception.may_come_again(user, connection, marked, scene.now, scene.rules.ack);
                let first = !reception.received();
                reception.receive(connection);
                if first {
                    return Came::First;
                }
                legal
            }
            Receptions::Past { received, ended, .. } => {
                if !received.set(place) {
                    return Came::First;
                }
                !ended.get(place)
            }
            Receptions::Ended => false,
        };
        if legal { Came::Again } else { Came::Duplicated }
    }

    /// Keeps three bits a user, or none.
    fn pack(&mut self, scene: &Scene<'_>) {
        let Receptions::Recent(all) = self else { return };
        let [mut received, mut acked, mut ended] = std::array::from_fn(|_| Bits::new(all.len()));
        let mut open = all.len();
        for (place, reception) in all.iter_mut().enumerate().filter(|(_, reception)| reception.received()) {
            received.set(place);
            if reception.acked() {
                acked.set(place);
            }
            if reception.future(scene.users.get(place), scene.now, scene.rules.ack) == Future::Ended {
                ended.set(place);
                open -= 1;
            }
        }
        *self = if open == 0 { Receptions::Ended } else { Receptions::Past { received, acked, ended } };
    }
}

/// A bit for each place.
#[derive(Debug)]
struct Bits(Box<[u64]>);

impl Bits {
    fn new(count: usize) -> Bits {
        Bits(vec![0; count.div_ceil(64)].into())
    }

    fn get(&self, place: usize) -> bool {
        self.0.get(place / 64).is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    /// Answers whether it was set before.
    fn set(&mut self, place: usize) -> bool {
        let before = self.get(place);
        if let Some(word) = self.0.get_mut(place / 64) {
            *word |= 1 << (place % 64);
        }
        before
    }
}
