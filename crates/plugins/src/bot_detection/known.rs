//! The agents that count as bots without being named in a configuration: those of Kong's list, told by their names and
//! habits. What one entry says is not said again by another, so the list is shorter than it reaches.

use std::sync::LazyLock;

use regex::bytes::RegexSet;

use super::compiled;

/// The known bots, compiled once for the process.
pub static BOTS: LazyLock<RegexSet> = LazyLock::new(|| {
    let anywhere = NAMES.iter().map(|name| regex::escape(name));
    let first = FIRST_NAMES.iter().map(|name| format!("^{}", regex::escape(name)));
    let versioned = VERSIONED_NAMES.iter().map(|name| format!(r"\b{}/[0-9]", regex::escape(name)));
    let habits = HABITS.iter().map(|habit| (*habit).to_owned());
    let patterns: Vec<String> = anywhere.chain(first).chain(versioned).chain(habits).collect();
    compiled(&patterns).expect("the patterns are constants under test")
});

/// Agents whose name may stand anywhere.
#[rustfmt::skip]
const NAMES: &[&str] = &[
    // Libraries and tools.
    "AppEngine-Google", "Apache-HttpClient", "Go-http-client", "Google-HTTP-Java-Client", "HttpMonitor", "JNLP",
    "Python-urllib", "Squrl Java", "TLSProber", "WinHTTP", "aihttp", "axios", "grub-client", "http%20client", "masscan",
    "okhttp", "reqwest", "scalaj-http", "unirest-java", "unirest-net", "unirest-nodejs", "unirest-php",
    "unirest-python", "unirest-ruby",
    // Search engines and archives.
    "AdsBot-Google", "Ask Jeeves", "BingPreview", "BoardReader Blog Indexer", "BoardReader Favicon Fetcher", "BUbiNG",
    "Daumoa", "Flamingo_SearchEngine", "Google SketchUp", "Googlebot", "IlTrovatore", "InternetArchive", "KaloogaBot",
    "Linguee Bot", "MJ12bot", "Mail.RU_Bot", "Mediapartners-Google", "Nutch", "ObjectsSearch", "Qwantify", "SemrushBot",
    "Slurp", "VoilaBot", "YahooSeeker", "YodaoBot", "altavista", "archiver", "bingbot", "gigabot", "heritrix", "holmes",
    "htdig", "ia_archiver", "lycos", "msnbot", "msrbot", "scooter", "searchsight", "seekbot", "yacy",
    // Feeds, previews and messages.
    "BlogBridge", "Bloglovin", "Feed Seeker Bot", "Feedbin", "LinkedInBot", "Mtps Feed Aggregation System", "Netvibes",
    "NewsGator", "Read%20Later", "SimplePie", "SimpleRSS", "Slack-ImgProxy", "Slackbot-LinkExpanding", "Stringer",
    "Tiny Tiny RSS", "Twitterbot", "WhatsApp", "WordPress",
    // Monitors and screenshots.
    "Catchpoint", "GomezAgent", "KiwiStatus", "PagePeeker", "PagesInventory", "Peeplo Screenshot Bot", "Rival IQ",
    "SEOstats", "ThumbShotsBot", "Thumbshots.ru", "URL2PNG", "Web-sniffer", "WebThumb", "WhatWeb", "YottaaMonitor",
    "ZooShot",
    // The rest.
    "1470.net", "50.nu", "123metaspider-Bot", "Aboundex", "BotName/$BotVersion", "BotSeer", "Charlotte", "Checklinks",
    "Cityreview Robot", "Comodo HTTP(S)", "Finderbots", "FollowSite Bot", "Genieo", "HiddenMarket", "HooWWWer",
    "Icarus6j", "IconSurf", "InfuzApp", "Job Roboter", "Kraken", "Kurzor", "LEIA", "LesnikBot", "LinkAider", "Lite Bot",
    "Llaut", "Nymesis", "OOZBOT", "OgScrper", "Orbiter", "PaxleFramework", "PlantyNet_WebRobot", "Pompos", "Reaper",
    "RedCarpet", "Retreiver", "Riddler", "Scrapy", "Scrubby", "Simpy", "SiteCat Webbot", "SiteCon", "TheUsefulbot",
    "Vagabondo", "Votay bot", "WIRE", "Wotbox", "Xenu Link Sleuth", "Yowedo",
    "ZeBot_www.ze.bz", "ZyBorg", "blitzbot", "boitho.com-dc", "charlotte", "clumboot", "findlinks", "furlbot", "gonzo1",
    "ichiro", "larbin", "masidani_bot", "mogimogi", "mozDex", "netresearch", "semanticdiscovery", "snappy",
    "www.almaden.ibm.com",
];

/// Agents whose name begins the field.
const FIRST_NAMES: &[&str] = &["NING", "Zao", "vortex", "voyager"];

/// Agents whose name is followed by a version.
#[rustfmt::skip]
const VERSIONED_NAMES: &[&str] = &[
    "008", "Altresium", "Argus", "BaiduMobaider", "BoardReader", "DNSGroup", "DataparkSearch", "EDI", "Goodzer", "Grub",
    "INGRID", "Infohelfer", "LOOQ", "PathDefender", "Peew", "PostPost", "Steeler", "VSE", "WebZIP", "envolk", "sproose",
    "wminer",
];

/// What tells bots that are not known by name. Spiders, crawlers and scrapers say so themselves.
const HABITS: &[&str] = &[
    "(?i:spider|crawl)|[Ss]crape",
    "(?:Archiver|[Ii]ndexer|[Bb]ot)[/ ][0-9]",
    r"/(?:[A-z]+[Bb]ot|Axtaris|fetchurl|Isara|ShopSalad|Tailsweep)[ \-][0-9]",
    r"Pingdom\.com_bot_version_[0-9]+\.[0-9]",
    r"facebookexternalhit/[0-9]+\.[0-9]",
    r"Google.*/\+/web/snippet",
    r"\b(?:Boto3?|JetS3t|s3fs|aws-cli|aws-sdk-(?:cpp|go|java|nodejs|ruby2?|dotnet-(?:[0-9]{1,2}|core)))/[0-9]+\.[0-9]",
    r" PTST/[0-9]+\.?[0-9]+$",
    r"\bY!J-BR[A-Z]/[0-9]",
    r"Accoona-[A-z]{1,30}-Agent",
    r"archive.{0,30}\.org_bot",
    "favicon",
    r"\bYeti",
    r"IP2[a-z]{1,30}Bot",
    r"jbot\b",
    "Microsoft .{0,30} Bot",
    "WASALive.Bot",
    "WeSEE:[A-z]",
    "Xenu.s Link Sleuth",
    "Xerka [A-z]{1,30}Bot",
    r"Yandex\w",
];
