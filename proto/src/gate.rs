//! Bounds on how many may be inside at a time, in all and of each.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts who is inside, in all and by key, and lets no more in than it should.
#[derive(Debug)]
pub(crate) struct Gate<K: Hash + Eq> {
    total: usize,
    each: usize,
    inside: Mutex<(usize, HashMap<K, usize>)>,
}

/// One who is inside; leaves when dropped.
#[derive(Debug)]
pub(crate) struct Pass<K: Hash + Eq> {
    gate: Arc<Gate<K>>,
    key: K,
}

impl<K: Hash + Eq + Clone> Gate<K> {
    pub(crate) fn new(total: usize, each: usize) -> Arc<Self> {
        Arc::new(Self { total, each, inside: Mutex::new((0, HashMap::new())) })
    }

    /// `None` when it is full, or when this key has had its share.
    pub(crate) fn enter(self: &Arc<Self>, key: K) -> Option<Pass<K>> {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let of_key = inside.1.get(&key).copied().unwrap_or(0);
        if inside.0 >= self.total || of_key >= self.each {
            return None;
        }
        inside.0 += 1;
        inside.1.insert(key.clone(), of_key + 1);
        Some(Pass { gate: Arc::clone(self), key })
    }
}

impl<K: Hash + Eq> Drop for Pass<K> {
    fn drop(&mut self) {
        let mut inside = self.gate.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.0 -= 1;
        if let Some(of_key) = inside.1.get_mut(&self.key) {
            *of_key -= 1;
            if *of_key == 0 {
                inside.1.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_full_in_all_and_by_key_and_forgets_who_left() {
        let gate = Gate::new(3, 2);
        let a = gate.enter("a").unwrap();
        let _a = gate.enter("a").unwrap();
        assert!(gate.enter("a").is_none());
        let _b = gate.enter("b").unwrap();
        assert!(gate.enter("c").is_none());
        drop(a);
        let c = gate.enter("c").unwrap();
        drop(c);
        assert!(!gate.inside.lock().unwrap().1.contains_key("c"));
    }
}
