//! The thread that owns everything of a reporter that is on a disk ([`Files`], and the stored
//! policies). It may be kept waiting by the disk for as long as the disk likes; nobody waits
//! for it but who asked it something, and with a limit.

use std::sync::Arc;
use std::time::Instant;

use crate::files::Files;
use crate::reporter_state::Shared;
use crate::thread_end::Ending;

/// Starts the thread. With `own`, it has a spool of its own when there is a server.
pub(crate) fn start(shared: Arc<Shared>, own: bool) -> std::io::Result<Ending> {
    Ending::spawn("lacre-disk", 256 * 1024, move || {
        let mut files = Files::new(&shared.config, &shared.stream, own);
        while turn(&mut files, &shared) {}
        files.end(&shared.counting, &*shared.events);
    })
}

/// Does what there is to do. `false` when nothing more will come.
fn turn(files: &mut Files, shared: &Shared) -> bool {
    let now = Instant::now();
    if files.make_spool(now, &*shared.events) {
        shared.wake.notify_one();
    }
    let work = shared.intake.wait(files.takes_none(now), files.retry());
    let any = !work.lines.is_empty();
    for mut line in work.lines {
        if !files.put(&mut line, &shared.counting, &*shared.events)
            && let Some(number) = &line.number
        {
            shared.intake.unwritten(&line.owner, number, line.uses);
        }
    }
    files.write(&shared.counting, &*shared.events);
    if any {
        shared.wake.notify_one();
    }
    work.jobs.into_iter().for_each(|job| job(files));
    !work.over
}
