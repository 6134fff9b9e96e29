//! `cargo xtask fuzz`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::command::{self, cargo, works};

/// Where all of it is: programs, inputs that reached new code, inputs that found a fault.
const FOLDER: &str = "target/fuzz";
const SEEDS: &str = "services/fuzz/seeds";

/// What libFuzzer needs to see which code an input reaches. All of it is stable; a sanitizer would not be, and the code is safe Rust.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The targets, folders of services/fuzz/seeds. All if none is named.
    targets: Vec<String>,
    /// How long each of them runs.
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// Adds to the seeds the inputs of earlier runs that reach code that the seeds do not, instead of running.
    #[arg(long)]
    keep: bool,
}

/// Builds the programs with libFuzzer and runs one after the other, each from its seeds and from what earlier runs found.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let compiler = works(Command::new("c++").arg("--version"));
    ensure!(compiler, "libFuzzer is built with a C++ compiler; on Debian: apt-get install g++");
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let targets = chosen(&root, &args.targets)?;
    let programs = build(&root)?;
    for target in &targets {
        let (inputs, faults) = (folder(&root, "inputs", target)?, folder(&root, "faults", target)?);
        let seeds = root.join(SEEDS).join(target);
        let mut fuzzer = Command::new(programs.join(format!("fuzz-{target}")));
        fuzzer.current_dir(&root);
        if args.keep {
            fuzzer.arg("-merge=1").args([&seeds, &inputs]);
        } else {
            let seconds = (args.minutes * 60.0).ceil();
            fuzzer.args([&inputs, &seeds]).arg(format!("-max_total_time={seconds}"));
            fuzzer.args(["-timeout=20", "-print_final_stats=1"]);
            fuzzer.arg(format!("-artifact_prefix={}/", faults.display()));
        }
        command::run(&mut fuzzer).with_context(|| {
            format!(
                "an input found a fault: it is in {}; when that is repaired, keep the input as a seed",
                faults.display()
            )
        })?;
    }
    Ok(())
}

/// The names, all of which must be targets; every target if there are none.
fn chosen(root: &Path, names: &[String]) -> anyhow::Result<Vec<String>> {
    let mut known = Vec::new();
    for entry in std::fs::read_dir(root.join(SEEDS)).context(SEEDS)? {
        known.push(entry?.file_name().to_string_lossy().into_owned());
    }
    known.sort();
    for name in names {
        ensure!(known.contains(name), "{name} is no target; there are {}", known.join(", "));
    }
    Ok(if names.is_empty() { known } else { names.to_vec() })
}

/// Where the programs are. With a target of its own, so that build scripts and macros are not instrumented.
fn build(root: &Path) -> anyhow::Result<PathBuf> {
    let rustc = Command::new("rustc").arg("-vV").output().context("cannot run rustc -vV")?;
    let facts = String::from_utf8_lossy(&rustc.stdout).into_owned();
    let host =
        facts.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc -vV names no host")?;
    let mut build = cargo();
    build.args([
        "build",
        "--profile",
        "fuzz",
        "--package",
        "longline-fuzz",
        "--features",
        "libfuzzer",
        "--bins",
    ]);
    build.args(["--target", host, "--target-dir", FOLDER]).env("RUSTFLAGS", FLAGS);
    command::run(&mut build)?;
    Ok(root.join(FOLDER).join(host).join("fuzz"))
}

fn folder(root: &Path, kind: &str, target: &str) -> anyhow::Result<PathBuf> {
    let folder = root.join(FOLDER).join(kind).join(target);
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}
