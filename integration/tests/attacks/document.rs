//! The page of the attacks is that of this corpus: what only a run of `make attacks` can tell is
//! the outcomes, and all else of the page is in the code.

use crate::matrix::{Column, Matrix};

const OUTCOMES: [&str; 4] = ["DENY", "KILL", "REPORT", "MISS"];

/// The page with `?` for each outcome in its table, and what else stands in place of one.
fn without_outcomes(page: &str) -> (String, Vec<&str>) {
    let (mut text, mut odd) = (String::new(), Vec::new());
    for line in page.lines() {
        // An attack's own words may have a bar in them: the outcomes are counted from the end.
        let mut cells: Vec<&str> = line.split(" | ").collect();
        let first = cells.len().saturating_sub(Column::ALL.len());
        if line.starts_with("| A") && first > 0 {
            for cell in &mut cells[first..] {
                let word = cell.strip_suffix(" |").unwrap_or(cell);
                if !OUTCOMES.contains(&word) {
                    odd.push(line);
                }
                *cell = if word == *cell { "?" } else { "? |" };
            }
        }
        text.push_str(&cells.join(" | "));
        text.push('\n');
    }
    (text, odd)
}

#[test]
fn the_page_is_of_these_attacks_and_columns() -> anyhow::Result<()> {
    if std::env::var_os("LACRE_ATTACKS").is_some() {
        let why = "the page has all attacks, and not only those of LACRE_ATTACKS";
        return lacre_integration::not_run("the page of the attacks", why);
    }
    let page = lacre_integration::paths::repository().join("docs/attacks.md");
    let page = std::fs::read_to_string(page)?;
    let (page, odd) = without_outcomes(&page);
    assert!(odd.is_empty(), "docs/attacks.md has no outcome in: {odd:#?}");
    let expected = Matrix::unmeasured(Column::ALL).document();
    let lines: Vec<_> = page.lines().collect();
    let wanted: Vec<_> = expected.lines().collect();
    let lacking: Vec<_> = wanted.iter().filter(|line| !lines.contains(line)).collect();
    let foreign: Vec<_> = lines.iter().filter(|line| !wanted.contains(line)).collect();
    assert!(
        page == expected,
        "docs/attacks.md is of another corpus (`make attacks` writes it):\nit lacks {lacking:#?}\n\
         and has {foreign:#?}"
    );
    Ok(())
}
