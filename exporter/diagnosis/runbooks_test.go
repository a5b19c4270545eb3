package diagnosis

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestEveryDiagnosisHasARunbook: the boards link to its line in the list of runbooks.
func TestEveryDiagnosisHasARunbook(t *testing.T) {
	const list = "../../docs/runbooks/"
	text, err := os.ReadFile(list + "README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range Names() {
		m := regexp.MustCompile(`<a id="` + name + `"></a>.*\]\((IPsecPath\w+\.md)\)`).FindSubmatch(text)
		if m == nil {
			t.Errorf("%s has no line", name)
			continue
		}
		if _, err := os.Stat(list + string(m[1])); err != nil {
			t.Error(err)
		}
	}
}

// TestDiagnosesAreExplained: docs/diagnoses.md has a line for each diagnosis, and for no other one.
func TestDiagnosesAreExplained(t *testing.T) {
	text, err := os.ReadFile("../../docs/diagnoses.md")
	if err != nil {
		t.Fatal(err)
	}
	var explained []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`[a-z0-9_`, ]+`) \\|").FindAllStringSubmatch(string(text), -1) {
		for name := range strings.SplitSeq(row[1], ", ") {
			explained = append(explained, strings.Trim(name, "`"))
		}
	}
	want := slices.Sorted(slices.Values(Names()))
	if slices.Sort(explained); !slices.Equal(explained, want) {
		t.Errorf("explained: %q, want %q", explained, want)
	}
}
