//! Something by image, found as the policy's own rules are.

use std::collections::HashSet;

use crate::glob::{Glob, GlobError};
use crate::image;
use crate::patterns::Patterns;

/// Values by image, found as the rules under `ByContainerImageName` are: names are completed
/// as Docker does, what is written out goes before globs, and of these the first holds.
///
/// ```
/// let images = lacre_policy::Images::new([("nginx:*", 1), ("nginx", 2)])?;
/// assert_eq!(images.get("docker.io/library/nginx:latest"), Some(&2));
/// assert_eq!(images.get("nginx:1.27"), Some(&1));
/// assert_eq!(images.get("example.org/nginx"), None);
/// # Ok::<(), lacre_policy::ImagesError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Images<T>(Patterns<T>);

/// Why names are no images'.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImagesError {
    /// It would match nothing.
    #[error("`{0}` matches nothing: {1}")]
    Implausible(String, &'static str),
    /// It is no glob.
    #[error("`{0}` is no image's name")]
    Glob(String, #[source] GlobError),
    /// One of the two would never be looked at.
    #[error("`{0}` is there twice, perhaps in two forms; remove one")]
    Twice(String),
}

impl<T> Default for Images<T> {
    fn default() -> Self {
        Self(Patterns::default())
    }
}

impl<T> Images<T> {
    /// From names and globs, in their order.
    ///
    /// # Errors
    /// When one could match nothing, or two are the same.
    pub fn new<N: AsRef<str>>(
        named: impl IntoIterator<Item = (N, T)>,
    ) -> Result<Self, ImagesError> {
        let (mut seen, mut globs) = (HashSet::new(), Vec::new());
        for (name, value) in named {
            let name = name.as_ref();
            if let Some(why) = image::implausible_pattern(name) {
                return Err(ImagesError::Implausible(name.to_owned(), why));
            }
            let full = image::full_pattern(name);
            let glob = Glob::new(&full).map_err(|e| ImagesError::Glob(name.to_owned(), e))?;
            if !seen.insert(full) {
                return Err(ImagesError::Twice(name.to_owned()));
            }
            globs.push((glob, value));
        }
        Ok(Self(globs.into_iter().collect()))
    }

    /// The value for an image's name, in any form.
    #[must_use]
    pub fn get(&self, image: &str) -> Option<&T> {
        self.0.get(image::full(image).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Policy, Subject};
    use lacre_types::ViolationKind;
    use proptest::prelude::*;

    #[test]
    fn what_matches_nothing_or_twice_is_refused() {
        let of = |names: &[&str]| Images::new(names.iter().map(|name| (*name, ()))).map(drop);
        assert_eq!(of(&["nginx", "nginx:1", "nginx:*", "nginx@sha256:ab"]), Ok(()));
        assert!(matches!(of(&["Team/App"]), Err(ImagesError::Implausible(..))));
        assert!(matches!(of(&[""]), Err(ImagesError::Implausible(..))));
        assert!(matches!(of(&["a[b"]), Err(ImagesError::Glob(..))));
        assert_eq!(
            of(&["nginx", "docker.io/nginx"]),
            Err(ImagesError::Twice("docker.io/nginx".into()))
        );
    }

    proptest! {
        #[test]
        fn an_image_is_found_as_a_rule_of_the_policy_would_be(
            patterns in prop::collection::btree_set("[ab]{1,2}(/[ab*]{1,2})?(:[12*])?(@sha256:a)?", 1..6),
            image in "(docker.io/)?(library/)?[ab]{1,2}(/[ab]{1,2})?(:[12])?(@sha256:a)?",
        ) {
            let patterns: Vec<String> = patterns.into_iter().collect();
            let Ok(images) = Images::new(patterns.iter().enumerate().map(|(n, p)| (p, n))) else {
                return Ok(());
            };
            let rules = patterns.iter().map(|pattern| format!("      - {pattern:?}: SKIP\n"));
            let text = format!(
                "Actions:\n  FILELESS:\n    ByContainerImageName:\n{}    Default: KILL\n",
                rules.collect::<String>()
            );
            let (policy, _) = Policy::parse("p", text.as_bytes()).unwrap();
            let subject = Subject { image_name: Some(&image), ..Subject::default() };
            let line = policy.decide(&subject, ViolationKind::Fileless, None).rule.line();
            // Rules begin at line 4.
            let rule = line.and_then(|line| (line as usize).checked_sub(4));
            prop_assert_eq!(images.get(&image).copied(), rule.filter(|rule| *rule < patterns.len()));
        }
    }
}
