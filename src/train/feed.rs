//! The loader as a feed.

use super::{Feed, Steer};
use crate::batch::Batch;
use crate::error::Result;
use crate::loader::{Loader, Pending, State};
use crate::schedule::Stage;

impl Steer for Loader {
    fn progress(&self) -> f64 {
        Loader::progress(self)
    }

    fn stage_by_hand(&self) -> Option<&Stage> {
        Loader::stage_by_hand(self)
    }

    fn set_stage(&mut self, stage: Stage) -> Result<()> {
        // What was made ahead is of the stage before: its samples are made again.
        Loader::set_stage(self, Some(stage), Pending::Drop)
    }
}

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
