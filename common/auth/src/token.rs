use std::fmt;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use longline_types::{ProductId, TimeMs, User, limits};
use serde::{Deserialize, Serialize};

/// The keys with which a product signs its user tokens: JWTs, HS256 and nothing else. Any of them is accepted.
///
/// A token is for one user (`sub`), has an end (`exp`, Unix seconds), and is for this product if it says for which (`aud`, the
/// product's id as text, or a list of texts). A `nbf` is kept too, with a minute's grace for clocks.
#[derive(Clone, Default)]
pub struct TokenKeys(Vec<DecodingKey>);

/// Why a token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// Longer than [`limits::TOKEN`]; it was not looked at.
    #[error("the token is longer than 4 KiB")]
    TooLong,
    /// Not a JWT, or a claim is missing or of another type.
    #[error("the token is no JWT with the claims sub and exp")]
    Malformed,
    /// Another algorithm than HS256, `none` included.
    #[error("the token is not signed with HS256")]
    Algorithm,
    /// Signed with none of the product's keys.
    #[error("the token's signature does not fit the product's keys")]
    Signature,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` has not come.
    #[error("the token is not valid yet")]
    NotYet,
    /// `sub` is somebody else.
    #[error("the token is for another user")]
    OtherUser,
    /// `aud` names other products.
    #[error("the token is for another product")]
    OtherProduct,
}

/// By how much the business's clock may be ahead where a token says from when it is valid.
const NOT_BEFORE_GRACE_S: f64 = 60.0;

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    /// Whole or fractional seconds: JSON numbers are both.
    exp: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<Audience>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl TokenKeys {
    /// Takes HS256 secrets. An empty one is left out: everybody could sign with it.
    pub fn new<K: AsRef<[u8]>>(secrets: impl IntoIterator<Item = K>) -> TokenKeys {
        let secrets = secrets.into_iter().filter(|s| !s.as_ref().is_empty());
        TokenKeys(secrets.map(|s| DecodingKey::from_secret(s.as_ref())).collect())
    }

    /// Whether there is none, so that no token can be accepted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks that the token is valid now for this user of this product.
    pub fn verify(
        &self,
        token: &str,
        user: &User,
        product: ProductId,
        now_ms: TimeMs,
    ) -> Result<(), InvalidToken> {
        if token.len() > limits::TOKEN {
            return Err(InvalidToken::TooLong);
        }
        let claims = self.signed_claims(token)?;
        let now_s = now_ms as f64 / 1000.0;
        if claims.exp <= now_s {
            return Err(InvalidToken::Expired);
        }
        if claims.nbf.is_some_and(|nbf| nbf > now_s + NOT_BEFORE_GRACE_S) {
            return Err(InvalidToken::NotYet);
        }
        if claims.sub != user.as_str() {
            return Err(InvalidToken::OtherUser);
        }
        if claims.aud.is_some_and(|aud| !aud.includes(product)) {
            return Err(InvalidToken::OtherProduct);
        }
        Ok(())
    }

    fn signed_claims(&self, token: &str) -> Result<Claims, InvalidToken> {
        let validation = signature_only();
        for key in &self.0 {
            match jsonwebtoken::decode::<Claims>(token, key, &validation) {
                Ok(token) => return Ok(token.claims),
                Err(e) => match e.kind() {
                    ErrorKind::InvalidSignature => {}
                    ErrorKind::InvalidAlgorithm => return Err(InvalidToken::Algorithm),
                    _ => return Err(InvalidToken::Malformed),
                },
            }
        }
        Err(InvalidToken::Signature)
    }
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} token keys", self.0.len())
    }
}

impl Audience {
    fn includes(&self, product: ProductId) -> bool {
        let product = product.to_string();
        match self {
            Audience::One(one) => *one == product,
            Audience::Many(many) => many.contains(&product),
        }
    }
}

/// A token for the user as a business would make it, valid until `expires_at_ms` (Unix milliseconds, taken down to the second).
pub fn sign_token(secret: &[u8], user: &User, product: Option<ProductId>, expires_at_ms: TimeMs) -> String {
    let claims = Claims {
        sub: user.as_str().to_owned(),
        exp: (expires_at_ms / 1000) as f64,
        nbf: None,
        aud: product.map(|p| Audience::One(p.to_string())),
    };
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(secret))
        .expect("plain claims can be written as JSON, and HMAC takes any key")
}

/// The library checks algorithm and signature; the claims are checked here, against a given time.
fn signature_only() -> Validation {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const SECRET: &[u8] = b"a secret of the product";
    const NOW: TimeMs = 1_800_000_000_000;
    const PRODUCT: ProductId = ProductId(7);

    fn alice() -> User {
        User::new("alice").unwrap()
    }

    fn check(token: &str) -> Result<(), InvalidToken> {
        TokenKeys::new([SECRET]).verify(token, &alice(), PRODUCT, NOW)
    }

    fn with_claims(algorithm: Algorithm, claims: serde_json::Value) -> String {
        jsonwebtoken::encode(&Header::new(algorithm), &claims, &EncodingKey::from_secret(SECRET)).unwrap()
    }

    fn unsigned(header: &str, claims: &str) -> String {
        format!("{}.{}.", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn a_token_of_the_product_for_the_user_is_accepted() {
        assert_eq!(check(&sign_token(SECRET, &alice(), None, NOW + 60_000)), Ok(()));
        assert_eq!(check(&sign_token(SECRET, &alice(), Some(PRODUCT), NOW + 60_000)), Ok(()));
        let exp = NOW / 1000 + 60;
        for claims in [
            json!({"sub": "alice", "exp": exp, "aud": ["x", "7"], "iat": 5, "name": {"deep": []}}),
            json!({"sub": "alice", "exp": exp as f64 + 0.5}),
            json!({"sub": "alice", "exp": exp, "aud": null, "nbf": NOW / 1000 + 59}),
        ] {
            assert_eq!(check(&with_claims(Algorithm::HS256, claims.clone())), Ok(()), "{claims}");
        }
    }

    #[test]
    fn any_of_several_keys_is_accepted() {
        let token = sign_token(SECRET, &alice(), None, NOW + 60_000);
        let keys = TokenKeys::new([b"older".as_slice(), SECRET]);
        assert_eq!(keys.verify(&token, &alice(), PRODUCT, NOW), Ok(()));
        let others = TokenKeys::new([b"older".as_slice(), b"newer"]);
        assert_eq!(others.verify(&token, &alice(), PRODUCT, NOW), Err(InvalidToken::Signature));
    }

    #[test]
    fn no_key_or_an_empty_key_accepts_nothing() {
        let token = sign_token(b"", &alice(), None, NOW + 60_000);
        let keys = TokenKeys::new([b""]);
        assert!(keys.is_empty());
        assert_eq!(keys.verify(&token, &alice(), PRODUCT, NOW), Err(InvalidToken::Signature));
    }

    #[test]
    fn claims_must_fit() {
        let exp = NOW / 1000 + 60;
        for (claims, why) in [
            (json!({"sub": "bob", "exp": exp}), InvalidToken::OtherUser),
            (json!({"sub": "alice", "exp": NOW / 1000}), InvalidToken::Expired),
            (json!({"sub": "alice", "exp": -1}), InvalidToken::Expired),
            (json!({"sub": "alice", "exp": exp, "nbf": exp + 60}), InvalidToken::NotYet),
            (json!({"sub": "alice", "exp": exp, "aud": "8"}), InvalidToken::OtherProduct),
            (json!({"sub": "alice", "exp": exp, "aud": []}), InvalidToken::OtherProduct),
            (json!({"sub": "alice", "exp": exp, "aud": 7}), InvalidToken::Malformed),
            (json!({"sub": "alice"}), InvalidToken::Malformed),
            (json!({"exp": exp}), InvalidToken::Malformed),
            (json!({"sub": ["alice"], "exp": exp}), InvalidToken::Malformed),
            (json!({"sub": "alice", "exp": "2040"}), InvalidToken::Malformed),
            (json!(["alice", exp, 0, "7", "x"]), InvalidToken::Malformed),
        ] {
            assert_eq!(check(&with_claims(Algorithm::HS256, claims.clone())), Err(why), "{claims}");
        }
    }

    #[test]
    fn the_algorithm_is_not_the_tokens_to_choose() {
        let claims = json!({"sub": "alice", "exp": NOW / 1000 + 60});
        for other in [Algorithm::HS384, Algorithm::HS512] {
            assert_eq!(check(&with_claims(other, claims.clone())), Err(InvalidToken::Algorithm));
        }
        for header in [r#"{"alg":"none"}"#, r#"{"alg":"None"}"#, r#"{"typ":"JWT"}"#, r#"{"alg":["HS256"]}"#] {
            assert_eq!(
                check(&unsigned(header, &claims.to_string())),
                Err(InvalidToken::Malformed),
                "{header}"
            );
        }
        let rsa = unsigned(r#"{"alg":"RS256"}"#, &claims.to_string());
        assert_eq!(check(&rsa), Err(InvalidToken::Algorithm));
        let empty_signature = unsigned(r#"{"alg":"HS256"}"#, &claims.to_string());
        assert_eq!(check(&empty_signature), Err(InvalidToken::Signature));
    }

    #[test]
    fn a_long_token_is_not_parsed() {
        let mut token = sign_token(SECRET, &alice(), None, NOW + 60_000);
        token.push_str(&"A".repeat(limits::TOKEN));
        assert_eq!(check(&token), Err(InvalidToken::TooLong));
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_noticed(place in 0usize..1000, to in "[A-Za-z0-9._-]") {
            let mut token = sign_token(SECRET, &alice(), Some(PRODUCT), NOW + 60_000);
            let place = place % token.len();
            token.replace_range(place..=place, &to);
            prop_assume!(token != sign_token(SECRET, &alice(), Some(PRODUCT), NOW + 60_000));
            prop_assert!(check(&token).is_err());
        }

        #[test]
        fn no_text_makes_it_panic(token in ".{0,200}|[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{0,60}") {
            prop_assert!(check(&token).is_err());
        }
    }
}
