//! Reading and running are told apart by what says that a file is code, a declared directory
//! among them: with both values of `block`, for the interpreters of Debian.

mod copy_up;
mod field;
mod interpreters;
mod later;
mod places;
mod readings;
