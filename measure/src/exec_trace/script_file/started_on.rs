//! What a command line has an interpreter run.

use lacre_types::base_name;

use super::super::interpreters::Forgotten;
use super::super::told::Told;
use super::{Place, Script, by_path, has_first_line, name_of, unread};
use crate::interpreter::{self, Code, Extent, Family, Missing};

/// The arguments of an interpreter, the first its own name, and how much of them that is.
type Line<'a> = (&'a [Vec<u8>], Extent);

const FORGOTTEN: &str = "more interpreters were changed than are remembered";

/// The program that runs, of an interpreter's command line.
struct Program<'a> {
    family: Option<Family>,
    /// What it is told to be called, where that is not its path.
    called: Option<&'a [u8]>,
    /// Its arguments, the first its name or path.
    argv: &'a [Vec<u8>],
}

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
            .map_err(|Forgotten| Untold::Because(FORGOTTEN))?
            .or_else(|| self.exe().and_then(|exe| Family::of(base_name(&exe))))
            .or_else(|| Family::of(first))
            .ok_or(Untold::Because("which of its arguments is the script can't be told"))?;
        let Program { family, called, argv } = self.program(family, (argv, extent), told)?;
        let found = match (family, called) {
            (None, _) => None,
            (Some(Family::Multicall), Some(name)) => {
                interpreter::applet_called(name, argv.get(1..).unwrap_or_default())
            }
            (Some(Family::Multicall), None) => interpreter::applet(argv),
            (Some(family), called) => {
                let first = called.or(argv.first().map(Vec::as_slice)).unwrap_or_default();
                Some((family.by_name(base_name(first)), argv.get(1..).unwrap_or_default()))
            }
        };
        let Some((family, rest)) = found else { return Ok((None, Vec::new())) };
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

    /// The program that runs, through any loaders that were told to load it.
    fn program<'a>(
        &self,
        family: Family,
        (mut argv, extent): Line<'a>,
        told: &Told,
    ) -> Result<Program<'a>, Untold> {
        let (mut family, mut called) = (Some(family), None);
        while family == Some(Family::Loader) {
            let Some(loaded) = interpreter::loaded(argv, extent)? else {
                return Ok(Program { family: None, called: None, argv });
            };
            (argv, called) = (&argv[loaded.at..], loaded.name);
            family = self.family_loaded(&argv[0], told)?;
        }
        Ok(Program { family, called, argv })
    }

    /// Of a program that a loader was told to load: by its file, whatever that is called.
    fn family_loaded(&self, program: &[u8], told: &Told) -> Result<Option<Family>, Untold> {
        let by_name = Family::of(base_name(program));
        if self.own.is_none() && told.elsewhere() {
            return by_name.map(Some).ok_or(Untold::Because(
                "its process had another root or other mounts, and has ended",
            ));
        }
        // A loader looks for a bare name where libraries are.
        let (folders, _) = self.folders(program, told, false).map_err(Untold::Because)?;
        let opened = folders
            .iter()
            .find_map(|folder| self.open(&[&folder[..], b"/", program].concat()).ok());
        let Some(opened) = opened else {
            let why = "what the loader was told to load can't be found";
            return by_name.map(Some).ok_or(Untold::Because(why));
        };
        match (self.family_of)(&opened) {
            Err(Forgotten) => Err(Untold::Because(FORGOTTEN)),
            Ok(Some(family)) => Ok(Some(family)),
            Ok(None) => {
                let name = name_of(&opened);
                Ok(name.and_then(|name| Family::of(base_name(name.as_bytes()))).or(by_name))
            }
        }
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
