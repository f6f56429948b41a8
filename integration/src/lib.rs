//! End-to-end tests against real containerd
