//! Who said what a container is: nothing that an image's author writes chooses a rule that
//! loosens, and a digest is known only of the image that runs.

use std::fs;

use anyhow::{Context, Result};
use lacre_integration::cri::{self, Cri};
use lacre_integration::images::{busybox_image, pause_image};
use lacre_integration::output::{Output, wait_for};
use lacre_integration::{Containerd, Image, Layer, Runtime, Version};
use serde_json::Value;

/// Runs what did not come with the image, and prints `ran` if that was let.
const FOREIGN: &str = "cp /bin/busybox /tmp/echo; /tmp/echo ran; true";

struct Field {
    daemon: Containerd,
    policy: tempfile::TempPath,
}

impl Field {
    fn new(version: Version, settings: &str, cri: bool) -> Result<Self> {
        let policy = tempfile::NamedTempFile::new()?.into_temp_path();
        let settings = format!("{settings}policy: {}\n", policy.display());
        let mut builder = Containerd::builder(version).lacre(&settings);
        if cri {
            builder = builder.cri();
        }
        Ok(Self { daemon: builder.start()?, policy })
    }

    fn policy(&self, rules: &str) -> Result<()> {
        let text = format!(
            "Actions:\n  ENTRY_NOT_FOUND:\n{rules}    Default: DENY\n  NO_WHITELIST: {{Default: SKIP}}\n"
        );
        Ok(fs::write(&self.policy, text)?)
    }

    /// Imports it: what its documents are called.
    fn import(&self, image: &Image) -> Result<lacre_integration::image::Written> {
        let file = tempfile::NamedTempFile::new()?;
        let written = image.write(file.path())?;
        self.daemon.import(image)?;
        Ok(written)
    }

    /// Whether a foreign program runs in a new container.
    fn runs(&self, options: &[&str], image: &Image, id: &str) -> Result<bool> {
        let options = [&["--rm"], options].concat();
        let arguments = ["sh", "-c", FOREIGN];
        let mut run = self.daemon.run_command(Runtime::Lacre, &options, image, id, &arguments);
        let output = Output::of(&mut run)?;
        anyhow::ensure!(output.code == 0, "{id}: {output:?}");
        Ok(output.stdout.contains("ran"))
    }

    /// Makes a container without starting it.
    fn create(&self, image: &Image, id: &str) -> Result<()> {
        let create = ["containers", "create", "--runtime", Runtime::Lacre.name(), image.name(), id];
        // Without a flag: ctr of 1.6 takes `-c` for its own.
        self.daemon.ctr(&[&create[..], &["/etc/foreign"]].concat())?.ok().map(drop)
    }

    /// Starts one that was made, and whether a foreign program ran in it.
    fn started_runs(&self, id: &str) -> Result<bool> {
        let output = self.daemon.ctr(&["tasks", "start", id])?;
        anyhow::ensure!(output.code == 0, "{id}: {output:?}");
        self.daemon.ctr(&["containers", "delete", id])?.ok()?;
        Ok(output.stdout.contains("ran"))
    }

    /// The last record of a container.
    fn record(&self, id: &str) -> Result<Value> {
        let found =
            wait_for(format!("a record of {id}"), std::time::Duration::from_secs(20), || {
                Ok(self
                    .daemon
                    .violations()?
                    .into_iter()
                    .rfind(|record| record["containerID"] == id))
            });
        found.with_context(|| self.daemon.log())
    }
}

/// A layer with a shell and what [`FOREIGN`] takes.
fn busybox() -> Result<Layer> {
    let program = lacre_integration::paths::cached("tools/bin/busybox")?;
    let layer = Layer::new().copy("bin/busybox", 0o755, program).dir("tmp", 0o1777);
    let links = ["sh", "cp", "true"].map(|name| format!("bin/{name}"));
    Ok(links.iter().fold(layer, |layer, link| layer.symlink(link, "busybox")))
}

fn image(name: &str) -> Result<Image> {
    Ok(busybox_image()?.named(format!("lacre.test/{name}:1")))
}

/// What an image's author writes satisfies no rule: by label, annotation, in the manifest, in
/// the index, in CRI's own words, or as what Docker writes.
fn an_author_chooses_no_rule(version: Version) -> Result<()> {
    let field = Field::new(version, "mode: enforce\n", false)?;
    field.policy(
        "    ByLabel: [team=ops: SKIP, io.kubernetes.pod.namespace=kube-system: SKIP]\n\
         \x20   ByAnnotation: [team=ops: SKIP]\n\
         \x20   ByNamespace: [kube-system: SKIP]\n",
    )?;
    let hostile = [
        image("label")?.label("team", "ops"),
        image("pod")?
            .label("io.kubernetes.pod.namespace", "kube-system")
            .label("io.kubernetes.cri.sandbox-namespace", "kube-system")
            .label("io.cri-containerd.kind", "container"),
        image("docker")?.label("com.docker/engine.bundle.path", "/x").label("team", "ops"),
        image("manifest")?.annotation("team", "ops"),
        image("index")?.in_index("team", "ops"),
    ];
    for image in hostile {
        field.import(&image)?;
        let id = image.name().rsplit('/').next().unwrap_or_default().replace(':', "-");
        assert!(!field.runs(&[], &image, &id)?, "{}", image.name());
    }
    // A user's word is the user's, unless it can't be told from the author's.
    let plain = image("plain")?;
    field.import(&plain)?;
    assert!(!field.runs(&[], &plain, "none")?);
    assert!(field.runs(&["--label", "team=ops"], &plain, "users")?);
    assert!(field.runs(&["--annotation", "team=ops"], &plain, "annotated")?);
    let other = image("other")?.label("team", "dev");
    field.import(&other)?;
    assert!(field.runs(&["--label", "team=ops"], &other, "overruled")?);
    let same = image("same")?.label("team", "ops");
    field.import(&same)?;
    assert!(!field.runs(&["--label", "team=ops"], &same, "both")?);
    // CRI's annotations say nothing outside CRI's namespace.
    let pod = [
        "--annotation",
        "io.kubernetes.cri.sandbox-namespace=kube-system",
        "--annotation",
        "io.kubernetes.cri.sandbox-id=s",
    ];
    assert!(!field.runs(&pod, &plain, "claims")?);
    Ok(())
}

/// An author who writes what containerd reads otherwise than lacre chooses no rule by it: names
/// in another case, names that come twice; two images of the same layers in one index, of which
/// containerd takes another than the first.
fn an_author_of_two_minds_chooses_no_rule(version: Version) -> Result<()> {
    let field = Field::new(version, "mode: enforce\n", false)?;
    let ops = |name: &str| Ok::<_, anyhow::Error>(image(name)?.label("team", "ops"));
    let labels = r#""Labels":{"team":"ops"}"#;
    let arm = serde_json::json!({"os": "linux", "architecture": "arm64"});
    let i386 = serde_json::json!({"os": "linux", "architecture": "386"});
    let shouting = serde_json::json!({"os": "LINUX", "architecture": "x86_64"});
    let config = |name: &str, architecture: &str| {
        let to = format!(r#""architecture":"{architecture}""#);
        Ok::<_, anyhow::Error>(image(name)?.edit_config(r#""architecture":"amd64""#, &to))
    };
    let hostile = [
        ops("lower")?.edit_config(labels, r#""labels":{"team":"ops"}"#),
        ops("upper")?.edit_config(labels, r#""LABELS":{"team":"ops"}"#),
        ops("long-s")?.edit_config(labels, "\"Label\u{17f}\":{\"team\":\"ops\"}"),
        ops("twice")?.edit_config(r#""config":{"#, r#""Config":{},"config":{"#),
        ops("merged")?.edit_config(labels, r#""Labels":{"team":"ops"},"Labels":{"a":"b"}"#),
        ops("second")?.after(Some(arm), image("x")?),
        ops("narrow")?.after(Some(i386), config("x", "386")?),
        ops("undeclared")?.after(None, config("x", "arm64")?),
        ops("declared")?.after(None, config("x", "riscv64")?.label("team", "dev")),
        image("loud")?.after(Some(shouting.clone()), ops("x")?),
    ];
    field.policy("    ByLabel: [team=ops: SKIP]\n")?;
    let mut chose = Vec::new();
    for image in &hostile {
        field.import(image)?;
        let id = image.name().rsplit('/').next().unwrap_or_default().replace(':', "-");
        if field.runs(&[], image, &id)? {
            chose.push(id);
        }
    }
    assert!(chose.is_empty(), "{chose:?} chose their rule");
    // Nor does he borrow the digests of an image that is trusted.
    let trusted = image("trusted")?;
    let written = field.import(&trusted)?;
    let [manifest, config] = [&written.manifest, &written.config];
    field.policy(&format!(
        "    ByContainerImageDigest: [\"{manifest}\": SKIP, \"{config}\": SKIP]\n"
    ))?;
    assert!(field.runs(&[], &trusted, "trusted")?);
    let borrows = trusted.named("lacre.test/borrows:1").after(Some(shouting), ops("x")?);
    field.import(&borrows)?;
    assert!(!field.runs(&[], &borrows, "borrows")?);
    let record = field.record("borrows")?;
    let why = record["unknown"].as_str().unwrap_or_default();
    assert!(why.contains("several images of the container's layers"), "{record}");
    Ok(())
}

/// A digest is that of the image that runs, whatever the name means by now.
fn a_digest_is_of_what_runs(version: Version) -> Result<()> {
    let field = Field::new(version, "mode: enforce\n", false)?;
    let script = || Layer::new().file("etc/foreign", 0o755, format!("#!/bin/sh\n{FOREIGN}\n"));
    let good = image("good")?.layer(script()).in_index("a", "b");
    let written = field.import(&good)?;
    for digest in [&written.digest, &written.manifest, &written.config] {
        field.policy(&format!("    ByContainerImageDigest: [\"{digest}\": SKIP]\n"))?;
        assert!(field.runs(&[], &good, "good")?, "{digest}");
    }
    let digests = [&written.digest, &written.manifest, &written.config];
    let rules = digests.map(|digest| format!("      - \"{digest}\": SKIP\n")).concat();
    field
        .policy(&format!("    ByContainerImageDigest:\n{rules}    ByLabel: [team=ops: SKIP]\n"))?;

    // By a name with the digest in it.
    let pinned = good.clone().named(format!("lacre.test/good@{}", written.digest));
    field.daemon.ctr(&["images", "tag", good.name(), pinned.name()])?.ok()?;
    assert!(field.runs(&[], &pinned, "pinned")?);

    let retag = |of: &Image, to: &Image| {
        field.daemon.ctr(&["images", "tag", "--force", to.name(), of.name()])?.ok().map(drop)
    };
    // Other layers; the good one's and one more; the same layers, another configuration.
    let layer = || Layer::new().file("etc/evil", 0o644, "evil\n");
    let evil = [
        Image::new("lacre.test/evil:1").layer(layer()).layer(busybox()?).layer(script()),
        image("on-top")?.layer(script()).layer(layer()),
        image("config")?.layer(script()).label("team", "ops"),
    ];
    for (at, evil) in evil.iter().enumerate() {
        field.import(evil)?;
        let id = format!("retagged-{at}");
        field.create(evil, &id)?;
        retag(evil, &good)?;
        assert!(!field.started_runs(&id)?, "{}", evil.name());
        let record = field.record(&id)?;
        assert_eq!(record["imageID"], "", "{record}");
        let why = record["unknown"].as_str().unwrap_or_default();
        assert!(why.contains("after the container was created"), "{record}");
    }
    // A name that is gone.
    let gone = image("gone")?.layer(script());
    field.daemon.ctr(&["images", "tag", good.name(), gone.name()])?.ok()?;
    field.create(&gone, "untagged")?;
    field.daemon.ctr(&["images", "delete", gone.name()])?.ok()?;
    assert!(!field.started_runs("untagged")?);
    assert!(field.record("untagged")?["unknown"].is_string());
    Ok(())
}

/// A pod is what CRI says of it, and an image's author can't.
fn a_pod_is_what_cri_says(version: Version) -> Result<()> {
    let field = Field::new(version, "mode: audit\n", true)?;
    field.policy(
        "    ByContainerImageName: [\"lacre.test/asked:1\": STOP]\n\
         \x20   ByLabel: [team=ops: SKIP, app=web: PAUSE]\n\
         \x20   ByAnnotation: [example.com/tier=db: ISOLATE]\n\
         \x20   ByNamespace: [kube-system: SKIP, tests: KILL]\n",
    )?;
    let hostile = image("hostile")?
        .label("team", "ops")
        .label("app", "web")
        .label("io.kubernetes.pod.namespace", "kube-system")
        .label("io.kubernetes.cri.sandbox-namespace", "kube-system");
    let file = tempfile::NamedTempFile::new()?;
    let written = hostile.write(file.path())?;
    field.daemon.import_in(cri::NAMESPACE, &pause_image()?)?;
    field.daemon.import_in(cri::NAMESPACE, &hostile)?;
    // Of an image with two names, the one that the pod asked for.
    let asked = hostile.clone().named("lacre.test/asked:1");
    field.daemon.ctr_in(cri::NAMESPACE, &["images", "tag", hostile.name(), asked.name()])?.ok()?;
    let mut cri = Cri::connect(&field.daemon.socket(), field.daemon.node().tag())?;
    let by_namespace = "ByNamespace[\"tests\"]";
    for (name, labels, annotations, image, rule) in [
        ("plain", &[][..], &[][..], &hostile, by_namespace),
        ("labelled", &[("app", "web")][..], &[][..], &hostile, "ByLabel[\"app=web\"]"),
        (
            "annotated",
            &[][..],
            &[("example.com/tier", "db")][..],
            &hostile,
            "ByAnnotation[\"example.com/tier=db\"]",
        ),
        ("named", &[][..], &[][..], &asked, "ByContainerImageName[\"lacre.test/asked:1\"]"),
    ] {
        let pod = cri.run_pod_labelled(Runtime::Lacre, name, labels, annotations)?;
        let id =
            cri.create(&pod, "app", image, &["sh", "-c", &format!("{FOREIGN}; sleep 1000")])?;
        cri.start(&id)?;
        let record = field.record(&id)?;
        let text = record["rule"].as_str().unwrap_or_default();
        assert!(text.starts_with(&format!("Actions.ENTRY_NOT_FOUND.{rule}")), "{record}");
        assert_eq!(record["podName"], name, "{record}");
        assert_eq!(record["podNamespace"], "tests", "{record}");
        assert_eq!(record["containerName"], "app", "{record}");
        assert_eq!(record["pod"], pod.id.as_str(), "{record}");
        assert_eq!(record["imageID"], written.digest.as_str(), "{record}");
        assert_eq!(record["imageName"], image.name(), "{record}");
        assert!(record["unknown"].is_null(), "{record}");
        cri.remove_pod(&pod)?;
    }
    // In the same namespace, and no pod: the author's words are no better there.
    let run = ["run", "--rm", "--runtime", Runtime::Lacre.name(), hostile.name(), "no-pod"];
    field.daemon.ctr_in(cri::NAMESPACE, &[&run[..], &["sh", "-c", FOREIGN]].concat())?.ok()?;
    let record = field.record("no-pod")?;
    let text = record["rule"].as_str().unwrap_or_default();
    assert!(text.starts_with("Actions.ENTRY_NOT_FOUND.Default"), "{record}");
    assert!(record["podNamespace"].is_null(), "{record}");
    Ok(())
}

#[test]
fn an_author_chooses_no_rule_under_1_6() -> Result<()> {
    an_author_chooses_no_rule(Version::V1_6)
}

#[test]
fn an_author_chooses_no_rule_under_1_7() -> Result<()> {
    an_author_chooses_no_rule(Version::V1_7)
}

#[test]
fn an_author_chooses_no_rule_under_2_1() -> Result<()> {
    an_author_chooses_no_rule(Version::V2_1)
}

#[test]
fn an_author_of_two_minds_chooses_no_rule_under_1_6() -> Result<()> {
    an_author_of_two_minds_chooses_no_rule(Version::V1_6)
}

#[test]
fn an_author_of_two_minds_chooses_no_rule_under_2_1() -> Result<()> {
    an_author_of_two_minds_chooses_no_rule(Version::V2_1)
}

#[test]
fn a_digest_is_of_what_runs_under_1_6() -> Result<()> {
    a_digest_is_of_what_runs(Version::V1_6)
}

#[test]
fn a_digest_is_of_what_runs_under_1_7() -> Result<()> {
    a_digest_is_of_what_runs(Version::V1_7)
}

#[test]
fn a_digest_is_of_what_runs_under_2_1() -> Result<()> {
    a_digest_is_of_what_runs(Version::V2_1)
}

#[test]
fn a_pod_is_what_cri_says_under_1_6() -> Result<()> {
    a_pod_is_what_cri_says(Version::V1_6)
}

#[test]
fn a_pod_is_what_cri_says_under_1_7() -> Result<()> {
    a_pod_is_what_cri_says(Version::V1_7)
}

#[test]
fn a_pod_is_what_cri_says_under_2_1() -> Result<()> {
    a_pod_is_what_cri_says(Version::V2_1)
}
