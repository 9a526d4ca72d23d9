//! `bandfeed completions` and `bandfeed man`: what shells and `man` want to know, made from the program's own arguments.

use crate::{Error, Result};
use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// The shell.
    shell: Shell,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Manual {
    /// Write bandfeed.1 and a page for each command into this folder [default: the main page to standard output].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// The whole program, without the `help` command, which would double every other one.
fn program() -> clap::Command {
    super::Cli::command().disable_help_subcommand(true)
}

/// Prints the shell's script to standard output.
pub(crate) fn completions(args: &Completions) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut program(), "bandfeed", &mut script);
    super::print(&String::from_utf8_lossy(&script))
}

/// Prints the main page, or writes all pages into a folder.
pub(crate) fn manual(args: &Manual) -> Result<()> {
    let mut program = program();
    program.build();
    let Some(out) = &args.out else { return super::print(&page(&man(&program))) };
    std::fs::create_dir_all(out).map_err(Error::io(out))?;
    let mut pages = 0;
    write(&program, out, &mut pages)?;
    eprintln!("wrote {pages} pages to {}; read them with `man {}`", out.display(), out.join("bandfeed.1").display());
    Ok(())
}

/// The page of a command and those of its subcommands: bandfeed-bench.1, bandfeed-bench-loader.1.
fn write(command: &clap::Command, out: &Path, pages: &mut usize) -> Result<()> {
    let man = man(command);
    let path = out.join(man.get_filename());
    std::fs::write(&path, page(&man)).map_err(Error::io(&path))?;
    *pages += 1;
    command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .try_for_each(|command| write(command, out, pages))
}

fn man(command: &clap::Command) -> Man {
    // Else a subcommand's page would be of the program "doctor 0.1.0".
    Man::new(command.clone()).source(concat!("bandfeed ", env!("CARGO_PKG_VERSION")))
}

fn page(man: &Man) -> String {
    let mut text = Vec::new();
    man.render(&mut text).expect("writing to memory does not fail");
    String::from_utf8_lossy(&text).into_owned()
}
