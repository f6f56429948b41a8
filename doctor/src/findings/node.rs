//! What is wrong with lacre's own configuration, programs, server, certificates and disks.

use std::path::Path;

use lacre_types::{Mode, escape};

use super::finding::{Area, Book, Finding};
use crate::facts::{
    Certificate, ConfigFile, Disk, Expiry, Facts, PolicyFile, Program, Seen, Server, Tls, Watchdog,
};
use crate::forecast::rungs;

/// Days before a certificate ends, from which on it is told of.
pub(crate) const SOON: i64 = 30;
/// What a disk should have free: the spool and some baselines.
const LITTLE: u64 = 1 << 30;
/// What it must have, to record anything.
const NOTHING: u64 = 16 << 20;

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes())
}

fn configs(facts: &Facts) -> &[ConfigFile] {
    facts.configs.known().map_or(&[], |all| all)
}

pub(super) fn lacre(facts: &Facts) -> Vec<Finding> {
    let mut book = Book::of(Area::Lacre);
    if let Seen::Unseen(why) = &facts.configs {
        book.unseen(why.clone());
    }
    for config in configs(facts) {
        file(config, facts, &mut book);
        if config.read != Seen::Seen(Ok(())) {
            continue;
        }
        program("the inner shim", &config.inner.shim, config.mode, &mut book);
        if let Some(runtime) = &config.inner.runtime {
            program("the runtime", runtime, config.mode, &mut book);
        }
        for disk in &config.disks {
            self::disk(disk, &mut book);
        }
        watchdog(&config.watchdog, config.mode, &mut book);
    }
    // Several files may name the same.
    dedupe(book.all)
}

fn dedupe(all: Vec<Finding>) -> Vec<Finding> {
    let mut kept: Vec<Finding> = Vec::with_capacity(all.len());
    for finding in all {
        if !kept.contains(&finding) {
            kept.push(finding);
        }
    }
    kept
}

fn file(config: &ConfigFile, facts: &Facts, book: &mut Book) {
    let path = shown(&config.path);
    if let Seen::Unseen(why) = &config.read {
        book.unseen(format!("{path} ({}): {why}", config.named_by));
        return;
    }
    if let Seen::Seen(Err(why)) = &config.read {
        // Its lines, each with its place.
        book.fault(format!("{path} ({}) can't be used: {}", config.named_by, why.trim_end()))
            .follows("no container starts that it is for")
            .mend(format!("mend it, and check it: lacre config check {path}"));
        return;
    }
    let mode = config.mode;
    if !config.is_there && !config.required {
        book.note(format!("no {path}: the built-in configuration, mode {mode}"))
            .follows("all is recorded, and nothing touched")
            .mend("`make install` leaves an example there");
    } else {
        let is = format!("{path} ({}): mode {mode}", config.named_by);
        match mode {
            Mode::Audit => {
                book.ok(is).follows("violations are recorded, and nothing is held back");
            }
            Mode::Enforce => {
                book.ok(is);
            }
        }
    }
    let rungs = rungs(&facts.offers, &config.wanted);
    let named = config.wanted.only.as_ref();
    if facts.root && rungs.lost && named.is_some() {
        let missing: Vec<_> = named
            .into_iter()
            .flatten()
            .filter(|source| !facts.offers.of(**source).is_some_and(crate::Offer::is_given))
            .map(|source| source.as_str())
            .collect();
        let is = format!("{path} names {}, which can't be had here", missing.join(", "));
        match mode {
            Mode::Enforce => book.fault(is).follows("no container starts"),
            Mode::Audit => book.warning(is).follows("each container is told of as SOURCE_LOST"),
        }
        .mend("`sources: auto`, or name what there is");
    }
}

fn program(what: &str, program: &Program, mode: Mode, book: &mut Book) {
    let name = escape(program.name.as_bytes());
    let place = match &program.place {
        Ok(place) => shown(place),
        Err(why) => {
            book.fault(format!("{what} {name}: {why}"))
                .follows("no container starts")
                .mend("install it, or name another under `inner` (docs/configuration.md)");
            return;
        }
    };
    match &program.listed {
        None => book
            .note(format!("{what}: {place}, which no list of programs names"))
            .follows("whoever replaces it is not found out")
            .mend(format!("sha256sum {place} >> /etc/lacre/programs.sha256, and the other one")),
        Some(Ok(())) => book.ok(format!("{what}: {place}, as it is listed")),
        Some(Err(why)) => {
            let why = format!("{what}: {why}");
            match mode {
                Mode::Enforce => book.fault(why).follows("no container starts"),
                Mode::Audit => book.warning(why).follows("each start is told of as LOG_TAMPERED"),
            }
            .mend("look whether it was you who changed it; then list it anew")
        }
    };
}

fn disk(disk: &Disk, book: &mut Book) {
    let (what, path) = (disk.what, shown(&disk.path));
    match disk.space {
        Seen::Seen(_) if disk.read_only => book
            .fault(format!("{what}: {path} is read-only"))
            .follows("nothing can be kept there")
            .mend("name another place in lacre's configuration"),
        Seen::Seen((_, free)) if free < NOTHING => book
            .fault(format!("{what}: {} free at {path}", size(free)))
            .follows("records wait in memory, and are counted beyond its bound")
            .mend("make room"),
        Seen::Seen((_, free)) if free < LITTLE => book
            .warning(format!("{what}: {} free at {path}", size(free)))
            .follows("a large image's baseline, or a spool without its server, may fill it")
            .mend("make room"),
        Seen::Seen((_, free)) => book.ok(format!("{what}: {} free at {path}", size(free))),
        Seen::Unseen(ref why) => book.unseen(format!("{what}: {path}: {why}")),
    };
}

fn size(bytes: u64) -> String {
    match bytes {
        0..0x4000_0000 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}

fn watchdog(watchdog: &Watchdog, mode: Mode, book: &mut Book) {
    let socket = shown(&watchdog.socket);
    match (&watchdog.listens, &watchdog.unit) {
        (Seen::Seen(true), Some(unit)) => {
            book.ok(format!("the watchdog listens at {socket}, kept by {}", shown(unit)))
        }
        (Seen::Seen(true), None) => book.ok(format!("the watchdog listens at {socket}")),
        (Seen::Seen(false), Some(unit)) => book
            .warning(format!("no watchdog at {socket}, though there is {}", shown(unit)))
            .follows("the next guarded container starts one")
            .mend(
                "systemctl enable --now lacre-watchdog, and look whether its ExecStart names \
                   this directory",
            ),
        (Seen::Seen(false), None) if mode == Mode::Enforce => book
            .note(format!("no watchdog at {socket} now"))
            .follows(
                "the next guarded container starts one; what dies together with it is found \
                      with the next container only",
            )
            .mend("deploy/lacre-watchdog.service keeps one at all times"),
        (Seen::Seen(false), None) => {
            book.note(format!("no watchdog at {socket} now; the next guarded container starts one"))
        }
        (Seen::Unseen(why), _) => book.unseen(why.clone()),
    };
}

pub(super) fn policy(facts: &Facts) -> Vec<Finding> {
    let mut book = Book::of(Area::Policy);
    for config in configs(facts).iter().filter(|config| config.read == Seen::Seen(Ok(()))) {
        policy_file(&config.policy, config, &mut book);
        match &config.server {
            Some(server) => self::server(server, &mut book),
            None => {
                book.ok("no policy server is named: the file alone decides");
            }
        }
    }
    dedupe(book.all)
}

fn policy_file(policy: &PolicyFile, config: &ConfigFile, book: &mut Book) {
    let (path, mode) = (shown(&policy.path), config.mode);
    let mend = format!("mend it, and check it: lacre policy check {path}");
    match &policy.rules {
        Seen::Seen(Ok(Some(rules))) if policy.warnings > 0 => book
            .warning(format!("{path}: {rules} rules, and {} warnings", policy.warnings))
            .follows("something in it does not do what it seems to")
            .mend(format!("lacre policy check {path}")),
        Seen::Seen(Ok(Some(rules))) => {
            let stands_in = match &config.server {
                Some(_) => "holds until the server's comes",
                None => "decides",
            };
            book.ok(format!("{path} {stands_in}: {rules} rules"))
        }
        Seen::Seen(Ok(None)) if policy.is_standard => {
            book.note(format!("no {path}: the built-in policy")).follows(match mode {
                Mode::Enforce => "violations are denied, and killed where nothing can be denied",
                Mode::Audit => "violations are recorded",
            })
        }
        Seen::Seen(Ok(None)) => match mode {
            Mode::Enforce => book
                .fault(format!("{path} is named, and not there"))
                .follows("every Create is refused"),
            Mode::Audit => book
                .warning(format!("{path} is named, and not there"))
                .follows("the built-in policy holds: violations are recorded"),
        }
        .mend("write it, or leave `policy` out for the built-in one"),
        Seen::Unseen(why) => book.unseen(format!("the policy: {why}")),
        Seen::Seen(Err(why)) => match mode {
            Mode::Enforce => book
                .fault(format!("the policy can't be used: {}", why.trim_end()))
                .follows("the built-in policy holds: DENY, and KILL where nothing can be denied"),
            Mode::Audit => book
                .fault(format!("the policy can't be used: {}", why.trim_end()))
                .follows("the built-in policy holds: violations are recorded"),
        }
        .mend(mend),
    };
}

fn server(server: &Server, book: &mut Book) {
    let address = &server.address;
    if let Some(tls) = &server.tls {
        certificates(tls, book);
    }
    match (&server.answer, &server.error) {
        (Seen::Seen(Ok(version)), None) => book.ok(format!("{address} answers: policy {version}")),
        (Seen::Seen(Ok(_)), Some(why)) => book
            .warning(format!("{address} answers, and not as it should: {why}"))
            .follows("what its policy was before holds")
            .mend("look into the server's log; there `lacre policy check` tells what is wrong"),
        (Seen::Unseen(why), _) => book.unseen(format!("{address} was not asked: {why}")),
        (Seen::Seen(Err(why)), _) => book
            .fault(format!("{address} can't be reached: {why}"))
            .follows(
                "containers start all the same, a second later, by the last policy or the \
                      file's; reports are spooled until it answers",
            )
            .mend(
                "is lacre-policyd up, the address right, and the certificate signed by its CA \
                   (docs/policy-server.md)?",
            ),
    };
}

fn certificates(tls: &Tls, book: &mut Book) {
    if let Seen::Unseen(why) = &tls.usable {
        book.unseen(format!("the certificates: {why}"));
    }
    if let Seen::Seen(Err(why)) = &tls.usable {
        book.fault(format!("the certificates can't be used: {why}"))
            .follows("the server can't be asked")
            .mend("docs/policy-server.md says how they are made");
    }
    for certificate in &tls.certificates {
        self::certificate(certificate, book);
    }
    if let Some(key) = &tls.exposed_key {
        book.warning(format!("others than its owner may read the key {}", shown(key)))
            .follows("who has it is this node to the server")
            .mend(format!("chmod 600 {}, and have another made if somebody did", shown(key)));
    }
}

fn certificate(certificate: &Certificate, book: &mut Book) {
    let of = format!("{} certificate {}", certificate.what, shown(&certificate.file));
    match &certificate.expiry {
        Seen::Seen(Expiry::Left(days)) if *days < SOON => book
            .warning(format!("{of} ends in {days} days"))
            .follows("from then on the server can't be asked")
            .mend("have another made; it is read anew for each connection"),
        Seen::Seen(Expiry::Left(days)) => book.ok(format!("{of} holds for {days} days more")),
        Seen::Seen(Expiry::Ended(days)) => book
            .fault(format!("{of} ended {days} days ago"))
            .follows("the server can't be asked")
            .mend("have another made; it is read anew for each connection"),
        Seen::Seen(Expiry::Begins(days)) => book
            .fault(format!("{of} begins to hold in {days} days"))
            .follows("the server can't be asked until then")
            .mend("is this node's clock right?"),
        Seen::Unseen(why) => book.unseen(format!("when {of} ends: {why}")),
    };
}
