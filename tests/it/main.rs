//! Everything that needs the real program: its binary, real files, real sockets.

mod beside;
mod crash;
mod process;
