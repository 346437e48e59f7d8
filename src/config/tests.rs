//! Tests of the configuration: the documented file, the layers, and what is refused.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

use super::*;

const DOCUMENTED: &str = include_str!("../../config/berth.toml");
const DEVELOPMENT: &str = include_str!("../../config/development.toml");

fn environment(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)))
        .collect()
}

fn from_environment(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::load(None, environment(pairs), &[])
}

fn from_file(text: &str) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("berth.toml");
    std::fs::write(&path, text).unwrap();
    Config::load(Some(&path), [], &[])
}

fn refusal(result: Result<Config, ConfigError>) -> String {
    result.expect_err("must be refused").to_string()
}

/// The keys a line sets, or names as `# key = …`.
fn documented_keys(commented: bool) -> Vec<String> {
    let mut section = "";
    let mut keys = Vec::new();
    for line in DOCUMENTED.lines() {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            section = name;
            continue;
        }
        let (is_comment, line) = match line.strip_prefix("# ") {
            Some(line) => (true, line),
            None => (false, line),
        };
        let Some((key, _)) = line.split_once(" = ") else {
            continue;
        };
        let is_key = key
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if is_key && is_comment == commented {
            keys.push(format!("{section}.{key}"));
        }
    }
    keys
}

fn keys_of_the_struct(absent: bool) -> Vec<String> {
    keys::sections(&Config::default())
        .into_iter()
        .flat_map(|(section, keys)| {
            keys.into_iter()
                .filter(move |(_, value)| value.is_null() == absent)
                .map(move |(key, _)| format!("{section}.{key}"))
        })
        .collect()
}

#[test]
fn the_documented_file_holds_the_defaults() {
    assert_eq!(
        toml::from_str::<Config>(DOCUMENTED).unwrap(),
        Config::default()
    );
    assert_eq!(
        from_file(DOCUMENTED).unwrap(),
        from_environment(&[]).unwrap()
    );
}

#[test]
fn the_documented_file_names_every_key_once_in_the_order_of_the_struct() {
    assert_eq!(documented_keys(false), keys_of_the_struct(false));
    assert_eq!(documented_keys(true), keys_of_the_struct(true));
}

#[test]
fn every_documented_key_has_words_above_it() {
    let lines: Vec<&str> = DOCUMENTED.lines().collect();
    let undocumented: Vec<&str> = lines
        .windows(2)
        .filter(|pair| pair[1].trim_start_matches("# ").contains(" = ") && !pair[1].contains(','))
        .filter(|pair| !pair[0].starts_with("# ") || pair[0].contains(" = "))
        .map(|pair| pair[1])
        .collect();
    assert_eq!(undocumented, Vec::<&str>::new());
}

#[test]
fn every_example_in_the_documented_file_has_the_right_type() {
    let absent: BTreeSet<String> = keys_of_the_struct(true).into_iter().collect();
    let uncommented: String = DOCUMENTED
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest)
                if rest.split_once(" = ").is_some_and(|(key, _)| {
                    absent.iter().any(|path| path.ends_with(&format!(".{key}")))
                }) =>
            {
                format!("{rest}\n")
            }
            Some(_) | None => format!("{line}\n"),
        })
        .collect();
    let config: Config = toml::from_str(&uncommented).unwrap();
    let unset: Vec<String> = keys::sections(&config)
        .into_iter()
        .flat_map(|(_, keys)| keys)
        .filter(|(_, value)| value.is_null())
        .map(|(key, _)| key)
        .collect();
    assert_eq!(unset, Vec::<String>::new());
}

#[test]
fn the_development_file_is_valid() {
    from_file(DEVELOPMENT).unwrap();
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("berth.toml");
    std::fs::write(
        &path,
        "[server]\ndata_dir = \"file\"\npublic_listen = \"127.0.0.1:1\"\ndrain_seconds = 1\n",
    )
    .unwrap();
    let config = Config::load(
        Some(&path),
        environment(&[
            ("BERTH_SERVER__PUBLIC_LISTEN", "127.0.0.1:2"),
            ("BERTH_SERVER__DATA_DIR", "environment"),
        ]),
        &[("server.data_dir", String::from("flag"))],
    )
    .unwrap();
    assert_eq!(config.server.data_dir, Path::new("flag"));
    assert_eq!(config.server.public_listen.port(), 2);
    assert_eq!(config.server.drain_seconds, 1);
    assert_eq!(config.server.ops_listen, Server::default().ops_listen);
}

#[test]
fn variables_are_parsed_by_the_type_of_their_key() {
    let config = from_environment(&[
        ("BERTH_AUTH__API_KEYS_AS_PASSWORDS", "false"),
        ("BERTH_LIMITS__MANIFEST_BYTES", "2048"),
        ("BERTH_SERVER__TRUSTED_PROXIES", "10.0.0.0/8, ::1"),
        ("BERTH_SERVER__PULL_LISTEN", "[::1]:5001"),
        ("BERTH_LOG__FORMAT", "json"),
        ("BERTH_AUTH__SERVICE_NAME", "5000"),
    ])
    .unwrap();
    assert!(!config.auth.api_keys_as_passwords);
    assert_eq!(config.limits.manifest_bytes, 2048);
    assert_eq!(config.server.trusted_proxies.len(), 2);
    assert_eq!(config.server.pull_listen.unwrap().port(), 5001);
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.auth.service_name, "5000");
}

#[test]
fn every_key_has_a_variable() {
    for (section, keys) in keys::sections(&Config::default()) {
        for (key, value) in keys {
            let name = format!("BERTH_{}__{key}", section.replace('.', "__")).to_uppercase();
            let text = match value {
                serde_json::Value::String(text) => text,
                serde_json::Value::Array(items) => items
                    .iter()
                    .map(|item| item.as_str().unwrap())
                    .collect::<Vec<_>>()
                    .join(","),
                serde_json::Value::Null => String::new(),
                other => other.to_string(),
            };
            assert_eq!(
                from_environment(&[(&name, &text)]).unwrap(),
                Config::default(),
                "{name}"
            );
        }
    }
}

#[test]
fn an_empty_variable_unsets_what_the_file_set() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("berth.toml");
    std::fs::write(&path, DEVELOPMENT).unwrap();
    let config = Config::load(
        Some(&path),
        environment(&[("BERTH_SERVER__PULL_LISTEN", "")]),
        &[],
    )
    .unwrap();
    assert_eq!(config.server.pull_listen, None);
}

#[test]
fn an_unknown_variable_is_refused_with_the_nearest_name() {
    insta::assert_snapshot!(
        refusal(from_environment(&[
            ("BERTH_SERVER_DATA_DIR", "x"),
            ("BERTH_STORAGE__PATHS", "x"),
        ])),
        @r"
    BERTH_SERVER_DATA_DIR is not a variable of Berth; the nearest is BERTH_SERVER__DATA_DIR
    BERTH_STORAGE__PATHS is not a variable of Berth; the nearest is BERTH_STORAGE__PATH
    "
    );
}

#[test]
fn variables_of_the_client_of_tests_and_of_kubernetes_are_passed_over() {
    from_environment(&[
        ("BERTH_URL", "https://registry.example.com"),
        ("BERTH_API_KEY", "berth_x"),
        ("BERTH_API_KEY_FILE", "/run/secrets/berth/api-key"),
        ("BERTH_WORKSPACE", "main"),
        ("BERTH_TEST_POSTGRES", "x"),
        ("BERTH_CONFORMANCE_URL", "x"),
        ("BERTH_SERVICE_HOST", "10.0.0.1"),
        ("BERTH_SERVICE_PORT", "5000"),
        ("BERTH_SERVICE_PORT_PUBLIC", "5000"),
        ("BERTH_PORT", "tcp://10.0.0.1:5000"),
        ("BERTH_PORT_5000_TCP", "tcp://10.0.0.1:5000"),
        ("BERTH_PULL_PORT_5001_TCP_ADDR", "10.0.0.1"),
        ("BERTHA", "x"),
        ("PATH", "/bin"),
    ])
    .unwrap();
    assert!(from_environment(&[("BERTH_PORT", "5000")]).is_err());
}

#[test]
fn a_value_of_the_wrong_type_is_refused_by_its_variable() {
    insta::assert_snapshot!(
        refusal(from_environment(&[
            ("BERTH_AUTH__API_KEYS_AS_PASSWORDS", "yes"),
            ("BERTH_LIMITS__MANIFEST_BYTES", "4MiB"),
            ("BERTH_LIMITS__REHASH_BYTES", "-1"),
            ("BERTH_LOG__FORMAT", "xml"),
            ("BERTH_SERVER__PUBLIC_LISTEN", ":5000"),
            ("BERTH_SERVER__PUBLIC_URL", "https://registry.example.com/v2"),
            ("BERTH_SERVER__TRUSTED_PROXIES", "10.0.0.1/8"),
            ("BERTH_DATABASE__URL", "mysql://root:hidden@host/db"),
        ])),
        @r#"
    BERTH_AUTH__API_KEYS_AS_PASSWORDS is neither true nor false
    BERTH_DATABASE__URL cannot be used: this is not a PostgreSQL URL; write postgres://user:password@host/database, or leave it out for the SQLite file in the data folder
    BERTH_LIMITS__MANIFEST_BYTES is not a whole number, 0 or more, in digits
    BERTH_LIMITS__REHASH_BYTES is not a whole number, 0 or more, in digits
    BERTH_LOG__FORMAT cannot be used: unknown variant `xml`, expected one of `auto`, `text`, `json`
    BERTH_SERVER__PUBLIC_LISTEN cannot be used: ":5000" is not an address and a port; write one such as 127.0.0.1:5000, or 0.0.0.0:5000 for every interface
    BERTH_SERVER__PUBLIC_URL cannot be used: "https://registry.example.com/v2" has a path, query or fragment; write one such as https://registry.example.com
    BERTH_SERVER__TRUSTED_PROXIES cannot be used: "10.0.0.1/8" has bits set behind its prefix; write 10.0.0.0/8, or 10.0.0.1 for the one address
    "#
    );
}

#[test]
fn an_unknown_key_in_the_file_is_refused_with_the_nearest_one() {
    insta::assert_snapshot!(
        refusal(from_file("[server]\npublic_listn = \"127.0.0.1:1\"\n[sorage]\npath = \"x\"\n[empty]\n[log]\n")),
        @r#"
    empty is not a key; the nearest is tls.doors
    server.public_listn is not a key; the nearest is server.public_listen
    sorage.path is not a key; the nearest is storage.path
    "#
    );
    assert!(refusal(from_file("data_dir = \"x\"")).contains("server.data_dir"));
}

#[test]
fn a_wrong_value_in_the_file_is_refused_with_its_line() {
    let message = refusal(from_file("[server]\n\npublic_listen = \"here\"\n"));
    assert!(message.contains("line 3"), "{message}");
    assert!(message.contains("127.0.0.1:5000"), "{message}");
    assert!(refusal(from_file("[server\n")).contains("line 1"));
    for secret in [
        "[database]\nurl = \"mysql://root:hidden@db\"\n",
        "[database]\nurl = \"mysql://root:hidden@db\n",
        "[auth]\nkey_wrapping_secret = [\"hidden\"]\n",
    ] {
        let message = refusal(from_file(secret));
        assert!(message.contains("line 2: "), "{message}");
        assert!(!message.contains("hidden"), "{message}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let message = refusal(Config::load(
        Some(Path::new("/nowhere/berth.toml")),
        [],
        &[],
    ));
    assert!(message.starts_with("cannot read /nowhere/berth.toml"));
}

#[test]
fn values_out_of_range_are_refused_together() {
    insta::assert_snapshot!(
        refusal(from_file(
            "[server]\npull_listen = \"127.0.0.1:5000\"\nmax_connections = 0\n\
             [auth]\ncredential_default_seconds = 600\ncredential_max_seconds = 300\naccess_token_seconds = 59\n\
             signing_key_rotation_seconds = 86399\n\
             service_name = \"my \\\"registry\\\"\"\n\
             [audit]\nretention_days = 3651\n\
             [log]\nfilter = \"\"\n"
        )),
        @r#"
    server.pull_listen is 127.0.0.1:5000, which server.public_listen uses; give each door a port of its own
    server.max_connections is 0, but must be from 1 to 1000000
    auth.service_name is "my \"registry\"", but must be 1 to 64 letters, digits, dots, colons, dashes or underscores
    auth.credential_default_seconds is 600, but must not exceed auth.credential_max_seconds, which is 300
    auth.access_token_seconds is 59, but must be from 60 to 3600
    auth.signing_key_rotation_seconds is 86399, but must be 0 (never), or from 86400 to 31536000
    audit.retention_days is 3651, but must be from 1 to 3650
    log.filter is empty; write a level such as "info"
    "#
    );
}

#[test]
fn ranges_include_their_ends() {
    for seconds in [60, 43_200] {
        let mut config = Config::default();
        config.auth.credential_default_seconds = seconds;
        config.validate().unwrap();
    }
    for seconds in [59, 43_201] {
        let mut config = Config::default();
        config.auth.credential_default_seconds = seconds;
        config.validate().unwrap_err();
    }
    for (seconds, is_right) in [(0, true), (1, false), (86_400, true), (31_536_001, false)] {
        let mut config = Config::default();
        config.auth.signing_key_rotation_seconds = seconds;
        assert_eq!(config.validate().is_ok(), is_right, "{seconds}");
    }
}

#[test]
fn doors_on_port_zero_do_not_collide() {
    let config = from_environment(&[
        ("BERTH_SERVER__PUBLIC_LISTEN", "127.0.0.1:0"),
        ("BERTH_SERVER__OPS_LISTEN", "127.0.0.1:0"),
    ]);
    assert!(config.is_ok());
    let everywhere = from_environment(&[("BERTH_SERVER__PUBLIC_LISTEN", "0.0.0.0:5009")]);
    assert!(refusal(everywhere).contains("server.ops_listen"));
}

#[test]
fn tls_needs_a_certificate_a_key_and_a_door() {
    let certificate = ("BERTH_TLS__CERTIFICATE_FILE", "/tls/tls.crt");
    let key = ("BERTH_TLS__KEY_FILE", "/tls/tls.key");
    let config = from_environment(&[certificate, key]).unwrap();
    assert_eq!(
        config.tls.doors,
        [DoorName::Public, DoorName::Pull, DoorName::Api]
    );
    let ops = ("BERTH_TLS__DOORS", "ops");
    let config = from_environment(&[certificate, key, ops]).unwrap();
    assert_eq!(config.tls.doors, [DoorName::Ops]);
    let refused = [
        vec![certificate],
        vec![key],
        vec![certificate, key, ("BERTH_TLS__DOORS", "")],
        vec![("BERTH_TLS__DOORS", "public, front")],
    ];
    let messages: Vec<String> = refused
        .iter()
        .map(|pairs| refusal(from_environment(pairs)))
        .collect();
    insta::assert_snapshot!(
        messages.join("\n"),
        @r"
    tls.key_file is not set, but tls.certificate_file is; TLS needs both
    tls.certificate_file is not set, but tls.key_file is; TLS needs both
    tls.doors is empty, so that the certificate would serve nothing; name a door, or unset both files
    BERTH_TLS__DOORS cannot be used: unknown variant `front`, expected one of `public`, `pull`, `api`, `ops`
    "
    );
}

#[test]
fn postgres_needs_a_wrapping_secret() {
    let url = ("BERTH_DATABASE__URL", "postgres://berth:hidden@db/berth");
    assert!(refusal(from_environment(&[url])).contains("auth.key_wrapping_secret"));
    let short = ("BERTH_AUTH__KEY_WRAPPING_SECRET", "short");
    assert!(refusal(from_environment(&[url, short])).contains("shorter than 32"));
    let secret = "0123456789abcdef0123456789abcdef";
    let config = from_environment(&[url, ("BERTH_AUTH__KEY_WRAPPING_SECRET", secret)]).unwrap();
    assert!(matches!(
        config.database_location(),
        DatabaseLocation::Postgres(url) if url.expose() == "postgres://berth:hidden@db/berth"
    ));
}

#[test]
fn without_a_url_everything_lies_in_the_data_folder() {
    let config = from_environment(&[("BERTH_SERVER__DATA_DIR", "/srv/berth")]).unwrap();
    assert_eq!(
        config.database_location(),
        DatabaseLocation::Sqlite(PathBuf::from("/srv/berth/berth.db"))
    );
    assert_eq!(config.blobs_path(), Path::new("/srv/berth/blobs"));
}

#[test]
fn a_secret_is_read_from_its_file_without_the_last_line_break() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, "0123456789abcdef0123456789abcdef\n").unwrap();
    let name = path.to_str().unwrap();
    let config = from_environment(&[("BERTH_AUTH__KEY_WRAPPING_SECRET_FILE", name)]).unwrap();
    assert_eq!(
        config.auth.key_wrapping_secret,
        Some(Secret::new(String::from(
            "0123456789abcdef0123456789abcdef"
        )))
    );
    std::fs::write(&path, "\n").unwrap();
    let empty = from_environment(&[("BERTH_AUTH__KEY_WRAPPING_SECRET_FILE", name)]);
    assert!(refusal(empty).contains("which is empty"));
    let missing = from_environment(&[("BERTH_DATABASE__URL_FILE", "/nowhere/url")]);
    assert!(refusal(missing).starts_with("database.url_file names /nowhere/url"));
    std::fs::write(&path, "mysql://root:hidden@db\n").unwrap();
    let wrong = refusal(from_environment(&[("BERTH_DATABASE__URL_FILE", name)]));
    assert!(wrong.contains("is not a PostgreSQL URL") && !wrong.contains("hidden"));
}

#[test]
fn a_secret_and_its_file_in_one_layer_are_refused_and_a_higher_layer_replaces_either() {
    let both = "[auth]\nkey_wrapping_secret = \"x\"\nkey_wrapping_secret_file = \"y\"\n";
    assert!(refusal(from_file(both)).contains("are both set"));
    let both = from_environment(&[
        ("BERTH_DATABASE__URL", "postgres://db/berth"),
        ("BERTH_DATABASE__URL_FILE", "x"),
    ]);
    assert!(refusal(both).contains("are both set"));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("berth.toml");
    std::fs::write(
        &path,
        "[auth]\nkey_wrapping_secret_file = \"/nowhere/secret\"\n",
    )
    .unwrap();
    let secret = "0123456789abcdef0123456789abcdef";
    let config = Config::load(
        Some(&path),
        environment(&[("BERTH_AUTH__KEY_WRAPPING_SECRET", secret)]),
        &[],
    )
    .unwrap();
    assert_eq!(config.auth.key_wrapping_secret.unwrap().expose(), secret);
}

#[test]
fn secrets_are_shown_nowhere() {
    let config = from_environment(&[
        (
            "BERTH_DATABASE__URL",
            "postgres://berth:hid/d@en@db/berth?sslmode=require",
        ),
        (
            "BERTH_AUTH__KEY_WRAPPING_SECRET",
            "hidden-hidden-hidden-hidden-hidden",
        ),
    ])
    .unwrap();
    let shown = config.to_masked_toml();
    assert!(shown.contains("url = \"postgres://berth:********@db/berth?sslmode=require\""));
    assert!(shown.contains("key_wrapping_secret = \"********\""));
    for text in [shown, format!("{config:?}")] {
        assert!(!text.contains("hid"), "{text}");
    }
    let by_query: DatabaseUrl = "postgres://db/berth?user=a&password=hidden"
        .parse()
        .unwrap();
    assert_eq!(by_query.to_string(), "postgres://db/berth?********");
}

#[test]
fn the_effective_configuration_is_a_file_of_its_own() {
    let shown = Config::default().to_masked_toml();
    assert_eq!(toml::from_str::<Config>(&shown).unwrap(), Config::default());
    assert!(shown.contains("# pull_listen is not set"));
}

#[test]
fn base_urls_name_a_registry_host() {
    for (text, shown) in [
        (
            "https://registry.example.com",
            "https://registry.example.com",
        ),
        (
            "HTTPS://Registry.Example.com/",
            "https://registry.example.com",
        ),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("http://[::1]:5000", "http://[::1]:5000"),
        ("http://localhost", "http://localhost"),
        ("http://registry:5000", "http://registry:5000"),
    ] {
        assert_eq!(text.parse::<BaseUrl>().unwrap().to_string(), shown);
    }
    for text in [
        "registry.example.com",
        "ftp://registry.example.com",
        "https://",
        "https://registry.example.com/v2",
        "https://registry.example.com?x",
        "https://registry.example.com:0",
        "https://registry.example.com:",
        "https://registry.example.com:65536",
        "https://-x.example.com",
        "https://a..b",
        "https://0.0.0.0:5000",
        "https://[::]:5000",
        "https://[::1",
        "https://a_b.example.com",
        "https://user:pw@example.com",
    ] {
        assert!(text.parse::<BaseUrl>().is_err(), "{text}");
    }
    let bare = "https://registry".parse::<BaseUrl>().unwrap_err();
    assert!(bare.to_string().contains("https://registry:443"));
}

#[test]
fn address_ranges_contain_their_addresses() {
    let contains = |range: &str, address: &str| {
        range
            .parse::<AddressRange>()
            .unwrap()
            .contains(address.parse().unwrap())
    };
    assert!(contains("10.0.0.0/8", "10.255.0.1"));
    assert!(!contains("10.0.0.0/8", "11.0.0.1"));
    assert!(contains("0.0.0.0/0", "192.0.2.1"));
    assert!(!contains("0.0.0.0/0", "2001:db8::1"));
    assert!(contains("192.0.2.7", "192.0.2.7"));
    assert!(contains("10.0.0.0/8", "::ffff:10.0.0.1"));
    assert!(contains("::/0", "2001:db8::1"));
    assert!(contains("2001:db8::/32", "2001:db8::1"));
    for text in [
        "10.0.0.0/33",
        "10.0.0.0/",
        "::/129",
        "proxy",
        "10.0.0.1/8",
        "",
    ] {
        assert!(text.parse::<AddressRange>().is_err(), "{text}");
    }
}

#[test]
fn a_section_in_a_section_is_set_by_file_and_by_variable() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "hidden\n").unwrap();
    let path = folder.path().join("berth.toml");
    let text = format!(
        "[storage.s3]\nbucket = \"images\"\nsecret_access_key_file = {:?}\n",
        secret.display()
    );
    std::fs::write(&path, text).unwrap();
    let config = Config::load(
        Some(&path),
        environment(&[
            ("BERTH_STORAGE__S3__ACCESS_KEY_ID", "AKIA"),
            ("BERTH_STORAGE__S3__REGION", "eu-west-1"),
            ("BERTH_STORAGE__S3__REDIRECT_DOORS", "pull"),
        ]),
        &[],
    )
    .unwrap();
    let s3 = &config.storage.s3;
    assert_eq!(s3.bucket.as_deref(), Some("images"));
    assert_eq!(s3.region, "eu-west-1");
    assert_eq!(s3.redirect_doors, [DoorName::Pull]);
    assert_eq!(s3.secret_access_key.as_ref().unwrap().expose(), "hidden");
    let shown = config.to_masked_toml();
    assert!(
        shown.contains("[storage.s3]\nbucket = \"images\"\n"),
        "{shown}"
    );
    for text in [shown, format!("{config:?}")] {
        assert!(!text.contains("hidden") && !text.contains("AKIA"), "{text}");
    }
    let unset = Config::load(
        Some(&path),
        environment(&[
            ("BERTH_STORAGE__S3__BUCKET", ""),
            ("BERTH_STORAGE__S3__SECRET_ACCESS_KEY_FILE", ""),
        ]),
        &[],
    );
    assert_eq!(unset.unwrap(), Config::default());
}

#[test]
fn a_bucket_that_cannot_be_meant_is_refused() {
    insta::assert_snapshot!(
        refusal(from_file(
            "[storage]\npath = \"/blobs\"\n[storage.s3]\nbucket = \"images\"\nendpoint = \"http://s3:9000\"\n\
             redirect_endpoint = \"s3.example.com\"\nprefix = \"a//b\"\naccess_key_id = \"AKIA\"\n\
             part_bytes = 1024\nparts_in_flight = 0\nredirect_doors = [\"ops\"]\n"
        )),
        @r#"
    storage.s3.part_bytes is 1024, but must be from 5242880 to 536870912
    storage.s3.parts_in_flight is 0, but must be from 1 to 1024
    storage.s3.endpoint is "http://s3:9000", which is without TLS; write https://, or set storage.s3.allow_http where the network is trusted
    storage.s3.redirect_endpoint is "s3.example.com", which is no URL; write one such as https://s3.example.com
    storage.s3.prefix is "a//b", but must be letters, digits, dots, dashes and underscores, in parts separated by /, such as berth/production/
    storage.s3.secret_access_key is not set, but storage.s3.access_key_id is; set both, or neither to use the machine's role
    storage.s3.redirect_doors names a door that serves no blobs; name public, pull, or both
    storage.path and storage.s3.bucket are both set; the blobs have one place, so unset one of them
    "#
    );
    let refused = [
        "[storage.s3]\nregion = \"eu-west-1\"\n",
        "[storage.s3]\nbucket = \"a/b\"\n",
        "[storage.s3]\nbuckt = \"images\"\n",
        "[storage.s3]\nsecret_access_key = \"x\"\nsecret_access_key_file = \"y\"\n",
        "[storage.s3]\nbucket = \"images\"\nendpoint = \"https://key:hidden@s3.example.com\"\n",
    ];
    let messages: Vec<String> = refused
        .iter()
        .map(|text| refusal(from_file(text)))
        .collect();
    insta::assert_snapshot!(messages.join("\n"), @r#"
    storage.s3.bucket is not set, but other keys of storage.s3 are; name the bucket
    storage.s3.bucket is "a/b", which is no name of a bucket; write the name alone
    storage.s3.buckt is not a key; the nearest is storage.s3.bucket
    storage.s3.secret_access_key and storage.s3.secret_access_key_file are both set; set one of them
    storage.s3.endpoint holds a user name; write one such as https://s3.example.com, and set storage.s3.access_key_id
    "#);
}
