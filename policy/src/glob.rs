//! Globs on bytes. `*` is any run of bytes within a part, `?` one byte, `[a-z]` and `[!a]`
//! one of a set, `**` alone between slashes any number of parts. `\` takes the next
//! character as it stands, and reads the escapes that lacre's records print (`\xff`,
//! `\u{202e}`, `\n`), so that a path can be pasted from a record.
//!
//! Matching costs at most pattern × subject steps, and never more memory.

pub(crate) mod steps;
mod syntax;

pub use syntax::GlobError;
use syntax::{Token, bounded, tokens};

/// A pattern for a whole text, in which a slash is a byte like any other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wild(Box<[Token]>);

impl Wild {
    pub(crate) fn new(pattern: &str) -> Result<Self, GlobError> {
        bounded(pattern)?;
        let parts = tokens(pattern, false)?;
        Ok(Self(parts.into_iter().flatten().collect()))
    }

    /// Matches the empty text alone.
    pub(crate) fn empty() -> Self {
        Self(Box::new([]))
    }

    /// The one text that it matches, when it has no wildcard.
    pub(crate) fn literal(&self) -> Option<Vec<u8>> {
        let byte = |token: &Token| if let Token::Byte(byte) = token { Some(*byte) } else { None };
        self.0.iter().map(byte).collect()
    }

    fn prefix(&self) -> impl Iterator<Item = u8> {
        self.0.iter().map_while(|token| if let Token::Byte(b) = token { Some(*b) } else { None })
    }

    /// Greedy, back to the last star alone: what an earlier star could take, the last can.
    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        let (mut at, mut token) = (0, 0);
        let mut star = None;
        while at < text.len() {
            match self.0.get(token) {
                Some(Token::Star) => {
                    star = Some((token, at));
                    token += 1;
                }
                Some(own) if own.takes(text[at]) => {
                    token += 1;
                    at += 1;
                }
                _ => {
                    let Some((own, from)) = star else { return false };
                    star = Some((own, from + 1));
                    token = own + 1;
                    at = from + 1;
                }
            }
        }
        self.0[token..].iter().all(|token| *token == Token::Star)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Any,
    One(Wild),
}

/// A pattern for a text of parts with slashes between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Glob(Box<[Part]>);

impl Glob {
    pub(crate) fn new(pattern: &str) -> Result<Self, GlobError> {
        bounded(pattern)?;
        let mut parts: Vec<Part> = Vec::new();
        for tokens in tokens(pattern, true)? {
            if tokens == [Token::Star, Token::Star] {
                if parts.last() != Some(&Part::Any) {
                    parts.push(Part::Any);
                }
            } else if tokens.windows(2).any(|pair| pair == [Token::Star, Token::Star]) {
                return Err(GlobError::Stars);
            } else {
                parts.push(Part::One(Wild(tokens.into())));
            }
        }
        Ok(Self(parts.into()))
    }

    /// Of one text alone.
    pub(crate) fn of_literal(text: &[u8]) -> Self {
        let part =
            |part: &[u8]| Part::One(Wild(part.iter().map(|byte| Token::Byte(*byte)).collect()));
        Self(text.split(|byte| *byte == b'/').map(part).collect())
    }

    /// The one text that it matches, when it has no wildcard.
    pub(crate) fn literal(&self) -> Option<Vec<u8>> {
        let literal = |part: &Part| if let Part::One(wild) = part { wild.literal() } else { None };
        let parts: Vec<Vec<u8>> = self.0.iter().map(literal).collect::<Option<_>>()?;
        Some(parts.join(&b'/'))
    }

    /// The bytes that everything it matches begins with.
    pub(crate) fn prefix(&self) -> Vec<u8> {
        let mut prefix = Vec::new();
        for part in &self.0 {
            let Part::One(wild) = part else { return prefix };
            let before = prefix.len();
            prefix.extend(wild.prefix());
            if prefix.len() - before < wild.0.len() {
                return prefix;
            }
            prefix.push(b'/');
        }
        prefix.pop();
        prefix
    }

    /// As in [`Wild::matches`], with parts for bytes.
    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        let mut rest = Some(text);
        let mut part = 0;
        let mut any = None;
        loop {
            match (self.0.get(part), rest) {
                (None, None) => return true,
                (Some(Part::Any), Some(from)) => {
                    if part + 1 == self.0.len() {
                        return true;
                    }
                    any = Some((part, from));
                    part += 1;
                    continue;
                }
                (Some(Part::One(wild)), Some(from)) => {
                    let (head, tail) = cut(from);
                    if wild.matches(head) {
                        rest = tail;
                        part += 1;
                        continue;
                    }
                }
                _ => {}
            }
            let Some((own, from)) = any else { return false };
            let (_, Some(tail)) = cut(from) else { return false };
            any = Some((own, tail));
            rest = Some(tail);
            part = own + 1;
        }
    }
}

/// The first part, and what comes after its slash.
fn cut(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|byte| *byte == b'/') {
        Some(slash) => (&text[..slash], Some(&text[slash + 1..])),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests;
