//! `make bench`: `lacre-bench [--quick] FILE` measures, and writes the page.

use std::path::PathBuf;

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let (flags, files): (Vec<_>, Vec<_>) = std::env::args_os()
        .skip(1)
        .partition(|argument| argument.as_encoded_bytes().starts_with(b"--"));
    let quick = match flags.as_slice() {
        [] => false,
        [flag] if flag == "--quick" => true,
        _ => anyhow::bail!("lacre-bench [--quick] FILE"),
    };
    let to = files.first().map(PathBuf::from).context("lacre-bench [--quick] FILE")?;
    lacre_integration::bench::run(&to, quick)
}
