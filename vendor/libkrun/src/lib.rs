//! Carries libkrun's C functions into a static library.

#[allow(unused_imports)]
use krun as _;
