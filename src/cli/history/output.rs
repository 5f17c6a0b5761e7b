//! The output of an export: standard output, or a file that a kill or a power cut cannot spoil.
//!
//! The rows go to `FILE.part`. After each window with rows they are synced, and then `FILE.state` says how many bytes count and
//! where the export goes on; what stands behind these bytes is cut off by the next run. The whole file gets its name at the end, and
//! its state stays beside it as a receipt.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::query::ExportQuery;
use super::window::RowKey;
use super::{ExportArgs, ExportError};
use crate::durable;

/// The progress of an export, as its state file has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ExportState {
    pub(super) query: ExportQuery,
    /// The begin of the next window.
    pub(super) next: Timestamp,
    /// The bytes of the file that count.
    pub(super) bytes: u64,
    pub(super) rows: u64,
    /// The windows in which rows may be missing.
    pub(super) doubts: u64,
    /// Rows of the window before that may come again, in hex.
    border: Vec<String>,
    /// Nothing more comes, and the file has its name or gets it next.
    pub(super) whole: bool,
}

impl ExportState {
    pub(super) fn new(query: ExportQuery) -> Self {
        Self { next: query.from, query, bytes: 0, rows: 0, doubts: 0, border: Vec::new(), whole: false }
    }

    pub(super) fn border(&self) -> Vec<RowKey> {
        self.border.iter().filter_map(|key| RowKey::from_str_radix(key, 16).ok()).collect()
    }

    pub(super) fn set_border(&mut self, keys: &[RowKey]) {
        self.border = keys.iter().map(|key| format!("{key:032x}")).collect();
    }
}

/// The files of one export.
#[derive(Debug)]
pub(super) struct ExportFiles {
    whole: PathBuf,
    part: PathBuf,
    state: PathBuf,
}

impl ExportFiles {
    pub(super) fn new(out: &Path) -> Self {
        let beside = |end: &str| {
            let mut name = out.as_os_str().to_owned();
            name.push(end);
            PathBuf::from(name)
        };
        Self { whole: out.to_owned(), part: beside(".part"), state: beside(".state") }
    }

    /// The state of an export that was broken off, or that ended and has its file; `None` when a new one may begin.
    pub(super) fn begun(&self, arguments: &ExportArgs) -> Result<Option<ExportState>, ExportError> {
        let state = self.load()?;
        let (is_whole, is_part) = (exists(&self.whole)?, exists(&self.part)?);
        let [whole, part, beside] = [&self.whole, &self.part, &self.state].map(|path| path.display());
        let state = match state {
            // The receipt of a file that somebody has taken away.
            Some(state) if state.whole && !is_whole && !is_part => return Ok(None),
            Some(state) if arguments.resume => state,
            Some(state) if !state.whole => {
                let advice = format!("--resume goes on with it; to begin anew, remove {part} and {beside}");
                return Err(ExportError::Failed(format!("export to {whole}: an earlier one was broken off: {advice}")));
            }
            None if is_part => {
                let advice = format!("{part} has no {beside}: remove it, or name another file");
                return Err(ExportError::Failed(format!("export to {whole}: {advice}")));
            }
            None if !is_whole => return Ok(None),
            _ => return Err(ExportError::Failed(format!("export to {whole}: it is there; name another file"))),
        };
        if !state.query.is_of(arguments) {
            let told = serde_json::to_string(&state.query).unwrap_or_default();
            return Err(ExportError::Usage(format!("{beside} belongs to an export with other options: {told}")));
        }
        Ok(Some(state))
    }

    fn load(&self) -> Result<Option<ExportState>, ExportError> {
        let content = match fs::read(&self.state) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(ExportError::disk(&self.state, error)),
        };
        serde_json::from_slice(&content).map(Some).map_err(|_| {
            let state = self.state.display();
            ExportError::Failed(format!(
                "go on with the export: {state} is none of its states; remove it to begin anew"
            ))
        })
    }

    fn save(&self, state: &ExportState) -> Result<(), ExportError> {
        let disk = |error| ExportError::disk(&self.state, error);
        durable::write(&self.state, &serde_json::to_vec(state).map_err(|error| disk(error.into()))?).map_err(disk)
    }

    /// Opens the part at the end of the bytes that count. Another export to the same file is locked out.
    fn open(&self, state: &ExportState) -> Result<File, ExportError> {
        let disk = |error| ExportError::disk(&self.part, error);
        let mut options = OpenOptions::new();
        let mut file = options.create(true).truncate(false).write(true).mode(0o600).open(&self.part).map_err(disk)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let part = self.part.display();
            return Err(ExportError::Failed(format!("export: another export is writing {part}; let it end")));
        }
        if file.metadata().map_err(disk)?.len() < state.bytes {
            let [part, state] = [&self.part, &self.state].map(|path| path.display());
            let advice = format!("{part} is shorter than {state} says; remove both to begin anew");
            return Err(ExportError::Failed(format!("go on with the export: {advice}")));
        }
        file.set_len(state.bytes).and_then(|()| file.seek(SeekFrom::End(0))).map_err(disk)?;
        Ok(file)
    }

    /// Gives the file its name. It is durable when this returns `Ok`.
    pub(super) fn finish(&self) -> Result<(), ExportError> {
        let directory = self.whole.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let renamed = match fs::rename(&self.part, &self.whole) {
            // It has its name already.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.whole.exists() => Ok(()),
            renamed => renamed,
        };
        let synced = renamed.and_then(|()| File::open(directory)?.sync_all());
        synced.map_err(|error| ExportError::disk(&self.whole, error))
    }
}

fn exists(path: &Path) -> Result<bool, ExportError> {
    path.try_exists().map_err(|error| ExportError::disk(path, error))
}

/// The place to which the rows go.
#[derive(Debug)]
pub(super) enum ExportOutput {
    Stdout,
    File { files: ExportFiles, file: BufWriter<File> },
}

impl ExportOutput {
    /// Opens the files of an export that begins or goes on. The state is there first, so that a part always has one.
    pub(super) fn open(files: ExportFiles, state: &ExportState) -> Result<Self, ExportError> {
        if state.bytes == 0 {
            files.save(state)?;
        }
        let file = BufWriter::new(files.open(state)?);
        Ok(Self::File { files, file })
    }

    pub(super) fn write(&mut self, state: &mut ExportState, text: &str) -> Result<(), ExportError> {
        state.bytes += text.len() as u64;
        match self {
            Self::Stdout => crate::cli::print(text.as_bytes()),
            Self::File { files, file } => {
                file.write_all(text.as_bytes()).map_err(|error| ExportError::disk(&files.part, error))?;
            }
        }
        Ok(())
    }

    /// Makes the rows and then the state durable.
    pub(super) fn commit(&mut self, state: &ExportState) -> Result<(), ExportError> {
        let Self::File { files, file } = self else {
            return Ok(());
        };
        let synced = file.flush().and_then(|()| file.get_ref().sync_all());
        synced.map_err(|error| ExportError::disk(&files.part, error))?;
        files.save(state)?;
        if state.whole { files.finish() } else { Ok(()) }
    }
}
