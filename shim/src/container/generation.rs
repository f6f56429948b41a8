//! What a container is named by.

use std::{fmt, io};

use serde::{Deserialize, Serialize};

/// One life of one container: 128 random bits, in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Generation(String);

impl Generation {
    /// One that no other container has, had or will have.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub fn draw() -> io::Result<Self> {
        let mut bytes = [0; 16];
        let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        if filled != bytes.len() {
            return Err(io::Error::other("the kernel gives too few random bytes"));
        }
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Generation {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let good = text.len() == 32 && text.bytes().all(digit);
        good.then_some(Self(text)).ok_or("not a generation: 32 hexadecimal digits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_is_a_name_and_no_path() {
        let drawn = Generation::draw().unwrap();
        assert_eq!(Generation::try_from(drawn.as_str().to_owned()), Ok(drawn.clone()));
        assert_ne!(Generation::draw().unwrap(), drawn);
        for wrong in ["", "../../../../../../../../etc/passwd", &drawn.as_str().to_uppercase()] {
            // One in a million has no letter.
            if wrong != drawn.as_str() {
                assert!(Generation::try_from(wrong.to_owned()).is_err(), "{wrong}");
            }
        }
    }
}
