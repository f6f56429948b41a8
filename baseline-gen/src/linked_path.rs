//! A path within an image, on its way through the image's own symbolic links.

use std::borrow::Cow;

use lacre_types::CanonicalPath;

use crate::layer::HOPS;

/// Why a path leads nowhere that a process could name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Astray {
    /// It is longer than `PATH_MAX`.
    TooLong,
    /// It goes through more links than the kernel follows.
    TooManyLinks,
}

/// As far as it has been walked, and what is left of it. Who walks it knows what stands where;
/// this knows `..`, where a link leads, and the bounds.
#[derive(Debug)]
pub(crate) struct LinkedPath<'a> {
    walked: Vec<u8>,
    /// How much of `walked` is before its last part.
    parent: usize,
    /// The parts to come, the next one last.
    todo: Vec<Cow<'a, [u8]>>,
    links: u32,
}

impl<'a> LinkedPath<'a> {
    pub(crate) fn new(path: &'a [u8]) -> Self {
        let walked = Vec::with_capacity(path.len());
        let mut linked = Self { walked, parent: 0, todo: Vec::new(), links: 0 };
        linked.push(Cow::Borrowed(path));
        linked
    }

    fn push(&mut self, path: Cow<'a, [u8]>) {
        fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
            path.rsplit(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."))
        }
        match path {
            Cow::Borrowed(path) => self.todo.extend(parts(path).map(Cow::Borrowed)),
            Cow::Owned(path) => self.todo.extend(parts(&path).map(|part| part.to_vec().into())),
        }
    }

    /// The place of its next part; `None` at its end.
    pub(crate) fn step(&mut self) -> Result<Option<&[u8]>, Astray> {
        while let Some(part) = self.todo.pop() {
            if *part == *b".." {
                let slash = self.walked.iter().rposition(|byte| *byte == b'/');
                self.walked.truncate(slash.unwrap_or(0));
                continue;
            }
            self.parent = self.walked.len();
            self.walked.push(b'/');
            self.walked.extend_from_slice(&part);
            if self.walked.len() > CanonicalPath::MAX {
                return Err(Astray::TooLong);
            }
            return Ok(Some(&self.walked));
        }
        Ok(None)
    }

    /// What it came to last is a link to `target`.
    pub(crate) fn follow(&mut self, target: Cow<'a, [u8]>) -> Result<(), Astray> {
        self.links += 1;
        if self.links > HOPS {
            return Err(Astray::TooManyLinks);
        }
        self.walked.truncate(if target.starts_with(b"/") { 0 } else { self.parent });
        self.push(target);
        Ok(())
    }

    /// Whether a link was on its way.
    pub(crate) const fn went_through_links(&self) -> bool {
        self.links > 0
    }

    /// Where it has come to.
    pub(crate) fn into_place(self) -> Vec<u8> {
        self.walked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks through an image that has these links.
    fn walked(path: &str, links: &[(&str, &str)]) -> Result<String, Astray> {
        let mut linked = LinkedPath::new(path.as_bytes());
        while let Some(place) = linked.step()? {
            let target = links.iter().find(|(name, _)| name.as_bytes() == place);
            if let Some((_, target)) = target {
                linked.follow(target.as_bytes().into())?;
            }
        }
        Ok(String::from_utf8(linked.into_place()).unwrap())
    }

    #[test]
    fn a_link_leads_from_where_it_stands_or_from_the_root() {
        let links = [("/bin", "usr/bin"), ("/usr/bin/sh", "dash"), ("/etc/x", "/bin/../lib/./y")];
        assert_eq!(walked("/bin/sh", &links).unwrap(), "/usr/bin/dash");
        assert_eq!(walked("/etc/x/../z", &links).unwrap(), "/usr/lib/z");
        assert_eq!(walked("/../..//a/.", &[]).unwrap(), "/a");
    }

    #[test]
    fn a_circle_and_a_path_without_end_are_given_up() {
        assert_eq!(walked("/a", &[("/a", "b"), ("/b", "a")]), Err(Astray::TooManyLinks));
        let long = "/x".repeat(CanonicalPath::MAX);
        assert_eq!(walked(&long, &[]), Err(Astray::TooLong));
    }
}
