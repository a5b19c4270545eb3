package promqlcheck

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A Rule is a rule of a rules file.
type Rule struct {
	Alert, Record, Expr, For string
	Labels, Annotations      map[string]string
}

// name identifies the rule in problems.
func (r *Rule) name() string {
	if r.Alert != "" {
		return fmt.Sprintf("%s (%s)", r.Alert, r.Labels["severity"])
	}
	return r.Record
}

// RunbookBase is the start of every runbook_url; the name of the alert and .md follow.
const RunbookBase = "https://github.com/ipsec-path-exporter/ipsec_path_exporter/blob/main/docs/runbooks/"

// ReadRules reads the rules of a file.
func ReadRules(path string) ([]Rule, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var file struct {
		Groups []struct{ Rules []Rule }
	}
	if err := yaml.Unmarshal(b, &file); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var out []Rule
	for _, g := range file.Groups {
		out = append(out, g.Rules...)
	}
	return out, nil
}

// Record adds the recorded metrics to the catalog. Rules may read any recorded metric, including
// their own, so the names come first, then the labels until they are stable.
func (c *Catalog) Record(rules []Rule) {
	for i := range rules {
		if rules[i].Record != "" {
			c.Metrics[rules[i].Record] = Metric{Kind: "recorded", Labels: Labels{Any: true}}
		}
	}
	for range rules {
		for i := range rules {
			if rules[i].Record == "" {
				continue
			}
			if e, err := c.Check(rules[i].Expr); err == nil {
				c.Metrics[rules[i].Record] = Metric{Kind: "recorded", Labels: e.Labels}
			}
		}
	}
}

// CheckRule returns all problems of a rule and its metrics.
func (c *Catalog) CheckRule(r *Rule) (problems []error, metrics []string) {
	problem := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("%s: %w", r.name(), fmt.Errorf(format, args...)))
	}
	e, err := c.Check(r.Expr)
	if err != nil {
		problem("%w", err)
	}
	metrics = e.Metrics
	if r.Record != "" {
		if e.tree != nil && !e.Labels.Has("instance") {
			problem("the result has no label instance: two exporters may watch one peer")
		}
		return problems, metrics
	}
	if e.tree == nil {
		return problems, metrics
	}
	switch {
	case e.Absent && r.For == "":
		problem("absent() without for fires whenever Prometheus starts")
	case !e.Absent && !e.Compares:
		problem("a vector without a comparison always fires")
	case !e.Absent && !e.Labels.Has("instance"):
		problem("the alert has no label instance: two exporters may watch one peer")
	}
	if !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) {
		problem("severity is %q", r.Labels["severity"])
	}
	for _, name := range []string{"summary", "description", "runbook_url", "dashboard_url"} {
		if strings.TrimSpace(r.Annotations[name]) == "" {
			problem("annotation %s is missing", name)
		}
	}
	if strings.Contains(r.Annotations["summary"], "{{") {
		problem("the summary is the headline of a group of alerts: it must be the same for all")
	}
	if want := RunbookBase + r.Alert + ".md"; r.Annotations["runbook_url"] != want {
		problem("runbook_url is not %s", want)
	}
	for name, text := range r.Annotations {
		found, used := c.template(text, e.Labels)
		for _, err := range found {
			problem("%s: %w", name, err)
		}
		metrics = append(metrics, used...)
	}
	return problems, metrics
}

// template checks the labels and the queries of a template.
func (c *Catalog) template(text string, have Labels) (problems []error, metrics []string) {
	for _, m := range regexp.MustCompile(`\$labels\.(\w+)`).FindAllStringSubmatch(text, -1) {
		name := m[1]
		switch {
		case !have.Has(name):
			problems = append(problems, fmt.Errorf("the alert has no label %q", name))
		case !have.Any && !have.Names[name] && !strings.Contains(text, "with $labels."+name):
			problems = append(problems, fmt.Errorf("label %q exists only if it is configured (wrap it in a with)", name))
		}
	}
	all := labelsOf()
	for _, m := range regexp.MustCompile(`printf "((?:[^"\\]|\\.)*)"`).FindAllStringSubmatch(text, -1) {
		if strings.HasPrefix(m[1], "%") {
			continue // a number
		}
		expr := regexp.MustCompile(`%(\[\d+\])?q`).ReplaceAllString(strings.ReplaceAll(m[1], `\"`, `"`), `"x"`)
		e, err := c.Check(expr)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", expr, err))
		}
		metrics = append(metrics, e.Metrics...)
		if e.tree == nil {
			continue
		}
		for n := range e.Labels.Names {
			all.Names[n] = true
		}
		all.Open, all.Any = all.Open || e.Labels.Open, all.Any || e.Labels.Any
	}
	for _, m := range regexp.MustCompile(`\.Labels\.(\w+)|label "(\w+)"|sortByLabel "(\w+)"`).FindAllStringSubmatch(text, -1) {
		if name := m[1] + m[2] + m[3]; !all.Has(name) {
			problems = append(problems, fmt.Errorf("no query of the text has a label %q", name))
		}
	}
	return problems, metrics
}

// CheckRunbooks compares the alerts with the runbooks in a folder.
func CheckRunbooks(rules []Rule, dir string) []error {
	var problems []error
	alerts := make(map[string]bool)
	for i := range rules {
		if rules[i].Alert != "" {
			alerts[rules[i].Alert] = true
		}
	}
	index, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		problems = append(problems, err)
	}
	for name := range alerts {
		b, err := os.ReadFile(filepath.Join(dir, name+".md"))
		if err != nil {
			problems = append(problems, fmt.Errorf("%s has no runbook: %w", name, err))
			continue
		}
		for _, part := range []string{"# " + name + "\n", "\n## What it means\n", "\n## What users notice\n", "\n## Confirm\n", "\n## Meanwhile\n", "\n## False alarms\n"} {
			if !strings.Contains("\n"+string(b), part) {
				problems = append(problems, fmt.Errorf("the runbook of %s has no %q", name, strings.TrimSpace(part)))
			}
		}
		if !strings.Contains(string(index), "("+name+".md)") {
			problems = append(problems, fmt.Errorf("the index of runbooks does not link to %s", name))
		}
	}
	pages, err := filepath.Glob(filepath.Join(dir, "*.md"))
	if err != nil {
		problems = append(problems, err)
	}
	for _, page := range pages {
		if name := strings.TrimSuffix(filepath.Base(page), ".md"); name != "README" && !alerts[name] {
			problems = append(problems, fmt.Errorf("%s is the runbook of no alert", page))
		}
	}
	return problems
}
