//! What a container ran against what it may run.

use lacre_types::{Source, Whitelist, escape};

use super::case::Case;
use super::finding::Finding;
use super::host::each;
use super::host_programs::{judge, measurement, shown};
use super::lists::Subject;
use super::verdict::Question;
use crate::container::OVERFLOW;
use crate::evidence::ContainerPart;

/// The longest name of an image that has a meaning: of a repository, a tag, and a digest.
const IMAGE: usize = 512;

/// An image's name as it is shown: a node chooses it.
fn name(image: &str) -> String {
    escape(image.as_bytes()).chars().take(IMAGE).collect()
}

impl<'a> Case<'a> {
    /// Holds so many lines of a list against what that container may run. Tells the image,
    /// where it was by that that all lines of the list were judged.
    pub(super) fn baseline(
        &mut self,
        subject: &Subject<'_>,
        part: &'a ContainerPart,
        anchored: u64,
    ) -> Option<&'a str> {
        let question = Question::ContainerBaseline(subject.name.clone());
        let (baseline, image) = match subject.expected.baseline {
            Some(baseline) => (baseline, None),
            None => match self.by_image(subject, part) {
                Ok((baseline, image)) => (baseline, Some(image)),
                Err(why) => {
                    self.not_checked(question, why);
                    return None;
                }
            },
        };
        let id = &subject.expected.id;
        let mut findings = Vec::new();
        let done = each(&part.list, anchored, |line, entry| {
            if entry.is_violation() && entry.name() == Some(OVERFLOW) {
                return;
            }
            let Some(measurement) = measurement(entry, Source::ContainerIma) else { return };
            let verdict = judge(Some(baseline), &measurement);
            if let lacre_analyzer::Verdict::Violation(violation) = verdict {
                let digest = measurement.digest().copied();
                let (container, path, kind) = (id.clone(), shown(entry), violation.kind);
                findings.push(Finding::ContainerViolation { container, path, kind, digest, line });
            }
        });
        self.find_some(&question, findings);
        if done.is_err() {
            return None;
        }
        let of = image.map(|image| format!(" of {}", name(image))).unwrap_or_default();
        self.passed(question, format!("{anchored} measurements are in the baseline{of}"));
        image
    }

    /// The baseline of the image that the node says it is. One image for all of a list: else
    /// a node could choose for each line the one that has it.
    fn by_image(
        &self,
        subject: &Subject<'_>,
        part: &'a ContainerPart,
    ) -> Result<(&'a dyn Whitelist, &'a str), String> {
        let Some(images) = self.expect.images else {
            return Err("no baseline was given".to_owned());
        };
        let Some(image) = part.image.as_deref().filter(|image| !image.is_empty()) else {
            return Err("no baseline was given for it, and its image is not told".to_owned());
        };
        let Some(baseline) = images.baseline(image) else {
            return Err(format!("no baseline was given for it, nor for its image {}", name(image)));
        };
        match &subject.known_as {
            Some(known) if *known != image => Err(format!(
                "its first lines were judged as those of {}, and now its image is {}",
                name(known),
                name(image)
            )),
            None if subject.known.lines > 0 => {
                Err(format!("its first lines were not judged as those of {}", name(image)))
            }
            _ => Ok((baseline, image)),
        }
    }
}
