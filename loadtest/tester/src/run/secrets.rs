//! What devices and rooms need for encrypted transports.

use std::path::Path;

use anyhow::Context as _;
use longline_load_scenario::{Devices, Local, Servers, Transport};
use longline_noise::StaticKey;
use longline_testkit::Scratch;
use toml::{Table, Value};

use crate::link::Trust;

/// The files that rooms of this run use, and what devices know of them.
pub(crate) struct Secrets {
    pub(crate) trust: Trust,
    /// Laid over the configuration of rooms.
    settings: Table,
    /// Holds the files.
    _scratch: Option<Scratch>,
}

impl Secrets {
    /// Makes a certificate or a key for servers that are started, or reads what is needed for others.
    pub(crate) fn new(devices: &Devices, servers: &Servers) -> anyhow::Result<Secrets> {
        let mut trust = Trust { host: devices.tls_name.clone(), ..Trust::default() };
        let mut settings = Table::new();
        if let Servers::External(_) = servers {
            if let Some(file) = &devices.ca_file {
                trust.ca = std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
            }
            trust.noise_key.clone_from(&devices.noise_key);
            return Ok(Secrets { trust, settings, _scratch: None });
        }
        let scratch = Scratch::new()?;
        if devices.transport.is_tls() {
            let made = rcgen::generate_simple_self_signed(vec![devices.tls_name.clone()])
                .context("devices.tls_name is no name for a certificate")?;
            trust.ca = made.cert.pem();
            let certificate = write(scratch.path(), "room.crt", &trust.ca)?;
            let key = write(scratch.path(), "room.key", &made.signing_key.serialize_pem())?;
            let tls = Table::from_iter([("certificate".to_owned(), certificate), ("key".to_owned(), key)]);
            settings.insert("tls".to_owned(), tls.into());
        }
        if devices.transport == Transport::Noise {
            let key = StaticKey::generate()?;
            trust.noise_key = Some(key.public().to_string());
            let key = write(scratch.path(), "noise.key", &key.to_file()?)?;
            settings.insert("noise".to_owned(), Table::from_iter([("key".to_owned(), key)]).into());
        }
        Ok(Secrets { trust, settings, _scratch: Some(scratch) })
    }

    /// The servers with these files. What the scenario says itself stays.
    pub(crate) fn lay_under(&self, servers: &Servers) -> Servers {
        let mut servers = servers.clone();
        let local: Option<&mut Local> = match &mut servers {
            Servers::Standalone(local) | Servers::Cluster { local, .. } => Some(local),
            Servers::Room(room) => Some(&mut room.local),
            Servers::External(_) => None,
        };
        if let Some(local) = local.filter(|_| !self.settings.is_empty()) {
            let room = local.settings.entry("room".to_owned()).or_default();
            for (key, value) in &self.settings {
                room.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        servers
    }
}

/// Writes a file and gives its path as a setting.
fn write(folder: &Path, name: &str, content: &str) -> anyhow::Result<Value> {
    let path = folder.join(name);
    std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path.to_string_lossy().into_owned().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(transport: Transport) -> Devices {
        let text = "name = 's'\n[devices]\ncount = 1\n[phases]\nmeasured_s = 1\n";
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("s.toml"), text).unwrap();
        let scenario = longline_load_scenario::Scenario::load(&folder.path().join("s.toml"), &[]).unwrap();
        Devices { transport, ..scenario.devices }
    }

    #[test]
    fn rooms_get_what_their_devices_trust() {
        let servers = Servers::Standalone(Local::default());
        let none = Secrets::new(&devices(Transport::Ws), &servers).unwrap();
        assert_eq!(none.lay_under(&servers), servers);

        let tls = Secrets::new(&devices(Transport::Wss), &servers).unwrap();
        let Servers::Standalone(local) = tls.lay_under(&servers) else { panic!() };
        let file = local.settings["room"]["tls"]["certificate"].as_str().unwrap();
        assert_eq!(std::fs::read_to_string(file).unwrap(), tls.trust.ca);

        let noise = Secrets::new(&devices(Transport::Noise), &servers).unwrap();
        let Servers::Standalone(local) = noise.lay_under(&servers) else { panic!() };
        let file = local.settings["room"]["noise"]["key"].as_str().unwrap();
        let key = StaticKey::from_file(&std::fs::read(file).unwrap()).unwrap();
        assert_eq!(noise.trust.noise_key, Some(key.public().to_string()));
    }
}
