//! Any bytes, as a segment of the disk buffer and as the payload of each of its records.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hooklatch::buffer::fuzz_record(bytes));
