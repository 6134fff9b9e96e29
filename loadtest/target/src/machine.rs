//! The machine that a run ran on: figures mean little without it.

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// The machine, without anything that names it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// Model of its CPU, or the architecture where the kernel does not tell the model.
    pub cpu: String,
    /// Cores that are online, hyperthreads counted.
    pub cores: usize,
    /// Memory.
    pub memory_bytes: u64,
    /// Release of the kernel.
    pub kernel: String,
}

impl Machine {
    /// This machine.
    pub fn read() -> anyhow::Result<Machine> {
        let read = |path: &str| std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"));
        let (cpu, cores) = cpu(&read("/proc/cpuinfo")?);
        let memory_bytes = memory(&read("/proc/meminfo")?).context("/proc/meminfo has no MemTotal")?;
        Ok(Machine {
            cpu,
            cores,
            memory_bytes,
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        })
    }
}

/// Model and number of the cores.
fn cpu(text: &str) -> (String, usize) {
    let values = |name: &'static str| {
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        fields.filter(move |(field, _)| field.trim() == name).map(|(_, value)| value.trim())
    };
    let model = values("model name").next().unwrap_or(std::env::consts::ARCH);
    (model.to_owned(), values("processor").count())
}

fn memory(text: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_and_cores_are_found() {
        let text = "processor\t: 0\nmodel\t\t: 7\nmodel name\t: Some CPU @ 2:1\n\nprocessor\t: 1\nmodel name\t: Some CPU @ 2:1\n";
        assert_eq!(cpu(text), ("Some CPU @ 2:1".to_owned(), 2));
        assert_eq!(cpu("processor : 0\nCPU part : 0xd0c\n"), (std::env::consts::ARCH.to_owned(), 1));
    }

    #[test]
    fn memory_is_told_in_kib() {
        assert_eq!(memory("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
        assert_eq!(memory("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn this_machine_has_all() {
        let machine = Machine::read().unwrap();
        assert!(machine.cores >= 1 && machine.memory_bytes > 1 << 20, "{machine:?}");
        assert!(!machine.cpu.is_empty() && !machine.kernel.is_empty(), "{machine:?}");
    }
}
