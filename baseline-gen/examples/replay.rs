//! Reads layers again of which containerd told what they are: `replay FOLDER`, as the
//! differential test leaves it. Says what differs; exit code 1 if anything does.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is what it is for")]

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use lacre_baseline::unpacked::{diff_id, differences, list, stack};

fn main() -> ExitCode {
    let folder = std::env::args_os().nth(1).unwrap_or_default();
    match replay(Path::new(&folder)) {
        Ok((layers, 0)) => {
            println!("{layers} layers, no difference");
            ExitCode::SUCCESS
        }
        Ok((layers, differ)) => {
            println!("{layers} layers, {differ} differ");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("replay: {}: {error}", Path::new(&folder).display());
            ExitCode::from(2)
        }
    }
}

fn replay(folder: &Path) -> std::io::Result<(usize, usize)> {
    let (mut layers, mut differ) = (0, 0);
    for case in fs::read_dir(folder)? {
        let case = case?.path();
        let mut parts = Vec::new();
        for at in 0.. {
            let Ok(told) = fs::read_to_string(case.join(format!("{at}.told"))) else { break };
            let blob = fs::read(case.join(format!("{at}.blob")))?;
            parts.push((blob, told));
        }
        let mut read = Vec::new();
        for (at, (blob, told)) in parts.iter().enumerate() {
            layers += 1;
            let mut lines = told.lines();
            let (media_type, answer) = (lines.next().unwrap_or_default(), lines.next());
            let theirs: Vec<String> = lines.map(str::to_owned).collect();
            let listed = diff_id(blob, media_type).and_then(|diff_id| {
                let layer = (blob.as_slice(), media_type, diff_id);
                let listed = list(&layer, at)?;
                read.push(layer);
                stack(&read).map(|_| (diff_id, listed))
            });
            let alike = match (answer, listed) {
                (Some("refused"), Err(_)) => true,
                (Some(digest), Ok((diff_id, listed))) => {
                    digest == diff_id.to_string() && differences(&listed, &theirs).is_empty()
                }
                _ => false,
            };
            if !alike {
                differ += 1;
                break;
            }
        }
    }
    Ok((layers, differ))
}
