//! Names that say that a file holds code: one list, for who makes a baseline and for who
//! sees a file opened. What one of them takes for code and the other does not is either a
//! script of the image's that is refused, or a foreign one that is not seen.

use crate::known::base_name;

/// A language, by the suffixes of its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Language {
    /// Source text that its interpreter reads.
    pub scripts: &'static [&'static str],
    /// What was compiled for its interpreter.
    pub bytecode: &'static [&'static str],
    /// Archives that it runs, where they are zips.
    pub archives: &'static [&'static str],
    /// Whole names.
    pub names: &'static [&'static str],
}

/// No name tells what such an interpreter runs.
pub const NONE: Language = Language { scripts: &[], bytecode: &[], archives: &[], names: &[] };

/// sh and its kin.
pub const SHELL: Language = Language {
    scripts: &["ash", "bash", "bats", "csh", "dash", "fish", "ksh", "sh", "tcsh", "zsh"],
    ..NONE
};
/// Awk.
pub const AWK: Language = Language { scripts: &["awk"], ..NONE };
/// Python.
pub const PYTHON: Language = Language {
    // A line of a `.pth` that begins with `import` is run.
    scripts: &["pth", "py", "pyw", "wsgi"],
    bytecode: &["pyc", "pyo"],
    archives: &["egg", "pyz", "pyzw", "whl", "zip"],
    ..NONE
};
/// Perl.
pub const PERL: Language =
    Language { scripts: &["al", "cgi", "ph", "pl", "plx", "pm", "psgi", "t"], ..NONE };
/// Ruby.
pub const RUBY: Language = Language {
    scripts: &["gemspec", "rake", "rb", "ru"],
    bytecode: &["rbc"],
    names: &["Capfile", "Gemfile", "Guardfile", "Rakefile", "Vagrantfile"],
    ..NONE
};
/// PHP.
pub const PHP: Language =
    Language { scripts: &["inc", "php", "phtml"], archives: &["phar"], ..NONE };
/// JavaScript and TypeScript.
pub const JAVASCRIPT: Language = Language {
    scripts: &["cjs", "cts", "js", "jsx", "mjs", "mts", "ts", "tsx"],
    bytecode: &["wasm"],
    ..NONE
};
/// Lua.
pub const LUA: Language = Language { scripts: &["lua"], bytecode: &["luac"], ..NONE };
/// Java and what else its machine runs.
pub const JAVA: Language = Language {
    scripts: &["groovy"],
    bytecode: &["class", "dex"],
    archives: &["aar", "apk", "ear", "jar", "jmod", "war"],
    ..NONE
};
/// Tcl and Expect.
pub const TCL: Language = Language { scripts: &["exp", "tcl", "tm"], ..NONE };
/// Sed.
pub const SED: Language = Language { scripts: &["sed"], ..NONE };
/// Emacs.
pub const EMACS: Language = Language { scripts: &["el"], bytecode: &["elc"], ..NONE };
/// The others: their interpreters are known to nobody here but the baseline.
pub const OTHERS: Language =
    Language { scripts: &["exs", "jl", "ps1", "r", "scm"], bytecode: &["beam"], ..NONE };

/// All of them.
pub const LANGUAGES: &[Language] =
    &[SHELL, AWK, PYTHON, PERL, RUBY, PHP, JAVASCRIPT, LUA, JAVA, TCL, SED, EMACS, OTHERS];

/// What a name says that its file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// Source text.
    Script,
    /// Bytecode.
    Bytecode,
    /// Code, if it is a zip.
    Archive,
}

impl Language {
    /// What the last part of a path says, if it is this language's.
    #[must_use]
    pub fn of(&self, path: &[u8]) -> Option<Named> {
        let name = base_name(path);
        if self.names.iter().any(|known| known.as_bytes() == name) {
            return Some(Named::Script);
        }
        let dot = name.iter().rposition(|byte| *byte == b'.')?;
        let suffix = name.get(dot + 1..)?;
        let among =
            |list: &[&str]| list.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(suffix));
        if among(self.scripts) {
            Some(Named::Script)
        } else if among(self.bytecode) {
            Some(Named::Bytecode)
        } else {
            among(self.archives).then_some(Named::Archive)
        }
    }
}

/// What a name says that its file holds, in whatever language.
#[must_use]
pub fn named(path: &[u8]) -> Option<Named> {
    LANGUAGES.iter().find_map(|language| language.of(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_suffix_means_two_things() {
        let mut all: Vec<_> = LANGUAGES
            .iter()
            .flat_map(|of| [of.scripts, of.bytecode, of.archives].concat())
            .collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn a_name_says_what_its_file_holds() {
        for (name, want) in [
            ("/a/b.PY", Some(Named::Script)),
            ("/srv/Rakefile", Some(Named::Script)),
            ("config.ru", Some(Named::Script)),
            ("/x.cpython-311.pyc", Some(Named::Bytecode)),
            ("/app.zip", Some(Named::Archive)),
            ("/rakefile", None),
            ("/py", None),
            ("/a.py/data", None),
            ("/notes.txt", None),
        ] {
            assert_eq!(named(name.as_bytes()), want, "{name}");
        }
        assert_eq!(SHELL.of(b"/x.py"), None);
    }
}
