use ring::signature::{Ed25519KeyPair, KeyPair};

use super::*;

fn encode(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = |chunk: &[u8]| {
        let group = chunk.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        let digit = move |place| {
            if place <= chunk.len() { DIGITS[(group >> (18 - 6 * place) & 63) as usize].into() } else { '=' }
        };
        (0..4).map(digit).collect::<String>()
    };
    bytes.chunks(3).map(digits).collect()
}

fn device(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

impl Talk {
    /// Posts a form to /oauth/v1, signed if somebody signs.
    async fn oauth(&self, path: &str, fields: &[(&str, &str)], signer: Option<&Ed25519KeyPair>) -> Value {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let mut request = self.form(&format!("POST //oauth/v1/{path}"), fields);
        if let Some(signer) = signer {
            request = request.header("HCP-Request-Signature", encode(signer.sign(body.as_bytes()).as_ref()));
        }
        self.json(request).await
    }

    async fn register(&self, public: &str, signer: Option<&Ed25519KeyPair>) -> Value {
        let mut fields = vec![("client_id", "box"), ("client_secret", self.key), ("client_type", "printer")];
        fields.extend([
            ("response_type", "device_code"),
            ("state", "nonce"),
            ("public_key", public),
            ("key_type", "ed25519"),
        ]);
        self.oauth("register", &fields, signer).await
    }

    async fn token(&self, code: &Value, signer: Option<&Ed25519KeyPair>) -> Value {
        let fields = [
            ("client_id", "box"),
            ("client_secret", self.key),
            ("grant_type", "device_code"),
            ("device_code", code.as_str().unwrap()),
        ];
        self.oauth("token", &fields, signer).await
    }
}

#[tokio::test]
async fn a_device_waits_for_its_approval_and_its_code_is_good_once() {
    let mut talk = Talk::with(TRUSTED_KEY).await;
    let pair = device(1);
    let answer = talk.register(&encode(pair.public_key().as_ref()), None).await;
    assert_eq!((&answer["state"], &answer["expires_in"]), (&"nonce".into(), &259_200.into()));
    let code = &answer["device_code"];
    assert_eq!(talk.token(code, Some(&pair)).await["error"], "authorization_pending");
    assert!(talk.server.world().approve("box"));
    assert_eq!(talk.token(code, Some(&device(2))).await["error"], "invalid_client");
    let tokens = talk.token(code, Some(&pair)).await;
    assert_eq!((&tokens["token_type"], &tokens["expires_in"]), (&"Bearer".into(), &3600.into()));
    assert_eq!(talk.token(code, Some(&pair)).await["error"], "invalid_grant");

    let refresh = |client_id| {
        [
            ("client_id", client_id),
            ("client_secret", TRUSTED_KEY),
            ("grant_type", "refresh_token"),
            ("refresh_token", tokens["refresh_token"].as_str().unwrap()),
        ]
    };
    assert_eq!(talk.oauth("token", &refresh("api"), None).await["error"], "invalid_grant");
    let fresh = talk.oauth("token", &refresh("box"), None).await;
    assert_eq!(talk.oauth("token", &refresh("box"), None).await["error"], "invalid_grant");
    talk.token = fresh["access_token"].as_str().unwrap().into();
    assert!(!talk.login(ADA).await.is_empty());
}

#[tokio::test]
async fn a_trusted_device_that_signs_registers_again_without_approval() {
    let talk = Talk::with(TRUSTED_KEY).await;
    let pair = device(1);
    let public = encode(pair.public_key().as_ref());
    talk.register(&public, None).await;
    let untrusted = talk.register(&public, Some(&pair)).await["device_code"].clone();
    assert_eq!(talk.token(&untrusted, Some(&pair)).await["error"], "authorization_pending");
    talk.server.world().approve("box");
    assert_eq!(talk.register(&public, Some(&device(2))).await["error"], "invalid_client");
    let code = talk.register(&public, Some(&pair)).await["device_code"].clone();
    assert!(talk.token(&code, Some(&pair)).await["access_token"].is_string());
    let unsigned = talk.register(&public, None).await["device_code"].clone();
    assert_eq!(talk.token(&unsigned, None).await["error"], "authorization_pending");
}

#[tokio::test]
async fn a_key_with_automatic_trust_approves_by_itself_and_a_code_expires() {
    let talk = Talk::with(AUTO_TRUST_KEY).await;
    let public = encode(device(1).public_key().as_ref());
    let code = talk.register(&public, None).await["device_code"].clone();
    assert!(talk.token(&code, None).await["access_token"].is_string());
    let code = talk.register(&public, None).await["device_code"].clone();
    talk.server.world().clock_offset = jiff::SignedDuration::from_hours(73);
    assert_eq!(talk.token(&code, None).await["error"], "expired_token");
}

#[tokio::test]
async fn a_registration_that_is_not_as_documented_is_refused() {
    let talk = Talk::with(AUTO_TRUST_KEY).await;
    let right = [
        ("client_id", "box"),
        ("client_secret", AUTO_TRUST_KEY),
        ("client_type", "printer"),
        ("response_type", "device_code"),
    ];
    assert!(talk.oauth("register", &right, None).await["device_code"].is_string());
    let replaced = |index: usize, value| {
        let mut fields = right.to_vec();
        fields[index].1 = value;
        fields
    };
    let added = |field| [&right[..], &[field]].concat();
    let refused = [
        (replaced(0, ""), "invalid_request"),
        (replaced(1, "wrong"), "invalid_client"),
        (replaced(2, "toaster"), "invalid_request"),
        (replaced(3, "code"), "unsupported_response_type"),
        (added(("key_type", "ed25519")), "invalid_request"),
        (added(("scope", "all")), "invalid_request"),
    ];
    for (fields, error) in refused {
        assert_eq!(talk.oauth("register", &fields, None).await["error"], error, "{fields:?}");
    }
    let grant = [
        ("client_id", "box"),
        ("client_secret", AUTO_TRUST_KEY),
        ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
    ];
    assert_eq!(talk.oauth("token", &grant, None).await["error"], "unsupported_grant_type");
    assert_eq!(talk.status(talk.call("POST //oauth/v1/token")).await, 400);
}
