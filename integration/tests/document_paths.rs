//! What the documents name is there: files and headings that they link to, paths of this tree, and
//! what `make` is to do.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, ensure};
use lacre_integration::paths::repository;

/// What a build leaves, and what is not this tree's.
const PASSED_OVER: [&str; 4] = ["target", ".git", ".cache", "node_modules"];

fn documents(folder: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (name, path) = (entry.file_name(), entry.path());
        if PASSED_OVER.iter().any(|one| name == *one) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            documents(&path, into)?;
        } else if path.extension().is_some_and(|it| it == "md") {
            into.push(path);
        }
    }
    Ok(())
}

/// The lines of a document outside its blocks of code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !fence && !in_code
    })
}

/// The names by which a page's headings are linked to, as GitHub makes them.
fn headings(text: &str) -> BTreeSet<String> {
    let mut seen = BTreeMap::<String, u32>::new();
    let titles = prose(text).filter(|line| line.starts_with('#'));
    let name = |title: &str| -> String {
        let title = title.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    let mut all = BTreeSet::new();
    for title in titles {
        let name = name(title);
        let again = seen.entry(name.clone()).or_default();
        all.insert(if *again == 0 { name } else { format!("{name}-{again}") });
        *again += 1;
    }
    all
}

/// Where its links lead to, but for those into the net.
fn links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    let targets = targets.map(|(target, _)| target);
    targets.filter(|it| !it.contains("://") && !it.contains(' ') && !it.is_empty()).collect()
}

/// What stands between backticks in its lines of prose.
fn quoted(text: &str) -> Vec<&str> {
    prose(text).flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

/// `a/{b,c}` as `a/b` and `a/c`.
fn alternatives(path: &str) -> Vec<String> {
    let Some((head, rest)) = path.split_once('{') else { return vec![path.to_owned()] };
    let Some((all, tail)) = rest.split_once('}') else { return vec![path.to_owned()] };
    all.split(',').flat_map(|one| alternatives(&format!("{head}{one}{tail}"))).collect()
}

/// A path of this tree, by its first folder; without names that stand for others, as `TARGET`.
fn of_tree<'a>(word: &'a str, root: &Path) -> Option<&'a str> {
    let word = word.trim_end_matches('/');
    let (first, _) = word.split_once('/')?;
    let plain = |c: char| c.is_alphanumeric() || "-_./{},".contains(c);
    let stands_for = |part: &str| {
        PASSED_OVER.contains(&part)
            || part.contains("..")
            || part.chars().all(|c| c.is_uppercase()) && !part.is_empty()
    };
    let known = root.join(first).is_dir() || root.join("shim/src").join(first).is_dir();
    let is =
        !first.is_empty() && known && word.chars().all(plain) && !word.split('/').any(stands_for);
    is.then_some(word)
}

fn normal(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

#[test]
fn whatever_a_document_names_is_there() -> Result<()> {
    let root = repository();
    let mut pages = Vec::new();
    documents(&root, &mut pages)?;
    ensure!(pages.len() > 20, "{pages:?}");
    let read = |path: &Path| fs::read_to_string(path).with_context(|| path.display().to_string());
    let makefile = read(&root.join("Makefile"))?;
    let made: BTreeSet<&str> =
        makefile.lines().filter_map(|line| Some(line.split_once(':')?.0)).collect();
    let mut wrong = Vec::new();
    for page in &pages {
        let (text, folder) = (read(page)?, page.parent().context("a folder")?);
        let name = page.strip_prefix(&root)?.display().to_string();
        for link in links(&text) {
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let to = if path.is_empty() { page.clone() } else { normal(&folder.join(path)) };
            if !to.exists() {
                wrong.push(format!("{name} links to {link}"));
            } else if !heading.is_empty()
                && to.extension().is_some_and(|it| it == "md")
                && !headings(&read(&to)?).contains(heading)
            {
                wrong.push(format!("{name} links to {link}, and there is no such heading"));
            }
        }
        for word in quoted(&text) {
            if let Some(rest) = word.strip_prefix("make ") {
                let target = rest.split(' ').find(|it| !it.contains('='));
                if target.is_some_and(|it| !made.contains(it)) {
                    wrong.push(format!("{name} says `{word}`"));
                }
            }
            for path in of_tree(word, &root).into_iter().flat_map(alternatives) {
                let places =
                    [root.join(&path), folder.join(&path), root.join("shim/src").join(&path)];
                if !places.iter().any(|it| it.exists()) {
                    wrong.push(format!("{name} names `{path}`"));
                }
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn what_is_not_there_is_found() {
    let text = "# A `b`, c\n\nsee [x](../y.md#a-b-c) and `integration/none.rs`\n\n```\n# no `z/z`\n```\n# A b c\n";
    assert_eq!(links(text), ["../y.md#a-b-c"]);
    assert_eq!(headings(text), ["a-b-c", "a-b-c-1"].map(str::to_owned).into());
    assert_eq!(quoted(text), ["b", "integration/none.rs"]);
    let root = repository();
    assert_eq!(of_tree("integration/none.rs", &root), Some("integration/none.rs"));
    assert_eq!(of_tree("relay/calls.rs", &root), Some("relay/calls.rs"));
    for other in [
        "fuzz/corpus/TARGET/",
        "usr/bin",
        "NAMESPACE/ID",
        "docs",
        "fuzz/target/found",
        "target/soak/",
    ] {
        assert_eq!(of_tree(other, &root), None, "{other}");
    }
    assert_eq!(alternatives("a/{b,c}.rs"), ["a/b.rs", "a/c.rs"]);
}
