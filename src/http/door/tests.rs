//! Tests of what is believed about where a request comes from.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::{FORWARDED_FOR, FORWARDED_PROTO};
use super::{client_address, is_host, items_from_the_right, parse_address, parse_scheme};
use crate::config::AddressRange;

const PROXY: &str = "10.0.0.1";

fn proxies() -> Vec<AddressRange> {
    ["10.0.0.0/8", "fd00::/8"]
        .iter()
        .map(|range| range.parse().unwrap())
        .collect()
}

fn lines(name: &'static str, values: &[&[u8]]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(name, HeaderValue::from_bytes(value).unwrap());
    }
    headers
}

fn seen_from(peer: &str, values: &[&[u8]]) -> String {
    let peer = peer.parse().unwrap();
    client_address(&proxies(), peer, &lines(FORWARDED_FOR, values)).to_string()
}

#[test]
fn without_a_trusted_proxy_the_client_is_the_other_end() {
    assert_eq!(seen_from("192.0.2.1", &[]), "192.0.2.1");
    assert_eq!(seen_from("192.0.2.1", &[b"198.51.100.1"]), "192.0.2.1");
    assert_eq!(seen_from("::ffff:192.0.2.1", &[]), "192.0.2.1");
    let nobody = client_address(
        &[],
        PROXY.parse().unwrap(),
        &lines(FORWARDED_FOR, &[b"198.51.100.1"]),
    );
    assert_eq!(nobody.to_string(), PROXY);
}

#[test]
fn behind_trusted_proxies_it_is_the_last_address_that_is_none_of_them() {
    for (values, client) in [
        (&[b"192.0.2.1".as_slice()][..], "192.0.2.1"),
        (&[b"192.0.2.1, 10.0.0.2"], "192.0.2.1"),
        (&[b"192.0.2.1,fd00::7 ,\t10.0.0.2"], "192.0.2.1"),
        // What a client wrote itself stands further left.
        (&[b"203.0.113.9, 192.0.2.1"], "192.0.2.1"),
        (&[b"10.0.0.9, 192.0.2.1, 10.0.0.2"], "192.0.2.1"),
        // Lines are one list.
        (&[b"203.0.113.9", b"192.0.2.1"], "192.0.2.1"),
        (&[b"192.0.2.1", b"10.0.0.2"], "192.0.2.1"),
        // A client inside the trusted range, and a proxy that says nothing.
        (&[b"10.0.0.9"], "10.0.0.9"),
        (&[], PROXY),
        (&[b""], PROXY),
    ] {
        assert_eq!(seen_from(PROXY, values), client, "{values:?}");
    }
    assert_eq!(seen_from("fd00::1", &[b"2001:db8::1"]), "2001:db8::1");
    assert_eq!(seen_from("::ffff:10.0.0.1", &[b"192.0.2.1"]), "192.0.2.1");
}

#[test]
fn what_is_no_address_ends_the_walk_at_whoever_sent_it() {
    for item in [
        b"unknown".as_slice(),
        b"_hidden",
        b"192.0.2",
        b"192.0.2.1.5",
        b"192.0.2.1:",
        b"192.0.2.1:99999",
        b"[2001:db8::1",
        b"\"192.0.2.1\"",
        b"for=192.0.2.1",
        b"\xff\xfe",
        b",",
        b" ",
    ] {
        assert_eq!(seen_from(PROXY, &[item]), PROXY, "{item:?}");
        let behind = [b"192.0.2.1, ", item, b", 10.0.0.2"].concat();
        assert_eq!(seen_from(PROXY, &[&behind]), "10.0.0.2", "{item:?}");
    }
}

#[test]
fn a_chain_without_an_end_is_followed_for_a_while() {
    let long = ["192.0.2.1"]
        .into_iter()
        .chain(std::iter::repeat_n("10.0.0.2", 5000))
        .collect::<Vec<_>>()
        .join(",");
    assert_eq!(seen_from(PROXY, &[long.as_bytes()]), "10.0.0.2");
}

#[test]
fn addresses_may_have_ports_and_brackets() {
    for (text, address) in [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
    ] {
        assert_eq!(parse_address(text), address.parse().ok(), "{text}");
    }
}

#[test]
fn of_several_values_the_nearest_proxys_is_taken() {
    let last = |values: &[&[u8]]| {
        let headers = lines(FORWARDED_PROTO, values);
        let item = items_from_the_right(&headers, FORWARDED_PROTO).next();
        item.flatten().map(str::to_owned)
    };
    assert_eq!(last(&[b"https"]).as_deref(), Some("https"));
    assert_eq!(last(&[b"https, http"]).as_deref(), Some("http"));
    assert_eq!(
        last(&[b"https".as_slice(), b"http"]).as_deref(),
        Some("http")
    );
    assert_eq!(last(&[b"https,"]).as_deref(), Some(""));
    assert_eq!(last(&[b"\xff"]), None);
    assert_eq!(last(&[]), None);
}

#[test]
fn schemes_are_two_words() {
    assert_eq!(parse_scheme("https"), Some(true));
    assert_eq!(parse_scheme("HTTPS"), Some(true));
    assert_eq!(parse_scheme("http"), Some(false));
    for text in ["", "wss", "https:", "https://", "https http"] {
        assert_eq!(parse_scheme(text), None, "{text}");
    }
}

#[test]
fn hosts_are_names_or_addresses_with_a_port() {
    for host in [
        "localhost",
        "127.0.0.1:5000",
        "[::1]:5000",
        "[::1]",
        "registry.example.org",
        "a-b.c:1",
    ] {
        assert!(is_host(host), "{host}");
    }
}

#[test]
fn what_could_mean_something_else_is_no_host() {
    for host in [
        "", "a b", "a\"b", "a/b", "a@b", "a:b", "a:", "[::1", "[]", "[::1]x", "a:123456", "a,b",
        "a:1:2",
    ] {
        assert!(!is_host(host), "{host}");
    }
}

proptest! {
    /// Whatever a client writes, the address is one that a trusted proxy vouched for.
    #[test]
    fn a_claim_never_counts_before_what_the_proxy_saw(claim in "[ -~]{0,80}") {
        let header = format!("{claim}, 192.0.2.1");
        prop_assert_eq!(seen_from(PROXY, &[header.as_bytes()]), "192.0.2.1");
        let peer: IpAddr = "198.51.100.7".parse().unwrap();
        let seen = client_address(&proxies(), peer, &lines(FORWARDED_FOR, &[claim.as_bytes()]));
        prop_assert_eq!(seen, peer);
    }
}
