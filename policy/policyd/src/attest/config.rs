//! The file that says how nodes are attested.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lacre_attest::enrol::Admission;
use lacre_attest::expect::{ExpectError, Expected, Hex, Written as Expectations, makers};
use lacre_attest::tpm2::Selection;
use serde::Deserialize;

use crate::reloaded_file::Content;

/// What becomes of the reports of a node that is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reports {
    /// They are kept, and say so.
    #[default]
    Flag,
    /// They are refused, and wait on the node until it is trusted.
    Refuse,
}

/// The file, as it is written. Names of files are relative to its folder.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Written {
    interval: u64,
    within: u64,
    reports: Reports,
    makers: Vec<PathBuf>,
    endorsement_keys: BTreeSet<Hex>,
    /// An empty one is one: nobody stands there.
    #[serde(deserialize_with = "said")]
    inventory: Option<BTreeMap<String, Tpms>>,
    expect: Expectations,
    nodes: BTreeMap<String, Expectations>,
}

/// Which TPMs each node may have, by the names of their endorsement keys.
type Inventory = BTreeMap<String, BTreeSet<Vec<u8>>>;

/// A key without a value is one that is there: `None` is only who leaves it out.
fn said<'de, D, T>(value: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(value).map(Some)
}

/// The names of the endorsement keys that a node may have: one, or some while it is replaced.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Tpms {
    One(Hex),
    Some(BTreeSet<Hex>),
}

impl Default for Written {
    fn default() -> Self {
        Self {
            interval: 300,
            within: 60,
            reports: Reports::default(),
            makers: Vec::new(),
            endorsement_keys: BTreeSet::new(),
            inventory: None,
            expect: Expectations::default(),
            nodes: BTreeMap::new(),
        }
    }
}

/// Why the file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// What it names can't be read, or used.
    #[error("reading how nodes are attested, {}", .0.display())]
    File(PathBuf, #[source] ExpectError),
    /// It is of another form.
    #[error("{} is not as docs/attestation.md says", .0.display())]
    Form(PathBuf, #[source] serde_yaml::Error),
    /// A time is none.
    #[error("{}: `interval` and `within` are seconds, 1 to 86400", .0.display())]
    Time(PathBuf),
    /// An expectation that is the server's own to have.
    #[error(
        "{}: `{}` is not for `expect` or `nodes`: the server asks that of each node anyway",
        .0.display(),
        .1
    )]
    Asked(PathBuf, &'static str),
    /// One TPM is to be two nodes.
    #[error("{}: `inventory` has the TPM of {} for {}, too: one TPM is one node", .0.display(), .1, .2)]
    Twice(PathBuf, String, String),
    /// Nobody could be enrolled.
    #[error(
        "{}: no node could enrol: name the makers of your TPMs (`makers`), or the TPMs \
         themselves (`endorsementKeys`)",
        .0.display()
    )]
    Nobody(PathBuf),
}

/// How nodes are attested.
#[derive(Debug)]
pub struct Config {
    /// How often.
    pub interval: Duration,
    /// For how long a challenge is good.
    pub within: Duration,
    /// What becomes of the reports of a node that is not trusted.
    pub reports: Reports,
    /// Whose TPMs are taken.
    pub admission: Admission,
    /// Which TPM is whose, where that is said.
    inventory: Option<Inventory>,
    expect: Expected,
    nodes: BTreeMap<String, Expected>,
    named: BTreeMap<PathBuf, Option<Stamp>>,
}

/// What tells a file from what it was.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    size: u64,
    /// When it last changed in any way.
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let is = std::fs::metadata(path).ok()?;
        let (inode, changed) = ((is.dev(), is.ino()), (is.ctime(), is.ctime_nsec()));
        Some(Self { inode, size: is.size(), changed })
    }
}

impl Content for Config {
    const WHAT: &'static str = "expectations";
    type Error = ConfigError;

    fn parse(path: &Path, text: &[u8]) -> Result<Self, ConfigError> {
        let file = |error| ConfigError::File(path.to_owned(), error);
        let written =
            Written::parse(text).map_err(|error| ConfigError::Form(path.to_owned(), error))?;
        if [written.interval, written.within].iter().any(|time| !(1..=86_400).contains(time)) {
            return Err(ConfigError::Time(path.to_owned()));
        }
        if written.makers.is_empty() && written.endorsement_keys.is_empty() {
            return Err(ConfigError::Nobody(path.to_owned()));
        }
        // They would be read, and never asked.
        let expected = [&written.expect].into_iter().chain(written.nodes.values());
        let asked = expected.map(Expectations::of_one_quote).find(Option::is_some);
        if let Some(key) = asked.flatten() {
            return Err(ConfigError::Asked(path.to_owned(), key));
        }
        let folder = path.parent().unwrap_or(Path::new("."));
        let expected = [&written.expect].into_iter().chain(written.nodes.values());
        let named = expected.flat_map(Expectations::files);
        let named = named.chain(written.makers.iter().map(PathBuf::as_path));
        // Before they are read: what changes meanwhile has changed.
        let named = named.map(|file| folder.join(file)).map(|file| {
            let stamp = Stamp::of(&file);
            (file, stamp)
        });
        let named = named.collect();
        let keys = written.endorsement_keys.into_iter().map(|name| name.0).collect();
        let inventory = written
            .inventory
            .map(inventory)
            .transpose()
            .map_err(|(one, other)| ConfigError::Twice(path.to_owned(), one, other))?;
        let makers = makers(&written.makers, folder).map_err(file)?;
        let open = |expect| Expected::open(expect, folder).map_err(file);
        let nodes = written.nodes.into_iter().map(|(node, expect)| Ok((node, open(expect)?)));
        Ok(Self {
            interval: Duration::from_secs(written.interval),
            within: Duration::from_secs(written.within),
            reports: written.reports,
            admission: Admission { makers, keys },
            inventory,
            nodes: nodes.collect::<Result<_, _>>()?,
            expect: open(written.expect)?,
            named,
        })
    }

    fn is_current(&self) -> bool {
        self.named.iter().all(|(file, stamp)| Stamp::of(file) == *stamp)
    }
}

impl Config {
    /// What is expected of that node.
    #[must_use]
    pub fn expected(&self, principal: &str) -> &Expected {
        self.nodes.get(principal).unwrap_or(&self.expect)
    }

    /// Whether a node may have the TPM whose endorsement key has that name. Where there is an
    /// inventory, it may have the one that stands there, and who does not stand there none.
    #[must_use]
    pub fn may_have(&self, principal: &str, ek_name: &[u8]) -> bool {
        let Some(inventory) = &self.inventory else { return true };
        inventory.get(principal).is_some_and(|tpms| tpms.contains(ek_name))
    }

    /// What a quote of that node must be over.
    #[must_use]
    pub fn selection(&self, principal: &str) -> Selection {
        self.expected(principal).selection()
    }
}

/// Whose TPMs are whose; the two nodes of one that is there twice.
fn inventory(written: BTreeMap<String, Tpms>) -> Result<Inventory, (String, String)> {
    let mut owners: BTreeMap<Vec<u8>, String> = BTreeMap::new();
    let mut inventory = BTreeMap::new();
    for (principal, tpms) in written {
        let tpms: Vec<Vec<u8>> = match tpms {
            Tpms::One(name) => vec![name.0],
            Tpms::Some(names) => names.into_iter().map(|name| name.0).collect(),
        };
        for tpm in &tpms {
            if let Some(other) = owners.insert(tpm.clone(), principal.clone()) {
                return Err((other, principal));
            }
        }
        inventory.insert(principal, tpms.into_iter().collect());
    }
    Ok(inventory)
}

impl Written {
    /// Reads the file's text.
    ///
    /// # Errors
    /// When it is not of this form.
    pub fn parse(text: &[u8]) -> Result<Self, serde_yaml::Error> {
        serde_yaml::from_slice(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        Config::parse(&dir.path().join("attest.yaml"), text.as_bytes())
    }

    #[test]
    fn what_is_left_out_has_a_default_and_what_is_wrong_is_told() {
        let config = load("endorsementKeys: [000b01]\n").unwrap();
        assert_eq!((config.interval.as_secs(), config.within.as_secs()), (300, 60));
        assert_eq!(config.reports, Reports::Flag);
        assert!(config.admission.keys.contains(&[0, 11, 1][..]));
        assert_eq!(config.selection("uid:0").to_string(), "sha256:0,1,2,3,4,5,6,7,8,9,10,15");
        let own = "endorsementKeys: [00]\nreports: refuse\nnodes: {\"tls:a\": {pcrs: [7]}}\n";
        let config = load(own).unwrap();
        assert_eq!(config.selection("tls:a").to_string(), "sha256:7,15");
        assert_ne!(config.selection("tls:b").to_string(), "sha256:7,15");
        let kernel = "endorsementKeys: [00]\nexpect: {kernel: {containerIma: true}}\n";
        let quoted = load(kernel).unwrap().selection("uid:0").to_string();
        assert_eq!(quoted, "sha256:0,1,2,3,4,5,6,7,8,9,10,12");
        assert!(matches!(load("interval: 5\n"), Err(ConfigError::Nobody(_))));
        assert!(matches!(load("intervall: 5\n"), Err(ConfigError::Form(..))));
        let zero = load("interval: 0\nendorsementKeys: [00]\n");
        assert!(matches!(zero, Err(ConfigError::Time(_))));
        assert!(matches!(load("makers: [none.pem]\n"), Err(ConfigError::File(..))));
    }

    #[test]
    fn an_inventory_says_which_tpm_is_whose() {
        let keys = "endorsementKeys: [000b01, 000b02]\n";
        assert!(load(keys).unwrap().may_have("tls:a", &[0, 11, 1]), "there is none");
        let both = format!("{keys}inventory: {{\"tls:a\": 000b01, \"tls:b\": [000b02, 000b03]}}\n");
        let config = load(&both).unwrap();
        for (principal, tpm, may) in
            [("tls:a", 1, true), ("tls:a", 2, false), ("tls:b", 3, true), ("tls:c", 1, false)]
        {
            assert_eq!(config.may_have(principal, &[0, 11, tpm]), may, "{principal} {tpm}");
        }
        let empty = load(&format!("{keys}inventory: {{}}\n")).unwrap();
        assert!(!empty.may_have("tls:a", &[0, 11, 1]), "nobody stands there");
        let empty = load(&format!("{keys}inventory:\n")).unwrap();
        assert!(!empty.may_have("tls:a", &[0, 11, 1]), "nor where nothing is said of whom");
        let twice = load(&both.replace("000b03", "000b01"));
        assert!(matches!(twice, Err(ConfigError::Twice(..))), "{twice:?}");
    }

    #[test]
    fn what_the_server_asks_anyway_is_no_expectation() {
        for (key, value) in [("makers", "[a.pem]"), ("nonce", "00"), ("attestationKey", "00")] {
            let expect = format!("expect: {{{key}: {value}}}\n");
            let nodes = format!("nodes: {{\"tls:a\": {{{key}: {value}}}}}\n");
            for text in [expect, nodes] {
                let error = load(&format!("endorsementKeys: [00]\n{text}")).unwrap_err();
                assert!(matches!(error, ConfigError::Asked(_, found) if found == key), "{error:?}");
            }
        }
    }

    #[test]
    fn what_the_guide_and_the_example_say_is_of_this_form() {
        let guide = include_str!("../../../../docs/attestation.md");
        let blocks: Vec<&str> = guide.split("```yaml\n").skip(1).collect();
        assert!(!blocks.is_empty());
        let blocks = blocks.iter().filter_map(|block| block.split("```").next());
        for text in blocks.chain([include_str!("../../../../deploy/attest.yaml")]) {
            Written::parse(text.as_bytes()).unwrap();
            // What is commented out, too.
            let all = text.replace("  # images:", "  images:").replace("  #   \"", "    \"");
            Written::parse(all.as_bytes()).unwrap();
        }
    }
}
