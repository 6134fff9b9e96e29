//! The two messages of a handshake, one each way: `e, es`, then `e, ee`, both without content.

use aws_lc_rs::agreement::{PrivateKey, X25519};

use crate::cipher::TAG_LEN;
use crate::key::public_bytes;
use crate::symmetric::Symmetric;
use crate::{KEY_LEN, NoiseError, PublicKey, Session, StaticKey};

const MESSAGE_LEN: usize = KEY_LEN + TAG_LEN;

/// Bytes of each message with the length before it.
pub const HANDSHAKE_LEN: usize = 2 + MESSAGE_LEN;

/// What a room has to send, and what it keeps.
pub struct Accepted {
    /// The answer; records may follow it at once.
    pub answer: [u8; HANDSHAKE_LEN],
    /// The link.
    pub session: Session,
}

/// The room's side: finds a device's message at the start of `bytes`, after the preface, and answers it; none while it is not whole. It
/// takes [`HANDSHAKE_LEN`] bytes; records may follow.
///
/// Costs two multiplications of X25519 and the making of a key, some 100 µs, so callers limit how many they do in a row.
///
/// # Errors
/// [`NoiseError::BadHandshake`] as soon as its length has come, [`NoiseError::Forged`] if it was not made for this key.
pub fn accept(key: &StaticKey, bytes: &[u8]) -> Result<Option<Accepted>, NoiseError> {
    let Some(Message { ephemeral, tag }) = message(bytes)? else { return Ok(None) };
    let mut symmetric = Symmetric::new(&key.public());
    symmetric.mix_hash(ephemeral);
    let mut cipher = symmetric.mix_key(key.secret(), ephemeral)?;
    symmetric.open_nothing(&mut cipher, tag)?;

    let own = generate()?;
    let own_public = public_bytes(&own)?;
    symmetric.mix_hash(&own_public);
    let mut cipher = symmetric.mix_key(&own, ephemeral)?;
    let tag = symmetric.seal_nothing(&mut cipher)?;
    let (from_device, from_room) = symmetric.split();
    Ok(Some(Accepted { answer: framed(&own_public, &tag), session: Session::new(from_room, from_device) }))
}

/// The device's side.
pub struct Initiator {
    symmetric: Symmetric,
    own: PrivateKey,
}

impl Initiator {
    /// Begins a handshake with the owner of this key: what to send after the [`PREFACE`](crate::PREFACE).
    ///
    /// # Errors
    /// [`NoiseError::Library`] if the system has no random numbers, [`NoiseError::Forged`] if the key is one that no secret belongs to.
    pub fn new(room: &PublicKey) -> Result<(Initiator, [u8; HANDSHAKE_LEN]), NoiseError> {
        let own = generate()?;
        let own_public = public_bytes(&own)?;
        let mut symmetric = Symmetric::new(room);
        symmetric.mix_hash(&own_public);
        let mut cipher = symmetric.mix_key(&own, room.as_bytes())?;
        let tag = symmetric.seal_nothing(&mut cipher)?;
        Ok((Initiator { symmetric, own }, framed(&own_public, &tag)))
    }

    /// Finds the room's answer at the start of `bytes`: the link, or none while the answer is not whole. It takes [`HANDSHAKE_LEN`]
    /// bytes; records may follow.
    ///
    /// # Errors
    /// As [`accept`]; the initiator is of no use then.
    pub fn finish(&mut self, bytes: &[u8]) -> Result<Option<Session>, NoiseError> {
        let Some(Message { ephemeral, tag }) = message(bytes)? else { return Ok(None) };
        self.symmetric.mix_hash(ephemeral);
        let mut cipher = self.symmetric.mix_key(&self.own, ephemeral)?;
        self.symmetric.open_nothing(&mut cipher, tag)?;
        let (from_device, from_room) = self.symmetric.split();
        Ok(Some(Session::new(from_device, from_room)))
    }
}

/// The parts of a message.
struct Message<'a> {
    ephemeral: &'a [u8; KEY_LEN],
    tag: &'a [u8; TAG_LEN],
}

/// The message at the start of `bytes`, if it is whole.
fn message(bytes: &[u8]) -> Result<Option<Message<'_>>, NoiseError> {
    let head = (MESSAGE_LEN as u16).to_be_bytes();
    if bytes.iter().zip(&head).any(|(byte, wanted)| byte != wanted) {
        return Err(NoiseError::BadHandshake);
    }
    Ok(bytes.get(head.len()..).and_then(|rest| {
        let (ephemeral, rest) = rest.split_first_chunk()?;
        Some(Message { ephemeral, tag: rest.first_chunk()? })
    }))
}

fn framed(public: &[u8; KEY_LEN], tag: &[u8; TAG_LEN]) -> [u8; HANDSHAKE_LEN] {
    let mut message = [0; HANDSHAKE_LEN];
    message[..2].copy_from_slice(&(MESSAGE_LEN as u16).to_be_bytes());
    message[2..2 + KEY_LEN].copy_from_slice(public);
    message[2 + KEY_LEN..].copy_from_slice(tag);
    message
}

fn generate() -> Result<PrivateKey, NoiseError> {
    PrivateKey::generate(&X25519).map_err(|_| NoiseError::Library)
}
