//! From nodes to values, with everything that is wrong told at once.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;

use lacre_types::{UnknownWord, escape};

use super::load::{self, MAX_BYTES};
use super::node::{Node, Value};
use crate::diagnostic::{Diagnostic, Errors, Severity, Span};
use crate::nearest::nearest;

/// Reads nodes into values, and gathers everything that is wrong on the way, so that one
/// look at the file tells all of it.
///
/// A method that answers `None` has said why. Whoever reads goes on with the rest, and
/// lets [`Reader::finish`] decide.
#[derive(Debug)]
pub struct Reader<'t> {
    file: Arc<str>,
    text: &'t str,
    errors: Vec<Diagnostic>,
    more: usize,
    warnings: Vec<Diagnostic>,
}

const START: Span = Span { line: 1, column: 1, width: 1 };

/// A key of a mapping and what stands under it.
#[derive(Debug, Clone, Copy)]
pub struct Field<'n> {
    /// The key.
    pub name: &'n str,
    /// Where the key stands.
    pub span: Span,
    /// What stands under it.
    pub value: &'n Node,
}

impl<'t> Reader<'t> {
    /// Opens a file's text, which may not be empty. `name` is for the messages alone.
    ///
    /// # Errors
    /// When it is empty, or as [`Reader::open_or_empty`].
    pub fn open(name: &str, bytes: &'t [u8]) -> Result<(Self, Node), Errors> {
        let (mut reader, root) = Self::open_or_empty(name, bytes)?;
        if let Some(root) = root {
            return Ok((reader, root));
        }
        reader.error(START, "the file is empty");
        Err(Errors { diagnostics: reader.errors, more: 0 })
    }

    /// Opens a file's text; no node when there is none in it.
    ///
    /// # Errors
    /// When it is too large, no UTF-8, no YAML, or uses what is not read here.
    pub fn open_or_empty(name: &str, bytes: &'t [u8]) -> Result<(Self, Option<Node>), Errors> {
        let file = Arc::from(name);
        let fail = |text: &str, span, message, help: Option<String>| {
            let line = line_of(text, span);
            let mut diagnostic = Diagnostic::new(Severity::Error, &file, line, span, message);
            diagnostic.help = help;
            Err(Errors { diagnostics: vec![diagnostic], more: 0 })
        };
        if bytes.len() > MAX_BYTES {
            let message = format!("the file has {} bytes, more than {MAX_BYTES}", bytes.len());
            return fail("", START, message, Some("split it, or use globs".into()));
        }
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let (good, bad) = bytes.split_at(error.valid_up_to());
                let good = std::str::from_utf8(good).unwrap_or_default();
                let line = good.bytes().filter(|byte| *byte == b'\n').count() + 1;
                let column = good.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
                let span = Span { line: number(line), column: number(column), width: 1 };
                let byte = bad.first().copied().unwrap_or_default();
                let message = format!("byte 0x{byte:02x} is not UTF-8");
                let help = "save the file as UTF-8; in a path, write such a byte as `\\xNN`";
                return fail(good, span, message, Some(help.into()));
            }
        };
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        match load::load(text) {
            Ok(root) => {
                let (errors, warnings) = (Vec::new(), Vec::new());
                Ok((Self { file, text, errors, more: 0, warnings }, root))
            }
            Err(refused) => {
                fail(text, refused.span, refused.message, refused.help.map(str::to_owned))
            }
        }
    }

    /// The file's name, as it was given.
    #[must_use]
    pub const fn file(&self) -> &Arc<str> {
        &self.file
    }

    /// Says that something is wrong, and lets the caller add what was expected and what
    /// to do.
    pub fn error(&mut self, span: Span, message: impl Into<String>) -> &mut Diagnostic {
        let full = self.errors.len() >= Errors::MAX;
        let diagnostic = self.diagnostic(Severity::Error, span, message.into(), full);
        if full {
            self.errors.truncate(Errors::MAX);
            self.more += 1;
        }
        self.errors.push(diagnostic);
        let last = self.errors.len() - 1;
        &mut self.errors[last]
    }

    /// Says that something does not do what it seems to.
    pub fn warn(&mut self, span: Span, message: impl Into<String>) -> &mut Diagnostic {
        let full = self.warnings.len() >= Errors::MAX;
        let diagnostic = self.diagnostic(Severity::Warning, span, message.into(), full);
        self.warnings.truncate(Errors::MAX);
        self.warnings.push(diagnostic);
        let last = self.warnings.len() - 1;
        &mut self.warnings[last]
    }

    /// Whether anything is wrong so far.
    #[must_use]
    pub const fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// `untold`: nobody will see it, so its line is not looked for.
    fn diagnostic(
        &self,
        severity: Severity,
        span: Span,
        message: String,
        untold: bool,
    ) -> Diagnostic {
        let line = if untold { "" } else { line_of(self.text, span) };
        Diagnostic::new(severity, &self.file, line, span, message)
    }

    /// Ends the reading: the warnings, when there was no error.
    ///
    /// # Errors
    /// Everything that was wrong, when something was.
    pub fn finish(mut self) -> Result<Vec<Diagnostic>, Errors> {
        self.warnings.truncate(Errors::MAX);
        if self.errors.is_empty() {
            return Ok(self.warnings);
        }
        self.errors.truncate(Errors::MAX);
        let mut diagnostics = self.errors;
        diagnostics.append(&mut self.warnings);
        diagnostics.sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
        Err(Errors { diagnostics, more: self.more })
    }

    /// The fields of a mapping whose keys are all in `known`; the others are refused, and
    /// so is a key that stands there twice.
    pub fn fields<'n>(
        &mut self,
        node: &'n Node,
        what: &str,
        known: &[&str],
    ) -> Option<Vec<Field<'n>>> {
        let fields = self.map(node, what)?;
        let mut seen: HashMap<&str, u32> = HashMap::new();
        let mut good = Vec::with_capacity(fields.len());
        for field in fields {
            let Field { name, span, .. } = field;
            if !known.contains(&name) {
                self.unknown(span, &format!("is not a key of {what}"), name, known);
            } else if let Some(line) = seen.insert(name, span.line) {
                self.error(span, format!("`{name}` is already on line {line}"))
                    .help("a key stands in a mapping once; make one of the two");
            } else {
                good.push(field);
            }
        }
        Some(good)
    }

    /// The keys and values of a mapping, whatever the keys.
    fn map<'n>(&mut self, node: &'n Node, what: &str) -> Option<Vec<Field<'n>>> {
        let Value::Map(map) = &node.value else {
            self.wrong(node, &format!("a mapping ({what})"));
            return None;
        };
        let mut fields = Vec::with_capacity(map.len());
        for (key, value) in map {
            if let Some(name) = self.text(key, "a key") {
                fields.push(Field { name, span: key.span, value });
            }
        }
        Some(fields)
    }

    /// The entries of a list of one-key mappings, figure 3's own form.
    pub fn entries<'n>(&mut self, node: &'n Node, what: &str) -> Vec<Field<'n>> {
        let Value::List(list) = &node.value else {
            let map = matches!(node.value, Value::Map(_));
            let error = self.wrong(node, &format!("a list of one-key mappings ({what})"));
            if map {
                error.help("begin each entry with a dash: `- KEY: ACTION`");
            }
            return Vec::new();
        };
        let mut entries = Vec::with_capacity(list.len());
        for item in list {
            let Some(fields) = self.map(item, "- KEY: ACTION") else { continue };
            if let [field] = fields[..] {
                entries.push(field);
            } else if let Some(second) = fields.get(1) {
                self.error(second.span, "an entry has one key; this is a second one")
                    .help("begin each entry with a dash of its own");
            } else if matches!(&item.value, Value::Map(map) if map.is_empty()) {
                self.error(item.span, "an entry has one key; this has none");
            }
        }
        entries
    }

    /// The text of a scalar.
    pub fn text<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
        if let Value::Scalar(text) = &node.value {
            return Some(text);
        }
        self.wrong(node, what);
        None
    }

    /// A scalar that is one of a few words. `also` are further spellings that it may have.
    pub fn word<T>(&mut self, node: &Node, what: &str, also: &[&str]) -> Option<T>
    where
        T: FromStr<Err = UnknownWord>,
    {
        let text = self.text(node, what)?;
        match text.parse() {
            Ok(word) => Some(word),
            Err(unknown) => {
                let known: Vec<&str> =
                    unknown.expected.split_whitespace().chain(also.iter().copied()).collect();
                self.unknown(node.span, &format!("is not {what}"), text, &known);
                None
            }
        }
    }

    /// `true` or `false`.
    pub fn switch(&mut self, node: &Node) -> Option<bool> {
        match self.text(node, "true or false")? {
            "true" => Some(true),
            "false" => Some(false),
            text => {
                let shown: String = escape(text.as_bytes()).chars().take(64).collect();
                self.error(node.span, format!("`{shown}` is neither true nor false"));
                None
            }
        }
    }

    fn unknown(&mut self, span: Span, is_not: &str, word: &str, known: &[&str]) {
        if self.errors.len() > Errors::MAX {
            self.more += 1;
            return;
        }
        let shown: String = escape(word.as_bytes()).chars().take(64).collect();
        let error = self.error(span, format!("`{shown}` {is_not}"));
        error.expected(format!("expected one of {}", known.join(", ")));
        if let Some(meant) = nearest(word, known) {
            error.help(format!("did you mean `{meant}`?"));
        }
    }

    /// Says that a node is of another type than `expected`.
    pub fn wrong(&mut self, node: &Node, expected: &str) -> &mut Diagnostic {
        let found = node.value.name();
        self.error(node.span, format!("expected {expected}, found {found}"))
    }
}

fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// The text of a line, with YAML's three line breaks.
fn line_of(text: &str, span: Span) -> &str {
    let mut rest = text;
    for _ in 1..span.line {
        let Some(end) = rest.find(['\n', '\r']) else { return "" };
        let wide = rest[end..].starts_with("\r\n");
        rest = &rest[end + 1 + usize::from(wide)..];
    }
    &rest[..rest.find(['\n', '\r']).unwrap_or(rest.len())]
}
