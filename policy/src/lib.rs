//! Rules and decisions: what a violation deserves.
//!
//! A pure library, the same in the shim and in the policy server: [`Policy::parse`] reads
//! the file (that of Sarmento 2023, figure 3, is valid as it stands), [`Policy::decide`]
//! answers for one container and one violation, [`Policy::effective`] is what a server
//! sends to a node for one container, and [`resolve`] says what is done in this mode and
//! with this source. `docs/policy.md` explains the file. [`Images`] finds other things by an
//! image's name as the file does.
//!
//! Who said what about a container, and which rules may use it, is [`Facts`]: a container's
//! policy is made from them, never from bare texts.
//!
//! [`yaml`] and [`Diagnostic`] serve any file of this project that a person writes.

pub mod yaml;

mod by_container;
mod code_directories;
mod decision;
mod diagnostic;
mod effective;
mod facts;
#[doc(hidden)]
pub mod fuzz;
mod glob;
mod image;
mod images;
mod nearest;
mod path_table;
mod patterns;
mod policy;
mod read;
mod rule;
mod schema;
mod settings;
mod stricter;
mod subject;

pub use code_directories::CodeDirectories;
pub use decision::{Because, Decision, Resolved, deniable, resolve};
pub use diagnostic::{Diagnostic, Errors, Severity, Span, Warning};
pub use effective::{Effective, EffectiveError};
pub use facts::{Admitted, Fact, Facts, Use, Witness};
pub use glob::GlobError;
pub use images::{Images, ImagesError};
pub use nearest::nearest;
pub use path_table::{ANY_OTHER, PathTable};
pub use policy::{Policy, parse_digest};
pub use rule::{Rule, Selector};
pub use schema::schema;
pub use settings::{Backoff, Fallbacks};
pub use subject::Subject;
