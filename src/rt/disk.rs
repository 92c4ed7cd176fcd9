//! The real disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::io::{Disk, DiskError, DiskFile, DiskLock, Mapped, OpenMode};

/// Bytes that are read at once of a file that is to be mapped.
const READ_BYTES: usize = 1 << 20;

/// The files of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct StdDisk;

struct StdFile {
    file: File,
    path: PathBuf,
}

impl Disk for StdDisk {
    fn create_dir(&self, dir: &Path) -> Result<(), DiskError> {
        let parent = match dir.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let was_there = dir.is_dir();
        if !was_there {
            self.create_dir(parent)?;
            match fs::create_dir(dir) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                result => result.map_err(|error| DiskError::new("create directory", dir, error))?,
            }
        }
        // One that is there, too: whoever made it may have ended before its name was durable.
        match self.sync_dir(parent) {
            Err(error) if was_there && error.source.kind() == io::ErrorKind::PermissionDenied => {
                Ok(())
            }
            synced => synced,
        }
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>, DiskError> {
        let failed = |error| DiskError::new("list directory", dir, error);
        let mut names = Vec::new();
        for entry in fs::read_dir(dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_type().map_err(failed)?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn DiskFile>, DiskError> {
        let file = match mode {
            OpenMode::Read => File::open(path),
            OpenMode::Write => OpenOptions::new().read(true).write(true).open(path),
            OpenMode::Create => OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .open(path),
            OpenMode::Log { is_synchronous } => open_log(path, is_synchronous),
        };
        let file = file.map_err(|error| DiskError::new("open", path, error))?;
        Ok(Arc::new(StdFile {
            file,
            path: path.to_path_buf(),
        }))
    }

    fn map(&self, path: &Path) -> Result<Mapped, DiskError> {
        let failed = |error| DiskError::new("map", path, error);
        let file = File::open(path).map_err(failed)?;
        // What the disk cannot read is an error here; by way of the map it would end the process. It is
        // read twice so, the second time from memory.
        let mut whole = BufReader::with_capacity(READ_BYTES, &file);
        io::copy(&mut whole, &mut io::sink()).map_err(failed)?;
        // SAFETY: the callers map only files that are complete and that nobody writes or
        // shortens any more, in a directory that the server's lock keeps to itself.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(failed)?;
        Ok(Box::new(map))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        fs::rename(from, to).map_err(|error| DiskError::new("rename", from, error))
    }

    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        fs::remove_file(path).map_err(|error| DiskError::new("remove", path, error))
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), DiskError> {
        File::open(dir)
            .and_then(|file| file.sync_all())
            .map_err(|error| DiskError::new("sync directory", dir, error))
    }

    fn free_bytes(&self, dir: &Path) -> Result<u64, DiskError> {
        use std::os::unix::ffi::OsStrExt;
        let name = std::ffi::CString::new(dir.as_os_str().as_bytes())
            .map_err(|error| DiskError::new("look at", dir, error.into()))?;
        // SAFETY: all zeros is a value of this plain C structure.
        let mut status: libc::statvfs = unsafe { std::mem::zeroed() };
        // SAFETY: the name ends with a zero and both pointers live through the call.
        if unsafe { libc::statvfs(name.as_ptr(), &mut status) } != 0 {
            return Err(DiskError::new("look at", dir, io::Error::last_os_error()));
        }
        Ok(status.f_bavail.saturating_mul(status.f_frsize))
    }

    fn lock(&self, path: &Path) -> Result<DiskLock, DiskError> {
        let failed = |error| DiskError::new("lock", path, error);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        // SAFETY: the descriptor is open for as long as `file` lives.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
            return Err(failed(io::Error::last_os_error()));
        }
        Ok(Box::new(file))
    }
}

/// Opens for direct writing, or through the page cache where the file system knows no other way.
fn open_log(path: &Path, is_synchronous: bool) -> io::Result<File> {
    let synchronous = if is_synchronous { libc::O_DSYNC } else { 0 };
    let open = |flags| {
        OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open(path)
    };
    match open(libc::O_DIRECT | synchronous) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => open(synchronous),
        result => result,
    }
}

impl DiskFile for StdFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn length(&self) -> Result<u64, DiskError> {
        self.file
            .metadata()
            .map(|metadata| metadata.len())
            .map_err(|error| DiskError::new("look at", &self.path, error))
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize, DiskError> {
        let mut done = 0;
        while done < into.len() {
            match self.file.read_at(&mut into[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(DiskError::new("read", &self.path, error)),
            }
        }
        Ok(done)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.file
            .write_all_at(bytes, offset)
            .map_err(|error| DiskError::new("write", &self.path, error))
    }

    fn sync(&self) -> Result<(), DiskError> {
        // The length goes with the data; times need not be durable.
        self.file
            .sync_data()
            .map_err(|error| DiskError::new("sync", &self.path, error))
    }

    fn raw_fd(&self) -> Option<RawFd> {
        Some(self.file.as_raw_fd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_locks_behave() {
        let temp = tempfile::tempdir().expect("a place for temporary files");
        let dir = temp.path().join("a/b");
        let disk = StdDisk;
        disk.create_dir(&dir).expect("made with its parents");
        let path = dir.join("file");
        let file = disk.open(&path, OpenMode::Create).expect("created");
        file.write_at(3, b"xyz").expect("written");
        file.sync().expect("synced");
        assert_eq!(file.length().expect("known"), 6);
        assert_eq!(disk.list(&dir).expect("listed"), ["file"]);
        let map = disk.map(&path).expect("mapped");
        assert_eq!((*map).as_ref(), b"\0\0\0xyz");
        assert!(disk.free_bytes(&dir).expect("known") > 0);

        let lock = disk.lock(&dir.join("lock")).expect("free");
        let refused = disk.lock(&dir.join("lock")).err().expect("taken");
        assert!(refused.is_locked());
        drop(lock);
        disk.lock(&dir.join("lock")).expect("free again");

        let missing = disk.open(&dir.join("no"), OpenMode::Read).err();
        let missing = missing.expect("not there");
        assert!(missing.is_not_found());
        assert!(missing.to_string().contains("/a/b/no"));
    }
}
