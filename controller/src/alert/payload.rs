//! An alert in the Alertmanager v4 webhook format
//! (<https://prometheus.io/docs/alerting/latest/configuration/#webhook_config>).

use crate::clock::rfc3339;
use headroom_rack::{Finding, UnixMs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One matter that fires or is resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// What names the matter: the same labels are the same alert.
    pub labels: BTreeMap<String, String>,
    /// Words for people.
    pub annotations: BTreeMap<String, String>,
    /// Since when.
    pub starts_at: UnixMs,
    /// Until when; `None` while it fires.
    pub ends_at: Option<UnixMs>,
}

impl Alert {
    /// The firing alert of a Finding.
    pub fn firing(site: &str, finding: &Finding) -> Self {
        let labels = [
            ("alertname", finding.kind.as_str()),
            ("severity", finding.severity.word()),
            ("site", site),
            ("subject", &finding.subject),
            // Two matters of one subject and kind are two alerts: one that is over must not close the other.
            ("key", &finding.key),
        ];
        let annotations = [("summary", &finding.title), ("description", &finding.detail)];
        Self {
            labels: labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            annotations: annotations.map(|(k, v)| (k.to_owned(), v.clone())).into(),
            starts_at: finding.since,
            ends_at: None,
        }
    }

    /// The same matter, over since `at`.
    pub fn resolved(&self, at: UnixMs) -> Self {
        Self { ends_at: Some(at.max(self.starts_at)), ..self.clone() }
    }

    /// `firing` or `resolved`.
    pub fn status(&self) -> &'static str {
        if self.ends_at.is_some() { "resolved" } else { "firing" }
    }

    /// FNV-1a (64 bit) over the sorted labels, each name and value followed by byte 255: how
    /// Prometheus computes it (`prometheus/common`, `model/signature.go`).
    pub fn fingerprint(&self) -> String {
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for text in self.labels.iter().flat_map(|(k, v)| [k, v]) {
            for byte in text.bytes().chain([255]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        format!("{hash:016x}")
    }

    /// The whole message with this one alert in it.
    pub fn message(&self, external_url: &str) -> serde_json::Value {
        let quoted: Vec<String> = self.labels.iter().map(|(k, v)| format!("{k}={v:?}")).collect();
        serde_json::json!({
            "version": "4",
            "groupKey": format!("{{}}:{{{}}}", quoted.join(", ")),
            "truncatedAlerts": 0,
            "status": self.status(),
            "receiver": "headroom",
            "groupLabels": self.labels,
            "commonLabels": self.labels,
            "commonAnnotations": self.annotations,
            "externalURL": external_url,
            "alerts": [{
                "status": self.status(),
                "labels": self.labels,
                "annotations": self.annotations,
                "startsAt": rfc3339(self.starts_at),
                "endsAt": self.ends_at.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), rfc3339),
                "generatorURL": external_url,
                "fingerprint": self.fingerprint(),
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_matters_of_one_subject_and_kind_are_two_alerts() {
        let alert = |key: &str| {
            let finding = Finding {
                key: key.into(),
                kind: "flex_refused".into(),
                subject: "acme".into(),
                severity: headroom_rack::Severity::Warning,
                title: String::new(),
                detail: String::new(),
                since: UnixMs::new(0),
            };
            Alert::firing("demo", &finding).fingerprint()
        };
        assert_ne!(alert("flex_refused:acme:malformed"), alert("flex_refused:acme:signature"));
        assert_eq!(alert("flex_refused:acme:malformed"), alert("flex_refused:acme:malformed"));
    }

    #[test]
    fn a_fingerprint_belongs_to_the_labels_alone() {
        let alert =
            Alert { labels: BTreeMap::new(), annotations: BTreeMap::new(), starts_at: UnixMs::new(5), ends_at: None };
        // The empty label set's signature in prometheus/common is the FNV offset basis.
        assert_eq!(alert.fingerprint(), "cbf29ce484222325");
        assert_eq!(alert.resolved(UnixMs::new(9)).fingerprint(), alert.fingerprint());
        assert_eq!(alert.resolved(UnixMs::new(1)).ends_at, Some(UnixMs::new(5)));
    }
}
