//! Delays in `run.json`: percentiles to read, and the whole histogram to work on.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

/// The delays of one kind of event in a span of time, in µs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Percentiles {
    /// How many there were.
    pub count: u64,
    /// Half were no longer than this.
    pub p50: u64,
    /// 90 of 100.
    pub p90: u64,
    /// 99 of 100.
    pub p99: u64,
    /// 999 of 1,000.
    pub p999: u64,
    /// The longest.
    pub max: u64,
}

/// All delays of one kind of event, in µs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// How many there were.
    pub count: u64,
    /// The shortest.
    pub min: u64,
    /// The mean.
    pub mean: f64,
    /// Half were no longer than this.
    pub p50: u64,
    /// 90 of 100.
    pub p90: u64,
    /// 99 of 100.
    pub p99: u64,
    /// 999 of 1,000.
    pub p999: u64,
    /// 9,999 of 10,000.
    pub p9999: u64,
    /// The longest.
    pub max: u64,
    /// All of it: an HdrHistogram in its compressed form (V2), in base64. Other HdrHistogram libraries read it too.
    pub histogram: String,
}

/// The delays of a leg, each counted from when the message was due to be sent; null where there were none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Latencies {
    /// Until the API said that it is accepted.
    pub accepted: Option<Distribution>,
    /// Until the device had it.
    pub received: Option<Distribution>,
    /// Until the device had acknowledged it.
    pub acked: Option<Distribution>,
    /// Of broadcasts: until each device had them.
    pub broadcast: Option<Distribution>,
    /// Of connections, not of messages: from the attempt to connect until the device was bound.
    pub connect: Option<Distribution>,
}

/// Why an encoded histogram cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HistogramError {
    /// It is not base64.
    #[error("it is not base64: {0}")]
    Base64(#[from] base64::DecodeError),
    /// It is not an HdrHistogram.
    #[error("it is not an HdrHistogram: {0}")]
    Form(#[from] hdrhistogram::serialization::DeserializeError),
}

impl Percentiles {
    /// The percentiles of a histogram of µs, if it has any values.
    pub fn of(histogram: &Histogram<u64>) -> Option<Percentiles> {
        (!histogram.is_empty()).then(|| Percentiles {
            count: histogram.len(),
            p50: histogram.value_at_quantile(0.5),
            p90: histogram.value_at_quantile(0.9),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            max: histogram.max(),
        })
    }
}

impl Distribution {
    /// What a histogram of µs holds, if it has any values.
    pub fn of(histogram: &Histogram<u64>) -> Option<Distribution> {
        (!histogram.is_empty()).then(|| Distribution {
            count: histogram.len(),
            min: histogram.min(),
            mean: histogram.mean(),
            p50: histogram.value_at_quantile(0.5),
            p90: histogram.value_at_quantile(0.9),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            p9999: histogram.value_at_quantile(0.9999),
            max: histogram.max(),
            histogram: encode(histogram),
        })
    }

    /// The whole histogram, in µs.
    ///
    /// # Errors
    ///
    /// When the text is not an encoded histogram.
    pub fn decode(&self) -> Result<Histogram<u64>, HistogramError> {
        let bytes = STANDARD.decode(&self.histogram)?;
        Ok(Deserializer::new().deserialize(&mut bytes.as_slice())?)
    }
}

fn encode(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(histogram, &mut bytes).expect("a Vec takes everything");
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_keeps_the_whole_histogram() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        (1..=10_000).for_each(|value| histogram.record(value).unwrap());
        let distribution = Distribution::of(&histogram).unwrap();
        assert_eq!((distribution.count, distribution.min), (10_000, 1));
        assert!(distribution.p99.abs_diff(9_900) <= 10, "{distribution:?}");
        assert!(distribution.p9999.abs_diff(9_999) <= 10, "{distribution:?}");
        assert_eq!(distribution.decode().unwrap(), histogram);
        assert!(distribution.histogram.starts_with("HISTF"), "as other libraries write it");
    }

    #[test]
    fn nothing_has_no_percentiles() {
        let empty = Histogram::<u64>::new(3).unwrap();
        assert_eq!((Distribution::of(&empty), Percentiles::of(&empty)), (None, None));
    }

    #[test]
    fn a_broken_histogram_is_an_error() {
        for histogram in ["", "?", "HISTFAAAAAA="] {
            let broken = Distribution { histogram: histogram.into(), ..Distribution::default() };
            assert!(broken.decode().is_err(), "{histogram}");
        }
    }
}
