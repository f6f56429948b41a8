//! `make bench`: measures, and writes the page.

use std::io::{Write as _, stderr, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use lacre_integration::bench::{Request, run};

const USAGE: &str = "\
Measures what lacre costs, against plain runc in the same run, and writes the page.

Usage: lacre-bench [--quick] [--only PART] FILE    as root; `make bench` builds what it needs

  --quick            measures so little that the figures mean nothing
  --only PART        one part, by its heading on the page, or the beginning of it
  -h, --help         print this
";

/// A command line that makes no sense (sysexits.h, `EX_USAGE`).
const USAGE_ERROR: u8 = 64;

fn main() -> ExitCode {
    let mut request = Request::default();
    let mut to = None;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--quick" => request.quick = true,
            "--only" => request.only = words.next(),
            "-h" | "--help" => {
                let _ = stdout().write_all(USAGE.as_bytes());
                return ExitCode::SUCCESS;
            }
            flag if flag.starts_with('-') => {
                let _ = writeln!(stderr(), "lacre-bench: there is no `{flag}`\n\n{USAGE}");
                return USAGE_ERROR.into();
            }
            file => to = Some(PathBuf::from(file)),
        }
    }
    let Some(to) = to else {
        let _ = writeln!(stderr(), "lacre-bench: to which FILE is the page to go?\n\n{USAGE}");
        return USAGE_ERROR.into();
    };
    match run(&to, request) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(stderr(), "lacre-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
