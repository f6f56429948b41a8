//! A small client of containerd's gRPC API
