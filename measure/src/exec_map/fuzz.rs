//! Entry points for fuzzing.

use super::record::{Record, parse};

/// A perf record.
pub fn fuzz_record(data: &[u8]) {
    if let Record::Mapped(mapping) = parse(data) {
        assert!(mapping.name.len() <= data.len() && !mapping.name.contains(&0));
        let _ = (mapping.behind(&[8]), mapping.range());
    }
}
