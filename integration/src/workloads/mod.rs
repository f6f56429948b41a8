//! Real programs of Debian's packages, at work in containers, in every mode: what came with the
//! image is never touched and never on record, and what did not is on record, is refused in
//! enforce mode, and can be allowed by image and path.
//!
//! [`TABLE`] has them, [`run`](run::run) runs one, [`page`] writes them down for users.
//! `integration/workloads/prepare.sh` makes the images; each workload's script lies beside it.

mod compilers;
mod daemons;
mod expectation;
mod languages;
pub mod page;
pub mod run;
mod runtimes;
mod servers;
mod tools;
mod utilities;
mod workload;

pub use workload::{Foreign, Held, Mode, Mount, Start, Workload};

/// All workloads, by the image that they share.
pub const TABLE: &[(&str, &[Workload])] = &[
    ("servers", servers::WORKLOADS),
    ("languages", languages::WORKLOADS),
    ("runtimes", runtimes::WORKLOADS),
    ("tools", tools::WORKLOADS),
    ("daemons", daemons::WORKLOADS),
    ("compilers", compilers::WORKLOADS),
    ("utilities", utilities::WORKLOADS),
];

/// The workloads of an image.
#[must_use]
pub fn of_image(image: &str) -> &'static [Workload] {
    TABLE.iter().find(|(name, _)| *name == image).map_or(&[], |(_, workloads)| workloads)
}

/// The name of an image in containerd.
#[must_use]
pub fn image_name(image: &str) -> String {
    format!("lacre.test/workloads/{image}:1")
}

/// Which packages `integration/workloads/images` has for an image.
#[must_use]
pub fn packages(image: &str) -> Vec<&'static str> {
    include_str!("../../workloads/images")
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(name, _)| *name == image)
        .flat_map(|(_, packages)| packages.split_whitespace())
        .collect()
}
