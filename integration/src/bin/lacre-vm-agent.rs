//! Runs in a guest of the virtual-machine tests, and does what they ask.

fn main() -> anyhow::Result<()> {
    lacre_integration::vm::agent::serve()
}
