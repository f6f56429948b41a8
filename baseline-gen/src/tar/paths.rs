//! Paths as Go takes them: cleaned by their letters, and followed through a layer's own links
//! as containerd's `fs.RootPath` does.

use lacre_types::{CanonicalPath, PathError, escape};

use crate::layer::HOPS;

/// More links than that in one path are a circle, to containerd.
const LINKS: u32 = 255;

/// The longest name (limits.h).
const NAME_MAX: usize = 255;

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found<'a> {
    Nothing,
    Link(&'a [u8]),
    Directory,
    Other,
}

/// What of a tree stands at a path that leads through no link; or that it can't be asked more.
pub(super) trait Names {
    fn get(&self, path: &[u8]) -> Result<Found<'_>, String>;

    /// What the kernel finds at a path, the last part not followed. An absolute link leads out
    /// of the layer, to what containerd does not mean to find.
    fn lstat(&self, path: &[u8]) -> Result<Found<'_>, String> {
        let found = self.get(if path == b"/" { b"" } else { path })?;
        if found != Found::Nothing {
            return Ok(found);
        }
        if path.len() >= CanonicalPath::MAX {
            return Err(format!("{}… is longer than PATH_MAX", escape(&path[..60])));
        }
        let (mut at, mut hops) = (Vec::new(), 0);
        let mut todo: Vec<&[u8]> = parts(path).rev().collect();
        while let Some(part) = todo.pop() {
            check_name(part)?;
            if part == b"." {
                continue;
            }
            if part == b".." {
                let Some(slash) = at.iter().rposition(|byte| *byte == b'/') else {
                    return Ok(Found::Nothing);
                };
                at.truncate(slash);
                continue;
            }
            let len = at.len();
            at.push(b'/');
            at.extend_from_slice(part);
            match self.get(&at)? {
                found if todo.is_empty() || found == Found::Nothing => return Ok(found),
                Found::Link(target) if !target.starts_with(b"/") => {
                    hops += 1;
                    if hops > HOPS {
                        return Err(format!("{}: too many symbolic links", escape(path)));
                    }
                    todo.extend(parts(target).rev());
                    at.truncate(len);
                }
                Found::Link(_) | Found::Nothing => return Ok(Found::Nothing),
                Found::Directory => {}
                Found::Other => return Err(format!("{} is no directory", escape(&at))),
            }
        }
        self.get(&at)
    }
}

pub(super) fn check_name(name: &[u8]) -> Result<(), String> {
    if name.len() > NAME_MAX {
        let (start, len) = (escape(&name[..60]), name.len());
        return Err(format!("the name {start}… has {len} bytes, more than a file system takes"));
    }
    Ok(())
}

/// `..` is taken by name, and stops at the root.
pub(crate) fn canonical(name: &[u8]) -> Result<Vec<u8>, String> {
    let path = [b"/", name].concat();
    match CanonicalPath::new(&path) {
        Ok(path) => Ok(path.as_bytes().to_vec()),
        Err(PathError::TooLong(len)) => {
            let start = escape(&name[..name.len().min(60)]);
            Err(format!("the path {start}… has {len} bytes, more than PATH_MAX (4096)"))
        }
        Err(error) => Err(format!("the name {}: {error}", escape(&name[..name.len().min(60)]))),
    }
}

/// The parts of a path; `.` and `..` are some.
pub(super) fn parts(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty())
}

/// The last part of a path, and what comes before it with its slash.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    path.split_at(path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1))
}

/// Go's `filepath.Join`: one path, without empty parts, `.`, and `..` after a name.
fn join(first: &[u8], second: &[u8]) -> Vec<u8> {
    let rooted = first.first().or(second.first()) == Some(&b'/');
    let mut kept: Vec<&[u8]> = Vec::new();
    for part in parts(first).chain(parts(second)) {
        match part {
            b"." => {}
            b".." if kept.last().is_some_and(|last| *last != b"..") => drop(kept.pop()),
            b".." if rooted => {}
            part => kept.push(part),
        }
    }
    let path = kept.join(&b'/');
    if rooted { [b"/", &path[..]].concat() } else { path }
}

/// Where a path leads within the root: `/a/b`, or nothing for the root itself. It need not
/// exist. A link's target is joined by its letters, so `..` after a link in it is the link's
/// own folder, and not that of what it leads to.
pub(super) fn root_path(path: &[u8], names: &impl Names) -> Result<Vec<u8>, String> {
    let mut links = 0;
    let mut path = path.to_vec();
    loop {
        let before = links;
        path = walk(&path, &mut links, names)?;
        if before == links {
            let rooted = join(b"/", &path);
            if path == rooted {
                return Ok(if path == b"/" { Vec::new() } else { path });
            }
            path = rooted;
        }
    }
}

/// Follows each link once.
fn walk(path: &[u8], links: &mut u32, names: &impl Names) -> Result<Vec<u8>, String> {
    let mut done = path.starts_with(b"/").then(|| b"/".to_vec());
    for part in parts(path) {
        let at = done.as_deref().map_or_else(|| part.to_vec(), |done| join(done, part));
        let (next, link) = step(&at, links, names)?;
        done = Some(match done {
            Some(before) if link && !next.starts_with(b"/") => join(&before, &next),
            _ => next,
        });
    }
    Ok(done.unwrap_or_default())
}

fn step(path: &[u8], links: &mut u32, names: &impl Names) -> Result<(Vec<u8>, bool), String> {
    if *links > LINKS {
        return Err(format!("{}: too many symbolic links", escape(path)));
    }
    let path = join(b"/", path);
    if path == b"/" {
        return Ok((path, false));
    }
    match names.lstat(&path)? {
        Found::Link(target) => {
            *links += 1;
            Ok((target.to_vec(), true))
        }
        _ => Ok((path, false)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Links<'a>(&'a [(&'a str, &'a str)]);

    impl Names for Links<'_> {
        fn get(&self, path: &[u8]) -> Result<Found<'_>, String> {
            let link = self.0.iter().find(|(name, _)| name.as_bytes() == path);
            Ok(link.map_or(Found::Nothing, |(_, target)| Found::Link(target.as_bytes())))
        }
    }

    fn lead(links: &[(&str, &str)], path: &str) -> Result<String, String> {
        let path = root_path(path.as_bytes(), &Links(links));
        path.map(|path| String::from_utf8(path).unwrap())
    }

    #[test]
    fn links_are_followed_within_the_root() {
        let links = [("/l", "a/b"), ("/a/up", "../../.."), ("/abs", "/a"), ("/m", "l/../c")];
        for (path, leads) in [
            ("/", ""),
            ("/x/y/", "/x/y"),
            ("/l/x", "/a/b/x"),
            ("/a/up/x", "/x"),
            ("/abs/up", ""),
            // Not /a/c, where the kernel would go.
            ("/m", "/c"),
        ] {
            assert_eq!(lead(&links, path).unwrap(), leads, "{path}");
        }
        assert!(lead(&[("/a", "b"), ("/b", "a")], "/a").is_err());
    }
}
