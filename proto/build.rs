//! Generates the messages and the service from the .proto files, with no `protoc`.

use std::path::{Path, PathBuf};

use ttrpc_codegen::{Codegen, Customize};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let protos = ["lacre/policy/v1/policy.proto", "lacre/attest/v1/attest.proto"];
    for proto in protos {
        println!("cargo:rerun-if-changed={proto}");
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    Codegen::new()
        .out_dir(&out)
        .inputs(protos)
        .include(".")
        .rust_protobuf()
        .customize(Customize { async_all: true, gen_mod: false, ..Customize::default() })
        .run()?;
    for name in ["policy.rs", "policy_ttrpc.rs", "attest.rs", "attest_ttrpc.rs"] {
        strip_inner_attributes(&out.join(name))?;
    }
    Ok(())
}

/// What is included into a module can have neither `#![…]` nor `//!`.
fn strip_inner_attributes(file: &Path) -> std::io::Result<()> {
    let text = std::fs::read_to_string(file)?;
    let kept = text.lines().filter(|line| !line.starts_with("#![") && !line.starts_with("//!"));
    std::fs::write(file, kept.collect::<Vec<_>>().join("\n"))
}
