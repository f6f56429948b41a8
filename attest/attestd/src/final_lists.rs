//! The kernel's lists whose containers have ended, which shims write down.

use std::fs;
use std::path::Path;

use lacre_attest::container::final_list::{about_of, list_of, lists, remove};
use lacre_attest::tpm::seq;

use crate::shim_lists::STAYS;

/// Removes those that ended long ago, and what shims that died have told of others.
/// `containers` is the kernel's folder.
pub(crate) fn tidy(folder: &Path, containers: &Path) {
    for (number, about) in lists(folder).unwrap_or_default() {
        let told = || fs::metadata(about_of(folder, number));
        let then = fs::metadata(list_of(folder, number)).or_else(|_| told());
        let then = then.and_then(|metadata| metadata.modified());
        let old = then.ok().and_then(|then| then.elapsed().ok()).is_some_and(|old| old > STAYS);
        if old && seq(&containers.join(&about.id)) != Some(number) {
            remove(folder, number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use lacre_attest::container::Secret;
    use lacre_attest::container::final_list::{begin, end};
    use lacre_attest::container::shim_list::About;

    use super::*;

    #[test]
    fn what_ended_long_ago_goes_and_what_lives_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, containers) = (dir.path().join("ended"), dir.path().join("containers"));
        fs::create_dir_all(containers.join("lives")).unwrap();
        fs::write(containers.join("lives/info"), "seq 1\n").unwrap();
        fs::create_dir(&folder).unwrap();
        let names = ["lives", "left", "old", "new"];
        for (seq, id) in (1..).zip(names) {
            let about = About { id: id.to_owned(), image: None, secret: Secret::new([7; 32]) };
            begin(&folder, seq, &about).unwrap();
        }
        for seq in [3, 4] {
            end(&folder, seq, &b"list"[..]).unwrap();
        }
        for path in (1..=4).map(|seq| about_of(&folder, seq)).chain([list_of(&folder, 3)]) {
            let file = fs::File::options().append(true).open(path).unwrap();
            file.set_modified(SystemTime::now() - 2 * STAYS).unwrap();
        }
        tidy(&folder, &containers);
        let stay: Vec<_> = lists(&folder).unwrap().into_iter().map(|(_, about)| about.id).collect();
        assert_eq!(stay, ["lives", "new"]);
        assert!(!list_of(&folder, 3).exists());
    }
}
