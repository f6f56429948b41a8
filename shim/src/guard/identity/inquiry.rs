//! What each of those who know something of a container is asked: its bundle, containerd, Docker.

use std::collections::BTreeMap;
use std::path::Path;

use lacre_containerd::{BlobCache, Client, Container, ImageContent, ImageLabels};
use lacre_executor::Manager;
use lacre_policy::{Fact, Facts, Witness};
use lacre_types::{Digest, Mode, chain};

use super::docker_store::{Stored, StoredImage};
use super::pod::{Pod, Request};
use super::{Identity, MODE, Sources, docker_api, docker_store, image, is_dockers, user};
use crate::container::spec::Spec;

/// By which a container of Docker's is known in another (moby, libcontainerd/remote).
const DOCKER_LABEL: &str = "com.docker/engine.bundle.path";
/// The name that nerdctl gives (nerdctl, pkg/labels).
const NERDCTL_NAME: &str = "nerdctl/name";

impl Identity {
    pub(super) async fn ask(&mut self, sources: Sources<'_>, bundle: &Path) {
        let (namespace, id) = (self.namespace().to_owned(), self.id().to_owned());
        let here = tokio::task::spawn_blocking({
            let (bundle, namespace, id) = (bundle.to_owned(), namespace.clone(), id.clone());
            move || {
                let spec = Spec::read(&bundle);
                let root = spec.as_ref().ok().map(|spec| spec.root(&bundle));
                let root = root.filter(|_| is_dockers(&namespace));
                (spec, root.map(|root| Stored::read(&root, &id)))
            }
        });
        let (spec, stored) = match here.await {
            Ok((Ok(spec), stored)) => (spec, stored),
            Ok((Err(error), stored)) => {
                self.missing("the specification in its bundle", &chain(&error));
                (Spec::default(), stored)
            }
            Err(_) => (Spec::default(), None),
        };
        self.pod = Pod::of(&namespace, &spec.annotations);
        if let Some(pod) = &self.pod {
            let said = |text| Fact::new(text, Witness::Orchestrator);
            self.facts.pod_namespace = pod.namespace.clone().map(said);
            self.facts.image_name = pod.image.clone().map(said);
            self.name.clone_from(&pod.container);
            self.manager = Manager::Kubelet;
        }
        if let Some(word) = spec.annotations.get(MODE)
            && word.parse::<Mode>().is_err()
        {
            let why = format!("`{word}` is neither audit nor enforce; enforce holds");
            self.missing(&format!("what {MODE} asks for"), &why);
        }
        let by = if self.pod.is_some() { Witness::Orchestrator } else { Witness::User };
        self.facts.annotations = say_all(&spec.annotations, by);

        let client = Client::new(&sources.containerd.display().to_string(), &namespace);
        let cache = BlobCache::new(sources.config.state.join("images"));
        if let Some(Ok(stored)) = stored {
            return self.take_docker(stored, &client, &cache).await;
        }
        let record = client.container(&id).await;
        let by_docker = |record: &Container| {
            record.labels.contains_key(DOCKER_LABEL) && record.snapshot_key.is_empty()
        };
        match (record, stored) {
            (_, Some(Err(error))) => self.ask_docker(sources, &client, &cache, &error).await,
            (Ok(record), None) if by_docker(&record) => {
                let (root, name) = (spec.root(bundle), id.clone());
                self.manager = Manager::Docker;
                match tokio::task::spawn_blocking(move || Stored::read(&root, &name)).await {
                    Ok(Ok(stored)) => self.take_docker(stored, &client, &cache).await,
                    Ok(Err(error)) => self.ask_docker(sources, &client, &cache, &error).await,
                    Err(_) => {}
                }
            }
            (Ok(record), _) => self.take_record(&record, &client, &cache).await,
            (Err(error), _) => {
                self.unanswered = true;
                self.missing("containerd's record", &chain(&error));
            }
        }
    }

    /// A container of containerd's own.
    async fn take_record(&mut self, record: &Container, client: &Client, cache: &BlobCache) {
        let request = self.pod.is_some().then(|| Request::of(record)).flatten();
        let sandbox = self.pod.as_ref().filter(|pod| !pod.is_sandbox(&record.id));
        let sandbox = async {
            let record = client.container(&sandbox?.sandbox).await;
            Some(record.map(|record| Request::of(&record).unwrap_or_default()))
        };
        let image = image::of_record(client, record, request.as_ref(), cache);
        let ((image, beneath), of_pod) = tokio::join!(image, sandbox);
        self.beneath = beneath;

        // CRI fills the record's name with one of those that the image has; the pod's is asked
        // for first.
        let asked = request.as_ref().and_then(|request| request.image.clone());
        if let Some(name) = asked {
            self.facts.image_name = Some(Fact::new(name, Witness::Orchestrator));
        } else if self.facts.image_name.is_none() && !record.image.is_empty() {
            self.facts.image_name = Some(user(&record.image));
        }
        let (said, digests) = match image {
            Ok(image) => {
                let of_content = |digest: Digest| Fact::new(digest, Witness::Content);
                self.is_one_of_several(&image);
                (Some(image.labels), image.digests.into_iter().map(of_content).collect())
            }
            // No image at all (`ctr run --rootfs`): nobody but the user can have spoken.
            Err(_) if record.image.is_empty() && record.snapshot_key.is_empty() => {
                (Some(ImageLabels::default()), Vec::new())
            }
            Err(why) => {
                self.missing("the image's digest", &why);
                (None, Vec::new())
            }
        };
        self.facts.image_digests = digests;
        self.take_labels(&record.labels, said.as_ref());
        let of_pod = of_pod.transpose().unwrap_or_else(|error| {
            self.missing("the pod's labels", &chain(&error));
            None
        });
        for request in [request, of_pod].into_iter().flatten() {
            let by = |text: &String| Fact::new(text.clone(), Witness::Orchestrator);
            for (key, value) in &request.labels {
                Facts::say(&mut self.facts.labels, key, by(value));
            }
            for (key, value) in &request.annotations {
                Facts::say(&mut self.facts.annotations, key, by(value));
            }
        }
        if self.name.is_none() {
            let name = self.facts.labels.get(NERDCTL_NAME);
            self.name =
                name.filter(|name| name.said_by >= Witness::User).map(|name| name.value.clone());
        }
    }

    /// A container of Docker's: by its files, else by its API.
    async fn take_docker(&mut self, stored: Stored, client: &Client, cache: &BlobCache) {
        let Stored { image_name, name, labels, image } = stored;
        self.facts.image_name = Some(user(&image_name)).filter(|name| !name.value.is_empty());
        self.name = Some(name).filter(|name| !name.is_empty());
        let image = match image {
            StoredImage::Docker(image) => image.map(|image| (image.digests, image.labels)),
            StoredImage::Containerd { target, snapshotter } => {
                let content =
                    image::of_docker(client, cache, &target, &snapshotter, self.id()).await;
                content.map(|content| {
                    self.is_one_of_several(&content);
                    self.beneath.manifest = content.manifest;
                    let of_content = |digest| Fact::new(digest, Witness::Content);
                    (content.digests.into_iter().map(of_content).collect(), content.labels)
                })
            }
        };
        match image {
            Ok((digests, said)) => {
                self.facts.image_digests = digests;
                self.take_labels(&labels, Some(&said));
            }
            Err(why) => {
                self.missing("the image's digest", &why);
                self.take_labels(&labels, None);
            }
        }
    }

    async fn ask_docker(
        &mut self,
        sources: Sources<'_>,
        client: &Client,
        cache: &BlobCache,
        unread: &docker_store::StoreError,
    ) {
        match docker_api::ask(&sources.config.docker, self.id()).await {
            Ok(stored) => self.take_docker(stored, client, cache).await,
            Err(error) => {
                self.missing("Docker's store", &chain(unread));
                self.missing("Docker's socket", &chain(&error));
            }
        }
    }

    /// Labels, of which clients copy the image's among those that were asked for. Where it is
    /// not known what the image's author wrote, it may have been all of them.
    pub(super) fn take_labels(
        &mut self,
        labels: &BTreeMap<String, String>,
        said: Option<&ImageLabels>,
    ) {
        let by = |key: &str, value: &str| match said {
            Some(author) if !author.has(key, value) => Witness::User,
            _ => Witness::Image,
        };
        for (key, value) in labels {
            let fact = Fact::new(value.clone(), by(key, value));
            Facts::say(&mut self.facts.labels, key, fact);
        }
        // No client is known that copies what manifest or index say into the specification;
        // one that did would not make it its own word.
        for (key, fact) in &mut self.facts.annotations {
            if said.is_some_and(|author| author.has(key, &fact.value)) {
                fact.said_by = Witness::Image;
            }
        }
    }

    fn is_one_of_several(&mut self, image: &ImageContent) {
        if image.is_one_of_several {
            let why = "its index has several images of the container's layers";
            self.missing("the digests of its manifest and configuration", why);
        }
    }

    fn missing(&mut self, what: &str, why: &str) {
        self.unknown.push(format!("{what}: {why}"));
    }
}

fn say_all(pairs: &BTreeMap<String, String>, by: Witness) -> BTreeMap<String, Fact<String>> {
    pairs.iter().map(|(key, value)| (key.clone(), Fact::new(value.clone(), by))).collect()
}
