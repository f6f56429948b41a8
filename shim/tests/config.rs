//! What a person is told of a configuration that is wrong.

use lacre_shim::config::Config;

macro_rules! told {
    ($name:ident, $file:expr) => {
        #[test]
        fn $name() {
            insta::assert_snapshot!(Config::parse($file).map_or_else(
                |errors| errors.to_string(),
                |config| format!("taken\n\n{config:#?}"),
            ));
        }
    };
}

told!(
    unknown_words_have_their_nearest,
    "mode: enforced
polcy: /etc/lacre/policy.yaml
block: everything
sources: [fanotify, exectrace]
inner:
  shimm: io.containerd.runc.v2
  options: {SystemdCgrup: true}
exempt: {namespace: [kube-system]}
"
);

told!(
    wrong_values_are_told_with_their_place,
    "policy: policy.yaml
server: tcp://policy.example:50051
fetch: yes
sources: fanotify
records: [a, b]
run: /run/a-folder-whose-name-is-much-too-long-for-the-names-of-the-sockets-in-it
inner:
  shim: runc
  options: {SystemdCgroup: 1, IoUid: many, BinaryName: [crun]}
exempt: {namespaces: kube-system}
state:
"
);

told!(a_server_without_certificates, "server: tls://policy.example:50051\n");

told!(certificates_without_a_server, "tls: {ca: /ca.pem, cert: /node.pem}\n");

told!(
    options_of_runc_and_the_file_of_another_shim,
    "inner: {options: {SystemdCgroup: true}, config: /etc/crio.conf}\n"
);

told!(an_empty_list_of_sources, "sources: []\n");

told!(what_stands_there_twice, "mode: audit\nmode: enforce\n");

told!(what_is_no_yaml, "mode: [audit\nrun: /run/lacre\n");

told!(
    every_value_is_read,
    "mode: enforce
policy: /p.yaml
server: tls://[::1]:50051
tls: {ca: /ca, cert: /cert, key: /key}
sources: [fanotify, exec-trace, fanotify]
block: all
fetch: false
docker: /d.sock
baseline: {wait: 5s}
inner:
  shim: /usr/bin/containerd-shim-x-v1
  options: {SystemdCgroup: true, IoUid: 7, BinaryName: \"/usr/bin/crun\"}
exempt: {namespaces: [kube-system]}
programs: /l
records: /r
state: /s
run: /run/l
"
);
