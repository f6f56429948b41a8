//! OCI images made by hand: the same layers give the same bytes.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

pub use crate::layer::Layer;
use crate::paths;

/// An image: a name, layers, and what to run.
#[derive(Debug, Clone)]
pub struct Image {
    name: String,
    layers: Vec<Layer>,
    entrypoint: Vec<String>,
    gzip: bool,
    labels: Map<String, Value>,
    annotations: Map<String, Value>,
    /// The annotations of the index above, if there is one.
    index: Option<Map<String, Value>>,
    /// What stands before it in the index: as whose platform's, and its configuration.
    before: Vec<(Option<Value>, Image)>,
    /// A text of the configuration, and what stands there instead.
    edited: Option<(String, String)>,
}

impl Image {
    /// An image with no layer yet, under its full name (`lacre.test/busybox:1`).
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            layers: Vec::new(),
            entrypoint: Vec::new(),
            gzip: true,
            labels: Map::new(),
            annotations: Map::new(),
            index: None,
            before: Vec::new(),
            edited: None,
        }
    }

    /// The full name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same image under another name.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Puts a layer on top.
    #[must_use]
    pub fn layer(mut self, layer: Layer) -> Self {
        self.layers.push(layer);
        self
    }

    /// Says what to run by default.
    #[must_use]
    pub fn entrypoint(mut self, arguments: &[&str]) -> Self {
        self.entrypoint = arguments.iter().map(ToString::to_string).collect();
        self
    }

    /// Writes a label into the configuration.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Writes an annotation into the manifest.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.into(), value.into());
        self
    }

    /// Puts an index above the manifest, with an image for another platform beside it, and
    /// writes an annotation into it and into its entry.
    #[must_use]
    pub fn in_index(mut self, key: &str, value: &str) -> Self {
        self.index.get_or_insert_default().insert(key.into(), value.into());
        self
    }

    /// Puts an index above the manifest, and in it before that another with these very layers
    /// and the configuration of `other`, as for `platform` (none: the index does not say).
    #[must_use]
    pub fn after(mut self, platform: Option<Value>, other: Self) -> Self {
        self.before.push((platform, other));
        self
    }

    /// Has another text in the configuration, as no client would write it.
    #[must_use]
    pub fn edit_config(mut self, text: &str, instead: &str) -> Self {
        self.edited = Some((text.to_owned(), instead.to_owned()));
        self
    }

    /// Leaves the layers uncompressed.
    #[must_use]
    pub fn plain(mut self) -> Self {
        self.gzip = false;
        self
    }

    /// The lowest layer as an uncompressed tar.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn lowest_tar(&self) -> Result<Vec<u8>> {
        self.layers.first().map_or_else(|| Layer::new().tar(), Layer::tar)
    }

    /// Writes the image as a tar that is both an OCI layout and a docker archive.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn write(&self, to: &Path) -> Result<Written> {
        let file = fs::File::create(to).with_context(|| format!("creating {}", to.display()))?;
        let mut out = Builder::new(std::io::BufWriter::new(file));
        let mut layers = Vec::new();
        let mut diff_ids = Vec::new();
        for layer in &self.layers {
            let tar = layer.tar()?;
            let diff_id = hex(&tar);
            let blob = if self.gzip { gzip(&tar, &diff_id)? } else { tar };
            diff_ids.push(format!("sha256:{diff_id}"));
            layers.push(blob_of(&mut out, &blob, self.layer_type())?);
        }
        let (config, manifest) = self.documents(&mut out, "amd64", &diff_ids, &layers)?;
        let mut target = manifest.clone();
        if let Some(annotations) = &self.index {
            let (_, mut other) = self.documents(&mut out, "arm64", &diff_ids, &layers)?;
            let mut own = manifest.clone();
            own["platform"] = json!({"os": "linux", "architecture": "amd64"});
            own["annotations"] = annotations.clone().into();
            other["platform"] = json!({"os": "linux", "architecture": "arm64"});
            target = index_of(&mut out, &[other, own], annotations)?;
        }
        if !self.before.is_empty() {
            let mut entries = Vec::new();
            for (platform, other) in &self.before {
                let (_, mut entry) = other.documents(&mut out, "amd64", &diff_ids, &layers)?;
                entry["platform"] = platform.clone().unwrap_or_default();
                entries.push(entry);
            }
            let mut own = manifest.clone();
            own["platform"] = json!({"os": "linux", "architecture": "amd64"});
            entries.push(own);
            target = index_of(&mut out, &entries, &Map::new())?;
        }
        let digest_of = |of: &Value| of["digest"].as_str().unwrap_or_default().to_owned();
        let written = Written {
            digest: digest_of(&target),
            manifest: digest_of(&manifest),
            config: digest_of(&config),
            diff_ids,
        };
        target["annotations"] = json!({
            "io.containerd.image.name": self.name,
            "org.opencontainers.image.ref.name": self.name.rsplit(':').next(),
        });
        let index = json!({"schemaVersion": 2, "manifests": [target]});
        let docker = json!([{
            "Config": path_of(&config),
            "RepoTags": [self.name],
            "Layers": layers.iter().map(path_of).collect::<Vec<_>>(),
        }]);
        put(&mut out, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        put(&mut out, "index.json", &serde_json::to_vec(&index)?)?;
        put(&mut out, "manifest.json", &serde_json::to_vec(&docker)?)?;
        out.into_inner()?.flush()?;
        Ok(written)
    }

    /// The descriptors of configuration and manifest for an architecture.
    fn documents(
        &self,
        out: &mut Builder<impl Write>,
        architecture: &str,
        diff_ids: &[String],
        layers: &[Value],
    ) -> Result<(Value, Value)> {
        let mut config = json!({
            "architecture": architecture,
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {"Entrypoint": self.entrypoint, "Env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        if !self.labels.is_empty() {
            config["config"]["Labels"] = self.labels.clone().into();
        }
        let kind = "application/vnd.oci.image.config.v1+json";
        let mut config = serde_json::to_string(&config)?;
        if let Some((text, instead)) = &self.edited {
            anyhow::ensure!(config.contains(text), "{text} is not in {config}");
            config = config.replace(text, instead);
        }
        let config = blob_of(out, config.as_bytes(), kind)?;
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers,
        });
        if !self.annotations.is_empty() {
            manifest["annotations"] = self.annotations.clone().into();
        }
        let manifest = blob_of(out, &serde_json::to_vec(&manifest)?, kind)?;
        Ok((config, manifest))
    }

    fn layer_type(&self) -> &'static str {
        if self.gzip {
            "application/vnd.oci.image.layer.v1.tar+gzip"
        } else {
            "application/vnd.oci.image.layer.v1.tar"
        }
    }
}

/// The identity of an image that was written.
#[derive(Debug, Clone)]
pub struct Written {
    /// The digest of what the name stands for: the index, if there is one, else the manifest.
    pub digest: String,
    /// The manifest's digest, `sha256:…`.
    pub manifest: String,
    /// The configuration's digest.
    pub config: String,
    /// The digests of the uncompressed layers, lowest first.
    pub diff_ids: Vec<String>,
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn put(out: &mut Builder<impl Write>, path: &str, bytes: &[u8]) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_size(bytes.len() as u64);
    Ok(out.append_data(&mut header, path, bytes)?)
}

fn blob_of(out: &mut Builder<impl Write>, bytes: &[u8], kind: &str) -> Result<Value> {
    let digest = hex(bytes);
    put(out, &format!("blobs/sha256/{digest}"), bytes)?;
    Ok(json!({"mediaType": kind, "digest": format!("sha256:{digest}"), "size": bytes.len()}))
}

fn index_of(
    out: &mut Builder<impl Write>,
    entries: &[Value],
    annotations: &Map<String, Value>,
) -> Result<Value> {
    let kind = "application/vnd.oci.image.index.v1+json";
    let index = json!({
        "schemaVersion": 2, "mediaType": kind, "manifests": entries, "annotations": annotations,
    });
    blob_of(out, &serde_json::to_vec(&index)?, kind)
}

fn path_of(descriptor: &Value) -> String {
    format!("blobs/{}", descriptor["digest"].as_str().unwrap_or_default().replace(':', "/"))
}

/// Compresses once per content: the cache holds the result under the layer's diff ID.
fn gzip(tar: &[u8], diff_id: &str) -> Result<Vec<u8>> {
    let folder = paths::cache().join("layers");
    let cached = folder.join(diff_id);
    if let Ok(bytes) = fs::read(&cached) {
        return Ok(bytes);
    }
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::fast());
    encoder.write_all(tar)?;
    let bytes = encoder.finish()?;
    fs::create_dir_all(&folder)?;
    let mut part = tempfile::NamedTempFile::new_in(&folder)?;
    part.write_all(&bytes)?;
    part.persist(&cached)?;
    Ok(bytes)
}
