//! The programs that do the work as root: the inner shim, and the runtime that it runs. A node
//! lists what they are, and what is started is compared with that.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::program_digests::{ProgramDigests, Sha, hex, unhex};

/// A list has a line for each program.
const LIST_MAX: u64 = 1 << 20;

/// Why a program is not what the node's list says.
#[derive(Debug, thiserror::Error)]
pub enum UnlistedError {
    /// The list is no list.
    #[error("{}: {why}; it is made by `sha256sum PROGRAM… > LIST`", .list.display())]
    List {
        /// The list.
        list: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The program can't be read.
    #[error("reading {}, to compare it with {}", .program.display(), .list.display())]
    Read {
        /// The program.
        program: PathBuf,
        /// The list.
        list: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// It is another one.
    #[error(
        "{} is not what {} lists ({what}); if you changed it, list it anew: sha256sum {} >> {}",
        .program.display(), .list.display(), .program.display(), .list.display()
    )]
    Other {
        /// The program.
        program: PathBuf,
        /// The list.
        list: PathBuf,
        /// It is not there, or with another digest.
        what: String,
    },
}

/// What a program was found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// What the list says.
    Listed,
    /// There is no list: nothing is known of it.
    NotChecked,
}

/// A node's list of programs.
#[derive(Debug, Clone)]
pub struct Programs {
    list: PathBuf,
    /// It was named, and so must be there.
    named: bool,
    digests: ProgramDigests,
}

impl Programs {
    /// By the list at `list`; `named`: it must be there. What is known of files is kept in `run`.
    #[must_use]
    pub fn new(list: &Path, named: bool, run: &Path) -> Self {
        let digests = ProgramDigests::new(run.join("programs.json"));
        Self { list: list.to_owned(), named, digests }
    }

    /// Compares a program with the list. Its content is read once for each state of the file.
    ///
    /// # Errors
    /// When it is another, or nobody can tell.
    pub fn check(&self, program: &Path) -> Result<Checked, UnlistedError> {
        let Some(listed) = self.read()? else { return Ok(Checked::NotChecked) };
        let failed = |source| UnlistedError::Read {
            program: program.to_owned(),
            list: self.list.clone(),
            source,
        };
        let other = |what: String| UnlistedError::Other {
            program: program.to_owned(),
            list: self.list.clone(),
            what,
        };
        let place = fs::canonicalize(program).map_err(failed)?;
        let Some(digests) = listed.get(&place) else {
            return Err(other("it is not in it".to_owned()));
        };
        let digest = self.digests.of(&place).map_err(failed)?;
        if digests.contains(&digest) {
            return Ok(Checked::Listed);
        }
        Err(other(format!("its digest is {}", hex(&digest))))
    }

    /// Compares the program of that name, as the inner shim will find it: a path as it stands,
    /// else on `path`.
    ///
    /// # Errors
    /// As [`Self::check`]; when there is none it says so, as the inner shim will.
    pub fn check_named(
        &self,
        name: &str,
        path: Option<&std::ffi::OsStr>,
    ) -> Result<Checked, UnlistedError> {
        if name.contains('/') {
            let program = Path::new(name);
            if program.is_relative() && self.read()?.is_some() {
                // The inner shim has another current directory.
                return Err(UnlistedError::Other {
                    program: program.to_owned(),
                    list: self.list.clone(),
                    what: "it is relative to a directory that nobody names".to_owned(),
                });
            }
            return self.check(program);
        }
        let runs = |program: &PathBuf| {
            let found = program.metadata();
            found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        };
        let all = path.into_iter().flat_map(std::env::split_paths).map(|folder| folder.join(name));
        let found = { all }.find(runs);
        self.check(&found.unwrap_or_else(|| Path::new("/nonexistent").join(name)))
    }

    /// By path, each digest that is listed for it.
    fn read(&self) -> Result<Option<BTreeMap<PathBuf, BTreeSet<Sha>>>, UnlistedError> {
        let wrong = |why: String| UnlistedError::List { list: self.list.clone(), why };
        let file = match File::open(&self.list) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.named => {
                return Ok(None);
            }
            Err(error) => return Err(wrong(error.to_string())),
        };
        let mut text = String::new();
        let mut file = file.take(LIST_MAX + 1);
        let size = file.read_to_string(&mut text).map_err(|error| wrong(error.to_string()))?;
        if size as u64 > LIST_MAX {
            return Err(wrong(format!("it has more than {LIST_MAX} bytes")));
        }
        let mut all = BTreeMap::<PathBuf, BTreeSet<Sha>>::new();
        for (at, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let entry = entry(line);
            let (digest, path) = entry.ok_or_else(|| {
                wrong(format!(
                    "line {} is no digest and absolute path, as `sha256sum /PATH` writes them",
                    at + 1
                ))
            })?;
            // One that is not there has no other name.
            let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
            all.entry(path).or_default().insert(digest);
        }
        Ok(Some(all))
    }
}

/// A line as sha256sum(1) writes it: the digest, a space, a space or an asterisk, the path.
fn entry(line: &str) -> Option<(Sha, &Path)> {
    let (digest, path) = line.split_once(' ')?;
    let path = path.strip_prefix([' ', '*'])?;
    path.starts_with('/').then_some(())?;
    Some((unhex(digest)?, Path::new(path)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::json_file;
    use crate::node::program_digests::State;
    use std::fs::FileTimes;
    use std::process::Command;
    use std::time::Duration;

    struct Rig {
        dir: tempfile::TempDir,
        programs: Programs,
        program: PathBuf,
    }

    impl Rig {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let program = dir.path().join("runc");
            fs::copy("/bin/true", &program).unwrap();
            let programs = Programs::new(&dir.path().join("list"), false, dir.path());
            Self { dir, programs, program }
        }

        fn list(&self) {
            let said = Command::new("sha256sum").arg(&self.program).output().unwrap();
            fs::write(self.dir.path().join("list"), said.stdout).unwrap();
        }

        fn check(&self) -> Result<Checked, String> {
            self.programs.check(&self.program).map_err(|error| error.to_string())
        }
    }

    #[test]
    fn without_a_list_nothing_is_checked_and_that_is_no_pass() {
        let rig = Rig::new();
        assert_eq!(rig.check(), Ok(Checked::NotChecked));
        let named = Programs { named: true, ..rig.programs.clone() };
        assert!(named.check(&rig.program).is_err(), "one that is named is there");
    }

    #[test]
    fn what_is_listed_is_known_by_its_content() {
        let rig = Rig::new();
        rig.list();
        assert_eq!(rig.check(), Ok(Checked::Listed));
        fs::copy("/bin/false", &rig.program).unwrap();
        assert!(rig.check().unwrap_err().contains("its digest is"));
        let other = rig.dir.path().join("other");
        fs::copy("/bin/true", &other).unwrap();
        let error = rig.programs.check(&other).unwrap_err().to_string();
        assert!(error.contains("it is not in it"), "{error}");
        // By another name it is the same file.
        rig.list();
        let link = rig.dir.path().join("link");
        std::os::unix::fs::symlink(&rig.program, &link).unwrap();
        assert_eq!(rig.programs.check(&link).unwrap(), Checked::Listed);
    }

    /// Each by another way: written in place, replaced by a rename, with its times set back,
    /// mounted over, one byte in a map.
    #[test]
    fn however_it_is_changed_it_is_seen() {
        let rig = Rig::new();
        rig.list();
        let bytes = fs::read(&rig.program).unwrap();
        let old = fs::metadata(&rig.program).unwrap().modified().unwrap();
        let age = || {
            // Known from here on: its state is old enough.
            let now = State::of(&fs::metadata(&rig.program).unwrap());
            while !now.is_settled() {
                std::thread::sleep(Duration::from_millis(50));
            }
            assert_eq!(rig.check(), Ok(Checked::Listed));
            let known: Vec<(State, String)> =
                json_file::read_own(rig.programs.digests.file()).unwrap().unwrap();
            assert_eq!(known.last().unwrap().0, now);
        };
        let mut other = bytes.clone();
        *other.last_mut().unwrap() ^= 1;

        age();
        let file = fs::OpenOptions::new().write(true).open(&rig.program).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &other, 0).unwrap();
        file.set_times(FileTimes::new().set_modified(old)).unwrap();
        assert!(rig.check().is_err(), "written in place, its time set back");

        fs::write(&rig.program, &bytes).unwrap();
        age();
        let new = rig.dir.path().join("new");
        fs::write(&new, &other).unwrap();
        fs::rename(&new, &rig.program).unwrap();
        assert!(rig.check().is_err(), "renamed into its place");
    }

    #[test]
    fn a_list_that_is_none_lists_nothing() {
        let rig = Rig::new();
        let digest = "0".repeat(64);
        for text in ["x", "abc  /bin/true", &format!("{digest}  relative"), &digest] {
            fs::write(rig.dir.path().join("list"), text).unwrap();
            assert!(rig.check().unwrap_err().contains("line 1"), "{text}");
        }
        fs::write(rig.dir.path().join("list"), "# nothing\n\n").unwrap();
        assert!(rig.check().unwrap_err().contains("it is not in it"));
        fs::remove_file(rig.dir.path().join("list")).unwrap();
        fs::create_dir(rig.dir.path().join("list")).unwrap();
        assert!(rig.check().is_err());
    }

    #[test]
    fn what_others_could_write_is_not_believed() {
        let rig = Rig::new();
        rig.list();
        let listed = fs::read_to_string(rig.dir.path().join("list")).unwrap();
        fs::copy("/bin/false", &rig.program).unwrap();
        let now = State::of(&fs::metadata(&rig.program).unwrap());
        json_file::write(rig.programs.digests.file(), &[(now, &listed[..64])]).unwrap();
        fs::set_permissions(rig.programs.digests.file(), fs::Permissions::from_mode(0o666))
            .unwrap();
        assert!(rig.check().is_err());
    }

    #[test]
    fn a_name_is_looked_for_as_the_inner_shim_does() {
        let rig = Rig::new();
        rig.list();
        let path = Some(rig.dir.path().as_os_str());
        assert_eq!(rig.programs.check_named("runc", path).unwrap(), Checked::Listed);
        assert!(rig.programs.check_named("runc", None).is_err());
        let whole = rig.program.to_str().unwrap();
        assert_eq!(rig.programs.check_named(whole, None).unwrap(), Checked::Listed);
        // From the directory that this process is in it leads to what is listed.
        let up = "../".repeat(std::env::current_dir().unwrap().components().count());
        let relative = format!("{up}.{whole}");
        assert!(Path::new(&relative).exists());
        assert!(rig.programs.check_named(&relative, None).is_err());
    }
}
