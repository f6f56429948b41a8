//! The attacks that have an interpreter run a foreign script.

use crate::corpus::{Attack, shell};

/// A shell is started on a script, and held by a pipe that it reads before: the script's name
/// leads to `/tmp/evil` only by then.
macro_rules! until_opened {
    ($before:literal, $start:literal, $then:literal) => {
        concat!(
            r#"echo ': >"$MARK"' >/tmp/evil; mkfifo /tmp/f; "#,
            $before,
            "\nBASH_ENV=/tmp/f ",
            $start,
            " & sleep 0.5\n",
            $then,
            "; echo : >/tmp/f; wait"
        )
    };
}

pub(crate) const SCRIPTS: &[Attack] = &[
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
        until_opened!("ln -s /usr/bin/py3clean /tmp/x", "bash /tmp/x", "ln -sfn /tmp/evil /tmp/x"),
    ),
    shell(
        "A14x",
        "a script that is not there until its interpreter comes to open it",
        until_opened!("sleep 0.2", "bash /tmp/x", "mv /tmp/evil /tmp/x"),
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
        "A14zf",
        "a link that is exchanged with another until its interpreter comes to open the script",
        until_opened!(
            "ln -s /usr/bin/py3clean /tmp/x; ln -s /tmp/evil /tmp/y",
            "bash /tmp/x",
            r#"perl -e 'syscall(316, -100, my $x = "/tmp/x", -100, my $y = "/tmp/y", 2) == 0 or die "renameat2: $!"'"#
        ),
    ),
    shell(
        "A14zg",
        "a link to the script's directory that leads elsewhere until its interpreter comes to open it",
        until_opened!(
            "mkdir /tmp/e; mv /tmp/evil /tmp/e/py3clean; ln -s /usr/bin /tmp/d",
            "bash /tmp/d/py3clean",
            "ln -sfn /tmp/e /tmp/d"
        ),
    ),
    shell(
        "A14zh",
        "the image's own script, over which another is mounted until its interpreter opens it",
        concat!(
            r#"echo ': >"$MARK"' >/tmp/evil; mkfifo /tmp/f; "#,
            in_new_namespaces!(
                r#"my $p = fork; if (!$p) { $ENV{BASH_ENV} = "/tmp/f"; exec("bash", "/usr/bin/py3clean") } select(undef, undef, undef, 0.5); syscall(165, my $a="/tmp/evil", my $b="/usr/bin/py3clean", 0, 4096, 0) == 0 or die "mount: $!"; open(F, ">/tmp/f") and print(F ":\n") and close(F) or die; waitpid($p, 0)"#
            )
        ),
    ),
    shell(
        "A14zi",
        "the image's own script, written to until its interpreter comes to open it",
        until_opened!("", "bash /usr/bin/py3clean", "cat /tmp/evil >/usr/bin/py3clean"),
    ),
    shell(
        "A14zj",
        "a descriptor of another process, which has another file there until the script is opened",
        until_opened!("exec 5</usr/bin/py3clean", "bash /proc/$$/fd/5", "exec 5</tmp/evil"),
    ),
    shell(
        "A14zk",
        "a script by .. from a directory that is moved until its interpreter comes to open it",
        until_opened!(
            "mkdir -p /tmp/a/d /tmp/b; ln -s /usr/bin/py3clean /tmp/a/x; mv /tmp/evil /tmp/b/x; cd /tmp/a/d",
            "bash ../x",
            "mv /tmp/a/d /tmp/b/d"
        ),
    ),
    shell(
        "A14zl",
        "a script of a busybox that has a longer name: busybox-x sh x",
        r#"echo ': >"$MARK"' >/tmp/x; ln -s /bin/busybox /tmp/busybox-x; /tmp/busybox-x sh /tmp/x"#,
    ),
    shell(
        "A14zm",
        "a script of an interpreter that is mounted under another name, which the loader runs",
        concat!(
            r#"echo ': >"$MARK"' >/tmp/x; : >/tmp/other; "#,
            in_new_namespaces!(
                r#"syscall(165, my $a="/bin/bash", my $b="/tmp/other", 0, 4096, 0) == 0 or die "mount: $!"; my ($l) = glob("/lib64/ld-linux-*"); exec($l, "/tmp/other", "/tmp/x")"#
            )
        ),
    ),
    shell(
        "A14zn",
        "a script of an interpreter that is hard-linked under another name, which the loader runs",
        r#"echo ': >"$MARK"' >/tmp/x; ln /bin/bash /tmp/other; $(ls /lib64/ld-linux-*) /tmp/other /tmp/x"#,
    ),
    shell(
        "A14zo",
        "a script of a busybox that the loader calls a shell",
        r#"echo ': >"$MARK"' >/tmp/x; $(ls /lib64/ld-linux-*) --argv0 sh /bin/busybox /tmp/x"#,
    ),
    shell(
        "A14zp",
        "a terminal that is named as a script: bash /dev/pts/N",
        r#"perl -e '$^F = 255; open(M, "+<", "/dev/ptmx") or die "ptmx: $!"; my $n = pack("i", 0); ioctl(M, 0x40045431, $n) and ioctl(M, 0x80045430, $n) or die "pty: $!";
my $t = "/dev/pts/" . unpack("i", $n); open(T, "+<", $t) or die "$t: $!"; syswrite(M, ": >\"\$MARK\"\nexit\n"); exec("bash", $t)'"#,
    ),
    shell(
        "A14zq",
        "a pipe that is sourced: . fifo",
        r#"mkfifo /tmp/script; echo ': >"$MARK"' >/tmp/script & . /tmp/script"#,
    ),
    shell(
        "A14zr",
        "a script of sed's by an abbreviated option: sed --fi x",
        r#"echo "w $MARK" >/tmp/x; echo | sed --fi /tmp/x"#,
    ),
    shell(
        "A14zs",
        "a script behind an option whose name is the next argument: bash +oe posix x",
        r#"echo ': >"$MARK"' >/tmp/x; bash +oe posix /tmp/x"#,
    ),
    shell(
        "A14zt",
        "a script behind a long option with one dash: bash -norc x",
        r#"echo ': >"$MARK"' >/tmp/x; bash -norc /tmp/x"#,
    ),
    shell(
        "A14zu",
        "a file that is sourced (. x), moved to another directory and back while it is opened",
        r#"echo ': >"$MARK"' >/tmp/script; perl -e 'while (1) { rename "/tmp/script", "/root/s"; rename "/root/s", "/tmp/script" }' & for i in $(seq 200); do (. /tmp/script) 2>/dev/null; done; kill $!"#,
    ),
];
