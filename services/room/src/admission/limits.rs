use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Networks;

/// Who may connect, and how fast. The keeper's entry `room/admission` (TOML) overrides these keys, one by one, while the room runs.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdmissionConfig {
    /// Networks (CIDR) or addresses that may connect; none: all.
    pub allow: Networks,
    /// Networks or addresses that may not, also if `allow` has them. Their connections are closed without a word; those that are
    /// there when an entry appears are told so (CLOSE 1008).
    pub deny: Networks,
    /// Most connections of one address (IPv6: of one /64). Those beyond are told to come back later (CLOSE 1001). 0: no limit.
    pub per_ip_connections: u32,
    /// Connections a second of one address. 0: no limit.
    pub per_ip_per_s: u32,
    /// Connections of one address at once, after a pause.
    pub per_ip_burst: u32,
    /// HELLOs a second of the whole room. Devices beyond are told when to come back (CLOSE 1001). 0: no limit.
    pub hellos_per_s: u32,
    /// HELLOs of the whole room at once, after a pause.
    pub hello_burst: u32,
    /// Binds of the whole room that wait for the cluster's answer; while there are more, devices are told when to come back. 0: no limit.
    pub binds_waiting: u32,
    /// Shortest wait that an overloaded room tells a device. Waits grow with the number of those who wait.
    pub come_back_ms: u32,
    /// Longest such wait. A device adds a random part of up to as long again.
    pub come_back_max_ms: u32,
    /// Most bytes that all connections together may take, as the room counts them: what it keeps for them itself, and the kernel's memory
    /// for their sockets. While there are more, devices are told when to come back. 0: three quarters of the machine's memory, or of
    /// its control group's.
    pub memory_bytes: u64,
    /// How much of that may be taken by connections that have not said who they are, 1 to 100.
    pub unauthenticated_percent: u8,
}

impl Default for AdmissionConfig {
    fn default() -> AdmissionConfig {
        AdmissionConfig {
            allow: Networks::default(),
            deny: Networks::default(),
            per_ip_connections: 0,
            per_ip_per_s: 0,
            per_ip_burst: 100,
            hellos_per_s: 0,
            hello_burst: 1_000,
            binds_waiting: 4_096,
            come_back_ms: 1_000,
            come_back_max_ms: 120_000,
            memory_bytes: 0,
            unauthenticated_percent: 10,
        }
    }
}

/// What stands in the way of a document of limits.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not taken over as admission limits: {0}")]
pub struct BadAdmission(String);

impl BadAdmission {
    pub(crate) fn not_text() -> BadAdmission {
        BadAdmission("it is no text (UTF-8)".to_owned())
    }
}

impl AdmissionConfig {
    /// These limits with what a TOML document says in place of them.
    ///
    /// # Errors
    /// If it is no TOML, names a key that does not exist, or gives one a value that it cannot have. A document is taken as a whole or
    /// not at all.
    pub fn with(&self, document: &str) -> Result<AdmissionConfig, BadAdmission> {
        let bad = |error: toml::de::Error| BadAdmission(error.to_string().trim_end().to_owned());
        let overrides: toml::Table = toml::from_str(document).map_err(bad)?;
        let mut keys = toml::Table::try_from(self).map_err(|error| BadAdmission(error.to_string()))?;
        keys.extend(overrides);
        let limits: AdmissionConfig = keys.try_into().map_err(bad)?;
        limits.check().map(|()| limits)
    }

    /// Whether every key has a value that it may have.
    pub(crate) fn check(&self) -> Result<(), BadAdmission> {
        match self.unauthenticated_percent {
            1..=100 => Ok(()),
            other => Err(BadAdmission(format!("unauthenticated_percent is 1 to 100, not {other}"))),
        }
    }

    /// With this memory budget if none is set.
    pub(super) fn with_budget(self, budget: u64) -> AdmissionConfig {
        let memory_bytes = if self.memory_bytes == 0 { budget } else { self.memory_bytes };
        AdmissionConfig { memory_bytes, ..self }
    }

    /// Whether this address may connect at all.
    pub(crate) fn allow(&self, address: IpAddr) -> bool {
        (self.allow.is_empty() || self.allow.contain(address))
            && (self.deny.is_empty() || !self.deny.contain(address))
    }

    /// The memory budget; no limit where none is set.
    pub(crate) fn memory(&self) -> u64 {
        if self.memory_bytes == 0 { u64::MAX } else { self.memory_bytes }
    }

    /// Whether connections are counted by address.
    pub(crate) fn counts_callers(&self) -> bool {
        self.per_ip_connections > 0 || self.per_ip_per_s > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_overrides_key_by_key() {
        let own = AdmissionConfig { per_ip_connections: 5, per_ip_burst: 7, ..AdmissionConfig::default() };
        let merged = own.with("per_ip_per_s = 3\nper_ip_burst = 9\ndeny = [\"10.0.0.0/8\"]").unwrap();
        assert_eq!((merged.per_ip_connections, merged.per_ip_per_s, merged.per_ip_burst), (5, 3, 9));
        assert!(!merged.allow("10.0.0.1".parse().unwrap()) && merged.allow("11.0.0.1".parse().unwrap()));
        assert_eq!(own.with("").unwrap(), own);
    }

    #[test]
    fn a_bad_document_is_refused_as_a_whole_and_in_words() {
        let own = AdmissionConfig::default();
        for (document, said) in [
            ("per_ip_per_s", "expected"),
            ("per_ip_per_second = 1", "per_ip_per_second"),
            ("per_ip_per_s = -1", "-1"),
            ("unauthenticated_percent = 0", "1 to 100"),
            ("per_ip_per_s = \"many\"", "many"),
            ("deny = [\"10.0.0.0/8\", \"here\"]", "`here` is no network"),
        ] {
            let error = own.with(document).unwrap_err().to_string();
            assert!(error.contains(said), "{document}: {error}");
        }
    }

    #[test]
    fn deny_wins_over_allow() {
        let limits = AdmissionConfig::default()
            .with("allow = [\"10.0.0.0/8\", \"192.0.2.1\"]\ndeny = [\"10.1.0.0/16\"]")
            .unwrap();
        let allowed = |text: &str| limits.allow(text.parse().unwrap());
        assert!(allowed("10.2.0.1") && allowed("192.0.2.1"));
        assert!(!allowed("10.1.0.1") && !allowed("192.0.2.2") && !allowed("2001:db8::1"));
    }
}
