//! What the bot-detection room does, seen from outside: requests in, outcomes out.

use plugin::harness::{Harness, Outcome};

use super::BotDetection;

fn harness(config: &str) -> Harness {
    Harness::global(plugin::room::<BotDetection>(), config).unwrap()
}

fn send(config: &str, agent: &str) -> Outcome {
    harness(config).send(&format!("GET / HTTP/1.1\nUser-Agent: {agent}"))
}

/// Values that people's browsers and tools send.
const PEOPLE: &[&str] = &[
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 Safari/605.1.15",
    "Mozilla/5.0 (Windows NT 10.0; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (Linux; Android 5.1; CUBOT CHEETAH) AppleWebKit/537.36 Chrome/64.0 Mobile Safari/537.36",
    "curl/8.5.0",
    "Wget/1.21.3",
    "PostmanRuntime/7.37.3",
    "helloworld",
];

/// Values of bots, by what tells them.
const BOTS: &[&str] = &[
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Googlebot/2.1 (+http://www.google.com/bot.html)",
    "AdsBot-Google (+http://www.google.com/adsbot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "Pingdom.com_bot_version_1.4_(http://www.pingdom.com/)",
    "facebookexternalhit/1.1",
    "Mozilla/5.0 Google (+https://developers.google.com/+/web/snippet/)",
    "Twitterbot/1.0",
    "Boto3/1.26.0",
    "aws-cli/2.13.0 Python/3.11",
    "aws-sdk-go/1.44.0",
    "Mozilla/5.0 Chrome/100 PTST/230101",
    "thing /MyBot-1.0",
    "Steeler/3.3",
    "Mozilla/4.0 (compatible; MSIE 6.0; MSIECrawler)",
    "Apache-HttpClient/4.2.3 (java 1.5)",
    "Go-http-client/1.1",
    "okhttp/4.9.0",
    "axios/1.6.0",
    "Python-urllib/3.11",
    "Baiduspider+(+http://www.baidu.com/search/spider.htm)",
    "Mozilla/5.0 (compatible; YandexBot/3.0)",
    "voyager/2.0",
    "archive.org_bot",
    "SomeIndexer/1.0",
    "Curious Bot 2",
    "CrAwLer",
    "page Scraper",
    "Slack-ImgProxy (+https://api.slack.com/robots)",
];

#[test]
fn people_pass_and_bots_do_not() {
    for agent in PEOPLE {
        assert!(!send("{}", agent).answered, "{agent}");
    }
    for agent in BOTS {
        let outcome = send("{}", agent);
        assert_eq!((outcome.status, outcome.message.as_deref()), (403, Some("Forbidden")), "{agent}");
    }
    // Names that count only where they begin, or with a version.
    for agent in ["a voyager", "Steeler", "Exabot", "aws-cli"] {
        assert!(!send("{}", agent).answered, "{agent}");
    }
}

#[test]
fn who_is_denied_does_not_pass() {
    assert!(send("{deny: ['^curl/', forbidden]}", "curl/8.5.0").answered);
    assert!(send("{deny: ['^curl/', forbidden]}", "is forbidden").answered);
    assert!(!send("{deny: ['^curl/']}", "Curl/8.5.0").answered);
    assert!(send("{deny: ['a..b']}", "a\u{e9}b").answered, "a dot is a byte");
}

#[test]
fn who_is_allowed_passes_whatever_else_fits() {
    assert!(!send("{allow: [Googlebot]}", "Googlebot/2.1").answered);
    assert!(!send("{allow: ['^curl'], deny: [curl]}", "curl/8").answered);
    assert!(send("{allow: ['^curl$'], deny: [curl]}", "curl/8").answered);
}

#[test]
fn a_request_says_once_or_never_who_asks() {
    let mut harness = harness("{}");
    assert!(!harness.send("GET / HTTP/1.1").answered);
    let outcome = harness.send("GET / HTTP/1.1\nUser-Agent: a\nUser-Agent: b");
    assert_eq!(
        (outcome.status, outcome.message.as_deref()),
        (400, Some("Only one User-Agent header allowed"))
    );
}

#[test]
fn expressions_are_checked_and_bounded() {
    for (config, field) in [
        ("{deny: ['(unclosed']}", "config.deny: "),
        ("{allow: ['(?=look)']}", "config.allow: "),
        ("{deny: ['(?:a{1000}){1000}']}", "config.deny: "),
    ] {
        let refusal = Harness::global(plugin::room::<BotDetection>(), config).err().unwrap_or_default();
        assert!(refusal.starts_with(field), "{config}: {refusal}");
    }
}
