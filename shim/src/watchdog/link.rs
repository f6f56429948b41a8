//! What guards and their watchdog say to each other: one message, one packet. The form is
//! fixed: they may be of different versions. A word that is not known is passed over.

use std::ffi::OsStr;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// The most descriptors of one message: a shim has one group, and one more for each two roots
/// on one file system.
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
    /// A guard: these are all the groups that I ask by.
    Groups(Vec<OwnedFd>),
    /// A guard: I get on.
    Well,
    /// A guard: somebody waits for an answer that does not come.
    Still,
    /// The watchdog: do you get on?
    Ask,
    /// One that this version does not know.
    Other,
}

const GUARD: u8 = b'g';
const GROUPS: u8 = b'f';
const WELL: u8 = b'w';
const STILL: u8 = b's';
const ASK: u8 = b'?';

/// Says who one is.
pub(super) fn introduce(link: impl AsFd, place: &Path) -> io::Result<()> {
    let mut bytes = vec![GUARD];
    bytes.extend_from_slice(place.as_os_str().as_bytes());
    if bytes.len() > BYTES {
        return Err(io::Error::other("the path of the guard's socket is too long"));
    }
    send(link, &bytes, &[])
}

/// Hands over descriptors of all groups.
pub(super) fn hand_over(link: impl AsFd, groups: &[OwnedFd]) -> io::Result<()> {
    if groups.len() > DESCRIPTORS {
        return Err(io::Error::other("more groups than a message holds"));
    }
    let groups: Vec<_> = groups.iter().map(AsFd::as_fd).collect();
    send(link, &[GROUPS], &groups)
}

/// Says whether one gets on.
pub(super) fn answer(link: impl AsFd, well: bool) -> io::Result<()> {
    send(link, &[if well { WELL } else { STILL }], &[])
}

/// Asks whether a guard gets on.
pub(super) fn ask(link: impl AsFd) -> io::Result<()> {
    send(link, &[ASK], &[])
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
    let Some((word, rest)) = bytes[..got.bytes].split_first() else { return Ok(None) };
    Ok(Some(match *word {
        GUARD => Word::Guard(OsStr::from_bytes(rest).into()),
        GROUPS => Word::Groups(descriptors),
        WELL => Word::Well,
        STILL => Word::Still,
        ASK => Word::Ask,
        _ => Word::Other,
    }))
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
        let hear = |link: &OwnedFd| receive(link).unwrap().unwrap();
        assert!(
            matches!(hear(&watchdog), Word::Guard(place) if place == Path::new("/run/lacre/s/0a"))
        );
        assert!(matches!(hear(&watchdog), Word::Groups(groups) if groups.len() == 1));
        assert!(matches!(hear(&watchdog), Word::Groups(groups) if groups.is_empty()));
        assert!(matches!(hear(&watchdog), Word::Well));
        assert!(matches!(hear(&watchdog), Word::Still));
        assert!(matches!(hear(&watchdog), Word::Other));
        assert!(matches!(hear(&guard), Word::Ask));
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
        assert!(matches!(receive(&watchdog), Ok(Some(Word::Groups(groups))) if groups.len() == 1));
    }
}
