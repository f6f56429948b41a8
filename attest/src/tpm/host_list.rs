//! The host's list. Most kernels have it from its first line on. Of one with
//! `CONFIG_IMA_STAGING` others may have exported a first part, and had it deleted: it is then in
//! their files, in what they have staged, or in this agent's own copy. That kernel measures again
//! what it has no line of any more, so that a line which stands in two parts may be one, or two:
//! what the PCR holds tells.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use lacre_types::{Algorithm, Digest};

use super::collect_error::CollectError;
use super::list_file::{open, part, read, sizes};
use super::places::Places;
use crate::evidence::{ListPart, MAX_BYTES};
use crate::ima::{Form, Stream};
use crate::pcr::{self, ListPcr};
use crate::replay::Replay;

/// How many ways to put the parts together are tried: two for each border, and some.
const MAX_TRIES: u32 = 64;
/// How often it is looked again while others stage lines.
const MAX_LOOKS: usize = 8;

/// Reads it, from line `first` on. `held` is what its PCR held when it was quoted; `count`, how
/// many lines the kernel said before. `None`: this kernel has no IMA.
pub(super) fn host_list(
    places: &Places,
    first: u64,
    count: Option<u64>,
    held: Option<Digest>,
) -> Result<Option<ListPart>, CollectError> {
    if has_no_ima(&places.ima) {
        return Ok(None);
    }
    let (staged, current) = from_kernel(&places.ima)?;
    if staged.is_none() && places.exported.is_empty() {
        return Ok(Some(part(&current, Algorithm::Sha1, first, count)));
    }
    let mut exported = Vec::new();
    for path in &places.exported {
        exported.extend(piece(path)?);
    }
    let exported: Vec<_> = exported.iter().map(|piece| lines(piece)).collect();
    let copy = places.copy.as_deref().map(piece).transpose()?.flatten();
    let copied: Vec<_> = copy.iter().map(|copy| lines(copy)).collect();
    let kernel: Vec<_> = staged.iter().chain([&current]).map(|piece| lines(piece)).collect();
    // Files may be of another boot.
    let orders = [
        [&exported[..], &copied[..], &kernel[..]],
        [&copied[..], &exported[..], &kernel[..]],
        [&[], &copied[..], &kernel[..]],
        [&[], &exported[..], &kernel[..]],
        [&[], &[], &kernel[..]],
    ];
    let all = orders.iter().filter_map(|order| assemble(&order.concat(), held.as_ref()));
    let Some(Assembled { lines: whole, .. }) = all.min_by_key(|whole| whole.newer) else {
        let rest = kernel.concat();
        let begins = rest.first().is_some_and(|line| is_first(line));
        let lines = rest.len() as u64;
        // Where nobody can tell how many went before, there was one at least.
        let before = if begins { 0 } else { count.unwrap_or(0).saturating_sub(lines).max(1) };
        let mut shown = part(&rest.concat(), Algorithm::Sha1, 0, count);
        shown.first = before;
        return Ok(Some(shown));
    };
    let whole = whole.concat();
    if let Some(path) = places.copy.as_deref().filter(|_| staged.is_some()) {
        // What could not be kept is missed, and told, once the kernel does not have it any more.
        let _ = keep(path, copy.as_deref().unwrap_or_default(), &whole);
    }
    Ok(Some(part(&whole, Algorithm::Sha1, first, count)))
}

/// Whether securityfs is there, and nothing of IMA in it: what is not mounted has no lists to
/// show either, and that is a list that can't be read.
fn has_no_ima(ima: &Path) -> bool {
    let absent = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
    let none = fs::symlink_metadata(ima).is_err_and(absent);
    let mounts = || fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let securityfs = |line: &str| {
        let mut words = line.split(' ').skip(1);
        words.next().map(Path::new) == ima.parent() && words.next() == Some("securityfs")
    };
    none && mounts().lines().any(securityfs)
}

/// What others have staged (`None`: this kernel can't), and the lines after that.
fn from_kernel(ima: &Path) -> Result<(Option<Vec<u8>>, Vec<u8>), CollectError> {
    let list = ima.join("binary_runtime_measurements");
    let staged = || piece(&ima.join("binary_runtime_measurements_staged"));
    let mut before = staged()?;
    for _ in 0..MAX_LOOKS {
        let current = read(&list, open(&list)?, MAX_BYTES)?;
        let Some(was) = before else { return Ok((None, current)) };
        let after = staged()?;
        if after.as_ref() == Some(&was) {
            return Ok((after, current));
        }
        // Lines went from the one to the other meanwhile, or were deleted.
        before = after;
    }
    Err(CollectError::Restless(list))
}

/// A part of the list; `None`: there is none.
fn piece(path: &Path) -> Result<Option<Vec<u8>>, CollectError> {
    match open(path) {
        Ok(file) => read(path, file, MAX_BYTES).map(Some),
        Err(CollectError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The lines of a part, and at the end what is none.
fn lines(data: &[u8]) -> Vec<&[u8]> {
    let (mut lines, mut rest) = (Vec::new(), data);
    for size in sizes(data, Algorithm::Sha1) {
        let Some((line, more)) = rest.split_at_checked(size) else { break };
        lines.push(line);
        rest = more;
    }
    lines.extend(Some(rest).filter(|rest| !rest.is_empty()));
    lines
}

/// The parts as one list.
struct Assembled<'a> {
    lines: Vec<&'a [u8]>,
    /// How many of them are behind those that lead to what the PCR held: newer, or of another boot.
    newer: usize,
}

/// The parts as one list that leads to what the PCR held, with the fewest lines behind that. Of a
/// PCR that was not quoted nobody knows: then what stands in two parts is one.
fn assemble<'a>(pieces: &[Vec<&'a [u8]>], held: Option<&Digest>) -> Option<Assembled<'a>> {
    let (mut tries, mut best) = (MAX_TRIES, None);
    follow(Vec::new(), pieces, held, &mut tries, &mut best);
    best
}

fn follow<'a>(
    whole: Vec<&'a [u8]>,
    pieces: &[Vec<&'a [u8]>],
    held: Option<&Digest>,
    tries: &mut u32,
    best: &mut Option<Assembled<'a>>,
) {
    let Some((next, rest)) = pieces.split_first() else {
        *tries = tries.saturating_sub(1);
        if let Some(newer) = newer(&whole, held)
            && best.as_ref().is_none_or(|best| newer < best.newer)
        {
            *best = Some(Assembled { lines: whole, newer });
        }
        return;
    };
    // From where they have the most lines in common.
    for at in 0..=whole.len() {
        if *tries == 0 || best.as_ref().is_some_and(|best| best.newer == 0) {
            return;
        }
        let common = next.len().min(whole.len() - at);
        if common == 0 && at < whole.len() || whole[at..at + common] != next[..common] {
            continue;
        }
        let mut both = whole.clone();
        both.extend_from_slice(&next[common..]);
        follow(both, rest, held, tries, best);
    }
}

/// How many lines follow those that lead to what the PCR held; `None`: none lead there.
fn newer(lines: &[&[u8]], held: Option<&Digest>) -> Option<usize> {
    let Some(held) = held else { return Some(0) };
    let mut replay = Replay::new([held.algorithm()]);
    let index = ListPcr::HOST.index();
    let reset = pcr::initial(held.algorithm(), index);
    let leads = |replay: &Replay| replay.value(held.algorithm(), index).unwrap_or(reset) == *held;
    let mut reached = leads(&replay).then_some(0);
    let mut stream = Stream::new(Form::Binary, Algorithm::Sha1);
    for (at, line) in (1..).zip(lines) {
        let fed = stream.feed(line, |_, entry| {
            replay.push(entry, Algorithm::Sha1);
            if leads(&replay) {
                reached = Some(at);
            }
        });
        if fed.is_err() {
            break;
        }
    }
    Some(lines.len() - reached?)
}

/// Whether it is the line that the kernel begins every list with.
fn is_first(line: &[u8]) -> bool {
    let mut is = false;
    let _ = Stream::new(Form::Binary, Algorithm::Sha1)
        .feed(line, |_, entry| is = entry.name() == Some(b"boot_aggregate"));
    is
}

/// Keeps the list, of which the file has `old`.
fn keep(path: &Path, old: &[u8], whole: &[u8]) -> io::Result<()> {
    match whole.strip_prefix(old) {
        Some([]) => Ok(()),
        Some(more) if !old.is_empty() => File::options().append(true).open(path)?.write_all(more),
        _ => {
            let part = path.with_extension("part");
            let mut options = File::options();
            let mut file =
                options.write(true).create(true).truncate(true).mode(0o600).open(&part)?;
            file.write_all(whole)?;
            fs::rename(part, path)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::*;
    use crate::ima::write;

    /// A kernel that can delete lines: what it has, what is staged, and what it measured at all.
    #[derive(Default)]
    struct Stages {
        all: Vec<Vec<u8>>,
        staged: usize,
        deleted: usize,
        current: usize,
    }

    fn line(name: &str) -> Vec<u8> {
        write::file(10, Algorithm::Sha1, &Digest::sha256([7; 32]), name.as_bytes())
    }

    impl Stages {
        fn measure(&mut self, name: &str) {
            self.all.push(line(name));
        }

        fn held(&self) -> Digest {
            let mut replay = Replay::new([Algorithm::Sha256]);
            let mut stream = Stream::new(Form::Binary, Algorithm::Sha1);
            let text = self.all.concat();
            stream
                .feed(&text, |_, entry| {
                    replay.push(entry, Algorithm::Sha1);
                })
                .unwrap();
            let value = replay.value(Algorithm::Sha256, 10);
            value.unwrap_or_else(|| pcr::initial(Algorithm::Sha256, 10))
        }

        fn show(&self, folder: &Path) {
            let ima = folder.join("ima");
            fs::create_dir_all(&ima).unwrap();
            let staged = self.all[self.deleted..self.staged].concat();
            fs::write(ima.join("binary_runtime_measurements_staged"), staged).unwrap();
            let current = self.all[self.current..].concat();
            fs::write(ima.join("binary_runtime_measurements"), current).unwrap();
        }

        fn stage(&mut self) {
            (self.deleted, self.staged, self.current) =
                (self.staged, self.all.len(), self.all.len());
        }
    }

    fn places(folder: &Path, exported: &[&str]) -> Places {
        let exported = exported.iter().map(|name| folder.join(name)).collect::<Vec<PathBuf>>();
        let copy = Some(folder.join("copy"));
        Places { ima: folder.join("ima"), exported, copy, ..Places::default() }
    }

    #[test]
    fn what_went_before_is_where_others_have_put_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut kernel = Stages::default();
        ["boot_aggregate", "/a", "/b", "/a", "/b"].iter().for_each(|name| kernel.measure(name));
        fs::write(dir.path().join("exported"), kernel.all[..3].concat()).unwrap();
        kernel.current = 3;
        kernel.show(dir.path());
        let shown = |exported: &[&str], first| {
            let places = places(dir.path(), exported);
            host_list(&places, first, Some(5), Some(kernel.held())).unwrap().unwrap()
        };
        let gap = shown(&[], 0);
        assert_eq!((gap.first, &*gap.data), (3, &kernel.all[3..].concat()[..]));
        assert!(!dir.path().join("copy").exists(), "what proves nothing is not kept");
        // Each of the two lines was measured twice, and stands in either part.
        let whole = shown(&["exported"], 0);
        assert_eq!((whole.first, &*whole.data), (0, &kernel.all.concat()[..]));
        let fresh = shown(&["exported"], 4);
        assert_eq!((fresh.first, &*fresh.data), (4, &kernel.all[4][..]));
        // By now the agent has a copy of its own; one of another boot is left alone.
        assert_eq!(shown(&[], 0).data, whole.data);
        fs::write(dir.path().join("other"), line("/x")).unwrap();
        assert_eq!(shown(&["other"], 0).data, whole.data);
    }

    #[test]
    fn a_list_that_was_altered_is_shown_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let mut kernel = Stages::default();
        ["boot_aggregate", "/a"].iter().for_each(|name| kernel.measure(name));
        let held = kernel.held();
        kernel.all[1] = line("/b");
        kernel.show(dir.path());
        let shown = host_list(&places(dir.path(), &[]), 0, Some(2), Some(held)).unwrap().unwrap();
        assert_eq!((shown.first, &*shown.data), (0, &kernel.all.concat()[..]));
    }

    #[test]
    fn a_list_is_nowhere_only_where_securityfs_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let none = host_list(&places(dir.path(), &[]), 0, None, None);
        assert!(matches!(none, Err(CollectError::Read { .. })), "{none:?}");
    }

    proptest! {
        /// However lines are measured, measured again, staged and deleted: as long as the agent
        /// looks before they are deleted, it has all of them, and only them.
        #[test]
        fn a_list_is_followed(steps in prop::collection::vec(0u8..8, 1..60)) {
            let dir = tempfile::tempdir().unwrap();
            let mut kernel = Stages::default();
            kernel.measure("boot_aggregate");
            for step in steps {
                match step {
                    0..=4 => kernel.measure(&format!("/bin/{}", step % 3)),
                    5 => {
                        kernel.show(dir.path());
                        let places = places(dir.path(), &[]);
                        host_list(&places, 0, None, Some(kernel.held())).unwrap();
                        kernel.stage();
                    }
                    _ => {
                        kernel.show(dir.path());
                        let places = places(dir.path(), &[]);
                        let shown = host_list(&places, 0, None, Some(kernel.held()));
                        prop_assert_eq!(&*shown.unwrap().unwrap().data, &kernel.all.concat()[..]);
                    }
                }
            }
        }
    }
}
