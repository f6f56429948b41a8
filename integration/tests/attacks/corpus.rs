//! The attacks. Each is a shell script that runs in a container of the Debian image, with
//! the attacker's files at `/attack`, and succeeds if `$MARK` comes to exist.

use crate::scripts::SCRIPTS;

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

pub(crate) const fn shell(id: &'static str, what: &'static str, script: &'static str) -> Attack {
    Attack { id, what, entry: Entry::Shell, script }
}

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = &'static Attack> {
    ATTACKS.iter().chain(SCRIPTS)
}

/// All of them, or those that `LACRE_ATTACKS` names, with commas between.
pub(crate) fn attacks() -> Vec<&'static Attack> {
    let wanted = std::env::var("LACRE_ATTACKS").ok();
    let is_wanted = |attack: &&Attack| {
        wanted.as_ref().is_none_or(|wanted| wanted.split(',').any(|id| id == attack.id))
    };
    let mut all: Vec<_> = self::all().filter(is_wanted).collect();
    all.sort_by_key(|attack| attack.id);
    all
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
