//! Loads, checks and what waits: read from Redis, if it holds everything (S3, S4).

use std::collections::{HashMap, HashSet};

use longline_pb::types::Message;
use longline_types::{Address, Error, MessageId, ProductId};
use redis::{Cmd, Value};

use super::Core;
use super::active::Active;
use super::cursors::{self, Cursor, Wish};
use super::keys;
use super::redis_link::{Link, bytes, is_unfilled, list, number};
use super::row::{hex, message, unhex};
use super::scripts;
use crate::store::{Ack, Check, Inbox, Load, Loaded, fail_all};

/// Tries to read an inbox while Redis is emptied and filled again.
const TRIES: usize = 4;
/// Ids offered to one page; more are offered only if all of these have ended or expired.
const OFFER: usize = 512;
/// Pages asked for at once: their answers are in memory together.
const PAGES: usize = 32;

/// The waiting part of an inbox, and the cursor that was cached with it.
struct Look {
    cursor: Option<Cursor>,
    /// Rising.
    ids: Vec<MessageId>,
}

impl Core {
    /// [`Store::load`](crate::store::Store::load).
    pub(super) async fn load(&self, batch: &[Load]) -> Vec<Result<Loaded, Error>> {
        self.try_load(batch).await.unwrap_or_else(|e| fail_all(batch.len(), &e))
    }

    async fn try_load(&self, batch: &[Load]) -> Result<Vec<Result<Loaded, Error>>, Error> {
        let link = self.redis.link().await?;
        let addresses: Vec<&Address> = batch.iter().map(|l| &l.address).collect();
        let looks = self.look(&link, &addresses).await?;
        let cached = addresses.iter().zip(&looks).map(|(a, l)| (*a, l.cursor.clone()));
        let cursors = self.cursors(&link, cached.collect(), true).await?;
        let mut loaded = self.pages(&link, batch, &looks).await?;
        let active = self
            .actives(batch.iter().map(|l| (l.address.product, l.known_broadcast.max(l.seen_broadcast))))
            .await?;
        let cursors = self.raise(&link, batch, &active, cursors).await?;
        let now = self.clock.now();
        for (load, page) in batch.iter().zip(&mut loaded) {
            if let (Some(active), Some(cursor)) =
                (active.get(&load.address.product), cursors.get(&load.address))
            {
                add_broadcasts(load, page, active, cursor, now);
            }
        }
        Ok(loaded.into_iter().map(Ok).collect())
    }

    /// [`Store::check`](crate::store::Store::check).
    pub(super) async fn check(&self, batch: &[Check]) -> Vec<Result<bool, Error>> {
        self.try_check(batch).await.unwrap_or_else(|e| fail_all(batch.len(), &e))
    }

    async fn try_check(&self, batch: &[Check]) -> Result<Vec<Result<bool, Error>>, Error> {
        let questions: Vec<(&Address, u64)> = batch.iter().map(|c| (&c.address, c.in_flight + 1)).collect();
        let counts = self.count(&questions).await?;
        Ok(batch
            .iter()
            .zip(counts)
            .map(|(c, n)| Ok(n.waiting + n.broadcasts_waiting > c.in_flight))
            .collect())
    }

    /// [`Store::inbox`](crate::store::Store::inbox).
    pub(super) async fn inbox(&self, address: &Address) -> Result<Inbox, Error> {
        let counts = self.count(&[(address, u64::from(u32::MAX))]).await?.pop();
        counts.ok_or_else(|| Error::internal("an address was passed over"))
    }

    /// Acknowledgements of broadcasts.
    pub(super) async fn ack_broadcasts(&self, acks: &[Ack]) -> Vec<Result<bool, Error>> {
        if acks.is_empty() {
            return Vec::new();
        }
        self.try_ack_broadcasts(acks).await.unwrap_or_else(|e| fail_all(acks.len(), &e))
    }

    async fn try_ack_broadcasts(&self, acks: &[Ack]) -> Result<Vec<Result<bool, Error>>, Error> {
        let active = self.actives(acks.iter().map(|a| (a.address.product, a.broadcast_seq))).await?;
        let mut wishes = Vec::new();
        let mut fitting = Vec::with_capacity(acks.len());
        for ack in acks {
            let active = active.get(&ack.address.product);
            let is_it = |m: &&Message| m.broadcast_seq == ack.broadcast_seq && m.id == ack.id.0;
            // One that has ended need not be remembered: nobody gets it again.
            let fits = active.is_some_and(|a| a.messages.iter().find(is_it).is_some());
            fitting.push(fits);
            if fits {
                let passed = active.map_or(0, Active::passed);
                let wish = Wish::Ack { seq: ack.broadcast_seq, id: ack.id.0, passed };
                wishes.push((ack.address.clone(), wish));
            }
        }
        let changes =
            if wishes.is_empty() { Vec::new() } else { cursors::change(&self.sql, &wishes).await? };
        if let Ok(link) = self.redis.link().await {
            cursors::copy_all(&link, wishes.iter().zip(&changes).map(|((a, _), (_, c))| (a, c))).await;
        }
        let mut changes = changes.into_iter().map(|(changed, _)| changed);
        Ok(fitting.into_iter().map(|fits| Ok(fits && changes.next().unwrap_or(false))).collect())
    }

    /// The ids in each inbox; inboxes that may be incomplete are filled first.
    async fn look(&self, link: &Link, addresses: &[&Address]) -> Result<Vec<Look>, Error> {
        let answers = self
            .filled_answers(link, addresses, |i| {
                let address = addresses[i];
                let mut command = scripts::LOOK.call(&[
                    keys::slot_mark(address.slot()),
                    keys::address_mark(address),
                    keys::inbox(address),
                    keys::cursor(address),
                ]);
                command.arg(&link.run_id);
                command
            })
            .await?;
        let looks = answers.into_iter().map(|answer| {
            let mut fields = list(answer).into_iter().map(bytes);
            let cursor = fields.next().and_then(|c| Cursor::unpack(&c));
            let mut ids: Vec<MessageId> = fields.filter_map(|f| unhex(f.strip_prefix(b"m")?)).collect();
            ids.sort_unstable();
            Look { cursor, ids }
        });
        Ok(looks.collect())
    }

    async fn pages(&self, link: &Link, batch: &[Load], looks: &[Look]) -> Result<Vec<Loaded>, Error> {
        let mut pages: Vec<Loaded> = batch.iter().map(|_| Loaded::default()).collect();
        let mut offers: Vec<(usize, Vec<MessageId>)> = Vec::new();
        for (i, (load, look)) in batch.iter().zip(looks).enumerate() {
            let except: HashSet<MessageId> = load.except.iter().copied().collect();
            let ids: Vec<MessageId> = look.ids.iter().copied().filter(|id| !except.contains(id)).collect();
            if !ids.is_empty() {
                offers.push((i, ids));
            }
        }
        while !offers.is_empty() {
            let rest = offers.split_off(offers.len().min(PAGES));
            for (i, left) in self.some_pages(link, batch, &offers, &mut pages).await? {
                // All that was offered has ended meanwhile: the next ones, at once.
                if pages[i].messages.is_empty() {
                    self.next_offers(link, batch, i, left, &mut pages).await?;
                } else {
                    pages[i].more = true;
                }
            }
            offers = rest;
        }
        Ok(pages)
    }

    /// Fills a page for each offer; returns those that had more ids than could be offered.
    async fn some_pages(
        &self,
        link: &Link,
        batch: &[Load],
        offers: &[(usize, Vec<MessageId>)],
        pages: &mut [Loaded],
    ) -> Result<Vec<(usize, Vec<MessageId>)>, Error> {
        let now = self.clock.now();
        let addresses: Vec<&Address> = offers.iter().map(|(i, _)| &batch[*i].address).collect();
        let answers = self
            .filled_answers(link, &addresses, |place| {
                let (i, ids) = &offers[place];
                let (load, address) = (&batch[*i], addresses[place]);
                let mut command = scripts::PAGE.call(&[
                    keys::slot_mark(address.slot()),
                    keys::address_mark(address),
                    keys::inbox(address),
                ]);
                command.arg(&link.run_id).arg(now).arg(load.limit).arg(load.max_bytes);
                for id in ids.iter().take(OFFER) {
                    command.arg(hex(*id));
                }
                command
            })
            .await?;
        let mut left = Vec::new();
        for ((i, ids), answer) in offers.iter().zip(answers) {
            let mut parts = list(answer).into_iter();
            pages[*i].more = parts.next().is_some_and(|more| number(&more) == 1);
            while let (Some(id), Some(record)) = (parts.next(), parts.next()) {
                let message = unhex(&bytes(id)).and_then(|id| message(id, bytes(record)));
                match message {
                    Some(message) => pages[*i].messages.push(message),
                    None => {
                        tracing::error!(address = %batch[*i].address, "Redis holds a message that makes no sense")
                    }
                }
            }
            if ids.len() > OFFER && !pages[*i].more {
                left.push((*i, ids[OFFER..].to_vec()));
            }
        }
        Ok(left)
    }

    async fn next_offers(
        &self,
        link: &Link,
        batch: &[Load],
        i: usize,
        mut ids: Vec<MessageId>,
        pages: &mut [Loaded],
    ) -> Result<(), Error> {
        loop {
            match self.some_pages(link, batch, &[(i, ids)], pages).await?.pop() {
                Some((_, left)) if pages[i].messages.is_empty() => ids = left,
                Some(_) => {
                    pages[i].more = true;
                    return Ok(());
                }
                None => return Ok(()),
            }
        }
    }

    /// What waits for each address, each counted up to a bound.
    async fn count(&self, questions: &[(&Address, u64)]) -> Result<Vec<Inbox>, Error> {
        let link = self.redis.link().await?;
        let now = self.clock.now();
        let addresses: Vec<&Address> = questions.iter().map(|(a, _)| *a).collect();
        let answers = self
            .filled_answers(&link, &addresses, |i| {
                let (address, bound) = questions[i];
                let mut command = scripts::COUNT.call(&[
                    keys::slot_mark(address.slot()),
                    keys::address_mark(address),
                    keys::inbox(address),
                    keys::cursor(address),
                ]);
                command.arg(&link.run_id).arg(now).arg(bound);
                command
            })
            .await?;
        let mut inboxes = Vec::with_capacity(answers.len());
        let mut cached = Vec::with_capacity(answers.len());
        for (address, answer) in addresses.iter().zip(answers) {
            let mut parts = list(answer).into_iter();
            cached.push((*address, parts.next().and_then(|c| Cursor::unpack(&bytes(c)))));
            let waiting = parts.next().map_or(0, |n| number(&n));
            let oldest = parts.next().and_then(|id| unhex(&bytes(id)));
            inboxes.push(Inbox { waiting, broadcasts_waiting: 0, oldest });
        }
        let cursors = self.cursors(&link, cached, false).await?;
        let active = self.actives(addresses.iter().map(|a| (a.product, 0))).await?;
        for (address, inbox) in addresses.iter().zip(&mut inboxes) {
            if let (Some(active), Some(cursor)) = (active.get(&address.product), cursors.get(*address)) {
                let waiting =
                    active.messages.iter().filter(|m| m.expires_at_ms > now && !cursor.has(m.broadcast_seq));
                inbox.broadcasts_waiting = waiting.count() as u64;
            }
        }
        Ok(inboxes)
    }

    /// The answers of scripts that look at the marks, each asked again after a fill if need be.
    async fn filled_answers(
        &self,
        link: &Link,
        addresses: &[&Address],
        command: impl Fn(usize) -> Cmd,
    ) -> Result<Vec<Value>, Error> {
        let mut answers: Vec<Option<Value>> = addresses.iter().map(|_| None).collect();
        for _ in 0..TRIES {
            let open: Vec<usize> = (0..addresses.len()).filter(|&i| answers[i].is_none()).collect();
            if open.is_empty() {
                break;
            }
            let commands = open.iter().map(|&i| command(i)).collect();
            for (&i, answer) in open.iter().zip(link.run(commands).await?) {
                let answer = answer?;
                if is_unfilled(&answer) {
                    link.note_filled(addresses[i].slot(), false);
                } else {
                    answers[i] = Some(answer);
                }
            }
            let unfilled = open.iter().filter(|&&i| answers[i].is_none()).map(|&i| addresses[i]);
            self.ensure_filled(link, unfilled).await?;
        }
        let filled: Option<Vec<Value>> = answers.into_iter().collect();
        filled.ok_or_else(|| Error::unavailable("the inbox is still being filled"))
    }

    /// Cursors, from the copies in Redis or from the database. `record`: those seen for the first time get one.
    async fn cursors(
        &self,
        link: &Link,
        cached: Vec<(&Address, Option<Cursor>)>,
        record: bool,
    ) -> Result<HashMap<Address, Cursor>, Error> {
        let missing: Vec<Address> =
            cached.iter().filter(|(_, c)| c.is_none()).map(|(a, _)| (*a).clone()).collect();
        let mut cursors: HashMap<Address, Cursor> =
            cached.into_iter().filter_map(|(a, c)| Some((a.clone(), c?))).collect();
        if !missing.is_empty() {
            let read = match record {
                true => cursors::first_sight(&self.sql, &missing).await?,
                false => cursors::read(&self.sql, &missing).await?,
            };
            cursors::copy_all(link, read.iter()).await;
            cursors.extend(read);
        }
        Ok(cursors)
    }

    async fn actives(
        &self,
        asked: impl Iterator<Item = (ProductId, u64)>,
    ) -> Result<HashMap<ProductId, Active>, Error> {
        let mut products: HashMap<ProductId, u64> = HashMap::new();
        for (product, known) in asked {
            let highest = products.entry(product).or_default();
            *highest = known.max(*highest);
        }
        let mut actives = HashMap::with_capacity(products.len());
        for (product, known) in products {
            actives.insert(product, self.active(product, known).await?);
        }
        Ok(actives)
    }

    /// Raises floors to what devices have seen, at most to what there is.
    async fn raise(
        &self,
        link: &Link,
        batch: &[Load],
        active: &HashMap<ProductId, Active>,
        mut cursors: HashMap<Address, Cursor>,
    ) -> Result<HashMap<Address, Cursor>, Error> {
        let mut wishes = Vec::new();
        for load in batch.iter().filter(|l| l.seen_broadcast > 0) {
            let highest = active.get(&load.address.product).map_or(0, |a| a.highest);
            let floor = load.seen_broadcast.min(highest);
            if cursors.get(&load.address).is_some_and(|c| c.clone().raise(floor)) {
                wishes.push((load.address.clone(), Wish::Raise(floor)));
            }
        }
        if !wishes.is_empty() {
            let changes = cursors::change(&self.sql, &wishes).await?;
            cursors::copy_all(link, wishes.iter().zip(&changes).map(|((a, _), (_, c))| (a, c))).await;
            cursors
                .extend(wishes.into_iter().zip(changes).map(|((address, _), (_, cursor))| (address, cursor)));
        }
        Ok(cursors)
    }
}

/// Adds waiting broadcasts to a page, within its limits.
fn add_broadcasts(load: &Load, page: &mut Loaded, active: &Active, cursor: &Cursor, now: u64) {
    let mut bytes: usize = page.messages.iter().map(|m| m.payload.len()).sum();
    for message in active.messages.iter().filter(|m| m.expires_at_ms > now && !cursor.has(m.broadcast_seq)) {
        if load.except.contains(&MessageId(message.id)) {
            continue;
        }
        bytes += message.payload.len();
        let full = page.messages.len() >= load.limit || bytes > load.max_bytes;
        if page.more || (full && !page.messages.is_empty()) {
            page.more = true;
            return;
        }
        page.messages.push(message.clone());
    }
}
