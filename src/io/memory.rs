//! A disk in memory that can lose power, run full and fail: for tests and simulations.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{AlignedBuffer, Disk, DiskError, DiskFile, DiskLock, Mapped, OpenMode, SECTOR};

/// Files in memory. What was not synced is lost or kept, sector by sector, at a [`crash`].
///
/// [`crash`]: MemoryDisk::crash
#[derive(Clone, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    files: Vec<Content>,
    names: BTreeMap<PathBuf, usize>,
    names_durable: BTreeMap<PathBuf, usize>,
    /// Changes of names that no sync of a directory has covered, in order.
    names_pending: Vec<NameChange>,
    /// Most bytes that all files may have together.
    capacity: Option<u64>,
    /// Changes made so far.
    steps: u64,
    /// After how many changes the power goes.
    dies_at: Option<u64>,
    /// After how many changes one fails.
    fails_at: Option<u64>,
}

#[derive(Clone, Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    is_unreadable: bool,
}

enum NameChange {
    Link(PathBuf, usize),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf),
}

struct MemoryFile {
    disk: MemoryDisk,
    path: PathBuf,
    index: usize,
    is_synchronous: bool,
}

impl MemoryDisk {
    /// Lets all files together have at most this many bytes.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock_state().capacity = bytes;
    }

    /// Lets all files together grow by this many bytes and no more.
    pub fn leave_room(&self, bytes: Option<u64>) {
        let mut state = self.lock_state();
        state.capacity = bytes.map(|bytes| bytes + state.used());
    }

    /// Lets every operation fail once this many changes were made.
    pub fn die_at(&self, steps: u64) {
        self.lock_state().dies_at = Some(steps);
    }

    /// Whether every operation fails.
    pub fn is_dead(&self) -> bool {
        self.lock_state().is_dead()
    }

    /// Lets one change fail, after this many were made: it has no effect, and those after it go on.
    pub fn fail_at(&self, steps: u64) {
        self.lock_state().fails_at = Some(steps);
    }

    /// How many changes were made.
    pub fn steps(&self) -> u64 {
        self.lock_state().steps
    }

    /// What the machine finds after losing power: `keeps` is asked for each sector that was not
    /// durable, and for each change of a name until one is lost.
    pub fn crash(&self, keeps: &mut dyn FnMut() -> bool) -> MemoryDisk {
        let state = self.lock_state();
        let mut names = state.names_durable.clone();
        for change in &state.names_pending {
            if !keeps() {
                break;
            }
            change.apply(&mut names);
        }
        // Files without a name are gone.
        let mut files = Vec::new();
        for index in names.values_mut() {
            files.push(state.files[*index].torn(keeps));
            *index = files.len() - 1;
        }
        let state = State {
            files,
            names: names.clone(),
            names_durable: names,
            ..State::default()
        };
        MemoryDisk {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// The bytes of a file, to be damaged by a test.
    pub fn bytes(&self, path: &Path) -> Vec<u8> {
        let state = self.lock_state();
        state.files[state.names[path]].now.clone()
    }

    /// Puts bytes in a file's place.
    pub fn set_bytes(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.lock_state();
        let index = state.names[path];
        state.files[index] = Content {
            now: bytes.to_vec(),
            durable: bytes.to_vec(),
            is_unreadable: false,
        };
    }

    /// Lets a file be one that the disk cannot read any more.
    pub fn make_unreadable(&self, path: &Path) {
        let mut state = self.lock_state();
        let index = state.names[path];
        state.files[index].is_unreadable = true;
    }

    /// A copy that shares nothing.
    pub fn copy(&self) -> MemoryDisk {
        let state = self.lock_state();
        let copy = State {
            files: state.files.clone(),
            names: state.names.clone(),
            names_durable: state.names.clone(),
            ..State::default()
        };
        MemoryDisk {
            state: Arc::new(Mutex::new(copy)),
        }
    }

    fn lock_state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds it")
    }

    fn change(
        &self,
        action: &'static str,
        path: &Path,
    ) -> Result<MutexGuard<'_, State>, DiskError> {
        let mut state = self.lock_state();
        if state.is_dead() {
            let error = io::Error::other("the power is out");
            return Err(DiskError::new(action, path, error));
        }
        if state.fails_at.is_some_and(|steps| state.steps >= steps) {
            state.fails_at = None;
            let error = io::Error::other("the disk has failed");
            return Err(DiskError::new(action, path, error));
        }
        state.steps += 1;
        Ok(state)
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            NameChange::Link(path, index) => {
                names.insert(path.clone(), *index);
            }
            NameChange::Unlink(path) => {
                names.remove(path);
            }
            NameChange::Rename(from, to) => {
                if let Some(index) = names.remove(from) {
                    names.insert(to.clone(), index);
                }
            }
        }
    }
}

impl State {
    /// Bytes of the files that have names.
    fn used(&self) -> u64 {
        let files = self.names.values();
        files.map(|index| self.files[*index].now.len() as u64).sum()
    }

    fn is_dead(&self) -> bool {
        self.dies_at.is_some_and(|steps| self.steps >= steps)
    }

    fn rename(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.names_pending.push(change);
    }

    fn find(&self, action: &'static str, path: &Path) -> Result<usize, DiskError> {
        self.names
            .get(path)
            .copied()
            .ok_or_else(|| DiskError::new(action, path, io::Error::from(io::ErrorKind::NotFound)))
    }
}

impl Content {
    fn readable(&self, action: &'static str, path: &Path) -> Result<&[u8], DiskError> {
        if self.is_unreadable {
            let error = io::Error::from_raw_os_error(libc::EIO);
            return Err(DiskError::new(action, path, error));
        }
        Ok(&self.now)
    }

    fn torn(&self, keeps: &mut dyn FnMut() -> bool) -> Content {
        let mut bytes = self.durable.clone();
        if self.now == bytes {
            return self.clone();
        }
        if self.now.len() != bytes.len() && keeps() {
            bytes.resize(self.now.len(), 0);
        }
        for at in (0..bytes.len().min(self.now.len())).step_by(SECTOR) {
            let end = (at + SECTOR).min(bytes.len()).min(self.now.len());
            if bytes[at..end] != self.now[at..end] && keeps() {
                bytes[at..end].copy_from_slice(&self.now[at..end]);
            }
        }
        Content {
            now: bytes.clone(),
            durable: bytes,
            is_unreadable: self.is_unreadable,
        }
    }
}

impl Disk for MemoryDisk {
    fn create_dir(&self, _dir: &Path) -> Result<(), DiskError> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>, DiskError> {
        let state = self.lock_state();
        let names = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(names
            .map(|path| path.file_name().expect("a file").to_string_lossy().into())
            .collect())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn DiskFile>, DiskError> {
        let index = if mode == OpenMode::Create {
            let mut state = self.change("open", path)?;
            match state.names.get(path).copied() {
                Some(index) => {
                    state.files[index].now.clear();
                    index
                }
                None => {
                    let index = state.files.len();
                    state.files.push(Content::default());
                    state.rename(NameChange::Link(path.to_path_buf(), index));
                    index
                }
            }
        } else {
            self.lock_state().find("open", path)?
        };
        Ok(Arc::new(MemoryFile {
            disk: self.clone(),
            path: path.to_path_buf(),
            index,
            is_synchronous: mode
                == OpenMode::Log {
                    is_synchronous: true,
                },
        }))
    }

    fn map(&self, path: &Path) -> Result<Mapped, DiskError> {
        let state = self.lock_state();
        let index = state.find("map", path)?;
        let bytes = state.files[index].readable("map", path)?;
        let mut map = AlignedBuffer::new(bytes.len());
        map.extend(bytes);
        Ok(Box::new(map))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        let mut state = self.change("rename", from)?;
        state.find("rename", from)?;
        state.rename(NameChange::Rename(from.to_path_buf(), to.to_path_buf()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        let mut state = self.change("remove", path)?;
        let index = state.find("remove", path)?;
        if state.capacity.is_some() {
            state.files[index].now = Vec::new();
        }
        state.rename(NameChange::Unlink(path.to_path_buf()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), DiskError> {
        let mut state = self.change("sync directory", dir)?;
        let pending = std::mem::take(&mut state.names_pending);
        for change in pending {
            change.apply(&mut state.names_durable);
        }
        Ok(())
    }

    fn free_bytes(&self, _dir: &Path) -> Result<u64, DiskError> {
        let state = self.lock_state();
        let capacity = state.capacity.unwrap_or(u64::MAX);
        Ok(capacity.saturating_sub(state.used()))
    }

    fn lock(&self, _path: &Path) -> Result<DiskLock, DiskError> {
        Ok(Box::new(()))
    }
}

impl DiskFile for MemoryFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn length(&self) -> Result<u64, DiskError> {
        Ok(self.disk.lock_state().files[self.index].now.len() as u64)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize, DiskError> {
        let state = self.disk.lock_state();
        let bytes = state.files[self.index].readable("read", &self.path)?;
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let free = self.disk.free_bytes(&self.path)?;
        let mut state = self.disk.change("write", &self.path)?;
        let file = &mut state.files[self.index];
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        if end.saturating_sub(file.now.len()) as u64 > free {
            let error = io::Error::from(io::ErrorKind::StorageFull);
            return Err(DiskError::new("write", &self.path, error));
        }
        let copies = [
            Some(&mut file.now),
            self.is_synchronous.then_some(&mut file.durable),
        ];
        for copy in copies.into_iter().flatten() {
            copy.resize(copy.len().max(end), 0);
            copy[start..end].copy_from_slice(bytes);
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), DiskError> {
        let mut state = self.disk.change("sync", &self.path)?;
        let file = &mut state.files[self.index];
        file.durable = file.now.clone();
        Ok(())
    }

    fn raw_fd(&self) -> Option<RawFd> {
        None
    }
}
