//! Against real daemons of three generations.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::collections::BTreeMap;
use std::io::Read;
use std::time::{Duration, Instant};

use anyhow::Result;
use lacre_containerd::{BlobCache, Change, Client, Error, Platform, Status, blob_path};
use lacre_integration::images::busybox_image;
use lacre_integration::{Containerd, Image, Layer, Runtime, Version};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn image() -> Result<Image> {
    let second = Layer::new().file("etc/second", 0o644, "second layer\n");
    Ok(busybox_image()?.layer(second))
}

fn everything_is_told(version: Version) -> Result<()> {
    let daemon = Containerd::start(version)?;
    let image = image()?;
    daemon.import(&image)?;
    let options = ["--label", "a.b/c=d", "--annotation", "lacre.dev/mode=audit"];
    daemon.spawn_with(Runtime::Runc, &options, &image, "one", &["sleep", "1000"])?;
    let client = Client::new(&format!("unix://{}", daemon.socket().display()), daemon.namespace());
    let rt = runtime();
    rt.block_on(async {
        assert!(!client.version().await?.version.is_empty());
        assert!(client.namespaces().await?.contains(&daemon.namespace().to_owned()));

        let record = client.container("one").await?;
        let manifest = client.image_manifest(image.name(), &Platform::here()).await?;
        assert_eq!((record.image.as_str(), record.snapshot_key.as_str()), (image.name(), "one"));
        assert_eq!(record.labels.get("a.b/c").map(String::as_str), Some("d"));
        assert_eq!(record.runtime, "io.containerd.runc.v2");
        let named = client.image(image.name()).await?;
        assert_eq!(named.target, manifest.target);
        assert!(named.updated_at.is_some() && named.updated_at <= record.created_at);
        assert_eq!(manifest.layers.len(), 2);
        let snapshotter = record.snapshotter;
        let stands_on = client.snapshot(&snapshotter, "one").await?.parent;
        assert_eq!(stands_on.parse().ok(), manifest.chain_id());
        let kept = tempfile::tempdir()?;
        let cache = BlobCache::new(kept.path().to_owned());
        let chain = manifest.chain_id();
        let content = client.image_content(&manifest.target, chain, &cache).await?.unwrap();
        assert_eq!(content.digests, [manifest.manifest, manifest.config]);
        assert_eq!(content.manifest, Some(manifest.manifest));
        assert_eq!(client.image_content(&manifest.target, None, &cache).await?, None);

        let mounts = client.snapshot_mounts(&snapshotter, "one").await?;
        assert_eq!(mounts.len(), 1);
        let root = client.snapshotter_root(&snapshotter).await?;
        assert!(
            mounts[0].options.iter().any(|option| option.contains(&root.display().to_string())),
            "{mounts:?} lie in {root:?}"
        );
        let keys: Vec<_> =
            client.snapshots(&snapshotter, &[]).await?.into_iter().map(|s| s.name).collect();
        assert!(keys.contains(&"one".to_owned()), "{keys:?}");

        let task = client.task("one").await?;
        assert_eq!((task.container.as_str(), task.status), ("one", Status::Running));
        assert_eq!(Some(task.pid), daemon.task_pid("one")?.and_then(|pid| pid.try_into().ok()));
        assert_eq!(client.tasks().await?, std::slice::from_ref(&task));
        assert_eq!(client.task_pids("one").await?, [task.pid]);
        client.pause_task("one").await?;
        assert_eq!(client.task("one").await?.status, Status::Paused);
        client.resume_task("one").await?;

        let layer = &manifest.layers[0];
        assert_eq!(client.blob_info(&layer.digest).await?.size, layer.size);
        let on_disk = blob_path(&client.content_root().await?, &layer.digest);
        assert_eq!(std::fs::metadata(on_disk)?.len(), layer.size);
        assert!(
            client
                .small_blob(&layer.digest, 10)
                .await
                .is_err_and(|e| e.to_string().contains("more than 10"))
        );
        assert_eq!(client.small_blob(&layer.digest, 16 << 20).await?.len() as u64, layer.size);

        let missing = client.container("nobody").await.unwrap_err();
        assert!(missing.is_not_found(), "{missing}");
        assert!(
            client
                .in_namespace("elsewhere")
                .container("one")
                .await
                .is_err_and(|e| e.is_not_found())
        );
        anyhow::Ok(())
    })?;
    changes_stay_small(&rt, &client)?;
    a_blob_reads_on_a_thread(&rt, &client, image.name())?;
    rt.block_on(async {
        client.kill_task("one", 9, true).await?;
        daemon.await_status("one", Some("STOPPED"))?;
        assert_eq!(client.delete_task("one").await?, 137);
        // Of the two the collector may be quicker with the snapshot.
        client.remove_snapshot("overlayfs", "one").await?;
        client.delete_container("one").await?;
        assert!(client.delete_container("one").await.is_err_and(|error| error.is_not_found()));
        anyhow::Ok(())
    })
}

fn changes_stay_small(rt: &tokio::runtime::Runtime, client: &Client) -> Result<()> {
    rt.block_on(async {
        let before = client.container("one").await?;
        let parent = client.snapshot("overlayfs", "one").await?.parent;
        // The collector takes what no container has.
        client.create_lease("clean", "2100-01-01T00:00:00Z").await?;
        let client = client.under_lease("clean");
        client.prepare_snapshot("overlayfs", "clean", &parent, BTreeMap::new()).await?;
        let again = client.prepare_snapshot("overlayfs", "clean", &parent, BTreeMap::new()).await;
        assert!(again.is_err_and(|error| error.already_exists()));
        let labels = BTreeMap::from([("lacre.dev/restarts".to_owned(), "1".to_owned())]);
        let change = Change { snapshot_key: Some("clean".into()), labels, without: vec![] };
        let after = client.update_container("one", change).await?;
        assert_eq!(after.snapshot_key, "clean");
        assert_eq!(after.labels.get("lacre.dev/restarts").map(String::as_str), Some("1"));
        assert_eq!(after.labels.get("a.b/c").map(String::as_str), Some("d"));
        assert_eq!(
            (after.spec, after.image, after.runtime),
            (before.spec, before.image, before.runtime)
        );
        let change = Change {
            snapshot_key: Some("one".into()),
            without: vec!["lacre.dev/restarts".into()],
            ..Change::default()
        };
        let after = client.update_container("one", change).await?;
        assert_eq!(after.labels, before.labels);
        assert_eq!(after.snapshot_key, "one");
        client.remove_snapshot("overlayfs", "clean").await?;
        client.delete_lease("clean").await?;
        Ok(())
    })
}

fn a_blob_reads_on_a_thread(
    rt: &tokio::runtime::Runtime,
    client: &Client,
    image: &str,
) -> Result<()> {
    rt.block_on(async {
        let layer = client.image_manifest(image, &Platform::here()).await?.layers[0].digest;
        let whole = client.small_blob(&layer, 16 << 20).await?;
        let mut reader =
            client.read_blob(&layer).await?.blocking(tokio::runtime::Handle::current());
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).map(|_| bytes)
        });
        assert!(read.await?? == whole);
        Ok(())
    })
}

#[test]
fn everything_is_told_by_1_6() -> Result<()> {
    everything_is_told(Version::V1_6)
}

#[test]
fn everything_is_told_by_1_7() -> Result<()> {
    everything_is_told(Version::V1_7)
}

#[test]
fn everything_is_told_by_2_1() -> Result<()> {
    everything_is_told(Version::V2_1)
}

#[test]
fn a_daemon_that_is_not_there_is_named() {
    let client = Client::new("/nonexistent/containerd.sock", "default");
    let error = runtime().block_on(client.container("one")).unwrap_err();
    assert!(
        matches!(&error, Error::Unreachable { source, .. } if source.raw_os_error() == Some(2)),
        "{error:?}"
    );
    let text = error.to_string();
    assert!(
        text.contains("Containers/Get one") && text.contains("/nonexistent/containerd.sock"),
        "{text}"
    );
}

#[test]
fn a_daemon_that_hangs_is_given_up() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("s");
    // Accepts, by the backlog, and never says a word.
    let _listener = std::os::unix::net::UnixListener::bind(&socket)?;
    let deadline = Duration::from_millis(200);
    let client = Client::new(&socket.display().to_string(), "default").with_deadline(deadline);
    let start = Instant::now();
    let error = runtime().block_on(client.container("one")).unwrap_err();
    assert!(matches!(error, Error::Deadline { .. }), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(2));
    Ok(())
}

#[test]
fn a_daemon_that_talks_nonsense_is_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("s");
    let listener = std::os::unix::net::UnixListener::bind(&socket)?;
    let peer = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\n\r\nhello")?;
        std::io::Result::Ok(stream)
    });
    let deadline = Duration::from_millis(500);
    let client = Client::new(&socket.display().to_string(), "default").with_deadline(deadline);
    assert!(runtime().block_on(client.container("one")).is_err());
    peer.join().unwrap()?;
    Ok(())
}

/// It is linked into every shim, and a node has one for each pod.
#[test]
fn asking_costs_little_memory() -> Result<()> {
    if std::env::var_os("LACRE_TEST_ALONE").is_none() {
        // Other tests of this process would be counted too.
        let output = std::process::Command::new(std::env::current_exe()?)
            .args(["--exact", "asking_costs_little_memory", "--nocapture"])
            .env("LACRE_TEST_ALONE", "1")
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        println!("{said}");
        return Ok(());
    }
    let anonymous = || -> Result<usize> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    };
    let daemon = Containerd::start(Version::V1_6)?;
    let image = image()?;
    daemon.import(&image)?;
    daemon.spawn(Runtime::Runc, &image, "one", &["sleep", "1000"])?;
    let rt = runtime();
    let before = anonymous()?;
    let client = Client::new(&daemon.socket().display().to_string(), daemon.namespace());
    rt.block_on(client.container("one"))?;
    let connected = anonymous()? - before;
    drop(client);
    println!("RssAnon: +{connected} KiB connected");
    assert!(connected < 1024, "{connected} KiB");
    Ok(())
}
