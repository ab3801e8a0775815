//! Memory for futures of one kind, used again and again: the future of a request is too large for the short lists that
//! make small allocations cheap.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Task, Poll};

/// How many free slots a thread keeps.
const KEPT: usize = 64;

type Slot<F> = Pin<Box<Option<F>>>;

/// The free slots of a thread.
pub(crate) struct Slots<F> {
    free: RefCell<Vec<Slot<F>>>,
}

/// A future in a slot, which goes back when this is dropped.
pub(crate) struct Slotted<F> {
    slot: Option<Slot<F>>,
    slots: Rc<Slots<F>>,
}

impl<F: Future<Output = ()>> Slots<F> {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self { free: RefCell::default() })
    }

    /// Makes a future in a free slot. Inlined with what makes it, so that it is written where it stays: most of its bytes
    /// mean nothing at first and need no copy.
    #[inline]
    pub(crate) fn hold(self: &Rc<Self>, make: impl FnOnce() -> F) -> Slotted<F> {
        let free = self.free.borrow_mut().pop();
        let slot = match free {
            Some(mut slot) => {
                slot.set(Some(make()));
                slot
            }
            None => Box::pin(Some(make())),
        };
        Slotted { slot: Some(slot), slots: self.clone() }
    }
}

impl<F: Future<Output = ()>> Future for Slotted<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<()> {
        match self.slot.as_mut().and_then(|slot| slot.as_mut().as_pin_mut()) {
            Some(future) => future.poll(task),
            None => Poll::Ready(()),
        }
    }
}

impl<F> Drop for Slotted<F> {
    fn drop(&mut self) {
        let Some(mut slot) = self.slot.take() else { return };
        slot.set(None);
        let mut free = self.slots.free.borrow_mut();
        if free.len() < KEPT {
            free.push(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Slots;
    use std::cell::Cell;
    use std::rc::Rc;
    use std::task::{Context as Task, Waker};

    #[test]
    fn a_slot_is_used_again_and_its_future_is_gone() {
        let slots = Slots::new();
        let ended = Rc::new(Cell::new(0));
        for round in 1..4 {
            let ended_too = ended.clone();
            let work = |count: Rc<Cell<i32>>| async move {
                count.set(count.get() + 1);
                std::future::pending::<()>().await;
            };
            let mut task = Task::from_waker(Waker::noop());
            let mut held = Box::pin(slots.hold(|| Box::pin(work(ended_too))));
            assert!(std::future::Future::poll(held.as_mut(), &mut task).is_pending());
            assert_eq!((ended.get(), Rc::strong_count(&ended)), (round, 2));
            assert!(slots.free.borrow().is_empty());
            drop(held);
            assert_eq!((Rc::strong_count(&ended), slots.free.borrow().len()), (1, 1));
        }
    }
}
