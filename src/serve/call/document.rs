//! The server's own description.

use super::super::answer::Document;
use super::super::openapi::TEXT;

pub(in super::super) async fn show() -> Document {
    Document(TEXT.as_str())
}
