//! Golden files of tests: `tests/golden/NAME`. `SNAPSHOTS=overwrite cargo test golden` writes them anew.

/// Compares `text` with the golden file, whole.
#[track_caller]
pub(crate) fn check(name: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let golden = snapbox::Data::read_from(&path, Some(snapbox::data::DataFormat::Text));
    snapbox::Assert::new().action_env("SNAPSHOTS").eq(text.to_owned(), golden.raw());
}
