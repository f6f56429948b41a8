//! How an error is told with its causes.

use std::error::Error;

/// An error and what caused it, one after the other, on one line.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("reading {0}")]
    struct Reading(&'static str, #[source] std::num::ParseIntError);

    #[test]
    fn causes_follow_in_order() {
        let cause = "x".parse::<u8>().unwrap_err();
        let says = cause.to_string();
        assert_eq!(chain(&cause), says);
        assert_eq!(chain(&Reading("a number", cause)), format!("reading a number: {says}"));
    }
}
