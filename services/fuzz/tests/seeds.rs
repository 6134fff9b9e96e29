//! Every seed, and inputs made from the seeds: what the fuzzer would do, for a bounded time and always the same.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use longline_fuzz::{TARGETS, Target};

/// Inputs made for each target.
const INPUTS: usize = 20_000;
/// For a target whose inputs take long.
const TIME: Duration = Duration::from_secs(4);

fn target(name: &str) -> Target {
    *TARGETS.iter().find(|target| target.name == name).expect("a target")
}

/// The committed inputs of a target, by name.
fn seeds(target: Target) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target.name);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} has no seeds", target.name);
    files.iter().map(|file| std::fs::read(file).expect("a seed")).collect()
}

/// A generator of numbers that is the same everywhere (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) % limit.max(1) as u64) as usize
    }

    /// A seed with some changes, as libFuzzer makes them.
    fn mutate(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(4) {
            let at = self.below(input.len() + 1);
            let end = (at + self.below(16)).min(input.len());
            match self.below(6) {
                0 if at < input.len() => input[at] ^= 1 << self.below(8),
                1 if at < input.len() => input[at] = self.below(256) as u8,
                2 => drop(input.drain(at..end)),
                3 => {
                    let piece = input[at..end].to_vec();
                    let to = self.below(input.len() + 1);
                    input.splice(to..to, piece);
                }
                4 => input.insert(at, self.below(256) as u8),
                _ => {
                    let other = &seeds[self.below(seeds.len())];
                    let from = self.below(other.len() + 1);
                    input.truncate(at);
                    input.extend_from_slice(&other[from..]);
                }
            }
        }
        input
    }
}

fn run(name: &str) {
    let (target, start) = (target(name), Instant::now());
    let seeds = seeds(target);
    for seed in &seeds {
        (target.run)(seed);
    }
    let mut numbers = Numbers(1);
    for _ in 0..INPUTS {
        if start.elapsed() > TIME {
            break;
        }
        let input = numbers.mutate(&seeds);
        if std::panic::catch_unwind(|| (target.run)(&input)).is_err() {
            panic!("{name}: keep this input as a seed: {input:02x?}");
        }
    }
}

#[test]
fn codec() {
    run("codec");
}

#[test]
fn noise() {
    run("noise");
}

#[test]
fn proxy() {
    run("proxy");
}

#[test]
fn session() {
    run("session");
}

#[test]
fn websocket() {
    run("websocket");
}

#[test]
fn every_target_has_its_program_and_its_folder() {
    let manifest = include_str!("../Cargo.toml");
    for Target { name, .. } in TARGETS {
        assert!(
            manifest.contains(&format!("name = \"fuzz-{name}\"\npath = \"src/bin/{name}.rs\"")),
            "{name}"
        );
    }
    let programs = manifest.matches("[[bin]]").count();
    let folders = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/seeds")).expect("seeds").count();
    assert_eq!((programs, folders), (TARGETS.len(), TARGETS.len()));
}
