//! Layers that are unpacked one over the other: what each finds there.

use lacre_baseline::{Baseline, Error, NoProgress, Options, Reference, Stacking, from_oci};
use tar::EntryType;

use crate::common::{Pack, layout};
use crate::{file, member, paths, text};

fn stacked(stacking: Stacking, layers: &[&[Vec<u8>]]) -> Result<Baseline, Error> {
    let temp = tempfile::tempdir().unwrap();
    let tar = |members: &&[Vec<u8>]| ([&members.concat()[..], &[0; 1024]].concat(), Pack::Plain);
    layout(temp.path(), &layers.iter().map(tar).collect::<Vec<_>>());
    let options = Options { stacking, ..Options::default() };
    from_oci(temp.path(), &Reference::default(), None, &options, &NoProgress)
}

fn piled(layers: &[&[Vec<u8>]]) -> Vec<String> {
    paths(&stacked(Stacking::Unpacked, layers).unwrap())
}

fn dir(name: &[u8]) -> Vec<u8> {
    member(EntryType::Directory, name, b"", b"")
}

fn link(name: &[u8], target: &[u8]) -> Vec<u8> {
    member(EntryType::Symlink, name, target, b"")
}

#[test]
fn a_directory_that_no_member_names_is_followed_where_it_is_a_link_beneath() {
    let bottom = [
        dir(b"usr/"),
        dir(b"usr/bin/"),
        link(b"bin", b"usr/bin"),
        link(b"lib", b"/usr/./lib"),
        link(b"usr/lib", b"lib64"),
        dir(b"usr/lib64/"),
        link(b"usr/lib64/a", b"b"),
        dir(b"usr/lib64/b/"),
    ];
    let top = [file(b"bin/x.sh"), file(b"lib/a/c/y.sh"), file(b"lib/z.sh")];
    let there = ["/usr/bin/x.sh", "/usr/lib64/b/c/y.sh", "/usr/lib64/z.sh"];
    assert_eq!(piled(&[&bottom, &top]), there);
    // Beside the links it is on an overlay, which shows the topmost.
    let over = paths(&stacked(Stacking::Overlaid, &[&bottom, &top]).unwrap());
    assert_eq!(over, ["/bin/x.sh", "/lib/a/c/y.sh", "/lib/z.sh"]);
    // One that a member names replaces the link where that stands.
    let named = [dir(b"lib/a/"), file(b"lib/a/c/y.sh")];
    assert_eq!(piled(&[&bottom, &named]), ["/usr/lib64/a/c/y.sh"]);
    let named = [dir(b"lib/"), file(b"lib/a/c/y.sh")];
    assert_eq!(piled(&[&bottom, &named]), ["/lib/a/c/y.sh"]);
}

#[test]
fn an_opaque_directory_empties_what_a_link_leads_to() {
    let bottom =
        [file(b"usr/bin/old.sh"), file(b"usr/other.sh"), link(b"bin", b"usr/bin"), file(b"r.sh")];
    let top = [file(b"bin/new.sh"), file(b"bin/.wh..wh..opq")];
    assert_eq!(piled(&[&bottom, &top]), ["/r.sh", "/usr/bin/new.sh", "/usr/other.sh"]);
    let all = [file(b"new.sh"), file(b".wh..wh..opq")];
    assert_eq!(piled(&[&bottom, &all]), ["/new.sh"]);
}

#[test]
fn a_hard_link_is_to_what_a_layer_beneath_has() {
    let data = |name: &[u8], mode| {
        let mut data = member(EntryType::Regular, name, b"", b"data");
        let mut header = tar::Header::from_byte_slice(&data[..512]).clone();
        header.set_mode(mode);
        header.set_cksum();
        data[..512].copy_from_slice(header.as_bytes());
        data
    };
    let bottom = [file(b"tool.sh"), data(b"data", 0o644), link(b"opt", b"usr")];
    let linked = |name: &[u8], to: &[u8]| member(EntryType::Link, name, to, b"");
    assert_eq!(piled(&[&bottom, &[linked(b"again", b"tool.sh")]]), ["/again", "/tool.sh"]);
    // Its mode is that of all its names, those beneath too: what was data there is code.
    let top = [linked(b"opt/run", b"data")];
    let baseline = stacked(Stacking::Unpacked, &[&bottom, &top]).unwrap();
    assert_eq!(paths(&baseline), ["/data", "/tool.sh", "/usr/run"]);
    let entry = |at| baseline.get(at).unwrap();
    assert_eq!((entry(0).size, entry(0).sha256()), (4, entry(2).sha256()));
    // What a layer above put in its place is its own.
    assert_eq!(piled(&[&bottom, &top, &[data(b"data", 0o600)]]), ["/tool.sh", "/usr/run"]);
    let nowhere = stacked(Stacking::Unpacked, &[&bottom, &[linked(b"x", b"nowhere")]]);
    assert!(text(&nowhere.unwrap_err()).contains("the hard link /x is to /nowhere"));
    // Beside them, as for an overlay, containerd finds none.
    let beside = stacked(Stacking::Overlaid, &[&bottom, &[linked(b"again", b"tool.sh")]]);
    assert!(text(&beside.unwrap_err()).contains("the hard link /again"));
}

#[test]
fn a_whiteout_removes_and_what_stands_there_after_it_stays() {
    let bottom = [file(b"d/a.sh"), file(b"d/b.sh"), file(b"x.sh")];
    let top = [file(b"x.sh"), file(b".wh.x.sh"), file(b".wh.d"), file(b"d/c.sh")];
    assert_eq!(piled(&[&bottom, &top]), ["/d/c.sh"]);
    // Where it would have to stand beside its own file, it is refused.
    assert!(stacked(Stacking::Overlaid, &[&bottom, &top]).is_err());
    let beneath_a_file = [file(b"x.sh/y.sh")];
    let error = stacked(Stacking::Unpacked, &[&bottom, &beneath_a_file]).unwrap_err();
    assert!(text(&error).contains("/x.sh is a file, and yet has something in it"));
}
