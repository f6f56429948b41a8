//! An inner shim for containerd 2.x that fails on command, made with containerd's crate.

use containerd_shim::Config;
use lacre_inner_shims::FaultyShim;

fn main() {
    // Each process is waited for by a thread of its own.
    let config = Config { no_reaper: true, ..Config::default() };
    containerd_shim::run::<FaultyShim>("io.containerd.faulty.v3", Some(config));
}
