// Package alerts has no code: it holds the recording and alerting rules that Prometheus loads, an example of how Alertmanager may route and
// inhibit the alerts, and the tests of both. The rules are tested by promtool in the files *.test.yml; the tests here run it, and see that no rule
// lacks a test.
package alerts
