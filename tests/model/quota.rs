//! Quotas in the reference model: limits and usage are looked for by name, each time anew.

use zkore::types::ErrorCode;

use super::reference::{Model, length};

const ROOT: &str = "/zookeeper/quota";

pub fn limits_path(path: &str) -> String {
    format!("{ROOT}{path}/zookeeper_limits")
}

pub fn usage_path(path: &str) -> String {
    format!("{ROOT}{path}/zookeeper_stats")
}

/// The nearest node at or above with limits; the root has none.
fn nearest(model: &Model, path: &str) -> Option<String> {
    let mut at = path.to_owned();
    while !at.is_empty() && at != "/" {
        if model.nodes.contains_key(&limits_path(&at)) {
            return Some(at);
        }
        at.truncate(at.rfind('/')?);
    }
    None
}

/// A figure in a text such as `count=1,bytes=2=;countHardLimit=3`.
fn figure(text: &str, key: &str) -> i64 {
    text.split([',', ';'])
        .filter_map(|pair| pair.split_once('='))
        .find(|(name, _)| *name == key)
        .map_or(-1, |(_, value)| {
            value
                .trim_end_matches('=')
                .parse()
                .expect("the test made it")
        })
}

fn text_of(model: &Model, path: &str) -> Option<String> {
    let data = model.nodes.get(path)?.data.clone();
    Some(String::from_utf8(data.expect("the test made it")).expect("the test made it"))
}

pub fn check(model: &Model, path: &str, bytes: i64, count: i64) -> Result<(), ErrorCode> {
    if !model.rules.enforce_quota {
        return Ok(());
    }
    let Some(prefix) = nearest(model, path) else {
        return Ok(());
    };
    let limits = text_of(model, &limits_path(&prefix)).expect("nearest found it");
    let Some(usage) = text_of(model, &usage_path(&prefix)) else {
        return Ok(());
    };
    for (difference, key, limit_key) in [
        (count, "count", "countHardLimit"),
        (bytes, "bytes", "byteHardLimit"),
    ] {
        let limit = figure(&limits, limit_key);
        if difference != 0 && limit != -1 && figure(&usage, key) + difference > limit {
            return Err(ErrorCode::QuotaExceeded);
        }
    }
    Ok(())
}

fn add(model: &mut Model, path: &str, bytes: i64, count: i64) {
    let Some(prefix) = nearest(model, path) else {
        return;
    };
    let usage_path = usage_path(&prefix);
    let Some(usage) = text_of(model, &usage_path) else {
        return;
    };
    let usage = write(
        figure(&usage, "count") + count,
        figure(&usage, "bytes") + bytes,
    );
    model.nodes.get_mut(&usage_path).expect("it was read").data = Some(usage);
}

fn write(count: i64, bytes: i64) -> Vec<u8> {
    format!("count={count},bytes={bytes}").into_bytes()
}

pub fn after_create(model: &mut Model, path: &str) {
    let name = path
        .strip_prefix(ROOT)
        .and_then(|rest| rest.strip_suffix("/zookeeper_stats"));
    if let Some(subject) = name {
        let below = format!("{subject}/");
        let counted = model
            .nodes
            .iter()
            .filter(|(other, _)| *other == subject || other.starts_with(&below));
        let (count, bytes) = counted.fold((0, 0), |(count, bytes), (_, node)| {
            (count + 1, bytes + length(&node.data))
        });
        model.nodes.get_mut(path).expect("just created").data = Some(write(count, bytes));
    }
    let bytes = length(&model.nodes[path].data);
    add(model, path, bytes, 1);
}

pub fn after_delete(model: &mut Model, path: &str, bytes: i64) {
    add(model, path, -bytes, -1);
}

pub fn after_set(model: &mut Model, path: &str, difference: i64) {
    add(model, path, difference, 0);
}
