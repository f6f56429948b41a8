//! Evidence against expectations: a pure function that names what it checked, what it did
//! not, and what it found.

mod aggregate;
mod baselines;
mod case;
mod claims;
mod completeness;
mod containers;
mod diagnose;
mod expect;
mod finding;
mod finding_name;
mod history;
mod host;
mod host_programs;
mod kernel;
mod kernel_fault;
mod lists;
mod name;
mod quote;
mod swapped_list;
mod verdict;
mod verification;
mod weight;

pub use claims::{Claimed, Claims};
pub use expect::{
    Expectations, ExpectedAnchor, ExpectedContainer, Given, HostPolicy, ImageBaselines,
    KernelPolicy, Nonce,
};
pub use finding::Finding;
pub use history::{Seen, SeenAnchor, SeenBoot, SeenOpen};
pub use kernel_fault::KernelFault;
pub use name::{ListName, Log};
pub use verdict::{Answer, Conclusion, Question, Verdict};
pub use verification::{Verified, verify};
pub use weight::Weight;
