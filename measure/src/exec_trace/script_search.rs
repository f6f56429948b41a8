//! Where an interpreter looks for what it was named, by its manual.

use crate::interpreter::{Family, Named};

/// The paths below a folder at which an interpreter looks for a name, one way after another:
/// all of the first at which there is something.
pub(super) fn ways(family: Option<Family>, named: Named, name: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let ending = |ends: &[&str]| ends.iter().map(|end| [name, end.as_bytes()].concat()).collect();
    let of_parts = |ends: &[&str]| {
        let path: Vec<u8> = name.iter().map(|b| if *b == b'.' { b'/' } else { *b }).collect();
        ends.iter().map(|end| vec![[&path[..], end.as_bytes()].concat()]).collect()
    };
    let is_path = [&b"/"[..], b"./", b"../"].iter().any(|begins| name.starts_with(begins));
    match (family, named) {
        // Its folders of libraries are not where the process is.
        (Some(Family::Ruby | Family::Node), Named::Library) if !is_path => Vec::new(),
        (Some(Family::Python), Named::Module) => {
            of_parts(&["/__main__.py", "/__main__.pyc", "/__init__.py", ".py", ".pyc"])
        }
        (Some(Family::Lua), Named::Library) => of_parts(&[".lua", "/init.lua"]),
        (Some(Family::Awk), Named::Library) => vec![ending(&[""]), ending(&[".awk"])],
        (Some(Family::Ruby), Named::Library) => vec![ending(&[""]), ending(&[".rb"])],
        (Some(Family::Emacs), Named::Library) => {
            vec![ending(&[".elc"]), ending(&[".el"]), ending(&[""])]
        }
        (Some(Family::Prolog), Named::Library) => vec![ending(&[""]), ending(&[".pl"])],
        // A folder's `__main__`, and what a `package.json` names or `index.js`.
        (Some(Family::Python), _) => {
            vec![ending(&[""]), ending(&["/__main__.py"]), ending(&["/__main__.pyc"])]
        }
        (Some(Family::Node), _) => {
            vec![ending(&[""]), ending(&[".js"]), ending(&["/package.json", "/index.js"])]
        }
        _ => vec![ending(&[""])],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interpreter_adds_what_a_name_lacks() {
        let all = |family, named, name: &str| {
            let ways = ways(family, named, name.as_bytes());
            let ways = ways.iter().map(|way| way.join(&b' '));
            String::from_utf8(ways.collect::<Vec<_>>().join(&b';')).unwrap()
        };
        assert_eq!(all(None, Named::Path, "x"), "x");
        assert_eq!(all(Some(Family::Shell), Named::Searched, "x"), "x");
        assert_eq!(all(Some(Family::Python), Named::Path, "x"), "x;x/__main__.py;x/__main__.pyc");
        assert_eq!(
            all(Some(Family::Python), Named::Module, "a.b"),
            "a/b/__main__.py;a/b/__main__.pyc;a/b/__init__.py;a/b.py;a/b.pyc"
        );
        assert_eq!(all(Some(Family::Node), Named::Path, "x"), "x;x.js;x/package.json x/index.js");
        assert_eq!(all(Some(Family::Lua), Named::Library, "a.b"), "a/b.lua;a/b/init.lua");
        assert_eq!(all(Some(Family::Ruby), Named::Library, "./x"), "./x;./x.rb");
        assert_eq!(all(Some(Family::Ruby), Named::Library, "json"), "");
        assert_eq!(all(Some(Family::Node), Named::Library, "dotenv/config"), "");
    }
}
