//! The bell under the orders of who rings it, MODELS.md.

use adapter_core::sync::{Condvar, explore, thread};

use super::*;

/// A task that is polled when it was woken.
#[derive(Default)]
struct Task {
    is_woken: Mutex<bool>,
    wakes: Condvar,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        *self.is_woken.lock().expect("nobody panics") = true;
        self.wakes.notify_one();
    }
}

impl Task {
    fn until_woken(&self) {
        let mut is_woken = self.is_woken.lock().expect("nobody panics");
        while !std::mem::take(&mut *is_woken) {
            is_woken = self.wakes.wait(is_woken).expect("nobody panics");
        }
    }
}

/// All that is queued is found, by others or by the task itself, while it is muted or not.
#[test]
fn what_is_queued_is_found() {
    const OTHERS: usize = 2;
    explore(4_000, || {
        let bell = Bell::new();
        let ring = Waker::from(bell.clone());
        let queue = Arc::new(Mutex::new(0));
        let push = {
            let queue = queue.clone();
            move || {
                *queue.lock().expect("nobody panics") += 1;
                ring.wake_by_ref();
            }
        };
        let others = [(); OTHERS].map(|()| thread::spawn(push.clone()));
        let task = Arc::new(Task::default());
        let waker = Waker::from(task.clone());
        let (mut found, mut served) = (0, false);
        waker.wake_by_ref();
        // One more is its own.
        while found < OTHERS + 1 {
            task.until_woken();
            bell.wakes(&waker);
            found += std::mem::take(&mut *queue.lock().expect("nobody panics"));
            if !std::mem::replace(&mut served, true) {
                bell.muted(&push);
                // As the connection does behind each stream that it serves.
                found += std::mem::take(&mut *queue.lock().expect("nobody panics"));
            }
        }
        for other in others {
            other.join().expect("nobody panics");
        }
        assert_eq!(found, OTHERS + 1);
    });
}
