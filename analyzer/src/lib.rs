//! The verdict: a measurement against a baseline
