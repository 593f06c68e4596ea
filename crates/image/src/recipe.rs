//! Rebuilding the exact tar of a layer from its directory.
//!
//! A recipe is everything of the tar but the files' bytes: headers, padding, the end; and for each file
//! where its bytes are in the directory. It is compressed and small (a few hundredths of the layer).
//! Form: a sequence of steps. `0 LENGTH(u32) BYTES` are bytes of the tar; `1 SIZE(u64) LENGTH(u16) PATH`
//! stands for the bytes of a file; `2` ends it. Numbers are little endian; the whole is one zstd frame.
//!
//! A file that a later entry replaces is not lost: the unpacker moves it to `shadow/N` beside the root, and
//! a [`Move`] says from which step on.

use crate::tar::Tap;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufReader, Error, ErrorKind, Read, Result, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// An entry (with all below it) that was moved out of the way of a later one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Move {
    /// Files noted before this many belong to the moved entry.
    pub(crate) before: u64,
    /// Its path in the layer, lossless as bytes.
    pub(crate) path: Vec<u8>,
}

/// Writes a recipe while the layer is unpacked.
pub(crate) struct Recorder {
    output: Option<zstd::stream::write::Encoder<'static, File>>,
    raw: Vec<u8>,
    files: u64,
}

impl Recorder {
    /// Records into a new file.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let output = zstd::stream::write::Encoder::new(File::create(path)?, 1)?;
        Ok(Self { output: Some(output), raw: Vec::new(), files: 0 })
    }

    /// Records nothing.
    pub(crate) fn none() -> Self {
        Self { output: None, raw: Vec::new(), files: 0 }
    }

    /// Whether anything is recorded.
    pub(crate) fn on(&self) -> bool {
        self.output.is_some()
    }

    /// How many files have been noted.
    pub(crate) fn files(&self) -> u64 {
        self.files
    }

    /// Notes that the next `size` bytes of the tar are those of the file at `path`.
    pub(crate) fn file(&mut self, path: &[u8], size: u64) -> Result<()> {
        self.flush()?;
        self.files += 1;
        let Some(output) = &mut self.output else { return Ok(()) };
        let length = u16::try_from(path.len()).map_err(|_| Error::from(ErrorKind::InvalidInput))?;
        output.write_all(&[1])?;
        output.write_all(&size.to_le_bytes())?;
        output.write_all(&length.to_le_bytes())?;
        output.write_all(path)
    }

    fn flush(&mut self) -> Result<()> {
        let Some(output) = self.output.as_mut().filter(|_| !self.raw.is_empty()) else { return Ok(()) };
        let length = u32::try_from(self.raw.len()).map_err(|_| Error::from(ErrorKind::InvalidInput))?;
        output.write_all(&[0])?;
        output.write_all(&length.to_le_bytes())?;
        output.write_all(&self.raw)?;
        self.raw.clear();
        Ok(())
    }

    /// Ends the recipe; whether there is one.
    pub(crate) fn finish(mut self) -> Result<bool> {
        self.flush()?;
        let Some(mut output) = self.output.take() else { return Ok(false) };
        output.write_all(&[2])?;
        output.finish()?;
        Ok(true)
    }
}

impl Tap for Recorder {
    fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        if self.output.is_none() {
            return Ok(());
        }
        self.raw.extend_from_slice(bytes);
        if self.raw.len() >= 64 << 10 { self.flush() } else { Ok(()) }
    }
}

/// Reads the tar back.
pub(crate) struct Rebuilt {
    steps: zstd::stream::read::Decoder<'static, BufReader<File>>,
    root: OwnedFd,
    shadow: Option<OwnedFd>,
    moves: Vec<Move>,
    files: u64,
    now: Step,
}

enum Step {
    Raw(u64),
    File(File, u64),
    End,
}

impl Rebuilt {
    /// Opens the layer directory `dir`, which has `fs`, `recipe` and perhaps `shadow`.
    pub(crate) fn open(dir: &Path, moves: Vec<Move>) -> Result<Self> {
        let steps = zstd::stream::read::Decoder::new(File::open(dir.join("recipe"))?)?;
        let open = |name: &str| File::open(dir.join(name)).map(OwnedFd::from);
        let shadow = if moves.is_empty() { None } else { Some(open("shadow")?) };
        Ok(Self { steps, root: open("fs")?, shadow, moves, files: 0, now: Step::Raw(0) })
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.steps.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn step(&mut self) -> Result<Step> {
        match self.number::<1>()? {
            [0] => Ok(Step::Raw(u64::from(u32::from_le_bytes(self.number()?)))),
            [1] => {
                let size = u64::from_le_bytes(self.number()?);
                let mut path = vec![0; usize::from(u16::from_le_bytes(self.number()?))];
                self.steps.read_exact(&mut path)?;
                self.files += 1;
                Ok(Step::File(self.source(&path)?, size))
            }
            [2] => Ok(Step::End),
            _ => Err(Error::new(ErrorKind::InvalidData, "the layer's recipe is damaged")),
        }
    }

    /// Opens the file that was noted as number `self.files` at `path`.
    fn source(&self, path: &[u8]) -> Result<File> {
        let below = |moved: &Move| {
            let rest = path.strip_prefix(moved.path.as_slice())?;
            (rest.is_empty() || rest.starts_with(b"/")).then(|| rest.to_vec())
        };
        // The first move that came after the file took it away.
        let moved = self.moves.iter().enumerate().filter(|(_, moved)| self.files <= moved.before);
        let place = moved.into_iter().find_map(|(number, moved)| Some((number, below(moved)?)));
        let (dir, path) = match (place, &self.shadow) {
            (Some((number, rest)), Some(shadow)) => {
                (shadow.as_fd(), [number.to_string().as_bytes(), &rest].concat())
            }
            _ => (self.root.as_fd(), path.to_vec()),
        };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        Ok(openat2(dir, path.as_slice(), flags, Mode::empty(), resolve)?.into())
    }
}

impl Read for Rebuilt {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            let (count, left) = match &mut self.now {
                Step::End => return Ok(0),
                Step::Raw(0) | Step::File(_, 0) => {
                    self.now = self.step()?;
                    continue;
                }
                Step::Raw(left) => (take(&mut self.steps, buffer, *left)?, left),
                Step::File(file, left) => (take(file, buffer, *left)?, left),
            };
            if count == 0 && !buffer.is_empty() {
                let text = "a file of the layer is shorter than it was: the store was changed from outside";
                return Err(Error::new(ErrorKind::UnexpectedEof, text));
            }
            *left -= count as u64;
            return Ok(count);
        }
    }
}

fn take(from: &mut impl Read, buffer: &mut [u8], left: u64) -> Result<usize> {
    let room = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
    from.read(buffer.get_mut(..room).unwrap_or_default())
}
