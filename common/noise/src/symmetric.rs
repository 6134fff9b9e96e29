//! What both sides know in common while they shake hands: the specification's SymmetricState (5.2).

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, Tag, sign};
use zeroize::Zeroize;

use crate::cipher::{Cipher, TAG_LEN};
use crate::{KEY_LEN, NoiseError, PREFACE, PublicKey};

/// Exactly as long as the hash, so it is the hash's first value as it is.
const PROTOCOL: &[u8; 32] = b"Noise_NK_25519_ChaChaPoly_SHA256";

/// The chaining key and the hash of all that was said.
pub(crate) struct Symmetric {
    chaining: [u8; KEY_LEN],
    hash: [u8; 32],
}

impl Symmetric {
    /// The beginning of a handshake with the owner of this key.
    pub(crate) fn new(responder: &PublicKey) -> Symmetric {
        let mut symmetric = Symmetric { chaining: *PROTOCOL, hash: *PROTOCOL };
        symmetric.mix_hash(&PREFACE);
        symmetric.mix_hash(responder.as_bytes());
        symmetric
    }

    /// Takes in what was said.
    pub(crate) fn mix_hash(&mut self, data: &[u8]) {
        let mut context = Context::new(&SHA256);
        context.update(&self.hash);
        context.update(data);
        self.hash.copy_from_slice(context.finish().as_ref());
    }

    /// Takes in what both can compute from their secret and the other's public key, and nobody else: the key of the message.
    pub(crate) fn mix_key(
        &mut self,
        secret: &PrivateKey,
        public: &[u8; KEY_LEN],
    ) -> Result<Cipher, NoiseError> {
        let public = UnparsedPublicKey::new(&X25519, public);
        agree(secret, public, NoiseError::Forged, |shared| {
            let (chaining, key) = expand(&self.chaining, shared);
            self.chaining = chaining;
            Ok(Cipher::new(key))
        })
    }

    /// The authentication of a message without content.
    pub(crate) fn seal_nothing(&mut self, cipher: &mut Cipher) -> Result<[u8; TAG_LEN], NoiseError> {
        let tag = cipher.seal(&mut [], &self.hash)?;
        self.mix_hash(&tag);
        Ok(tag)
    }

    /// Checks it.
    pub(crate) fn open_nothing(
        &mut self,
        cipher: &mut Cipher,
        tag: &[u8; TAG_LEN],
    ) -> Result<(), NoiseError> {
        cipher.open(&mut tag.clone(), &self.hash)?;
        self.mix_hash(tag);
        Ok(())
    }

    /// What the initiator sends with, and what the responder sends with.
    pub(crate) fn split(&self) -> (Cipher, Cipher) {
        let (initiator, responder) = expand(&self.chaining, &[]);
        (Cipher::new(initiator), Cipher::new(responder))
    }
}

impl Drop for Symmetric {
    fn drop(&mut self) {
        self.chaining.zeroize();
    }
}

/// HKDF with two outputs (4.3).
fn expand(chaining: &[u8; KEY_LEN], input: &[u8]) -> ([u8; KEY_LEN], [u8; KEY_LEN]) {
    let key = Key::new(HMAC_SHA256, sign(&Key::new(HMAC_SHA256, chaining), input).as_ref());
    let first = bytes(&sign(&key, &[1]));
    let mut text = [2; KEY_LEN + 1];
    text[..KEY_LEN].copy_from_slice(&first);
    let second = bytes(&sign(&key, &text));
    text.zeroize();
    (first, second)
}

fn bytes(tag: &Tag) -> [u8; KEY_LEN] {
    let mut bytes = [0; KEY_LEN];
    bytes.copy_from_slice(tag.as_ref());
    bytes
}
