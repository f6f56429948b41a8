//! A directory with a `security.capability` of no bytes. The kernel sets it, and fails whoever
//! reads it, overlayfs among them: it copies no such directory up, so that containerd fails to
//! unpack a layer for overlayfs that has something in one of the layers beneath. lacre reads that
//! layer: there is no container that it could be wrong of.

use anyhow::{Result, ensure};
use lacre_baseline::unpacked::{diff_id, stack};
use lacre_integration::{Containerd, Version};

use crate::containerd::{Told, Unpacker};
use crate::header::Header;
use crate::members::records;
use crate::packing::Blob;
use crate::random::Random;

fn blob(members: &[Header], attribute: bool) -> Blob {
    let mut bytes = Vec::new();
    if attribute {
        let content = records(&[("SCHILY.xattr.security.capability", b"")]);
        let size = content.len() as u64;
        let header = Header { flag: b'x', name: b"pax".to_vec(), size, ..Header::default() };
        bytes.extend(header.block(&mut Random::new(0, 0)));
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    for member in members {
        bytes.extend(member.block(&mut Random::new(0, 0)));
    }
    bytes.resize(bytes.len() + 1024, 0);
    Blob { bytes, media_type: "application/vnd.oci.image.layer.v1.tar".to_owned() }
}

#[test]
fn of_no_bytes_stops_containerd_where_the_kernel_copies_up() -> Result<()> {
    let directory =
        |name: &[u8]| Header { flag: b'5', name: name.to_vec(), mode: 0o755, ..Header::default() };
    let lower = blob(&[directory(b"c"), directory(b"d")], true);
    let within = blob(&[directory(b"c/x")], false);
    let beside = blob(&[directory(b"d/x")], false);
    let daemon = Containerd::builder(Version::V2_1).in_memory().start()?;
    daemon.check(|daemon| {
        let mut unpacker = Unpacker::new(daemon)?;
        let folders = ["0", "1", "2"].map(|name| unpacker.folder().join(name));
        folders.iter().try_for_each(std::fs::create_dir)?;
        let [first, second, third] = &folders;
        let told = unpacker.unpack(&lower, first, &[])?;
        ensure!(matches!(told, Told::Unpacked(..)), "the lower layer is refused");
        let beneath = [first.clone()];
        let told = unpacker.unpack(&beside, second, &beneath)?;
        ensure!(matches!(told, Told::Unpacked(..)), "a directory beside it is refused");
        match unpacker.unpack(&within, third, &beneath)? {
            Told::Refused(why) => ensure!(why.contains("invalid argument"), "{why}"),
            Told::Unpacked(..) => anyhow::bail!("the kernel has copied it up"),
        }
        let ids = [&lower, &within].map(|blob| diff_id(&blob.bytes, &blob.media_type));
        let [lower_id, within_id] = ids;
        stack(&[
            (&lower.bytes, &lower.media_type, lower_id?),
            (&within.bytes, &within.media_type, within_id?),
        ])?;
        // Over it, as for the native snapshotter, nothing is copied up.
        let told = unpacker.unpack_over(&within, first)?;
        ensure!(matches!(told, Told::Unpacked(..)), "what is unpacked over it is refused");
        Ok(())
    })
}
