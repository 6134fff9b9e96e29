//! How a device behaves: as the SDK does, or in one of the ways a cluster must stand.

use longline_wire::{FrameType, PREFACE};

use crate::chance::{Chance, fraction, mix};
use crate::options::Hostile;

/// Keeps this choice apart from others that follow from the same seed.
const SALT: u64 = 0x686f_7374_696c_6521;

/// What a device is like until all are told to behave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Manner {
    Good,
    NeverAck,
    Slow,
    StopReading,
    Rubbish,
    Silent,
}

/// When a device sends rubbish.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rubbish {
    InsteadOfHello,
    AfterWelcome,
}

impl Manner {
    /// The manner of this user: always the same for the same seed.
    pub(crate) fn of(user: u32, hostile: &Hostile, seed: u64) -> Manner {
        let place = fraction(seed ^ SALT, user.into());
        let shares = [
            (hostile.never_ack, Manner::NeverAck),
            (hostile.slow, Manner::Slow),
            (hostile.stop_reading, Manner::StopReading),
            (hostile.rubbish, Manner::Rubbish),
            (hostile.silent, Manner::Silent),
        ];
        let mut end = 0.0;
        for (share, manner) in shares {
            end += share;
            if place < end {
                return manner;
            }
        }
        Manner::Good
    }

    /// Whether it acknowledges messages.
    pub(crate) fn acks(self) -> bool {
        !matches!(self, Manner::NeverAck | Manner::Silent)
    }

    /// Whether only a new connection can make up for what it did on this one.
    pub(crate) fn spoils_its_connection(self) -> bool {
        matches!(self, Manner::NeverAck | Manner::Rubbish | Manner::Silent)
    }

    /// What it sends instead of the protocol on its connection with this number, if anything.
    pub(crate) fn rubbish(self, user: u32, connection: u32) -> Option<Rubbish> {
        let choice = mix(user.into(), connection.into()) % 2;
        (self == Manner::Rubbish).then_some(if choice == 0 {
            Rubbish::InsteadOfHello
        } else {
            Rubbish::AfterWelcome
        })
    }

    /// Whether it says nothing at all on its connection with this number, not even HELLO. On the others it falls silent after that.
    pub(crate) fn is_mute(self, user: u32, connection: u32) -> bool {
        self == Manner::Silent && mix(user.into(), connection.into()).is_multiple_of(2)
    }
}

impl Rubbish {
    /// Appends it.
    pub(crate) fn write(self, chance: &mut Chance, out: &mut Vec<u8>) {
        const ENDLESS: [u8; 4] = [0xff, 0xff, 0xff, 0x7f];
        match (self, chance.below(3)) {
            (Rubbish::InsteadOfHello, 0) => {
                let mut bytes = [0; 64];
                chance.fill(&mut bytes);
                // Else it might be another transport's greeting, which is waited for.
                bytes[0] = 0xff;
                out.extend_from_slice(&bytes);
            }
            (Rubbish::InsteadOfHello, 1) => {
                out.extend_from_slice(&PREFACE);
                out.push(FrameType::Hello.number());
                out.extend_from_slice(&ENDLESS);
            }
            (Rubbish::InsteadOfHello, _) => {
                out.extend_from_slice(&PREFACE);
                out.extend_from_slice(&[FrameType::Hello.number(), 3, 0xff, 0xff, 0xff]);
            }
            (Rubbish::AfterWelcome, 0) => out.extend_from_slice(&[200, 1, 2, 3]),
            (Rubbish::AfterWelcome, 1) => {
                out.push(FrameType::Uplink.number());
                out.extend_from_slice(&ENDLESS);
            }
            (Rubbish::AfterWelcome, _) => out.extend_from_slice(&[FrameType::Ack.number(), 2, 0x12, 0x7f]),
        }
    }
}

#[cfg(test)]
mod tests {
    use longline_pb::client::{Ack, Hello};
    use longline_wire::{Limits, PREFACE_LEN, decode, decode_preface};

    use super::*;

    const ALL: Hostile = Hostile { never_ack: 0.1, slow: 0.1, stop_reading: 0.1, rubbish: 0.1, silent: 0.1 };

    #[test]
    fn shares_are_kept_and_the_seed_decides() {
        for manner in [Manner::NeverAck, Manner::Slow, Manner::StopReading, Manner::Rubbish, Manner::Silent] {
            let count = (0..10_000).filter(|user| Manner::of(*user, &ALL, 1) == manner).count();
            assert!((850..1150).contains(&count), "{manner:?}: {count}");
        }
        let manners = |seed| (0..100).map(|user| Manner::of(user, &ALL, seed)).collect::<Vec<_>>();
        assert_eq!(manners(5), manners(5));
        assert_ne!(manners(5), manners(6));
        assert!((0..1000).all(|user| Manner::of(user, &Hostile::default(), 9) == Manner::Good));
    }

    #[test]
    fn rubbish_is_never_the_protocol() {
        let mut chance = Chance::new(3);
        for _ in 0..100 {
            let mut early = Vec::new();
            Rubbish::InsteadOfHello.write(&mut chance, &mut early);
            let is_hello = decode_preface(&early).is_ok_and(|_| {
                let frame = decode(&early[PREFACE_LEN..], &Limits::FROM_DEVICE);
                matches!(frame, Ok(Some((frame, _))) if frame.parse::<Hello>().is_ok())
                    || matches!(frame, Ok(None))
            });
            assert!(!is_hello, "{early:?}");
            let mut late = Vec::new();
            Rubbish::AfterWelcome.write(&mut chance, &mut late);
            let frame = decode(&late, &Limits::FROM_DEVICE);
            assert!(frame.is_err() || frame.is_ok_and(|f| f.unwrap().0.parse::<Ack>().is_err()), "{late:?}");
        }
    }

    #[test]
    fn both_kinds_of_rubbish_and_of_silence_occur() {
        let kinds: Vec<_> = (0..20).map(|n| Manner::Rubbish.rubbish(1, n)).collect();
        assert!(
            kinds.contains(&Some(Rubbish::InsteadOfHello)) && kinds.contains(&Some(Rubbish::AfterWelcome))
        );
        let mute: Vec<_> = (0..20).map(|n| Manner::Silent.is_mute(1, n)).collect();
        assert!(mute.contains(&true) && mute.contains(&false));
        assert!(!Manner::Good.is_mute(1, 1) && Manner::Good.rubbish(1, 1).is_none());
    }
}
