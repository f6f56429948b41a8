//! The wire between nodes and the policy server, and how it is connected
