//! Programs that compile what they run, into memory or into a library.

use super::workload::{Foreign, Held::Always, Workload};

/// More languages: those that compile into memory, and those that compile into a library and
/// load it.
pub(super) const WORKLOADS: &[Workload] = &[
    Workload::new(
        "pypy3",
        &["pypy3"],
        "its JIT, its FFI",
        include_str!("../../workloads/scripts/pypy3.sh"),
    ),
    Workload::new(
        "gforth",
        &["gforth"],
        "its compiler, both engines",
        include_str!("../../workloads/scripts/gforth.sh"),
    ),
    Workload::new(
        "gjs",
        &["gjs"],
        "its JIT, loops of GLib",
        include_str!("../../workloads/scripts/gjs.sh"),
    ),
    Workload::new(
        "jsc",
        &["libjavascriptcoregtk-4.0-bin"],
        "its JIT, WebAssembly",
        include_str!("../../workloads/scripts/jsc.sh"),
    ),
    Workload::new(
        "gcl",
        &["gcl", "gcc"],
        "executes itself again, compiles into its memory",
        include_str!("../../workloads/scripts/gcl.sh"),
    ),
    Workload::new(
        "lisp",
        &["ecl", "clisp"],
        "scripts, a compiled function",
        include_str!("../../workloads/scripts/lisp.sh"),
    ),
    Workload::new(
        "polyml",
        &["polyml"],
        "compiles into memory",
        include_str!("../../workloads/scripts/polyml.sh"),
    ),
    Workload::new(
        "elixir",
        &["elixir"],
        "scripts, a module that is compiled",
        include_str!("../../workloads/scripts/elixir.sh"),
    ),
    Workload::new(
        "swi-prolog",
        &["swi-prolog-nox"],
        "scripts, goals",
        include_str!("../../workloads/scripts/swi-prolog.sh"),
    ),
    Workload::new(
        "emacs",
        &["emacs-nox"],
        "Lisp, compiled Lisp, a program",
        include_str!("../../workloads/scripts/emacs.sh"),
    ),
    Workload::new(
        "vim",
        &["vim-nox"],
        "a script, a filter",
        include_str!("../../workloads/scripts/vim.sh"),
    ),
    Workload::new(
        "zsh",
        &["zsh"],
        "functions that are loaded when they are called, modules, `=(…)`",
        include_str!("../../workloads/scripts/zsh.sh"),
    ),
    Workload::new(
        "fish",
        &["fish"],
        "functions that are loaded when they are called, `psub`",
        include_str!("../../workloads/scripts/fish.sh"),
    ),
    Workload::new(
        "ksh",
        &["ksh", "mksh", "tcsh"],
        "scripts of three other shells",
        include_str!("../../workloads/scripts/ksh.sh"),
    ),
    Workload::new(
        "ruby-jit",
        &["ruby"],
        "YJIT, its FFI with callbacks",
        include_str!("../../workloads/scripts/ruby-jit.sh"),
    ),
    Workload::new(
        "perl-modules",
        &[
            "libjson-xs-perl",
            "libdbd-sqlite3-perl",
            "libcache-fastmmap-perl",
            "lua-cjson",
            "lua5.4",
        ],
        "modules in C, of Perl and Lua",
        include_str!("../../workloads/scripts/perl-modules.sh"),
    ),
    Workload::new(
        "python3-gi",
        &["python3-gi", "python3-cffi"],
        "callbacks that libffi makes code for",
        include_str!("../../workloads/scripts/python3-gi.sh"),
    ),
    Workload::new(
        "python3-numba",
        &["python3-numba"],
        "compiles by LLVM into memory",
        include_str!("../../workloads/scripts/python3-numba.sh"),
    ),
    Workload::new(
        "python3-spawn",
        &["python3"],
        "pools of processes, `-m`, `runpy`, shared memory, a program on standard input",
        include_str!("../../workloads/scripts/python3-spawn.sh"),
    ),
    Workload::new(
        "chicken",
        &["chicken-bin"],
        "scripts",
        include_str!("../../workloads/scripts/chicken.sh"),
    ),
    Workload::new(
        "mesa",
        &["mesa-utils", "libgl1-mesa-dri", "xvfb"],
        "OpenGL, whose shaders LLVM compiles into memory",
        include_str!("../../workloads/scripts/mesa.sh"),
    ),
    Workload::new(
        "node-fork",
        &["nodejs"],
        "processes, workers of a text, a program on standard input",
        include_str!("../../workloads/scripts/node-fork.sh"),
    ),
    Workload::new(
        "php-phar",
        &["php-cli"],
        "an archive of PHP's, by name and as a program; FFI; its server",
        include_str!("../../workloads/scripts/php-phar.sh"),
    ),
    Workload::new(
        "pipes-as-scripts",
        &["bash", "python3", "perl"],
        "programs that come by standard input, or by a pipe to a shell that runs already",
        include_str!("../../workloads/scripts/pipes-as-scripts.sh"),
    ),
    Workload::new(
        "option-spellings",
        &[
            "gjs",
            "clisp",
            "vim-nox",
            "nodejs",
            "ruby",
            "swi-prolog-nox",
            "emacs-nox",
            "zsh",
            "fish",
        ],
        "texts on the command lines of nineteen interpreters, in a folder that changes",
        include_str!("../../workloads/scripts/option-spellings.sh"),
    ),
    Workload::new(
        "ecl-compile",
        &["ecl", "gcc"],
        "compiles a library, and loads it",
        include_str!("../../workloads/scripts/ecl-compile.sh"),
    )
    .foreign(&[Foreign::new("/scratch/*.fas", Always, "the library")]),
    Workload::new(
        "perl-inline",
        &["libinline-c-perl", "make"],
        "C in a script of Perl",
        include_str!("../../workloads/scripts/perl-inline.sh"),
    )
    .foreign(&[
        Foreign::new("/scratch/build/**", Always, "the script that builds it"),
        Foreign::new("/scratch/lib/auto/**", Always, "the library"),
    ]),
    Workload::new(
        "cython",
        &["cython3", "python3-dev"],
        "compiles a module, and loads it",
        include_str!("../../workloads/scripts/cython.sh"),
    )
    .foreign(&[Foreign::new("/scratch/fast.so", Always, "the module")]),
    Workload::new(
        "chicken-compile",
        &["chicken-bin"],
        "compiles a program, and runs it",
        include_str!("../../workloads/scripts/chicken-compile.sh"),
    )
    .foreign(&[Foreign::new("/scratch/primes", Always, "the program")]),
];
