/// A whole shard with its sessions, without sockets and clock: devices, the cluster and time, as the room's own simulation has them. The
/// first byte is the window of the binds; each four bytes after it are one event.
///
/// After each event the invariants hold, and when all has calmed down nothing is left or held.
pub fn session(data: &[u8]) {
    longline_room::fuzzing::session(data);
}
