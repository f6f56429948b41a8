//! Records and reports: written once, delivered once, in order
