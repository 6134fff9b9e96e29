//! Running the program.

use std::path::{Path, PathBuf};
use std::time::Duration;

use longline_load_results::Run;
use longline_procs::Profile;
use longline_testkit::{Process, Scratch};

/// For one run to end.
pub(crate) const RUN: Duration = Duration::from_secs(180);

/// A run of `longline-loadtest run`, with a folder of its own.
pub(crate) struct Tester {
    pub(crate) scratch: Scratch,
    pub(crate) process: Process,
}

/// How a run ended.
pub(crate) struct Ended {
    /// Its exit status.
    pub(crate) code: Option<i32>,
    /// What it printed.
    pub(crate) output: String,
    /// Its run.json, if it wrote one.
    pub(crate) run: Option<Run>,
    _scratch: Scratch,
}

impl Tester {
    /// Starts a run of this scenario file.
    pub(crate) fn start(scenario: &Path, more: &[&str]) -> Tester {
        Tester::in_folder(Scratch::new().unwrap(), scenario, more)
    }

    /// Starts a run of this text.
    pub(crate) fn of(text: &str, more: &[&str]) -> Tester {
        let scratch = Scratch::new().unwrap();
        let path = scratch.path().join("scenario.toml");
        std::fs::write(&path, text).unwrap();
        Tester::in_folder(scratch, &path, more)
    }

    fn in_folder(scratch: Scratch, scenario: &Path, more: &[&str]) -> Tester {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut words =
            vec!["run".to_owned(), text(scenario), "--out".into(), text(&scratch.path().join("out"))];
        words.extend(more.iter().map(|word| (*word).to_owned()));
        let process = Process::start(&program(), &words, &scratch.path().join("log")).unwrap();
        Tester { scratch, process }
    }

    /// Waits until it has printed this.
    pub(crate) async fn says(&mut self, text: &str) {
        let found = async || self.process.output().contains(text);
        longline_testkit::eventually(RUN, text, found).await;
    }

    /// Waits for its end.
    pub(crate) async fn ended(mut self) -> Ended {
        let status = self.process.wait(RUN).await.unwrap();
        let run = Run::read(&self.scratch.path().join("out/run.json")).ok();
        if run.is_some() {
            let page = std::fs::read_to_string(self.scratch.path().join("out/report.html")).unwrap();
            assert!(page.contains("</html>"), "the report is whole");
        }
        Ended { code: status.code(), output: self.process.output(), run, _scratch: self.scratch }
    }
}

/// The program under test.
pub(crate) fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_longline-loadtest").into()
}

/// The program that it starts as servers.
pub(crate) fn longline() -> String {
    longline_procs::binary(Profile::Dev).unwrap().to_string_lossy().into_owned()
}

/// A committed scenario.
pub(crate) fn scenario(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios").join(format!("{name}.toml"))
}
