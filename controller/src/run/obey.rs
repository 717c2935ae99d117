//! The turn of the loop that a person's command takes.

use super::Parts;
use super::control::Control;
use crate::hands::{self, Asked};
use headroom_rack::Mode;

impl Control {
    /// Takes a command, keeps it, decides with it and answers.
    pub(super) fn obey(&mut self, asked: Asked, parts: &Parts) {
        let said = self.take(&asked, parts);
        asked.answer(said);
    }

    fn take(&mut self, asked: &Asked, parts: &Parts) -> Result<(), String> {
        let text = self.hands.take(&asked.command, self.clock.unix())?;
        if matches!(asked.command, hands::Command::Resume { .. }) && !self.automation.resume() {
            return Err("the automation runs; there is nothing to resume".to_owned());
        }
        self.note(parts, "hand", format!("{text} (from {})", asked.from.ip()));
        self.put_hands();
        self.decide_now(parts);
        self.show(parts);
        Ok(())
    }

    /// What stands over the automation goes to the decision and to disk.
    pub(super) fn put_hands(&mut self) {
        let hands = self.hands.over(self.automation.stops());
        self.advised = hands.advised(&self.topology);
        self.pins = hands.pins(&self.advised);
        self.decider.set_hands(&hands);
        self.keeper.save(self.hands_state());
    }

    pub(super) fn hands_state(&self) -> hands::State {
        hands::State { set: self.hands.set().clone(), stops: self.automation.stops().clone() }
    }

    /// What the controller does as a whole: what the config says, unless the automation stopped itself.
    pub(super) fn mode(&self) -> Mode {
        match self.config.mode {
            Mode::Automatic if self.automation.stops().whole.is_some() => Mode::Safe,
            mode => mode,
        }
    }
}
