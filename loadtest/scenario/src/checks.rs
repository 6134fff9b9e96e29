//! What sections ask of each other.

use crate::error::{Fault, Place};
use crate::{LocalAgents, Route, Scenario, Servers, StormKind, Transport};

/// Checks what no section can check alone; `place` says where a key was given.
pub(crate) fn check(scenario: &Scenario, place: impl Fn(&str) -> Place) -> Result<(), Fault> {
    let complaints = [agents, broadcast, storm, room, external, transport, reference];
    match complaints.iter().find_map(|complaint| complaint(scenario)) {
        Some((path, reason)) => Err(Fault::new(place(path), reason)),
        None => Ok(()),
    }
}

/// The key to blame, and why.
type Complaint = (&'static str, String);

fn agents(scenario: &Scenario) -> Option<Complaint> {
    let agents = &scenario.agents;
    (agents.local == LocalAgents::Count(0) && agents.remote.is_empty())
        .then(|| ("agents.local", "agents.local is 0 and there are no remote agents: nobody connects".into()))
}

fn broadcast(scenario: &Scenario) -> Option<Complaint> {
    let broadcast = scenario.broadcast?;
    let measured_s = scenario.phases.measured_s;
    (broadcast.times(&scenario.phases).next().is_none()).then(|| {
        let reason = format!(
            "broadcast.every_s is {}, and the first broadcast goes out after half of it: never in a measured phase of {measured_s} s",
            broadcast.every_s
        );
        ("broadcast.every_s", reason)
    })
}

fn transport(scenario: &Scenario) -> Option<Complaint> {
    let devices = &scenario.devices;
    let external = matches!(scenario.servers, Servers::External(_));
    if external && devices.transport.is_tls() && devices.ca_file.is_none() {
        let reason =
            "devices.transport needs devices.ca_file: servers that run already have their own certificate";
        return Some(("devices.transport", reason.to_owned()));
    }
    if external && devices.transport == Transport::Noise && devices.noise_key.is_none() {
        let reason = "devices.transport needs devices.noise_key: servers that run already have their own key";
        return Some(("devices.transport", reason.to_owned()));
    }
    if !external && (devices.ca_file.is_some() || devices.noise_key.is_some()) {
        let key = if devices.ca_file.is_some() { "devices.ca_file" } else { "devices.noise_key" };
        return Some((key, format!("{key} is for mode = \"external\" only: the run makes its own")));
    }
    None
}

fn storm(scenario: &Scenario) -> Option<Complaint> {
    let storm = scenario.storm?;
    let measured_s = scenario.phases.measured_s;
    if storm.at_s >= measured_s {
        let reason = format!("storm.at_s is {}, after a measured phase of {measured_s} s", storm.at_s);
        return Some(("storm.at_s", reason));
    }
    if storm.kind == StormKind::Reconnect {
        return None;
    }
    let reason = match scenario.servers {
        Servers::Cluster { counts, .. } if counts.rooms >= 2 => return None,
        Servers::Cluster { .. } => "servers.rooms of at least 2: with one room nobody could come back",
        Servers::Standalone(_) => "servers.mode = \"cluster\": a standalone room is the whole system",
        Servers::Room(_) => {
            "servers.mode = \"cluster\": a room alone has no other that its devices could go to"
        }
        Servers::External(_) => "servers.mode = \"cluster\": a room of external servers cannot be ended",
    };
    Some(("storm.kind", format!("storm.kind \"{}\" needs {reason}", storm.kind.name())))
}

fn room(scenario: &Scenario) -> Option<Complaint> {
    let Servers::Room(_) = &scenario.servers else { return None };
    let reason = "[uplink] needs other servers: in mode = \"room\" there is no coordinator to take them";
    scenario.uplink.is_some().then(|| ("uplink", reason.to_owned()))
}

fn external(scenario: &Scenario) -> Option<Complaint> {
    let Servers::External(external) = &scenario.servers else { return None };
    let complaint = |path, reason: &str| Some((path, reason.to_owned()));
    if external.admin_key.is_some() {
        None
    } else if scenario.devices.route == Route::Rooms {
        complaint(
            "devices.route",
            "devices.route \"rooms\" needs servers.admin_key to ask where the rooms are",
        )
    } else if scenario.devices.tokens {
        complaint(
            "devices.tokens",
            "devices.tokens needs servers.admin_key to make a product that asks for them",
        )
    } else if scenario.uplink.is_some() {
        complaint("uplink", "[uplink] needs servers.admin_key to make a product with a route for them")
    } else {
        None
    }
}

/// The reference keeps nothing: what is sent to a device that is away is gone, and uplinks have no taker.
fn reference(scenario: &Scenario) -> Option<Complaint> {
    scenario.reference?;
    let complaint = |reason: &str| Some(("reference", reason.to_owned()));
    if matches!(scenario.servers, Servers::External(_)) {
        return complaint(
            "[reference] needs servers that are started for the run: beside external ones its ratios mean nothing",
        );
    }
    let sends = scenario.unicast.is_some() || scenario.broadcast.is_some();
    match scenario {
        Scenario { churn: Some(_), .. } => {
            complaint("[reference] excludes [churn]: the reference keeps no messages for those who are away")
        }
        Scenario { uplink: Some(_), .. } => {
            complaint("[reference] excludes [uplink]: the reference takes none")
        }
        Scenario { hostile: Some(_), .. } => {
            complaint("[reference] excludes [hostile]: the reference does not defend itself")
        }
        Scenario { storm: Some(storm), .. } if sends || storm.kind != StormKind::Reconnect => complaint(
            "[reference] excludes [storm] with messages, or with a room that ends: the reference keeps no messages and has no second room",
        ),
        _ => None,
    }
}
