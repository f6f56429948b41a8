//! Docker's containers are known by name, digest and label, whichever store dockerd has.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use lacre_integration::images::busybox_image;
use lacre_integration::output::wait_for;
use lacre_integration::{Containerd, Dockerd, Image, Runtime, Version};
use serde_json::Value;

const CONTAINERD_STORE: [&str; 2] = ["--feature", "containerd-snapshotter=true"];

struct Field {
    docker: Dockerd,
    policy: tempfile::TempPath,
}

impl Field {
    fn new(start: impl FnOnce(Containerd) -> Result<Dockerd>) -> Result<Self> {
        let policy = tempfile::NamedTempFile::new()?.into_temp_path();
        let settings = format!("mode: audit\npolicy: {}\n", policy.display());
        let containerd = Containerd::builder(Version::V2_1).lacre(&settings).start()?;
        Ok(Self { docker: start(containerd)?, policy })
    }

    /// The policy of the containers that start from now on: a rule, and another for the rest.
    fn policy(&self, list: &str, key: &str) -> Result<()> {
        let text = format!(
            "Actions: {{ENTRY_NOT_FOUND: {{{list}: [\"{key}\": STOP], Default: KILL}}, \
             NO_WHITELIST: {{Default: SKIP}}}}\n"
        );
        Ok(fs::write(&self.policy, text)?)
    }

    fn inspect(&self, what: &str, format: &str) -> Result<String> {
        Ok(self.docker.docker(&["inspect", "--format", format, what])?.ok()?.trim().to_owned())
    }

    fn run(&self, name: &str, options: &[&str], image: &Image) -> Result<()> {
        let all = [&["--detach", "--network", "none", "--name", name], options].concat();
        self.docker.run(Runtime::Lacre, &all, image, &["sleep", "1000"])?.ok().map(drop)
    }

    fn records(&self, id: &str) -> Result<Vec<Value>> {
        let all = self.docker.containerd().violations()?.into_iter();
        Ok(all.filter(|line| line["containerID"] == id).collect())
    }

    /// The record of a foreign program that is run in it now.
    fn violate(&self, name: &str) -> Result<Value> {
        let id = self.inspect(name, "{{.Id}}")?;
        let before = self.records(&id)?.len();
        // Another one each time: an equal one would be counted with the first.
        let foreign =
            format!("mkdir /tmp/{before}; cp /bin/busybox /tmp/{before}/true; /tmp/{before}/true");
        self.docker.docker(&["exec", name, "sh", "-c", &foreign])?.ok()?;
        let found = wait_for(format!("a record of {name}"), Duration::from_secs(20), || {
            Ok(self.records(&id)?.into_iter().nth(before))
        });
        found.with_context(|| self.docker.containerd().log())
    }

    fn matches(&self, name: &str, rule: &str) -> Result<Value> {
        let record = self.violate(name)?;
        let text = record["rule"].as_str().unwrap_or_default();
        assert!(text.contains(rule), "{name}: {rule} in {record}");
        assert_eq!(record["containerName"], name, "{record}");
        Ok(record)
    }

    /// The rule holds for a new container, through restart and update.
    fn holds(&self, name: &str, list: &str, key: &str, image: &Image) -> Result<()> {
        self.policy(list, key)?;
        self.run(name, &["--label", "tier=db"], image)?;
        let record = self.matches(name, list)?;
        assert!(record["unknown"].is_null(), "{record}");
        assert_eq!(record["imageName"], image.name(), "{record}");
        self.docker.docker(&["restart", "--time", "0", name])?.ok()?;
        self.matches(name, list)?;
        self.docker.docker(&["update", "--cpu-shares", "512", name])?.ok()?;
        self.matches(name, list)?;
        self.docker.docker(&["rm", "-f", name])?.ok().map(drop)
    }
}

fn rules_match(field: &Field) -> Result<()> {
    let image = busybox_image()?.label("team", "ops");
    field.docker.load(&image)?;
    let id = field.inspect(image.name(), "{{.Id}}")?;
    field.holds("by-name", "ByContainerImageName", image.name(), &image)?;
    field.holds("by-digest", "ByContainerImageDigest", &id, &image)?;
    field.holds("by-label", "ByLabel", "tier=db", &image)?;

    // The image's own label is its author's, and stays so through a commit.
    field.policy("ByLabel", "team=ops")?;
    field.run("authors", &["--label", "tier=db"], &image)?;
    field.docker.docker(&["commit", "authors", "lacre.test/committed:1"])?.ok()?;
    field.matches("authors", "Default")?;
    let committed = image.clone().named("lacre.test/committed:1");
    field.policy("ByLabel", "tier=db")?;
    field.run("inherits", &[], &committed)?;
    field.matches("inherits", "Default")?;
    let id = field.inspect(committed.name(), "{{.Id}}")?;
    field.holds("committed-digest", "ByContainerImageDigest", &id, &committed)?;
    field.holds("committed-name", "ByContainerImageName", committed.name(), &committed)?;

    // The name goes to another image; the container is still what it was made from.
    let id = field.inspect(image.name(), "{{.Id}}")?;
    field.policy("ByContainerImageDigest", &id)?;
    field.run("moved", &[], &image)?;
    field.docker.docker(&["tag", committed.name(), image.name()])?.ok()?;
    field.docker.docker(&["restart", "--time", "0", "moved"])?.ok()?;
    field.matches("moved", "ByContainerImageDigest")?;
    Ok(())
}

#[test]
fn rules_match_with_overlay2() -> Result<()> {
    rules_match(&Field::new(|containerd| Dockerd::start_over(containerd, &[]))?)
}

#[test]
fn rules_match_with_containerds_store() -> Result<()> {
    rules_match(&Field::new(|containerd| Dockerd::start_over(containerd, &CONTAINERD_STORE))?)
}

#[test]
fn rules_match_with_remapped_users() -> Result<()> {
    rules_match(&Field::new(|containerd| {
        // In the daemons' own mount namespace.
        let folder = containerd.node().folder().to_owned();
        for file in ["subuid", "subgid"] {
            let own = folder.join(file);
            fs::write(&own, "nobody:100000:65536\nnogroup:100000:65536\n")?;
            let mut mount = containerd.command("mount");
            mount.arg("--bind").arg(&own).arg(format!("/etc/{file}"));
            lacre_integration::output::Output::of(&mut mount)?.ok()?;
        }
        Dockerd::start_over(containerd, &["--userns-remap", "nobody:nogroup"])
    })?)
}

/// Where dockerd's files can't be read its socket is asked, and where that can't be either,
/// the record says so.
#[test]
fn a_store_that_cannot_be_read() -> Result<()> {
    let field = Field::new(|containerd| Dockerd::start_over(containerd, &[]))?;
    let image = busybox_image()?.label("team", "ops");
    field.docker.load(&image)?;
    let folder = field.docker.containerd().node().folder().to_owned();
    let settings = folder.join("lacre/config.yaml");
    let before = fs::read_to_string(&settings)?;
    let docker = |socket: &str| fs::write(&settings, format!("{before}docker: {socket}\n"));
    let hidden = |name: &str| -> Result<()> {
        let create = ["create", "--name", name, "--runtime", Runtime::Lacre.name()];
        let rest = ["--label", "tier=db", "--network", "none", "--entrypoint", "sleep"];
        let all = [&create[..], &rest, &[image.name(), "1000"]].concat();
        let id = field.docker.docker(&all)?.ok()?.trim().to_owned();
        // dockerd has it in memory, and writes it anew when the container runs.
        fs::remove_file(folder.join("docker/data/containers").join(id).join("config.v2.json"))?;
        field.docker.docker(&["start", name])?.ok().map(drop)
    };
    let id = field.inspect(image.name(), "{{.Id}}")?;
    for (list, key) in [
        ("ByContainerImageName", image.name()),
        ("ByContainerImageDigest", id.as_str()),
        ("ByLabel", "tier=db"),
    ] {
        docker(&field.docker.socket().display().to_string())?;
        field.policy(list, key)?;
        hidden(&format!("socket-{list}"))?;
        let record = field.matches(&format!("socket-{list}"), list)?;
        assert!(record["unknown"].is_null(), "{record}");
    }
    field.policy("ByLabel", "team=ops")?;
    hidden("socket-author")?;
    field.matches("socket-author", "Default")?;

    docker("/nonexistent/docker.sock")?;
    field.policy("ByLabel", "tier=db")?;
    hidden("nothing")?;
    let record = field.violate("nothing")?;
    assert!(record["rule"].as_str().is_some_and(|rule| rule.contains(".Default")), "{record}");
    let why = record["unknown"].as_str().unwrap_or_default();
    assert!(why.contains("store") && why.contains("/nonexistent"), "{record}");
    assert_eq!((&record["imageID"], &record["imageName"]), (&"".into(), &"".into()));
    Ok(())
}
