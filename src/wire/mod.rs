//! What travels and what is scraped.
