//! All injectors that are connected.

use mio::net::TcpStream;
use mio::{Registry, Token};

use crate::peer::Peer;

/// Most injectors at a time: one for each process that makes load.
const MOST: u32 = 256;

/// Names an injector: its place, and which one in it. A later injector on the same place has another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Serial(u32);

impl Serial {
    /// No injector has it.
    pub(crate) const NONE: Serial = Serial(0);

    pub(crate) fn place(self) -> usize {
        (self.0 % MOST) as usize
    }
}

/// The injectors, by place.
pub(crate) struct Injectors {
    peers: Vec<Option<Peer>>,
    /// Of the next injector's serial.
    generation: u32,
    first_token: usize,
}

impl Injectors {
    /// Their tokens begin with this one.
    pub(crate) fn new(first_token: usize) -> Injectors {
        Injectors { peers: Vec::new(), generation: 1, first_token }
    }

    /// Every place is below this.
    pub(crate) fn places(&self) -> usize {
        self.peers.len()
    }

    /// Takes in an injector, if there is a place for it.
    pub(crate) fn add(&mut self, stream: TcpStream, registry: &Registry) {
        let free = self.peers.iter().position(Option::is_none);
        let place = free.unwrap_or(self.peers.len());
        if place >= MOST as usize {
            tracing::warn!("too many injectors");
            return;
        }
        let serial = Serial(self.generation.wrapping_mul(MOST).wrapping_add(place as u32));
        self.generation = self.generation.wrapping_add(1).max(1);
        match Peer::new(serial, stream, Token(self.first_token + place), registry) {
            Ok(peer) if free.is_some() => self.peers[place] = Some(peer),
            Ok(peer) => self.peers.push(Some(peer)),
            Err(error) => tracing::warn!(%error, "cannot watch an injector"),
        }
    }

    pub(crate) fn get_mut(&mut self, place: usize) -> Option<&mut Peer> {
        self.peers.get_mut(place)?.as_mut()
    }

    /// Ends the connection.
    pub(crate) fn remove(&mut self, place: usize) {
        if let Some(peer) = self.peers.get_mut(place) {
            *peer = None;
        }
    }

    /// Tells an injector that a message was acknowledged, if it is still there.
    pub(crate) fn acked(&mut self, to: Serial, user: u32, id: u64) {
        if let Some(peer) = self.get_mut(to.place())
            && peer.serial() == to
        {
            peer.reports.acked(user, id);
        }
    }

    /// Writes all that the turn has left to report, to each injector at once.
    pub(crate) fn flush(&mut self) {
        for place in &mut self.peers {
            if let Some(peer) = place
                && let Err(error) = peer.flush()
            {
                tracing::warn!(%error, "an injector is given up");
                *place = None;
            }
        }
    }

    /// Whether there is something that can be done without anything new to happen.
    pub(crate) fn have_work(&self) -> bool {
        self.peers.iter().flatten().any(Peer::has_work)
    }
}
