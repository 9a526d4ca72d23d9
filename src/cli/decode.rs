//! `bandfeed decode`: what each file decodes to, for a person or for a script.

use crate::DecodeError;
use crate::decode::{Decoder, Header, Limits, Pixels};
use crate::{Error, Result};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Decode images and say what came out: size, hash of the pixels, and why not.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Image files, and folders that are searched for images.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// One JSON object a line: file, outcome, width, height, sha256, sha256_stored, warning, error.
    #[arg(long)]
    json: bool,
    /// Write each image as a PNG into this folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Refuse images of more pixels.
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_pixels)]
    max_pixels: u64,
    /// Refuse JPEGs of more scans.
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_scans)]
    max_scans: u32,
    /// Call a JPEG corrupt where libjpeg warns of damage.
    #[arg(long)]
    strict: bool,
}

/// File names that are taken from a folder. What a file really is, its bytes tell.
const EXTENSIONS: [&str; 9] = ["jpg", "jpeg", "jpe", "png", "webp", "gif", "bmp", "tif", "tiff"];

/// Runs the command. Succeeds if every file decoded, fails with 1 if one did not.
///
/// # Errors
/// [`Error::Io`] for a folder that cannot be read or written, [`Error::Config`] for a limit of 0. Files that do not
/// decode are part of the output.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut decoder =
        Decoder::new(Limits { max_pixels: args.max_pixels, max_scans: args.max_scans })?.strict(args.strict);
    let mut files = Vec::new();
    for path in &args.paths {
        collect(path, &mut files)?;
    }
    if files.is_empty() {
        return Err(Error::Source {
            path: args.paths[0].clone(),
            reason: format!("no image in it; names that end in one of {} are taken", EXTENSIONS.join(", ")),
        });
    }
    let mut png_names = HashSet::new();
    if let Some(folder) = &args.out {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    }
    let mut out = std::io::stdout().lock();
    let mut failed = 0;
    for file in &files {
        let result = decode(&mut decoder, file);
        failed += usize::from(result.is_err());
        let line = if args.json { json_line(file, &result) } else { readable_line(file, &result) };
        if let Err(source) = writeln!(out, "{line}") {
            // The reader of a pipe may stop early, as `head` does: then there is no one to tell.
            return if source.kind() == std::io::ErrorKind::BrokenPipe {
                Ok(ExitCode::FAILURE)
            } else {
                Err(Error::Io { path: "standard output".into(), source })
            };
        }
        if let (Some(folder), Ok(decoded)) = (&args.out, &result) {
            write_png(folder, &png_name(file, &mut png_names), &decoded.pixels)?;
        }
    }
    if !args.json && files.len() > 1 {
        eprintln!("{} of {} files decoded", files.len() - failed, files.len());
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What one file gave.
struct Decoded {
    header: Header,
    sha256: String,
    sha256_stored: String,
    /// Upright.
    pixels: Pixels,
}

enum Failure {
    Io(std::io::Error),
    Decode(DecodeError),
}

impl Failure {
    fn outcome(&self) -> &'static str {
        match self {
            Self::Io(_) => "io",
            Self::Decode(DecodeError::Unsupported { .. }) => "unsupported",
            Self::Decode(DecodeError::Limit { .. }) => "limit",
            Self::Decode(_) => "corrupt",
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Decode(error) => error.fmt(f),
        }
    }
}

fn decode(decoder: &mut Decoder, file: &Path) -> Result<Decoded, Failure> {
    let bytes = std::fs::read(file).map_err(Failure::Io)?;
    let header = decoder.header(&bytes).map_err(Failure::Decode)?;
    let stored = decoder.decode_stored(&bytes, &header).map_err(Failure::Decode)?;
    let sha256_stored = hex_sha256(&stored.data);
    let pixels = header.orientation.apply(stored);
    Ok(Decoded { header, sha256: hex_sha256(&pixels.data), sha256_stored, pixels })
}

/// One line of `--json`. Fields that do not apply are left out.
#[derive(Default, Serialize)]
struct Line<'a> {
    file: String,
    /// `decode`, `unsupported`, `corrupt`, `limit` or `io`.
    outcome: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<String>,
    /// Columns of the upright image.
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u32>,
    /// EXIF value, 1 to 8.
    #[serde(skip_serializing_if = "Option::is_none")]
    orientation: Option<u16>,
    /// Of the RGB8 pixels, upright.
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<&'a str>,
    /// Of the RGB8 pixels before the orientation is applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256_stored: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

fn json_line(file: &Path, result: &Result<Decoded, Failure>) -> String {
    let file = file.display().to_string();
    let line = match result {
        Ok(Decoded { header, sha256, sha256_stored, pixels }) => Line {
            file,
            outcome: "decode",
            format: Some(format!("{:?}", header.format).to_lowercase()),
            width: Some(pixels.size.width),
            height: Some(pixels.size.height),
            orientation: Some(header.orientation.to_exif()),
            sha256: Some(sha256),
            sha256_stored: Some(sha256_stored),
            warning: pixels.warning.as_deref(),
            error: None,
        },
        Err(failure) => Line { file, outcome: failure.outcome(), error: Some(failure.to_string()), ..Line::default() },
    };
    serde_json::to_string(&line).expect("strings and numbers are always JSON")
}

fn readable_line(file: &Path, result: &Result<Decoded, Failure>) -> String {
    match result {
        Ok(Decoded { header, sha256, pixels, .. }) => {
            let mut line = format!(
                "{}: {:?} {}x{} sha256 {}",
                file.display(),
                header.format,
                pixels.size.width,
                pixels.size.height,
                &sha256[..16]
            );
            if let Some(warning) = &pixels.warning {
                line.push_str(&format!(" (warning: {warning})"));
            }
            line
        }
        Err(failure) => format!("{}: {failure}", file.display()),
    }
}

/// A file is taken whatever its name; of a folder, the images in it and below, in order of their paths.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let entries = std::fs::read_dir(path).and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>());
    let mut paths: Vec<PathBuf> = entries.map_err(Error::io(path))?.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        // A link to a folder could lead in circles.
        if path.is_dir() && !path.is_symlink() {
            collect(&path, files)?;
        } else if has_image_name(&path) && path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

fn has_image_name(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    extension.is_some_and(|e| EXTENSIONS.contains(&e.as_str()))
}

/// A name that no file of this run has taken: `cat.png`, then `cat-2.png`.
fn png_name(file: &Path, taken: &mut HashSet<String>) -> String {
    let stem = file.file_stem().map_or_else(|| "image".into(), |stem| stem.to_string_lossy());
    let mut name = format!("{stem}.png");
    let mut number = 2;
    while !taken.insert(name.clone()) {
        name = format!("{stem}-{number}.png");
        number += 1;
    }
    name
}

fn write_png(folder: &Path, name: &str, pixels: &Pixels) -> Result<()> {
    let path = folder.join(name);
    let (width, height) = (pixels.size.width, pixels.size.height);
    image::save_buffer_with_format(
        &path,
        &pixels.data,
        width,
        height,
        image::ExtendedColorType::Rgb8,
        image::ImageFormat::Png,
    )
    .map_err(|error| match error {
        image::ImageError::IoError(source) => Error::Io { path: path.clone(), source },
        other => Error::Io { path: path.clone(), source: std::io::Error::other(other) },
    })
}

fn hex_sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
