package diagnosis

import (
	"os"
	"regexp"
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
