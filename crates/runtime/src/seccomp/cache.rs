//! The last few compiled default profiles: containers differ little in their capabilities.

use super::{Conditions, Error, Program};
use std::sync::{Arc, Mutex, PoisonError};

/// How many are kept.
const KEPT: usize = 8;

/// Programs by what they were made for, the last used first.
#[derive(Debug)]
pub(crate) struct Cache(Mutex<Vec<(Conditions, Arc<Program>)>>);

impl Cache {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// The program for these conditions, compiled if it is not there.
    pub(crate) fn program(
        &self,
        conditions: &Conditions,
        compile: impl FnOnce() -> Result<Program, Error>,
    ) -> Result<Arc<Program>, Error> {
        if let Some(program) = self.find(conditions) {
            return Ok(program);
        }
        // Two threads may compile at once: better than one waiting for the other.
        let program = Arc::new(compile()?);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(known, _)| known != conditions);
        kept.insert(0, (conditions.clone(), Arc::clone(&program)));
        kept.truncate(KEPT);
        Ok(program)
    }

    fn find(&self, conditions: &Conditions) -> Option<Arc<Program>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(known, _)| known == conditions)?;
        let found = kept.remove(at);
        let program = Arc::clone(&found.1);
        kept.insert(0, found);
        Some(program)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_used_stay() {
        let cache = Cache::new();
        let conditions = |n: u32| Conditions { kernel: (n, 0), ..Conditions::host(&[]) };
        let make = |n: u32| move || Ok(Program::new(n, vec![0; 8]));
        for n in 0..=u32::try_from(KEPT).unwrap() {
            cache.program(&conditions(n), make(n)).unwrap();
            cache.program(&conditions(0), || panic!("0 is in use all the time")).unwrap();
        }
        let again = cache.program(&conditions(1), make(100)).unwrap();
        assert_eq!(again.flags(), 100, "1 was the first to go");
    }
}
