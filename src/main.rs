//! The `bandfeed` program; its commands are in `bandfeed::cli`.

fn main() -> std::process::ExitCode {
    bandfeed::cli::run()
}
