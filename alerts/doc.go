// Package alerts holds no code: it holds the recording and alerting rules for Prometheus, an
// example configuration of Alertmanager for them, and the tests of both. promtool runs the files
// *.test.yml; the tests here run promtool and check that every rule has a test.
package alerts
