//! The little of rtnetlink that cutting a network needs (rtnetlink(7), netlink(7)).

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use lacre_sys::native::{u16_at, u32_at};
use rustix::event::PollFlags;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::freezer::wait;

pub(crate) const NEWLINK: u16 = 16;
const GETLINK: u16 = 18;
pub(crate) const NEWADDR: u16 = 20;
pub(crate) const GETADDR: u16 = 22;
pub(crate) const NEWROUTE: u16 = 24;
pub(crate) const GETROUTE: u16 = 26;
const NEWNSID: u16 = 88;
const GETNSID: u16 = 90;

const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
pub(crate) const REPLACE: u16 = 0x100;
pub(crate) const CREATE: u16 = 0x400;
const DUMP_INTERRUPTED: u16 = 0x10;

const ERROR: u16 = 2;
const DONE: u16 = 3;

const UP: u32 = 1;
const LOOPBACK: u32 = 8;

const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_LINK_NETNSID: u16 = 37;
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;

/// How long the kernel gets to answer; it answers within the call.
const PATIENCE: Duration = Duration::from_secs(2);

/// The kernel sends dumps in parts of at most 32 KiB (`NLMSG_GOODSIZE` and what it learns
/// from the reader's buffer).
const BUFFER: usize = 64 << 10;

/// More messages than any real table has; a dump without end is broken off.
const DUMP_MAX: usize = 100_000;

/// A link as one network namespace sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) up: bool,
    pub(crate) loopback: bool,
    /// Such as `veth`; empty for hardware.
    pub(crate) kind: String,
    /// The link it stands on, or its other end.
    pub(crate) other: Option<u32>,
    /// The other end's network namespace, by this namespace's number for it.
    pub(crate) other_ns: Option<i32>,
}

/// A route socket in one network namespace.
#[derive(Debug)]
pub(crate) struct Route {
    socket: OwnedFd,
    sequence: u32,
}

impl Route {
    /// A socket in the calling thread's network namespace.
    pub(crate) fn here() -> io::Result<Self> {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
        // No protocol is 0, which is NETLINK_ROUTE.
        let socket =
            socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        Ok(Self { socket, sequence: 0 })
    }

    pub(crate) fn links(&mut self) -> io::Result<Vec<Link>> {
        let messages = self.dump(GETLINK, &[0; 16])?;
        Ok(messages.iter().filter(|m| m.kind == NEWLINK).filter_map(|m| link(&m.body)).collect())
    }

    /// Switches a link on or off.
    pub(crate) fn set_up(&mut self, index: u32, up: bool) -> io::Result<()> {
        let mut body = [0; 16];
        body[4..8].copy_from_slice(&index.to_ne_bytes());
        body[8..12].copy_from_slice(&u32::from(up).to_ne_bytes());
        body[12..16].copy_from_slice(&UP.to_ne_bytes());
        self.ask(NEWLINK, ACK, &body).map(drop)
    }

    /// This namespace's number for another, if it has one.
    pub(crate) fn number_of(&mut self, namespace: &OwnedFd) -> io::Result<Option<i32>> {
        use std::os::fd::AsRawFd;
        let mut body = vec![0; 4];
        body.extend(8_u16.to_ne_bytes());
        body.extend(NETNSA_FD.to_ne_bytes());
        body.extend(namespace.as_raw_fd().to_ne_bytes());
        let answer = self.ask(GETNSID, 0, &body)?;
        let answer = answer.iter().find(|message| message.kind == NEWNSID);
        let number = answer.and_then(|message| {
            let (_, value) =
                attributes(message.body.get(4..)?).find(|(kind, _)| *kind == NETNSA_NSID)?;
            Some(i32::from_ne_bytes(value.try_into().ok()?))
        });
        Ok(number.filter(|&number| number >= 0))
    }

    /// Everything of one table.
    pub(crate) fn dump(&mut self, kind: u16, body: &[u8]) -> io::Result<Vec<Message>> {
        // A table that changed under the dump is read again.
        for _ in 0..8 {
            let messages = self.ask(kind, DUMP, body)?;
            if messages.iter().all(|message| message.flags & DUMP_INTERRUPTED == 0) {
                return Ok(messages);
            }
        }
        Err(io::Error::other("the table does not stop changing"))
    }

    /// Sends what a dump gave back to where it came from.
    pub(crate) fn put_back(&mut self, kind: u16, body: &[u8]) -> io::Result<()> {
        self.ask(kind, ACK | CREATE | REPLACE, body).map(drop)
    }

    fn ask(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<Vec<Message>> {
        self.sequence += 1;
        let length = u32::try_from(16 + body.len()).map_err(io::Error::other)?;
        let mut request = Vec::with_capacity(16 + body.len());
        request.extend(length.to_ne_bytes());
        request.extend(kind.to_ne_bytes());
        request.extend((flags | REQUEST).to_ne_bytes());
        request.extend(self.sequence.to_ne_bytes());
        request.extend([0; 4]);
        request.extend(body);
        send(&self.socket, &request, SendFlags::empty())?;
        let mut all = Vec::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            if !wait(&self.socket, PollFlags::IN, PATIENCE)? {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let (read, whole) = recv(&self.socket, &mut buffer[..], RecvFlags::TRUNC)?;
            if whole > read {
                return Err(io::Error::other("an answer is longer than any should be"));
            }
            for message in messages(&buffer[..read]) {
                if message.sequence != self.sequence {
                    continue;
                }
                match message.kind {
                    DONE => return Ok(all),
                    ERROR => return errno(&message.body).map(|()| all),
                    _ => all.push(message),
                }
            }
            if flags & (DUMP | ACK) == 0 && !all.is_empty() {
                return Ok(all);
            }
            if all.len() > DUMP_MAX {
                return Err(io::Error::other("the table has no end"));
            }
        }
    }
}

/// A socket that hears of every change of a link in the calling thread's namespace.
pub(crate) fn changes_here() -> io::Result<OwnedFd> {
    use nix::sys::socket::{
        AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket,
    };
    use std::os::fd::AsRawFd;
    /// `RTMGRP_LINK` (linux/rtnetlink.h).
    const LINKS: u32 = 1;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let route = SockProtocol::NetlinkRoute;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, route)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, LINKS))?;
    Ok(socket)
}

/// A netlink message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: u16,
    flags: u16,
    sequence: u32,
    pub(crate) body: Vec<u8>,
}

/// `struct nlmsgerr`: 0 is the acknowledgement.
fn errno(body: &[u8]) -> io::Result<()> {
    match body.first_chunk::<4>().map(|bytes| i32::from_ne_bytes(*bytes)) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
        let message = Message {
            kind: u16_at(bytes, 4)?,
            flags: u16_at(bytes, 6)?,
            sequence: u32_at(bytes, 8)?,
            body: bytes.get(16..length)?.to_vec(),
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        // The two upper bits say "nested" and "big endian".
        let attribute = (u16_at(bytes, 2)? & 0x3fff, bytes.get(4..length)?);
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(attribute)
    })
}

/// `struct ifinfomsg` and its attributes.
pub(crate) fn link(body: &[u8]) -> Option<Link> {
    let flags = u32_at(body, 8)?;
    let mut link = Link {
        index: u32_at(body, 4)?,
        name: String::new(),
        up: flags & UP != 0,
        loopback: flags & LOOPBACK != 0,
        kind: String::new(),
        other: None,
        other_ns: None,
    };
    for (kind, value) in attributes(body.get(16..)?) {
        match kind {
            IFLA_IFNAME => link.name = text(value),
            IFLA_LINK => link.other = u32_at(value, 0).filter(|&index| index != 0),
            IFLA_LINK_NETNSID => link.other_ns = value.try_into().ok().map(i32::from_ne_bytes),
            IFLA_LINKINFO => {
                let kind = attributes(value).find(|(kind, _)| *kind == IFLA_INFO_KIND);
                link.kind = kind.map(|(_, value)| text(value)).unwrap_or_default();
            }
            _ => {}
        }
    }
    Some(link)
}

fn text(value: &[u8]) -> String {
    let end = value.iter().position(|&byte| byte == 0).unwrap_or(value.len());
    lacre_types::escape(&value[..end])
}
