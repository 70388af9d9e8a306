//! Finds the files of a topology and loads them. Reads only files that are named or lie in the named directory, and
//! none that a topology names.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::loaded::Loaded;
use super::lower;
use super::problem::{Problem, Problems};
use super::read::Reading;
use super::report::Report;
use super::source::{Place, Source};

/// The largest file that is read.
const FILE_MAX: u64 = 8 << 20;

/// Loads the topology at `location`, a file or a directory; without one, `topology.toml` or else `topology/` in the
/// working directory.
///
/// Guarantee: writes nothing, and two loads of the same texts give the same digest wherever they lie.
///
/// # Errors
/// All that is wrong, over all files.
pub fn load(location: Option<&Path>) -> Result<Loaded, Problems> {
    let path = match location {
        Some(path) => path.to_owned(),
        None => default_location(Path::new(""))?,
    };
    let mut report = Report::default();
    let (base, files) = files(&path)?;
    let taken = files.iter().filter_map(|file| take(&mut report, file)).collect();
    understand(report, taken, path, base)
}

/// Makes a topology of texts as if they were the files at `path`, in the directory `base`.
///
/// # Errors
/// All that is wrong, over all texts.
pub(super) fn load_texts(texts: Vec<Source>, path: PathBuf, base: PathBuf) -> Result<Loaded, Problems> {
    let mut report = Report::default();
    let taken = texts.into_iter().map(|text| report.take_source(text)).collect();
    understand(report, taken, path, base)
}

fn understand(mut report: Report, taken: Vec<usize>, path: PathBuf, base: PathBuf) -> Result<Loaded, Problems> {
    let mut reading = Reading::default();
    for number in taken {
        reading.file(&mut report, number);
    }
    let doc = reading.finish(&mut report);
    let (topology, origins) = lower::lower(&mut report, &doc, &base);
    let sources = report.sources().to_vec();
    match report.into_problems() {
        Some(problems) => Err(problems),
        None => Ok(Loaded { topology, sources, origins, path, base }),
    }
}

/// The topology that `location` means, and its files in the order of their names, without reading them: for what must
/// work on files that are not valid.
///
/// # Errors
/// Where there is none.
pub fn locate(location: Option<&Path>) -> Result<(PathBuf, Vec<PathBuf>), Problems> {
    let path = match location {
        Some(path) => path.to_owned(),
        None => default_location(Path::new(""))?,
    };
    let (_, files) = files(&path)?;
    Ok((path, files))
}

fn default_location(working: &Path) -> Result<PathBuf, Problem> {
    let names = ["topology.toml", "topology"].map(|name| working.join(name));
    // A dangling link counts as there, so that the error names it.
    names.into_iter().find(|path| fs::symlink_metadata(path).is_ok()).ok_or_else(|| {
        Problem::new("config::missing", "there is no topology here")
            .reason("the working directory has neither `topology.toml` nor `topology/`")
            .help("`debvisor-region init` writes a first one; `--topology PATH` names one that lies elsewhere")
    })
}

/// The directory that a topology lies in, and its files in the order of their names.
fn files(path: &Path) -> Result<(PathBuf, Vec<PathBuf>), Problem> {
    let metadata = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if !metadata.is_dir() {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        return Ok((parent.unwrap_or(Path::new(".")).to_owned(), vec![path.to_owned()]));
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(|error| unreadable(path, &error))? {
        let name = entry.map_err(|error| unreadable(path, &error))?.file_name();
        let hidden = name.as_encoded_bytes().starts_with(b".");
        if !hidden && name.as_encoded_bytes().ends_with(b".toml") {
            files.push(path.join(name));
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(Problem::new("config::empty-directory", format!("`{}` holds no topology", path.display()))
            .reason("no file in it ends in `.toml` (hidden ones don't count)")
            .help("put a `.toml` file there, or name another place with `--topology PATH`"));
    }
    Ok((path.to_owned(), files))
}

/// Reads a file as a source; where that fails it is reported.
pub(super) fn take(report: &mut Report, path: &Path) -> Option<usize> {
    let bytes = match read(path) {
        Ok(bytes) => bytes,
        Err(problem) => {
            report.add_unread(problem);
            return None;
        }
    };
    let name = path.display().to_string();
    match String::from_utf8(bytes) {
        Ok(text) => Some(report.take_source(Source::new(name, text))),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            // Lossy, but the same up to the place that matters.
            let source = Source::new(&name, String::from_utf8_lossy(error.as_bytes()));
            let place = Place::new(report.take_source(source), at..at + 1);
            let problem = Problem::new("config::not-utf8", format!("`{name}` is not UTF-8 text"))
                .reason("a TOML file is UTF-8")
                .help(format!("convert it, for instance with `iconv -f LATIN1 -t UTF-8 {name}`"));
            report.add_unread_at(problem, &place, "this byte is no part of a character");
            None
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    let failed = |error: &std::io::Error| unreadable(path, error);
    let metadata = fs::metadata(path).map_err(|error| failed(&error))?;
    // Before it is opened: opening a pipe would wait for its writer.
    if !metadata.is_file() {
        return Err(Problem::new("config::unreadable", format!("`{}` is not a file", path.display()))
            .help("rename or remove it, or name another place with `--topology PATH`"));
    }
    let mut bytes = Vec::new();
    if metadata.len() <= FILE_MAX {
        let file = File::open(path).map_err(|error| failed(&error))?;
        // One byte more than is allowed tells a file that grew.
        file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    }
    if metadata.len() > FILE_MAX || bytes.len() as u64 > FILE_MAX {
        return Err(Problem::new("config::too-big", format!("`{}` is larger than 8 MiB", path.display()))
            .reason("so large a topology is more likely a mistaken path than a wish")
            .help(
                "say the same with ranges, `[vms.\"web-{1..500}\"]`, or split it into several files in a directory",
            ));
    }
    Ok(bytes)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    let name = path.display();
    match error.kind() {
        ErrorKind::NotFound => Problem::new("config::missing", format!("`{name}` does not exist"))
            .help("check the path; `debvisor-region init` writes a first topology"),
        ErrorKind::PermissionDenied => Problem::new("config::unreadable", format!("`{name}` cannot be read"))
            .reason(error.to_string())
            .help("check who may read it, with `ls -l`"),
        _ => Problem::new("config::unreadable", format!("`{name}` cannot be read"))
            .reason(error.to_string())
            .help("check the path and the disk that it lies on"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(location: &Path) -> &'static str {
        let problems = load(Some(location)).unwrap_err();
        assert_eq!(problems.0.len(), 1, "{problems:?}");
        assert!(problems.0[0].help.is_some());
        problems.0[0].code
    }

    #[test]
    fn the_file_stands_before_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(default_location(dir.path()).unwrap_err().code, "config::missing");
        fs::create_dir(dir.path().join("topology")).unwrap();
        assert_eq!(default_location(dir.path()).unwrap(), dir.path().join("topology"));
        fs::write(dir.path().join("topology.toml"), "").unwrap();
        assert_eq!(default_location(dir.path()).unwrap(), dir.path().join("topology.toml"));
    }

    #[test]
    fn what_cannot_be_read_is_told_alone() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        assert_eq!(code(&at("none.toml")), "config::missing");
        assert_eq!(code(dir.path()), "config::empty-directory");
        assert_eq!(code(Path::new("/dev/zero")), "config::unreadable");
        fs::write(at("big.toml"), vec![b'#'; FILE_MAX as usize + 1]).unwrap();
        assert_eq!(code(&at("big.toml")), "config::too-big");
        fs::write(at("big.toml"), "[vms.a]\nreplicas = [\"b\"]\n").unwrap();
        fs::create_dir(at("also.toml")).unwrap();
        // Regions, a primary and the version may all stand in the one that is none.
        assert_eq!(code(dir.path()), "config::unreadable");
    }

    #[test]
    fn the_largest_file_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.toml");
        let mut text = "schema_version = 1\n#".to_owned();
        text.extend(std::iter::repeat_n('x', FILE_MAX as usize - text.len()));
        fs::write(&path, text).unwrap();
        let loaded = load(Some(&path)).unwrap();
        assert_eq!((loaded.base.as_path(), loaded.path.as_path()), (dir.path(), path.as_path()));
    }
}
