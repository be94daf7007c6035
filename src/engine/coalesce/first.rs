//! The add of the first caller. The caller polls it; once others wait for it, a task does.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::oneshot;

use super::{Answer, Coalescer, Sender, unknown};
use crate::error::Error;

/// A call that is under way for one job.
pub(super) type Call = BoxFuture<'static, Answer>;

/// The add of the first caller. It goes on as a task if the caller gives up.
///
/// The caller may stop polling it and yet keep it, as a branch of a `select!` whose other branch is at work. So between
/// two polls the call is parked where the next caller finds it, and hands it to a task.
pub(super) struct First {
    coalescer: Arc<Coalescer>,
    ticket: u64,
    held: Held,
}

/// Where the call of a [`First`] is.
pub(super) enum Held {
    /// In the hands of its caller alone.
    Call(Call),
    /// Parked.
    Parked,
    /// In the hands of a task, which gives the answer here.
    Carried(oneshot::Receiver<Back>),
    /// It has ended.
    Nowhere,
}

/// What a task gives back to the caller whose call it carried.
pub(super) enum Back {
    Answer(Answer),
    /// The task ended early; the caller goes on with the call.
    Call(Call),
}

/// A call that waits for its caller to poll it, or for another caller to hand it to a task.
pub(super) struct Parked {
    ticket: u64,
    call: Call,
    /// Wakes the caller.
    waker: Waker,
}

impl Parked {
    /// Gives the call to a task. The answer is for the caller with this ticket.
    pub(super) fn carry(self) -> (Carried, (u64, oneshot::Receiver<Back>)) {
        let (tell, told) = oneshot::channel();
        (Carried { call: Some(self.call), tell: Some(tell), waker: Some(self.waker) }, (self.ticket, told))
    }
}

/// The call of a first caller in the hands of a task.
pub(super) struct Carried {
    call: Option<Call>,
    tell: Option<oneshot::Sender<Back>>,
    /// Wakes the caller, who may not wait for the task yet.
    waker: Option<Waker>,
}

impl Carried {
    /// Gives the caller what it is owed; returns it if the caller has given up.
    fn give(&mut self, back: Back) -> Option<Back> {
        let returned = self.tell.take().and_then(|tell| tell.send(back).err());
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        returned
    }
}

impl Future for Carried {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(call) = &mut self.call else { return Poll::Ready(()) };
        let Poll::Ready(answer) = call.as_mut().poll(cx) else { return Poll::Pending };
        self.call = None;
        self.give(Back::Answer(answer));
        Poll::Ready(())
    }
}

impl Drop for Carried {
    /// Reached with a call only if the task panicked, or ended with its runtime.
    fn drop(&mut self) {
        if let Some(call) = self.call.take()
            && let Some(Back::Call(call)) = self.give(Back::Call(call))
        {
            go_on(call);
        }
    }
}

/// Goes on with a call for which nobody waits.
fn go_on(call: Call) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(call);
    }
}

impl First {
    pub(super) fn new(coalescer: Arc<Coalescer>, ticket: u64, call: Call) -> Self {
        Self { coalescer, ticket, held: Held::Call(call) }
    }
}

impl Future for First {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        loop {
            match std::mem::replace(&mut self.held, Held::Nowhere) {
                Held::Call(mut call) => {
                    let answer = call.as_mut().poll(cx);
                    if answer.is_ready() {
                        return answer;
                    }
                    self.held = self.coalescer.park(Parked { ticket: self.ticket, call, waker: cx.waker().clone() });
                    if !matches!(self.held, Held::Carried(_)) {
                        return Poll::Pending;
                    }
                }
                Held::Parked => self.held = self.coalescer.unpark(self.ticket),
                Held::Carried(mut back) => match back.poll_unpin(cx) {
                    Poll::Ready(Ok(Back::Answer(answer))) => return Poll::Ready(answer),
                    Poll::Ready(Ok(Back::Call(call))) => self.held = Held::Call(call),
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(unknown())),
                    Poll::Pending => {
                        self.held = Held::Carried(back);
                        return Poll::Pending;
                    }
                },
                Held::Nowhere => return Poll::Ready(Err(Error::Closed)),
            }
        }
    }
}

impl Drop for First {
    fn drop(&mut self) {
        let held = match std::mem::replace(&mut self.held, Held::Nowhere) {
            Held::Parked => self.coalescer.unpark(self.ticket),
            held => held,
        };
        match held {
            Held::Call(call) => go_on(call),
            // The task may have just given the call back.
            Held::Carried(mut back) => {
                if let Ok(Back::Call(call)) = back.try_recv() {
                    go_on(call);
                }
            }
            Held::Parked | Held::Nowhere => {}
        }
    }
}

impl Coalescer {
    /// Puts a call where the next caller finds it. If one has come meanwhile, a task takes it at once. A caller that is
    /// no longer the sender keeps its call: nobody waits for it.
    fn park(self: &Arc<Self>, parked: Parked) -> Held {
        let mut state = self.lock();
        match state.sender {
            Sender::First(owner) if owner == parked.ticket => {
                state.parked = Some(parked);
                return Held::Parked;
            }
            Sender::Called(owner) if owner == parked.ticket => state.sender = Sender::Task,
            _ => return Held::Call(parked.call),
        }
        drop(state);
        let (carried, (_, told)) = parked.carry();
        self.start_task(Some(carried));
        Held::Carried(told)
    }

    /// Returns a parked call to its caller, or what a task will say of it.
    fn unpark(&self, ticket: u64) -> Held {
        let mut state = self.lock();
        if let Some(parked) = state.parked.take_if(|parked| parked.ticket == ticket) {
            return Held::Call(parked.call);
        }
        let told = state.carried.iter().position(|(owner, _)| *owner == ticket);
        told.map_or(Held::Nowhere, |told| Held::Carried(state.carried.swap_remove(told).1))
    }
}
