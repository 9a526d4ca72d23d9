//! The commit of the source tree that the program was built from.
//!
//! Asked at run time: a build script that writes it into the program would build the crate again at each commit.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// As `git describe --always --dirty` names it, with ` (program older)` where the program's file is older than that commit.
pub(super) fn of_this_program() -> Option<String> {
    let built = std::env::current_exe().and_then(std::fs::metadata).and_then(|meta| meta.modified()).ok();
    of(Path::new(env!("CARGO_MANIFEST_DIR")), built)
}

/// The commit of a tree, for a program built at that time.
fn of(tree: &Path, built: Option<SystemTime>) -> Option<String> {
    // A package that was downloaded may lie in a folder of someone's own repository, which knows nothing of it.
    git(tree, &["ls-files", "--error-unmatch", "Cargo.toml"])?;
    let name = git(tree, &["describe", "--always", "--dirty", "--abbrev=12"])?;
    let seconds = git(tree, &["log", "-1", "--format=%ct"])?.parse().ok()?;
    let older = built.is_some_and(|built| built < UNIX_EPOCH + Duration::from_secs(seconds));
    Some(if older { name + " (program older)" } else { name })
}

/// What git prints, or nothing where there is no git, no repository, or it refuses.
fn git(tree: &Path, words: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    command.arg("-C").arg(tree).args(words);
    // Set where git itself runs the program, for a repository that may be another one.
    command.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE").env_remove("GIT_INDEX_FILE");
    command.env("GIT_OPTIONAL_LOCKS", "0");
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git_in(tree: &Path, words: &[&str]) -> bool {
        let mut command = Command::new("git");
        command.arg("-C").arg(tree).args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]);
        command.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE").env_remove("GIT_INDEX_FILE");
        command.args(words).output().is_ok_and(|output| output.status.success())
    }

    #[test]
    fn a_tree_is_named_and_a_stale_program_is_not_passed_off() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path();
        if !git_in(tree, &["init", "-q"]) {
            return eprintln!("not run: this machine has no git");
        }
        std::fs::write(tree.join("other"), "1").unwrap();
        assert!(git_in(tree, &["add", "other"]) && git_in(tree, &["commit", "-q", "-m", "a"]));
        std::fs::write(tree.join("Cargo.toml"), "1").unwrap();
        assert_eq!(of(tree, None), None, "the repository does not have the package");

        assert!(git_in(tree, &["add", "Cargo.toml"]) && git_in(tree, &["commit", "-q", "-m", "b"]));
        let hour = Duration::from_secs(3600);
        let clean = of(tree, Some(SystemTime::now() + hour)).unwrap();
        assert!(clean.len() >= 12 && clean.chars().all(|c| c.is_ascii_hexdigit()), "{clean}");
        assert_eq!(of(tree, Some(SystemTime::now() - hour)).unwrap(), format!("{clean} (program older)"));
        std::fs::write(tree.join("Cargo.toml"), "2").unwrap();
        assert_eq!(of(tree, Some(SystemTime::now() + hour)).unwrap(), format!("{clean}-dirty"));
    }

    #[test]
    fn without_a_tree_nothing_is_told() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(of(&folder.path().join("gone"), None), None);
    }
}
