//! `lacre baseline warm`: makes the baselines of the images that containerd has, ahead of the
//! containers that will ask for them.

mod image;
mod output;

use std::collections::HashMap;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args as ClapArgs;
use lacre_baseline::Store;
use lacre_containerd::{Client, Image, ImageEvents};
use lacre_types::{Digest, escape};
use tokio::time::sleep;

use crate::exit::Exit;
use image::{Looked, Warmer};
use output::Teller;

/// An event that was missed costs that much at most.
const ROUND: Duration = Duration::from_secs(60);
/// Before containerd is asked again that did not answer.
const AGAIN: Duration = Duration::from_secs(2);

/// Make the baselines of images ahead, so that no container waits for one
///
/// From the image's content where containerd has it, and of the directories that it is unpacked
/// to, for this machine's platform. What was made before is not made again.
#[derive(Debug, ClapArgs)]
pub(crate) struct Warm {
    /// The images [default: all that containerd has]
    #[arg(value_name = "REF")]
    images: Vec<String>,
    /// containerd's namespace; may be given several times [default: all of them]
    #[arg(long, value_name = "NS")]
    namespace: Vec<String>,
    /// containerd's socket
    #[arg(long, value_name = "SOCK", default_value = "/run/containerd/containerd.sock")]
    address: String,
    /// Who unpacks the images
    #[arg(long, value_name = "NAME", default_value = "overlayfs")]
    snapshotter: String,
    /// The shims' own folder (`state` of their configuration)
    #[arg(long, value_name = "DIR", default_value = "/var/lib/lacre")]
    state: PathBuf,
    /// Go on, with each image that comes
    #[arg(long)]
    follow: bool,
    /// Tell each image, and how far long work is, as a line of JSON
    #[arg(long)]
    json: bool,
}

/// What is known of an image, by the namespace and what its name stands for.
type Known = HashMap<(String, Digest), Looked>;

impl Warm {
    pub(crate) fn run(&self) -> anyhow::Result<Exit> {
        let store = Store::open(&self.state.join("baselines"))?;
        let client = Client::new(&self.address, "default");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let warmer =
            Warmer { store, snapshotter: self.snapshotter.clone(), teller: Teller::new(self.json) };
        runtime.block_on(async {
            let mut known = Known::new();
            if !self.follow {
                return self.round(&client, &warmer, &mut known).await;
            }
            loop {
                // What comes to be while it looks wakes it afterwards.
                let mut events = client.image_events();
                if let Err(error) = self.follow(&client, &warmer, &mut known, &mut events).await {
                    warmer.teller.trouble(&error);
                    sleep(AGAIN).await;
                }
            }
        })
    }

    /// Until containerd ends.
    async fn follow(
        &self,
        client: &Client,
        warmer: &Warmer,
        known: &mut Known,
        events: &mut ImageEvents,
    ) -> anyhow::Result<()> {
        loop {
            // Waited for from before it looks: nothing is subscribed to until then.
            let mut next = pin!(events.next());
            let mut came = None;
            {
                let mut round = pin!(self.round(client, warmer, known));
                loop {
                    tokio::select! {
                        biased;
                        event = &mut next, if came.is_none() => came = Some(event),
                        looked = &mut round => {
                            looked?;
                            break;
                        }
                    }
                }
            }
            let event = match came {
                Some(event) => event,
                None => tokio::select! {
                    event = next => event,
                    () = sleep(ROUND) => continue,
                },
            };
            event?.context("containerd ends")?;
        }
    }

    /// Looks at every image once.
    async fn round(
        &self,
        client: &Client,
        warmer: &Warmer,
        known: &mut Known,
    ) -> anyhow::Result<Exit> {
        let content = client.content_root().await?;
        let namespaces = match self.namespace.as_slice() {
            [] => client.namespaces().await?,
            named => named.to_vec(),
        };
        let mut exit = Exit::Good;
        let mut found: Vec<String> = Vec::new();
        let mut seen = Vec::new();
        for namespace in &namespaces {
            let client = client.in_namespace(namespace);
            for image in client.images(&[]).await? {
                if !self.images.is_empty() && !self.images.contains(&image.name) {
                    continue;
                }
                let Image { name, target, .. } = image;
                found.push(name.clone());
                let key = (namespace.clone(), target);
                seen.push(key.clone());
                let before = known.get(&key);
                if before.is_some_and(Looked::is_done) {
                    continue;
                }
                let looked = match warmer.warm(&client, &content, &name, before).await {
                    Ok((looked, Exit::Good)) => looked,
                    Ok((looked, _)) => {
                        exit = Exit::Failed;
                        looked
                    }
                    Err(error) => {
                        exit = Exit::Failed;
                        let looked = Looked::failed(&error);
                        // What is as it was is not told again.
                        if !looked.is_told_by(before) {
                            warmer.teller.failed(namespace, &name, &error);
                        }
                        looked
                    }
                };
                known.insert(key, looked);
            }
        }
        // One that is gone may come again, unpacked anew.
        known.retain(|key, _| seen.contains(key));
        for missing in self.images.iter().filter(|name| !found.contains(name) && !self.follow) {
            exit = Exit::Failed;
            let namespaces = namespaces.join(", ");
            let name = escape(missing.as_bytes());
            let why = format!(
                "no image {name} in {namespaces} (containerd knows it by its full name, such as \
                 docker.io/library/debian:12)"
            );
            warmer.teller.trouble(&anyhow::anyhow!(why));
        }
        Ok(exit)
    }
}
