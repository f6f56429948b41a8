//! The attacks. Each is a shell script that runs in a container of the Debian image, with
//! the attacker's files at `/attack`, and succeeds if `$MARK` comes to exist.

/// How an attack gets into its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// By a shell that runs in the container.
    Shell,
    /// It is the container's own first process.
    Init,
}

/// One attack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attack {
    /// Its number in the corpus, with a letter where one number has several forms.
    pub(crate) id: &'static str,
    /// What it does, in a few words.
    pub(crate) what: &'static str,
    pub(crate) entry: Entry,
    pub(crate) script: &'static str,
}

const fn shell(id: &'static str, what: &'static str, script: &'static str) -> Attack {
    Attack { id, what, entry: Entry::Shell, script }
}

/// All of them, or those that `LACRE_ATTACKS` names, with commas between.
pub(crate) fn attacks() -> Vec<&'static Attack> {
    let wanted = std::env::var("LACRE_ATTACKS").ok();
    let is_wanted = |attack: &&Attack| {
        wanted.as_ref().is_none_or(|wanted| wanted.split(',').any(|id| id == attack.id))
    };
    ATTACKS.iter().filter(is_wanted).collect()
}

const ATTACKS: &[Attack] = &[
    shell("A01", "a new program in the writable layer", "cp /attack/pwned /tmp/new; /tmp/new"),
    shell("A02", "a program of the image overwritten", "cp /attack/pwned /usr/bin/wc; /usr/bin/wc"),
    shell("A03", "a program on a volume", "/attack/pwned"),
    shell("A04a", "a program on the tmpfs of /dev", "cp /attack/pwned /dev/x; /dev/x"),
    shell("A04b", "a program on a tmpfs volume", "cp /attack/pwned /scratch/x; /scratch/x"),
    shell(
        "A05",
        "a memfd executed",
        r#"python3 -c 'import os
fd = os.memfd_create("x", 0)
os.write(fd, open("/attack/pwned", "rb").read())
os.execve("/proc/self/fd/%d" % fd, ["x"], os.environ)'"#,
    ),
    shell(
        "A11a",
        "LD_PRELOAD of a foreign library",
        "cp /attack/pwned.so /tmp/p.so; LD_PRELOAD=/tmp/p.so /bin/true",
    ),
    shell(
        "A11b",
        "LD_LIBRARY_PATH with a foreign libc's name",
        "mkdir /tmp/lib; cp /attack/pwned.so /tmp/lib/libselinux.so.1; LD_LIBRARY_PATH=/tmp/lib ls /",
    ),
    shell(
        "A11c",
        "a library whose text is read as data before it runs (-z noseparate-code)",
        "cp /attack/nosep.so /tmp/p.so; LD_PRELOAD=/tmp/p.so /bin/true",
    ),
    shell(
        "A11d",
        "a library that holds nothing until its loader has opened it",
        concat!(
            ": >/tmp/p.so; ",
            once_open!(
                "/tmp/p.so",
                r#""env", "LD_PRELOAD=/tmp/p.so", "/bin/true""#,
                r#"system("cat /attack/nosep.so >/tmp/p.so")"#
            )
        ),
    ),
    shell(
        "A11e",
        "machine code that a program maps by hand, its pages there before they run",
        machine_code!(
            r#"open F, ">", "/tmp/code"; print F $code, "\0" x 4096; close F; open F, "<", "/tmp/code"; $at = syscall(9, 0, 4096, 5, 0x8002, fileno F, 0)"#
        ),
    ),
    shell(
        "A11f",
        "machine code written over the text of its own process",
        machine_code!(
            r#"open M, "<", "/proc/self/maps"; while (<M>) { $at = hex($1) - 256 if /-(\w+) r-xp .*libc/ } open W, "+<", "/proc/self/mem"; sysseek W, $at, 0; syswrite W, $code"#
        ),
    ),
    shell(
        "A11g",
        "machine code in private memory",
        machine_code!(
            r#"$at = syscall(9, 0, 4096, 7, 0x22, -1, 0); pipe R, W; syswrite W, $code; syscall(0, fileno R, $at, length $code)"#
        ),
    ),
    shell(
        "A13",
        "a file with no execute bit, by the loader",
        "cp /attack/dynamic /tmp/x; chmod 644 /tmp/x; /lib64/ld-linux-x86-64.so.2 /tmp/x",
    ),
    shell(
        "A14a",
        "a script by its interpreter: sh x.sh",
        r#"printf '#!/bin/sh\n: >"$MARK"\n' >/tmp/x.sh; sh /tmp/x.sh"#,
    ),
    shell(
        "A14b",
        "a script by its interpreter: python3 x.py",
        r#"echo 'import os; open(os.environ["MARK"], "w")' >/tmp/x.py; python3 /tmp/x.py"#,
    ),
    shell(
        "A14c",
        "a script with no #! and no extension",
        r#"echo ': >"$MARK"' >/tmp/script; bash /tmp/script"#,
    ),
    shell("A14d", "a script sourced: . x", r#"echo ': >"$MARK"' >/tmp/script; . /tmp/script"#),
    shell(
        "A14e",
        "a script by a link of the process's own: sh /proc/self/root/tmp/x.sh",
        r#"echo ': >"$MARK"' >/tmp/x.sh; sh /proc/self/root/tmp/x.sh"#,
    ),
    shell(
        "A14f",
        "a script behind more arguments than are told at once",
        r#"echo ': >"$MARK"' >/tmp/x.sh; bash $(printf -- '-e %.0s' $(seq 200)) /tmp/x.sh"#,
    ),
    shell(
        "A14g",
        "a script run in a directory whose path is longer than is told",
        r#"echo ': >"$MARK"' >/tmp/x.sh; d=$(printf 'd%.0s' $(seq 200)); cd /tmp
for n in $(seq 12); do mkdir $d; cd $d; done; bash /tmp/x.sh"#,
    ),
    shell(
        "A14h",
        "a script by .. behind a link",
        r#"mkdir -p /tmp/d/e; ln -s /tmp/d/e /tmp/link; echo ': >"$MARK"' >/tmp/d/y.sh; bash /tmp/link/../y.sh"#,
    ),
    shell(
        "A14i",
        "a script that is searched for: PATH=/tmp/e bash zz",
        r#"mkdir /tmp/e; echo ': >"$MARK"' >/tmp/e/zz; chmod +x /tmp/e/zz; PATH=/tmp/e:$PATH bash zz"#,
    ),
    shell(
        "A14j",
        "a script of an interpreter that the loader was told to run",
        r#"echo ': >"$MARK"' >/tmp/x; $(ls /lib64/ld-linux-*) $(command -v bash) /tmp/x"#,
    ),
    shell(
        "A14k",
        "a script that unlinks itself",
        r#"echo 'unlink $0; open F, ">", $ENV{MARK}' >/tmp/x.pl; perl /tmp/x.pl"#,
    ),
    shell(
        "A14l",
        "a script of an interpreter that is called what it is not",
        r#"echo ': >"$MARK"' >/tmp/x; bash -c 'exec -a cat bash /tmp/x'"#,
    ),
    shell(
        "A14m",
        "a script by .. behind a link of the process's own",
        r#"echo ': >"$MARK"' >/tmp/x.sh; sh /proc/self/../self/root/tmp/x.sh"#,
    ),
    shell(
        "A14n",
        "a directory that an interpreter runs: python3 DIR",
        r#"mkdir /tmp/e; echo 'import os; open(os.environ["MARK"], "w")' >/tmp/e/__main__.py; python3 /tmp/e"#,
    ),
    shell(
        "A14o",
        "a module by its name: python3 -m NAME",
        r#"cd /tmp; echo 'import os; open(os.environ["MARK"], "w")' >evil.py; python3 -m evil"#,
    ),
    shell(
        "A14p",
        "a file that a shell reads before its commands",
        r#"echo ': >"$MARK"' >/tmp/x; bash --rcfile /tmp/x -i </dev/null"#,
    ),
    shell(
        "A14q",
        "a script of an interpreter that is mounted over another's name",
        concat!(
            r#"echo ': >"$MARK"' >/tmp/x; "#,
            in_new_namespaces!(
                r#"syscall(165, my $a="/bin/bash", my $b="/bin/cat", 0, 4096, 0) == 0 or die "mount: $!"; exec("/bin/cat", "/tmp/x")"#
            )
        ),
    ),
    shell(
        "A14r",
        "a script behind the options of a loader",
        r#"echo ': >"$MARK"' >/tmp/x; $(ls /lib64/ld-linux-*) --argv0 x $(command -v bash) /tmp/x"#,
    ),
    shell(
        "A14s",
        "a program that awk is told by another option: awk -W exec",
        r#"echo 'BEGIN { printf "" > ENVIRON["MARK"] }' >/tmp/x; awk -W exec /tmp/x"#,
    ),
    shell("A14t", "a script of sed's: sed -f x", r#"echo "w $MARK" >/tmp/x; echo | sed -f /tmp/x"#),
    shell(
        "A14u",
        "a script that is a file of /proc: its own environment",
        r#"env -i A=$'\n: >'"$MARK"$'\nexit\n' bash /proc/self/environ"#,
    ),
    shell(
        "A14v",
        "a script behind a link of another name",
        r#"echo ': >"$MARK"' >/tmp/evil; ln -s /tmp/evil /tmp/x; bash /tmp/x"#,
    ),
    shell(
        "A14w",
        "a script behind a link that leads elsewhere until its interpreter comes to open it",
        r#"echo ': >"$MARK"' >/tmp/evil; ln -s /usr/bin/py3clean /tmp/x; mkfifo /tmp/f
BASH_ENV=/tmp/f bash /tmp/x & sleep 0.5; ln -sfn /tmp/evil /tmp/x; echo : >/tmp/f; wait"#,
    ),
    shell(
        "A14x",
        "a script that is not there until its interpreter comes to open it",
        r#"mkfifo /tmp/f; sleep 0.2; BASH_ENV=/tmp/f bash /tmp/x & sleep 0.5
echo ': >"$MARK"' >/tmp/x; echo : >/tmp/f; wait"#,
    ),
    shell(
        "A14y",
        "a script sourced by a shell that is called otherwise since it runs",
        r#"echo ': >"$MARK"' >/tmp/x.sh; mv /bin/bash /bin/other; . /tmp/x.sh"#,
    ),
    shell(
        "A14z",
        "a module that holds nothing until its interpreter has opened it",
        concat!(
            ": >/tmp/evil.py; ",
            once_open!(
                "/tmp/evil.py",
                r#""python3", "-c", "import sys; sys.path.insert(0, \"/tmp\"); import evil""#,
                r#"open F, ">", "/tmp/evil.py"; print F "open(\"$ENV{MARK}\", \"w\")\n"; close F"#
            )
        ),
    ),
    shell(
        "A14za",
        "a module on a mount of a namespace of one's own",
        in_new_namespaces!(
            r#"syscall(165, my $a="t", my $b="/root", my $c="tmpfs", 0, 0) == 0 or die "mount: $!"; open(F, ">/root/evil.py") and print(F "open(\"$ENV{MARK}\", \"w\")\n") and close(F) or die; exec("python3", "-c", "import sys; sys.path.insert(0, \"/root\"); import evil")"#
        ),
    ),
    shell(
        "A14zb",
        "a script that is a descriptor of another process, which ends",
        r#"echo 'kill -9 $V; : >"$MARK"' >/tmp/x; sleep 100 5</tmp/x & export V=$!
until [ -e /proc/$V/fd/5 ] || ! kill -0 $V; do sleep 0.01; done; bash /proc/$V/fd/5"#,
    ),
    shell(
        "A14zc",
        "a file that Python reads, and runs: exec(open(x).read())",
        r#"echo 'import os; open(os.environ["MARK"], "w")' >/tmp/script; python3 -c 'exec(open("/tmp/script").read())'"#,
    ),
    shell(
        "A14zd",
        "a file that perl is told to do: do x",
        r#"echo 'open F, ">", $ENV{MARK}' >/tmp/script; perl -e 'do "/tmp/script"'"#,
    ),
    shell(
        "A14ze",
        "a file that a shell's environment names: BASH_ENV=x",
        r#"echo ': >"$MARK"' >/tmp/script; BASH_ENV=/tmp/script bash -c :"#,
    ),
    shell(
        "A21",
        "an open file, executed after it was deleted",
        r#"cp /attack/pwned /tmp/gone; python3 -c 'import os
fd = os.open("/tmp/gone", os.O_RDONLY)
os.unlink("/tmp/gone")
os.execve(fd, ["x"], os.environ)'"#,
    ),
    shell(
        "A22",
        "a file with no name (O_TMPFILE), linked, executed",
        r#"perl -e 'sysopen(F, "/tmp", 0x410002, 0755) or die "open: $!"; open(P, "/attack/pwned"); local $/;
print F <P>; F->flush; my $from = "/proc/self/fd/" . fileno(F);
syscall(265, -100, $from, -100, my $to = "/tmp/linked", 0x400) == 0 or die "linkat: $!"'; /tmp/linked"#,
    ),
    shell(
        "A23a",
        "bad content renamed onto a good name, and back",
        "cp /attack/pwned /tmp/x; wc </dev/null; mv /usr/bin/wc /usr/bin/wc.good; \
         mv /tmp/x /usr/bin/wc; /usr/bin/wc; mv /usr/bin/wc.good /usr/bin/wc",
    ),
    shell(
        "A23b",
        "a hard link to bad content under a good name",
        "cp /attack/pwned /tmp/x; rm /usr/bin/wc; ln /tmp/x /usr/bin/wc; /usr/bin/wc",
    ),
    shell(
        "A32",
        "a tmpfs in new user and mount namespaces",
        in_new_namespaces!(
            r#"syscall(165, my $a="t", my $b="/root", my $c="tmpfs", 0, 0) == 0 or die "mount: $!"; system("cp /attack/pwned /root/x; /root/x")"#
        ),
    ),
    shell("A36a", "a path with a line feed", "cp /attack/pwned $'/tmp/a\\nb'; $'/tmp/a\\nb'"),
    shell(
        "A36b",
        "a name that ends in (deleted)",
        "cp /attack/pwned '/tmp/x (deleted)'; '/tmp/x (deleted)'",
    ),
    shell(
        "A36c",
        "a path that is not UTF-8",
        "cp /attack/pwned $'/tmp/\\xff\\xfe'; $'/tmp/\\xff\\xfe'",
    ),
    shell(
        "A36d",
        "a path with bidirectional controls",
        "cp /attack/pwned $'/tmp/\\u202egpj.sh'; $'/tmp/\\u202egpj.sh'",
    ),
    shell(
        "A36e",
        "a path longer than PATH_MAX",
        r#"d=$(printf 'd%.0s' $(seq 250)); cd /tmp; for i in $(seq 18); do mkdir $d; cd -P ./$d 2>/dev/null || cd ./$d; done; cp /attack/pwned x; ./x"#,
    ),
    shell("A36f", "a path with .. and //", "cp /attack/pwned /tmp/x; /usr/../tmp//./x"),
    Attack {
        id: "A39",
        what: "a container whose first process is the attack",
        entry: Entry::Init,
        script: "/attack/pwned",
    },
    shell(
        "A40",
        "1000 tries at once",
        "cp /attack/pwned /tmp/x; for i in $(seq 1000); do /tmp/x 2>/dev/null & done; wait",
    ),
    shell(
        "A45a",
        "#! with an attacker's interpreter",
        r"cp /attack/pwned /tmp/interp; printf '#!/tmp/interp\n' >/tmp/x; chmod +x /tmp/x; /tmp/x",
    ),
    shell(
        "A45b",
        "PT_INTERP with an attacker's loader",
        "cp /attack/ld.so /tmp/ld.so; cp /attack/interp /tmp/x; /tmp/x",
    ),
    shell(
        "A45c",
        "nested #!",
        r"cp /attack/pwned /tmp/i; printf '#!/tmp/i\n' >/tmp/j; printf '#!/tmp/j\n' >/tmp/x; chmod +x /tmp/j /tmp/x; /tmp/x",
    ),
    shell(
        "A45d",
        "#! of the image's own file that leads to a script on another mount",
        in_new_namespaces!(
            r##"syscall(165, my $a="t", my $b="/root", my $c="tmpfs", 0, 0) == 0 or die "mount: $!"; open(F, ">/root/x") and print(F "#!/bin/sh\n: >$ENV{MARK}\nexec sleep 1\n") and close(F) and chmod(0755, "/root/x") or die; syscall(165, my $d="/root/x", my $e="/usr/bin/python3.11", 0, 4096, 0) == 0 or die "mount: $!"; exec("/usr/bin/py3clean")"##
        ),
    ),
    shell(
        "A45e",
        "a program whose interpreter its own namespace chose (binfmt_misc), on another mount",
        concat!(
            "mkdir /tmp/b /tmp/m; ",
            in_new_namespaces!(
                r#"syscall(165, my $a="t", my $b="/tmp/m", my $c="tmpfs", 0, 0) == 0 or die "mount: $!"; syscall(165, my $d="b", my $e="/tmp/b", my $f="binfmt_misc", 0, 0) == 0 or die "mount: $!"; open(R, ">/tmp/b/register") and print(R ":e:E::foo::/bin/bash:") and close(R) or die "register: $!"; open(F, ">/tmp/m/x.foo") and print(F ": >$ENV{MARK}\nsleep 1\n") and close(F) and chmod(0755, "/tmp/m/x.foo") or die; exec("/tmp/m/x.foo")"#
            )
        ),
    ),
    shell(
        "A48a",
        "a bind mount over a path of the image",
        in_new_namespaces!(
            r#"syscall(165, my $a="/attack/pwned", my $b="/usr/bin/wc", 0, 4096, 0) == 0 or die "mount: $!"; system("/usr/bin/wc")"#
        ),
    ),
    shell(
        "A48b",
        "an overlay over the overlay",
        concat!(
            "mkdir /tmp/l; cp /attack/pwned /tmp/l/wc; ",
            in_new_namespaces!(
                r#"syscall(165, my $a="o", my $b="/usr/bin", my $c="overlay", 0, my $d="lowerdir=/tmp/l:/usr/bin") == 0 or die "mount: $!"; system("/usr/bin/wc")"#
            )
        ),
    ),
];
