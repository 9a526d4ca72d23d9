//! The loader as a feed.

use super::Feed;
use crate::batch::Batch;
use crate::error::Result;
use crate::loader::{Loader, State};

impl Feed for Loader {
    type State = State;

    fn next_batch(&mut self) -> Option<Result<Batch>> {
        self.next()
    }

    fn state(&self) -> State {
        Loader::state(self)
    }

    fn name(&self, index: u32) -> Option<String> {
        let source = self.source();
        ((index as usize) < source.len()).then(|| source.name(index as usize))
    }

    fn classes(&self) -> Vec<String> {
        self.source().classes().to_vec()
    }
}
