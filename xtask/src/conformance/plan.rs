//! Which cases are played on which gateway: read from the recorded files, the list of areas and the list of skips, and
//! written as files that the player takes as they are.

use super::Options;
use crate::project;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const AREAS: &str = "xtask/conformance/areas.txt";
const SKIPS: &str = "xtask/conformance/skip.txt";
const FAULT: &str = "Kong is known to be wrong there: docs/differences.md";

/// A gateway that some of the cases need.
#[derive(Debug)]
pub(super) struct Configuration {
    pub(super) name: &'static str,
    pub(super) properties: &'static [(&'static str, &'static str)],
    /// What the cases ask for that the Admin API does not tell.
    pub(super) told: &'static [(&'static str, &'static str)],
    /// Names are resolved by a server that knows none.
    pub(super) own_names: bool,
}

/// The first one that suits a case plays it; the last one suits those without needs.
const CONFIGURATIONS: &[Configuration] = &[
    Configuration { name: "dbless", properties: &[("database", "off")], told: &[], own_names: false },
    Configuration { name: "traditional", properties: &[("router_flavor", "traditional")], told: &[], own_names: false },
    Configuration { name: "expressions", properties: &[("router_flavor", "expressions")], told: &[], own_names: false },
    Configuration { name: "trusted", properties: &[("trusted_ips", "127.0.0.0/8")], told: &[], own_names: false },
    Configuration {
        name: "no-names",
        properties: &[],
        told: &[("dns", "a server that answers NXDOMAIN")],
        own_names: true,
    },
    Configuration {
        name: "no-invalid-names",
        properties: &[],
        told: &[("dns", "a server that answers NXDOMAIN for .invalid")],
        own_names: true,
    },
    Configuration { name: "default", properties: &[], told: &[], own_names: false },
];

/// The cases of one configuration.
pub(super) struct Part {
    pub(super) configuration: &'static Configuration,
    pub(super) files: Vec<PathBuf>,
    pub(super) cases: usize,
}

pub(super) struct Plan {
    /// The longest first.
    pub(super) parts: Vec<Part>,
    /// How many cases are left out for each reason.
    pub(super) left_out: BTreeMap<String, usize>,
}

impl Plan {
    pub(super) fn make(cases: &Path, options: &Options, scratch: &Path) -> Result<Plan> {
        let areas = areas(&project::read(&project::root().join(AREAS))?);
        let skips = skips(&project::read(&project::root().join(SKIPS))?)?;
        let mut plan = Plan { parts: Vec::new(), left_out: BTreeMap::new() };
        let mut by_configuration: BTreeMap<usize, Part> = BTreeMap::new();
        let mut unused: BTreeMap<&str, &str> = skips.iter().map(|(name, reason)| (&**name, &**reason)).collect();
        for file in files(cases)? {
            let area = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let Some(left_out) = areas.get(&area) else {
                bail!("{AREAS} does not name {area}: say whether it is played, or why not");
            };
            let all: Vec<Value> = serde_json::from_str(&project::read(&file)?)
                .with_context(|| format!("{} is no list of cases", file.display()))?;
            for case in &all {
                unused.remove(name(case));
            }
            if !options.areas.is_empty() {
                if !options.areas.contains(&area) {
                    continue;
                }
            } else if let Some(reason) = left_out.as_ref().filter(|_| !options.all) {
                *plan.left_out.entry(reason.clone()).or_default() += all.len();
                continue;
            }
            for (number, kept) in plan.distribute(all, &areas, &skips, options) {
                let Some(configuration) = CONFIGURATIONS.get(number) else { continue };
                let folder = scratch.join(configuration.name);
                std::fs::create_dir_all(&folder)?;
                let path = folder.join(format!("{area}.json"));
                project::write(&path, serde_json::to_string(&kept)?)?;
                let part = by_configuration.entry(number).or_insert_with(|| Part {
                    configuration,
                    files: Vec::new(),
                    cases: 0,
                });
                part.files.push(path);
                part.cases += kept.len();
            }
        }
        if let Some((name, _)) = unused.first_key_value() {
            bail!("{SKIPS} names a case that is not recorded: {name}");
        }
        for area in &options.areas {
            ensure!(areas.contains_key(area), "there is no area named {area}; {AREAS} lists them");
        }
        plan.parts = by_configuration.into_values().collect();
        plan.parts.sort_by_key(|part| std::cmp::Reverse(part.cases));
        Ok(plan)
    }

    pub(super) fn left_out_cases(&self) -> usize {
        self.left_out.values().sum()
    }

    /// The cases of a file by the number of the configuration that plays them.
    fn distribute(
        &mut self,
        cases: Vec<Value>,
        areas: &Areas,
        skips: &BTreeMap<String, String>,
        options: &Options,
    ) -> BTreeMap<usize, Vec<Value>> {
        let mut parts: BTreeMap<usize, Vec<Value>> = BTreeMap::new();
        for case in cases.into_iter().filter(|case| name(case).contains(&options.only)) {
            let reason = match skips.get(name(&case)) {
                Some(reason) => Some(reason.as_str()),
                None => plugin_left_out(name(&case), areas).or_else(|| case.get("fault").map(|_| FAULT)),
            };
            match reason.filter(|_| !options.with_faults) {
                Some(reason) => *self.left_out.entry(reason.to_owned()).or_default() += 1,
                None if options.database != "embedded" && database(&case).is_some() => {
                    *self.left_out.entry("they need another database".to_owned()).or_default() += 1;
                }
                None => match configuration(&case) {
                    Some(number) => parts.entry(number).or_default().push(numbers_masked_first(case)),
                    None => *self.left_out.entry(format!("no gateway for {}", case["needs"])).or_default() += 1,
                },
            }
        }
        parts
    }
}

/// Masks of the decimal ids of a named field go before those of hexadecimal ids anywhere: a random number of sixteen digits
/// is both, and would be taken for the other kind in one run of a few hundred.
pub(super) fn numbers_masked_first(mut case: Value) -> Value {
    let steps = case["steps"].as_array_mut().into_iter().flatten();
    for masks in steps.filter_map(|step| step.get_mut("mask")?.as_array_mut()) {
        masks.sort_by_key(|mask| !mask[0].as_str().is_some_and(|pattern| pattern.starts_with("(x-")));
    }
    case
}

fn name(case: &Value) -> &str {
    case["name"].as_str().unwrap_or_default()
}

/// Why the cases of a plugin are not played, where this one is about its schema.
pub(super) fn plugin_left_out<'a>(case: &str, areas: &'a Areas) -> Option<&'a str> {
    let rest = ["plugin-schema/", "info/schema/plugins/"].iter().find_map(|about| case.strip_prefix(about))?;
    let plugin = rest.split('/').next().unwrap_or_default();
    areas.get(&format!("plugin_{plugin}"))?.as_deref()
}

/// The database that a case needs.
fn database(case: &Value) -> Option<&str> {
    if case["dbless"] == true { Some("off") } else { case["needs"]["database"].as_str() }
}

/// The number of the configuration that a case needs.
fn configuration(case: &Value) -> Option<usize> {
    let mut needs: BTreeMap<&str, &str> = case
        .get("needs")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default()))
        .collect();
    if case["dbless"] == true {
        needs.insert("database", "off");
    }
    CONFIGURATIONS.iter().position(|configuration| {
        let has = configuration.properties.iter().chain(configuration.told);
        has.copied().collect::<BTreeMap<_, _>>() == needs
    })
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    found.sort();
    Ok(found)
}

/// Each area with the reason why it is not played, if it is not.
pub(super) type Areas = BTreeMap<String, Option<String>>;

pub(super) fn areas(text: &str) -> Areas {
    project::list(text)
        .map(|line| match line.split_once(char::is_whitespace) {
            Some((area, reason)) => (area.to_owned(), Some(reason.trim().to_owned())),
            None => (line.to_owned(), None),
        })
        .collect()
}

/// The name of each skipped case with the reason.
pub(super) fn skips(text: &str) -> Result<BTreeMap<String, String>> {
    project::list(text)
        .map(|line| match line.split_once(" | ") {
            Some((name, reason)) if !reason.trim().is_empty() => Ok((name.trim().to_owned(), reason.trim().to_owned())),
            _ => bail!("{SKIPS}: a line is `case name | reason`: {line}"),
        })
        .collect()
}
