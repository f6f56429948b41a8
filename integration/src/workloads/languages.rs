//! Interpreters of scripts.

use super::workload::{
    Foreign,
    Held::{Always, AtOpen},
    Workload,
};

/// Interpreters, and compilers that compile into memory.
pub(super) const WORKLOADS: &[Workload] = &[
    Workload::new(
        "python3",
        &["python3"],
        "its library: ctypes with callbacks, asyncio, processes, sqlite3; modules of the image",
        include_str!("../../workloads/scripts/python3.sh"),
    ),
    Workload::new(
        "python3-bytecode",
        &["python3"],
        "writes the bytecode of a module of the image, and uses it",
        include_str!("../../workloads/scripts/python3-bytecode.sh"),
    )
    .foreign(&[Foreign::new("**/__pycache__/*.pyc", AtOpen, "bytecode that Python has written")])
    .goes_on(),
    Workload::new(
        "python3-numpy",
        &["python3-numpy"],
        "linear algebra",
        include_str!("../../workloads/scripts/python3-numpy.sh"),
    ),
    Workload::new(
        "numpy-chown",
        &["python3-numpy", "coreutils"],
        "`chown -R`, `chmod -R` and `touch` of numpy, and uses it",
        include_str!("../../workloads/scripts/numpy-chown.sh"),
    ),
    Workload::new(
        "python3-venv",
        &["python3-venv", "python3-pip"],
        "makes an environment, installs a package into it with pip, runs it",
        include_str!("../../workloads/scripts/python3-venv.sh"),
    )
    .foreign(&[
        Foreign::new("/scratch/venv/bin/*", Always, "the environment's scripts"),
        Foreign::new("/scratch/**", AtOpen, "its modules, and the package's while pip builds it"),
        Foreign::new("/tmp/**", AtOpen, "what pip unpacks"),
    ]),
    Workload::new(
        "python3-image-venv",
        &["python3-venv", "python3-setuptools"],
        "an environment that came with the image",
        include_str!("../../workloads/scripts/python3-image-venv.sh"),
    ),
    Workload::new(
        "wsgi",
        &["python3"],
        "serves an application whose name ends in `.wsgi`",
        include_str!("../../workloads/scripts/wsgi.sh"),
    ),
    Workload::new(
        "perl",
        &["perl"],
        "its modules; tests whose names end in `.t`",
        include_str!("../../workloads/scripts/perl.sh"),
    ),
    Workload::new(
        "ruby",
        &["ruby", "rake"],
        "`Rakefile`, `config.ru`, `.gemspec`",
        include_str!("../../workloads/scripts/ruby.sh"),
    ),
    Workload::new("lua", &["lua5.4"], "scripts", include_str!("../../workloads/scripts/lua.sh")),
    Workload::new(
        "luajit",
        &["luajit"],
        "its JIT and its FFI",
        include_str!("../../workloads/scripts/luajit.sh"),
    ),
    Workload::new(
        "sbcl",
        &["sbcl"],
        "compiles functions into memory, runs scripts",
        include_str!("../../workloads/scripts/sbcl.sh"),
    ),
    Workload::new(
        "erlang",
        &["erlang-base"],
        "its JIT, processes",
        include_str!("../../workloads/scripts/erlang.sh"),
    ),
    Workload::new(
        "guile",
        &["guile-3.0"],
        "its JIT, scripts",
        include_str!("../../workloads/scripts/guile.sh"),
    ),
    Workload::new(
        "r-base-core",
        &["r-base-core"],
        "a linear model, scripts",
        include_str!("../../workloads/scripts/r-base-core.sh"),
    ),
    Workload::new(
        "ocaml",
        &["ocaml-nox"],
        "scripts, the top level",
        include_str!("../../workloads/scripts/ocaml.sh"),
    ),
    Workload::new(
        "ocaml-compile",
        &["ocaml-nox"],
        "compiles bytecode, and runs it",
        include_str!("../../workloads/scripts/ocaml-compile.sh"),
    )
    .foreign(&[Foreign::new("/scratch/answer", Always, "the bytecode")]),
    Workload::new("tcl", &["tcl"], "scripts", include_str!("../../workloads/scripts/tcl.sh")),
    Workload::new(
        "expect",
        &["expect"],
        "a dialogue with a shell",
        include_str!("../../workloads/scripts/expect.sh"),
    ),
    Workload::new(
        "gawk",
        &["gawk"],
        "programs, an extension",
        include_str!("../../workloads/scripts/gawk.sh"),
    ),
    Workload::new(
        "sqlite3",
        &["sqlite3"],
        "tables, checks, JSON",
        include_str!("../../workloads/scripts/sqlite3.sh"),
    ),
    Workload::new(
        "nodejs",
        &["nodejs"],
        "its JIT, WebAssembly, workers, a server",
        include_str!("../../workloads/scripts/nodejs.sh"),
    ),
    Workload::new(
        "npm-run",
        &["npm", "nodejs"],
        "a script of `package.json`",
        include_str!("../../workloads/scripts/npm-run.sh"),
    ),
    Workload::new(
        "npm-install",
        &["npm", "nodejs"],
        "installs a package from a file, and runs its program",
        include_str!("../../workloads/scripts/npm-install.sh"),
    )
    .foreign(&[
        Foreign::new("/scratch/app/node_modules/**", Always, "the package"),
        Foreign::new(
            "/scratch/hello/*",
            AtOpen,
            "its source, which npm, in JavaScript itself, packs",
        ),
    ]),
    Workload::new(
        "php-cli-jit",
        &["php-cli"],
        "its JIT, both kinds",
        include_str!("../../workloads/scripts/php-cli-jit.sh"),
    ),
    Workload::new(
        "scripts-without-suffix",
        &["bash", "python3", "perl"],
        "scripts of the image whose names do not tell, a zip, by links",
        include_str!("../../workloads/scripts/scripts-without-suffix.sh"),
    ),
];
