//! `make bench`: measures, and writes the page.

use std::path::PathBuf;

use anyhow::{Result, bail};
use lacre_integration::bench::{Request, run};

const USAGE: &str = "lacre-bench [--quick] [--only PART] FILE
  --quick      measures so little that the figures mean nothing
  --only PART  one part, by its heading on the page, or the beginning of it";

fn main() -> Result<()> {
    let mut request = Request::default();
    let mut to = None;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--quick" => request.quick = true,
            "--only" => request.only = words.next(),
            flag if flag.starts_with('-') => bail!("{USAGE}"),
            file => to = Some(PathBuf::from(file)),
        }
    }
    let Some(to) = to else { bail!("{USAGE}") };
    run(&to, request)
}
