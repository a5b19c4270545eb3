package report

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// update writes the golden files: go test ./exporter/report -update.
var update = flag.Bool("update", false, "write the golden files")

// TestGolden compares whole reports with reports that people have read and found good. The stories
// are kept as text; the forms have the same sentences (TestFormsAgree).
func TestGolden(t *testing.T) {
	for name, reports := range scenarios(t) {
		forms := []string{"text", "markdown"}
		if name == "everything" {
			forms = append(forms, "html", "json")
		}
		golden(t, name, reports, forms...)
	}
	for name, r := range stories(t) {
		golden(t, "story "+name, []*Report{r}, "text")
	}
}

func golden(t *testing.T, name string, reports []*Report, forms ...string) {
	t.Helper()
	ending := map[string]string{"text": "txt", "markdown": "md", "html": "html", "json": "json"}
	for _, form := range forms {
		got := written(t, form, reports)
		file := filepath.Join("testdata", strings.ReplaceAll(name, " ", "_")+"."+ending[form])
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", file, diff)
		}
	}
}

// TestGoldensAreTested: no golden file is left over.
func TestGoldensAreTested(t *testing.T) {
	found, err := filepath.Glob("testdata/*")
	if err != nil {
		t.Fatal(err)
	}
	known := make(map[string]bool)
	for name := range scenarios(t) {
		known[strings.ReplaceAll(name, " ", "_")] = true
	}
	for name := range stories(t) {
		known["story_"+strings.ReplaceAll(name, " ", "_")] = true
	}
	for _, f := range found {
		if base := filepath.Base(f); !known[strings.TrimSuffix(base, filepath.Ext(base))] {
			t.Errorf("%s belongs to no report", f)
		}
	}
}

// written returns reports in a form.
func written(t *testing.T, form string, reports []*Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := Formats()[form].Write(&b, reports); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// all returns the reports of all scenarios and stories.
func all(t *testing.T) map[string][]*Report {
	t.Helper()
	out := scenarios(t)
	for name, r := range stories(t) {
		out["story "+name] = []*Report{r}
	}
	return out
}

// TestTextKeepsItsWidth: no line of the text has more than 80 columns, names of any length
// included.
func TestTextKeepsItsWidth(t *testing.T) {
	reports := all(t)
	long := strange(t)
	long.Peer = strings.Repeat("a-very-long-name.", 14) + "example"
	long.Errors = []string{strings.Repeat("x", 300)}
	reports["long"] = []*Report{long}
	v6 := everything(t)
	v6.Address, v6.Source = addr("2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff"), addr("2001:db8:1111:2222:3333:4444:5555:6666")
	v6.Via = v6.Source.String()
	reports["long addresses"] = []*Report{v6}
	for name, r := range reports {
		for n, line := range strings.Split(written(t, "text", r), "\n") {
			if columns(line) > 80 {
				t.Errorf("%s, line %d has %d columns: %s", name, n+1, columns(line), line)
			}
		}
	}
}

// TestMarkdownEndsWithTheTable: a ticket is read from its top; the large table comes last.
func TestMarkdownEndsWithTheTable(t *testing.T) {
	for name, reports := range all(t) {
		for _, r := range reports {
			text := written(t, "markdown", []*Report{r})
			lines := strings.Split(strings.TrimSpace(text), "\n")
			first := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "| ") })
			if first < 0 {
				if r.Address.IsValid() {
					t.Errorf("%s: no table", name)
				}
				continue
			}
			for _, l := range lines[first:] {
				if !strings.HasPrefix(l, "|") {
					t.Errorf("%s: behind the table: %s", name, l)
				}
			}
		}
	}
}
