//! Which rows are wanted.

use super::row::Row;
use crate::exit::Usage;
use crate::when::Moment;

/// Kinds of rows that are no violation.
const OTHERS: [&str; 4] = ["OUTCOME", "GAP", "RELEASE", "AGAIN"];

/// What is wanted.
#[derive(Debug, Default)]
pub(crate) struct Select {
    pub(crate) since: Option<String>,
    pub(crate) until: Option<String>,
    pub(crate) image: Option<String>,
    pub(crate) container: Option<String>,
    pub(crate) pod: Option<String>,
    pub(crate) kinds: Vec<String>,
}

impl Select {
    pub(crate) fn since(&mut self, since: Option<&Moment>, until: Option<&Moment>) {
        self.since = since.map(Moment::rfc3339);
        self.until = until.map(Moment::rfc3339);
    }

    /// Whether a row is: some of it lies in the span, and it is whose is asked for.
    pub(crate) fn wants(&self, row: &Row) -> bool {
        let Row { namespace, container, of, .. } = row;
        let begins = |id: &str, start: &str| !id.is_empty() && id.starts_with(start);
        self.since.as_ref().is_none_or(|since| row.last >= *since)
            && self.until.as_ref().is_none_or(|until| row.first <= *until)
            && (self.kinds.is_empty() || self.kinds.contains(&row.kind))
            && self.image.as_ref().is_none_or(|image| {
                of.image_name.contains(image.as_str()) || begins(&of.image_id, image)
            })
            && self.container.as_ref().is_none_or(|wanted| {
                begins(container, wanted)
                    || begins(&format!("{namespace}/{container}"), wanted)
                    || of.container_name == *wanted
            })
            && self.pod.as_ref().is_none_or(|wanted| {
                of.pod_name == *wanted
                    || format!("{}/{}", of.pod_namespace, of.pod_name) == *wanted
                    || begins(&of.pod, wanted)
            })
    }
}

/// Reads kinds: of violations, or of rows.
pub(crate) fn kinds(words: &[String]) -> anyhow::Result<Vec<String>> {
    let known = lacre_types::ViolationKind::ALL.iter().map(|kind| kind.as_str()).chain(OTHERS);
    let known: Vec<&str> = known.collect();
    let read = |word: &String| {
        let upper = word.to_uppercase().replace('-', "_");
        if known.contains(&upper.as_str()) {
            return Ok(upper);
        }
        let shown = lacre_types::escape(word.as_bytes());
        Err(Usage(format!("`{shown}` is no kind; there are {}", known.join(", "))).into())
    };
    words.iter().map(read).collect()
}
