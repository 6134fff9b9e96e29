//! Every key of a scenario, for people and for complaints about keys that do not exist.

use std::fmt::Write as _;

/// A key of a scenario.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    /// With its sections: `devices.count`. Items of a list have the name of the list before theirs.
    pub name: &'static str,
    /// What may be given.
    pub value: &'static str,
    /// What holds if it is not given.
    pub default: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

/// Every key, section by section.
pub const KEYS: &[Key] = &[
    key("name", "text", REQUIRED, "Short name: letters, digits, `-`, `_`"),
    key("description", "text", "none", "One line for the report"),
    key(
        "servers.mode",
        "`\"standalone\"`, `\"cluster\"`, `\"room\"`, `\"external\"`",
        "`\"standalone\"`",
        "One process with SQLite; processes per role with Redis and MariaDB; a room alone before an inbox in memory; a system that runs already",
    ),
    key("servers.rooms", "1 to 1,000", "1", "Cluster: room processes"),
    key("servers.registers", "1 to 1,000", "1", "Cluster: register processes"),
    key("servers.savers", "1 to 1,000", "1", "Cluster: saver processes"),
    key("servers.centers", "1 to 1,000", "1", "Cluster: center processes"),
    key("servers.coordinators", "1 to 1,000", "1", "Cluster: coordinator processes"),
    key("servers.dispatchers", "1 to 1,000", "1", "Cluster: dispatcher processes"),
    key(
        "servers.cores",
        "list of cores",
        "`[]`",
        "Standalone, cluster: pin all server processes to these; room: the room and nothing else. The reference server too; `[]`: not pinned",
    ),
    key(
        "servers.other_cores",
        "list of cores",
        "`agents.cores`",
        "Room: pin keeper, register and backend to these",
    ),
    key("servers.window", "1 to 65,535", "a product's", "Room: messages in flight on a bind"),
    key(
        "servers.settings",
        "sections by role",
        "none",
        "All but external: `[servers.settings.room]` is laid over the configuration of rooms, and so on",
    ),
    key("servers.api", "list of URLs", "required", "External: the centers"),
    key("servers.dispatcher", "URL", "required", "External: a dispatcher"),
    key(
        "servers.product",
        "number",
        "required",
        "External: the product whose users the devices are; with `admin_key` not needed",
    ),
    key("servers.key", "text", "required", "External: the product's key; with `admin_key` not needed"),
    key(
        "servers.admin_key",
        "text",
        "none",
        "External: the operator's key: the run makes a product of its own, and the rooms are known. `[uplink]`, `devices.tokens` and `devices.route = \"rooms\"` need it",
    ),
    key(
        "agents.local",
        "`\"auto\"`, 0 to 1,000",
        "`\"auto\"`",
        "Agent processes on this machine; auto: as many as the limit on open files asks, or none beside remote ones",
    ),
    key(
        "agents.remote",
        "list of host:port",
        "`[]`",
        "Agents that wait elsewhere (`longline-loadtest agent --listen`)",
    ),
    key("agents.cores", "list of cores", "`[]`", "Pin local agents to these; `[]`: not pinned"),
    key("agents.threads", "1 to 256", "1", "Threads of each agent"),
    key(
        "agents.sources",
        "list of addresses, networks",
        "`[]`",
        "Where devices connect from, at most 65,536 addresses, which every agent's machine has to have; `[]`: the kernel chooses",
    ),
    key(
        "agents.step_ms",
        "0 to 1,000",
        "0",
        "Shortest time between two looks at sockets and timers, so that many are served at once; all that devices measure is longer by up to as much. For machines that are short of processors",
    ),
    key("devices.count", "1 to 100,000,000", REQUIRED, "Devices over all agents, each with one user"),
    key("devices.connects_per_second", "number, 0: at once", "500", "How fast they connect, over all agents"),
    key(
        "devices.route",
        "`\"dispatcher\"`, `\"rooms\"`",
        "`\"dispatcher\"`",
        "Ask a dispatcher for a room, or be spread evenly over all rooms",
    ),
    key(
        "devices.transport",
        "`\"tcp\"`, `\"tls\"`, `\"ws\"`, `\"wss\"`, `\"noise\"`",
        "`\"tcp\"`",
        "What carries their frames; each connect is a whole handshake. Servers that are started get a certificate and a key",
    ),
    key(
        "devices.ca_file",
        "path",
        "required for TLS",
        "External: PEM file with the certificates that devices trust",
    ),
    key("devices.tls_name", "text", "`\"localhost\"`", "The name in the rooms' certificates"),
    key("devices.noise_key", "base64", "required for Noise", "External: the rooms' public key"),
    key("devices.tokens", "true, false", "false", "Devices show signed user tokens"),
    key(
        "devices.resume",
        "0 to 1",
        "0",
        "Share of devices that resume a session whose connection broke; `[hostile]` ones never do",
    ),
    key(
        "devices.networks",
        "list of sections",
        "Wi-Fi alone",
        "Kinds of networks; shares are normalised to a sum of 1",
    ),
    key(
        "devices.networks.kind",
        "`\"wifi\"`, `\"ethernet\"`, `\"2g\"`, `\"3g\"`, `\"4g\"`, `\"5g\"`",
        REQUIRED,
        "What the devices say of their network",
    ),
    key("devices.networks.share", "above 0, up to 1", "1 if alone", "Share of the devices"),
    key(
        "devices.networks.heartbeat_s",
        "[5 to 3,600, 5 to 3,600]",
        "[240, 480]",
        "Shortest and longest heartbeat that they offer; the room chooses",
    ),
    key("phases.warm_up_s", "seconds, 0: none", "2", "Traffic that is not measured"),
    key("phases.measured_s", "seconds", REQUIRED, "Traffic that is measured"),
    key("phases.settle_s", "seconds", "30", "Longest wait for what is outstanding afterwards"),
    key(
        "unicast.rate",
        "number",
        "required, or window",
        "Open loop: messages a second over all agents, sent when they are due, however the system fares",
    ),
    key(
        "unicast.window",
        "1 to 1,000,000",
        "required, or rate",
        "Closed loop: messages under way for each agent",
    ),
    key(
        "unicast.payload_bytes",
        "32 to 65,536, or a list of sections",
        "256",
        "Bytes of each payload, with the tester's header of 32; a list mixes sizes",
    ),
    key("unicast.payload_bytes.bytes", "32 to 65,536", REQUIRED, "A size of the mix"),
    key(
        "unicast.payload_bytes.share",
        "above 0, up to 1",
        REQUIRED,
        "How often it occurs; shares are normalised to a sum of 1",
    ),
    key(
        "unicast.via",
        "`\"http\"`, `\"batch\"`, `\"grpc\"`",
        "`\"http\"`",
        "A request for each message, requests for many users, or a gRPC stream",
    ),
    key("unicast.batch", "1 to 1,000", "100", "Batch, gRPC: users of each request"),
    key(
        "unicast.class",
        "`\"durable\"`, `\"transient\"`",
        "`\"durable\"`",
        "Stored until acknowledged, or never stored",
    ),
    key(
        "unicast.ttl_s",
        "seconds, up to a year",
        "the product's",
        "How long a message may wait; what comes later is late",
    ),
    key("unicast.connections", "1 to 10,000", "16", "Connections of each agent to the API"),
    key(
        "broadcast.every_s",
        "seconds, at least 0.01",
        REQUIRED,
        "From one broadcast to the next, in the measured phase; the first goes out after half of it",
    ),
    key("broadcast.payload_bytes", "32 to 65,536", "256", "Bytes of each payload, with the tester's header"),
    key(
        "broadcast.per_second",
        "number, 0: no limit",
        "0",
        "Users a second that the system is to send it to; the reference server sends as fast as it can",
    ),
    key(
        "broadcast.ttl_s",
        "seconds, up to a year",
        "the product's",
        "How long it may wait for those who are away",
    ),
    key(
        "churn.share_per_second",
        "above 0, up to 1",
        REQUIRED,
        "Share of all devices that drops in a second",
    ),
    key("churn.half_open", "0 to 1", "0.2", "Share of these that vanish without a goodbye"),
    key("churn.away_s", "[seconds, seconds]", "[1, 10]", "Shortest and longest time until they are back"),
    key("uplink.rate", "number", REQUIRED, "Uplinks a second over all agents"),
    key("uplink.payload_bytes", "32 to 65,536", "128", "Bytes of each payload, with the tester's header"),
    key(
        "hostile.never_ack",
        "0 to 1",
        "0",
        "Share of devices that never acknowledge; all shares of `[hostile]` together are at most 1",
    ),
    key("hostile.slow", "0 to 1", "0", "Share that reads slowly"),
    key("hostile.stop_reading", "0 to 1", "0", "Share that stops reading"),
    key("hostile.rubbish", "0 to 1", "0", "Share that sends what is no frame"),
    key("hostile.silent", "0 to 1", "0", "Share that connects and says nothing"),
    key(
        "storm.kind",
        "`\"reconnect\"`, `\"kill_room\"`, `\"rolling\"`",
        REQUIRED,
        "All devices come back at once; or a room is killed and its devices look for another; or all rooms are restarted in order, one after the other (both: cluster of two rooms or more)",
    ),
    key("storm.at_s", "seconds", "5", "When, from the start of the measured phase"),
    key(
        "reference.rounds",
        "1 to 100",
        "3",
        "The system and the reference server run in turn, so often each; not with external servers, churn, uplinks, hostile devices",
    ),
    key(
        "verdict.duplicated",
        "number",
        "0",
        "How many messages may come twice, and the run still pass; lost is always 0",
    ),
    key("verdict.reordered", "number", "0", "How many may overtake an earlier one"),
    key("verdict.foreign", "number", "0", "How many may come to somebody else"),
    key("verdict.late", "number", "0", "How many may come after they have expired"),
];

/// All keys as a table in Markdown.
pub fn key_table() -> String {
    let mut table = "| key | value | default | meaning |\n|---|---|---|---|\n".to_owned();
    for Key { name, value, default, meaning } in KEYS {
        // Writing to a String cannot fail.
        let _ = writeln!(table, "| `{name}` | {value} | {default} | {meaning} |");
    }
    table
}

const REQUIRED: &str = "required";

const fn key(name: &'static str, value: &'static str, default: &'static str, meaning: &'static str) -> Key {
    Key { name, value, default, meaning }
}
