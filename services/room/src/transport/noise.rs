//! Noise: a message each way, then records.

use longline_noise::{Accepted, HANDSHAKE_LEN, NoiseError, Session, StaticKey, accept};

use super::{Opened, broken};
use crate::session::Ending;

/// Most bytes that may come before the handshake is done; a device sends no records before it has the answer.
const MOST_EARLY: usize = 16 * 1024;

#[derive(Default)]
pub(super) struct Noise {
    session: Option<Session>,
    /// What is not whole. Without capacity while there is nothing.
    partial: Vec<u8>,
}

impl Noise {
    /// Opens what came, where it is; `answers` gets what is to be said at once. A handshake takes one of `handshakes`.
    pub(super) fn open(
        &mut self,
        bytes: &mut Vec<u8>,
        key: &StaticKey,
        handshakes: &mut u32,
        answers: &mut Vec<u8>,
    ) -> Result<Opened, Ending> {
        if !self.partial.is_empty() {
            self.partial.append(bytes);
            std::mem::swap(&mut self.partial, bytes);
        }
        self.partial = Vec::new();
        if self.session.is_none() {
            let waits = bytes.len() >= HANDSHAKE_LEN && *handshakes == 0;
            let accepted = if waits { None } else { accept(key, bytes).map_err(failed)? };
            let Some(Accepted { answer, session }) = accepted else { return self.wait(bytes, waits) };
            *handshakes -= 1;
            answers.extend_from_slice(&answer);
            bytes.drain(..HANDSHAKE_LEN);
            self.session = Some(session);
        }
        if let Some(session) = &mut self.session {
            let opened = session.open(bytes).map_err(failed)?;
            self.partial = bytes[opened.used..].to_vec();
            bytes.truncate(opened.payload);
        }
        Ok(Opened::Done)
    }

    /// Bytes of what is not whole.
    pub(super) fn kept_bytes(&self) -> usize {
        self.partial.capacity()
    }

    /// Appends the records of `plain`; nothing before the handshake.
    pub(super) fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), Ending> {
        self.session.as_mut().map_or(Ok(()), |session| session.seal(plain, out).map_err(failed))
    }

    fn wait(&mut self, bytes: &mut Vec<u8>, waits: bool) -> Result<Opened, Ending> {
        if bytes.len() > MOST_EARLY {
            return Err(broken("Noise: too much came before the handshake"));
        }
        self.partial = bytes.to_vec();
        bytes.clear();
        Ok(if waits { Opened::Waits } else { Opened::Done })
    }
}

fn failed(error: NoiseError) -> Ending {
    broken(format!("Noise: {error}"))
}
