//! The only room that knows colour, width and glyphs.
