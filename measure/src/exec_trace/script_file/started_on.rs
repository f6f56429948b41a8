//! What a command line has an interpreter run.

use lacre_types::{CanonicalPath, base_name};

use super::super::interpreters::Forgotten;
use super::super::told::Told;
use super::{Place, Script, by_path, has_first_line, name_of, unread};
use crate::interpreter::{self, Code, Extent, Family, Missing};

/// The arguments of an interpreter, the first its own name, and how much of them that is.
type Line<'a> = (&'a [Vec<u8>], Extent);

/// Why it can't be told what is run.
enum Untold {
    /// The arguments at hand are too few.
    Missing,
    Because(&'static str),
}

impl From<Missing> for Untold {
    fn from(_: Missing) -> Self {
        Self::Missing
    }
}

impl Place<'_> {
    /// What is run.
    ///
    /// # Errors
    /// Where that may not be all, for want of arguments: what was found.
    pub(super) fn started_on(
        &self,
        told: &Told,
        line: Line<'_>,
    ) -> Result<Vec<Script>, Vec<Script>> {
        if told.filename.is_some() {
            return self.by_first_line(told, line);
        }
        match self.run_by(told, line) {
            Err(Untold::Missing) => Err(Vec::new()),
            Err(Untold::Because(why)) => Ok(vec![unread(why)]),
            Ok((family, all)) => {
                Ok(all.iter().flat_map(|code| self.find(code, family, told)).collect())
            }
        }
    }

    /// What is run that has a `#!`: the file that was executed, the scripts that its first line
    /// led to on the way to a program, and what that program takes for its script.
    fn by_first_line(&self, told: &Told, line: Line<'_>) -> Result<Vec<Script>, Vec<Script>> {
        let (argv, _) = line;
        let filename = told.filename.as_deref().unwrap_or_default();
        if told.filename_cut() {
            let why = "its path is longer than the kernel's programs tell (512 bytes)";
            return Ok(vec![unread(why)]);
        }
        let mut found = self.find(&by_path(filename), None, told);
        let own = argv.iter().position(|argument| argument == filename).unwrap_or(argv.len());
        let on_the_way = argv.get(1..own).unwrap_or_default().iter();
        found.extend(on_the_way.flat_map(|name| {
            let mut found = self.find(&by_path(name), None, told);
            // An argument of its program's may be any word.
            found.retain(|script| matches!(script, Script::At(_, file) if has_first_line(file)));
            found
        }));
        match self.run_by(told, line) {
            Ok((family, all)) => {
                let others = all.iter().filter(|code| code.names != [filename]);
                let others = others.flat_map(|code| self.find(code, family, told));
                let others: Vec<_> = others.filter(|other| is_another(other, &found)).collect();
                found.extend(others);
            }
            Err(Untold::Missing) => return Err(found),
            Err(Untold::Because(_)) => {}
        }
        Ok(found)
    }

    /// The program's family, and what it runs of its arguments.
    fn run_by<'a>(
        &self,
        told: &Told,
        (argv, extent): Line<'a>,
    ) -> Result<(Option<Family>, Vec<Code<'a>>), Untold> {
        let first = argv.first().map_or(&b""[..], |first| base_name(first));
        let family = self
            .interpreters
            .family(&told.key)
            .map_err(|Forgotten| {
                Untold::Because("more interpreters were changed than are remembered")
            })?
            .or_else(|| self.exe().and_then(|exe| Family::of(base_name(&exe))))
            .or_else(|| Family::of(first))
            .ok_or(Untold::Because("which of its arguments is the script can't be told"))?;
        let (family, argv) = match family {
            Family::Loader => {
                let Some(at) = interpreter::loaded(argv, extent)? else {
                    return Ok((None, Vec::new()));
                };
                let rest = &argv[at..];
                (self.family_of(&rest[0]), rest)
            }
            family => (Some(family), argv),
        };
        let (family, rest) = match family {
            None => return Ok((None, Vec::new())),
            Some(Family::Multicall) => match interpreter::applet(argv) {
                Some(found) => found,
                None => return Ok((None, Vec::new())),
            },
            Some(family) => {
                let first = argv.first().map_or(&b""[..], |first| base_name(first));
                (family.by_name(first), argv.get(1..).unwrap_or_default())
            }
        };
        if !family.names_files() {
            return Ok((None, Vec::new()));
        }
        Ok((Some(family), interpreter::code_of(family, rest, extent)?))
    }

    fn exe(&self) -> Option<Vec<u8>> {
        let exe = std::fs::read_link(self.process?.proc("exe")).ok()?;
        let exe = exe.into_os_string().into_encoded_bytes();
        Some(exe.strip_suffix(b" (deleted)").map_or_else(|| exe.clone(), <[u8]>::to_vec))
    }

    /// Of a program that a loader was told to load.
    fn family_of(&self, program: &[u8]) -> Option<Family> {
        let opened = self.open(program).ok();
        let name = opened.as_ref().and_then(name_of);
        let name = name.as_ref().map_or(program, CanonicalPath::as_bytes);
        Family::of(base_name(name)).or_else(|| Family::of(base_name(program)))
    }
}

/// Whether it is a file that is none of those: who runs one file is judged for it once.
fn is_another(script: &Script, found: &[Script]) -> bool {
    let file = |script: &Script| match script {
        Script::At(_, file) => rustix::fs::fstat(file).ok().map(|stat| (stat.st_dev, stat.st_ino)),
        _ => None,
    };
    let own = file(script);
    own.is_some() && found.iter().all(|other| file(other) != own)
}
