//! `bandfeed doctor`, `completions` and `man` as a person runs them.
#![cfg(feature = "cli")]

use std::path::Path;
use std::process::{Command, Output};

fn run(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bandfeed")).args(words).output().expect("the program starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn demo_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let data = bandfeed::demo_data::DemoData { train_per_class: 4, val_per_class: 1, side: 64, ..Default::default() };
    data.write(folder.path()).unwrap();
    folder
}

/// The commands that `bandfeed --help` lists.
fn commands() -> Vec<String> {
    let help = stdout(&run(&["--help"]));
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| {
        line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '))?.split(' ').next().map(str::to_owned)
    });
    let names: Vec<String> = names.filter(|name| name != "help" && !name.starts_with('[')).collect();
    assert!(names.iter().any(|name| name == "doctor") && names.iter().any(|name| name == "bench"), "{help}");
    names
}

fn lines(report: &serde_json::Value) -> Vec<(String, String, String)> {
    let text = |line: &serde_json::Value, key: &str| line[key].as_str().unwrap().to_owned();
    let sections = report["sections"].as_array().unwrap().iter();
    sections
        .flat_map(|section| section["lines"].as_array().unwrap())
        .map(|line| (text(line, "mark"), text(line, "name"), text(line, "text")))
        .collect()
}

#[test]
fn without_a_source_the_machine_is_told() {
    let output = run(&["doctor"]);
    let page = stdout(&output);
    assert!(output.status.success(), "{page}{}", String::from_utf8_lossy(&output.stderr));
    for word in
        ["Processor\n", "Memory and limits\n", "Engines and devices\n", "Advice\n", "cpu ", "usable (", "--workers "]
    {
        assert!(page.contains(word), "{word} is missing:\n{page}");
    }
    assert!(!page.contains('\x1b'), "colours are for terminals");
    let long: Vec<&str> = page.lines().skip(1).filter(|line| line.chars().count() > 100).collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn a_short_loader_gets_measured_advice_for_folder_and_bands() {
    let data = demo_folder();
    let train = data.path().join("train");
    let words = ["doctor", train.to_str().unwrap(), "--json", "--seconds", "0.02", "--train-images-per-second", "1e6"];
    let fit = ["--base", "64", "--patch", "16", "--batch-size", "16", "--epochs", "2", "--recipe", "deit_small"];
    let output = run(&[&words[..], &fit, &["--schedule", "efficient_train_pp_deit"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["possible"], &report["data"]["folder"]), (&true.into(), &true.into()));
    assert!(report["machine"]["features"].is_array() && report["host"]["usable_cores"].as_u64() >= Some(1));
    let bands = report["by_band"].as_array().unwrap();
    assert_eq!(bands.last().unwrap()["band"], 64);
    let small = &bands[0];
    assert_eq!(small["needed"], 1e6 * (64.0 / small["band"].as_f64().unwrap()).powi(2));
    assert!(small["on_band"].as_f64() > Some(0.0) && !small["replayed"].as_array().unwrap().is_empty(), "{small}");
    assert!(bands.last().unwrap()["replayed"].as_array().unwrap().is_empty(), "the base size has no replay");
    let lines = lines(&report);
    for name in ["base size", "short", "still short"] {
        assert!(lines.iter().any(|(mark, found, _)| mark == "note" && found == name), "{name}: {lines:#?}");
    }
    let command: Vec<&str> = report["command"].as_array().unwrap().iter().filter_map(|word| word.as_str()).collect();
    assert_eq!(command[..4], ["bandfeed", "train", "--train", train.to_str().unwrap()]);
    for words in [["--recipe", "deit_small"], ["--base", "64"], ["--batch-size", "16"]] {
        assert!(command.windows(2).any(|pair| pair == words), "{command:?}");
    }
    assert!(command.contains(&"--replay") && command.contains(&"--workers"), "{command:?}");
}

#[test]
fn a_bad_file_is_warned_of_once_by_all_measurements_together() {
    let data = demo_folder();
    let train = data.path().join("train");
    let class = std::fs::read_dir(&train).unwrap().next().unwrap().unwrap().path();
    for image in std::fs::read_dir(class).unwrap().flatten() {
        std::fs::write(image.path(), b"no image").unwrap();
    }
    let words = ["doctor", train.to_str().unwrap(), "--seconds", "0.1", "--base", "64", "--batch-size", "16"];
    let output = run(&words);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}{errors}", stdout(&output));
    let warned = errors.lines().filter(|line| line.contains("bad file")).count();
    assert!((1..=4).contains(&warned), "{warned} for 4 files: {errors}");
}

#[test]
fn what_makes_training_impossible_is_a_problem_and_the_status_is_1() {
    let long = run(&["doctor", "--seconds", "1e30"]);
    assert!(String::from_utf8_lossy(&long.stderr).contains("at most a day") && long.status.code() == Some(2));

    let gone = run(&["doctor", "/not/here"]);
    let page = stdout(&gone);
    assert_eq!(gone.status.code(), Some(1), "{page}");
    let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(page.contains("problem source") && page.contains("/not/here") && page.contains("Processor"), "{page}");
    assert!(!page.contains("bandfeed train"), "{page}");

    let data = demo_folder();
    let train = data.path().join("train");
    let train = train.to_str().unwrap();
    let large = run(&["doctor", train, "--seconds", "0.02", "--batch-size", "100000"]);
    assert_eq!(large.status.code(), Some(1));
    assert!(stdout(&large).contains("batch"), "{}", stdout(&large));

    for class in std::fs::read_dir(train).unwrap().flatten() {
        for image in std::fs::read_dir(class.path()).unwrap().flatten() {
            std::fs::write(image.path(), b"no image").unwrap();
        }
    }
    let broken = run(&["doctor", train, "--seconds", "0.02"]);
    assert_eq!(broken.status.code(), Some(1));
    assert!(stdout(&broken).contains("48 of 48 give no image"), "{}", stdout(&broken));
}

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(&["completions", shell]);
        assert!(output.status.success(), "{shell}");
        let script = stdout(&output);
        for command in commands() {
            assert!(script.contains(&command), "{shell} does not know {command}");
        }
        assert!(script.contains("train-images-per-second"), "{shell}");
    }
    assert!(!run(&["completions", "cmd"]).status.success());
}

#[test]
fn bash_reads_its_completions() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("bandfeed");
    std::fs::write(&script, run(&["completions", "bash"]).stdout).unwrap();
    let Ok(checked) = Command::new("bash").arg("-n").arg(&script).output() else {
        return eprintln!("not run: this machine has no bash");
    };
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let ask = format!(
        "source '{}'; COMP_WORDS=(bandfeed doc); COMP_CWORD=1; _bandfeed bandfeed doc bandfeed; echo \"${{COMPREPLY[@]}}\"",
        script.display()
    );
    let answer = Command::new("bash").args(["-c", &ask]).output().unwrap();
    assert_eq!(stdout(&answer).trim(), "doctor", "{}", String::from_utf8_lossy(&answer.stderr));
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("man1");
    assert!(run(&["man", "--out", out.to_str().unwrap()]).status.success());
    let page = |name: &str| std::fs::read_to_string(out.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let is_page = |text: &str| text.lines().any(|line| line.starts_with(".TH ")) && text.contains(".SH NAME");
    for command in commands() {
        let text = page(&format!("bandfeed-{command}.1"));
        assert!(is_page(&text) && text.contains(&format!("bandfeed\\-{command}")), "{command}: {text:.300}");
    }
    assert!(page("bandfeed-bench-loader.1").contains("Images a second"));
    assert!(!Path::new(&out).join("bandfeed-help.1").exists());
    let main = run(&["man"]);
    assert!(main.status.success() && is_page(&stdout(&main)));
    assert_eq!(stdout(&main), page("bandfeed.1"));
}
