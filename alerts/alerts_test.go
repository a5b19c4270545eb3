package alerts

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

const (
	rulesFile  = "ipsec_path.rules.yml"
	faultsFile = "ipsec_path.faults.test.yml"
)

// A rule is one of the rules file.
type rule struct {
	Alert, Record, Expr string
	Labels, Annotations map[string]string
}

// A unitTest is one test of a promtool file.
type unitTest struct {
	Name            string
	AlertRuleTest   []check `yaml:"alert_rule_test"`
	InputSeries     []any   `yaml:"input_series"`
	PromqlExprTests []any   `yaml:"promql_expr_test"`
	Interval        string
}

// A check is what one alert should do at one time.
type check struct {
	EvalTime  string `yaml:"eval_time"`
	Alertname string
	Alerts    []struct {
		Labels      map[string]string `yaml:"exp_labels"`
		Annotations map[string]string `yaml:"exp_annotations"`
	} `yaml:"exp_alerts"`
}

// fires reports whether an alert of the severity is expected.
func (c *check) fires(severity string) bool {
	for _, a := range c.Alerts {
		if a.Labels["severity"] == severity {
			return true
		}
	}
	return false
}

// at is the time of the check.
func (c *check) at(t *testing.T) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(c.EvalTime)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// read decodes a YAML file.
func read(t *testing.T, file string, into any) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(b, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// alertRules are the alerting rules.
func alertRules(t *testing.T) []rule {
	t.Helper()
	var file struct {
		Groups []struct{ Rules []rule }
	}
	read(t, rulesFile, &file)
	var out []rule
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			if r.Alert != "" {
				out = append(out, r)
			}
		}
	}
	if len(out) < 25 {
		t.Fatalf("%s has only %d alerting rules", rulesFile, len(out))
	}
	return out
}

// testFiles are the files of promtool tests.
func testFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*.test.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests of rules: %v", err)
	}
	return files
}

// unitTests are the tests in a file.
func unitTests(t *testing.T, file string) []unitTest {
	t.Helper()
	var all struct{ Tests []unitTest }
	read(t, file, &all)
	return all.Tests
}

// run runs a program of Prometheus or Alertmanager, and returns what it prints.
func run(t *testing.T, program string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		if os.Getenv("REQUIRE_DAEMONS") == "1" {
			t.Fatalf("%s is required: %v", program, err)
		}
		t.Skipf("SKIPPED for want of %s: %v", program, err)
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	return out.String(), err
}

func TestPromtoolChecksRules(t *testing.T) {
	if out, err := run(t, "promtool", "check", "rules", "--lint=all", "--lint-fatal", rulesFile); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestPromtoolTestsRules(t *testing.T) {
	for _, file := range testFiles(t) {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			if out, err := run(t, "promtool", "test", "rules", file); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// TestPromtoolTestsCanFail: a page that should not be there must fail a test, and so must a text
// that differs by one letter.
func TestPromtoolTestsCanFail(t *testing.T) {
	good, err := os.ReadFile(faultsFile)
	if err != nil {
		t.Fatal(err)
	}
	rules, err := filepath.Abs(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{
		{"alertname: IPsecPathTunnelDown, exp_alerts: []", "alertname: IPsecPathICMPFiltered, exp_alerts: [{exp_labels: {}}]"},
		{"ESP (IP protocol 50) to hq", "ESP (IP protocol 50) to hQ"},
	} {
		bad := bytes.Replace(good, []byte(change[0]), []byte(change[1]), 1)
		if bytes.Equal(bad, good) {
			t.Fatalf("%s has no %q", faultsFile, change[0])
		}
		bad = bytes.ReplaceAll(bad, []byte("["+rulesFile+"]"), []byte("["+rules+"]"))
		file := filepath.Join(t.TempDir(), "bad.test.yml")
		if err := os.WriteFile(file, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := run(t, "promtool", "test", "rules", file); err == nil {
			t.Errorf("%q instead of %q passes:\n%s", change[1], change[0], out)
		}
	}
}

// A behaviour is what the tests show of one rule.
type behaviour struct{ fires, quietBefore, resolves bool }

// shown collects what a test shows of each rule, by alert and severity.
func shown(t *testing.T, u *unitTest, into map[string]behaviour) {
	t.Helper()
	checks := slices.Clone(u.AlertRuleTest)
	slices.SortStableFunc(checks, func(a, b check) int { return int(a.at(t) - b.at(t)) })
	quiet := make(map[string]bool)
	fired := make(map[string]bool)
	for i := range checks {
		c := &checks[i]
		for _, severity := range []string{"critical", "warning", "info"} {
			key := c.Alertname + " " + severity
			b := into[key]
			switch {
			case c.fires(severity):
				b.fires, fired[key] = true, true
				b.quietBefore = b.quietBefore || quiet[key]
			default:
				quiet[key] = true
				b.resolves = b.resolves || fired[key]
			}
			into[key] = b
		}
		for _, a := range c.Alerts {
			for _, name := range []string{"summary", "description", "runbook_url", "dashboard_url"} {
				if a.Annotations[name] == "" {
					t.Errorf("%s: %s: the expected alert has no %s", u.Name, c.Alertname, name)
				}
			}
		}
	}
}

// TestEveryRuleFiresAndResolves: in one test it is quiet first and fires then, in one it is quiet
// after it has fired.
func TestEveryRuleFiresAndResolves(t *testing.T) {
	all := make(map[string]behaviour)
	for _, file := range testFiles(t) {
		for _, u := range unitTests(t, file) {
			shown(t, &u, all)
		}
	}
	for _, r := range alertRules(t) {
		if want, got := (behaviour{true, true, true}), all[r.Alert+" "+r.Labels["severity"]]; got != want {
			t.Errorf("%s, %s: tests show %+v", r.Alert, r.Labels["severity"], got)
		}
	}
}

// TestFaultsArePagedOnce: the test of a fault looks at every alert that pages, at one time, and at
// most one of them does; and where none does, another alert reports the fault.
func TestFaultsArePagedOnce(t *testing.T) {
	var pages []string
	for _, r := range alertRules(t) {
		if r.Labels["severity"] == "critical" && !slices.Contains(pages, r.Alert) {
			pages = append(pages, r.Alert)
		}
	}
	tests := unitTests(t, faultsFile)
	if len(tests) < 10 {
		t.Fatalf("%s has only %d faults", faultsFile, len(tests))
	}
	for _, u := range tests {
		looked := make(map[string]bool)
		critical, told := 0, 0
		for i := range u.AlertRuleTest {
			c := &u.AlertRuleTest[i]
			looked[c.Alertname] = true
			told += len(c.Alerts)
			if c.fires("critical") {
				critical++
			}
		}
		for _, name := range pages {
			if !looked[name] {
				t.Errorf("%s: nobody looks at %s", u.Name, name)
			}
		}
		if critical > 1 || told == 0 {
			t.Errorf("%s: %d pages, %d alerts", u.Name, critical, told)
		}
	}
}

// TestQuietTestLooksAtEverything: the test of healthy peers expects nothing of every alert.
func TestQuietTestLooksAtEverything(t *testing.T) {
	looked := make(map[string]int)
	for _, u := range unitTests(t, "ipsec_path.quiet.test.yml") {
		for _, c := range u.AlertRuleTest {
			looked[c.Alertname]++
			if len(c.Alerts) > 0 {
				t.Errorf("%s fires at %s", c.Alertname, c.EvalTime)
			}
		}
	}
	for _, r := range alertRules(t) {
		if looked[r.Alert] == 0 {
			t.Errorf("nobody looks at %s", r.Alert)
		}
	}
}

// TestInputsAreGiven guards against a test that decodes to nothing.
func TestInputsAreGiven(t *testing.T) {
	for _, file := range testFiles(t) {
		for _, u := range unitTests(t, file) {
			if len(u.InputSeries) == 0 || len(u.AlertRuleTest)+len(u.PromqlExprTests) == 0 {
				t.Error(fmt.Sprintf("%s: %s", file, u.Name), "has no series or no checks")
			}
		}
	}
}
