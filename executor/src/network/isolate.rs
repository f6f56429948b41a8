//! Cutting a container's network namespace off, and undoing it.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use lacre_sys::native::u32_at;
use lacre_types::proc_pid::status_field;
use serde::{Deserialize, Serialize};

use crate::network::netlink::{self, GETADDR, GETROUTE, Link, NEWADDR, NEWROUTE, Route};
use crate::proc_facts;

/// What was cut, and what it takes to undo it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// The inode of the network namespace: containers of a pod share one.
    pub netns: u64,
    /// The links.
    pub links: Vec<CutLink>,
    /// Whether who is in the container may have the right to undo it in part.
    pub weak: bool,
    /// Addresses and routes that went with links, as the kernel gave them (message type,
    /// body).
    saved: Vec<(u16, Vec<u8>)>,
}

/// One link that was cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutLink {
    /// Its name in the container.
    pub name: String,
    /// Its index in the container.
    pub index: u32,
    /// Its other end on the node, when that is what was switched off.
    pub peer: Option<u32>,
}

/// Why a container's network is not cut.
#[derive(Debug, thiserror::Error)]
pub enum IsolateError {
    /// The container has the node's network.
    #[error(
        "the container has the node's own network namespace: cutting it would cut the node; use another action for containers with host network"
    )]
    Host,
    /// The process is not the container's any more.
    #[error("the container has ended; its network namespace goes with its last process")]
    Ended,
    /// A call failed.
    #[error("{doing}")]
    Failed {
        /// What was being done, to what.
        doing: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// After all was done, a link is still on.
    #[error("{0} came up again while it was being cut: something in the container fights for it")]
    Fought(String),
}

/// Both sides of a container's network.
struct Sides {
    netns: u64,
    inside: Route,
    node: Route,
    /// The node's number in the container's network namespace, if any link leads there.
    node_number: Option<i32>,
    /// The container's number in the node's.
    inside_number: Option<i32>,
}

/// `CAP_NET_ADMIN` (linux/capability.h).
const CAP_NET_ADMIN: u64 = 1 << 12;

/// Cuts the network of the namespace that a process is in. The end of a link that is on the
/// node is switched off there, where nobody in the container reaches it; a link without one
/// is switched off inside. Loopback stays. Doing it again also cuts what came since.
///
/// # Errors
/// When it is the node's own namespace, or a call fails; what was cut by then stays cut.
pub fn isolate(pid: u32) -> Result<Cut, IsolateError> {
    isolate_except(pid, &[], || true)
}

/// The same, unless `alive` says that the number has come to mean another process, and
/// without those links.
pub(crate) fn isolate_except(
    pid: u32,
    except: &[u32],
    alive: impl Fn() -> bool,
) -> Result<Cut, IsolateError> {
    let mut sides = Sides::of(pid)?;
    if !alive() {
        return Err(IsolateError::Ended);
    }
    let mut cut = Cut { netns: sides.netns, links: Vec::new(), weak: false, saved: Vec::new() };
    let mut named = String::new();
    // A link that is made or switched on meanwhile is found by looking again.
    for _ in 0..4 {
        let mut open = sides.open()?;
        open.retain(|(link, _)| !except.contains(&link.index));
        let Some((first, _)) = open.first() else {
            cut.weak = cut.links.iter().any(|link| link.peer.is_none()) && net_admin(pid);
            return Ok(cut);
        };
        named.clone_from(&first.name);
        if cut.saved.is_empty() && open.iter().any(|(_, peer)| peer.is_none()) {
            cut.saved = sides.tables()?;
        }
        for (link, peer) in open {
            match peer {
                Some(peer) => sides.node.set_up(peer, false),
                None => sides.inside.set_up(link.index, false),
            }
            .map_err(failed(format!("switching off {}", link.name)))?;
            if !cut.links.iter().any(|known| known.index == link.index) {
                cut.links.push(CutLink { name: link.name, index: link.index, peer });
            }
        }
    }
    Err(IsolateError::Fought(named))
}

/// Whether no link but loopback leads out of the namespace that a process is in.
///
/// # Errors
/// When it is the node's own namespace, or a call fails.
pub fn isolated(pid: u32) -> Result<bool, IsolateError> {
    Ok(Sides::of(pid)?.open()?.is_empty())
}

impl Cut {
    /// Adds what was cut later to what was cut before.
    pub(crate) fn and(mut self, later: Self) -> Self {
        for link in later.links {
            if !self.links.iter().any(|known| known.index == link.index) {
                self.links.push(link);
            }
        }
        if self.saved.is_empty() {
            self.saved = later.saved;
        }
        self.weak |= later.weak;
        self
    }
}

/// A socket on which the kernel tells of each change of a link in the namespace that a
/// process is in.
pub(crate) fn changes(pid: u32) -> Result<OwnedFd, IsolateError> {
    let path = format!("/proc/{pid}/ns/net");
    enter(&path, namespace(&path)?, netlink::changes_here)
}

/// Undoes [`isolate`]: links on, addresses and routes as they were.
///
/// # Errors
/// When it is the node's own namespace, or a call fails.
pub fn restore(pid: u32, cut: &Cut) -> Result<(), IsolateError> {
    let mut sides = Sides::of(pid)?;
    for link in &cut.links {
        let switched = match link.peer {
            Some(peer) => sides.node.set_up(peer, true),
            None => sides.inside.set_up(link.index, true),
        };
        match switched {
            // Unplugged since.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) => {
            }
            other => other.map_err(failed(format!("switching on {}", link.name)))?,
        }
    }
    // A route may stand on another of the list: those that can't be put back at once get a
    // second chance.
    let mut left: Vec<_> = cut.saved.iter().collect();
    let mut first_error = None;
    for _ in 0..2 {
        first_error = None;
        left.retain(|(kind, body)| match sides.inside.put_back(*kind, body) {
            Ok(()) => false,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => {
                let what = if *kind == NEWADDR { "an address" } else { "a route" };
                first_error.get_or_insert(failed(format!("putting {what} back"))(error));
                true
            }
        });
    }
    first_error.map_or(Ok(()), Err)
}

impl Sides {
    fn of(pid: u32) -> Result<Self, IsolateError> {
        let path = format!("/proc/{pid}/ns/net");
        let inside = namespace(&path)?;
        let own = namespace("/proc/self/ns/net")?;
        if same(&inside, &own)?
            || namespace("/proc/1/ns/net").is_ok_and(|one| same(&inside, &one).unwrap_or(true))
        {
            return Err(IsolateError::Host);
        }
        let entered = inside.try_clone().map_err(failed(format!("holding {path}")))?;
        let mut inside_route = enter(&path, entered, Route::here)?;
        let mut node = Route::here().map_err(failed("opening a route socket".into()))?;
        // The kernel numbers another namespace when it first tells of a link into it.
        let number = |route: &mut Route, of| {
            let number = route.links().and_then(|_| route.number_of(of));
            number.map_err(failed("numbering network namespaces".into()))
        };
        let node_number = number(&mut inside_route, &own)?;
        let inside_number = number(&mut node, &inside)?;
        let netns = proc_facts::namespace(pid, "net").unwrap_or(0);
        Ok(Self { netns, inside: inside_route, node, node_number, inside_number })
    }

    /// Links that lead out, each with its other end on the node if that may be cut instead.
    fn open(&mut self) -> Result<Vec<(Link, Option<u32>)>, IsolateError> {
        let links = |route: &mut Route, whose| {
            route.links().map_err(failed(format!("listing the links of {whose}")))
        };
        let inside = links(&mut self.inside, "the container")?;
        let node = links(&mut self.node, "the node")?;
        let pairs = inside.into_iter().filter(|link| !link.loopback).filter_map(|link| {
            let peer = self.peer(&link, &node);
            let on = link.up && peer.is_none_or(|peer| peer.up);
            on.then(|| (link.clone(), peer.map(|peer| peer.index)))
        });
        Ok(pairs.collect())
    }

    /// The other end of a veth, if it is on the node and leads back here.
    fn peer<'a>(&self, link: &Link, node: &'a [Link]) -> Option<&'a Link> {
        if link.kind != "veth" || link.other_ns.is_none() || link.other_ns != self.node_number {
            return None;
        }
        node.iter().find(|peer| {
            Some(peer.index) == link.other
                && peer.kind == "veth"
                && peer.other == Some(link.index)
                && peer.other_ns == self.inside_number
        })
    }

    /// Addresses and routes that the kernel would not make itself when a link comes up.
    fn tables(&mut self) -> Result<Vec<(u16, Vec<u8>)>, IsolateError> {
        let mut dump = |kind, body: &[u8], what| {
            self.inside.dump(kind, body).map_err(failed(format!("saving the {what}")))
        };
        let addresses = dump(GETADDR, &[0; 8], "addresses")?;
        let routes = dump(GETROUTE, &[0; 12], "routes")?;
        let addresses = addresses.into_iter().filter(|m| m.kind == NEWADDR);
        let routes = routes.into_iter().filter(|m| m.kind == NEWROUTE && own_route(&m.body));
        Ok(addresses.chain(routes).map(|message| (message.kind, message.body)).collect())
    }
}

/// Makes a socket in another network namespace. It stays in the one it was made in: only a
/// thread of its own enters, and ends there.
fn enter<T: Send + 'static>(
    path: &str,
    namespace: OwnedFd,
    make: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, IsolateError> {
    let made = std::thread::spawn(move || {
        let kind = rustix::thread::LinkNameSpaceType::Network;
        rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(kind))?;
        make()
    });
    let made = made.join().unwrap_or_else(|_| Err(io::Error::other("a panic")));
    made.map_err(failed(format!("entering {path}")))
}

/// `struct rtmsg`: not of the local table (255), not the kernel's own (protocol 2), not a
/// cached clone (0x200).
fn own_route(body: &[u8]) -> bool {
    let (Some(&table), Some(&protocol), Some(flags)) = (body.get(4), body.get(5), u32_at(body, 8))
    else {
        return false;
    };
    table != 255 && protocol != 2 && flags & 0x200 == 0
}

/// Whether a process in the container may have `CAP_NET_ADMIN`: the init's bounding set, and
/// whether it has a user namespace of its own (there it may be root of the network too).
fn net_admin(pid: u32) -> bool {
    let Ok(status) = fs::read(format!("/proc/{pid}/status")) else { return true };
    let bounding = status_field(&status, "CapBnd");
    bounding
        .and_then(|mut hex| u64::from_str_radix(hex.next()?, 16).ok())
        .is_none_or(|bits| bits & CAP_NET_ADMIN != 0)
}

fn namespace(path: &str) -> Result<OwnedFd, IsolateError> {
    File::open(path).map(OwnedFd::from).map_err(failed(format!("opening {path}")))
}

fn same(a: &OwnedFd, b: &OwnedFd) -> Result<bool, IsolateError> {
    let inode = |fd: &OwnedFd| {
        let meta = fd.try_clone().map(File::from).and_then(|file| file.metadata());
        meta.map(|meta| (meta.dev(), meta.ino())).map_err(failed("comparing namespaces".into()))
    };
    Ok(inode(a)? == inode(b)?)
}

fn failed(doing: String) -> impl FnOnce(io::Error) -> IsolateError {
    move |source| IsolateError::Failed { doing, source }
}
