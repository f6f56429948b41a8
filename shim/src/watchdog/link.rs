//! What guards and their watchdog say to each other: one message, one packet. The form is
//! fixed: they may be of different versions. A word that is not known is passed over.

use std::ffi::OsStr;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// The most descriptors of one message; the kernel takes no more than 253 (`SCM_MAX_FD`). A shim
/// has one group, and one more for each further root on one file system: those of a large pod
/// take several messages.
const DESCRIPTORS: usize = 64;
/// The longest message: a path of a socket is shorter.
const BYTES: usize = 256;

/// The first argument of the watchdog's process; the second is its run directory.
pub const ARGUMENT: &str = "--watchdog";

/// Where guards find it.
pub(super) fn socket(run: &Path) -> PathBuf {
    run.join("watchdog")
}

/// A message.
#[derive(Debug)]
pub(super) enum Word {
    /// A guard: this is my place.
    Guard(PathBuf),
    /// A guard: some of the groups that I ask by; more follow.
    Some(Vec<OwnedFd>),
    /// A guard: the last of them. With those before it these are all, and so many; a guard of an
    /// older build, which has no more than one message, does not say how many.
    Groups(Vec<OwnedFd>, Option<usize>),
    /// A guard: I get on.
    Well,
    /// A guard: somebody waits for an answer that does not come.
    Still,
    /// The watchdog: do you get on?
    Ask,
    /// The watchdog: I can't have you, for this reason.
    Refused(String),
    /// One that this version does not know.
    Other,
}

const GUARD: u8 = b'g';
const SOME: u8 = b'm';
const GROUPS: u8 = b'f';
const WELL: u8 = b'w';
const STILL: u8 = b's';
const ASK: u8 = b'?';
const REFUSED: u8 = b'n';

/// Says who one is.
pub(super) fn introduce(link: impl AsFd, place: &Path) -> io::Result<()> {
    let mut bytes = vec![GUARD];
    bytes.extend_from_slice(place.as_os_str().as_bytes());
    if bytes.len() > BYTES {
        return Err(io::Error::other("the path of the guard's socket is too long"));
    }
    send(link, &bytes, &[])
}

/// Hands over descriptors of all groups, by as many messages as they take: they come in this
/// order, whole, and hold from the last one on.
pub(super) fn hand_over(link: impl AsFd, groups: &[OwnedFd]) -> io::Result<()> {
    let all: Vec<_> = groups.iter().map(AsFd::as_fd).collect();
    let last = all.len().saturating_sub(1) / DESCRIPTORS * DESCRIPTORS;
    let (before, last) = all.split_at(last);
    for some in before.chunks(DESCRIPTORS) {
        send(&link, &[SOME], some)?;
    }
    let mut bytes = vec![GROUPS];
    bytes.extend_from_slice(&(all.len() as u64).to_le_bytes());
    send(&link, &bytes, last)
}

/// Says whether one gets on.
pub(super) fn answer(link: impl AsFd, well: bool) -> io::Result<()> {
    send(link, &[if well { WELL } else { STILL }], &[])
}

/// Asks whether a guard gets on.
pub(super) fn ask(link: impl AsFd) -> io::Result<()> {
    send(link, &[ASK], &[])
}

/// Says why a guard can't be had: its connection ends then, and that is not all it hears.
pub(super) fn refuse(link: impl AsFd, why: &str) -> io::Result<()> {
    let mut bytes = vec![REFUSED];
    bytes.extend_from_slice(why.as_bytes());
    bytes.truncate(BYTES);
    send(link, &bytes, &[])
}

fn send(link: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("no room for a message's descriptors"));
    }
    sendmsg(link, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// The next message; `None` when the other end has closed.
pub(super) fn receive(link: impl AsFd) -> io::Result<Option<Word>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; BYTES];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let got = recvmsg(link, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)?;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(came) = message {
            descriptors.extend(came);
        }
    }
    if got.flags.contains(ReturnFlags::CTRUNC) {
        // Without a descriptor free for each of them, the kernel drops the rest (unix(7)).
        return Err(io::Error::other("not all descriptors of a message could be had"));
    }
    let Some((word, rest)) = bytes[..got.bytes].split_first() else { return Ok(None) };
    Ok(Some(match *word {
        GUARD => Word::Guard(OsStr::from_bytes(rest).into()),
        SOME => Word::Some(descriptors),
        GROUPS => {
            let count = rest.try_into().ok().map(u64::from_le_bytes);
            Word::Groups(descriptors, count.and_then(|count| count.try_into().ok()))
        }
        WELL => Word::Well,
        STILL => Word::Still,
        ASK => Word::Ask,
        REFUSED => Word::Refused(String::from_utf8_lossy(rest).into_owned()),
        _ => Word::Other,
    }))
}

/// The groups of a guard, held so that whoever asks goes on waiting when it dies.
#[derive(Debug, Default)]
pub(super) struct Held {
    all: Vec<OwnedFd>,
    /// Those that have come since, and are not all yet: nothing is let go of for them.
    coming: Vec<OwnedFd>,
}

impl Held {
    pub(super) fn some(&mut self, groups: Vec<OwnedFd>) {
        self.coming.extend(groups);
    }

    /// These, with those that came before them, are what there is.
    pub(super) fn last(&mut self, groups: Vec<OwnedFd>, count: Option<usize>) -> io::Result<()> {
        self.coming.extend(groups);
        if count.is_some_and(|count| count != self.coming.len()) {
            return Err(io::Error::other("not all groups have come"));
        }
        self.all = std::mem::take(&mut self.coming);
        Ok(())
    }

    /// Another connection says all of it anew. Until then nothing is let go of.
    pub(super) fn begin_anew(&mut self) {
        self.all.append(&mut self.coming);
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.all.is_empty() && self.coming.is_empty()
    }

    #[cfg(test)]
    pub(super) const fn len(&self) -> usize {
        self.all.len() + self.coming.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (OwnedFd, OwnedFd) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
    }

    #[test]
    fn what_is_said_is_heard_and_an_end_is_one() {
        let (guard, watchdog) = pair();
        introduce(&guard, Path::new("/run/lacre/s/0a")).unwrap();
        let groups = [std::fs::File::open("/dev/null").unwrap().into()];
        hand_over(&guard, &groups).unwrap();
        hand_over(&guard, &[]).unwrap();
        answer(&guard, true).unwrap();
        answer(&guard, false).unwrap();
        send(&guard, b"another day's", &[]).unwrap();
        ask(&watchdog).unwrap();
        refuse(&watchdog, "no room").unwrap();
        let hear = |link: &OwnedFd| receive(link).unwrap().unwrap();
        assert!(
            matches!(hear(&watchdog), Word::Guard(place) if place == Path::new("/run/lacre/s/0a"))
        );
        assert!(matches!(hear(&watchdog), Word::Groups(groups, Some(1)) if groups.len() == 1));
        assert!(matches!(hear(&watchdog), Word::Groups(groups, Some(0)) if groups.is_empty()));
        assert!(matches!(hear(&watchdog), Word::Well));
        assert!(matches!(hear(&watchdog), Word::Still));
        assert!(matches!(hear(&watchdog), Word::Other));
        assert!(matches!(hear(&guard), Word::Ask));
        assert!(matches!(hear(&guard), Word::Refused(why) if why == "no room"));
        assert!(receive(&guard).is_err(), "nothing more, and nobody waits for it");
        drop(watchdog);
        assert!(receive(&guard).unwrap().is_none());
    }

    #[test]
    fn what_was_handed_over_arrives_after_the_death_of_who_did() {
        let (guard, watchdog) = pair();
        let (read, write) = std::io::pipe().unwrap();
        hand_over(&guard, &[write.into()]).unwrap();
        drop((guard, read));
        let heard = receive(&watchdog);
        assert!(matches!(heard, Ok(Some(Word::Groups(groups, _))) if groups.len() == 1));
    }

    #[test]
    fn more_groups_than_a_message_holds_come_whole_and_in_order() {
        use rustix::fs::fstat;
        let files = |count| -> Vec<OwnedFd> {
            (0..count).map(|_| tempfile::tempfile().unwrap().into()).collect()
        };
        let inodes = |held: &Held| -> Vec<u64> {
            held.all.iter().map(|file| fstat(file).unwrap().st_ino).collect()
        };
        let (guard, watchdog) = pair();
        let mut held = Held::default();
        for count in [0, 1, 63, 64, 65, 128, 150] {
            let groups = files(count);
            hand_over(&guard, &groups).unwrap();
            let before = inodes(&held);
            while let Ok(Some(word)) = receive(&watchdog) {
                match word {
                    Word::Some(groups) => {
                        held.some(groups);
                        assert_eq!(inodes(&held), before, "{count}: nothing is let go of yet");
                    }
                    Word::Groups(groups, count) => held.last(groups, count).unwrap(),
                    other => panic!("{other:?}"),
                }
            }
            let given = Held { all: groups, coming: Vec::new() };
            assert_eq!(inodes(&held), inodes(&given), "{count}");
        }
        // One of an older build says nothing of their number.
        held.last(files(1), None).unwrap();
        assert_eq!(held.len(), 1);
    }

    #[test]
    fn groups_of_which_some_did_not_come_are_held_beside_those_that_were() {
        let group = || vec![std::fs::File::open("/dev/null").unwrap().into()];
        let mut held = Held::default();
        held.last(group(), Some(1)).unwrap();
        held.some(group());
        assert!(held.last(group(), Some(4)).is_err());
        held.begin_anew();
        assert_eq!((held.all.len(), held.coming.len()), (3, 0));
    }
}
