//! The figures' names and units for people.

use crate::units::Unit;

/// What a figure is called, without its role.
pub(crate) fn label(name: &str) -> &'static str {
    match bare(name) {
        "bytes_per_session" => "memory per session",
        "cpu_us_per_connect" => "CPU per connect",
        "cpu_us_per_unicast" => "CPU per unicast",
        "cpu_us_per_broadcast_delivery" => "CPU per broadcast delivery",
        "unicasts_per_second" => "unicasts",
        "connects_per_second" => "connects",
        "cores" => "cores kept busy",
        "deliveries_per_batch" => "deliveries per batch",
        "acks_per_batch" => "acks per batch",
        "latency_us.p50" => "delay p50",
        "latency_us.p99" => "delay p99",
        "latency_us.p999" => "delay p99.9",
        "in_room_us.p50" => "in the room p50",
        "in_room_us.p99" => "in the room p99",
        "in_room_us.p999" => "in the room p99.9",
        _ => "",
    }
}

/// What a figure counts.
pub(crate) fn unit(name: &str) -> Unit {
    match bare(name) {
        "bytes_per_session" => Unit::Bytes,
        "unicasts_per_second" | "connects_per_second" => Unit::PerSecond,
        "cores" => Unit::Cores,
        "deliveries_per_batch" | "acks_per_batch" => Unit::Count,
        _ => Unit::Micros,
    }
}

/// The role of a role's figure.
pub(crate) fn role(name: &str) -> Option<&str> {
    name.strip_prefix("roles.")?.split_once('.').map(|(role, _)| role)
}

/// Whether more of it is better.
pub(crate) fn more_is_better(name: &str) -> bool {
    matches!(name, "unicasts_per_second" | "connects_per_second")
}

fn bare(name: &str) -> &str {
    name.strip_prefix("roles.").and_then(|rest| rest.split_once('.')).map_or(name, |(_, name)| name)
}
