//! The worked example of the documentation.

use super::*;

/// Writes the worked example of docs/attestation.md: a node on a simulator, two containers
/// of one image whose lists the shim keeps. `LACRE_EXAMPLE=DIR cargo test -p lacre-attest
/// --test anchor -- --ignored`.
#[test]
#[ignore = "writes files for the documentation"]
fn the_worked_example() {
    let folder = std::path::PathBuf::from(std::env::var_os("LACRE_EXAMPLE").unwrap());
    let write_file = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let files = [("bin/app", "#!/bin/sh\nexec /bin/worker\n"), ("bin/worker", "#!/bin/sh\n")];
    let sha256 = |text: &str| pcr::hash(Algorithm::Sha256, &[text.as_bytes()]);
    let mut node = Node::new();
    let tpm = node.swtpm.open();
    let (key, ek, enrolled) = enrol(&node.swtpm, &tpm, |_| ());
    let mut state = enrolled.unwrap();
    let boot = Selection::of(Algorithm::Sha256, 0..=9);
    let pcrs = tpm.read(&boot).unwrap().remove(&Algorithm::Sha256).unwrap();
    let parts: Vec<&[u8]> = pcrs.values().map(Digest::as_bytes).collect();
    node.measure_as(&tpm, "boot_aggregate", &pcr::hash(Algorithm::Sha256, &parts));
    for name in ["usr/bin/containerd", "usr/sbin/runc"] {
        write_file(&format!("host/{name}"), format!("#!{name}\n").as_bytes());
        node.measure_as(&tpm, &format!("/{name}"), &sha256(&format!("#!{name}\n")));
    }
    let tcti = node.swtpm.tcti();
    drop(tpm);
    let anchor = lacre_attest::tpm::PcrOf::new(tcti.clone(), DEADLINE);
    let anchor = Anchor::start(node.journal(), anchor).unwrap();
    let mut shims: Vec<ShimContainer> = Vec::new();
    let mut lists = Vec::new();
    for (n, id) in [(1u8, "default--web"), (2, "default--shop")] {
        let (mut list, seq) = anchor.create(id, &Secret::new([n; 32])).unwrap();
        for (name, text) in files {
            write_file(&format!("image/{name}"), text.as_bytes());
            list.push(&sha256(text), format!("/{name}").as_bytes()).unwrap();
        }
        write_file(&format!("{id}.secret"), hex(&[n; 32]).as_bytes());
        shims.push(shim(id, seq, Some("docker.io/library/demo:1")));
        lists.push(list);
    }
    assert!(anchor.wait(DEADLINE));
    let take = |state: &mut NodeState, nonce: u8, name: &str| {
        let tpm = wait_for(&tcti);
        tpm.load_ak(&key).unwrap();
        let selection = Selection::of(Algorithm::Sha256, 0..=PCR);
        let challenge = state.challenge([nonce; 32], selection, None, now(), 60);
        let evidence =
            collect(&tpm, "node-1", &key, Some(ek.clone()), &challenge, &node.places(), &shims);
        write_file(name, &evidence.unwrap().to_json());
    };
    drop(anchor);
    take(&mut state, 7, "evidence.json");
    let [root, _] = node.swtpm.authorities();
    write_file("maker.der", &root);
    let expect = format!(
        "attestationKey: {}\nmakers: [maker.der]\nanchors: {{shim: {PCR}}}\n\
         kernel:\n  bootAggregate: [\"{}\"]\n\
         host:\n  baseline: host.baseline\n  programs: [/usr/bin/containerd, /usr/sbin/runc]\n\
         waive: [boot-log, {{question: boot-aggregate, reason: a simulator has no firmware}}]\n\
         containers:\n  default--web: {{secret: default--web.secret, baseline: image.baseline}}\n\
         \x20 default--shop: {{secret: default--shop.secret, baseline: image.baseline}}\n",
        hex(&state.ak_name),
        pcr::hash(Algorithm::Sha256, &parts),
    );
    write_file("expect.yaml", expect.as_bytes());
}
