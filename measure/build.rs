//! Builds the BPF programs, which the crate embeds.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    println!("cargo:rerun-if-changed=bpf");
    println!("cargo:rerun-if-env-changed=CLANG");
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("cargo::error={why}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let folder = PathBuf::from(of("OUT_DIR")?);
    compile(&clang, &folder, "hooks")?;
    let object = compile(&clang, &folder, "exec_trace")?;
    let bytes = fs::read(&object).map_err(|why| format!("reading {}: {why}", object.display()))?;
    println!("cargo:rustc-env=LACRE_EXEC_TRACE_HASH={:016x}", fnv_1a(&bytes));
    Ok(())
}

fn of(name: &str) -> Result<String, String> {
    env::var(name).map_err(|_| format!("cargo did not set {name}"))
}

fn compile(clang: &str, folder: &Path, name: &str) -> Result<PathBuf, String> {
    let (source, object) = (format!("bpf/{name}.bpf.c"), folder.join(format!("{name}.bpf.o")));
    let arch = match of("CARGO_CFG_TARGET_ARCH")?.as_str() {
        "x86_64" => "x86",
        "aarch64" => "arm64",
        other => return Err(format!("the BPF programs know x86_64 and aarch64, not {other}")),
    };
    let status = Command::new(clang)
        // -g: CO-RE relocations live in the BTF that comes of it.
        .args(["-g", "-O2", "-target", "bpf", "-mcpu=v3", "-Wall", "-Werror"])
        .arg(format!("-D__TARGET_ARCH_{arch}"))
        .arg(format!("-I{}", of("DEP_BPF_INCLUDE")?))
        // The object must not depend on where it was built: its hash names the pins.
        .arg(format!("-ffile-prefix-map={}=.", of("CARGO_MANIFEST_DIR")?))
        .args(["-c", &source, "-o"])
        .arg(&object)
        .status()
        .map_err(|why| format!("could not run {clang} ({why}): install clang 14 or newer"))?;
    if !status.success() {
        return Err(format!("{clang} could not build {source}"));
    }
    // DWARF is three quarters of the object, and libbpf reads only BTF.
    let stripped = Command::new("llvm-strip").arg("-g").arg(&object).status();
    if !stripped.is_ok_and(|status| status.success()) {
        println!("cargo::warning=no llvm-strip: the embedded BPF object stays larger");
    }
    Ok(object)
}

/// Here, since a container's start would wait for it. It tells builds apart, it protects nothing.
fn fnv_1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
