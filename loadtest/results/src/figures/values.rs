//! The figures by name: the one list of what there is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The figures, or their ratios. One that cannot be had is null, and `absent` says why.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Values {
    /// Resident memory that one more session takes, in bytes: the slope over the ramp and the rest after it, not the ratio.
    pub bytes_per_session: Option<f64>,
    /// CPU time per connection that came up, in µs, over the ramp, less what the same time costs without devices.
    pub cpu_us_per_connect: Option<f64>,
    /// CPU time per acknowledged unicast, in µs, over the measured phase; of transient ones, which nobody acknowledges, per received one.
    pub cpu_us_per_unicast: Option<f64>,
    /// CPU time per delivery of a broadcast to one device, in µs, over the measured phase.
    pub cpu_us_per_broadcast_delivery: Option<f64>,
    /// Unicasts received per second of the measured phase.
    pub unicasts_per_second: Option<f64>,
    /// Connections that came up per second of the ramp.
    pub connects_per_second: Option<f64>,
    /// How many cores the processes kept busy in the measured phase.
    pub cores: Option<f64>,
    /// Mean number of messages in the batches that were sent to rooms in the measured phase.
    pub deliveries_per_batch: Option<f64>,
    /// Mean number of acknowledgements in the batches that rooms sent to savers in the measured phase.
    pub acks_per_batch: Option<f64>,
    /// From due to received, of the unicasts of the measured phase, in µs.
    pub latency_us: LatencyFigures,
    /// In the room alone, in µs: from the receipt of a batch of deliveries until the bytes of its messages were handed to the sockets, of the
    /// messages pushed in the measured phase. By the rooms' own counters, so as fine as their buckets.
    pub in_room_us: LatencyFigures,
    /// The figures of cost of the other roles, and of `all` server processes together.
    pub roles: BTreeMap<String, RoleFigures>,
    /// Smallest and largest over the legs, by figure (`latency_us.p50`, `roles.center.cpu_us_per_connect`, …).
    pub spread: BTreeMap<String, Spread>,
    /// Why a figure is null, by figure.
    pub absent: BTreeMap<String, String>,
}

/// Figures of delay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencyFigures {
    /// Half were no longer than this.
    pub p50: Option<f64>,
    /// 99 of 100.
    pub p99: Option<f64>,
    /// 999 of 1,000.
    pub p999: Option<f64>,
}

/// What one role costs, all its processes together; see [`Values`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct RoleFigures {
    /// Resident memory per session, in bytes.
    pub bytes_per_session: Option<f64>,
    /// CPU time per connection, in µs.
    pub cpu_us_per_connect: Option<f64>,
    /// CPU time per acknowledged unicast, in µs.
    pub cpu_us_per_unicast: Option<f64>,
    /// CPU time per delivery of a broadcast, in µs.
    pub cpu_us_per_broadcast_delivery: Option<f64>,
}

/// Smallest and largest value of a figure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

/// The names of the figures of cost, which every role has.
pub(super) const COSTS: [&str; 4] =
    ["bytes_per_session", "cpu_us_per_connect", "cpu_us_per_unicast", "cpu_us_per_broadcast_delivery"];
/// The names of the others.
pub(super) const RATES: [&str; 2] = ["unicasts_per_second", "connects_per_second"];
/// The names of those that tell how hard the servers worked, which is neither good nor bad.
pub(crate) const EFFORTS: [&str; 3] = ["cores", "deliveries_per_batch", "acks_per_batch"];
/// The names of the delays.
pub(super) const DELAYS: [&str; 3] = ["latency_us.p50", "latency_us.p99", "latency_us.p999"];
/// The names of those in the room alone.
pub(super) const IN_ROOM: [&str; 3] = ["in_room_us.p50", "in_room_us.p99", "in_room_us.p999"];
/// What the delays are named for.
pub(super) const QUANTILES: [f64; 3] = [0.5, 0.99, 0.999];

impl Values {
    /// Every figure under its name, those of the roles as `roles.<role>.<name>`.
    pub fn named(&self) -> Vec<(String, Option<f64>)> {
        let own = COSTS.iter().chain(&RATES).chain(&EFFORTS).chain(&DELAYS).chain(&IN_ROOM);
        let own = own.map(|name| name.to_string());
        let roles =
            self.roles.keys().flat_map(|role| COSTS.iter().map(move |name| format!("roles.{role}.{name}")));
        own.chain(roles).map(|name| (name.clone(), self.get(&name))).collect()
    }

    /// The figure of that name; none if it is absent or there is no such figure.
    pub fn get(&self, name: &str) -> Option<f64> {
        let costs = match name.strip_prefix("roles.") {
            Some(rest) => {
                let (role, name) = rest.split_once('.')?;
                return self.roles.get(role)?.get(name);
            }
            None => RoleFigures {
                bytes_per_session: self.bytes_per_session,
                cpu_us_per_connect: self.cpu_us_per_connect,
                cpu_us_per_unicast: self.cpu_us_per_unicast,
                cpu_us_per_broadcast_delivery: self.cpu_us_per_broadcast_delivery,
            },
        };
        match name {
            "unicasts_per_second" => self.unicasts_per_second,
            "connects_per_second" => self.connects_per_second,
            "cores" => self.cores,
            "deliveries_per_batch" => self.deliveries_per_batch,
            "acks_per_batch" => self.acks_per_batch,
            "latency_us.p50" => self.latency_us.p50,
            "latency_us.p99" => self.latency_us.p99,
            "latency_us.p999" => self.latency_us.p999,
            "in_room_us.p50" => self.in_room_us.p50,
            "in_room_us.p99" => self.in_room_us.p99,
            "in_room_us.p999" => self.in_room_us.p999,
            _ => costs.get(name),
        }
    }

    /// The figures that stand in a map from names; names that are no figure's are ignored.
    pub(super) fn from_named(named: &BTreeMap<String, f64>) -> Values {
        let get = |name: &str| named.get(name).copied();
        let costs = RoleFigures::from_named(named, "");
        let roles = named.keys().filter_map(|name| name.strip_prefix("roles.")?.split_once('.'));
        Values {
            bytes_per_session: costs.bytes_per_session,
            cpu_us_per_connect: costs.cpu_us_per_connect,
            cpu_us_per_unicast: costs.cpu_us_per_unicast,
            cpu_us_per_broadcast_delivery: costs.cpu_us_per_broadcast_delivery,
            unicasts_per_second: get("unicasts_per_second"),
            connects_per_second: get("connects_per_second"),
            cores: get("cores"),
            deliveries_per_batch: get("deliveries_per_batch"),
            acks_per_batch: get("acks_per_batch"),
            latency_us: LatencyFigures { p50: get(DELAYS[0]), p99: get(DELAYS[1]), p999: get(DELAYS[2]) },
            in_room_us: LatencyFigures { p50: get(IN_ROOM[0]), p99: get(IN_ROOM[1]), p999: get(IN_ROOM[2]) },
            roles: roles
                .map(|(role, _)| (role.to_owned(), RoleFigures::from_named(named, &format!("roles.{role}."))))
                .collect(),
            spread: BTreeMap::new(),
            absent: BTreeMap::new(),
        }
    }
}

impl RoleFigures {
    fn get(&self, name: &str) -> Option<f64> {
        match name {
            "bytes_per_session" => self.bytes_per_session,
            "cpu_us_per_connect" => self.cpu_us_per_connect,
            "cpu_us_per_unicast" => self.cpu_us_per_unicast,
            "cpu_us_per_broadcast_delivery" => self.cpu_us_per_broadcast_delivery,
            _ => None,
        }
    }

    fn from_named(named: &BTreeMap<String, f64>, prefix: &str) -> RoleFigures {
        let get = |name: &str| named.get(&format!("{prefix}{name}")).copied();
        RoleFigures {
            bytes_per_session: get("bytes_per_session"),
            cpu_us_per_connect: get("cpu_us_per_connect"),
            cpu_us_per_unicast: get("cpu_us_per_unicast"),
            cpu_us_per_broadcast_delivery: get("cpu_us_per_broadcast_delivery"),
        }
    }
}

impl Spread {
    /// Over some values; none if there are none.
    pub(super) fn over(values: &[f64]) -> Option<Spread> {
        let first = *values.first()?;
        let spread = Spread { min: first, max: first };
        Some(values.iter().fold(spread, |s, v| Spread { min: s.min.min(*v), max: s.max.max(*v) }))
    }
}

/// The middle value, or the mean of the two in the middle; none if there are none.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_has_one_name_for_reading_and_writing() {
        let names = COSTS.iter().chain(&RATES).chain(&EFFORTS).chain(&DELAYS).chain(&IN_ROOM);
        let names = names.map(|name| name.to_string());
        let roles = COSTS.iter().map(|name| format!("roles.center.{name}"));
        let named: BTreeMap<String, f64> =
            names.chain(roles).zip(1..).map(|(name, n)| (name, f64::from(n))).collect();
        let read: BTreeMap<String, f64> = Values::from_named(&named)
            .named()
            .into_iter()
            .map(|(name, value)| (name, value.unwrap()))
            .collect();
        assert_eq!(read, named);
        assert_eq!(Values::from_named(&named).get("roles.center.latency_us.p50"), None);
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[9.0, 1.0, 2.0, 4.0]), Some(3.0));
    }
}
