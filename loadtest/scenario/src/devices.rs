//! `[devices]`: who connects, how fast, and from which networks.

use serde::{Deserialize, Serialize};

use crate::error::Fault;
use crate::section::{Given, Section};
use crate::shares::Shares;

/// Who connects, how fast, and from which networks.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Devices {
    /// How many there are over all agents; each binds one user.
    pub count: u32,
    /// How fast they connect over all agents; 0: at once.
    pub connects_per_second: f64,
    /// How they find their room.
    pub route: Route,
    /// What carries their frames.
    #[serde(default)]
    pub transport: Transport,
    /// File with the certificates that they trust, as PEM; none where the run makes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// The name in the rooms' certificates.
    #[serde(default = "localhost")]
    pub tls_name: String,
    /// The rooms' public key for Noise, in base64; none where the run makes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise_key: Option<String>,
    /// Whether they show a signed user token, which the product then asks for.
    pub tokens: bool,
    /// The share of them that resumes a session whose connection broke; the others begin a new one.
    #[serde(default)]
    pub resume: f64,
    /// Their networks; the shares add up to 1.
    pub networks: Vec<Network>,
}

/// How devices find their room.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Route {
    /// They ask a dispatcher, as real ones do.
    Dispatcher,
    /// They are spread evenly over all rooms, so that nothing is measured but rooms.
    Rooms,
}

/// What carries the frames of devices.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP.
    #[default]
    Tcp,
    /// TLS.
    Tls,
    /// WebSocket.
    Ws,
    /// WebSocket inside TLS.
    Wss,
    /// Noise.
    Noise,
}

impl Transport {
    const NAMES: [(&str, Transport); 5] = [
        ("tcp", Transport::Tcp),
        ("tls", Transport::Tls),
        ("ws", Transport::Ws),
        ("wss", Transport::Wss),
        ("noise", Transport::Noise),
    ];

    /// Whether rooms need a certificate for it.
    pub fn is_tls(self) -> bool {
        matches!(self, Transport::Tls | Transport::Wss)
    }
}

fn localhost() -> String {
    "localhost".to_owned()
}

/// A kind of network and the devices in it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Network {
    /// What the devices say it is.
    pub kind: NetworkKind,
    /// The share of devices in it.
    pub share: f64,
    /// The shortest and the longest heartbeat they offer, in seconds.
    pub heartbeat_s: (u32, u32),
}

/// What a device says of its network.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkKind {
    /// Wi-Fi.
    Wifi,
    /// A cable.
    Ethernet,
    /// GSM.
    #[serde(rename = "2g")]
    G2,
    /// UMTS.
    #[serde(rename = "3g")]
    G3,
    /// LTE.
    #[serde(rename = "4g")]
    G4,
    /// NR.
    #[serde(rename = "5g")]
    G5,
}

impl NetworkKind {
    const NAMES: [(&str, NetworkKind); 6] = [
        ("wifi", NetworkKind::Wifi),
        ("ethernet", NetworkKind::Ethernet),
        ("2g", NetworkKind::G2),
        ("3g", NetworkKind::G3),
        ("4g", NetworkKind::G4),
        ("5g", NetworkKind::G5),
    ];
}

/// Every user number fits the header and leaves room for arithmetic.
const MOST: u32 = 100_000_000;
const HEARTBEAT_S: std::ops::RangeInclusive<u32> = 5..=3600;

impl Devices {
    pub(crate) fn read(section: &Section<'_>) -> Result<Devices, Fault> {
        const ROUTES: [(&str, Route); 2] = [("dispatcher", Route::Dispatcher), ("rooms", Route::Rooms)];
        Ok(Devices {
            count: section.must("count", |given| given.whole(1..=MOST))?,
            connects_per_second: section.or("connects_per_second", 500.0, |given| given.number(0.0..=1e6))?,
            route: section.or("route", Route::Dispatcher, |given| given.choice(&ROUTES))?,
            transport: section.or("transport", Transport::Tcp, |given| given.choice(&Transport::NAMES))?,
            ca_file: section.maybe("ca_file", |given| given.text().map(str::to_owned))?,
            tls_name: section.or("tls_name", localhost(), |given| given.text().map(str::to_owned))?,
            noise_key: section.maybe("noise_key", |given| given.text().map(str::to_owned))?,
            tokens: section.or("tokens", false, |given| given.flag())?,
            resume: section.or("resume", 0.0, |given| given.number(0.0..=1.0))?,
            networks: section.or("networks", default_networks(), networks)?,
        })
    }
}

fn default_networks() -> Vec<Network> {
    vec![Network { kind: NetworkKind::Wifi, share: 1.0, heartbeat_s: (240, 480) }]
}

fn networks(given: Given<'_>) -> Result<Vec<Network>, Fault> {
    let sections = given.sections()?;
    if sections.is_empty() {
        return Err(given.fault("needs at least one network; leave it out for Wi-Fi alone"));
    }
    let (mut shares, alone) = (Shares::default(), sections.len() == 1);
    let mut networks = Vec::with_capacity(sections.len());
    for section in &sections {
        let share = match section.maybe("share", |given| shares.read_positive(&given))? {
            None if alone => 1.0,
            None => return Err(section.fault("devices.networks.share is missing")),
            // Alone it is the whole, whatever was written.
            Some(_) if alone => 1.0,
            Some(share) => share,
        };
        networks.push(Network {
            kind: section.must("kind", |given| given.choice(&NetworkKind::NAMES))?,
            share,
            heartbeat_s: section
                .or("heartbeat_s", (240, 480), |given| given.range(|n| n.whole(HEARTBEAT_S)))?,
        });
    }
    if !alone {
        networks.iter_mut().for_each(|network| network.share = shares.normalised(network.share));
    }
    Ok(networks)
}
