//! How much of a command line is at hand.

/// How much of a command line is at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// An argument of so many bytes may be longer.
    pub(crate) longest: usize,
    /// More arguments may follow.
    pub(crate) is_open: bool,
    /// Among so many at the end, and behind them, bare ones that follow bare ones are left out.
    pub(crate) gaps: Option<usize>,
}

impl Extent {
    pub(crate) const WHOLE: Self = Self { longest: usize::MAX, is_open: false, gaps: None };

    /// The arguments between which none is left out, and whether more may follow.
    pub(super) fn certain<'a, T>(&self, arguments: &'a [T]) -> (&'a [T], bool) {
        match self.gaps {
            None => (arguments, self.is_open),
            Some(gaps) => (&arguments[..arguments.len().saturating_sub(gaps)], true),
        }
    }
}

/// What is run depends on what is not at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Missing;
