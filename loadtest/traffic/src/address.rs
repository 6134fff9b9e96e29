//! Where a center is and as whom it is asked.

use http::{HeaderValue, Uri};

/// A center, checked.
#[derive(Clone, Debug)]
pub(crate) struct Center {
    /// host:port.
    pub(crate) address: String,
    /// For the header `authorization`; not shown in logs.
    pub(crate) authorization: HeaderValue,
}

/// An address or the key cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadApi {
    /// Not http://host:port.
    #[error("a center's address is http://host:port, not {0:?}")]
    Address(String),
    /// It does not fit into a header.
    #[error("the product's key has characters that no key has")]
    Key,
    /// Nothing to send to.
    #[error("there is no address to send to")]
    Missing,
}

impl Center {
    /// The center at `http://host:port`, asked with this key.
    pub(crate) fn new(url: &str, key: &str) -> Result<Center, BadApi> {
        let wrong = || BadApi::Address(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let authority = uri.authority().filter(|a| a.port_u16().is_some()).ok_or_else(wrong)?;
        if uri.scheme_str() != Some("http") || uri.path_and_query().is_some_and(|path| path != "/") {
            return Err(wrong());
        }
        let mut authorization = HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| BadApi::Key)?;
        authorization.set_sensitive(true);
        Ok(Center { address: authority.as_str().to_owned(), authorization })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_center_has_a_host_and_a_port() {
        assert_eq!(Center::new("http://127.0.0.1:80/", "k").unwrap().address, "127.0.0.1:80");
        assert_eq!(Center::new("http://[::1]:8080", "k").unwrap().address, "[::1]:8080");
        for wrong in ["", "127.0.0.1:80", "http://host", "https://host:1", "http://host:1/path", "http://:x"]
        {
            assert!(matches!(Center::new(wrong, "k"), Err(BadApi::Address(_))), "{wrong}");
        }
        assert_eq!(Center::new("http://h:1", "a\nb").unwrap_err(), BadApi::Key);
    }

    #[test]
    fn the_key_is_not_shown() {
        assert!(!format!("{:?}", Center::new("http://h:1", "secret").unwrap()).contains("secret"));
    }
}
