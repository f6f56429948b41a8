//! Rules and decisions: what a violation deserves
