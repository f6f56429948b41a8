//! Opens of many files: what is the image's data is asked about no more, however much there is,
//! and what is not any more is asked about again.

use std::time::{Duration, Instant};

use lacre_measure::{Block, Outcome};
use lacre_types::{Event, Mode};

use crate::baseline::path;
use crate::container::Container;
use crate::{Baseline, Guarded, Limits, place};

const SCRIPT: &str = "#!/bin/sh\nexit 0\n";

/// With that many files of data in `/many`.
fn many(files: usize, block: Block) -> Guarded {
    let container = Container::start(|lower| {
        std::fs::create_dir(lower.join("many")).unwrap();
        for file in 0..files {
            place::write(&lower.join(format!("many/{file}")), "only data\n");
        }
    });
    let baseline = Baseline::of(&container.lower(), Mode::Enforce);
    Guarded::arm(container, baseline, Mode::Enforce, block, Limits::default())
}

/// How many marks on inodes the groups of this process have that ignore opens (proc_pid_fdinfo(5)):
/// other tests' too.
fn ignored(inodes: &[u64]) -> usize {
    let mut found = 0;
    for entry in std::fs::read_dir("/proc/self/fdinfo").unwrap().flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        for line in text.lines().filter(|line| line.starts_with("fanotify ino:")) {
            let field = |name: &str| {
                let value = line.split_once(name)?.1.split_whitespace().next()?;
                u64::from_str_radix(value, 16).ok()
            };
            let open = field("ignored_mask:").is_some_and(|mask| mask & 0x10000 != 0);
            found += usize::from(open && field("ino:").is_some_and(|ino| inodes.contains(&ino)));
        }
    }
    found
}

fn inodes(container: &Container, files: usize) -> Vec<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let lower = container.lower();
    let of = |file| std::fs::metadata(lower.join(format!("many/{file}"))).unwrap().ino();
    (0..files).map(of).collect()
}

fn sh(it: &Guarded, script: &str) -> i32 {
    it.container.run(&["/bin/sh", "-c", script])
}

#[test]
fn what_follows_in_a_directory_is_known_before_it_is_opened() {
    const FILES: usize = 2000;
    let it = many(FILES, Block::All);
    let all = inodes(&it.container, FILES);
    // A few at a time lead to no look at others.
    assert_eq!(sh(&it, "cat /many/1 /many/2 /many/3"), 0);
    assert_eq!(ignored(&all), 3);
    assert_eq!(sh(&it, "cat /many/10*"), 0);
    let until = Instant::now() + Duration::from_secs(10);
    while ignored(&all) < FILES {
        assert!(Instant::now() < until, "{} of {FILES} are ignored", ignored(&all));
        std::thread::yield_now();
    }
    // More of them than code that is kept still.
    assert_eq!(it.baseline.all().iter().filter(|(m, _)| m.event == Event::Open).count(), 0);
    assert_eq!(it.armed.as_ref().unwrap().failures().map(|(_, n)| n).sum::<u64>(), 0);
}

#[test]
fn data_that_is_asked_about_no_more_is_asked_about_once_it_changed() {
    // Each changes `/many/N` into a script, by another way.
    let ways = [
        "printf '#!/bin/sh\\nexit 0\\n' > $F",
        "printf '#!/bin/sh\\nexit 0\\n' | dd of=$F conv=notrunc",
        "printf '#!/bin/sh\\nexit 0\\n' > /tmp/x; mv /tmp/x $F",
        "printf '#!/bin/sh\\nexit 0\\n' > /tmp/x; /bin/tool copy /tmp/x $F",
        "ln $F /tmp/other; printf '#!/bin/sh\\nexit 0\\n' > /tmp/other",
        "sed -i -e '1i #!/bin/sh' -e 's/.*/exit 0/' $F",
        "truncate -s 0 $F; printf '#!/bin/sh\\nexit 0\\n' >> $F",
        "mv $F /tmp/moved; printf '#!/bin/sh\\nexit 0\\n' > /tmp/moved; mv /tmp/moved $F",
        "chmod 755 $F; printf '#!/bin/sh\\nexit 0\\n' > $F",
        "exec 3<>$F; printf '#!/bin/sh\\nexit 0\\n' >&3",
        "rm $F; printf '#!/bin/sh\\nexit 0\\n' > $F",
    ];
    let it = many(ways.len(), Block::All);
    let all = inodes(&it.container, ways.len());
    assert_eq!(sh(&it, "cat /many/*"), 0);
    assert_eq!(ignored(&all), ways.len());
    for (file, way) in ways.iter().enumerate() {
        let file = format!("/many/{file}");
        assert_eq!(sh(&it, &format!("cat {file}; F={file}; {way}")), 0, "{way}");
        assert_ne!(sh(&it, &format!("sh {file}")), 0, "{way}");
        let denied = |m: &lacre_types::Measurement, outcome| {
            m.path == Some(path(&file)) && outcome == Outcome::Denied
        };
        it.baseline.wait_for(way, denied);
    }
}

#[test]
fn a_write_that_comes_while_it_is_looked_at_is_not_lost() {
    const FILES: usize = 600;
    let it = many(FILES, Block::All);
    // One opens them in a row, and another changes them meanwhile.
    let reader = it.container.spawn(&["/bin/sh", "-c", "cat /many/* > /dev/null"]);
    let write = format!(
        "i=0; while [ $i -lt {FILES} ]; do printf '{}' > /many/$i; i=$((i + 3)); done",
        SCRIPT.replace('\n', "\\n")
    );
    assert_eq!(sh(&it, &write), 0);
    assert!(reader.wait_with_output().unwrap().status.success());
    let count = format!(
        "n=0; i=0; while [ $i -lt {FILES} ]; do sh /many/$i && n=$((n + 1)); i=$((i + 3)); done; \
         exit $n"
    );
    assert_eq!(sh(&it, &count), 0, "none of them runs");
}

#[test]
fn a_file_that_only_looks_like_the_images_is_looked_at_by_itself() {
    let it = many(64, Block::All);
    // Written, renamed into and linked into a directory of the image's, a link to it, and a mount.
    assert_eq!(
        sh(
            &it,
            "cd /many; printf '#!/bin/sh\\nexit 0\\n' > w; /bin/tool copy w /tmp/r; mv /tmp/r r; ln w l"
        ),
        0
    );
    assert_eq!(
        sh(
            &it,
            "cd /many; ln -s /tmp/s s; /bin/tool copy w /tmp/s; /bin/tool copy w /vol/m; : > m"
        ),
        0
    );
    assert_eq!(it.container.run(&["/bin/busybox", "mount", "--bind", "/vol/m", "/many/m"]), 0);
    assert_eq!(sh(&it, "cat /many/*"), 0);
    let all = inodes(&it.container, 64);
    let until = Instant::now() + Duration::from_secs(10);
    while ignored(&all) < 64 {
        assert!(Instant::now() < until);
        std::thread::yield_now();
    }
    for name in ["w", "r", "l", "s", "m"] {
        assert_ne!(sh(&it, &format!("sh /many/{name}")), 0, "{name}");
    }
}

/// That code stays known beyond the files that one directory, or one program, has.
#[test]
fn code_is_asked_about_once_though_there_are_thousands() {
    const FILES: usize = 3000;
    let container = Container::start(|lower| {
        std::fs::create_dir(lower.join("many")).unwrap();
        for file in 0..FILES {
            place::write(&lower.join(format!("many/{file}")), script(file));
        }
    });
    let baseline = Baseline::of(&container.lower(), Mode::Enforce);
    let it = Guarded::arm(container, baseline, Mode::Enforce, Block::All, Limits::default());
    for _ in 0..2 {
        assert_eq!(sh(&it, "cd /many; for i in *; do read x < $i; done"), 0);
    }
    let opened = |(m, _): &&(lacre_types::Measurement, Outcome)| {
        m.path.as_ref().is_some_and(|path| path.as_bytes().starts_with(b"/many/"))
    };
    assert_eq!(it.baseline.all().iter().filter(opened).count(), FILES);
}

fn script(file: usize) -> String {
    format!("#!/bin/sh\nexit {file}\n")
}
