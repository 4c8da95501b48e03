//! The route of a request whose handler ends without an answer: by a panic, its deadline, or because its client is gone. Who has matched
//! it leaves it for who tells of the end, on the same thread, right behind.

use std::cell::RefCell;
use std::time::Instant;

use super::Route;

/// Which request: its connection, by its place in memory, and when it was received.
pub(crate) type Which = (usize, Instant);

thread_local! {
    static LEFT: RefCell<Option<(Which, Route)>> = const { RefCell::new(None) };
}

/// A matched request, until it is [answered](Self::answered). Dropped before, its route is left.
#[cfg(any(feature = "axum", test))]
pub(crate) struct Unanswered(Option<(Which, Route)>);

#[cfg(any(feature = "axum", test))]
impl Unanswered {
    pub(crate) fn new(which: Which, route: Route) -> Self {
        Unanswered(Some((which, route)))
    }

    pub(crate) fn answered(mut self) -> Option<Route> {
        self.0.take().map(|(_, route)| route)
    }
}

#[cfg(any(feature = "axum", test))]
impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(left) = self.0.take() {
            // Where the thread ends nobody asks.
            let _ = LEFT.try_with(|place| place.replace(Some(left)));
        }
    }
}

/// The route that was left of that request.
pub(crate) fn left(which: Which) -> Option<Route> {
    LEFT.try_with(|place| place.borrow().as_ref().filter(|(of, _)| *of == which).map(|(_, route)| route.clone()))
        .ok()?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_left_by_who_is_not_answered() {
        let (now, route) = (Instant::now(), Route::from("/a"));
        assert_eq!(Unanswered::new((1, now), route.clone()).answered(), Some(route.clone()));
        assert_eq!(left((1, now)), None);
        drop(Unanswered::new((1, now), route.clone()));
        assert_eq!((left((1, now)), left((2, now))), (Some(route), None));
    }
}
