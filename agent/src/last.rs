//! What was applied last, so that the same need not be done again: a guest that is renewed is often told what it knows.

use crate::failure::Failure;
use crate::locks::lock;
use std::sync::Mutex;

pub struct Last<T>(Mutex<Option<T>>);

impl<T> Default for Last<T> {
    fn default() -> Self {
        Last(Mutex::new(None))
    }
}

impl<T: PartialEq> Last<T> {
    /// Applies it, whatever was before.
    pub fn set(
        &self,
        next: T,
        apply: impl FnOnce(&T, Option<&T>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut last = lock(&self.0);
        // Unknown until it has been applied whole.
        *last = None;
        apply(&next, None)?;
        *last = Some(next);
        Ok(())
    }

    /// Applies what differs from the last: `apply` gets both.
    pub fn change(
        &self,
        next: T,
        apply: impl FnOnce(&T, Option<&T>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut last = lock(&self.0);
        if last.as_ref() == Some(&next) {
            return Ok(());
        }
        let before = last.take();
        apply(&next, before.as_ref())?;
        *last = Some(next);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_applied_again() {
        let last = Last::default();
        let mut applied = Vec::new();
        for next in [1, 1, 2] {
            let note = |next: &i32, before: Option<&i32>| {
                applied.push((*next, before.copied()));
                Ok(())
            };
            last.change(next, note).unwrap();
        }
        assert_eq!(applied, [(1, None), (2, Some(1))]);
    }

    #[test]
    fn what_failed_counts_as_unknown() {
        let last = Last::default();
        last.set(1, |_, _| Ok(())).unwrap();
        assert!(last.change(2, |_, _| Err(Failure::cancelled())).is_err());
        let mut told = None;
        last.change(1, |_, before| {
            told = Some(before.copied());
            Ok(())
        })
        .unwrap();
        assert_eq!(told, Some(None));
    }
}
