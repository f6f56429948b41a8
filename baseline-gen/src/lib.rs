//! Baselines: find, hash, merge layers, store, load
