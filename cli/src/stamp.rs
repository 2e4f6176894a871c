//! When an image was made: the times of its history, so that the same layers give the same image again.

use std::time::SystemTime;

use kiln_core::ImageConfig;

use crate::environment::rfc3339;

/// Gives history entries without a time one: an entry with a layer the time that its layer was made, an entry without
/// one that of the layer before it, or of the first new layer if there is none before. The image's own time is that of its last
/// entry. With an epoch, all new times are it. `layers` are the times of the image's layers, bottom first.
///
/// A build whose steps are all known therefore makes the same image, to the byte, as the build before (BuildKit,
/// exporter/containerimage/writer.go).
pub(crate) fn stamp(
    config: &mut ImageConfig,
    layers: &[SystemTime],
    epoch: Option<SystemTime>,
    now: SystemTime,
) {
    let mut times = layers.iter();
    let mut own: Vec<Option<SystemTime>> = Vec::with_capacity(config.history.len());
    for entry in &config.history {
        let layer = if entry.empty_layer { None } else { times.next().copied() };
        own.push(if entry.created.is_some() { None } else { layer });
    }
    let first_new = own.iter().flatten().next().copied();
    let last_layer = layers.last().copied();
    let mut before = first_new.or(last_layer).unwrap_or(now);
    for (entry, own) in config.history.iter_mut().zip(own) {
        if let Some(own) = own {
            before = own;
        }
        if entry.created.is_none() {
            entry.created = Some(rfc3339(epoch.unwrap_or(before)));
        }
    }
    if config.created.is_none() {
        let last = config.history.last().and_then(|entry| entry.created.clone());
        config.created = Some(last.unwrap_or_else(|| rfc3339(epoch.unwrap_or(now))));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kiln_core::History;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn entry(created: Option<&str>, empty_layer: bool) -> History {
        History { created: created.map(str::to_owned), empty_layer, ..History::default() }
    }

    fn stamped(history: Vec<History>, layers: &[u64], epoch: Option<u64>) -> Vec<u64> {
        let mut config = ImageConfig { history, ..ImageConfig::default() };
        let layers: Vec<SystemTime> = layers.iter().map(|&s| at(s)).collect();
        stamp(&mut config, &layers, epoch.map(at), at(99));
        let seconds = |text: &str| {
            let time = humantime::parse_rfc3339(text).unwrap();
            time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
        };
        let times = config.history.iter().map(|entry| seconds(entry.created.as_ref().unwrap()));
        times.chain([seconds(config.created.as_ref().unwrap())]).collect()
    }

    #[test]
    fn entries_have_the_times_of_their_layers() {
        let base = Some("1970-01-01T00:00:01Z");
        let history = || {
            vec![
                entry(base, false),
                entry(None, true),
                entry(None, false),
                entry(None, true),
                entry(None, false),
            ]
        };
        assert_eq!(stamped(history(), &[1, 5, 7], None), [1, 5, 5, 5, 7, 7]);
        assert_eq!(stamped(history(), &[1, 5, 7], Some(3)), [1, 3, 3, 3, 3, 3]);
    }

    #[test]
    fn an_image_of_metadata_has_the_time_of_its_base() {
        let base = Some("1970-01-01T00:00:01Z");
        assert_eq!(stamped(vec![entry(base, false), entry(None, true)], &[4], None), [1, 4, 4]);
        assert_eq!(stamped(vec![entry(None, true)], &[], None), [99, 99]);
    }
}
