//! Lists in the configuration that nearly always have one element.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{Error, IntoDeserializer as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Takes `"a"` for `["a"]`.
pub(crate) fn one_or_more<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_any(OneOrMore(PhantomData))
}

struct OneOrMore<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMore<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of texts")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<T>, E> {
        T::deserialize(text.into_deserializer()).map(|only| vec![only])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Vec<T>, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list))
    }
}

#[cfg(test)]
mod tests {
    use crate::Config;

    fn listen(text: &str) -> Result<Vec<String>, String> {
        let config: Config = toml::from_str(&format!("listen = {text}")).map_err(|e| e.to_string())?;
        Ok(config.listen.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn one_address_may_stand_alone() {
        assert_eq!(listen("'127.0.0.1:9000'").unwrap(), ["127.0.0.1:9000"]);
        assert_eq!(listen("['127.0.0.1:9000', '[::1]:443']").unwrap(), ["127.0.0.1:9000", "[::1]:443"]);
        assert!(listen("'nowhere'").unwrap_err().contains("socket address"));
        assert!(listen("9000").unwrap_err().contains("a text or a list of texts"));
    }
}
