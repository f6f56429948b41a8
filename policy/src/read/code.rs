//! `CodeDirectories`.

use super::{by_container, keys};
use crate::code_directories::{CodeDirectories, CodeRules};
use crate::diagnostic::excerpt;
use crate::yaml::{Field, Node, Reader, Value};
use crate::{Selector, Span};

/// The keys under `CodeDirectories`: those of a kind but for the file's path, which is what is
/// declared here.
pub(crate) const CODE: &[&str] = &[
    "ByContainerID",
    "ByContainerImageDigest",
    "ByContainerImageName",
    "ByLabel",
    "ByAnnotation",
    "ByNamespace",
    "Default",
];

pub(super) fn rules(reader: &mut Reader<'_>, node: &Node) -> CodeRules {
    let mut rules = CodeRules::default();
    for field in reader.fields(node, "`CodeDirectories`", CODE).unwrap_or_default() {
        match Selector::of(field.name) {
            Some(selector) => {
                let list =
                    |reader: &mut Reader<'_>, entry: Field<'_>| directories(reader, entry.value);
                rules.count += by_container::list(reader, selector, field, &mut rules.by, list);
            }
            None => rules.rest = directories(reader, field.value).unwrap_or_default(),
        }
    }
    rules
}

/// A list of directories; an empty one says that there are none.
fn directories(reader: &mut Reader<'_>, node: &Node) -> Option<CodeDirectories> {
    let Value::List(list) = &node.value else {
        reader.wrong(node, "a list of directories").help("write `[/srv/app]`, or `[]` for none");
        return None;
    };
    if list.len() > CodeDirectories::MOST {
        let most = CodeDirectories::MOST;
        reader
            .error(Span { width: 1, ..node.span }, format!("more than {most} directories"))
            .help("name a directory above them, or use a glob");
        return None;
    }
    let mut patterns: Vec<String> = Vec::with_capacity(list.len());
    for item in list {
        let name = reader.text(item, "a directory")?;
        let trimmed = name.trim_end_matches('/');
        let name = if trimmed.is_empty() && !name.is_empty() { "/" } else { trimmed };
        let entry = Field { name, span: item.span, value: item };
        let pattern = keys::path(reader, entry)?;
        if pattern == "**" || pattern.ends_with("/**") {
            let directory = pattern.strip_suffix("**").unwrap_or_default();
            reader
                .warn(item.span, "what lies below a directory is meant by its name alone")
                .help(format!("write {}", if directory.is_empty() { "/" } else { directory }));
        }
        if patterns.contains(&pattern) {
            reader.error(item.span, format!("`{}` is there twice", excerpt(&pattern)));
            return None;
        }
        patterns.push(pattern);
    }
    match CodeDirectories::of(patterns) {
        Ok(read) => Some(read),
        Err((pattern, error)) => {
            reader.error(node.span, format!("`{}`: {error}", excerpt(&pattern)));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_selector_but_the_path_has_its_key() {
        let selectors = Selector::ALL.iter().filter(|by| **by != Selector::Path);
        let selectors: Vec<&str> = selectors.map(|by| by.as_str()).collect();
        assert_eq!(selectors, CODE[..CODE.len() - 1]);
    }
}
