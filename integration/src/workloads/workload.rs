//! What a workload is: an image, a script, and which of its files are not the image's.

use std::time::Duration;

/// How lacre is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `mode: audit`
    Audit,
    /// `mode: enforce`, `block: exec`
    Exec,
    /// `mode: enforce`, `block: all`
    All,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Audit, Self::Exec, Self::All];

    /// Its name, in the figures.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Exec => "exec",
            Self::All => "all",
        }
    }

    /// Its lines in lacre's configuration.
    #[must_use]
    pub fn yaml(self) -> &'static str {
        match self {
            Self::Audit => "mode: audit\n",
            Self::Exec => "mode: enforce\nblock: exec\n",
            Self::All => "mode: enforce\nblock: all\n",
        }
    }
}

/// In which modes code that did not come with the image is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// In all: a program, a library, a script that is executed or named on a command line.
    Always,
    /// With `block: all` alone: its interpreter opens it.
    AtOpen,
}

impl Held {
    /// Whether it is seen in that mode.
    #[must_use]
    pub fn by(self, mode: Mode) -> bool {
        self == Self::Always || mode == Mode::All
    }
}

/// Code that did not come with the image, and that a workload runs: each use of it is a true
/// record.
#[derive(Debug, Clone, Copy)]
pub struct Foreign {
    /// The violation: `ENTRY_NOT_FOUND`.
    pub kind: &'static str,
    /// Where it lies, as the policy's `ByPath` names it.
    pub path: &'static str,
    /// In which modes it is seen.
    pub held: Held,
    /// What it is, for users.
    pub what: &'static str,
}

impl Foreign {
    /// Code that is not in the image.
    #[must_use]
    pub const fn new(path: &'static str, held: Held, what: &'static str) -> Self {
        Self { kind: "ENTRY_NOT_FOUND", path, held, what }
    }
}

/// What is mounted into the container from the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mount {
    /// A folder of scripts, as Kubernetes mounts a ConfigMap: files that are links into a
    /// dated folder, whose link is changed.
    ConfigMap(&'static str),
    /// A program of the node's, as `docker run --init` mounts one.
    Program(&'static str),
    /// An empty tmpfs.
    Scratch(&'static str),
    /// A folder in whose file `said` the container says what it has to say, where its first
    /// process keeps no output.
    Said(&'static str),
}

/// What the container's first process is.
#[derive(Debug, Clone, Copy)]
pub enum Start {
    /// bash, which works by the script.
    Script,
    /// These words, then bash with the script: an entrypoint that executes its arguments.
    Behind(&'static [&'static str]),
    /// An init, by these words, one of whose units works by the script in `WORK`, and ends the
    /// container with it.
    Init(&'static [&'static str]),
}

/// A program of Debian's at work.
#[derive(Debug, Clone, Copy)]
pub struct Workload {
    /// Its name.
    pub name: &'static str,
    /// The packages that it is about.
    pub packages: &'static [&'static str],
    /// What it does, for users.
    pub does: &'static str,
    /// The script; `integration/workloads/prelude.sh` stands before it.
    pub script: &'static str,
    /// What the container's first process is.
    pub start: Start,
    /// More options of `ctr run`.
    pub options: &'static [&'static str],
    /// What is mounted.
    pub mounts: &'static [Mount],
    /// What it runs that did not come with the image.
    pub foreign: &'static [Foreign],
    /// Whether it does its work also where that is refused.
    pub goes_on: bool,
    /// Whether each run of the tests has it, and not `make soak` alone.
    pub ci: bool,
}

impl Workload {
    /// One that runs nothing but what came with its image.
    #[must_use]
    pub const fn new(
        name: &'static str,
        packages: &'static [&'static str],
        does: &'static str,
        script: &'static str,
    ) -> Self {
        Self {
            name,
            packages,
            does,
            script,
            start: Start::Script,
            options: &[],
            mounts: &[],
            foreign: &[],
            goes_on: false,
            ci: false,
        }
    }

    /// Which does its work all the same where that is refused.
    #[must_use]
    pub const fn goes_on(mut self) -> Self {
        self.goes_on = true;
        self
    }

    /// In each run of the tests.
    #[must_use]
    pub const fn ci(mut self) -> Self {
        self.ci = true;
        self
    }

    /// With another first process.
    #[must_use]
    pub const fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// With more options of `ctr run`.
    #[must_use]
    pub const fn options(mut self, options: &'static [&'static str]) -> Self {
        self.options = options;
        self
    }

    /// With mounts.
    #[must_use]
    pub const fn mounts(mut self, mounts: &'static [Mount]) -> Self {
        self.mounts = mounts;
        self
    }

    /// Which runs code that did not come with its image.
    #[must_use]
    pub const fn foreign(mut self, foreign: &'static [Foreign]) -> Self {
        self.foreign = foreign;
        self
    }

    /// What it runs that did not come with the image and is seen in that mode.
    pub fn seen_in(&self, mode: Mode) -> impl Iterator<Item = &'static Foreign> {
        self.foreign.iter().filter(move |foreign| foreign.held.by(mode))
    }

    /// The words of `ctr run` after the container's id.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let bash = words(&["bash", "-c", &self.whole_script()]);
        match self.start {
            Start::Script => bash,
            Start::Behind(first) => [words(first), bash].concat(),
            Start::Init(first) => words(first),
        }
    }

    /// The script, with what stands before each.
    #[must_use]
    pub fn whole_script(&self) -> String {
        concat!(include_str!("../../workloads/prelude.sh"), "\n").to_owned() + self.script
    }

    /// The policy with which it runs in enforce mode: its lines for this image's paths.
    #[must_use]
    pub fn policy(&self, image: &str) -> String {
        use std::collections::BTreeMap;
        let mut kinds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for foreign in self.foreign {
            kinds.entry(foreign.kind).or_default().push(foreign.path);
        }
        let mut yaml = String::from("Actions:\n");
        for (kind, paths) in kinds {
            yaml += &format!("  {kind}:\n    ByContainerImageName:\n      - \"{image}\":\n");
            yaml += "          ByPath:\n";
            for path in paths {
                yaml += &format!("            - \"{path}\": SKIP\n");
            }
            yaml += "          Default: DENY\n    Default: DENY\n";
        }
        if self.foreign.is_empty() {
            yaml = "Actions: {}\n".into();
        }
        yaml
    }

    /// How long a run of `work` may take before it counts as one that hangs, where one by itself
    /// took `beside` for all that is not work: up to five run at once, on a machine that may
    /// have become busier since.
    #[must_use]
    pub fn limit(work: Duration, beside: Duration) -> Duration {
        work + Duration::from_secs(180) + 10 * beside
    }
}
