//! What is wrong with a file, shown with the line and what to write instead.

use std::fmt;
use std::sync::Arc;

use lacre_types::escape;
use serde::Serialize;

/// A place in a file, as a person counts: lines and characters from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The line.
    pub line: u32,
    /// The character of the line where it begins.
    pub column: u32,
    /// How many characters of that line belong to it; at least 1.
    pub width: u32,
}

/// Whether a file is refused for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is taken, and something in it does not do what it seems to.
    Warning,
}

/// Something wrong with a file: where, what, and what to do. Prints as rustc does, the
/// line of the file included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The name of the file, as it was given.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: u32,
    /// The character of the line, from 1.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What was expected there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    #[serde(skip)]
    excerpt: Excerpt,
}

/// A warning is a diagnostic that the file survives.
pub type Warning = Diagnostic;

/// One line of the file, or the part of it around the place.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Excerpt {
    text: String,
    /// Characters before the caret.
    indent: usize,
    /// Carets.
    width: usize,
}

/// Characters of one line that are shown; a longer one is cut around the place.
const SHOWN: usize = 100;

impl Excerpt {
    fn of(line: &str, span: Span) -> Self {
        let column = span.column.saturating_sub(1) as usize;
        let from = if column > SHOWN * 2 / 3 { column - SHOWN / 2 } else { 0 };
        let mut chars: Vec<char> = line.chars().skip(from).take(SHOWN + 1).map(shown).collect();
        if chars.len() > SHOWN {
            chars.truncate(SHOWN - 1);
            chars.push('…');
        }
        if from > 0
            && let Some(first) = chars.first_mut()
        {
            *first = '…';
        }
        let length = chars.len();
        let mut text: String = chars.into_iter().collect();
        text.truncate(text.trim_end().len());
        let indent = (column - from).min(length);
        let width = (span.width as usize).clamp(1, (length - indent).max(1));
        Self { text, indent, width }
    }
}

/// One character for one, so that the caret stands beneath its own.
fn shown(c: char) -> char {
    if c == '\t' {
        return ' ';
    }
    let mut bytes = [0; 4];
    let plain = c == '\\' || escape(c.encode_utf8(&mut bytes).as_bytes()).chars().eq([c]);
    if plain { c } else { char::REPLACEMENT_CHARACTER }
}

impl Diagnostic {
    pub(crate) fn new(
        severity: Severity,
        file: &Arc<str>,
        line: &str,
        span: Span,
        message: String,
    ) -> Self {
        Self {
            severity,
            file: Arc::clone(file),
            line: span.line,
            column: span.column,
            message,
            expected: None,
            help: None,
            excerpt: Excerpt::of(line, span),
        }
    }

    /// Says what was expected, beside the caret.
    pub fn expected(&mut self, expected: impl Into<String>) -> &mut Self {
        self.expected = Some(expected.into());
        self
    }

    /// Says what to do.
    pub fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let Self { file, line, column, message, excerpt, .. } = self;
        let file = escape(file.as_bytes());
        writeln!(f, "{file}:{line}:{column}: {severity}: {message}")?;
        let number = line.to_string();
        let gutter = number.len();
        writeln!(f, "{:gutter$} |", "")?;
        writeln!(f, "{number} | {}", excerpt.text)?;
        let (indent, carets) = (excerpt.indent, "^".repeat(excerpt.width));
        write!(f, "{:gutter$} | {:indent$}{carets}", "", "")?;
        if let Some(expected) = &self.expected {
            write!(f, " {expected}")?;
        }
        writeln!(f)?;
        if let Some(help) = &self.help {
            writeln!(f, "{:gutter$} = help: {help}", "")?;
        }
        Ok(())
    }
}

/// Why a file was refused: everything that is wrong with it, in its order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Errors {
    /// What is wrong, and the warnings too.
    pub diagnostics: Vec<Diagnostic>,
    /// Errors beyond [`Errors::MAX`], which are only counted.
    pub more: usize,
}

impl Errors {
    /// The most errors, and the most warnings, that are told of one file; beyond that
    /// nobody reads.
    pub const MAX: usize = 50;
}

impl std::error::Error for Errors {}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.diagnostics.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            diagnostic.fmt(f)?;
        }
        if self.more > 0 {
            writeln!(f, "\nand {} more", self.more)?;
        }
        Ok(())
    }
}

/// A text of the file within a message.
pub(crate) fn excerpt(text: &str) -> String {
    lacre_types::escape(text.as_bytes()).chars().take(80).collect()
}
