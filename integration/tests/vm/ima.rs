//! The kernel's own measurement list, and the TPM's word on it.

use std::process::Command;

use anyhow::Result;
use lacre_attest::ima::{Entry, Form, Stream};
use lacre_attest::replay::{Line, Replay};
use lacre_integration::paths::cached;
use lacre_integration::vm::{Guest, Kernel, Request, shared};
use lacre_integration::{Output, Version};
use lacre_types::{Algorithm, Digest};

pub(crate) const IMA: &str = "/sys/kernel/security/ima";

/// A container runs a program that was copied into it: it is in the list, under the name and
/// with the digest that it has, once.
pub(crate) fn lists_are_readable_and_of_our_policy(kernel: Kernel) -> Result<()> {
    let mut guest = shared(kernel)?;
    // A name of the file that is not in the list from another test.
    let name = format!("/tmp/{}/true", std::process::id());
    let inside = "mkdir -p ${0%/true}; cp /bin/busybox $0; $0";
    let script =
        format!("ctr run --rm --null-io lacre.test/busybox:1 copied sh -c '{inside}' {name}");
    let containerd = Some(Version::V1_6.name().to_owned());
    let _: String = guest.ask(&Request::Run { script, containerd, config: None })?;

    let ascii = guest.text(&format!("{IMA}/ascii_runtime_measurements"))?;
    let first = ascii.lines().next().unwrap_or_default();
    assert!(first.contains("boot_aggregate"), "{first}");
    let busybox = cached("tools/bin/busybox")?;
    let digest = Output::of(Command::new("sha256sum").arg(busybox))?.ok()?;
    let digest = format!("sha256:{}", digest.split(' ').next().unwrap_or_default());
    let lines: Vec<_> = ascii.lines().filter(|line| line.contains(&digest)).collect();
    // Every list ends in one path or another, by the kernel's view of the container's root.
    let own: Vec<_> = lines.iter().filter(|line| line.contains(&name)).collect();
    if kernel == Kernel::StockIma {
        assert_eq!(own.len(), 1, "{name} {digest} among\n{}", lines.join("\n"));
    }

    let binary = guest.read(&format!("{IMA}/binary_runtime_measurements"))?;
    let count: usize = guest.text(&format!("{IMA}/runtime_measurements_count"))?.trim().parse()?;
    // It may have grown in between, and never shrinks.
    let (mut read, listed) = (0, ascii.lines().count());
    each(&binary, Algorithm::Sha1, |_, _| read += 1)?;
    assert!(listed <= read && read <= count && listed > 10, "{listed} {read} {count}");
    Ok(())
}

pub(crate) fn pcr_10_is_the_replay(kernel: Kernel) -> Result<()> {
    let mut guest = shared(kernel)?;
    let (list, pcr) = settled(&mut guest, &format!("{IMA}/binary_runtime_measurements"), 10)?;
    let mut replay = Replay::new([Algorithm::Sha256]);
    let mut edited = Vec::new();
    each(&list, Algorithm::Sha1, |line, entry| {
        if replay.push(entry, Algorithm::Sha1) == Line::Edited {
            edited.push(line);
        }
    })?;
    assert_eq!(edited, [0u64; 0]);
    assert_eq!(replay.value(Algorithm::Sha256, 10), Some(pcr));
    Ok(())
}

/// Hands over each entry of a whole list.
pub(crate) fn each<F: FnMut(u64, &Entry<'_>)>(
    list: &[u8],
    digests: Algorithm,
    each: F,
) -> Result<()> {
    let mut stream = Stream::new(Form::Binary, digests);
    stream.feed(list, each)?;
    Ok(stream.finish()?)
}

/// A list and the PCR that it is extended to, of one moment.
pub(crate) fn settled(guest: &mut Guest, path: &str, pcr: u32) -> Result<(Vec<u8>, Digest)> {
    for _ in 0..10 {
        let before = guest.read(path)?;
        let value = guest.text(&format!("/sys/class/tpm/tpm0/pcr-sha256/{pcr}"))?;
        if guest.read(path)? == before {
            return Ok((before, format!("sha256:{}", value.trim().to_lowercase()).parse()?));
        }
    }
    anyhow::bail!("{path} never rests")
}
