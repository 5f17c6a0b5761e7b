//! The files that a configuration names: secrets and TLS.

use super::Site;

#[test]
fn every_secret_can_stand_inline_with_a_warning_and_is_masked() {
    let config = Site::new()
        .with(&[
            ("server", "api_key_file", "".into()),
            ("server", "api_key", "hunter2-key".into()),
            ("server", "device_token", "hunter2-token".into()),
            ("mqtt", "username", "box".into()),
            ("mqtt", "password", "hunter2-password".into()),
        ])
        .expect("inline secrets");
    assert_eq!(config.server.api_key.expose(), "hunter2-key");
    assert_eq!(config.warnings.len(), 3, "{:#?}", config.warnings);
    for expected in ["[server] api_key: ", "[server] device_token: ", "[mqtt] password: "] {
        let mut warnings = config.warnings.iter();
        assert!(warnings.any(|warning| warning.starts_with("agent.toml:") && warning.contains(expected)), "{expected}");
    }
    assert!(!format!("{config:?} {config:#?}").contains("hunter2"));
}

#[test]
fn secrets_from_files_and_credentials_are_read_and_masked() {
    let this = Site::new();
    let token = this.file("token", "hunter2-token\n", 0o400);
    this.file("mqtt-password", "hunter2-password", 0o440);
    let config = this
        .with(&[
            ("server", "device_token_file", token.into()),
            ("mqtt", "username", "box".into()),
            ("mqtt", "password_file", "credential:mqtt-password".into()),
        ])
        .expect("secrets in files");
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert!(!format!("{config:?}").contains("hunter2"));
    let password = config.mqtt.and_then(|mqtt| mqtt.password).expect("a password");
    assert_eq!(password.expose(), "hunter2-password");
    assert_eq!(config.server.device_token.expect("a token").expose(), "hunter2-token");
}

#[test]
fn a_bad_secret_file_is_told_at_its_key() {
    let this = Site::new();
    let cases = [
        (this.file("open", "key", 0o644), "chmod 600"),
        (this.file("empty", "\n", 0o600), "must not be empty"),
        (this.file("lines", "hunter2\nhunter2\n", 0o600), "single line"),
        ("/nonexistent/key".to_owned(), "cannot be read"),
        ("credential:none".to_owned(), "needs the credential none"),
        ("relative".to_owned(), "starts with /, or credential:NAME"),
    ];
    for (place, expected) in cases {
        let lines = this.problems_with(&[("server", "api_key_file", place.into())]);
        let [line] = &lines[..] else { panic!("{expected}: {lines:#?}") };
        assert!(line.contains("[server] api_key_file: ") && line.contains(expected), "{line}");
        assert!(!line.contains("hunter2"), "{line}");
    }
}

#[test]
fn a_secret_comes_from_one_place_only() {
    let lines = Site::new().problems_with(&[("server", "api_key", "hunter2".into())]);
    let [line] = &lines[..] else { panic!("{lines:#?}") };
    assert!(line.ends_with("[server] api_key: cannot be set together with api_key_file"), "{line}");
}

#[test]
fn a_box_that_gets_its_token_itself_is_given_none() {
    let edits = [("server.device", "register", true.into()), ("server", "device_token", "hunter2".into())];
    let lines = Site::new().problems_with(&edits);
    let [line] = &lines[..] else { panic!("{lines:#?}") };
    assert!(line.contains("[server] device_token: cannot be set together with device.register"), "{line}");
}

#[test]
fn a_password_needs_a_user_name() {
    let lines = Site::new().problems_with(&[("mqtt", "password", "hunter2".into())]);
    let [line] = &lines[..] else { panic!("{lines:#?}") };
    assert!(line.contains("[mqtt] username: is required"), "{line}");
}

#[test]
fn tls_files_are_read_when_the_configuration_is() {
    let this = Site::new();
    let certificate = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
    let key = "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n";
    let config = this
        .with(&[
            ("server", "ca_file", this.file("ca.pem", certificate, 0o644).into()),
            ("server", "client_cert_file", this.file("cert.pem", certificate, 0o644).into()),
            ("server", "client_key_file", this.file("key.pem", key, 0o600).into()),
        ])
        .expect("TLS files");
    assert!(!format!("{config:?}").contains("hunter2"));
    assert_eq!(config.server.tls.ca.as_deref(), Some(certificate.as_bytes()));
    let identity = config.server.tls.identity.expect("an identity");
    assert_eq!((identity.certificate.as_slice(), identity.key.expose()), (certificate.as_bytes(), key));
}

#[test]
fn tls_files_that_cannot_work_are_refused() {
    let this = Site::new();
    let certificate = this.file("cert.pem", "-----BEGIN CERTIFICATE-----\n", 0o644);
    let key = this.file("key.pem", "-----BEGIN PRIVATE KEY-----\n", 0o600);
    let open_key = this.file("open.pem", "-----BEGIN PRIVATE KEY-----\n", 0o644);
    for (table, key, file, expected) in [
        ("server", "ca_file", "/nonexistent/ca.pem", "cannot be read"),
        ("server", "ca_file", &key, "without a certificate"),
        ("server", "client_cert_file", &certificate, "needs client_key_file as well"),
        ("server", "client_key_file", &key, "needs client_cert_file as well"),
        ("server", "client_key_file", &open_key, "chmod 600"),
        ("server", "client_key_file", &certificate, "chmod 600"),
        ("mqtt", "ca_file", &certificate, "only used with TLS"),
    ] {
        let lines = this.problems_with(&[(table, key, file.into())]);
        let label = format!("[{table}] {key}: ");
        assert!(lines.iter().any(|line| line.contains(&label) && line.contains(expected)), "{expected}: {lines:#?}");
    }
}
