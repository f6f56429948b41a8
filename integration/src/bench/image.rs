//! The image that is measured: the Debian-like one, and a layer with what measures.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::image::{Image, Layer};
use crate::images::debian_image;
use crate::output::Output;

/// Data files in the image, at `/bench/data`.
pub(crate) const DATA_FILES: usize = 500;

/// Builds the programs in `folder`, and the image with them: `agent`, the targets `static`
/// and `dynamic` (which do nothing), the script `configure`, the data.
pub(crate) fn debian(folder: &Path) -> Result<Image> {
    let mut layer = Layer::new().dir("bench", 0o755);
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bench/payload");
    for (name, source, flags) in [
        ("agent", "agent.c", &["-static"][..]),
        ("static", "true.c", &["-static"]),
        ("dynamic", "true.c", &[]),
    ] {
        let to = folder.join(format!("bench-{name}"));
        let mut command = Command::new("cc");
        command.args(["-O2", "-Wl,--build-id=none", "-o"]).arg(&to).args(flags);
        Output::of(command.arg(sources.join(source)))?.ok().context("compiling what measures")?;
        layer = layer.copy(format!("bench/{name}"), 0o755, to);
    }
    layer = layer.copy("bench/configure", 0o755, sources.join("configure"));
    layer = layer.dir("bench/data", 0o755);
    for number in 0..DATA_FILES {
        layer = layer.file(format!("bench/data/{number}"), 0o644, [b'x'; 4096]);
    }
    Ok(debian_image()?.named("lacre.test/bench:1").layer(layer))
}

/// What [`debian`] is, with three folders of many files, 200 to a folder: `/many/opened` and
/// `/many/read` hold data alone, of `/many/mixed` every fourth is code by its name.
pub(crate) fn many(folder: &Path, files: usize) -> Result<Image> {
    let mut layer = Layer::new().dir("many", 0o755);
    for name in ["opened", "read", "mixed"] {
        layer = layer.dir(format!("many/{name}"), 0o755);
        for number in 0..files {
            let below = format!("many/{name}/{}", number / 200);
            if number % 200 == 0 {
                layer = layer.dir(&below, 0o755);
            }
            let suffix = if name == "mixed" && number % 4 == 0 { ".py" } else { "" };
            layer = layer.file(format!("{below}/{number}{suffix}"), 0o644, text(number));
        }
    }
    Ok(debian(folder)?.named("lacre.test/many:1").layer(layer))
}

/// 2 KiB of text, another for each number.
fn text(number: usize) -> Vec<u8> {
    format!("# {number}\n").into_bytes().into_iter().cycle().take(2048).collect()
}
