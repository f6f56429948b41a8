//! `lacre baseline`: make, show and compare baselines, and make them ahead.

mod image;
mod show;
mod warm;

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args as ClapArgs, Subcommand};
use lacre_baseline::{
    Algorithms, Baseline, Limits, Options, Platform, Reference, Store, compare, from_content_store,
    from_oci, from_rootfs,
};
use lacre_types::Algorithm;

use crate::exit::{Exit, Usage};

use crate::progress::Bar;

/// Make, show and compare baselines: what an image may run
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Generate(Box<Generate>),
    Show(Show),
    Diff(Diff),
    Verify(Verify),
    Warm(warm::Warm),
}

/// Make the baseline of an image, or of a root file system
#[derive(Debug, ClapArgs)]
struct Generate {
    #[command(flatten)]
    origin: Origin,
    /// Which image of the layout or the archive, where there are several
    #[arg(long, value_name = "NAME", requires = "oci")]
    name: Option<String>,
    /// Which platform of an image for several [default: this machine's]
    #[arg(long, value_name = "OS/ARCH", conflicts_with = "rootfs")]
    platform: Option<Platform>,
    /// containerd's namespace
    #[arg(long, value_name = "NS", requires = "image", default_value = "default")]
    namespace: String,
    /// containerd's socket
    #[arg(
        long,
        value_name = "SOCK",
        requires = "image",
        default_value = "/run/containerd/containerd.sock"
    )]
    address: String,
    /// Where to write it; without, to stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Digests besides sha256, for kernel logs that use them
    #[arg(long, value_name = "sha1,sha384,sha512", value_delimiter = ',')]
    algorithms: Vec<Algorithm>,
    /// A directory that keeps scanned layers for the next time
    #[arg(long, value_name = "DIR", conflicts_with = "rootfs")]
    cache: Option<PathBuf>,
    /// Tell what was made as JSON
    #[arg(long, requires = "output")]
    json: bool,
    #[command(flatten)]
    limits: MaxOptions,
}

/// Where an image is taken for a hostile one
#[derive(Debug, ClapArgs)]
struct MaxOptions {
    /// The most times that a layer may outgrow its blob, past its first gibibyte
    #[arg(long, value_name = "N", default_value_t = Limits::default().ratio)]
    max_ratio: u64,
    /// The most bytes that a layer may unpack to
    #[arg(long, value_name = "N", default_value_t = Limits::default().layer_bytes)]
    max_layer_bytes: u64,
    /// The most files, directories and links of a layer
    #[arg(long, value_name = "N", default_value_t = Limits::default().entries)]
    max_entries: usize,
}

impl MaxOptions {
    fn limits(&self) -> Limits {
        Limits {
            entries: self.max_entries,
            layer_bytes: self.max_layer_bytes,
            ratio: self.max_ratio,
        }
    }
}

/// What it is made from
#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = false)]
struct Origin {
    /// A root file system, as it stands; what is mounted in it is left out
    #[arg(long, value_name = "DIR")]
    rootfs: Option<PathBuf>,
    /// An OCI layout (a directory or a tar of one), or what `docker save` wrote
    #[arg(long, value_name = "DIR_OR_TAR")]
    oci: Option<PathBuf>,
    /// An image that containerd has
    #[arg(long, value_name = "REF")]
    image: Option<String>,
}

/// Check a baseline file and list what is in it
#[derive(Debug, ClapArgs)]
struct Show {
    /// The baseline
    file: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// List every difference between two baselines; exit status 1 when there is one
#[derive(Debug, ClapArgs)]
struct Diff {
    /// The first baseline
    a: PathBuf,
    /// The second baseline
    b: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// List every difference between a baseline and a root file system; exit status 1 when
/// there is one
#[derive(Debug, ClapArgs)]
struct Verify {
    /// The baseline
    file: PathBuf,
    /// The root file system
    #[arg(long, value_name = "DIR")]
    rootfs: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    match args.command {
        Command::Generate(args) => generate(&args),
        Command::Show(args) => {
            let baseline = open(&args.file)?;
            show::show(&baseline, args.json)?;
            Ok(Exit::Good)
        }
        Command::Diff(args) => differ(&open(&args.a)?, &open(&args.b)?, args.json),
        Command::Verify(args) => {
            let baseline = open(&args.file)?;
            let options = Options { algorithms: baseline.algorithms(), ..Options::default() };
            let found = from_rootfs(&args.rootfs, &options, &Bar::new())?;
            differ(&baseline, &found, args.json)
        }
        Command::Warm(args) => args.run(),
    }
}

/// Opened and checked whole.
pub(crate) fn open(path: &std::path::Path) -> anyhow::Result<Baseline> {
    let baseline = Baseline::open(path)?;
    baseline.verify().with_context(|| {
        let path = lacre_types::escape(path.as_os_str().as_encoded_bytes());
        format!("{path} is broken; generate it again")
    })?;
    Ok(baseline)
}

fn differ(a: &Baseline, b: &Baseline, json: bool) -> anyhow::Result<Exit> {
    let differences = compare(a, b)?;
    show::differences(&differences, json)?;
    Ok(if differences.is_empty() { Exit::Good } else { Exit::Differs })
}

fn generate(args: &Generate) -> anyhow::Result<Exit> {
    if args.output.is_none() && std::io::stdout().is_terminal() {
        let text = "a baseline is not for a terminal to show; name a file with -o FILE".to_owned();
        return Err(Usage(text).into());
    }
    let algorithms = Algorithms::with(args.algorithms.iter().copied());
    let options = Options { algorithms, limits: args.limits.limits(), ..Options::default() };
    let platform = args.platform.clone().unwrap_or_default();
    let cache = args.cache.as_deref().map(Store::open).transpose()?;
    let bar = Bar::new();
    let baseline = if let Some(dir) = &args.origin.rootfs {
        from_rootfs(dir, &options, &bar)?
    } else if let Some(path) = &args.origin.oci {
        let image = Reference { name: args.name.clone(), platform };
        from_oci(path, &image, cache.as_ref(), &options, &bar)?
    } else {
        let name = args.origin.image.as_deref().unwrap_or_default();
        let image = image::resolve(name, &args.namespace, &args.address)?;
        let cache = cache.as_ref();
        from_content_store(&image.content, &image.target, &platform, cache, &options, &bar)?
    };
    drop(bar);
    match &args.output {
        Some(path) => {
            baseline.write(path)?;
            show::summary(&baseline, args.json)?;
        }
        None => {
            let mut out = std::io::stdout().lock();
            out.write_all(baseline.as_bytes())?;
            out.flush()?;
        }
    }
    Ok(Exit::Good)
}
