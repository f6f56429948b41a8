//! What several attacks do in perl, which the image has: system calls by their numbers (x86-64).

/// A perl prelude: a user and mount namespace of one's own.
macro_rules! in_new_namespaces {
    ($rest:literal) => {
        concat!("perl -e 'syscall(272, 0x10020000) == 0 or die \"unshare: $!\"; \
             sub put { open(M, \">/proc/self/$_[0]\") and print(M $_[1]) and close(M) or die \"map: $!\" } \
             put(\"setgroups\", \"deny\"); put(\"gid_map\", \"0 0 1\"); put(\"uid_map\", \"0 0 1\"); ", $rest, "'")
    };
}

/// A perl program that has `$command` done, and `$then` after the first system call by which it
/// has `$file` open: between an open and what is read, as long as one likes.
macro_rules! once_open {
    ($file:literal, $command:literal, $then:literal) => {
        concat!(
            "perl -e 'my $p = fork; if (!$p) { syscall(101, 0, 0, 0, 0); kill 19, $$; exec(",
            $command,
            ") } my $s = pack(\"i\", 0); syscall(61, $p, $s, 0, 0); while (1) { syscall(101, 24, $p, 0, 0); \
             syscall(61, $p, $s, 0, 0); last if (unpack(\"i\", $s) & 255) != 127; if (grep { readlink($_) eq \"",
            $file,
            "\" } glob \"/proc/$p/fd/*\") { ",
            $then,
            "; syscall(101, 17, $p, 0, 0); last } } waitpid $p, 0'"
        )
    };
}

/// A perl program that has `$code`, which makes the mark (x86-64: open(2)), put at `$at`, and runs
/// it there.
macro_rules! machine_code {
    ($put:literal) => {
        concat!(
            r#"perl -e 'my $code = pack("H*", "488d3d12000000b802000000be41000000baa40100000f05c3") . "$ENV{MARK}\0"; my $at; "#,
            $put,
            r#"; require XSLoader; DynaLoader::boot_DynaLoader("DynaLoader") unless defined &DynaLoader::dl_install_xsub;
my $run = DynaLoader::dl_install_xsub("main::run", $at); &$run()'"#
        )
    };
}
