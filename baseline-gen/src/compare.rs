//! In what two baselines differ, for `lacre baseline diff`.

use std::cmp::Ordering;

use lacre_types::Algorithm;

use crate::baseline::{Baseline, Entry, Link};
use crate::error::FormatError;

/// One way in which two baselines are not the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference<'a> {
    /// A file that only the first has.
    Removed(Entry<'a>),
    /// A file that only the second has.
    Added(Entry<'a>),
    /// A file with another content or kind.
    Changed(Entry<'a>, Entry<'a>),
    /// A symbolic link that only the first has.
    LinkRemoved(Link<'a>),
    /// A symbolic link that only the second has.
    LinkAdded(Link<'a>),
    /// A symbolic link that points elsewhere.
    LinkChanged(Link<'a>, Link<'a>),
}

impl<'a> Difference<'a> {
    /// The path that it is about.
    #[must_use]
    pub const fn path(&self) -> &'a [u8] {
        match self {
            Self::Removed(entry) | Self::Added(entry) | Self::Changed(entry, _) => entry.path,
            Self::LinkRemoved(link) | Self::LinkAdded(link) | Self::LinkChanged(link, _) => {
                link.path
            }
        }
    }
}

/// Every difference, files first, each by path. Both are verified whole first.
///
/// # Errors
/// When one of them is broken.
pub fn compare<'a>(a: &'a Baseline, b: &'a Baseline) -> Result<Vec<Difference<'a>>, FormatError> {
    a.verify()?;
    b.verify()?;
    let mut differences = Vec::new();
    // Verified: every row can be read.
    merge_join(
        a.files().flatten(),
        b.files().flatten(),
        |entry| entry.path,
        |pair| match pair {
            (Some(a), Some(b)) if same(&a, &b) => {}
            (Some(a), Some(b)) => differences.push(Difference::Changed(a, b)),
            (Some(a), None) => differences.push(Difference::Removed(a)),
            (None, Some(b)) => differences.push(Difference::Added(b)),
            (None, None) => {}
        },
    );
    merge_join(
        a.links().flatten(),
        b.links().flatten(),
        |link| link.path,
        |pair| match pair {
            (Some(a), Some(b)) if a.target == b.target => {}
            (Some(a), Some(b)) => differences.push(Difference::LinkChanged(a, b)),
            (Some(a), None) => differences.push(Difference::LinkRemoved(a)),
            (None, Some(b)) => differences.push(Difference::LinkAdded(b)),
            (None, None) => {}
        },
    );
    Ok(differences)
}

/// SHA-256 decides, and every other digest that both have.
fn same(a: &Entry<'_>, b: &Entry<'_>) -> bool {
    let agree = |algorithm: &Algorithm| match (a.digest(*algorithm), b.digest(*algorithm)) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    };
    a.kind == b.kind && a.size == b.size && Algorithm::ALL.iter().all(agree)
}

fn merge_join<T>(
    a: impl Iterator<Item = T>,
    b: impl Iterator<Item = T>,
    path: impl Fn(&T) -> &[u8],
    mut tell: impl FnMut((Option<T>, Option<T>)),
) {
    let (mut a, mut b) = (a.peekable(), b.peekable());
    loop {
        let order = match (a.peek(), b.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => path(a).cmp(path(b)),
        };
        tell(match order {
            Ordering::Less => (a.next(), None),
            Ordering::Greater => (None, b.next()),
            Ordering::Equal => (a.next(), b.next()),
        });
    }
}
