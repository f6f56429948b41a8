//! From text to nodes: YAML without what would surprise, in bounded memory.

use granit_parser::{Event, Parser, ScalarStyle};

use super::node::{Node, Value};
use crate::diagnostic::Span;

/// The largest file that is read: 1 MiB is some 15,000 rules.
pub const MAX_BYTES: usize = 1 << 20;

/// The deepest nesting. A policy needs 9.
pub const MAX_DEPTH: usize = 16;

/// Why a text is not YAML as it is used here.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) span: Span,
    pub(super) message: String,
    pub(super) help: Option<&'static str>,
}

impl Refused {
    fn new(span: Span, message: impl Into<String>, help: &'static str) -> Self {
        Self { span, message: message.into(), help: Some(help) }
    }
}

/// A collection whose end has not come yet.
enum Open {
    List(Span, Vec<Node>),
    Map(Span, Vec<(Node, Node)>, Option<Node>),
}

/// The one document of the text; `None` when it is empty.
pub(super) fn load(text: &str) -> Result<Option<Node>, Refused> {
    let options = granit_parser::options! {
        disallow_directives: true,
        // An anchor's own place, right behind the node that has it.
        emit_anchor_events: true,
    };
    let mut open: Vec<Open> = Vec::new();
    let mut root = None;
    let mut documents = 0;
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| {
            let span = at(error.marker(), None);
            let message = format!("this is not YAML: {}", error.info());
            Refused { span, message, help: help_with(text, span) }
        })?;
        refuse_extras(&event, &span)?;
        let span = at(&span.start, Some(&span.end));
        match event {
            Event::DocumentStart(..) => {
                documents += 1;
                if documents > 1 {
                    return Err(Refused::new(
                        span,
                        "a second document begins here",
                        "one file holds one document; remove the `---` and what follows it",
                    ));
                }
            }
            Event::Scalar(value, style, ..) => {
                let null = style == ScalarStyle::Plain && matches!(&*value, "" | "~" | "null");
                let value = if null { Value::Null } else { Value::Scalar(value.into_owned()) };
                put(&mut open, &mut root, Node { span, value });
            }
            Event::SequenceStart(..) => open.push(Open::List(first(span), Vec::new())),
            Event::MappingStart(..) => open.push(Open::Map(first(span), Vec::new(), None)),
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(span, list)) => {
                    put(&mut open, &mut root, Node { span, value: Value::List(list) });
                }
                Some(Open::Map(span, map, _)) => {
                    put(&mut open, &mut root, Node { span, value: Value::Map(map) });
                }
                None => {}
            },
            _ => {}
        }
        if open.len() > MAX_DEPTH {
            return Err(Refused {
                span: first(span),
                message: format!("this is nested more than {MAX_DEPTH} deep"),
                help: None,
            });
        }
    }
    Ok(root)
}

/// What people write who do not think of YAML: globs without quotes, and tabs.
fn help_with(text: &str, span: Span) -> Option<&'static str> {
    let line = text.lines().nth((span.line as usize).checked_sub(1)?)?;
    let indentation = line.len() - line.trim_start().len();
    if line[..indentation].contains('\t') {
        return Some("indent by spaces; YAML takes no tabs there");
    }
    // An entry's dash and blanks, as where the parser tells of the entry and not of its text.
    let rest: String = line.chars().skip((span.column as usize).saturating_sub(1)).collect();
    let word = rest.trim_start_matches(['-', ' ']);
    word.starts_with(['*', '&', '!', '%', '@', '`', '[', '{', '?', '|', '>']).then_some(
        "put a text in quotes that begins with one of `* & ! % @ [ { ? | >` or a backquote",
    )
}

fn refuse_extras(event: &Event<'_>, span: &granit_parser::Span) -> Result<(), Refused> {
    if matches!(event, Event::Alias(_) | Event::UnresolvedAlias(_) | Event::Anchor(..)) {
        return Err(Refused::new(
            at(&span.start, Some(&span.end)),
            "anchors and aliases (`&`, `*`) are not read here",
            "write the value out; put a text that begins with `*` or `&` in quotes",
        ));
    }
    if let Some(tag) = span.tag_span() {
        return Err(Refused::new(
            at(&tag.start, Some(&tag.end)),
            "tags (`!`) are not read here",
            "leave the tag out; put a text that begins with `!` in quotes",
        ));
    }
    Ok(())
}

fn put(open: &mut [Open], root: &mut Option<Node>, node: Node) {
    match open.last_mut() {
        None => *root = Some(node),
        Some(Open::List(_, list)) => list.push(node),
        Some(Open::Map(_, map, key)) => match key.take() {
            None => *key = Some(node),
            Some(key) => map.push((key, node)),
        },
    }
}

fn first(span: Span) -> Span {
    Span { width: 1, ..span }
}

fn at(start: &granit_parser::Marker, end: Option<&granit_parser::Marker>) -> Span {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let width = match end {
        Some(end) if end.line() == start.line() => end.col().saturating_sub(start.col()),
        _ => 1,
    };
    Span {
        line: number(start.line()).max(1),
        column: number(start.col()).saturating_add(1),
        width: number(width).max(1),
    }
}
