//! Globs on bytes. `*` is any run of bytes within a part, `?` one byte, `[a-z]` and `[!a]`
//! one of a set, `**` alone between slashes any number of parts. `\` takes the next
//! character as it stands, and reads the escapes that lacre's records print (`\xff`,
//! `\u{202e}`, `\n`), so that a path can be pasted from a record.
//!
//! Matching costs at most pattern × subject steps, and never more memory.

use std::collections::BTreeSet;

/// The longest pattern, in bytes; a path has at most 4096.
const MAX: usize = 4096;

/// Why a text is not a glob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// It is empty.
    #[error("the pattern is empty")]
    Empty,
    /// It is longer than a path can be.
    #[error("the pattern has {0} bytes, more than {MAX}")]
    TooLong(usize),
    /// A `**` that shares its part with something else.
    #[error("`**` stands alone between slashes; within a part, write `*`")]
    Stars,
    /// A `[` without its `]`, or with nothing between.
    #[error("`[` begins a set such as [a-z] and has no `]`; for the character itself write `\\[`")]
    Set,
    /// A backslash with nothing, or nothing known, behind it.
    #[error("`\\` is followed by none of * ? [ ] \\ n t r xNN u{{N}}")]
    Escape,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Byte(u8),
    One,
    Star,
    Set { not: bool, ranges: Box<[(u8, u8)]> },
}

impl Token {
    fn takes(&self, byte: u8) -> bool {
        match self {
            Self::Byte(own) => *own == byte,
            Self::One => true,
            Self::Star => false,
            Self::Set { not, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&byte)) != *not
            }
        }
    }
}

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

/// Several patterns as one automaton without a decision yet, over the parts of a path from the
/// last to the first, each ended by a zero byte; the empty part before the first slash is left
/// out.
pub(crate) struct Steps<'g> {
    /// Of each pattern, its parts from the last to the first.
    patterns: Vec<Vec<&'g Part>>,
    /// Pattern, part and token of each place; the part's own end is a token too.
    places: Vec<(usize, usize, usize)>,
    /// The place of a pattern's part's beginning.
    begins: Vec<Vec<usize>>,
}

impl<'g> Steps<'g> {
    pub(crate) fn of(globs: &[&'g Glob]) -> Self {
        let patterns: Vec<Vec<&Part>> =
            globs.iter().map(|glob| glob.0.iter().rev().collect()).collect();
        let (mut places, mut begins) = (Vec::new(), Vec::new());
        for (pattern, parts) in patterns.iter().enumerate() {
            let mut begin = Vec::new();
            for (part, own) in parts.iter().enumerate() {
                begin.push(places.len());
                let tokens = match own {
                    Part::Any => 0,
                    Part::One(wild) => wild.0.len(),
                };
                places.extend((0..=tokens).map(|token| (pattern, part, token)));
            }
            begins.push(begin);
        }
        Self { patterns, places, begins }
    }

    pub(crate) fn start(&self) -> BTreeSet<u32> {
        let mut set = BTreeSet::new();
        (0..self.patterns.len()).for_each(|pattern| self.begin(&mut set, pattern, 0));
        set
    }

    /// A part begins: where it may be none at all, the next one does.
    fn begin(&self, set: &mut BTreeSet<u32>, pattern: usize, part: usize) {
        let Some(place) = self.begins[pattern].get(part) else { return };
        self.reach(set, *place);
        // At the end of a pattern it is one part at least.
        if part > 0 && *self.patterns[pattern][part] == Part::Any {
            self.begin(set, pattern, part + 1);
        }
    }

    /// A place, and where a star may take nothing, the next.
    fn reach(&self, set: &mut BTreeSet<u32>, place: usize) {
        set.insert(place as u32);
        if self.token(place) == Some(&Token::Star) {
            self.reach(set, place + 1);
        }
    }

    fn token(&self, place: usize) -> Option<&'g Token> {
        let (pattern, part, token) = self.places[place];
        match self.patterns[pattern][part] {
            Part::Any => None,
            Part::One(wild) => wild.0.get(token),
        }
    }

    /// Where one byte leads.
    pub(crate) fn take(&self, set: &BTreeSet<u32>, byte: u8) -> BTreeSet<u32> {
        let mut next = BTreeSet::new();
        for place in set.iter().map(|place| *place as usize) {
            let (pattern, part, _) = self.places[place];
            let is_any = *self.patterns[pattern][part] == Part::Any;
            match self.token(place) {
                None if byte == 0 => {
                    self.begin(&mut next, pattern, part + 1);
                    if is_any {
                        self.begin(&mut next, pattern, part);
                    }
                }
                None if is_any => self.reach(&mut next, place),
                Some(Token::Star) if byte != 0 => self.reach(&mut next, place),
                Some(token) if byte != 0 && token.takes(byte) => self.reach(&mut next, place + 1),
                _ => {}
            }
        }
        next
    }

    /// The patterns that match a path that ends here, behind a zero byte: what is left of it is
    /// the empty part.
    pub(crate) fn ends(&self, set: &BTreeSet<u32>) -> impl Iterator<Item = usize> {
        set.iter().filter_map(|place| {
            let (pattern, part, _) = self.places[*place as usize];
            let is_last = self.patterns[pattern][part + 1..].iter().all(|rest| **rest == Part::Any);
            (is_last && self.token(*place as usize).is_none()).then_some(pattern)
        })
    }
}

/// The first part, and what comes after its slash.
fn cut(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|byte| *byte == b'/') {
        Some(slash) => (&text[..slash], Some(&text[slash + 1..])),
        None => (text, None),
    }
}

fn bounded(pattern: &str) -> Result<(), GlobError> {
    match pattern.len() {
        0 => Err(GlobError::Empty),
        length if length > MAX => Err(GlobError::TooLong(length)),
        _ => Ok(()),
    }
}

/// The pattern's tokens, by parts when slashes part it.
fn tokens(pattern: &str, parted: bool) -> Result<Vec<Vec<Token>>, GlobError> {
    let mut parts = vec![Vec::new()];
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c == '/' && parted {
            parts.push(Vec::new());
            continue;
        }
        let mut bytes = Vec::new();
        let token = match c {
            '*' => Some(Token::Star),
            '?' => Some(Token::One),
            '[' => Some(set(&mut rest)?),
            '\\' => {
                escaped(&mut rest, &mut bytes)?;
                None
            }
            c => {
                push(&mut bytes, c);
                None
            }
        };
        if let Some(part) = parts.last_mut() {
            part.extend(token);
            part.extend(bytes.into_iter().map(Token::Byte));
        }
    }
    Ok(parts)
}

fn push(bytes: &mut Vec<u8>, c: char) {
    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

/// What follows a backslash.
fn escaped(rest: &mut &str, bytes: &mut Vec<u8>) -> Result<(), GlobError> {
    let c = rest.chars().next().ok_or(GlobError::Escape)?;
    *rest = &rest[c.len_utf8()..];
    match c {
        'n' => bytes.push(b'\n'),
        't' => bytes.push(b'\t'),
        'r' => bytes.push(b'\r'),
        'x' => {
            let hex = rest.get(..2).ok_or(GlobError::Escape)?;
            bytes.push(u8::from_str_radix(hex, 16).map_err(|_| GlobError::Escape)?);
            *rest = &rest[2..];
        }
        'u' => {
            let (hex, after) = rest
                .strip_prefix('{')
                .and_then(|rest| rest.split_once('}'))
                .ok_or(GlobError::Escape)?;
            let c = u32::from_str_radix(hex, 16).ok().and_then(char::from_u32);
            push(bytes, c.ok_or(GlobError::Escape)?);
            *rest = after;
        }
        '*' | '?' | '[' | ']' | '\\' => push(bytes, c),
        _ => return Err(GlobError::Escape),
    }
    Ok(())
}

/// What follows `[`, up to its `]`. A `]` or `-` that comes first is a member.
fn set(rest: &mut &str) -> Result<Token, GlobError> {
    let not = rest.starts_with(['!', '^']);
    if not {
        *rest = &rest[1..];
    }
    let mut members: Vec<u8> = Vec::new();
    let mut ranges = Vec::new();
    let mut first = true;
    loop {
        let c = rest.chars().next().ok_or(GlobError::Set)?;
        *rest = &rest[c.len_utf8()..];
        match c {
            ']' if !first => break,
            '/' => return Err(GlobError::Set),
            '-' if !members.is_empty() && !rest.starts_with(']') => {
                let mut high = Vec::new();
                let c = rest.chars().next().ok_or(GlobError::Set)?;
                *rest = &rest[c.len_utf8()..];
                if c == '\\' {
                    escaped(rest, &mut high)?;
                } else {
                    push(&mut high, c);
                }
                let (Some(low), [high]) = (members.pop(), &high[..]) else {
                    return Err(GlobError::Set);
                };
                if low > *high {
                    return Err(GlobError::Set);
                }
                ranges.push((low, *high));
            }
            '\\' => escaped(rest, &mut members)?,
            c => push(&mut members, c),
        }
        first = false;
    }
    ranges.extend(members.into_iter().map(|byte| (byte, byte)));
    Ok(Token::Set { not, ranges: ranges.into() })
}

#[cfg(test)]
mod tests;
