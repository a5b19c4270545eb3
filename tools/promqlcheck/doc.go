// Package promqlcheck checks the rules, boards and documents against the metrics of the exporter:
// every expression parses, and every metric, label and closed label value in it exists; every alert
// has a runbook and every runbook an alert; alerts have the required annotations.
//
//	docs/metrics.md --ReadCatalog--> Catalog --+
//	alerts/*.rules.yml --ReadRules--> Rules ---+--> problems
//	dashboards/*.json, *.md ---> Sources ------+
//
// It is a separate module, because only it needs the PromQL parser of Prometheus. It reads files
// and uses no network.
package promqlcheck
