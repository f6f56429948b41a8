//! What a person at the node sees and does: `lacre ps`, `status`, `show`, `release`, `events`, on a
//! real containerd.

mod field;
mod listing;
mod releasing;
