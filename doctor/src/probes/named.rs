//! What a configuration names, and whether it is to be had: for `lacre config check`.

use std::io;
use std::path::Path;
use std::time::Duration;

use lacre_shim::config::{Config, Named};
use lacre_types::Mode;

use super::limit::Probe;
use super::{config, policy_server};
use crate::facts::{Expiry, Seen};

/// Something that is named and not to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absent {
    /// What is wrong, in a line.
    pub what: String,
    /// What follows, and what to do.
    pub help: String,
}

/// What is wrong with what a configuration names there, if anything is.
#[must_use]
pub fn absent(named: Named, config: &Config, limit: Duration) -> Option<Absent> {
    let config = config.clone();
    match Probe::start("it", move || look(named, &config, limit)).wait(limit.saturating_mul(2)) {
        Seen::Seen(absent) => absent,
        Seen::Unseen(why) => Some(Absent { what: why, help: "it could not be looked at".into() }),
    }
}

fn look(named: Named, config: &Config, limit: Duration) -> Option<Absent> {
    let tls = config.tls.as_ref();
    match named {
        Named::Policy => policy(config),
        Named::Server => server(config, limit),
        Named::Ca => certificate(&tls?.ca),
        Named::Cert => certificate(&tls?.cert).or_else(|| pair(config)),
        Named::Key => file(&tls?.key, "no connection to the server can be made without it"),
        Named::Programs => {
            let follows = match config.mode {
                Mode::Enforce => "every Create is refused without it",
                Mode::Audit => "every container is told of as LOG_TAMPERED without it",
            };
            file(&config.programs, follows)
        }
        Named::InnerConfig => file(
            config.inner.config.as_ref()?,
            "the inner shim is told of a file that is not there",
        ),
        Named::InnerShim => {
            let place = config::shim_of(config).err()?;
            Some(Absent { what: place, help: "no container starts without its inner shim".into() })
        }
    }
}

fn file(path: &Path, follows: &str) -> Option<Absent> {
    let error = std::fs::File::open(path).err()?;
    let help = match error.kind() {
        io::ErrorKind::PermissionDenied => "only its owner may look; ask again as root",
        _ => follows,
    };
    Some(Absent { what: format!("{}: {error}", path.display()), help: help.to_owned() })
}

fn policy(config: &Config) -> Option<Absent> {
    let found = config::policy(config);
    match (found.rules, config.mode) {
        (Seen::Seen(Ok(Some(_))), _) => None,
        (Seen::Seen(Ok(None)), _) if found.is_standard => None,
        (Seen::Seen(Ok(None)), mode) => Some(Absent {
            what: format!("there is no {}", found.path.display()),
            help: match mode {
                Mode::Enforce => {
                    "every Create is refused until it is there; leave `policy` out for \
                                  the built-in one"
                }
                Mode::Audit => "the built-in policy holds until it is there",
            }
            .to_owned(),
        }),
        (Seen::Unseen(what), _) => {
            Some(Absent { what, help: "only its owner may look; ask again as root".to_owned() })
        }
        (Seen::Seen(Err(why)), mode) => Some(Absent {
            what: format!("the policy can't be used: {}", why.lines().next().unwrap_or_default()),
            help: match mode {
                Mode::Enforce => {
                    "the built-in policy holds until it is mended; \
                                  `lacre policy check` tells all that is wrong with it"
                }
                Mode::Audit => {
                    "nothing but records comes of violations until it is mended; \
                                `lacre policy check` tells all that is wrong with it"
                }
            }
            .to_owned(),
        }),
    }
}

fn server(config: &Config, limit: Duration) -> Option<Absent> {
    let found = policy_server::look(config.server.as_ref()?, config.tls.as_ref(), limit);
    match found.answer {
        Seen::Seen(Ok(_)) => found.error.map(|why| Absent {
            what: "the server answers, and not as it should".to_owned(),
            help: why,
        }),
        Seen::Unseen(what) => {
            Some(Absent { what, help: "only its owner may look; ask again as root".to_owned() })
        }
        Seen::Seen(Err(why)) => Some(Absent {
            what: format!("{} can't be reached: {why}", found.address),
            help: "containers start all the same, by the last policy or the file's, and reports \
                   are spooled"
                .to_owned(),
        }),
    }
}

fn pair(config: &Config) -> Option<Absent> {
    let found = policy_server::certificates(config.tls.as_ref()?);
    let Seen::Seen(Err(why)) = found.usable else { return None };
    Some(Absent { what: why, help: "the server can't be asked with it".to_owned() })
}

fn certificate(path: &Path) -> Option<Absent> {
    let help = "the server can't be asked with it".to_owned();
    match policy_server::expiry(path) {
        Ok(Expiry::Left(days)) if days < crate::findings::SOON => {
            let what = format!("{} ends in {days} days", path.display());
            Some(Absent { what, help: "have another made before that".to_owned() })
        }
        Ok(Expiry::Left(_)) => None,
        Ok(Expiry::Ended(days)) => {
            let what = format!("{} ended {days} days ago", path.display());
            Some(Absent { what, help })
        }
        Ok(Expiry::Begins(days)) => {
            let what = format!("{} begins to hold in {days} days", path.display());
            Some(Absent { what, help })
        }
        Err(what) => Some(Absent { what, help }),
    }
}
