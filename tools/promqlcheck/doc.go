// Package promqlcheck checks what the project ships for Prometheus and Grafana against what the exporter says of itself: every expression in rules,
// boards and documents parses, and every metric, label and closed label value in one exists; every alert has a runbook and every runbook an alert;
// alerts have what a person needs who is paged.
//
//	docs/metrics.md --ReadCatalog--> Catalog --+
//	alerts/*.rules.yml --ReadRules--> Rules ---+--> problems
//	dashboards/*.json, *.md ---> Sources ------+
//
// It has a module of its own, because it needs the PromQL parser of Prometheus and nothing else of the project does. It reads files and no network.
package promqlcheck
