//! Whole machines: each kernel × scenario by name. The guest of a kernel boots with the
//! first of its tests and serves the others.
//!
//! What needs more than Debian's kernel, or says the same of a second configuration, runs by
//! `make test-vm` only, and `make test` runs the patched kernel's when its image is there.

mod attested;
mod container_ima;
mod ended;
mod fleet;
mod guest_faults;
mod ima;
mod images;
mod rebooted;
mod restarts;
mod served;
mod source_ima;

use anyhow::{Context, Result};
use lacre_integration::Version;
use lacre_integration::demo_cases::{Case, Row};
use lacre_integration::vm::{Guest, Kernel, Request, shared};

/// One container of the demonstration, on a kernel, under a containerd.
fn case(kernel: Kernel, id: &str, containerd: Version) -> Result<()> {
    case_with(kernel, id, containerd, None)
}

/// The same, with that configuration of the shim.
fn case_with(kernel: Kernel, id: &str, containerd: Version, config: Option<&str>) -> Result<()> {
    let case = Case::named(id).context("no such case")?;
    let (id, containerd) = (id.to_owned(), containerd.name().to_owned());
    let mut guest = shared(kernel)?;
    let config = config.map(str::to_owned);
    let row: Row = guest.ask(&Request::Case { id, containerd, config })?;
    assert!(row.is_of(&case), "{case:?}\ngave {row:?}\nthe guest's console:\n{}", guest.console());
    assert_eq!(row.violations == 0, case.expected.is_none(), "{row:?}");
    Ok(())
}

/// Writes a text file in the guest.
fn put(guest: &mut Guest, path: &str, text: &str) -> Result<()> {
    guest.run(&format!("cat >{path} <<'END'\n{}\nEND", text.trim_end())).map(drop)
}

/// What the shell puts in its place: the process id of a container's shim.
fn shim(id: &str) -> String {
    format!(
        "$(for p in /proc/[0-9]*; do
            [ \"$(readlink $p/exe)\" = /lacre/bin/containerd-shim-lacre-v1 ] &&
                tr '\\0' ' ' <$p/cmdline | grep -q -e '-id {id} ' && echo ${{p#/proc/}}
        done; true)"
    )
}

/// Waits until containerd says so.
fn becomes(guest: &mut Guest, id: &str, state: &str) -> Result<()> {
    let until = format!("until ctr tasks ls | grep -q '^{id} .*{state}'; do usleep 50000; done");
    guest.run_with("mode: audit\n", &until).map(drop)
}

/// The four of the demonstration.
macro_rules! core {
    ($kernel:expr $(, #[$attribute:meta])?) => {
        core!(@ $kernel, clean $(, #[$attribute])?);
        core!(@ $kernel, dropped $(, #[$attribute])?);
        core!(@ $kernel, replaced $(, #[$attribute])?);
        core!(@ $kernel, unknown $(, #[$attribute])?);
    };
    (@ $kernel:expr, $case:ident $(, #[$attribute:meta])?) => {
        #[test]
        $(#[$attribute])?
        fn $case() -> Result<()> {
            case($kernel, stringify!($case), Version::V1_6)
        }
    };
}

/// The security modules that are on, as the kernel says.
fn modules(guest: &mut Guest) -> Result<Vec<String>> {
    let text = guest.text("/sys/kernel/security/lsm")?;
    Ok(text.split(',').map(str::to_owned).collect())
}

mod stock_ima {
    use super::*;

    core!(Kernel::StockIma);

    #[test]
    fn dropped_under_2_1() -> Result<()> {
        case(Kernel::StockIma, "dropped", Version::V2_1)
    }

    #[test]
    fn lists_are_readable_and_of_our_policy() -> Result<()> {
        ima::lists_are_readable_and_of_our_policy(Kernel::StockIma)
    }

    #[test]
    fn pcr_10_is_the_replay() -> Result<()> {
        ima::pcr_10_is_the_replay(Kernel::StockIma)
    }
}

mod stock_bpf {
    use super::*;

    core!(Kernel::StockBpf, #[ignore = "make test-vm"]);

    #[test]
    #[ignore = "make test-vm"]
    fn bpf_is_a_security_module() -> Result<()> {
        let mut guest = shared(Kernel::StockBpf)?;
        let modules = modules(&mut guest)?;
        assert!(modules.iter().any(|module| module == "bpf"), "{modules:?}");
        let calls: u64 = guest.ask(&Request::LsmProgram)?;
        assert!(calls > 0, "the program was loaded and attached, and not called");
        Ok(())
    }
}

mod patched {
    use super::*;

    core!(Kernel::Patched, #[ignore = "make test-vm"]);

    #[test]
    #[ignore = "make test-vm"]
    fn lists_are_readable_and_of_our_policy() -> Result<()> {
        ima::lists_are_readable_and_of_our_policy(Kernel::Patched)
    }

    #[test]
    #[ignore = "make test-vm"]
    fn pcr_10_is_the_replay() -> Result<()> {
        ima::pcr_10_is_the_replay(Kernel::Patched)
    }

    #[test]
    #[ignore = "make test-vm"]
    fn has_container_ima() -> Result<()> {
        let status = shared(Kernel::Patched)?.text("/sys/kernel/security/ima/containers/status")?;
        for line in ["version 2", "pcr 12", "tpm yes", "errors 0"] {
            assert!(status.lines().any(|other| other == line), "{line}, among {status}");
        }
        Ok(())
    }
}
