//! Globs against their definition, and the worst that one can be made to cost.

use super::*;
use lacre_types::escape;
use proptest::prelude::*;

fn matches(pattern: &str, text: impl AsRef<[u8]>) -> bool {
    Glob::new(pattern).unwrap().matches(text.as_ref())
}

#[test]
fn stars_stay_within_a_part_and_double_stars_do_not() {
    assert!(matches("/data/**", "/data/a/b"));
    assert!(!matches("/data/**", "/data"));
    assert!(!matches("/data/**", "/database/x"));
    assert!(matches("/data/*", "/data/a"));
    assert!(!matches("/data/*", "/data/a/b"));
    assert!(matches("/a/**/z", "/a/z"));
    assert!(matches("/a/**/z", "/a/b/c/z"));
    assert!(!matches("/a/**/z", "/a/b/c/zz"));
    assert!(matches("**/*.sh", "/x.sh"));
    assert!(matches("**/*.sh", "/a/b/x.sh"));
    assert!(matches("**", "/a/b"));
    assert!(matches("/**/a/**/b/*", "/a/x/a/b/b/c"));
    assert!(matches("*a*b", "/xxaxxb".trim_start_matches('/')));
    assert!(matches("/*", "/.hidden"));
}

#[test]
fn sets_and_escapes() {
    assert!(matches("/lib[0-9]", "/lib6") && !matches("/lib[0-9]", "/libx"));
    assert!(matches("/[!a]", "/b") && !matches("/[!a]", "/a"));
    assert!(matches("/[]a-]", "/]") && matches("/[]a-]", "/-"));
    assert!(matches(r"/\*", "/*") && !matches(r"/\*", "/x"));
    assert!(matches(r"/\xff\n\u{202e}", b"/\xff\n\xe2\x80\xae"));
    assert!(matches("/?", b"/\xff") && !matches("/?", "//"));
}

#[test]
fn what_is_no_glob_is_refused() {
    assert_eq!(Glob::new(""), Err(GlobError::Empty));
    assert_eq!(Glob::new("/a**"), Err(GlobError::Stars));
    assert_eq!(Glob::new("/[a"), Err(GlobError::Set));
    assert_eq!(Glob::new("/[z-a]"), Err(GlobError::Set));
    assert_eq!(Glob::new("/[a/b]"), Err(GlobError::Set));
    assert_eq!(Glob::new("/a\\"), Err(GlobError::Escape));
    assert_eq!(Glob::new(r"/\xf"), Err(GlobError::Escape));
    assert_eq!(Glob::new(r"/\q"), Err(GlobError::Escape));
    assert_eq!(Glob::new(&"/a".repeat(3000)), Err(GlobError::TooLong(6000)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn it_matches_what_the_definition_says(
        pattern in "(/(\\*\\*|[ab*?]{0,4})){1,4}", text in "(/[ab]{0,4}){1,5}",
    ) {
        if let Ok(glob) = Glob::new(&pattern) {
            let expected = crate::fuzz::defined(pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(glob.matches(text.as_bytes()), expected, "{} {}", pattern, text);
            if expected {
                prop_assert!(text.as_bytes().starts_with(&glob.prefix()));
            }
        }
    }

    #[test]
    fn a_path_pasted_from_a_record_matches_itself_alone(
        path in prop::collection::vec(any::<u8>(), 1..16),
        other in prop::collection::vec(any::<u8>(), 1..16),
    ) {
        let mut pattern = String::new();
        for c in escape(&path).chars() {
            if matches!(c, '*' | '?' | '[') {
                pattern.push('\\');
            }
            pattern.push(c);
        }
        let glob = Glob::new(&pattern).unwrap();
        prop_assert_eq!(glob.literal(), Some(path.clone()));
        prop_assert!(glob.matches(&path));
        prop_assert_eq!(glob.matches(&other), path == other);
    }
}

#[test]
fn the_worst_pattern_and_path_take_bounded_time() {
    let glob = Glob::new(&format!("/{}b", "a*".repeat(100))).unwrap();
    let parts = Glob::new(&format!("{}b", "**/a/".repeat(100))).unwrap();
    let started = std::time::Instant::now();
    assert!(!glob.matches(format!("/{}", "a".repeat(4095)).as_bytes()));
    assert!(!parts.matches("/a".repeat(2048).as_bytes()));
    assert!(started.elapsed() < std::time::Duration::from_millis(500), "{:?}", started.elapsed());
}
