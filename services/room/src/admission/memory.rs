//! What connections cost: counted by shard, and the budget for all of it.

use std::path::Path;

/// The kernel's memory for an idle TCP connection that an epoll watches, as its slabs have it (Linux 6.18, `/proc/slabinfo`, per
/// connection on this side): TCP 2,507, sock_inode_cache 854, dentry and filp 390, security modules 88, eventpoll_epi 128.
const KERNEL: u64 = 4096;
/// What a session holds beside its place in the shard's pages: who the device is, with what.
const SESSION: u64 = 128;
/// What a bind holds beside that: its address, its window.
const BIND: u64 = 64;
/// The kernel's send buffer of a socket that takes no more, where the configuration leaves its size to the system.
const FULL_SOCKET: u64 = 256 * 1024;

/// Connections and what they hold, of one shard.
#[derive(Clone, Copy, Default, Debug)]
struct Held {
    /// Connections, whatever their state.
    connections: u64,
    /// Those that are sessions.
    sessions: u64,
    /// Addresses bound, or asked for.
    binds: u64,
    /// Bytes of frames that have not come whole, unwritten bytes, bytes of uplinks.
    buffered: u64,
    /// Connections whose sockets take no more.
    full_sockets: u64,
}

/// What things cost in this room.
#[derive(Clone, Copy, Debug)]
struct Costs {
    /// A connection's places in the shard's pages.
    place: u64,
    /// The send buffer of a socket that takes no more.
    full_socket: u64,
}

impl Costs {
    /// All of it together, in bytes.
    fn of(&self, held: Held) -> u64 {
        held.connections * (self.place + KERNEL)
            + held.sessions * SESSION
            + held.binds * BIND
            + held.buffered
            + held.full_sockets * self.full_socket
    }
}

/// What a connection holds that comes and goes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Buffers {
    /// Bytes of a frame that has not come whole, and of the layers below it with what they keep.
    pub(crate) input: usize,
    /// It has not said who it is.
    pub(crate) is_greeting: bool,
    /// It has something to write.
    pub(crate) writes: bool,
}

/// The memory of one shard's connections.
#[derive(Debug)]
pub(crate) struct Memory {
    costs: Costs,
    /// What they hold, as far as it comes and goes.
    pub(crate) input: usize,
    pub(crate) greeting_input: usize,
    pub(crate) writing: u64,
    /// What of it the room's sum has.
    pub(crate) counted: u64,
}

impl Memory {
    /// For connections with places of this size, whose send buffers are limited to this many bytes (0: as the system has it).
    pub(crate) fn new(place: usize, send_buffer: u32) -> Memory {
        let full_socket = match send_buffer {
            0 => FULL_SOCKET,
            // The kernel takes as much again for its own (socket(7)).
            bytes => 2 * u64::from(bytes),
        };
        let costs = Costs { place: place as u64, full_socket };
        Memory { costs, input: 0, greeting_input: 0, writing: 0, counted: 0 }
    }

    /// A connection holds something else than before.
    pub(crate) fn changed(&mut self, before: Buffers, after: Buffers) {
        if before == after {
            return;
        }
        let greeting = |buffers: Buffers| if buffers.is_greeting { buffers.input } else { 0 };
        self.input = self.input + after.input - before.input;
        self.greeting_input = self.greeting_input + greeting(after) - greeting(before);
        self.writing = self.writing + u64::from(after.writes) - u64::from(before.writes);
    }

    /// Bytes of everything that is held. What comes and goes is counted here; the rest is told.
    pub(crate) fn bytes(&self, connections: u64, sessions: u64, binds: u64, buffered: u64) -> u64 {
        let buffered = buffered + self.input as u64;
        self.costs.of(Held { connections, sessions, binds, buffered, full_sockets: self.writing })
    }

    /// Bytes of so many connections that have not said who they are.
    pub(crate) fn greeting_bytes(&self, connections: u64) -> u64 {
        self.costs.of(Held { connections, buffered: self.greeting_input as u64, ..Held::default() })
    }
}

/// Three quarters of the memory that this process may use: of the machine, or of its control group if that has less.
pub(crate) fn budget() -> u64 {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let available = machine(&read(Path::new("/proc/meminfo")).unwrap_or_default()).unwrap_or(u64::MAX);
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let group = control_group(&groups, |path| read(Path::new(&path))).unwrap_or(u64::MAX);
    available.min(group) / 4 * 3
}

fn machine(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The least limit of the process's groups and those around them (cgroups(7), version 2 and 1). In a container the group's own folder is
/// mounted as the root.
fn control_group(groups: &str, read: impl Fn(String) -> Option<String>) -> Option<u64> {
    let mut least: Option<u64> = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (_, Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|c| c == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let around = Path::new(path).ancestors().map(|path| path.to_string_lossy().into_owned());
        for folder in around {
            let text = read(format!("{root}{}/{file}", folder.trim_end_matches('/')));
            // "max" is no limit.
            if let Some(limit) = text.and_then(|text| text.trim().parse().ok()) {
                least = Some(least.map_or(limit, |least| least.min(limit)));
            }
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_or_the_control_group_has_the_memory() {
        assert_eq!(machine("MemTotal:       24683652 kB\nMemFree: 1 kB\n"), Some(24_683_652 * 1024));
        assert_eq!(machine("nothing"), None);
        let files = |path: String| match path.as_str() {
            "/sys/fs/cgroup/a/b/memory.max" => Some("max\n".to_owned()),
            "/sys/fs/cgroup/a/memory.max" => Some("1000\n".to_owned()),
            "/sys/fs/cgroup/memory/memory.limit_in_bytes" => Some("700\n".to_owned()),
            _ => None,
        };
        assert_eq!(control_group("0::/a/b\n", files), Some(1000), "the limit of the group around it");
        assert_eq!(control_group("4:memory:/x\n0::/other\n", files), Some(700), "its own folder is the root");
        assert_eq!(control_group("9:cpu:/x\n", files), None);
        assert!((1 << 20..u64::MAX / 2).contains(&budget()));
    }

    #[test]
    fn what_is_held_is_added_up() {
        let costs = Costs { place: 300, full_socket: 1000 };
        let held = Held { connections: 10, sessions: 3, binds: 5, buffered: 77, full_sockets: 2 };
        assert_eq!(costs.of(held), 10 * (300 + KERNEL) + 3 * SESSION + 5 * BIND + 77 + 2000);
        assert_eq!(costs.of(Held::default()), 0);
    }

    #[test]
    fn what_comes_and_goes_is_followed() {
        let mut memory = Memory::new(300, 1000);
        let nothing = Buffers { is_greeting: true, ..Buffers::default() };
        let half_hello = Buffers { input: 50, ..nothing };
        memory.changed(nothing, half_hello);
        assert_eq!(memory.greeting_bytes(2), 2 * (300 + KERNEL) + 50);
        let session = Buffers { input: 10, is_greeting: false, writes: true };
        memory.changed(half_hello, session);
        assert_eq!(memory.greeting_bytes(0), 0);
        assert_eq!(memory.bytes(0, 0, 0, 7), 7 + 10 + 2000);
        memory.changed(session, Buffers::default());
        assert_eq!(memory.bytes(0, 0, 0, 0), 0);
    }
}
