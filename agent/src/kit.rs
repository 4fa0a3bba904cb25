//! What a command needs of the kernel besides a process: a tree to live in and two pipes to write to. Made ahead of
//! need, while nobody waits: under emulation they are a good part of what starting a command costs.

use crate::sys;
use crate::tree::{Tree, Trees};
use std::io;
use std::os::unix::io::OwnedFd;

/// Kits kept ready for the next commands. Each costs eight descriptors, which every child copies and closes.
const SPARE: usize = 1;

pub struct Kit {
    pub tree: Tree,
    /// stdout and stderr.
    pub pipes: [Pipe; 2],
}

pub struct Pipe {
    /// The agent's, which does not block.
    pub ours: OwnedFd,
    pub theirs: OwnedFd,
}

impl Pipe {
    /// A pipe that the command writes to.
    pub fn from_command() -> io::Result<Pipe> {
        let (ours, theirs) = sys::pipe()?;
        sys::set_nonblocking(&ours)?;
        Ok(Pipe { ours, theirs })
    }
    /// A pipe that the command reads from.
    pub fn to_command() -> io::Result<Pipe> {
        let (theirs, ours) = sys::pipe()?;
        sys::set_nonblocking(&ours)?;
        Ok(Pipe { ours, theirs })
    }
}

pub struct Kits {
    trees: Trees,
    spare: Vec<Kit>,
}

impl Kits {
    pub fn new(trees: Trees) -> Kits {
        Kits { trees, spare: Vec::new() }
    }

    pub fn take(&mut self) -> io::Result<Kit> {
        match self.spare.pop() {
            Some(kit) => Ok(kit),
            None => self.make(),
        }
    }

    fn make(&mut self) -> io::Result<Kit> {
        let pipes = [Pipe::from_command()?, Pipe::from_command()?];
        Ok(Kit { tree: self.trees.make()?, pipes })
    }

    /// Makes what is missing. What cannot be made now is made, or missed, when it is needed.
    pub fn refill(&mut self) {
        while self.spare.len() < SPARE {
            match self.make() {
                Ok(kit) => self.spare.push(kit),
                Err(_) => return,
            }
        }
    }

    /// Gives back the tree of a command that has ended.
    pub fn retire(&mut self, tree: Tree) {
        self.trees.retire(tree);
    }

    /// Frees what was given back.
    pub fn clean(&mut self) {
        self.trees.clean();
    }
}
