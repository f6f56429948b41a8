//! Samples, their spread, and how two series compare round by round.

/// One figure, measured in round after round.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Series(Vec<f64>);

impl Series {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The value below which the part `at` (0 to 1) of the samples lies, interpolated; 0 of
    /// an empty series.
    pub(crate) fn quantile(&self, at: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
        let place = at.clamp(0.0, 1.0) * last as f64;
        let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
        low + (high - low) * place.fract()
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The smallest: what else runs on a machine only adds to a time.
    pub(crate) fn least(&self) -> f64 {
        self.quantile(0.0)
    }

    /// This over `base`, of each round.
    pub(crate) fn over(&self, base: &Self) -> Self {
        self.0.iter().zip(&base.0).map(|(own, base)| own / base).collect()
    }
}

impl FromIterator<f64> for Series {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

/// One thing measured in several ways, each once a round; the first is what the others are
/// compared with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Comparison {
    rows: Vec<(String, Series)>,
}

impl Comparison {
    /// Adds a sample of the way `name`.
    pub(crate) fn push(&mut self, name: &str, value: f64) {
        match self.rows.iter_mut().find(|(known, _)| known == name) {
            Some((_, series)) => series.push(value),
            None => self.rows.push((name.to_owned(), [value].into_iter().collect())),
        }
    }

    /// Puts the ways into the order of `names`, whatever order they were first measured in.
    pub(crate) fn ordered<'a>(mut self, names: impl Iterator<Item = &'a str>) -> Self {
        let names: Vec<_> = names.collect();
        self.rows.sort_by_key(|(name, _)| names.iter().position(|known| known == name));
        self
    }

    pub(crate) fn rows(&self) -> &[(String, Series)] {
        &self.rows
    }

    /// How `name` compares with the first way; none for an unknown name.
    pub(crate) fn ratio(&self, name: &str) -> Option<Series> {
        let (_, base) = self.rows.first()?;
        let (_, own) = self.rows.iter().find(|(known, _)| known == name)?;
        Some(own.over(base))
    }

    pub(crate) fn series(&self, name: &str) -> Option<&Series> {
        self.rows.iter().find(|(known, _)| known == name).map(|(_, series)| series)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> Series {
        values.iter().copied().collect()
    }

    #[test]
    fn quantiles_interpolate_and_do_not_depend_on_the_order() {
        let series = of(&[4.0, 1.0, 3.0, 2.0]);
        assert_eq!(series.median(), 2.5);
        assert_eq!((series.quantile(0.0), series.quantile(1.0)), (1.0, 4.0));
        assert_eq!(series.quantile(0.25), 1.75);
        assert_eq!(of(&[]).median(), 0.0);
        assert_eq!(of(&[7.0]).quantile(0.99), 7.0);
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        // A machine that slows down between rounds slows both: the ratio stays.
        let mut both = Comparison::default();
        for slow in [1.0, 5.0, 2.0] {
            both.push("lacre", 1.1 * slow);
            both.push("runc", slow);
        }
        let both = both.ordered(["runc", "lacre"].into_iter());
        let ratio = both.ratio("lacre").unwrap();
        assert!((ratio.quantile(0.0) - 1.1).abs() < 1e-9);
        assert!((ratio.quantile(1.0) - 1.1).abs() < 1e-9);
        assert_eq!(both.rows()[0].0, "runc");
        assert!(both.ratio("kata").is_none());
    }
}
