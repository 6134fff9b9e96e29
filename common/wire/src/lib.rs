//! The client protocol's frame codec, without sockets.
