//! What is known of a container where some, or none, of its witnesses answer.

use std::collections::BTreeMap;
use std::fs;

use lacre_containerd::ImageLabels;
use lacre_types::{Action, Digest, ViolationKind};
use sha2::{Digest as _, Sha256};

use super::*;

const SPEC: &str = r#"{"root": {"path": "ROOT"}, "annotations": {
    "lacre.dev/mode": "enforce", "io.kubernetes.cri.sandbox-id": "s",
    "io.kubernetes.cri.sandbox-namespace": "kube-system", "tier": "db"}}"#;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Resolved with no daemon at all: no containerd listens, and no dockerd.
fn alone(namespace: &str, root: &Path) -> Identity {
    let bundle = tempfile::tempdir().unwrap();
    let spec = SPEC.replace("ROOT", &root.display().to_string());
    fs::write(bundle.path().join("config.json"), spec).unwrap();
    let config = Config {
        docker: "/nonexistent/docker.sock".into(),
        state: bundle.path().join("state"),
        ..Config::default()
    };
    let sources = Sources { containerd: Path::new("/nonexistent/c.sock"), config: &config };
    runtime().block_on(Identity::resolve(sources, namespace, "c1", bundle.path()))
}

fn action(identity: &Identity, rules: &str) -> Action {
    let text = format!("Actions: {{ENTRY_NOT_FOUND: {{{rules}, Default: KILL}}}}");
    let (policy, _) = Policy::parse("p", text.as_bytes()).unwrap();
    identity.effective(&policy).decide(ViolationKind::EntryNotFound, None).action
}

#[test]
fn without_a_daemon_it_is_unknown_and_says_so() {
    let identity = alone("default", Path::new("/nonexistent/root"));
    assert!(identity.unanswered());
    let why = identity.unknown_facts().unwrap();
    assert!(why.contains("containerd's record") && why.contains("/nonexistent/c.sock"), "{why}");
    assert_eq!(identity.origin("n").unknown, Some(why));
    assert_eq!(identity.origin("n").pod, None, "an annotation is no pod outside of k8s.io");
    assert_eq!(action(&identity, "ByNamespace: [kube-system: SKIP]"), Action::Kill);
    assert_eq!(action(&identity, "ByNamespace: [default: SKIP]"), Action::Skip);
    assert_eq!(action(&identity, "ByAnnotation: [tier=db: SKIP]"), Action::Skip);
    // What only tightens needs nobody's word.
    assert_eq!(identity.tightened(Mode::Audit), Mode::Enforce);
}

#[test]
fn a_mode_that_is_none_is_the_stricter_and_is_told() {
    let asks = |word: &str| {
        let mut identity = Identity::named("default", "c1");
        let bundle = tempfile::tempdir().unwrap();
        let spec = serde_json::json!({"annotations": {"lacre.dev/mode": word}}).to_string();
        fs::write(bundle.path().join("config.json"), spec).unwrap();
        let config = Config { state: bundle.path().join("state"), ..Config::default() };
        let sources = Sources { containerd: Path::new("/nonexistent/c.sock"), config: &config };
        runtime().block_on(identity.ask(sources, bundle.path()));
        identity
    };
    for word in ["Enforce", "enforce ", "on", ""] {
        let identity = asks(word);
        assert_eq!(identity.tightened(Mode::Audit), Mode::Enforce, "{word}");
        let why = identity.unknown_facts().unwrap();
        assert!(why.contains("neither audit nor enforce"), "{why}");
    }
    let plain = asks("audit");
    assert_eq!(plain.tightened(Mode::Audit), Mode::Audit);
    assert!(!plain.unknown_facts().unwrap().contains("lacre.dev/mode"));
}

#[test]
fn a_pod_is_known_by_its_bundle_alone() {
    let identity = alone("k8s.io", Path::new("/nonexistent/root"));
    let origin = identity.origin("n");
    assert_eq!(origin.pod_namespace.as_deref(), Some("kube-system"));
    assert_eq!(
        identity.registration(&Generation::draw().unwrap()).pod_namespace.as_deref(),
        Some("kube-system")
    );
    assert_eq!(action(&identity, "ByNamespace: [kube-system: SKIP]"), Action::Skip);
    assert_eq!(identity.manager(), Manager::Kubelet);
}

#[test]
fn an_unreadable_docker_is_told_by_store_and_socket() {
    let identity = alone("moby", Path::new("/nonexistent/overlay2/x/merged"));
    let why = identity.unknown_facts().unwrap();
    assert!(why.contains("Docker's store") && why.contains("Docker's socket"), "{why}");
    assert_eq!(identity.manager(), Manager::Docker);
}

#[test]
fn labels_of_an_unknown_image_are_its_authors() {
    let label = BTreeMap::from([("tier".to_owned(), "db".to_owned())]);
    let with = |said: Option<ImageLabels>| {
        let mut identity = Identity::named("default", "c1");
        identity.take_labels(&label, said.as_ref());
        identity
    };
    let rule = "ByLabel: [tier=db: SKIP]";
    let author = |value: &str| Some(ImageLabels::from_iter([("tier".into(), value.into())]));
    for (said, expected) in [
        (None, Action::Kill),
        (author("db"), Action::Kill),
        (author("web"), Action::Skip),
        (Some(ImageLabels::default()), Action::Skip),
    ] {
        let identity = with(said);
        assert_eq!(action(&identity, rule), expected);
        let told = identity.registration(&Generation::draw().unwrap()).labels;
        assert_eq!(told.is_empty(), expected == Action::Kill, "a server learns no more: {told:?}");
    }
}

/// dockerd's store, as it is on disk, with an image of one layer.
struct Store {
    data: tempfile::TempDir,
    root: std::path::PathBuf,
    config: String,
}

impl Store {
    fn new(parent: &str, mount: &str) -> Self {
        let data = tempfile::tempdir().unwrap();
        let layer = format!("sha256:{}", "a".repeat(64));
        let config = format!(
            r#"{{"rootfs":{{"diff_ids":["{layer}"]}},"config":{{"Labels":{{"team":"ops"}}}}}}"#
        );
        let image = Digest::sha256(Sha256::digest(config.as_bytes()).into());
        let root = data.path().join("overlay2/m1/merged");
        let write = |path: &str, text: &str| {
            let path = data.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let container = format!(
            r#"{{"Image":"{image}","ImageManifest":null,"Name":"/web","Driver":"overlay2",
                "Config":{{"Image":"app:1","Labels":{{"team":"ops","tier":"db"}}}}}}"#
        );
        write("containers/c1/config.v2.json", &container);
        write(&format!("image/overlay2/imagedb/content/sha256/{}", image.hex()), &config);
        write("image/overlay2/layerdb/mounts/c1/parent", parent);
        write("image/overlay2/layerdb/mounts/c1/mount-id", mount);
        let pulled = format!("sha256:{}", "b".repeat(64));
        let names = format!(
            r#"{{"Repositories":{{"app":{{"app:1":"{image}","app@{pulled}":"{image}",
                "app@sha256:{}":"sha256:{}"}}}}}}"#,
            "c".repeat(64),
            "d".repeat(64)
        );
        write("image/overlay2/repositories.json", &names);
        Self { data, root, config: image.to_string() }
    }
}

#[test]
fn a_store_of_dockers_is_read_and_checked() {
    let layer = format!("sha256:{}", "a".repeat(64));
    let store = Store::new(&layer, "m1");
    let identity = alone("moby", &store.root);
    assert_eq!(identity.unknown_facts(), None);
    let origin = identity.origin("n");
    assert_eq!((origin.image_id.as_str(), origin.image_name.as_str()), (&*store.config, "app:1"));
    assert_eq!(origin.container_name.as_deref(), Some("web"));
    let by_digest = |digest: &str| action(&identity, &digest_rule(digest));
    assert_eq!(by_digest(&store.config), Action::Skip);
    assert_eq!(by_digest(&format!("sha256:{}", "b".repeat(64))), Action::Skip);
    assert_eq!(by_digest(&format!("sha256:{}", "c".repeat(64))), Action::Kill, "another image's");
    assert_eq!(action(&identity, "ByLabel: [tier=db: SKIP]"), Action::Skip);
    assert_eq!(action(&identity, "ByLabel: [team=ops: SKIP]"), Action::Kill);
}

fn digest_rule(digest: &str) -> String {
    format!("ByContainerImageDigest: [\"{digest}\": SKIP]")
}

#[test]
fn a_store_that_does_not_fit_tells_nothing() {
    let layer = format!("sha256:{}", "a".repeat(64));
    let other = format!("sha256:{}", "f".repeat(64));
    let edited = Store::new(&layer, "m1");
    let folder = edited.data.path().join("image/overlay2/imagedb/content/sha256");
    let config = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    fs::write(config, r#"{"rootfs":{"diff_ids":[]}}"#).unwrap();
    let gone = Store::new(&layer, "m1");
    fs::remove_dir_all(gone.data.path().join("image/overlay2/imagedb")).unwrap();
    for store in [Store::new(&other, "m1"), Store::new(&layer, "m2"), edited, gone] {
        let identity = alone("moby", &store.root);
        let why = identity.unknown_facts().unwrap();
        assert!(why.contains("the image's digest"), "{why}");
        assert_eq!(action(&identity, &digest_rule(&store.config)), Action::Kill, "{why}");
        assert_eq!(action(&identity, "ByLabel: [tier=db: SKIP]"), Action::Kill, "{why}");
        assert_eq!(action(&identity, "ByContainerImageName: [\"app:1\": SKIP]"), Action::Skip);
    }
}

/// A client chooses the root, and may lay out around it what dockerd would have.
#[test]
fn a_store_that_others_can_write_is_not_dockers() {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    let layer = format!("sha256:{}", "a".repeat(64));
    let stores = [(); 4].map(|()| Store::new(&layer, "m1"));
    let at = |store: &Store, path: &str| store.data.path().join(path);
    chown(at(&stores[0], ""), Some(1000), None).unwrap();
    chown(at(&stores[1], "containers/c1/config.v2.json"), Some(1000), None).unwrap();
    let open = |path: std::path::PathBuf, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    open(at(&stores[2], "containers"), 0o777);
    open(at(&stores[3], "containers/c1"), 0o770);
    for store in stores {
        let identity = alone("moby", &store.root);
        let why = identity.unknown_facts().unwrap();
        assert!(why.contains("is not dockerd's alone"), "{why}");
        assert_eq!(action(&identity, &digest_rule(&store.config)), Action::Kill, "{why}");
    }
}

#[test]
fn it_survives_the_disk() {
    let identity = alone("k8s.io", Path::new("/nonexistent/root"));
    let text = serde_json::to_string(&identity).unwrap();
    assert_eq!(serde_json::from_str::<Identity>(&text).unwrap(), identity);
}

/// The one fact that exempts, chooses a rule, and stands in records.
#[test]
fn exempt_policy_and_records_know_one_pod() {
    let bundle = tempfile::tempdir().unwrap();
    fs::write(bundle.path().join("config.json"), SPEC.replace("ROOT", "rootfs")).unwrap();
    for namespace in ["k8s.io", "default", "moby"] {
        let pod = Pod::of_bundle(namespace, bundle.path()).and_then(|pod| pod.namespace);
        let identity = alone(namespace, Path::new("/nonexistent/root"));
        assert_eq!(identity.origin("n").pod_namespace, pod, "{namespace}");
        assert_eq!(
            identity.registration(&Generation::draw().unwrap()).pod_namespace,
            pod,
            "{namespace}"
        );
        let rule = action(&identity, "ByNamespace: [kube-system: SKIP]") == Action::Skip;
        assert_eq!(rule, pod.is_some(), "{namespace}");
    }
}
