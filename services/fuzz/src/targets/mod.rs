//! What each target checks.

pub(crate) mod codec;
pub(crate) mod noise;
pub(crate) mod proxy;
pub(crate) mod session;
pub(crate) mod websocket;

/// Pieces of `bytes`, as a socket might give them: `size` says how long they are, and they grow so that long inputs take few.
pub(crate) fn pieces(bytes: &[u8], size: u8) -> impl Iterator<Item = &[u8]> {
    let (mut rest, mut size) = (bytes, usize::from(size).max(1));
    std::iter::from_fn(move || {
        let (piece, more) = rest.split_at(size.min(rest.len()));
        (rest, size) = (more, size + size / 4);
        (!piece.is_empty()).then_some(piece)
    })
}
