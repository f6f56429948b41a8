//! A pattern as it is written, read into tokens.

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
pub(super) enum Token {
    Byte(u8),
    One,
    Star,
    Set { not: bool, ranges: Box<[(u8, u8)]> },
}

impl Token {
    pub(super) fn takes(&self, byte: u8) -> bool {
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

pub(super) fn bounded(pattern: &str) -> Result<(), GlobError> {
    match pattern.len() {
        0 => Err(GlobError::Empty),
        length if length > MAX => Err(GlobError::TooLong(length)),
        _ => Ok(()),
    }
}

/// The pattern's tokens, by parts when slashes part it.
pub(super) fn tokens(pattern: &str, parted: bool) -> Result<Vec<Vec<Token>>, GlobError> {
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
