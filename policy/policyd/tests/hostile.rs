//! Peers that should not be there, or do what they should not: bounded, logged, and
//! nobody else notices.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lacre_policyd::connections::Connections;
use lacre_policyd::ledger::Ledger;
use lacre_policyd::orders::Gate;
use lacre_policyd::reloaded_file::Followed;
use lacre_policyd::server::Server;
use lacre_proto::policy::{
    Container, RegisterRequest, Report, ReportRequest, ReportResponse, StatusRequest,
};
use lacre_proto::service::PolicyServiceClient;
use lacre_proto::{
    Address, Bound, Connector, Host, Limits, Notice, Peer, ServerTls, TlsFiles, serve,
};
use lacre_report::Entry;
use lacre_types::Action;
use rcgen::SanType;
use support::{Ca, LONG, free_port, ledger, policy_text, record, within};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use ttrpc::r#async::Service;

/// The server itself, with an ear at its notices.
struct Spy(Connections, mpsc::Sender<String>);

impl Host for Spy {
    fn services(&self, peer: &Peer) -> HashMap<String, Service> {
        self.0.services(peer)
    }
    fn notice(&self, notice: Notice) {
        let _ = self.1.try_send(format!("{notice:?}"));
        self.0.notice(notice);
    }
}

struct Running {
    dir: TempDir,
    ca: Ca,
    address: Address,
    notices: mpsc::Receiver<String>,
    stop: watch::Sender<bool>,
    serving: tokio::task::JoinHandle<()>,
}

impl Running {
    async fn start(limits: Limits) -> Self {
        let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new("ours"));
        let at = |file: &str| dir.path().join(file);
        std::fs::write(at("policy.yaml"), policy_text("SKIP")).unwrap();
        let policy = Followed::load(&at("policy.yaml")).unwrap();
        let (ledger, _writer, _) = Ledger::open(&at("state"), 1 << 20).unwrap();
        let (stop, stopped) = watch::channel(false);
        let log = slog::Logger::root(slog::Discard, slog::o!());
        let gate = Gate::open(&at("state"), Default::default(), log.clone()).unwrap();
        let server = Server::new(policy, ledger, None, gate, stopped.clone(), log).unwrap();
        let (sender, notices) = mpsc::channel(1000);
        let tls = Arc::new(ServerTls::load(ca.server(dir.path())).unwrap());
        let port = free_port();
        let bound = Bound::tls("127.0.0.1", port, tls).await.unwrap();
        let spy = Arc::new(Spy(Connections(Arc::new(server)), sender));
        let serving = tokio::spawn(serve(vec![bound], spy, limits, stopped));
        let address = Address::Tls { host: "127.0.0.1".into(), port };
        Self { dir, ca, address, notices, stop, serving }
    }

    fn node(&self, name: &str) -> TlsFiles {
        self.ca.node(self.dir.path(), name)
    }

    fn to(&self, files: &TlsFiles) -> Connector {
        Connector::new(self.address.clone(), Some(files.clone())).unwrap()
    }

    fn tcp(&self) -> std::net::TcpStream {
        let Address::Tls { host, port } = &self.address else { unreachable!() };
        let stream = std::net::TcpStream::connect((&**host, *port)).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream
    }

    async fn noticed(&mut self, what: &str) -> String {
        loop {
            let notice = tokio::time::timeout(LONG, self.notices.recv()).await.unwrap().unwrap();
            if notice.contains(what) {
                return notice;
            }
        }
    }

    async fn client(&self, files: &TlsFiles) -> PolicyServiceClient {
        PolicyServiceClient::new(self.to(files).connect(LONG).await.unwrap())
    }

    /// Whether who comes with these is turned away. In TLS 1.3 the client is done before the
    /// server has seen its certificate.
    async fn refuses(&self, files: &TlsFiles) -> bool {
        match self.to(files).connect(LONG).await {
            Ok(client) => !works(&PolicyServiceClient::new(client)).await,
            Err(_) => true,
        }
    }

    async fn end(self) {
        self.stop.send_replace(true);
        tokio::time::timeout(LONG, self.serving).await.unwrap().unwrap();
    }
}

const STREAM: &str = "0123456789abcdef0123456789abcdef";

/// A record, as a reporter sends it.
fn line() -> Vec<u8> {
    Entry::from(record("c", "/x", Action::Skip)).encode()
}

fn quick() -> Limits {
    Limits { handshake: Duration::from_millis(400), ..Limits::default() }
}

async fn works(client: &PolicyServiceClient) -> bool {
    client.status(within(), &StatusRequest::default()).await.is_ok()
}

async fn report(
    client: &PolicyServiceClient,
    stream: &str,
    first: u64,
    records: Vec<Vec<u8>>,
) -> ttrpc::Result<ReportResponse> {
    let reports = records.into_iter().map(|record| Report { record, ..Report::default() });
    let request = ReportRequest {
        stream: stream.to_owned(),
        first,
        oldest: 1,
        reports: reports.collect(),
        ..ReportRequest::default()
    };
    client.report(within(), &request).await
}

fn code(result: ttrpc::Result<ReportResponse>) -> ttrpc::Code {
    match result.unwrap_err() {
        ttrpc::Error::RpcStatus(status) => status.code(),
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_good_certificate_is_refused_and_logged() {
    let strange = Ca::new("theirs");
    let mut running = Running::start(quick()).await;
    let node = running.node("a");
    let client = running.client(&node).await;
    assert!(works(&client).await);

    let uri = |name: &str| SanType::URI(name.to_owned().try_into().unwrap());
    let (dir, ca) = (running.dir.path(), &running.ca);
    let wrong = strange.issue(dir, "wrong", uri("spiffe://example.org/node/a"), 30, ca);
    assert!(running.refuses(&wrong).await);
    let expired = ca.issue(dir, "expired", uri("spiffe://example.org/node/a"), -1, ca);
    assert!(running.refuses(&expired).await);
    let nameless = ca.issue(dir, "nameless", SanType::IpAddress([9, 9, 9, 9].into()), 30, ca);
    assert!(running.refuses(&nameless).await);
    // A node that trusts another CA refuses the server.
    let distrusts = ca.issue(dir, "distrusts", uri("spiffe://example.org/node/b"), 30, &strange);
    assert!(running.to(&distrusts).connect(LONG).await.is_err());

    assert!(running.noticed("Handshake").await.contains("UnknownIssuer"));
    assert!(running.noticed("Handshake").await.contains("Expired"));
    running.noticed("Nameless").await;
    running.noticed("Handshake").await;
    assert!(works(&client).await, "the good one never noticed");

    // No certificate at all, and TLS 1.2.
    let mut roots = rustls::RootCertStore::empty();
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};
    roots.add(CertificateDer::from_pem_file(&node.ca).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_protocol_versions(&[&rustls::version::TLS13])
    .unwrap()
    .with_root_certificates(roots)
    .with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
    let mut tls = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut tcp = running.tcp();
    let error = tls.complete_io(&mut tcp).and_then(|_| tls.complete_io(&mut tcp)).unwrap_err();
    assert!(error.to_string().contains("CertificateRequired"), "{error}");
    assert!(running.noticed("Handshake").await.contains("NoCertificatesPresented"));
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_speaks_no_tls_or_nothing_at_all_holds_up_nobody() {
    let limits = Limits { handshakes_of_one: 8, ..quick() };
    let mut running = Running::start(limits).await;
    let mut plain = running.tcp();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(running.noticed("Handshake").await.contains("InvalidContentType"));

    // Half a ClientHello, and then silence, from as many as may try, and more.
    let silent: Vec<_> = (0..12)
        .map(|_| {
            let mut tcp = running.tcp();
            tcp.write_all(&[22, 3, 1, 2, 0, 1, 0]).unwrap();
            tcp
        })
        .collect();
    running.noticed("Full").await;
    let began = Instant::now();
    for mut tcp in silent {
        let mut rest = Vec::new();
        let _ = tcp.read_to_end(&mut rest);
    }
    assert!(began.elapsed() < Duration::from_secs(10), "all were let go");
    for _ in 0..8 {
        running.noticed("Stalled").await;
    }
    let client = running.client(&running.node("a")).await;
    assert!(works(&client).await);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_frames_and_messages_harm_their_own_connection_at_most() {
    let idle = Limits { idle: Duration::from_secs(1), ..quick() };
    let mut running = Running::start(idle).await;
    let node = running.node("a");

    // A request whose payload is no protobuf is answered with an error.
    let client = running.to(&node).connect(LONG).await.unwrap();
    let mut request = ttrpc::Request::new();
    request.service = "lacre.policy.v1.PolicyService".into();
    request.method = "Report".into();
    request.payload = vec![0xff; 64];
    request.timeout_nano = i64::try_from(LONG.as_nanos()).unwrap();
    assert!(matches!(client.request(request.clone()).await, Err(ttrpc::Error::RpcStatus(_))));
    request.method = "Shutdown".into();
    assert!(matches!(client.request(request).await, Err(ttrpc::Error::RpcStatus(_))));
    assert!(works(&PolicyServiceClient::new(client)).await);

    // Frames that are none: too long, of an unknown kind, cut off.
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let Address::Tls { port, .. } = running.address.clone() else { unreachable!() };
    for frame in [
        &[0xff_u8; 200][..],
        &[0, 0, 0, 4, 0, 0, 0, 1, 9, 9, 1, 2, 3, 4],
        &[0, 0x3f, 0xff, 0xff, 0, 0, 0, 1, 1, 0],
    ] {
        let tcp = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
        let tls = tokio_rustls::TlsConnector::from(node.client().unwrap());
        let mut tls = tls.connect(name, tcp).await.unwrap();
        tls.write_all(frame).await.unwrap();
        tls.flush().await.unwrap();
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(LONG, tls.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "a connection that says nothing more is closed");
        assert!(answer.len() < 4096);
    }
    running.noticed("Closed").await;
    let client = running.client(&node).await;
    assert!(works(&client).await);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_cannot_write_anothers_stream_nor_see_the_others() {
    let running = Running::start(quick()).await;
    let a = running.client(&running.node("a")).await;
    let b = running.client(&running.node("b")).await;
    assert_eq!(report(&a, STREAM, 1, vec![line(), line()]).await.unwrap().acknowledged, 2);
    assert_eq!(code(report(&b, STREAM, 3, vec![line()]).await), ttrpc::Code::PERMISSION_DENIED);
    assert_eq!(report(&a, STREAM, 2, vec![line(), line()]).await.unwrap().acknowledged, 3);
    assert_eq!(report(&a, STREAM, 9, vec![line()]).await.unwrap().acknowledged, 3, "a hole");
    let written = ledger(&running.dir.path().join("state"));
    assert_eq!(written.iter().map(|line| line.seq).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(written.iter().all(|line| line.owner == "tls:spiffe://example.org/node/a"));
    let status = b.status(within(), &StatusRequest::default()).await.unwrap();
    assert_eq!(status.nodes.len(), 1);
    assert_eq!(status.nodes[0].principal, "tls:spiffe://example.org/node/b");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_much_or_unreadable_is_refused_or_kept_as_it_came() {
    let limits = Limits { of_one: 3, ..quick() };
    let mut running = Running::start(limits).await;
    let node = running.node("a");
    let client = running.client(&node).await;
    let invalid = ttrpc::Code::INVALID_ARGUMENT;
    assert_eq!(code(report(&client, STREAM, 1, vec![line(); 513]).await), invalid);
    assert_eq!(code(report(&client, STREAM, 1, vec![vec![b' '; 200_000]]).await), invalid);
    assert_eq!(code(report(&client, STREAM, 1, vec![vec![b' '; 100_000]; 20]).await), invalid);
    assert_eq!(code(report(&client, "../../etc", 1, vec![line()]).await), invalid);
    assert_eq!(code(report(&client, STREAM, 0, vec![line()]).await), invalid);
    assert_eq!(code(report(&client, STREAM, u64::MAX, vec![line()]).await), invalid);

    let odd = vec![b"{\"a\":\n1}".to_vec(), b"\xff\0\n".to_vec(), line(), Vec::new()];
    let answer = report(&client, STREAM, 1, odd).await.unwrap();
    assert_eq!((answer.acknowledged, answer.unreadable), (4, vec![1, 2, 4]));
    let text =
        std::fs::read_to_string(running.dir.path().join("state/reports-000001.jsonl")).unwrap();
    assert_eq!(text.lines().count(), 5);
    assert!(text.contains(r#""unreadable":"\\xff\\u{0}\\n""#), "{text}");

    let container = |id: &str, digest: &str, label: usize| RegisterRequest {
        container: Some(Container {
            id: id.into(),
            image_digests: vec![digest.into()],
            labels: [("x".to_owned(), "y".repeat(label))].into(),
            ..Container::default()
        })
        .into(),
        ..RegisterRequest::default()
    };
    let good_digest = format!("sha256:{}", "a".repeat(64));
    let register = async |request: &RegisterRequest| client.register(within(), request).await;
    assert!(register(&container("c", &good_digest, 10)).await.is_ok());
    assert!(register(&container("c", "sha256:abc", 10)).await.is_err());
    assert!(register(&container("", &good_digest, 10)).await.is_err());
    assert!(register(&container("d", &good_digest, 3_000_000)).await.is_ok());
    assert!(register(&container("e", &good_digest, 3_000_000)).await.is_err());
    // All that is kept of one is bounded, and counts.
    let mut odd: Vec<RegisterRequest> = (0..4).map(|_| container("o", &good_digest, 1)).collect();
    odd[0].version = "x".repeat(2000);
    odd[1].generation = "x".repeat(2000);
    odd[2].container.as_mut().unwrap().namespace = "x".repeat(2000);
    odd[3].container.as_mut().unwrap().id = "x".repeat(2000);
    for odd in &odd {
        assert!(register(odd).await.is_err());
    }
    // What is refused is weighed nowhere: the fleet's window is as it was.
    let mut refused = container("f", &good_digest, 3_000_000);
    refused.version = "x".to_owned();
    for n in 0..40 {
        refused.container.as_mut().unwrap().id = format!("f{n}");
        assert!(register(&refused).await.is_err());
    }
    // Nor is a policy of its own that nobody can read known to be any milder.
    let mut own = container("own", &good_digest, 1);
    own.own = b"{}".to_vec();
    let answer = register(&own).await.unwrap();
    assert!(answer.held.is_empty() && !answer.effective.is_empty());

    let second = running.client(&node).await;
    let third = running.client(&node).await;
    assert!(works(&second).await && works(&third).await);
    assert!(running.refuses(&node).await);
    running.noticed("Full").await;
    assert!(works(&second).await);
    running.end().await;
}
