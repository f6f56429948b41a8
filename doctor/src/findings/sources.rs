//! Which sources this node offers, and what is not seen without them.

use lacre_shim::config::Sources;
use lacre_types::Source;

use super::finding::{Area, Book, Finding};
use crate::facts::{Facts, Offer};

/// Each source, and what its absence means.
const SOURCES: [(Source, &str); 5] = [
    (
        Source::Fanotify,
        "nothing can be denied: `exec-trace` kills instead, and libraries and scripts are not \
         asked about at their open (`block: all`)",
    ),
    (
        Source::ExecTrace,
        "programs in memory and on mounts of a container's own are not seen, and when a guard \
         dies nothing stands behind fanotify",
    ),
    (Source::ExecMap, "memory that becomes executable is not seen, should the policy deny it"),
    (Source::ContainerIma, "it can't be named under `sources`"),
    (Source::Ima, "it can't be named under `sources`"),
];

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let mut book = Book::of(Area::Sources);
    let offers = &facts.offers;
    for (source, follows) in SOURCES {
        let Some(offer) = offers.of(source) else { continue };
        match offer {
            Offer::Given => book.ok(format!("{source} can be had")),
            Offer::Missing(why) if Sources::AUTO.contains(&source) => {
                book.warning(why.clone()).follows(follows).mend(mend(source))
            }
            Offer::Missing(why) => book.note(why.clone()).follows(follows),
            Offer::Failed(why) => {
                book.fault(format!("{source} is here, and trying it failed: {why}")).follows(
                    "in enforce no container starts with it, in audit each is told of as \
                          SOURCE_LOST",
                )
            }
            Offer::Unseen(why) => book.unseen(format!("{source}: {why}")),
        };
    }
    if offers.exec_trace.is_given() {
        match &offers.fetch {
            Offer::Given => book.ok("exec-trace sees libraries (`fetch: true`)"),
            Offer::Unseen(why) => book.unseen(format!("the hook for fetches: {why}")),
            Offer::Missing(why) | Offer::Failed(why) => book
                .warning(format!("exec-trace sees no libraries: {why}"))
                .follows("with `block: exec` a foreign library is not seen")
                .mend("`block: all` asks about libraries when they are opened"),
        };
    }
    if !offers.fanotify.is_given() && !offers.exec_trace.is_given() && facts.root {
        book.fault("nothing of `auto` can be had")
            .follows("in enforce no container starts; in audit each is told of as SOURCE_LOST")
            .mend("see the lines above, each of which says what is missing");
    }
    book.all
}

const fn mend(source: Source) -> &'static str {
    match source {
        Source::Fanotify => {
            "Linux 5.0 or later with CONFIG_FANOTIFY_ACCESS_PERMISSIONS, and CAP_SYS_ADMIN in the \
             node's own user namespace"
        }
        _ => {
            "Linux 5.17 or later with CONFIG_DEBUG_INFO_BTF, and CAP_BPF and CAP_PERFMON in the \
             node's own user namespace"
        }
    }
}
