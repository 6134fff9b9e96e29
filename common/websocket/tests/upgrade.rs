//! Requests as clients write them, and the answers.

use longline_websocket::{
    BadResponse, ClientKey, InvalidTarget, LONGEST_REQUEST, PATH, Refusal, decode_request, decode_response,
    encode_request,
};

/// As a browser writes it.
const BROWSER: &str = "GET /v1/ws?x=1 HTTP/1.1\r\nHost: push.example:443\r\nConnection: keep-alive, Upgrade\r\nPragma: no-cache\r\n\
    Upgrade: websocket\r\nOrigin: https://example.com\r\nSec-WebSocket-Version: 13\r\nUser-Agent: Mozilla/5.0\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: chat, longline.v1\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

fn refused(request: &str) -> Refusal {
    let refusal = decode_request(request.as_bytes(), PATH).expect_err("a refusal");
    let mut answer = Vec::new();
    refusal.encode(&mut answer);
    let answer = String::from_utf8(answer).expect("text");
    assert!(answer.starts_with(&format!("HTTP/1.1 {} ", refusal.status())), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an end of the head");
    assert!(head.contains(&format!("Content-Length: {}", body.len())) && head.contains("close"), "{answer}");
    assert_eq!(body.trim_end(), refusal.to_string());
    refusal
}

#[test]
fn a_browsers_request_is_answered_and_comes_in_any_pieces() {
    for cut in 0..BROWSER.len() {
        assert_eq!(decode_request(&BROWSER.as_bytes()[..cut], PATH), Ok(None), "{cut}");
    }
    let (upgrade, used) = decode_request(&[BROWSER.as_bytes(), b"\x82"].concat(), PATH).unwrap().unwrap();
    assert_eq!(used, BROWSER.len());
    let mut answer = Vec::new();
    upgrade.encode(&mut answer);
    assert_eq!(
        String::from_utf8(answer).unwrap(),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: longline.v1\r\n\r\n"
    );
}

#[test]
fn a_subprotocol_that_was_not_offered_is_not_chosen() {
    for other in ["chat", "longline.v2", "longline.v1x"] {
        let request = BROWSER.replace("chat, longline.v1", other);
        let (upgrade, _) = decode_request(request.as_bytes(), PATH).unwrap().unwrap();
        let mut answer = Vec::new();
        upgrade.encode(&mut answer);
        assert!(
            !upgrade.subprotocol() && !String::from_utf8(answer).unwrap().contains("Protocol:"),
            "{other}"
        );
    }
}

#[test]
fn what_is_no_upgrade_is_refused_with_what_would_be() {
    let without = |line: &str| BROWSER.replace(&format!("{line}\r\n"), "");
    for (request, refusal) in [
        (BROWSER.replace("GET", "POST"), Refusal::WrongMethod),
        (BROWSER.replace("/v1/ws", "/"), Refusal::NotFound),
        (BROWSER.replace("/v1/ws", "/v1/wss"), Refusal::NotFound),
        (BROWSER.replace("HTTP/1.1", "HTTP/1.0"), Refusal::NotHttp),
        (BROWSER.replace("HTTP/1.1", "HTTP/2.0"), Refusal::NotHttp),
        (BROWSER.replace("Pragma: ", "Pragma"), Refusal::NotHttp),
        (without("Host: push.example:443"), Refusal::NoHost),
        (BROWSER.replace("Pragma: no-cache", "host: other"), Refusal::NoHost),
        (BROWSER.replace("Pragma: no-cache", "Content-Length: 1"), Refusal::Body),
        (BROWSER.replace("Pragma: no-cache", "Content-Length: 0\r\nContent-Length: 0"), Refusal::Body),
        (BROWSER.replace("Pragma: no-cache", "Transfer-Encoding: chunked"), Refusal::Body),
        (without("Upgrade: websocket"), Refusal::NoUpgrade),
        (BROWSER.replace("keep-alive, Upgrade", "keep-alive"), Refusal::NoUpgrade),
        (BROWSER.replace("Upgrade: websocket", "Upgrade: h2c"), Refusal::NoUpgrade),
        (BROWSER.replace("Version: 13", "Version: 8"), Refusal::WrongVersion),
        (without("Sec-WebSocket-Version: 13"), Refusal::WrongVersion),
        (without("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), Refusal::BadKey),
        (BROWSER.replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="), Refusal::BadKey),
        (BROWSER.replace("Pragma: no-cache", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), Refusal::BadKey),
        (BROWSER.replace("Pragma: no-cache", &format!("{}c: d", "a: b\r\n".repeat(60))), Refusal::TooLong),
    ] {
        assert_eq!(refused(&request), refusal, "{request}");
    }
    assert_eq!(
        decode_request(
            BROWSER
                .replace("no-cache", "x")
                .replace("Pragma", "Content-Length")
                .replace(": x", ": 0")
                .as_bytes(),
            PATH
        )
        .map(|found| found.is_some()),
        Ok(true)
    );
}

#[test]
fn refusals_say_how_to_ask_rightly() {
    let answer = |refusal: Refusal| {
        let mut answer = Vec::new();
        refusal.encode(&mut answer);
        String::from_utf8(answer).unwrap()
    };
    assert!(answer(Refusal::WrongMethod).contains("\r\nAllow: GET\r\n"));
    for refusal in [Refusal::NoUpgrade, Refusal::WrongVersion] {
        let answer = answer(refusal);
        for field in [
            "426 Upgrade Required",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Connection: Upgrade, close",
        ] {
            assert!(answer.contains(field), "{answer}");
        }
    }
}

#[test]
fn an_endless_request_ends_at_the_limit() {
    let endless = format!("{}a: {}", &BROWSER[..BROWSER.len() - 2], "b".repeat(LONGEST_REQUEST));
    assert_eq!(decode_request(&endless.as_bytes()[..LONGEST_REQUEST - 1], PATH), Ok(None));
    assert_eq!(refused(&endless[..LONGEST_REQUEST]), Refusal::TooLong);
    assert_eq!(refused(&format!("{endless}\r\n\r\n")), Refusal::TooLong);
}

#[test]
fn our_client_is_answered_by_our_server() {
    let key = ClientKey::new([7; 16]);
    let mut request = Vec::new();
    encode_request("room.example:9000", PATH, &key, &mut request).unwrap();
    let (upgrade, used) = decode_request(&request, PATH).unwrap().unwrap();
    assert!(used == request.len() && upgrade.subprotocol());
    let mut answer = Vec::new();
    upgrade.encode(&mut answer);
    for cut in 0..answer.len() {
        assert_eq!(decode_response(&answer[..cut], &key), Ok(None));
    }
    assert_eq!(decode_response(&[&answer[..], b"\x82\x00"].concat(), &key), Ok(Some(answer.len())));
    assert_eq!(decode_response(&answer, &ClientKey::new([8; 16])), Err(BadResponse::NotAccepted));
}

#[test]
fn answers_that_are_no_upgrade_are_refused() {
    let key = ClientKey::new(*b"the sample nonce");
    let good = "HTTP/1.1 101 OK\r\nupgrade: WebSocket\r\nconnection: upgrade\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let said = |answer: &str| decode_response(answer.as_bytes(), &key);
    assert_eq!(said(good), Ok(Some(good.len())));
    let with = |field: &str| good.replace("\r\n\r\n", &format!("\r\n{field}\r\n\r\n"));
    assert_eq!(said(&with("Sec-WebSocket-Extensions: permessage-deflate")), Err(BadResponse::NotOffered));
    assert_eq!(said(&with("Sec-WebSocket-Protocol: chat")), Err(BadResponse::NotOffered));
    assert_eq!(said(&good.replace("WebSocket", "h2c")), Err(BadResponse::NotAccepted));
    assert_eq!(
        said(&good.replace("connection: upgrade", "connection: close")),
        Err(BadResponse::NotAccepted)
    );
    assert_eq!(said(&good.replace("101 OK", "503 Service Unavailable")), Err(BadResponse::Status(503)));
    assert_eq!(said(&good.replace("HTTP/1.1", "HTTP/1.0")), Err(BadResponse::NotHttp));
    assert_eq!(said("LL\u{1}\0"), Err(BadResponse::NotHttp));
    assert_eq!(said(&format!("HTTP/1.1 101 {}", "x".repeat(9000))), Err(BadResponse::NotHttp));
}

#[test]
fn a_host_cannot_smuggle_a_field_into_the_request() {
    let key = ClientKey::new([0; 16]);
    for (host, path) in [
        ("", "/"),
        ("a b", "/"),
        ("a\r\nX: y", "/"),
        ("a", ""),
        ("a", "x"),
        ("a", "/ HTTP/1.1\r\n"),
        ("ä", "/"),
    ] {
        let mut out = Vec::new();
        assert_eq!(encode_request(host, path, &key, &mut out), Err(InvalidTarget));
        assert!(out.is_empty());
    }
}
