//! The index of one shard.

use super::label::Label;
use crate::error::{Error, Result};
use crate::index::Stamp;
use crate::source::names::Names;
use crate::source::{IMAGE_EXTENSIONS, is_image};
use memmap2::Mmap;
use std::fs::File;
use std::io::Cursor;
use std::path::Path;
use tar::EntryType;

/// Maps a shard.
pub(super) fn map(path: &Path) -> Result<(Mmap, Stamp)> {
    let file = File::open(path).map_err(Error::io(path))?;
    let meta = file.metadata().map_err(Error::io(path))?;
    if !meta.is_file() {
        return Err(Error::source(path, "is not a regular file; expected a .tar shard"));
    }
    if meta.len() == 0 {
        return Err(Error::source(path, "the file is empty; expected a .tar shard"));
    }
    // SAFETY: the map is only read. That the file is neither truncated nor written to while it is open cannot be enforced
    // portably; it is a condition that the documentation of `Tar` puts on the caller.
    let map = unsafe { Mmap::map(&file) }.map_err(Error::io(path))?;
    Ok((map, Stamp::of_open(&meta)))
}

/// Where the samples of one shard are.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// First byte of each image in the shard.
    pub offsets: Vec<u64>,
    /// Length of each image in bytes.
    pub sizes: Vec<u32>,
    pub labels: Vec<Label>,
    /// Path of each image in the shard.
    pub names: Names,
    pub ignored: u64,
}

impl Index {
    /// Walks the headers of a shard; of the data only labels are touched.
    pub(super) fn of(path: &Path, bytes: &[u8]) -> Result<Self> {
        let mut builder = Builder { path, bytes, index: Self::default(), group: Group::default() };
        let mut archive = tar::Archive::new(Cursor::new(bytes));
        let entries = archive.entries_with_seek().map_err(|error| damaged(path, bytes, 0, &error.to_string()))?;
        let mut end = 0;
        let mut end_is_known = true;
        for entry in entries {
            let entry = entry.map_err(|error| damaged(path, bytes, end, &error.to_string()))?;
            let (offset, size) = (entry.raw_file_position(), entry.size());
            let kind = entry.header().entry_type();
            // The size of a sparse member is not what it takes in the shard. Such a member is never an image here.
            end_is_known = kind != EntryType::GNUSparse;
            if end_is_known {
                let stop = offset.checked_add(size).filter(|&stop| stop <= bytes.len() as u64);
                let Some(stop) = stop else {
                    let name = entry.path_bytes();
                    let reason = format!(
                        "truncated: the member {} needs {size} bytes from byte {offset}, but the file ends at {}",
                        String::from_utf8_lossy(&name),
                        bytes.len()
                    );
                    return Err(Error::source(path, reason));
                };
                end = stop.next_multiple_of(512);
            }
            let name = entry.path_bytes();
            // Old tars mark a folder by nothing but the slash at the end of its name.
            if !matches!(kind, EntryType::Directory | EntryType::XGlobalHeader) && !name.ends_with(b"/") {
                builder.member(&name, kind, offset, size)?;
            }
        }
        // An archive ends with two blocks of zeros. Without them the last members may be lost, with nothing to show it.
        if end + 512 > bytes.len() as u64 {
            let reason = format!("ends at byte {} without tar's closing blocks; it may be cut short", bytes.len());
            tracing::warn!(shard = %path.display(), "{reason}");
        } else if end_is_known {
            nothing_after(path, bytes, end)?;
        }
        builder.close()?;
        Ok(builder.index)
    }
}

/// Refuses what follows the closing blocks: readers of tar stop there, and would lose it in silence.
fn nothing_after(path: &Path, bytes: &[u8], end: u64) -> Result<()> {
    let Some(more) = bytes[end as usize..].iter().position(|&byte| byte != 0) else { return Ok(()) };
    let more = end + more as u64;
    Err(Error::source(
        path,
        format!(
            "the archive ends at byte {end}, but more data follows at byte {more}; if archives were joined with cat, keep \
             each as a shard of its own or join them with tar --concatenate"
        ),
    ))
}

/// Names what a damaged shard may be.
fn damaged(path: &Path, bytes: &[u8], offset: u64, found: &str) -> Error {
    let packed =
        [("gzip", b"\x1f\x8b".as_slice()), ("zstd", b"\x28\xb5\x2f\xfd"), ("xz", b"\xfd7zXZ"), ("bzip2", b"BZh")];
    if let Some((kind, _)) = packed.iter().find(|(_, magic)| bytes.starts_with(magic)) {
        return Error::source(path, format!("is compressed with {kind}; unpack it: random access needs a plain .tar"));
    }
    if offset == 0 {
        return Error::source(path, format!("is not a tar archive ({found})"));
    }
    Error::source(path, format!("damaged or truncated after byte {offset}: {found}"))
}

/// A part of a sample, in the shard.
#[derive(Debug, Clone)]
struct Member {
    name: Vec<u8>,
    offset: u64,
    size: u64,
}

/// The members that could be one part of a sample.
#[derive(Debug, Default)]
struct Part {
    /// The extension is exactly the part's.
    exact: Vec<Member>,
    /// Only what follows the last dot is.
    loose: Vec<Member>,
}

impl Part {
    fn add(&mut self, member: Member, exact: bool) {
        if exact { &mut self.exact } else { &mut self.loose }.push(member);
    }

    /// The members to choose from: one if the sample is sound.
    fn candidates(&self) -> &[Member] {
        if self.exact.is_empty() { &self.loose } else { &self.exact }
    }
}

/// The members of one key.
#[derive(Debug, Default)]
struct Group {
    key: Vec<u8>,
    image: Part,
    cls: Part,
    json: Part,
    others: u64,
}

struct Builder<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    index: Index,
    group: Group,
}

impl Builder<'_> {
    fn member(&mut self, name: &[u8], kind: EntryType, offset: u64, size: u64) -> Result<()> {
        let Some((key, extension)) = split(name) else {
            self.index.ignored += 1;
            return Ok(());
        };
        if key != self.group.key {
            self.close()?;
            self.group = Group { key: key.to_vec(), ..Group::default() };
        }
        let exact = !extension.contains(&b'.');
        let last = extension.rsplit(|&byte| byte == b'.').next().unwrap_or_default();
        let group = &mut self.group;
        let part = if is_image(name) {
            &mut group.image
        } else if last.eq_ignore_ascii_case(b"cls") {
            &mut group.cls
        } else if last.eq_ignore_ascii_case(b"json") {
            &mut group.json
        } else {
            group.others += 1;
            return Ok(());
        };
        if !kind.is_file() && kind != EntryType::Continuous {
            let reason = format!(
                "the member {} is a {} and holds no bytes of its own; pack the files themselves (tar --dereference \
                 --hard-dereference)",
                String::from_utf8_lossy(name),
                match kind {
                    EntryType::Link => "hard link",
                    EntryType::Symlink => "symbolic link",
                    EntryType::GNUSparse => "sparse file",
                    _ => "special file",
                }
            );
            return Err(Error::source(self.path, reason));
        }
        part.add(Member { name: name.to_vec(), offset, size }, exact);
        Ok(())
    }

    /// Ends the sample under way.
    fn close(&mut self) -> Result<()> {
        let group = std::mem::take(&mut self.group);
        let label = self.label(&group)?;
        let key = String::from_utf8_lossy(&group.key);
        let image = match (group.image.candidates(), label) {
            ([image], Some(label)) => {
                self.index.labels.push(label);
                image
            }
            ([], None) => {
                self.index.ignored += group.others + (group.json.exact.len() + group.json.loose.len()) as u64;
                return Ok(());
            }
            ([image], None) => {
                let hint = match group.json.candidates() {
                    [] => String::new(),
                    [json, ..] => format!("{} has no such field; ", String::from_utf8_lossy(&json.name)),
                };
                let reason = format!(
                    "the image {} has no label: {hint}add {key}.cls with the class index, or {key}.json with a field \
                     `label`, directly before or after it",
                    String::from_utf8_lossy(&image.name)
                );
                return Err(Error::source(self.path, reason));
            }
            ([], Some(_)) => {
                let reason = format!(
                    "the key {key} has a label, but no image directly before or after it; known extensions are {}",
                    IMAGE_EXTENSIONS.join(", ")
                );
                return Err(Error::source(self.path, reason));
            }
            ([one, two, ..], _) => {
                let reason = format!(
                    "the key {key} has two images, {} and {}; a key is the name up to its first dot",
                    String::from_utf8_lossy(&one.name),
                    String::from_utf8_lossy(&two.name)
                );
                return Err(Error::source(self.path, reason));
            }
        };
        let size = u32::try_from(image.size).map_err(|_| {
            let name = String::from_utf8_lossy(&image.name);
            Error::source(
                self.path,
                format!("the image {name} has {} bytes; at most {} are read", image.size, u32::MAX),
            )
        })?;
        self.index.offsets.push(image.offset);
        self.index.sizes.push(size);
        self.index.names.push(&[&image.name]);
        self.index.ignored += group.others;
        Ok(())
    }

    fn label(&self, group: &Group) -> Result<Option<Label>> {
        let data = |member: &Member| &self.bytes[member.offset as usize..(member.offset + member.size) as usize];
        let fail = |member: &Member, reason: String| {
            let name = String::from_utf8_lossy(&member.name);
            Error::source(self.path, format!("{name} {reason}"))
        };
        for (part, is_cls) in [(&group.cls, true), (&group.json, false)] {
            match part.candidates() {
                [] => {}
                [member] if is_cls => return Label::from_cls(data(member)).map(Some).map_err(|r| fail(member, r)),
                [member] => return Label::from_json(data(member)).map_err(|r| fail(member, r)),
                [one, two, ..] => {
                    let other = String::from_utf8_lossy(&two.name);
                    return Err(fail(
                        one,
                        format!("and {other} are two labels under one key, the name up to its first dot"),
                    ));
                }
            }
        }
        Ok(None)
    }
}

/// Key and extension of a member: the path before and after the first dot of its file name. `None` for a file name that
/// has no dot or starts with one.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
    let dot = path[start..].iter().position(|&byte| byte == b'.').filter(|&dot| dot > 0)?;
    Some((&path[..start + dot], &path[start + dot + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_ends_at_the_first_dot_of_the_file_name() {
        let check = |path: &str, key: &str, extension: &str| {
            assert_eq!(split(path.as_bytes()), Some((key.as_bytes(), extension.as_bytes())));
        };
        check("a.jpg", "a", "jpg");
        check("a.b.c.jpg", "a", "b.c.jpg");
        check("v1.2/x/a.seg.png", "v1.2/x/a", "seg.png");
        check("./a.cls", "./a", "cls");
        for none in ["plain", "d.ir/plain", ".hidden", "x/._a.jpg", ""] {
            assert_eq!(split(none.as_bytes()), None, "{none}");
        }
    }
}
