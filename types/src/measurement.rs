//! One use of a file or of memory as code: who saw it, what was used, and by whom.

use std::time::SystemTime;

use crate::words::words;
use crate::{CanonicalPath, Digest};

/// Where measurements come from, from who can hold back most to who only tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// BPF LSM: denies in the kernel.
    Bpf,
    /// Permission events on the container's file systems: denies by holding the first use.
    Fanotify,
    /// BTF tracepoints: kills before the first user instruction.
    ExecTrace,
    /// `PERF_RECORD_MMAP2`: sees every executable mapping.
    ExecMap,
    /// The patched kernel's log of one container.
    ContainerIma,
    /// A stock kernel's IMA log.
    Ima,
    /// The evidence that the node shows: what a verifier found in it, or that it can no longer
    /// be kept. Nothing that a shim arms.
    Attestation,
}

words!(Source, "a source", {
    Bpf => "bpf", Fanotify => "fanotify", ExecTrace => "exec-trace", ExecMap => "exec-map",
    ContainerIma => "container-ima", Ima => "ima", Attestation => "attestation",
});

impl Source {
    /// Whether it holds back, in enforce mode, what must not run: refuses it, or kills its
    /// process before it runs. The others see it a moment after.
    #[must_use]
    pub const fn holds_back(self) -> bool {
        match self {
            Self::Bpf | Self::Fanotify | Self::ExecTrace => true,
            Self::ExecMap | Self::ContainerIma | Self::Ima | Self::Attestation => false,
        }
    }
}

/// How code came to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// `execve` and its kin.
    Exec,
    /// The loader or `#!` interpreter of something executed.
    Interpreter,
    /// A file mapped executable.
    Mmap,
    /// Memory made executable after it was mapped.
    Mprotect,
    /// A script handed to an interpreter.
    Script,
    /// A file opened that holds code.
    Open,
    /// A memfd executed or mapped.
    Memfd,
    /// Nothing ran: the watching itself, when a source stops or its log does not hold.
    Watch,
}

words!(Event, "an event", {
    Exec => "exec", Interpreter => "interpreter", Mmap => "mmap", Mprotect => "mprotect",
    Script => "script", Open => "open", Memfd => "memfd",
    Watch => "watch",
});

/// What is known of the bytes that would run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// They were read, all of them, and this is their digest.
    Digest(Digest),
    /// Their number alone already tells them from what the baseline has; not read.
    Size(u64),
    /// A program with no file behind it.
    Fileless,
    /// Memory that was made executable: no file, and no program.
    Memory(Memory),
    /// They could not be read, for this reason. Never passes for known.
    Unread(String),
}

/// Memory that can be executed. A program in memory is not meant, nor a file that has lost
/// its name, which is judged by what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Memory {
    /// One process's own: anonymous pages, a stack, a heap.
    Private,
    /// What several mappings share: a memfd, shared anonymous memory, System V's, a file
    /// without a name that is written to through another mapping.
    Shared,
}

words!(Memory, "a sort of memory", { Private => "private", Shared => "shared" });

/// Who did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Process {
    /// The process id in the outermost pid namespace; 0 when the source does not tell.
    pub pid: u32,
    /// The user id in the outermost user namespace, where the source tells.
    pub uid: Option<u32>,
}

/// One thing that the kernel saw in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measurement {
    /// Who saw it.
    pub source: Source,
    /// How it came to run.
    pub event: Event,
    /// The file, as the container names it; `None` when it has no name that can be told
    /// (longer than `PATH_MAX`, no file at all). Of memory, the program that has it.
    pub path: Option<CanonicalPath>,
    /// What is known of its bytes.
    pub content: Content,
    /// Who ran it.
    pub process: Process,
    /// When the source saw it.
    pub time: SystemTime,
}

impl Measurement {
    /// The digest, when the bytes were read.
    #[must_use]
    pub const fn digest(&self) -> Option<&Digest> {
        match &self.content {
            Content::Digest(digest) => Some(digest),
            _ => None,
        }
    }

    /// The path for a person: escaped, or what stands for one that cannot be told.
    #[must_use]
    pub fn shown_path(&self) -> String {
        match (&self.path, &self.content) {
            (Some(path), _) => path.to_string(),
            (None, Content::Fileless | Content::Memory(_)) => "(no file)".to_owned(),
            (None, _) => "(no name)".to_owned(),
        }
    }
}
