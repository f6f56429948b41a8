//! A policy server over TLS, and certificates that are of use or not.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};
use lacre_integration::output::wait_for;
use lacre_integration::paths::binaries;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};

use crate::lacking::{Bare, PolicyServer};

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Ca {
    fn new() -> Result<Self> {
        let mut params = CertificateParams::new([])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// A certificate that ends in so many days and a half, and its key.
    fn issue(&self, folder: &Path, name: &str, of: SanType, days: i64) -> Result<[PathBuf; 2]> {
        let mut params = CertificateParams::new([])?;
        params.subject_alt_names.push(of);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        let day = |days: i64| {
            let seconds = now.saturating_add_signed(days * 86_400 + 43_200);
            rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
        };
        (params.not_before, params.not_after) = (day(days.min(0) - 10), day(days));
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let pem = params.signed_by(&key, &self.issuer)?.pem();
        let [cert, secret] = ["pem", "key"].map(|kind| folder.join(name).with_extension(kind));
        fs::write(&cert, pem)?;
        fs::write(&secret, key.serialize_pem())?;
        Ok([cert, secret])
    }
}

#[test]
fn certificates_are_looked_at_and_used() -> Result<()> {
    let bare = Bare::new("")?;
    let folder = bare.node.folder();
    let (ca, other) = (Ca::new()?, Ca::new()?);
    let [ours, theirs] = [("ca", &ca), ("other-ca", &other)].map(|(name, ca)| {
        let path = folder.join(name).with_extension("pem");
        fs::write(&path, &ca.pem).map(|()| path)
    });
    let (ours, theirs) = (ours?, theirs?);
    let policy = folder.join("policy.yaml");
    fs::write(&policy, "Actions: {}\n")?;
    let [cert, key] = ca.issue(folder, "server", SanType::IpAddress([127, 0, 0, 1].into()), 300)?;
    let name = SanType::URI("spiffe://example.org/node/one".try_into()?);
    let node = |days| ca.issue(folder, &format!("node{days}"), name.clone(), days);
    let (good, old, soon) = (node(300)?, node(-3)?, node(3)?);

    let address = "tls://127.0.0.1:50051";
    let mut server = bare.node.command(binaries().join("lacre-policyd"));
    server.arg("--policy").arg(&policy).arg("--listen").arg(address);
    server.arg("--cert").arg(&cert).arg("--key").arg(&key).arg("--client-ca").arg(&ours);
    server.arg("--state").arg(folder.join("policyd")).stdout(Stdio::null()).stderr(Stdio::null());
    let _server = PolicyServer(server.spawn()?);
    let ask = |ca: &Path, [cert, key]: &[PathBuf; 2]| {
        let tls =
            format!("{{ca: {}, cert: {}, key: {}}}", ca.display(), cert.display(), key.display());
        let policy = policy.display();
        fs::write(&bare.config, format!("server: {address}\npolicy: {policy}\ntls: {tls}\n"))?;
        bare.by(&[])
    };
    let answers = format!("{address} answers: policy sha256:");
    let unreached = format!("{address} can't be reached: ");
    let whole = wait_for("the server", Duration::from_secs(30), || {
        let said = ask(&ours, &good)?;
        Ok(said.states(&answers).contains(&"ok").then_some(said))
    })?;
    whole.has("ok", "this node's certificate")?;
    whole.has("ok", "holds for 300 days more")?;

    ask(&ours, &soon)?.has("warning", "ends in 3 days")?;
    ask(&ours, &soon)?.has("ok", &answers)?;
    let ended = ask(&ours, &old)?;
    ended.has("fault", "ended 2 days ago")?;
    ended.has("fault", &unreached)?;
    ask(&theirs, &good)?.has("fault", &unreached)?;
    let swapped = [good[0].clone(), soon[1].clone()];
    ask(&ours, &swapped)?.has("fault", "the certificates can't be used: ")?;
    let gone = ask(Path::new("/nonexistent/ca.pem"), &good)?;
    gone.has("fault", "/nonexistent/ca.pem")?;

    fs::set_permissions(&good[1], fs::Permissions::from_mode(0o644))?;
    ask(&ours, &good)?.has("warning", "others than its owner may read the key")?;
    fs::set_permissions(&good[1], fs::Permissions::from_mode(0o600))?;
    ensure!(ask(&ours, &good)?.states("others than its owner").is_empty());
    Ok(())
}
