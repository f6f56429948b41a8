//! What a node gives lacre, and what follows from it: `lacre doctor`.
//!
//! [`probes`] look at the node and change nothing of it; what they saw is [`Facts`]. From these
//! alone [`findings`] says what is, what follows and how to mend it, and [`forecast()`] what would
//! become of each class of attack. Both are pure: the same facts give the same words.

mod facts;
mod findings;
mod forecast;
pub mod probes;

pub use facts::{
    Certificate, Cgroups, ConfigFile, Daemon, Disk, Docker, Expiry, Facts, FanotifyLimits, Handler,
    Ima, Inner, Kernel, Offer, Offers, PolicyFile, Program, Seen, Server, Settings, Tls, Tpm,
    Wanted, Watchdog,
};
pub use findings::{Area, Finding, State, findings, worst};
pub use forecast::{
    Blocked, Class, Fate, Forecast, Outcome, Rungs, Setting, fate, forecast, rungs,
};
