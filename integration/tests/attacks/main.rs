//! The attack suite: every attack of the corpus, in audit and in enforce mode, against
//! every source; the outcome of each is what the host saw, not what lacre says of itself.

#[macro_use]
mod perl;

mod classes;
mod corpus;
mod document;
mod field;
mod matrix;
mod scripts;

use corpus::attacks;
use field::{Field, Seen};
use matrix::{Column, Matrix};

/// What `lacre doctor` foretells is what was measured.
#[test]
fn the_forecast_is_what_the_table_has() {
    let page = include_str!("../../../docs/attacks.md");
    let (rows, wrong) = matrix::contradictions_of_the_page(page);
    assert_eq!(rows, corpus::all().count(), "every attack is in the table");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Each attack has a class, and one alone.
#[test]
fn every_attack_has_its_class() {
    for attack in corpus::all() {
        let count = classes::CLASSES.iter().filter(|(_, ids)| ids.contains(&attack.id)).count();
        assert_eq!(count, 1, "{}", attack.id);
    }
    let known = |id: &&str| corpus::all().any(|attack| attack.id == *id);
    let listed = classes::CLASSES.iter().flat_map(|(_, ids)| *ids);
    let strangers: Vec<_> = listed.chain(classes::OUTSIDE_TMP).filter(|id| !known(id)).collect();
    assert!(strangers.is_empty(), "of no attack: {strangers:?}");
    let empty = lacre_doctor::Class::ALL
        .iter()
        .filter(|class| !classes::CLASSES.iter().any(|(of, _)| of == *class));
    assert_eq!(empty.count(), 0, "a class that nothing measures");
}

/// The attacks work at all: with the bare inner shim, each of them leaves its mark.
#[test]
fn every_attack_succeeds_without_lacre() -> anyhow::Result<()> {
    let field = Field::control()?;
    let failed: Vec<_> = attacks()
        .into_iter()
        .map(|attack| field.run(attack).map(|seen| (attack.id, seen)))
        .collect::<anyhow::Result<Vec<_>>>()?
        .into_iter()
        .filter(|(_, seen)| !matches!(seen, Seen::Miss))
        .collect();
    assert!(failed.is_empty(), "did not succeed under runc alone: {failed:?}");
    Ok(())
}

/// What the sources promise together, in the configuration that `auto` gives.
#[test]
fn nothing_foreign_runs_unnoticed() -> anyhow::Result<()> {
    let columns = if std::env::var_os("LACRE_ATTACKS_OUT").is_some() {
        Column::ALL
    } else {
        Column::PROMISED
    };
    let matrix = Matrix::measure(columns)?;
    println!("{}", matrix.markdown());
    if let Some(path) = std::env::var_os("LACRE_ATTACKS_OUT") {
        std::fs::write(lacre_integration::paths::repository().join(path), matrix.document())?;
    }
    let broken = matrix.broken_promises();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    Ok(())
}
