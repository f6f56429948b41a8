//! A script in a container of its own, under a configuration and a policy: what it printed, and
//! what is on record of it.

use anyhow::Result;
use serde_json::Value;

use crate::daemon::{Containerd, Runtime, Version};
use crate::image::Image;
use crate::output::Output;

/// How a script went.
#[derive(Debug)]
pub struct GuardedScript {
    /// What it printed, a line each.
    pub said: Vec<String>,
    /// What was recorded until it had ended.
    pub records: Vec<Value>,
}

impl GuardedScript {
    /// Runs it by the image's `bash` to its end, on a containerd that goes with it. `lacre` is
    /// the configuration but for the policy, `options` are those of `ctr run`.
    ///
    /// # Errors
    /// When the container does not start, or the script ends in an error.
    pub fn run(
        lacre: &str,
        policy: Option<&str>,
        image: &Image,
        options: &[&str],
        script: &str,
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut lacre = lacre.to_owned();
        if let Some(policy) = policy {
            let path = folder.path().join("policy.yaml");
            std::fs::write(&path, policy)?;
            lacre += &format!("policy: {}\n", path.display());
        }
        let daemon = Containerd::builder(Version::V2_1).lacre(&lacre).start()?;
        daemon.import(image)?;
        let options = [&["--rm"], options].concat();
        let command = ["bash", "-c", script];
        let mut client = daemon.run_command(Runtime::Lacre, &options, image, "script", &command);
        let out = Output::of(&mut client)?;
        daemon.forget_client_fifos()?;
        let said = out.ok()?.lines().map(str::to_owned).collect();
        Ok(Self { said, records: daemon.records()? })
    }
}
