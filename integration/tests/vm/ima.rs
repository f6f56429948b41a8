//! The kernel's own measurement list, and the TPM's word on it.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use lacre_integration::paths::cached;
use lacre_integration::vm::{Guest, Kernel, Request, shared};
use lacre_integration::{Output, Version};
use sha2::{Digest, Sha256};

const IMA: &str = "/sys/kernel/security/ima";
const PCR_10: &str = "/sys/class/tpm/tpm0/pcr-sha256/10";

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
    let _: String = guest.ask(&Request::Run { script, containerd })?;

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
    let (read, listed) = (entries(&binary)?.len(), ascii.lines().count());
    assert!(listed <= read && read <= count && listed > 10, "{listed} {read} {count}");
    Ok(())
}

pub(crate) fn pcr_10_is_the_replay(kernel: Kernel) -> Result<()> {
    let mut guest = shared(kernel)?;
    let (list, pcr) = settled(&mut guest)?;
    let replayed =
        entries(&list)?.iter().filter(|entry| entry.pcr == 10).fold([0; 32], |pcr, entry| {
            let event = match entry.digest {
                // A violation; the PCR is extended with what nothing hashes to.
                [0, 0, ..] if entry.digest.iter().all(|byte| *byte == 0) => [0xff; 32],
                _ => Sha256::digest(&entry.data).into(),
            };
            Sha256::new().chain_update(pcr).chain_update(event).finalize().into()
        });
    let replayed: String = replayed.iter().map(|byte| format!("{byte:02X}")).collect();
    assert_eq!(replayed, pcr);
    Ok(())
}

/// The binary list and PCR 10 of one moment.
fn settled(guest: &mut Guest) -> Result<(Vec<u8>, String)> {
    let path = format!("{IMA}/binary_runtime_measurements");
    for _ in 0..10 {
        let before = guest.read(&path)?;
        let pcr = guest.text(PCR_10)?;
        if guest.read(&path)? == before {
            return Ok((before, pcr.trim().to_owned()));
        }
    }
    anyhow::bail!("the list never rests")
}

struct Entry {
    pcr: u32,
    digest: [u8; 20],
    data: Vec<u8>,
}

/// The format of `ima_measurements_show`, in the guest's byte order: the PCR, the SHA-1 of
/// the template data, then template name and data, each after its length.
fn entries(mut list: &[u8]) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    while !list.is_empty() {
        let pcr = number(&mut list)?;
        let digest = take(&mut list, 20)?.try_into()?;
        let name = number(&mut list)?;
        let name = take(&mut list, name)?;
        ensure!(name != b"ima", "the template without a length is not expected here");
        let length = number(&mut list)?;
        let data = take(&mut list, length)?.to_vec();
        entries.push(Entry { pcr, digest, data });
    }
    Ok(entries)
}

fn number(list: &mut &[u8]) -> Result<u32> {
    Ok(u32::from_ne_bytes(take(list, 4)?.try_into()?))
}

fn take<'a>(list: &mut &'a [u8], count: u32) -> Result<&'a [u8]> {
    let (head, rest) = list.split_at_checked(count as usize).context("the list ends early")?;
    *list = rest;
    Ok(head)
}
