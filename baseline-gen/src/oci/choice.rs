//! Which image of several is meant.

use lacre_types::escape;

use super::document::{Descriptor, Saved};
use super::platform::Platform;

/// The manifest of that name and platform; the error says what is the matter with "it".
pub(super) fn choose<'a>(
    manifests: &'a [Descriptor],
    name: Option<&str>,
    platform: &Platform,
) -> Result<&'a Descriptor, String> {
    let images: Vec<_> = manifests.iter().filter(|one| !one.is_attestation()).collect();
    let named: Vec<_> =
        images.iter().filter(|one| name.is_none_or(|name| one.is_named(name))).collect();
    let fitting: Vec<_> = named.iter().filter(|one| one.fits(platform)).collect();
    let list = |all: &[&Descriptor]| {
        let names: Vec<_> = all.iter().take(20).map(|one| one.shown()).collect();
        names.join(", ")
    };
    match (fitting.as_slice(), name) {
        ([one], _) => Ok(one),
        ([], Some(name)) => Err(format!(
            "holds no image named {} for {platform}; it holds: {}",
            escape(name.as_bytes()),
            list(&images)
        )),
        ([], None) => Err(format!("holds no image for {platform}; it holds: {}", list(&images))),
        // Variants of one architecture: without a wish, the first is the best (OCI image-spec).
        ([first, rest @ ..], _) if rest.iter().all(|other| other.is_variant_of(first)) => Ok(first),
        _ => Err(format!("holds several images, name one of them: {}", list(&images))),
    }
}

pub(super) fn choose_saved(mut all: Vec<Saved>, name: Option<&str>) -> Result<Saved, String> {
    let fits = |one: &Saved| name.is_none_or(|name| one.tags().iter().any(|tag| tag == name));
    let found: Vec<usize> =
        all.iter().enumerate().filter(|(_, one)| fits(one)).map(|(index, _)| index).collect();
    match found.as_slice() {
        [one] => Ok(all.swap_remove(*one)),
        _ => {
            let tags: Vec<_> =
                all.iter().flat_map(Saved::tags).map(|tag| escape(tag.as_bytes())).collect();
            let many = if found.is_empty() { "no image of that name" } else { "several images" };
            Err(format!("holds {many}, name one of them: {}", tags.join(", ")))
        }
    }
}
