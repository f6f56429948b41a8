//! The kernels, and where their images are.

use std::env;
use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::paths::{cache, repository};

/// What a guest runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// Linux 6.12 with the patches of `kernel/`: container-IMA.
    Patched,
    /// Debian's 6.12 with an IMA policy of ours.
    StockIma,
    /// Debian's 6.12 with BPF among its security modules.
    StockBpf,
}

/// What QEMU loads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Boot {
    pub(crate) image: PathBuf,
    pub(crate) initrd: Option<PathBuf>,
    pub(crate) arguments: String,
    /// Whether the guest's clock counts instructions, one a nanosecond, and so knows nothing
    /// of what else the host does.
    pub(crate) counting: bool,
    /// Whether what reboots it has it begin anew, with what its disk and its TPM then hold.
    pub(crate) reboots: bool,
}

/// A panic reboots, which ends QEMU but where [`Boot::reboots`]. On a busy machine the emulated timer is
/// late for the kernel's look at whether it ticks, which then panics: `no_timer_check`.
const ALWAYS: &str = "console=ttyS0 panic=-1 quiet no_timer_check random.trust_cpu=on rw";

impl Kernel {
    /// # Errors
    /// When the image is not there; the error says what brings it.
    pub(crate) fn boot(self) -> Result<Boot> {
        let (image, initrd) = match self {
            Self::Patched => (patched()?, None),
            Self::StockIma | Self::StockBpf => {
                let folder = cache().join("vm/debian-6.12");
                (folder.join("vmlinuz"), Some(folder.join("initrd")))
            }
        };
        let bring = match self {
            Self::Patched => MAKE,
            Self::StockIma | Self::StockBpf => "run integration/vm/prepare.sh",
        };
        for file in [Some(&image), initrd.as_ref()].into_iter().flatten() {
            ensure!(file.is_file(), "{} is missing; {bring}", file.display());
        }
        let own = match self {
            Self::Patched => "root=/dev/vda lsm=integrity,bpf ima_container=on lacre.ima",
            Self::StockIma => "lsm=landlock,lockdown,yama,integrity lacre.ima",
            Self::StockBpf => "lsm=landlock,lockdown,yama,integrity,bpf",
        };
        let arguments = format!("{ALWAYS} {own}");
        Ok(Boot { image, initrd, arguments, counting: false, reboots: false })
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Patched => "the patched kernel",
            Self::StockIma => "stock 6.12 with IMA",
            Self::StockBpf => "stock 6.12 with BPF LSM",
        })
    }
}

const MAKE: &str = "run `make kernel FLAVOUR=bpf`, or name an image in LACRE_KERNEL";

/// `LACRE_KERNEL`, else the image with BTF that belongs to the patches of this repository:
/// without BTF lacre has no source that sees a library that was replaced.
fn patched() -> Result<PathBuf> {
    if let Some(named) = env::var_os("LACRE_KERNEL") {
        return Ok(PathBuf::from(named));
    }
    let script = repository().join("kernel/build.sh");
    let said = Command::new(&script)
        .args(["bpf", "path"])
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", script.display()))?;
    let path = String::from_utf8_lossy(&said.stdout);
    ensure!(said.status.success(), "no patched kernel at {}; {MAKE}", path.trim());
    Ok(PathBuf::from(path.trim()))
}
