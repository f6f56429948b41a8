//! What a person is told of a file that is wrong.

use lacre_policy::Policy;

/// All that is told of a file: the errors, or the warnings of one that is taken.
fn told(file: impl AsRef<[u8]>) -> String {
    match Policy::parse("policy.yaml", file.as_ref()) {
        Ok((_, warnings)) => {
            let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
            format!("taken\n\n{}", warnings.join("\n"))
        }
        Err(errors) => errors.to_string(),
    }
}

macro_rules! told {
    ($name:ident, $file:expr) => {
        #[test]
        fn $name() {
            insta::assert_snapshot!(told($file));
        }
    };
}

told!(
    unknown_words_have_their_nearest,
    "Action:
  X: 1
Actions:
  ENTRY_NOTFOUND:
    Default: STOP
  INVALID_HASH:
    ByContainerId:
      - web: STOP
    Defualt: STOP
    Default: stopp
  NO_WHITELIST:
    Default: EXPLODE
Mode: enforced
"
);

told!(
    keys_and_rules_that_stand_there_twice,
    "Actions:
  INVALID_HASH:
    ByContainerImageName:
      - nginx: STOP
      - \"docker.io/library/nginx:latest\": SKIP
    Default: STOP
    Default: SKIP
  INVALID_HASH: {}
"
);

told!(
    wrong_types,
    "Actions:
  ENTRY_NOT_FOUND: STOP
  INVALID_HASH:
    ByContainerID:
      web: STOP
    ByContainerImageName: nginx
    ByPath:
      - /a: STOP
        /b: SKIP
      - /c
      - {}
    Default: [STOP]
  NO_WHITELIST:
    Default:
PORT: 70000
GracePeriod: 10
Restart: {Delay: 0s, Attempts: many}
"
);

told!(
    ids_and_digests_that_match_nothing_are_warnings,
    format!(
        "Actions:
  INVALID_HASH:
    ByContainerID:
      - {a}: STOP
      - {A}: STOP
      - \"nginx:latest\": STOP
    ByContainerImageDigest:
      - {a}: STOP
      - nginx: STOP
      - sha256:{AA}: STOP
      - md5:{a}: STOP
    ByContainerImageName:
      - Nginx: STOP
      - {aa}: STOP
",
        a = "a".repeat(63),
        A = "A".repeat(12),
        aa = "a".repeat(64),
        AA = "A".repeat(64),
    )
);

told!(
    actions_that_can_not_be_done_are_warnings,
    "Actions:
  SOURCE_LOST:
    ByPath:
      - /data/**: SKIP
    Default: DENY
Fallback:
  DENY: SKIP
"
);

told!(
    fallbacks_that_never_end,
    "Actions: {}
Fallback:
  KILL: STOP
  PAUSE: ISOLATE
  ISOLATE: PAUSE
"
);

told!(
    patterns_that_are_none,
    "Actions:
  ENTRY_NOT_FOUND:
    ByPath:
      - \"*.sh\": SKIP
      - /data**: SKIP
      - /lib[a: SKIP
      - /a/../b: SKIP
      - '/a\\q': SKIP
      - /data/: SKIP
    ByLabel:
      - =web: SKIP
    ByContainerImageName:
      - nginx:
          ByPath: []
"
);

/// Told by hand, since what each says is the point.
#[test]
fn code_directories_that_are_none() {
    for (line, told) in [
        ("[srv/app]", "`srv/app` does not begin with /"),
        ("[/srv/../app]", "a path here has no `..`"),
        ("[/srv/app**]", "`**` stands alone between slashes"),
        ("[\"\"]", "does not begin with /"),
        ("/srv/app", "expected a list of directories, found a scalar"),
        ("[/srv, /srv/]", "`/srv` is there twice"),
        ("[[/srv]]", "expected a directory, found a list"),
    ] {
        let file = format!("CodeDirectories:\n  Default: {line}\nActions: {{}}\n");
        let errors = Policy::parse("p.yaml", file.as_bytes()).unwrap_err().to_string();
        assert!(errors.contains(told), "{line}: {errors}");
    }
    let many = format!("Default: [{}]", (0..129).map(|n| format!("/{n},")).collect::<String>());
    let file = format!("CodeDirectories: {{{many}}}\nActions: {{}}\n");
    let errors = Policy::parse("p.yaml", file.as_bytes()).unwrap_err().to_string();
    assert!(errors.contains("more than 128 directories"), "{errors}");
    let file = b"CodeDirectories: {Default: [/srv/app/**]}\nActions: {}\n";
    let (_, warnings) = Policy::parse("p.yaml", file).unwrap();
    assert!(warnings[0].to_string().contains("write /srv/app/"), "{}", warnings[0]);
}

told!(anchors_are_refused, "Actions:\n  INVALID_HASH: &a\n    Default: STOP\n  NO_WHITELIST: *a\n");
told!(tags_are_refused, "Actions: !!map\n  INVALID_HASH: {}\n");
told!(a_second_document_is_refused, "Actions: {}\n---\nActions: {}\n");
told!(a_tab_for_indentation, "Actions:\n\tINVALID_HASH: {}\n");
told!(
    a_glob_without_quotes,
    "Actions:\n  ENTRY_NOT_FOUND:\n    ByPath:\n      - **/x: SKIP\n    Default: DENY\n"
);
told!(a_set_without_quotes, "Actions:\n  REPORT:\n    ByPath:\n      - [a-z]*: SKIP\n");
told!(
    names_that_no_image_has,
    "Actions:
  INVALID_HASH:
    ByContainerImageName:
      - \"https://registry.example/app\": SKIP
      - \"nginx:latest:1\": SKIP
      - \"team//app\": SKIP
    Default: STOP
"
);
told!(an_open_quote, "Actions:\n  INVALID_HASH:\n    Default: \"STOP\n");
told!(bytes_that_are_no_text, b"Actions:\n  # caf\xe9\n");
told!(an_empty_file, "# nothing\n");
told!(no_actions, "PORT: \"50051\"\n");
told!(a_list_for_a_policy, "- Actions\n");
told!(too_deep, format!("Actions: {}{}", "[".repeat(40), "]".repeat(40)));
told!(too_large, vec![b'#'; (1 << 20) + 1]);
told!(
    a_line_cannot_deceive,
    "Actions:\n  INVALID_HASH:\n    Default: \"STOP\u{202e}PIKS\" # \u{1b}[2J\t\u{200b}\n"
);
told!(
    a_long_line_is_cut_around_the_place,
    format!("Actions: {{INVALID_HASH: {{ByContainerID: [{{{}: STOPP}}]}}}}", "a".repeat(300))
);

#[test]
fn many_errors_are_counted_and_the_first_are_told() {
    let rules = "      - /x: NONE\n".repeat(10_000);
    let file = format!("Actions:\n  INVALID_HASH:\n    ByPath:\n{rules}");
    let errors = Policy::parse("policy.yaml", file.as_bytes()).unwrap_err();
    assert_eq!(errors.diagnostics.len(), 50);
    assert_eq!(errors.more, 9_950);
    assert!(errors.to_string().ends_with("and 9950 more\n"));
}
