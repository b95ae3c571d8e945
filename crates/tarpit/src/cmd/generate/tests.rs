//! Pages for packages: complete, and such that man(1) takes them.

use std::process::{Command, Stdio};

use clap::CommandFactory as _;

use super::*;

fn made(page: Page) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let args = Generate {
        page,
        dir: Some(folder.path().join("new")),
    };
    run(&args).unwrap();
    folder
}

#[test]
fn there_is_a_page_for_each_command_that_is_shown() {
    let folder = made(Page::Man);
    let mut names: Vec<String> = Tarpit::command()
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set())
        .map(|sub| format!("tarpit-{}.8", sub.get_name()))
        .collect();
    let deeper = ["add", "list", "remove"].map(|word| format!("tarpit-exempt-{word}.8"));
    names.extend(deeper);
    names.extend(["tarpit.8".to_owned(), "tarpit.toml.5".to_owned()]);
    names.sort();
    let mut found: Vec<String> = fs::read_dir(folder.path().join("new"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(found, names);
    let run = fs::read_to_string(folder.path().join("new/tarpit-run.8")).unwrap();
    for word in ["tarpit\\-run", "\\-\\-config", "SIGHUP", "78", "TARPIT_LOG"] {
        assert!(run.contains(word), "{word}: {run}");
    }
}

/// What groff warns about is a mistake in a page. Where there is no groff, the text is looked at
/// alone.
#[test]
fn groff_takes_every_page() {
    let folder = made(Page::Man);
    for entry in fs::read_dir(folder.path().join("new")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("\n.SH NAME"), "{text}");
        let checked = Command::new("groff")
            .args(["-man", "-Tutf8", "-ww", "-z"])
            .arg(&path)
            .stdin(Stdio::null())
            .output();
        if let Ok(output) = checked {
            assert!(
                output.status.success() && output.stderr.is_empty(),
                "{}: {}",
                path.display(),
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}

#[test]
fn each_shell_gets_its_completions() {
    let folder = made(Page::Completions);
    for name in ["tarpit.bash", "_tarpit", "tarpit.fish"] {
        let text = fs::read_to_string(folder.path().join("new").join(name)).unwrap();
        for word in ["verify", "config"] {
            assert!(text.contains(word), "{name} knows no {word}");
        }
    }
    let bash = folder.path().join("new/tarpit.bash");
    let checked = Command::new("bash").arg("-n").arg(bash).status();
    assert!(checked.unwrap().success());
}

#[test]
fn several_files_need_a_folder() {
    for page in [Page::Man, Page::Completions] {
        let error = run(&Generate { page, dir: None }).unwrap_err();
        assert!(error.to_string().contains("--dir"), "{error}");
    }
}
