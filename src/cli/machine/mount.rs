//! Which filesystem a file lies on, from Linux's `/proc/self/mountinfo`.

use std::path::{Path, PathBuf};

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Major and minor number, "259:1"; major 0 is no block device.
    pub(crate) device: String,
    /// The part of the filesystem that is mounted.
    pub(crate) root: PathBuf,
    /// Where.
    pub(crate) point: PathBuf,
    /// ext4, nfs4, overlay, fuse.sshfs ...
    pub(crate) kind: String,
    /// The device's or server's name.
    pub(crate) source: String,
    /// The filesystem's own options; of a control group's tree, its controllers.
    pub(crate) super_options: String,
}

/// The mounts in a table, in its order. Lines of another form are passed over.
pub(crate) fn all(table: &str) -> impl Iterator<Item = Mount> {
    table.lines().filter_map(|line| {
        // 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw
        let (own, rest) = line.split_once(" - ")?;
        let mut own = own.split(' ').skip(2);
        let mut rest = rest.split(' ');
        Some(Mount {
            device: own.next()?.to_owned(),
            root: unescaped(own.next()?).into(),
            point: unescaped(own.next()?).into(),
            kind: rest.next()?.to_owned(),
            source: unescaped(rest.next()?),
            super_options: rest.next().unwrap_or_default().to_owned(),
        })
    })
}

/// The mount that an absolute path without links lies on: of the deepest ones the last, which covers those before.
pub(crate) fn of(table: &str, path: &Path) -> Option<Mount> {
    all(table).filter(|mount| path.starts_with(&mount.point)).max_by_key(|mount| mount.point.components().count())
}

/// Spaces, tabs, line ends and backslashes are written in octal: `\040`.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|code| u8::from_str_radix(code, 8).ok()) {
            Some(byte) if byte.is_ascii() => {
                out.push(char::from(byte));
                out.push_str(&part[3..]);
            }
            _ => {
                out.push('\\');
                out.push_str(part);
            }
        }
    }
    out
}

/// Where the bytes of a filesystem are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Place {
    /// On a disk of this machine, or what it takes for one.
    Local,
    /// In this machine's memory.
    Memory,
    /// On another machine.
    Network,
    /// With the machine that this virtual one runs on.
    Host,
    /// Some program's answer: FUSE, of a kind that is not known here.
    Program,
}

impl Place {
    /// Of a filesystem's type.
    pub(crate) fn of(kind: &str) -> Self {
        const NETWORK: [&str; 24] = [
            "nfs",
            "nfs4",
            "cifs",
            "smb3",
            "smbfs",
            "ceph",
            "lustre",
            "gpfs",
            "beegfs",
            "afs",
            "orangefs",
            "wekafs",
            "panfs",
            "pvfs2",
            "ocfs2",
            "gfs2",
            "glusterfs",
            "sshfs",
            "s3fs",
            "gcsfuse",
            "rclone",
            "juicefs",
            "goofys",
            "blobfuse2",
        ];
        let known = |kind: &str| NETWORK.contains(&kind);
        match kind {
            "tmpfs" | "ramfs" | "devtmpfs" => Self::Memory,
            "9p" | "virtiofs" | "vboxsf" | "prl_fs" | "fuse.vmhgfs-fuse" => Self::Host,
            kind if known(kind) || kind.strip_prefix("fuse.").is_some_and(known) => Self::Network,
            // Disks that are served by a program, and layers over other filesystems.
            "fuseblk" | "fuse.ntfs-3g" | "fuse.fuse-overlayfs" | "fuse.mergerfs" => Self::Local,
            kind if kind == "fuse" || kind.starts_with("fuse.") => Self::Program,
            _ => Self::Local,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "22 27 0:21 / /proc rw,relatime - proc proc rw\n\
                         27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n\
                         40 27 0:44 / /data rw,relatime shared:3 master:1 - nfs4 server:/export/data rw,vers=4.2\n\
                         41 40 8:1 / /data/fast rw - xfs /dev/sda1 rw\n\
                         42 27 0:50 / /my\\040data rw - fuse.sshfs me@host: rw\n\
                         43 27 8:2 /sub /data rw - btrfs /dev/sdb rw\n\
                         a line of another form\n";

    #[test]
    fn the_deepest_mount_counts_and_of_equal_ones_the_last() {
        let found =
            |path: &str| of(TABLE, Path::new(path)).map(|mount| (mount.kind, mount.device, mount.source)).unwrap();
        let told = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(found("/home/me"), told("ext4", "254:0", "/dev/vda"));
        assert_eq!(found("/data/fast/train"), told("xfs", "8:1", "/dev/sda1"));
        assert_eq!(found("/data/faster"), told("btrfs", "8:2", "/dev/sdb"));
        assert_eq!(found("/my data/x"), told("fuse.sshfs", "0:50", "me@host:"));
        assert_eq!(of("", Path::new("/")), None);
        assert_eq!(all(TABLE).find(|m| m.kind == "btrfs").unwrap().root, Path::new("/sub"));
    }

    #[test]
    fn network_filesystems_are_known_by_their_type() {
        for kind in ["nfs4", "cifs", "fuse.sshfs", "lustre", "ceph", "fuse.glusterfs"] {
            assert_eq!(Place::of(kind), Place::Network, "{kind}");
        }
        assert_eq!(["ext4", "overlay", "fuseblk"].map(Place::of), [Place::Local; 3]);
        assert_eq!(Place::of("tmpfs"), Place::Memory);
        assert_eq!(Place::of("virtiofs"), Place::Host);
        assert_eq!(Place::of("fuse.something"), Place::Program);
    }
}
