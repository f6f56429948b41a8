//! What a part of the benchmark adds to its page.

use super::budgets::Verdict;
use super::page::Section;

/// What a part has found.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) sections: Vec<Section>,
    pub(super) verdicts: Vec<Verdict>,
}
