//! What would become of an attack here: from what the node gives and what the configuration
//! wants, and from nothing else. `docs/attacks.md` is what was measured; a test compares the two.

mod class;
mod fate;
mod rungs;

use lacre_types::Mode;
use serde::Serialize;

pub use class::Class;
pub use fate::{Blocked, Fate, Outcome, Setting, fate};
pub use rungs::{Rungs, rungs};

/// What becomes of one class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Which.
    pub class: Class,
    /// In words.
    pub what: &'static str,
    /// In audit, `block: exec`.
    pub audit: Fate,
    /// In audit, `block: all`.
    pub audit_all: Fate,
    /// In enforce, `block: exec`.
    pub enforce: Fate,
    /// In enforce, `block: all`.
    pub enforce_all: Fate,
}

/// What becomes of each class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// What stands.
    pub rungs: Rungs,
    /// Each class.
    pub classes: Vec<Row>,
}

/// What would become of each class of attack.
#[must_use]
pub fn forecast(rungs: Rungs) -> Forecast {
    let of =
        |class, mode, block| fate(class, rungs, Setting { mode, block, in_code_directory: false });
    let row = |class: &Class| Row {
        class: *class,
        what: class.what(),
        audit: of(*class, Mode::Audit, Blocked::Exec),
        audit_all: of(*class, Mode::Audit, Blocked::All),
        enforce: of(*class, Mode::Enforce, Blocked::Exec),
        enforce_all: of(*class, Mode::Enforce, Blocked::All),
    };
    Forecast { rungs, classes: Class::ALL.iter().map(row).collect() }
}

#[cfg(test)]
mod tests {
    use lacre_types::Source;

    use super::*;
    use crate::facts::{Offer, Offers, Wanted};

    fn offers() -> Offers {
        let missing = || Offer::Missing("it".to_owned());
        Offers {
            fanotify: Offer::Given,
            exec_trace: Offer::Given,
            fetch: Offer::Given,
            exec_map: Offer::Given,
            container_ima: missing(),
            ima: missing(),
            bpf_lsm: missing(),
            trampolines: missing(),
        }
    }

    fn enforce(rungs: Rungs, class: Class) -> String {
        let setting =
            Setting { mode: Mode::Enforce, block: Blocked::Exec, in_code_directory: false };
        fate(class, rungs, setting).to_string()
    }

    #[test]
    fn auto_takes_what_there_is() {
        let all = rungs(&offers(), &Wanted::default());
        assert!(all.fanotify && all.exec_trace && all.fetch && !all.exec_map && !all.lost);
        assert_eq!(enforce(all, Class::Program), "DENY");
        assert_eq!(enforce(all, Class::Library), "KILL");

        let without = Offers { fanotify: Offer::Missing("it".to_owned()), ..offers() };
        let less = rungs(&without, &Wanted::default());
        assert_eq!(enforce(less, Class::Program), "KILL");
        assert_eq!(enforce(less, Class::Memfd), "KILL");

        let without = Offers { exec_trace: Offer::Missing("it".to_owned()), ..offers() };
        let less = rungs(&without, &Wanted::default());
        assert!(!less.fetch);
        assert_eq!(enforce(less, Class::Program), "DENY");
        assert_eq!(enforce(less, Class::Memfd), "MISS");
        assert_eq!(enforce(less, Class::Library), "MISS");
    }

    #[test]
    fn libraries_hang_on_the_hook_for_fetches() {
        let without = Offers { fetch: Offer::Missing("it".to_owned()), ..offers() };
        for (offers, wanted) in
            [(without, Wanted::default()), (offers(), Wanted { fetch: false, ..Wanted::default() })]
        {
            let rungs = rungs(&offers, &wanted);
            assert_eq!(enforce(rungs, Class::Library), "MISS");
            assert_eq!(enforce(rungs, Class::Memfd), "KILL");
        }
    }

    /// As the shim: what is named must be had, what fails is lost, what is missing is not.
    #[test]
    fn where_nothing_can_watch_nothing_starts() {
        let only = |list: &[Source]| Wanted { only: Some(list.to_vec()), fetch: true };
        let named = rungs(&offers(), &only(&[Source::Fanotify, Source::Ima]));
        assert!(named.lost && named.fanotify && !named.exec_trace);
        assert_eq!(enforce(named, Class::Program), "no start");
        let audit = Setting { mode: Mode::Audit, block: Blocked::Exec, in_code_directory: false };
        assert_eq!(fate(Class::Program, named, audit).to_string(), "REPORT");

        let failed = Offers { fanotify: Offer::Failed("it".to_owned()), ..offers() };
        assert!(rungs(&failed, &Wanted::default()).lost);
        let unseen = Offers { fanotify: Offer::Unseen("it".to_owned()), ..offers() };
        let unseen = rungs(&unseen, &Wanted::default());
        assert!(!unseen.lost && !unseen.fanotify, "what nobody saw is not counted on");
        assert!(unseen.unknown);
        assert_eq!(enforce(unseen, Class::Program), "KILL");
        let nothing = Rungs { exec_trace: false, fetch: false, ..unseen };
        assert_eq!(enforce(nothing, Class::Program), "unknown");

        let none = rungs(
            &Offers {
                fanotify: Offer::Missing(String::new()),
                exec_trace: Offer::Missing(String::new()),
                ..offers()
            },
            &Wanted::default(),
        );
        assert_eq!(enforce(none, Class::Program), "no start");
        assert_eq!(fate(Class::Program, none, audit).to_string(), "MISS");
    }

    #[test]
    fn audit_holds_nothing_back() {
        let all = rungs(&offers(), &Wanted { only: None, fetch: true });
        for row in forecast(all).classes {
            for fate in [row.audit, row.audit_all] {
                assert!(!fate.may_be(Outcome::Denied) && !fate.may_be(Outcome::Killed), "{row:?}");
            }
            for (audit, enforce) in [(row.audit, row.enforce), (row.audit_all, row.enforce_all)] {
                let unseen = Outcome::Unseen;
                assert_eq!(audit.may_be(unseen), enforce.may_be(unseen), "{row:?}");
            }
        }
    }
}
