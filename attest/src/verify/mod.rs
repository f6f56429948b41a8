//! Evidence against expectations: a pure function that names what it checked, what it did
//! not, and what it found.

mod baselines;
mod case;
mod containers;
mod diagnose;
mod expect;
mod finding;
mod history;
mod host;
mod kernel;
mod lists;
mod name;
mod quote;
mod swapped_list;
mod verdict;
mod verification;

pub use expect::{
    Expectations, ExpectedContainer, Given, HostPolicy, ImageBaselines, KernelPolicy, Nonce,
};
pub use finding::{Finding, KernelFault};
pub use history::{Seen, SeenAnchor, SeenBoot, SeenOpen};
pub use name::{ListName, Log};
pub use verdict::{Answer, Conclusion, Question, Verdict};
pub use verification::{Verified, verify};
