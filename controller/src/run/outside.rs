//! Who may limit this site from outside: load-flexibility partners and the controller above.

use super::Parts;
use super::control::Control;
use crate::{flex::gate, parent};
use headroom_rack::Mono;

/// What came from somebody who may limit this site.
#[derive(Debug)]
pub(super) enum Outside {
    /// A load-flexibility partner.
    Flex(gate::Heard),
    /// The controller above.
    Parent(parent::Heard),
}

impl Control {
    /// The next message of somebody who may limit this site; never, without any.
    pub(super) async fn outside(&mut self) -> Outside {
        let flex = async { self.flex.as_mut()?.next().await };
        let parent = async { self.parent.as_mut()?.next().await };
        tokio::select! {
            Some(heard) = flex => Outside::Flex(heard),
            Some(heard) = parent => Outside::Parent(heard),
            else => std::future::pending().await,
        }
    }

    /// Takes it in; true if it cannot wait for the next tick.
    pub(super) fn hear_outside(&mut self, heard: Outside, parts: &Parts) -> bool {
        let (now, at) = (self.clock.now(), self.clock.unix());
        match heard {
            Outside::Flex(heard) => {
                let Some((text, urgent)) = self.flex.as_mut().map(|flex| flex.hear(heard, at)) else { return false };
                self.note(parts, "flex", text);
                urgent
            }
            Outside::Parent(heard) => {
                let mode = self.mode();
                self.parent.as_mut().is_some_and(|parent| parent.hear(heard, mode, now, at))
            }
        }
    }

    /// When next a limit from outside begins or ends by itself.
    pub(super) fn next_change(&self) -> Option<Mono> {
        let now = self.clock.now();
        let target = self.flex.as_ref().and_then(|flex| flex.next_change(self.clock.unix()));
        let lease = self.parent.as_ref().and_then(|parent| parent.runs_out(now));
        target.map(|left| now.after(left)).into_iter().chain(lease).min()
    }
}
