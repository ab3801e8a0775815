//! What known crawlers, monitors and fetching libraries call themselves: the facts of uap-core's list of user agents.

use crate::lately::Lately;
use regex::bytes::{Regex, RegexBuilder};
use std::cell::RefCell;
use std::sync::LazyLock;

/// How many user agents each half of a thread's memory holds.
const MOST: usize = 1024;
/// Longer ones are looked through each time.
const LONGEST: usize = 1 << 10;

/// Words that make a bot of whoever has them in its name, wherever they stand.
const WORDS: &[&str] = &[
    "[Ss][Pp][Ii][Dd][Ee][Rr]",
    "[Ss]crape",
    "[Cc][Rr][Aa][Ww][Ll]",
    // With a version behind it, as `SomeBot/1.0` and `Some Bot 1.0` have.
    "(?:[Aa]rchiver|[Ii]ndexer|[Bb]ot)[/ ][0-9]",
    "/(?:(?:Ant-)?Nutch|[A-z]+[Bb]ot|Axtaris|fetchurl|Isara|ShopSalad|Tailsweep)[ -][0-9]",
    r"\w*favicon\w*",
];

/// Libraries and tools that fetch.
const LIBRARIES: &[&str] = &[
    "Apache-HttpClient",
    "Go-http-client",
    "Google-HTTP-Java-Client",
    "HttpMonitor",
    "JNLP",
    "PostmanRuntime",
    "Python-urllib",
    "TLSProber",
    "WinHTTP",
    "aihttp",
    "axios",
    "http%20client",
    "okhttp",
    "reqwest",
    "scalaj-http",
    "unirest-(?:java|python|ruby|nodejs|php|net)",
    r"\b(?:Boto3?|JetS3t|s3fs|aws-(?:cli|sdk-(?:cpp|go|go-v[0-9]|java|nodejs|ruby2?|dotnet-(?:[0-9]{1,2}|core))))/[0-9]+\.[0-9]",
];

/// Monitors and proxies of large sites, told by a name with a version or by a telling phrase.
const MONITORS: &[&str] = &[
    r"\(StatusCake\)",
    r"Google.{0,50}/\+/web/snippet",
    "MSIE [0-9].{0,200} MSIECrawler",
    r"NewRelicPinger/[0-9]+\.[0-9]",
    " PTST/[0-9]+(?:\\.[0-9]+)?$",
    r"Pingdom(?:\.com_bot_version_|TMS/|PageSpeed/)[0-9]+\.[0-9]",
    r"Pinterest(?:bot)?/[0-9.]+[;\s(]+\+https://www.pinterest.com/bot.html",
    r"RuxitSynthetic/[0-9]+\.[0-9]",
    "X11; Datanyze; Linux",
    r"YahooMailProxy; https://help\.yahoo\.com/",
    r"facebookexternalhit/[0-9]+\.[0-9]",
    r"via ggpht\.com GoogleImageProxy",
];

/// Names that count only as a whole word with a version behind.
const VERSIONED: &str = "008|Altresium|Argus|BaiduMobaider|BoardReader|DNSGroup|DataparkSearch|EDI|Goodzer|Grub|INGRID|\
    Infohelfer|LOOQ|Nutch|OgScrper|Pandora|PathDefender|Peew|PostPost|Steeler|VSE|WebCrunch|WebZIP|Y!J-BR[A-Z]|\
    YahooSeeker|envolk|sproose|wminer";

/// Names that count wherever they stand.
const NAMES: &[&str] = &[
    "123metaspider-Bot",
    "50\\.nu",
    "Aboundex",
    "BoardReader Blog Indexer",
    "Accoona-[A-z]{1,30}-Agent",
    "AdsBot-Google",
    "AppEngine-Google",
    "Ask Jeeves",
    "BUbiNG",
    "BingPreview",
    "BlogBridge",
    "Bloglovin",
    "BoardReader Favicon Fetcher",
    "BotName/\\$BotVersion",
    "BotSeer",
    "CRAWL-E",
    "Catchpoint",
    "Checklinks",
    "Cityreview Robot",
    "CrawlDaddy",
    "Daumoa",
    "Feed Seeker Bot",
    "Feedbin",
    "Finderbots",
    "Flamingo_SearchEngine",
    "FollowSite Bot",
    "GPTBot",
    "Genieo",
    "GomezAgent",
    "Google SketchUp",
    "Google-InspectionTool",
    "GoogleOther",
    "Googlebot",
    "HiddenMarket",
    "HooWWWer",
    "IP2[a-z]{1,30}Bot",
    "Icarus6j",
    "IconSurf",
    "IlTrovatore",
    "InfuzApp",
    "InternetArchive",
    "Job Roboter",
    "KaloogaBot",
    "Kraken",
    "Kurzor",
    "LEIA",
    "LesnikBot",
    "Linguee Bot",
    "LinkAider",
    "LinkedInBot",
    "Lite Bot",
    "Llaut",
    "MJ12bot",
    "Mail\\.RU_Bot",
    "Mediapartners-Google",
    "Microsoft .{0,30} Bot",
    "Mtps Feed Aggregation System",
    "Netvibes",
    "NewsGator",
    "Nutch",
    "Nymesis",
    "OOZBOT",
    "ObjectsSearch",
    "OgScrper",
    "Orbiter",
    "PagePeeker",
    "PagesInventory",
    "PaxleFramework",
    "Peeplo Screenshot Bot",
    "PlantyNet_WebRobot",
    "Pompos",
    "Qwantify",
    "Read%20Later",
    "Reaper",
    "RedCarpet",
    "Retreiver",
    "Riddler",
    "Rival IQ",
    "SEOstats",
    "Scrapy",
    "Scrubby",
    "SemrushBot",
    "SimplePie",
    "SimpleRSS",
    "Simpy",
    "SiteCat Webbot",
    "SiteCon",
    "Slack-ImgProxy",
    "Slackbot-LinkExpanding",
    "Slurp",
    "Squrl Java",
    "Stringer",
    "TheUsefulbot",
    "ThumbShotsBot",
    "Thumbshots\\.ru",
    "Tiny Tiny RSS",
    "TwitterBot",
    "Twitterbot",
    "URL2PNG",
    "Vagabondo",
    "VoilaBot",
    "Votay bot",
    "WASALive.Bot",
    "WIRE",
    "WeSEE:[A-z]",
    "Web-sniffer",
    "WebThumb",
    "WhatWeb",
    "WhatsApp",
    "WordPress",
    "Wotbox",
    "Xenu(?:.s)? Link Sleuth",
    "Xerka [A-z]{1,30}Bot",
    "Yahoo! Slurp",
    "Yandex\\w",
    "YodaoBot",
    "YottaaMonitor",
    "Yowedo",
    "ZeBot_www\\.ze\\.bz",
    "ZooShot",
    "ZyBorg",
    "[Cc]harlotte",
    "\\bYeti",
    "^NING",
    "^Zao",
    "^vortex",
    "^voyager",
    "altavista",
    "archive.{0,30}\\.org_bot",
    "archiver",
    "bingbot",
    "blitzbot",
    "boitho.com-dc",
    "clumboot",
    "findlinks",
    "furlbot",
    "gigabot",
    "gonzo1",
    "grub-client",
    "heritrix",
    "holmes",
    "htdig",
    "ia_archiver",
    "ichiro",
    "jbot\\b",
    "larbin",
    "lycos",
    "masidani_bot",
    "masscan",
    "mogimogi",
    "mozDex",
    "msnbot",
    "msrbot",
    "netresearch",
    "scooter",
    "searchsight",
    "seekbot",
    "semanticdiscovery",
    "snappy",
    "www\\.almaden\\.ibm\\.com",
    "yacy",
    "YahooSeeker",
];

static CRAWLER: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let versioned = format!("\\b(?:{VERSIONED})/[0-9]");
    let all = [WORDS, LIBRARIES, MONITORS, NAMES, &[versioned.as_str()]].concat().join("|");
    RegexBuilder::new(&all).unicode(false).size_limit(4 << 20).build().ok()
});

thread_local! {
    /// User agents that came lately, and whether they are crawlers'.
    static JUDGED: RefCell<Lately<bool>> = RefCell::new(Lately::new(MOST));
}

/// Whether a user agent is a crawler's.
pub(super) fn is_crawler(agent: &[u8]) -> bool {
    let is_crawler = || CRAWLER.as_ref().is_some_and(|regex| regex.is_match(agent));
    if agent.len() > LONGEST {
        return is_crawler();
    }
    JUDGED.with_borrow_mut(|judged| {
        if let Some(known) = judged.find(agent, |_| true) {
            return *known;
        }
        let is_crawler = is_crawler();
        judged.keep(agent, is_crawler);
        is_crawler
    })
}
