#!/usr/bin/env python3
"""Bugs put into a copy of lacre's reader of layers, one by one: each must make it differ from
what containerd told of the same layers.

layer_bugs.py FOLDER: a folder of cases that the differential test recorded
(LACRE_LAYERS_RECORD).
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORK = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "layer-bugs"

# What the bug is, the file, what stands there, and what the bug has instead.
BUGS = [
    ("checksums of signed bytes are refused", "tar/header.rs",
     "told == unsigned || told == signed", "told == unsigned"),
    ("a blank number is none", "tar/header.rs",
     "else { return Some(0) };", "else { return None };"),
    ("a prefix is left out", "tar/header.rs",
     "b\"ustar\\0\" => Format::Ustar,", "b\"ustar\\0\" => Format::V7,"),
    ("a slash makes any file a directory", "tar/header.rs",
     "            0 if slash => Self::Directory,",
     "            0 | b'0' if slash => Self::Directory,"),
    ("an empty record counts", "tar/pax.rs",
     ".map(Vec::as_slice).filter(|value| !value.is_empty())", ".map(Vec::as_slice)"),
    ("a record goes before a long name", "tar/member.rs",
     "            (long, _) => long.to_vec(),",
     "            (_, Some(value)) => value.to_vec(),\n            (long, None) => long.to_vec(),"),
    ("holes of sparse files are left out", "tar/sparse.rs",
     "None if self.at < self.size => Next::Hole(self.size - self.at),",
     "None if self.at < self.size => Next::End,"),
    ("a member's content is not padded", "tar/member.rs",
     "0 => return Ok(false),\n                len => missing -= len,",
     "0 => return Err(self.fault(\"no padding\")),\n                len => missing -= len,"),
    ("the lowest layer has whiteouts as the others", "tar/apply.rs",
     "if index == 0 { Self::Remove } else { Self::Mark }",
     "if index == usize::MAX { Self::Remove } else { Self::Mark }"),
    ("a whiteout of what is there is passed over", "tar/apply.rs",
     "                Whiteouts::Mark => own(self.tree.make(&hidden, What::Whiteout, 0)?, member),",
     "                Whiteouts::Mark => {\n"
     "                    if let Ok(inode) = self.tree.make(&hidden, What::Whiteout, 0) {\n"
     "                        own(inode, member);\n                    }\n                }"),
    ("an opaque directory keeps what is in it", "tar/apply.rs",
     "Whiteouts::Remove => self.tree.remove_beneath_but(dir, &self.unpacked)?,",
     "Whiteouts::Remove => {}"),
    ("a hard link leaves the mode as it was", "tar/apply.rs",
     "                let inode = self.tree.link(path, &member.link)?;\n"
     "                return set(inode, member);",
     "                self.tree.link(path, &member.link)?;\n                return Ok(());"),
    ("a directory need not last", "tar/apply.rs",
     "if self.tree.inode(&path).is_none() {", "if false {"),
    ("a global header is nothing", "tar/member.rs",
     "return self.member(header, &[], &[], &records).map(Some);", "drop(records.clear());"),
    ("links in a parent are not followed", "tar/tree.rs",
     "        let found = self.root_path(path)?;\n        self.make_parents",
     "        let found = path.strip_suffix(b\"/\").unwrap_or_default().to_vec();\n"
     "        self.make_parents"),
    ("a gzip has one member", "oci/packing.rs",
     "flate2::bufread::MultiGzDecoder::new(from)", "flate2::bufread::GzDecoder::new(from)"),
    ("what the layers beneath have is not asked", "tar/implied.rs",
     "        for path in &layer.implied {", "        for path in layer.implied.iter().take(0) {"),
]


def workspace():
    """A workspace of what the reader takes, and a copy of it."""
    (WORK / "baseline-gen").mkdir(parents=True, exist_ok=True)
    manifest = (ROOT / "Cargo.toml").read_text()
    members = 'members = ["types", "sys", "baseline-gen"]'
    (WORK / "Cargo.toml").write_text(re.sub(r"(?s)members = \[.*?\n\]", members, manifest, count=1))
    shutil.copy(ROOT / "Cargo.lock", WORK / "Cargo.lock")
    for name in ["types", "sys"]:
        if not (WORK / name).exists():
            (WORK / name).symlink_to(ROOT / name)
    crate = WORK / "baseline-gen"
    for name in ["src", "examples", "benches"]:
        shutil.rmtree(crate / name, ignore_errors=True)
        shutil.copytree(ROOT / "baseline-gen" / name, crate / name)
    shutil.copy(ROOT / "baseline-gen/Cargo.toml", crate / "Cargo.toml")
    return crate / "src"


def replay(folder):
    """What the copy says of the cases, and whether it read all as containerd did."""
    cargo = ["cargo", "run", "--quiet", "--offline", "-p", "lacre-baseline", "--example", "replay",
             "--", folder]
    environment = {**os.environ, "CARGO_TARGET_DIR": str(WORK / "target"),
                   "RUSTFLAGS": "-Awarnings", "CARGO_INCREMENTAL": "0"}
    done = subprocess.run(cargo, cwd=WORK, env=environment, capture_output=True, text=True)
    if done.returncode not in (0, 1) or " layers, " not in done.stdout:
        sys.exit(f"the copy is not built, or does not run:\n{done.stdout}{done.stderr}")
    return done.stdout.strip(), done.returncode == 0


def main():
    folder = str(pathlib.Path(sys.argv[1]).resolve())
    source = workspace()
    said, same = replay(folder)
    print(f"figure: without a bug: {said}", flush=True)
    if not same:
        sys.exit("the reader itself differs")
    missed = 0
    for name, file, text, instead in BUGS:
        path = source / file
        sound = path.read_text()
        if sound.count(text) != 1:
            sys.exit(f"{file} has {sound.count(text)} times, not once:\n{text}")
        path.write_text(sound.replace(text, instead))
        said, same = replay(folder)
        path.write_text(sound)
        missed += same
        print(f"figure: {name}: {'MISSED' if same else said}", flush=True)
    print(f"figure: {len(BUGS) - missed} of {len(BUGS)} bugs caught")
    sys.exit(missed > 0)


main()
