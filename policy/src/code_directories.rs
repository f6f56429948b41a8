//! Directories that an operator declares to hold code, and nothing but code.

use std::sync::Arc;

use lacre_types::CanonicalPath;

use crate::Subject;
use crate::by_container::ByContainer;
use crate::glob::{Glob, GlobError};

/// The directories of one container of which a policy says that they hold code: what an
/// interpreter opens there that did not come with the image is run, whatever it is called.
#[derive(Debug, Clone, Default)]
pub struct CodeDirectories(Arc<[Directory]>);

#[derive(Debug, Clone)]
struct Directory {
    pattern: Arc<str>,
    beneath: Glob,
    /// Its path, where the pattern has no wildcard.
    path: Option<CanonicalPath>,
}

impl PartialEq for CodeDirectories {
    fn eq(&self, other: &Self) -> bool {
        self.patterns().eq(other.patterns())
    }
}

impl Eq for CodeDirectories {}

impl CodeDirectories {
    /// The most of one rule. Each file that an interpreter opens is compared with all of them:
    /// some microseconds.
    pub(crate) const MOST: usize = 128;

    /// Of patterns in the form that paths have, with no slash at the end.
    ///
    /// # Errors
    /// The first that is no glob.
    pub(crate) fn of<S: Into<Arc<str>>>(
        patterns: impl IntoIterator<Item = S>,
    ) -> Result<Self, (Arc<str>, GlobError)> {
        let directory = |pattern: S| {
            let pattern: Arc<str> = pattern.into();
            let below = if &*pattern == "/" { "/**".to_owned() } else { format!("{pattern}/**") };
            let read = Glob::new(&pattern).and_then(|own| Ok((own, Glob::new(&below)?)));
            let (own, beneath) = read.map_err(|error| (Arc::clone(&pattern), error))?;
            let path = own.literal().and_then(|path| CanonicalPath::new(path).ok());
            Ok(Directory { pattern, beneath, path })
        };
        patterns.into_iter().map(directory).collect::<Result<_, _>>().map(Self)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a file of that path lies in one of them, or below.
    #[must_use]
    pub fn hold(&self, path: &CanonicalPath) -> bool {
        self.0.iter().any(|directory| directory.beneath.matches(path.as_bytes()))
    }

    /// The patterns, as the file has them.
    pub fn patterns(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter().map(|directory| &directory.pattern)
    }

    /// Those without a wildcard, which may be links to where the code is.
    pub fn paths(&self) -> impl Iterator<Item = &CanonicalPath> {
        self.0.iter().filter_map(|directory| directory.path.as_ref())
    }
}

/// What a policy file says of all containers.
#[derive(Debug, Clone, Default)]
pub(crate) struct CodeRules {
    pub(crate) by: ByContainer<CodeDirectories>,
    pub(crate) rest: CodeDirectories,
    pub(crate) count: usize,
}

impl CodeRules {
    pub(crate) fn of(&self, subject: &Subject<'_>) -> &CodeDirectories {
        self.by.get(subject).unwrap_or(&self.rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn directories(patterns: &[&str]) -> CodeDirectories {
        CodeDirectories::of(patterns.iter().copied()).unwrap()
    }

    #[test]
    fn a_directory_holds_what_is_below_it_and_not_itself() {
        for (pattern, path, holds) in [
            ("/srv/app", "/srv/app/x", true),
            ("/srv/app", "/srv/app/a/b/c.txt", true),
            ("/srv/app", "/srv/app", false),
            ("/srv/app", "/srv/application/x", false),
            ("/srv/app", "/srv/x", false),
            ("/srv/app", "/x/srv/app/y", false),
            ("/", "/x", true),
            ("/home/*/plugins", "/home/joe/plugins/x", true),
            ("/home/*/plugins", "/home/a/b/plugins/x", false),
            ("**/site-packages", "/usr/lib/python3/site-packages/m/data", true),
            ("**/site-packages", "/site-packages/x", true),
            ("**/site-packages", "/site-packages", false),
            ("/srv/\\*", "/srv/*/x", true),
            ("/srv/\\*", "/srv/a/x", false),
        ] {
            let path = CanonicalPath::new(path).unwrap();
            assert_eq!(directories(&[pattern]).hold(&path), holds, "{pattern} {path}");
        }
        assert!(!directories(&[]).hold(&CanonicalPath::new("/x").unwrap()));
    }

    #[test]
    fn a_path_is_told_of_what_has_no_wildcard() {
        let it = directories(&["/a", "/b/*", "/c/\\*", "**/d"]);
        let paths: Vec<_> = it.paths().map(ToString::to_string).collect();
        assert_eq!(paths, ["/a", "/c/*"]);
    }

    fn part() -> impl Strategy<Value = Vec<u8>> {
        // No slash, no NUL; dots among them, so that `..` comes up.
        prop::collection::vec(prop_oneof![Just(b'.'), 1..b'/', b'0'..=255], 1..6)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Whatever is in a name: a path is below a directory if its parts begin with the
        /// directory's and go on, once `..` is resolved.
        #[test]
        fn what_is_below_is_so_by_its_parts(
            directory in prop::collection::vec("[a-c]{1,2}", 1..4),
            path in prop::collection::vec(prop_oneof![
                3 => "[a-c]{1,2}".prop_map(String::into_bytes),
                1 => Just(b"..".to_vec()),
                1 => part(),
            ], 1..7),
        ) {
            let it = CodeDirectories::of([format!("/{}", directory.join("/"))]).unwrap();
            let bytes = [b"/".to_vec(), path.join(&b'/')].concat();
            let path = CanonicalPath::new(&bytes).unwrap();
            let parts: Vec<_> = path.parts().collect();
            let own: Vec<_> = directory.iter().map(String::as_bytes).collect();
            prop_assert_eq!(it.hold(&path), parts.len() > own.len() && parts.starts_with(&own));
        }

        #[test]
        fn of_several_one_is_enough(
            patterns in prop::collection::vec("(/[ab]{1,2}){1,2}|\\*\\*/[ab]|/[ab]\\*", 0..6),
            path in "(/[ab]{1,2}){1,4}",
        ) {
            let all = CodeDirectories::of(patterns.clone()).unwrap();
            let path = CanonicalPath::new(path).unwrap();
            let any = patterns.iter().any(|one| directories(&[one]).hold(&path));
            prop_assert_eq!(all.hold(&path), any);
        }
    }
}
