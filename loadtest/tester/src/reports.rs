//! `compare` and `report`: what is done with the run.json of runs that are over.

use std::process::ExitCode;

use anyhow::Context as _;
use longline_load_results::{Run, html, summary};

use crate::cli::{Compare, Report};

/// Prints the comparison; fails if it was asked to and something is worse.
pub(crate) fn compare(args: &Compare) -> anyhow::Result<ExitCode> {
    let read =
        |path: &std::path::Path| Run::read(path).with_context(|| format!("cannot read {}", path.display()));
    let comparison = longline_load_results::compare(&read(&args.a)?, &read(&args.b)?);
    print!("{comparison}");
    let Some(per_cent) = args.fail_above else { return Ok(ExitCode::SUCCESS) };
    let worse = comparison.regressions(per_cent / 100.0);
    for line in &worse {
        eprintln!("worse by more than {per_cent} %: {line}");
    }
    Ok(if worse.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes the page and prints the summary.
pub(crate) fn report(args: &Report) -> anyhow::Result<ExitCode> {
    let run = Run::read(&args.run).with_context(|| format!("cannot read {}", args.run.display()))?;
    let page = args.html.clone().unwrap_or_else(|| args.run.with_file_name("report.html"));
    std::fs::write(&page, html(&run)).with_context(|| format!("cannot write {}", page.display()))?;
    print!("{}", summary(&run));
    println!("report: {}", page.display());
    Ok(ExitCode::SUCCESS)
}
