//! What a node says of its own device, and what of it does not fit a family.

use super::{Family, Law};

/// What a node says of its own device.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Settings {
    /// Rated current, A; which row of a fuse table counts.
    pub amperes: Option<f64>,
    /// Temperature of the air around it, degrees Celsius; without it, the family's reference.
    pub ambient_celsius: Option<f64>,
    /// Long-time delay at 6 Ir, s.
    pub tr_s: Option<f64>,
    /// Short-time pickup in Ir.
    pub isd: Option<f64>,
    /// Short-time delay, s.
    pub tsd_s: Option<f64>,
    /// Instantaneous pickup in Ir.
    pub ii: Option<f64>,
}

impl Settings {
    /// What is set on a trip unit, by its key.
    fn set(&self) -> [(&'static str, Option<f64>); 4] {
        [("tr_s", self.tr_s), ("isd", self.isd), ("tsd_s", self.tsd_s), ("ii", self.ii)]
    }

    /// The same without those that these mistakes call unused.
    #[must_use]
    pub fn without_unused(mut self, mistakes: &[FamilyError]) -> Self {
        for mistake in mistakes.iter().filter(|m| matches!(m, FamilyError::Unused { .. })) {
            match mistake.setting() {
                "tr_s" => self.tr_s = None,
                "isd" => self.isd = None,
                "tsd_s" => self.tsd_s = None,
                _ => self.ii = None,
            }
        }
        self
    }
}

/// Why a family gives no curve for these settings.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FamilyError {
    /// A setting that decides the curve is missing.
    #[error("{family} needs {setting}")]
    Missing {
        /// The family.
        family: String,
        /// What to write.
        setting: &'static str,
    },
    /// A setting is outside what such devices have.
    #[error("{family}: {setting} = {got} is not {must}")]
    Range {
        /// The family.
        family: String,
        /// Which.
        setting: &'static str,
        /// What it is.
        got: f64,
        /// What would be right.
        must: &'static str,
    },
    /// A setting that such devices do not have, or not alone. Passed over in silence it would look as if it counted.
    #[error("`{setting}` has no effect on {family}: {why}")]
    Unused {
        /// The family.
        family: String,
        /// Which.
        setting: &'static str,
        /// Why not.
        why: &'static str,
    },
}

impl FamilyError {
    /// The setting it is about.
    pub fn setting(&self) -> &'static str {
        let (Self::Missing { setting, .. } | Self::Range { setting, .. } | Self::Unused { setting, .. }) = self;
        setting
    }
}

impl Family {
    /// Everything that is wrong with these settings.
    pub fn mistakes(&self, settings: &Settings) -> Vec<FamilyError> {
        let mut found = Vec::new();
        let (used, why): (&[&str], _) = match &self.law {
            Law::Electronic { .. } if settings.isd.is_some() => (&["tr_s", "isd", "tsd_s", "ii"], ""),
            Law::Electronic { .. } => (&["tr_s", "ii"], "without isd there is no short-time stage"),
            Law::Thermal { coil: Some(_), .. } => (&["ii"], "it has a bimetal and a coil, of which ii can be set"),
            Law::Thermal { coil: None, .. } => (&[], "it has a bimetal and a coil without settings"),
            Law::Fuse { .. } => (&[], "a fuse has no settings"),
            Law::Table { .. } => (&[], "its overload table has no settings"),
        };
        for (setting, _) in settings.set().into_iter().filter(|(s, value)| value.is_some() && !used.contains(s)) {
            found.push(FamilyError::Unused { family: self.name.clone(), setting, why });
        }
        let mut check = |setting, value, low, high, must| {
            found.extend(self.setting(setting, value, low, high, must).err());
        };
        match &self.law {
            Law::Electronic { .. } => {
                check("tr_s", settings.tr_s, 0.5, 60.0, "0.5 to 60 s at 6 Ir");
                check("ii", settings.ii, 1.5, 20.0, "1.5 to 20 times Ir");
                if let Some(isd) = settings.isd {
                    check("isd", Some(isd), 1.5, settings.ii.unwrap_or(20.0), "1.5 to ii");
                    check("tsd_s", settings.tsd_s, 0.0, 1.0, "0 to 1 s");
                }
            }
            Law::Thermal { coil: Some(coil), .. } if settings.ii.is_some() => {
                check("ii", settings.ii, coil.low, coil.high, "a pickup that such coils have, in In");
            }
            Law::Fuse { .. } => check("rating_amperes", settings.amperes, 16.0, 1250.0, "16 to 1250 A"),
            Law::Thermal { .. } | Law::Table { .. } => {}
        }
        found
    }

    fn setting(
        &self,
        setting: &'static str,
        value: Option<f64>,
        low: f64,
        high: f64,
        must: &'static str,
    ) -> Result<f64, FamilyError> {
        let family = || self.name.clone();
        match value {
            None => Err(FamilyError::Missing { family: family(), setting }),
            Some(value) if (low..=high).contains(&value) => Ok(value),
            Some(got) => Err(FamilyError::Range { family: family(), setting, got, must }),
        }
    }
}
