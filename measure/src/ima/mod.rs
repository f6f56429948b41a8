//! `ima`.

pub(crate) mod line;
