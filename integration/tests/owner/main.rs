//! Who guards a container when those who should have died, or hang: containerd, the inner shim,
//! lacre itself, in any order. In enforce mode a container is ended or still guarded; it never
//! runs on unguarded, and never stands still.

mod daemons;
mod damage;
mod deaths;
mod field;
mod group;
mod links;
mod watchdog;
