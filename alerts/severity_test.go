package alerts

import (
	"regexp"
	"strings"
	"testing"

	"ipsec_path_exporter/exporter/diagnosis"
)

// TestSeverities: alerts on a diagnosis have the severity that pages and reports show. An alert may
// have a lower one where it fires only under a condition that makes the fault harmless; then
// another one has the severity of the diagnosis.
func TestSeverities(t *testing.T) {
	matcher := regexp.MustCompile(`held\{(?:gateway!="",)?diagnosis=(?:"|~")([a-z0-9_|]+)"\} > 0`)
	found := make(map[string]map[string]bool)
	for _, r := range alertRules(t) {
		for _, m := range matcher.FindAllStringSubmatch(r.Expr, -1) {
			for name := range strings.SplitSeq(m[1], "|") {
				if found[name] == nil {
					found[name] = make(map[string]bool)
				}
				found[name][r.Labels["severity"]] = true
			}
		}
	}
	if len(found) < 15 {
		t.Fatalf("alerts on %d diagnoses are found", len(found))
	}
	for name, severities := range found {
		want := diagnosis.SeverityOf(name)
		if !severities[string(want)] {
			t.Errorf("no alert on %s has its severity, %s: %v", name, want, severities)
		}
		for s := range severities {
			if !want.AtLeast(diagnosis.Severity(s)) {
				t.Errorf("an alert on %s is %s, more than %s", name, s, want)
			}
		}
	}
}
