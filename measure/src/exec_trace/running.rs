//! Scripts that run already when a container comes to be held back.

use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use lacre_types::{FileId, base_name};

use super::abi::VERDICT_INTERPRETER;
use super::events::Look;
use super::script_file::Script;
use super::told::Told;
use super::watch::Watch;
use crate::container_root::ContainerRoot;
use crate::files;
use crate::held_process::Held;
use crate::interpreter::Family;

impl Watch {
    /// Judges the script that a process runs as though it were started now; whether it was
    /// killed for it.
    ///
    /// A script whose file can't be found any more is told of and left alone: its interpreter
    /// may have changed its arguments or its directory since, as daemons do, and what nobody
    /// can tell from an innocent is not killed.
    pub(super) fn sweep_script(self: &Arc<Self>, pid: u32) -> bool {
        let Ok(process) = Held::open(pid) else { return false };
        let Some(key) = self.interpreter(&process) else { return false };
        let Ok(uid) = std::fs::metadata(process.proc("")).map(|stat| stat.uid()) else {
            return false;
        };
        let Some(start) = process.started() else { return false };
        let who = (pid, uid, start);
        let dropped = AtomicBool::new(false);
        let own = ContainerRoot::of(&process).ok();
        let look = |told| Look {
            watch: self,
            told,
            process: Some(&process),
            own: own.as_ref(),
            dropped: &dropped,
        };
        let (started, watched) = (Told::running(who, key, false), Told::running(who, key, true));
        let scripts = look(&started).find_scripts();
        // Read while it was there: else they are another's arguments.
        if !process.lives() {
            return false;
        }
        let judged = scripts.into_iter().map(|script| match script {
            Script::Unread(..) => look(&watched).script(script),
            script => look(&started).script(script),
        });
        // All of them are told.
        judged.fold(false, |killed, this| killed | this)
    }

    /// Which file a process's program is, if it is an interpreter.
    fn interpreter(&self, process: &Held) -> Option<FileId> {
        let exe = files::open_magic(&process.proc("exe")).ok()?;
        let key = self.layers.real(exe.as_fd()).ok()?.id;
        let flags = self.verdicts.flags(&key);
        let name = || {
            let name = std::fs::read_link(process.proc("exe")).ok()?;
            let name = name.into_os_string().into_encoded_bytes();
            let name = name.strip_suffix(b" (deleted)").unwrap_or(&name);
            Family::of(base_name(name))
        };
        let is_one =
            flags.is_some_and(|flags| flags & VERDICT_INTERPRETER != 0) || name().is_some();
        is_one.then_some(key)
    }
}
