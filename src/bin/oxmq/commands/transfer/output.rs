//! Where an export goes: a file appears under its name only as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Outcome};

/// How many unfinished files may lie beside the one to be written.
const UNFINISHED: u32 = 100;

/// Where an export goes. It is opened when the first jobs are read.
pub(super) struct Output<'a> {
    path: Option<&'a Path>,
    sink: Option<Sink>,
}

enum Sink {
    /// The standard output, a pipe or a device.
    Stream(BufWriter<Box<dyn Write>>),
    /// A file that gets its name `to` when all is written.
    Part { file: BufWriter<File>, path: PathBuf, to: PathBuf },
}

impl<'a> Output<'a> {
    pub(super) fn new(path: Option<&'a Path>) -> Self {
        Self { path, sink: None }
    }

    pub(super) fn open(&mut self) -> Outcome<&mut dyn Write> {
        let sink = match self.sink.take() {
            Some(sink) => sink,
            None => create(self.path)?,
        };
        Ok(match self.sink.insert(sink) {
            Sink::Stream(out) => out,
            Sink::Part { file, .. } => file,
        })
    }

    /// Ends what is complete: a former file is replaced.
    pub(super) fn complete(&mut self) -> Outcome {
        self.open()?.flush()?;
        if let Some(Sink::Part { file, path, to }) = &self.sink {
            // Otherwise the name could outlive the content, if the machine dies.
            file.get_ref().sync_all().map_err(|error| Failure::about(path.display(), error))?;
            fs::rename(path, to).map_err(|error| Failure::about(to.display(), error))?;
            self.sink = None;
        }
        Ok(())
    }

    /// Ends what is not complete, and adds to the failure where it is. A former file stays as it is.
    pub(super) fn give_up(&mut self, written: u64, mut failure: Failure) -> Failure {
        match self.sink.take() {
            None => {}
            Some(Sink::Stream(mut out)) => _ = out.flush(),
            Some(Sink::Part { path, .. }) if written == 0 => _ = fs::remove_file(path),
            Some(Sink::Part { mut file, path, to }) => {
                let place = match file.flush() {
                    Ok(()) => format!("; what was written is in {}", path.display()),
                    // It ends within a line.
                    Err(_) => match fs::remove_file(&path) {
                        Ok(()) => "; what was written is removed".to_owned(),
                        Err(error) => format!("; what was written is left in {}: {error}", path.display()),
                    },
                };
                failure.text.push_str(&place);
                if to.exists() {
                    failure.text.push_str(&format!(", and {} is as it was", to.display()));
                }
            }
        }
        failure
    }
}

fn create(path: Option<&Path>) -> Outcome<Sink> {
    let Some(path) = path else { return Ok(Sink::Stream(BufWriter::new(Box::new(std::io::stdout())))) };
    let at = |error| Failure::about(path.display(), error);
    let former = match fs::metadata(path) {
        // A pipe or a device cannot be replaced.
        Ok(former) if !former.is_file() => {
            return Ok(Sink::Stream(BufWriter::new(Box::new(File::create(path).map_err(at)?))));
        }
        Ok(former) => Some(former.permissions()),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(at(error)),
    };
    // What may not be written to is not replaced either.
    if former.is_some() {
        OpenOptions::new().write(true).open(path).map_err(at)?;
    }
    // The file that a link names is replaced, not the link.
    let to = if former.is_some() { path.canonicalize().map_err(at)? } else { path.to_owned() };
    let (file, path) = beside(&to, former)?;
    Ok(Sink::Part { file: BufWriter::new(file), path, to })
}

/// Creates a file beside another one, that as few may read as the former file, if there is one.
fn beside(to: &Path, former: Option<fs::Permissions>) -> Outcome<(File, PathBuf)> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if let Some(former) = &former {
        use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
        options.mode(former.mode());
    }
    let mut number = 1;
    loop {
        let mut name = to.file_name().unwrap_or_default().to_owned();
        name.push(if number == 1 { ".part".to_owned() } else { format!(".part{number}") });
        let path = to.with_file_name(name);
        match options.open(&path) {
            // Of an export that was stopped, or is still under way.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && number < UNFINISHED => number += 1,
            Err(error) => return Err(Failure::about(path.display(), error)),
            Ok(file) => {
                if let Some(former) = former {
                    file.set_permissions(former).map_err(|error| Failure::about(path.display(), error))?;
                }
                return Ok((file, path));
            }
        }
    }
}
