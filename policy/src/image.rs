//! Image names in the one full form that Docker gives them (distribution/reference,
//! `ParseNormalizedNamed` and `TagNameOnly`).

use std::borrow::Cow;

const REGISTRY: &str = "docker.io";

/// The full form: `nginx` is `docker.io/library/nginx:latest`. A name that has a digest
/// loses its tag, which nobody looks at then (as containerd's CRI does it).
pub(crate) fn full(name: &str) -> String {
    let (name, digest) = match name.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (name, None),
    };
    let (repository, tag) = split_tag(name);
    let repository = full_repository(repository);
    match digest {
        Some(digest) => format!("{repository}@{digest}"),
        None => format!("{repository}:{}", tag.unwrap_or("latest")),
    }
}

fn is_plain(pattern: &str) -> bool {
    !pattern.contains(['*', '?', '[', '\\'])
}

/// The full form of a name or a glob.
pub(crate) fn full_pattern(pattern: &str) -> String {
    if is_plain(pattern) { full(pattern) } else { full_glob(pattern).into_owned() }
}

/// The full form of a glob, by the same rule. One that begins with `**` stands as it is;
/// one that ends in `*` gets no tag, since its star takes the tag too.
fn full_glob(glob: &str) -> Cow<'_, str> {
    if glob.starts_with("**") {
        return Cow::Borrowed(glob);
    }
    let full = full_repository(glob);
    let last = full.rsplit('/').next().unwrap_or_default();
    if last.contains([':', '@']) || last.ends_with('*') {
        Cow::Owned(full)
    } else {
        Cow::Owned(full + ":latest")
    }
}

/// Why a name or glob can be no image's, and so matches nothing.
pub(crate) fn implausible_pattern(pattern: &str) -> Option<&'static str> {
    if is_plain(pattern) { implausible(pattern) } else { None }
}

fn implausible(name: &str) -> Option<&'static str> {
    let name = name.split('@').next().unwrap_or_default();
    if name.contains("://") {
        return Some("the name of an image has no `https://` before it");
    }
    let (repository, tag) = split_tag(name);
    let (registry, path) = match repository.split_once('/') {
        Some((first, path)) if is_registry(first) => (first, path),
        _ => ("", repository),
    };
    if path.len() == 64 && path.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Some("this is a digest or an id, and no image's name");
    }
    if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some("the name of a repository has no upper-case letters");
    }
    // An IPv6 address stands in brackets.
    let ports = registry.rsplit(']').next().unwrap_or_default().matches(':').count();
    if path.contains(':') || ports > 1 {
        return Some("the name of an image has one tag, behind one colon");
    }
    let tag_good = tag.is_none_or(|tag| !tag.is_empty() && tag.bytes().all(is_of_a_name));
    let part_good = |part: &str| !part.is_empty() && part.bytes().all(is_of_a_name);
    if !tag_good || !path.split('/').all(part_good) {
        return Some("this is no image's name");
    }
    None
}

/// Of a part of a repository's path, or of a tag (distribution/reference, `regexp.go`).
const fn is_of_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// Before the last colon after the last slash, and what comes behind it.
fn split_tag(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (name, None),
    }
}

fn full_repository(repository: &str) -> String {
    let (registry, path) = match repository.split_once('/') {
        Some((first, path)) if is_registry(first) => (first, path),
        _ => (REGISTRY, repository),
    };
    let registry = if registry == "index.docker.io" { REGISTRY } else { registry };
    if registry == REGISTRY && !path.contains('/') {
        format!("{registry}/library/{path}")
    } else {
        format!("{registry}/{path}")
    }
}

fn is_registry(first: &str) -> bool {
    first.contains(['.', ':'])
        || first == "localhost"
        || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Cases of distribution/reference's own tests.
    #[test]
    fn names_are_completed_as_docker_does() {
        for (short, long) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:latest", "docker.io/library/nginx:latest"),
            ("docker.io/nginx", "docker.io/library/nginx:latest"),
            ("index.docker.io/library/nginx:1", "docker.io/library/nginx:1"),
            ("user/app:2", "docker.io/user/app:2"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/app", "localhost:5000/app:latest"),
            ("ghcr.io/a/b:c", "ghcr.io/a/b:c"),
            ("[2001:db8::1]:5000/repo", "[2001:db8::1]:5000/repo:latest"),
            ("nginx@sha256:ab", "docker.io/library/nginx@sha256:ab"),
            ("nginx:1@sha256:ab", "docker.io/library/nginx@sha256:ab"),
        ] {
            assert_eq!(full(short), long);
        }
    }

    #[test]
    fn what_can_be_no_image_is_told() {
        for bad in [
            "https://foo/bar",
            "docker://nginx",
            "nginx:latest:foo",
            "a:5000:b/c",
            "nginx:",
            "a//b",
            "/nginx",
            "nginx/",
            "a b",
            "",
            "team/App:1",
            "nginx:a+b",
            "registry.example/a:b:c",
            "e8af7d6ad5b3e7b9fdbf07ec1d4ca0e5b2ad1f6ae5b2a4bd9dd1bd6d0ff2e4b5",
        ] {
            assert!(implausible_pattern(bad).is_some(), "{bad}");
        }
        for good in [
            "nginx",
            "nginx:1.25-alpine",
            "localhost:5000/app",
            "ghcr.io/a/b:c",
            "a_b/c__d--e:V1",
            "nginx@sha256:ab",
            "Registry.example/a",
            "[2001:db8::1]:5000/repo:1",
            "nginx:*",
        ] {
            assert_eq!(implausible_pattern(good), None, "{good}");
        }
    }

    #[test]
    fn globs_are_completed_by_the_same_rule() {
        for (short, long) in [
            ("nginx:*", "docker.io/library/nginx:*"),
            ("ng?nx", "docker.io/library/ng?nx:latest"),
            ("my-*", "docker.io/library/my-*"),
            ("team/*", "docker.io/team/*"),
            ("*/nginx", "docker.io/*/nginx:latest"),
            ("*.example.com/app:*", "*.example.com/app:*"),
            ("registry.example/**", "registry.example/**"),
            ("**/nginx:*", "**/nginx:*"),
            ("*", "docker.io/library/*"),
        ] {
            assert_eq!(full_glob(short), long);
        }
    }

    proptest! {
        #[test]
        fn the_full_form_is_a_fixed_point(name in "([a-z.]{1,8}(:5)?/)?[a-z]{1,6}(/[a-z]{1,4})?(:[a-z0-9]{1,3})?(@sha256:[0-9a-f]{4})?") {
            let once = full(&name);
            prop_assert_eq!(full(&once), once);
        }
    }
}
