package policy

import (
	"path"
	"regexp"
	"strings"
	"testing"
)

// TestOperationsFigures: every figure of docs/operations.md is on the page that it is from, and every
// alert has the severity of its runbook.
func TestOperationsFigures(t *testing.T) {
	pages := documents(t)
	text, list := pages["docs/operations.md"], pages["docs/runbooks/README.md"]
	figures := regexp.MustCompile(`(?m)^\| [^|]+ \| ([0-9.,]+) \| \[[^]]+\]\(([^#)]+)#[^)]*\) \|$`).FindAllStringSubmatch(text, -1)
	for _, m := range figures {
		if !regexp.MustCompile(`(?:^|[^0-9.,])` + regexp.QuoteMeta(m[1]) + `(?:[^0-9.,]|[.,]?\s|$)`).MatchString(pages[path.Join("docs", m[2])]) {
			t.Errorf("%s is not in %s", m[1], m[2])
		}
	}
	alerts := regexp.MustCompile("(?m)^\\| `(IPsecPath\\w+)` \\| (\\w+) \\|").FindAllStringSubmatch(text, -1)
	for _, m := range alerts {
		if !strings.Contains(list, "| ["+m[1]+"]("+m[1]+".md) | "+m[2]+" |") {
			t.Errorf("%s has no runbook, or not the severity %s", m[1], m[2])
		}
	}
	if len(figures) < 8 || len(alerts) < 10 {
		t.Errorf("only %d figures and %d alerts", len(figures), len(alerts))
	}
}
